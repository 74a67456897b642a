"""What spectral normalisation keeps beside a weight: unit vectors u and v with u'Wv the largest singular value of W, by which W is divided.

A checkpoint holds them as `X.weight_u` and `X.weight_v`. In training a round of power iteration each step keeps them; for a weight that was
computed from others (a mean) they have to be found. The mean of several such vectors is not a unit vector and belongs to no weight: the norm
came out at down to 0.48 of the true one, and images fell apart (spec: selection, 0.1).
"""

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.linalg import eigh


def normalised_weights(names: Iterable[str]) -> list[str]:
    """Those of the arrays' names that are weights with u and v beside them."""
    return [name.removesuffix("_u") for name in names if name.endswith(".weight_u")]


def vector_names(weight: str) -> tuple[str, str]:
    """The names of u and v of the weight with this name."""
    return f"{weight}_u", f"{weight}_v"


def find_vectors(arrays: Mapping[str, np.ndarray], weights: Iterable[str]) -> dict[str, np.ndarray]:
    """u and v, by their names, of these weights among `arrays`."""
    return {name: vector for weight in weights for name, vector in zip(vector_names(weight), singular_vectors(arrays[weight]), strict=True)}


def singular_vectors(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left (out,) and right (in k k,) unit vectors of the largest singular value of a convolution's weight (out, in, k, k), in its dtype.

    From the Gram matrix, exactly. Power iteration from a member's vectors is as exact for weights with a few large singular values, but for
    those of a random matrix, which lie close together, 30 rounds leave the norm up to 2% off, and 500 cost five times as much as this
    (512x4608: 33 ms; all 27 weights of the full-size painter: 0.9 s).
    """
    matrix = weight.reshape(len(weight), -1)
    last = len(matrix) - 1
    left = eigh(matrix @ matrix.T, subset_by_index=[last, last])[1][:, 0].astype(weight.dtype)
    right = left @ matrix
    return left, right / max(np.linalg.norm(right), np.finfo(weight.dtype).tiny)
