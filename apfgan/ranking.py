"""Order measured candidates. `apfgan rank`, the searches and the report all use this one rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from apfgan.errors import UsageError
from apfgan.files import hash_value
from apfgan.noise import QUANTILE, difference, told_apart
from apfgan.records import Candidate, Estimate, Measurement

Direction = Literal["higher", "lower"]

DIRECTIONS: dict[str, Direction] = {"composite": "higher", "mask_accuracy": "higher", "aesthetic": "higher", "fid": "lower", "fd-embedded": "lower"}
"""Which way each metric is better. Only this file looks at it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be ranked: a name and its numbers."""

    name: str
    metrics: Mapping[str, Estimate]
    """By metric, with `composite` among them where there is one."""
    measurement: Measurement | None = None
    """Where the numbers come from; None for a table measured elsewhere."""


@dataclass(frozen=True, slots=True)
class Place:
    """One line of a ranking."""

    place: int
    entry: Entry
    value: Estimate
    """The number that decides."""
    tied: bool
    """Not told apart from the best by its standard errors (`apfgan.noise`)."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the deciding number; None where no standard error is known."""
        if self.value.error is None:
            return None
        half = QUANTILE * self.value.error
        return self.value.value - half, self.value.value + half


def rank(entries: Sequence[Entry], *, by: str = "composite") -> list[Place]:
    """`entries` in order of metric `by`, best first; equal values by mask accuracy, then the later epoch (a merge counts as its latest)."""
    if by not in DIRECTIONS:
        raise UsageError(f"cannot rank by {by!r}; known: {', '.join(DIRECTIONS)}")
    if missing := [entry.name for entry in entries if by not in entry.metrics]:
        raise UsageError(f"{by} was not measured for {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}")
    sign = better(by)

    def order(entry: Entry) -> tuple[float, float, int]:
        accuracy = entry.metrics.get("mask_accuracy")
        return (-sign * entry.metrics[by].value, -(accuracy.value if accuracy else 0.0), -_latest_epoch(entry.name))

    ordered = sorted(entries, key=order)
    return [
        Place(place, entry, entry.metrics[by], not told_apart(difference(entry.metrics[by], ordered[0].metrics[by])))
        for place, entry in enumerate(ordered, start=1)
    ]


def better(metric: str) -> int:
    """1 where a larger value of the metric is better, -1 where a smaller one is."""
    return 1 if DIRECTIONS[metric] == "higher" else -1


def rank_measurements(measurements: Sequence[Measurement], *, by: str = "composite") -> list[Place]:
    """The latest measurement of each candidate, in order. All must be comparable (`comparable`)."""
    latest = {each.candidate: each for each in measurements}
    return rank([Entry(name, {**each.metrics, "composite": each.composite}, each) for name, each in latest.items()], by=by)


def comparable(measurements: Sequence[Measurement], *, protocol: str | None = None) -> list[Measurement]:
    """Those that may be compared: of the given protocol where any is, else of the protocol of the last one.

    Numbers of different protocols, label maps or formulas are never put in one ranking.
    """
    known = [protocol_of(each) for each in measurements]
    chosen = protocol if protocol in known else next(reversed(known), None)
    return [each for each, its in zip(measurements, known, strict=True) if its == chosen]


def protocol_id(protocol: Mapping[str, Any], *, formula: str, images: int) -> str:
    """Short name of all that must agree before two numbers may be compared: protocol, formula and number of images."""
    return hash_value({"protocol": dict(protocol), "formula": formula, "images": images})[:12]


def protocol_of(measurement: Measurement) -> str:
    """The `protocol_id` of a measurement."""
    return protocol_id(measurement.protocol, formula=measurement.formula, images=measurement.images)


def _latest_epoch(name: str) -> int:
    """The largest epoch that a candidate is made of; -1 where none is."""
    try:
        members = Candidate.parse(name).members
    except UsageError:
        return -1
    return max((int(member) for member in members if member.isdigit()), default=-1)
