"""Optuna's samplers as searches, in a world whose truth is known."""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from apfgan.candidates import Candidate
from apfgan.errors import EnvironmentProblem, UsageError
from apfgan.randomness import random_source
from apfgan.ranking import Entry
from apfgan.records import Estimate
from selection.driving import Budget, drive
from selection.merge_candidates import uniform
from selection.quadratic import Quadratic
from selection.sampled_search import Sampler, sampled, shares_at
from selection.units import Outcome, Search, Unit

optuna = pytest.importorskip("optuna")
pytest.importorskip("cmaes")

SINGLES = [Candidate((name,)) for name in ("7", "10", "9", "8", "11")]
SAMPLERS: tuple[Sampler, ...] = ("cmaes", "tpe")


def bowl() -> Quadratic:
    points = random_source("bowl").standard_normal((len(SINGLES), 4)) + 0.3
    names = tuple(single.members[0] for single in SINGLES)
    return Quadratic(names, 20 + np.square(points).sum(axis=1), np.square(points[:, None] - points).sum(axis=2))


@dataclass
class World:
    """A bowl without noise; remembers what it was asked for."""

    metric: str = "fid"
    fails: frozenset[str] = frozenset()
    images: int = 100
    parallel: int = 1
    asked: list[Unit] = field(default_factory=list)

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        self.asked += units
        sign = 1 if self.metric == "fid" else -1
        known = [unit for unit in units if str(unit.candidate) not in self.fails]
        return {unit: Outcome(unit, Entry(str(unit.candidate), {self.metric: Estimate(sign * bowl().predict(unit.candidate))})) for unit in known}


def search(sampler: Sampler, *, evaluations: int = 40, seed: int = 0, metric: str = "fid") -> Search:
    return sampled(SINGLES, sampler=sampler, evaluations=evaluations, seed=seed, by=metric)


def batches(running: Search, world: World) -> list[list[Unit]]:
    """What a search asks for, batch by batch."""
    found, wanted = [], next(running)
    try:
        while True:
            found.append(list(wanted))
            wanted = running.send(world(wanted))
    except StopIteration:
        return found


@pytest.mark.parametrize("count", [2, 3, 8])
def test_shares_follow_from_free_dimensions(count):
    points = random_source("points").standard_normal((100, count - 1))
    shares = np.array([shares_at(point) for point in points])
    assert shares.sum(axis=1) == pytest.approx(np.ones(100)) and shares.min() > 0
    # The logits are back as the logarithms less their mean, and as long as the point: the directions are orthonormal, and none is lost.
    logits = np.log(shares) - np.log(shares).mean(axis=1, keepdims=True)
    assert np.linalg.norm(logits, axis=1) == pytest.approx(np.linalg.norm(points, axis=1))
    assert logits @ logits.T == pytest.approx(points @ points.T)
    assert shares_at(np.zeros(count - 1)) == pytest.approx(np.full(count, 1 / count))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_goes_by_generations_from_the_uniform_mean_to_a_centre(sampler):
    asked = batches(search(sampler), World())
    population = 4 + int(3 * math.log(4))
    assert [unit.candidate for unit in asked[0]] == [uniform(SINGLES)]
    assert [len(batch) for batch in asked[1:-1]] == [population] * 4 + [6] and len(asked[-1]) == 1
    assert sum(map(len, asked)) == 40


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_comes_near_the_best_there_is(sampler):
    model = bowl()
    best = model.loss(model.minimum())
    start = model.predict(uniform(SINGLES)) - best
    found = [
        min(each.entry.metrics["fid"].value for each in drive(search(sampler, evaluations=100, seed=seed), World()).values()) for seed in range(3)
    ]
    assert max(found) - best < 0.1 * start


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_centre_is_the_mean_of_the_best_quarter(sampler):
    *others, (centre,) = batches(search(sampler), World())
    candidates = {unit.candidate for batch in others for unit in batch}
    quarter = sorted(candidates, key=bowl().predict)[: math.ceil(len(candidates) / 4)]
    mean = {
        single.members[0]: np.mean([dict(zip(each.members, each.shares, strict=True)).get(single.members[0], 0) for each in quarter])
        for single in SINGLES
    }
    assert dict(zip(centre.candidate.members, centre.candidate.shares, strict=True)) == pytest.approx(mean, abs=0.003)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_decides_bit_by_bit_whatever_ran_before_or_beside(sampler):
    alone = batches(search(sampler), World())
    one, other = search(sampler), search(sampler, seed=1)
    beside, units = [next(one)], next(other)
    for _ in range(4):
        units = other.send(World()(units))
        beside.append(one.send(World()(beside[-1])))
    one.close()
    other.close()
    assert beside == alone[:5]
    assert batches(search(sampler, seed=1), World())[1] != alone[1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_goes_on_where_a_budget_ended_it(sampler):
    first = drive(search(sampler), World(), budget=Budget(evaluations=17))
    assert len(first) == 17
    rest, whole = World(), World()
    expected = drive(search(sampler), whole)

    class Ledger(World):
        def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
            return {unit: first[unit] for unit in units if unit in first} | rest([unit for unit in units if unit not in first])

    assert list(drive(search(sampler), Ledger())) == [*first, *rest.asked] == whole.asked == list(expected)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_more_is_better_of_a_composite(sampler):
    assert batches(search(sampler, metric="composite"), World("composite")) == batches(search(sampler), World())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_fails_is_left_out(sampler):
    first = batches(search(sampler), World())[1]
    world = World(fails=frozenset([str(uniform(SINGLES)), *(str(unit.candidate) for unit in first[:3])]))
    found = drive(search(sampler), world)
    assert len(world.asked) > len(found) > 30
    # Nothing can be measured: it comes to its end all the same.
    assert drive(search(sampler), Broken()) == {}


class Broken(World):
    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        return {}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_optuna_is_heard_of_neither_here_nor_afterwards(sampler, capfd):
    level = optuna.logging.get_verbosity()
    drive(search(sampler), World())
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == level


def test_refuses_what_it_cannot_sample(monkeypatch):
    with pytest.raises(UsageError, match="three checkpoints"):
        sampled(SINGLES[:2], sampler="tpe", evaluations=40)
    with pytest.raises(UsageError, match="too few"):
        search("cmaes", evaluations=9)
    with pytest.raises(UsageError, match="cmaes, tpe"):
        sampled(SINGLES, sampler="random", evaluations=40)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"optuna and cmaes: pip install 'apfgan\[search\]'"):
        search("cmaes")
