"""The report itself: one page that opens from the disk, asks nothing of any server, and everything it shows as files beside it."""

import base64
import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from apfgan.errors import DataError
from apfgan.files import hash_file, write_json, write_text
from apfgan.labels import Classes
from apfgan.noise import QUANTILE, expected_maximum
from apfgan.ranking import better, protocol_of
from apfgan.records import Estimate
from apfgan.runs import Run, versions
from reports.board import (
    Board,
    Comparison,
    Merge,
    Row,
    flatten,
    metric_title,
    read_board,
)
from reports.exhibition import Exhibition, read_exhibition
from reports.notes import board_notes
from reports.observations import Observations, read_observations
from reports.page_data import page_data
from reports.plots import MOST_MERGES, Curve, draw_plots, loss_curves, score_curves, tradeoffs, write_plots
from reports.tables import write_tables
from reports.terminal import chance_text

REPORT_SCHEMA = 1
"""Version of `report.json`."""

FEW_IMAGES = 20
"""Below so many images the numbers of a class are shown in grey."""

MANY_CLASSES = 40
"""Above so many classes their table starts folded."""

_FOLDER = Path(__file__).parent / "html"
STYLES = ("base.css", "verdict.css", "tables.css", "plots.css", "images.css", "classes.css", "narrow.css", "print.css")
SCRIPTS = ("core.js", "theme.js", "tables.js", "leaderboard.js", "weights.js", "curves.js", "images.js", "classes.js")
"""In this order they are one style sheet and one script within the page, whose security policy names their hashes."""


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class in the best candidate's images."""

    name: str
    colour: str
    images: int
    share: float
    """Of all given pixels."""
    accuracy: float
    iou: float
    change: float | None
    """Accuracy less that of the last epoch."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a score and its interval lie on an axis from 0 to 100."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Format:
    """Numbers as text: each metric with as many decimals as its noise leaves meaning to, the same in every row."""

    decimals: Mapping[str, int]

    @classmethod
    def of(cls, board: Board) -> "Format":
        """The decimals of each metric of a board, and of the `score`."""
        metrics = [row.measurement.metrics for row in board.rows]
        estimates = {name: [each[name] for each in metrics if name in each] for name in (*board.metrics, *board.checks)}
        estimates["score"] = [row.score for row in board.rows]
        return cls({name: _decimals(found) for name, found in estimates.items()})

    def number(self, value: float | None, name: str = "score") -> str:
        """The value, or a dash for one that is unknown."""
        return "–" if value is None else f"{value:.{self.decimals[name]}f}".replace("-", "−")

    def signed(self, value: float | None, name: str = "score") -> str:
        """The same with its sign: a difference."""
        return "–" if value is None else f"{value:+.{self.decimals[name]}f}".replace("-", "−")

    def margin(self, error: float | None, name: str = "score") -> str:
        """Half of the 95 % interval."""
        return "" if error is None else f"± {QUANTILE * error:.{self.decimals[name]}f}"


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that one report shows, read before anything is written."""

    board: Board
    observed: Mapping[str, Observations]
    """Of each ranked candidate that has them, by its name, best first."""
    exhibition: Exhibition
    losses: tuple[Curve, ...]
    notes: tuple[str, ...]
    """What a reader must know before trusting the numbers."""
    origin: tuple[tuple[str, str], ...]
    """Checkpoint files behind the choice, with their hashes."""
    configuration: str
    history: tuple[Mapping[str, str], ...]
    """The commands that made the run."""
    sources: tuple[Path, ...]
    """Files that the report stands on."""


def write_report(run: Run, *, now: datetime | None = None) -> Path:
    """Write the run's report (`index.html`, `report.json`, tables, plots) and return the path of its page.

    It can be made at any time, also while the run is still being scored. The same run gives the same bytes but for the time `now`.
    Raises `DataError` when the ledger is damaged, `EnvironmentProblem` when the report cannot be written.
    """
    return _write(read_content(run), run.report, now=now)


def read_content(run: Run) -> Content:
    """What the report of a run shows."""
    board = read_board(run)
    observed, problems = _read_all_observations(run, board)
    sources = (run.config_path, run.ledger.path, run.path / "history.jsonl", run.training_log, run.pick_path)
    return Content(
        board=board,
        observed=observed,
        exhibition=read_exhibition(run, board, observed),
        losses=loss_curves(run),
        notes=(*board_notes(board), *problems),
        origin=tuple(_origin(run, board.choice)),
        configuration=run.config_path.read_text(encoding="utf-8"),
        history=tuple(_history(run)),
        sources=tuple(path for path in sources if path.exists()),
    )


