"""Pick the candidate to hand in: race the checkpoints, search their merges, confirm the finalists, and say how sure that is.

The steps are searches over a `Measure`, so a pick that was stopped goes on where it was, and the same measurements give the same pick.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from apfgan.candidates import Candidate, epoch_order
from apfgan.composite import Formula
from apfgan.errors import DataError
from apfgan.progress import SILENT, Progress
from apfgan.ranking import Entry, Place, foresee, gap, rank
from selection.confirming import Confirmation, Finalist, confirm, finalists_of, judge_confirmation
from selection.driving import UNLIMITED, Budget, drive, spent
from selection.holding_out import FirstHalf, second_half
from selection.merge_search import at_once, planned
from selection.pick_plan import Plan
from selection.racing import race
from selection.units import Measure, Outcomes, Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a pick came to."""

    plan: Plan
    pick: Candidate
    single: Candidate
    """The best single checkpoint that the race found."""
    confirmation: Confirmation
    whole: Mapping[Candidate, Entry]
    """The numbers of these two on all label maps: what is handed in, and what it is compared with."""
    searched: float
    """What the search found the pick to have."""
    optimism: float | None
    """What the best of so many owes to having been chosen, on average (`apfgan.contest.optimism`); None where errors are unknown."""
    tried: int
    """Candidates that were looked at, if only on a few label maps."""
    spending: Mapping[str, float]
    """By step, in evaluations. What was measured before counts, too: a pick that is made again spends alike."""

    @property
    def finalist(self) -> Finalist:
        """The pick among the finalists."""
        return self.confirmation.of(self.pick)

    @property
    def rivals(self) -> tuple[Finalist, ...]:
        """Those that the noise leaves beside it."""
        return tuple(each for each in self.confirmation.leaders if each.candidate != self.pick)


def choose(plan: Plan, measure: Measure, *, formula: Formula, budget: Budget = UNLIMITED, progress: Progress = SILENT) -> Decision:
    """Carry out a plan; `formula` is that of the composite. The budget ends the searches, never the confirmation, which it was planned for.

    The pick is the best of the confirmed. Where others are within one standard error of it, it is the simplest of these: a single checkpoint
    before a merge, a merge of few before one of many, equal shares before others, then the latest. Raises `DataError` where there is nothing to
    choose from.
    """
    stage: Measure = FirstHalf(measure) if plan.hold_out else measure
    raced = drive(race(plan.singles, images=stage.images), stage, budget=_rest(plan, budget, {}, stage))
    singles = rank([outcome.entry for unit, outcome in raced.items() if unit.part is None])
    if not singles:
        raise DataError("no checkpoint could be measured on all label maps: see above what kept each of them from it, or give a larger budget")
    progress.say(f"race: {len(singles)} of {len(plan.singles)} checkpoints measured in full, the best is {_named(singles[0])}")
    searched = dict(raced)
    if plan.merges and len(singles) > 1:
        search = planned([place.entry for place in singles], images=stage.images)
        rest = _rest(plan, budget, raced, stage)
        most = plan.merges if rest.evaluations is None else min(plan.merges, rest.evaluations)
        searched |= drive(search, stage, budget=replace(rest, evaluations=most))
    ranking = rank([outcome.entry for unit, outcome in searched.items() if unit.part is None])
    if plan.merges:
        progress.say(f"merges: {len(ranking) - len(singles)} measured in full, the best of all is {_named(ranking[0])}")
    finalists = finalists_of(ranking, most=plan.finalists)
    part = second_half(plan.images) if plan.hold_out else None
    confirmed = drive(confirm(finalists, plan.seeds, part), measure)
    single, tried = _candidate(singles[0]), len({unit.candidate.unseeded for unit in searched})
    confirmation = judge_confirmation(
        confirmed,
        finalists,
        single=single,
        tried=len(finalists) if plan.hold_out else tried,  # these label maps chose nobody
        formula=formula,
        seeds=plan.seeds,
        part=part,
    )
    if confirmation is None:
        raise DataError("none of the finalists could be measured with fresh seeds: see above what kept them from it")
    pick = simplest(each.candidate for each in confirmation.finalists if _within_an_error(each, confirmation.finalists[0]))
    whole = drive(at_once([pick, single]), measure)
    if len(whole) < len({pick, single}):
        raise DataError(f"{pick} and {single} were confirmed, and cannot both be measured on all label maps: see above what kept them from it")
    expected = foresee(ranking).expected
    return Decision(
        plan=plan,
        pick=pick,
        single=single,
        confirmation=confirmation,
        whole={unit.candidate: outcome.entry for unit, outcome in whole.items()},
        searched=searched[Unit(pick)].entry.metrics["composite"].value,
        optimism=None if expected is None else ranking[0].value.value - expected.value,
        tried=tried,
        spending={
            "race": plan.share * spent(raced, stage.images),
            "merges": plan.share * (spent(searched, stage.images) - spent(raced, stage.images)),
            "confirmation": spent(confirmed, plan.images) + (1 - plan.share) * len(whole),
        },
    )


def simplest(candidates: Iterable[Candidate]) -> Candidate:
    """The one that takes the least explaining: of the fewest checkpoints, in equal shares, with nothing else done to it, then the latest."""
    return max(candidates, key=lambda each: (-len(each.members), each.weights is None, each.is_plain, epoch_order(each.members[-1])))


def _rest(plan: Plan, budget: Budget, found: Outcomes, stage: Measure) -> Budget:
    """What a search may still spend in evaluations of its stage, once the confirmation is paid for."""
    reserve = plan.costs["confirmation"]
    evaluations, seconds = budget.evaluations, budget.seconds
    if evaluations is not None:
        evaluations = max(0.0, (evaluations - reserve) / plan.share - spent(found, stage.images))
    if seconds is not None:
        seconds = max(0.0, seconds - reserve * (plan.pace or 0.0) - sum(each.seconds for each in found.values()) / stage.parallel)
    return Budget(evaluations, seconds)


def _within_an_error(one: Finalist, best: Finalist) -> bool:
    """Whether a finalist is behind the best by no more than the standard error of that difference. A wider margin would often give points away:
    what many pairs leave undecided may well be decided for one of them."""
    behind = gap(best.place.entry, one.place.entry)
    return behind.value <= (behind.error or 0.0)


def _candidate(place: Place) -> Candidate:
    return Candidate.parse(place.entry.name)


def _named(place: Place) -> str:
    return f"{place.entry.name} with {place.value.value:.4f}"
