"""Numbers over the epochs, as small multiples on one axis of epochs: scores and what they are made of, and the training's losses."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from apfgan.measured import Measured
from apfgan.noise import QUANTILE
from apfgan.ranking import better, is_distance
from apfgan.records import Estimate
from apfgan.runs import Run
from reports.board import UNTRAINED, Board, Row, metric_title
from reports.figures.svg import GREEN, INK, WIDTH, Box, Drawing, Part, add_axes, add_note, draw, legible, look, new_figure

PANEL = Box(left=0, top=0, width=WIDTH, height=190)
"""One of the multiples."""

FRAME = Box(left=52, top=18, width=298, height=130)
"""Its axes, in it."""

_TITLE, _GAP, _FOOT = 26.0, 24.0, 24.0
_MOST_DOTS = 60
"""Epochs that get a dot each; more would run together."""

_LOSSES_NOT = (
    *("epoch", "phase", "level", "seconds", "images", "generator_rate", "discriminator_rate"),
    *("contrast", "variety", "plain", "probe", "probe_error"),
)


@dataclass(frozen=True)
class Point:
    """A number at one epoch."""

    epoch: int
    estimate: Estimate
    """Of several seeds the mean; its error covers label maps and seeds."""
    seeds: tuple[float, ...] = ()
    """The number under each seed, where there are several."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One number over the epochs."""

    title: str
    metric: str
    """Name of the number: `score`, a metric, or a column of the training's log."""
    points: tuple[Point, ...]
    """At least one, in order of epochs."""
    lower_is_better: bool = False
    best: Point | None = None
    """None where values are neither good nor bad (an adversary's loss)."""
    reference: float | None = None
    """The same number of the candidate to use."""

    @cached_property
    def at(self) -> Mapping[int, Point]:
        """The points by epoch."""
        return {point.epoch: point for point in self.points}

    @property
    def summary(self) -> str:
        """The curve in a sentence."""
        first, last = self.points[0], self.points[-1]
        ends = f"{self.title}: {first.estimate.value:.4g} at epoch {first.epoch}, {last.estimate.value:.4g} at epoch {last.epoch}"
        if self.best is None:
            return ends
        return f"{ends}, best ({'lowest' if self.lower_is_better else 'highest'}) {self.best.estimate.value:.4g} at epoch {self.best.epoch}"


