"""Numbers and lists as the page words them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apfgan.noise import QUANTILE
from apfgan.records import Estimate
from reports.board import Board


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


def resolving(value: float, spread: float | None) -> str:
    """A value with as many decimals as keep two digits of how it scatters."""
    return f"{value:.{_decimals([Estimate(value, spread)])}f}".replace("-", "−")


def percent(share: float | None, decimals: int = 1) -> str:
    """A share as a percentage, or a dash for one that is unknown."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.{decimals}f} %"


def counted(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], *, most: int) -> str:
    """`a, b and 3 more`, where there are more than `most`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _decimals(estimates: Sequence[Estimate]) -> int:
    """Decimals that keep two digits of the typical error; without errors, four digits of the largest value."""
    errors = sorted(estimate.error for estimate in estimates if estimate.error)
    if errors:
        return min(max(1 - math.floor(math.log10(errors[len(errors) // 2])), 0), 6)
    largest = max((abs(estimate.value) for estimate in estimates), default=0.0)
    return min(max(3 - math.floor(math.log10(largest)), 0), 6) if largest > 0 else 4
