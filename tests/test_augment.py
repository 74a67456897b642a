"""Augmentation: photo, generated image and label map move together; colours do not (recordings are in test_original.py)."""

import numpy as np
import pytest

from apfgan.augment import augment, draw
from apfgan.backend import Tensor, from_numpy, one_hot, to_numpy
from apfgan.randomness import random_source

pytestmark = pytest.mark.both_engines

HEIGHT, WIDTH, IMAGES = 16, 24, 6


def batch() -> dict[str, Tensor]:
    maps = random_source("maps").integers(0, 4, (IMAGES, HEIGHT, WIDTH))
    images = random_source("images").standard_normal((2, IMAGES, 3, HEIGHT, WIDTH), dtype=np.float32)
    return {"photos": from_numpy(images[0], device="cpu"), "fakes": from_numpy(images[1], device="cpu"), "labels": one_hot(maps, 4, device="cpu")}


def run(policy: tuple[str, ...], *, seed: int = 0, **replaced: Tensor) -> list[np.ndarray]:
    draws = draw(random_source(seed), policy, images=IMAGES, height=HEIGHT, width=WIDTH)
    return [to_numpy(result) for result in augment(draws, **(batch() | replaced), device="cpu")]


def test_without_a_policy_nothing_changes() -> None:
    for result, given in zip(run(()), batch().values(), strict=True):
        assert (result == to_numpy(given)).all()


@pytest.mark.parametrize("policy", ["color", "crop", "translation"])
def test_every_part_has_an_effect_that_depends_on_the_seed(policy: str) -> None:
    plain, one, again, other = run(()), run((policy,), seed=3), run((policy,), seed=3), run((policy,), seed=2)
    assert (one[0] != plain[0]).any() and (one[1] != plain[1]).any()
    assert (one[2] != plain[2]).any() == (policy != "color")
    assert all((first == second).all() for first, second in zip(one, again, strict=True))
    assert (one[0] != other[0]).any()


def test_geometry_is_common_and_colour_is_not() -> None:
    same = batch()["photos"]
    photos, fakes, _ = run(("crop", "translation"), photos=same, fakes=same)
    assert (photos == fakes).all()
    photos, fakes, _ = run(("color",), photos=same, fakes=same)
    assert (photos != fakes).any()


def test_labels_follow_the_image() -> None:
    """A label map drawn as an image (nearest stays nearest under a shift) moves exactly as the labels do."""
    labels = batch()["labels"]
    picture = labels[:, :3] + 1
    photos, _, moved = run(("translation",), photos=picture, fakes=picture)
    inside = photos[:, :1] != 0
    assert (np.where(inside, photos - 1, 0) == moved[:, :3]).all()
    assert not moved.any(axis=1, where=~inside).any(where=~inside[:, 0])


@pytest.mark.parametrize("policy", [("crop",), ("translation",), ("crop", "translation")])
def test_photo_image_and_label_go_through_the_same_map(policy: tuple[str, ...]) -> None:
    """Every pixel carries its own position: as two ramps in the photo, as the same ramps in the generated image, and as the classes of
    sixteen blocks in the label map. Wherever they come to lie, they still agree."""
    height, width, images = 64, 96, 12
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    ramps = np.stack([rows + 1, columns + 1, np.ones_like(rows)])  # 0 is what lies beyond the border
    photos = from_numpy(np.stack([ramps] * images), device="cpu")
    blocks = 4 * (rows // (height / 4)) + columns // (width / 4)
    labels = one_hot(np.stack([blocks.astype(np.uint8)] * images), 16, device="cpu")
    draws = draw(random_source(1), policy, images=images, height=height, width=width)
    photos, fakes, labels = (to_numpy(each) for each in augment(draws, photos=photos, fakes=photos, labels=labels, device="cpu"))
    assert (photos == fakes).all()

    inside = photos[:, 2] > 0.5
    assert (labels.sum(axis=1) == inside).all()  # beyond the border there is no class either
    row, column = photos[:, 0] - 1, photos[:, 1] - 1
    found = labels.argmax(axis=1)
    # The label map takes whole pixels, so that near an edge between blocks it may be on the other side of it.
    clear = inside & (np.abs(row % 16 - 7.5) < 6.5) & (np.abs(column % 24 - 11.5) < 10.5)
    assert clear.sum() > images * height * width / 2
    assert (found == 4 * (row // 16) + column // 24)[clear].all()
    corners = {(float(row[index, 32, 48]), float(column[index, 32, 48])) for index in range(images)}
    assert len(corners) >= {1: 2, 2: 6}[len(policy)]  # sample by sample: cropped or not, and each with a shift of its own
    assert (draws.cropped is None) == ("crop" not in policy) and (draws.shift is None) == ("translation" not in policy)


def test_colour_keeps_grey_grey() -> None:
    grey = from_numpy(np.full((IMAGES, 3, HEIGHT, WIDTH), 0.25, np.float32), device="cpu")
    photos, _, _ = run(("color",), photos=grey)
    assert np.ptp(photos, axis=(1, 2, 3)).max() < 1e-6
    assert np.abs(photos[:, 0, 0, 0] - 0.25).max() <= 0.5


def test_crops_about_half_and_shifts_up_to_an_eighth() -> None:
    draws = draw(random_source(0), ("crop", "translation"), images=4000, height=HEIGHT, width=WIDTH)
    assert draws.cropped is not None and draws.shift is not None
    assert 0.45 < draws.cropped.mean() < 0.55
    assert [np.unique(column).tolist() for column in draws.shift.T] == [list(range(-2, 3)), list(range(-3, 4))]
    assert 0 <= draws.window[0] <= int(1.2 * HEIGHT) - HEIGHT
