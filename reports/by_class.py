"""Two candidates held against each other class by class, as the page shows it while no script changes the pair.

`script/classes.js` fills the same cells for any other pair, by the same rules: what is rounded here is rounded there by the same arithmetic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from apfgan.labels import Classes
from reports.board import Board, Row
from reports.comparing import ClassComparison, hexadecimal

AXES = (1, 2, 5, 10, 20, 50, 100)
"""How far the axis of the differences may reach to either side, in points."""
OTHERS = "others"
"""All classes that the confusion matrix does not name."""


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class. Shares are of 1; None: unknown."""

    name: str
    colour: str
    images: int
    share: float
    """Of all labelled pixels."""
    judged: bool
    """Enough images ask for it."""
    accuracy: tuple[float | None, float | None]
    """Of A and of B."""
    iou: tuple[float | None, float | None]
    gap: float | None
    """Accuracy of A less that of B."""
    half: float | None
    """Half of its 95 % interval."""
    ahead: Literal["", "a", "b"]
    """Which of the two is clearly ahead."""
    forest: tuple[int, int, int] | None
    """Where the interval begins, the difference lies and the interval ends, in thousandths of the axis; cut off at its ends."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the confusion matrix."""

    text: str
    """Percent, or nothing."""
    heat: int
    """0 to 10, by the square root of the share, for most mistakes are small."""


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """A pair of candidates by class, the most frequent class first."""

    pair: tuple[int, int]
    """Places of A and B in the cast; the same where there is only one."""
    rows: tuple[ClassRow, ...]
    axis: int
    """Points of accuracy that the axis of the differences reaches to either side."""
    without_errors: int
    """How many of the cast are shown without intervals."""
    named: int
    """How many classes the confusion matrix names."""
    given: tuple[tuple[str, str | None], ...]
    """Rows of the confusion matrix: name and colour, `others` last if need be."""
    found: tuple[tuple[str, str | None], ...]
    """Its columns."""
    matrix: tuple[tuple[Cell, ...], ...]
    """What A makes of each given class."""

    def count(self, ahead: str) -> int:
        """How many of the judged classes `a` or `b` is clearly ahead in; of neither: ``""``."""
        return sum(row.judged and row.ahead == ahead for row in self.rows)


def opening_pair(board: Board, cast: Sequence[Row]) -> tuple[int, int]:
    """Places in the cast of the two that are compared as the page opens; the same where there is only one."""
    places = {row.name: place for place, row in enumerate(cast)}
    a = places.get(board.choice.name, 0) if board.choice else 0
    other = min(1, len(cast) - 1)
    return a, places.get(board.rival.name, other) if board.rival else other


def class_table(comparison: ClassComparison, a: int, b: int) -> ClassTable:
    """The candidates at the places `a` and `b`."""
    gaps, halves = comparison.gap(a, b), comparison.reach * comparison.error(a, b)
    axis = _axis(gaps, halves, comparison.judged)
    rows = []
    for index, (gap, half) in enumerate(zip(gaps, halves, strict=True)):
        clear = comparison.clear[index] * comparison.error(a, b)[index]
        rows.append(
            ClassRow(
                name=comparison.names[index],
                colour=comparison.colours[index],
                images=int(comparison.images[index]),
                share=float(comparison.share[index]),
                judged=bool(comparison.judged[index]),
                accuracy=(_known(comparison.accuracy[a, index]), _known(comparison.accuracy[b, index])),
                iou=(_known(comparison.iou[a, index]), _known(comparison.iou[b, index])),
                gap=_known(gap),
                half=_known(half),
                ahead="a" if gap > clear else "b" if -gap > clear else "",
                forest=None if math.isnan(gap + half) else (_place(gap - half, axis), _place(gap, axis), _place(gap + half, axis)),
            )
        )
    named = list(zip(comparison.names, comparison.colours, strict=True))[: comparison.confusion.shape[1] - 1]
    others: list[tuple[str, str | None]] = [(OTHERS, None)]
    given = [*named, *(others if np.isfinite(comparison.confusion[:, -1]).any() else [])]
    found = [*named, *(others if (comparison.confusion[:, :, -1] > 0).any() else [])]
    return ClassTable(
        pair=(a, b),
        rows=tuple(rows),
        axis=axis,
        without_errors=comparison.without_errors,
        named=len(named),
        given=tuple(given),
        found=tuple(found),
        matrix=tuple(tuple(map(_cell, row[: len(found)])) for row in comparison.confusion[a][: len(given)]),
    )


def legend(classes: Classes, present: ClassTable | None) -> list[tuple[str, str]]:
    """Name and colour of the classes that the label maps ask for, or of all where that is not known."""
    if present is not None:
        return [(row.name, row.colour) for row in present.rows]
    return list(zip(classes.names, hexadecimal(classes), strict=True))


def points(share: float | None) -> str:
    """A share of 1 in points, with one decimal: halves go up, as the script rounds them."""
    return "–" if share is None else f"{_tenths(share) / 10:.1f}".replace("-", "−")


def signed_points(share: float | None) -> str:
    """The same with its sign."""
    return ("+" if share is not None and _tenths(share) > 0 else "") + points(share)


def _tenths(share: float) -> int:
    return math.floor(1000 * share + 0.5)


def _axis(gaps: np.ndarray, halves: np.ndarray, judged: np.ndarray) -> int:
    """The shortest axis on which the intervals of all judged classes lie, or of all classes where none is judged."""
    reaches = 100 * (np.abs(gaps) + halves)
    known: Sequence[float] = reaches[~np.isnan(reaches) & (judged | ~judged.any())].tolist()
    return next((axis for axis in AXES if all(reach <= axis for reach in known)), AXES[-1])


def _place(share: float, axis: int) -> int:
    return min(max(math.floor(500 + 50000 * share / axis + 0.5), 0), 1000)


def _cell(share: float) -> Cell:
    if math.isnan(share) or share == 0:
        return Cell(text="", heat=0)
    return Cell(text=f"{math.floor(100 * share + 0.5)}", heat=math.floor(10 * math.sqrt(share) + 0.5))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
