"""All figures of a report: each drawn once, for the page and as files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from apfgan.files import write_bytes
from reports.board import Board
from reports.figures.curves import Curves, draw_curves, score_curves
from reports.figures.merges import MergeGains, draw_gains, merge_gains
from reports.figures.seeds import SeedSpreads, draw_seeds, seed_spreads
from reports.figures.svg import Drawing
from reports.figures.tradeoff import Scatter, draw_scatter, tradeoffs

Values = TypeVar("Values")


@dataclass(frozen=True)
class Plot(Generic[Values]):
    """A figure: what it shows, and how that looks."""

    values: Values
    drawing: Drawing


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The figures by section; None where there is nothing to draw."""

    curves: Plot[Curves] | None
    training: Plot[Curves] | None
    tradeoffs: Plot[Scatter] | None
    merges: Plot[MergeGains] | None
    seeds: Plot[SeedSpreads] | None


def draw_figures(board: Board, losses: Curves | None) -> Gallery:
    """The figures of a board, and of the training's `losses`."""
    curves, scatter, merges, seeds = score_curves(board), tradeoffs(board), merge_gains(board), seed_spreads(board)
    return Gallery(
        curves=Plot(curves, draw_curves(curves, salt="curves")) if curves else None,
        training=Plot(losses, draw_curves(losses, salt="training")) if losses else None,
        tradeoffs=Plot(scatter, draw_scatter(scatter, salt="tradeoffs")) if scatter else None,
        merges=Plot(merges, draw_gains(merges.drawn, salt="merges")) if merges else None,
        seeds=Plot(seeds, draw_seeds(seeds.drawn, salt="seeds")) if seeds else None,
    )


def write_figures(folder: Path, gallery: Gallery) -> list[Path]:
    """Write each figure as SVG and PNG into `folder`."""
    written = []
    for name, plot in vars(gallery).items():
        if plot is not None:
            for kind, content in ((".svg", plot.drawing.svg), (".png", plot.drawing.png)):
                write_bytes(folder / f"{name}{kind}", content)
                written.append(folder / f"{name}{kind}")
    return written
