"""A look ahead, before a training of days begins: does it fit, how long will it take, how much will lie on the disk.

The most expensive training step is tried first, on painted noise, with networks that are thrown away: what would run out of memory in the
fiftieth hour does so in the first minute. Neither the run nor any random draw of the training is touched.
"""

import math
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import numpy as np

from apfgan.backend import memory_peak, memory_size, named_memory_errors, release_memory
from apfgan.config import Config
from apfgan.cost import Costs
from apfgan.data import Batch
from apfgan.errors import EnvironmentProblem
from apfgan.players import Players
from apfgan.progress import SILENT, Progress, describe_seconds
from apfgan.randomness import random_source
from apfgan.schedule import Plan, plan_epoch

_GIB = 2**30
_REPEATS = 3  # timed steps of a stretch, behind the one that warms up


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Consecutive epochs whose training steps cost the same."""

    first: int
    last: int
    width: int
    height: int
    fading: bool
    """The next size is being mixed in."""
    batch: int
    rows: int
    """Images of a batch that one process learns from."""
    steps: int
    """In all of its epochs."""
    multiply_accumulates: int
    """Of one step, in one process."""
    memory: int
    """Bytes that a step takes by count: weights, averages, gradients, moments and what waits for the backward pass."""
    seconds: float | None = None
    """Of one step; None: unknown."""
    measured: bool = False
    """Whether `seconds` was measured; otherwise it follows from the count, at the speed of the measured stretch of the most similar cost."""

    @property
    def total(self) -> float | None:
        """Seconds of all its steps."""
        return None if self.seconds is None else self.seconds * self.steps


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """What a training will take, from where it stands."""

    stretches: tuple[Stretch, ...]
    memory: int
    """Bytes of the largest step: the peak that was measured, otherwise counted."""
    memory_measured: bool
    memory_size: int
    """Bytes that the device has."""
    checkpoints: int
    """The most that lie on the disk at once, averages included."""
    checkpoint_bytes: int
    state_bytes: int
    disk: int
    """Bytes still to be written, at once."""
    disk_free: int

    @property
    def multiply_accumulates(self) -> int:
        """Of all steps, in one process."""
        return sum(stretch.multiply_accumulates * stretch.steps for stretch in self.stretches)

    @property
    def seconds(self) -> float | None:
        """Of all steps: reading pairs goes on beside them, saving comes on top. None: unknown."""
        totals = [stretch.total for stretch in self.stretches]
        return None if None in totals else math.fsum(total for total in totals if total is not None)


def plan_training(
    config: Config,
    *,
    pairs: int,
    device: str,
    checkpoints: Path,
    finished: int = 0,
    until: int | None = None,
    processes: int = 1,
    probe_seconds: float = 60.0,
    progress: Progress = SILENT,
) -> TrainingPlan:
    """Plan the epochs after `finished`, to the last one or `until`, for a training set of so many `pairs`.

    `checkpoints` is the run's folder of checkpoints, which need not exist yet. Training steps are tried for about `probe_seconds`, at least
    two of the most expensive kind; 0: nothing is tried, memory is counted, and times stay unknown. Of several `processes`, this one tries its
    share of a batch alone: what they wait for one another comes on top.

    Raises `EnvironmentProblem` when the memory of `device` or the disk is too small, with the settings that help.
    """
    costs = Costs(config)
    stretches = tuple(_stretches(costs, pairs=pairs, processes=processes, finished=finished, until=until))
    plan = TrainingPlan(
        stretches=stretches,
        memory=max((stretch.memory for stretch in stretches), default=0),
        memory_measured=False,
        memory_size=memory_size(device),
        checkpoints=costs.checkpoints_at_once,
        checkpoint_bytes=costs.checkpoint_bytes,
        state_bytes=costs.state_bytes,
        disk=max(0, costs.disk_bytes - _written(checkpoints)),
        disk_free=shutil.disk_usage(_existing(checkpoints)).free,
    )
    if plan.disk > plan.disk_free:
        raise _disk_too_small(plan, config, checkpoints)
    if not stretches or probe_seconds <= 0:
        return plan
    return _probed(plan, costs, device, probe_seconds, progress)


def describe_plan(plan: TrainingPlan, *, now: datetime) -> str:
    """The plan as a table of at most 80 columns, with when it ends if it begins `now`."""
    if not plan.stretches:
        return "nothing left to train"
    rows = [("epochs", "image", "batch", "steps", "s/step", "total")]
    for stretch in plan.stretches:
        mark = "" if stretch.measured else "~"
        image = f"{stretch.width}x{stretch.height}" + (" fading in" if stretch.fading else "")
        epochs = f"{stretch.first}-{stretch.last}" if stretch.last > stretch.first else str(stretch.first)
        seconds = "?" if stretch.seconds is None else f"{mark}{stretch.seconds:.3g}"
        total = "?" if stretch.total is None else f"{mark}{describe_seconds(stretch.total)}"
        rows.append((epochs, image, str(stretch.batch), f"{stretch.steps:,}", seconds, total))
    lines = aligned(rows, left=2)
    how = "measured at the largest step" if plan.memory_measured else "by count, the kernels' own not among it"
    lines += [
        "",
        f"memory  {describe_bytes(plan.memory)} of {describe_bytes(plan.memory_size)} ({how})",
        f"disk    {describe_bytes(plan.disk)} of {describe_bytes(plan.disk_free)} free: {_checkpoints(plan)},",
        f"        training state {describe_bytes(plan.state_bytes)}",
    ]
    if plan.seconds is None:
        lines.append("time    unknown: no step was tried")
    else:
        end = now + timedelta(seconds=plan.seconds)
        lines.append(f"time    about {describe_seconds(plan.seconds)}, to {end:%Y-%m-%d %H:%M} (saving not counted)")
    if any(stretch.seconds is not None and not stretch.measured for stretch in plan.stretches):
        lines.append("~ was not tried, but follows from the multiply-accumulates")
    return "\n".join(lines)


def describe_bytes(size: int) -> str:
    """An amount as people say it: `7.9 MiB`, `165.6 GiB`."""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB / 10 else f"{size / 2**20:.1f} MiB"


def aligned(rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Lines whose columns stand below one another: the first so many begin at the left, the others end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([*map(str.ljust, row[:left], widths), *map(str.rjust, row[left:], widths[left:])]) for row in rows]


def painted_batch(config: Config, images: int) -> Batch:
    """A batch that looks like a training batch to the networks: photos of noise, label maps of squares."""
    source, data = random_source("preflight"), config.data
    squares = source.integers(0, len(data.classes), (images, -(-data.height // 32), -(-data.width // 32)), dtype=np.uint16)
    label_maps = squares.repeat(32, axis=1).repeat(32, axis=2)[:, : data.height, : data.width]
    photos = source.uniform(-1, 1, (images, 3, data.height, data.width)).astype(np.float32)
    return Batch(photos, label_maps, tuple(f"painted {index}" for index in range(images)))


def _stretches(costs: Costs, *, pairs: int, processes: int, finished: int, until: int | None) -> Iterator[Stretch]:
    """Those of the epochs to come, in order."""
    config = costs.config
    last = config.train.epochs if until is None else min(until, config.train.epochs)
    plans = [plan_epoch(epoch, config) for epoch in range(finished + 1, last + 1)]
    for _, grouped in groupby(plans, key=_kind):
        members = list(grouped)
        plan = members[0]
        height, width = costs.image_size(plan)
        batch = min(plan.batch, pairs)
        rows = batch // processes
        step = costs.step(plan)
        yield Stretch(
            first=plan.epoch,
            last=members[-1].epoch,
            width=width,
            height=height,
            fading=plan.stage is not None and plan.stage.fade > 0,
            batch=batch,
            rows=rows,
            steps=len(members) * (pairs // batch),
            multiply_accumulates=rows * step.total,
            memory=costs.memory(step.held * (rows // plan.accumulate)),
        )


def _kind(plan: Plan) -> tuple[object, ...]:
    """What the cost of an epoch's steps depends on."""
    stage = None if plan.stage is None else (plan.stage.level, plan.stage.top)
    return plan.phase, stage


