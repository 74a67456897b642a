"""What a worker is told, and what it does: it opens a bench of its own, makes sure that it is the same bench, and examines one unit after the other.

Judges, reference statistics and label maps stay in memory from unit to unit. A worker takes no lock and writes observations only: files named
by their content, each whole or not at all, so that it does no harm if two workers write the same one, or if one dies while it writes.
"""

import os
import socket
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from apfgan.errors import ApfganError, EnvironmentProblem
from apfgan.runs import Run, versions
from selection.evaluation import Evaluation, open_bench
from selection.executors.executor import Failure
from selection.executors.inline import examine_or_fail
from selection.image_candidates import ImageCandidates
from selection.measuring import Bench
from selection.survey import Photos
from selection.units import Outcome, Unit

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """All that a worker on this or another machine needs to open the same bench. It can be pickled."""

    run: Path
    """The run directory, which every machine must see under this path."""
    evaluation: Evaluation
    images: ImageCandidates | None
    """What is measured, where it is there already."""
    photos: Photos
    """What the images are compared with, checked by whoever orders."""
    device: str
    """Where the worker draws and judges: `cpu`, or `cuda` for the one GPU that it sees."""
    folder: Path
    """Where relative paths begin."""
    protocol: Mapping[str, Any]
    """The protocol of the bench of whoever orders: the worker's must be equal."""
    versions: Mapping[str, str]
    """The packages that numbers depend on: the worker's must be equal."""

    @classmethod
    def of(cls, bench: Bench, evaluation: Evaluation, *, images: ImageCandidates | None = None, device: str | None = None) -> "WorkOrder":
        """The order to open `bench` again, which was opened for `evaluation` and `images`; on another `device` than its own, if one is named."""
        device = device or bench.device
        return cls(
            run=bench.run.path.resolve(),
            evaluation=evaluation,
            images=images,
            photos=bench.photos,
            device="cuda" if device.startswith("cuda") else device,
            folder=Path.cwd(),
            protocol=bench.protocol,
            versions=versions(),
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A worker cannot do what no other could do either: its machine, or the request, has to be mended first."""

    error: Exception


class Worker:
    """Examines units for another process. Whatever goes wrong is its answer: it raises nothing."""

    def __init__(self) -> None:
        self._bench: Bench | None = None

    def open(self, order: WorkOrder) -> Refusal | None:
        """Get ready; a refusal where this machine would measure something else than the one that orders."""
        return _answer(lambda: self._open(order))

    def examine(self, unit: Unit) -> Outcome | Failure | Refusal:
        """What comes of a unit."""
        bench = self._bench
        assert bench is not None, "a worker is opened before it is given work"
        return _answer(lambda: examine_or_fail(bench, unit))

    def _open(self, order: WorkOrder) -> None:
        if not order.run.is_dir():
            raise EnvironmentProblem(f"there is no {order.run}. Every machine must see the run and its data under the same paths: share their disk")
        if order.folder.is_dir():
            os.chdir(order.folder)
        bench = open_bench(Run.open(order.run), order.evaluation, images=order.images, photos=order.photos, pictures=False, device=order.device)
        ours = {**bench.protocol, **versions()}
        theirs = {**order.protocol, **order.versions}
        if differing := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
            raise EnvironmentProblem(
                f"other data, weights or packages than on the machine that asks: {', '.join(differing)} differ. "
                "Install the same packages and share the same files; nothing was measured here"
            )
        self._bench = bench


def _answer(work: Callable[[], _Result]) -> _Result | Refusal:
    """What comes of some work, or what keeps it from being done and on which machine. A mistake of ours is told with its traceback."""
    host = socket.gethostname()
    try:
        return work()
    except ApfganError as error:
        return Refusal(type(error)(f"on {host}: {error}"))
    except Exception:
        return Refusal(RuntimeError(f"in a worker on {host}:\n{traceback.format_exc()}"))
