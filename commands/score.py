"""`apfgan score`: measure checkpoints, merges, or the images of any generator."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apfgan.errors import UsageError
from commands.opening import find_anchors, find_candidates, look_for_failures, open_examiner, run_search, set_up_bench, writing
from commands.options import (
    AddressOption,
    ClassesOption,
    DeviceOption,
    ExecutorChoice,
    ExecutorOption,
    FidChoice,
    GeometryChoice,
    IgnoreOption,
    JsonOption,
    JudgesChoice,
    QuietOption,
    SeedOption,
    VerboseOption,
    WorkersOption,
)
from commands.rank import show_ranking
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.candidates import Candidate
    from apfgan.config import Config
    from apfgan.runs import Run
    from selection.examining import Examiner
    from selection.image_candidates import ImageCandidates

RACED = 12
"""Candidates of `score` that are all measured in full unless a race is asked for."""


class CheckChoice(StrEnum):
    """A further network whose distance is reported."""

    dinov2 = "dinov2"
    clip = "clip"


def score(
    context: typer.Context,
    run: Annotated[Path | None, typer.Option("--run", help="The run directory. With --images: where the scores are kept (apfgan-scores).")] = None,
    epochs: Annotated[str, typer.Option("--epochs", help="270-310, 270-310:2, 273,298,299, last10, all, or candidates: avg_273_299@7.")] = "all",
    images: Annotated[
        list[str] | None,
        typer.Option("--images", help="Images of any generator instead: 'out/{epoch}/*.jpg', 'zips/{name}.zip', NAME=FOLDER; may be repeated."),
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Folder of label maps.")] = None,
    real: Annotated[Path | None, typer.Option("--real", help="Photos to compare with: folder, zip, or pytorch-fid's .npz.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Data set that holds both (test/labels, train/imgs).")] = None,
    judges: Annotated[
        JudgesChoice | None, typer.Option("--judges", help="standard: Inception, SegFormer, CLIP; embedded: fitted on the training pairs.")
    ] = None,
    fid: Annotated[FidChoice | None, typer.Option("--fid", help="Standard judges: whose FID.")] = None,
    check: Annotated[list[CheckChoice] | None, typer.Option("--check", help="Standard judges: a further distance; may be repeated.")] = None,
    segformer: Annotated[str | None, typer.Option("--segformer", help="Standard judges: folder or hub id of the SegFormer.")] = None,
    geometry: Annotated[GeometryChoice | None, typer.Option("--geometry", help="Standard judges: how the SegFormer takes an image in.")] = None,
    aesthetic_head: Annotated[Path | None, typer.Option("--aesthetic-head", help="Standard judges: another of LAION's heads.")] = None,
    board: Annotated[str | None, typer.Option("--board", help="Formula of the total: A, B, jittor3, or a .toml of your own.")] = None,
    votes: Annotated[float | None, typer.Option("--votes", help="Share of the jury's votes, 0 to 1, where the formula weighs it.")] = None,
    style_similarity: Annotated[float | None, typer.Option("--style-similarity", help="-1 to 1, where the formula weighs it.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Only so many label maps, evenly spread.", min=2)] = None,
    expect: Annotated[int | None, typer.Option("--expect", help="Refuse any other number of label maps.", min=2)] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="With --images: take the label maps of which all sets have one.")] = False,
    reencode: Annotated[bool, typer.Option("--reencode", help="With --images: all pass the JPEG encoder of a submission first.")] = False,
    convert: Annotated[
        bool | None, typer.Option("--convert/--strict", help="Read doubtful files (16 bit, transparent, ...) as pytorch-fid does, or refuse them.")
    ] = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    seed: SeedOption = None,
    race: Annotated[
        bool | None, typer.Option("--race/--full", help="Drop who cannot be among the best early, or not. Default: race more than 12 candidates.")
    ] = None,
    executor: ExecutorOption = ExecutorChoice.inline,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure candidates into the ledger; what it holds already is not measured again."""
    from apfgan.runs import Run
    from selection.evaluation import finish_sweep, open_label_maps, remembered

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    named: dict[str, Any] = {
        "labels": labels,
        "real": real,
        "data": data,
        "judges": judges and judges.value,
        "fid": fid and fid.value,
        "checks": tuple(each.value for each in check) if check else None,
        "segformer": segformer,
        "geometry": geometry and geometry.value,
        "aesthetic_head": aesthetic_head,
        "board": board,
        "votes": votes,
        "style_similarity": style_similarity,
        "convert": convert,
    }
    # A quick look is not remembered by the next score, only by the searches that follow it.
    asked = {name: value for name, value in named.items() if value is not None} | {"limit": limit}
    if run is None and not images:
        raise UsageError("name what to score: --run RUN, or --images 'out/{epoch}/*.jpg' for the images of another generator")
    here = Run(run or Path("apfgan-scores"))
    known = here.config_path.exists()
    candidates = [] if images else find_candidates(Run.open(here.path), epochs, seed)
    evaluation = replace(remembered(here), **asked)
    standard = {"--fid": fid, "--check": check, "--segformer": segformer, "--geometry": geometry, "--aesthetic-head": aesthetic_head}
    if evaluation.judges == "embedded" and (idle := [option for option, value in standard.items() if value]):
        raise UsageError(f"{', '.join(idle)}: the embedded judges know nothing of it; add --judges standard")
    label_maps = open_label_maps(evaluation, expect=expect)
    found = None
    if images:
        found = _find_images(
            images, label_maps, here if known else None, screen, convert=evaluation.convert, missing=allow_missing, reencode=reencode
        )
        if not known:
            Run.create(here.path, _foreign_config(found.size, classes, ignore))
        candidates = list(found.checked)
    with writing(here, context.obj) as account:
        bench = set_up_bench(here, device, screen, asked, images=found, sweep=candidates)
        if found and (copies := found.copies_of(bench.photos.contents)):
            screen.progress.say(f"note: {copies} images are among the photos that they are compared with")
        find_anchors(bench, evaluation, screen)
        with open_examiner(bench, screen, account, executor, workers, ray_address, images=found) as examiner:
            _sweep(candidates, examiner, race=len(candidates) > RACED if race is None else race)
        finish_sweep(here)
        look_for_failures(bench, screen)
    if any(each.part is None for each in here.ledger.read()):
        show_ranking(screen, here)
    examiner.raise_failures()


