"""What the page's script works with: the numbers of the run as plain JSON values. The script only shows and combines them."""

from collections.abc import Mapping
from typing import Any

from apfgan.ranking import is_distance
from apfgan.records import DISTANCE_CLIP
from reports.board import Board, Row
from reports.exhibition import Exhibition
from reports.observations import Observations


def page_data(board: Board, exhibition: Exhibition, observed: Mapping[str, Observations]) -> dict[str, Any]:
    """The values by name:

    - `candidates`: every ranked row, best first; `cast`: those that can be compared, with pictures or classes
    - `a`, `b`: names of the two that are compared as the page opens
    - `metrics`, `distance`, `formula`, `clip`: what a total is made of
    - `panel`: the label maps that are shown
    """
    formula = board.protocol.get("formula")
    return {
        "candidates": [_candidate(row) for row in board.rows],
        "cast": [_candidate(row) for row in exhibition.cast],
        "a": board.choice.name if board.choice else None,
        "b": board.rival.name if board.rival else None,
        "metrics": list(board.metrics),
        "distance": next(filter(is_distance, board.metrics), None),
        "formula": dict(formula) if isinstance(formula, Mapping) else None,
        "clip": DISTANCE_CLIP,
        "panel": [{"stem": each.stem, "stratum": each.stratum, "why": each.why, "content": each.content} for each in exhibition.panel],
    }


def _candidate(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "epoch": row.epoch,
        "latest": row.latest_epoch,
        "seed": row.seed,
        "rank": row.rank,
        "score": row.score.value,
        "error": row.score.error,
        "metrics": {name: each.value for name, each in row.measurement.metrics.items()},
    }