def _write(content: Content, folder: Path, *, now: datetime | None) -> Path:
    """Write a report into `folder` and return the path of its page."""
    moment = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    board = content.board
    files = [*write_tables(folder, board, content.observed), *write_plots(folder / "plots", board, content.losses)]
    write_json(folder / "report.json", _summary(board, content.notes, moment))
    page = folder / "index.html"
    write_text(page, _render(content, files=_describe_files(content.sources, files, folder), moment=moment))
    return page


def _render(content: Content, *, files: Sequence[Mapping[str, Any]], moment: str) -> str:
    board = content.board
    style, script = _join("style", STYLES), _join("script", SCRIPTS)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = Format.of(board)
    environment.filters.update(
        number=shown.number,
        signed=shown.signed,
        margin=shown.margin,
        percent=_percent,
        bytes=_size,
        metric_title=metric_title,
        chance=chance_text,
    )
    classes = _class_rows(board, content.observed)
    return environment.get_template("page.html.j2").render(
        board=board,
        best=board.best,
        choice=board.choice,
        rival=board.rival,
        versus=[(role, found) for role, row in _rivals(board) if (found := board.compare(row))],
        steps=_steps(board),
        intervals=_intervals(board),
        tied=frozenset(row.name for row in board.tied),
        distances=frozenset(name for name in (*board.metrics, *board.checks) if better(name) < 0),
        protocol_id=protocol_of(board.best.measurement) if board.best else "",
        protocol=list(flatten(board.protocol)),
        origin=content.origin,
        command=shlex.join(["apfgan", "submit", "--run", board.run_path, "--pick", board.choice.name])
        if board.choice and board.drawn(board.choice)
        else "",
        commands_to_begin=_commands_to_begin(board),
        plots={
            name: [(plot, Markup(plot.svg)) for plot in plots]  # our own drawing, with every text escaped by the XML writer
            for name, plots in draw_plots(board, content.losses).items()
        },
        tradeoffs=tradeoffs(board),
        score_curves=score_curves(board),
        loss_curves=content.losses,
        exhibition=content.exhibition,
        classes=classes,
        classes_folded=len(board.config.data.classes) > MANY_CLASSES,
        legend=_legend(board.config.data.label_classes, classes),
        merges=[(merge, _shares(merge)) for merge in board.merges],
        most_merges=MOST_MERGES,
        seeds=[(group, expected_maximum(len(group.rows))) for group in board.seeds],
        few_images=FEW_IMAGES,
        configuration=content.configuration,
        history=content.history,
        files=files,
        notes=content.notes,
        moment=moment,
        versions=versions(),
        data=page_data(board, content.exhibition, content.observed),
        style=Markup(style),  # our own files, without a user's text in them
        script=Markup(script),
        policy=(
            f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
        ),
    )


def _join(folder: str, names: Sequence[str]) -> str:
    """Our own files, one behind the other."""
    return "\n".join((_FOLDER / folder / name).read_text(encoding="utf-8") for name in names)


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


def _rivals(board: Board) -> list[tuple[str, Row | None]]:
    runner_up = board.rows[1] if len(board.rows) > 1 else None
    last = board.last_epoch if board.last_epoch is not runner_up else None
    role = "runner-up and last epoch" if runner_up is not None and runner_up is board.last_epoch else "runner-up"
    return [(role, runner_up), ("last epoch", last), ("untrained generator", board.untrained if board.untrained is not runner_up else None)]


def _steps(board: Board) -> list[tuple[str, Row, Comparison | None]]:
    """The bridge with a name for each step and its gain over the step before."""
    steps: list[tuple[str, Row, Comparison | None]] = []
    for row in board.bridge:
        previous = steps[-1][1] if steps else None
        if previous is None:
            name = "last epoch" if row is board.last_epoch else "start"
        elif row.unseeded == previous.unseeded:
            name = "choice of the seed"
        else:
            name = {"epoch": "choice of the epoch", "other": "choice of the checkpoint"}.get(row.kind, row.kind)
        steps.append((name, row, Comparison(row, previous) if previous else None))
    return steps if len(steps) > 1 else []


