"""Which noise seeds a search looks at, and what its find is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from apfgan.noise import expected_maximum
from apfgan.ranking import better
from selection.units import Search, Unit

MOST_SEEDS = 1000
"""Of a search. What comes behind them is kept for confirmations (`selection.confirming`), which nothing may be chosen by."""


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
    """The fixed list of seeds that a search of so many tries (at most `MOST_SEEDS`) looks at, the default one first.

    A longer search goes on where a shorter one ended. Raises `UsageError` for more.
    """
    if tries > MOST_SEEDS:
        raise UsageError(f"{tries} seeds: at most {MOST_SEEDS} can be tried, and 20 find most of what there is to be found")
    return list(range(tries))


def search_seeds(candidate: Candidate, tries: int) -> Search:
    """The search that measures a candidate under so many seeds, all in one batch."""
    yield [Unit(candidate.with_seed(seed)) for seed in seeds(tries)]


def judge_seeds(values: Sequence[float], *, metric: str = "composite") -> SeedVerdict:
    """The worth of the best of `values`, one for each seed (at least two), of a metric that `apfgan.ranking` knows."""
    mean, deviation = fmean(values), stdev(values)
    best = max(values, key=lambda value: better(metric) * value)
    return SeedVerdict(len(values), mean, deviation, best, abs(best - mean), deviation * expected_maximum(len(values)))
