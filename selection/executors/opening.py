"""Choose where units are examined."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from apfgan.errors import UsageError
from apfgan.progress import SILENT, Progress
from selection.executors.executor import Executor
from selection.executors.inline import Inline
from selection.executors.local import local_pool, worker_environments
from selection.executors.ray_cluster import ray_pool
from selection.executors.scheduling import Scheduler
from selection.executors.worker import WorkOrder
from selection.measuring import Bench

ExecutorKind = Literal["inline", "local", "ray"]
"""This process; processes of this machine; processes of the machines of a cluster."""


@contextmanager
def open_executor(
    kind: ExecutorKind, bench: Bench, order: WorkOrder, *, workers: int | None = None, address: str | None = None, progress: Progress = SILENT
) -> Iterator[Executor]:
    """The executor of this kind for `bench`, which `order` opens again elsewhere. Its workers end with the context, however that is left.

    `workers`: how many, instead of one for each GPU or every few cores. `address`: of the Ray cluster, HOST:PORT.
    Raises `UsageError` for what this kind does not have, and `EnvironmentProblem` where it cannot be had.
    """
    if workers is not None and (kind == "inline" or workers < 1):
        raise UsageError(f"--workers {workers}: a number from 1 on, with --executor local or ray")
    if address is not None and kind != "ray":
        raise UsageError("--ray-address is for --executor ray")
    if kind == "inline":
        yield Inline(bench, progress)
    elif kind == "local":
        with local_pool(order, worker_environments(bench.device, workers)) as pool:
            yield Scheduler(pool, progress)
    else:
        with ray_pool(order, address=address, workers=workers) as cluster:
            yield Scheduler(cluster, progress)
