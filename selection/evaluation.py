"""How a run is evaluated: which label maps, photos, judges and formula; chosen once by `score`, remembered for the commands after it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from apfgan.candidates import Candidate
from apfgan.composite import Formula, find_formula, require_complete
from apfgan.data import check_label_maps, find_label_maps, find_pairs, hash_label_maps, hold_out, load_label_map, spread
from apfgan.errors import DataError, UsageError
from apfgan.files import hash_file, write_json
from apfgan.image_sets import StoredImage, find_images
from apfgan.images import read_photo, resize_photo
from apfgan.progress import SILENT, Progress
from apfgan.runs import Run
from metrics.embedded import EmbeddedJudge, embedded_judges, fit
from metrics.judges import Judges
from metrics.reference import Reference
from metrics.segformer import Geometry
from metrics.standard import Check, FidProtocol, standard_judges
from selection.finishing import submitted_encoding
from selection.image_candidates import ImageCandidates
from selection.label_order import choose_panel, count_classes, order_label_maps
from selection.label_pictures import picture_label_maps
from selection.measuring import Bench
from selection.survey import Photos, find_reference, survey_data, survey_photos

FITTING_PAIRS = 256
"""Training pairs that an embedded judge is fitted on, at most; evenly spread over the set."""

HELD_OUT = 1 / 8
"""Share of the training pairs that no embedded judge is fitted on: what it says of those is the ceiling of mask accuracy."""


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
    geometry: Geometry = "native"
    """How the standard mask judge takes an image in."""
    aesthetic_head: Path | None = None
    """Another head than the standard one."""
    fid: FidProtocol = "pytorch-fid"
    """Protocol of the standard distance."""
    checks: tuple[Check, ...] = ()
    """Further feature networks whose distances are reported and never optimised on."""
    convert: bool = False
    """Read doubtful photos as Pillow converts them, instead of refusing them."""
    board: str = "A"
    """The composite's formula: its name, or a TOML file with weights of one's own."""
    style_similarity: float | None = None
    """-1 to 1, where the formula weighs it."""
    votes: float | None = None
    """0 to 1, where the formula weighs them."""
    limit: int | None = None
    """Use only so many label maps, evenly spread: quick looks, never comparable with the whole."""

    @property
    def formula(self) -> Formula:
        """The composite's formula; `UsageError` for none, or when it weighs a style similarity that was not given."""
        formula = find_formula(self.board)
        if self.style_similarity is not None:
            formula = replace(formula, style_similarity=self.style_similarity)
        if self.votes is not None:
            formula = replace(formula, votes_won=self.votes)
        require_complete(formula)
        return formula

    @property
    def label_folder(self) -> Path:
        """The folder of label maps; `UsageError` when none was ever named."""
        return self._folder(self.labels, "test/labels", "--labels DIR")

    @property
    def photo_folder(self) -> Path:
        """The folder of photos; `UsageError` when none was ever named."""
        return self._folder(self.real, "train/imgs", "--real DIR")

    @property
    def statistics(self) -> Path | None:
        """The file of statistics (pytorch-fid's or clean-fid's `.npz`) that stands for the photos, where there is one."""
        return self.real if self.real is not None and self.real.suffix == ".npz" else None

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


def remember(run: Run, evaluation: Evaluation, *, protocol: str, sweep: Sequence[Candidate] = ()) -> None:
    """Keep it for the next command, with absolute paths, and the id of the protocol that came of it: those numbers are the ones to show.

    `sweep`: the candidates that a sweep begins to measure, so that a report can say how far it is; of none, the last one's are kept.
    """
    paths = ("labels", "real", "data", "aesthetic_head")
    absolute: dict[str, Any] = {name: value.resolve() for name in paths if (value := getattr(evaluation, name)) is not None}
    for name in ("segformer", "board"):  # else it is a hub id, or a formula's name
        if (text := getattr(evaluation, name)) and Path(text).exists():
            absolute[name] = str(Path(text).resolve())
    plain = TypeAdapter(Evaluation).dump_python(replace(evaluation, **absolute), mode="json")
    state = {"sweep": [str(each) for each in sweep], "swept": False} if sweep else {"sweep": list(run.sweep), "swept": run.swept}
    write_json(run.evaluation_path, {"asked": plain, "protocol": protocol, **state})


def finish_sweep(run: Run) -> None:
    """Remember that the sweep that `remember` was told of has come to its end: who was not measured in full was ruled out, or failed."""
    write_json(run.evaluation_path, {**json.loads(run.evaluation_path.read_bytes()), "swept": True})


def open_label_maps(evaluation: Evaluation, *, expect: int | None = None) -> list[Path]:
    """The label maps that images are drawn for; raises `DataError` for fewer than two of them, or for another number than `expect`."""
    found = spread(find_label_maps(evaluation.label_folder), evaluation.limit)
    if len(found) < 2:
        raise DataError(f"{evaluation.label_folder} holds 1 label map; a Fréchet distance needs 2 images at least, and hundreds to mean much")
    if expect is not None and len(found) != expect:
        raise DataError(f"{evaluation.label_folder} gives {len(found)} label maps, and --expect says {expect}")
    return found


