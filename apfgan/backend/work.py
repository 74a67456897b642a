"""What work costs, counted: multiply-accumulates, and values that wait for gradients."""

from dataclasses import dataclass, field

SHAPES_ONLY = "meta"
"""The device of tensors that have a shape and no values: work on them costs nothing and can be counted."""


@dataclass(slots=True)
class Work:
    """What convolutions did inside `counted_work`; all else is linear in the number of values, and small beside them."""

    forward: int = 0
    """Multiply-accumulates."""
    backward: int = 0
    """Multiply-accumulates of the gradients that go with them."""
    by_module: dict[str, int] = field(default_factory=dict)
    """Those of the forward pass by the convolution's name in the network."""
    held: int = 0
    """Bytes that wait for the backward pass, parameters not counted."""
