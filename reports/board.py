"""Everything that the report says, as one frozen value: `read_board` reads the run, `board_of_tables` takes numbers of elsewhere, and tables,
plots and page only show what it holds.

Numbers are compared only under one protocol and formula, and image by image: all candidates draw the same label maps.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from apfgan.candidates import Candidate
from apfgan.config import Config
from apfgan.errors import DataError, UsageError
from apfgan.noise import expected_maximum, probability_positive
from apfgan.picks import PickRecord, read_pick
from apfgan.ranking import Entry, Outlook, Place, Standing, comparable, foresee, gap, latest_epoch, parts_of, protocol_of, rank_measurements
from apfgan.records import Anchors, Estimate, Measurement
from apfgan.runs import Run

UNTRAINED = "0"
"""Name of the checkpoint before the first step."""

_METRIC_TITLES = {"mask_accuracy": "mask accuracy", "mean_iou": "mean IoU", "fid": "FID", "fid-clean": "FID (clean)"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured candidate in its place."""

    place: Place = field(hash=False)
    standing: Standing = field(hash=False)
    """What the noise leaves open of its place."""
    measurement: Measurement = field(hash=False)
    candidate: Candidate | None
    """None: a name outside the grammar (images of another generator)."""
    seeded: bool = True
    """Whether its seed is known: not where a table does not tell it."""

    @property
    def rank(self) -> int:
        """Its place, from 1."""
        return self.place.place

    @property
    def entry(self) -> Entry:
        """Its numbers, with each image's influence on them where that is known."""
        return self.place.entry

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.measurement.candidate

    @property
    def unseeded(self) -> str:
        """The name without the seed: what differs by chance alone."""
        return self.candidate.unseeded if self.candidate else self.name

    @property
    def kind(self) -> str:
        """`epoch`, `merge`, `variant`, or `other` (`kind_of`)."""
        return kind_of(self.candidate)

    @property
    def epoch(self) -> int | None:
        """Its epoch, where it is one and no variant."""
        return int(self.unseeded) if self.kind == "epoch" else None

    @property
    def latest_epoch(self) -> int:
        """The largest epoch that it is made of, by which equal scores are ordered; -1 where none is."""
        return latest_epoch(self.name)

    @property
    def seed(self) -> int:
        """Seed of its noise."""
        return self.measurement.seed

    @property
    def score(self) -> Estimate:
        """The composite."""
        return self.measurement.composite


@dataclass(frozen=True)
class Comparison:
    """How far one row is ahead of another."""

    row: Row
    other: Row

    @property
    def gap(self) -> Estimate:
        """Score of the first less score of the other, with its noise: paired image by image where both were measured so."""
        return gap(self.row.entry, self.other.entry)

    @property
    def tied(self) -> bool:
        """The noise does not tell them apart, by the one rule for all pairs of the board; where it is unknown, only equal scores are tied."""
        return self.other.rank not in self.row.place.apart

    @property
    def probability(self) -> float | None:
        """Probability that the first is better."""
        return probability_positive(self.gap)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """A merge beside the best of its members."""

    row: Row
    gain: Comparison | None
    """Against the best member; None when none of them was measured."""
    unmeasured: tuple[str, ...]
    """Members without a measurement of their own."""


@dataclass(frozen=True)
class SeedGroup:
    """The seeds tried for one candidate, best first, and what choosing among them is worth."""

    name: str
    """The candidate's, without a seed."""
    rows: tuple[Row, ...]

    @property
    def mean(self) -> float:
        """Mean score."""
        return math.fsum(row.score.value for row in self.rows) / len(self.rows)

    @property
    def deviation(self) -> float:
        """Sample standard deviation of the score over seeds."""
        return math.sqrt(math.fsum((row.score.value - self.mean) ** 2 for row in self.rows) / (len(self.rows) - 1))

    @property
    def gain(self) -> float:
        """Best score less the mean: holds for these images alone."""
        return self.rows[0].score.value - self.mean

    @property
    def luck(self) -> float:
        """What the best of so many seeds gains over the mean by chance."""
        return expected_maximum(len(self.rows)) * self.deviation


