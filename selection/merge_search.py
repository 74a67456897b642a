"""Searches for the best mean of several checkpoints: all combinations of the best few, or a plan that finds one as good at a fraction of the cost."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from apfgan.ranking import Entry, better, gap
from selection.merge_candidates import combinations_of_best, ladder, mergeable, uniform, weighted
from selection.quadratic import LARGEST_POOL, Quadratic, fit_quadratic
from selection.units import Outcomes, Part, Search, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePlan:
    """Settings of the default search."""

    ladder: tuple[int, ...] = (2, 3, 5, 8)
    """The means of the best so many come first."""
    pairs_of: int = 4
    """With them every pair of the best few."""
    pool: int = 10
    """Of so many of the best, one at a time is taken into the best merge so far, or out of it."""
    changes: int = 5
    """How many such changes are tried, those first that the quadratic model thinks best."""
    abreast: int = 3
    """So many of them at once."""
    race_images: int = 256
    """Label maps on which a change must look promising before it is measured on all; best a multiple of the chunks in which images are stored."""
    proposals: int = 2
    """How many times the quadratic model is asked for the best shares, which need not be equal."""

    def __post_init__(self) -> None:
        if not 2 <= self.pool <= LARGEST_POOL:
            raise UsageError(f"a merge search goes over 2 to {LARGEST_POOL} checkpoints, not {self.pool}")
        if min(self.pairs_of, self.changes, self.proposals) < 0 or min(self.abreast, self.race_images) < 1:
            raise UsageError(f"no plan of a merge search: {self}")


DEFAULT_PLAN = MergePlan()


def at_once(candidates: Iterable[Candidate]) -> Search:
    """The search that measures these candidates, in one batch."""
    yield [Unit(candidate) for candidate in candidates]


def exhaustive(ranked: Sequence[Candidate], best: int) -> Search:
    """Every uniform merge of the best few of a ranking, as APF-GAN's authors did. Raises `UsageError` for too few or too many."""
    return at_once(combinations_of_best(ranked, best))


def greatest_cost(singles: int, plan: MergePlan = DEFAULT_PLAN) -> int:
    """Full evaluations that the planned search takes at most, given so many single checkpoints. A change that fails its race takes less."""
    pool = [Candidate((str(number),)) for number in range(min(singles, plan.pool))]
    opening = len(_opening(pool, plan))
    others = 2 ** len(pool) - len(pool) - 1 - opening
    return opening + min(plan.changes, others) + plan.proposals


def planned(singles: Sequence[Entry], *, images: int, by: str = "composite", plan: MergePlan = DEFAULT_PLAN) -> Search:
    """The default search: over measured single checkpoints, best first by metric `by`, on `images` label maps in all.

    It opens with a ladder of means of the best and the pairs of the very best. Then checkpoints are taken into the best merge so far, or out of
    it: what looks promising beside it on the first few label maps is measured on all, and takes its place if better by more than one standard
    error of their difference. At last the quadratic model of everything measured proposes shares. Raises `UsageError` for fewer than two to merge.
    """
    entries = {Candidate.parse(entry.name): entry for entry in singles}
    pool = mergeable(list(entries))[: plan.pool]
    return _planned(_Findings(by, {single: entries[single] for single in pool}), images, plan)


