"""Larger searches for the shares of a merge, by the samplers of Optuna: CMA-ES, and the tree-structured Parzen estimator (TPE).

What is sampled are logits: K checkpoints have the softmax of K numbers as their shares. Adding the same to all changes nothing, so that direction
is left out, and K - 1 free dimensions remain, with the uniform mean at 0.
"""

import importlib.util
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.special import softmax

from apfgan.candidates import Candidate
from apfgan.errors import EnvironmentProblem, UsageError
from apfgan.ranking import better
from selection.merge_candidates import mergeable, uniform, weighted
from selection.units import Search, Unit

if TYPE_CHECKING:
    from optuna import Study

Sampler = Literal["cmaes", "tpe"]

_REACH = 3.0
"""Of each dimension, either way. Optuna lets CMA-ES begin in the middle with a sixth of the range as its step: at the uniform mean, with 1."""


def sampled(
    ranked: Sequence[Candidate],
    *,
    sampler: Sampler,
    evaluations: int,
    best: int = 8,
    population: int | None = None,
    seed: int = 0,
    by: str = "composite",
) -> Search:
    """A search of so many candidates over the shares of the best few of a ranking.

    It goes by generations: `population` candidates (default: CMA-ES's own rule) are named before any of them is known, so that they may be
    measured together, and the same seed gives the same search however many are. The last candidate is the centre of the best quarter, which is
    less of a lucky draw than the very best.

    Raises `EnvironmentProblem` where Optuna is not installed, and `UsageError` for too few checkpoints or evaluations.
    """
    if sampler not in get_args(Sampler):
        raise UsageError(f"no sampler {sampler!r}; there are {', '.join(get_args(Sampler))}")
    needed = ("optuna", "cmaes") if sampler == "cmaes" else ("optuna",)
    if missing := [package for package in needed if importlib.util.find_spec(package) is None]:
        raise EnvironmentProblem(f"the sampler {sampler} needs {' and '.join(missing)}: pip install 'apfgan[search]'")
    pool = mergeable(ranked)[:best]
    if len(pool) < 3:
        raise UsageError(f"a sampler seeks the shares of three checkpoints or more, not of {len(pool)}; the default plan finds those of two")
    population = population or 4 + int(3 * math.log(len(pool) - 1))
    if evaluations < population + 2:
        raise UsageError(f"{evaluations} evaluations are too few for a sampler that names {population} at a time; the default plan needs 16")
    return _sampled(pool, _study(sampler, population, seed), evaluations, population, by)


def _sampled(pool: Sequence[Candidate], study: "Study", evaluations: int, population: int, by: str) -> Search:
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.trial import TrialState, create_trial

    space: dict[str, BaseDistribution] = {f"x{number}": FloatDistribution(-_REACH, _REACH) for number in range(len(pool) - 1)}
    losses: dict[Candidate, float] = {}
    start = Unit(uniform(pool))
    for outcome in (yield [start]).values():
        losses[start.candidate] = -better(by) * outcome.entry.metrics[by].value
        # A sampler learns its space from a finished trial; without one its first generation would be drawn anywhere.
        study.add_trial(create_trial(params=dict.fromkeys(space, 0.0), distributions=space, value=losses[start.candidate]))
    left = evaluations - 2
    while left:
        trials = [study.ask(space) for _ in range(min(population, left))]
        named = [weighted(pool, shares_at([trial.params[name] for name in space])) for trial in trials]
        outcomes = yield [Unit(candidate) for candidate in named]
        losses |= {unit.candidate: -better(by) * outcome.entry.metrics[by].value for unit, outcome in outcomes.items()}
        for trial, candidate in zip(trials, named, strict=True):
            if candidate in losses:
                study.tell(trial, losses[candidate])
            else:
                study.tell(trial, state=TrialState.FAIL)
        left -= len(trials)
    if losses:
        yield [Unit(_centre(pool, losses))]


def shares_at(point: Sequence[float] | np.ndarray) -> np.ndarray:
    """The shares (K,) at a point (K - 1,) of the space that is sampled: positive, adding up to 1, equal at 0."""
    shares: np.ndarray = softmax(_basis(len(point) + 1) @ np.asarray(point))
    return shares


def _basis(count: int) -> np.ndarray:
    """Orthonormal directions (K, K - 1) in which K numbers change but their mean does not (Helmert's)."""
    columns = [np.r_[np.ones(number), -number, np.zeros(count - number - 1)] / math.sqrt(number * (number + 1)) for number in range(1, count)]
    return np.stack(columns, axis=1)


def _centre(pool: Sequence[Candidate], losses: Mapping[Candidate, float]) -> Candidate:
    """The mean of the best quarter of the candidates."""
    quarter = sorted(losses, key=lambda each: losses[each])[: math.ceil(len(losses) / 4)]
    shares = [dict(zip(each.members, each.shares, strict=True)) for each in quarter]
    return weighted(pool, np.array([[each.get(single.members[0], 0.0) for single in pool] for each in shares]).mean(axis=0))


def _study(sampler: Sampler, population: int, seed: int) -> "Study":
    """An empty study in memory, smaller being better."""
    import optuna

    with _quiet():
        chosen: optuna.samplers.BaseSampler = (
            optuna.samplers.CmaEsSampler(seed=seed, popsize=population)
            if sampler == "cmaes"
            # The candidates of a generation that are not known yet count as bad ones, lest they all be named in one spot.
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=population, multivariate=True, constant_liar=True)
        )
        return optuna.create_study(sampler=chosen)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warnings that a setting may change: the one speaks on stderr, of the other its version decides."""
    from optuna import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
