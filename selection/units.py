"""What a search asks for and what comes back: values only.

A search is a generator. It yields the units that it wants measured next, is sent what came of them, and ends when it wants no more. It neither
draws nor writes anything, so the same search runs on a laptop, on a cluster, and in a world made of a published table; and since it decides by
what it is sent alone, running it again over a ledger that holds half of the answers repeats every step and goes on where it was stopped.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from apfgan.candidates import Candidate
from apfgan.ranking import Entry


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """Consecutive label maps in the nested order (`selection.label_order`): the first so many are a fair sample of all."""

    start: int
    stop: int

    @property
    def count(self) -> int:
        """How many they are."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Unit:
    """One candidate on some label maps: what is measured in one go."""

    candidate: Candidate
    part: Part | None = None
    """None: all label maps."""


@dataclass(frozen=True, eq=False, slots=True)
class Outcome:
    """What came of a unit."""

    unit: Unit
    entry: Entry
    """Its numbers, `composite` among them, each with every image's influence, in the order of the label maps."""
    slopes: Mapping[str, float] = field(default_factory=dict)
    """Of a part, by metric: how the value changes with the number of images n, as a slope in 1/n. 0 where a metric has no bias."""
    seconds: float = 0.0
    """What it cost, when it was measured."""
    device: str = "cpu"
    """Where it was measured."""
    drawn: int = 0
    """Images that were drawn and judged for it now; what was kept of an earlier try is not drawn again."""


Outcomes = Mapping[Unit, Outcome]
"""What came of several units; one that failed is missing."""

Search = Generator[Sequence[Unit], Outcomes, None]
"""Yields what to measure next, and is sent what came of it."""


class Measure(Protocol):
    """Measures units."""

    @property
    def images(self) -> int:
        """How many label maps there are in all."""

    @property
    def parallel(self) -> int:
        """How many units are measured at a time."""

    def __call__(self, units: Sequence[Unit]) -> Outcomes:
        """What comes of these units, each asked for once; one that failed is missing."""