@dataclass(frozen=True, slots=True)
class _Findings:
    """What is measured so far: the pool's singles, best first, and merges of them."""

    by: str
    singles: Mapping[Candidate, Entry]
    merges: dict[Candidate, Entry] = field(default_factory=dict)

    @property
    def pool(self) -> list[Candidate]:
        return list(self.singles)

    @property
    def model(self) -> Quadratic:
        """The quadratic model of all of it; the same, to the last digit, in whatever order merges came in."""
        return fit_quadratic(
            {single.members[0]: self._loss(entry) for single, entry in self.singles.items()},
            {merge: self._loss(self.merges[merge]) for merge in sorted(self.merges, key=str)},
        )

    def add(self, outcomes: Outcomes) -> None:
        self.merges.update((unit.candidate, outcome.entry) for unit, outcome in outcomes.items())

    def best(self, among: Collection[Candidate]) -> Candidate | None:
        """The best measured of these merges; None where none is."""
        return min((each for each in among if each in self.merges), key=lambda each: self._loss(self.merges[each]), default=None)

    def beats(self, one: Candidate, other: Candidate) -> bool:
        """Whether one merge is better than the other by more than a standard error of their difference."""
        lead = gap(self.merges[one], self.merges[other], by=self.by)
        return better(self.by) * lead.value > (lead.error or 0.0)

    def _loss(self, entry: Entry) -> float:
        return -better(self.by) * entry.metrics[self.by].value


def _planned(findings: _Findings, images: int, plan: MergePlan) -> Search:
    findings.add((yield _units(_opening(findings.pool, plan))))
    yield from _climb(findings, images, plan)
    for _ in range(plan.proposals):
        proposal = weighted(findings.pool, findings.model.minimum())
        if proposal in findings.merges or not proposal.is_merge:
            return
        findings.add((yield _units([proposal])))


def _opening(pool: Sequence[Candidate], plan: MergePlan) -> list[Candidate]:
    """The ladder and the pairs, each once."""
    pairs = [uniform(pair) for pair in combinations(pool[: plan.pairs_of], 2)]
    return list(dict.fromkeys([*ladder(pool, plan.ladder), *pairs]))


def _climb(findings: _Findings, images: int, plan: MergePlan) -> Search:
    """Take checkpoints into the best merge, or out of it, as long as there are tries left."""
    incumbent = findings.best(findings.merges)
    tried: list[Candidate] = []
    while incumbent and len(tried) < plan.changes:
        changed = [each for each in _changes(incumbent, findings.pool) if each not in findings.merges and each not in tried]
        changed = sorted(changed, key=findings.model.predict)[: min(plan.abreast, plan.changes - len(tried))]
        if not changed:
            return
        tried += changed
        if plan.race_images < images:
            units = [Unit(each, Part(0, plan.race_images)) for each in (incumbent, *changed)]
            changed = _promising((yield units), units[0], changed, images, findings.by)
        if changed:
            findings.add((yield _units(changed)))
        challenger = findings.best(changed)
        if challenger and findings.beats(challenger, incumbent):
            incumbent = challenger


def _changes(merge: Candidate, pool: Sequence[Candidate]) -> list[Candidate]:
    """The uniform merges with one of the pool's checkpoints more or less."""
    sets = [[each for each in pool if (each.members[0] in merge.members) != (each is changed)] for changed in pool]
    return [uniform(members) for members in sets if len(members) > 1]


def _promising(raced: Outcomes, incumbent: Unit, changed: Sequence[Candidate], images: int, by: str) -> list[Candidate]:
    """Of the changes, raced beside the incumbent on the same label maps, those that may well be better than it on all `images`."""
    if (beside := raced.get(incumbent)) is None or (part := incumbent.part) is None:
        return []
    promising = []
    for candidate in changed:
        if outcome := raced.get(Unit(candidate, part)):
            lead = gap(outcome.entry, beside.entry, by=by)
            # The bias of few images, by the 1/n law; merges of much the same checkpoints differ little in it.
            drift = (outcome.slopes.get(by, 0.0) - beside.slopes.get(by, 0.0)) * (1 / images - 1 / part.count)
            # The first label maps are among all of them: what they leave uncertain are the others alone.
            error = (lead.error or 0.0) * math.sqrt(1 - part.count / images)
            if better(by) * (lead.value + drift) + error > 0:
                promising.append(candidate)
    return promising


def _units(candidates: Iterable[Candidate]) -> list[Unit]:
    return [Unit(candidate) for candidate in candidates]
