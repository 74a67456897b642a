"""Finding, checking and drawing from a data set."""

import json
import os
import random
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apfgan import data
from apfgan.config import PRESETS, DataConfig
from apfgan.data import TrainingPairs, check_dataset, find_label_maps, find_pairs, training_crop
from apfgan.errors import DataError
from apfgan.image_sets import StoredImage, hash_images
from apfgan.images import encode_png
from apfgan.labels import Classes

SHARED = Path(__file__).parents[2] / "shared"
CONFIG = DataConfig(classes=tuple("abcdefgh"), width=16, height=12, load_width=20)


def make_pair(folder: Path, stem: str, *, size: tuple[int, int] = (32, 24), seed: int = 0, split: str = "train") -> None:
    """A photo whose red channel tells the class: red = 30 * id, in blocks of 8x8 pixels."""
    width, height = size
    ids = np.random.default_rng(seed).integers(0, 8, size=(-(-height // 8), -(-width // 8)))
    label_map = np.kron(ids, np.ones((8, 8), dtype=int))[:height, :width].astype(np.uint16)
    photo = np.stack([label_map * 30, np.full_like(label_map, seed % 256), label_map * 0], axis=-1).astype(np.uint8)
    for kind, array in (("imgs", photo), ("labels", label_map)):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
        if kind == "labels" or split == "train":
            (folder / split / kind / f"{stem}.png").write_bytes(encode_png(array))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(11):
        make_pair(tmp_path / "set", f"photo_{index}", seed=index)
    return tmp_path / "set"


def test_pairs_are_in_natural_order(folder: Path) -> None:
    assert [pair.stem for pair in find_pairs(folder)] == [f"photo_{index}" for index in range(11)]


def test_odd_names_survive_and_hidden_files_do_not_count(folder: Path) -> None:
    stems = ["a b", 'it\'s "so"', "line\nbreak", "-rf", "=cmd()", "<img onerror=x>", "ünïcode", "雪山", "a.b.c", "x" * 251]
    for index, stem in enumerate(stems):
        make_pair(folder, stem, seed=index)
    (folder / "train" / "imgs" / ".x.jpg.abc.tmp").touch()
    (folder / "train" / "imgs" / "._photo_1.jpg").touch()
    (folder / "train" / "imgs" / "Thumbs.db").touch()
    assert {pair.stem for pair in find_pairs(folder)} >= set(stems)
    assert check_dataset(folder, CONFIG.label_classes).problems == ()
    undecodable = os.fsdecode(b"\xff\xfe")
    make_pair(folder, undecodable)
    (folder / "train" / "imgs" / f"{undecodable}.png").rename(folder / "train" / "imgs" / f"{undecodable}.JPEG")
    assert undecodable in [pair.stem for pair in find_pairs(folder)]
    TrainingPairs(find_pairs(folder), CONFIG).fingerprint  # noqa: B018


def test_partners_meet_however_their_accents_are_stored(tmp_path: Path) -> None:
    make_pair(tmp_path, "caf\u00e9")
    labels = tmp_path / "train" / "labels"
    (labels / "caf\u00e9.png").rename(labels / "cafe\u0301.png")
    assert len(find_pairs(tmp_path)) == 1


def test_all_problems_are_told_at_once(folder: Path) -> None:
    images, labels = folder / "train" / "imgs", folder / "train" / "labels"
    (images / "photo_3.png").unlink()
    (labels / "photo_4.png").unlink()
    shutil.copy(images / "photo_5.png", images / "PHOTO_5.jpg")
    (images / "away.jpg").symlink_to(folder / "nowhere")
    os.mkfifo(images / "pipe.jpg")
    (labels / "folder.png").mkdir()
    (labels / "rendered.jpg").touch()
    with pytest.raises(DataError) as caught:
        find_pairs(folder)
    message = str(caught.value)
    for part in (
        "photo_3.png: has no photo",
        "photo_4.png: has no label map",
        "same name",
        "away.jpg",
        "pipe.jpg",
        "folder.png",
        "rendered.jpg: is a JPEG",
    ):
        assert part in message
    with pytest.raises(DataError, match=r"rendered\.jpg"):
        find_label_maps(labels)


def test_the_first_twenty_of_many_problems_are_shown(folder: Path) -> None:
    for index in range(30):
        (folder / "train" / "imgs" / f"lonely_{index}.jpg").touch()
    with pytest.raises(DataError, match=r"^30 problems(.|\n)*\.\.\. and 10 more$") as caught:
        find_pairs(folder)
    assert len(str(caught.value).splitlines()) == 22


def test_a_folder_that_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train/imgs: cannot be listed"):
        find_pairs(tmp_path)
    (tmp_path / "train" / "imgs").mkdir(parents=True)
    (tmp_path / "train" / "labels").mkdir()
    with pytest.raises(DataError, match=r"holds no photo"):
        find_pairs(tmp_path)
    with pytest.raises(DataError, match=r"holds no label map"):
        find_label_maps(tmp_path / "train" / "labels")


def test_check_counts_what_is_there_and_reports_what_is_wrong(folder: Path) -> None:
    make_pair(folder, "t1", split="test", size=(40, 24))
    clean = check_dataset(folder, CONFIG.label_classes)
    clean.raise_problems()
    maps = [np.asarray(Image.open(pair.label_map)) for pair in find_pairs(folder)]
    assert clean.train.maps == 11
    assert clean.train.sizes == {(32, 24): 11}
    assert clean.train.class_pixels == tuple(sum(int((each == index).sum()) for each in maps) for index in range(8))
    assert clean.train.class_maps == tuple(sum(bool((each == index).any()) for each in maps) for index in range(8))
    assert clean.train.ignored_pixels == 0
    assert clean.test is not None
    assert clean.test.sizes == {(40, 24): 1}

    images, labels = folder / "train" / "imgs", folder / "train" / "labels"
    content = (images / "photo_1.png").read_bytes()
    (images / "photo_1.png").write_bytes(content[: len(content) // 2])
    (images / "photo_2.png").write_bytes(encode_png(np.zeros((24, 33, 3), dtype=np.uint8)))
    (labels / "photo_3.png").write_bytes(encode_png(np.full((24, 32), 9, dtype=np.uint16)))
    (labels / "photo_4.png").unlink()
    (folder / "test" / "labels" / "t2.png").touch()
    report = check_dataset(folder, CONFIG.label_classes)
    found = {(problem.path.parent.name, problem.path.name) for problem in report.problems}
    assert found == {("imgs", "photo_1.png"), ("imgs", "photo_2.png"), ("labels", "photo_3.png"), ("imgs", "photo_4.png"), ("labels", "t2.png")}
    assert all(str(problem.path) not in problem.message.split(",")[0] for problem in report.problems)
    with pytest.raises(DataError, match="5 problems"):
        report.raise_problems()


def test_check_reads_each_file_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pair(folder, "t1", split="test")
    read: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(f"{path.parent.parent.name}/{path.name}") or real(path))
    visited: list[np.ndarray] = []
    report = check_dataset(folder, CONFIG.label_classes, visit=visited.append)
    names = [f"train/photo_{index}.png" for index in range(11)]
    assert sorted(read) == sorted([*names, *names, "test/t1.png"])
    assert list(report.pairs) == find_pairs(folder)
    assert report.hashes == data.hash_pairs(report.pairs)
    assert data.set_hashes(report.hashes) == (
        hash_images(StoredImage(pair.photo) for pair in report.pairs),
        data.hash_label_maps(pair.label_map for pair in report.pairs),
    )
    assert TrainingPairs(report.pairs, CONFIG, hashes=report.hashes).fingerprint == TrainingPairs(report.pairs, CONFIG).fingerprint
    for photo, pair in zip(visited, report.pairs, strict=True):
        np.testing.assert_array_equal(photo, np.asarray(Image.open(pair.photo)))


def test_check_shows_and_lists_only_what_is_sound(folder: Path) -> None:
    (folder / "train" / "imgs" / "photo_1.png").write_bytes(b"")
    (folder / "train" / "labels" / "photo_2.png").write_bytes(b"")
    for stem in ("photo_3", "photo_10", "photo_1"):
        (folder / "train" / "labels" / f"{stem}.png").write_bytes(encode_png(np.full((24, 32), 5, dtype=np.uint16)))
    visited: list[np.ndarray] = []
    report = check_dataset(folder, CONFIG.label_classes, visit=visited.append)
    assert len(visited) == 9
    assert set(report.hashes) == {f"photo_{index}" for index in range(11)} - {"photo_1", "photo_2"}
    assert report.single_class == {5: ("photo_3.png", "photo_10.png")}


def test_a_data_set_without_a_test_part_is_fine(folder: Path) -> None:
    report = check_dataset(folder, CONFIG.label_classes)
    assert report.test is None
    assert report.problems == ()


def test_ignored_pixels_are_counted_apart(folder: Path) -> None:
    ids = np.zeros((24, 32), dtype=np.uint8)
    ids[:2] = 255
    (folder / "train" / "labels" / "photo_0.png").write_bytes(encode_png(ids))
    report = check_dataset(folder, Classes.numbered(8, ignore=255))
    assert report.train.ignored_pixels == 64
    assert report.problems == ()


def test_batches_follow_from_seed_and_epoch(folder: Path) -> None:
    pairs = TrainingPairs(find_pairs(folder), CONFIG)
    first, again = (list(pairs.batches(3, batch=4, seed=7)) for _ in range(2))
    assert len(first) == pairs.batch_count(4) == 2
    for one, other in zip(first, again, strict=True):
        assert one.stems == other.stems
        np.testing.assert_array_equal(one.photos, other.photos)
        np.testing.assert_array_equal(one.label_maps, other.label_maps)
    stems = [stem for batch in first for stem in batch.stems]
    assert len(set(stems)) == 8
    for changed in (pairs.batches(4, batch=4, seed=7), pairs.batches(3, batch=4, seed=8)):
        assert [stem for batch in changed for stem in batch.stems] != stems
    # A sample does not depend on the batch that it is in.
    alone = {batch.stems[0]: batch.photos[0] for batch in pairs.batches(3, batch=1, seed=7)}
    assert len(alone) == 11
    for batch in first:
        for stem, photo in zip(batch.stems, batch.photos, strict=True):
            np.testing.assert_array_equal(alone[stem], photo)


def test_an_epoch_shows_every_pair_once_and_photo_and_label_map_stay_together(tmp_path: Path) -> None:
    for index in range(6):
        make_pair(tmp_path, f"p{index}", size=(20, 15), seed=index)
    pairs = TrainingPairs(find_pairs(tmp_path), CONFIG)  # of the load size already: no interpolation
    crops = set()
    for epoch in range(10):
        batches = list(pairs.batches(epoch, batch=2, seed=0))
        assert sorted(stem for batch in batches for stem in batch.stems) == [f"p{index}" for index in range(6)]
        for batch in batches:
            assert batch.photos.dtype == np.float32
            assert batch.photos.shape == (2, 3, 12, 16)
            assert batch.label_maps.shape == (2, 12, 16)
            red = np.round((batch.photos[:, 0] + 1) / 2 * 255)
            np.testing.assert_array_equal(red, batch.label_maps * 30)
            crops |= {(stem, label_map.tobytes()) for stem, label_map in zip(batch.stems, batch.label_maps, strict=True)}
    assert len(crops) > 40  # offsets and mirroring vary


def test_fewer_pairs_than_a_batch_make_one_smaller_batch(folder: Path) -> None:
    pairs = TrainingPairs(find_pairs(folder)[:3], CONFIG)
    assert pairs.batch_count(10) == 1
    assert [len(batch.stems) for batch in pairs.batches(0, batch=10, seed=0)] == [3]
    with pytest.raises(DataError, match="no training pairs"):
        TrainingPairs([], CONFIG)


def test_flip_is_a_setting_of_its_own(folder: Path) -> None:
    pairs = find_pairs(folder)
    config = DataConfig(classes=CONFIG.classes, width=20, height=15, load_width=20, flip=False)
    upright = next(TrainingPairs(pairs, config).batches(0, batch=11, seed=0))
    for stem, label_map in zip(upright.stems, upright.label_maps, strict=True):
        pair = next(pair for pair in pairs if pair.stem == stem)
        np.testing.assert_array_equal(label_map, data.resize_label_map(np.asarray(Image.open(pair.label_map)), (20, 15)))
    flipped = next(TrainingPairs(pairs, DataConfig(classes=CONFIG.classes, width=20, height=15, load_width=20)).batches(0, batch=11, seed=0))
    assert flipped.stems == upright.stems
    mirrored = [(one == other[:, ::-1]).all() for one, other in zip(flipped.label_maps, upright.label_maps, strict=True)]
    assert 0 < sum(mirrored) < 11


def rows_seen(folder: Path, config: DataConfig) -> set[int]:
    """Rows of the load size at which the windows of some epochs begin; the label map's rows tell them apart."""
    for index in range(4):
        ids = np.repeat(np.arange(15, dtype=np.uint8)[:, None] % 8 + np.arange(15, dtype=np.uint8)[:, None] // 8 * 8, 20, axis=1)
        make_pair(folder, f"p{index}", size=(20, 15))
        (folder / "train" / "labels" / f"p{index}.png").write_bytes(encode_png(ids))
    pairs = TrainingPairs(find_pairs(folder), config)
    return {int(label_map[0, 0]) for epoch in range(20) for batch in pairs.batches(epoch, batch=4, seed=0) for label_map in batch.label_maps}


def test_crop_is_a_setting_of_its_own(tmp_path: Path) -> None:
    anywhere = DataConfig(classes=tuple("abcdefghijklmno"), width=16, height=12, load_width=20)
    assert rows_seen(tmp_path, anywhere) == {0, 1, 2, 3}
    assert rows_seen(tmp_path, replace(anywhere, crop="top")) == {0}


def test_crop_changes_nothing_but_the_row(folder: Path) -> None:
    pairs = find_pairs(folder)
    config = replace(CONFIG, load_width=16)  # as wide and high as the window: nothing to choose
    one, other = (next(TrainingPairs(pairs, each).batches(0, batch=11, seed=0)) for each in (config, replace(config, crop="top")))
    assert one.stems == other.stems
    np.testing.assert_array_equal(one.photos, other.photos)


def test_exclude_is_a_setting_of_its_own(tmp_path: Path) -> None:
    for stem in ("a", "caf\u00e9", "a.b"):
        make_pair(tmp_path, stem)
    pairs = find_pairs(tmp_path)
    config = replace(CONFIG, exclude=("cafe\u0301", "b", "A", "a.b.png"))
    kept = TrainingPairs(pairs, config)
    assert {pair.stem for pair in kept.pairs} == {"a", "a.b"}
    assert kept.not_found == ("b", "A", "a.b.png")
    assert {stem for batch in kept.batches(0, batch=1, seed=0) for stem in batch.stems} == {"a", "a.b"}
    everything = TrainingPairs(pairs, CONFIG)
    assert (len(everything), everything.not_found) == (3, ())
    assert kept.fingerprint != everything.fingerprint
    assert kept.fingerprint == TrainingPairs(pairs, config, hashes=data.hash_pairs(pairs)).fingerprint
    (tmp_path / "train" / "imgs" / "caf\u00e9.png").write_bytes(encode_png(np.zeros((24, 32, 3), dtype=np.uint8)))
    assert TrainingPairs(pairs, config).fingerprint == kept.fingerprint  # what is left out does not matter
    with pytest.raises(DataError, match=r"data\.exclude names all 3 training pairs"):
        TrainingPairs(pairs, replace(CONFIG, exclude=("a", "caf\u00e9", "a.b")))


def test_stopping_early_leaves_no_threads(folder: Path) -> None:
    before = set(threading.enumerate())
    batches = TrainingPairs(find_pairs(folder), CONFIG).batches(0, batch=1, seed=0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) == before


def test_a_damaged_file_surfaces_at_its_batch(folder: Path) -> None:
    make_pair(folder, "photo_4", size=(32, 24))
    (folder / "train" / "imgs" / "photo_4.png").write_bytes(encode_png(np.zeros((24, 30, 3), dtype=np.uint8)))
    with pytest.raises(DataError, match=r"imgs/photo_4\.png: is 30x24, but its label map .*labels/photo_4\.png is 32x24"):
        list(TrainingPairs(find_pairs(folder), CONFIG).batches(0, batch=1, seed=0))


def test_the_fingerprint_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    pairs = find_pairs(folder)
    fingerprint = TrainingPairs(pairs, CONFIG).fingerprint
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    copied = find_pairs(tmp_path / "copy")
    random.Random(0).shuffle(copied)
    assert TrainingPairs(copied, CONFIG).fingerprint == fingerprint

    maps, photos = [pair.label_map for pair in copied], [pair.photo for pair in copied]
    assert data.hash_label_maps(maps) == data.hash_label_maps(pair.label_map for pair in pairs)
    ids = np.array(Image.open(maps[0]))
    ids[0, 0] = (ids[0, 0] + 1) % 8
    old = data.hash_label_maps(maps)
    maps[0].write_bytes(encode_png(ids))
    assert data.hash_label_maps(maps) != old
    assert TrainingPairs(copied, CONFIG).fingerprint != fingerprint
    key = hash_images(StoredImage(pair.photo) for pair in pairs)
    assert hash_images(map(StoredImage, photos)) == key
    photos[0].rename(photos[0].with_stem("other"))
    assert hash_images(map(StoredImage, [photos[0].with_stem("other"), *photos[1:]])) != key


@pytest.mark.parametrize(
    ("photo", "loaded"),
    [
        ((1024, 768), (572, 429)),  # the original's numbers
        ((512, 384), (572, 429)),
        ((2000, 1000), (858, 429)),
        ((768, 1024), (572, 762)),
        ((1024, 767), (572, 429)),
    ],
)
def test_the_load_size_covers_and_keeps_the_shape(photo: tuple[int, int], loaded: tuple[int, int]) -> None:
    assert data.load_size(photo, DataConfig()) == loaded


def test_any_shape_of_photo_can_be_cropped() -> None:
    draw = np.random.default_rng(0)
    for _ in range(2000):
        size = (int(draw.integers(1, 3000)), int(draw.integers(1, 3000)))
        width, height = data.load_size(size, CONFIG)
        assert width >= 20
        assert height >= 15


def test_load_label_map_takes_the_pixel_at_the_centre(folder: Path) -> None:
    path = find_pairs(folder)[0].label_map
    np.testing.assert_array_equal(data.load_label_map(path, CONFIG), np.asarray(Image.open(path))[1::2, 1::2])


def test_golden_training_samples() -> None:
    """Three samples of the original code, with the draws that it made."""
    folder = SHARED / "goldens" / "A" / "e2e"
    if not folder.is_dir():
        pytest.skip("the golden samples are not here")
    config = PRESETS["original"].data
    for sample in json.loads((folder / "e2e.json").read_text())["samples"]:
        draws = random.Random(sample["random_seed"])
        widest = data.load_size((1024, 768), config)[0] - config.width
        assert (draws.randint(0, widest), draws.randint(0, 0), draws.random() > 0.5) == (sample["crop_x"], sample["crop_y"], sample["flip"])
        stem = Path(sample["image"]).stem
        photo, label_map = training_crop(
            data.read_photo(folder / f"train_img_{stem}.jpg"),
            data.read_label_map(folder / f"train_label_{stem}.png", Classes()),
            config,
            x=sample["crop_x"],
            y=sample["crop_y"],
            flip=sample["flip"],
        )
        name = f"sample_seed{sample['random_seed']}"
        np.testing.assert_array_equal(label_map, np.asarray(Image.open(folder / f"{name}_label.png")))
        if (whole := folder / f"{name}_img.png").exists():
            np.testing.assert_array_equal(photo, np.asarray(Image.open(whole)))
        else:
            np.testing.assert_array_equal(photo[::2, ::2], np.asarray(Image.open(folder / f"{name}_img_stride2.png")))


@pytest.mark.parametrize(("name", "classes", "count"), [("landscape-mini", Classes(), 4), ("coco-stuff-mini", Classes.numbered(182, ignore=255), 13)])
def test_real_data(name: str, classes: Classes, count: int) -> None:
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip("the sample data is not here")
    report = check_dataset(folder, classes)
    assert report.problems == ()
    assert report.train.maps == count
    config = DataConfig(classes=classes.names, ignore=classes.ignore, width=128, height=96, load_width=144)
    batches = list(TrainingPairs(find_pairs(folder), config).batches(0, batch=2, seed=0))
    assert len(batches) == count // 2
    assert all(batch.photos.shape == (2, 3, 96, 128) for batch in batches)
