import numpy as np
import pytest

from metrics.floor import Floor, measure_floor
from metrics.frechet import Gaussian, frechet_distance
from metrics.reference import Reference


def draw(count: int, dimensions: int, *, seed: int) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)
    spectrum = np.arange(1, dimensions + 1) ** -0.6
    return np.maximum(np.random.default_rng(seed).normal(size=(count, dimensions)) * spectrum @ mixing + 0.3, 0).astype(np.float32)


def by_definition(features: np.ndarray, images: int, *, splits: int, seed: int) -> np.ndarray:
    """Each split's distance from its own two sets alone."""
    source, values = np.random.default_rng(seed), []
    for _ in range(splits):
        order = source.permutation(len(features))
        values.append(frechet_distance(features[order[:images]], Gaussian.fit(features[order[images:]])))
    return np.array(values)


def with_dead_features(features: np.ndarray) -> np.ndarray:
    return np.hstack([features, np.zeros((len(features), 7), np.float32), features[:, :2]])


def with_something_rare(features: np.ndarray) -> np.ndarray:
    """One feature that a single photo has: where that photo is drawn, the rest varies in fewer directions than the whole."""
    rare = np.zeros((len(features), 1), np.float32)
    rare[5] = 3
    return np.hstack([features, rare])


@pytest.mark.parametrize("change", [np.array, with_dead_features, with_something_rare])
@pytest.mark.parametrize(("photos", "images"), [(30, 10), (60, 25), (200, 20), (200, 100), (300, 5)])
def test_equals_the_distance_between_the_two_sets(photos: int, images: int, change) -> None:
    features = change(draw(photos, 24, seed=1))
    floor = measure_floor(Reference.fit(features), images, splits=6, seed=3)
    expected = by_definition(features, images, splits=6, seed=3)
    assert floor is not None
    assert floor.mean == pytest.approx(expected.mean(), rel=1e-9)
    assert floor.deviation == pytest.approx(expected.std(ddof=1), rel=1e-6)
    assert (floor.images, floor.splits) == (images, 6)


def test_the_rest_is_not_fitted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Reference.fit(draw(200, 24, seed=1))
    monkeypatch.setattr(Gaussian, "fit", None)
    assert measure_floor(reference, 50, splits=2) is not None


def test_is_in_the_metrics_unit() -> None:
    features = draw(100, 12, seed=1)
    reference = Reference.fit(features, relative=True)
    floor, raw = measure_floor(reference, 20), measure_floor(Reference.fit(features), 20)
    assert isinstance(floor, Floor)
    assert isinstance(raw, Floor)
    assert floor.mean == pytest.approx(raw.mean / reference.unit)
    assert floor.deviation == pytest.approx(raw.deviation / reference.unit)


def test_falls_with_the_number_of_images_and_follows_from_the_seed() -> None:
    reference = Reference.fit(draw(400, 24, seed=1))
    few, many = measure_floor(reference, 20), measure_floor(reference, 200)
    assert isinstance(few, Floor)
    assert isinstance(many, Floor)
    assert few.mean > 3 * many.mean > 0
    assert measure_floor(reference, 20) == few != measure_floor(reference, 20, seed=1)


def test_a_part_of_the_photos_scores_about_the_floor() -> None:
    """And not 0: a finite set's distance is its noise (spec: metrics, 3.3)."""
    features = draw(400, 24, seed=1)
    reference = Reference.fit(features)
    floor = measure_floor(reference, 100)
    assert isinstance(floor, Floor)
    assert 0.5 * floor.mean < frechet_distance(features[:100], reference.gaussian) < floor.mean


@pytest.mark.parametrize("images", [0, 1, 11])
def test_no_floor_without_enough_photos(images: int) -> None:
    assert measure_floor(Reference.fit(draw(21, 24, seed=1)), images) is None


def test_no_floor_without_the_photos_features() -> None:
    reference = Reference(gaussian=Gaussian.fit(draw(50, 8, seed=1)), distance="fid", count=50)
    assert measure_floor(reference, 10) is None
