"""Confirmation: its errors against redraws of label maps and seeds, its gate case by case, and the half that a search never sees."""

import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import norm

import apfgan.ranking
from apfgan.candidates import Candidate
from apfgan.composite import FORMULAS, composite, composite_measured
from apfgan.contest import draw_errors
from apfgan.measured import Measured
from apfgan.noise import QUANTILE
from apfgan.ranking import Entry, rank
from apfgan.records import Estimate
from selection.confirming import FRESH_SEEDS, Confirmation, Gain, confirm, finalists_of, judge_confirmation
from selection.driving import drive
from selection.holding_out import FirstHalf, second_half
from selection.seed_search import seeds
from selection.units import Outcome, Part, Unit

SINGLE, MERGE = Candidate(("3",)), Candidate(("3", "4"))


def outcome(unit: Unit, distances: np.ndarray, slopes: Mapping[str, float] | None = None) -> Outcome:
    """An outcome whose distance is a mean over images (N,); everything else is the same for all."""
    scores = {
        "mask_accuracy": Measured.mean(np.full(len(distances), 0.9)),
        "aesthetic": Measured.mean(np.full(len(distances), 5.0)),
        "fid": Measured.mean(distances),
    }
    scores["composite"] = composite_measured(FORMULAS["A"], scores, distance="fid")
    return Outcome(unit, Entry(str(unit.candidate), {name: each.estimate for name, each in scores.items()}, scores), slopes or {})


def total(distance: float) -> float:
    return composite(FORMULAS["A"], mask_accuracy=0.9, aesthetic=5.0, distance=distance)


def redraw(
    source: np.random.Generator, *, truths: Mapping[Candidate, float], images: int, common: float, map_deviation: float, noise: float
) -> dict[Unit, Outcome]:
    """Candidates on other label maps with other seeds: an image's value is the map's for all, the map's for one, and noise."""
    shared = source.normal(0, common, images)
    found = {}
    luck = {seed: source.normal(0, noise, images) for seed in FRESH_SEEDS}
    for candidate, truth in truths.items():
        own = source.normal(0, map_deviation, images)
        for seed in FRESH_SEEDS:
            unit = Unit(candidate.with_seed(seed))
            found[unit] = outcome(unit, truth + shared + own + luck[seed] + source.normal(0, noise, images))
    return found


def judged(outcomes: Mapping[Unit, Outcome], finalists: Sequence[Candidate] = (SINGLE, MERGE), tried: int = 2) -> Confirmation:
    found = judge_confirmation(outcomes, finalists, single=SINGLE, tried=tried, formula=FORMULAS["A"])
    assert found is not None
    return found


@pytest.mark.parametrize("map_deviation, noise", [(1.0, 0.0), (1.0, 2.0), (0.0, 2.0)])
def test_errors_cover_label_maps_and_seeds(map_deviation, noise, monkeypatch):
    """95 % of the intervals hold the truth, whichever of the two decides; with the seeds' variance on top it would be too many."""
    monkeypatch.setattr(apfgan.ranking, "draw_errors", functools.partial(draw_errors, draws=2))  # of no interest here, and slow
    source, trials = np.random.default_rng(0), 400
    truths = {SINGLE: 30.0, MERGE: 29.8}
    held, held_gain, doubled = 0, 0, 0
    for _ in range(trials):
        outcomes = redraw(source, truths=truths, images=200, common=3.0, map_deviation=map_deviation, noise=noise)
        merge = judged(outcomes).of(MERGE)
        assert merge.place.interval is not None and merge.gain is not None and merge.gain.size.error is not None and merge.deviation is not None
        low, high = merge.place.interval
        held += low <= total(29.8) <= high
        miss = abs(merge.gain.size.value - (total(29.8) - total(30.0)))
        held_gain += miss <= QUANTILE * merge.gain.size.error
        both = [[outcomes[Unit(each.with_seed(seed))].entry.metrics["composite"].value for seed in FRESH_SEEDS] for each in (MERGE, SINGLE)]
        by_seed = np.std(np.subtract(*both), ddof=1) / math.sqrt(len(FRESH_SEEDS))
        doubled += miss <= QUANTILE * math.hypot(merge.gain.size.error, by_seed)
    assert held / trials == pytest.approx(0.95, abs=0.03) and held_gain / trials == pytest.approx(0.95, abs=0.03)
    if map_deviation == 0:
        assert doubled / trials > 0.98


