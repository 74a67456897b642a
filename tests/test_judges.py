from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from apfgan.confusion import count_confusion, mask_accuracy
from apfgan.errors import DataError
from apfgan.labels import Classes
from apfgan.measured import Measured
from metrics.judges import Judges, measure, score
from metrics.reference import Reference


class CountingJudge:
    """Sees features and classes; counts how often it looks."""

    distance = "fd-counting"

    def __init__(self) -> None:
        self.looks = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "counting"}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        self.looks += 1
        return {
            "features": images.mean(axis=(1, 2)).astype(np.float32),
            "confusion": count_confusion(label_maps, label_maps, Classes.numbered(3)),
        }

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        raise NotImplementedError

    def fit_reference(self, features: np.ndarray) -> Reference:
        return Reference.fit(features, distance=self.distance)


class ConstantAesthetic:
    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "constant"}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        return {"aesthetic": np.full(len(images), 5.0)}


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_judge_in_two_places_looks_once(random) -> None:
    judge = CountingJudge()
    judges = Judges(name="embedded", mask=judge, aesthetic=ConstantAesthetic(), features=judge)
    images, maps = random.integers(0, 256, (6, 8, 9, 3), dtype=np.uint8), random.integers(0, 3, (6, 8, 9), dtype=np.uint8)
    observed = judges.observe(images, maps)
    assert judge.looks == 1
    assert {name: array.shape for name, array in observed.items()} == {"features": (6, 3), "confusion": (6, 3, 3), "aesthetic": (6,)}
    assert judges.metrics == ("mask_accuracy", "aesthetic", "fd-counting")
    assert judges.identity["judges"] == "embedded"
    scored = score(observed, judges.features.fit_reference(observed["features"]))
    assert set(scored) == set(judges.metrics)
    assert scored["mask_accuracy"].value == 1
    assert scored["aesthetic"].value == 5
    assert scored["fd-counting"].value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("images", "maps"),
    [
        (np.zeros((2, 4, 5, 3), np.float32), np.zeros((2, 4, 5), np.uint8)),
        (np.zeros((2, 3, 4, 5), np.uint8), np.zeros((2, 4, 5), np.uint8)),
        (np.zeros((0, 4, 5, 3), np.uint8), np.zeros((0, 4, 5), np.uint8)),
        (np.zeros((2, 4, 5, 3), np.uint8), np.zeros((2, 5, 4), np.uint8)),
        (np.zeros((2, 4, 5, 3), np.uint8), np.zeros((2, 4, 5), np.float32)),
    ],
    ids=["float images", "channels first", "no images", "other size", "float label maps"],
)
def test_what_is_no_image_is_refused(images, maps) -> None:
    judge = CountingJudge()
    with pytest.raises(DataError):
        Judges(name="embedded", mask=judge, aesthetic=ConstantAesthetic(), features=judge).observe(images, maps)


def test_confusion_counts_pixels_by_given_and_seen(random) -> None:
    classes = Classes.numbered(4, ignore=255)
    given = random.choice(np.array([0, 1, 2, 3, 255], np.uint16), (3, 10, 12))
    seen = random.integers(0, 4, (3, 10, 12))
    confusion = count_confusion(given, seen, classes)
    assert confusion.dtype == np.uint32
    for row in range(3):
        for one in range(4):
            for other in range(4):
                assert confusion[row, one, other] == ((given[row] == one) & (seen[row] == other)).sum()


@pytest.mark.parametrize(("ignore", "bad"), [(None, 255), (255, 4), (None, -1)])
def test_a_class_that_does_not_exist_is_named(ignore, bad) -> None:
    given = np.zeros((2, 3, 3), np.int32)
    given[1, 2, 2] = bad
    with pytest.raises(DataError, match=rf"label map 1 .*class {bad};"):
        count_confusion(given, np.zeros((2, 3, 3), int), Classes.numbered(4, ignore=ignore))


def test_mask_accuracy_is_the_mean_of_the_images_accuracies(random) -> None:
    classes = Classes.numbered(5)
    given, seen = random.integers(0, 5, (20, 6, 7)), random.integers(0, 5, (20, 6, 7))
    per_image = (given == seen).mean(axis=(1, 2))
    estimate = mask_accuracy(count_confusion(given, seen, classes)).estimate
    assert estimate.value == pytest.approx(per_image.mean())
    assert estimate.error == pytest.approx(per_image.std(ddof=1) / np.sqrt(20))


def test_an_image_without_a_label_is_left_out(random) -> None:
    classes = Classes.numbered(3, ignore=9)
    given, seen = random.integers(0, 3, (5, 4, 4)), random.integers(0, 3, (5, 4, 4))
    given[2] = 9
    kept = np.delete(np.arange(5), 2)
    all_of_them = mask_accuracy(count_confusion(given, seen, classes))
    without = mask_accuracy(count_confusion(given[kept], seen[kept], classes))
    assert all_of_them.estimate.value == pytest.approx(without.estimate.value)
    assert all_of_them.estimate.error == pytest.approx(without.estimate.error)
    assert all_of_them.influence[2] == 0
    given[:] = 9
    with pytest.raises(DataError, match="no image has a labelled pixel"):
        mask_accuracy(count_confusion(given, seen, classes))


def test_a_score_that_is_not_finite_names_the_image(random) -> None:
    observations = {
        "features": random.normal(size=(4, 3)).astype(np.float32),
        "confusion": np.ones((4, 2, 2), np.uint32),
        "aesthetic": np.array([1.0, 2.0, np.inf, 3.0]),
    }
    with pytest.raises(DataError, match="image 2"):
        measure(observations, Reference.fit(random.normal(size=(9, 3))))


def test_paired_differences(random) -> None:
    base = random.normal(size=50)
    one, other = Measured.mean(base), Measured.mean(base + 0.3 + 0.01 * random.normal(size=50))
    difference = other.minus(one)
    assert difference.value == pytest.approx(0.3, abs=0.01)
    assert difference.error is not None
    assert difference.error < 0.003
    with pytest.raises(ValueError, match="same images"):
        one.minus(Measured.mean(base[:10]))


def test_one_image_has_no_error() -> None:
    assert Measured.mean(np.array([0.5])).estimate.error is None
    assert Measured.mean(np.array([0.5, np.nan])).estimate.error is None


def test_distance_carries_the_references_name(random) -> None:
    reference = Reference.fit(random.normal(size=(40, 3)), distance="fd-x")
    observations = {
        "features": random.normal(size=(30, 3)).astype(np.float32),
        "confusion": np.ones((30, 2, 2), np.uint32),
        "aesthetic": random.uniform(0, 10, 30),
    }
    assert score(observations, reference)["fd-x"] == reference.measure(observations["features"])["fd-x"].estimate
