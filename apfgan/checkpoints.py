"""Checkpoints: generator and encoder weights as safetensors, with a JSON manifest that tells where they come from and how to check them.

The manifest is written last, so a checkpoint without one was never finished and does not exist for any reader. Weights are numpy arrays,
named `generator.…` and `encoder.…`: the same file serves every engine.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import safetensors.numpy
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError

from apfgan import __version__
from apfgan.errors import WeightsError
from apfgan.files import hash_bytes, write_bytes, write_json
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
    members: Mapping[str, float] | None = None,
    member_hashes: Mapping[str, str] | None = None,
) -> Manifest:
    """Write `weights` as the checkpoint `name` of `run`, durably, and return its manifest.

    `name` is the epoch, or a merge's name, whose recipe is then given as `members` (shares) and `member_hashes`.
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
        data=data,
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
    """The arrays of checkpoint `name`, after its bytes were compared with the manifest's hash.

    A flipped bit loads without a word from safetensors; the hash is what notices (spec: reliability, 2).
    """
    manifest = load_manifest(run, name)
    path = run.checkpoint_path(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}. Restore it from a copy, or leave {name} out of --epochs") from error
    if hash_bytes(content) != manifest.sha256:
        raise WeightsError(
            f"{path} is not what was saved: its SHA-256 differs from the manifest's. Restore it from a copy, or leave {name} out of --epochs"
        )
    try:
        return safetensors.numpy.load(content)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error
