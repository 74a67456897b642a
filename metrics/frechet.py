"""The Fréchet distance between Gaussians fitted to features, and its standard error (Heusel et al. 2017, eq. 6; Dowson & Landau 1982).

Covariances are kept as factors, S = F Fᵀ, and never multiplied out: with Y = X F / √(n-1), where X holds the centred features of n images,
the trace of (S S_r)^½ is the sum of the singular values of Y. That is exact where a matrix square root is not, cannot turn complex, and costs
one symmetric eigenproblem of size min(n, rank). Everything here is float64; features may come as float32.
"""

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from apfgan.errors import DataError
from apfgan.files import write_bytes
from apfgan.measured import Measured


@dataclass(frozen=True, eq=False)
class Reference:
    """The Gaussian of the photos' features, D numbers each, and what a distance from it is called."""

    mean: np.ndarray
    """float64 (D,)."""
    factor: np.ndarray
    """float64 (D, r): the covariance is `factor @ factor.T`."""
    count: int | None = None
    """Number of photos; None where a file does not say."""
    distance: str = "fid"
    """Name of the metric."""
    unit: float = 1.0
    """The metric is the Fréchet distance divided by this."""

    @classmethod
    def fit(cls, features: np.ndarray, *, distance: str = "fid", relative: bool = False) -> "Reference":
        """Fit to features (N, D) of at least two photos, with the unbiased covariance.

        `relative`: distances are given in percent of the trace of the covariance, so that showing the mean feature always scores 100.
        Raises `DataError` when a feature is not finite, or when nothing varies.
        """
        mean, centred = _centre(features)
        count, dimensions = centred.shape
        factor = centred.T / np.sqrt(count - 1) if count <= dimensions else _factor(centred.T @ centred / (count - 1))
        spread = float(np.square(factor).sum())
        if spread == 0:
            raise DataError(f"the {count} reference photos have identical features: are they copies of one photo?")
        return cls(mean, factor, count, distance, spread / 100 if relative else 1.0)

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read a `.npz` with `mu` and `sigma`, as pytorch-fid and clean-fid write it, or as `save` does."""
        try:
            # Opened here, because np.load leaves a damaged file open.
            with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            mean, covariance = arrays["mu"], arrays["sigma"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is no file of Fréchet statistics (an .npz with mu and sigma): {error}") from error
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise DataError(f"{path}: mu {mean.shape} and sigma {covariance.shape} must be finite, (D,) and (D, D); make the file again")
        if mean.dtype != np.float64 or covariance.dtype != np.float64:
            # Measured: float32 statistics moved an FID of 53.06 to 52.17 without a warning (spec: metrics, 0.2).
            raise DataError(f"{path} holds {mean.dtype}/{covariance.dtype} statistics; float64 is needed: make the file again from the photos")
        count = int(arrays["count"]) if "count" in arrays else None
        distance = str(arrays["distance"]) if "distance" in arrays else "fid"
        return cls(mean, _factor(covariance), count, distance, float(arrays.get("unit", 1.0)))

    def save(self, path: Path) -> None:
        """Write it durably as an `.npz` that pytorch-fid reads, too."""
        buffer = io.BytesIO()
        extra = {"distance": np.array(self.distance), "unit": np.array(self.unit)} | ({} if self.count is None else {"count": np.array(self.count)})
        np.savez(buffer, allow_pickle=False, mu=self.mean, sigma=self.factor @ self.factor.T, **extra)
        write_bytes(path, buffer.getvalue())

    @cached_property
    def trace(self) -> float:
        """Trace of the covariance: the features' total variance."""
        return float(np.square(self.factor).sum())


def frechet_distance(features: np.ndarray, reference: Reference) -> float:
    """|μ - μ_r|² + tr(S + S_r - 2 (S S_r)^½) of features (N, D), never negative; not divided by the reference's unit.

    Raises `DataError` for fewer than two images, another D, or a feature that is not finite (it names the image's row).
    """
    return _measure(features, reference).value


def measure_distance(features: np.ndarray, reference: Reference) -> Measured:
    """The metric `reference.distance` of features (N, D), with each image's influence.

    The standard error holds for the distance of as many images as these, under redrawing them (measured: 0.262 where the true one was
    0.280 at N=1000, D=2048; spec: metrics, 5). It says nothing of the distance of infinitely many images, which is smaller.
    """
    raw = _measure(features, reference)
    return Measured(raw.value / reference.unit, raw.influence / reference.unit, raw.images)


def _measure(features: np.ndarray, reference: Reference) -> Measured:
    mean, centred = _centre(features)
    count, dimensions = centred.shape
    if dimensions != len(reference.mean):
        raise DataError(f"the images have {dimensions} features, the reference {len(reference.mean)}: they come from different judges")
    projected = centred @ reference.factor / np.sqrt(count - 1)
    singular, pull = _singular_values(projected)
    squares = np.square(centred).sum(axis=1)
    shift = mean - reference.mean
    value = float(shift @ shift + squares.sum() / (count - 1) + reference.trace - 2 * singular.sum())
    # Derivatives of the mean's, the trace's and the root's part towards each image (spec: metrics, 5.2); tr(TS) = Σ singular values with
    # T = F (Fᵀ S F)^-½ Fᵀ, whose quadratic form at image i is (n-1) `pull`.
    influence = 2 * centred @ shift + (squares * count - squares.sum()) / (count - 1) - (count - 1) * (pull - pull.mean())
    return Measured(max(value, 0.0), influence - influence.mean(), count)


def _singular_values(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values s of a matrix U s Vᵀ (n, r), and Σ_k U_ik² s_k for each row i.

    Vectors come from the smaller Gram matrix; values are lengths of images of those vectors, because the roots of the Gram matrix's
    eigenvalues would carry the rounding of its largest one into the smallest (1e-8 of it instead of 1e-16).
    """
    rows, columns = matrix.shape
    if rows <= columns:
        left = np.linalg.eigh(matrix @ matrix.T)[1]
        singular = np.linalg.norm(left.T @ matrix, axis=1)
        return singular, np.square(left) @ singular
    scaled = matrix @ np.linalg.eigh(matrix.T @ matrix)[1]  # U s
    singular = np.linalg.norm(scaled, axis=0)
    inverse = np.divide(1, singular, out=np.zeros_like(singular), where=singular > singular.max(initial=0) * 1e-12)
    return singular, np.square(scaled) @ inverse


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with `covariance` = F Fᵀ; directions without variance beyond rounding are dropped."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])


def _centre(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if features.ndim != 2 or len(features) < 2:
        raise DataError(f"a Fréchet distance needs the features of at least 2 images, as (N, D); there are {features.shape}")
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise DataError(
            f"image {broken[0]} (counted from 0) has a feature that is not finite ({len(broken)} of {len(features)} images have): look at that image"
        )
    exact = features.astype(np.float64)
    mean = exact.mean(axis=0)
    return mean, exact - mean
