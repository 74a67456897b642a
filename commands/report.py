"""`apfgan report`: the HTML report of a run, or of tables without one."""

import webbrowser
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from apfgan.errors import UsageError
from commands.options import JsonOption, QuietOption, VerboseOption
from commands.screen import Screen


class FormChoice(StrEnum):
    """Where the pictures of a report are."""

    auto = "auto"
    file = "file"
    folder = "folder"
    zip = "zip"


def report(
    run: Annotated[Path | None, typer.Option("--run", help="The run directory.")] = None,
    csv: Annotated[list[Path] | None, typer.Option("--csv", help="Report tables measured elsewhere instead. Once for each.")] = None,
    assume: Annotated[
        list[str] | None, typer.Option("--assume", help="A part of the total that a table lacks: mask_accuracy=0.90. Once for each.")
    ] = None,
    seeds_of: Annotated[
        str | None, typer.Option("--seeds-of", help="Candidate whose seeds a table of seeds holds. Default: the best of the other tables.")
    ] = None,
    board: Annotated[str | None, typer.Option("--board", help="Formula of the tables' total. Default: by their columns.")] = None,
    images: Annotated[
        int | None, typer.Option("--images", help="Show so many label maps. Default: 24, fewer where the page gets large.", min=1)
    ] = None,
    form: Annotated[
        FormChoice,
        typer.Option(
            "--form", help="file: pictures in the page; folder: beside it; zip: all of that also as report.zip; auto: file, unless too large."
        ),
    ] = FormChoice.auto,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write into. Default: RUN/report; of tables, report.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write the HTML report, the tables and the plots; at any moment, also of a sweep under way."""
    from apfgan.runs import Run
    from reports.budget import Wish
    from reports.page import write_report

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    if (run is None) == (not csv):
        raise UsageError("name what to report: --run RUN, or --csv FILE once or more often")
    if run is not None:
        if assume or seeds_of or board:
            raise UsageError("--assume, --seeds-of and --board belong to --csv: a run knows its parts, seeds and formula. Leave them out")
        page = write_report(Run.open(run), folder=out, wish=Wish(images=images, form=form.value))
    else:
        if images is not None or form is not FormChoice.auto:
            raise UsageError("--images and --form belong to --run: tables have no pictures. Leave them out")
        page = _report_tables(csv or [], out or Path("report"), assume=_assumptions(assume or []), seeds_of=seeds_of, board=board)
    screen.result({"report": str(page)}, f"report: {page}")
    if open_page:
        webbrowser.open(page.resolve().as_uri())


def _report_tables(tables: Sequence[Path], folder: Path, *, assume: Mapping[str, float], seeds_of: str | None, board: str | None) -> Path:
    from apfgan.composite import find_formula
    from reports.page import write_table_report
    from selection.tables import measure_tables

    measured = measure_tables(tables, assume=assume, formula=find_formula(board) if board else None, seeds_of=seeds_of)
    name = ", ".join(table.stem for table in tables)
    return write_table_report(measured.measurements, folder, name=name, seeded=measured.seeded, notes=measured.notes, sources=tables)


def _assumptions(texts: Sequence[str]) -> dict[str, float]:
    """What `--assume mask_accuracy=0.90 --assume aesthetic=5.0` says."""
    assumed = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            assumed[name.strip()] = float(value)
        except ValueError as error:
            raise UsageError(f"--assume {text}: write a part of the total and its value, as in --assume mask_accuracy=0.90") from error
    return assumed
