"""Which merges there are to measure: pure lists of candidates, made from a ranking of single checkpoints or from the order of the epochs."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, compress

import numpy as np

from apfgan.candidates import Candidate
from apfgan.errors import UsageError

SMALLEST_SHARE = 0.005
"""A share below it is left out of a merge whose weights a search made up."""

_LARGEST_POOL = 10
"""Of which all subsets may be asked for: 1013 merges."""


def mergeable(ranked: Sequence[Candidate]) -> list[Candidate]:
    """The single checkpoints of a ranking, best first, of the seed and the treatment that most of them share; those can be merged and compared.

    Raises `UsageError` where there are fewer than two.
    """
    groups: dict[Candidate, dict[str, Candidate]] = {}
    for single in ranked:
        if not single.is_merge and single.width is None:
            groups.setdefault(replace(single, members=("any",)), {}).setdefault(single.members[0], single)
    pool = list(max(groups.values(), key=len, default={}).values())
    if len(pool) < 2:
        raise UsageError(
            f"a merge needs two checkpoints or more that are measured alike; there are {len(pool)}. Measure more: apfgan score --epochs ..."
        )
    return pool


def uniform(singles: Sequence[Candidate]) -> Candidate:
    """The mean of single checkpoints, drawn and treated as the first of them."""
    return _mean(singles)


def weighted(singles: Sequence[Candidate], weights: np.ndarray) -> Candidate:
    """Their weighted mean, for `weights` (K,) that are not negative and add up to 1: the shares that a search made up, told as a person would.

    Shares below `SMALLEST_SHARE` are left out, the rest are thousandths: that changes next to nothing, names stay readable, and the last digits
    of another machine's linear algebra do not make another candidate.
    """
    kept = weights >= min(SMALLEST_SHARE, weights.max())
    chosen = list(compress(singles, kept))
    shares = np.round(weights[kept] / weights[kept].sum(), 3)
    if (shares == round(1 / len(chosen), 3)).all():
        return uniform(chosen)
    shares[shares.argmax()] += 1 - shares.sum()
    return _mean(chosen, shares)


def combinations_of_best(ranked: Sequence[Candidate], best: int) -> list[Candidate]:
    """All uniform merges of two or more of the best few checkpoints of a ranking, pairs first: the procedure of APF-GAN's authors.

    Raises `UsageError` where there is nothing to combine, or too much.
    """
    if best < 2:
        raise UsageError(f"a merge needs two checkpoints or more, not {best}")
    pool = mergeable(ranked)[:best]
    if len(pool) > _LARGEST_POOL:
        raise UsageError(
            f"the best {len(pool)} have {2 ** len(pool) - len(pool) - 1} merges; at most {_LARGEST_POOL} checkpoints are combined in every way. "
            "The default plan finds as good a merge of so many at a fraction of the cost"
        )
    return [uniform(chosen) for size in range(2, len(pool) + 1) for chosen in combinations(pool, size)]


def ladder(singles: Sequence[Candidate], sizes: Sequence[int]) -> list[Candidate]:
    """The means of the first so many, for each size that there are enough for."""
    return [uniform(singles[:size]) for size in sizes if 2 <= size <= len(singles)]


def windows(epochs: Sequence[Candidate], sizes: Sequence[int] = (2, 3, 5, 8, 13, 21)) -> list[Candidate]:
    """Means of the last so many epochs, in the order of training (latest weight averaging; Kaddour 2022)."""
    return ladder(epochs[::-1], sizes)


def powers(epochs: Sequence[Candidate], exponents: Sequence[float]) -> list[Candidate]:
    """Means of all epochs with weights that grow as a power of the time trained: nearest to an average along the training (compare Karras et al.
    2024, section 3.1) where only checkpoints were kept. Raises `UsageError` for a checkpoint that is no epoch."""
    times = np.array([_time(single) for single in epochs])
    profiles = [(times / times.max()) ** exponent for exponent in exponents]
    return [_mean(epochs, profile / profile.sum()) for profile in profiles]


def post_hoc(epoch: Candidate, widths: Sequence[float]) -> list[Candidate]:
    """Averages of other widths along the training up to an epoch, rebuilt from those that training kept (Karras et al. 2024, section 3.2)."""
    return [replace(epoch, width=width) for width in widths]


def _mean(singles: Sequence[Candidate], shares: np.ndarray | None = None) -> Candidate:
    members = tuple(single.members[0] for single in singles)
    return replace(singles[0], members=members, weights=None if shares is None else tuple(map(float, shares)))


def _time(single: Candidate) -> int:
    """How many epochs a checkpoint has trained."""
    (name,) = single.members
    if not name.isdigit():
        raise UsageError(f"{name} is no epoch: weights that grow with the epoch need the checkpoints of epochs")
    return int(name)
