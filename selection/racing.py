"""Race candidates: a few images of each, all images of the most promising, and more of the others only as long as they may still win.

What few images say of all N has two errors. One is noise: a prefix of n is a sample of a finite population, so it vanishes at N. The other is bias:
a Fréchet distance of n images is too large by something that falls as n grows, and that is not the same for every candidate. A race that
allows for noise alone drops the best without a word (spec: selection, 2a).

The halves of a prefix tell a slope, and if the bias fell as 1/n, that would be all to know. It does so only where n is large beside the dimensions:
of 1024 synthetic features with a spectrum of 1/k, slopes at n = 192 foretell a third of what is lost on the way to 992; of 256 features, nine tenths.
But whatever the law, candidates follow it together: there, slope and loss correlate by 0.97 and more. So it is learned in the race itself. The most
promising are measured on all images first, and how far they moved, as a line over their slopes, foretells how far the others will. What they miss
that line by, noise or bias, is the error of the forecast. Where slopes say nothing, the race takes longer.

The finalists come first for another reason, too: a race that is stopped early has its best candidates measured in full.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import norm, t

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from apfgan.ranking import better, gap
from selection.driving import spent
from selection.units import Outcome, Outcomes, Part, Search, Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Race:
    """The rule of a race."""

    first: int = 192
    """Images of every candidate; rounded up to whole chunks."""
    step: int = 96
    """So many more of whoever is still in doubt, rounded up to whole chunks, until all images are seen."""
    keep: int = 3
    """The best so many are to be found."""
    least: int = 8
    """So many are measured on all images whatever they look like: the finalists, by whom the others are judged. The fewer, the wider the margins."""
    confidence: float = 2.5
    """Standard errors (of a normal distribution) by which a candidate must be behind the last of the best to be dropped. More than the usual 2,
    for who looks promising has had luck, too: where slopes say nothing, finalists fall back by a little more than the others will."""
    by: str = "composite"
    """The metric that decides."""
    chunk: int = 32
    """Images that are drawn and kept together (`selection.measuring.CHUNK`)."""

    def __post_init__(self) -> None:
        if min(self.first, self.step, self.keep, self.chunk) < 1 or self.least < self.keep:
            raise UsageError(f"no race: {self.first} images, {self.step} more at a time, the best {self.keep} of at least {self.least} finalists")
        if not 0 < self.confidence < math.inf:
            raise UsageError(f"no race: {self.confidence:g} standard errors; take 2 or 3")

    def prefixes(self, images: int) -> list[int]:
        """How many of so many images are looked at, rung by rung, before all of them; none where there would be hardly a rung."""
        first, step = (-(-count // self.chunk) * self.chunk for count in (self.first, self.step))
        return list(range(first, images, step)) if images > first + step else []


DEFAULT_RACE = Race()


@dataclass(frozen=True, slots=True)
class Shortfall:
    """By how much a candidate is foreseen to be behind the last of the best on all images."""

    value: float
    """In the metric's unit; below 0 if it is ahead."""
    margin: float
    """What the forecast may be wrong by, at the rule's confidence; infinite where there is too little to judge by."""

    @property
    def certain(self) -> bool:
        """Whether the candidate is out of the race."""
        return self.value > self.margin


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that was not measured on all images."""

    candidate: Candidate
    images: int
    """On so many it was."""
    value: float
    """The metric on these. Not to be compared with a value on all images."""
    shortfall: Shortfall
    """Judged by all finalists. Not certain only where the race was ended before its time."""


@dataclass(frozen=True, slots=True)
class RaceSummary:
    """What a race did."""

    finished: tuple[Candidate, ...]
    """Measured on all images, best first."""
    dropped: tuple[Dropped, ...]
    """The others, most promising first."""
    images: int
    """Looked at in all."""
    full: int
    """That a sweep over the same candidates would have looked at."""

    @property
    def saved(self) -> float:
        """Share of the full sweep's images that was not needed, 0 to 1."""
        return 1 - self.images / self.full if self.full else 0.0


def race(candidates: Sequence[Candidate], *, images: int, rule: Race = DEFAULT_RACE) -> Search:
    """The search for the best `rule.keep` of the candidates, on `images` label maps in all.

    Whoever may be among them is measured on all images, and `rule.least` at any rate. Each batch is in order of promise, so that a budget that
    ends in the middle of one was spent well. Raises `UsageError` when the metric that decides is not measured on parts.
    """
    entrants = list(dict.fromkeys(candidates))
    prefixes = rule.prefixes(images)
    if not prefixes or len(entrants) <= rule.least:
        yield [Unit(candidate) for candidate in entrants]
        return
    parts = yield [Unit(candidate, Part(0, prefixes[0])) for candidate in entrants]
    running = [each.unit.candidate for each in _promising(parts, images, rule)]
    whole: dict[Unit, Outcome] = {}
    while running and len(whole) < rule.least:  # again where finalists failed
        finalists, running = running[: rule.least - len(whole)], running[rule.least - len(whole) :]
        whole |= yield [Unit(candidate) for candidate in finalists]
    for count, following in pairwise([*prefixes, images]):
        seen = [parts[unit] for candidate in running if (unit := Unit(candidate, Part(0, count))) in parts]
        in_doubt = {each.unit: each for each in seen if not _shortfall(each, parts, whole, images, rule).certain}
        running = [each.unit.candidate for each in _promising(in_doubt, images, rule)]
        if not running:
            return
        if following == images:
            yield [Unit(candidate) for candidate in running]
            return
        # The finalists' images are there already: how they moved from this prefix on is what the next forecast is made of.
        parts = yield [Unit(candidate, Part(0, following)) for candidate in (*(unit.candidate for unit in whole), *running)]


