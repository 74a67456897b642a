"""`apfgan import`: take over a checkpoint of the original program."""

from pathlib import Path
from typing import Annotated

import typer

from apfgan.errors import UsageError
from commands.opening import writing
from commands.options import JsonOption, QuietOption, RunOption, VerboseOption, read_size
from commands.screen import Screen


def import_original(
    context: typer.Context,
    generator: Annotated[Path, typer.Argument(help="The original's *_net_G.pkl.", show_default=False)],
    run: RunOption,
    encoder: Annotated[Path | None, typer.Argument(help="Its *_net_E.pkl. Default: the one beside it.", show_default=False)] = None,
    discriminators: Annotated[Path | None, typer.Option("--discriminators", help="Its *_net_D.pkl, to train on from that epoch.")] = None,
    epoch: Annotated[str | None, typer.Option("--epoch", help="Name of the checkpoint. Default: what the file is called.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="Size of the images of a new run, WIDTHxHEIGHT. Default: 512x384.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Take over a checkpoint of the original program; nothing in its files is executed."""
    from apfgan.original import ABSENT, LEVELS, config_for, count_levels, encoder_beside, name_of, read_discriminators, read_painter, save_original
    from apfgan.runs import Run

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    name = name_of(generator, epoch)
    if discriminators and not name.isdigit():
        raise UsageError(f"training goes on from an epoch: with --discriminators, give --epoch a number instead of {name}")
    levels = count_levels(discriminators) if discriminators else LEVELS
    painter = read_painter(generator, encoder or encoder_beside(generator), levels=levels)
    opponents = read_discriminators(discriminators, painter) if discriminators else None
    if (run / "run.toml").exists():
        opened = Run.open(run)
        if size is not None and read_size(size) != (opened.config.data.width, opened.config.data.height):
            raise UsageError(f"{run} draws at {opened.config.data.width}x{opened.config.data.height}. Leave --size out, or choose another --run")
    else:
        width, height = read_size(size or "512x384")
        opened = Run.create(run, config_for(painter, width=width, height=height))
    with writing(opened, context.obj):
        manifest = save_original(opened, name, painter, discriminators=opponents)
    path = opened.checkpoint_path(name)
    lines = [f"{name} -> {path} (width {painter.model.width}, {painter.classes} classes)"]
    lines += [f"note: the file has no {ABSENT[part]}" for part in painter.absent]
    if opponents is not None:
        lines.append(f"train on with: apfgan train --data DATA --run NEW --fork {run}")
    result = {"checkpoint": name, "path": str(path), "sha256": manifest.sha256, "width": painter.model.width, "classes": painter.classes}
    screen.result(result | {"absent": [ABSENT[part] for part in painter.absent]}, "\n".join(lines))
