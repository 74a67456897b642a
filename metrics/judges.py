"""What a judge is, and the set of judges that together observe what every score is made of.

A judge turns images and the label maps they were drawn for into observations: arrays with one row an image. Statistics are functions of
stored observations, so that any of them can be had again without an image. Observations, N images and C classes:

- `confusion`          uint32 (N, C, C): pixels by [given class, seen class]; ignored pixels are not counted
- `features`           float32 (N, D): where the image lies in the space of the judge whose distance counts
- `features_DISTANCE`  the same of a judge that only checks
- `aesthetic`          float64 (N,): 0 to 10, higher is better; or, where an affine head turns it into that, with any head:
- `embedding`          float32 (N, E)

Beside `confusion` a mask judge gives `found`, integers (N, H, W): the class that it saw at each pixel. That is for the eye, and too large to be
stored with the rest: whoever looks gets it apart (`Look`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from apfgan.confusion import mask_accuracy, mean_iou
from apfgan.errors import DataError
from apfgan.measured import Measured
from metrics.frechet import check_finite
from metrics.reference import Reference

Observations = Mapping[str, np.ndarray]
"""One row an image, by the names above."""


@dataclass(frozen=True, eq=False)
class Look:
    """What judges saw in N images."""

    observations: dict[str, np.ndarray]
    found: np.ndarray
    """The class that the mask judge saw at each pixel, integers (N, H, W)."""


class Judge(Protocol):
    """Something that looks at images.

    An image's observations do not depend on the images beside it: however a set is cut into batches, features and aesthetic scores agree to
    1e-4 of their spread, and confusion to the odd pixel whose two best classes tie in floating point.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values: its name and everything that could change its numbers (hashes of weights, sizes, resize rules)."""

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """Observations of images uint8 (N, H, W, 3) drawn for label maps (N, H, W) of integers; a mask judge's have `found` beside `confusion`."""


class FeatureJudge(Judge, Protocol):
    """A judge that observes features, and knows how photos are brought before it."""

    @property
    def distance(self) -> str:
        """Name of the distance between its features: `fid` for pytorch-fid's Inception network, else a name of its own."""

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Features float32 (N, D) of a few of the photos that images are compared with, uint8 (H, W, 3) each, at the judge's own geometry."""

    def fit_reference(self, features: np.ndarray) -> Reference:
        """The reference for `score`, from the photos' features (N, D)."""


class Head(Protocol):
    """Turns embeddings into aesthetic scores."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values: its name and the hash of its weights."""

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """Scores float64 (N,) of embeddings (N, E)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Judges:
    """The judges that score together. One judge may serve in several places; it then looks at an image only once."""

    name: str
    """`standard` or `embedded`: every result says which."""
    mask: Judge
    """Observes `confusion`, and says what it `found`."""
    aesthetic: Judge
    """Observes `aesthetic`, or `embedding` where there is a `head`."""
    features: FeatureJudge
    """Observes `features`: its distance is the one that counts."""
    head: Head | None = None
    checks: tuple[FeatureJudge, ...] = ()
    """Feature judges whose distances are reported and never optimised on, so that a gain that only one network sees is noticed."""

    @property
    def distance(self) -> str:
        """Name of the distance that counts."""
        return self.features.distance

    @property
    def feature_judges(self) -> tuple[FeatureJudge, ...]:
        """All judges that need a reference: the one whose distance counts, then the checks."""
        return (self.features, *self.checks)

    @property
    def observing(self) -> dict[str, Any]:
        """JSON values: all that could change an observation."""
        return {
            "mask": dict(self.mask.identity),
            "aesthetic": dict(self.aesthetic.identity),
            "features": dict(self.features.identity),
            "checks": [dict(judge.identity) for judge in self.checks],
        }

    @property
    def identity(self) -> dict[str, Any]:
        """JSON values: all that could change a number, for the protocol."""
        return {"judges": self.name, "distance": self.distance, **self.observing, "head": dict(self.head.identity) if self.head else None}

    def observe(self, images: np.ndarray, label_maps: np.ndarray, names: Sequence[str] | None = None) -> Look:
        """All observations of images uint8 (N, H, W, 3) and their label maps (N, H, W).

        Raises `DataError` at once for an observation that is not finite; it calls the image by its name where `names` are given.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
            raise DataError(f"judges take RGB images as uint8 (N, H, W, 3), not {images.dtype} {images.shape}")
        if label_maps.shape != images.shape[:3] or label_maps.dtype.kind not in "iu":
            raise DataError(
                f"images of {images.shape[:3]} (N, H, W) need integer label maps of the same size, not {label_maps.dtype} {label_maps.shape}"
            )
        observed: dict[str, np.ndarray] = {}
        for judge in dict.fromkeys((self.mask, self.aesthetic, self.features)):
            observed |= judge.observe(images, label_maps)
        for judge in self.checks:
            observed[f"features_{judge.distance}"] = judge.observe(images, label_maps)["features"]
        found = observed.pop("found")
        for name, rows in observed.items():
            if name != "confusion":
                check_finite(rows, names)
        return Look(observed, found)

    def measure(self, observations: Observations, references: Sequence[Reference], *, checks: bool = True) -> dict[str, Measured]:
        """All metrics of observations, each with every image's influence; `references` in the order of `feature_judges`.

        First what a total is made of: mask accuracy, aesthetic score and the distance that counts; behind these the checks, if they are wanted.
        Raises `DataError` for fewer than two images, or for observations that are not finite.
        """
        aesthetic = observations["aesthetic"] if self.head is None else self.head.score(observations["embedding"])
        check_finite(aesthetic)
        counting, *others = references
        distances = counting.measure(observations["features"], checks=checks)
        measured = {
            "mask_accuracy": mask_accuracy(observations["confusion"]),
            "aesthetic": Measured.mean(aesthetic.astype(np.float64)),
            counting.distance: distances.pop(counting.distance),
        }
        if not checks:
            return measured
        measured |= {"mean_iou": mean_iou(observations["confusion"]), **distances}
        for reference in others:
            measured |= reference.measure(observations[f"features_{reference.distance}"])
        return measured
