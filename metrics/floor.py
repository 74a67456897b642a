"""The floor of a Fréchet distance: how far photos are from other photos, which no generator can be expected to beat (spec: metrics, 5.3).

The distance of a finite set is too large, and the more so the smaller the set, so a score is told with the floor at as many images.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from metrics.frechet import Gaussian, frechet_distance
from metrics.reference import Reference

_SINGULAR = 1e-4
"""Deviation of the rest, as a part of the whole's, below which something varies in the chosen alone: rounding would take its place."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The distance of random photos from the rest, over several splits."""

    mean: float
    """In the metric's unit."""
    deviation: float
    """Standard deviation over the splits."""
    images: int
    splits: int


def measure_floor(reference: Reference, images: int, *, splits: int = 20, seed: int = 0) -> Floor | None:
    """The distance of so many random photos from all others, `splits` times.

    None where that cannot be told: the photos' features are not known, or the `images` are fewer than 2 or more than half of the photos.
    Which photos are drawn follows from `seed` alone. Measured for 1000 of 10 000 photos and D=2048 on one core: 1 s a split.
    """
    features = reference.features
    if features is None or not 2 <= images <= len(features) // 2:
        return None
    source = np.random.default_rng(seed)
    values = []
    for _ in range(splits):
        chosen = np.zeros(len(features), dtype=bool)
        chosen[source.permutation(len(features))[:images]] = True
        values.append(frechet_distance(features[chosen], _rest(reference.gaussian, features, chosen)) / reference.unit)
    return Floor(float(np.mean(values)), float(np.std(values, ddof=1)) if splits > 1 else 0.0, images, splits)


def _rest(whole: Gaussian, features: np.ndarray, chosen: np.ndarray) -> Gaussian:
    """The Gaussian of the features (M, D) that were not chosen (M,), from that of all of them.

    Their scatter is that of all, less that of the chosen, less what the difference of the two means adds. In coordinates in which the whole has
    unit covariance that is well conditioned (if not, the rest is fitted), and its Cholesky factor costs a tenth of the eigenproblem of a fit.
    """
    count, dimensions = features.shape
    images = int(chosen.sum())
    left = count - images
    if left > dimensions:
        variances = np.square(whole.factor).sum(axis=0)  # the factor's columns are orthogonal here
        white = (features[chosen] - whole.mean) @ (whole.factor / variances)
        shift = white.mean(axis=0)
        within = white - shift
        # The rest's mean lies on the other side of the whole's, which is the origin.
        scatter = (count - 1) * np.eye(len(shift)) - within.T @ within - images * count / left * np.outer(shift, shift)
        with suppress(np.linalg.LinAlgError):
            root = np.linalg.cholesky(scatter / (left - 1))
            if root.diagonal().min(initial=1) > _SINGULAR:
                return Gaussian(whole.mean - images / left * (whole.factor @ shift), whole.factor @ root)
    return Gaussian.fit(features[~chosen])
