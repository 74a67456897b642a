"""Search noise seeds, and say what the find is worth."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

from scipy.integrate import quad
from scipy.stats import norm

from apfgan.progress import SILENT, Progress
from apfgan.records import Candidate, Measurement
from selection.measuring import Bench, measure_all
from selection.ranking import DIRECTIONS


@dataclass(frozen=True, slots=True)
class SeedVerdict:
    """What a seed search found. The gain is real for these images alone: on new label maps the expected gain is 0."""

    tries: int
    mean: float
    deviation: float
    """Standard deviation over seeds."""
    best: float
    gain: float
    """How much better the best seed is than the mean, positive when better."""
    gain_by_luck: float
    """What the best of so many draws of pure noise gains on average."""

    @property
    def beats_luck(self) -> bool:
        """Whether the gain is more than luck alone would give."""
        return self.gain > self.gain_by_luck


def seeds(tries: int) -> list[int]:
    """The fixed list of seeds that a search of so many tries looks at; a longer search goes on where a shorter one ended."""
    return list(range(1, tries + 1))


def search_seeds(bench: Bench, candidate: Candidate, *, tries: int = 20, progress: Progress = SILENT) -> Iterator[Measurement]:
    """Measure `candidate` under each seed of the list; what the ledger holds already is not drawn again."""
    yield from measure_all(bench, [candidate.with_seed(seed) for seed in seeds(tries)], progress=progress)


def judge_seeds(values: Sequence[float], *, metric: str = "composite") -> SeedVerdict:
    """The worth of the best of `values`, one for each seed (at least two), of a metric known to `DIRECTIONS`."""
    higher = DIRECTIONS[metric] == "higher"
    mean, deviation = fmean(values), stdev(values)
    best = max(values) if higher else min(values)
    return SeedVerdict(len(values), mean, deviation, best, abs(best - mean), deviation * expected_maximum(len(values)))


@cache
def expected_maximum(draws: int) -> float:
    """Mean of the largest of so many independent standard normal draws (1.87 for 20): integral of x d(Phi(x)^n)."""
    value, _ = quad(lambda x: x * draws * math.exp((draws - 1) * norm.logcdf(x)) * norm.pdf(x), -12, 12)
    return float(value)
