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
    )
