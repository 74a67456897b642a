"""What the run has cost so far: time, memory and evaluations of each stage, as far as its commands wrote it down (`apfgan.spending`).

Older runs, whose commands did not, still have the seconds of each epoch in the training log and those of each measurement in the ledger.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from apfgan.progress import describe_seconds
from apfgan.records import Measurement
from apfgan.runs import Run
from apfgan.spending import Spending, read_spending

LEDGER = "measuring"
"""The stage that stands for all commands that measured before commands wrote their cost down."""

_ORDER = ("train", "import", "score", LEDGER, "merge", "merge-search", "seed-search", "output-search", "pick", "submit")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What all commands of one verb have cost together."""

    name: str
    commands: int | None
    """None where only the time is known."""
    unfinished: int
    """Commands among them that were stopped or failed."""
    seconds: float
    measured: int | None
    """Evaluations that were made; None where that is not known."""
    found: int | None
    """Evaluations that the ledger held already."""
    drawn: int | None
    """Images that were drawn and judged for them."""
    peak_memory: int | None
    """Bytes that the largest process had at most."""
    peak_device_memory: int | None
    """Bytes of a GPU's memory, where one was used."""

    @property
    def time(self) -> str:
        """The time in words."""
        return describe_seconds(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """All that is known of it."""

    stages: tuple[Stage, ...]
    """In the order of the work; not empty."""
    told: tuple[str, ...]
    """What follows from it, in sentences."""

    @property
    def total(self) -> Stage:
        """All stages together: sums, and the largest memory."""
        return _joined("all", self.stages)


def read_costs(run: Run, measurements: Sequence[Measurement]) -> Costs | None:
    """What the run has cost, with the lines of its ledger; None where nothing is known."""
    by_verb: dict[str, list[Spending]] = defaultdict(list)
    for line in read_spending(run):
        by_verb[line.command].append(line)
    stages = [_stage(name, lines) for name, lines in by_verb.items()]
    epochs = _read_epochs(run)
    if epochs and "train" not in by_verb:
        stages.append(_timed("train", sum(epochs)))
    if measurements and not any(stage.measured for stage in stages):
        stages.append(_timed(LEDGER, math.fsum(each.seconds for each in measurements), measured=len(measurements)))
    if not stages:
        return None
    stages.sort(key=lambda stage: (_ORDER.index(stage.name) if stage.name in _ORDER else len(_ORDER), stage.name))
    return Costs(stages=tuple(stages), told=tuple(_told(stages, epochs, measurements)))


def _stage(name: str, lines: Sequence[Spending]) -> Stage:
    return Stage(
        name=name,
        commands=len(lines),
        unfinished=sum(line.ended != "finished" for line in lines),
        seconds=math.fsum(line.seconds for line in lines),
        measured=sum(line.measured for line in lines),
        found=sum(line.found for line in lines),
        drawn=sum(line.drawn for line in lines),
        peak_memory=max(line.peak_memory for line in lines),
        peak_device_memory=max((line.peak_device_memory for line in lines if line.peak_device_memory is not None), default=None),
    )


def _timed(name: str, seconds: float, *, measured: int | None = None) -> Stage:
    """A stage of which little but the time is known."""
    return Stage(
        name=name,
        commands=None,
        unfinished=0,
        seconds=seconds,
        measured=measured,
        found=None,
        drawn=None,
        peak_memory=None,
        peak_device_memory=None,
    )


def _joined(name: str, stages: Sequence[Stage]) -> Stage:
    def added(values: Sequence[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return Stage(
        name=name,
        commands=added([stage.commands for stage in stages]),
        unfinished=sum(stage.unfinished for stage in stages),
        seconds=math.fsum(stage.seconds for stage in stages),
        measured=added([stage.measured for stage in stages]),
        found=added([stage.found for stage in stages]),
        drawn=added([stage.drawn for stage in stages]),
        peak_memory=max((stage.peak_memory for stage in stages if stage.peak_memory is not None), default=None),
        peak_device_memory=max((stage.peak_device_memory for stage in stages if stage.peak_device_memory is not None), default=None),
    )


def _told(stages: Sequence[Stage], epochs: Sequence[float], measurements: Sequence[Measurement]) -> list[str]:
    told = []
    if epochs:
        pace = median(epochs)
        told.append(f"By the training log, {len(epochs)} epochs took {describe_seconds(sum(epochs))}: {_seconds(pace)} each, as a median.")
    paces = [each.seconds / each.images for each in measurements if each.seconds > 0 and each.images > 0]
    if paces:
        devices = ", ".join(sorted({each.device for each in measurements}))
        told.append(f"To draw and judge one image took {_seconds(median(paces))} ({devices}; the median of {len(paces)} measurements in the ledger).")
    asked = sum((stage.measured or 0) + (stage.found or 0) for stage in stages if stage.found is not None)
    found = sum(stage.found or 0 for stage in stages)
    if found:
        told.append(
            f"Of {asked} evaluations that commands asked for, the ledger held {found} already ({100 * found / asked:.0f} %): those cost nothing."
        )
    if any(stage.commands is None for stage in stages):
        told.append("A dash: the command ran before commands wrote that down. Its time is that of the training log or the ledger.")
    return told


def _read_epochs(run: Run) -> list[float]:
    """Seconds of each epoch by the training log; rows that are not whole are left out."""
    try:
        text = run.training_log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for row in csv.DictReader(text.splitlines()):
        try:
            found.append(float(row["seconds"]))
        except (KeyError, TypeError, ValueError):
            continue
    return [seconds for seconds in found if math.isfinite(seconds) and seconds >= 0]


def _seconds(value: float) -> str:
    """A short time with two digits: `0.031 s`, `41 s`; a long one in words."""
    return describe_seconds(value) if value >= 60 else f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
