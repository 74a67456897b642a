"""One unit after the other, in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from apfgan.errors import DataError, WeightsError
from apfgan.progress import SILENT, Progress
from selection.executors.executor import Failure
from selection.measuring import Bench, examine
from selection.units import Outcome, Unit


@dataclass(frozen=True)
class Inline:
    """Examines in this process."""

    bench: Bench
    progress: Progress = SILENT
    parallel: int = 1

    def run(self, units: Sequence[Unit]) -> Iterator[Outcome | Failure]:
        """What comes of each unit, in order."""
        for unit in units:
            yield examine_or_fail(self.bench, unit, progress=self.progress)


def examine_or_fail(bench: Bench, unit: Unit, *, progress: Progress = SILENT) -> Outcome | Failure:
    """What comes of a unit; a failure where the candidate itself is at fault, so that others can go on."""
    try:
        return examine(bench, unit, progress=progress)
    except (DataError, WeightsError) as error:
        return Failure(unit, error)