def _sweep(candidates: "Sequence[Candidate]", examiner: "Examiner", *, race: bool) -> None:
    """Measure candidates on all label maps, or only those that a race leaves; says what it saved."""
    from selection import racing
    from selection.driving import UNLIMITED
    from selection.merge_search import at_once

    found = run_search(racing.race(candidates, images=examiner.images) if race else at_once(candidates), examiner, UNLIMITED)
    summary = racing.summarise(found, images=examiner.images)
    if summary.dropped:
        examiner.progress.say(
            f"raced: {len(summary.finished)} of {len(candidates)} went on to all {examiner.images} label maps; {summary.saved:.0%} of the images "
            f"of a full sweep were not needed (--full draws them)"
        )


def _find_images(
    patterns: Sequence[str], label_maps: Sequence[Path], run: "Run | None", screen: Screen, *, convert: bool, missing: bool, reencode: bool
) -> "ImageCandidates":
    """The sets of images that the patterns name, checked; of the size that the run has, if there is one."""
    from apfgan.config import OutputConfig
    from selection.image_candidates import find_image_candidates

    found = find_image_candidates(
        patterns,
        label_maps,
        size=None if run is None else (run.config.data.width, run.config.data.height),
        convert=convert,
        allow_missing=missing,
        reencode=None if not reencode else OutputConfig() if run is None else run.config.output,
        progress=screen.progress,
    )
    screen.progress.say(f"{len(found.checked)} sets of {len(found.label_maps)} images, {found.size[0]}x{found.size[1]}, all whole")
    for note in found.notes:
        screen.progress.say(f"note: {note}")
    return found


def _foreign_config(size: tuple[int, int], classes: int | None, ignore: int | None) -> "Config":
    """Settings of a run that holds nothing but scores of images from elsewhere."""
    from apfgan.config import Config, DataConfig, TrainConfig
    from apfgan.labels import Classes

    meaning = Classes(ignore=ignore) if classes is None else Classes.numbered(classes, ignore=ignore)
    data = DataConfig(width=size[0], height=size[1], load_width=size[0], classes=meaning.names, ignore=ignore)
    return Config(data=data, train=TrainConfig(progressive_epochs=0, epochs=0))
