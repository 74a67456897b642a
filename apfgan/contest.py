"""What can be said of many candidates together, measured on the same images: which differ, which may be the best, what the winner owes to luck.

K candidates, M metrics, N images, D draws. Pure functions of arrays; the larger value is the better one throughout.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from apfgan.measured import Measured
from apfgan.noise import CONFIDENCE, holm
from apfgan.randomness import random_source
from apfgan.records import Estimate

DRAWS = 2000
"""Redraws of the noise behind a probability, which is known to about ±0.01 then."""


@dataclass(frozen=True, eq=False, slots=True)
class JointEstimate:
    """One metric of K candidates, and how its errors move together.

    The error of candidate k is `shared[k] @ z + own[k] * e[k]` with standard normal z (N,), one for each image and common to all candidates and
    metrics, and e (K,): whoever does well on an image by the luck of its label map does so beside the others.
    """

    values: np.ndarray
    """float64 (K,), the larger the better."""
    shared: np.ndarray
    """float64 (K, N): each image's part of the standard error; 0 where a candidate's influences are not known."""
    own: np.ndarray
    """float64 (K,): the standard error of a candidate whose influences are not known; 0 of the others."""

    @classmethod
    def of(cls, numbers: Sequence[Measured | Estimate], *, sign: int = 1) -> "JointEstimate":
        """That of numbers of the same images, as far as their influences are known; `sign` is -1 where a smaller number is better.

        An unknown error counts as none. Raises `ValueError` for influences of different images.
        """
        images = max((len(each.influence) for each in numbers if isinstance(each, Measured)), default=0)
        shared, own = np.zeros((len(numbers), images)), np.zeros(len(numbers))
        for index, each in enumerate(numbers):
            if isinstance(each, Estimate):
                own[index] = each.error or 0.0
            elif each.images > 1:
                shared[index] = sign * each.influence * math.sqrt(each.images / (each.images - 1)) / images
        return cls(sign * np.array([each.value for each in numbers]), shared, own)

    def errors_of_differences(self) -> np.ndarray:
        """float64 (K, K): the standard error of each difference."""
        # Not from the covariances: of two candidates that are nearly the same, nothing would be left but rounding.
        paired = np.stack([np.linalg.norm(self.shared - row, axis=1) for row in self.shared])
        errors = np.hypot(paired, np.hypot(self.own[:, None], self.own))
        np.fill_diagonal(errors, 0.0)
        return errors


def distinct(joint: JointEstimate) -> np.ndarray:
    """bool (K, K): which candidates are told apart, such that no single one of all these verdicts is wrong, with `CONFIDENCE`.

    Paired t tests of all pairs, corrected by Holm. Of all pairs even where only the best is compared with the others: it was chosen by looking,
    and of 20 equal candidates the best would be called better than some other in 24 % of all cases if only its 19 pairs counted.
    """
    first, second = np.triu_indices(len(joint.values), 1)
    gaps = np.abs(joint.values[first] - joint.values[second])
    errors = joint.errors_of_differences()[first, second]
    ratios = np.divide(gaps, errors, out=np.where(gaps > 0, np.inf, 0.0), where=errors > 0)
    images = joint.shared.shape[1]
    chance = 2 * (stats.t.sf(ratios, images - 1) if images > 1 else stats.norm.sf(ratios))
    apart = np.zeros((len(joint.values),) * 2, dtype=bool)
    apart[first, second] = apart[second, first] = holm(chance) < 1 - CONFIDENCE
    return apart


def draw_errors(metrics: Sequence[JointEstimate], *, draws: int = DRAWS) -> np.ndarray:
    """float64 (M, K, D): what the noise of other images may have added to each number, all numbers of a draw on the same other images.

    The same metrics give the same draws.
    """
    source = random_source("contest")
    luck = source.standard_normal((max(joint.shared.shape[1] for joint in metrics), draws))
    drawn = []
    for joint in metrics:
        # Each row once: candidates that are the same remain so to the last bit, and neither beats the other by a rounding error.
        rows, place = np.unique(joint.shared, axis=0, return_inverse=True)
        errors = (rows @ luck[: rows.shape[1]])[place]
        drawn.append(errors + joint.own[:, None] * source.standard_normal(errors.shape) if joint.own.any() else errors)
    return np.stack(drawn)


def probability_best(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """float64 (K,), adding up to 1: the share of the draws (K, D) around the values (K,) in which each is the best; equals share a draw.

    A probability of being truly the best, had every truth been as likely as any other before.
    """
    drawn = values[:, None] + errors
    best = drawn == drawn.max(axis=0)
    return np.asarray((best / best.sum(axis=0)).mean(axis=1))


def pareto_front(metrics: Sequence[JointEstimate]) -> np.ndarray:
    """bool (K,): the candidates that no other one dominates, which is at least as good in every metric and in one of them better by more than the
    standard error of that difference.

    Without errors that is the usual front; with them, those that only noise keeps behind belong to it as well. It is never empty.
    """
    values = np.stack([joint.values for joint in metrics])
    lead = values[:, None, :] - values[:, :, None]  # of the last over the one before
    errors = np.stack([joint.errors_of_differences() for joint in metrics])
    dominated = (lead >= 0).all(axis=0) & (lead > errors).any(axis=0)
    return np.asarray(~dominated.any(axis=1))


def probability_pareto(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """float64 (K,): the share of the draws (M, K, D) around the values (M, K) in which no other candidate is at least as good in every metric and
    better in one.
    """
    drawn = values[..., None] + errors
    shares = []
    for index in range(drawn.shape[1]):
        one = drawn[:, index : index + 1]
        dominated = ((drawn >= one).all(axis=0) & (drawn > one).any(axis=0)).any(axis=0)
        shares.append(1 - dominated.mean())
    return np.array(shares)


def optimism(values: np.ndarray, errors: np.ndarray) -> float:
    """By how much the best of the values (K,) is larger than its truth, on average, for having been chosen by these very values; not negative.

    Were the values the truth, the errors (K, D) would make winners that exceed theirs by some mean: the parametric bootstrap's answer. But
    measured values lie further apart than the truth, which leaves less to luck, so that answer is too small. How much too small is seen by
    having it judge its own redraws, and made up for (the bootstrap iterated once: Hall 1992, The Bootstrap and Edgeworth Expansion, 1.4).

    A mean, no more: what luck gave to this very winner, nobody knows. Of equal candidates, where it is largest, it is about an eighth too small
    still; of candidates that lie twice their errors apart, anything from 15 % too small to 30 % too large. It knows of the candidates in `values`
    alone: those that were tried and forgotten are missing.
    """

    def mean_luck(truths: np.ndarray) -> float:
        """Of the winner over its truth; of that, what the truly best one has is subtracted, for it is 0 on average."""
        winners, draw = (truths + errors).argmax(axis=0), np.arange(errors.shape[1])
        return float(np.mean(errors[winners, draw] - errors[truths.argmax(axis=0), draw]))

    once = mean_luck(values[:, None])
    again = mean_luck(values[:, None] + np.roll(errors, 1, axis=1))
    most = mean_luck(np.zeros((len(values), 1)))
    return min(once * once / again, most) if again > 0 else once
