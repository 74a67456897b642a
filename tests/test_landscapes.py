"""The painted data set: whole, repeatable, and telling its classes apart."""

from pathlib import Path

import numpy as np
import pytest

from apfgan.data import check_dataset, find_label_maps, find_pairs
from apfgan.errors import UsageError
from apfgan.images import read_label_map, read_photo
from apfgan.labels import Classes
from apfgan.landscapes import make_landscapes, paint_landscape

SIZE = {"width": 64, "height": 48}


def test_a_scene_follows_from_its_seed_and_index() -> None:
    photo, label_map = paint_landscape(5, **SIZE, seed=1)
    again = paint_landscape(5, **SIZE, seed=1)
    np.testing.assert_array_equal(photo, again[0])
    np.testing.assert_array_equal(label_map, again[1])
    assert (photo.shape, photo.dtype, label_map.shape) == ((48, 64, 3), np.uint8, (48, 64))
    for other in (paint_landscape(6, **SIZE, seed=1), paint_landscape(5, **SIZE, seed=2), paint_landscape(5, **SIZE, seed=1, held_out=True)):
        assert (other[0] != photo).any()


def test_every_class_occurs_and_common_ones_are_common() -> None:
    counts = np.zeros(29, dtype=int)
    largest = []
    for index in range(400):
        _, label_map = paint_landscape(index, **SIZE, seed=0)
        pixels = np.bincount(label_map.ravel(), minlength=29)
        counts += pixels > 0
        largest.append(pixels.max() / pixels.sum())
    assert counts.min() >= 1, [Classes().names[index] for index in np.flatnonzero(counts == 0)]
    assert counts[1] > 350  # sky
    assert counts[26] < 40  # ship
    assert max(largest) > 0.8  # some maps are nearly of one class


def test_photos_show_what_their_label_maps_say() -> None:
    """The nearest mean colour tells sky, grass, sand and tree apart far better than chance."""
    names = ("sky", "grass", "sand", "tree")
    chosen = [Classes().names.index(name) for name in names]
    pixels: dict[int, list[np.ndarray]] = {index: [] for index in chosen}
    for scene in range(150):
        photo, label_map = paint_landscape(scene, **SIZE, seed=0)
        for index in chosen:
            if (label_map == index).sum() > 20:
                colours = photo[label_map == index].astype(float)
                pixels[index].append(colours.mean(axis=0) / colours.mean())  # chromaticity: whatever the hour
    samples = {index: np.array(rows) for index, rows in pixels.items()}
    means = np.array([samples[index][::2].mean(axis=0) for index in chosen])
    correct = [
        float((((rows[1::2, None] - means) ** 2).sum(axis=-1).argmin(axis=1) == position).mean())
        for position, rows in enumerate(samples[index] for index in chosen)
    ]
    assert np.mean(correct) > 0.6


def test_the_data_set_passes_its_own_check(tmp_path: Path) -> None:
    make_landscapes(tmp_path, train=3, test=2, **SIZE, seed=4)
    report = check_dataset(tmp_path, Classes())
    assert report.problems == ()
    assert report.test is not None
    assert (report.train.maps, report.test.maps, report.train.sizes) == (3, 2, {(64, 48): 3})
    photo, label_map = paint_landscape(1, **SIZE, seed=4)
    pair = find_pairs(tmp_path)[1]
    np.testing.assert_array_equal(read_label_map(pair.label_map, Classes()), label_map)
    assert np.abs(read_photo(pair.photo).astype(int) - photo).mean() < 4
    assert pair.label_map.read_bytes()[24] == 16  # bits of a pixel, as in the real data


def test_a_killed_call_goes_on_and_a_larger_one_adds(tmp_path: Path) -> None:
    make_landscapes(tmp_path, train=2, test=1, **SIZE, seed=0)
    pair = find_pairs(tmp_path)[0]
    times = pair.photo.stat().st_mtime_ns
    content = pair.label_map.read_bytes()
    find_pairs(tmp_path)[1].label_map.unlink()
    make_landscapes(tmp_path, train=3, test=2, **SIZE, seed=0)
    assert len(find_pairs(tmp_path)) == 3
    assert len(find_label_maps(tmp_path / "test" / "labels")) == 2
    assert pair.photo.stat().st_mtime_ns == times
    make_landscapes(tmp_path / "other", train=1, test=0, **SIZE, seed=0)
    assert find_pairs(tmp_path / "other")[0].label_map.read_bytes() == content  # the number of scenes changes none of them


def test_another_size_does_not_mix_in(tmp_path: Path) -> None:
    make_landscapes(tmp_path, train=1, test=0, **SIZE, seed=0)
    with pytest.raises(UsageError, match="other settings"):
        make_landscapes(tmp_path, train=1, test=0, width=128, height=96, seed=0)


@pytest.mark.parametrize(("width", "height"), [(16, 12), (65, 33), (40, 100)])
def test_any_size_can_be_painted(width: int, height: int) -> None:
    for index in range(40):
        photo, label_map = paint_landscape(index, width=width, height=height, seed=0)
        assert photo.shape == (height, width, 3)
        assert label_map.shape == (height, width)
