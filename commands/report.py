"""`apfgan report`: the HTML report of a run."""

import webbrowser
from typing import Annotated

import typer

from commands.options import JsonOption, QuietOption, RunOption, VerboseOption
from commands.screen import Screen


def report(
    run: RunOption,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write the HTML report, the tables and the plots; at any moment, also of a sweep under way."""
    from apfgan.runs import Run
    from reports.page import write_report

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    page = write_report(Run.open(run))
    screen.result({"report": str(page)}, f"report: {page}")
    if open_page:
        webbrowser.open(page.resolve().as_uri())
