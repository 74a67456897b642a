"""How a run is evaluated: which label maps, photos, judges and formula; chosen once by `score`, remembered for the commands after it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from apfgan.data import check_label_maps, find_label_maps, find_pairs, find_photos, hash_label_maps, hash_photos, load_label_map, spread
from apfgan.errors import DataError, UsageError
from apfgan.files import write_bytes, write_json
from apfgan.images import encode_jpeg, encode_png, read_photo, resize_photo
from apfgan.progress import SILENT, Progress
from apfgan.runs import Run
from metrics.composite import FORMULAS
from metrics.embedded import EmbeddedJudge, embedded_judges, fit
from metrics.judges import Judges
from metrics.standard import standard_judges
from selection.measuring import Bench
from selection.survey import find_reference, survey_data

FITTING_PAIRS = 256
"""Training pairs that an embedded judge is fitted on, at most; evenly spread over the set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What `score` was asked for. Paths are only where to look: every key is made of the content found there."""

    labels: Path | None = None
    """Folder of label maps to draw images for."""
    real: Path | None = None
    """Folder of the photos that the images are compared with."""
    data: Path | None = None
    """Data set in the real layout: the default for both, and the pairs that an embedded judge is fitted on."""
    judges: Literal["standard", "embedded"] = "embedded"
    segformer: str = ""
    """Folder or hub id of the standard mask judge."""
    board: str = "A"
    """Name of the composite's formula."""
    limit: int | None = None
    """Use only so many label maps, evenly spread: quick looks, never comparable with the whole."""

    @property
    def label_folder(self) -> Path:
        """The folder of label maps; `UsageError` when none was ever named."""
        return self._folder(self.labels, "test/labels", "--labels DIR")

    @property
    def photo_folder(self) -> Path:
        """The folder of photos; `UsageError` when none was ever named."""
        return self._folder(self.real, "train/imgs", "--real DIR")

    @property
    def training_set(self) -> Path | None:
        """The data set whose training photos are the ones compared with; None for any other folder of photos."""
        return self.data if self.real is None and self.data is not None and (self.data / "train" / "labels").is_dir() else None

    def _folder(self, chosen: Path | None, within: str, option: str) -> Path:
        if chosen is not None:
            return chosen
        if self.data is not None:
            return self.data / within
        raise UsageError(f"say where to look: {option}, or --data DATA for a data set with {within}")


def remembered(run: Run) -> Evaluation:
    """The evaluation that the last `score` of this run used; an empty one where there was none."""
    path = run.evaluation_path
    try:
        return TypeAdapter(Evaluation).validate_python(json.loads(path.read_bytes())["asked"])
    except FileNotFoundError:
        return Evaluation()
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged. Remove it and name --labels and --real (or --data) again") from error


def remember(run: Run, evaluation: Evaluation, *, protocol: str) -> None:
    """Keep it for the next command, with absolute paths, and the id of the protocol that came of it: those numbers are the ones to show."""
    absolute: dict[str, Any] = {name: value.resolve() for name in ("labels", "real", "data") if (value := getattr(evaluation, name)) is not None}
    if evaluation.segformer and Path(evaluation.segformer).is_dir():  # else it is a hub id
        absolute["segformer"] = str(Path(evaluation.segformer).resolve())
    plain = TypeAdapter(Evaluation).dump_python(replace(evaluation, **absolute), mode="json")
    write_json(run.evaluation_path, {"asked": plain, "protocol": protocol})


