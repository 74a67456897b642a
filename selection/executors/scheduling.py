"""Hand units to workers, one at a time to each, and put up with workers that die: that costs what was in their hands, and no more."""

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from apfgan.errors import EnvironmentProblem
from apfgan.progress import SILENT, Progress
from selection.executors.executor import Failure
from selection.executors.worker import Refusal
from selection.units import Outcome, Unit

RETRIES = 2
"""A unit whose worker died is tried so many times more: something else may have been at fault. After that it is."""

_STILLBORN = 3
"""So many workers in a row that die before they are ready, and no further one is started."""

_GLANCE = 1.0
"""Seconds after which it is looked whether workers came or went."""

_SILENCE = 60
"""Glances after which it is said what is waited for."""

_Worker = TypeVar("_Worker", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker has died."""

    how: str
    """As the predicate of a sentence: `was killed by SIGKILL`."""


Answer = Outcome | Failure | Refusal | Lost | None
"""What is heard of a worker; None: it is ready."""


class WorkerPool(Protocol[_Worker]):
    """Where workers are: each a `selection.executors.worker.Worker` in a process of its own."""

    @property
    def room(self) -> int:
        """How many workers there can be now."""

    def start(self, count: int) -> Sequence[_Worker]:
        """Start so many workers; each is heard of when it is ready."""

    def give(self, worker: _Worker, unit: Unit) -> None:
        """Let a worker examine a unit; it is heard of when that is done."""

    def listen(self, seconds: float) -> tuple[_Worker, Answer] | None:
        """The next that is heard of any worker; None if nothing is for so long. One that is lost is stopped already."""

    def stop(self, worker: _Worker) -> None:
        """End a worker, whatever it does."""


@dataclass
class Scheduler(Generic[_Worker]):
    """The executor of a pool of workers. They stay, with all that they hold in memory, from one run of units to the next."""

    pool: WorkerPool[_Worker]
    progress: Progress = SILENT
    _starting: list[_Worker] = field(default_factory=list, init=False)
    _idle: list[_Worker] = field(default_factory=list, init=False)
    _stillborn: int = field(default=0, init=False)
    _last_words: str = field(default="there is no room for one", init=False)

    @property
    def parallel(self) -> int:
        """How many units at a time."""
        return max(1, self.pool.room)

    def run(self, units: Sequence[Unit]) -> Iterator[Outcome | Failure]:
        """What comes of each unit, as they are finished.

        A unit whose worker dies is tried again by another one, and after `RETRIES` times is a failure. Raises what a worker refuses to do,
        and `EnvironmentProblem` when no worker is left.
        """
        queue, busy, deaths, silence = deque(units), dict[_Worker, Unit](), Counter[Unit](), 0
        try:
            while queue or busy:
                self._staff(len(queue), len(busy))
                self._hand_out(queue, busy)
                if (heard := self.pool.listen(_GLANCE)) is None:
                    silence += 1
                    if silence == _SILENCE and not busy:
                        self.progress.say(f"no worker is ready yet: {len(self._starting)} are starting, or wait for others to leave room")
                    continue
                worker, answer = heard
                unit = busy.pop(worker, None)
                match answer:
                    case None:
                        self._starting.remove(worker)
                        self._idle.append(worker)
                        self._stillborn = 0
                    case Refusal():
                        self._forget(worker)
                        self.pool.stop(worker)
                        raise answer.error
                    case Lost():
                        self._forget(worker)
                        self._last_words = f"the last one {answer.how}"
                        if unit is not None and (failure := self._try_again(unit, answer, queue, deaths)):
                            yield failure
                    case _:
                        self._idle.append(worker)
                        self._hand_out(queue, busy)  # before the caller writes down what was found
                        yield answer
        finally:
            for worker in busy:  # nobody waits for what they do any more
                self.pool.stop(worker)

    def _staff(self, waiting: int, busy: int) -> None:
        """Start as many workers as there is room and work for; end those that wait for room that is gone."""
        room = self.pool.room
        there = busy + len(self._idle) + len(self._starting)
        while self._starting and there > room:
            self.pool.stop(self._starting.pop())
            there -= 1
        if self._stillborn < _STILLBORN and (wanted := min(room, waiting + busy) - there) > 0:
            self._starting += self.pool.start(wanted)
            there += wanted
        if there <= 0:
            raise EnvironmentProblem(
                f"no worker is left: {self._last_words}. Everything finished so far is kept; the same command goes on from there."
            )

    def _hand_out(self, queue: deque[Unit], busy: dict[_Worker, Unit]) -> None:
        while queue and self._idle:
            worker = self._idle.pop()
            busy[worker] = queue.popleft()
            self.pool.give(worker, busy[worker])

    def _try_again(self, unit: Unit, lost: Lost, queue: deque[Unit], deaths: Counter[Unit]) -> Failure | None:
        """Put the unit of a dead worker back; a failure if that was its last try."""
        deaths[unit] += 1
        if deaths[unit] > RETRIES:
            problem = f"{deaths[unit]} workers died of it, one after the other; the last one {lost.how}"
            return Failure(unit, EnvironmentProblem(f"{unit.candidate}: {problem}. --executor inline shows what happens"))
        queue.appendleft(unit)
        self.progress.say(f"a worker {lost.how}; {unit.candidate} is tried again")
        return None

    def _forget(self, worker: _Worker) -> None:
        """A worker that is gone, or about to."""
        if worker in self._starting:
            self._starting.remove(worker)
            self._stillborn += 1
        if worker in self._idle:
            self._idle.remove(worker)
