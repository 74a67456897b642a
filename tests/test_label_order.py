"""The nested order of label maps: every prefix of it has its share of every class."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import selection.label_order
from apfgan.config import PRESETS, DataConfig
from apfgan.errors import DataError
from apfgan.images import encode_png
from apfgan.randomness import random_source
from apfgan.runs import Run
from selection.label_order import choose_panel, count_classes, nested_order, order_label_maps

DATA = DataConfig(classes=("sky", "sea", "rock"), ignore=9, width=8, height=8)


def mixture(seed: int) -> list[int]:
    """The classes of up to a thousand label maps, by shares of which a few may be nearly all; sometimes with twenty classes of a single one."""
    random = random_source("mixture", seed)
    shares = random.dirichlet(np.full(int(random.integers(1, 40)), 10 ** random.uniform(-1.5, 1)))
    classes = random.choice(len(shares), int(random.integers(1, 1000)), p=shares).tolist()
    return [*classes, *range(100, 120)] if seed % 3 == 0 else classes


def excess(chosen: np.ndarray) -> float:
    """By how many a part of label maps, given as bool (N,) in their order, is at most off its share in any prefix."""
    return float(np.abs(np.cumsum(chosen) - np.arange(1, len(chosen) + 1) * chosen.mean()).max())


@pytest.mark.parametrize("seed", range(30))
def test_every_prefix_is_stratified(seed: int) -> None:
    classes = mixture(seed)
    order = nested_order([f"map {number}" for number in range(len(classes))], classes)
    assert sorted(order) == list(range(len(classes)))
    ordered, sizes = np.array(classes)[order], Counter(classes)
    assert max(excess(ordered == class_id) for class_id in sizes) < 2
    assert excess(np.array([sizes[class_id] == 1 for class_id in ordered])) < 3, "single ones are spread"


def test_names_that_tell_the_place_of_a_photo_are_mixed() -> None:
    """All of one class, the first half by name from one place: chance would miss 96 of 192 by 6."""
    order = nested_order([f"{number:04d}" for number in range(1000)], [0] * 1000)
    assert abs(sum(position < 500 for position in order[:192]) - 96) < 20
    assert order != sorted(order)


def test_follows_from_names_and_classes_in_any_order() -> None:
    stems, classes = [f"photo {number}" for number in range(300)], [number % 7 for number in range(300)]
    expected = [stems[position] for position in nested_order(stems, classes)]
    for seed in range(3):
        shuffled = random_source(seed).permutation(300)
        order = nested_order([stems[each] for each in shuffled], [classes[each] for each in shuffled])
        assert [stems[shuffled[position]] for position in order] == expected
    assert [stems[position] for position in nested_order(stems, [0] * 300)] != expected


def test_is_the_same_in_every_version() -> None:
    """What a ledger says of parts holds for one order only."""
    assert nested_order(["a", "b", "c", "d", "e", "f", "g", "h"], [0, 0, 0, 1, 1, 2, 0, 3]) == [3, 2, 5, 0, 4, 1, 7, 6]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few(count: int) -> None:
    assert sorted(nested_order(["a", "b"][:count], [3, 3][:count])) == list(range(count))


def label_map_folder(folder: Path, count: int) -> list[Path]:
    """Label maps of which a third is mostly sea, the rest mostly sky; every fifth has no labels at all."""
    folder.mkdir(parents=True)
    for number in range(count):
        ids = np.full((16, 16), 9 if number % 5 == 0 else int(number % 3 == 0), dtype=np.uint8)
        ids[:5] = 9 if number % 5 == 0 else 2
        ids[12:, :6] = 9
        (folder / f"{number}.png").write_bytes(encode_png(ids))
    return sorted(folder.iterdir())


def ordered_files(run: Run, label_maps: list[Path]) -> list[Path]:
    return order_label_maps(label_maps, count_classes(run, label_maps, DATA))


def test_orders_files_by_their_main_class(tmp_path: Path) -> None:
    run, label_maps = Run.create(tmp_path / "run", PRESETS["tiny"]), label_map_folder(tmp_path / "labels", 60)
    ordered = ordered_files(run, label_maps)
    assert sorted(ordered) == label_maps
    numbers = np.array([int(path.stem) for path in ordered])
    unlabelled = numbers % 5 == 0
    for chosen in (unlabelled, ~unlabelled & (numbers % 3 == 0), ~unlabelled & (numbers % 3 != 0)):
        assert excess(chosen) < 1.5
    copied = shutil.copytree(tmp_path / "labels", tmp_path / "copy")
    again = ordered_files(Run.create(tmp_path / "other", PRESETS["tiny"]), sorted(copied.iterdir(), reverse=True))
    assert [path.name for path in again] == [path.name for path in ordered], "content decides, not the folder or the order"
    assert ordered_files(run, label_maps[:1]) == label_maps[:1]
    assert sorted(ordered_files(run, label_maps[:2])) == label_maps[:2]


def test_remembers_the_classes_while_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, label_maps = Run.create(tmp_path / "run", PRESETS["tiny"]), label_map_folder(tmp_path / "labels", 12)
    load, loaded = selection.label_order.load_label_map, []

    def counted(path: Path, data: DataConfig) -> np.ndarray:
        loaded.append(path)
        return load(path, data)

    monkeypatch.setattr(selection.label_order, "load_label_map", counted)
    ordered = ordered_files(run, label_maps)
    assert ordered_files(run, label_maps[::-1]) == ordered
    assert len(loaded) == 12, "read, not decoded again"
    (kept,) = run.features.iterdir()
    whole = kept.read_bytes()
    for damage in (whole[:-20], b"", whole.replace(b"stem", b"item"), whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        loaded.clear()
        kept.write_bytes(damage)
        assert ordered_files(run, label_maps) == ordered
        assert len(loaded) == 12 and kept.read_bytes() == whole, "made again"
    loaded.clear()
    label_maps[0].write_bytes(encode_png(np.ones((16, 16), dtype=np.uint8)))
    ordered_files(run, label_maps)
    assert len(loaded) == 12, "another file, another order"


def test_says_which_label_map_cannot_be_read(tmp_path: Path) -> None:
    run, label_maps = Run.create(tmp_path / "run", PRESETS["tiny"]), label_map_folder(tmp_path / "labels", 4)
    label_maps[2].write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2\.png"):
        ordered_files(run, label_maps)
    assert not run.features.exists()


def test_counts_the_pixels_of_each_class(tmp_path: Path) -> None:
    run, label_maps = Run.create(tmp_path / "run", PRESETS["tiny"]), label_map_folder(tmp_path / "labels", 6)
    for paths in (label_maps, label_maps[::-1]):  # counted, then remembered, for whichever order
        # Of 16x16 pixels every second row and column counts: two rows of rock, four of the main class, and two of it that lack 3 of 8 pixels.
        pixels = {path.stem: row.tolist() for path, row in zip(paths, count_classes(run, paths, DATA), strict=True)}
        main, rock = 4 * 8 + 2 * 5, 2 * 8
        assert pixels == {"0": [0] * 3, "5": [0] * 3, "3": [0, main, rock]} | {name: [main, 0, rock] for name in "124"}


def panel_of(pixels: list[list[int]]) -> list[int]:
    """The numbers of the label maps in the panel, which are handed over in another order."""
    names = [Path(f"map {number}.png") for number in range(len(pixels))]
    shuffled = random_source("panel").permutation(len(pixels))
    chosen = choose_panel([names[each] for each in shuffled], np.array(pixels)[shuffled])
    return [names.index(path) for path in chosen]


def test_the_panel_holds_what_is_rare_and_is_else_evenly_spread() -> None:
    pixels = [[50, 50, 0, 0, 0, 0] for _ in range(100)]
    assert panel_of(pixels) == [0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99]
    for number in (3, 33, 63):
        pixels[number] = [0, 100, 0, 0, 0, 0]
    pixels[12][2], pixels[40][2], pixels[70][2] = 5, 30, 10  # in three label maps, and most in 40
    pixels[81][3] = 99  # in one: the rarest, whatever its size
    for number in (20, 22, 24, 26):
        pixels[number][5] = 1  # in four
    for number in range(0, 100, 8):
        pixels[number][4] = 100  # in thirteen, and so not rare
    panel = panel_of(pixels)
    assert len(panel) == 12 and {3, 63, 40, 81} <= set(panel)
    assert 33 not in panel and not {12, 70, 20} & set(panel)
    others = [number for number in panel if number not in (3, 63, 40, 81)]
    assert (others[0], others[-1]) == (0, 99) and max(np.diff(others)) <= 15


@pytest.mark.parametrize("count", [1, 2, 12, 13])
def test_a_panel_of_few(count: int) -> None:
    assert len(panel_of([[7, 0] for _ in range(count)])) == min(count, 12)
    assert len(panel_of([[0, 0] for _ in range(count)])) == min(count, 12)