@dataclass(frozen=True, kw_only=True)
class Excluded:
    """Measurements that may not be compared with the ranked ones, and why."""

    count: int
    protocol_id: str
    differing: tuple[str, ...]
    """Fields of the protocol in which they differ, `formula` and `images` among them."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """The state of a run, ranked, or tables of numbers without one."""

    run_name: str
    """Of tables, what they are called together."""
    run_path: str
    """Empty where there is no run."""
    config: Config
    """The run's; the default where there is none, for its classes."""
    checkpoints: tuple[str, ...]
    """Names of the checkpoints that could be scored."""
    sweep: tuple[str, ...]
    """Names of the candidates that the last sweep set out to measure; where that is not known, all epochs."""
    swept: bool
    """Whether that sweep has come to its end; while it goes on, who was looked at on a part of the label maps may still be the best."""
    measurements: tuple[Measurement, ...]
    """The whole ledger, oldest first."""
    rows: tuple[Row, ...]
    """The latest measurement of each candidate, as far as it may be compared with the last one measured; best first."""
    excluded: tuple[Excluded, ...]
    outlook: Outlook | None = None
    """What to expect of `rows` on other label maps; None when nothing was measured."""
    anchors: Anchors | None = None
    """What real photos score under the protocol behind `rows`."""
    pick: PickRecord | None = None
    """What was picked, where it is one of `rows`."""
    pick_problem: str = ""
    """Why what was picked is left aside, in a sentence; empty where it is not, or nothing was picked."""

    @property
    def of_tables(self) -> bool:
        """Whether these are numbers from elsewhere, with no run behind them."""
        return not self.run_path

    @property
    def protocol(self) -> Mapping[str, Any]:
        """The protocol behind `rows`; empty when nothing was measured."""
        return self.rows[0].measurement.protocol if self.rows else {}

    @property
    def formula(self) -> str:
        """Name of the composite's formula behind `rows`."""
        return self.rows[0].measurement.formula if self.rows else ""

    @property
    def closeness(self) -> float | None:
        """Weight of (100 - distance) / 100 in the formula, which multiplies the mask accuracy; None where the protocol does not name it."""
        formula = self.protocol.get("formula")
        return formula.get("closeness") if isinstance(formula, Mapping) else None

    @property
    def best(self) -> Row | None:
        """The first row."""
        return self.rows[0] if self.rows else None

    @property
    def choice(self) -> Row | None:
        """What to use: the pick where there is one that is ranked here, else the best."""
        return (self.find(self.pick.candidate) if self.pick else None) or self.best

    @property
    def rival(self) -> Row | None:
        """What the choice is first compared with: what a user would take who does not choose, or else the best of other weights."""
        others = (row for row in self.rows if self.choice is not None and row.unseeded != self.choice.unseeded)
        last = self.last_epoch
        return last if last is not None and self.choice is not None and last.unseeded != self.choice.unseeded else next(others, None)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a total is made of: mask accuracy, aesthetic and the distance that counts, as far as they were measured."""
        return self._columns[0]

    @property
    def checks(self) -> tuple[str, ...]:
        """The other metrics, on which nothing is optimised."""
        return self._columns[1]

    @property
    def epochs(self) -> tuple[Row, ...]:
        """Trained epochs with the standard seed, in order; the untrained generator is not among them."""
        found = [row for row in self.rows if row.epoch is not None and row.seed == 0 and row.name != UNTRAINED]
        return tuple(sorted(found, key=lambda row: row.epoch or 0))

    @property
    def last_epoch(self) -> Row | None:
        """What a user would take who does not choose."""
        return self.epochs[-1] if self.epochs else None

    @property
    def untrained(self) -> Row | None:
        """The generator before its first step, where it was measured."""
        return self.find(UNTRAINED)

    @property
    def tied(self) -> tuple[Row, ...]:
        """Rows behind the best that the noise does not tell from it."""
        return tuple(row for row in self.rows[1:] if row.place.tied)

    @cached_property
    def merges(self) -> tuple[Merge, ...]:
        """Every combination tried, best first, each once (its lowest seed) beside its best member drawn with the same seed if there is one."""
        first_seed: dict[str, Row] = {}
        for row in sorted(self.rows, key=lambda row: row.seed):
            if row.kind == "merge":
                first_seed.setdefault(row.unseeded, row)
        return tuple(self._merge(row) for row in sorted(first_seed.values(), key=lambda row: row.rank))

    @cached_property
    def seeds(self) -> tuple[SeedGroup, ...]:
        """Candidates that were drawn with more than one known seed, best first."""
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.seeded:
                groups[row.unseeded].append(row)
        return tuple(SeedGroup(name, tuple(rows)) for name, rows in groups.items() if len(rows) > 1)

    @cached_property
    def partial(self) -> int:
        """How many measurements are of a part of the label maps, as races and searches make them to see who may be dropped."""
        return sum(each.part is not None for each in self.measurements)

    @property
    def embedded(self) -> bool:
        """Whether a judge is one that ships with the program rather than the published one."""
        return any("embedded" in name for name in (*self.metrics, *self.judges))

    @property
    def judges(self) -> tuple[str, ...]:
        """Name of each judge that the protocol names."""
        return judge_names(self.protocol)

    @property
    def measured(self) -> int:
        """How much of the sweep is ranked."""
        return sum(self.find(name) is not None for name in self.sweep)

    @cached_property
    def dropped(self) -> tuple[str, ...]:
        """Names of the candidates that a race or a search looked at on a part of the label maps only, by the same protocol; each once, in the order
        in which they were looked at.
        """
        ranked = {row.name for row in self.rows}
        parts = (each.candidate for each in self.measurements if each.part is not None and each.protocol == self.protocol)
        return tuple(name for name in dict.fromkeys(parts) if name not in ranked)

    @property
    def looked_at(self) -> int:
        """How much more of the sweep was looked at on a part of the label maps; when the sweep is at its end, these are ruled out."""
        return sum(name in self.dropped for name in self.sweep)

    def dropped_of(self, kind: str) -> tuple[str, ...]:
        """Those of `dropped` of a kind (`epoch`, `merge`, `variant`)."""
        return tuple(name for name in self.dropped if kind_of(parse_candidate(name)) == kind)

    @cached_property
    def _columns(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        found = dict.fromkeys(name for row in self.rows for name in row.measurement.metrics)
        parts = parts_of(found)
        return parts, tuple(name for name in found if name not in parts)

    def find(self, name: str) -> Row | None:
        """The row of a candidate."""
        return next((row for row in self.rows if row.name == name), None)

    def drawn(self, row: Row) -> bool:
        """Whether a row's images are drawn by checkpoints of this run; else they came from elsewhere, and cannot be drawn again."""
        return row.candidate is not None and set(row.candidate.members) <= set(self.checkpoints)

    def _merge(self, row: Row) -> Merge:
        assert row.candidate is not None
        singles = {name: self.find(str(Candidate((name,), seed=row.seed))) or self.find(name) for name in row.candidate.members}
        measured = [single for single in singles.values() if single is not None]
        best = min(measured, key=lambda single: single.rank, default=None)
        return Merge(
            row=row,
            gain=Comparison(row, best) if best else None,
            unmeasured=tuple(name for name, single in singles.items() if single is None),
        )


