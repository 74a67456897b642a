"""All that is known of the photos before one feature judge: what images are compared with.

Fitted once, kept in one `.npz`, and found again by content. The file holds `mu` and `sigma`, so that pytorch-fid and clean-fid read it; theirs
are read, too, and give the distance alone.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from apfgan.errors import DataError
from apfgan.files import write_durably
from apfgan.measured import Measured
from metrics.frechet import Gaussian, measure_distance


@dataclass(frozen=True, eq=False)
class Reference:
    """The photos' features, M photos with D numbers each, as far as they are known."""

    gaussian: Gaussian
    """Of the photos' features."""
    distance: str = "fid"
    """Name of the distance from them."""
    unit: float = 1.0
    """The metric is the Fréchet distance divided by this."""
    count: int | None = None
    """M; None where a file does not say."""
    features: np.ndarray | None = None
    """float32 (M, D); None where only their mean and covariance are known."""

    @classmethod
    def fit(cls, features: np.ndarray, *, distance: str = "fid", relative: bool = False) -> "Reference":
        """Fit to features (M, D) of at least two photos.

        `relative`: distances are given in percent of the trace of the covariance, so that showing the mean feature always scores 100.
        Raises `DataError` when a feature is not finite, or when nothing varies.
        """
        gaussian = Gaussian.fit(features)
        if gaussian.trace == 0:
            raise DataError(f"the {len(features)} reference photos have identical features: are they copies of one photo?")
        return cls(gaussian, distance, gaussian.trace / 100 if relative else 1.0, len(features), features.astype(np.float32))

    @classmethod
    def load(cls, path: Path, *, distance: str | None = None) -> "Reference":
        """Read a `.npz` with `mu` and `sigma`, as pytorch-fid and clean-fid write it, or as `save` does.

        `distance` is the judge's name for it, which a file of ours has to confirm; other files do not say whose features they hold.
        """
        try:
            # Opened here, because np.load leaves a damaged file open.
            with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            mean, covariance = arrays["mu"], arrays["sigma"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is no file of Fréchet statistics (an .npz with mu and sigma): {error}") from error
        if mean.dtype not in (np.float64, np.float32) or covariance.dtype != np.float64:
            # Measured: a float32 covariance moved an FID of 53.06 to 52.17 without a warning; a float32 mean, which is how clean-fid writes it,
            # by 4e-7 (spec: metrics, 0.2 and 2.2).
            raise DataError(
                f"{path} holds {mean.dtype}/{covariance.dtype} statistics; a float64 covariance is needed: make the file again from the photos"
            )
        try:
            gaussian = Gaussian.of_statistics(mean, covariance)
        except DataError as error:
            raise DataError(f"{path}: {error}; make the file again") from error
        named = str(arrays["distance"]) if "distance" in arrays else distance or "fid"
        if distance is not None and named != distance:
            raise DataError(f"{path} is a reference for {named}, and {distance} is to be measured: choose the file of that judge")
        count = int(arrays["count"]) if "count" in arrays else None
        return cls(gaussian, named, float(arrays.get("unit", 1.0)), count, arrays.get("features"))

    def save(self, path: Path) -> None:
        """Write it durably as an `.npz` that pytorch-fid and clean-fid read, too."""
        arrays = {
            "mu": self.gaussian.mean,
            "sigma": self.gaussian.covariance,
            "distance": self.distance,
            "unit": self.unit,
            "count": self.count,
            "features": self.features,
        }

        def write(file: BinaryIO) -> None:
            np.savez(file, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items() if value is not None})

        write_durably(path, write)

    def measure(self, features: np.ndarray) -> dict[str, Measured]:
        """The distance of images' features (N, D), by its name.

        Raises `DataError` for fewer than two images, another D, or a feature that is not finite.
        """
        raw = measure_distance(features, self.gaussian)
        return {self.distance: Measured(raw.value / self.unit, raw.influence / self.unit, raw.images)}
