"""Order measured candidates. `apfgan rank`, the searches and the report all use this one rule."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from apfgan.candidates import Candidate
from apfgan.contest import JointEstimate, distinct, draw_errors, optimism, pareto_front, probability_best, probability_pareto
from apfgan.errors import UsageError
from apfgan.files import hash_value
from apfgan.measured import Measured
from apfgan.noise import QUANTILE, difference
from apfgan.records import DISTANCE_CLIP, Estimate, Measurement
from apfgan.runs import Influences

Direction = Literal["higher", "lower"]

_DIRECTIONS: dict[str, Direction] = {
    "composite": "higher",
    "mask_accuracy": "higher",
    "aesthetic": "higher",
    "mean_iou": "higher",
    "fid": "lower",
    "fd": "lower",
    "kid": "lower",
    "precision": "higher",
    "recall": "higher",
}
"""Which way each family of metrics is better. A metric's family is what stands before the first `-` of its name: `fd` for `fd-dinov2`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be ranked: a name and its numbers."""

    name: str
    metrics: Mapping[str, Estimate]
    """By metric, with `composite` among them where there is one."""
    measured: Mapping[str, Measured] = field(default_factory=dict)
    """The same with each image's influence, where that is known: candidates of one ranking are then compared image by image."""
    measurement: Measurement | None = None
    """Where the numbers come from; None for a table measured elsewhere."""


@dataclass(frozen=True, slots=True)
class Place:
    """One line of a ranking."""

    place: int
    entry: Entry
    value: Estimate
    """The number that decides."""
    apart: frozenset[int]
    """The places that it is told apart from by the noise (`apfgan.contest.distinct`): those before it are better, those behind it worse."""
    rank_interval: tuple[int, int] | None
    """The best and the last place that the noise leaves possible; None where an error is unknown."""

    @property
    def tied(self) -> bool:
        """Not told apart from the best; true of the best itself. Where errors are unknown, only equals are tied."""
        return 1 not in self.apart

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the deciding number; None where no standard error is known."""
        if self.value.error is None:
            return None
        half = QUANTILE * self.value.error
        return self.value.value - half, self.value.value + half


@dataclass(frozen=True, slots=True)
class Standing:
    """What the noise leaves open of one place."""

    probability_best: float | None
    """Of being truly the best by the deciding number; None where an error is unknown."""
    pareto: bool | None
    """No other candidate is at least as good in all that the total is made of, and beyond the noise better in one (`apfgan.contest.pareto_front`).
    None where only one such number was measured."""
    probability_pareto: float | None
    """Of no other candidate being truly at least as good in all of it, and better in one; None where an error is unknown."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """A ranking as seen from other label maps."""

    standings: tuple[Standing, ...]
    """One for each place."""
    tried: int
    """How many candidates the best was chosen from."""
    expected: Estimate | None
    """What the best may be expected to reach on other label maps: its number less what it owes to having been chosen
    (`apfgan.contest.optimism`), with its standard error. None where an error is unknown."""


def rank(entries: Sequence[Entry], *, by: str = "composite") -> list[Place]:
    """`entries` in order of metric `by`, best first; equal values by mask accuracy, then the later epoch (a merge counts as its latest)."""
    if not is_metric(by):
        measured = dict.fromkeys(name for entry in entries for name in entry.metrics)
        raise UsageError(f"cannot rank by {by!r}; measured: {', '.join(measured)}")
    if missing := [entry.name for entry in entries if by not in entry.metrics]:
        raise UsageError(f"{by} was not measured for {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}")
    sign = better(by)

    def order(entry: Entry) -> tuple[float, float, int]:
        accuracy = entry.metrics.get("mask_accuracy")
        return (-sign * entry.metrics[by].value, -(accuracy.value if accuracy else 0.0), -latest_epoch(entry.name))

    ordered = sorted(entries, key=order)
    known = all(entry.metrics[by].error is not None for entry in ordered)
    places = []
    for place, (entry, others) in enumerate(zip(ordered, distinct(_joint(ordered, by)) if ordered else [], strict=True), start=1):
        apart = frozenset(int(index) + 1 for index in np.flatnonzero(others))
        better_ones = sum(other < place for other in apart)
        interval = (1 + better_ones, len(ordered) - (len(apart) - better_ones)) if known else None
        places.append(Place(place, entry, entry.metrics[by], apart, interval))
    return places


def foresee(places: Sequence[Place], *, by: str = "composite") -> Outlook:
    """What to expect of a ranking by metric `by`, of at least one place, on other label maps; the same ranking gives the same numbers."""
    entries = [place.entry for place in places]
    parts = [name for name in parts_of(entries[0].metrics) if all(name in entry.metrics for entry in entries)]
    known = {name: all(entry.metrics[name].error is not None for entry in entries) for name in (by, *parts)}
    deciding, *scores = joints = [_joint(entries, name) for name in (by, *parts)]
    errors = draw_errors(joints)
    best, expected = places[0].value, None
    chances: Sequence[float | None] = [None] * len(entries)
    if known[by]:
        chances = probability_best(deciding.values, errors[0]).tolist()
        expected = Estimate(best.value - better(by) * optimism(deciding.values, errors[0]), best.error)
    front: Sequence[bool | None] = [None] * len(entries)
    front_chances: Sequence[float | None] = [None] * len(entries)
    if len(scores) > 1:
        front = pareto_front(scores).tolist()
        if all(known[name] for name in parts):
            front_chances = probability_pareto(np.stack([joint.values for joint in scores]), errors[1:]).tolist()
    return Outlook(tuple(map(Standing, chances, front, front_chances)), len(entries), expected)


def gap(one: Entry, other: Entry, *, by: str = "composite") -> Estimate:
    """Metric `by` of `one` less that of `other`: paired image by image where both were measured so, else as if on different images."""
    if by in one.measured and by in other.measured:
        return one.measured[by].minus(other.measured[by])
    return difference(one.metrics[by], other.metrics[by])


def is_metric(name: str) -> bool:
    """Whether things can be ordered by what is called so."""
    return _family(name) in _DIRECTIONS


def is_distance(name: str) -> bool:
    """Whether a metric is a Fréchet distance, of whichever features."""
    return _family(name) in ("fid", "fd")


def better(metric: str) -> int:
    """1 where a larger value of the metric is better, -1 where a smaller one is."""
    return 1 if _DIRECTIONS[_family(metric)] == "higher" else -1


def rank_measurements(measurements: Sequence[Measurement], *, by: str = "composite", influences: Influences | None = None) -> list[Place]:
    """The latest measurement of each candidate, in order. All must be comparable (`comparable`).

    With `influences`, candidates are told apart by paired differences.
    """
    latest = {each.candidate: each for each in measurements}
    entries = [
        Entry(name, {**each.metrics, "composite": each.composite}, influences.read(each) if influences else {}, each) for name, each in latest.items()
    ]
    return rank(entries, by=by)


def parts_of(metrics: Iterable[str]) -> tuple[str, ...]:
    """Of a measurement's metrics those that a total is made of: mask accuracy, aesthetic, and the first distance."""
    names = list(metrics)
    distance = next(filter(is_distance, names), None)
    return tuple(name for name in names if name in ("mask_accuracy", "aesthetic", distance))


