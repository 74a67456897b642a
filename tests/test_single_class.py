"""Photos of one class, and the drawings that they replace."""

import os

import numpy as np
import pytest
from PIL import Image

from apfgan.labels import Classes
from apfgan.single_class import Replacement, dominant_class, only_class, paste_photo, plan_replacements

CLASSES = Classes.numbered(4, ignore=255)


def label_map(*, of: int, others: int = 0, other: int = 0) -> np.ndarray:
    """100 x 100 pixels, so many of which are not `of` but `other`."""
    ids = np.full(100 * 100, of, dtype=np.uint8)
    ids[:others] = other
    return ids.reshape(100, 100)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (label_map(of=0), 0),
        (label_map(of=3), 3),
        (label_map(of=3).astype(np.uint16), 3),
        (label_map(of=3, others=1), None),
        (label_map(of=3, others=1, other=255), None),  # nobody knows what is there
        (label_map(of=255), None),
    ],
)
def test_only_class(ids: np.ndarray, expected: int | None) -> None:
    assert only_class(ids, CLASSES) == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (label_map(of=2), 2),
        (label_map(of=0), 0),
        (label_map(of=2, others=199), 2),
        (label_map(of=2, others=200), None),  # 0.98 is not more than 0.98
        (label_map(of=2, others=199, other=255), 2),
        (label_map(of=2, others=200, other=255), None),
        (label_map(of=255, others=150, other=1), None),
        (label_map(of=2, others=199).astype(np.uint16), 2),
    ],
)
def test_dominant_class(ids: np.ndarray, expected: int | None) -> None:
    assert dominant_class(ids, CLASSES) == expected


def test_the_last_photo_goes_first_and_each_goes_once() -> None:
    maps = [(stem, label_map(of=3)) for stem in ("t1", "t2", "t10")]
    maps.insert(1, ("mixed", label_map(of=3, others=5000)))
    maps.append(("other", label_map(of=1, others=100)))
    photos = {3: ("a1.jpg", "a2.jpg"), 1: ("名前.png",)}
    assert plan_replacements(maps, photos, CLASSES) == {
        "t1": Replacement(3, "a2.jpg"),
        "t2": Replacement(3, "a1.jpg"),
        "t10": Replacement(3, None),
        "other": Replacement(1, "名前.png"),
    }
    assert photos == {3: ("a1.jpg", "a2.jpg"), 1: ("名前.png",)}


def test_a_class_without_photos_keeps_the_drawing() -> None:
    undecodable = os.fsdecode(b"\xff")
    assert plan_replacements([(undecodable, label_map(of=2))], {3: ("a.jpg",)}, CLASSES) == {undecodable: Replacement(2, None)}
    assert plan_replacements([("a", label_map(of=2, others=9999))], {}, CLASSES) == {"a": Replacement(0, None)}
    assert plan_replacements([], {3: ("a.jpg",)}, CLASSES) == {}


def test_the_photo_covers_the_class_and_nothing_else() -> None:
    source = np.random.default_rng(0)
    pixels, photo = (source.integers(0, 256, size=(*size, 3), dtype=np.uint8) for size in ((100, 100), (37, 61)))
    ids = label_map(of=2, others=150, other=1)
    before = pixels.copy()
    pasted = paste_photo(pixels, ids, photo, class_id=2)
    straight = np.asarray(Image.fromarray(photo).resize((100, 100), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pasted[ids == 2], straight[ids == 2])
    np.testing.assert_array_equal(pasted[ids == 1], pixels[ids == 1])
    np.testing.assert_array_equal(pixels, before)
    assert pasted.dtype == np.uint8
