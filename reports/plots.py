"""The report's plots: what is drawn is computed first as plain values, then drawn with matplotlib, as files and as SVG within the page.

Colours are Okabe and Ito's, with a shape of its own for each meaning. Nothing here touches matplotlib's global state.
"""

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from apfgan.files import write_bytes
from apfgan.noise import QUANTILE
from apfgan.ranking import better, is_distance
from apfgan.records import DISTANCE_CLIP, Estimate
from apfgan.runs import Run
from reports.board import Board, Row, metric_title

BLUE, VERMILLION, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
INK = "#1b1f24"
"""Colour of text and axes; within the page it becomes the page's own."""

MOST_MERGES = 20
"""Merges that are drawn; the table has them all."""

MOST_SEED_GROUPS = 12

_LOSSES_NOT = (
    *("epoch", "phase", "level", "seconds", "images", "generator_rate", "discriminator_rate"),
    *("contrast", "variety", "plain", "probe", "probe_error"),
)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the reader's font
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One number over the epochs."""

    title: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]
    errors: tuple[float | None, ...]
    """Standard error of each value."""
    lower_is_better: bool = False
    best: int | None = None
    """Index of the best value, where values can be good or bad (an adversary's loss cannot)."""
    boundary: int | None = None
    """Last epoch of the first phase, where the curve crosses it."""
    reference: tuple[str, float] | None = None
    """Name and value of the best candidate where that is no epoch."""

    @property
    def summary(self) -> str:
        """The curve in a sentence."""
        ends = f"{self.title}: {self.values[0]:.4g} at epoch {self.epochs[0]}, {self.values[-1]:.4g} at epoch {self.epochs[-1]}"
        if self.best is None:
            return ends
        return f"{ends}, best ({'lowest' if self.lower_is_better else 'highest'}) {self.values[self.best]:.4g} at epoch {self.epochs[self.best]}"


@dataclass(frozen=True, kw_only=True)
class Dots:
    """Scores along one line: a merge beside its best member, or the seeds of one candidate."""

    title: str
    values: tuple[float, ...]
    """Best first."""
    mean: float
    """What they are compared with: the best member, or the mean of the seeds."""
    spread: float | None
    """Standard error of the gain, or standard deviation over seeds."""
    note: str


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A candidate between distance and mask accuracy."""

    rank: int
    distance: Estimate
    accuracy: Estimate
    aesthetic: float
    pareto: bool


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """What the candidates trade for what."""

    title: str
    """Of the distance."""
    spots: tuple[Spot, ...]
    """Best first."""
    left_out: int
    """Candidates so far behind that the others would shrink to a dot."""
    total: tuple[float, float] | None
    """(q, w) of the total = mask accuracy × (q - w × distance), as it is with the aesthetic score of the best; None where the formula is unknown."""

    @property
    def summary(self) -> str:
        """The front in a sentence."""
        front = [f"rank {spot.rank}: {spot.distance.value:.4g}, {spot.accuracy.value:.4g}" for spot in self.spots if spot.pareto]
        return f"{self.title} and mask accuracy of {len(self.spots)} candidates; of those that no other beats in everything: {'; '.join(front)}"


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawn plot, for the page."""

    title: str
    summary: str
    """What it shows, in words."""
    svg: str


def score_curves(board: Board) -> tuple[Curve, ...]:
    """Score, mask accuracy, distances and aesthetic over the trained epochs that were measured; empty for fewer than two of them."""
    rows = board.epochs
    if len(rows) < 2:
        return ()
    best = board.best if board.best and board.best.kind != "epoch" else None
    metrics = sorted(board.metrics, key=lambda name: (name != "mask_accuracy", not is_distance(name)))
    return (_curve(board, rows, None, best), *(_curve(board, rows, name, best) for name in metrics))


def loss_curves(run: Run) -> tuple[Curve, ...]:
    """Each loss over the epochs of the training log; empty without one. Of an epoch that was trained again, the later line counts."""
    try:
        log = pd.read_csv(run.training_log).drop_duplicates("epoch", keep="last").sort_values("epoch")
    except (FileNotFoundError, pd.errors.EmptyDataError, pd.errors.ParserError, KeyError):
        return ()
    boundary = run.config.train.progressive_epochs
    curves = []
    for name in (str(column) for column in log.columns if column not in _LOSSES_NOT):
        values = pd.to_numeric(log[name], errors="coerce").to_numpy(dtype=float)
        known = np.isfinite(values)
        if known.sum() > 1:
            epochs = tuple(int(epoch) for epoch in log["epoch"].to_numpy()[known])
            curves.append(
                Curve(
                    title=name.replace("_", " "),
                    epochs=epochs,
                    values=tuple(values[known].tolist()),
                    errors=(None,) * len(epochs),
                    boundary=boundary if epochs[0] <= boundary < epochs[-1] else None,
                )
            )
    return tuple(curves)


def merge_dots(board: Board) -> tuple[Dots, ...]:
    """Each merge beside its best member, best first."""
    return tuple(
        Dots(
            title=merge.row.name,
            values=(merge.row.score.value,),
            mean=merge.gain.other.score.value,
            spread=merge.gain.gap.error,
            note=f"{merge.gain.gap.value:+.2g} over {merge.gain.other.name}",
        )
        for merge in board.merges
        if merge.gain is not None
    )


def seed_dots(board: Board) -> tuple[Dots, ...]:
    """The seeds of each candidate that was drawn with more than one."""
    return tuple(
        Dots(
            title=group.name,
            values=tuple(row.score.value for row in group.rows),
            mean=group.mean,
            spread=group.deviation,
            note=f"{len(group.rows)} seeds, mean {group.mean:.4g}, sd {group.deviation:.2g}",
        )
        for group in board.seeds
    )


def tradeoffs(board: Board) -> Scatter | None:
    """The candidates between the distance that counts and mask accuracy; None for fewer than two that have both and an aesthetic score."""
    distance = next(filter(is_distance, board.metrics), None)
    parts = ("mask_accuracy", "aesthetic", distance)
    rows = [row for row in board.rows if all(name in row.entry.metrics for name in parts)]
    if distance is None or len(rows) < 2:
        return None
    best = rows[0]
    reach = 3 * (best.score.value - rows[len(rows) // 2].score.value)
    near = [row for row in rows if best.score.value - row.score.value <= reach] if reach > 0 else rows
    spots = [
        Spot(
            rank=row.rank,
            distance=row.entry.metrics[distance],
            accuracy=row.entry.metrics["mask_accuracy"],
            aesthetic=row.entry.metrics["aesthetic"].value,
            pareto=bool(row.standing.pareto),
        )
        for row in near
    ]
    weight = board.closeness
    total = None
    if weight is not None and spots[0].accuracy.value > 0:
        clipped = min(spots[0].distance.value, DISTANCE_CLIP)
        total = (best.score.value / spots[0].accuracy.value + weight / 100 * clipped, weight / 100)
    return Scatter(title=metric_title(distance), spots=tuple(spots), left_out=len(rows) - len(near), total=total)


def draw_plots(board: Board, losses: Sequence[Curve]) -> dict[str, tuple[Plot, ...]]:
    """The page's plots by section: `tradeoffs`, `curves`, `training`, `merges`, `seeds`; a section without data is empty."""
    drawn: dict[str, tuple[Plot, ...]] = {"tradeoffs": ()}
    if scatter := tradeoffs(board):
        with _style("tradeoffs"):
            drawn["tradeoffs"] = (Plot(title="tradeoffs", summary=scatter.summary, svg=_themable(_svg(_draw_scatter(scatter)))),)
    for section, curves in (("curves", score_curves(board)), ("training", losses)):
        drawn[section] = tuple(_page_curve(curve, salt=f"{section}-{index}") for index, curve in enumerate(curves))
    for section, dots in (("merges", merge_dots(board)[:MOST_MERGES]), ("seeds", seed_dots(board)[:MOST_SEED_GROUPS])):
        if dots:
            with _style(section):
                svg = _themable(_svg(_draw_dots(dots, seeds=section == "seeds")))
            summary = "; ".join(f"{dot.title}: {max(dot.values):.4g} ({dot.note})" for dot in dots)
            drawn[section] = (Plot(title=section, summary=summary, svg=svg),)
        else:
            drawn[section] = ()
    return drawn


def write_plots(folder: Path, board: Board, losses: Sequence[Curve]) -> list[Path]:
    """Write each section's plot as SVG and PNG into `folder`; sections without data are left out."""
    written = []
    if scatter := tradeoffs(board):
        with _style("tradeoffs"):
            written += _save(folder / "tradeoffs", _draw_scatter(scatter))
    for name, curves in (("curves", score_curves(board)), ("training", losses)):
        if curves:
            with _style(name):
                written += _save(folder / name, _draw_curves(curves))
    for name, dots in (("merges", merge_dots(board)[:MOST_MERGES]), ("seeds", seed_dots(board)[:MOST_SEED_GROUPS])):
        if dots:
            with _style(name):
                written += _save(folder / name, _draw_dots(dots, seeds=name == "seeds"))
    return written


def _curve(board: Board, rows: Sequence[Row], metric: str | None, best: Row | None) -> Curve:
    found = [(row, row.measurement.metrics.get(metric) if metric else row.score) for row in rows]
    known = [(row.epoch or 0, estimate) for row, estimate in found if estimate is not None]
    reference = (best.measurement.metrics.get(metric) if metric else best.score) if best else None
    boundary = board.config.train.progressive_epochs
    values = tuple(estimate.value for _, estimate in known)
    lower_is_better = metric is not None and better(metric) < 0
    return Curve(
        title=metric_title(metric) if metric else "score",
        epochs=tuple(epoch for epoch, _ in known),
        values=values,
        errors=tuple(estimate.error for _, estimate in known),
        lower_is_better=lower_is_better,
        best=values.index(min(values) if lower_is_better else max(values)),
        boundary=boundary if known[0][0] <= boundary < known[-1][0] else None,
        reference=(best.name, reference.value) if best and reference else None,
    )


def _page_curve(curve: Curve, *, salt: str) -> Plot:
    with _style(salt):
        figure = Figure(figsize=(3.2, 2.1), layout="constrained")
        _draw_curve(figure.add_subplot(), curve)
        return Plot(title=curve.title, summary=curve.summary, svg=_themable(_svg(figure)))


def _draw_curves(curves: Sequence[Curve]) -> Figure:
    columns = min(len(curves), 2)
    lines = -(-len(curves) // columns)
    figure = Figure(figsize=(4.6 * columns, 2.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, squeeze=False).flat
    for place, curve in zip(axes, curves, strict=False):
        _draw_curve(place, curve)
        place.set_title(_plain(curve.title), loc="left", fontweight="bold", parse_math=False)
    for place in list(axes)[len(curves) :]:
        place.set_axis_off()
    return figure


def _draw_curve(axes: Axes, curve: Curve) -> None:
    epochs, values = np.array(curve.epochs), np.array(curve.values)
    errors = np.array([np.nan if error is None else error for error in curve.errors]) * QUANTILE
    axes.fill_between(epochs, values - errors, values + errors, color=BLUE, alpha=0.18, linewidth=0)
    few = len(epochs) <= 60
    axes.plot(epochs, values, color=BLUE, linewidth=1.4, marker="o" if few else "", markersize=3.2)
    if curve.best is not None:
        axes.plot(epochs[curve.best], values[curve.best], color=VERMILLION, marker="D", markersize=6, linestyle="")
    if curve.reference is not None:
        name, value = curve.reference
        axes.axhline(value, color=GREEN, linewidth=1.1, linestyle=(0, (5, 3)))
        axes.annotate(
            _plain(name), (0.995, value), xycoords=("axes fraction", "data"), xytext=(0, -3 if curve.lower_is_better else 3),
            textcoords="offset points", ha="right", va="top" if curve.lower_is_better else "bottom", fontsize=8.5, color=GREEN, parse_math=False,
        )  # fmt: skip
        axes.margins(y=0.16)
    if curve.boundary is not None:
        axes.axvline(curve.boundary + 0.5, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.annotate(
            "phase 2", (curve.boundary + 0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
            ha="left", va="top", fontsize=8,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    _tidy(axes)
    axes.set_xlabel("epoch")


def _draw_dots(dots: Sequence[Dots], *, seeds: bool) -> Figure:
    """A line for each of `dots`, its name above it: names are long, and the plot must be legible on a telephone."""
    figure = Figure(figsize=(3.9, 0.75 + 0.4 * len(dots)), layout="constrained")
    axes = figure.add_subplot()
    for place, dot in enumerate(dots):
        height = -float(place)
        if seeds:
            spread = dot.spread or 0.0
            axes.fill_between([dot.mean - spread, dot.mean + spread], height - 0.14, height + 0.14, color=BLUE, alpha=0.2, linewidth=0)
            axes.plot([dot.mean, dot.mean], [height - 0.2, height + 0.2], color=BLUE, linewidth=1.6)
            axes.plot(dot.values[1:], [height] * (len(dot.values) - 1), color=BLUE, marker="o", markersize=4, linestyle="", alpha=0.75)
        else:
            if dot.spread is not None:
                bounds = [dot.values[0] - QUANTILE * dot.spread, dot.values[0] + QUANTILE * dot.spread]
                axes.plot(bounds, [height, height], color=BLUE, linewidth=5, alpha=0.2, solid_capstyle="butt")
            axes.plot([dot.mean, dot.values[0]], [height, height], color=INK, linewidth=0.9)
            axes.plot(dot.mean, height, marker="o", markersize=5, color=BLUE, markerfacecolor="none", linestyle="")
        axes.plot(dot.values[0], height, marker="D", markersize=5.5, color=VERMILLION, linestyle="")
        axes.annotate(
            _plain(f"{dot.title}: {dot.note}"), (0, height + 0.3), xycoords=("axes fraction", "data"), xytext=(2, 0),
            textcoords="offset points", ha="left", va="center", fontsize=8.5, parse_math=False,
        )  # fmt: skip
    axes.set_ylim(-len(dots) + 0.5, 0.6)
    axes.margins(x=0.05)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    _tidy(axes)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("score")
    return figure


def _draw_scatter(scatter: Scatter) -> Figure:
    """Distance falling to the right against mask accuracy: who is above and to the right is better, and along a dashed line the total is the same."""
    figure = Figure(figsize=(5.2, 3.7), layout="constrained")
    axes = figure.add_subplot()
    for spot in scatter.spots:
        x, y = spot.distance, spot.accuracy
        axes.errorbar(
            x.value, y.value, xerr=QUANTILE * (x.error or 0), yerr=QUANTILE * (y.error or 0), color=INK, alpha=0.25, linewidth=0.8, zorder=1
        )
    levels = MaxNLocator(nbins=5).tick_values(min(spot.aesthetic for spot in scatter.spots), max(spot.aesthetic for spot in scatter.spots))
    colours = matplotlib.colormaps["viridis"]
    look: dict[str, Any] = {"cmap": colours, "norm": BoundaryNorm(levels, colours.N), "zorder": 2}
    for pareto, marker, size, edge in ((False, "o", 26, INK), (True, "D", 44, VERMILLION)):
        shown = [spot for spot in scatter.spots if spot.pareto is pareto]
        points = axes.scatter(
            [spot.distance.value for spot in shown], [spot.accuracy.value for spot in shown], c=[spot.aesthetic for spot in shown],
            marker=marker, s=size, edgecolors=edge, linewidths=1.4 if pareto else 0.5, **look,
        )  # fmt: skip
    axes.margins(0.08)
    _label_front(axes, [spot for spot in scatter.spots if spot.pareto])
    if scatter.total is not None:
        _draw_equal_totals(axes, *scatter.total)
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    _tidy(axes)
    axes.set_xlabel(_plain(f"{scatter.title} (better to the right)"), parse_math=False)
    axes.set_ylabel("mask accuracy")
    figure.colorbar(points, ax=axes, label="aesthetic score", fraction=0.05, pad=0.02)
    return figure


def _label_front(axes: Axes, front: Sequence[Spot]) -> None:
    """Write the rank at each spot, and at the first of several that are close the ranks of all: `1, 3, 4`."""
    width, height = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
    labels: list[list[Spot]] = []
    for spot in front:
        for near in labels:
            x, y = spot.distance.value - near[0].distance.value, spot.accuracy.value - near[0].accuracy.value
            if abs(x) < width / 20 and abs(y) < height / 20:
                near.append(spot)
                break
        else:
            labels.append([spot])
    for spots in labels:
        place, text = (spots[0].distance.value, spots[0].accuracy.value), ", ".join(str(spot.rank) for spot in spots[:5])
        text += " ..." if len(spots) > 5 else ""
        axes.annotate(text, place, xytext=(6, 5), textcoords="offset points", fontsize=9, fontweight="bold")


def _draw_equal_totals(axes: Axes, quality: float, weight: float) -> None:
    """Lines along which mask accuracy × (quality - weight × distance) is the same, each with that total."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    distance, accuracy = np.meshgrid(np.linspace(left, right, 60), np.linspace(low, high, 60))
    total = accuracy * (quality - weight * np.clip(distance, 0, DISTANCE_CLIP))
    lines = axes.contour(distance, accuracy, total, levels=MaxNLocator(nbins=6).tick_values(total.min(), total.max()), colors=BLUE, alpha=0.55)
    lines.set_linewidth(0.8)
    lines.set_linestyle((0, (4, 3)))
    axes.clabel(lines, fontsize=8)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)


@contextmanager
def _style(salt: str) -> Iterator[None]:
    """Our look; `salt` makes the ids within an SVG the same each time, and differ between the plots of one page."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        yield


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def _save(path: Path, figure: Figure) -> list[Path]:
    write_bytes(path.with_suffix(".svg"), _svg(figure))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    write_bytes(path.with_suffix(".png"), picture.getvalue())
    return [path.with_suffix(".svg"), path.with_suffix(".png")]


def _themable(svg: bytes) -> str:
    """An SVG that takes ink and font from the page, and has no `style`, which the page's content security policy refuses."""
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in [each for each in parent if each.tag.rpartition("}")[2] in ("style", "metadata")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name.startswith("{")]:
            element.set(name.rpartition("}")[2], element.attrib.pop(name))
        for declaration in element.attrib.pop("style", "").split(";"):
            name, _, value = (part.strip() for part in declaration.partition(":"))
            if name == "font":
                # "bold 9.5px 'DejaVu Sans', ...": the family is the page's.
                words = value.split()
                element.set("font-size", next(word for word in words if word.endswith("px")))
            elif name:
                element.set(name, "currentColor" if value == INK else value)
        if element.tag == "text":
            element.set("fill", element.get("fill", "currentColor"))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("class", "plot")
    root.set("aria-hidden", "true")
    return ElementTree.tostring(root, encoding="unicode")


def _plain(text: str) -> str:
    """Text as the plot's font can show it, cut where it would leave the plot."""
    shown = text.encode("ascii", "replace").decode()
    return shown if len(shown) <= 60 else shown[:59] + "~"
