"""Averages along the training of any width, after the fact, out of those that training kept (Karras et al. 2024, section 3.2).

What training keeps (`apfgan.ema`) weighs the weights of step s by the integral of a power function's profile p(t) = (g + 1) t^g / T^(g + 1) over
[s - 1, s], exactly: T steps make the profile of relative width w, whose exponent is g. So a combination of stored averages is the average whose
profile is the same combination of theirs, and the one that comes nearest to the profile that is wanted is a least squares problem of a few
hundred unknowns, in which only inner products of power functions occur.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from apfgan.config import MAXIMAL_EMA_WIDTH
from apfgan.ema import exponent_of
from apfgan.errors import WeightsError

POOR = 0.1
"""A profile that is off by more than this share of its norm is not the one that was asked for."""

_GOOD, _SLACK = 0.01, 1.1
"""Up to this error, or this multiple of the least, stored averages are left out: each is a checkpoint to be read, and of 276 about 12 are enough."""

_RIDGE = 1e-12
"""Added to the inner products of unit profiles, which are nearly dependent when saved often (condition 1e8 for 276 of them). Costs an error of
its root times the norm of the shares, 0.0002 for a width of 0.01, whose shares are the largest."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How an average weighs the training: by a power function up to its end."""

    width: float
    """Standard deviation of the profile, as a share of its length."""
    step: int
    """The optimiser step at which it ends."""


def inner_products(ones: Sequence[Profile], others: Sequence[Profile]) -> np.ndarray:
    """The integral of the product of each pair of profiles, float64 (ones, others), in 1 / steps."""
    (g, end), (h, other_end) = (
        (np.array([exponent_of(each.width) for each in profiles]), np.array([each.step for each in profiles], dtype=np.float64))
        for profiles in (ones, others)
    )
    g, end = g[:, None], end[:, None]
    common = np.minimum(end, other_end)
    # Shares of the ends before the powers: the powers themselves would overflow.
    product: np.ndarray = (g + 1) * (h + 1) / (g + h + 1) * (common / end) ** g * (common / other_end) ** h / np.maximum(end, other_end)
    return product


def rebuild(stored: Sequence[Profile], wanted: Profile) -> np.ndarray:
    """The share of each stored average in the one that is wanted: float64 (N,), adding up to 1, some negative, as many as possible 0.

    Raises `WeightsError` that names the widths that can be had, when the profile would be off by more than `POOR` of its norm.
    """
    problem = _Problem.of(stored, [wanted])
    left = _worth_keeping(problem)
    shares = np.zeros(len(stored))
    shares[left] = problem.of_some(left).shares[:, 0]
    if (error := problem.errors(shares[:, None])[0]) > POOR:
        possible = widths_at_hand(stored, wanted.step)
        offered = f"those from {possible[0]:g} to {possible[-1]:g} can" if possible else "no other can, either"
        raise WeightsError(
            f"an average of width {wanted.width:g} up to step {wanted.step} cannot be rebuilt from the {len(stored)} that were kept: "
            f"its profile would be off by {error:.0%}; {offered}. Training keeps more with --set train.ema=[0.05,0.1] and a larger train.keep"
        )
    return shares


def widths_at_hand(stored: Sequence[Profile], step: int) -> list[float]:
    """The widths, in thousandths, of averages up to `step` that the stored ones can be combined to well enough."""
    wanted = [Profile(width / 1000, step) for width in range(5, round(1000 * MAXIMAL_EMA_WIDTH) + 1)]
    problem = _Problem.of(stored, wanted)
    return [profile.width for profile, error in zip(wanted, problem.errors(problem.shares), strict=True) if error <= POOR]


@dataclass(frozen=True, eq=False)
class _Problem:
    """To come as near as possible to M wanted profiles with combinations of N stored ones, whose shares add up to 1."""

    gram: np.ndarray
    """Inner products of the stored profiles (N, N)."""
    cross: np.ndarray
    """Those of the stored with the wanted ones (N, M)."""
    squares: np.ndarray
    """Of the norms of the wanted ones (M,)."""

    @classmethod
    def of(cls, stored: Sequence[Profile], wanted: Sequence[Profile]) -> "_Problem":
        return cls(inner_products(stored, stored), inner_products(stored, wanted), np.diag(inner_products(wanted, wanted)))

    def of_some(self, indices: Sequence[int]) -> "_Problem":
        """The same with some of the stored profiles only."""
        return _Problem(self.gram[np.ix_(indices, indices)], self.cross[indices], self.squares)

    @cached_property
    def shares(self) -> np.ndarray:
        """The best shares (N, M)."""
        found: np.ndarray = np.linalg.solve(self._matrix, self._right)[:-1] * self._scale[:, None]
        return found / found.sum(axis=0)

    @property
    def costs(self) -> np.ndarray:
        """By how much the squared distance to the first wanted profile grows when one of the stored ones is left out (N,): the square of its share
        over its element on the diagonal of the inverse."""
        inverse = np.linalg.inv(self._matrix)
        costs: np.ndarray = (inverse @ self._right[:, 0]) ** 2 / np.diag(inverse)
        return costs[:-1]

    def errors(self, shares: np.ndarray) -> np.ndarray:
        """How far combinations (N, M) are from the wanted profiles, relative to their norms (M,)."""
        distances = (shares * (self.gram @ shares)).sum(axis=0) - 2 * (shares * self.cross).sum(axis=0) + self.squares
        errors: np.ndarray = np.sqrt(np.maximum(distances, 0) / self.squares)
        return errors

    @property
    def _scale(self) -> np.ndarray:
        """What brings each stored profile to unit norm (N,)."""
        scale: np.ndarray = 1 / np.sqrt(np.diag(self.gram))
        return scale

    @property
    def _matrix(self) -> np.ndarray:
        """Of the normal equations of scaled profiles (N + 1, N + 1); the last row is the condition on the sum, the last unknown its multiplier."""
        scale = self._scale
        condition = (scale / scale.max())[:, None]
        return np.block([[self.gram * scale * scale[:, None] + _RIDGE * np.eye(len(scale)), condition], [condition.T, np.zeros((1, 1))]])

    @property
    def _right(self) -> np.ndarray:
        """Their right sides (N + 1, M)."""
        scale = self._scale
        return np.vstack([self.cross * scale[:, None], np.full_like(self.squares, 1 / scale.max())])


def _worth_keeping(problem: _Problem) -> list[int]:
    """Indices of the stored profiles that are left when those are left out that are missed least; at first a sixteenth of them at a time."""
    allowed = max(_GOOD, _SLACK * problem.errors(problem.shares)[0])
    left = list(range(len(problem.gram)))
    fewer = len(left)
    while fewer and len(left) > 1:
        fewer = min(fewer, max(1, len(left) // 16))
        order = problem.of_some(left).costs.argsort()
        remaining = sorted(left[position] for position in order[fewer:])
        tried = problem.of_some(remaining)
        if tried.errors(tried.shares)[0] <= allowed:
            left = remaining
        else:
            fewer //= 2
    return left
