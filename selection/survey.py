"""One pass over a training set: each file is read once, and what it took to know is found again by content.

The pass finds everything that is wrong with the set, the hashes of its files, its single-class photos, and, for a judge that is at hand, the
reference that images are compared with. After that the same files, wherever they lie, are read for their hashes alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apfgan.data import Pair, PairHashes, check_dataset, find_pairs, hash_pairs, read_photos, set_hashes
from apfgan.files import hash_value, write_json
from apfgan.labels import Classes
from apfgan.progress import SILENT, Progress
from apfgan.runs import Run
from apfgan.single_class import SingleClassPhotos
from metrics.judges import FeatureJudge
from metrics.reference import Reference

VERSION = 1
"""Goes up whenever the same files would give another survey."""

_BATCH = 16
"""Photos that a judge sees together."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a training set without problems is made of."""

    pairs: tuple[Pair, ...]
    """All of them, in natural order."""
    hashes: Mapping[str, PairHashes]
    """Of each pair's files, by its stem."""
    single_class: SingleClassPhotos
    """The photos (names of files in `train/imgs`) whose label map has one class only."""

    @property
    def photos_key(self) -> str:
        """What `hash_photos` gives for the photos."""
        return set_hashes(self.hashes).photo


def survey_data(run: Run, data: Path, *, judge: FeatureJudge | None = None, progress: Progress = SILENT) -> Survey:
    """The survey of the training set in `data`: the one that `run` keeps of these files, or else made in one pass and kept.

    With a `judge`, the run afterwards keeps the reference of the photos, too (`find_reference`). Raises `DataError` with all that is wrong
    with the data. The run must be locked by the caller.
    """
    classes = run.config.data.label_classes
    if any(run.features.glob("survey_*.json")):  # else to hash first would be to read everything twice
        pairs = tuple(find_pairs(data))
        hashes = hash_pairs(pairs, progress=progress)
        if (single_class := _read(_survey_path(run, hashes, classes))) is not None:
            survey = Survey(pairs, hashes, single_class)
            if judge is not None:
                find_reference(run, judge, [pair.photo for pair in pairs], photos_key=survey.photos_key, progress=progress)
            return survey
    features = None if judge is None else _Features(judge)
    report = check_dataset(data, classes, visit=features.add if features else None, progress=progress)
    report.raise_problems()
    survey = Survey(report.pairs, report.hashes, report.single_class)
    if features is not None:
        features.fit_reference().save(_reference_path(run, features.judge, survey.photos_key))
    # Last, so that whatever a kill interrupts is done again.
    write_json(_survey_path(run, report.hashes, classes), {"pairs": len(report.pairs), "single_class": dict(report.single_class)})
    return survey


def find_reference(run: Run, judge: FeatureJudge, photos: Sequence[Path], *, photos_key: str, progress: Progress = SILENT) -> tuple[Reference, str]:
    """The reference of `photos` before `judge`, and its key: the one that `run` keeps, or else fitted and kept.

    `photos_key` is what `hash_photos` gives for them.
    """
    path = _reference_path(run, judge, photos_key)
    if not path.exists():
        features = _Features(judge)
        with progress.task("look at the photos", len(photos)) as task:
            for photo in read_photos(photos):
                features.add(photo)
                task.advance()
        features.fit_reference().save(path)
    return Reference.load(path), path.stem.removeprefix("reference_")


class _Features:
    """What a judge observes in photos that come one by one."""

    def __init__(self, judge: FeatureJudge) -> None:
        self.judge = judge
        self._waiting: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []

    def add(self, photo: np.ndarray) -> None:
        self._waiting.append(photo)
        if len(self._waiting) == _BATCH:
            self._look()

    def fit_reference(self) -> Reference:
        """The reference of all photos that were added."""
        if self._waiting:
            self._look()
        return self.judge.fit_reference(np.concatenate(self._rows))

    def _look(self) -> None:
        self._rows.append(self.judge.observe_photos(self._waiting))
        self._waiting = []


def _survey_path(run: Run, hashes: Mapping[str, PairHashes], classes: Classes) -> Path:
    key = hash_value({"version": VERSION, "files": set_hashes(hashes), "classes": len(classes), "ignore": classes.ignore})
    return run.features / f"survey_{key}.json"


def _reference_path(run: Run, judge: FeatureJudge, photos_key: str) -> Path:
    return run.features / f"reference_{hash_value({'photos': photos_key, 'judge': dict(judge.identity)})}.npz"


def _read(path: Path) -> SingleClassPhotos | None:
    """The single-class photos of a kept survey; None where there is none, or where it is damaged, for it is made again."""
    try:
        kept = json.loads(path.read_bytes())["single_class"]
        return {int(class_id): tuple(names) for class_id, names in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
