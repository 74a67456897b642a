"""Named arrays and a header in one safetensors file that carries a hash of all it holds, for a flipped bit loads without a word."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from apfgan.files import hash_value, write_bytes

_ENTRY = "training"
"""One entry, because safetensors writes several in any order: so equal contents are equal files."""


def write_sealed(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> None:
    """Write `arrays` and `header`, which JSON can hold, to `path`, durably."""
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    sealed = {**header, "sha256": _hash(header, ordered)}
    write_bytes(path, safetensors.numpy.save(ordered, metadata={_ENTRY: json.dumps(sealed)}))


def read_sealed(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the header in `path`; raises `ValueError` when they are not what was written, `OSError` when the file cannot be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_ENTRY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if header.pop("sha256") != _hash(header, arrays):
            raise ValueError("it is not what was saved")
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return arrays, header


def _hash(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of everything."""
    digest = hashlib.sha256(hash_value(header).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()
