"""`apfgan export`: write a candidate for the original program."""

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from apfgan.errors import UsageError
from commands.opening import find_candidates
from commands.options import JsonOption, QuietOption, RunOption, VerboseOption
from commands.screen import Screen


class FileFormat(StrEnum):
    """How `export` writes weights."""

    jittor_pkl = "jittor-pkl"


def export_original(
    run: RunOption,
    candidate: Annotated[str, typer.Argument(help="299, avg_273_299, 0.4*273+0.6*299, 299~ema0.03, ...", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.", show_default=False)],
    file_format: Annotated[
        FileFormat, typer.Option("--format", help="jittor-pkl: the original's names and pickles, which jittor.load reads.")
    ] = FileFormat.jittor_pkl,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a candidate as files that the original program loads."""
    from apfgan.original import export_painter, write_painter
    from apfgan.runs import Run
    from selection.candidate_weights import candidate_weights, require_weights, weights_phase
    from selection.evaluation import remembered
    from selection.studio import Studio

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    chosen, *others = find_candidates(opened, candidate, None)
    if others:
        raise UsageError(f"{candidate} names {1 + len(others)} candidates; export them one by one")
    require_weights(chosen)
    studio = Studio(opened, (), remembered(opened).data)
    with opened.lock() if chosen.recalibrated else nullcontext():  # what is taken anew is kept
        weights = candidate_weights(studio, chosen)
    paths = write_painter(out, chosen.base, export_painter(weights, opened.config, phase=weights_phase(studio, chosen)))
    files = [str(path) for path in paths]
    screen.result({"candidate": chosen.base, "format": file_format, "files": files}, "\n".join(files))
