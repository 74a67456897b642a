"""The contest's total as a formula of the three scores, its derivatives, and its standard error.

Total = mask accuracy × (shares of aesthetic, closeness and, in the third contest, style similarity), with closeness = (100 - FID) / 100 and the
FID clipped to [0, 100] (spec: metrics, 2.6). It lies between 0 and 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from apfgan.errors import UsageError
from apfgan.measured import Measured
from apfgan.records import DISTANCE_CLIP, Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Formula:
    """One contest's weights."""

    name: str
    aesthetic: float
    """Weight of aesthetic / 10."""
    closeness: float
    """Weight of (100 - FID) / 100."""
    style: float = 0.0
    """Weight of style similarity (-1 to 1), moved to 0..1; the third contest's. A judge of style is not part of this project."""
    votes: float = 0.0
    """Weight of the jury's votes (0 to 1). No machine can know them: they count as 0 unless given, so the total is the machine's part."""

    def __post_init__(self) -> None:
        if min(self.aesthetic, self.closeness, self.style, self.votes) < 0:
            raise UsageError(f"formula {self.name}: weights must not be negative")


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


def composite(
    formula: Formula, *, mask_accuracy: float, aesthetic: float, distance: float, style_similarity: float | None = None, votes: float = 0.0
) -> float:
    """The total of one set of scores: mask accuracy in 0..1, aesthetic in 0..10, distance clipped to 0..100, style similarity in -1..1.

    Raises `UsageError` when the formula weighs style similarity and there is none.
    """
    return mask_accuracy * _quality(formula, aesthetic, distance, style_similarity, votes)


def exchange_rates(
    formula: Formula, *, mask_accuracy: float, aesthetic: float, distance: float, style_similarity: float | None = None, votes: float = 0.0
) -> dict[str, float]:
    """How much the total moves for one unit of each score, at these scores: its partial derivatives.

    Beyond the clip (a distance above 100) the distance has no effect, and its rate is 0.
    """
    inside = 0 <= distance < DISTANCE_CLIP
    return {
        "mask_accuracy": _quality(formula, aesthetic, distance, style_similarity, votes),
        "aesthetic": mask_accuracy * formula.aesthetic / 10,
        "distance": -mask_accuracy * formula.closeness / 100 if inside else 0.0,
    }


def composite_estimate(
    formula: Formula,
    metrics: Mapping[str, Estimate],
    *,
    distance: str,
    style_similarity: float | None = None,
    votes: float = 0.0,
) -> Estimate:
    """The total of measured scores by name (`mask_accuracy`, `aesthetic` and the one called `distance`), scores taken as independent.

    For want of anything better, where only published numbers are known; with observations at hand `composite_measured` knows how the scores
    move together. No error when one of the scores has none.
    """
    values = _values(metrics, distance)
    rates = exchange_rates(formula, **values, style_similarity=style_similarity, votes=votes)
    errors = [metrics[distance if name == "distance" else name].error for name in rates]
    known = [rate * error for rate, error in zip(rates.values(), errors, strict=True) if error is not None]
    value = composite(formula, **values, style_similarity=style_similarity, votes=votes)
    return Estimate(value, math.hypot(*known) if len(known) == len(errors) else None)


def composite_measured(
    formula: Formula,
    metrics: Mapping[str, Measured],
    *,
    distance: str,
    style_similarity: float | None = None,
    votes: float = 0.0,
) -> Measured:
    """The total with every image's influence on it (the delta method): its error, and paired differences of two candidates' totals."""
    values = _values(metrics, distance)
    rates = exchange_rates(formula, **values, style_similarity=style_similarity, votes=votes)
    parts = {name: metrics[distance if name == "distance" else name] for name in rates}
    influence = np.sum([rates[name] * part.influence for name, part in parts.items()], axis=0)
    value = composite(formula, **values, style_similarity=style_similarity, votes=votes)
    return Measured(value, influence, min(part.images for part in parts.values()))


def _quality(formula: Formula, aesthetic: float, distance: float, style_similarity: float | None, votes: float) -> float:
    if formula.style and style_similarity is None:
        raise UsageError(f"formula {formula.name} weighs style similarity, and none was given; score with --board A, or give it")
    closeness = (100 - min(max(distance, 0.0), DISTANCE_CLIP)) / 100
    style = ((style_similarity or 0.0) + 1) / 2
    return formula.aesthetic * aesthetic / 10 + formula.closeness * closeness + formula.style * style + formula.votes * votes


def _values(metrics: Mapping[str, Estimate] | Mapping[str, Measured], distance: str) -> dict[str, float]:
    return {"mask_accuracy": metrics["mask_accuracy"].value, "aesthetic": metrics["aesthetic"].value, "distance": metrics[distance].value}
