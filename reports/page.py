"""The report itself: one page that opens from the disk, asks nothing of any server, and everything it shows as files beside it."""

import base64
import hashlib
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from apfgan.errors import DataError, UsageError
from apfgan.files import write_json, write_text
from apfgan.ranking import better, protocol_of
from apfgan.records import Measurement
from apfgan.runs import Run, versions
from reports.board import (
    Board,
    Merge,
    Row,
    board_of_tables,
    flatten,
    metric_title,
    read_board,
)
from reports.budget import NO_WISH, Wish
from reports.by_class import class_table, legend, opening_pair, points, signed_points
from reports.comparing import FEW_IMAGES, ClassComparison, compare_classes
from reports.costs import Costs, read_costs
from reports.decision import bridge, reweighable, waterfall, worth_of
from reports.exhibition import Exhibition, read_exhibition
from reports.facts import DataFacts, read_data_facts, table_facts
from reports.failures import FailureReport, read_failure_report
from reports.figures.curves import loss_curves
from reports.figures.gallery import Gallery, draw_figures, write_figures
from reports.files import Command, File, describe_files, read_history, run_files
from reports.formats import Format, percent, resolving
from reports.header import header, read_limit
from reports.leaderboard import leaderboard
from reports.method import method_of
from reports.notes import board_notes
from reports.observations import Observations, read_observations
from reports.page_data import page_data
from reports.picture_store import remove_stale_pictures, write_archive, write_pictures
from reports.summary import summarise, summary_schema
from reports.tables import write_tables
from reports.terminal import chance_text
from reports.verdict import Verdict, verdict_of

MANY_CLASSES = 40
"""Above so many classes their table starts folded."""

_FOLDER = Path(__file__).parent / "html"
STYLES = ("base", "verdict", "tables", "plots", "images", "classes", "sections", "narrow", "print")
SCRIPTS = (
    *("core", "theme", "navigation", "tables", "leaderboard", "weights", "curves", "pictures", "chooser", "stage", "legend"),
    *("divider", "zoom", "epochs", "wall", "grid", "keys", "classes", "confusion"),
)
"""In this order they are one style sheet and one script within the page, whose security policy names their hashes."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that one report shows, read before anything is written."""

    board: Board
    observed: Mapping[str, Observations]
    """Of each ranked candidate that has them, by its name, best first."""
    exhibition: Exhibition
    by_class: ClassComparison | None
    """None where no candidate has its observations."""
    figures: Gallery
    notes: tuple[str, ...]
    """What a reader must know before trusting the numbers."""
    verdict: Verdict | None
    """None where nothing is measured."""
    configuration: str
    facts: DataFacts
    history: tuple[Command, ...]
    """The commands that made the run."""
    sources: tuple[Path, ...]
    """Files that the report stands on."""
    limit: int | None = None
    """Label maps that the last `score` was limited to; None: all were asked for."""
    failures: FailureReport | None = None
    """None where nothing is measured, or images are not known."""
    costs: Costs | None = None
    """None where nothing is known of them."""


def write_report(run: Run, *, folder: Path | None = None, wish: Wish = NO_WISH, now: datetime | None = None) -> Path:
    """Write the run's report (`index.html`, `report.json`, tables, plots, pictures) into `folder` (default: the run's own) and return the path of its
    page.

    It can be made at any time, also while the run is still being scored. The same run gives the same bytes but for the time `now`.
    Raises `DataError` when the ledger is damaged, `UsageError` when a page that is no report is in the way, `EnvironmentProblem` when it cannot be
    written.
    """
    return write_content(read_content(run, wish=wish), folder or run.report, now=now)


def write_table_report(
    measurements: Sequence[Measurement],
    folder: Path,
    *,
    name: str,
    seeded: Collection[str] = (),
    notes: Sequence[str] = (),
    sources: Sequence[Path] = (),
    now: datetime | None = None,
) -> Path:
    """Write the report of numbers that were measured elsewhere (`selection.tables`) into `folder` and return the path of its page.

    What needs a run (pictures, classes, training) is not in it. `name` is its title, `seeded` names the candidates whose seed is known, `notes`
    tell what a reader must know, `sources` are the tables. Raises as `write_content`.
    """
    board = board_of_tables(measurements, name=name, seeded=seeded)
    content = Content(
        board=board,
        observed={},
        exhibition=Exhibition(cast=()),
        by_class=None,
        figures=draw_figures(board, None),
        notes=(*notes, *board_notes(board)),
        verdict=verdict_of(board),
        configuration="",
        facts=table_facts(board),
        history=(),
        sources=tuple(sources),
    )
    return write_content(content, folder, now=now)


def read_content(run: Run, *, wish: Wish = NO_WISH) -> Content:
    """What the report of a run shows."""
    board = read_board(run)
    observed, problems = _read_all_observations(run, board)
    exhibition = read_exhibition(run, board, observed, wish=wish)
    foremost = [row.name for row in (board.choice, board.rival) if row]
    return Content(
        board=board,
        observed=observed,
        exhibition=exhibition,
        by_class=compare_classes(exhibition.cast, observed, board.config.data.label_classes, foremost=foremost),
        figures=draw_figures(board, loss_curves(run)),
        notes=(*board_notes(board), *problems),
        verdict=verdict_of(board, origin=_origin(run, board.choice)),
        configuration=run.config_path.read_text(encoding="utf-8"),
        facts=read_data_facts(run, board),
        history=read_history(run),
        sources=run_files(run),
        limit=read_limit(run),
        failures=read_failure_report(run, board, observed, exhibition.store),
        costs=read_costs(run, board.measurements),
    )


