"""What candidates trade for what: mask accuracy against the distance, along with the aesthetic score."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apfgan.noise import QUANTILE
from apfgan.ranking import is_distance
from apfgan.records import DISTANCE_CLIP, Estimate
from reports.board import Board, Row, metric_title
from reports.figures.svg import GREEN, INK, MUTED, SMALL, TEXT, WIDTH, Box, Drawing, Part, add_axes, add_note, draw, legible, look, new_figure

PANEL = Box(left=0, top=0, width=WIDTH, height=346)
"""What the page shows."""

FRAME = Box(left=46, top=52, width=304, height=250)
"""The axes, in it."""

_BAR = Box(left=186, top=10, width=150, height=8)
_HEAD, _FOOT = 26.0, 56.0
_SPOT = 9.0
"""Width of a spot and what must stay free around it, in pixels."""

_SIZES = {(False, False): 2.2, (False, True): 5.5, (True, False): 3.2, (True, True): 7.5}
"""Of spots: whether they are on the front, and whether they are the best seed of their candidate."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A candidate between distance and mask accuracy."""

    name: str
    rank: int
    distance: Estimate
    accuracy: Estimate
    aesthetic: float
    pareto: bool
    """No other candidate beats it (`apfgan.contest.pareto_front`)."""
    repeated: bool
    """A better seed of the same candidate is among the spots."""


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """What the candidates trade for what."""

    title: str
    """Of the distance."""
    spots: tuple[Spot, ...]
    """Best first."""
    left_out: int
    """Candidates so far behind that the others would shrink to a dot."""
    front: tuple[tuple[Row, int], ...]
    """The best seed of each candidate that no other beats, and how many of its seeds none does; best first."""
    total: tuple[float, float] | None
    """(q, w) of the total = mask accuracy × (q - w × distance), as it is with the aesthetic score of the best; None where the formula is unknown."""

    @property
    def nearest(self) -> tuple[Spot, ...]:
        """Those with the largest mask accuracy of all that are as near or nearer, the nearest first."""
        found: list[Spot] = []
        for spot in sorted(self.spots, key=lambda spot: (spot.distance.value, -spot.accuracy.value)):
            if not found or spot.accuracy.value > found[-1].accuracy.value:
                found.append(spot)
        return tuple(found)

    @property
    def panel(self) -> Box:
        """What the page shows of the drawing, from its own corner."""
        return PANEL

    @property
    def places(self) -> tuple[tuple[Spot, tuple[float, float]], ...]:
        """The spots with where they lie in the panel, in pixels."""
        view = _View.of(self)
        return tuple((spot, view.place(spot.distance.value, spot.accuracy.value)) for spot in self.spots)

    @property
    def summary(self) -> str:
        """The front in a sentence."""
        front = [f"rank {spot.rank}: {spot.distance.value:.4g}, {spot.accuracy.value:.4g}" for spot in self.spots if spot.pareto]
        return f"{self.title} and mask accuracy of {len(self.spots)} candidates; of those that no other beats in everything: {'; '.join(front)}"

    def accuracy_for(self, total: float, distance: float) -> float | None:
        """The mask accuracy with which a candidate at this distance reaches a total; None where none does."""
        if self.total is None:
            return None
        quality = self.total[0] - self.total[1] * min(distance, DISTANCE_CLIP)
        return total / quality if quality > 0 else None

    def total_at(self, distance: float, accuracy: float) -> float | None:
        """The total of a candidate with these numbers; None where the formula is unknown."""
        return None if self.total is None else accuracy * (self.total[0] - self.total[1] * min(distance, DISTANCE_CLIP))


