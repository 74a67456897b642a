"""Numbers that were measured elsewhere: a CSV in, a ranking out; several of them in, measurements for a report out."""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import stdev

import pandas as pd

from apfgan.candidates import Candidate
from apfgan.composite import FORMULAS, Formula, composite_estimate
from apfgan.errors import DataError, UsageError
from apfgan.files import hash_value
from apfgan.ranking import Entry, Place, is_distance, is_metric, rank
from apfgan.records import Estimate, Measurement

_PARTS = ("mask_accuracy", "aesthetic", "fid")

_LIMITS = {"mask_accuracy": (0.0, 1.0), "aesthetic": (0.0, 10.0), "fid": (0.0, math.inf), "style_similarity": (-1.0, 1.0)}
"""Between what the parts of a total lie that may be assumed."""


@dataclass(frozen=True, slots=True)
class RankedTable:
    """A CSV's rows in order, best first."""

    by: str
    places: list[Place]
    disagreements: list[str]
    """Rows whose own `total` is not the composite that their numbers give, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredTables:
    """The rows of several tables as measurements of candidates."""

    measurements: tuple[Measurement, ...]
    """In the order of the tables; each candidate once."""
    seeded: frozenset[str]
    """Names of those whose seed is known."""
    notes: tuple[str, ...]
    """What was assumed, what was taken for granted and what does not agree, in sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One line of a table."""

    path: Path
    line: int
    name: str
    """Without a seed; empty where the table names no candidate."""
    seed: int | None
    """None where the table does not tell it."""
    metrics: Mapping[str, Estimate]
    style_similarity: float | None
    total: str
    """What the table says of the composite; empty where it says nothing."""

    @property
    def candidate(self) -> str:
        """The name with the seed, as candidates are written."""
        return f"{self.name}@{self.seed}" if self.seed else self.name


def rank_table(path: Path, *, by: str | None = None, formula: Formula | None = None) -> RankedTable:
    """Rank the rows of the CSV at `path`.

    Metric columns are `mask_accuracy`, `aesthetic`, `fid` and `style_similarity`, each optionally with `<metric>_error`; the other columns
    name the row, but for `total`, a score to compare with. With all parts there, rows are ranked by the composite that is computed from
    them: by `formula`, or by the third contest's where a row has a style similarity and by A's otherwise (the published totals of
    board B are A's formula too). Without them, by the one metric there is, or by `by`.

    Raises `DataError` naming file, row and column of a cell that is not a finite number.
    """
    table = _read(path)
    metrics, names = _metric_columns(path, table), _name_columns(table)
    complete = all(part in metrics for part in _PARTS)
    entries, disagreements = [], []
    for line, row in _lines(table):
        name = " ".join(row[column] for column in names) or f"row {line}"
        estimates = _estimates(path, line, row, metrics)
        if complete:
            similarity = _style_similarity(path, line, row)
            chosen = _with_style(formula or FORMULAS["A" if similarity is None else "jittor3"], similarity)
            estimates["composite"] = composite_estimate(chosen, estimates, distance="fid")
            disagreements += _compare(name, chosen, estimates["composite"].value, row.get("total", ""))
        entries.append(Entry(name, estimates))
    decides = by or ("composite" if complete else metrics[0])
    return RankedTable(decides, rank(entries, by=decides), disagreements)


def measure_tables(
    paths: Sequence[Path], *, assume: Mapping[str, float] | None = None, formula: Formula | None = None, seeds_of: str | None = None
) -> MeasuredTables:
    """Take the rows of tables for measurements, as a report wants them. Metric columns are those of `rank_table`; of the others,

    - `candidate`, `epoch` or `members` (`273+299`, with optional `weights`: `0.4+0.6`) names the candidate; without any of these, all others do
    - `seed`, or `run` if it counts, tells draws of one candidate apart. A table that names no candidate holds the seeds of `seeds_of`, by default
      of the best in the other tables

    `assume` gives parts of the total that tables lack (`mask_accuracy`, `aesthetic`, `fid`, `style_similarity`), the same for all of their rows.
    One `formula` holds for all rows: by default the third contest's where each has a style similarity, and A's otherwise. Where no table has an
    error but one has seeds, the standard deviation over these stands for the error of every row.

    Raises `DataError` naming file and line of what cannot be read, `UsageError` for a part that is missing, or assumed without need.
    """
    assumed = _checked(assume or {})
    read = [row for path in paths for row in _read_rows(path)]
    notes = _told_assumptions(read, assumed)
    distance = next((name for row in read for name in row.metrics if is_distance(name)), "fid")
    rows = [_completed(row, assumed, distance) for row in read]
    formula = formula or FORMULAS["A" if any(row.style_similarity is None for row in rows) else "jittor3"]
    if formula.style and formula.style_similarity is None and (lacking := [row for row in rows if row.style_similarity is None]):
        raise _missing(lacking[0].path, "style_similarity")
    if unnamed := [row for row in rows if not row.name]:
        owner = _any_spelling(seeds_of) if seeds_of else _best_of([row for row in rows if row.name], unnamed[0].path, formula, distance)
        rows = [row if row.name else replace(row, name=owner) for row in rows]
        told = "" if seeds_of else ", the best of the other tables"
        notes.append(f"The rows of {_files(unnamed)} are taken for seeds of {owner}{told}.")
    elif seeds_of:
        raise UsageError(f"--seeds-of {seeds_of}: every table names its candidates. Leave it out")
    rows = _each_once(rows)
    if all(each.error is None for row in read for each in row.metrics.values()) and (errors := _errors_over_seeds(rows)):
        rows = [
            replace(row, metrics={name: Estimate(each.value, errors.get(name, each.error)) for name, each in row.metrics.items()}) for row in rows
        ]
        notes.append(
            "No table has errors: the standard deviation over seeds stands for them. That is the noise of the seed, not that of other label maps."
        )
    measurements = tuple(_measurement(row, formula, distance, assumed) for row in rows)
    for row, measurement in zip(rows, measurements, strict=True):
        notes += [f"{each}." for each in _compare(row.candidate, formula, measurement.composite.value, row.total)]
    return MeasuredTables(
        measurements=measurements,
        seeded=frozenset(row.candidate for row in rows if row.seed is not None),
        notes=tuple(notes),
    )


def _read_rows(path: Path) -> Iterator[_Row]:
    """The lines of one table, with names as candidates have them where they are candidates."""
    table = _read(path)
    metrics = _metric_columns(path, table)
    counted = "run" in table.columns and table["run"].str.fullmatch("[0-9]+").all()
    seeds = "seed" if "seed" in table.columns else "run" if counted else None
    others = [name for name in _name_columns(table) if name != seeds]
    seen: Counter[tuple[str, int | None]] = Counter()
    for line, row in _lines(table):
        seed = _seed(path, line, row[seeds]) if seeds else None
        name, own_seed = _name(path, line, row, others)
        seed = own_seed if seed is None else seed
        seen[name, seed] += 1
        if name and not {"candidate", "epoch", "members"} & set(others) and seen[name, seed] > 1:
            name = f"{name} ({seen[name, seed]})"
        yield _Row(
            path=path,
            line=line,
            name=name or ("" if seeds else f"row {line}"),
            seed=seed,
            metrics=_within_limits(path, line, _estimates(path, line, row, [each for each in metrics if each != "composite"])),
            style_similarity=_style_similarity(path, line, row),
            total=row.get("total", ""),
        )


def _name(path: Path, line: int, row: Mapping[Hashable, str], others: Sequence[str]) -> tuple[str, int | None]:
    """A row's candidate without its seed, and the seed if its name holds one."""
    try:
        if "candidate" in others:
            candidate = _parsed(row["candidate"])
            return (candidate.unseeded, candidate.seed or None) if candidate else (row["candidate"], None)
        if "epoch" in others:
            return Candidate((row["epoch"],)).unseeded, None
        if "members" in others:
            members = tuple(re.split(r"[+\s]+", row["members"]))
            weights = tuple(float(each) for each in re.split(r"[+\s]+", row["weights"])) if row.get("weights") else None
            return Candidate(members, weights).unseeded, None
    except (UsageError, ValueError) as error:
        raise DataError(f"{path}, line {line}: {error}") from error
    return " ".join(row[column] for column in others), None


def _any_spelling(text: str) -> str:
    """The name of a candidate that may also be written as `members` are."""
    candidate = _parsed(text)
    if candidate is None and re.fullmatch(r"\d+(\+\d+)+", text):
        candidate = Candidate(tuple(text.split("+")))
    return candidate.unseeded if candidate else text


def _parsed(text: str) -> Candidate | None:
    """The candidate of that name; None for what was measured elsewhere and is called as it likes."""
    try:
        return Candidate.parse(text)
    except UsageError:
        return None


def _checked(assumed: Mapping[str, float]) -> Mapping[str, float]:
    """The assumed parts, each within its limits."""
    for name, value in assumed.items():
        if name not in _LIMITS:
            raise UsageError(f"--assume {name}: not a part of the total; these are {', '.join(_LIMITS)}")
        low, high = _LIMITS[name]
        if not low <= value <= high or not math.isfinite(value):
            raise UsageError(f"--assume {name}={value:g}: it lies in {low:g} to {high:g}")
    return assumed


def _told_assumptions(rows: Sequence[_Row], assumed: Mapping[str, float]) -> list[str]:
    """What is assumed of which tables, in words; raises `UsageError` for what all of them have."""
    told: dict[str, list[str]] = {}
    for name, value in assumed.items():
        lacking = [row for row in rows if not _has(row, name)]
        if not lacking:
            raise UsageError(f"--assume {name}: every table has its own. Leave it out")
        told.setdefault(_files(lacking), []).append(f"{_spoken(name)} {value:g}")
    return [f"Assumed for every row of {files}, for want of any other: {', '.join(parts)}." for files, parts in told.items()]


def _completed(row: _Row, assumed: Mapping[str, float], distance: str) -> _Row:
    """The row with what is assumed of it; the parts of its total come first."""
    known = {name: Estimate(value, 0.0) for name, value in assumed.items() if name != "style_similarity"} | dict(row.metrics)
    parts = ("mask_accuracy", "aesthetic", distance)
    for name in parts:
        if name not in known:
            raise _missing(row.path, name)
    similarity = assumed.get("style_similarity") if row.style_similarity is None else row.style_similarity
    return replace(row, metrics={name: known[name] for name in dict.fromkeys((*parts, *known))}, style_similarity=similarity)


def _missing(path: Path, name: str) -> UsageError:
    return UsageError(f"{path} has no {name}, of which a total is made. Give one for all of its rows: --assume {name}=VALUE")


def _best_of(rows: Sequence[_Row], path: Path, formula: Formula, distance: str) -> str:
    """The best candidate of some rows, whose seeds the table at `path` is taken to hold."""
    if not rows:
        raise UsageError(f"{path} has seeds, but does not say of what. Name the candidate: --seeds-of NAME")
    entries = [
        Entry(row.name, {**row.metrics, "composite": composite_estimate(_with_style(formula, row.style_similarity), row.metrics, distance=distance)})
        for row in rows
    ]
    return rank(entries)[0].entry.name


def _each_once(rows: Sequence[_Row]) -> list[_Row]:
    """Each candidate once. Raises `DataError` where it has different numbers in two places."""
    found: dict[str, _Row] = {}
    for row in rows:
        other = found.setdefault(row.candidate, row)
        if {name: each.value for name, each in other.metrics.items()} != {name: each.value for name, each in row.metrics.items()}:
            raise DataError(f"{row.candidate} has different numbers in {other.path}, line {other.line}, and in {row.path}, line {row.line}")
        if row.seed is not None:
            found[row.candidate] = replace(other, seed=row.seed)
    return list(found.values())


def _errors_over_seeds(rows: Sequence[_Row]) -> dict[str, float]:
    """Standard deviation of each metric over the seeds of the candidate that has most of them; empty where none has two."""
    counts = Counter(row.name for row in rows if row.seed is not None)
    name, count = next(iter(counts.most_common(1)), ("", 0))
    if count < 2:
        return {}
    draws = [row.metrics for row in rows if row.name == name and row.seed is not None]
    return {metric: stdev([draw[metric].value for draw in draws]) for metric in draws[0] if all(metric in draw for draw in draws)}


def _measurement(row: _Row, formula: Formula, distance: str, assumed: Mapping[str, float]) -> Measurement:
    own = _with_style(formula, row.style_similarity)
    protocol = {"formula": asdict(own), "assumed": dict(assumed)}
    return Measurement(
        key=hash_value([row.candidate, {name: asdict(each) for name, each in row.metrics.items()}, protocol]),
        candidate=row.candidate,
        seed=row.seed or 0,
        images=0,
        metrics=row.metrics,
        composite=composite_estimate(own, row.metrics, distance=distance),
        formula=formula.name,
        protocol=protocol,
        observations="",
        seconds=0.0,
        device="",
        versions={},
    )


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


def _lines(table: pd.DataFrame) -> Iterator[tuple[int, dict[Hashable, str]]]:
    """Each row with the number of its line."""
    return enumerate(table.to_dict("records"), start=2)  # line 1 is the header


def _metric_columns(path: Path, table: pd.DataFrame) -> list[str]:
    found = [name for name in table.columns if is_metric(name) and not name.endswith("_error")]
    if not found:
        raise DataError(f"{path}: no metric column; expected mask_accuracy, aesthetic, fid, kid or such (found: {', '.join(table.columns)})")
    return found


def _name_columns(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if not is_metric(name) and name not in ("style_similarity", "total") and not name.endswith("_error")]


def _estimates(path: Path, line: int, row: Mapping[Hashable, str], metrics: Sequence[str]) -> dict[str, Estimate]:
    return {metric: Estimate(_number(path, line, metric, row[metric]), _error(path, line, metric, row)) for metric in metrics}


def _within_limits(path: Path, line: int, metrics: Mapping[str, Estimate]) -> Mapping[str, Estimate]:
    for name, each in metrics.items():
        low, high = _LIMITS.get(name, (-math.inf, math.inf))
        if not low <= each.value <= high:
            raise DataError(f"{path}, line {line}: {name} is {each.value:g}, and lies in {low:g} to {high:g}")
    return metrics


def _style_similarity(path: Path, line: int, row: Mapping[Hashable, str]) -> float | None:
    text = row.get("style_similarity", "")
    return _number(path, line, "style_similarity", text) if text else None


def _with_style(formula: Formula, similarity: float | None) -> Formula:
    """The formula with a row's own style similarity, where it weighs that."""
    return formula if similarity is None or not formula.style else replace(formula, style_similarity=similarity)


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}, line {line}: {column} is {text!r}, not a finite number")
    return value


def _seed(path: Path, line: int, text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise DataError(f"{path}, line {line}: the seed is {text!r}, not a whole number")
    return int(text)


def _error(path: Path, line: int, metric: str, row: Mapping[Hashable, str]) -> float | None:
    text = row.get(f"{metric}_error", "")
    return _number(path, line, f"{metric}_error", text) if text else None


def _compare(name: str, formula: Formula, total: float, published: str) -> list[str]:
    """A complaint if `published` is not `total` to one unit in its own last digit."""
    if not published:
        return []
    unit = 10.0 ** -len(published.partition(".")[2])
    return [f"{name}: the table says {published}, formula {formula.name} gives {total:.4f}"] if abs(total - float(published)) > unit else []


def _has(row: _Row, name: str) -> bool:
    return row.style_similarity is not None if name == "style_similarity" else name in row.metrics


def _spoken(name: str) -> str:
    return "FID" if name == "fid" else name.replace("_", " ")


def _files(rows: Sequence[_Row]) -> str:
    return ", ".join(dict.fromkeys(row.path.name for row in rows))
