"""The quadratic model of merging: the loss of a weighted mean, from the losses of its members and how much each pair of them gains.

loss(a) = sum_i a_i L_i - 1/2 sum_ij a_i a_j D_ij: exact where the loss is a quadratic function of the weights, D_ij being the squared distance of
two checkpoints in the metric of its curvature. The published merges agree with it: their pairs predict 26.97 for the merge of three, measured 27.20.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from apfgan.candidates import Candidate
from apfgan.errors import UsageError

RIDGE = 0.004
"""How strongly pairs are held to the mean of all, as the variance of a measured loss over that of the gains D: (0.094 / 1.5)^2 on the published
tables. Common noise makes the first smaller; where the model is not exact its misfit takes that place."""

LARGEST_POOL = 14
"""Whose faces can be looked at one by one: 16383."""


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    """A fitted model over K checkpoints."""

    names: tuple[str, ...]
    losses: np.ndarray
    """L, float64 (K,)."""
    gains: np.ndarray
    """D, float64 (K, K), symmetric with zeros on the diagonal; a pair merged half and half is better by D / 4 than its mean."""

    def loss(self, shares: np.ndarray) -> float:
        """What it predicts for shares (K,) that add up to 1."""
        return float(shares @ self.losses - shares @ self.gains @ shares / 2)

    def predict(self, candidate: Candidate) -> float:
        """What it predicts for a candidate made of its checkpoints."""
        return self.loss(_shares(candidate, self.names))

    def minimum(self) -> np.ndarray:
        """The shares (K,) of the smallest predicted loss. Exact, whether or not the model is convex, and the same on every call.

        A smallest value is a stationary one of the face on whose inside it lies, so every face's stationary point is looked at: one linear
        system each. Raises `UsageError` for a pool with too many faces.
        """
        count = len(self.names)
        if count > LARGEST_POOL:
            raise UsageError(f"the best shares are sought over at most {LARGEST_POOL} checkpoints, not {count}; choose the best of them")
        best = np.eye(count)[int(self.losses.argmin())]
        for size in range(2, count + 1):
            shares = self._stationary_points(np.array(list(combinations(range(count), size))))
            predicted = shares @ self.losses - np.einsum("fi,ij,fj->f", shares, self.gains, shares) / 2
            if len(shares) and predicted.min() < self.loss(best):
                best = shares[int(predicted.argmin())]
        return best

    def _stationary_points(self, faces: np.ndarray) -> np.ndarray:
        """Of faces (F, k), each the indices of its corners, those stationary points that lie on them: shares (at most F, K)."""
        number, size = faces.shape
        # L - D a = multiplier on the face, sum a = 1.
        system = np.zeros((number, size + 1, size + 1))
        system[:, :size, :size] = self.gains[faces[:, :, None], faces[:, None, :]]
        system[:, :size, size] = system[:, size, :size] = 1
        right = np.concatenate([self.losses[faces], np.ones((number, 1))], axis=1)
        # The pseudoinverse, for a face may be flat; what it gives for a system without solution is no share, or one whose loss is looked at as any.
        solved = np.einsum("fij,fj->fi", np.linalg.pinv(system), right)[:, :size]
        inside = (solved > 0).all(axis=1) & np.isclose(solved.sum(axis=1), 1)
        shares = np.zeros((int(inside.sum()), len(self.names)))
        np.put_along_axis(shares, faces[inside], solved[inside], axis=1)
        return shares / shares.sum(axis=1, keepdims=True)


def fit_quadratic(singles: Mapping[str, float], merges: Mapping[Candidate, float], *, ridge: float = RIDGE) -> Quadratic:
    """The model of the losses (smaller is better) of single checkpoints, by name, that comes nearest to those of `merges` of them.

    Few pairs are ever seen, so each D_ij is the mean of all plus a deviation that costs `ridge` times its square; where no merge is known all are 0.
    """
    names = tuple(singles)
    losses = np.array([singles[name] for name in names], dtype=np.float64)
    gains = np.zeros((len(names), len(names)))
    if merges:
        shares = np.array([_shares(candidate, names) for candidate in merges])
        gained = shares @ losses - np.array(list(merges.values()))
        first, second = np.triu_indices(len(names), k=1)
        pairs = shares[:, first] * shares[:, second]
        # Ridge regression as least squares: a row for each deviation says that it should be 0, and the column of their mean is free.
        rows = np.block([[pairs.sum(axis=1, keepdims=True), pairs], [np.zeros((len(first), 1)), np.sqrt(ridge) * np.eye(len(first))]])
        mean, *deviations = np.linalg.lstsq(rows, np.concatenate([gained, np.zeros(len(first))]), rcond=None)[0]
        gains[first, second] = gains[second, first] = mean + np.array(deviations)
    return Quadratic(names, losses, gains)


def _shares(candidate: Candidate, names: tuple[str, ...]) -> np.ndarray:
    known = dict(zip(candidate.members, candidate.shares, strict=True))
    if missing := known.keys() - set(names):
        raise ValueError(f"{candidate} is made of {', '.join(sorted(missing))}, which the model does not know")
    return np.array([known.get(name, 0.0) for name in names])
