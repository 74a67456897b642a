import numpy as np
import pytest
from cleanfid.fid import kernel_distance

from apfgan.errors import DataError
from metrics import products
from metrics.kid import kernel_mean, measure_kid


def draw(count: int, dimensions: int, *, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    normal = np.random.default_rng(seed).normal(size=(count, dimensions)) * np.arange(1, dimensions + 1) ** -0.5
    return (normal * scale + shift).astype(np.float32)


def by_definition(fake: np.ndarray, real: np.ndarray) -> float:
    """Equation 4 of the paper, one pair at a time."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x.astype(np.float64) @ y.astype(np.float64)) / len(x) + 1) ** 3

    def within(rows: np.ndarray) -> float:
        return sum(kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j) / (len(rows) * (len(rows) - 1))

    return within(fake) + within(real) - 2 * sum(kernel(x, y) for x in fake for y in real) / (len(fake) * len(real))


@pytest.mark.parametrize(("images", "photos"), [(2, 2), (7, 20), (20, 7)])
def test_is_the_mean_over_all_pairs(images: int, photos: int) -> None:
    fake, real = draw(images, 5, seed=1, shift=0.3), draw(photos, 5, seed=2)
    assert measure_kid(fake=fake, real=real).value == pytest.approx(by_definition(fake, real), rel=1e-10)
    assert measure_kid(fake=fake, real=real, real_kernel=kernel_mean(real)).value == pytest.approx(by_definition(fake, real), rel=1e-10)


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, real = draw(30, 8, seed=1, shift=0.3), draw(50, 8, seed=2)
    whole = measure_kid(fake=fake, real=real)
    monkeypatch.setattr(products, "_PRODUCTS", 7 * 30)
    pieces = measure_kid(fake=fake, real=real)
    assert pieces.value == pytest.approx(whole.value, rel=1e-12)
    np.testing.assert_allclose(pieces.influence, whole.influence, rtol=1e-9, atol=1e-12)


def test_is_unbiased() -> None:
    """At any number of images, and below 0 as often as the noise has it where both come from one distribution."""
    values = [measure_kid(fake=draw(20, 6, seed=1000 + seed), real=draw(30, 6, seed=5000 + seed)).value for seed in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert 0.3 < np.mean(np.array(values) < 0) < 0.7
    real = draw(2000, 6, seed=1)
    known = kernel_mean(real)
    few, many = (
        np.mean([measure_kid(fake=draw(count, 6, seed=seed, shift=0.3), real=real, real_kernel=known).value for seed in range(2, 2 + 4000 // count)])
        for count in (10, 1000)
    )
    assert few == pytest.approx(many, rel=0.05)


def test_clean_fids_subsets_scatter_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "choice", np.random.default_rng(0).choice)
    fake, real = draw(200, 16, seed=1, shift=0.2), draw(300, 16, seed=2)
    theirs = [kernel_distance(real, fake, num_subsets=1, max_subset_size=60) for _ in range(200)]
    ours = measure_kid(fake=fake, real=real).value
    assert abs(np.mean(theirs) - ours) < 3 * np.std(theirs) / np.sqrt(len(theirs))
    assert np.std(theirs) > 0.05 * ours  # they do scatter


@pytest.mark.parametrize("shift", [0.0, 0.3], ids=["like the photos", "apart"])
def test_the_standard_error_is_the_spread_over_redraws(shift: float) -> None:
    real = draw(500, 8, seed=1)
    known = kernel_mean(real)
    measured = [measure_kid(fake=draw(80, 8, seed=100 + seed, shift=shift), real=real, real_kernel=known) for seed in range(300)]
    true = float(np.std([each.value for each in measured], ddof=1))
    claimed = float(np.median([each.estimate.error or np.nan for each in measured]))
    assert claimed == pytest.approx(true, rel=0.2)


def test_influence_is_what_an_images_absence_changes() -> None:
    fake, real = draw(40, 6, seed=1, shift=0.2), draw(60, 6, seed=2)
    measured = measure_kid(fake=fake, real=real)
    without = np.array([measure_kid(fake=np.delete(fake, row, axis=0), real=real).value for row in range(40)])
    jackknife = 39 * (without.mean() - without)
    assert measured.influence.sum() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(measured.influence, jackknife, rtol=0.1, atol=0.05 * np.abs(jackknife).max())


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 images"):
        measure_kid(fake=draw(1, 4, seed=1), real=draw(9, 4, seed=2))
    with pytest.raises(DataError, match="different judges"):
        measure_kid(fake=draw(5, 4, seed=1), real=draw(9, 5, seed=2))
    broken = draw(5, 4, seed=1)
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match="image 3"):
        measure_kid(fake=broken, real=draw(9, 4, seed=2))
