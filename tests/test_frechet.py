import math
import warnings

import numpy as np
import pytest
from pytorch_fid.fid_score import calculate_frechet_distance

from apfgan.errors import DataError
from metrics.frechet import Gaussian, check_finite, frechet_distance, measure_distance


def draw(count: int, dimensions: int, *, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Non-negative, correlated features with a spectrum that falls off, as a network's pooled features have."""
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)
    spectrum = np.arange(1, dimensions + 1) ** -0.6
    normal = np.random.default_rng(seed).normal(size=(count, dimensions))
    return np.maximum((normal * spectrum * scale + shift) @ mixing + 0.5, 0)


def by_pytorch_fid(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of sqrtm: how pytorch-fid calls it, and singular matrices
        return float(calculate_frechet_distance(features.mean(0), np.cov(features, rowvar=False), mean, covariance))


def by_singular_values(features: np.ndarray, photos: np.ndarray) -> float:
    """Both sets centred, no covariance anywhere: an independent way to the same number."""
    x, y = features - features.mean(0), photos - photos.mean(0)
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum() / math.sqrt((len(x) - 1) * (len(y) - 1))
    shift = features.mean(0) - photos.mean(0)
    return float(shift @ shift + np.square(x).sum() / (len(x) - 1) + np.square(y).sum() / (len(y) - 1) - 2 * root)


@pytest.mark.parametrize("images", [2, 20, 64, 200], ids=lambda count: f"{count} images")
@pytest.mark.parametrize("photos", [30, 500], ids=lambda count: f"{count} photos")
def test_equals_pytorch_fid_and_singular_values(images: int, photos: int) -> None:
    generated, real = draw(images, 64, seed=1, shift=0.3), draw(photos, 64, seed=2)
    ours = frechet_distance(generated, Gaussian.fit(real))
    assert ours == pytest.approx(by_singular_values(generated, real), rel=1e-9)
    # A matrix square root of a singular product is itself only good to about 1e-5 (spec: metrics, 3.2).
    assert ours == pytest.approx(
        by_pytorch_fid(generated, real.mean(0), np.cov(real, rowvar=False)), rel=1e-9 if min(images, photos) > 64 else None, abs=1e-4
    )


def test_dead_dimensions_do_not_matter() -> None:
    generated, real = draw(40, 32, seed=1, shift=0.2), draw(100, 32, seed=2)
    dead = np.zeros((1, 20))
    with_dead = frechet_distance(np.hstack([generated, np.repeat(dead, 40, 0)]), Gaussian.fit(np.hstack([real, np.repeat(dead, 100, 0)])))
    assert with_dead == pytest.approx(frechet_distance(generated, Gaussian.fit(real)), rel=1e-9)


@pytest.mark.parametrize("count", [10, 300])
def test_identical_sets_are_at_no_distance(count: int) -> None:
    photos = draw(count, 48, seed=3)
    distance = frechet_distance(photos, Gaussian.fit(photos))
    assert 0 <= distance < 1e-9


@pytest.mark.parametrize("count", [60, 300], ids=["n < d", "n > d"])
@pytest.mark.parametrize("rank", [5, 40, 100], ids=lambda rank: f"rank {rank}")
def test_equals_singular_values_whatever_the_ranks(count: int, rank: int) -> None:
    """Features that lie in few directions, in both branches and against a reference of another rank."""
    few = np.random.default_rng(5).normal(size=(rank, 100)) / 10
    generated, real = draw(count, rank, seed=1, shift=0.3) @ few, draw(500, 100, seed=2)
    expected = by_singular_values(generated, real)
    assert frechet_distance(generated, Gaussian.fit(real)) == pytest.approx(expected, rel=1e-9)
    swapped = frechet_distance(real, Gaussian.fit(generated))
    assert swapped == pytest.approx(expected, rel=1e-9)
    statistics = Gaussian.of_statistics(generated.mean(0), np.cov(generated, rowvar=False))
    assert frechet_distance(real, statistics) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [40, 200], ids=["n < d", "n > d"])
def test_an_outlier_among_the_images(count: int) -> None:
    generated, real = draw(count, 64, seed=1, shift=0.3), draw(500, 64, seed=2)
    generated[3] *= 1e4
    measured = measure_distance(generated, Gaussian.fit(real))
    assert measured.value == pytest.approx(by_singular_values(generated, real), rel=1e-9)
    assert np.argmax(np.abs(measured.influence)) == 3


def test_two_images() -> None:
    generated, real = draw(2, 24, seed=1), draw(100, 24, seed=2)
    measured = measure_distance(generated, Gaussian.fit(real))
    assert measured.value == pytest.approx(by_singular_values(generated, real), rel=1e-9)
    assert np.isfinite(measured.influence).all()


def test_all_images_the_same() -> None:
    real = draw(100, 16, seed=4)
    picture = np.repeat(real[:1], 5, axis=0)
    shift = real[0] - real.mean(0)
    expected = shift @ shift + np.trace(np.cov(real, rowvar=False))
    measured = measure_distance(picture, Gaussian.fit(real))
    assert measured.value == pytest.approx(expected, rel=1e-12)
    assert measured.estimate.error == pytest.approx(0, abs=1e-9)


def test_float32_features_lose_nothing() -> None:
    generated, real = draw(50, 64, seed=1, shift=0.3), draw(300, 64, seed=2)
    single = frechet_distance(generated.astype(np.float32), Gaussian.fit(real.astype(np.float32)))
    assert single == pytest.approx(frechet_distance(generated, Gaussian.fit(real)), rel=1e-5)


