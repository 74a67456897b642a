"""Confirm what a search found: the finalists once more, with noise by which nothing was chosen.

Whoever wins a search owes some of it to the noise. So the number to tell is not the search's best, but what the finalists reach with fresh seeds,
and if the search was kept from half of the label maps, on these.

The population is that of other label maps and other seeds. A candidate's score is the mean over fresh seeds, and each image's influence on it the
mean of its influences under these. Every image has noise of its own (`apfgan.sampling`), so the seeds' part of the error is in the averaged
influences already, divided by the number of seeds: to add the seeds' variance would count it twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import stdev

import numpy as np
from scipy.stats import norm

from apfgan.candidates import Candidate
from apfgan.composite import Formula, exchange_rates, scores_of
from apfgan.measured import Measured
from apfgan.noise import CONFIDENCE, holm
from apfgan.ranking import Entry, Place, Standing, foresee, gap, is_distance, parts_of, rank
from apfgan.records import Estimate
from selection.units import Outcome, Outcomes, Part, Search, Unit

FRESH_SEEDS = tuple(range(1001, 1006))
"""The fixed seeds of a confirmation: none of those that a seed search looks at."""

MOST_SEEDS = 1000
"""Of a confirmation; they follow one another."""

LEAST_RATIO = 3.0
"""A gain of fewer standard errors is not claimed (spec: metrics, 5)."""

LEAST_STEP = 0.013
"""Nor one that is worth less than this part of the distance: trainings that differ in nothing but their seed differ by as much (spec: metrics, 5)."""

SAME_SHARES = 0.02
"""Merges whose shares differ by no more than this in all are not told apart by any number of seeds that anyone would pay for."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What a finalist is better by than the best single checkpoint."""

    size: Estimate
    """Of the composite, both with the same seeds on the same label maps; positive when better."""
    chance: float
    """Probability of a gain so large by chance alone, raised for the number of candidates it was chosen from (Holm)."""
    least: float
    """The smallest that is worth claiming: what `LEAST_STEP` of the distance is worth, or the larger deviation over seeds of the two."""

    @property
    def confirmed(self) -> bool:
        """Whether the gain may be claimed: `LEAST_RATIO` standard errors, no chance, and not too small."""
        beyond_noise = self.size.value > 0 and self.size.value >= LEAST_RATIO * (self.size.error or 0.0)
        return beyond_noise and self.chance < 1 - CONFIDENCE and self.size.value >= self.least


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate with fresh seeds."""

    candidate: Candidate
    """As it was found."""
    place: Place
    """Among the finalists, by the mean over seeds. Its entry holds the mean of every metric, with the mean of each image's influences."""
    standing: Standing
    values: tuple[float, ...]
    """The composite by seed."""
    gain: Gain | None = None
    """Over the best single checkpoint; None for that itself."""

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the composite over seeds; None of a single one."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the fresh seeds say."""

    finalists: tuple[Finalist, ...]
    """Best first; at least one."""
    seeds: tuple[int, ...]
    """Those under which all of them were measured."""
    images: int
    """Label maps behind each value."""

    def of(self, candidate: Candidate) -> Finalist:
        """That of this candidate; raises `KeyError` if it was not confirmed."""
        return {each.candidate: each for each in self.finalists}[candidate]

    @property
    def leaders(self) -> tuple[Finalist, ...]:
        """The best, and those that are not told apart from it."""
        return tuple(each for each in self.finalists if each.place.tied)


def is_fresh(seed: int) -> bool:
    """Whether a seed is one of a confirmation, however many it took."""
    return FRESH_SEEDS[0] <= seed < FRESH_SEEDS[0] + MOST_SEEDS


def finalists_of(ranking: Sequence[Place], *, most: int) -> list[Candidate]:
    """The best so many of a ranking, and the best single checkpoint where it is not among them.

    None that differs from a better one by its seed alone, or hardly by its shares: it would take a place to say the same again.
    """
    best: list[Candidate] = []
    for place in ranking:
        candidate = Candidate.parse(place.entry.name)
        if len(best) < most and not any(_alike(candidate, other) for other in best):
            best.append(candidate)
    single = best_single(ranking)
    return best if single is None or single in best else [*best, single]


def best_single(ranking: Sequence[Place]) -> Candidate | None:
    """The best of a ranking that is a checkpoint as it was trained."""
    candidates = (Candidate.parse(place.entry.name) for place in ranking)
    return next((each for each in candidates if not each.is_merge and each.is_plain), None)


