"""What a mask judge is worth: how far it agrees with the label maps of real photos that it was not fitted on.

That is the ceiling of mask accuracy: of an image that is as good as a photo, the judge agrees with no more. And it is an alarm: classes that
are off by one, or named otherwise, make every score worthless and raise no error (spec: metrics, 4, pitfall 26).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice

import numpy as np
from scipy.optimize import linear_sum_assignment

from apfgan.confusion import ClassScores, class_scores, mask_accuracy, mean_iou
from apfgan.data import Pair, read_pair
from apfgan.errors import DataError
from apfgan.images import resize_label_map, resize_photo
from apfgan.labels import Classes
from apfgan.measured import Measured
from apfgan.progress import SILENT, Progress
from apfgan.records import Estimate
from apfgan.threads import in_threads
from metrics.judges import Judge

FEW_IMAGES = 20
"""A class in fewer images than this is named with a mark: its figures say little."""

_MUCH_BETTER = 0.2
"""Other names for the classes are suspected when they would be agreed with in at least this much more of each class, and twice as much:
what a mixture of classes of a weak judge never gives."""

_TOGETHER = 16
"""Photos of one size that a judge is shown together."""


@dataclass(frozen=True, eq=False)
class Check:
    """How far a judge agrees with N label maps of C classes."""

    accuracy: Measured
    """Share of each map's labelled pixels that were seen as given, averaged over the maps."""
    iou: Measured
    """Mean over the classes of intersection over union."""
    classes: ClassScores
    alarms: tuple[str, ...]
    """What makes the judge suspicious, and what to do about it."""


def judge_photos(
    judge: Judge, pairs: Sequence[Pair], classes: Classes, *, size: tuple[int, int] | int | None = None, progress: Progress = SILENT
) -> np.ndarray:
    """What `judge`, which observes `confusion`, sees in the photos: uint32 (N, C, C) of pixels by [given, seen] class.

    `size` is the (width, height) to which photos and label maps are brought, as those of a generator are; or the length of the short side;
    None: as they are. Raises `DataError` for no pairs, or one that cannot be read.
    """
    if not pairs:
        raise DataError("there is no pair of a photo and a label map to judge")
    rows = []
    read = in_threads(partial(_read, classes=classes, size=size), pairs)
    with progress.task("judge photos", len(pairs), unit="photos") as task, closing(read):
        for _, alike in groupby(read, key=lambda each: each[0].shape):
            while few := list(islice(alike, _TOGETHER)):
                photos, label_maps = zip(*few, strict=True)
                rows.append(judge.observe(np.stack(photos), np.stack(label_maps))["confusion"])
                task.advance(len(few))
    return np.concatenate(rows)


def check(confusion: np.ndarray, classes: Classes) -> Check:
    """What confusion (N, C, C) says of the judge; raises `DataError` where no pixel is labelled."""
    return Check(mask_accuracy(confusion), mean_iou(confusion), class_scores(confusion), tuple(find_alarms(confusion, classes)))


def class_estimates(found: Check) -> list[tuple[Estimate | None, Estimate | None]]:
    """Accuracy and IoU of each class with their standard errors over images; None where a class was never given, or neither given nor seen."""
    scores = found.classes
    return [
        (_estimate(scores.accuracy, scores.accuracy_influence, index, images), _estimate(scores.iou, scores.iou_influence, index, images))
        for index, images in enumerate(scores.images.tolist())
    ]


def find_alarms(confusion: np.ndarray, classes: Classes) -> list[str]:
    """Reasons to doubt that judge and label maps mean the same by their classes, from confusion (N, C, C)."""
    total = confusion.sum(axis=0, dtype=np.int64)
    given = total.sum(axis=1)
    shares = total / np.maximum(given, 1)[:, None]
    present = np.flatnonzero(given)
    agreed = shares.diagonal()[present].mean()
    alarms = []
    shifted = {step: shares.diagonal(step).sum() / len(present) for step in (-1, 1)}
    step = max(shifted, key=lambda each: float(shifted[each]))
    row, column = linear_sum_assignment(-shares[present])
    renamed = shares[present][row, column].mean()
    if _much_better(shifted[step], agreed):
        alarms.append(
            f"the judge sees class {'n + 1' if step > 0 else 'n - 1'} where the label maps say n: of each class it agrees with {agreed:.0%} of the "
            f"pixels, and shifted by one with {shifted[step]:.0%}. Was it trained with reduce_labels, or are the label maps' ids counted from 1?"
        )
    elif _much_better(renamed, agreed):
        pairs = [
            (int(present[one]), int(other)) for one, other in zip(row, column, strict=True) if present[one] != other and shares[present[one], other]
        ]
        examples = ", ".join(f"{classes.names[one]} as {classes.names[other]}" for one, other in pairs[:3])
        alarms.append(
            f"the judge seems to call the classes by other names ({examples}, ...): of each class it agrees with {agreed:.0%} of the pixels, and "
            f"renamed with {renamed:.0%}. Compare id2label in its config.json with the data set's classes."
        )
    most = int(given.argmax())
    if (seen := np.trace(total) / given.sum()) < (guessed := given[most] / given.sum()):
        alarms.append(
            f"the judge agrees with {seen:.1%} of all pixels; to say {classes.names[most]!r} of every one of them would agree with {guessed:.1%}. "
            "Mask accuracy by this judge means nothing."
        )
    return alarms


def _estimate(values: np.ndarray, influence: np.ndarray, index: int, images: int) -> Estimate | None:
    return None if np.isnan(values[index]) else Measured(float(values[index]), influence[:, index], images).estimate


def _much_better(one: float, other: float) -> bool:
    return one > other + _MUCH_BETTER and one > 2 * other


def _read(pair: Pair, *, classes: Classes, size: tuple[int, int] | int | None) -> tuple[np.ndarray, np.ndarray]:
    photo, label_map = read_pair(pair, classes)
    wanted = _brought_to((photo.shape[1], photo.shape[0]), size)
    return resize_photo(photo, wanted), resize_label_map(label_map, wanted)


def _brought_to(photo_size: tuple[int, int], size: tuple[int, int] | int | None) -> tuple[int, int]:
    """The (width, height) at which a photo of `photo_size` is judged."""
    if size is None:
        return photo_size
    if isinstance(size, tuple):
        return size
    scale = size / min(photo_size)
    return max(1, round(photo_size[0] * scale)), max(1, round(photo_size[1] * scale))