def write_content(content: Content, folder: Path, *, now: datetime | None = None) -> Path:
    """Write a report into `folder` and return the path of its page. What an earlier report left there and this one does not have is deleted.

    Raises `UsageError` for a folder with a page that is no report, `EnvironmentProblem` when it cannot be written.
    """
    page, summary = folder / "index.html", folder / "report.json"
    if page.exists() and not summary.exists():
        raise UsageError(f"{page} is no report of apfgan, and would be overwritten. Choose another folder: --out FOLDER")
    moment = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    board = content.board
    files = [*write_tables(folder, board, content.observed), *write_figures(folder / "plots", content.figures)]
    write_json(summary, _summary(content, moment))
    write_json(folder / "report.schema.json", summary_schema())
    store = content.exhibition.store
    pictures = write_pictures(folder, store)
    beside = [summary, folder / "report.schema.json", *files]
    write_text(page, _render(content, files=(describe_files(content.sources, folder), describe_files(beside, folder, timed=summary)), moment=moment))
    remove_stale_pictures(folder, store)
    if content.exhibition.form == "zip":
        write_archive(folder, [page, *beside, *pictures])
    return page


def _render(content: Content, *, files: tuple[Sequence[File], Sequence[File]], moment: str) -> str:
    """The page. `files`: those that the report stands on, and those beside the page."""
    board = content.board
    style, script = _join("style", STYLES, ".css"), _join("script", SCRIPTS, ".js")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    shown = Format.of(board)
    environment.filters.update(
        number=shown.number,
        signed=shown.signed,
        margin=shown.margin,
        resolving=resolving,
        percent=percent,
        points=points,
        signed_points=signed_points,
        bytes=_size,
        metric_title=metric_title,
        chance=chance_text,
    )
    opening = opening_pair(board, content.exhibition.cast)
    classes = class_table(content.by_class, *opening) if content.by_class else None
    return environment.get_template("page.html.j2").render(
        board=board,
        best=board.best,
        choice=board.choice,
        rival=board.rival,
        verdict=content.verdict,
        steps=(steps := bridge(board)),
        bars=waterfall(steps),
        worth=worth_of(board.choice),
        reweighable=reweighable(board),
        decimals=shown.decimals["score"],
        lines=leaderboard(board, content.exhibition.cast),
        header=header(board, limit=content.limit),
        tied=frozenset(row.name for row in board.tied),
        distances=frozenset(name for name in (*board.metrics, *board.checks) if better(name) < 0),
        protocol_id=protocol_of(board.best.measurement) if board.best else "",
        protocol=list(flatten(board.protocol)),
        commands_to_begin=_commands_to_begin(board),
        plots=content.figures,
        exhibition=content.exhibition,
        opening=opening,
        classes=classes,
        classes_folded=len(board.config.data.classes) > MANY_CLASSES,
        legend=legend(board.config.data.label_classes, classes),
        merges=[(merge, _shares(merge)) for merge in board.merges],
        few_images=FEW_IMAGES,
        configuration=content.configuration,
        facts=content.facts,
        failures=content.failures,
        costs=content.costs,
        method=method_of(board),
        history=content.history,
        sources=files[0],
        files=files[1],
        notes=content.notes,
        moment=moment,
        versions=versions(),
        data=page_data(board, content.exhibition, content.observed, content.by_class),
        style=Markup(style),  # our own files, without a user's text in them
        script=Markup(script),
        policy=(
            f"default-src 'none'; img-src {content.exhibition.store.policy}; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
    )


def _join(folder: str, names: Sequence[str], suffix: str) -> str:
    """Our own files, one behind the other."""
    return "\n".join((_FOLDER / folder / f"{name}{suffix}").read_text(encoding="utf-8") for name in names)


def _read_all_observations(run: Run, board: Board) -> tuple[dict[str, Observations], tuple[str, ...]]:
    """Observations of each ranked candidate by its name, best first, and what is wrong with those that cannot be read."""
    observed, damaged = {}, []
    for row in board.rows:
        try:
            found = read_observations(run, row.measurement)
        except DataError as error:
            damaged.append(str(error))
        else:
            if found is not None:
                observed[row.name] = found
    more = f" The same goes for {len(damaged) - 1} more." if len(damaged) > 1 else ""
    return observed, (f"Left out of the tables by image and by class: {damaged[0]}{more}",) if damaged else ()


def _shares(merge: Merge) -> list[tuple[str, float]]:
    candidate = merge.row.candidate
    return list(zip(candidate.members, candidate.shares, strict=True)) if candidate else []


def _origin(run: Run, row: Row | None) -> list[tuple[str, str]]:
    """Checkpoint files behind a candidate, with the hashes that their manifests give."""
    found = []
    for name in row.candidate.members if row and row.candidate else ():
        path = run.checkpoint_path(name)
        try:
            digest = str(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append((path.name, digest))
    return found


def _commands_to_begin(board: Board) -> list[str]:
    run = shlex.quote(board.run_path)
    score = f"apfgan score --run {run} --epochs all --labels DIR --real DIR"
    return [score, f"apfgan report --run {run}"] if board.checkpoints else [f"apfgan train --data DATA --run {run}", score]


def _summary(content: Content, moment: str) -> dict[str, Any]:
    return summarise(
        content.board,
        verdict=content.verdict,
        failures=content.failures.records if content.failures else (),
        costs=content.costs,
        notes=content.notes,
        limit=content.limit,
        moment=moment,
    )


def _size(count: int) -> str:
    """A file's size with its unit."""
    value, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while value >= 1000 and unit != "GB":
        value, unit = value / 1000, next(units)
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
