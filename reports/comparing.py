"""The candidates of a report held against each other: their scores, how well each class came out, and what was taken for what.

Values only. K candidates, N images, C classes that occur; the P = K (K - 1) / 2 pairs are ordered (0, 1), (0, 2), ..., (1, 2), ... Shares are
rounded here, once, so that the page and its script, which compute with them, show the same digits.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from apfgan.labels import Classes
from apfgan.noise import CONFIDENCE
from apfgan.ranking import gap
from apfgan.records import Estimate
from reports.board import Row
from reports.observations import Observations

FEW_IMAGES = 20
"""A class that fewer images ask for is not judged: its 95 % intervals held 86 to 93 % on redrawn images of a real run."""
MOST_ERRORS = 150_000
"""Standard errors of classes that a report carries (1 MB); above, the lowest ranked candidates go without."""
ALL_IN_MATRIX = 30
"""With up to so many classes, all are in the confusion matrix."""
SOME_IN_MATRIX = 20
"""With more, the so many most frequent, and the others together."""
LEAST_CONFUSION = 0.005
"""Share of a class's pixels from which on the confusion matrix shows what it was taken for."""
DECIMALS = 4
"""Of shares: hundredths of a point, of which tenths are shown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassComparison:
    """What the mask judge found of each class, the most frequent first, for each of K candidates. NaN: unknown."""

    ids: np.ndarray
    """int64 (C,): the classes that the label maps ask for."""
    names: tuple[str, ...]
    colours: tuple[str, ...]
    """As `#rrggbb`."""
    images: np.ndarray
    """int64 (C,): label maps that ask for the class."""
    share: np.ndarray
    """float64 (C,): of all labelled pixels."""
    reach: np.ndarray
    """float64 (C,): standard errors on either side of a difference that make its 95 % interval: Student's t of as many images."""
    clear: np.ndarray
    """float64 (C,): standard errors beyond which a difference is called clear; NaN for a class that is not judged (`FEW_IMAGES`).

    Bonferroni over the judged classes: in at most 5 % of all pairs that are truly alike any class would be called clear (8 to 10 % on redrawn images
    of a real run, whose rare classes lie in few large areas). One threshold holds for every pair, which Holm's stepwise ones do not.
    """
    accuracy: np.ndarray
    """float64 (K, C): share of the class's pixels, of all images together, in which it was found."""
    iou: np.ndarray
    """float64 (K, C): pixels both given and found, over pixels given or found."""
    gap_errors: np.ndarray
    """float64 (P, C): standard error of each pair's difference in accuracy, paired image by image."""
    without_errors: int
    """How many candidates have none for the sake of the report's size (`MOST_ERRORS`)."""
    confusion: np.ndarray
    """float64 (K, G + 1, G + 1): share of a given class's pixels by found class, 0 below `LEAST_CONFUSION`; the first G classes, and all others
    together.
    """

    @property
    def judged(self) -> np.ndarray:
        """bool (C,): whether enough images ask for the class."""
        return self.images >= FEW_IMAGES

    def gap(self, one: int, other: int) -> np.ndarray:
        """float64 (C,): accuracy of candidate `one` less that of `other`."""
        return self.accuracy[one] - self.accuracy[other]

    def error(self, one: int, other: int) -> np.ndarray:
        """float64 (C,): standard error of that."""
        if one == other:
            return np.zeros(len(self.ids))
        first, second = sorted((one, other))
        return self.gap_errors[first * (2 * len(self.accuracy) - first - 1) // 2 + second - first - 1]


def score_gaps(cast: Sequence[Row]) -> list[Estimate]:
    """For each pair: score of the first less score of the second, paired image by image where both were measured so."""
    return [gap(one.entry, other.entry) for one, other in combinations(cast, 2)]


def compare_classes(
    cast: Sequence[Row], observed: Mapping[str, Observations], classes: Classes, *, foremost: Collection[str] = ()
) -> ClassComparison | None:
    """The candidates by class; None where none has its observations (by name). Those named in `foremost` are the last to go without errors."""
    found = [observed.get(row.name) for row in cast]
    first = next((seen for seen in found if seen is not None), None)
    if first is None:
        return None
    found = [seen if seen is not None and len(seen.confusion) == len(first.confusion) else None for seen in found]
    pixels = first.classes.pixels[: len(classes)]
    order = np.argsort(-pixels, kind="stable")
    ids = order[pixels[order] > 0]
    images = first.classes.images[ids]
    judged = images >= FEW_IMAGES
    with_errors = _with_errors(cast, len(ids), foremost)
    unknown = np.full(len(ids), np.nan)
    return ClassComparison(
        ids=ids,
        names=tuple(classes.names[index] for index in ids),
        colours=tuple(hexadecimal(classes)[index] for index in ids),
        images=images,
        share=np.round(pixels[ids] / pixels.sum(), DECIMALS + 1),
        reach=np.round(_quantile((1 + CONFIDENCE) / 2, images), 3),
        clear=np.where(judged, np.round(_quantile(1 - (1 - CONFIDENCE) / 2 / max(judged.sum(), 1), images), 3), np.nan),
        accuracy=np.round([unknown if seen is None else seen.classes.accuracy[ids] for seen in found], DECIMALS),
        iou=np.round([unknown if seen is None else seen.classes.iou[ids] for seen in found], DECIMALS),
        gap_errors=np.round(_gap_errors([seen if keep else None for seen, keep in zip(found, with_errors, strict=True)], ids), DECIMALS),
        without_errors=sum(seen is not None and not keep for seen, keep in zip(found, with_errors, strict=True)),
        confusion=_confusion(found, ids),
    )


def hexadecimal(classes: Classes) -> list[str]:
    """The colour of each class, as `#rrggbb`."""
    return ["#" + bytes(colour).hex() for colour in classes.colours.tolist()]


def _quantile(probability: float, images: np.ndarray) -> np.ndarray:
    """Student's t of as many images."""
    return np.asarray(stats.t.ppf(probability, np.maximum(images - 1, 1)))


def _with_errors(cast: Sequence[Row], classes: int, foremost: Collection[str]) -> list[bool]:
    """Which candidates are compared with errors: all, or as many of the best ranked as leave the report small."""
    most = int((1 + math.sqrt(1 + 8 * MOST_ERRORS / max(classes, 1))) / 2)
    kept = {row.name for row in sorted(cast, key=lambda row: (row.name not in foremost, row.rank))[:most]}
    return [row.name in kept for row in cast]


def _gap_errors(found: Sequence[Observations | None], ids: np.ndarray) -> np.ndarray:
    """Standard errors (P, C) of the differences in accuracy, from each image's influence on either side (`apfgan.measured`).

    Only candidates that were seen under the same label maps are paired. A pair at a time: from covariances, nothing but rounding would be left of
    two that are nearly the same; and all pairs at once would not fit into memory.
    """
    stems: list[list[str]] = []
    pulls: list[np.ndarray] = []
    for seen in found:
        by_stem = sorted(range(len(seen.stems)), key=seen.stems.__getitem__) if seen else []
        stems.append([seen.stems[index] for index in by_stem] if seen else [])
        pulls.append(_pull(seen, ids)[by_stem] if seen else np.empty((0, len(ids))))
    errors = np.full((math.comb(len(found), 2), len(ids)), np.nan)
    for pair, (one, other) in enumerate(combinations(range(len(found)), 2)):
        if stems[one] and stems[one] == stems[other]:
            apart = pulls[one] - pulls[other]
            errors[pair] = np.sqrt(np.einsum("nc,nc->c", apart, apart))
    return errors


def _pull(seen: Observations, ids: np.ndarray) -> np.ndarray:
    """Each image's part (N, C) of the standard error of each class's accuracy; NaN for a class of one image, whose noise nobody knows."""
    images = seen.classes.images[ids]
    factor = np.sqrt(np.divide(images, images - 1, out=np.full(len(ids), np.nan), where=images > 1))
    return np.asarray(seen.classes.accuracy_influence[:, ids] * factor / len(seen.stems))


def _confusion(found: Sequence[Observations | None], ids: np.ndarray) -> np.ndarray:
    """Shares (K, G + 1, G + 1) of given pixels by found class, rounded to thousandths, 0 where small; NaN for what is unknown or not given."""
    shown = len(ids) if len(ids) <= ALL_IN_MATRIX else SOME_IN_MATRIX
    shares = np.full((len(found), shown + 1, shown + 1), np.nan)
    for place, seen in enumerate(found):
        if seen is None:
            continue
        group = np.full(len(seen.confusion), shown)
        group[ids[:shown]] = np.arange(shown)
        pixels = np.zeros((shown + 1, shown + 1))
        np.add.at(pixels, (group[:, None], group[None, :]), seen.confusion)
        given = pixels.sum(axis=1, keepdims=True)
        np.divide(pixels, given, out=shares[place], where=given > 0)
    shares[shares < LEAST_CONFUSION] = 0
    return np.round(shares, 3)