def test_means_and_influences_are_those_over_seeds():
    source = np.random.default_rng(1)
    outcomes = redraw(source, truths={SINGLE: 30.0, MERGE: 29.0}, images=50, common=1.0, map_deviation=0.5, noise=1.0)
    merge = judged(outcomes).of(MERGE)
    totals = [outcomes[Unit(MERGE.with_seed(seed))].entry.measured["composite"] for seed in FRESH_SEEDS]
    assert merge.values == tuple(each.value for each in totals) and merge.deviation == pytest.approx(np.std(merge.values, ddof=1))
    rows = np.mean([each.influence for each in totals], axis=0)
    assert merge.place.value.value == pytest.approx(np.mean(merge.values), abs=1e-12)
    assert merge.place.value.error == pytest.approx(np.std(rows, ddof=1) / math.sqrt(50), rel=1e-9)
    single = [outcomes[Unit(SINGLE.with_seed(seed))].entry.measured["composite"].influence for seed in FRESH_SEEDS]
    assert merge.gain is not None and judged(outcomes).of(SINGLE).gain is None
    assert merge.gain.size.error == pytest.approx(np.std(rows - np.mean(single, axis=0), ddof=1) / math.sqrt(50), rel=1e-9)


def test_chance_is_raised_for_every_candidate_tried():
    source = np.random.default_rng(2)
    third = Candidate(("3", "4", "5"))
    outcomes = redraw(source, truths={SINGLE: 30.0, MERGE: 29.4, third: 29.7}, images=80, common=1.0, map_deviation=1.0, noise=0.5)
    finalists = (SINGLE, MERGE, third)
    for tried in (3, 50):
        found = judged(outcomes, finalists, tried)
        gains = sorted((each.gain for each in found.finalists if each.gain), key=lambda gain: gain.chance)
        ones = [float(norm.sf(each.size.value / each.size.error)) for each in gains if each.size.error]
        assert [each.chance for each in gains] == pytest.approx([min(1, ones[0] * max(tried, 2)), min(1, ones[1] * max(tried - 1, 1))], rel=0.5)
    many = judged(outcomes, finalists, 10_000).of(MERGE).gain
    few = judged(outcomes, finalists, 3).of(MERGE).gain
    assert many and few and many.chance > few.chance


@pytest.mark.parametrize(
    "size, error, chance, least, confirmed",
    [
        (0.010, 0.003, 0.001, 0.001, True),
        (0.010, 0.0034, 0.001, 0.001, False),  # 2.9 standard errors
        (0.010, 0.003, 0.051, 0.001, False),  # among so many tries no wonder
        (0.010, 0.003, 0.001, 0.011, False),  # seeds differ by more
        (-0.010, 0.003, 0.001, 0.001, False),
        (0.0, 0.0, 1.0, 0.0, False),
        (0.010, None, 0.0, 0.001, True),  # a measure without errors
    ],
)
def test_gate(size, error, chance, least, confirmed):
    assert Gain(Estimate(size, error), chance, least).confirmed is confirmed


def test_least_gain_is_a_step_of_the_distance_or_the_seeds_deviation():
    quiet = {
        Unit(each.with_seed(seed)): outcome(Unit(each.with_seed(seed)), np.linspace(20, 40, 40)) for each in (SINGLE, MERGE) for seed in FRESH_SEEDS
    }
    found = judged(quiet).of(MERGE).gain
    assert found is not None and not found.confirmed
    assert found.least == pytest.approx(total(30 * (1 - 0.013)) - total(30))
    loud = redraw(np.random.default_rng(3), truths={SINGLE: 30.0, MERGE: 29.0}, images=20, common=0.0, map_deviation=0.0, noise=8.0)
    confirmation = judged(loud)
    gain = confirmation.of(MERGE).gain
    assert gain is not None and gain.least == max(each.deviation or 0 for each in confirmation.finalists)


