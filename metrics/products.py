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


def nearest(rows: np.ndarray, columns: np.ndarray, *, same: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of features (N, D), the distance float64 (N,) of the nearest of the columns (M, D), and its place (N,).

    `same`: both are one set, and no row is its own neighbour.
    """
    row_squares, column_squares = squares(rows)[:, np.newaxis], squares(columns)
    best, place = np.full(len(rows), np.inf), np.zeros(len(rows), dtype=np.intp)
    for piece, product in products(rows, columns):
        squared = row_squares + column_squares[piece] - 2 * product
        if same:
            own = np.arange(piece.start, piece.stop)
            squared[own, own - piece.start] = np.inf
        first = squared.argmin(axis=1)
        value = squared[np.arange(len(rows)), first]
        nearer = value < best
        best[nearer], place[nearer] = value[nearer], first[nearer] + piece.start
    return np.sqrt(best.clip(min=0)), place
