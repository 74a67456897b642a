"""Seconds by stage, the stages of scoring a sweep, and the threads that they were taken with."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

START, ENCODE, DECODE, RESIZE, DISTANCE, RECORDS = "start, load", "encode, write", "read, decode", "resize", "distance", "records"
PHOTOS, FIT = "photos: read, resize", "photos: fit"
NETWORK, PHOTO_NETWORK = "network", "photos: network"
CHECKS, PHOTO_CHECKS = "KID, precision, recall", "photos: for these"
"""Stages of a sweep. Only the original writes and reads files between encoding and decoding; only ours keeps records and checks."""


class Stopwatch:
    """Adds up wall-clock seconds by the name of a stage; a stage within another is not counted for the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside for `name`."""
        self.begin(name)
        try:
            yield
        finally:
            self.end()

    def begin(self, name: str) -> None:
        """Go over to a stage, until `end`."""
        self._charge()
        self._running.append(name)

    def end(self) -> None:
        """Go back to the stage around it."""
        self._charge()
        self._running.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._running:
            current = self._running[-1]
            self.seconds[current] = self.seconds.get(current, 0.0) + now - self._since
        self._since = now


def cpu_threads() -> int:
    """Threads that NumPy, SciPy and PyTorch compute with: they read OMP_NUM_THREADS when a process starts, else take every core it may use."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))
