"""What a training writes down for people to follow it: `training.csv`, and the same as TensorBoard's curves.

The CSV is the log, one row an epoch, each flushed to the disk. TensorBoard's file is derived from it and written anew at every start: however
a training was stopped and continued, no point stands in it twice and none is left of an epoch that was trained again.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from apfgan.data import spread
from apfgan.files import append_line, write_text
from apfgan.players import LOSSES
from apfgan.progress import SILENT, Progress
from apfgan.ranking import Entry, Place, rank
from apfgan.records import Estimate
from apfgan.runs import Run
from apfgan.schedule import Phase

if TYPE_CHECKING:
    from apfgan.event_file import EventFile

PICTURES = 10
"""Previews of earlier epochs that a restart copies for TensorBoard, which shows no more of one kind unless told to."""

_SECTIONS = {
    **dict.fromkeys(("generator_rate", "discriminator_rate"), "rates"),
    **dict.fromkeys(LOSSES, "losses"),
    **dict.fromkeys(("contrast", "variety", "plain"), "images"),
    **dict.fromkeys(("probe", "probe_error"), "probe"),
}
"""The columns that have a curve, and TensorBoard's section for it."""

_COLUMNS = ("epoch", "phase", "level", "seconds", "images", *_SECTIONS)


@dataclass(frozen=True, slots=True)
class Vitals:
    """How alive some images are, beside photos."""

    contrast: float
    """How much an image varies over its pixels, as a share of what photos do: 0 for flat images."""
    variety: float
    """How much a pixel varies over the images, as a share of what it does over photos: 0 for copies of one image."""
    plain: float
    """Share of neighbouring pixels of exactly the same colour: 1 for images in a few pure colours, pinned to the ends of the range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """What one finished epoch was like."""

    epoch: int
    phase: Phase
    level: int
    """Size of the images: 0 is the smallest, `model.levels` - 1 is full size."""
    seconds: float
    images: int
    generator_rate: float
    """Adam's learning rate for generator and encoder; with a decay, that of the last step."""
    discriminator_rate: float
    losses: Mapping[str, float] = field(default_factory=dict)
    """Mean of each loss over the epoch, by the names in `LOSSES`; those that are off are left out."""
    vitals: Vitals | None = None
    """Of the preview's images; None where none were drawn."""
    probe: Estimate | None = None
    """Score of a few images, to compare epochs of this run while it is trained; None where none were scored."""


class TrainingLog:
    """The log of a training under way. Only the process that trains writes it."""

    def __init__(self, run: Run, *, after: int, progress: Progress = SILENT) -> None:
        """Go on behind epoch `after`. Rows of later epochs go, since those are trained again; so does a torn last row."""
        self._run = run
        self.records = [record for record in read_log(run.training_log) if record.epoch <= after]
        """The finished epochs, in order."""
        wanted = "".join(f"{line}\n" for line in (",".join(_COLUMNS), *map(_row, self.records)))
        if not run.training_log.exists() or run.training_log.read_bytes() != wanted.encode():
            write_text(run.training_log, wanted)
        self._events = self._restart_events() if find_spec("tensorboard") else None
        if self._events is None:
            progress.say(f"tensorboard is not installed: the curves are in {run.training_log} alone")

    def append(self, record: EpochRecord) -> None:
        """Add a finished epoch, with its preview if there is one."""
        append_line(self._run.training_log, _row(record))
        self.records.append(record)
        if self._events is not None:
            self._events.add(record.epoch, _scalars(record), pictures=self._pictures(record.epoch), moment=time.time())

    def _restart_events(self) -> "EventFile":
        """TensorBoard's file, made anew from the log."""
        from apfgan.event_file import EventFile

        events = EventFile(self._run.tensorboard)
        with_picture = [record.epoch for record in self.records if self._run.preview_path(record.epoch).exists()]
        shown = set(spread(with_picture, PICTURES))
        moment = time.time() - sum(record.seconds for record in self.records)
        for record in self.records:
            moment += record.seconds
            pictures = self._pictures(record.epoch) if record.epoch in shown else {}
            events.add(record.epoch, _scalars(record), pictures=pictures, moment=moment)
        return events

    def _pictures(self, epoch: int) -> dict[str, bytes]:
        path = self._run.preview_path(epoch)
        return {"preview": path.read_bytes()} if path.exists() else {}


def read_log(path: Path) -> list[EpochRecord]:
    """The epochs in a training log; empty where there is none. What is no whole row is left out."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    header, *rows = text.split("\n")[:-1] or [""]  # behind the last newline is at most a torn row
    read = (_record(dict(zip(header.split(","), row.split(","), strict=False))) for row in rows)
    return [record for record in read if record is not None]


def rank_by_probe(records: Sequence[EpochRecord]) -> list[Place]:
    """The probed epochs in order, best first, by the one rule that ranks everything; empty where none was probed.

    Takes only numbers of one probe: of one run. They say nothing beside the scores of `apfgan score`, which stand on more images.
    """
    return rank([Entry(str(record.epoch), {"composite": record.probe}) for record in records if record.probe is not None])


def _row(record: EpochRecord) -> str:
    numbers = ("" if value is None else f"{value:.6g}" for value in _numbers(record).values())
    return ",".join((str(record.epoch), record.phase, str(record.level), f"{record.seconds:.3f}", str(record.images), *numbers))


def _numbers(record: EpochRecord) -> dict[str, float | None]:
    """By the columns that have a curve, in their order; None where there is none."""
    vitals, probe = record.vitals, record.probe
    values = {
        "generator_rate": record.generator_rate,
        "discriminator_rate": record.discriminator_rate,
        **record.losses,
        **({"contrast": vitals.contrast, "variety": vitals.variety, "plain": vitals.plain} if vitals else {}),
        **({"probe": probe.value, "probe_error": probe.error} if probe else {}),
    }
    return {name: values.get(name) for name in _SECTIONS}


def _scalars(record: EpochRecord) -> dict[str, float]:
    """By TensorBoard's name of the curve."""
    return {f"{_SECTIONS[name]}/{name}": value for name, value in _numbers(record).items() if value is not None}


def _record(row: Mapping[str, str]) -> EpochRecord | None:
    def number(name: str) -> float | None:
        if not row[name]:
            return None
        value = float(row[name])
        if not math.isfinite(value):
            raise ValueError(name)
        return value

    try:
        contrast, variety, plain, probe = map(number, ("contrast", "variety", "plain", "probe"))
        return EpochRecord(
            epoch=int(row["epoch"]),
            phase="augmented" if row["phase"] == "augmented" else "progressive",
            level=int(row["level"]),
            seconds=float(row["seconds"]),
            images=int(row["images"]),
            generator_rate=float(row["generator_rate"]),
            discriminator_rate=float(row["discriminator_rate"]),
            losses={name: value for name in LOSSES if (value := number(name)) is not None},
            vitals=None if contrast is None or variety is None or plain is None else Vitals(contrast, variety, plain),
            probe=None if probe is None else Estimate(probe, number("probe_error")),
        )
    except (KeyError, ValueError):
        return None
