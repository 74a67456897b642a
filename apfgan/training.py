"""The training of both phases: growing, then augmented fine-tuning (APF-GAN, section 3; spec: method, 5 to 8).

Every random draw follows from the seed, the epoch, the batch and its purpose alone. So a training that was stopped, in whatever way and
wherever, goes on from its last saved state to the weights that it would have had anyway, bit for bit on a CPU with the same number of threads.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from apfgan.backend import state_arrays
from apfgan.checkpoints import remove_checkpoint, save_checkpoint
from apfgan.data import TrainingPairs
from apfgan.ema import Averages
from apfgan.errors import UsageError, WeightsError
from apfgan.files import append_line, write_text
from apfgan.players import LOSSES, Plan, Players, plan_epoch
from apfgan.progress import SILENT, Progress
from apfgan.records import describe_epochs
from apfgan.runs import Run
from apfgan.schedule import Phase
from apfgan.training_state import Position, TrainingState, kept_state_path, load_fork, load_state, save_state, state_path

_LOG_HEADER = ",".join(("epoch", "phase", "level", "seconds", "images", *LOSSES))


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """What one finished epoch was like."""

    epoch: int
    phase: Phase
    level: int
    """Size of the images: 0 is the smallest, `model.levels` - 1 is full size."""
    seconds: float
    images: int
    losses: Mapping[str, float]
    """Mean of each loss over the epoch, by the names in `LOSSES`; those that are off are left out."""


def train(
    run: Run,
    pairs: TrainingPairs,
    *,
    device: str = "cpu",
    until: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    state_seconds: float = 600.0,
    progress: Progress = SILENT,
) -> Iterator[EpochRecord]:
    """Train `run` to its last epoch, or to `until`, from where it stopped. Yields a record after each epoch, once all of it is on the disk.

    `stop` is asked after every batch; when it says yes, the state is saved and the training ends. It is also saved every `state_seconds`
    within an epoch: what a kill can cost.

    Raises `WeightsError` when a loss is no longer finite or the state to go on from is damaged, `UsageError` when that state belongs to
    other settings or pairs, and `DataError` for a pair that cannot be read.
    """
    data = pairs.fingerprint
    state = load_state(run, data=data)
    course = _Course(run, pairs, data, device=device)
    if state is None:
        course.save_checkpoints(plan_epoch(0, run.config))
        course.save()
    else:
        course.load(state, origin=state_path(run))
    del state  # it holds a copy of everything
    _restart_log(run.training_log, after=course.position.epoch)
    last = run.config.train.epochs if until is None else min(until, run.config.train.epochs)
    for epoch in range(course.position.epoch + 1, last + 1):
        record = course.learn_epoch(plan_epoch(epoch, run.config), stop, state_seconds, progress)
        if record is None:
            return
        yield record


def fork(run: Run, pairs: TrainingPairs, source: Run, *, epoch: int | None = None, device: str = "cpu") -> int:
    """Let `run`, which is new, begin where `source` stands, or stood at the end of `epoch`; returns that epoch.

    Everything is taken over: networks, averages, optimisers, and the count of epochs. Settings and pairs may differ; the networks' shapes may
    not. Raises `UsageError` when there is nothing to begin from or `run` was trained already, `WeightsError` when the networks do not fit.
    """
    if state_path(run).exists():
        raise UsageError(f"{run.path} was trained already, so it cannot begin with another run's weights. Choose another --run.")
    state, _ = load_fork(source, epoch=epoch)
    # An epoch that was not finished begins anew, from the weights as they are.
    position = Position(epoch=state.position.epoch, step=state.position.step)
    course = _Course(run, pairs, pairs.fingerprint, device=device)
    course.load(replace(state, position=position), origin=state_path(source))
    course.save_checkpoints(plan_epoch(position.epoch, run.config))
    course.save()
    return position.epoch


class _Course:
    """A training under way: what takes part in it, and where it stands."""

    def __init__(self, run: Run, pairs: TrainingPairs, data: str, *, device: str) -> None:
        self.run, self.pairs, self.data = run, pairs, data
        self.players = Players(run.config, device=device)
        self.averages = Averages(self.players.painter, run.config.train.ema)
        self.position = Position()

    def load(self, state: TrainingState, *, origin: Path) -> None:
        """Go on from `state`."""
        parts: dict[str, dict[str, np.ndarray]] = {"averages": {}, "players": {}}
        for name, array in state.arrays.items():
            part, _, key = name.partition(".")
            parts[part][key] = array
        self.players.load(parts["players"], origin=str(origin))
        self.averages.load(parts["averages"], origin=str(origin))
        self.position = state.position

    def save(self, path: Path | None = None) -> None:
        """Save the state, by default where it is looked for."""
        parts = {"averages": self.averages.arrays(), "players": self.players.arrays()}
        arrays = {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
        save_state(path or state_path(self.run), TrainingState(self.position, arrays), config=self.run.config, data=self.data)

    def save_checkpoints(self, plan: Plan) -> None:
        """Save the painter as the checkpoint of an epoch, and its averages beside it once there is something to average."""
        networks = {str(plan.epoch): state_arrays(self.players.painter)}
        if plan.epoch > 0:
            networks |= {f"{plan.epoch}-{name}": arrays for name, arrays in self.averages.weights().items()}
        for name, arrays in networks.items():
            save_checkpoint(self.run, name, arrays, epoch=plan.epoch, step=self.position.step, phase=plan.phase, data=self.data)

    def learn_epoch(self, plan: Plan, stop: Callable[[], bool], state_seconds: float, progress: Progress) -> EpochRecord | None:
        """Train an epoch, or the rest of it, and save what comes of it; None when it was stopped on the way."""
        settings, count, size = self.run.config.train, self.pairs.batch_count(plan.batch), min(plan.batch, len(self.pairs))
        began, saved = time.monotonic() - self.position.seconds, time.monotonic()
        totals = dict(self.position.totals)
        if self.position.batches == 0:
            self.players.begin(plan)
        batches = self.pairs.batches(plan.epoch, batch=plan.batch, seed=settings.seed, skip=self.position.batches)
        title = f"epoch {plan.epoch}/{settings.epochs} {plan.phase}"
        with progress.task(title, total=count * size, done=self.position.batches * size) as task:
            for index, batch in enumerate(batches, start=self.position.batches):
                losses = self.players.learn(batch, plan, index=index)
                if broken := [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]:
                    raise _diverged(self.run, plan.epoch, index, broken)
                step = self.position.step + 1
                self.averages.follow(step)
                totals = {name: totals.get(name, 0.0) + value for name, value in losses.items()}
                self.position = replace(self.position, step=step, batches=index + 1, totals=totals, seconds=time.monotonic() - began)
                task.note("  ".join(f"{name} {value:.3g}" for name, value in losses.items()))
                task.advance(size)
                stopped = stop()
                if stopped or (time.monotonic() - saved > state_seconds and index + 1 < count):
                    self.save()
                    saved = time.monotonic()
                if stopped:
                    return None
        return self._finish(plan, images=count * size, losses={name: totals[name] / count for name in LOSSES if name in totals})

    def _finish(self, plan: Plan, *, images: int, losses: Mapping[str, float]) -> EpochRecord:
        """Write down a finished epoch. The state comes last: whatever a kill interrupts before it is done again, with the same result."""
        record = EpochRecord(
            epoch=plan.epoch,
            phase=plan.phase,
            level=self.run.config.model.levels - 1 if plan.stage is None else plan.stage.top,
            seconds=self.position.seconds,
            images=images,
            losses=losses,
        )
        if plan.kept:
            self.save_checkpoints(plan)
        append_line(self.run.training_log, _log_line(record))
        self.position = Position(epoch=plan.epoch, step=self.position.step)
        if plan.epoch == self.run.config.train.progressive_epochs < self.run.config.train.epochs:
            # Where one would fork to try another second phase.
            self.save(kept_state_path(self.run, plan.epoch))
        self.save()
        _remove_outdated(self.run, plan)
        return record


def _remove_outdated(run: Run, plan: Plan) -> None:
    """Delete the checkpoints of the second phase that `train.keep` gives up, with their averages."""
    settings = run.config.train
    if settings.keep == 0:
        return
    epochs: dict[int, list[str]] = {}
    for name in run.checkpoint_names():
        number = name.partition("-")[0]
        if number.isdigit() and settings.progressive_epochs < int(number) <= plan.epoch:
            epochs.setdefault(int(number), []).append(name)
    for epoch in sorted(epochs)[: -settings.keep]:
        for name in epochs[epoch]:
            remove_checkpoint(run, name)


def _diverged(run: Run, epoch: int, index: int, broken: list[str]) -> WeightsError:
    last = next((name for name in reversed(run.checkpoint_names()) if name.isdigit() and int(name) < epoch), "0")
    return WeightsError(
        f"training diverged in epoch {epoch}, batch {index + 1}: {', '.join(broken)}. The last good checkpoint is epoch {last} "
        f"(saved in {run.checkpoints}: {describe_epochs(run.checkpoint_names())}). The same settings would end here again: begin another --run with "
        "lower train.generator_rate and train.discriminator_rate."
    )


def _restart_log(path: Path, *, after: int) -> None:
    """Leave the header and the rows of the epochs up to `after`: those that are trained again get their row again."""
    found = path.read_text() if path.exists() else ""
    rows = found.split("\n")[1:-1]  # behind the last newline is at most a torn row
    done = [row for row in rows if (number := row.partition(",")[0]).isdigit() and int(number) <= after]
    wanted = "\n".join((_LOG_HEADER, *done, ""))
    if found != wanted:
        write_text(path, wanted)


def _log_line(record: EpochRecord) -> str:
    losses = (f"{record.losses[name]:.6g}" if name in record.losses else "" for name in LOSSES)
    return ",".join((str(record.epoch), record.phase, str(record.level), f"{record.seconds:.3f}", str(record.images), *losses))
