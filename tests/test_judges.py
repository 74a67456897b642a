from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from apfgan.confusion import count_confusion
from apfgan.errors import DataError
from apfgan.labels import Classes
from metrics.judges import Judges
from metrics.reference import Reference


class CountingJudge:
    """Sees features and classes; counts how often it looks."""

    def __init__(self, distance: str = "fd-counting") -> None:
        self.distance = distance
        self.looks = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "counting"}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        self.looks += 1
        return {
            "features": images.mean(axis=(1, 2)).astype(np.float32),
            "confusion": count_confusion(label_maps, label_maps, Classes.numbered(3)),
            "found": label_maps,
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


class SumHead:
    """The sum of an embedding, times something."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"scale": self.scale}

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        return self.scale * embeddings.sum(axis=1)


def judges_with(**chosen: Any) -> Judges:
    judge = CountingJudge()
    return Judges(**({"name": "embedded", "mask": judge, "aesthetic": ConstantAesthetic(), "features": judge} | chosen))


def some_observations(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Of 30 images."""
    return {
        "features": random.normal(size=(30, 3)).astype(np.float32),
        "confusion": np.ones((30, 2, 2), np.uint32),
        "aesthetic": random.uniform(0, 10, 30),
    }


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_judge_in_two_places_looks_once(random) -> None:
    judge = CountingJudge()
    judges = judges_with(mask=judge, features=judge)
    images, maps = random.integers(0, 256, (6, 8, 9, 3), dtype=np.uint8), random.integers(0, 3, (6, 8, 9), dtype=np.uint8)
    look = judges.observe(images, maps)
    observed = look.observations
    assert judge.looks == 1
    assert look.found is maps
    assert {name: array.shape for name, array in observed.items()} == {"features": (6, 3), "confusion": (6, 3, 3), "aesthetic": (6,)}
    assert judges.identity["judges"] == "embedded"
    scored = judges.measure(observed, [judges.features.fit_reference(observed["features"])])
    assert list(scored)[:3] == ["mask_accuracy", "aesthetic", "fd-counting"]
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
    with pytest.raises(DataError):
        judges_with().observe(images, maps)


def test_a_score_that_is_not_finite_names_the_image(random) -> None:
    observations = {
        "features": random.normal(size=(4, 3)).astype(np.float32),
        "confusion": np.ones((4, 2, 2), np.uint32),
        "aesthetic": np.array([1.0, 2.0, np.inf, 3.0]),
    }
    with pytest.raises(DataError, match="image 2"):
        judges_with().measure(observations, [Reference.fit(random.normal(size=(9, 3)))])


def test_another_head_needs_no_image(random) -> None:
    """The embedding is what is observed; the score follows from it, and so does another head's."""
    observed = {**some_observations(random), "embedding": random.normal(size=(30, 4)).astype(np.float32)}
    del observed["aesthetic"]
    first, second = (
        judges_with(head=SumHead(scale)).measure(observed, [Reference.fit(random.normal(size=(40, 3)))])["aesthetic"] for scale in (1.0, 2.0)
    )
    assert first.value == pytest.approx(observed["embedding"].sum(axis=1).mean())
    assert second.value == pytest.approx(2 * first.value)
    assert judges_with(head=SumHead(1.0)).observing == judges_with(head=SumHead(2.0)).observing
    assert judges_with(head=SumHead(1.0)).identity != judges_with(head=SumHead(2.0)).identity


def test_checks_are_measured_and_never_come_first(random) -> None:
    check = CountingJudge("fd-dinov2")
    judges = judges_with(checks=(check,))
    images, maps = random.integers(0, 256, (6, 8, 9, 3), dtype=np.uint8), random.integers(0, 3, (6, 8, 9), dtype=np.uint8)
    observed = judges.observe(images, maps).observations
    assert check.looks == 1
    references = [judge.fit_reference(random.normal(size=(40, 3))) for judge in judges.feature_judges]
    names = list(judges.measure(observed, references))
    assert names[:3] == ["mask_accuracy", "aesthetic", "fd-counting"]
    assert "fd-dinov2" in names[3:] and "mean_iou" in names[3:]


def test_what_is_not_finite_is_refused_at_once_by_name(random) -> None:
    class Broken(CountingJudge):
        def observe(self, images, label_maps):
            observed = super().observe(images, label_maps)
            observed["features"][1, 2] = np.nan
            return observed

    images, maps = random.integers(0, 256, (3, 8, 9, 3), dtype=np.uint8), random.integers(0, 3, (3, 8, 9), dtype=np.uint8)
    with pytest.raises(DataError, match="lake_7"):
        judges_with(features=Broken()).observe(images, maps, ["lake_1", "lake_7", "sea_2"])


def test_distance_carries_the_references_name(random) -> None:
    reference = Reference.fit(random.normal(size=(40, 3)), distance="fd-x")
    observed = some_observations(random)
    assert judges_with().measure(observed, [reference])["fd-x"].value == reference.measure(observed["features"])["fd-x"].value
