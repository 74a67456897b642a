"""Checkpoints: generator and encoder weights as safetensors, with a JSON manifest that tells where they come from and how to check them.

The manifest is written last, so a checkpoint without one was never finished and does not exist for any reader. Weights are numpy arrays,
named `generator.…` and `encoder.…`: the same file serves every engine.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from apfgan import __version__
from apfgan.errors import WeightsError
from apfgan.files import hash_bytes, hash_file, write_bytes, write_json
from apfgan.records import Manifest
from apfgan.runs import Run

Weights = Mapping[str, np.ndarray]
"""Named arrays of one checkpoint."""


def save_checkpoint(
    run: Run,
    name: str,
    weights: Weights,
    *,
    epoch: int | None = None,
    step: int | None = None,
    phase: str = "",
    data: str = "",
    engine: str = "",
    members: Mapping[str, float] | None = None,
    member_hashes: Mapping[str, str] | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write `weights` as the checkpoint `name` of `run`, durably, and return its manifest.

    `name` is the epoch, or the name of a candidate that was made of others, whose recipe is then given as `members` (shares), `member_hashes`
    and `identity`. `engine` is that of the training that saves it.
    """
    content = safetensors.numpy.save({key: np.ascontiguousarray(weights[key]) for key in sorted(weights)})
    manifest = Manifest(
        name=name,
        sha256=hash_bytes(content),
        epoch=epoch,
        step=step,
        phase=phase,
        members=members or {},
        member_hashes=member_hashes or {},
        identity=identity or {},
        data=data,
        engine=engine,
        config={section: values for section, values in asdict(run.config).items() if section in ("data", "model")},
        version=__version__,
    )
    path = run.checkpoint_path(name)
    write_bytes(path, content)
    write_json(path.with_suffix(".json"), asdict(manifest))
    return manifest


def remove_checkpoint(run: Run, name: str) -> None:
    """Delete a checkpoint; the manifest goes first, so that no reader ever meets half of one."""
    path = run.checkpoint_path(name)
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def load_manifest(run: Run, name: str) -> Manifest:
    """The manifest of checkpoint `name`; raises `WeightsError` if it is missing or cannot be read."""
    path = run.checkpoint_path(name).with_suffix(".json")
    try:
        return TypeAdapter(Manifest).validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise WeightsError(f"no checkpoint {name} in {run.checkpoints}. See which are there: apfgan rank --run {run.path}") from error
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path} is damaged. Restore it from a copy, or train that epoch again: apfgan train --run {run.path}") from error


def load_weights(run: Run, name: str) -> dict[str, np.ndarray]:
    """The arrays of checkpoint `name`, all of them read; the rest as `open_weights`."""
    return dict(open_weights(run, name))


def open_weights(run: Run, name: str) -> Weights:
    """The arrays of checkpoint `name`, each read anew when it is asked for, after the file's bytes were compared with the manifest's hash.

    A flipped bit loads without a word from safetensors; the hash is what notices (spec: reliability, 2). Saving renames a new file over the old
    one, so what was opened stays what it was. Raises `WeightsError` for a file that is missing, or not what was saved.
    """
    manifest = load_manifest(run, name)
    path = run.checkpoint_path(name)
    try:
        if hash_file(path) != manifest.sha256:
            raise WeightsError(
                f"{path} is not what was saved: its SHA-256 differs from the manifest's. Restore it from a copy, or leave {name} out of --epochs"
            )
        return _StoredWeights(path)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}. Restore it from a copy, or leave {name} out of --epochs") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error


class _StoredWeights(Mapping[str, np.ndarray]):
    """The arrays in a safetensors file, in the order of their names."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="numpy")
        self._names = dict.fromkeys(sorted(self._file.keys()))

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        array: np.ndarray = self._file.get_tensor(name)
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._names  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