@dataclass(frozen=True, kw_only=True)
class Column:
    """Where an epoch lies in each panel, in pixels from its left edge."""

    epoch: int
    candidate: str
    """Name of the candidate that stands for the epoch: its first seed."""
    left: float
    middle: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves over the same epochs."""

    curves: tuple[Curve, ...]
    boundary: int | None
    """Last epoch of the first phase, where the curves cross it."""
    reference: str | None = None
    """Name of the candidate to use, where it is no epoch."""
    candidates: Mapping[int, str]
    """Name of the candidate that stands for each epoch; empty for curves of the training."""
    partly: tuple[str, ...] = ()
    """Epochs that were looked at on a part of the label maps only: they are not drawn."""

    @cached_property
    def epochs(self) -> tuple[int, ...]:
        """All of them, in order."""
        return tuple(sorted({point.epoch for curve in self.curves for point in curve.points}))

    @property
    def seeds(self) -> bool:
        """Whether an epoch was drawn with several seeds."""
        return any(point.seeds for curve in self.curves for point in curve.points)

    @property
    def panel(self) -> Box:
        """One of the multiples."""
        return PANEL

    @property
    def frame(self) -> Box:
        """Its axes, in it."""
        return FRAME

    @property
    def span(self) -> tuple[float, float]:
        """Where the axis of epochs begins and ends."""
        margin = max(0.5, 0.02 * (self.epochs[-1] - self.epochs[0]))
        return self.epochs[0] - margin, self.epochs[-1] + margin

    @property
    def columns(self) -> tuple[Column, ...]:
        """The epochs that are candidates, from left to right; together they fill the frame."""
        if not self.candidates:
            return ()
        low, high = self.span
        middles = [FRAME.left + FRAME.width * (epoch - low) / (high - low) for epoch in self.candidates]
        edges = [FRAME.left, *((one + other) / 2 for one, other in pairwise(middles)), FRAME.left + FRAME.width]
        return tuple(
            Column(epoch=epoch, candidate=name, left=left, middle=middle, width=right - left)
            for (epoch, name), middle, (left, right) in zip(self.candidates.items(), middles, pairwise(edges), strict=True)
        )


def score_curves(board: Board) -> Curves | None:
    """Score, mask accuracy, distance and aesthetic over the trained epochs; None for fewer than two of them."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in board.rows:
        if row.epoch is not None and row.unseeded != UNTRAINED:
            found[row.epoch].append(row)
    if len(found) < 2:
        return None
    by_epoch = {epoch: sorted(found[epoch], key=lambda row: row.seed) for epoch in sorted(found)}
    chosen = board.choice if board.choice and board.choice.kind != "epoch" else None
    # What is the same at all epochs was assumed for a table that lacks it.
    known = {
        name: {row.entry.metrics[name].value for rows in by_epoch.values() for row in rows if name in row.entry.metrics} for name in board.metrics
    }
    metrics = sorted((name for name, values in known.items() if len(values) > 1), key=lambda name: (name != "mask_accuracy", not is_distance(name)))
    curves = [_curve(by_epoch, metric, chosen) for metric in ("composite", *metrics)]
    return Curves(
        curves=tuple(curve for curve in curves if curve is not None),
        boundary=_crossed(board.config.train.progressive_epochs, tuple(by_epoch)),
        reference=chosen.name if chosen else None,
        candidates={epoch: rows[0].name for epoch, rows in by_epoch.items()},
        partly=board.dropped_of("epoch"),
    )


def loss_curves(run: Run) -> Curves | None:
    """Each loss over the epochs of the training log; None without one. Of an epoch that was trained again, the later line counts."""
    try:
        log = pd.read_csv(run.training_log).drop_duplicates("epoch", keep="last").sort_values("epoch")
    except (OSError, ValueError, KeyError):  # none, or damaged: pandas reports that by errors of values
        return None
    curves = []
    for name in (str(column) for column in log.columns if column not in _LOSSES_NOT):
        values = pd.to_numeric(log[name], errors="coerce").to_numpy(dtype=float)
        known = np.isfinite(values)
        if known.sum() > 1:
            epochs = log["epoch"].to_numpy()[known]
            points = tuple(Point(int(epoch), Estimate(float(value))) for epoch, value in zip(epochs, values[known], strict=True))
            curves.append(Curve(title=name.replace("_", " "), metric=name, points=points))
    if not curves:
        return None
    boundary = _crossed(run.config.train.progressive_epochs, tuple(point.epoch for curve in curves for point in curve.points))
    return Curves(curves=tuple(curves), boundary=boundary, candidates={})


