"""A number measured on images, together with each image's pull on it: standard errors and paired differences follow from that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from apfgan.records import Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A statistic of N images, linearised: were image i drawn a little more often, the value would move along `influence[i]`.

    For a mean the influence is the image's value minus the mean; for a Fréchet distance see `metrics.frechet`. Influences over one set
    of images may be subtracted (two candidates, same label maps) or combined (a composite) image by image.
    """

    value: float
    influence: np.ndarray
    """float64 (N,), adding up to 0; 0 for an image that says nothing."""
    images: int
    """How many images say something; at most N."""

    @classmethod
    def mean(cls, values: np.ndarray) -> "Measured":
        """The mean of one value an image (N,); an image whose value is NaN is left out. At least one must remain."""
        valid = ~np.isnan(values)
        kept = int(valid.sum())
        value = float(values[valid].mean())
        influence = np.where(valid, values - value, 0.0) * (len(values) / kept)
        return cls(value, influence, kept)

    @classmethod
    def average(cls, several: Sequence["Measured"]) -> "Measured":
        """The mean of several numbers of the same images in the same order (those of a candidate's seeds): it moves with an image as much as they
        do on average.
        """
        return cls(fmean(each.value for each in several), np.mean([each.influence for each in several], axis=0), min(each.images for each in several))

    @property
    def estimate(self) -> Estimate:
        """The value and its standard error over images; no error from a single image."""
        return Estimate(self.value, self._error(self.influence, self.images))

    def minus(self, other: "Measured") -> Estimate:
        """This minus `other`, measured on the same images in the same order: the error of a paired comparison."""
        if self.influence.shape != other.influence.shape:
            raise ValueError(f"a paired difference needs the same images: {len(self.influence)} against {len(other.influence)}")
        return Estimate(self.value - other.value, self._error(self.influence - other.influence, min(self.images, other.images)))

    @staticmethod
    def _error(influence: np.ndarray, images: int) -> float | None:
        if images < 2:
            return None
        return math.sqrt(float(influence @ influence) * images / (images - 1)) / len(influence)
