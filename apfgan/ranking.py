"""Order measured candidates. `apfgan rank`, the searches and the report all use this one rule."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from apfgan.files import hash_value
from apfgan.measured import Measured
from apfgan.noise import QUANTILE, difference, told_apart
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
    if not is_metric(by):
        measured = dict.fromkeys(name for entry in entries for name in entry.metrics)
        raise UsageError(f"cannot rank by {by!r}; measured: {', '.join(measured)}")
    if missing := [entry.name for entry in entries if by not in entry.metrics]:
        raise UsageError(f"{by} was not measured for {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}")
    sign = better(by)

    def order(entry: Entry) -> tuple[float, float, int]:
        accuracy = entry.metrics.get("mask_accuracy")
        return (-sign * entry.metrics[by].value, -(accuracy.value if accuracy else 0.0), -_latest_epoch(entry.name))

    ordered = sorted(entries, key=order)
    return [Place(place, entry, entry.metrics[by], not told_apart(gap(entry, ordered[0], by=by))) for place, entry in enumerate(ordered, start=1)]


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

    With `influences`, ties are told by paired differences.
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


def _family(metric: str) -> str:
    return metric.partition("-")[0]


def _latest_epoch(name: str) -> int:
    """The largest epoch that a candidate is made of; -1 where none is."""
    try:
        members = Candidate.parse(name).members
    except UsageError:
        return -1
    return max((int(member) for member in members if member.isdigit()), default=-1)
