"""Races in worlds whose truth is known: what is dropped, what is found, and what it costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm, t

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from apfgan.measured import Measured
from apfgan.randomness import random_source
from apfgan.ranking import Entry, gap
from metrics.frechet import Gaussian, measure_distance
from selection.driving import Budget, drive, spent
from selection.measuring import CHUNK
from selection.racing import Race, race, summarise
from selection.units import Outcome, Part, Search, Unit

BY_FID = Race(by="fid")


@dataclass
class World:
    """Candidates 0, 1, ..., each worse than the one before, seen with noise of their own, common noise, and the bias of few images."""

    seed: int
    count: int = 39
    images: int = 1000
    step: float = 0.25
    """Of the truth, from one candidate to the next."""
    noise: float = 0.1
    """Deviation of a candidate's value on 1000 images."""
    bias: float = 0.1
    """Deviation of candidates' biases: of n images it is 1000/n - 1 times that, by a 1/n law."""
    power: float = 1.0
    """The bias falls with this power of n."""
    tells_slopes: bool = True
    tells_influences: bool = True
    metric: str = "fid"
    fails: frozenset[Unit] = frozenset()
    parallel: int = 1
    asked: list[Unit] = field(default_factory=list)

    def __post_init__(self) -> None:
        random = random_source("race", self.seed)
        self.values = math.sqrt(1000) * (self.noise * random.standard_normal((self.count, self.images)) + 0.3 * random.standard_normal(self.images))
        self.biases = 5 + self.bias * random.standard_normal(self.count)

    @property
    def candidates(self) -> list[Candidate]:
        return [Candidate((str(number),)) for number in range(self.count)]

    @property
    def sweep(self) -> list[int]:
        """The candidates in the order of a full sweep."""
        return np.argsort(np.arange(self.count) * self.step + self.values.mean(axis=1), kind="stable").tolist()

    def lost(self, number: int, count: int) -> float:
        """What the bias of so many images adds: the same at 200 images whatever the law."""
        law = [size**-self.power - self.images**-self.power for size in (count, 200)]
        return float(self.biases[number] * (1000 / 200 - 1) * law[0] / law[1])

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        self.asked += units
        return {unit: self.measure(unit) for unit in units if unit not in self.fails}

    def measure(self, unit: Unit) -> Outcome:
        number, count = int(unit.candidate.mean), unit.part.stop if unit.part else self.images
        seen = Measured.mean(self.values[number, :count])
        value = number * self.step + self.lost(number, count) + seen.value
        sign = 1 if self.metric == "fid" else -1
        found = Measured(sign * value, sign * seen.influence, count)
        slope = sign * count * (self.lost(number, count // 2) - self.lost(number, count))
        entry = Entry(str(unit.candidate), {self.metric: found.estimate}, {self.metric: found} if self.tells_influences else {})
        return Outcome(unit, entry, {self.metric: slope} if unit.part and self.tells_slopes else {})


def found(world: World, rule: Race = BY_FID) -> tuple[list[int], float]:
    """The best that a race finds, and its share of the full sweep's images."""
    outcomes = drive(race(world.candidates, images=world.images, rule=rule), world)
    best = summarise(outcomes, images=world.images, rule=rule).finished[: rule.keep]
    return [int(each.mean) for each in best], spent(outcomes, world.images) / world.count


@pytest.mark.parametrize(
    ("world", "bias", "at_most"),
    [
        (World(0, bias=0.0), 0.0, 0.37),
        (World(0), 0.16, 0.37),
        (World(0), 0.3, 0.37),
        (World(0, power=0.35), 0.16, 0.37),
        (World(0, metric="composite"), 0.16, 0.37),
        (World(0, tells_influences=False), 0.16, 0.38),
        (World(0, tells_slopes=False), 0.1, 0.40),
        (World(0, tells_slopes=False), 0.16, 0.42),
    ],
)
def test_the_best_three_of_the_full_sweep_are_found_with_two_fifths_of_its_images(world: World, bias: float, at_most: float) -> None:
    worlds = [replace(world, seed=seed, bias=bias) for seed in range(40)]
    races = [found(each, Race(by=each.metric)) for each in worlds]
    right = sum(set(best) == set(each.sweep[:3]) for each, (best, _) in zip(worlds, races, strict=True))
    assert right >= 0.95 * len(worlds)
    assert np.mean([share for _, share in races]) < at_most


def race_by_noise_alone(world: World) -> Search:
    """As if few images were noisy and nothing else."""
    running = world.candidates
    for count in Race().prefixes(world.images):
        parts = yield [Unit(candidate, Part(0, count)) for candidate in running]
        ordered = sorted(parts.values(), key=lambda each: each.entry.metrics["fid"].value)
        gaps = [gap(each.entry, ordered[2].entry, by="fid") for each in ordered]
        rest = math.sqrt(1 - count / world.images)
        running = [each.unit.candidate for each, behind in zip(ordered, gaps, strict=True) if behind.value <= 2.5 * (behind.error or 0.0) * rest]
    yield [Unit(candidate) for candidate in running]


@pytest.mark.parametrize(("bias", "least", "most"), [(0.0, 0.95, 1.0), (0.3, 0.0, 0.6)])
def test_a_race_that_allows_for_noise_alone_drops_the_best_where_there_is_bias(bias: float, least: float, most: float) -> None:
    right = 0
    for seed in range(40):
        world = World(seed, bias=bias)
        full = [outcome for unit, outcome in drive(race_by_noise_alone(world), world).items() if unit.part is None]
        best = sorted(full, key=lambda each: each.entry.metrics["fid"].value)[:3]
        right += {int(each.unit.candidate.mean) for each in best} == set(world.sweep[:3])
    assert least <= right / 40 <= most


@pytest.mark.parametrize("power", [1.0, 0.35, 2.0])
@pytest.mark.parametrize("bias", [0.0, 0.3, 3.0])
def test_without_noise_the_best_are_always_found(bias: float, power: float) -> None:
    """However large the bias is and by whatever law it falls, as long as slopes tell it."""
    for seed in range(10):
        world = World(seed, count=20, noise=0.0, bias=bias, power=power)
        assert found(world)[0] == [0, 1, 2]


def test_finds_the_best_by_real_frechet_distances_of_fewer_images_than_features() -> None:
    """There the bias does not fall as 1/n, and the best candidate on few images is not the best: diversity looks like distance."""
    random = random_source("features")
    images, dimensions, count = 480, 256, 14
    spectrum = np.arange(1, dimensions + 1) ** -0.5
    reference = Gaussian.fit(random.standard_normal((3000, dimensions)) * spectrum)
    common = random.standard_normal((images, dimensions))
    features = []
    for number in range(count):
        # The better one is as diverse as the photos; the others lack diversity, and are as near by their means as is needed to look alike.
        diversity = 1 - 0.02 * number
        features.append((np.sqrt(0.8) * common + np.sqrt(0.2) * random.standard_normal((images, dimensions))) * spectrum * diversity)
    rule = Race(first=96, step=96, keep=2, least=5, by="fid")

    class Judge:
        images, parallel = 480, 1

        def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
            return {unit: self.measure(unit) for unit in units}

        def measure(self, unit: Unit) -> Outcome:
            rows = features[int(unit.candidate.mean)][: unit.part.stop if unit.part else None]
            whole = measure_distance(rows, reference)
            halves = [measure_distance(rows[first::2], reference).value for first in (0, 1)]
            return Outcome(
                unit, Entry(str(unit.candidate), {"fid": whole.estimate}, {"fid": whole}), {"fid": len(rows) * (np.mean(halves) - whole.value)}
            )

    judge = Judge()
    candidates = [Candidate((str(number),)) for number in range(count)]
    few, all_of_them = (
        np.array([judge.measure(Unit(each, part)).entry.metrics["fid"].value for each in candidates]) for part in (Part(0, rule.first), None)
    )
    slopes = np.array([judge.measure(Unit(each, Part(0, rule.first))).slopes["fid"] for each in candidates])
    best = set(np.argsort(all_of_them)[:2])
    by_law = slopes * (1 / rule.first - 1 / images)
    assert not best & set(np.argsort(few)[:2]), "few images mislead"
    assert np.ptp(few - all_of_them) > 1.5 * np.ptp(by_law), "a 1/n law explains it in part only"
    outcomes = drive(race(candidates, images=images, rule=rule), judge)
    summary = summarise(outcomes, images=images, rule=rule)
    assert {int(each.mean) for each in summary.finished[:2]} == best
    assert summary.saved > 0.2


def test_who_is_dropped_is_behind_by_more_than_the_forecast_may_be_wrong() -> None:
    """Against the textbook's formulas for a straight line, written out; every decision of some races is checked."""
    for seed in range(5):
        world = World(seed, bias=0.2, power=0.5, step=0.15)
        outcomes = drive(race(world.candidates, images=1000, rule=BY_FID), world)
        summary = summarise(outcomes, images=1000, rule=BY_FID)
        assert len(summary.dropped) > 20
        for dropped in summary.dropped:
            assert dropped.shortfall.certain
            part = Part(0, dropped.images)
            pairs = [(outcomes[Unit(each, part)], outcomes[Unit(each)]) for each in summary.finished]
            x = np.array([before.slopes["fid"] for before, _ in pairs])
            ends = np.array([after.entry.metrics["fid"].value for _, after in pairs])
            y = np.array([before.entry.metrics["fid"].value for before, _ in pairs]) - ends
            one = outcomes[Unit(dropped.candidate, part)]
            beta, alpha = np.polyfit(x, y, 1)
            spread = np.sum((x - x.mean()) ** 2)
            deviation = math.sqrt(np.sum((y - alpha - beta * x) ** 2) / (len(x) - 2))
            error = deviation * math.sqrt(1 + 1 / len(x) + (one.slopes["fid"] - x.mean()) ** 2 / spread)
            foreseen = one.entry.metrics["fid"].value - alpha - beta * one.slopes["fid"]
            third = int(np.argsort(ends)[2])
            noise = (gap(one.entry, pairs[third][0].entry, by="fid").error or 0.0) * math.sqrt(1 - dropped.images / 1000)
            assert dropped.shortfall.value == pytest.approx(foreseen - ends[third], rel=1e-6)
            assert dropped.shortfall.margin == pytest.approx(max(t.ppf(norm.cdf(2.5), len(x) - 2) * error, 2.5 * noise), rel=1e-6)
            assert foreseen - ends[third] > dropped.shortfall.margin
            assert dropped.value == one.entry.metrics["fid"].value


@pytest.mark.parametrize("tells_slopes", [True, False])
def test_every_forecast_holds_as_often_as_it_says(tells_slopes: bool) -> None:
    """Of candidates that would be dropped or not, at the first prefix: 2.5 deviations are exceeded by 6 in 1000 on one side."""
    wrong = total = 0
    rule = Race(by="fid")
    for seed in range(100):
        world = World(seed, count=30, step=0.0, bias=0.3, images=1024, tells_slopes=tells_slopes)
        finalists, others = world.candidates[:8], world.candidates[8:]
        outcomes = {
            **world([Unit(each, Part(0, 192)) for each in world.candidates]),
            **world([Unit(each) for each in finalists]),
        }
        third = sorted(outcomes[Unit(each)].entry.metrics["fid"].value for each in finalists)[2]
        shortfalls = {each.candidate: each.shortfall for each in summarise(outcomes, images=1024, rule=rule).dropped}
        for each in others:
            truth = world.measure(Unit(each)).entry.metrics["fid"].value - third
            wrong += truth < shortfalls[each].value - shortfalls[each].margin
            total += 1
    assert wrong / total < 0.01


def test_asks_for_all_then_for_the_finalists_then_for_who_is_in_doubt() -> None:
    world = World(3, step=0.02)
    batches = []

    def watched(units: Sequence[Unit]) -> dict[Unit, Outcome]:
        batches.append(list(units))
        return world(units)

    search = race(world.candidates, images=1000, rule=BY_FID)
    wanted = next(search)
    with pytest.raises(StopIteration):
        while True:
            wanted = search.send(watched(wanted))
    assert batches[0] == [Unit(each, Part(0, 192)) for each in world.candidates]
    promise = sorted(
        batches[0], key=lambda unit: world.measure(unit).entry.metrics["fid"].value - world.measure(unit).slopes["fid"] * (1 / 192 - 1 / 1000)
    )
    assert batches[1] == [Unit(unit.candidate) for unit in promise[:8]]
    finalists = {unit.candidate for unit in batches[1]}
    for batch, count in zip(batches[2:-1], range(288, 1000, 96), strict=True):
        assert {unit.part for unit in batch} == {Part(0, count)}
        assert {unit.candidate for unit in batch[:8]} == finalists
    assert {unit.part for unit in batches[-1]} == {None}
    doubtful = [{unit.candidate for unit in batch} - finalists for batch in [batches[0], *batches[2:]]]
    assert all(later <= earlier for earlier, later in pairwise(doubtful)), "who is out stays out"
    assert len(world.asked) == len(set(world.asked)), "nothing is asked for twice"


def test_few_images_or_candidates_are_swept_at_once() -> None:
    for images, count in ((192, 39), (288, 39), (64, 39), (1000, 8), (1000, 1)):
        world = World(0, images=images, count=count)
        outcomes = drive(race(world.candidates, images=images, rule=BY_FID), world)
        assert list(outcomes) == [Unit(each) for each in world.candidates]
    assert list(race([], images=1000)) == [[]]
    twice = next(race([*World(0).candidates] * 2, images=1000))
    assert len(twice) == 39


def test_prefixes_are_whole_chunks() -> None:
    assert Race().chunk == CHUNK
    assert Race().prefixes(1000) == list(range(192, 1000, 96))
    assert Race(first=200, step=100).prefixes(1000) == [224, 352, 480, 608, 736, 864, 992]
    assert Race(first=200, step=100).prefixes(353) == [224, 352]
    assert Race(first=200, step=100).prefixes(352) == []


def test_what_cannot_be_told_apart_is_measured_in_full() -> None:
    world = World(0, step=0.0, noise=0.0, bias=0.0, count=12)
    outcomes = drive(race(world.candidates, images=1000, rule=BY_FID), world)
    summary = summarise(outcomes, images=1000, rule=BY_FID)
    assert set(summary.finished) == set(world.candidates) and not summary.dropped
    assert summary.images == summary.full == 12_000 and summary.saved == 0


def test_finalists_that_move_alike_say_nothing_of_the_noise_of_another() -> None:
    """Eight that are one and the same leave no scatter; the ninth had bad luck on the first images, and is the best."""
    world = World(0, count=9, step=0.0, noise=0.0, bias=0.0)
    luck = math.sqrt(1000) * 0.1 * random_source("ninth").standard_normal(1000)
    luck[:192] += 0.3 - luck[:192].mean()  # 1.5 standard errors
    luck[192:] += (-0.05 * 1000 - luck[:192].sum()) / 808 - luck[192:].mean()
    world.values[8] += luck
    first = world.measure(Unit(world.candidates[8], Part(0, 192))).entry.metrics["fid"].value
    assert first > world.measure(Unit(world.candidates[0], Part(0, 192))).entry.metrics["fid"].value
    assert found(world, Race(by="fid", keep=1))[0] == [8]


def test_candidates_that_fail_are_left_out_and_finalists_replaced() -> None:
    whole = World(5)
    numbers = whole.sweep
    first = Part(0, 192)
    fails = {Unit(whole.candidates[numbers[0]], first), *(Unit(whole.candidates[number]) for number in numbers[1:4])}
    world = replace(whole, fails=frozenset(fails), asked=[])
    outcomes = drive(race(world.candidates, images=1000, rule=BY_FID), world)
    summary = summarise(outcomes, images=1000, rule=BY_FID)
    assert [int(each.mean) for each in summary.finished[:3]] == numbers[4:7]
    assert len(summary.finished) == 8
    later = replace(whole, fails=frozenset(Unit(each, Part(0, 288)) for each in whole.candidates), step=0.02)
    assert len(found(later)[0]) == 3
    for fails in ([Unit(each) for each in whole.candidates], [Unit(each, first) for each in whole.candidates]):
        broken = replace(whole, fails=frozenset(fails), asked=[])
        assert not [unit for unit in drive(race(broken.candidates, images=1000, rule=BY_FID), broken) if unit.part is None]


def test_a_race_that_is_stopped_has_its_best_in_full_and_says_who_is_undecided() -> None:
    world = World(1, step=0.02)
    outcomes = drive(race(world.candidates, images=1000, rule=BY_FID), world, budget=Budget(evaluations=39 * 0.192 + 5 * 0.808))
    summary = summarise(outcomes, images=1000, rule=BY_FID)
    assert len(summary.finished) == 5 and len(summary.dropped) == 34
    assert summary.images == 39 * 192 + 5 * 808 and summary.full == 39_000
    assert any(not each.shortfall.certain for each in summary.dropped)
    looked = drive(race(world.candidates, images=1000, rule=BY_FID), world, budget=Budget(evaluations=39 * 0.192))
    summary = summarise(looked, images=1000, rule=BY_FID)
    assert not summary.finished and {each.shortfall.margin for each in summary.dropped} == {math.inf}
    assert summarise({}, images=1000).saved == 0


def test_the_same_candidates_are_found_in_any_order_and_again() -> None:
    def asked(candidates: Sequence[Candidate]) -> tuple[set[Unit], list[Unit]]:
        world = World(7, step=0.05)
        drive(race(candidates, images=1000, rule=BY_FID), world)
        return set(world.asked), world.asked

    forward, again, backward = asked(World(7).candidates), asked(World(7).candidates), asked(World(7).candidates[::-1])
    assert forward[1] == again[1]
    assert forward[0] == backward[0]


def test_the_finalists_are_kept_even_if_they_are_far_behind() -> None:
    world = World(2, step=5.0)
    assert found(world)[1] == pytest.approx((39 * 192 + 8 * 808) / 39_000)


@pytest.mark.parametrize("change", [{"first": 0}, {"step": 0}, {"keep": 0}, {"least": 2}, {"confidence": 0.0}, {"confidence": math.nan}])
def test_refuses_a_rule_that_is_none(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="no race"):
        replace(Race(), **change)


def test_refuses_a_metric_that_parts_do_not_have() -> None:
    world = World(0)
    with pytest.raises(UsageError, match="cannot race by 'kid'; measured on parts: fid"):
        drive(race(world.candidates, images=1000, rule=Race(by="kid")), world)
