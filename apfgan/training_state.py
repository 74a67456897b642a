"""What a killed training goes on from: networks, averages, optimisers and the place in the schedule, in one file.

The file is replaced as a whole: after every epoch, every few minutes within one, and when a signal stops the training. It carries the settings
and the data that it belongs to, and a hash of all that it holds. No random state is in it, for every draw follows from its place.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from apfgan.config import Config, build_config, differing_settings
from apfgan.engines import Engine
from apfgan.errors import UsageError, WeightsError
from apfgan.runs import Run
from apfgan.sealed import read_sealed, write_sealed

_FORMAT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How far a training has come."""

    epoch: int = 0
    """Last finished epoch; 0: none."""
    step: int = 0
    """Batches learned so far, over all epochs."""
    batches: int = 0
    """Batches learned of the epoch after it."""
    totals: Mapping[str, float] = field(default_factory=dict)
    """Sum of each loss over these batches."""
    seconds: float = 0.0
    """Time that they took."""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Where training stands."""

    position: Position
    arrays: Mapping[str, np.ndarray]
    """Networks, averages and optimisers, by name."""
    engine: str = ""
    """The engine that trained so far, as `apfgan.engines` calls it; empty where none did (an import)."""


def state_path(run: Run) -> Path:
    """Where the state of `run` lies."""
    return run.checkpoints / "training_state.safetensors"


def kept_state_path(run: Run, epoch: int) -> Path:
    """Where the state at the end of `epoch` lies, if it was kept to fork from."""
    return run.checkpoints / f"training_state_{epoch:04d}.safetensors"


def save_state(path: Path, state: TrainingState, *, config: Config, data: str) -> None:
    """Write `state` to `path`, durably. `config` is the run's, `data` the fingerprint of the training pairs."""
    place = {"position": asdict(state.position), "engine": state.engine}
    write_sealed(path, state.arrays, {"format": _FORMAT, **place, "data": data, "config": _shaping(config)})


def load_state(run: Run, *, data: str) -> TrainingState | None:
    """The state of `run`; None when it was never trained.

    Raises `WeightsError` when the file is damaged, or missing beside checkpoints that training would overwrite, and `UsageError` when it
    belongs to other settings or other pairs.
    """
    path = state_path(run)
    if not path.exists():
        if trained := [epoch for epoch in run.epochs() if epoch > 0]:
            raise WeightsError(
                f"{path} is missing, without which training cannot go on, and {run.checkpoints} holds epoch {trained[-1]}, which "
                f"training from the start would overwrite. Restore it from a copy, {_ANEW}."
            )
        return None
    state, settings, trained_on = _read(path)
    if changed := differing_settings(replace(settings, output=run.config.output), run.config):
        raise UsageError(
            f"{run.path} was trained with other settings ({'; '.join(changed)}). Put them back into {run.config_path}, or go on with the new ones in "
            f"another run: apfgan train --run OTHER --fork {run.path}"
        )
    if trained_on != data:
        raise UsageError(
            f"{run.path} was trained on other pairs than the ones given now. Give --data the folder it began with, or go on with the new ones in "
            f"another run: apfgan train --run OTHER --fork {run.path}"
        )
    return state


def load_fork(source: Run, *, epoch: int | None) -> TrainingState:
    """The state of another run from which a new one begins: its last, or the one kept at `epoch`.

    Raises `UsageError` that says which epochs can be forked from when that one was not kept.
    """
    latest = state_path(source)
    if not latest.exists():
        raise UsageError(f"{source.path} was never trained: there is nothing to fork from")
    if epoch is not None and (kept := kept_state_path(source, epoch)).exists():
        latest = kept
    state, _, _ = _read(latest)
    if epoch not in (None, state.position.epoch):
        kept_epochs = sorted(int(path.stem.rpartition("_")[2]) for path in source.checkpoints.glob("training_state_[0-9]*.safetensors"))
        at_hand = sorted({*kept_epochs, _read(state_path(source))[0].position.epoch})
        raise UsageError(
            f"{source.path} cannot be forked at epoch {epoch}: its discriminators and optimisers were kept at {', '.join(map(str, at_hand))} only"
        )
    return state


_ANEW = "or train anew with another --run. The checkpoints beside it are unharmed"


def _read(path: Path) -> tuple[TrainingState, Config, str]:
    """The state in a file, with the settings and the fingerprint of the data that it belongs to."""
    try:
        arrays, header = read_sealed(path)
        if header["format"] != _FORMAT:
            raise WeightsError(
                f"{path} was written by another version of this program (format {header['format']}, expected {_FORMAT}). Use that one."
            )
        # Files of a time when there was one engine do not name it.
        state = TrainingState(_POSITION.validate_python(header["position"]), arrays, str(header.get("engine", Engine.pytorch)))
        return state, build_config(header["config"]), str(header["data"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Restore it from a copy, {_ANEW}.") from error


_POSITION = TypeAdapter(Position)


def _shaping(config: Config) -> dict[str, dict[str, Any]]:
    """The settings on which weights depend, as JSON can hold them."""
    sections = {name: values for name, values in asdict(config).items() if name != "output"}
    return {name: {key: value for key, value in values.items() if value is not None} for name, values in sections.items()}