def test_what_failed_or_was_not_reached_is_left_out():
    outcomes = redraw(np.random.default_rng(4), truths={SINGLE: 30.0, MERGE: 29.0}, images=20, common=0.0, map_deviation=1.0, noise=1.0)
    broken = Candidate(("9",))
    assert {each.candidate for each in judged(outcomes, (SINGLE, MERGE, broken)).finalists} == {SINGLE, MERGE}
    early = {unit: each for unit, each in outcomes.items() if unit.candidate.seed <= 1003}
    early.pop(Unit(MERGE.with_seed(1003)))
    assert judged(early).seeds == (1001, 1002)
    without = {unit: each for unit, each in outcomes.items() if unit.candidate.base == "avg_3_4"}
    assert judged(without).of(MERGE).gain is None
    assert judge_confirmation({}, (SINGLE, MERGE), single=SINGLE, tried=2, formula=FORMULAS["A"]) is None


def test_one_batch_seed_by_seed_of_seeds_that_nothing_was_chosen_by():
    search = confirm([SINGLE, MERGE], (1001, 1002), Part(5, 9))
    batch = next(search)
    assert [(each.candidate.base, each.candidate.seed, each.part) for each in batch] == [
        ("3", 1001, Part(5, 9)),
        ("avg_3_4", 1001, Part(5, 9)),
        ("3", 1002, Part(5, 9)),
        ("avg_3_4", 1002, Part(5, 9)),
    ]
    with pytest.raises(StopIteration):
        search.send({})
    assert not set(FRESH_SEEDS) & set(seeds(1000))


class Recorder:
    """A `Measure` of 11 label maps that remembers what it was asked for; candidate 9 fails."""

    images, parallel = 11, 2

    def __init__(self) -> None:
        self.asked: list[Unit] = []

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        self.asked += units
        return {each: outcome(each, np.arange(4.0), {"fid": 2.0}) for each in units if each.candidate.base != "9"}


def test_a_search_on_the_first_half_sees_nothing_else():
    inner = Recorder()
    half = FirstHalf(inner)
    assert (half.images, half.parallel, second_half(11)) == (5, 2, Part(5, 11))

    def search():
        yield [Unit(SINGLE), Unit(MERGE, Part(0, 3)), Unit(SINGLE, Part(0, 5)), Unit(Candidate(("9",)))]

    found = drive(search(), half)
    assert sorted(map(str, {each.part for each in inner.asked})) == sorted(map(str, {Part(0, 5), Part(0, 3)})) and len(inner.asked) == 3
    assert set(found) == {Unit(SINGLE), Unit(MERGE, Part(0, 3)), Unit(SINGLE, Part(0, 5))}
    assert all(unit == each.unit for unit, each in found.items())
    assert found[Unit(SINGLE)].slopes == {} and found[Unit(MERGE, Part(0, 3))].slopes == {"fid": 2.0}


@pytest.mark.parametrize(
    "ranked, finalists",
    [
        (["avg_3_4", "3", "4"], ["avg_3_4", "3", "4"]),
        (["avg_3_4", "avg_3_4@7", "avg_4_5", "avg_3_5", "3"], ["avg_3_4", "avg_4_5", "avg_3_5", "3"]),
        (["0.3*3+0.7*4", "0.31*3+0.69*4", "0.33*3+0.67*4", "3~recal9", "4"], ["0.3*3+0.7*4", "0.33*3+0.67*4", "3~recal9", "4"]),
        (["3", "3~q90-444", "3~photos", "3~ema0.05", "4"], ["3", "3~q90-444", "3~photos"]),
        (["avg_3_4", "4~photos"], ["avg_3_4", "4~photos"]),
    ],
)
def test_finalists_are_the_best_that_differ_and_the_best_single(ranked: list[str], finalists: list[str]) -> None:
    places = rank([Entry(name, {"composite": Estimate(1 - 0.01 * place)}) for place, name in enumerate(ranked)])
    assert [str(each) for each in finalists_of(places, most=3)] == finalists