def open_bench(
    run: Run,
    evaluation: Evaluation,
    *,
    images: ImageCandidates | None = None,
    photos: Photos | None = None,
    pictures: bool = True,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> Bench:
    """Everything that measuring needs, checked before the first image: label maps, photos, judges, references.

    `images`: what will be measured, where it is there already. `photos`: those of a bench that was opened for the same evaluation, which checked
    everything; workers need not do so again. `pictures`: keep prints of the label maps and their photos, for the report.
    Raises `DataError` that lists the unusable files, `WeightsError` for missing judges, `UsageError` for what was not said.
    """
    formula = evaluation.formula
    label_maps = images.label_maps if images else open_label_maps(evaluation)
    photos = photos or _check_files(run, evaluation, label_maps, progress=progress)
    pixels = count_classes(run, label_maps, run.config.data, progress=progress)
    judges = _judges(run, evaluation, device=device, progress=progress)
    bench = Bench(
        run=run,
        label_maps=order_label_maps(label_maps, pixels),
        judges=judges,
        references=_references(run, evaluation, judges, photos, progress=progress),
        photos=photos,
        formula=formula,
        encoding=images.encoding if images else submitted_encoding(run.config.output),
        training_set=evaluation.data,
        stored=images.sources(run.config.data.label_classes) if images else {},
        device=device,
        panel=frozenset(path.stem for path in choose_panel(label_maps, pixels)),
    )
    if pictures:
        picture_label_maps(bench, (*photos.images, *photos_beside(label_maps)), progress=progress)
    return bench


def photos_beside(label_maps: Sequence[Path]) -> list[StoredImage]:
    """Photos in the `imgs` folder beside the folder of label maps: there is one where the truth is known."""
    folder = label_maps[0].parent.parent / "imgs"
    return find_images(folder) if folder.is_dir() else []


def _check_files(run: Run, evaluation: Evaluation, label_maps: Sequence[Path], *, progress: Progress) -> Photos:
    """The photos that images are compared with, all of them and all label maps checked; one `DataError` for everything that is wrong."""
    problems = []
    try:
        _check_label_maps(run, label_maps)
    except DataError as error:
        problems.append(str(error))
    try:
        photos = _find_photos(run, evaluation, progress=progress)
    except DataError as error:
        problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return photos


def _check_label_maps(run: Run, label_maps: Sequence[Path]) -> None:
    """Decode all of them before the first forward pass, unless this very set was measured before."""
    key = hash_label_maps(label_maps)
    if not any(each.protocol["label_maps"]["key"] == key for each in run.ledger.read()):
        check_label_maps(label_maps, run.config.data.label_classes)


def _find_photos(run: Run, evaluation: Evaluation, *, progress: Progress) -> Photos:
    """The photos that images are compared with, all of them checked; none where a file of statistics stands for them."""
    if evaluation.statistics is not None:
        return Photos((), hash_file(evaluation.statistics))
    if evaluation.training_set is not None:
        return survey_data(run, evaluation.training_set, progress=progress).photos
    return survey_photos(run, find_images(evaluation.photo_folder), convert=evaluation.convert, progress=progress)


def _references(run: Run, evaluation: Evaluation, judges: Judges, photos: Photos, *, progress: Progress) -> tuple[Reference, ...]:
    """What is known of the photos for each of the judges' `feature_judges`."""
    if evaluation.statistics is None:
        return tuple(find_reference(run, judge, photos, progress=progress) for judge in judges.feature_judges)
    if judges.checks:
        raise UsageError(f"{evaluation.statistics} holds the statistics of one network: leave --check out, or name the photos themselves with --real")
    return (Reference.load(evaluation.statistics, distance=judges.distance),)


def _judges(run: Run, evaluation: Evaluation, *, device: str, progress: Progress) -> Judges:
    """The standard judges from their weights files, or the run's own: loaded, or fitted once and kept."""
    classes = run.config.data.label_classes
    if evaluation.judges == "standard":
        return standard_judges(
            classes,
            fid=evaluation.fid,
            segformer=evaluation.segformer,
            geometry=evaluation.geometry,
            aesthetic_head=evaluation.aesthetic_head,
            checks=evaluation.checks,
            device=device,
        )
    kept = run.judges / "embedded.safetensors"
    if not kept.exists():
        if evaluation.data is None:
            raise UsageError("the embedded judges are fitted on training pairs: name the data set with --data DATA, or take --judges standard")
        _fit_embedded(run, evaluation.data, device=device, progress=progress).save(kept)
    return embedded_judges(EmbeddedJudge.load(kept, device=device))


def _fit_embedded(run: Run, data: Path, *, device: str, progress: Progress) -> EmbeddedJudge:
    """The run's own judge, fitted on its training pairs at the size of its images; some pairs are held out, to be judged by it."""
    config = run.config.data
    pairs = spread(hold_out(find_pairs(data), HELD_OUT)[0], FITTING_PAIRS)
    progress.say(f"no embedded judges in {run.judges} yet: fitting them on {len(pairs)} training pairs, under a minute")
    photos = np.stack([resize_photo(read_photo(pair.photo), (config.width, config.height)) for pair in pairs])
    label_maps = np.stack([load_label_map(pair.label_map, config) for pair in pairs])
    return fit(photos, label_maps, config.label_classes, device=device, progress=progress)
