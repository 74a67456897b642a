"""What merging gained: every combination beside its best member, and what the best of them owes to luck."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from apfgan.noise import QUANTILE
from apfgan.ranking import Entry, foresee, rank
from apfgan.records import Estimate
from reports.board import Board
from reports.figures.svg import GREEN, INK, MUTED, TEXT, WIDTH, Box, Drawing, Part, add_axes, add_note, draw, legible, look, new_figure

MOST_MERGES = 20
"""Merges that are drawn; the table has them all."""

_LINE, _HEAD, _TOP, _BOTTOM, _FOOT = 30.0, 26.0, 4.0, 40.0, 24.0


@dataclass(frozen=True)
class MergeGain:
    """A merge beside the best of its members."""

    name: str
    other: str
    """The best member."""
    gain: Estimate
    """In score; paired image by image where both were measured so."""


@dataclass(frozen=True, kw_only=True)
class MergeGains:
    """The merges whose gain is known, best score first."""

    gains: tuple[MergeGain, ...]
    tried: int
    """Combinations that were measured on all label maps."""
    luck: float | None
    """What the score of the best of these owes to having been chosen among them, on average (`apfgan.contest.optimism`); None where errors are
    unknown, or there is only one."""
    partly: tuple[str, ...]
    """Combinations that were looked at on a part of the label maps only."""

    @property
    def drawn(self) -> tuple[MergeGain, ...]:
        """The first of them."""
        return self.gains[:MOST_MERGES]

    @property
    def summary(self) -> str:
        """The gains that are drawn, in a sentence."""
        return "Gain in score over the best member: " + "; ".join(f"{each.name} {each.gain.value:+.2g} over {each.other}" for each in self.drawn)


def merge_gains(board: Board) -> MergeGains | None:
    """What each combination gained; None without any whose member was measured."""
    gains = tuple(MergeGain(merge.row.name, merge.gain.other.name, merge.gain.gap) for merge in board.merges if merge.gain is not None)
    if not gains:
        return None
    places = rank([_score_alone(merge.row.entry) for merge in board.merges])
    expected = foresee(places).expected if len(places) > 1 else None
    return MergeGains(
        gains=gains,
        tried=len(board.merges),
        luck=places[0].value.value - expected.value if expected else None,
        partly=board.dropped_of("merge"),
    )


def draw_gains(gains: Sequence[MergeGain], *, salt: str) -> Drawing:
    """A line for each merge, its name above it: names are long, and the plot must be legible on a telephone."""
    frame = Box(left=22, top=_HEAD + _TOP, width=WIDTH - 44, height=_LINE * len(gains))
    with look(salt):
        figure = new_figure(_HEAD + _TOP + frame.height + _BOTTOM + _FOOT)
        axes = add_axes(figure, frame, name="panel")
        for place, each in enumerate(gains):
            value, half = each.gain.value, QUANTILE * (each.gain.error or 0.0)
            axes.plot([0, 0], [place + 0.56, place + 0.88], color=MUTED, linewidth=1)
            axes.plot([value - half, value + half], [place + 0.72] * 2, color=INK, linewidth=1.4, solid_capstyle="butt")
            axes.plot(value, place + 0.72, color=GREEN if place == 0 else INK, marker="D" if place == 0 else "o",
                      markersize=6.5 if place == 0 else 5.5, linestyle="")  # fmt: skip
            name = legible(each.name, columns=48)
            axes.text(
                -frame.left / frame.width, place + 0.3, name, transform=axes.get_yaxis_transform(), fontsize=TEXT, va="center", parse_math=False
            )
        axes.set_ylim(len(gains), 0)
        axes.margins(x=0.05)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("gain in score over its best member", labelpad=3)
        add_note(figure, 0, 8, "What merging gained", bold=True)
        add_note(figure, 0, frame.top + frame.height + _BOTTOM, "◆ best score · line: 95 % interval · │ no gain")
        return draw(figure, [Part(Box(left=0, top=_HEAD, width=WIDTH, height=_TOP + frame.height + _BOTTOM), ("panel",))], salt=salt)


def _score_alone(entry: Entry) -> Entry:
    """An entry without all by which it is not ranked here."""
    return Entry(entry.name, {"composite": entry.metrics["composite"]}, {name: each for name, each in entry.measured.items() if name == "composite"})