def confirm(finalists: Sequence[Candidate], seeds: Sequence[int] = FRESH_SEEDS, part: Part | None = None) -> Search:
    """The search that measures every finalist under every seed, on all label maps or on a part that was held out; one batch.

    Seed by seed, so that a search which is ended early leaves whole seeds.
    """
    yield [Unit(candidate.with_seed(seed), part) for seed in seeds for candidate in finalists]


def judge_confirmation(
    outcomes: Outcomes,
    finalists: Sequence[Candidate],
    *,
    single: Candidate,
    tried: int,
    formula: Formula,
    seeds: Sequence[int] = FRESH_SEEDS,
    part: Part | None = None,
) -> Confirmation | None:
    """What came of `confirm`; None if nothing did. Finalists that could not be measured are left out, and seeds that not all others have.

    `single` is the best single checkpoint, over which the gains are; `tried` the number of candidates from which the finalists were chosen by
    these very label maps; `formula` that of the composite.
    """
    measured = [each for each in finalists if Unit(each.with_seed(seeds[0]), part) in outcomes]
    whole = [seed for seed in seeds if measured and all(Unit(each.with_seed(seed), part) in outcomes for each in measured)]
    if not whole:
        return None
    found = {str(each): [outcomes[Unit(each.with_seed(seed), part)] for seed in whole] for each in measured}
    places = rank([_mean_over_seeds(name, its) for name, its in found.items()])
    values = {name: tuple(each.entry.metrics["composite"].value for each in its) for name, its in found.items()}
    confirmed = [
        Finalist(Candidate.parse(place.entry.name), place, standing, values[place.entry.name])
        for place, standing in zip(places, foresee(places).standings, strict=True)
    ]
    images = len(places[0].entry.measured["composite"].influence)
    return Confirmation(tuple(_with_gains(confirmed, single, tried, formula)), tuple(whole), images)


def _alike(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates are treated alike and have at least 1 - `SAME_SHARES` of their weights from the same checkpoints."""
    shares, others = (dict(zip(each.members, each.shares, strict=True)) for each in (one, other))
    moved = sum(abs(shares.get(name, 0.0) - others.get(name, 0.0)) for name in shares.keys() | others.keys()) / 2
    treated = [replace(each, members=("any",), weights=None, seed=0, width=None) for each in (one, other)]
    return moved <= SAME_SHARES and treated[0] == treated[1] and one.width == other.width


def _mean_over_seeds(name: str, outcomes: Sequence[Outcome]) -> Entry:
    """The mean of every metric over seeds."""
    seeds = [outcome.entry.measured for outcome in outcomes]
    mean = {metric: Measured.average([each[metric] for each in seeds]) for metric in seeds[0]}
    return Entry(name, {metric: each.estimate for metric, each in mean.items()}, mean)


def _with_gains(finalists: Sequence[Finalist], single: Candidate, tried: int, formula: Formula) -> list[Finalist]:
    """The finalists with their gains over the single checkpoint; without, where that one is missing."""
    others = [each for each in finalists if each.candidate != single]
    rival = next((each for each in finalists if each.candidate == single), None)
    if rival is None:
        return list(finalists)
    sizes = {each.candidate: gap(each.place.entry, rival.place.entry) for each in others}
    # Those that did not come so far are no better than by chance, as far as anyone knows.
    chances = [norm.sf(size.value / size.error) if size.error else float(size.value <= 0) for size in sizes.values()]
    raised = holm(np.array([*chances, *[1.0] * (tried - len(chances))]))
    step = _worth_of_a_step(rival.place.entry.metrics, formula)
    gains = {
        each.candidate: Gain(sizes[each.candidate], float(chance), max(step, each.deviation or 0.0, rival.deviation or 0.0))
        for each, chance in zip(others, raised, strict=False)
    }
    return [replace(each, gain=gains.get(each.candidate)) for each in finalists]


def _worth_of_a_step(metrics: Mapping[str, Estimate], formula: Formula) -> float:
    """What the total gains when the distance falls by `LEAST_STEP` of itself."""
    distance = next(filter(is_distance, parts_of(metrics)))
    values = {name: each.value for name, each in scores_of(metrics, distance=distance).items()}
    return -exchange_rates(formula, **values)["distance"] * LEAST_STEP * values["distance"]
