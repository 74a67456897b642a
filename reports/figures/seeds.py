"""What seeds scatter, and what the best of so many owes to luck: in the score, and in the distance, which moves most."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from matplotlib.ticker import MaxNLocator

from apfgan.noise import expected_maximum
from apfgan.ranking import better, is_distance
from reports.board import Board, SeedGroup, metric_title
from reports.figures.svg import GREEN, INK, MUTED, TEXT, WIDTH, Box, Drawing, Part, add_axes, add_note, draw, legible, look, new_figure

MOST_SEED_GROUPS = 12
"""Candidates whose seeds are drawn; the table has them all."""

_LINE, _HEAD, _TOP, _BOTTOM, _FOOT = 34.0, 26.0, 4.0, 40.0, 24.0


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One number of a candidate under several seeds."""

    title: str
    metric: str
    """`score` or a metric."""
    values: tuple[float, ...]
    """By seed, in the order of `Seeds.seeds`; at least two."""
    lower_is_better: bool = False

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        """Sample standard deviation over seeds."""
        return stdev(self.values)

    @property
    def best(self) -> float:
        """The best of the values."""
        return min(self.values) if self.lower_is_better else max(self.values)

    @property
    def gain(self) -> float:
        """How much better the best is than the mean, on these label maps; not negative."""
        return abs(self.best - self.mean)

    @property
    def luck(self) -> float:
        """How much better the best of so many equal seeds is than their mean, on average."""
        return expected_maximum(len(self.values)) * self.deviation


@dataclass(frozen=True)
class Seeds:
    """A candidate that was drawn with several seeds."""

    name: str
    """Without a seed."""
    seeds: tuple[int, ...]
    """Best score first."""
    score: Spread
    distance: Spread | None
    """None where it is not known of every seed."""


@dataclass(frozen=True)
class SeedSpreads:
    """Every candidate that was drawn with several seeds, best first."""

    groups: tuple[Seeds, ...]

    @property
    def drawn(self) -> tuple[Seeds, ...]:
        """The first of them."""
        return self.groups[:MOST_SEED_GROUPS]

    @property
    def summary(self) -> str:
        """What is drawn, in a sentence."""
        told = (f"{each.name}: {len(each.seeds)} seeds, mean {each.score.mean:.4g}, sd {each.score.deviation:.2g}, best seed +{each.score.gain:.2g}, "
                f"by luck alone +{each.score.luck:.2g}" for each in self.drawn)  # fmt: skip
        return "; ".join(told)


def seed_spreads(board: Board) -> SeedSpreads | None:
    """The seeds of each candidate that was drawn with more than one; None where none was."""
    distance = next(filter(is_distance, board.metrics), None)
    groups = tuple(_seeds(group, distance) for group in board.seeds)
    return SeedSpreads(groups) if groups else None


def draw_seeds(groups: Sequence[Seeds], *, salt: str) -> Drawing:
    """A line for each candidate, its name above it: its seeds around their mean, and where luck alone would put the best of them."""
    frame = Box(left=22, top=_HEAD + _TOP, width=WIDTH - 44, height=_LINE * len(groups))
    with look(salt):
        figure = new_figure(_HEAD + _TOP + frame.height + _BOTTOM + _FOOT)
        axes = add_axes(figure, frame, name="panel")
        for place, each in enumerate(groups):
            score, height = each.score, place + 0.72
            away = sorted(value - score.mean for value in score.values)
            axes.plot([0, 0], [height - 0.2, height + 0.2], color=MUTED, linewidth=1)
            axes.fill_between([-score.deviation, score.deviation], height - 0.16, height + 0.16, color=INK, alpha=0.13, linewidth=0)
            axes.plot(away[:-1], [height] * (len(away) - 1), color=INK, marker="o", markersize=5, linestyle="", alpha=0.6, markeredgewidth=0)
            axes.plot([score.luck] * 2, [height - 0.2, height + 0.2], color=INK, linewidth=2.2)
            axes.plot(away[-1], height, color=GREEN, marker="D", markersize=6, linestyle="")
            text = f"{legible(each.name, columns=38)}: {len(each.seeds)} seeds"
            axes.text(
                -frame.left / frame.width, place + 0.3, text, transform=axes.get_yaxis_transform(), fontsize=TEXT, va="center", parse_math=False
            )
        axes.set_ylim(len(groups), 0)
        axes.margins(x=0.05)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("score less the mean of the candidate’s seeds", labelpad=3)
        add_note(figure, 0, 8, "What seeds scatter", bold=True)
        key = "● seed · ◆ best seed · ┃ best by luck alone · band: ± sd"
        add_note(figure, 0, frame.top + frame.height + _BOTTOM, key)
        return draw(figure, [Part(Box(left=0, top=_HEAD, width=WIDTH, height=_TOP + frame.height + _BOTTOM), ("panel",))], salt=salt)


def _seeds(group: SeedGroup, distance: str | None) -> Seeds:
    rows = group.rows
    score = Spread(title="score", metric="score", values=tuple(row.score.value for row in rows))
    known = [row.entry.metrics[distance].value for row in rows if distance is not None and distance in row.entry.metrics]
    moved = None
    if distance is not None and len(known) == len(rows):
        moved = Spread(title=metric_title(distance), metric=distance, values=tuple(known), lower_is_better=better(distance) < 0)
    return Seeds(group.name, tuple(row.seed for row in rows), score, moved)
