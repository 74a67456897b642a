"""Photos of nothing but one class, and the drawings that give way to one of them (spec: method, 10).

Where a label map to draw is almost all of one class (nothing but sea), the original program shows a training photo of that class instead. Which
drawing gets which photo follows from the label maps alone, so it is planned for the whole set before anything is drawn: a drawing that is
made again later, or alone, gets the same photo.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from apfgan.images import resize_photo
from apfgan.labels import Classes

DOMINANT_SHARE = 0.98
"""A class dominates a label map when more than this share of all pixels is its own."""

SCHEME = "more than 0.98 of a class: its pixels from a photo of it, the last photo first, each once/1"
"""Name of the rule of `plan_replacements` and `paste_photo`; part of the content keys of images that it changed."""

SingleClassPhotos = Mapping[int, tuple[str, ...]]
"""By class id, the names of the photo files whose whole label map is of that class, in natural order."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What becomes of the drawing for a label map that one class dominates."""

    class_id: int
    """Its pixels are the ones to replace."""
    photo: str | None
    """File name of the photo that replaces them; None: no photo of the class was left, and the drawing stays."""


def only_class(label_map: np.ndarray, classes: Classes) -> int | None:
    """The class that every pixel of `label_map` (H, W) has; None where there are several, or pixels without a class."""
    first = int(label_map.flat[0])
    return first if first < len(classes) and (label_map == first).all() else None


def dominant_class(label_map: np.ndarray, classes: Classes) -> int | None:
    """The class of more than `DOMINANT_SHARE` of all pixels of `label_map` (H, W), those without a class counted; None if there is none."""
    counts = np.bincount(label_map.ravel(), minlength=len(classes))[: len(classes)]
    largest = int(counts.argmax())
    return largest if counts[largest] > DOMINANT_SHARE * label_map.size else None


def plan_replacements(label_maps: Iterable[tuple[str, np.ndarray]], photos: SingleClassPhotos, classes: Classes) -> dict[str, Replacement]:
    """By stem, what becomes of each drawing whose label map, of (stem, ids (H, W)), one class dominates.

    `label_maps` are of the drawings' size and in natural order, in which they are served. The last photo of a class goes first and each goes
    once; when none is left the drawing stays. (The original stops with an error there.)
    """
    unused = {class_id: list(names) for class_id, names in photos.items()}
    plan = {}
    for stem, label_map in label_maps:
        if (class_id := dominant_class(label_map, classes)) is not None:
            left = unused.get(class_id)
            plan[stem] = Replacement(class_id, left.pop() if left else None)
    return plan


def paste_photo(pixels: np.ndarray, label_map: np.ndarray, photo: np.ndarray, *, class_id: int) -> np.ndarray:
    """`pixels` uint8 (H, W, 3) with those of the class, by `label_map` (H, W), taken from `photo`.

    The photo, uint8 of any size, is resized to the drawing's straight away, whatever its shape.
    """
    height, width = label_map.shape
    return np.where((label_map == class_id)[..., np.newaxis], resize_photo(photo, (width, height)), pixels)
