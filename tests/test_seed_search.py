import numpy as np
import pytest

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from apfgan.noise import expected_maximum
from selection.confirming import FRESH_SEEDS
from selection.seed_search import MOST_SEEDS, judge_seeds, search_seeds, seeds
from selection.units import Unit


@pytest.mark.parametrize("draws, expected", [(2, 0.5641896), (3, 0.8462844), (10, 1.5387527), (20, 1.8674751), (200, 2.7460424)])
def test_expected_maximum_is_the_tabulated_one(draws, expected):
    assert expected_maximum(draws) == pytest.approx(expected, abs=1e-5)  # Harter 1961, table of normal order statistics


def test_luck_alone_gains_what_is_said():
    source = np.random.default_rng(0)
    verdicts = [judge_seeds(list(source.normal(27, 0.1, size=20)), metric="fid") for _ in range(2000)]
    assert np.mean([each.gain for each in verdicts]) == pytest.approx(0.1 * 1.8674751, rel=0.02)
    assert np.mean([each.gain_by_luck for each in verdicts]) == pytest.approx(0.1 * 1.8674751, rel=0.03)  # the sample deviation is a little small


def test_best_follows_the_direction():
    assert judge_seeds([1.0, 2.0, 3.0], metric="composite").best == 3.0
    verdict = judge_seeds([1.0, 2.0, 3.0], metric="fid")
    assert (verdict.best, verdict.mean, verdict.gain, verdict.deviation) == (1.0, 2.0, 1.0, 1.0)


def test_a_longer_search_begins_with_the_shorter():
    assert seeds(20)[:5] == seeds(5)
    assert len(set(seeds(20))) == 20 and seeds(20)[0] == 0  # what every candidate is drawn with anyway


def test_a_search_is_one_batch_of_whole_units():
    search = search_seeds(Candidate.parse("avg_3_4@9"), 3)
    assert next(search) == [Unit(Candidate.parse(name)) for name in ("avg_3_4", "avg_3_4@1", "avg_3_4@2")]
    with pytest.raises(StopIteration):
        search.send({})


def test_seeds_of_confirmations_are_never_searched():
    assert max(seeds(MOST_SEEDS)) < min(FRESH_SEEDS)
    with pytest.raises(UsageError, match="at most 1000"):
        seeds(MOST_SEEDS + 1)