def read_board(run: Run) -> Board:
    """Read the run's ledger and checkpoints; raises `DataError` for a damaged ledger."""
    measurements = run.ledger.read()
    groups: dict[str, list[Measurement]] = defaultdict(list)
    for measurement in measurements:
        if measurement.part is None:
            groups[protocol_of(measurement)].append(measurement)
    current = comparable(measurements, protocol=run.current_protocol)
    rows, outlook = _ranked(rank_measurements(current, influences=run.influences))
    pick, problem = _read_pick(run, rows)
    return Board(
        run_name=run.path.resolve().name,
        run_path=str(run.path),
        config=run.config,
        checkpoints=tuple(run.checkpoint_names()),
        sweep=run.sweep or tuple(map(str, run.epochs())) or tuple(run.checkpoint_names()),
        swept=run.swept,
        measurements=tuple(measurements),
        rows=rows,
        excluded=tuple(
            Excluded(count=len(group), protocol_id=key, differing=_differing(group[-1], current[-1]))
            for key, group in groups.items()
            if key != protocol_of(current[-1])
        ),
        outlook=outlook,
        anchors=run.read_anchors(protocol_of(current[-1])) if current else None,
        pick=pick,
        pick_problem=problem,
    )


def board_of_tables(measurements: Sequence[Measurement], *, name: str, seeded: Collection[str]) -> Board:
    """The board of numbers that were measured elsewhere (`selection.tables`); `seeded` names those whose seed is known.

    They are compared as they are given: whoever gives them answers for their having come from one protocol.
    """
    rows, outlook = _ranked(rank_measurements(measurements))
    return Board(
        run_name=name,
        run_path="",
        config=Config(),
        checkpoints=(),
        sweep=(),
        swept=True,
        measurements=tuple(measurements),
        rows=tuple(replace(row, seeded=row.name in seeded) for row in rows),
        excluded=(),
        outlook=outlook,
    )