def _probed(plan: TrainingPlan, costs: Costs, device: str, seconds: float, progress: Progress) -> TrainingPlan:
    """The plan with what trying its steps showed."""
    config = costs.config
    deadline = time.monotonic() + seconds
    order = sorted(
        range(len(plan.stretches)), key=lambda index: plan.stretches[index].multiply_accumulates * plan.stretches[index].steps, reverse=True
    )
    largest = max(order, key=lambda index: plan.stretches[index].memory)
    measured: dict[int, float] = {}
    memory = 0
    with progress.task("try the training steps", total=len(order), unit="kinds of step") as task:
        players = None
        try:
            with named_memory_errors():
                _check_memory(plan.stretches[largest], device)
                players = Players(config, device=device)
                for index in (largest, *(index for index in order if index != largest)):
                    if measured and time.monotonic() >= deadline:
                        break
                    measured[index] = _time_step(players, plan.stretches[index], deadline)
                    memory = memory or memory_peak(device) + costs.averages_memory
                    task.advance()
        except MemoryError as error:
            raise _memory_too_small(plan.stretches[largest], config, device) from error
        finally:
            del players
            release_memory(device)
    return replace(plan, stretches=_with_seconds(plan.stretches, measured), memory=memory, memory_measured=True)


def _time_step(players: Players, stretch: Stretch, deadline: float) -> float:
    """Seconds of one step: the median of a few, at least one, behind a first one in which an engine may compile for minutes."""
    config = players.config
    plan = plan_epoch(stretch.last, config)  # in its first, the discriminators may do something once
    batch = painted_batch(config, stretch.rows)
    players.begin(plan)
    times = [_seconds(players, batch, plan, index=0)]
    while len(times) == 1 or (len(times) <= _REPEATS and time.monotonic() + times[-1] < deadline):
        times.append(_seconds(players, batch, plan, index=len(times)))
    return statistics.median(times[1:])