def draw_curves(curves: Curves, *, salt: str) -> Drawing:
    """The curves, two beside each other; its parts are the single panels, without their titles."""
    columns = min(len(curves.curves), 2)
    lines = -(-len(curves.curves) // columns)
    with look(salt):
        figure = new_figure(lines * (_TITLE + PANEL.height) + _FOOT, width=columns * WIDTH + (columns - 1) * _GAP)
        parts = []
        for index, curve in enumerate(curves.curves):
            line, column = divmod(index, columns)
            left, top = column * (WIDTH + _GAP), line * (_TITLE + PANEL.height) + _TITLE
            title = legible(curve.title, columns=44) + (" (lower is better)" if curve.lower_is_better else "")
            add_note(figure, left + FRAME.left, top - _TITLE + 10, title, bold=True)
            frame = Box(left=left + FRAME.left, top=top + FRAME.top, width=FRAME.width, height=FRAME.height)
            axes = add_axes(figure, frame, name=f"panel-{index}")
            _draw_curve(axes, curve, curves)
            parts.append(Part(Box(left=left, top=top, width=PANEL.width, height=PANEL.height), (f"panel-{index}",)))
        add_note(figure, FRAME.left, lines * (_TITLE + PANEL.height) + 2, _key(curves))
        return draw(figure, parts, salt=salt)


def _curve(by_epoch: Mapping[int, Sequence[Row]], metric: str, chosen: Row | None) -> Curve | None:
    """A number over the epochs at which it is known."""
    points = tuple(
        Point(epoch, _mean(known, metric), tuple(row.entry.metrics[metric].value for row in known) if len(known) > 1 else ())
        for epoch, rows in by_epoch.items()
        if (known := [row for row in rows if metric in row.entry.metrics])
    )
    if not points:
        return None
    lower_is_better = better(metric) < 0
    reference = chosen.entry.metrics.get(metric) if chosen else None
    return Curve(
        title="score" if metric == "composite" else metric_title(metric),
        metric="score" if metric == "composite" else metric,
        points=points,
        lower_is_better=lower_is_better,
        best=max(points, key=lambda point: better(metric) * point.estimate.value),
        reference=reference.value if reference else None,
    )


def _mean(rows: Sequence[Row], metric: str) -> Estimate:
    """A number's mean over seeds. Every image has noise of its own, so what the seeds add to the error is in the averaged influences already;
    where these are unknown, the error stays that of one seed, which is not too small.
    """
    if len(rows) > 1 and all(metric in row.entry.measured for row in rows):
        return Measured.average([row.entry.measured[metric] for row in rows]).estimate
    estimates = [row.entry.metrics[metric] for row in rows]
    errors = [each.error for each in estimates if each.error is not None]
    return Estimate(fmean(each.value for each in estimates), fmean(errors) if len(errors) == len(estimates) else None)


def _crossed(boundary: int, epochs: Sequence[int]) -> int | None:
    return boundary if min(epochs) <= boundary < max(epochs) else None


def _draw_curve(axes: Axes, curve: Curve, curves: Curves) -> None:
    epochs = np.array([point.epoch for point in curve.points])
    values = np.array([point.estimate.value for point in curve.points])
    margins = QUANTILE * np.array([np.nan if point.estimate.error is None else point.estimate.error for point in curve.points])
    axes.fill_between(epochs, values - margins, values + margins, color=INK, alpha=0.13, linewidth=0)
    seeds = [(point.epoch, value) for point in curve.points for value in point.seeds]
    if seeds:
        axes.plot(*zip(*seeds, strict=True), color=INK, alpha=0.45, marker="o", markersize=5, markerfacecolor="none", linestyle="")
    axes.plot(epochs, values, color=INK, linewidth=1.4, marker="o" if len(epochs) <= _MOST_DOTS else "", markersize=3.4)
    if curve.best is not None:
        axes.plot(curve.best.epoch, curve.best.estimate.value, color=GREEN, marker="D", markersize=6.5, linestyle="")
    if curve.reference is not None:
        axes.axhline(curve.reference, color=GREEN, linewidth=1.3, linestyle=(0, (5, 3)))
    if curves.boundary is not None:
        axes.axvline(curves.boundary + 0.5, color=INK, linewidth=0.9, linestyle=(0, (1, 2.5)))
    axes.margins(y=0.1)
    axes.set_xlim(*curves.span)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel("epoch", labelpad=2)


def _key(curves: Curves) -> str:
    """What the signs in the file mean."""
    scored = any(curve.best for curve in curves.curves)
    signs = [
        ("● epoch", scored),
        ("○ seed", curves.seeds),
        ("band: 95 % interval", any(point.estimate.error is not None for curve in curves.curves for point in curve.points)),
        ("◆ best epoch", scored),
        (f"┅ {legible(curves.reference or '', columns=40)}", curves.reference is not None),
        (f"┊ phase 2, after epoch {curves.boundary}", curves.boundary is not None),
    ]
    return " · ".join(sign for sign, shown in signs if shown)
