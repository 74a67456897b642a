"""The training of both phases: growing, then augmented fine-tuning (APF-GAN, section 3; spec: method, 5 to 8).

Every random draw follows from the seed, the epoch, the batch and its purpose alone. So a training that was stopped goes on after its last
finished epoch to the weights that it would have had anyway, bit for bit on a CPU with the same number of threads.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from apfgan.backend import state_arrays
from apfgan.checkpoints import save_checkpoint
from apfgan.data import TrainingPairs
from apfgan.errors import WeightsError
from apfgan.files import append_line, write_text
from apfgan.players import LOSSES, Plan, Players, plan_epoch
from apfgan.progress import SILENT, Progress
from apfgan.records import describe_epochs
from apfgan.runs import Run
from apfgan.schedule import Phase
from apfgan.training_state import TrainingState, load_state, save_state, state_path

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


def train(run: Run, pairs: TrainingPairs, *, device: str = "cpu", until: int | None = None, progress: Progress = SILENT) -> Iterator[EpochRecord]:
    """Train `run` to its last epoch, or to `until`, from where it stopped. Yields a record after each epoch, once all of it is on the disk.

    Raises `WeightsError` when a loss is no longer finite or the state to go on from is damaged, `UsageError` when that state belongs to
    other settings or pairs, and `DataError` for a pair that cannot be read.
    """
    config, data = run.config, pairs.fingerprint
    state = load_state(run, data=data)
    players = Players(config, device=device)
    if state is None:
        state = TrainingState(epoch=0, step=0, arrays=players.arrays())
        _save(run, players, plan_epoch(0, config), step=0, data=data)
        save_state(run, state, data=data)
    else:
        players.load(state.arrays, origin=str(state_path(run)))
    _restart_log(run.training_log, after=state.epoch)
    steps, finished = state.step, state.epoch
    del state  # it holds a copy of everything
    for epoch in range(finished + 1, (config.train.epochs if until is None else min(until, config.train.epochs)) + 1):
        plan = plan_epoch(epoch, config)
        record = _train_epoch(run, players, pairs, plan, progress)
        steps += pairs.batch_count(plan.batch)
        # The state comes last: whatever a kill interrupts before it is done again, with the same result.
        if plan.kept:
            _save(run, players, plan, step=steps, data=data)
        append_line(run.training_log, _log_line(record))
        save_state(run, TrainingState(epoch=epoch, step=steps, arrays=players.arrays()), data=data)
        yield record


def _train_epoch(run: Run, players: Players, pairs: TrainingPairs, plan: Plan, progress: Progress) -> EpochRecord:
    began = time.monotonic()
    settings = run.config.train
    players.begin(plan)
    count = pairs.batch_count(plan.batch)
    totals: dict[str, float] = {}
    images = 0
    with progress.task(f"epoch {plan.epoch}/{settings.epochs} {plan.phase}", total=count * min(plan.batch, len(pairs))) as task:
        for index, batch in enumerate(pairs.batches(plan.epoch, batch=plan.batch, seed=settings.seed)):
            losses = players.learn(batch, plan, index=index)
            if broken := [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]:
                raise _diverged(run, plan.epoch, index, broken)
            totals = {name: totals.get(name, 0.0) + value for name, value in losses.items()}
            images += len(batch.photos)
            task.note("  ".join(f"{name} {value:.3g}" for name, value in losses.items()))
            task.advance(len(batch.photos))
    return EpochRecord(
        epoch=plan.epoch,
        phase=plan.phase,
        level=run.config.model.levels - 1 if plan.stage is None else plan.stage.top,
        seconds=time.monotonic() - began,
        images=images,
        losses={name: totals[name] / count for name in LOSSES if name in totals},
    )


def _diverged(run: Run, epoch: int, index: int, broken: list[str]) -> WeightsError:
    last = next((name for name in reversed(run.checkpoint_names()) if name.isdigit() and int(name) < epoch), "0")
    return WeightsError(
        f"training diverged in epoch {epoch}, batch {index + 1}: {', '.join(broken)}. The last good checkpoint is epoch {last} "
        f"(saved in {run.checkpoints}: {describe_epochs(run.checkpoint_names())}). The same settings would end here again: begin another --run with "
        "lower train.generator_rate and train.discriminator_rate."
    )


def _save(run: Run, players: Players, plan: Plan, *, step: int, data: str) -> None:
    save_checkpoint(run, str(plan.epoch), state_arrays(players.painter), epoch=plan.epoch, step=step, phase=plan.phase, data=data)


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
