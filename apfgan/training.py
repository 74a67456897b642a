"""The training of both phases: growing, then augmented fine-tuning (APF-GAN, section 3; spec: method, 5 to 8).

Every random draw follows from the seed, the epoch, the batch and its purpose alone. So a training that was stopped, in whatever way and
wherever, goes on from its last saved state to the weights that it would have had anyway, bit for bit on a CPU with the same number of threads.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from apfgan.backend import ALONE, World, anywhere, state_arrays, wait
from apfgan.checkpoints import remove_checkpoint, save_checkpoint
from apfgan.data import TrainingPairs
from apfgan.ema import Averages
from apfgan.engines import chosen_engine
from apfgan.errors import UsageError
from apfgan.health import PATIENCE, broken_arrays, broken_losses, death, divergence, find_collapse
from apfgan.networks import Painter
from apfgan.players import LOSSES, Players
from apfgan.previews import Panel, draw_panel, measure_vitals, save_preview
from apfgan.progress import SILENT, Progress
from apfgan.records import Estimate
from apfgan.runs import Run
from apfgan.schedule import Plan, plan_epoch
from apfgan.training_log import EpochRecord, TrainingLog, rank_by_probe
from apfgan.training_state import Position, TrainingState, kept_state_path, load_fork, load_state, save_state, state_path


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Company:
    """Who goes along with a training and leaves its weights as they are."""

    progress: Progress = SILENT
    stop: Callable[[], bool] = never
    """Asked after every batch: when it says yes, the state is saved and the training ends."""
    state_seconds: float = 600.0
    """Within an epoch, the state is saved so often: what a kill can cost."""
    panel: Panel | None = None
    """What to draw after each epoch; None: no previews, and no eye on a collapse of the images."""
    probe: Callable[[Painter], Estimate] | None = None
    """Scores the painter before a full-size checkpoint is saved, larger is better: for the best so far."""
    patience: int = PATIENCE
    """Epochs without life in the images that end the training; 0: it never ends for that."""


def train(
    run: Run, pairs: TrainingPairs, *, device: str = "cpu", until: int | None = None, company: Company | None = None, world: World = ALONE
) -> Iterator[EpochRecord]:
    """Train `run` to its last epoch, or to `until`, from where it stopped. Yields a record after each epoch, once all of it is on the disk.

    In a `world` of several processes all must call it alike; only the first writes, and the others read what it wrote: the run directory has
    to be the same for all. Only the first needs `company` beyond `stop`, and only its records are whole.

    Raises `WeightsError` when losses or weights are no longer finite, the images have collapsed, or the state to go on from is damaged,
    `UsageError` when that state belongs to other settings or pairs, and `DataError` for a pair that cannot be read.
    """
    data = pairs.fingerprint
    state = load_state(run, data=data)
    wait(world)  # else the first might write before all have looked
    course = _Course(run, pairs, data, company or Company(), device=device, world=world)
    if state is not None:
        course.load(state, origin=state_path(run))
    elif world.leads:
        course.save_checkpoints(plan_epoch(0, run.config))
        course.save()
    del state  # it holds a copy of everything
    log = TrainingLog(run, after=course.position.epoch, progress=course.company.progress) if world.leads else None
    course.check_life(log)
    last = run.config.train.epochs if until is None else min(until, run.config.train.epochs)
    for epoch in range(course.position.epoch + 1, last + 1):
        plan = plan_epoch(epoch, run.config)
        record = course.learn_epoch(plan)
        if record is None:
            return
        if log is not None:
            record = course.finish(plan, record, log)
        wait(world)
        yield record
        course.check_life(log)


def fork(run: Run, pairs: TrainingPairs, source: Run, *, epoch: int | None = None, device: str = "cpu", progress: Progress = SILENT) -> int:
    """Let `run`, which is new, begin where `source` stands, or stood at the end of `epoch`; returns that epoch.

    Everything is taken over: networks, averages, optimisers, and the count of epochs. Settings and pairs may differ; the networks' shapes may
    not. Raises `UsageError` when there is nothing to begin from or `run` was trained already, `WeightsError` when the networks do not fit.
    """
    if state_path(run).exists():
        raise UsageError(f"{run.path} was trained already, so it cannot begin with another run's weights. Choose another --run.")
    state = load_fork(source, epoch=epoch)
    # An epoch that was not finished begins anew, from the weights as they are.
    position = Position(epoch=state.position.epoch, step=state.position.step)
    course = _Course(run, pairs, pairs.fingerprint, Company(progress=progress), device=device, world=ALONE)
    course.load(replace(state, position=position), origin=state_path(source))
    course.save_checkpoints(plan_epoch(position.epoch, run.config))
    course.save()
    return position.epoch


class _Course:
    """A training under way: what takes part in it, and where it stands."""

    def __init__(self, run: Run, pairs: TrainingPairs, data: str, company: Company, *, device: str, world: World) -> None:
        self.run, self.pairs, self.data, self.company, self.device, self.world = run, pairs, data, company, device, world
        self.players = Players(run.config, device=device, world=world)
        self.averages = Averages(self.players.painter, run.config.train.ema if world.leads else ())
        self.position = Position()

    def load(self, state: TrainingState, *, origin: Path) -> None:
        """Go on from `state`, and say so where another engine left it."""
        parts: dict[str, dict[str, np.ndarray]] = {"averages": {}, "players": {}}
        for name, array in state.arrays.items():
            part, _, key = name.partition(".")
            parts[part][key] = array
        self.players.load(parts["players"], origin=str(origin))
        self.averages.load(parts["averages"], origin=str(origin))
        self.position = state.position
        if state.engine not in ("", chosen_engine()):
            self.company.progress.say(_change_of_engine(state))

    def state(self) -> TrainingState:
        """Where it stands; raises `WeightsError` when a number in it is not finite, so that no such state is ever saved."""
        parts = {"averages": self.averages.arrays(), "players": self.players.arrays()}
        arrays = {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
        if broken := broken_arrays(arrays):
            raise divergence(self.run, broken, epoch=self.position.epoch + (self.position.batches > 0))
        return TrainingState(self.position, arrays, chosen_engine())

    def save(self) -> None:
        """Save the state where it is looked for."""
        save_state(state_path(self.run), self.state(), config=self.run.config, data=self.data)

    def save_checkpoints(self, plan: Plan) -> None:
        """Save the painter as the checkpoint of an epoch, and its averages beside it once there is something to average."""
        networks = {str(plan.epoch): state_arrays(self.players.painter)}
        if plan.epoch > 0:
            networks |= {f"{plan.epoch}-{name}": arrays for name, arrays in self.averages.weights().items()}
        step, engine = self.position.step, chosen_engine()
        for name, arrays in networks.items():
            save_checkpoint(self.run, name, arrays, epoch=plan.epoch, step=step, phase=plan.phase, data=self.data, engine=engine)

    def learn_epoch(self, plan: Plan) -> EpochRecord | None:
        """Train an epoch, or the rest of it; None when it was stopped on the way."""
        settings, count, size = self.run.config.train, self.pairs.batch_count(plan.batch), min(plan.batch, len(self.pairs))
        began, saved = time.monotonic() - self.position.seconds, time.monotonic()
        totals = dict(self.position.totals)
        if self.position.batches == 0:
            self.players.begin(plan)
        batches = self.pairs.batches(plan.epoch, batch=plan.batch, seed=settings.seed, skip=self.position.batches, rows=self.world.rows(size))
        title = f"epoch {plan.epoch}/{settings.epochs} {plan.phase}"
        with self.company.progress.task(title, total=count * size, done=self.position.batches * size) as task:
            for index, batch in enumerate(batches, start=self.position.batches):
                losses = self.players.learn(batch, plan, index=index)
                if broken := broken_losses(losses):
                    raise divergence(self.run, broken, epoch=plan.epoch, batch=index + 1)
                step = self.position.step + 1
                self.averages.follow(step)
                totals = {name: totals.get(name, 0.0) + value for name, value in losses.items()}
                self.position = replace(self.position, step=step, batches=index + 1, totals=totals, seconds=time.monotonic() - began)
                task.note("  ".join(f"{name} {value:.3g}" for name, value in losses.items()))
                task.advance(size)
                stopped = anywhere(self.company.stop(), self.world, device=self.device)
                due = time.monotonic() - saved > self.company.state_seconds and index + 1 < count
                if self.world.leads and (stopped or due):
                    self.save()
                    saved = time.monotonic()
                if stopped:
                    return None
        seconds, self.position = self.position.seconds, Position(epoch=plan.epoch, step=self.position.step)
        return EpochRecord(
            epoch=plan.epoch,
            phase=plan.phase,
            level=self.run.config.model.levels - 1 if plan.stage is None else plan.stage.top,
            seconds=seconds,
            images=count * size,
            generator_rate=settings.generator_rate * plan.rate,
            discriminator_rate=settings.discriminator_rate * plan.rate,
            losses={name: totals[name] / count for name in LOSSES if name in totals},
        )

    def finish(self, plan: Plan, record: EpochRecord, log: TrainingLog) -> EpochRecord:
        """Look at what came of an epoch and write it down.

        The state is saved last: whatever a kill interrupts before it is done again, with the same result.
        """
        state = self.state()
        if (panel := self.company.panel) is not None:
            images = draw_panel(self.players.painter, panel, self.run.config, stage=plan.stage, device=self.device)
            save_preview(self.run, panel, images, epoch=plan.epoch)
            record = replace(record, vitals=measure_vitals(images, panel))
        if self.company.probe is not None and plan.kept and plan.stage is None:
            record = replace(record, probe=self.company.probe(self.players.painter))
        if plan.kept:
            self.save_checkpoints(plan)
        log.append(record)
        ends_phase = plan.epoch == self.run.config.train.progressive_epochs < self.run.config.train.epochs
        # At the end of the first phase it is kept: there one would fork to try another second one.
        for path in [*([kept_state_path(self.run, plan.epoch)] if ends_phase else []), state_path(self.run)]:
            save_state(path, state, config=self.run.config, data=self.data)
        _remove_outdated(self.run, plan, log.records)
        return record

    def check_life(self, log: TrainingLog | None) -> None:
        """Raise `WeightsError` when the training has collapsed."""
        patience = self.company.patience
        if log is not None and patience > 0 and (collapse := find_collapse(log.records, patience=patience)):
            raise death(self.run, collapse)


def _change_of_engine(state: TrainingState) -> str:
    """What to say where this engine goes on from another one's `state`."""
    return (
        f"goes on with {chosen_engine()} where {state.engine} stopped, behind epoch {state.position.epoch}: weights, averages,\n"
        "Adam's memory and every random draw are the same for both; rounding differs,\n"
        "so from here on the weights are no longer bit for bit those of one engine"
    )


def _remove_outdated(run: Run, plan: Plan, records: list[EpochRecord]) -> None:
    """Delete the checkpoints of the second phase that `train.keep` gives up, with their averages."""
    settings = run.config.train
    if settings.keep == 0:
        return
    epochs: dict[int, list[str]] = {}
    for name in run.checkpoint_names():
        number = name.partition("-")[0]
        if number.isdigit() and settings.progressive_epochs < int(number) <= plan.epoch:
            epochs.setdefault(int(number), []).append(name)
    best = next((int(place.entry.name) for place in rank_by_probe(records) if int(place.entry.name) in epochs), None)
    for epoch in sorted(epochs)[: -settings.keep]:
        if epoch != best:
            for name in epochs[epoch]:
                remove_checkpoint(run, name)
