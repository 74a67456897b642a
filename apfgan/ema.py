"""Averages of the painter's weights that are kept along the way: power function EMAs (Karras et al. 2024, section 3.1).

At step t an average moves towards the weights by 1 - (1 - 1/t)^(exponent + 1), so that it always spans the same share of the training so far,
its relative width, and forgets the initial weights without a warm-up. Two averages of different widths are enough to rebuild one of any other
width afterwards, which is why both are kept (Karras et al. 2024, section 3.2).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from apfgan.backend import Module, duplicate, load_arrays, move_towards, state_arrays
from apfgan.spectral import find_vectors, normalised_weights


class Averages:
    """The averages of one network, on its device: each is a network of its own, running statistics and all."""

    def __init__(self, network: Module, widths: Sequence[float]) -> None:
        self._network = network
        self._averages = {average_name(width): (exponent_of(width), duplicate(network)) for width in widths}

    def follow(self, step: int) -> None:
        """Take in the weights after optimiser step `step`, counted from 1."""
        for exponent, average in self._averages.values():
            move_towards(average, self._network, share=share_at(step, exponent))

    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        """The arrays of each average, by the average's name; the same arrays as the network's own, ready to draw with."""
        return {name: arrays | find_vectors(arrays, normalised_weights(arrays)) for name, arrays in self._states().items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is needed to go on: `NAME.ARRAY`."""
        return {f"{name}.{key}": array for name, arrays in self._states().items() for key, array in arrays.items()}

    def load(self, arrays: Mapping[str, np.ndarray], *, origin: str) -> None:
        """Go on from what `arrays` wrote down; an average that is not among them begins at the network as it is now.

        Raises `WeightsError` when they do not fit.
        """
        now = state_arrays(self._network)
        for name, (_, average) in self._averages.items():
            own = {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
            load_arrays(average, own or now, origin=origin)

    def _states(self) -> dict[str, dict[str, np.ndarray]]:
        return {name: state_arrays(average) for name, (_, average) in self._averages.items()}


def average_name(width: float) -> str:
    """What the average of a relative width is called, in states and behind the epoch in a checkpoint's name: `ema0.05`."""
    return f"ema{width:g}"


def parse_average(name: str) -> tuple[int, float]:
    """Epoch and relative width of the average with this name as a checkpoint (`apfgan.candidates.is_average`): `299-ema0.05`."""
    epoch, _, width = name.partition("-ema")
    return int(epoch), float(width)


def exponent_of(width: float) -> float:
    """Exponent of the power function whose standard deviation is `width` times its length (Karras et al. 2024, appendix C).

    The standard deviation of t^g on [0, 1] is sqrt((g + 1) / ((g + 2)^2 (g + 3))); solved for g it is a cubic with one positive root.
    """
    inverse = width**-2
    return float(max(root.real for root in np.roots([1, 7, 16 - inverse, 12 - inverse]) if abs(root.imag) < 1e-9))


def share_at(step: int, exponent: float) -> float:
    """How far an average moves towards the weights at `step`: all the way at the first."""
    return float(1 - (1 - 1 / step) ** (exponent + 1))
