import itertools

import numpy as np
import pytest
from scipy.stats import norm

from apfgan.noise import holm, probability_positive, told_apart
from apfgan.records import Estimate


def rejected_by_closure(chances: np.ndarray, level: float) -> list[bool]:
    """Holm by what it is: an observation is no chance if every set that it is in has one below the level divided by the set's size."""
    everything = range(len(chances))
    sets = [some for size in range(1, len(chances) + 1) for some in itertools.combinations(everything, size)]
    refuted = {some: min(chances[list(some)]) < level / len(some) for some in sets}
    return [all(refuted[some] for some in sets if index in some) for index in everything]


@pytest.mark.parametrize("level", [0.01, 0.05, 0.3])
def test_holm_is_the_closed_bonferroni_test(level):
    source = np.random.default_rng(0)
    for _ in range(60):
        chances = source.uniform(size=source.integers(1, 8)) ** 4
        assert (holm(chances) < level).tolist() == rejected_by_closure(chances, level)


def test_holm_keeps_the_order_and_stays_a_probability():
    source = np.random.default_rng(1)
    chances = source.uniform(size=200)
    raised = holm(chances)
    assert raised.max() <= 1 and (raised >= chances).all()
    assert (np.diff(raised[np.argsort(chances)]) >= 0).all()
    assert holm(np.array([])).tolist() == []


def test_a_difference_is_positive_as_often_as_the_normal_law_says():
    assert probability_positive(Estimate(0.3, 0.2)) == pytest.approx(norm.cdf(1.5))
    assert probability_positive(Estimate(0.0, 0.0)) == 0.5
    assert probability_positive(Estimate(-1.0)) is None
    assert [told_apart(each) for each in (Estimate(1.9, 1), Estimate(2.0, 1), Estimate(0.1), Estimate(0.0))] == [False, True, True, False]
