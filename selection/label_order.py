"""What the label maps show: an order in which the first few, however many, are a fair sample of all, and a few that are worth looking at.

Label maps differ in what they show, and names often say where a photo was taken: the first of them by name are no sample of all. Here each class
has its share of every prefix, where a label map's class is the one that most of its pixels have, and which of a class comes first is decided by
a hash of its name.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from apfgan.config import DataConfig
from apfgan.data import hash_label_maps, load_label_map, spread
from apfgan.errors import DataError
from apfgan.files import hash_value, read_arrays, write_arrays
from apfgan.folders import natural_order, normal_name
from apfgan.progress import SILENT, Progress
from apfgan.runs import Run
from apfgan.threads import in_threads

UNLABELLED = -1
"""The class of a label map in which no pixel has one."""

PANEL = 12
"""Label maps whose images are kept as they were judged."""

EXTREMES = 2
"""So many of these are of a single class, and so many show a rare one."""

RARE = 0.1
"""A rare class is in no larger share of the label maps."""

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, without their whole part, are as evenly spread as numbers get that are added one by one (three-distance theorem)."""


def nested_order(stems: Sequence[str], classes: Sequence[int]) -> list[int]:
    """Positions of label maps in an order of which every prefix is stratified by class: the numbers 0 to N-1, each once.

    `stems` are names, all different, in the form of `apfgan.folders.normal_name`. A class that N·s label maps have has n·s of the first n, to within
    2, and classes with a single one are spread over the whole. Follows from names and classes alone, in whichever order they come.
    """
    left: dict[int, list[int]] = {}
    for position in sorted(range(len(stems)), key=lambda position: hash_value(stems[position]), reverse=True):
        left.setdefault(classes[position], []).append(position)
    sizes = {class_id: len(positions) for class_id, positions in left.items()}
    # Small classes fall due late; each is given a start of its own, or they would all fall due together.
    by_size = sorted(sizes, key=lambda class_id: (sizes[class_id], class_id))
    starts = {class_id: (0.5 + rank * _GOLDEN) % 1 for rank, class_id in enumerate(by_size)}
    order: list[int] = []

    def behind(class_id: int) -> tuple[float, int]:
        given = sizes[class_id] - len(left[class_id])
        return sizes[class_id] * (len(order) + 1) / len(stems) - given + starts[class_id], class_id

    while left:
        due = max(left, key=behind)  # each place goes to the class that is furthest behind its share
        order.append(left[due].pop())
        if not left[due]:
            del left[due]
    return order


def count_classes(run: Run, label_maps: Sequence[Path], data: DataConfig, *, progress: Progress = SILENT) -> np.ndarray:
    """Pixels of each class in each of N label maps at the generator's size, integers (N, C); decoded once, then remembered in the run.

    The run must be locked by the caller. Raises the `DataError` of the first that cannot be read.
    """
    settings = {"size": [data.width, data.height], "classes": len(data.classes), "ignore": data.ignore}
    path = run.features / f"order_{hash_value({'label_maps': hash_label_maps(label_maps), **settings})}.npz"
    stems = [normal_name(each.stem) for each in label_maps]
    known = _read_counts(path)
    if known is None:
        with progress.task("count the classes", len(label_maps), unit="label maps") as task:
            known = {}
            for stem, counts in zip(stems, in_threads(partial(_count, data=data), label_maps), strict=True):
                known[stem] = counts
                task.advance()
        write_arrays(path, {"stem": np.array(list(known)), "pixels": np.stack(list(known.values())).astype(np.uint32)})
    return np.stack([known[stem] for stem in stems])


def order_label_maps(label_maps: Sequence[Path], pixels: np.ndarray) -> list[Path]:
    """The label maps in `nested_order` by the class that most of their pixels have, of several the first.

    `pixels` (N, C) as `count_classes` has them.
    """
    classes = np.where(pixels.any(axis=1), pixels.argmax(axis=1), UNLABELLED).tolist()
    return [label_maps[position] for position in nested_order([normal_name(each.stem) for each in label_maps], classes)]


def choose_panel(label_maps: Sequence[Path], pixels: np.ndarray, *, size: int = PANEL) -> list[Path]:
    """A few label maps that are worth looking at, in natural order; `pixels` (N, C) as `count_classes` has them.

    Up to 2 of a single class, up to 2 that show the rarest classes (those that the fewest label maps have, one in ten at most), each where it is
    largest; the rest evenly spread over all others.
    """
    order = sorted(range(len(label_maps)), key=lambda position: natural_order(label_maps[position].stem))
    chosen = spread([position for position in order if np.count_nonzero(pixels[position]) == 1], EXTREMES)
    images = (pixels > 0).sum(axis=0)
    rare = [class_id for class_id in np.lexsort((pixels.sum(axis=0), images)).tolist() if 0 < images[class_id] <= RARE * len(label_maps)]
    for class_id in rare[:EXTREMES]:
        chosen.append(max(order, key=lambda position: int(pixels[position, class_id])))
    others = [position for position in order if position not in chosen]
    chosen += spread(others, size - len(set(chosen)))
    return [label_maps[position] for position in order if position in chosen]


def _count(path: Path, *, data: DataConfig) -> np.ndarray:
    """Pixels of each class (C,)."""
    return np.bincount(load_label_map(path, data).ravel(), minlength=len(data.classes))[: len(data.classes)]


def _read_counts(path: Path) -> dict[str, np.ndarray] | None:
    """The pixels of each class of each label map by its name, as they were counted before; None if that must be done (again)."""
    try:
        arrays = read_arrays(path)
        return dict(zip(arrays["stem"].tolist(), arrays["pixels"], strict=True))
    except (DataError, OSError, KeyError):  # a damaged cache is only a cache, and an older version kept less
        return None
