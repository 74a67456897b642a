"""What a judge is, and the set of judges that together observe what every score is made of.

A judge turns images and the label maps they were drawn for into observations: arrays with one row an image. Statistics are functions of
stored observations, so that any of them can be had again without an image. Observations, N images and C classes:

- `features`   float32 (N, D): where the image lies in the feature judge's space
- `confusion`  uint32 (N, C, C): pixels by [given class, seen class]; ignored pixels are not counted
- `aesthetic`  float64 (N,): 0 to 10, higher is better
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from apfgan.confusion import mask_accuracy
from apfgan.errors import DataError
from apfgan.measured import Measured
from apfgan.records import Estimate
from metrics.frechet import Reference, measure_distance

Observations = Mapping[str, np.ndarray]
"""One row an image, by the names above."""


class Judge(Protocol):
    """Something that looks at images.

    An image's observations do not depend on the images beside it: however a set is cut into batches, features and aesthetic scores agree to
    1e-4 of their spread, and confusion to the odd pixel whose two best classes tie in floating point.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values: its name and everything that could change its numbers (hashes of weights, sizes, resize rules)."""

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """Observations of images uint8 (N, H, W, 3) drawn for label maps (N, H, W) of integers."""


class FeatureJudge(Judge, Protocol):
    """A judge that observes features, and knows how photos are brought before it."""

    @property
    def distance(self) -> str:
        """Name of the distance between its features: `fid` for pytorch-fid's Inception network, else a name of its own."""

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Features float32 (N, D) of a few of the photos that images are compared with, uint8 (H, W, 3) each, at the judge's own geometry."""

    def fit_reference(self, features: np.ndarray) -> Reference:
        """The reference for `score`, from the photos' features (N, D)."""


@dataclass(frozen=True, eq=False)
class Judges:
    """The judges that score together. One judge may serve in several places; it then looks at an image only once."""

    name: str
    """`standard` or `embedded`: every result says which."""
    mask: Judge
    """Observes `confusion`."""
    aesthetic: Judge
    """Observes `aesthetic`."""
    features: FeatureJudge
    """Observes `features`."""

    @property
    def distance(self) -> str:
        """Name of the distance metric."""
        return self.features.distance

    @property
    def metrics(self) -> tuple[str, str, str]:
        """Names of what `score` returns."""
        return ("mask_accuracy", "aesthetic", self.distance)

    @property
    def identity(self) -> dict[str, Any]:
        """JSON values: all that could change a number, for the protocol and the content keys."""
        return {
            "judges": self.name,
            "distance": self.distance,
            "mask": dict(self.mask.identity),
            "aesthetic": dict(self.aesthetic.identity),
            "features": dict(self.features.identity),
        }

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """All observations of images uint8 (N, H, W, 3) and their label maps (N, H, W)."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
            raise DataError(f"judges take RGB images as uint8 (N, H, W, 3), not {images.dtype} {images.shape}")
        if label_maps.shape != images.shape[:3] or label_maps.dtype.kind not in "iu":
            raise DataError(
                f"images of {images.shape[:3]} (N, H, W) need integer label maps of the same size, not {label_maps.dtype} {label_maps.shape}"
            )
        observed: dict[str, np.ndarray] = {}
        for judge in dict.fromkeys((self.mask, self.aesthetic, self.features)):
            observed |= judge.observe(images, label_maps)
        return observed


def measure(observations: Observations, reference: Reference) -> dict[str, Measured]:
    """Mask accuracy, aesthetic score and distance (under its own name), each with every image's influence.

    Raises `DataError` for fewer than two images, or for observations that are not finite.
    """
    return {
        "mask_accuracy": mask_accuracy(observations["confusion"]),
        "aesthetic": aesthetic_score(observations["aesthetic"]),
        reference.distance: measure_distance(observations["features"], reference),
    }


def score(observations: Observations, reference: Reference) -> dict[str, Estimate]:
    """The same as values with their standard errors over images."""
    return {name: measured.estimate for name, measured in measure(observations, reference).items()}


def aesthetic_score(scores: np.ndarray) -> Measured:
    """Mean of the images' scores (N,)."""
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise DataError(f"the aesthetic score of image {broken[0]} (counted from 0) is not finite: look at that image")
    return Measured.mean(scores.astype(np.float64))
