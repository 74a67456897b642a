"""What the judges saw in each image of a candidate, read back from the run's `features/`.

N images, C classes.
"""

from dataclasses import dataclass

import numpy as np

from apfgan.confusion import ClassScores, class_scores, image_accuracy
from apfgan.errors import DataError
from apfgan.files import read_arrays
from apfgan.records import Measurement
from apfgan.runs import Run

LEAST_MISTAKE = 0.005
"""Share of an image's pixels from which on a mistake is remembered with its image."""


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """The M mistakes that cover at least `LEAST_MISTAKE` of their image, by image."""

    image: np.ndarray
    """int64 (M,): place of the image, ascending."""
    given: np.ndarray
    """int64 (M,): the class that was asked for."""
    found: np.ndarray
    """int64 (M,): the class that was found in its place."""
    share: np.ndarray
    """float64 (M,): of the image's labelled pixels."""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """The per-image numbers behind one measurement."""

    stems: tuple[str, ...]
    """Name of each label map (N)."""
    given: np.ndarray
    """int64 (N, C): pixels of each class in the label map."""
    accuracy: np.ndarray
    """float64 (N,): share of pixels in which the judge found the class that was asked for; NaN for an image without a labelled pixel."""
    aesthetic: np.ndarray
    """float64 (N,)."""
    confusion: np.ndarray
    """int64 (C, C): pixels of all images by given and found class."""
    classes: ClassScores
    mistakes: Mistakes

    def mistakes_in(self, stem: str) -> list[tuple[int, int, float]]:
        """What was taken for what in an image: given and found class with the share of its pixels, largest first; empty for one not seen."""
        if stem not in self.stems:
            return []
        place, all_images = self.stems.index(stem), self.mistakes
        first, behind = np.searchsorted(all_images.image, (place, place + 1))
        rows = first + np.argsort(-all_images.share[first:behind], kind="stable")
        return list(zip(all_images.given[rows].tolist(), all_images.found[rows].tolist(), all_images.share[rows].tolist(), strict=True))

    def shares(self, stem: str) -> list[tuple[int, float]]:
        """Classes of a label map with their share of its pixels, largest first; empty for a label map that was not seen."""
        if stem not in self.stems:
            return []
        pixels = self.given[self.stems.index(stem)]
        order = np.argsort(-pixels, kind="stable")
        return [(int(index), float(pixels[index] / pixels.sum())) for index in order if pixels[index] > 0]


def read_observations(run: Run, measurement: Measurement) -> Observations | None:
    """The observations behind a measurement; None when they were not kept. Raises `DataError` when they are damaged."""
    paths = sorted((run.features / measurement.observations).glob("[0-9]*.npz"))
    if not paths:
        return None
    stems: list[str] = []
    confusions = []
    for path in paths:
        arrays = read_arrays(path)
        try:
            stems += map(str, arrays["stem"])
            confusions.append(arrays["confusion"])
        except KeyError as error:
            raise DataError(
                f"{path} holds no {error.args[0]!r}. Delete its folder and run apfgan score again: it measures that candidate anew."
            ) from error
    confusion = np.concatenate(confusions)
    # A mean's influence is an image's own value less the mean.
    aesthetic = run.influences.read(measurement).get("aesthetic")
    return Observations(
        stems=tuple(stems),
        given=confusion.sum(axis=2, dtype=np.int64),
        accuracy=image_accuracy(confusion),
        aesthetic=np.full(len(stems), np.nan) if aesthetic is None else aesthetic.value + aesthetic.influence,
        confusion=confusion.sum(axis=0, dtype=np.int64),
        classes=class_scores(confusion),
        mistakes=_mistakes(confusion),
    )


def _mistakes(confusion: np.ndarray) -> Mistakes:
    """Those of each image's confusion (N, C, C)."""
    pixels = confusion.sum(axis=(1, 2), dtype=np.float64)
    large = confusion >= np.maximum(LEAST_MISTAKE * pixels, 1.0)[:, None, None]
    large &= ~np.eye(confusion.shape[1], dtype=bool)
    image, given, found = np.nonzero(large)
    return Mistakes(image=image, given=given, found=found, share=confusion[image, given, found] / pixels[image])
