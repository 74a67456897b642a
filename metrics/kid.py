"""The kernel distance (KID) of features from the photos', and its standard error (Bińkowski et al. 2018, section 4).

The squared maximum mean discrepancy under the kernel (x·y / D + 1)³, estimated without bias from all pairs instead of from random subsets:
no subset can be too large, nothing is drawn, and its noise is smaller. The value is the distance itself; some publish it times 1000.
"""

import numpy as np

from apfgan.errors import DataError
from apfgan.measured import Measured
from metrics.frechet import check_finite
from metrics.products import products, squares


def kernel_mean(features: np.ndarray) -> float:
    """Mean of the kernel over all pairs of different rows of features (N, D): the photos' part of the distance."""
    return float(_mean_to_others(features).mean())


def measure_kid(*, fake: np.ndarray, real: np.ndarray, real_kernel: float | None = None) -> Measured:
    """KID of images' features `fake` (N, D) from photos' features `real` (M, D), with each image's influence; the photos are taken as given.

    Unbiased, hence below 0 by chance where the two are alike. `real_kernel` is `kernel_mean(real)`, if it is known already.
    The standard error is slightly too large for a set so close to the photos that the distance is mostly noise.
    Raises `DataError` for fewer than two images or photos, different D, or a feature that is not finite.
    """
    for features in (fake, real):
        if features.ndim != 2 or len(features) < 2:
            raise DataError(f"KID needs the features of at least 2 images, as (N, D); there are {features.shape}")
        check_finite(features)
    if fake.shape[1] != real.shape[1]:
        raise DataError(f"the images have {fake.shape[1]} features, the photos {real.shape[1]}: they come from different judges")
    within = _mean_to_others(fake)
    across = _kernel_sums(fake, real) / len(real)
    value = within.mean() - 2 * across.mean() + (kernel_mean(real) if real_kernel is None else real_kernel)
    pull = within - across
    return Measured(float(value), 2 * (pull - pull.mean()), len(fake))


def _mean_to_others(features: np.ndarray) -> np.ndarray:
    """Mean kernel (N,) of each row with the other ones."""
    own = _kernel(squares(features), features.shape[1])
    others: np.ndarray = (_kernel_sums(features, features) - own) / (len(features) - 1)
    return others


def _kernel_sums(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sum (N,) of each row's kernel with all columns."""
    return np.sum([_kernel(piece, rows.shape[1]).sum(axis=1) for _, piece in products(rows, columns)], axis=0)


def _kernel(product: np.ndarray, dimensions: int) -> np.ndarray:
    return (product / dimensions + 1) ** 3
