"""Scores in the middle of a program of one's own: a few lines in a training loop, by the same code as `apfgan score`.

    judges = standard_judges(Classes())                          # metrics.standard; or embedded_judges(fit(...)), metrics.embedded
    references = fit_references(judges, photos)                  # once
    scorer = Scorer(judges, references)
    for images, label_maps in batches:                           # uint8 (N, H, W, 3) and integers (N, H, W)
        scorer.add(images, label_maps)
    scorer.scores()["composite"].estimate                        # Estimate(value, error)

Scores of two generators on the same label maps in the same order are compared by `one["composite"].minus(other["composite"])`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from apfgan.composite import FORMULAS, Formula, composite_measured
from apfgan.errors import DataError
from apfgan.measured import Measured
from metrics.judges import FeatureJudge, Judges, Observations
from metrics.reference import Reference

_BATCH = 16
"""Photos that a judge sees together."""


@dataclass
class Scorer:
    """Collects what judges observe in images that come in pieces, and scores them all together."""

    judges: Judges
    references: Sequence[Reference]
    """Of the photos, for each of the judges' `feature_judges` (`fit_references`)."""
    formula: Formula = FORMULAS["A"]
    _observed: list[Observations] = field(default_factory=list, init=False, repr=False)

    def add(self, images: np.ndarray, label_maps: np.ndarray, names: Sequence[str] | None = None) -> None:
        """Look at images uint8 (N, H, W, 3) that were drawn for label maps (N, H, W). Sizes of pieces do not matter.

        Raises `DataError` for anything else, and for an image in which something is not finite; it is called by its name if there are `names`.
        """
        self._observed.append(self.judges.observe(images, label_maps, names).observations)

    def scores(self) -> dict[str, Measured]:
        """Every metric and the `composite` of all images so far, with each image's influence. Raises `DataError` for fewer than two images."""
        if not self._observed:
            raise DataError("no image was added to this scorer")
        return total_scores(self.judges, join(self._observed), self.references, self.formula)


def fit_references(judges: Judges, photos: Sequence[np.ndarray]) -> tuple[Reference, ...]:
    """What each of the judges' `feature_judges` knows of photos uint8 (H, W, 3), of any sizes."""
    return tuple(judge.fit_reference(observe_photos(judge, photos)) for judge in judges.feature_judges)


def observe_photos(judge: FeatureJudge, photos: Iterable[np.ndarray]) -> np.ndarray:
    """Features float32 (N, D) of photos that may come one by one. There must be one at least."""
    waiting = iter(photos)
    return np.concatenate([judge.observe_photos(few) for few in iter(lambda: list(islice(waiting, _BATCH)), [])])


def total_scores(
    judges: Judges, observations: Observations, references: Sequence[Reference], formula: Formula, *, checks: bool = True
) -> dict[str, Measured]:
    """The metrics and the `composite` of per-image observations, each with every image's influence; without the `checks`, what a total is made of.

    The composite's error follows from each image's influence on all three scores together (the delta method), for they move together.
    """
    measured = judges.measure(observations, references, checks=checks)
    return {**measured, "composite": composite_measured(formula, measured, distance=judges.distance)}


def join(parts: Sequence[Observations]) -> dict[str, np.ndarray]:
    """The observations of several pieces of a set, as of the whole."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