def _intervals(board: Board) -> dict[str, Interval]:
    """Each row's interval on one axis. Rows far behind (an untrained generator) are cut off, lest they squeeze the others together."""
    if not board.rows:
        return {}
    values = [row.score.value for row in board.rows]
    reach = {row.name: QUANTILE * (row.score.error or 0) for row in board.rows}
    high = max(row.score.value + reach[row.name] for row in board.rows)
    middle = values[len(values) // 2]
    low = max(min(row.score.value - reach[row.name] for row in board.rows), high - 3 * (high - middle)) if middle < high else values[-1]
    width = (high - low) or 1.0

    def place(value: float) -> float:
        return round(min(max(100 * (value - low) / width, 0.0), 100.0), 2)

    return {
        row.name: Interval(low=place(row.score.value - reach[row.name]), value=place(row.score.value), high=place(row.score.value + reach[row.name]))
        for row in board.rows
    }


def _class_rows(board: Board, observed: Mapping[str, Observations]) -> list[ClassRow]:
    """Each class that the label maps ask for, the most frequent first."""
    best = observed.get(board.best.name) if board.best else None
    if best is None:
        return []
    last = observed.get(board.last_epoch.name) if board.last_epoch and board.last_epoch is not board.best else None
    classes = board.config.data.label_classes
    scores, pixels = best.classes, best.classes.pixels
    known = [index for index in range(min(len(classes), len(pixels))) if pixels[index] > 0]
    return [
        ClassRow(
            name=classes.names[index],
            colour=_hex(classes, index),
            images=int(scores.images[index]),
            share=float(pixels[index] / pixels.sum()),
            accuracy=float(scores.accuracy[index]),
            iou=float(scores.iou[index]),
            change=float(scores.accuracy[index] - last.classes.accuracy[index]) if last and len(last.confusion) == len(pixels) else None,
        )
        for index in sorted(known, key=lambda index: -pixels[index])
    ]


def _legend(classes: Classes, present: Sequence[ClassRow]) -> list[tuple[str, str]]:
    """Name and colour of the classes that occur, or of all where that is not known."""
    names = [row.name for row in present] or list(classes.names)
    return [(name, _hex(classes, classes.names.index(name))) for name in names]


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


def _history(run: Run) -> list[dict[str, str]]:
    """The commands that made the run; lines that are not whole are passed over."""
    path = run.path / "history.jsonl"
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            packages = " ".join(f"{name} {version}" for name, version in entry["versions"].items())
            command = shlex.join(["apfgan", *map(str, entry["arguments"])])
            entries.append({"time": str(entry["time"]), "command": command, "versions": packages, "commit": str(entry["commit"])})
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return entries


def _describe_files(sources: Sequence[Path], written: Sequence[Path], folder: Path) -> list[dict[str, Any]]:
    """Files that the report stands on and those it consists of; only the latter, whose names are ours, are linked."""
    named: list[tuple[Path, str, str | None]] = [(path, path.name, None) for path in sources]
    named += [(path, path.relative_to(folder).as_posix(), path.relative_to(folder).as_posix()) for path in written]
    return [{"name": name, "link": link, "size": path.stat().st_size, "sha256": hash_file(path)} for path, name, link in named]


def _summary(board: Board, notes: Sequence[str], moment: str) -> dict[str, Any]:
    """The report for programs."""
    best = board.best
    return {
        "schema": REPORT_SCHEMA,
        "made": moment,
        "version": versions()["apfgan"],
        "run": board.run_name,
        "protocol_id": protocol_of(best.measurement) if best else None,
        "protocol": dict(board.protocol),
        "formula": board.formula or None,
        "embedded_judges": board.embedded,
        "checkpoints": len(board.checkpoints),
        "measured_checkpoints": board.measured_checkpoints,
        "best": best.name if best else None,
        "choice": board.choice.name if board.choice else None,
        "clear": board.clear,
        "within_noise": [row.name for row in board.tied],
        "tried": board.outlook.tried if board.outlook else 0,
        "submission_score": asdict(best.score) if best else None,
        "expected_score": asdict(board.outlook.expected) if board.outlook and board.outlook.expected else None,
        "pick": asdict(board.pick) if board.pick else None,
        "ranking": [
            {
                "rank": row.rank,
                "candidate": row.name,
                "kind": row.kind,
                "rank_interval": row.place.rank_interval,
                **asdict(row.standing),
                "seed": row.seed,
                "images": row.measurement.images,
                "composite": row.score.value,
                "composite_error": row.score.error,
                "metrics": {name: {"value": each.value, "error": each.error} for name, each in sorted(row.measurement.metrics.items())},
            }
            for row in board.rows
        ],
        "notes": list(notes),
    }


def _decimals(estimates: Sequence[Estimate]) -> int:
    """Decimals that keep two digits of the typical error; without errors, four digits of the largest value."""
    errors = sorted(estimate.error for estimate in estimates if estimate.error)
    if errors:
        return min(max(1 - math.floor(math.log10(errors[len(errors) // 2])), 0), 6)
    largest = max((abs(estimate.value) for estimate in estimates), default=0.0)
    return min(max(3 - math.floor(math.log10(largest)), 0), 6) if largest > 0 else 4


def _percent(share: float | None, decimals: int = 1) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.{decimals}f} %"


def _size(count: int) -> str:
    """A file's size with its unit."""
    value, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    while value >= 1000 and unit != "GB":
        value, unit = value / 1000, next(units)
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _hex(classes: Classes, index: int) -> str:
    return "#" + bytes(classes.colours[index].tolist()).hex()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
