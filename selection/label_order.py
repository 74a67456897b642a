"""An order of the label maps in which the first few, however many, are a fair sample of all.

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
from apfgan.data import hash_label_maps, load_label_map
from apfgan.errors import DataError
from apfgan.files import hash_value, read_arrays, write_arrays
from apfgan.folders import normal_name
from apfgan.progress import SILENT, Progress
from apfgan.runs import Run
from apfgan.threads import in_threads

UNLABELLED = -1
"""The class of a label map in which no pixel has one."""

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


def order_label_maps(run: Run, label_maps: Sequence[Path], data: DataConfig, *, progress: Progress = SILENT) -> list[Path]:
    """The label maps in `nested_order` by the class that most of their pixels have; decoded once, then remembered in the run.

    The run must be locked by the caller. Raises the `DataError` of the first that cannot be read.
    """
    settings = {"size": [data.width, data.height], "classes": len(data.classes), "ignore": data.ignore}
    path = run.features / f"order_{hash_value({'label_maps': hash_label_maps(label_maps), **settings})}.npz"
    stems = [normal_name(each.stem) for each in label_maps]
    classes = _read_classes(path)
    if classes is None:
        with progress.task("order the label maps", len(label_maps), unit="label maps") as task:
            classes = {}
            for stem, class_id in zip(stems, in_threads(partial(_main_class, data=data), label_maps), strict=True):
                classes[stem] = class_id
                task.advance()
        write_arrays(path, {"stem": np.array(list(classes)), "class": np.array(list(classes.values()))})
    return [label_maps[position] for position in nested_order(stems, [classes[stem] for stem in stems])]


def _main_class(path: Path, *, data: DataConfig) -> int:
    """The class that most pixels have, of several the first; `UNLABELLED` where none has one."""
    counts = np.bincount(load_label_map(path, data).ravel(), minlength=len(data.classes))[: len(data.classes)]
    return int(counts.argmax()) if counts.any() else UNLABELLED


def _read_classes(path: Path) -> dict[str, int] | None:
    """The class of each label map by its name, as it was found before; None if that must be done (again)."""
    try:
        arrays = read_arrays(path)
    except (DataError, OSError):  # a damaged cache is only a cache
        return None
    return dict(zip(arrays["stem"].tolist(), arrays["class"].tolist(), strict=True))
