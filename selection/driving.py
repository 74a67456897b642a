"""Run a search: hand it what it asks for, as far as the budget goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apfgan.candidates import Candidate
from selection.units import Measure, Outcome, Search, Unit


@dataclass(frozen=True, slots=True)
class Budget:
    """What a search may cost, counted in what was measured for it, now or by an earlier try: a search that is taken up again spends alike."""

    evaluations: float | None = None
    """One is a candidate on all label maps; None: no limit. Images that were looked at as a part before are not counted again."""
    seconds: float | None = None
    """Of measuring, over all that is measured at a time; None: no limit."""


UNLIMITED = Budget()


def drive(search: Search, measure: Measure, *, budget: Budget = UNLIMITED) -> dict[Unit, Outcome]:
    """Everything that a search had measured, in the order in which it asked for it. It is ended early where the budget is."""
    found: dict[Unit, Outcome] = {}
    failed: set[Unit] = set()
    wanted = next(search, ())
    while wanted:
        new = [unit for unit in dict.fromkeys(wanted) if unit not in found and unit not in failed]
        # With a limit of time, only so many at once as are measured at a time, for what they take is known afterwards.
        step = len(new) if budget.seconds is None else measure.parallel
        for start in range(0, len(new), max(1, step)):
            affordable = _affordable(new[start : start + step], found, measure, budget)
            outcomes = measure(affordable)
            found |= outcomes
            failed |= set(affordable) - outcomes.keys()
            if len(affordable) < len(new[start : start + step]):
                search.close()
                return found
        try:
            wanted = search.send({unit: found[unit] for unit in wanted if unit in found})
        except StopIteration:
            break
    return found


def spent(found: Mapping[Unit, Outcome], images: int) -> float:
    """What was measured, in evaluations of all `images`."""
    return _looked_at(list(found), images) / images


def _affordable(units: Sequence[Unit], found: Mapping[Unit, Outcome], measure: Measure, budget: Budget) -> list[Unit]:
    """The first of the units that the rest of the budget can pay."""
    if budget.seconds is not None and sum(each.seconds for each in found.values()) >= budget.seconds * measure.parallel:
        return []
    affordable = list(units)
    if budget.evaluations is not None:
        while affordable and _looked_at([*found, *affordable], measure.images) > budget.evaluations * measure.images:
            affordable.pop()
    return affordable


def _looked_at(units: Sequence[Unit], images: int) -> int:
    """Images that were looked at for these units, each once."""
    parts: dict[Candidate, list[tuple[int, int]]] = {}
    for unit in units:
        parts.setdefault(unit.candidate, []).append((unit.part.start, unit.part.stop) if unit.part else (0, images))
    total = 0
    for ranges in parts.values():
        end = 0
        for start, stop in sorted(ranges):
            total += max(0, stop - max(start, end))
            end = max(end, stop)
    return total