def clipping_note(measured: Sequence[Mapping[str, Estimate]]) -> str | None:
    """What to tell a reader when the total no longer sees the distances of some candidates, given the metrics of each; None if it sees all.

    So near the clip that a distance may be on either side of it, the total's error is too small (docs/noise.md).
    """
    known = [(name, metrics[name]) for metrics in measured for name in parts_of(metrics) if is_distance(name)]
    beyond = [name for name, distance in known if distance.value >= DISTANCE_CLIP]
    near = [name for name, distance in known if abs(distance.value - DISTANCE_CLIP) < QUANTILE * (distance.error or 0.0)]
    notes = []
    if beyond:
        which = f"all {len(known)}" if len(beyond) == len(known) else f"{len(beyond)} of {len(known)}"
        notes.append(f"the {beyond[0]} of {which} candidates is above {DISTANCE_CLIP:g}, where the total clips it: it cannot tell these apart by it")
    if near:
        notes.append(
            f"of {len(near)} the noise reaches across {DISTANCE_CLIP:g}, where the error of the total is too small: compare them by {near[0]}"
        )
    return "; ".join(notes) or None


def variant_notes(names: Iterable[str]) -> list[str]:
    """What to tell a reader of candidates with these names whose images are not only drawn by other weights or with another seed."""
    found = [candidate for name in names if (candidate := _candidate(name))]
    notes = []
    if any(each.photos for each in found):
        notes.append("~photos: training photos stand in for drawings of a single class")
    if any(each.jpeg for each in found):
        notes.append("~q: these images pass another JPEG encoder than those of the others")
    return notes


def comparable(measurements: Sequence[Measurement], *, protocol: str | None = None) -> list[Measurement]:
    """Those that may be compared: of the given protocol where any is, else of the protocol of the last one.

    Numbers of different protocols, label maps or formulas are never put in one ranking, and none of a part of the label maps.
    """
    whole = {index: protocol_of(each) for index, each in enumerate(measurements) if each.part is None}
    chosen = protocol if protocol in whole.values() else next(reversed(whole.values()), None)
    return [measurements[index] for index, its in whole.items() if its == chosen]


def protocol_id(protocol: Mapping[str, Any], *, formula: str, images: int) -> str:
    """Short name of all that must agree before two numbers may be compared: protocol, formula and number of images."""
    return hash_value({"protocol": dict(protocol), "formula": formula, "images": images})[:12]


def protocol_of(measurement: Measurement) -> str:
    """The `protocol_id` of a measurement."""
    return protocol_id(measurement.protocol, formula=measurement.formula, images=measurement.images)


def _joint(entries: Sequence[Entry], metric: str) -> JointEstimate:
    """A metric of all entries, which all have it: with each image's influence as far as that is known."""
    return JointEstimate.of([entry.measured.get(metric, entry.metrics[metric]) for entry in entries], sign=better(metric))


def _family(metric: str) -> str:
    return metric.partition("-")[0]


def latest_epoch(name: str) -> int:
    """The largest epoch that a candidate is made of; -1 where none is."""
    candidate = _candidate(name)
    return max((int(member) for member in candidate.members if member.isdigit()), default=-1) if candidate else -1


def _candidate(name: str) -> Candidate | None:
    """The candidate of that name; None for what was measured elsewhere and is called as it likes."""
    try:
        return Candidate.parse(name)
    except UsageError:
        return None
