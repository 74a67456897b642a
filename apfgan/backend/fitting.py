"""Whether named arrays fit a network or an optimiser, whatever the engine: nothing is loaded that is missing, left over or of another shape."""

from collections.abc import Collection, Mapping

import numpy as np

from apfgan.errors import WeightsError
from apfgan.shapes import mismatches

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of arrays by name."""


class Described:
    """What every network can say of weights that do not fit it."""

    def dimensions(self, shapes: Shapes) -> dict[str, int]:
        """What weights of these shapes would be ("width": 64), by which `load_arrays` explains a mismatch; empty if unknown."""
        del shapes
        return {}


def check_arrays(network: Described, expected: Shapes, arrays: Mapping[str, np.ndarray], *, origin: str) -> None:
    """Raise `WeightsError` unless `arrays` are those that a network expects, with a guess at the cause. `origin` says where they come from."""
    found = {name: tuple(value.shape) for name, value in arrays.items()}
    if problems := list(mismatches(expected, found)):
        wanted, given = network.dimensions(expected), network.dimensions(found)
        guesses = [f"looks like {name} {given[name]}, expected {value}" for name, value in wanted.items() if given.get(name, value) != value]
        cause = f" It {'; '.join(guesses)}: use the configuration that it was trained with." if guesses else ""
        raise WeightsError(f"{origin} does not fit this network: {'; '.join(problems)}.{cause}")


def check_memory(parameters: Shapes, arrays: Mapping[str, np.ndarray], *, origin: str) -> Collection[str]:
    """The parameters whose memory (`NAME.mean`, `NAME.square`, `NAME.steps`) `arrays` hold: those that have moved.

    Raises `WeightsError` when the arrays are another optimiser's.
    """
    moved = [name for name in parameters if f"{name}.steps" in arrays]
    expected = {f"{name}.{kind}": () if kind == "steps" else parameters[name] for name in moved for kind in ("mean", "square", "steps")}
    if problems := list(mismatches(expected, {name: value.shape for name, value in arrays.items()})):
        raise WeightsError(f"{origin} does not fit this optimiser: {'; '.join(problems)}.")
    return moved