def open_bench(run: Run, evaluation: Evaluation, *, panel: bool = True, device: str = "cpu", progress: Progress = SILENT) -> Bench:
    """Everything that measuring needs, checked before the first image: label maps, judges, reference.

    `panel`: put what the report shows beside the samples.
    Raises `DataError` that lists the unusable files, `WeightsError` for missing judges, `UsageError` for what was not said.
    """
    if evaluation.board not in FORMULAS:
        raise UsageError(f"no board {evaluation.board!r}; known: {', '.join(FORMULAS)}")
    if FORMULAS[evaluation.board].style:
        raise UsageError(
            f"board {evaluation.board} weighs style similarity, which nothing here measures; rank a table that has it: apfgan rank --csv FILE"
        )
    label_maps = spread(find_label_maps(evaluation.label_folder), evaluation.limit)
    if len(label_maps) < 2:
        raise DataError(f"{evaluation.label_folder} holds 1 label map; a Fréchet distance needs 2 images at least, and hundreds to mean much")
    _check_label_maps(run, label_maps)
    photos = find_photos(evaluation.photo_folder)
    judges = _judges(run, evaluation, device=device, progress=progress)
    training_set = evaluation.training_set
    surveyed = survey_data(run, training_set, judge=judges.features, progress=progress) if training_set else None
    photos_key = surveyed.photos_key if surveyed else hash_photos(photos)
    reference, reference_key = find_reference(run, judges.features, photos, photos_key=photos_key, progress=progress)
    bench = Bench(run, label_maps, judges, reference, reference_key, FORMULAS[evaluation.board], device)
    if panel:
        keep_panel(bench, photos)
    return bench


def keep_panel(bench: Bench, photos: Sequence[Path]) -> None:
    """Put the panel's label maps (painted) and photos, where one has the same stem, beside the samples for the report."""
    run, data = bench.run, bench.run.config.data
    by_stem = {path.stem: path for path in photos} | {path.stem: path for path in _photos_beside(bench.label_maps)}
    for path in bench.label_maps:
        if path.stem not in bench.panel:
            continue
        write_bytes(run.panel / f"{path.stem}.png", encode_png(data.label_classes.paint(load_label_map(path, data))))
        if path.stem in by_stem:
            photo = resize_photo(read_photo(by_stem[path.stem]), (data.width, data.height))
            write_bytes(run.panel / f"{path.stem}.jpg", encode_jpeg(photo, quality=90, subsampling="4:4:4"))


def _photos_beside(label_maps: Sequence[Path]) -> list[Path]:
    """Photos in the `imgs` folder beside the folder of label maps: there is one where the truth is known."""
    folder = label_maps[0].parent.parent / "imgs"
    return find_photos(folder) if folder.is_dir() else []


def _check_label_maps(run: Run, label_maps: Sequence[Path]) -> None:
    """Decode all of them before the first forward pass, unless this very set was measured before."""
    key = hash_label_maps(label_maps)
    if not any(each.protocol["label_maps"]["key"] == key for each in run.ledger.read()):
        check_label_maps(label_maps, run.config.data.label_classes)


def _judges(run: Run, evaluation: Evaluation, *, device: str, progress: Progress) -> Judges:
    """The standard judges from their weights files, or the run's own: loaded, or fitted once and kept."""
    classes = run.config.data.label_classes
    if evaluation.judges == "standard":
        return standard_judges(classes, segformer=evaluation.segformer, device=device)
    kept = run.judges / "embedded.safetensors"
    if not kept.exists():
        if evaluation.data is None:
            raise UsageError("the embedded judges are fitted on training pairs: name the data set with --data DATA")
        _fit_embedded(run, evaluation.data, device=device, progress=progress).save(kept)
    return embedded_judges(EmbeddedJudge.load(kept, device=device))


def _fit_embedded(run: Run, data: Path, *, device: str, progress: Progress) -> EmbeddedJudge:
    """The run's own judge, fitted on its training pairs at the size of its images."""
    config = run.config.data
    pairs = spread(find_pairs(data), FITTING_PAIRS)
    progress.say(f"no embedded judges in {run.judges} yet: fitting them on {len(pairs)} training pairs, under a minute")
    photos = np.stack([resize_photo(read_photo(pair.photo), (config.width, config.height)) for pair in pairs])
    label_maps = np.stack([load_label_map(pair.label_map, config) for pair in pairs])
    return fit(photos, label_maps, config.label_classes, device=device, progress=progress)
