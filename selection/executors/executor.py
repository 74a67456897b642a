"""What an executor is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from apfgan.errors import ApfganError
from selection.units import Outcome, Unit


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that cannot be examined, however often it is tried: its weights are damaged, or what it draws is not finite."""

    unit: Unit
    error: ApfganError


class Executor(Protocol):
    """Examines units."""

    @property
    def parallel(self) -> int:
        """How many at a time."""

    def run(self, units: Sequence[Unit]) -> Iterator[Outcome | Failure]:
        """What comes of each unit, in whichever order they are finished. Raises what would stop all of them (a full disk)."""
