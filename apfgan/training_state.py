"""What a killed training goes on from: networks, optimisers and the number of the last finished epoch, in one file.

The file is replaced as a whole after every epoch. It carries the settings and the data that it belongs to, and a hash of all that it holds.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from apfgan.config import Config, build_config, differing_settings
from apfgan.errors import UsageError, WeightsError
from apfgan.files import hash_value, write_bytes
from apfgan.runs import Run

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Where training stands."""

    epoch: int
    """Last finished epoch; 0: nothing is trained."""
    step: int
    """Optimiser steps so far."""
    arrays: Mapping[str, np.ndarray]
    """Networks and optimisers, by name."""


def state_path(run: Run) -> Path:
    """Where the state of `run` lies."""
    return run.checkpoints / "training_state.safetensors"


def save_state(run: Run, state: TrainingState, *, data: str) -> None:
    """Replace the state of `run`, durably. `data` is the fingerprint of the training pairs."""
    arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
    header = {
        "format": _FORMAT,
        "epoch": state.epoch,
        "step": state.step,
        "data": data,
        "config": _shaping(run.config),
    }
    header["sha256"] = _hash(header, arrays)
    # One entry, because safetensors writes several in any order: so equal states are equal files.
    write_bytes(state_path(run), safetensors.numpy.save(arrays, metadata={"training": json.dumps(header)}))


def load_state(run: Run, *, data: str) -> TrainingState | None:
    """The state of `run`; None when it was never trained.

    Raises `WeightsError` when the file is damaged, or missing beside checkpoints that training would overwrite, and `UsageError` when it
    belongs to other settings or other pairs.
    """
    path = state_path(run)
    anew = "or train anew with another --run. The checkpoints beside it are unharmed"
    if not path.exists():
        if trained := [name for name in run.checkpoint_names() if name.isdigit() and name != "0"]:
            raise WeightsError(
                f"{path} is missing, without which training cannot go on, and {run.checkpoints} holds epoch {trained[-1]}, which "
                f"training from the start would overwrite. Restore it from a copy, {anew}."
            )
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["training"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if header["format"] != _FORMAT:
            raise WeightsError(
                f"{path} was written by another version of this program (format {header['format']}, expected {_FORMAT}). Use that one."
            )
        if header.pop("sha256") != _hash(header, arrays):
            raise ValueError("it is not what was saved")
        state = TrainingState(epoch=header["epoch"], step=header["step"], arrays=arrays)
        trained_on, settings = header["data"], header["config"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}). Restore it from a copy, {anew}.") from error
    if changed := differing_settings(replace(build_config(settings), output=run.config.output), run.config):
        raise UsageError(f"{run.path} was trained with other settings ({'; '.join(changed)}). Put them back into {run.config_path}, {anew}.")
    if trained_on != data:
        raise UsageError(f"{run.path} was trained on other pairs than the ones given now. Give --data the folder it began with, {anew}.")
    return state


def _shaping(config: Config) -> dict[str, dict[str, object]]:
    """The settings on which weights depend, as JSON can hold them."""
    sections = {name: values for name, values in asdict(config).items() if name != "output"}
    return {name: {key: value for key, value in values.items() if value is not None} for name, values in sections.items()}


def _hash(header: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of everything, for a flipped bit loads without a word."""
    digest = hashlib.sha256(hash_value(header).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()
