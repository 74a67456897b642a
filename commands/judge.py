"""`apfgan judge`: fit a judge of mask accuracy, and check one."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apfgan.errors import UsageError
from commands.opening import find_device
from commands.options import (
    ClassesOption,
    DeviceOption,
    GeometryChoice,
    IgnoreOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    read_classes,
    read_size,
)
from commands.screen import Screen
from commands.stopping import patient

if TYPE_CHECKING:
    from apfgan.labels import Classes
    from metrics.segformer import Geometry
    from selection.judge_check import Check


def judge_fit(
    data: Annotated[Path, typer.Option("--data", help="Data set whose training pairs it is fitted to.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the judge; a fit that was stopped goes on from there.", show_default=False)],
    origin: Annotated[str | None, typer.Option("--from", help="Begin with the SegFormer in this folder, or of this hub id.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="Begin with random weights of this size, b0 to b5. Default: b0.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps. Default: 40000.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Crops a step. Default: 8.")] = None,
    crop: Annotated[int | None, typer.Option("--crop", help="Side of a crop in pixels. Default: 512.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Learning rate of the encoder. Default: 6e-5.")] = None,
    share: Annotated[float, typer.Option("--hold-out", help="Share of the pairs that is kept back, to check the judge on.", min=0, max=0.9)] = 0.05,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the new weights and of every draw.", min=0)] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Fine-tune a SegFormer on the training pairs, to be the standard mask judge; a fit that was stopped goes on where it was."""
    from metrics.pretrained import required_pretrained
    from metrics.segformer_recipe import Recipe
    from reports.terminal import with_error
    from selection.judge_fitting import fit_judge

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    if origin is not None and size is not None:
        raise UsageError("--from brings its own size: leave --size out")
    named: dict[str, Any] = {"steps": steps, "batch": batch, "crop": crop, "rate": rate}
    recipe = replace(Recipe(), **{name: value for name, value in named.items() if value is not None})
    with patient() as stop:
        fitted = fit_judge(
            data,
            out,
            classes=read_classes(classes, ignore),
            recipe=recipe,
            pretrained=required_pretrained(origin) if origin else None,
            size=size or "b0",
            share=share,
            seed=seed,
            device=find_device(device),
            progress=screen.progress,
            stop=stop,
        )
    assert fitted is not None  # else it was stopped
    result = {"judge": str(out), "pairs": fitted.pairs, "held_out": len(fitted.held_out), "begins_with": dict(fitted.request.begins_with)}
    result |= {"accuracy": fitted.accuracy and asdict(fitted.accuracy), "mean_iou": fitted.mean_iou and asdict(fitted.mean_iou)}
    lines = [f"{out}: fitted to {fitted.pairs} pairs in {fitted.request.recipe.steps} steps"]
    if fitted.accuracy and fitted.mean_iou:
        found = f"mask accuracy {with_error(fitted.accuracy)}, mean IoU {with_error(fitted.mean_iou)}"
        lines.append(f"on the {len(fitted.held_out)} held out: {found}")
    lines.append(f"score with it: apfgan score --run RUN --judges standard --segformer {out}")
    screen.result(result, "\n".join(lines))


def judge_check(
    data: Annotated[Path, typer.Option("--data", help="Data set whose photos are looked at.", show_default=False)],
    segformer: Annotated[str | None, typer.Option("--segformer", help="Check the SegFormer in this folder, or of this hub id.")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Check the embedded judge of this run.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Look at the pairs that it was fitted to as well.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="Only so many pairs, evenly spread.", min=1)] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="Bring the photos to WIDTHxHEIGHT. Default: the run's, or as the judge was fitted, or as they are.")
    ] = None,
    geometry: Annotated[GeometryChoice | None, typer.Option("--geometry", help="How the SegFormer takes a photo in. Default: native.")] = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Accuracy of a mask judge on real photos that it was not fitted to: the most that any generated image can reach."""
    from apfgan.data import spread
    from apfgan.runs import Run
    from selection.judge_check import check, judge_photos
    from selection.judge_subject import embedded_subject, segformer_subject

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    if run is not None and segformer is None:
        if any(each is not None for each in (classes, ignore, geometry)):
            raise UsageError("--run brings its own classes and geometry: leave --classes, --ignore and --geometry out")
        subject = embedded_subject(Run.open(run), data, everything=everything, device=find_device(device))
    elif segformer is not None and run is None:
        meaning = None if classes is None and ignore is None else read_classes(classes, ignore)
        form: Geometry = geometry.value if geometry else "native"
        subject = segformer_subject(segformer, data, classes=meaning, geometry=form, everything=everything, device=find_device(device))
    else:
        raise UsageError("name one judge to check: --segformer FOLDER_OR_HUB_ID, or --run RUN for its embedded judge")
    pairs = spread(subject.pairs, limit)
    shape = read_size(size) if size else subject.size
    found = check(judge_photos(subject.judge, pairs, subject.classes, size=shape, progress=screen.progress), subject.classes)
    _show_check(screen, found, subject.classes, f"{len(pairs)} of {subject.about}" if limit else subject.about)


def _show_check(screen: Screen, found: "Check", classes: "Classes", about: str) -> None:
    """The figures of a judge, and a table of the classes that were given or seen."""
    from reports.terminal import table, with_error, wrapped
    from selection.judge_check import FEW_IMAGES, class_estimates

    rows = []
    records: dict[str, dict[str, Any]] = {}
    pixels = max(1, int(found.classes.pixels.sum()))
    for index, (accuracy, iou) in enumerate(class_estimates(found)):
        if iou is None:
            continue
        name, images, share = classes.names[index], int(found.classes.images[index]), found.classes.pixels[index] / pixels
        cells = ["" if each is None else with_error(each) for each in (accuracy, iou)]
        rows.append([name[:24], f"{images}{'*' if images < FEW_IMAGES else ' '}", f"{share:.2%}", *cells])
        records[name] = {"images": images, "pixels": int(found.classes.pixels[index]), "accuracy": accuracy and asdict(accuracy), "iou": asdict(iou)}
    total = {"accuracy": found.accuracy.estimate, "mean_iou": found.iou.estimate}
    result = {"pairs": about, "images": found.accuracy.images, **{name: asdict(each) for name, each in total.items()}}
    result |= {"alarms": list(found.alarms), "classes": records}
    figures = f"mask accuracy {with_error(total['accuracy'])}, mean IoU {with_error(total['mean_iou'])}"
    lines = [figures, wrapped(f"on {about}"), ""]
    lines += [table(["class", "images", "pixels", "accuracy", "IoU"], rows), f"* in fewer than {FEW_IMAGES} images: these figures say little"]
    for alarm in found.alarms:
        lines += ["", wrapped(f"warning: {alarm}")]
    screen.result(result, "\n".join(lines))
