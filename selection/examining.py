"""Measure units into the run's ledger: what it holds is read, the rest is examined, and each finding is written before the next is waited for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from apfgan.candidates import Candidate
from apfgan.progress import SILENT, Progress
from apfgan.ranking import Entry, better
from apfgan.records import Measurement
from apfgan.runs import versions
from selection.executors import Executor, Failure, Inline
from selection.measuring import Bench, measurement_key, observations_key
from selection.units import Outcome, Unit


@dataclass
class Examiner:
    """The `Measure` of a run: by whichever executor, with this process as the only writer of the ledger. The run must be locked by the caller."""

    bench: Bench
    executor: Executor | None = None
    """What examines; default: this process."""
    progress: Progress = SILENT
    failures: list[Failure] = field(default_factory=list, init=False)
    """What could not be measured so far, and why."""
    examined: int = field(default=0, init=False)
    """Units that the ledger did not know."""
    found: int = field(default=0, init=False)
    """Units that it knew."""
    drawn: int = field(default=0, init=False)
    """Images that were drawn and judged."""
    _known: set[Unit] = field(default_factory=set, init=False)

    @property
    def images(self) -> int:
        """How many label maps there are."""
        return len(self.bench.label_maps)

    @property
    def parallel(self) -> int:
        """How many units are examined at a time."""
        return self._executor.parallel

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        """What comes of these units; one that failed is missing, and is among the `failures`."""
        found = {unit: outcome for unit in units if (outcome := self._recall(unit)) is not None}
        self.found += len(found.keys() - self._known)
        self._known |= found.keys()
        todo = [unit for unit in units if unit not in found]
        if todo:
            with self.progress.task("candidates", len(units), done=len(found), unit="candidates") as task:
                for each in self._executor.run(todo):
                    if isinstance(each, Failure):
                        self.failures.append(each)
                        self.progress.say(f"{each.unit.candidate} cannot be measured: {each.error}")
                    else:
                        self._record(each)
                        found[each.unit] = each
                    task.advance()
                    if found:
                        task.note(_best_so_far(found.values()))
        return {unit: found[unit] for unit in units if unit in found}

    def measure(self, candidate: Candidate) -> Measurement:
        """The ledger's line of one candidate on all label maps, made if need be; raises what keeps it from being measured."""
        unit = Unit(candidate)
        if unit not in self([unit]):
            raise self.failures[-1].error
        found = self.bench.run.ledger.find(measurement_key(self.bench, unit), candidate=str(candidate))
        assert found is not None, "what was recorded is in the ledger"
        return found

    def raise_failures(self) -> None:
        """Raise the first thing that kept a candidate from being measured, and name them all."""
        if self.failures:
            first = self.failures[0].error
            names = ", ".join(dict.fromkeys(str(each.unit.candidate) for each in self.failures))
            raise type(first)(f"{first}\nNot measured: {names}. All others are kept; the same command tries these again.")

    @property
    def _executor(self) -> Executor:
        return self.executor or Inline(self.bench, self.progress)

    def _recall(self, unit: Unit) -> Outcome | None:
        """What the ledger and the influences hold of a unit; None where either lacks it, for paired differences must not depend on a lost file."""
        run, key = self.bench.run, measurement_key(self.bench, unit)
        found = run.ledger.find(key, candidate=str(unit.candidate))
        if found is None and (twin := run.ledger.find(key)):
            # The same content under another name (a checkpoint that was copied): its numbers hold, its line would leave this name out of the ranking.
            found = replace(twin, candidate=str(unit.candidate), seed=unit.candidate.seed, seconds=0.0)
            run.ledger.append(found)
        if found is None:
            return None
        metrics = {**found.metrics, "composite": found.composite}
        measured = run.influences.read(found)
        if measured.keys() != metrics.keys():
            return None
        return Outcome(unit, Entry(found.candidate, metrics, measured, found), found.slopes, found.seconds, found.device)

    def _record(self, outcome: Outcome) -> None:
        bench, unit, entry = self.bench, outcome.unit, outcome.entry
        part, key = bench.part(unit), measurement_key(bench, unit)
        self.examined += 1
        self.drawn += outcome.drawn
        self._known.add(unit)
        bench.run.influences.write(key, [path.stem for path in bench.label_maps[part.start : part.stop]], entry.measured)
        if bench.run.ledger.find(key, candidate=entry.name) is None:  # else its influences alone were lost
            bench.run.ledger.append(
                Measurement(
                    key=key,
                    candidate=entry.name,
                    seed=unit.candidate.seed,
                    images=part.count,
                    metrics={name: each for name, each in entry.metrics.items() if name != "composite"},
                    composite=entry.metrics["composite"],
                    formula=bench.formula.name,
                    protocol=bench.protocol,
                    observations=observations_key(bench, bench.source(unit.candidate)),
                    seconds=round(outcome.seconds, 3),
                    device=outcome.device,
                    versions=versions(),
                    part=None if unit.part is None else (part.start, part.stop),
                    slopes=outcome.slopes,
                )
            )


def _best_so_far(outcomes: Iterable[Outcome]) -> str:
    best = max(outcomes, key=lambda each: better("composite") * each.entry.metrics["composite"].value)
    return f"best so far: {best.entry.name} {best.entry.metrics['composite'].value:.4f}"
