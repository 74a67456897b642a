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

from apfgan.errors import DataError
from apfgan.labels import Classes
from apfgan.records import Estimate
from metrics.frechet import Reference, measure_distance
from metrics.measured import Measured

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


def mask_accuracy(confusion: np.ndarray) -> Measured:
    """Share of valid pixels whose class was seen as given, from confusion (N, C, C), averaged over images as the contest does.

    An image without a valid pixel is left out; raises `DataError` when none is left.
    """
    valid = confusion.sum(axis=(1, 2), dtype=np.float64)
    if not valid.any():
        raise DataError("no image has a labelled pixel: mask accuracy has no meaning. Check the label maps and the data set's ignore value.")
    correct = np.trace(confusion, axis1=1, axis2=2).astype(np.float64)
    return Measured.mean(np.divide(correct, valid, out=np.full(len(valid), np.nan), where=valid > 0))


def aesthetic_score(scores: np.ndarray) -> Measured:
    """Mean of the images' scores (N,)."""
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        raise DataError(f"the aesthetic score of image {broken[0]} (counted from 0) is not finite: look at that image")
    return Measured.mean(scores.astype(np.float64))


def count_confusion(label_maps: np.ndarray, predicted: np.ndarray, classes: Classes) -> np.ndarray:
    """Pixels by [given, seen] class, uint32 (N, C, C), of label maps and predictions (N, H, W); ignored pixels are not counted.

    Raises `DataError` for a class id that does not exist.
    """
    count = len(classes)
    confusion = np.empty((len(label_maps), count, count), dtype=np.uint32)
    for row, (given, seen) in enumerate(zip(label_maps, predicted, strict=True)):
        valid = given != classes.ignore if classes.ignore is not None else np.ones(given.shape, dtype=bool)
        ids = given[valid].astype(np.int64)
        unknown = ids[(ids < 0) | (ids >= count)]
        if unknown.size:
            raise DataError(f"label map {row} (counted from 0) holds class {unknown[0]}; classes are 0 to {count - 1}")
        confusion[row] = np.bincount(ids * count + seen[valid], minlength=count * count).reshape(count, count)
    return confusion
