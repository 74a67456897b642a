"""`apfgan judge check`: which photos are looked at, at which size, what the figures are by brute force, and when a judge is doubted."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apfgan.config import PRESETS
from apfgan.data import Pair, find_pairs, hold_out
from apfgan.errors import DataError, UsageError
from apfgan.images import read_label_map, read_photo, resize_label_map
from apfgan.labels import Classes
from apfgan.landscapes import make_landscapes
from apfgan.runs import Run
from metrics.embedded import fit as fit_embedded
from metrics.segformer import SegformerJudge
from metrics.segformer_recipe import Recipe
from metrics.segformer_training import new_segformer
from selection.evaluation import HELD_OUT
from selection.judge_card import held_out_pairs, read_fitted
from selection.judge_check import FEW_IMAGES, check, class_estimates, find_alarms, judge_photos
from selection.judge_fitting import fit_judge

SHARED = Path(__file__).parents[2] / "shared" / "data"
ABC = Classes(names=("a", "b", "c", "d"))


class Witness:
    """Sees what is given, and remembers at which sizes, how many together, and the first pixel of each photo."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.sizes: list[tuple[int, ...]] = []
        self.photos: list[np.ndarray] = []

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "witness"}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        assert images.dtype == np.uint8 and images.shape[:3] == label_maps.shape
        self.sizes.append(images.shape[:3])
        self.photos += list(images)
        count = len(self.classes)
        return {"confusion": np.stack([np.diag(np.bincount(each.ravel(), minlength=count)[:count]) for each in label_maps]).astype(np.uint32)}


def save_pair(folder: Path, stem: str, photo: np.ndarray, label_map: np.ndarray) -> Pair:
    for part, array, suffix in (("imgs", photo, "png"), ("labels", label_map, "png")):
        (folder / "train" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / "train" / part / f"{stem}.{suffix}")
    return Pair(stem, folder / "train/imgs" / f"{stem}.png", folder / "train/labels" / f"{stem}.png")


@pytest.fixture
def mixed(tmp_path: Path) -> list[Pair]:
    """20 pairs of one size, one of another, and one more of the first."""
    random = np.random.default_rng(0)
    sizes = [(24, 32)] * 20 + [(40, 30)] + [(24, 32)]
    return [
        save_pair(tmp_path, f"{index:02d}", np.full((*size, 3), index, np.uint8), random.integers(0, 4, size, dtype=np.uint8))
        for index, size in enumerate(sizes)
    ]


def test_photos_come_in_order_as_they_are(mixed: list[Pair]) -> None:
    witness = Witness(ABC)
    confusion = judge_photos(witness, mixed, ABC)
    assert witness.sizes == [(16, 24, 32), (4, 24, 32), (1, 40, 30), (1, 24, 32)]
    assert [int(photo[0, 0, 0]) for photo in witness.photos] == list(range(22))
    for row, pair in zip(confusion, mixed, strict=True):
        assert (row.diagonal() == np.bincount(read_label_map(pair.label_map, ABC).ravel(), minlength=4)).all()


def test_photos_are_brought_to_the_images_size(mixed: list[Pair]) -> None:
    witness = Witness(ABC)
    confusion = judge_photos(witness, mixed, ABC, size=(16, 12))
    assert {size[1:] for size in witness.sizes} == {(12, 16)}
    expected = resize_label_map(read_label_map(mixed[20].label_map, ABC), (16, 12))
    assert (confusion[20].diagonal() == np.bincount(expected.ravel(), minlength=4)).all()
    witness = Witness(ABC)
    judge_photos(witness, mixed, ABC, size=12)
    assert {size[1:] for size in witness.sizes} == {(12, 16), (16, 12)}


def test_no_pairs_are_an_error() -> None:
    with pytest.raises(DataError, match="no pair"):
        judge_photos(Witness(ABC), [], ABC)


