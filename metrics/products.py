"""Products of every image's features with every photo's, piece by piece: what needs all pairs needs little memory."""

from collections.abc import Iterator

import numpy as np

_PRODUCTS = 1 << 22
"""Products that are held together: 32 MiB of float64."""


def products(rows: np.ndarray, columns: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Which columns, and the products float64 (N, m) of all `rows` (N, D) with these `columns` (M, D), until all columns had their turn."""
    exact = rows.astype(np.float64)
    step = max(1, _PRODUCTS // len(rows))
    for start in range(0, len(columns), step):
        piece = slice(start, min(start + step, len(columns)))
        yield piece, exact @ columns[piece].astype(np.float64).T


def squares(features: np.ndarray) -> np.ndarray:
    """Squared lengths float64 (N,) of features (N, D)."""
    return np.square(features.astype(np.float64)).sum(axis=1)
