"""All that is known of the photos before one feature judge: what images are compared with.

Fitted once, kept in one `.npz`, and found again by content. The file holds `mu`, `sigma` and `feats`, so that pytorch-fid and clean-fid read
it; theirs are read, too. Where only a mean and a covariance are known, the distance can be measured, and the checks beside it cannot.
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
from metrics.kid import kernel_mean, measure_kid
from metrics.manifold import NEIGHBOURS, measure_manifold, neighbour_radii


@dataclass(frozen=True, eq=False, kw_only=True)
class Reference:
    """The photos' features, M photos with D numbers each, as far as they are known."""

    gaussian: Gaussian
    """Of the photos' features."""
    distance: str
    """Name of the distance from them."""
    unit: float = 1.0
    """The metric is the Fréchet distance divided by this."""
    count: int | None = None
    """M; None where a file does not say."""
    features: np.ndarray | None = None
    """float32 (M, D); None where only their mean and covariance are known."""
    kernel_mean: float | None = None
    """The photos' part of KID; None without features."""
    radii: np.ndarray | None = None
    """float64 (M,): how far each photo's ball reaches (`metrics.manifold`); None without features, or for too few photos."""

    @classmethod
    def fit(cls, features: np.ndarray, *, distance: str = "fid", relative: bool = False) -> "Reference":
        """Fit to features (M, D) of at least two photos.

        `relative`: distances are given in percent of the trace of the covariance, so that showing the mean feature always scores 100.
        Raises `DataError` when a feature is not finite, or when nothing varies.
        Measured for 10 000 photos and D=2048 on one core: 2 s for the Gaussian, 8 s for KID's part, 9 s for the radii.
        """
        gaussian = Gaussian.fit(features)
        if gaussian.trace == 0:
            raise DataError(f"the {len(features)} reference photos have identical features: are they copies of one photo?")
        kept = features.astype(np.float32)
        return cls(
            gaussian=gaussian,
            distance=distance,
            unit=gaussian.trace / 100 if relative else 1.0,
            count=len(kept),
            features=kept,
            kernel_mean=kernel_mean(kept),
            radii=neighbour_radii(kept) if len(kept) > NEIGHBOURS else None,
        )

    @classmethod
    def load(cls, path: Path, *, distance: str | None = None) -> "Reference":
        """Read what `save` wrote, or a `.npz` of pytorch-fid or clean-fid: `mu` and `sigma`, or clean-fid's `feats` for KID.

        `distance` is the judge's name for it, which a file of ours has to confirm; other files do not say whose features they hold.
        Raises `DataError` for anything that is no such file, or was computed in single precision.
        """
        arrays = _read(path)
        if not ("feats" in arrays or {"mu", "sigma"} <= arrays.keys()):
            raise DataError(f"{path} is no file of Fréchet statistics: it holds {', '.join(arrays) or 'nothing'}, and not mu and sigma")
        named = str(arrays.get("distance", distance or "fid"))
        if distance not in (None, named):
            raise DataError(f"{path} is a reference for {named}, and {distance} is to be measured: choose the file of that judge")
        try:
            if "sigma" not in arrays:
                return cls.fit(arrays["feats"], distance=named)
            return cls(
                gaussian=_gaussian(arrays),
                distance=named,
                unit=float(arrays.get("unit", 1.0)),
                count=int(arrays["count"]) if "count" in arrays else None,
                features=arrays.get("feats"),
                kernel_mean=float(arrays["kernel_mean"]) if "kernel_mean" in arrays else None,
                radii=arrays.get("radii"),
            )
        except DataError as error:
            raise DataError(f"{path}: {error}; make the file again from the photos") from error

    def save(self, path: Path) -> None:
        """Write it durably as an `.npz` that pytorch-fid and clean-fid read, too."""
        values = {
            "mu": self.gaussian.mean,
            "sigma": self.gaussian.covariance,
            "factor": self.gaussian.factor,
            "distance": self.distance,
            "unit": self.unit,
            "count": self.count,
            "feats": self.features,
            "kernel_mean": self.kernel_mean,
            "radii": self.radii,
        }
        arrays = {name: np.asarray(value) for name, value in values.items() if value is not None}

        def write(file: BinaryIO) -> None:
            np.savez(file, allow_pickle=False, **arrays)

        write_durably(path, write)

    def measure(self, features: np.ndarray, *, checks: bool = True) -> dict[str, Measured]:
        """The distance of images' features (N, D) under its name, then the checks `kid`, `precision` and `recall` as far as they are known.

        What follows the first `-` of the distance's name follows theirs, too: `fid-clean`, `kid-clean`. The checks need the photos' features;
        precision and recall need 5 images and 4 photos as well. Raises `DataError` for fewer than two images, another D, or a feature that is
        not finite. Measured for 1000 images, 10 000 photos and D=2048 on one core: 0.4 s for the distance, 0.9 s for KID, 1.4 s for the rest.
        """
        raw = measure_distance(features, self.gaussian)
        measured = {self.distance: Measured(raw.value / self.unit, raw.influence / self.unit, raw.images)}
        _, hyphen, judge = self.distance.partition("-")
        suffix = hyphen + judge
        if checks and self.features is not None:
            measured[f"kid{suffix}"] = measure_kid(fake=features, real=self.features, real_kernel=self.kernel_mean)
            if self.radii is not None and len(features) > NEIGHBOURS + 1:
                manifold = measure_manifold(fake=features, real=self.features, real_radii=self.radii)
                measured |= {f"precision{suffix}": manifold.precision, f"recall{suffix}": manifold.recall}
        return measured


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, because np.load leaves a damaged file open.
        with path.open("rb") as content:
            if content.read(1) == b"\x80":  # a pickle, as edm2 writes
                raise DataError(
                    f"{path} is a pickle, and reading one can run anything: where you trust it, turn its part for FID into an .npz with "
                    "numpy.savez('reference.npz', **pickle.load(open(FILE, 'rb'))['fid'])"
                )
            content.seek(0)
            with np.load(content, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no file of Fréchet statistics (an .npz with mu and sigma): {error}") from error


def _gaussian(arrays: dict[str, np.ndarray]) -> Gaussian:
    mean, covariance = arrays["mu"], arrays["sigma"]
    if "factor" in arrays:
        return Gaussian(mean, arrays["factor"])
    if mean.dtype not in (np.float64, np.float32) or covariance.dtype != np.float64:
        # Measured: a float32 covariance moved an FID of 53.06 to 52.17 without a warning; a float32 mean, which is how clean-fid writes it,
        # by 4e-7 (spec: metrics, 0.2 and 2.2).
        raise DataError(f"its mean is {mean.dtype} and its covariance {covariance.dtype}; a float64 covariance is needed")
    return Gaussian.of_statistics(mean, covariance)