def scene(random: np.random.Generator, seen_as: np.ndarray, *, images: int = 60, sure: float = 0.8) -> np.ndarray:
    """Confusion (N, C, C) of a judge that sees class c as `seen_as[c]` in a share `sure` of the pixels, and anything elsewhere."""
    count = len(seen_as)
    rows = np.zeros((images, count, count), dtype=np.uint32)
    for row in rows:
        given = random.choice(count, 3000, p=np.array([0.5, *[0.5 / (count - 1)] * (count - 1)]))
        seen = np.where(random.random(3000) < sure, seen_as[given], random.integers(0, count, 3000))
        np.add.at(row, (given, seen), 1)
    return rows


def test_the_figures_are_those_of_brute_force() -> None:
    confusion = scene(np.random.default_rng(1), np.arange(4), images=30).astype(int)
    confusion[:, 3], confusion[:, :, 3] = 0, 0
    confusion[:25, 2] = 0
    found = check(confusion, ABC)
    accuracies = [np.trace(each) / each.sum() for each in confusion]
    assert found.accuracy.value == pytest.approx(np.mean(accuracies))
    assert found.accuracy.estimate.error == pytest.approx(np.std(accuracies, ddof=1) / np.sqrt(30))
    total = confusion.sum(axis=0)
    ious = [total[c, c] / (total[c].sum() + total[:, c].sum() - total[c, c]) for c in range(3)]
    assert found.iou.value == pytest.approx(np.mean(ious))
    estimates = class_estimates(found)
    assert estimates[3] == (None, None)
    for index in range(3):
        accuracy, iou = estimates[index]
        assert accuracy is not None and accuracy.value == pytest.approx(total[index, index] / total[index].sum())
        assert iou is not None and iou.value == pytest.approx(ious[index])
    assert found.classes.images.tolist() == [30, 30, 5, 0]
    # The error of a class's accuracy, against redrawing the images.
    random = np.random.default_rng(2)
    redrawn = [(part := confusion[random.integers(0, 30, 30)].sum(axis=0))[0, 0] / part[0].sum() for _ in range(4000)]
    error = estimates[0][0].error if estimates[0][0] else None
    assert error == pytest.approx(np.std(redrawn), rel=0.15)


CLASSES = Classes.numbered(9)


@pytest.mark.parametrize(("shift", "named"), [(1, "class n + 1"), (-1, "class n - 1")])
def test_classes_off_by_one_are_noticed(shift: int, named: str) -> None:
    confusion = scene(np.random.default_rng(0), np.clip(np.arange(9) + shift, 0, 8))
    (shifted, useless) = find_alarms(confusion, CLASSES)
    assert "reduce_labels" in shifted and "counted from 1" in shifted
    assert named in shifted
    assert "means nothing" in useless


def test_classes_by_other_names_are_noticed() -> None:
    confusion = scene(np.random.default_rng(0), np.array([3, 0, 7, 1, 8, 2, 4, 5, 6]))
    alarm = find_alarms(confusion, CLASSES)[0]
    assert "class 0 as class 3" in alarm and "id2label" in alarm


@pytest.mark.parametrize("sure", [0.9, 0.55])
def test_an_honest_judge_is_not_doubted(sure: float) -> None:
    assert find_alarms(scene(np.random.default_rng(0), np.arange(9), sure=sure), CLASSES) == []


def test_a_weak_judge_is_called_weak_and_nothing_else() -> None:
    guessing = scene(np.random.default_rng(0), np.arange(9), sure=0.0)
    (alarm,) = find_alarms(guessing, CLASSES)
    assert "to say 'class 0' of every one of them would agree with 5" in alarm
    always = np.zeros((30, 9, 9), dtype=np.uint32)
    always[:, :, 4] = [900, 5, 5, 5, 50, 5, 5, 5, 5]
    assert all("means nothing" in alarm for alarm in find_alarms(always, CLASSES))


