"""Picking in small worlds whose truth is known, without a network: who wins, what a budget cuts, and what the guards say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from apfgan.candidates import Candidate
from apfgan.composite import FORMULAS, composite_measured
from apfgan.errors import DataError, UsageError
from apfgan.measured import Measured
from apfgan.randomness import random_source
from apfgan.ranking import Entry, gap
from apfgan.records import Anchors, Estimate
from selection.driving import Budget
from selection.guards import guard, worsened
from selection.merge_search import greatest_cost
from selection.pick_plan import describe_plan, fitted, wanted_plan
from selection.picking import Decision, choose, simplest
from selection.seed_search import seeds
from selection.units import Outcome, Part, Unit

EPOCHS = tuple(Candidate((str(epoch),)) for epoch in range(10, 16))


@dataclass(frozen=True, kw_only=True)
class World:
    """A `Measure`: images have a distance and a check, both of them means; merging helps both by `bonus`, but the check by `check_bonus`."""

    images: int = 64
    parallel: int = 1
    distances: Mapping[str, float] = field(default_factory=lambda: {str(10 + index): 40.0 - index for index in range(6)})
    """Truth by epoch."""
    bonus: float = 0.0
    check_bonus: float | None = None
    noise: float = 1.0
    """Deviation over images of what is a candidate's and a seed's own."""
    broken: frozenset[str] = frozenset()
    asked: list[Unit] = field(default_factory=list)

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        self.asked.extend(units)
        return {unit: self._measure(unit) for unit in units if unit.candidate.base not in self.broken}

    def _measure(self, unit: Unit) -> Outcome:
        candidate = unit.candidate
        part = unit.part or Part(0, self.images)
        mean = sum(share * self.distances[member] for member, share in zip(candidate.members, candidate.shares, strict=True))
        common = 3 * random_source("map").standard_normal(self.images)
        own = common + self.noise * random_source(str(candidate)).standard_normal(self.images)
        check = common + self.noise * random_source("check", str(candidate)).standard_normal(self.images)
        bonus = self.bonus if candidate.is_merge else 0.0
        check_bonus = (self.bonus if self.check_bonus is None else self.check_bonus) if candidate.is_merge else 0.0
        rows = slice(part.start, part.stop)
        scores = {
            "mask_accuracy": Measured.mean(np.full(part.count, 0.9)),
            "aesthetic": Measured.mean(np.full(part.count, 5.0)),
            "fid": Measured.mean((mean - bonus + own)[rows]),
        }
        scores["composite"] = composite_measured(FORMULAS["A"], scores, distance="fid")
        if unit.part is None:
            scores["fd-dinov2"] = Measured.mean(mean - check_bonus + check)
        return Outcome(unit, Entry(str(candidate), {name: each.estimate for name, each in scores.items()}, scores), seconds=part.count / 10)


def pick(world: World, *, hold_out: bool = False, merges: bool = True, budget: Budget | None = None, seeds: int = 5) -> Decision:
    singles = [Candidate((name,)) for name in world.distances]
    plan = fitted(wanted_plan(singles, images=world.images, merges=merges, hold_out=hold_out, seeds=seeds), budget or Budget())
    return choose(plan, world, formula=FORMULAS["A"], budget=budget or Budget())


def answers(decision: Decision, *, judges: str = "standard", anchors: Anchors | None = None) -> dict[str, str]:
    return {each.name: each.answer for each in guard(decision, judges=judges, anchors=anchors)}


def test_a_clear_winner():
    world = World(bonus=3.0)
    decision = pick(world)
    assert (str(decision.pick), decision.single, decision.rivals) == ("avg_14_15", EPOCHS[-1], ())
    assert decision.finalist.gain is not None and decision.finalist.gain.confirmed
    found = answers(decision)
    assert found["unconfirmed_gain"] == found["goodhart"] == "no" and found["same_label_maps"] == "yes"
    assert decision.whole[decision.pick].metrics["composite"].value == decision.searched
    assert decision.tried == len({each.candidate.unseeded for each in world.asked})


def test_the_only_winner_is_a_single_where_merging_harms():
    decision = pick(World(bonus=-4.0))
    assert (decision.pick, decision.single, decision.rivals) == (EPOCHS[-1], EPOCHS[-1], ())
    assert answers(decision)["unconfirmed_gain"] == answers(decision)["goodhart"] == "no"
    assert decision.finalist.standing.probability_best == pytest.approx(1.0, abs=0.01)


def test_no_clear_winner_names_the_set_and_takes_the_simplest():
    decision = pick(World(distances={str(10 + index): 30.0 for index in range(6)}, noise=4.0))
    assert not decision.pick.is_merge and decision.rivals
    chances = [each.standing.probability_best for each in decision.confirmation.finalists]
    assert sum(chances) == pytest.approx(1.0) and max(chances) < 0.95


def test_points_are_not_given_away_for_simplicity():
    # Merges are better by a little more than their error: not enough for a verdict over all pairs, and too much to go without.
    flat = {str(10 + index): 30.0 for index in range(6)}
    worlds = [pick(World(distances=flat, bonus=bonus, noise=3.0)) for bonus in (0.2, 0.4, 0.6, 0.8)]
    for decision in worlds:
        best, chosen = decision.confirmation.finalists[0], decision.finalist
        lead = gap(best.place.entry, chosen.place.entry)
        assert lead.value <= (lead.error or 0.0)
        simpler = [each for each in decision.confirmation.finalists if len(each.candidate.members) < len(decision.pick.members)]
        for other in simpler:
            given_away = gap(best.place.entry, other.place.entry)
            assert given_away.value > given_away.error
    simplest_of_all = [simplest(each.candidate for each in decision.confirmation.leaders) for decision in worlds]
    assert any(decision.pick != simple for decision, simple in zip(worlds, simplest_of_all, strict=True))


def test_simplest_is_of_few_checkpoints_then_plain_then_late():
    texts = ["0.4*9+0.6*10", "avg_9_10", "9~recal500", "10~recal500", "9", "10", "avg_8_9_10"]
    order = []
    left = list(map(Candidate.parse, texts))
    while left:
        order.append(simplest(left))
        left.remove(order[-1])
    assert [str(each) for each in order[:4]] == ["10", "9", "10~recal500", "9~recal500"]
    assert [str(each) for each in order[4:]] == ["avg_9_10", "0.4*9+0.6*10", "avg_8_9_10"]


def test_the_same_measurements_give_the_same_pick():
    one, other = pick(World(bonus=1.0)), pick(World(bonus=1.0))
    assert (one.pick, one.spending, one.tried) == (other.pick, other.spending, other.tried)
    assert [each.values for each in one.confirmation.finalists] == [each.values for each in other.confirmation.finalists]


def test_confirmed_with_seeds_that_nothing_was_chosen_by():
    world = World(bonus=3.0)
    pick(world, seeds=2)
    fresh = [unit.candidate for unit in world.asked if unit.candidate.seed]
    assert {each.seed for each in fresh} == {1001, 1002} and not {1001, 1002} & set(seeds(1000))


def test_a_failing_candidate_is_left_out():
    world = World(bonus=3.0, broken=frozenset({"15", "avg_13_14"}))
    decision = pick(world)
    assert decision.single == EPOCHS[-2] and "15" not in decision.pick.members and str(decision.pick) != "avg_13_14"
    with pytest.raises(DataError, match="no checkpoint"):
        pick(World(broken=frozenset(world.distances)))


def test_a_single_checkpoint_is_its_own_best():
    decision = pick(World(distances={"10": 30.0}))
    assert decision.pick == decision.single == EPOCHS[0] and not decision.rivals
    assert decision.spending == {"race": 1.0, "merges": 0.0, "confirmation": 5.0}


class TestPlan:
    def test_costs_of_many_epochs(self):
        wanted = wanted_plan([Candidate((str(epoch),)) for epoch in range(39)], images=1000)
        assert wanted.costs == {"race": pytest.approx((39 * 192 + 8 * 808) / 1000), "merges": greatest_cost(39), "confirmation": 20.0}
        assert wanted.total == pytest.approx(13.952 + greatest_cost(39) + 20)
        assert fitted(wanted) == wanted and wanted.cuts(wanted) == []

    @pytest.mark.parametrize(
        "evaluations, kept, cuts",
        [
            (50, (5, 3, 16), []),
            (49, (3, 3, 16), ["3 fresh seeds instead of 5"]),
            (40, (3, 2, 16), ["3 fresh seeds instead of 5", "2 finalists instead of 3"]),
            (32, (3, 2, 8), ["3 fresh seeds instead of 5", "2 finalists instead of 3", "8 evaluations of merges instead of 16"]),
            (28, (3, 2, 4), ["3 fresh seeds instead of 5", "2 finalists instead of 3", "4 evaluations of merges instead of 16"]),
            (24, (2, 2, 4), ["2 fresh seeds instead of 5", "2 finalists instead of 3", "4 evaluations of merges instead of 16"]),
            (18, (2, 2, 0), ["2 fresh seeds instead of 5", "2 finalists instead of 3", "no merges"]),
        ],
    )
    def test_what_a_budget_cuts_and_in_which_order(self, evaluations, kept, cuts):
        wanted = wanted_plan([Candidate((str(epoch),)) for epoch in range(39)], images=1000)
        plan = fitted(wanted, Budget(evaluations))
        assert (len(plan.seeds), plan.finalists, plan.merges) == kept and plan.cuts(wanted) == cuts and plan.total <= evaluations
        assert all(cut in describe_plan(plan, wanted) for cut in cuts)

    def test_too_small_a_budget_is_refused_with_one_that_would_do(self):
        wanted = wanted_plan([Candidate((str(epoch),)) for epoch in range(39)], images=1000)
        with pytest.raises(UsageError, match=r"Give 18 evaluations, or fewer --epochs"):
            fitted(wanted, Budget(12))

    def test_a_limit_of_time_needs_a_pace(self):
        wanted = wanted_plan(EPOCHS, images=100)
        assert fitted(wanted, Budget(seconds=60)) == wanted
        paced = replace(wanted, pace=10.0)
        assert fitted(paced, Budget(seconds=10 * paced.total)) == paced
        assert len(fitted(paced, Budget(seconds=9 * paced.total)).seeds) == 3
        assert "min" in describe_plan(paced, paced)
        with pytest.raises(UsageError, match=r"\(about [0-9]+ min\), or fewer"):
            fitted(paced, Budget(seconds=30))

    def test_searching_on_half_costs_half(self):
        whole = wanted_plan(EPOCHS, images=64)
        half = wanted_plan(EPOCHS, images=64, hold_out=True)
        assert half.costs["race"] == whole.costs["race"] / 2 and half.costs["merges"] == whole.costs["merges"] / 2
        assert half.costs["confirmation"] == whole.costs["confirmation"] / 2 + 1
        with pytest.raises(UsageError, match="--hold-out"):
            wanted_plan(EPOCHS, images=3, hold_out=True)


@pytest.mark.parametrize("evaluations", [10, 14, 20, 26, 30])
@pytest.mark.parametrize("hold_out", [False, True])
def test_no_more_is_spent_than_there_is(evaluations, hold_out):
    world = World(bonus=2.0)
    decision = pick(world, hold_out=hold_out, budget=Budget(evaluations))
    looked_at: dict[Candidate, set[int]] = {}
    for unit in world.asked:
        part = unit.part or Part(0, world.images)
        looked_at.setdefault(unit.candidate, set()).update(range(part.start, part.stop))
    images = sum(map(len, looked_at.values()))
    assert sum(decision.spending.values()) == pytest.approx(images / world.images)
    assert images / world.images <= evaluations
    assert decision.pick in [each.candidate for each in decision.confirmation.finalists]


def test_a_budget_too_small_for_merges_picks_a_single():
    decision = pick(World(bonus=3.0), budget=Budget(11))
    assert decision.plan.merges == 0 and decision.pick == EPOCHS[-1] and decision.spending["merges"] == 0


def test_time_ends_the_searches():
    plan = replace(wanted_plan(EPOCHS, images=64), pace=6.4)
    left = Budget(seconds=(6 + 20 + 3.5) * 6.4)
    decision = choose(plan, World(bonus=2.0), formula=FORMULAS["A"], budget=left)
    assert decision.spending["race"] == 6 and 3 <= decision.spending["merges"] <= 5 and decision.spending["confirmation"] == 20


def test_held_out_label_maps_are_not_searched():
    world = World(bonus=2.0)
    decision = pick(world, hold_out=True)
    searched = [unit for unit in world.asked if unit.candidate.seed == 0 and unit.part is not None]
    confirmed = [unit for unit in world.asked if unit.candidate.seed]
    assert all(unit.part.stop <= 32 for unit in searched) and {unit.part for unit in confirmed} == {Part(32, 64)}
    assert {unit.candidate for unit in world.asked if unit.part is None} == {decision.pick, decision.single}
    assert decision.confirmation.images == 32 and answers(decision)["same_label_maps"] == "no"
    assert set(decision.whole) == {decision.pick, decision.single} and "fd-dinov2" in decision.whole[decision.pick].metrics


class TestGuards:
    def test_a_gain_that_the_judges_alone_see(self):
        decision = pick(World(bonus=3.0, check_bonus=-3.0))
        assert decision.pick.is_merge
        found = {each.name: each for each in guard(decision, judges="standard", anchors=None)}
        assert found["goodhart"].answer == "yes" and "fd-dinov2" in found["goodhart"].sentence

    def test_no_checks_no_answer(self):
        decision = pick(World(bonus=3.0))
        bare = {
            each: Entry(entry.name, entry.metrics, {name: value for name, value in entry.measured.items() if name != "fd-dinov2"})
            for each, entry in decision.whole.items()
        }
        assert answers(replace(decision, whole=bare))["goodhart"] == "unknown"

    def test_direction_and_number_of_checks_count(self):
        rows = np.random.default_rng(0).standard_normal(100)
        rows -= rows.mean()
        base = {"recall": Measured(0.5, 0 * rows, 100), "kid": Measured(0.5, 0 * rows, 100)}
        error = Measured(0.0, rows, 100).estimate.error
        assert error is not None
        lower = {name: Measured(0.5 - 1.8 * error, rows, 100) for name in base}
        assert worsened(lower, base, ["recall"]) == ["recall"] and worsened(lower, base, ["kid"]) == []
        assert worsened(lower, base, ["recall", "kid"]) == []  # 1.8 standard errors are no wonder in one of two

    def test_luck_shows_with_fresh_seeds(self):
        decision = pick(World(distances={"10": 30.0}, noise=4.0))
        assert answers(decision)["luck"] == (
            "yes" if decision.searched - decision.finalist.place.value.value > 3 * decision.finalist.deviation else "no"
        )
        assert answers(replace(decision, searched=decision.searched + 1))["luck"] == "yes"
        assert answers(pick(World(distances={"10": 30.0}), seeds=1))["luck"] == "unknown"

    @pytest.mark.parametrize(
        "real, alarms, mask, judge",
        [(0.95, (), "no", "no"), (0.5, (), "yes", "no"), (0.95, ("a class is never seen",), "no", "yes"), (None, (), "unknown", "unknown")],
    )
    def test_real_photos(self, real, alarms, mask, judge):
        metrics = {} if real is None else {"mask_accuracy": Estimate(real, 0.01)}
        anchors = Anchors(metrics=metrics, composite=None, photos=10, origin="photos", alarms=alarms)
        found = answers(pick(World(), merges=False), anchors=anchors)
        assert (found["mask_above_photos"], found["judge_alarms"]) == (mask, judge)

    def test_embedded_judges_clip_and_photos(self):
        decision = pick(World(distances={"10": 300.0, "11": 200.0}), merges=False)
        found = answers(decision, judges="embedded")
        assert found["embedded_judges"] == found["beyond_clip"] == "yes" and found["photos"] == "no"