def _seconds(players: Players, batch: Batch, plan: Plan, *, index: int) -> float:
    began = time.monotonic()
    players.learn(batch, plan, index=index)
    return time.monotonic() - began


def _with_seconds(stretches: Sequence[Stretch], measured: dict[int, float]) -> tuple[Stretch, ...]:
    """The stretches with the seconds of a step: those that were not tried at the speed of the one whose step costs most nearly as much."""
    found = []
    for index, stretch in enumerate(stretches):
        distances = {other: abs(math.log(stretch.multiply_accumulates / stretches[other].multiply_accumulates)) for other in measured}
        model = index if index in measured else min(measured, key=distances.__getitem__)
        seconds = measured[model] * stretch.multiply_accumulates / stretches[model].multiply_accumulates
        found.append(replace(stretch, seconds=seconds, measured=index in measured))
    return tuple(found)


def _check_memory(stretch: Stretch, device: str) -> None:
    """Raise `MemoryError` where a step cannot fit: the system kills a process that takes more than there is, without a word."""
    if stretch.memory > memory_size(device):
        raise MemoryError


def _memory_too_small(stretch: Stretch, config: Config, device: str) -> EnvironmentProblem:
    augmented = stretch.first > config.train.progressive_epochs
    batch, accumulate = ("batch", "accumulate") if augmented else ("progressive_batch", "progressive_accumulate")
    parts: int = getattr(config.train, accumulate)
    total: int = getattr(config.train, batch)
    finer = [f"train.{accumulate}={number}" for number in range(parts + 1, total + 1) if total % number == 0][:1]
    half = ["train.precision=bfloat16"] if config.train.precision == "float32" else []
    smaller = [f"train.{batch}={total // 2}"] if total > 1 else []
    helps = ", ".join(f"--set {setting}" for setting in (*finer, *half, *smaller)) or "a smaller model.width or a smaller image"
    cut = f" in {parts} parts" if parts > 1 else ""
    return EnvironmentProblem(
        f"the largest training step does not fit into the memory of {device}, which has {describe_bytes(memory_size(device))}: "
        f"epoch {stretch.first}, {stretch.width}x{stretch.height}, batch {stretch.batch}{cut}; by count it takes "
        f"{describe_bytes(stretch.memory)}, without what the kernels need. What helps, for a new run: {helps}"
    )


def _disk_too_small(plan: TrainingPlan, config: Config, checkpoints: Path) -> EnvironmentProblem:
    settings = config.train
    fewer = {
        "train.keep=20": replace(settings, keep=20),
        f"train.save_every={10 * settings.save_every}": replace(settings, save_every=10 * settings.save_every),
        "train.ema=[]": replace(settings, ema=()),
    }
    costs = Costs(config)
    savings = {name: costs.disk_bytes - Costs(replace(config, train=changed)).disk_bytes for name, changed in fewer.items()}
    helps = [f"--set {name} saves {describe_bytes(saved)}" for name, saved in savings.items() if saved > 0]
    return EnvironmentProblem(
        f"{checkpoints} needs {describe_bytes(plan.disk)} more ({_checkpoints(plan)} and the training state), and "
        f"{describe_bytes(plan.disk_free)} are free. Free some, or put the run on another disk"
        + (f", or keep less: {', '.join(helps)}" if helps else "")
    )


def _checkpoints(plan: TrainingPlan) -> str:
    return f"{plan.checkpoints} checkpoints of {describe_bytes(plan.checkpoint_bytes)}"


def _written(checkpoints: Path) -> int:
    """Bytes of the checkpoints and states of epochs that lie there already."""
    return sum(path.stat().st_size for pattern in ("epoch_*", "training_state*", "[0-9]*-ema*") for path in checkpoints.glob(pattern))


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
