"""Workers on the machines of a Ray cluster: an actor for each GPU, or for every few cores.

Ray places the actors and carries what is said; which unit goes to whom, and what happens when a machine dies, is `selection.executors.scheduling`'s
to say. Whoever reaches a cluster's ports may run anything on it, so none is used that does not ask for a token (Ray documentation, "Token
authentication"), and none is started without one.
"""

import importlib
import importlib.metadata
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from apfgan.errors import EnvironmentProblem, UsageError
from selection.executors.scheduling import Answer, Lost
from selection.executors.worker import Refusal, Worker, WorkOrder
from selection.units import Unit

OLDEST = "2.52"
"""The first version of Ray that can ask for a token."""

_CORES = 4
"""Of a worker without a GPU, at most."""

_PATIENCE = 10.0
"""Seconds for the first answer from a cluster."""

_STORE = 128 * 2**20
"""Bytes of shared memory in a cluster of our own, for what is said between processes: thousands of numbers."""


class ClusterWorker(Worker):
    """A worker in an actor."""

    def open(self, order: WorkOrder) -> Refusal | None:
        """Get ready; a refusal on a machine whose Ray serves anyone."""
        if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
            host = socket.gethostname()
            remedy = "Start it again with RAY_AUTH_MODE=token on each machine (docs/cluster.md)"
            return Refusal(EnvironmentProblem(f"on {host}: Ray runs for anyone who reaches its ports. {remedy}"))
        return super().open(order)


@contextmanager
def ray_pool(order: WorkOrder, *, address: str | None = None, workers: int | None = None) -> Iterator["RayPool"]:
    """A pool on the cluster at `address` (HOST:PORT; default: the one that `RAY_ADDRESS` names), or on one that starts and ends with the context.

    Raises `EnvironmentProblem` where Ray is missing, or the cluster cannot be reached, asks for another token, or has none of the devices.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    ray = _import_ray(address)
    _connect(ray, address)
    try:
        pool = RayPool(ray, order, _needs(ray.nodes(), order.device, workers), limit=workers)
        try:
            yield pool
        finally:
            pool.close()
    finally:
        ray.shutdown()  # leaves the cluster, or ends the one that was started here


class RayPool:
    """Actors of a cluster."""

    def __init__(self, ray: Any, order: WorkOrder, needs: Mapping[str, int], *, limit: int | None) -> None:
        self._ray, self._needs, self._limit = ray, needs, limit
        self._order = ray.put(order)
        self._actor = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_restarts=0, max_task_retries=0)(ClusterWorker)
        self._asked: dict[Future[Any], Any] = {}
        self._actors: list[Any] = []

    @property
    def room(self) -> int:
        """For how many workers the machines that are alive have room."""
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = sum(min(int(has.get(kind, 0) // amount) for kind, amount in self._needs.items() if amount) for has in alive)
        return room if self._limit is None else min(room, self._limit)

    def start(self, count: int) -> list[Any]:
        """Ask for actors; Ray starts each where there is room."""
        actors = [self._actor.remote() for _ in range(count)]
        self._actors += actors
        for actor in actors:
            self._asked[actor.open.remote(self._order).future()] = actor
        return actors

    def give(self, worker: Any, unit: Unit) -> None:
        """Let an actor examine a unit."""
        self._asked[worker.examine.remote(unit).future()] = worker

    def listen(self, seconds: float) -> tuple[Any, Answer] | None:
        """The next answer of an actor, or its end."""
        # Not by `ray.wait`, in which a signal's exception is swallowed.
        done, _ = wait(self._asked, timeout=seconds, return_when=FIRST_COMPLETED)
        if not done:
            return None
        future = done.pop()
        worker = self._asked.pop(future)
        try:
            # A copy: Ray's arrays lie in memory that goes with the cluster.
            return worker, deepcopy(future.result())
        except self._ray.exceptions.RayError as error:
            self.stop(worker)
            return worker, Lost(f"was lost ({str(error).splitlines()[-1].strip()[:200]})")  # the last line names the cause

    def stop(self, worker: Any) -> None:
        """Kill an actor: whatever it writes is whole or not there."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker)
        self._actors.remove(worker)
        self._asked = {future: actor for future, actor in self._asked.items() if actor is not worker}

    def close(self) -> None:
        """Kill all of them."""
        for actor in list(self._actors):
            self.stop(actor)


def _import_ray(address: str | None) -> Any:
    """The package. What it reads from the environment while it is imported is set before."""
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError as error:
        raise EnvironmentProblem(f"--executor ray needs the package ray. Install it with: pip install 'ray>={OLDEST}'") from error
    if _release(version) < _release(OLDEST):
        raise EnvironmentProblem(f"ray {version} cannot ask for a token. Install a newer one with: pip install 'ray>={OLDEST}'")
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."  # standard output is for results; Ray writes the log of every machine that dies there
    if address:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")
    return importlib.import_module("ray")


def _connect(ray: Any, address: str | None) -> None:
    """Join the cluster at `address`, or start one on this machine."""
    if address is None:
        if not _has_token():
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # of this cluster alone; else Ray would write one into the home folder
        options: dict[str, Any] = {"address": "local", "include_dashboard": False, "object_store_memory": _STORE}
    else:
        _check_address(address)
        options = {"address": address}
    try:
        with _handlers_kept():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address is None:
            raise EnvironmentProblem(f"cannot start Ray on this machine: {error}") from error
        raise EnvironmentProblem(
            f"cannot join the Ray cluster at {address}: {error}. This machine must be one of the cluster's, have its token (the same "
            "~/.ray/auth_token, or RAY_AUTH_TOKEN_PATH), and the same versions of Python and Ray (docs/cluster.md)"
        ) from error


def _check_address(address: str) -> None:
    """Raises what can be said of an address without Ray, which would try for minutes."""
    if not _has_token():
        raise EnvironmentProblem(
            f"there is no token for the Ray cluster at {address}. Make one with `ray get-auth-token --generate`, put the same ~/.ray/auth_token "
            "on each of its machines, and start Ray there with RAY_AUTH_MODE=token (docs/cluster.md)"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--ray-address {address}: not of the form HOST:PORT, as `ray start --head` prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except OSError as error:
        raise EnvironmentProblem(f"nothing answers at {address}: {error}. Start Ray there (docs/cluster.md), or correct --ray-address") from error


def _has_token() -> bool:
    variables = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    return any(os.environ.get(name) for name in variables) or (Path.home() / ".ray" / "auth_token").exists()


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Within this context others may set signal handlers of their own, as Ray does for SIGTERM; afterwards ours are back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _needs(nodes: list[Mapping[str, Any]], device: str, workers: int | None = None) -> dict[str, int]:
    """What each worker takes of its machine: a GPU and its share of the cores, or a few cores; fewer where so many `workers` would find no room."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    if device == "cuda":
        if shares := [int(has.get("CPU", 0) // has["GPU"]) for has in resources if has.get("GPU", 0) >= 1]:
            return {"GPU": 1, "CPU": min(shares)}
        raise EnvironmentProblem("no machine of the Ray cluster has a GPU. Say --device cpu, or start Ray where there is one")
    if cores := [int(has["CPU"]) for has in resources if has.get("CPU", 0) >= 1]:
        return {"GPU": 0, "CPU": min(_CORES, *cores, max(1, sum(cores) // (workers or 1)))}
    raise EnvironmentProblem("no machine of the Ray cluster lends a core. Start one with: ray start --address HOST:PORT --num-cpus N")


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
