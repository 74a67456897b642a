"""Durable writes, and the hashes by which content is found again. Nothing else in the project writes a result.

A write goes to a temporary file in the target's own folder, is flushed to the disk, and is renamed over the target: a reader sees the
old file or the new one, never a part (spec: reliability, 1). Temporaries begin with `.` and end with `.tmp`; every reader ignores them.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import secrets
import socket
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from apfgan.errors import DataError, EnvironmentProblem

WEIGHTS_VARIABLE = "APFGAN_WEIGHTS_DIR"
"""Environment variable with a folder that is searched for pretrained weights before the caches."""


def write_durably(path: Path, write: Callable[[BinaryIO], object], *, flush: bool = True) -> None:
    """Call `write` on a temporary file and move it to `path`, so that `path` is whole at every instant.

    `flush=False` waits for no disk: many times faster for many small files, which a failing power supply may then lose. Only for what can be
    derived again. Raises `EnvironmentProblem` when the disk is full or the folder cannot be written; `path` is then as it was before.
    """
    # A short name of its own, so that any `path` the file system can hold can be written.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        _make_folder(path.parent)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                if flush:
                    os.fsync(file.fileno())
            temporary.replace(path)
            if flush:
                _sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _cannot_write(path, error) from error


def remove_temporaries(folder: Path) -> None:
    """Delete what killed writers left anywhere below `folder`. Only for whoever is the one writer there."""
    for temporary in folder.rglob(".*.tmp"):
        temporary.unlink(missing_ok=True)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold `folder`, made if need be, for writing; raises `EnvironmentProblem` that names the process that holds it already.

    The system drops the lock with the process, however it ends, so none goes stale. The file `lock` in the folder stays.
    """
    with ExitStack() as held:
        try:
            _make_folder(folder)
            file = held.enter_context((folder / "lock").open("a+", encoding="utf-8"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read() or "another process"
            raise EnvironmentProblem(f"{folder} is being written by {holder}. Wait for it or stop it; what it did so far is kept.") from error
        except OSError as error:
            raise EnvironmentProblem(f"cannot write in {folder}: {error.strerror}. Check the folder's permissions and its disk.") from error
        yield


def write_bytes(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Write `content` durably; `flush` as in `write_durably`."""
    write_durably(path, lambda file: file.write(content), flush=flush)


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8, durably."""
    write_bytes(path, _encode(content))


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, durably. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an `.npz`, durably and sealed; all but floats, which hardly shrink, compressed."""

    def write(archive: zipfile.ZipFile) -> None:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_STORED if np.asanyarray(array).dtype.kind == "f" else zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    _write_sealed(path, write)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The named arrays that `write_arrays` wrote; raises `FileNotFoundError`, or `DataError` if they are not what was written."""
    with np.load(_read_sealed(path), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write_pack(path: Path, members: Mapping[str, bytes]) -> None:
    """Write files that are small or compressed already as one `.zip`, durably and sealed. The same members give the same bytes."""

    def write(archive: zipfile.ZipFile) -> None:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # stored as it is, with zip's earliest time stamp

    _write_sealed(path, write)


def open_pack(path: Path) -> zipfile.ZipFile:
    """The zip that `write_pack` wrote, in memory; raises `FileNotFoundError`, or `DataError` if it is not what was written."""
    return zipfile.ZipFile(_read_sealed(path))


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to the disk.

    A torn last line (the writer was killed in the middle of it, or the disk was full) is cut off first, so that it cannot swallow the new one.
    """
    assert "\n" not in line
    try:
        _make_folder(path.parent)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # else the line that another process is writing now would look torn
            end = file.seek(0, os.SEEK_END)
            kept = _end_of_last_line(file, end)
            if kept < end:
                file.truncate(kept)
            file.write(_encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if end == 0:
            _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def append_bytes(path: Path, content: bytes) -> None:
    """Append `content` without waiting for the disk: only for what is derived from other files, and made anew when a process starts."""
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise _cannot_write(path, error) from error


def weights_folders() -> tuple[Path, ...]:
    """Where files of pretrained weights are looked for: in the folder that `WEIGHTS_VARIABLE` names, if it is set, and in torch.hub's."""
    chosen = os.environ.get(WEIGHTS_VARIABLE)
    return (*([Path(chosen).expanduser()] if chosen else []), torch_cache())


def torch_cache() -> Path:
    """torch.hub's folder of downloaded weights, which torchvision and pytorch-fid use, too."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_bytes(content: bytes) -> str:
    """SHA-256 of `content`, in hex."""
    return hashlib.sha256(content).hexdigest()


def hash_value(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form: the same value gives the same hash, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_sealed(path: Path, write: Callable[[zipfile.ZipFile], None]) -> None:
    """Write the zip that `write` fills, durably; its comment is the SHA-256 of what stands before it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        write(archive)
    content = buffer.getvalue().removesuffix(b"\0\0")  # the length of an empty comment
    comment = hash_bytes(content).encode()
    write_bytes(path, content + len(comment).to_bytes(2, "little") + comment)


def _read_sealed(path: Path) -> BinaryIO:
    """The zip that `_write_sealed` wrote; raises `FileNotFoundError`, or `DataError` if it is not what was written."""
    content = path.read_bytes()
    if content[-64:] != hash_bytes(content[:-66]).encode():  # zip's own checksums leave out its headers, and with them whole members
        raise DataError(f"{path} is damaged. Delete it and run the same command again: it is made anew.")
    return io.BytesIO(content)


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


def _encode(text: str) -> bytes:
    """UTF-8; bytes of a file name that are no text (`\\udc80`...) become the escapes that JSON has for them."""
    return text.encode(errors="backslashreplace")


def _make_folder(folder: Path) -> None:
    """Make `folder` and those above it, each flushed to the disk."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(handle)


def _cannot_write(path: Path, error: OSError) -> EnvironmentProblem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentProblem(
            f"disk full while writing {path}; what was there before is unharmed. Free some space and run the same command again: it continues."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EnvironmentProblem(f"cannot write {path}: {error.strerror}. Check the folder's permissions, then run the same command again.")
    return EnvironmentProblem(
        f"cannot write {path}: {error.strerror or error}. Choose another place, or mend this one and run the same command again."
    )
