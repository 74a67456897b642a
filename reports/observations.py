"""What the judges saw in each image of a candidate, read back from the run's `features/`.

N images, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
    correct: np.ndarray
    """int64 (N,): pixels in which the judge found the class that was asked for."""
    aesthetic: np.ndarray
    """float (N,)."""
    confusion: np.ndarray
    """int64 (C, C): pixels of all images by given and found class."""

    @property
    def accuracy(self) -> np.ndarray:
        """float64 (N,): share of correct pixels; NaN for an image without a labelled pixel."""
        return _ratio(self.correct, self.given.sum(axis=1))

    @property
    def class_accuracy(self) -> np.ndarray:
        """float64 (C,): share of a class's given pixels that were found; NaN where there are none."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def class_iou(self) -> np.ndarray:
        """float64 (C,): found and given, over found or given; NaN for a class that occurs in neither."""
        both = np.diag(self.confusion)
        return _ratio(both, self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - both)

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
    parts = []
    for path in paths:
        try:
            arrays = read_arrays(path)
            parts.append((arrays["stem"], arrays["confusion"].astype(np.int64), arrays["aesthetic"]))
        except KeyError as error:
            raise DataError(
                f"{path} holds no {error.args[0]!r}. Delete its folder and run apfgan score again: it measures that candidate anew."
            ) from error
    return _join(parts)


def _join(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Observations:
    return Observations(
        stems=tuple(str(stem) for names, _, _ in parts for stem in names),
        given=np.concatenate([confusion.sum(axis=2) for _, confusion, _ in parts]),
        correct=np.concatenate([np.trace(confusion, axis1=1, axis2=2) for _, confusion, _ in parts]),
        aesthetic=np.concatenate([aesthetic for _, _, aesthetic in parts]),
        confusion=np.sum([confusion.sum(axis=0) for _, confusion, _ in parts], axis=0),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