def tradeoffs(board: Board) -> Scatter | None:
    """The candidates between the distance that counts and mask accuracy; None for fewer than two that have both and an aesthetic score,
    and where one of the three is the same for all (assumed for a table that lacks it): then nothing is traded.
    """
    distance = next(filter(is_distance, board.metrics), None)
    parts = ("mask_accuracy", "aesthetic", distance)
    rows = [row for row in board.rows if all(name in row.entry.metrics for name in parts)]
    if distance is None or any(len({row.entry.metrics[name].value for row in rows}) < 2 for name in parts if name):
        return None
    best = rows[0]
    reach = 3 * (best.score.value - rows[len(rows) // 2].score.value)
    near = [row for row in rows if best.score.value - row.score.value <= reach] if reach > 0 else rows
    seen: set[str] = set()
    spots = []
    for row in near:
        spots.append(
            Spot(
                name=row.name,
                rank=row.rank,
                distance=row.entry.metrics[distance],
                accuracy=row.entry.metrics["mask_accuracy"],
                aesthetic=row.entry.metrics["aesthetic"].value,
                pareto=bool(row.standing.pareto),
                repeated=row.unseeded in seen,
            )
        )
        seen.add(row.unseeded)
    weight = board.closeness
    total = None
    if weight is not None and spots[0].accuracy.value > 0:
        clipped = min(spots[0].distance.value, DISTANCE_CLIP)
        total = (best.score.value / spots[0].accuracy.value + weight / 100 * clipped, weight / 100)
    front: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.standing.pareto:
            front[row.unseeded].append(row)
    return Scatter(
        title=metric_title(distance),
        spots=tuple(spots),
        left_out=len(rows) - len(near),
        front=tuple((seeds[0], len(seeds)) for seeds in front.values()),
        total=total,
    )


def place_labels(spots: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], taken: Sequence[Box], within: Box) -> list[Box | None]:
    """A place beside each spot (x, y) for a label of that size (width, height), all in pixels: in turn, the first of eight that is `within` the
    frame and free of what is `taken` and of the labels before; None where there is none.
    """
    placed: list[Box | None] = []
    for (x, y), (width, height) in zip(spots, sizes, strict=True):
        away = _SPOT / 2 + 2
        lefts, tops = (x - away - width, x - width / 2, x + away), (y - away - height, y - height / 2, y + away)
        ways = ((2, 0), (2, 1), (2, 2), (0, 0), (0, 1), (0, 2), (1, 0), (1, 2))
        boxes = (Box(left=lefts[across], top=tops[down], width=width, height=height) for across, down in ways)
        occupied = [*taken, *(box for box in placed if box is not None)]
        placed.append(next((box for box in boxes if within.holds(box) and not any(box.overlaps(other) for other in occupied)), None))
    return placed


def draw_scatter(scatter: Scatter, *, salt: str) -> Drawing:
    """Distance falling to the right against mask accuracy: who is above and to the right is better, and along a dashed line the total is the same."""
    title = legible(scatter.title, columns=30)
    with look(salt):
        figure = new_figure(_HEAD + PANEL.height + _FOOT)
        axes = add_axes(figure, _lower(FRAME), name="panel")
        view = _View.of(scatter)
        axes.set_xlim(view.far, view.near)
        axes.set_ylim(view.low, view.high)
        _draw_spots(figure, axes, scatter)
        _draw_labels(axes, scatter, view)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set_xlabel(f"{title} (better to the right)", parse_math=False, labelpad=3)
        axes.text(0, 1.02, "mask accuracy ↑", transform=axes.transAxes, color=MUTED, va="bottom", ha="left")
        add_note(figure, FRAME.left, 8, f"{title} and mask accuracy", bold=True)
        lines = ["◆ beaten by no other, with its rank", "small: further seeds · cross: 95 % interval of the best"]
        lines.append("─ best at each distance" + (" · ┅ equal score" if scatter.total else ""))
        for index, line in enumerate(lines):
            add_note(figure, FRAME.left, _HEAD + PANEL.height + 16 * index, line)
        return draw(figure, [Part(_lower(PANEL), ("panel", "bar"))], salt=salt)


@dataclass(frozen=True, kw_only=True)
class _View:
    """What the axes show: distances from `far` (left) to `near` (right), accuracies from `low` to `high`."""

    far: float
    near: float
    low: float
    high: float

    @classmethod
    def of(cls, scatter: Scatter) -> "_View":
        """All spots, and the interval of the best."""
        best = scatter.spots[0]
        bounds = []
        for of_best, values in (
            (best.distance, [spot.distance.value for spot in scatter.spots]),
            (best.accuracy, [spot.accuracy.value for spot in scatter.spots]),
        ):
            half = QUANTILE * (of_best.error or 0.0)
            low, high = min(*values, of_best.value - half), max(*values, of_best.value + half)
            margin = 0.07 * (high - low) or abs(high) / 100 or 1.0
            bounds.append((low - margin, high + margin))
        (near, far), (low, high) = bounds
        return cls(far=far, near=near, low=low, high=high)

    def place(self, distance: float, accuracy: float) -> tuple[float, float]:
        """Where these numbers lie, in pixels of the part."""
        return (
            FRAME.left + FRAME.width * (self.far - distance) / (self.far - self.near),
            FRAME.top + FRAME.height * (self.high - accuracy) / (self.high - self.low),
        )


def _lower(box: Box) -> Box:
    """A box of the part, in the figure: below its title."""
    return replace(box, top=box.top + _HEAD)


def _draw_spots(figure: Figure, axes: Axes, scatter: Scatter) -> None:
    """The spots, their colours, the line of the best at each distance, and the interval of the best."""
    best, nearest = scatter.spots[0], scatter.nearest
    half = [QUANTILE * (estimate.error or 0.0) for estimate in (best.distance, best.accuracy)]
    axes.errorbar(best.distance.value, best.accuracy.value, xerr=half[0], yerr=half[1], color=INK, alpha=0.5, linewidth=1, zorder=1)
    axes.plot([spot.distance.value for spot in nearest], [spot.accuracy.value for spot in nearest], color=GREEN, linewidth=1.4, zorder=2)
    aesthetics = [spot.aesthetic for spot in scatter.spots]
    levels = MaxNLocator(nbins=4).tick_values(min(aesthetics), max(aesthetics))
    # Without the ends of viridis, which are lost on a dark and on a light page.
    colours = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.18, 0.95, len(levels) - 1)))
    scale = ScalarMappable(BoundaryNorm(levels, len(levels) - 1), colours)
    painted = [to_hex(colour) for colour in scale.to_rgba(np.array(aesthetics)).tolist()]
    spots: dict[tuple[bool, bool, str], list[Spot]] = defaultdict(list)
    for spot, colour in zip(scatter.spots, painted, strict=True):
        spots[spot.pareto, not spot.repeated, colour].append(spot)
    for (pareto, foremost, colour), alike in sorted(spots.items()):
        axes.plot([spot.distance.value for spot in alike], [spot.accuracy.value for spot in alike], marker="D" if pareto else "o",
                  markersize=_SIZES[pareto, foremost], markerfacecolor=colour, markeredgecolor=INK, markeredgewidth=0.7, linestyle="")  # fmt: skip
    beside = add_axes(figure, _lower(_BAR), name="bar")
    colorbar = figure.colorbar(scale, cax=beside, orientation="horizontal")
    colorbar.outline.set_edgecolor(MUTED)
    beside.tick_params(labelsize=SMALL, length=2)
    beside.text(-0.06, 0.5, "aesthetic score", transform=beside.transAxes, color=MUTED, va="center", ha="right")


