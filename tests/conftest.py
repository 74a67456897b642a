"""Fixtures that several test files share."""

import errno
import io
import os

# One thread for each test process, before PyTorch is imported: two processes with two threads each on two cores wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import cli
from apfgan.config import LEAST_SIDE

Call = Callable[..., tuple[int, str, str]]


class FullDisk:
    """Stands between `Path` and the disk, and lets the n-th operation that needs space fail: a write (half of it done), a flush, a rename."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        """Operations that still succeed; None: all of them."""
        disk, real_open, real_fsync, real_replace = self, Path.open, os.fsync, Path.replace

        class Raw(io.FileIO):
            def write(self, content: Any, /) -> int:
                try:
                    disk.spend()
                except OSError:
                    super().write(bytes(content)[: len(content) // 2])
                    raise
                return super().write(bytes(content)[:48])  # short writes, so that there are many

        def open_file(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode == "xb":
                return io.BufferedWriter(Raw(path, "x"), buffer_size=64)
            if mode == "a+b":
                return io.BufferedRandom(Raw(path, "a+"), buffer_size=64)
            return real_open(path, mode, *arguments, **options)

        def fsync(handle: int) -> None:
            disk.spend()
            real_fsync(handle)

        def replace(path: Path, target: Path) -> Path:
            disk.spend()
            return real_replace(path, target)

        monkeypatch.setattr(Path, "open", open_file)
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)

    def spend(self) -> None:
        if self.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.left is not None:
            self.left -= 1


class Killed(BaseException):
    """The process vanishes."""


@pytest.fixture
def killed_at_flushes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object], Iterable[int]], int]:
    """Call some work again and again until it gets through; each time it is killed behind so many flushes to the disk. Gives how often it was."""
    flush, left = os.fsync, 0

    def flush_or_die(handle: int) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        flush(handle)

    def run(work: Callable[[], object], survived: Iterable[int]) -> int:
        nonlocal left
        monkeypatch.setattr(os, "fsync", flush_or_die)
        try:
            for kills, flushes in enumerate(survived):
                left = flushes
                with suppress(Killed):
                    work()
                    return kills
        finally:
            monkeypatch.setattr(os, "fsync", flush)
        raise AssertionError("it never got through")

    return run


@pytest.fixture
def perceptual_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """For stand-ins of the perceptual networks, which see something in the smallest image."""
    for name in LEAST_SIDE:
        monkeypatch.setitem(LEAST_SIDE, name, 1)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """Set `left` to n, and the operation after the next n that need space fails with ENOSPC."""
    return FullDisk(monkeypatch)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Without the rights of root, for whom no folder is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def apfgan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run the command line in this process: exit code, standard output, standard error."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["apfgan", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.main()
        output = capsys.readouterr()
        return int(exit.value.code or 0), output.out, output.err

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)
