"""Merging: one set of weights out of several, by a pure function on named arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from apfgan.errors import WeightsError
from apfgan.spectral import find_vectors, normalised_weights, vector_names

Weights = Mapping[str, np.ndarray]


def average(weights: Sequence[Weights], shares: Sequence[float], *, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The weighted mean of checkpoints of one training (uniform soup; Wortsman et al. 2022, section 2; APF-GAN's `merge_ckpt`).

    Floating-point arrays are accumulated in float64 and keep their dtype; counters (integer arrays) take the largest value, for a mean of
    counts has no meaning. BatchNorm's statistics are averaged as the original does; the vectors of a spectral normalisation are found for the
    merged weight (`apfgan.spectral`). What is equal in all checkpoints stays as it is, bit for bit.

    `shares` add up to 1 and may be negative, where an average along the training is rebuilt from others; `names` are for messages. Each array
    is asked for when its turn comes and let go then, so that of checkpoints that read their arrays one by one none is ever in memory whole.

    Raises `WeightsError` that lists the arrays that are not in all checkpoints, or names one that differs in shape.
    """
    first = weights[0]
    for other, name in zip(weights[1:], names[1:], strict=True):
        if absent := sorted(first.keys() ^ other.keys()):
            listed = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
            raise _cannot_merge(name, names[0], f"only one of them has {listed}")
    normalised = normalised_weights(first)
    vectors = {vector for weight in normalised for vector in vector_names(weight)}
    merged = {key: first[key] if key in vectors else _average_array(key, weights, shares, names) for key in first}
    # A weight that did not change keeps its vectors.
    changed = [weight for weight in normalised if not np.array_equal(merged[weight], first[weight])]
    return merged | find_vectors(merged, changed)


def _average_array(key: str, weights: Sequence[Weights], shares: Sequence[float], names: Sequence[str]) -> np.ndarray:
    first = weights[0][key]
    counts = not np.issubdtype(first.dtype, np.floating)
    total, equal = (first if counts else 0.0 + shares[0] * first.astype(np.float64)), True  # 0.0: a sum has no negative zeros
    for other, share, name in zip(weights[1:], shares[1:], names[1:], strict=True):
        array = other[key]
        if array.shape != first.shape:
            raise _cannot_merge(name, names[0], f"{key} is {array.shape} in one and {first.shape} in the other")
        total = np.maximum(total, array) if counts else total + share * array.astype(np.float64)
        equal = equal and np.array_equal(array, first)
    if equal:
        return first
    if key.endswith("running_var"):
        total = np.maximum(total, 0)  # with negative shares it may leave the members' range; a variance does not
    return total.astype(first.dtype)


def _cannot_merge(name: str, other: str, why: str) -> WeightsError:
    return WeightsError(f"{name} cannot be merged with {other}: {why}. Merge checkpoints of one run only")
