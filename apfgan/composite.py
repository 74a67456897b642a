"""The contest's total as a formula of the three scores, its derivatives, and its standard error.

Total = mask accuracy × (shares of aesthetic, closeness, style similarity and votes), with closeness = (100 - FID) / 100 and the FID clipped to
[0, 100] (spec: metrics, 2.6). It lies between 0 and 1 where the weights add up to 1.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from apfgan.errors import UsageError
from apfgan.measured import Measured
from apfgan.records import DISTANCE_CLIP, Estimate

_Number = TypeVar("_Number")


@dataclass(frozen=True, kw_only=True, slots=True)
class Formula:
    """One contest's weights, and what the contest counts that nothing here measures."""

    name: str
    aesthetic: float
    """Weight of aesthetic / 10."""
    closeness: float
    """Weight of (100 - FID) / 100."""
    style: float = 0.0
    """Weight of the style similarity, moved to 0..1; the third contest's."""
    votes: float = 0.0
    """Weight of the jury's votes."""
    style_similarity: float | None = None
    """-1 to 1. A judge of style is not part of this project: known from elsewhere, or None."""
    votes_won: float = 0.0
    """0 to 1. No machine can know them: 0 unless given, so that the total is the machine's part."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(each) and each >= 0 for each in (self.aesthetic, self.closeness, self.style, self.votes)):
            raise UsageError(f"formula {self.name}: weights must be finite and not negative")
        if self.style_similarity is not None and not -1 <= self.style_similarity <= 1:
            raise UsageError(f"formula {self.name}: a style similarity lies in -1 to 1, not at {self.style_similarity}")
        if not 0 <= self.votes_won <= 1:
            raise UsageError(f"formula {self.name}: votes lie in 0 to 1, not at {self.votes_won}")


FORMULAS = {
    formula.name: formula
    for formula in (
        Formula(name="A", aesthetic=0.5, closeness=0.5),
        # The published rows of board B follow formula A's weights: their totals are A's score on board B's label maps.
        Formula(name="B", aesthetic=0.25, closeness=0.25, votes=0.5),
        Formula(name="jittor3", aesthetic=0.2, closeness=0.5, style=0.3),
    )
}
"""By the name that `--board` takes."""


def find_formula(name: str) -> Formula:
    """The formula of that name, or in the TOML file at that path: the fields of `Formula`, of which `aesthetic` and `closeness` must be there.

    Raises `UsageError` for anything else.
    """
    if name in FORMULAS:
        return FORMULAS[name]
    path = Path(name)
    if path.suffix != ".toml":
        raise UsageError(f"no board {name!r}; known: {', '.join(FORMULAS)}, or a .toml of your own (aesthetic = 0.4, closeness = 0.6)")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the weights in {path}: {error}") from error
    known = [field.name for field in fields(Formula)]
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise UsageError(f"{path}: unknown weight {key}" + (f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"))
        if isinstance(value, bool) or not isinstance(value, str if key == "name" else int | float):
            raise UsageError(f"{path}: {key} is {value!r}; it must be {'text' if key == 'name' else 'a number'}")
    if missing := [key for key in ("aesthetic", "closeness") if key not in values]:
        raise UsageError(f"{path} does not say {' and '.join(missing)}: give each of them a weight")
    formula = Formula(**{"name": path.stem} | values)
    if formula.name in FORMULAS:
        raise UsageError(f"{path}: {formula.name} is the name of a contest's own formula; call yours another name")
    return formula


def require_complete(formula: Formula) -> None:
    """Raise `UsageError` when the formula weighs something that nothing here measures and that was not given."""
    if formula.style and formula.style_similarity is None:
        raise UsageError(f"formula {formula.name} weighs style similarity, which nothing here measures; give it: --style-similarity, -1 to 1")


def composite(formula: Formula, *, mask_accuracy: float, aesthetic: float, distance: float) -> float:
    """The total of one set of scores: mask accuracy in 0..1, aesthetic in 0..10, distance clipped to 0..100.

    Raises `UsageError` when the formula weighs style similarity and there is none.
    """
    return math.fsum(contributions(formula, mask_accuracy=mask_accuracy, aesthetic=aesthetic, distance=distance).values())


def contributions(formula: Formula, *, mask_accuracy: float, aesthetic: float, distance: float) -> dict[str, float]:
    """What each weighed term adds to the total, mask accuracy multiplied in: they add up to `composite`."""
    require_complete(formula)
    closeness = (100 - min(max(distance, 0.0), DISTANCE_CLIP)) / 100
    parts = {
        "aesthetic": formula.aesthetic * aesthetic / 10,
        "closeness": formula.closeness * closeness,
        "style": formula.style * ((formula.style_similarity or 0.0) + 1) / 2,
        "votes": formula.votes * formula.votes_won,
    }
    return {name: mask_accuracy * part for name, part in parts.items() if getattr(formula, name)}


def exchange_rates(formula: Formula, *, mask_accuracy: float, aesthetic: float, distance: float) -> dict[str, float]:
    """How much the total moves for one unit of each score, at these scores: its partial derivatives.

    Beyond the clip (a distance above 100) the distance has no effect, and its rate is 0.
    """
    inside = 0 <= distance < DISTANCE_CLIP
    return {
        "mask_accuracy": composite(formula, mask_accuracy=1.0, aesthetic=aesthetic, distance=distance),
        "aesthetic": mask_accuracy * formula.aesthetic / 10,
        "distance": -mask_accuracy * formula.closeness / 100 if inside else 0.0,
    }


def composite_estimate(formula: Formula, metrics: Mapping[str, Estimate], *, distance: str) -> Estimate:
    """The total of measured scores by name (`mask_accuracy`, `aesthetic` and the one called `distance`), scores taken as independent.

    For want of anything better, where only published numbers are known; with observations at hand `composite_measured` knows how the scores
    move together. No error when one of the scores has none.
    """
    parts = scores_of(metrics, distance=distance)
    values = {name: part.value for name, part in parts.items()}
    known = [rate * error for name, rate in exchange_rates(formula, **values).items() if (error := parts[name].error) is not None]
    return Estimate(composite(formula, **values), math.hypot(*known) if len(known) == len(parts) else None)


def composite_measured(formula: Formula, metrics: Mapping[str, Measured], *, distance: str) -> Measured:
    """The total with every image's influence on it (the delta method): its error, and paired differences of two candidates' totals."""
    parts = scores_of(metrics, distance=distance)
    values = {name: part.value for name, part in parts.items()}
    rates = exchange_rates(formula, **values)
    influence = np.sum([rates[name] * part.influence for name, part in parts.items()], axis=0)
    return Measured(composite(formula, **values), influence, min(part.images for part in parts.values()))


def scores_of(metrics: Mapping[str, _Number], *, distance: str) -> dict[str, _Number]:
    """The three scores that a total is made of, by the names of `composite`'s arguments."""
    return {"mask_accuracy": metrics["mask_accuracy"], "aesthetic": metrics["aesthetic"], "distance": metrics[distance]}