def summarise(outcomes: Outcomes, *, images: int, rule: Race = DEFAULT_RACE) -> RaceSummary:
    """What a race did, from all that came of it; whoever failed is left out."""
    sign = better(rule.by)
    whole = {unit: outcome for unit, outcome in outcomes.items() if unit.part is None}
    finished = sorted(whole.values(), key=lambda each: -sign * _value(each, rule))
    longest: dict[Candidate, Outcome] = {}
    for unit, outcome in outcomes.items():
        if unit.part is not None and Unit(unit.candidate) not in whole:
            longest[unit.candidate] = max(longest.get(unit.candidate, outcome), outcome, key=_count)
    dropped = [
        Dropped(each.unit.candidate, _count(each), _value(each, rule), _shortfall(each, outcomes, whole, images, rule)) for each in longest.values()
    ]
    return RaceSummary(
        finished=tuple(each.unit.candidate for each in finished),
        dropped=tuple(sorted(dropped, key=lambda each: each.shortfall.value)),
        images=round(spent(outcomes, images) * images),
        full=images * (len(whole) + len(dropped)),
    )


def _shortfall(one: Outcome, parts: Outcomes, whole: Mapping[Unit, Outcome], images: int, rule: Race) -> Shortfall:
    """How far behind the last of the best of `whole` one is that was looked at as a part, by how finalists moved from the same part."""
    sign = better(rule.by)
    finalists = [(parts[unit], each) for each in whole.values() if (unit := Unit(each.unit.candidate, one.unit.part)) in parts]
    if len(finalists) < rule.keep:
        return Shortfall(0.0, math.inf)
    ends = np.array([sign * _value(end, rule) for _, end in finalists])
    last = int(np.argsort(-ends, kind="stable")[rule.keep - 1])
    shifts = np.array([_bias(part, images, rule) for part, _ in finalists])
    # A line over what a 1/n law would foretell, beside that law itself: where finalists cannot tell a line, the law is what remains.
    moved = np.array([sign * _forecast(part, images, rule) for part, _ in finalists]) - ends
    design = np.column_stack([np.ones(len(shifts)), shifts - shifts.mean()])
    inverse = np.linalg.pinv(design)
    line = inverse @ moved
    freedom = len(moved) - int(np.linalg.matrix_rank(design))
    place = np.array([1.0, _bias(one, images, rule) - shifts.mean()])
    value = float(ends[last] - (sign * _forecast(one, images, rule) - place @ line))
    if freedom < 1:
        return Shortfall(value, math.inf)
    # What a further observation misses a fitted line by: Student's distribution, for the scatter itself is known from a few finalists only.
    scatter = np.square(moved - design @ line).sum() / freedom
    learned = float(t.isf(norm.sf(rule.confidence), freedom)) * math.sqrt(scatter * (1 + np.square(inverse.T @ place).sum()))
    # Finalists that are like one another (merges of the same few) move alike; the noise beside one of them is known image by image.
    noise = (gap(one.entry, finalists[last][0].entry, by=rule.by).error or 0.0) * math.sqrt(1 - _count(one) / images)
    return Shortfall(value, max(learned, rule.confidence * noise))


def _promising(parts: Outcomes, images: int, rule: Race) -> list[Outcome]:
    """The outcomes of one prefix, most promising first."""
    return sorted(parts.values(), key=lambda each: -better(rule.by) * _forecast(each, images, rule))


def _forecast(part: Outcome, images: int, rule: Race) -> float:
    """What the value would be on all images if its bias fell as 1/n."""
    return _value(part, rule) - _bias(part, images, rule)


def _bias(part: Outcome, images: int, rule: Race) -> float:
    """How much of the value on a prefix would vanish on the way to all images by a 1/n law."""
    return part.slopes.get(rule.by, 0.0) * (1 / _count(part) - 1 / images)


def _count(part: Outcome) -> int:
    """Images of the label maps of a part."""
    assert part.unit.part is not None
    return part.unit.part.count


def _value(outcome: Outcome, rule: Race) -> float:
    if rule.by not in outcome.entry.metrics:
        raise UsageError(f"cannot race by {rule.by!r}; measured on parts: {', '.join(outcome.entry.metrics)}")
    return outcome.entry.metrics[rule.by].value