def test_an_alarm_by_a_real_judge(tmp_path: Path) -> None:
    """A fitted judge whose data set counts its ids from 1."""
    names = Classes(names=("ground", "water", "sky", "tree", "none"))
    random = np.random.default_rng(3)
    for index in range(24):
        label_map = np.repeat(np.repeat(random.integers(0, 4, (3, 4), dtype=np.uint8), 16, axis=0), 16, axis=1)
        photo = np.array([[90, 60, 30], [30, 60, 200], [200, 220, 255], [20, 120, 20]], np.uint8)[label_map]
        save_pair(tmp_path / "data", f"{index:02d}", photo, label_map)
        save_pair(tmp_path / "off", f"{index:02d}", photo, label_map + 1)
    recipe = Recipe(steps=60, batch=2, crop=48, rate=3e-4, hue=0, saturation=(1, 1))
    assert fit_judge(tmp_path / "data", tmp_path / "judge", classes=names, recipe=recipe) is not None
    judge = SegformerJudge(tmp_path / "judge", names)
    right, wrong = (check(judge_photos(judge, find_pairs(tmp_path / name), names), names) for name in ("data", "off"))
    assert right.accuracy.value > 0.8 and right.alarms == ()
    assert wrong.accuracy.value < 0.2 and "class n - 1 where the label maps say n" in wrong.alarms[0]