def _draw_labels(axes: Axes, scatter: Scatter, view: _View) -> None:
    """The rank beside each spot of the front where there is room, the best ones first, and the total beside each line of equal totals."""
    taken = [Box(left=x - _SPOT / 2, top=y - _SPOT / 2, width=_SPOT, height=_SPOT) for _, (x, y) in scatter.places]
    named = [(spot, place) for spot, place in scatter.places if spot.pareto and not spot.repeated]
    ranks = [str(spot.rank) for spot, _ in named]
    boxes = place_labels([place for _, place in named], [(0.65 * TEXT * len(rank), TEXT) for rank in ranks], taken, FRAME)
    for rank, box in zip(ranks, boxes, strict=True):
        if box is not None:
            _write(axes, rank, box, color=INK, fontsize=TEXT, fontweight="bold")
    taken += [box for box in boxes if box is not None]
    for text, line in _equal_totals(scatter, view):
        axes.plot(*zip(*line, strict=True), color=INK, alpha=0.4, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        size = (0.62 * SMALL * len(text), SMALL)
        along = [view.place(*line[index]) for index in (*range(len(line) - 2, 0, -3),)]
        above = (Box(left=x + 1, top=y - size[1] - 1, width=size[0], height=size[1]) for x, y in along)
        free = next((box for box in above if FRAME.holds(box) and not any(box.overlaps(other) for other in taken)), None)
        if free is not None:
            _write(axes, text, free, color=MUTED, fontsize=SMALL)
            taken.append(free)


def _write(axes: Axes, text: str, box: Box, *, color: str, fontsize: float, fontweight: str = "normal") -> None:
    """A text in the middle of a box of the part."""
    across, down = (box.left + box.width / 2 - FRAME.left) / FRAME.width, (box.top + box.height / 2 - FRAME.top) / FRAME.height
    axes.text(across, 1 - down, text, transform=axes.transAxes, ha="center", va="center_baseline",
              color=color, fontsize=fontsize, fontweight=fontweight)  # fmt: skip


def _equal_totals(scatter: Scatter, view: _View) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Round totals as text, each with the (distance, accuracy) within view that reach it, the farthest first."""
    distances = np.linspace(view.far, view.near, 120).tolist()
    corners = [total for each in ((view.far, view.low), (view.near, view.high)) if (total := scatter.total_at(*each)) is not None]
    totals = list(MaxNLocator(nbins=6).tick_values(min(corners), max(corners))) if corners else []
    decimals = max((len(f"{total:g}".partition(".")[2]) for total in totals), default=0)
    for total in totals:
        line = [(distance, accuracy) for distance in distances if (accuracy := scatter.accuracy_for(total, distance)) is not None]
        line = [point for point in line if view.low <= point[1] <= view.high]
        if len(line) > 2:
            yield f"{total:.{decimals}f}", line
