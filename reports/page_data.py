"""What the page's script works with: the numbers of the run as plain JSON values. The script only shows and combines them."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from apfgan.ranking import is_distance
from apfgan.records import DISTANCE_CLIP
from reports.board import Board, Row
from reports.comparing import ClassComparison, score_gaps
from reports.decision import formula_of
from reports.exhibition import Exhibition
from reports.observations import Observations


def page_data(board: Board, exhibition: Exhibition, observed: Mapping[str, Observations], by_class: ClassComparison | None) -> dict[str, Any]:
    """The values by name:

    - `candidates`: every ranked row, best first; `cast`: those that can be compared, with pictures or classes
    - `a`, `b`: names of the two that are compared as the page opens
    - `metrics`, `distance`, `formula`, `clip`: what a total is made of
    - `panel`: the label maps that are shown; `accuracy`: the mask accuracy of each picture, [cast][panel]
    - `gaps`: for each pair of the cast ((0, 1), (0, 2), ..., (1, 2), ...) its difference in score and the standard error of that
    - `classes`, most frequent first, with `reach` and `clear` (`ClassComparison`); `class_accuracy` and `class_iou`: [cast][class];
      `class_gap_errors`: [pair][class], null for a pair without
    - `confusion`: [cast], each given and found class (by place; behind those of the matrix comes one more for all others) with the share of the
      given class's pixels (`LEAST_CONFUSION`)
    - `mistakes`: [cast][panel], each given and found class (by place) with the share of the image's pixels, largest first (`LEAST_MISTAKE`)
    """
    formula = board.protocol.get("formula")
    cast = exhibition.cast
    seen = [observed.get(row.name) for row in cast]
    stems = [each.stem for each in exhibition.panel]
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
        "accuracy": [[_accuracy(found, stem) for stem in stems] for found in seen],
        "gaps": [[_short(each.value), _short(each.error)] for each in score_gaps(cast)],
        **_by_class(by_class, len(cast)),
        "mistakes": [[_mistakes(found, stem, by_class) for stem in stems] for found in seen],
    }


def _by_class(compared: ClassComparison | None, cast: int) -> dict[str, Any]:
    if compared is None:
        return {"classes": [], "class_accuracy": [], "class_iou": [], "class_gap_errors": [], "confusion": []}
    columns = (compared.names, compared.colours, *map(_list, (compared.images, compared.share, compared.reach, compared.clear)))
    errors = [compared.error(*pair) for pair in combinations(range(cast), 2)]
    return {
        "classes": [dict(zip(("name", "colour", "images", "share", "reach", "clear"), each, strict=True)) for each in zip(*columns, strict=True)],
        "class_accuracy": list(map(_list, compared.accuracy)),
        "class_iou": list(map(_list, compared.iou)),
        "class_gap_errors": [None if np.isnan(each).all() else _list(each) for each in errors],
        "confusion": [[[int(given), int(found), float(each[given, found])] for given, found in np.argwhere(each > 0)] for each in compared.confusion],
    }


def _candidate(row: Row) -> dict[str, Any]:
    formula = formula_of(row.measurement)
    return {
        "name": row.name,
        "kind": row.kind,
        "epoch": row.epoch,
        "latest": row.latest_epoch,
        "seed": row.seed,
        "rank": row.rank,
        "score": row.score.value,
        "error": row.score.error,
        "style_similarity": formula.style_similarity if formula else None,
        "metrics": {name: each.value for name, each in row.measurement.metrics.items()},
    }


def _accuracy(seen: Observations | None, stem: str) -> float | None:
    if seen is None or stem not in seen.stems:
        return None
    return _list(seen.accuracy[[seen.stems.index(stem)]].round(4))[0]


def _mistakes(seen: Observations | None, stem: str, by_class: ClassComparison | None) -> list[list[float]]:
    place = {} if by_class is None else {int(index): place for place, index in enumerate(by_class.ids)}
    found = seen.mistakes_in(stem) if seen else []
    return [[place[given], place[taken], round(share, 3)] for given, taken, share in found if given in place and taken in place]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _list(values: np.ndarray) -> list[float | None]:
    """As JSON, which has no NaN."""
    return [None if value != value else value for value in values.tolist()]
