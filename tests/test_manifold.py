import numpy as np
import pytest

from apfgan.errors import DataError
from metrics import products
from metrics.manifold import measure_manifold, neighbour_radii


def draw(count: int, dimensions: int, *, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    normal = np.random.default_rng(seed).normal(size=(count, dimensions)) * np.arange(1, dimensions + 1) ** -0.5
    return (normal * scale + shift).astype(np.float32)


def share_inside(points: np.ndarray, balls: np.ndarray) -> float:
    """Equation 1 of the paper, one distance at a time: how many points lie in a ball around one of the others."""

    def distance(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.linalg.norm(x.astype(np.float64) - y.astype(np.float64)))

    radii = [sorted(distance(x, y) for j, y in enumerate(balls) if j != i)[2] for i, x in enumerate(balls)]
    return float(np.mean([any(distance(point, ball) <= radius for ball, radius in zip(balls, radii, strict=True)) for point in points]))


@pytest.mark.parametrize(("images", "photos"), [(5, 4), (30, 50), (50, 30)])
def test_is_the_share_of_points_in_balls(images: int, photos: int) -> None:
    fake, real = draw(images, 6, seed=1, shift=0.4, scale=0.8), draw(photos, 6, seed=2)
    measured = measure_manifold(fake=fake, real=real)
    assert measured.precision.value == share_inside(fake, real)
    assert measured.recall.value == share_inside(real, fake)
    assert measure_manifold(fake=fake, real=real, real_radii=neighbour_radii(real)).recall.value == measured.recall.value


def test_radii_reach_the_third_neighbour() -> None:
    line = np.array([[0], [1], [3], [7], [15]], dtype=np.float32)
    np.testing.assert_allclose(neighbour_radii(line), [7, 6, 4, 7, 14])


def test_a_long_common_vector_costs_no_precision() -> None:
    """Distances come from squares and products, which are a million times larger here."""
    fake, real = draw(60, 6, seed=1, shift=0.4, scale=0.8) + np.float32(1000), draw(80, 6, seed=2) + np.float32(1000)
    measured = measure_manifold(fake=fake, real=real)
    assert (measured.precision.value, measured.recall.value) == (share_inside(fake, real), share_inside(real, fake))


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, real = draw(40, 6, seed=1, shift=0.4, scale=0.8), draw(70, 6, seed=2)
    whole, radii = measure_manifold(fake=fake, real=real), neighbour_radii(real)
    monkeypatch.setattr(products, "_PRODUCTS", 2 * 70)
    pieces = measure_manifold(fake=fake, real=real)
    np.testing.assert_allclose(neighbour_radii(real), radii, rtol=1e-9)
    assert (pieces.precision.value, pieces.recall.value) == (whole.precision.value, whole.recall.value)
    np.testing.assert_allclose(pieces.recall.influence, whole.recall.influence, atol=1e-12)


def test_one_image_repeated_is_precise_and_recalls_nothing() -> None:
    """And exchanging the two roles exchanges the two numbers, so that they cannot be mixed up unseen."""
    real = draw(100, 6, seed=2)
    middle = np.repeat(real.mean(0, keepdims=True), 20, axis=0)
    collapsed = measure_manifold(fake=middle, real=real)
    assert (collapsed.precision.value, collapsed.recall.value) == (1, 0)
    assert collapsed.recall.estimate.error == 0
    exchanged = measure_manifold(fake=real, real=middle)
    assert (exchanged.precision.value, exchanged.recall.value) == (0, 1)
    apart = measure_manifold(fake=middle + 50, real=real)
    assert (apart.precision.value, apart.recall.value) == (0, 0)


def test_a_photo_repeated_recalls_that_photo_alone() -> None:
    """Identical images have balls without extent, and rounding must not decide what they hold."""
    real = draw(100, 6, seed=2) * 1000
    copied = measure_manifold(fake=np.repeat(real[7:8], 20, axis=0), real=real)
    assert (copied.precision.value, copied.recall.value) == (1, 0.01)


def test_photos_score_as_photos() -> None:
    real = draw(100, 6, seed=2)
    same = measure_manifold(fake=real, real=real)
    assert (same.precision.value, same.recall.value) == (1, 1)
    np.testing.assert_array_equal(same.precision.influence, 0)


def test_influence_on_recall_is_what_an_images_absence_changes() -> None:
    for dimensions in (2, 6):
        fake, real = draw(30, dimensions, seed=1, scale=0.7), draw(80, dimensions, seed=2)
        measured = measure_manifold(fake=fake, real=real).recall
        without = np.array([measure_manifold(fake=np.delete(fake, row, axis=0), real=real).recall.value for row in range(30)])
        assert len(np.unique(without)) > 3
        np.testing.assert_allclose(measured.influence, 29 * (without.mean() - without), atol=1e-12)


def test_the_standard_error_of_precision_is_the_spread_over_redraws() -> None:
    real = draw(500, 8, seed=1)
    radii = neighbour_radii(real)
    measured = [measure_manifold(fake=draw(100, 8, seed=100 + seed), real=real, real_radii=radii).precision for seed in range(200)]
    true = float(np.std([each.value for each in measured], ddof=1))
    assert float(np.median([each.estimate.error or np.nan for each in measured])) == pytest.approx(true, rel=0.2)


@pytest.mark.parametrize(("dimensions", "shift", "scale"), [(8, 0.3, 0.8), (8, 0.0, 1.0), (16, 0.3, 0.7), (2, 0.0, 0.5)])
def test_the_standard_error_of_recall_is_never_too_small(dimensions: int, shift: float, scale: float) -> None:
    """A jackknife's never is, on average (Efron & Stein 1981); here it is up to half too large."""
    real = draw(500, dimensions, seed=1)
    radii = neighbour_radii(real)
    measured = [
        measure_manifold(fake=draw(100, dimensions, seed=100 + seed, shift=shift, scale=scale), real=real, real_radii=radii).recall
        for seed in range(150)
    ]
    true = float(np.std([each.value for each in measured], ddof=1))
    claimed = float(np.median([each.estimate.error or np.nan for each in measured]))
    assert 1.05 * true < claimed < 1.65 * true


def test_what_cannot_be_compared_is_refused() -> None:
    real = draw(20, 6, seed=2)
    with pytest.raises(DataError, match="at least 5 images"):
        measure_manifold(fake=draw(4, 6, seed=1), real=real)
    with pytest.raises(DataError, match="at least 4"):
        measure_manifold(fake=draw(9, 6, seed=1), real=real[:3])
    with pytest.raises(DataError, match="different judges"):
        measure_manifold(fake=draw(9, 5, seed=1), real=real)
    broken = draw(9, 6, seed=1)
    broken[3, 2] = np.inf
    with pytest.raises(DataError, match="image 3"):
        measure_manifold(fake=broken, real=real)
