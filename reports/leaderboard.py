"""The leaderboard as values: one line for each ranked row, with all that is shown of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from apfgan.guards import Guard, beyond_clip, mask_above_photos
from apfgan.noise import QUANTILE
from apfgan.ranking import better
from reports.board import Board, Row


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a score and its 95 % interval lie on an axis from 0 to 100."""

    low: float
    value: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the leaderboard."""

    row: Row
    interval: Interval
    members: tuple[tuple[str, float], ...]
    """Of a merge: its checkpoints with their shares; empty for anything else."""
    tied: bool
    """Not told from the best by the noise, in a board where anything is so: true of the best, too."""
    seeds: int
    """How many seeds of this candidate are ranked."""
    stand_in: str | None
    """Whom choosing this row compares: itself, or another seed of it among the candidates with pictures. None: it cannot be compared."""
    leads: frozenset[str]
    """Metrics in which it is the best of all rows."""
    guards: tuple[Guard, ...]
    """Answered with yes: beware of it."""


def leaderboard(board: Board, cast: Sequence[Row]) -> tuple[Line, ...]:
    """All ranked rows, best first. `cast`: the candidates that can be compared."""
    axis = _intervals(board)
    seeds = Counter(row.unseeded for row in board.rows if row.seeded)
    in_cast = {row.name for row in cast}
    stand_ins = {row.unseeded: row.name for row in cast}
    leaders = {name: _best_value(board, name) for name in board.metrics}
    lines = []
    for row in board.rows:
        metrics = row.measurement.metrics
        guards = (mask_above_photos(metrics, board.anchors), beyond_clip(metrics))
        lines.append(
            Line(
                row=row,
                interval=axis[row.name],
                members=members_of(row),
                tied=bool(board.tied) and row.place.tied,
                seeds=seeds[row.unseeded] if row.seeded else 1,
                stand_in=row.name if row.name in in_cast else stand_ins.get(row.unseeded),
                leads=frozenset(name for name, value in leaders.items() if name in metrics and metrics[name].value == value),
                guards=tuple(guard for guard in guards if guard.answer == "yes"),
            )
        )
    return tuple(lines)


def members_of(row: Row) -> tuple[tuple[str, float], ...]:
    """The checkpoints of a merge with their shares; empty for anything else."""
    candidate = row.candidate
    return tuple(zip(candidate.members, candidate.shares, strict=True)) if candidate is not None and candidate.is_merge else ()


def _best_value(board: Board, metric: str) -> float | None:
    """The best value of a metric; None where all have the same."""
    values = {row.measurement.metrics[metric].value for row in board.rows if metric in row.measurement.metrics}
    return max(values, key=lambda value: better(metric) * value) if len(values) > 1 else None


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
