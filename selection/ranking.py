"""Order measured candidates, and say which places the noise leaves open."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from apfgan.errors import UsageError
from apfgan.records import Candidate, Estimate, Measurement, epoch_order

Direction = Literal["higher", "lower"]

DIRECTIONS: dict[str, Direction] = {"composite": "higher", "mask_accuracy": "higher", "aesthetic": "higher", "fid": "lower", "fd-embedded": "lower"}
"""Which way each metric is better. Only this file looks at it."""

CONFIDENCE = 0.95
"""Of the intervals shown, and of the difference that ends a tie."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be ranked: a name and its numbers."""

    name: str
    metrics: dict[str, Estimate]
    """By metric, with `composite` among them."""
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
    """Not told apart from the best by its standard errors (two-sided, `CONFIDENCE`)."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The `CONFIDENCE` interval of the deciding number; None where no standard error is known."""
        if self.value.error is None:
            return None
        half = quantile() * self.value.error
        return self.value.value - half, self.value.value + half


def quantile() -> float:
    """Standard errors on either side of an estimate that make the `CONFIDENCE` interval (1.96)."""
    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def rank(entries: Sequence[Entry], *, by: str = "composite") -> list[Place]:
    """`entries` in order of metric `by`, best first; equal values by mask accuracy, then the later epoch.

    A tie with the best is judged by the unpaired standard error of the difference. Candidates are drawn under common label maps and
    noise, so the true error of a difference is smaller: what is called different here is different.
    """
    if by not in DIRECTIONS:
        raise UsageError(f"cannot rank by {by!r}; known: {', '.join(DIRECTIONS)}")
    if missing := [entry.name for entry in entries if by not in entry.metrics]:
        raise UsageError(f"{by} was not measured for {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}")
    sign = -1 if DIRECTIONS[by] == "higher" else 1

    def order(entry: Entry) -> tuple[float, float, int]:
        accuracy = entry.metrics.get("mask_accuracy")
        return (sign * entry.metrics[by].value, -(accuracy.value if accuracy else 0.0), -latest_epoch(entry.name))

    ordered = sorted(entries, key=order)
    return [Place(place, entry, entry.metrics[by], _tied(entry.metrics[by], ordered[0].metrics[by])) for place, entry in enumerate(ordered, start=1)]


def entries_of(measurements: Iterable[Measurement]) -> list[Entry]:
    """What the ledger says of each candidate, by its latest measurement under the most recent protocol.

    Numbers of different protocols, label maps or image counts are never put in one ranking: the group of the last measurement is
    taken, the rest is left out.
    """
    measurements = list(measurements)
    if not measurements:
        return []
    current = comparable_group(measurements[-1])
    latest = {each.candidate: each for each in measurements if comparable_group(each) == current}
    return [Entry(name, {**each.metrics, "composite": each.composite}, each) for name, each in latest.items()]


def comparable_group(measurement: Measurement) -> tuple[str, int, str]:
    """Two measurements may be compared only if this agrees."""
    return str(sorted(measurement.protocol.items())), measurement.images, measurement.formula


def latest_epoch(name: str) -> int:
    """The largest epoch that a candidate is made of; -1 for names that are not epochs."""
    try:
        return max((epoch_order(member)[1] if member.isdigit() else -1 for member in Candidate.parse(name).members), default=-1)
    except UsageError:
        return -1


def _tied(value: Estimate, best: Estimate) -> bool:
    if value.error is None or best.error is None:
        return value.value == best.value
    return abs(value.value - best.value) <= quantile() * math.hypot(value.error, best.error)
