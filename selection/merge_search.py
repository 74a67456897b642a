"""What a search of merges measures: as the authors did, every combination of the best few checkpoints."""

from collections.abc import Sequence
from itertools import combinations

from apfgan.candidates import Candidate
from apfgan.errors import UsageError


def combinations_of_best(ranked: Sequence[Candidate], best: int) -> list[Candidate]:
    """All uniform merges of two or more of the first `best` checkpoints of a ranking, pairs first.

    Raises `UsageError` where there is nothing to combine.
    """
    singles = [candidate for candidate in ranked if not candidate.is_merge]
    singles = [candidate for candidate in singles if candidate.seed == singles[0].seed]
    if best < 2 or len(singles) < 2:
        raise UsageError(
            f"a merge needs two checkpoints or more; {len(singles)} are measured and --best is {best}. Measure more: apfgan score --epochs ..."
        )
    pool = singles[:best]
    sets = (chosen for size in range(2, len(pool) + 1) for chosen in combinations(pool, size))
    return [Candidate(tuple(each.members[0] for each in chosen), seed=chosen[0].seed) for chosen in sets]
