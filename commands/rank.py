"""`apfgan rank`: the order of what was measured, which other commands show at their end as well."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apfgan.errors import UsageError
from commands.opening import read_ranking
from commands.options import JsonOption, QuietOption, VerboseOption
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.picks import FinalistRecord
    from apfgan.records import Measurement
    from apfgan.runs import Run

INCEPTION_FEATURES = 2048
"""For fewer images than features the bias of a Fréchet distance is at its worst."""


def rank(
    run: Annotated[Path | None, typer.Option("--run", help="The run directory.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Rank a table measured elsewhere instead.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Metric that decides. Default: the composite, or the one metric of the table.")] = None,
    board: Annotated[str | None, typer.Option("--board", help="Formula of a table's total. Default: by its columns.")] = None,
    top: Annotated[int, typer.Option("--top", help="Show so many.", min=1)] = 20,
    checks: Annotated[bool, typer.Option("--checks", help="Show the checks: mean IoU, KID, precision, recall, further distances.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Order what was measured, best first, with its noise."""
    from apfgan.composite import find_formula
    from apfgan.runs import Run
    from reports.terminal import Standings
    from selection.tables import rank_table

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    if (run is None) == (csv is None):
        raise UsageError("name what to rank: --run RUN, or --csv FILE")
    if csv is not None:
        table = rank_table(csv, by=by, formula=find_formula(board) if board else None)
        standings = Standings(places=table.places, by=table.by, notes=table.disagreements)
        screen.result(standings.as_json(), standings.as_text(top=top))
    elif run is not None:
        show_ranking(screen, Run.open(run), by=by or "composite", top=top, checks=checks)


def show_ranking(
    screen: Screen, run: "Run", *, by: str = "composite", top: int = 20, checks: bool = False, finalists: "Sequence[FinalistRecord]" = ()
) -> None:
    """The ranking of a run, and below it what was confirmed with fresh seeds."""
    from apfgan.ranking import protocol_of
    from reports.terminal import Standings

    places = read_ranking(run, by=by)
    ranked, ledger = {place.entry.name for place in places}, run.ledger.read()
    elsewhere = {each.candidate for each in ledger if each.part is None} - ranked
    partly = {each.candidate for each in ledger} - elsewhere - ranked
    notes = [f"{len(elsewhere)} candidates were measured under another protocol only, and are left out"] if elsewhere else []
    if partly:
        notes.append(f"{len(partly)} more candidates were dropped after a part of the label maps, and are left out")
    best = max((place.entry.measurement for place in places if place.entry.measurement), key=lambda each: each.composite.value)
    if best.protocol["judges"]["judges"] == "embedded":
        notes.append("embedded judges: these numbers compare within this run only")
    elif best.images < INCEPTION_FEATURES:
        notes.append(f"a Fréchet distance is larger for fewer images: compare at {best.images} images only, and with that of real photos")
    standings = Standings(places=places, by=by, notes=notes, anchors=run.read_anchors(protocol_of(best)), worth=_worth(best))
    text = standings.as_text(top=top, checks=checks)
    if finalists:
        text += f"\n\nconfirmed with {len(finalists[0].scores)} fresh seeds:\n{finalists_text(finalists)}"
    screen.result(standings.as_json() | ({"confirmed": [asdict(each) for each in finalists]} if finalists else {}), text)


def finalists_text(finalists: "Sequence[FinalistRecord]") -> str:
    """A table: what each is to be expected to score, and what it gains over the best single checkpoint."""
    from reports.terminal import chance_text, shortened, table, with_error

    rows = [
        [
            f"{place}",
            shortened(each.candidate, 24),
            with_error(each.expected_score),
            chance_text(each.probability_best),
            "best single" if each.gain is None else f"{each.gain.value:+.4f} ±{each.gain.error or 0:.4f}",
            "" if each.gain is None else "yes" if each.gain_confirmed else "no",
        ]
        for place, each in enumerate(finalists, start=1)
    ]
    return table(["", "finalist", "expected", "P(best)", "gain", "confirmed"], rows)


def _worth(best: "Measurement") -> dict[str, dict[str, float]]:
    """What each term adds to the total of a measurement, and how much the total moves for one unit of each score."""
    from apfgan.composite import Formula, contributions, exchange_rates, scores_of

    formula = Formula(**best.protocol["formula"])
    values = {name: each.value for name, each in scores_of(best.metrics, distance=best.protocol["judges"]["distance"]).items()}
    return {"contributions": contributions(formula, **values), "exchange_rates": exchange_rates(formula, **values)}
