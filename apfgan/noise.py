"""What can be said of a difference when both sides are uncertain, and of the best of many tries. Pure functions, normal errors."""

import math
from functools import cache

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from apfgan.records import Estimate

CONFIDENCE = 0.95
"""Of the intervals shown, and of the difference that ends a tie."""

QUANTILE = float(norm.ppf((1 + CONFIDENCE) / 2))
"""Standard errors on either side of an estimate that make the `CONFIDENCE` interval (1.96)."""


def difference(one: Estimate, other: Estimate) -> Estimate:
    """`one` less `other`, as if the two were measured on different images.

    Candidates meet under common label maps and noise, so the true error is smaller: what is called different by this is different.
    """
    error = None if one.error is None or other.error is None else math.hypot(one.error, other.error)
    return Estimate(one.value - other.value, error)


def told_apart(gap: Estimate) -> bool:
    """Whether a difference leaves its `CONFIDENCE` interval around 0; where its error is unknown, whether it is one at all.

    For two that were not chosen by their numbers. Candidates of one ranking are told apart by `apfgan.contest.distinct`.
    """
    return abs(gap.value) > QUANTILE * (gap.error or 0.0)


def probability_positive(gap: Estimate) -> float | None:
    """Probability that a difference is truly above 0; None where its error is unknown."""
    if gap.error is None:
        return None
    if gap.error == 0:
        return 0.5 if gap.value == 0 else float(gap.value > 0)
    return float(norm.cdf(gap.value / gap.error))


def holm(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (n,) of n observations by chance alone, raised for there being n of them: to call what stays below 5 % no chance is wrong
    in at most 5 % of such lists, however they hang together (Holm 1979, Scandinavian Journal of Statistics 6).
    """
    order = np.argsort(probabilities, kind="stable")
    raised = np.maximum.accumulate(probabilities[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty_like(raised)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


@cache
def expected_maximum(draws: int) -> float:
    """Mean of the largest of so many independent standard normal draws (1.867 for 20): what the luckiest of equal tries gains, in deviations."""
    value, _ = quad(lambda x: x * draws * math.exp((draws - 1) * norm.logcdf(x)) * norm.pdf(x), -12, 12)
    return float(value)