def _ranked(places: Sequence[Place]) -> tuple[tuple[Row, ...], Outlook | None]:
    """The rows of a ranking, and what to expect of it."""
    if not places:
        return (), None
    outlook = foresee(places)
    rows = tuple(
        Row(place=place, standing=standing, measurement=place.entry.measurement, candidate=parse_candidate(place.entry.name))
        for place, standing in zip(places, outlook.standings, strict=True)
        if place.entry.measurement is not None
    )
    return rows, outlook


def _read_pick(run: Run, rows: Sequence[Row]) -> tuple[PickRecord | None, str]:
    """What was picked among these rows, or why a pick that there is does not count."""
    try:
        record = read_pick(run)
    except UsageError:
        return None, ""
    except DataError:
        return None, "There is a record of a pick, but it is damaged or was changed, and does not count here."
    if not rows or record.protocol_id != protocol_of(rows[0].measurement):
        return None, f"{record.candidate} was picked under another protocol, which does not count here."
    if all(row.name != record.candidate for row in rows):
        return None, f"{record.candidate} was picked, but is not among these measurements."
    return record, ""


def parse_candidate(name: str) -> Candidate | None:
    """The candidate of that name, None when it follows another grammar."""
    try:
        candidate = Candidate.parse(name)
    except UsageError:
        return None
    return candidate if str(candidate) == name else None


def kind_of(candidate: Candidate | None) -> str:
    """`epoch`, `merge`, `variant` for one of these to which more is done (`299~photos`), or `other` for a named checkpoint and for what is not made
    of checkpoints.
    """
    if candidate is None:
        return "other"
    if not candidate.is_plain:
        return "variant"
    if candidate.is_merge:
        return "merge"
    return "epoch" if candidate.mean.isdigit() else "other"


def metric_title(name: str) -> str:
    """How a metric is called in the report; a distance keeps its real name."""
    return _METRIC_TITLES.get(name, name)


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf of nested mappings with its dotted path."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from flatten(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _differing(one: Measurement, other: Measurement) -> tuple[str, ...]:
    """Fields in which the protocols of two measurements differ."""
    left, right = dict(flatten(one.protocol)), dict(flatten(other.protocol))
    fields = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    return (*fields, *(name for name in ("formula", "images") if getattr(one, name) != getattr(other, name)))


def judge_names(protocol: Mapping[str, Any]) -> tuple[str, ...]:
    """Whatever calls itself by a `name` in a protocol is a judge, but for the formula; each once."""
    judges = {key: value for key, value in protocol.items() if key != "formula"}
    names = [value for path, value in flatten(judges) if path.rpartition(".")[2] == "name" and isinstance(value, str)]
    return tuple(dict.fromkeys(names))
