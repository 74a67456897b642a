"""What is said of many candidates together: against closed forms, brute force, and worlds whose truth is known."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from apfgan.contest import (
    DRAWS,
    JointEstimate,
    distinct,
    draw_errors,
    optimism,
    pareto_front,
    probability_best,
    probability_pareto,
)
from apfgan.measured import Measured
from apfgan.noise import expected_maximum
from apfgan.records import Estimate

CERTAINTY = 4 * 0.5 / DRAWS**0.5
"""How far a share of the draws may lie from its probability."""


def sample(source: np.random.Generator, truths: np.ndarray, *, images: int = 100, shared: float = 0.0, own: float = 1.0) -> list[Measured]:
    """Candidates with these true means, one value an image, part of whose noise all of them have in common."""
    common = shared * source.normal(size=images)
    return [Measured.mean(truth + common + own * source.normal(size=images)) for truth in truths]


def exact(*values: float, error: float = 0.0) -> JointEstimate:
    return JointEstimate.of([Estimate(value, error) for value in values])


def test_errors_of_differences_are_those_of_pairs():
    source = np.random.default_rng(0)
    measured = sample(source, np.zeros(4), shared=3.0)
    with_gaps = Measured.mean(np.where(np.arange(100) < 90, source.normal(size=100), np.nan))
    alone = Estimate(0.3, 0.2)
    errors = JointEstimate.of([*measured, with_gaps, alone], sign=-1).errors_of_differences()
    for one, other in itertools.product(range(4), repeat=2):
        assert errors[one, other] == pytest.approx(measured[one].minus(measured[other]).error, rel=1e-12)
    assert errors[0, 4] == pytest.approx(measured[0].minus(with_gaps).error, rel=0.01)
    assert errors[0, 5] == pytest.approx(np.hypot(measured[0].estimate.error, 0.2), rel=1e-12)
    assert errors[5, 5] == 0 and (errors == errors.T).all()


def test_twins_are_never_told_apart_and_share_the_first_place():
    measured = sample(np.random.default_rng(1), np.array([1.0, 0.0]))
    joint = JointEstimate.of([measured[0], measured[1], measured[0], measured[0]])
    apart = distinct(joint)
    assert apart[0].tolist() == apart[2].tolist() == apart[3].tolist() == [False, True, False, False]
    (errors,) = draw_errors([joint])
    assert probability_best(joint.values, errors) == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])
    assert pareto_front([joint, joint]).tolist() == [True, False, True, True]
    assert probability_pareto(np.stack([joint.values] * 2), np.stack([errors] * 2)).tolist() == [1, 0, 1, 1]


def test_without_errors_only_equals_are_not_distinct():
    assert distinct(exact(0.5, 0.5, 0.4)).tolist() == [[False, False, True], [False, False, True], [True, True, False]]
    assert distinct(exact(0.5)).tolist() == [[False]]


@pytest.mark.parametrize("images", [30, 400])
def test_equal_candidates_are_told_apart_in_one_ranking_of_twenty(images):
    """Though the pair that differs most is found by looking, and though few images make a heavy tail."""
    source = np.random.default_rng(2)
    joints = [JointEstimate.of(sample(source, np.zeros(12), images=images, shared=2.0)) for _ in range(300)]
    assert np.mean([distinct(joint).any() for joint in joints]) < 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5


def test_clear_differences_are_seen():
    joint = JointEstimate.of(sample(np.random.default_rng(3), np.array([2.0, 1.0, 0.0]), shared=10.0))
    assert distinct(joint).sum() == 6


def test_draws_have_the_covariance_of_the_errors():
    source = np.random.default_rng(4)
    first, second = (JointEstimate.of(sample(source, np.zeros(3), images=40, shared=1.0)) for _ in range(2))
    second = JointEstimate(second.values, first.shared @ np.diag(source.uniform(0.5, 1.5, 40)), np.array([0.0, 0.1, 0.0]))
    drawn = draw_errors([first, second], draws=40_000).reshape(6, -1)
    factor = np.concatenate([first.shared, second.shared])
    expected = factor @ factor.T + np.diag([0, 0, 0, 0, 0.01, 0])
    assert np.cov(drawn) == pytest.approx(expected, abs=0.05 * np.diag(expected).max())
    assert (draw_errors([first]) == draw_errors([first])).all()


@pytest.mark.parametrize("lead", [0.0, 0.05, 0.15, 0.4])
def test_of_two_the_better_one_is_the_best_with_the_probability_of_their_difference(lead):
    measured = sample(np.random.default_rng(5), np.zeros(2), shared=5.0)
    one, other = (Measured(value, each.influence, each.images) for value, each in zip((lead, 0.0), measured, strict=True))
    joint = JointEstimate.of([one, other])
    (errors,) = draw_errors([joint])
    chances = probability_best(joint.values, errors)
    assert chances[0] == pytest.approx(norm.cdf(lead / one.minus(other).error), abs=CERTAINTY)
    assert chances.sum() == pytest.approx(1)


def test_of_equal_candidates_each_is_the_best_as_often():
    joint = exact(*np.zeros(10), error=0.1)
    (errors,) = draw_errors([joint])
    assert probability_best(joint.values, errors) == pytest.approx(np.full(10, 0.1), abs=CERTAINTY)


def dominated(index: int, values: np.ndarray, errors: np.ndarray) -> bool:
    """Whether another column of `values` (M, K) is as good in every row, and in one better by more than the error of the difference."""
    for other in range(values.shape[1]):
        leads = [(row[other] - row[index], error[other, index]) for row, error in zip(values, errors, strict=True)]
        if other != index and all(lead >= 0 for lead, _ in leads) and any(lead > error for lead, error in leads):
            return True
    return False


def test_front_is_that_of_brute_force_and_never_empty():
    source = np.random.default_rng(6)
    for error in (0.0, 0.3, 1.0):
        for _ in range(40):
            values = source.integers(0, 5, size=(3, 12)).astype(float)  # with equals
            metrics = [exact(*row, error=error) for row in values]
            front = pareto_front(metrics)
            errors = [metric.errors_of_differences() for metric in metrics]
            assert front.tolist() == [not dominated(index, values, errors) for index in range(12)]
            assert front.any()
            assert (front >= pareto_front([exact(*row) for row in values])).all()


def test_pareto_probability_is_the_share_of_draws_that_brute_force_counts():
    source = np.random.default_rng(7)
    values, errors = source.normal(size=(3, 6)), source.normal(size=(3, 6, 50))
    counted = [np.mean([not dominated(index, values + errors[..., draw], np.zeros((3, 6, 6))) for draw in range(50)]) for index in range(6)]
    assert probability_pareto(values, errors) == pytest.approx(counted)


def test_pareto_probability_of_two_is_the_normal_one():
    """A candidate that is behind in one and level in another number leads in the other half of the draws: its chance is 1 - P(behind in both)."""
    metrics = [exact(0.0, 0.1, error=0.1), exact(0.0, 0.0, error=0.1)]
    chances = probability_pareto(np.stack([metric.values for metric in metrics]), draw_errors(metrics))
    behind = norm.cdf(0.1 / (0.1 * 2**0.5)) * 0.5
    assert chances[0] == pytest.approx(1 - behind, abs=CERTAINTY)


@pytest.mark.parametrize("count", [5, 20, 60])
def test_luck_of_equal_candidates_is_that_of_the_part_they_do_not_share(count):
    """c_K sd sqrt(1 - rho) in truth; the estimate may fall short of it by an eighth, as it says."""
    source = np.random.default_rng(8)
    sd, correlation, images = 0.2, 0.8, 50
    spread = sd * images**0.5
    found, true = [], []
    for _ in range(80):
        measured = sample(source, np.zeros(count), images=images, shared=spread * correlation**0.5, own=spread * (1 - correlation) ** 0.5)
        joint = JointEstimate.of(measured)
        found.append(optimism(joint.values, draw_errors([joint], draws=500)[0]))
        true.append(joint.values.max() - joint.values.mean())
    expected = expected_maximum(count) * sd * (1 - correlation) ** 0.5
    assert np.mean(true) == pytest.approx(expected, rel=0.07)
    assert 0.8 * expected < np.mean(found) < 1.02 * expected


def test_luck_of_measured_candidates_is_right_on_average_where_they_differ():
    source = np.random.default_rng(9)
    found, true = [], []
    for _ in range(400):
        truths = source.normal(0, 0.2, 20)
        joint = JointEstimate.of(sample(source, truths, images=100, shared=1.0))
        found.append(optimism(joint.values, draw_errors([joint], draws=300)[0]))
        best = joint.values.argmax()
        true.append((joint.values - joint.values.mean())[best] - (truths - truths.mean())[best])
    assert np.mean(found) == pytest.approx(np.mean(true), rel=0.3)
    assert np.mean(true) > 0.03


def test_no_luck_is_needed_where_the_best_is_far_ahead():
    for values in ([5.0, 1.0, 0.0], [1.0]):
        joint = exact(*values, error=0.1)
        assert optimism(joint.values, draw_errors([joint])[0]) == 0
    same = exact(*np.zeros(20), error=0.1)
    assert optimism(same.values, draw_errors([same])[0]) == pytest.approx(expected_maximum(20) * 0.1, rel=0.05)
