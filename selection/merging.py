"""Merging: one set of weights out of several, by a pure function on named arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from apfgan.errors import WeightsError

Weights = Mapping[str, np.ndarray]


def average(weights: Sequence[Weights], shares: Sequence[float], *, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The weighted mean of checkpoints of one training (uniform soup; Wortsman et al. 2022, section 2; APF-GAN's `merge_ckpt`).

    Floating-point arrays are accumulated in float64 and keep their dtype; counters (integer arrays) take the largest value, for a mean of
    counts has no meaning. BatchNorm statistics are averaged as the original does. `shares` add up to 1; `names` are for messages.

    Raises `WeightsError` that lists the arrays that are not in all checkpoints, or that differ in shape.
    """
    first, *others = weights
    for other, name in zip(others, names[1:], strict=True):
        if problems := _differences(first, other):
            raise WeightsError(f"{name} cannot be merged with {names[0]}: {'; '.join(problems)}. Merge checkpoints of one run only")
    return {key: _average_array([each[key] for each in weights], shares) for key in first}


def _average_array(arrays: Sequence[np.ndarray], shares: Sequence[float]) -> np.ndarray:
    first = arrays[0]
    if not np.issubdtype(first.dtype, np.floating):
        return np.maximum.reduce(arrays)
    total = np.zeros(first.shape, dtype=np.float64)
    for array, share in zip(arrays, shares, strict=True):
        total += share * array.astype(np.float64)
    return total.astype(first.dtype)


def _differences(one: Weights, other: Weights, *, shown: int = 5) -> list[str]:
    """What keeps two checkpoints from being merged, in words; empty if nothing does."""
    found = [f"{key} is missing in one of them" for key in sorted(one.keys() ^ other.keys())]
    found += [
        f"{key} is {one[key].shape} in one and {other[key].shape} in the other"
        for key in one.keys() & other.keys()
        if one[key].shape != other[key].shape
    ]
    return found[:shown] + ([f"and {len(found) - shown} more"] if len(found) > shown else [])
