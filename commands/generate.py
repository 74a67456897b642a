"""`apfgan generate`: images for a folder of label maps."""

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from apfgan.engines import Engine
from commands.opening import find_candidates, find_device, open_engine
from commands.options import BackendOption, DeviceOption, EpochsOption, JsonOption, QuietOption, RunOption, SeedOption, VerboseOption
from commands.screen import Screen


class OnOff(StrEnum):
    """A switch."""

    on = "on"
    off = "off"


class ImageFormat(StrEnum):
    """How `generate` writes an image."""

    jpg = "jpg"
    png = "png"
    npy = "npy"


def generate(
    run: RunOption,
    epochs: EpochsOption,
    labels: Annotated[Path, typer.Option("--labels", help="Folder of label maps.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the images; several candidates get a folder each.", show_default=False)],
    seed: SeedOption = None,
    noise: Annotated[OnOff, typer.Option("--noise", help="Label-guided noise.")] = OnOff.on,
    image_format: Annotated[ImageFormat, typer.Option("--format", help="npy: float32 (3, H, W) in [-1, 1].")] = ImageFormat.jpg,
    backend: BackendOption = Engine.pytorch,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Draw an image for every label map of a folder."""
    from apfgan.data import check_label_maps, find_label_maps
    from apfgan.runs import Run
    from reports.terminal import wrapped

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    candidates = find_candidates(opened, epochs, seed)
    label_maps = find_label_maps(labels)
    check_label_maps(label_maps, opened.config.data.label_classes)
    open_engine(backend, screen)

    from selection.evaluation import remembered
    from selection.finishing import replacement_note
    from selection.generating import generate_images
    from selection.studio import Studio

    studio = Studio(opened, label_maps, remembered(opened).data, find_device(device))
    # What the training set is made of is kept in the run.
    with opened.lock() if any(each.photos or each.recalibrated for each in candidates) else nullcontext():
        for candidate in candidates:
            folder = out if len(candidates) == 1 else out / str(candidate)
            generate_images(studio, candidate, folder, form=image_format.value, noise=noise is OnOff.on, progress=screen.progress)
        notes = [note for candidate in candidates if (note := replacement_note(studio, candidate))]
    count = len(label_maps) * len(candidates)
    result = {"images": count, "candidates": [str(each) for each in candidates], "out": str(out), "notes": notes}
    screen.result(result, "\n".join([f"{count} images in {out}", *(wrapped(f"note: {note}") for note in notes)]))
