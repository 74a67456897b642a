"""Mask accuracy and its relatives, as functions of one confusion matrix an image: nothing else has to be kept of what a segmenter saw.

N images, C classes; `confusion[i, given, seen]` counts pixels of image i. Ignored pixels are not counted.
"""

from dataclasses import dataclass

import numpy as np

from apfgan.errors import DataError
from apfgan.labels import Classes
from apfgan.measured import Measured


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


def image_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of each image's valid pixels that were seen as given, float64 (N,); NaN for an image without one."""
    valid = confusion.sum(axis=(1, 2), dtype=np.float64)
    return _ratio(np.trace(confusion, axis1=1, axis2=2), valid)


def mask_accuracy(confusion: np.ndarray) -> Measured:
    """Share of valid pixels seen as given, from confusion (N, C, C), averaged over images as the contest does (spec: metrics, 2.5).

    An image without a valid pixel is left out; raises `DataError` when none is left.
    """
    accuracy = image_accuracy(confusion)
    if np.isnan(accuracy).all():
        raise DataError("no image has a labelled pixel: mask accuracy has no meaning. Check the label maps and the data set's ignore value.")
    return Measured.mean(accuracy)


def mean_iou(confusion: np.ndarray) -> Measured:
    """Mean over classes of intersection over union, from confusion (N, C, C): of the pixels of all images together, as mmsegmentation has it.

    A class that was neither given nor seen is left out. An image's influence is what its absence changes (the jackknife, Efron & Tibshirani 1993,
    chapter 11): a class that lies in a few images only may come and go with one, which a derivative would overlook (docs/noise.md).
    """
    both, either = _overlap(confusion)
    value = float(np.mean(_defined(both.sum(axis=0), either.sum(axis=0))))
    count = len(confusion)
    without = [np.mean(_defined(*rest)) for rest in zip(both.sum(axis=0) - both, either.sum(axis=0) - either, strict=True) if rest[1].any()]
    if len(without) < count:  # all that is labelled lies in one image
        return Measured(value, np.zeros(count), 1)
    pull = (count - 1) * (value - np.array(without))
    return Measured(value, pull - pull.mean(), int(either.any(axis=1).sum()))


@dataclass(frozen=True, eq=False)
class ClassScores:
    """What was seen of each class, over all images together. NaN where a class gives no number."""

    pixels: np.ndarray
    """int64 (C,): pixels that were given as the class."""
    images: np.ndarray
    """int64 (C,): images in which the class was given."""
    accuracy: np.ndarray
    """float64 (C,): share of the given pixels that were seen as given."""
    iou: np.ndarray
    """float64 (C,): pixels both given and seen, over pixels given or seen."""
    accuracy_influence: np.ndarray
    """float64 (N, C): influence of each image on `accuracy`, as in `apfgan.measured`; 0 where that is NaN."""
    iou_influence: np.ndarray
    """float64 (N, C): the same for `iou`."""


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Accuracy and IoU of each class with its support, from confusion (N, C, C)."""
    given = confusion.sum(axis=2, dtype=np.int64)
    both, either = _overlap(confusion)
    accuracy, accuracy_influence = _quotient(both, given)
    iou, iou_influence = _quotient(both, either)
    return ClassScores(given.sum(axis=0), (given > 0).sum(axis=0), accuracy, iou, accuracy_influence, iou_influence)


def _overlap(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels int64 (N, C) that are both given and seen as a class, and that are one or the other."""
    both = np.diagonal(confusion, axis1=1, axis2=2).astype(np.int64)
    return both, confusion.sum(axis=2, dtype=np.int64) + confusion.sum(axis=1, dtype=np.int64) - both


def _defined(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The quotients that there are; raises `DataError` where there is none."""
    if not whole.any():
        raise DataError("no image has a labelled pixel: IoU has no meaning. Check the label maps and the data set's ignore value.")
    return part[whole > 0] / whole[whole > 0]


def _quotient(part: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quotient (C,) of the sums over images of part and whole (N, C), and each image's influence on it (N, C)."""
    total = whole.sum(axis=0)
    value = _ratio(part.sum(axis=0), total)
    mean = np.maximum(total, 1) / len(whole)
    return value, np.where(total > 0, (part - np.nan_to_num(value) * whole) / mean, 0.0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
