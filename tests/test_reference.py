import warnings
from pathlib import Path

import numpy as np
import pytest
from pytorch_fid.fid_score import calculate_frechet_distance, compute_statistics_of_path

from apfgan.errors import DataError
from metrics.frechet import frechet_distance
from metrics.reference import Reference


def draw(count: int, dimensions: int, *, seed: int, shift: float = 0.0) -> np.ndarray:
    """Non-negative, correlated features, as a network's pooled features are."""
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)
    return np.maximum(np.random.default_rng(seed).normal(shift, size=(count, dimensions)) @ mixing + 0.5, 0)


def value(features: np.ndarray, reference: Reference) -> float:
    return reference.measure(features)[reference.distance].value


def test_a_relative_distance_scores_the_mean_picture_100() -> None:
    real = draw(200, 16, seed=5) * 37
    reference = Reference.fit(real, distance="fd-embedded", relative=True)
    mean_picture = np.repeat(real.mean(0, keepdims=True), 3, axis=0)
    assert value(mean_picture, reference) == pytest.approx(100)
    scaled = Reference.fit(real * 1000, relative=True)
    generated = draw(40, 16, seed=6) * 37
    measured = reference.measure(generated)["fd-embedded"]
    assert value(generated * 1000, scaled) == pytest.approx(measured.value)
    raw = frechet_distance(generated, reference.gaussian)
    assert measured.value == pytest.approx(raw * 100 / np.trace(np.cov(real, rowvar=False)))


@pytest.mark.parametrize("photos", [12, 100], ids=["fewer photos than features", "more"])
def test_saving_keeps_everything(tmp_path: Path, photos: int) -> None:
    reference = Reference.fit(draw(photos, 20, seed=1), distance="fd-embedded", relative=True)
    reference.save(tmp_path / "photos.npz")
    again = Reference.load(tmp_path / "photos.npz")
    generated = draw(30, 20, seed=3)
    assert (again.count, again.distance, again.unit) == (photos, "fd-embedded", reference.unit)
    np.testing.assert_array_equal(again.features, reference.features)
    assert value(generated, again) == pytest.approx(value(generated, reference), rel=1e-9)


def test_pytorch_fid_reads_what_is_saved(tmp_path: Path) -> None:
    real, generated = draw(100, 20, seed=1), draw(60, 20, seed=2, shift=0.5)
    reference = Reference.fit(real)
    reference.save(tmp_path / "photos.npz")
    mean, covariance = compute_statistics_of_path(str(tmp_path / "photos.npz"), None, 50, 20, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of sqrtm
        theirs = calculate_frechet_distance(generated.mean(0), np.cov(generated, rowvar=False), mean, covariance)
    assert value(generated, reference) == pytest.approx(theirs, rel=1e-9)


def test_reads_a_file_of_pytorch_fid(tmp_path: Path) -> None:
    real, generated = draw(100, 20, seed=1), draw(60, 20, seed=2)
    np.savez_compressed(tmp_path / "theirs.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    reference = Reference.load(tmp_path / "theirs.npz")
    assert (reference.count, reference.features, reference.distance) == (None, None, "fid")
    assert value(generated, reference) == pytest.approx(value(generated, Reference.fit(real)), rel=1e-9)


def test_a_foreign_file_is_called_as_the_judge_calls_it(tmp_path: Path) -> None:
    real = draw(100, 20, seed=1)
    np.savez(tmp_path / "theirs.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    assert Reference.load(tmp_path / "theirs.npz", distance="fid-clean").distance == "fid-clean"
    Reference.fit(real, distance="fd-clip").save(tmp_path / "ours.npz")
    assert Reference.load(tmp_path / "ours.npz", distance="fd-clip").distance == "fd-clip"
    with pytest.raises(DataError, match=r"ours\.npz is a reference for fd-clip, and fid is to be measured"):
        Reference.load(tmp_path / "ours.npz", distance="fid")


def test_refuses_a_covariance_in_single_precision(tmp_path: Path) -> None:
    real = draw(100, 20, seed=1)
    np.savez(tmp_path / "single.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False).astype(np.float32))
    with pytest.raises(DataError, match=r"float32.*float64 covariance is needed"):
        Reference.load(tmp_path / "single.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"mu": np.zeros(3)},
        {"mu": np.zeros(3), "sigma": np.zeros((2, 2))},
        {"mu": np.full(2, np.nan), "sigma": np.eye(2)},
        {"mu": np.zeros(2), "sigma": np.array([[1.0, 0.0], [0.5, 1.0]])},
        {"mu": np.zeros(2), "sigma": np.array([[1.0, 2.0], [2.0, 1.0]])},
    ],
    ids=["empty", "no sigma", "sizes", "not finite", "not symmetric", "negative"],
)
def test_refuses_a_file_without_statistics(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(DataError, match=r"wrong\.npz"):
        Reference.load(tmp_path / "wrong.npz")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 not a zip at all")
    with pytest.raises(DataError, match=r"cut\.npz"):
        Reference.load(tmp_path / "cut.npz")


def test_photos_that_are_copies_are_refused() -> None:
    with pytest.raises(DataError, match="copies"):
        Reference.fit(np.ones((5, 3)))
