"""What a pick will do, what that costs, and what a budget leaves out of it. Pure values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from selection.confirming import FRESH_SEEDS
from selection.driving import UNLIMITED, Budget
from selection.merge_search import greatest_cost
from selection.pacing import cost_text
from selection.racing import DEFAULT_RACE

FINALISTS = 3
"""The best so many are confirmed, and the best single checkpoint beside them."""

_CUTS = ((3, 3, None), (3, 2, None), (3, 2, 8), (3, 2, 4), (2, 2, 4), (2, 2, 0))
"""Fresh seeds, finalists and evaluations of merges that a smaller and smaller budget leaves at most; None: as many as are wanted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a pick will do. Costs are in evaluations: one is a candidate on all label maps."""

    singles: tuple[Candidate, ...]
    """What is raced."""
    images: int
    """Label maps in all."""
    merges: int
    """The merge search measures at most so many candidates in full; 0: there is none."""
    finalists: int = FINALISTS
    seeds: tuple[int, ...] = FRESH_SEEDS
    """Of the confirmation."""
    hold_out: bool = False
    """Search on the first half of the label maps, and confirm on the second."""
    pace: float | None = None
    """Seconds of one evaluation, with as many at a time as there are devices; None where nothing was measured yet."""

    @property
    def share(self) -> float:
        """What a search's look at one candidate costs: all label maps, or half of them."""
        return (self.images // 2) / self.images if self.hold_out else 1.0

    @property
    def costs(self) -> dict[str, float]:
        """By step. A race takes more where the candidates are alike, up to all of them in full; the others take so much, or less."""
        confirmed = self.finalists + 1 if self.merges else min(self.finalists, len(self.singles))
        kept = 1 - self.share if self.hold_out else 1.0
        whole = 2 * (1 - self.share)  # the pick and the best single checkpoint, whose first halves the search has seen
        return {"race": self._least_race, "merges": self.merges * self.share, "confirmation": confirmed * len(self.seeds) * kept + whole}

    @property
    def total(self) -> float:
        """All steps together."""
        return sum(self.costs.values())

    @property
    def _least_race(self) -> float:
        """A first look at all checkpoints, and all images of the finalists."""
        images, many = round(self.images * self.share), len(self.singles)
        prefixes = DEFAULT_RACE.prefixes(images)
        if not prefixes or many <= DEFAULT_RACE.least:
            return many * self.share
        return (many * prefixes[0] + DEFAULT_RACE.least * (images - prefixes[0])) / self.images

    def cuts(self, wanted: "Plan") -> list[str]:
        """What this plan leaves out of the one that was wanted, in words."""
        lines = []
        if len(self.seeds) < len(wanted.seeds):
            lines.append(f"{len(self.seeds)} fresh seeds instead of {len(wanted.seeds)}")
        if self.finalists < wanted.finalists:
            lines.append(f"{self.finalists} finalists instead of {wanted.finalists}")
        if self.merges < wanted.merges:
            lines.append(f"{self.merges} evaluations of merges instead of {wanted.merges}" if self.merges else "no merges")
        return lines


def wanted_plan(
    singles: Sequence[Candidate],
    *,
    images: int,
    seeds: int = len(FRESH_SEEDS),
    merges: bool = True,
    hold_out: bool = False,
    pace: float | None = None,
) -> Plan:
    """The plan that nothing limits, for these checkpoints on `images` label maps. Raises `UsageError` for too few of them to hold half out."""
    if hold_out and images < 4:
        raise UsageError(f"half of {images} label maps are too few: a Fréchet distance needs 2 images at least. Leave --hold-out out")
    chosen = tuple(dict.fromkeys(singles))
    return Plan(
        singles=chosen,
        images=images,
        merges=greatest_cost(len(chosen)) if merges and len(chosen) > 1 else 0,
        seeds=tuple(FRESH_SEEDS[0] + index for index in range(seeds)),
        hold_out=hold_out,
        pace=pace,
    )


def fitted(wanted: Plan, budget: Budget = UNLIMITED) -> Plan:
    """The plan, or what the budget leaves of it.

    Cut are, in this order: fresh seeds down to 3, finalists to 2, merges to 8 evaluations and then to 4, one more seed, at last the merges: in a
    world of the published tables 4 evaluations of them gain 1.4 FID, and 12 more 0.15. Raises `UsageError` where even that is too dear. A limit
    of time says something only where the plan's pace is known.
    """
    limits = [budget.evaluations] if budget.evaluations is not None else []
    if budget.seconds is not None and wanted.pace:
        limits.append(budget.seconds / wanted.pace)
    plan = wanted
    for plan in _smaller(wanted):
        if not limits or plan.total <= min(limits):
            return plan
    raise UsageError(
        f"the budget, {min(limits):.1f} evaluations, is too small: to race {len(plan.singles)} checkpoints takes {plan.costs['race']:.1f} at least, "
        f"and to confirm the best {plan.costs['confirmation']:.1f}. Give {cost_text(plan.total, plan.pace)}, or fewer --epochs"
    )


def describe_plan(plan: Plan, wanted: Plan) -> str:
    """The steps with their costs, and what was cut."""
    does = {
        "race": f"{len(plan.singles)} checkpoints, on {round(plan.images * plan.share)} label maps",
        "merges": "of the best" if plan.merges else "none",
        "confirmation": f"{plan.finalists} finalists and the best single checkpoint, {len(plan.seeds)} fresh seeds",
    }
    more = {"race": "or more", "merges": "at most", "confirmation": "at most"}
    lines = [f"{name:13} {does[name]}: {cost_text(cost, plan.pace)} {more[name]}" for name, cost in plan.costs.items()]
    cuts = plan.cuts(wanted)
    return "\n".join([*lines, f"in all about {cost_text(plan.total, plan.pace)}", *([f"for the budget: {'; '.join(cuts)}"] if cuts else [])])


def _smaller(wanted: Plan) -> Iterator[Plan]:
    yield wanted
    for seeds, finalists, merges in _CUTS:
        left = wanted.merges if merges is None else min(merges, wanted.merges)
        yield replace(wanted, seeds=wanted.seeds[:seeds], finalists=min(finalists, wanted.finalists), merges=left)
