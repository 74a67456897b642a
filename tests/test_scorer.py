"""Scores from Python, and that nothing but the images decides them: not batches, not order, not shards."""

import numpy as np
import pytest

from apfgan.errors import DataError
from apfgan.labels import Classes
from metrics.embedded import embedded_judges, fit
from metrics.judges import Judges
from metrics.reference import Reference
from metrics.scorer import Scorer, fit_references

CLASSES = Classes.numbered(3)


@pytest.fixture(scope="module")
def world() -> tuple[Judges, tuple[Reference, ...], np.ndarray, np.ndarray]:
    """Judges fitted on 24 noisy pictures of their label maps, what they know of them, and 21 other pictures with their label maps."""
    random = np.random.default_rng(0)
    label_maps = np.repeat(np.repeat(random.integers(0, 3, (45, 6, 8)), 8, axis=1), 8, axis=2)
    colours = np.array([[200, 60, 40], [60, 180, 70], [50, 80, 190]])
    photos = np.clip(colours[label_maps] + random.normal(0, 25, (*label_maps.shape, 3)), 0, 255).astype(np.uint8)
    judges = embedded_judges(fit(photos[:24], label_maps[:24], CLASSES, steps=40))
    return judges, fit_references(judges, list(photos[:24])), photos[24:], label_maps[24:]


def scores(judges: Judges, references: tuple[Reference, ...], pieces: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, tuple[float, float]]:
    scorer = Scorer(judges, references)
    for images, label_maps in pieces:
        scorer.add(images, label_maps)
    return {name: (each.value, each.estimate.error) for name, each in scorer.scores().items()}


def test_batches_shards_and_order_change_no_score(world) -> None:
    judges, references, images, label_maps = world
    whole = scores(judges, references, [(images, label_maps)])
    one_by_one = scores(judges, references, [(image[None], label_map[None]) for image, label_map in zip(images, label_maps, strict=True)])
    shards = scores(judges, references, [(images[::2], label_maps[::2]), (images[1::2], label_maps[1::2])])
    turned = scores(judges, references, [(images[::-1], label_maps[::-1])])
    assert {"mask_accuracy", "aesthetic", "fd-embedded", "mean_iou", "kid-embedded", "precision-embedded", "composite"} <= whole.keys()
    for other in (one_by_one, shards, turned):
        for name, (value, error) in whole.items():
            assert other[name] == (pytest.approx(value, rel=1e-6, abs=1e-9), pytest.approx(error, rel=1e-5, abs=1e-9)), name


def test_two_generators_are_compared_image_by_image(world) -> None:
    judges, references, images, label_maps = world
    one, other = Scorer(judges, references), Scorer(judges, references)
    one.add(images, label_maps)
    other.add(np.clip(images.astype(int) + 6, 0, 255).astype(np.uint8), label_maps)
    apart = one.scores()["composite"].minus(other.scores()["composite"])
    assert apart.value == pytest.approx(one.scores()["composite"].value - other.scores()["composite"].value)
    assert apart.error is not None and apart.error < one.scores()["composite"].estimate.error


def test_without_an_image_there_is_no_score(world) -> None:
    judges, references, images, label_maps = world
    scorer = Scorer(judges, references)
    with pytest.raises(DataError, match="no image"):
        scorer.scores()
    scorer.add(images[:1], label_maps[:1])
    with pytest.raises(DataError, match="at least 2"):
        scorer.scores()