# The command


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Landscapes, a SegFormer after a few steps, and a run with an embedded judge after one."""
    folder = tmp_path_factory.mktemp("check")
    make_landscapes(folder / "data", train=24, test=1, width=96, height=72)
    fit_judge(folder / "data", folder / "judge", classes=Classes(), recipe=Recipe(steps=4, batch=1, crop=48), share=0.2)
    new_segformer("b0", Classes(), seed=0).save_pretrained(folder / "foreign")
    run = Run.create(folder / "run", replace(PRESETS["tiny"], data=replace(PRESETS["tiny"].data, width=64, height=64)))
    pairs = hold_out(find_pairs(folder / "data"), HELD_OUT)[0][:4]
    photos, label_maps = np.stack([read_photo(pair.photo) for pair in pairs]), np.stack([read_label_map(pair.label_map, Classes()) for pair in pairs])
    fit_embedded(photos, label_maps, Classes(), steps=1).save(run.judges / "embedded.safetensors")
    return folder


def ask(apfgan: Any, place: Path, *arguments: object) -> dict[str, Any]:
    code, out, error = apfgan("judge", "check", "--data", place / "data", "--device", "cpu", "--json", *arguments)
    assert code == 0, error
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_fitted_judge_is_checked_on_what_was_held_out(apfgan: Any, place: Path) -> None:
    card = read_fitted(place / "judge")
    assert card is not None
    found = ask(apfgan, place, "--segformer", place / "judge")
    held = held_out_pairs(card, find_pairs(place / "data"))
    assert found["images"] == len(held) == len(card.held_out)
    assert card.accuracy is not None and found["accuracy"]["value"] == card.accuracy.value  # the same geometry
    judge = SegformerJudge(place / "judge", Classes())
    expected = check(judge_photos(judge, held, Classes(), size=(64, 48)), Classes())
    at_size = ask(apfgan, place, "--segformer", place / "judge", "--size", "64x48")
    assert at_size["accuracy"]["value"] == pytest.approx(expected.accuracy.value, abs=1e-4)
    assert "held out when it was fitted" in found["pairs"]
    everything = ask(apfgan, place, "--segformer", place / "judge", "--all")
    assert everything["images"] == 24 and "no ceiling" in everything["pairs"]
    assert ask(apfgan, place, "--segformer", place / "judge", "--all", "--limit", "5")["images"] == 5


def test_of_a_foreign_judge_nothing_is_known(apfgan: Any, place: Path) -> None:
    found = ask(apfgan, place, "--segformer", place / "foreign")
    assert found["images"] == 24 and "nothing tells" in found["pairs"]
    assert found["alarms"]  # random weights
    assert ask(apfgan, place, "--segformer", place / "foreign", "--geometry", "squash-512", "--limit", "2")["images"] == 2


def test_an_embedded_judge_is_checked_on_what_was_held_out(apfgan: Any, place: Path) -> None:
    found = ask(apfgan, place, "--run", place / "run")
    assert found["images"] == len(hold_out(find_pairs(place / "data"), HELD_OUT)[1]) > 0
    total = sum(each["pixels"] for each in found["classes"].values())
    assert total == found["images"] * 64 * 64  # at the size of the run's images


def test_photos_that_changed_are_not_the_ones_held_out(place: Path, tmp_path: Path) -> None:
    card = read_fitted(place / "judge")
    assert card is not None
    make_landscapes(tmp_path, train=24, test=1, width=96, height=72, seed=1)
    assert held_out_pairs(card, find_pairs(tmp_path)) == []


def test_what_cannot_be_checked_is_said(apfgan: Any, place: Path, tmp_path: Path) -> None:
    make_landscapes(tmp_path / "other", train=3, test=1, width=96, height=72, seed=1)
    Run.create(tmp_path / "run", PRESETS["tiny"])
    common = ("judge", "check", "--device", "cpu", "--data")
    for arguments, expected, message in [
        ((place / "data",), UsageError, "name one judge"),
        ((place / "data", "--run", place / "run", "--segformer", "x"), UsageError, "name one judge"),
        ((place / "data", "--run", place / "run", "--classes", 3), UsageError, "brings its own classes"),
    ]:
        code, _, error = apfgan(*common, *arguments)
        assert code == expected.exit_code and message in error
    code, _, error = apfgan(*common, tmp_path / "other", "--segformer", place / "judge")
    assert code == 3 and "held out of the fit" in error and "--all" in error
    code, _, error = apfgan(*common, place / "data", "--run", tmp_path / "run")
    assert code == 4 and "has no embedded judge yet" in error
    code, _, error = apfgan(*common, place / "data", "--segformer", tmp_path / "nothing")
    assert code == 4 and "nothing" in error


def test_the_table_fits_and_marks_rare_classes(apfgan: Any, place: Path) -> None:
    code, out, error = apfgan("judge", "check", "--data", place / "data", "--segformer", place / "foreign", "--device", "cpu", "--quiet")
    assert code == 0, error
    lines = out.splitlines()
    assert all(len(line) <= 80 for line in lines if str(place) not in line), out
    label_maps = [read_label_map(pair.label_map, Classes()) for pair in find_pairs(place / "data")]
    for index, name in enumerate(Classes().names):
        images = sum(bool((each == index).any()) for each in label_maps)
        if images:
            (row,) = (line for line in lines if line.startswith(f"{name} "))
            assert row.split()[1] == f"{images}{'*' if images < FEW_IMAGES else ''}"
    assert f"* in fewer than {FEW_IMAGES} images" in out
    assert "warning: " in out


def test_real_photos_with_182_classes(apfgan: Any, tmp_path: Path) -> None:
    """Odd sizes, 182 classes, and pixels that have none."""
    data = SHARED / "coco-stuff-mini"
    if not data.is_dir():
        pytest.skip(f"{data} is not here")
    classes = Classes.numbered(182, ignore=255)
    new_segformer("b0", classes, seed=0).save_pretrained(tmp_path)
    arguments = ("--segformer", tmp_path, "--classes", 182, "--ignore", 255, "--limit", 3, "--device", "cpu", "--json", "--size", "128x96")
    code, out, error = apfgan("judge", "check", "--data", data, *arguments)
    assert code == 0, error
    found = json.loads(out)
    assert found["images"] == 3 and 0 <= found["accuracy"]["value"] <= 1
    pairs = find_pairs(data)
    maps = [resize_label_map(read_label_map(pairs[index].label_map, classes), (128, 96)) for index in (0, 6, 12)]
    assert sum(each["pixels"] for each in found["classes"].values()) == sum(int((each != 255).sum()) for each in maps)
