"""Rank a table that was measured elsewhere: a CSV in, a ranking out."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from apfgan.composite import FORMULAS, Formula, composite_estimate
from apfgan.errors import DataError
from apfgan.ranking import Entry, Place, is_metric, rank
from apfgan.records import Estimate

_PARTS = ("mask_accuracy", "aesthetic", "fid")


@dataclass(frozen=True, slots=True)
class RankedTable:
    """A CSV's rows in order, best first."""

    by: str
    places: list[Place]
    disagreements: list[str]
    """Rows whose own `total` is not the composite that their numbers give, in words."""


def rank_table(path: Path, *, by: str | None = None, formula: Formula | None = None) -> RankedTable:
    """Rank the rows of the CSV at `path`.

    Metric columns are `mask_accuracy`, `aesthetic`, `fid` and `style_similarity`, each optionally with `<metric>_error`; the other columns
    name the row, but for `total`, a score to compare with. With all parts there, rows are ranked by the composite that is computed from
    them: by `formula`, or by the third contest's where a row has a style similarity and by A's otherwise (the published totals of
    board B are A's formula too). Without them, by the one metric there is, or by `by`.

    Raises `DataError` naming file, row and column of a cell that is not a finite number.
    """
    table = _read(path)
    known = [name for name in table.columns if is_metric(name) and not name.endswith("_error")]
    names = [name for name in table.columns if name not in (*known, "style_similarity", "total") and not name.endswith("_error")]
    if not known:
        raise DataError(f"{path}: no metric column; expected mask_accuracy, aesthetic, fid, kid or such (found: {', '.join(table.columns)})")
    complete = all(part in known for part in _PARTS)
    entries, disagreements = [], []
    for number, row in enumerate(table.to_dict("records"), start=2):  # line 1 is the header
        name = " ".join(row[column] for column in names) or f"row {number}"
        estimates = {metric: Estimate(_number(path, number, metric, row[metric]), _error(path, number, metric, row)) for metric in known}
        if complete:
            style = row.get("style_similarity", "")
            similarity = _number(path, number, "style_similarity", style) if style else None
            chosen = formula or FORMULAS["A" if similarity is None else "jittor3"]
            if similarity is not None:
                chosen = replace(chosen, style_similarity=similarity)
            estimates["composite"] = composite_estimate(chosen, estimates, distance="fid")
            disagreements += _compare(name, chosen, estimates["composite"].value, row.get("total", ""))
        entries.append(Entry(name, estimates))
    decides = by or ("composite" if complete else known[0])
    return RankedTable(decides, rank(entries, by=decides), disagreements)


def _read(path: Path) -> pd.DataFrame:
    """The CSV as text cells: what is a number is decided by its column, not guessed."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV table: {error}") from error
    if table.empty:
        raise DataError(f"{path} has no rows below its header")
    return table


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}, line {line}: {column} is {text!r}, not a finite number")
    return value


def _error(path: Path, line: int, metric: str, row: Mapping[Hashable, str]) -> float | None:
    text = row.get(f"{metric}_error", "")
    return _number(path, line, f"{metric}_error", text) if text else None


def _compare(name: str, formula: Formula, total: float, published: str) -> list[str]:
    """A complaint if `published` is not `total` to one unit in its own last digit."""
    if not published:
        return []
    unit = 10.0 ** -len(published.partition(".")[2])
    return [f"{name}: the table says {published}, formula {formula.name} gives {total:.4f}"] if abs(total - float(published)) > unit else []
