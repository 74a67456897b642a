"""Durable writes, and the hashes by which content is found again. Nothing else in the project writes a result.

A write goes to a temporary file in the target's own folder, is flushed to the disk, and is renamed over the target: a reader sees the
old file or the new one, never a part (spec: reliability, 1). Temporaries begin with `.` and end with `.tmp`; every reader ignores them.
"""

import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from apfgan.errors import EnvironmentProblem


def write_durably(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file and move it to `path`, so that `path` is whole at every instant.

    Raises `EnvironmentProblem` when the disk is full or the folder cannot be written; `path` is then as it was before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp gives 0600; results are meant to be shared
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` durably."""
    write_durably(path, lambda file: file.write(content))


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8, durably."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, durably. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as a compressed `.npz`, durably."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The named arrays of an `.npz`; object arrays are refused (they would unpickle)."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to the disk.

    A torn last line (the process was killed in the middle of one) is cut off first, so that it cannot swallow the new one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            kept = _end_of_last_line(file, end)
            if kept < end:
                file.truncate(kept)
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if end == 0:
            _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_value(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form: the same value gives the same hash, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _end_of_last_line(file: BinaryIO, end: int) -> int:
    """Offset just behind the last newline before `end`; 0 when there is none."""
    position, block = end, 65536
    while position > 0:
        start = max(0, position - block)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cannot_write(path: Path, error: OSError) -> EnvironmentProblem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentProblem(
            f"disk full while writing {path}; what was there before is unharmed. Free some space and run the same command again: it continues."
        )
    return EnvironmentProblem(f"cannot write {path}: {error.strerror}. Check the folder's permissions, then run the same command again.")
