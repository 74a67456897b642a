"""One pass over a training set: each file is read once, and what it took to know is found again by content.

The pass finds everything that is wrong with the set, the hashes of its files, its single-class photos, and, for a judge that is at hand, the
reference that images are compared with. After that the same files, wherever they lie, are read for their hashes alone.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apfgan.data import Pair, PairHashes, check_dataset, find_pairs, hash_pairs, set_hashes
from apfgan.errors import DataError
from apfgan.files import hash_value, read_arrays, write_arrays, write_json
from apfgan.image_sets import StoredImage, check_photos, hash_each, hash_named, read_images
from apfgan.labels import Classes
from apfgan.progress import SILENT, Progress
from apfgan.runs import Run
from apfgan.single_class import SingleClassPhotos
from metrics.frechet import check_finite
from metrics.judges import FeatureJudge
from metrics.reference import Reference
from metrics.scorer import observe_photos

VERSION = 1
"""Goes up whenever the same files would give another survey."""

_BATCH = 16
"""Photos that a judge sees together."""

_PIECE = 256
"""Photos whose features are written together: what a kill can cost."""


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos that images are compared with."""

    images: tuple[StoredImage, ...]
    key: str
    """Hash of each one's name and bytes, and of how they are read."""
    contents: frozenset[str] = frozenset()
    """SHA-256 of the bytes of each."""
    convert: bool = False
    """How they are read: see `apfgan.images.decode_photo`."""


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
    def photos(self) -> Photos:
        """The photos of all pairs."""
        return Photos(
            images=tuple(StoredImage(pair.photo) for pair in self.pairs),
            key=set_hashes(self.hashes).photo,
            contents=frozenset(each.photo for each in self.hashes.values()),
        )


def survey_data(run: Run, data: Path, *, judge: FeatureJudge | None = None, progress: Progress = SILENT) -> Survey:
    """The survey of the training set in `data`: the one that `run` keeps of these files, or else made in one pass and kept.

    With a `judge`, that pass makes the reference of the photos, too, which `find_reference` then finds. Raises `DataError` with all that is
    wrong with the data. The run must be locked by the caller.
    """
    classes = run.config.data.label_classes
    if any(run.features.glob("survey_*.json")):  # else to hash first would be to read everything twice
        pairs = tuple(find_pairs(data))
        hashes = hash_pairs(pairs, progress=progress)
        if (single_class := _read(_survey_path(run, hashes, classes))) is not None:
            return Survey(pairs, hashes, single_class)
    features = None if judge is None else _Features(judge)
    report = check_dataset(data, classes, visit=features.add if features else None, progress=progress)
    report.raise_problems()
    survey = Survey(report.pairs, report.hashes, report.single_class)
    if features is not None:
        path = run.features / _reference_name(survey.photos.key, hash_value(dict(features.judge.identity)))
        features.fit_reference().save(path)
    # Last, so that whatever a kill interrupts is done again.
    write_json(_survey_path(run, report.hashes, classes), {"pairs": len(report.pairs), "single_class": dict(report.single_class)})
    return survey


def survey_photos(run: Run, images: Sequence[StoredImage], *, convert: bool = False, progress: Progress = SILENT) -> Photos:
    """Photos that are no training set: all of them are decoded, unless `run` keeps a reference of these very files.

    Raises `DataError` with all that cannot be used. `convert`: see `apfgan.images.decode_photo`.
    """
    hashes = hash_each(images)
    key = hash_named(hashes)
    photos = Photos(
        images=tuple(images),
        key=hash_value({"photos": key, "convert": True}) if convert else key,
        contents=frozenset(content for _, content in hashes),
        convert=convert,
    )
    if not any(run.features.glob(_reference_name(photos.key, "*"))):
        check_photos(images, convert=convert, progress=progress)
    return photos


def find_reference(run: Run, judge: FeatureJudge, photos: Photos, *, progress: Progress = SILENT) -> Reference:
    """What is known of the photos before `judge`: what `run` keeps, or else fitted and kept.

    What was seen before a kill is not looked at again.
    """
    path = run.features / _reference_name(photos.key, hash_value(dict(judge.identity)))
    with suppress(DataError):  # missing, or damaged: made again
        return Reference.load(path, distance=judge.distance)
    pieces = path.with_suffix("")
    rows = []
    with progress.task("look at the photos", len(photos.images), unit="photos") as task:
        for start in range(0, len(photos.images), _PIECE):
            rows.append(_observe_piece(pieces / f"{start:06d}.npz", judge, photos.images[start : start + _PIECE], convert=photos.convert))
            task.advance(len(rows[-1]))
    reference = judge.fit_reference(np.concatenate(rows))
    reference.save(path)
    shutil.rmtree(pieces)
    return reference


def _observe_piece(path: Path, judge: FeatureJudge, images: Sequence[StoredImage], *, convert: bool) -> np.ndarray:
    """The features of some photos, read from `path` if they are there."""
    with suppress(FileNotFoundError, DataError):
        return read_arrays(path)["features"]
    features = observe_photos(judge, read_images(images, convert=convert))
    check_finite(features, [image.stem for image in images])
    write_arrays(path, {"features": features})
    return features


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


def _reference_name(photos_key: str, judge_key: str) -> str:
    return f"reference_{photos_key[:24]}_{judge_key[:24]}.npz"


def _read(path: Path) -> SingleClassPhotos | None:
    """The single-class photos of a kept survey; None where there is none, or where it is damaged, for it is made again."""
    try:
        kept = json.loads(path.read_bytes())["single_class"]
        return {int(class_id): tuple(names) for class_id, names in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