def test_order_does_not_matter() -> None:
    generated, reference = draw(50, 24, seed=1), Gaussian.fit(draw(90, 24, seed=2))
    assert frechet_distance(generated[::-1], reference) == pytest.approx(frechet_distance(generated, reference), rel=1e-12)


@pytest.mark.parametrize(("images", "dimensions"), [(120, 10), (60, 40), (40, 80)], ids=["n > d", "n ~ d", "n < d"])
def test_the_standard_error_is_the_spread_over_redraws(images: int, dimensions: int) -> None:
    reference = Gaussian.fit(draw(1000, dimensions, seed=7))
    measured = [measure_distance(draw(images, dimensions, seed=100 + seed, shift=0.4, scale=1.3), reference) for seed in range(300)]
    true = float(np.std([each.value for each in measured], ddof=1))
    claimed = float(np.median([each.estimate.error or math.nan for each in measured]))
    assert claimed == pytest.approx(true, rel=0.25)


def test_the_paired_error_is_the_spread_of_the_difference() -> None:
    reference = Gaussian.fit(draw(1000, 12, seed=7))
    pairs = []
    for seed in range(200):
        one = draw(80, 12, seed=500 + seed, shift=0.3)
        other = one + 0.1 * np.random.default_rng(9000 + seed).normal(size=one.shape) + 0.05
        pairs.append((measure_distance(one, reference), measure_distance(other, reference)))
    differences = [one.minus(other) for one, other in pairs]
    true = float(np.std([each.value for each in differences], ddof=1))
    unpaired = float(np.std([one.value for one, _ in pairs], ddof=1))
    claimed = float(np.median([each.error or math.nan for each in differences]))
    assert claimed == pytest.approx(true, rel=0.25)
    assert claimed < unpaired / 2


@pytest.mark.parametrize(("images", "dimensions", "photos"), [(60, 8, 200), (20, 40, 200), (60, 40, 15)], ids=["n > d", "n < d", "few photos"])
def test_influence_is_the_derivative_towards_an_image(images: int, dimensions: int, photos: int) -> None:
    """Of the definition, in which an image weighs a little more: means and covariances with weights, and no shortcut."""
    generated, real = draw(images, dimensions, seed=1, shift=0.2), draw(photos, dimensions, seed=2)
    measured = measure_distance(generated, Gaussian.fit(real))
    assert measured.influence.sum() == pytest.approx(0, abs=1e-9)
    centred_real = (real - real.mean(0)) / math.sqrt(photos - 1)

    def weighted(weights: np.ndarray) -> float:
        mean = weights @ generated
        centred = (generated - mean) * np.sqrt(weights * images / (images - 1))[:, np.newaxis]
        shift = mean - real.mean(0)
        root = np.linalg.svd(centred @ centred_real.T, compute_uv=False).sum()
        return float(shift @ shift + np.square(centred).sum() + np.square(centred_real).sum() - 2 * root)

    assert measured.value == pytest.approx(weighted(np.full(images, 1 / images)), rel=1e-9)
    for row in (0, 7, 19):
        step = 1e-6
        more, less = (np.full(images, (1 - sign * step) / images) + sign * step * (np.arange(images) == row) for sign in (1, -1))
        assert (weighted(more) - weighted(less)) / (2 * step) == pytest.approx(measured.influence[row], rel=1e-5)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_before_any_algebra(broken: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix square root of it does not return (spec: metrics, 3.3)."""
    generated, reference = draw(10, 8, seed=1), Gaussian.fit(draw(50, 8, seed=2))
    generated[6, 3] = broken
    for name in ("eigh", "norm", "svd"):
        monkeypatch.setattr(np.linalg, name, None)
    for refused in (lambda: frechet_distance(generated, reference), lambda: Gaussian.fit(generated)):
        with pytest.raises(DataError, match=r"image 6 \(counted from 0\) gives a number that is not finite \(1 of 10"):
            refused()


def test_images_that_are_not_finite_are_called_by_their_names() -> None:
    check_finite(np.zeros((3, 2)), ["a", "b", "c"])
    check_finite(np.zeros(0))
    for rows in (np.array([[0, 1], [np.nan, 2], [3, np.inf]]), np.array([0, np.nan, np.inf])):
        with pytest.raises(DataError, match=r"image beach 7 gives .* \(2 of 3 images do\)"):
            check_finite(rows, ["sky 1", "beach 7", "sea 2"])


def test_one_image_has_no_distance() -> None:
    with pytest.raises(DataError, match="at least 2 images"):
        frechet_distance(draw(1, 8, seed=1), Gaussian.fit(draw(50, 8, seed=2)))


def test_features_of_another_judge_are_refused() -> None:
    with pytest.raises(DataError, match="different judges"):
        frechet_distance(draw(10, 8, seed=1), Gaussian.fit(draw(50, 9, seed=2)))


@pytest.mark.parametrize(
    ("covariance", "reason"),
    [
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "a variance of -1 in one direction"),
        (np.array([[1.0, 0.5], [0.4, 1.0]]), "not symmetric"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "not finite"),
        (np.eye(3), "needed"),
        (-np.eye(2), "a variance of -1"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Gaussian.of_statistics(np.zeros(2), covariance)


def test_a_negative_variance_within_rounding_is_none() -> None:
    real = draw(12, 40, seed=1)
    covariance = np.cov(real, rowvar=False)
    assert np.linalg.eigvalsh(covariance).min() < 0
    kept = Gaussian.of_statistics(real.mean(0), covariance)
    assert kept.factor.shape == (40, 11)
    np.testing.assert_allclose(kept.covariance, covariance, atol=1e-15 * np.abs(covariance).max() * 40)
