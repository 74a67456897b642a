"""Precision and recall of features against the photos', each set taken as balls around its members (Kynkäänniemi et al. 2019, eq. 1 and 2).

A ball reaches from a member to its third nearest neighbour in the same set. Precision is the share of images inside a photo's ball: are they
like photos? Recall is the share of photos inside an image's ball: is everything that is on photos drawn, too? Both grow with the number of
images and photos, so they compare only at equal numbers.
"""

from dataclasses import dataclass

import numpy as np

from apfgan.errors import DataError
from apfgan.measured import Measured
from metrics.frechet import check_finite
from metrics.products import products, squares

NEIGHBOURS = 3
"""As in the paper."""

_ROUNDING = 1e-12
"""Part of the features' squared length by which a squared distance may be wrong: images that agree to a millionth are one."""


@dataclass(frozen=True, eq=False)
class Manifold:
    """Precision and recall of one set of images, each 0 to 1, higher is better."""

    precision: Measured
    recall: Measured


def neighbour_radii(features: np.ndarray) -> np.ndarray:
    """Distance float64 (N,) from each row of features (N, D) to its third nearest other row. N is at least 4."""
    if len(features) <= NEIGHBOURS:
        raise DataError(f"a ball to the nearest {NEIGHBOURS} neighbours needs at least {NEIGHBOURS + 1} photos; there are {len(features)}")
    return _nearest(features, NEIGHBOURS)[0][:, -1]


def measure_manifold(*, fake: np.ndarray, real: np.ndarray, real_radii: np.ndarray | None = None) -> Manifold:
    """Precision and recall of images' features `fake` (N, D) against photos' features `real` (M, D); the photos are taken as given.

    `real_radii` is `neighbour_radii(real)`, if that is known already. An image's influence on precision is that of a mean. Its influence on
    recall is what its absence changes (a jackknife): its ball goes, and those that ended at it grow to the next neighbour.
    Raises `DataError` for fewer than 5 images or 4 photos, different D, or a feature that is not finite.
    """
    if len(fake) < NEIGHBOURS + 2:
        raise DataError(f"precision and recall need at least {NEIGHBOURS + 2} images; there are {len(fake)}")
    if fake.shape[1:] != real.shape[1:]:
        raise DataError(f"the images have features {fake.shape[1:]}, the photos {real.shape[1:]}: they come from different judges")
    check_finite(fake)
    check_finite(real)
    reach = np.square(neighbour_radii(real) if real_radii is None else real_radii)
    distances, neighbours = _nearest(fake, NEIGHBOURS + 1)
    ball, grown = np.square(distances[:, [-2]]), np.square(distances[:, [-1]])
    fake_squares, real_squares = squares(fake)[:, np.newaxis], squares(real)
    like_photos = np.zeros(len(fake), dtype=bool)
    covered = 0
    change = np.zeros(len(fake))  # in the number of covered photos, were the image absent
    for piece, product in products(fake, real):
        squared = (fake_squares + real_squares[piece]) * (1 - _ROUNDING) - 2 * product
        like_photos |= (squared <= reach[piece]).any(axis=1)
        inside = squared <= ball
        balls = inside.sum(axis=0)
        covered += int((balls > 0).sum())
        # Only a photo in one ball can be lost and only one in none can be won; an image's absence wins what the grown balls of those hold
        # whose neighbour it was.
        open_to_change = balls <= 1
        alone = inside[:, open_to_change]
        reached = (squared[:, open_to_change] <= grown) & ~alone
        saved = np.zeros_like(reached)
        for image, near in enumerate(neighbours[:, :NEIGHBOURS]):
            saved[near] |= reached[image]
        was_covered = balls[open_to_change] > 0
        change += (saved & ~was_covered).sum(axis=1) - (alone & ~saved).sum(axis=1)
    count = len(fake)
    pull = -(count - 1) * change / len(real)
    return Manifold(Measured.mean(like_photos.astype(np.float64)), Measured(covered / len(real), pull - pull.mean(), count))


def _nearest(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances float64 and rows (N, `count`) of each row's nearest other rows, nearest first."""
    lengths = squares(features)
    rows = np.arange(len(features))
    nearest, index = np.empty((len(features), 0)), np.empty((len(features), 0), dtype=np.intp)
    for piece, product in products(features, features):
        squared = np.maximum(lengths[:, np.newaxis] + lengths[piece] - 2 * product, 0)
        squared[rows[piece], rows[piece] - piece.start] = np.inf
        nearest = np.hstack([nearest, squared])
        index = np.hstack([index, np.broadcast_to(rows[piece], squared.shape)])
        kept = np.argpartition(nearest, min(count, nearest.shape[1]) - 1, axis=1)[:, :count]
        nearest, index = np.take_along_axis(nearest, kept, axis=1), np.take_along_axis(index, kept, axis=1)
    order = np.argsort(nearest, axis=1)
    return np.sqrt(np.take_along_axis(nearest, order, axis=1)), np.take_along_axis(index, order, axis=1)
