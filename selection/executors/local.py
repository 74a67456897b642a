"""Workers on this machine: a process for each GPU, or several that share the cores."""

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch

from selection.executors.scheduling import Answer, Lost
from selection.executors.worker import Worker, WorkOrder
from selection.units import Unit

_CORES = 4
"""Of a worker without a GPU, unless it is said how many workers there are; but there are two at least."""

_GRACE = 5.0
"""Seconds in which a process whose pipe is closed ends by itself, so that it is known how."""


def worker_environments(device: str, workers: int | None = None) -> list[dict[str, str]]:
    """The environment variables of each worker: its GPU, and how many threads it computes with.

    One worker for each GPU that this process sees (`cuda`), for the one that is named (`cuda:1`), or for every few cores (`cpu`), unless
    `workers` says otherwise; more workers than GPUs share them.
    """
    gpus = _gpus(device) if device.startswith("cuda") else []
    cores = len(os.sched_getaffinity(0))
    count = workers or len(gpus) or max(2, cores // _CORES)
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count)))
    shares = [{"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {} for number in range(count)]
    return [{"OMP_NUM_THREADS": threads, **share} for share in shares]


@contextmanager
def local_pool(order: WorkOrder, environments: Sequence[Mapping[str, str]]) -> Iterator["LocalPool"]:
    """A pool with room for one worker in each of the environments; all of them end with the context."""
    pool = LocalPool(order, environments)
    try:
        yield pool
    finally:
        pool.close()


@dataclass(eq=False, slots=True)
class LocalWorker:
    """A worker's process, and the line to it."""

    process: subprocess.Popen[bytes]
    connection: "Connection[Any, Any]"
    environment: Mapping[str, str]


class LocalPool:
    """Processes of this machine."""

    def __init__(self, order: WorkOrder, environments: Sequence[Mapping[str, str]]) -> None:
        self.room = len(environments)
        self._order = order
        self._free = list(environments)
        self._workers: list[LocalWorker] = []

    def start(self, count: int) -> list[LocalWorker]:
        """Start processes, and only then tell them what to do: they load their libraries at the same time."""
        started = [_start_process(self._free.pop()) for _ in range(count)]
        self._workers += started
        for worker in started:
            _send(worker, self._order)
        return started

    def give(self, worker: LocalWorker, unit: Unit) -> None:
        """Send a unit to a process."""
        _send(worker, unit)

    def listen(self, seconds: float) -> tuple[LocalWorker, Answer] | None:
        """The next that one of the processes sends, or its end."""
        ready = wait([each.connection for each in self._workers], seconds)
        if not ready:
            return None
        worker = next(each for each in self._workers if each.connection is ready[0])
        try:
            return worker, worker.connection.recv()
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(_GRACE)
            self.stop(worker)
            return worker, Lost(_describe_end(worker.process.returncode))

    def stop(self, worker: LocalWorker) -> None:
        """Kill a process: whatever it writes is whole or not there."""
        worker.connection.close()
        worker.process.kill()
        worker.process.wait()
        self._workers.remove(worker)
        self._free.append(worker.environment)

    def close(self) -> None:
        """Kill all of them."""
        for worker in list(self._workers):
            self.stop(worker)


def serve(handle: int) -> None:
    """Work for the process at the other end of a pipe; the main function of a worker's process."""
    connection: Connection[Any, Any] = Connection(handle)
    inbox: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    worker = Worker()
    connection.send(worker.open(inbox.get()))
    while True:
        connection.send(worker.examine(inbox.get()))


def _receive(connection: "Connection[Any, Any]", inbox: "SimpleQueue[Any]") -> None:
    """Hand on what is sent. The pipe ends with the process at its other end, however that ends; and then this one is not needed either."""
    try:
        while True:
            inbox.put(connection.recv())
    except (EOFError, OSError):
        pass
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(1)


def _start_process(environment: Mapping[str, str]) -> LocalWorker:
    ours, theirs = Pipe()
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
            env={**os.environ, **environment, "PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # ours is for results
            process_group=0,  # a Ctrl-C at the terminal is for this process, which ends its workers
        )
    return LocalWorker(process, ours, environment)


def _send(worker: LocalWorker, message: WorkOrder | Unit) -> None:
    with suppress(OSError):  # it has died, which is heard in its turn
        worker.connection.send(message)


def _describe_end(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL (as the system does when memory runs out: try fewer --workers)"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _gpus(device: str) -> list[str]:
    """The GPUs that `device` means, as `CUDA_VISIBLE_DEVICES` names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = chosen.split(",") if chosen else [str(number) for number in range(torch.cuda.device_count())]
    _, _, index = device.partition(":")
    return [names[int(index)]] if index else names
