"""One pass over the training set, and finding again what it found."""

import json
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apfgan import data as reading
from apfgan import image_sets, threads
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import TrainingPairs, find_pairs, hash_label_maps
from apfgan.errors import DataError
from apfgan.image_sets import find_images, hash_images
from apfgan.images import encode_png
from apfgan.runs import Run
from metrics.embedded import EmbeddedJudge, embedded_judges, fit
from metrics.reference import Reference
from selection import survey as surveying
from selection.evaluation import Evaluation, open_bench
from selection.survey import find_reference, survey_data, survey_photos

CONFIG = Config(
    data=DataConfig(classes=("sky", "sea", "land"), ignore=255, width=64, height=48, load_width=64),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2),
    train=TrainConfig(progressive_epochs=1, epochs=2),
)
COUNT = 37
"""Photos: two full batches for a judge, and a part of one."""


class Killed(BaseException):
    """What no handler of errors stops."""


class ColourJudge:
    """Features are an image's mean colours; may die after so many photos."""

    distance = "fd-colours"

    def __init__(self, *, dies_after: int | None = None) -> None:
        self.asked: list[int] = []
        self._dies_after = dies_after

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "colours"}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        self.asked.append(len(photos))
        if self._dies_after is not None and sum(self.asked) > self._dies_after:
            raise Killed
        return np.stack([photo.mean(axis=(0, 1)) for photo in photos]).astype(np.float32)

    def fit_reference(self, features: np.ndarray) -> Reference:
        return Reference.fit(features, distance=self.distance)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pairs 0, 1, ...; every sixth is of one class; one has a name that is no text, and one pixels without a class."""
    source = np.random.default_rng(0)
    for index in range(COUNT):
        ids = source.integers(0, 3, size=(48, 64), dtype=np.uint8)
        if index % 6 == 0:
            ids[:] = index % 12 // 6
        stem = os.fsdecode(b"\xff") if index == 24 else f"é {index}"
        for kind, array in (("imgs", source.integers(0, 256, size=(48, 64, 3), dtype=np.uint8)), ("labels", ids)):
            (tmp_path / "set" / "train" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / "train" / kind / f"{stem}.png").write_bytes(encode_png(array))
    ignoring = tmp_path / "set" / "train" / "labels" / "é 30.png"
    ids = np.array(Image.open(ignoring))
    ids[0, 0] = 255
    ignoring.write_bytes(encode_png(ids))
    return tmp_path / "set"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", CONFIG)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the functions that decoded something, one for each photo and label map."""
    calls: list[str] = []

    def count(module: ModuleType, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments, **options: calls.append(name) or real(*arguments, **options))

    for name in ("decode_photo", "decode_label_map", "read_photo", "read_label_map"):
        count(reading, name)
    for name in ("decode_photo", "decode_stored"):
        count(image_sets, name)
    return calls


def references(run: Run) -> list[Path]:
    return sorted(run.features.glob("reference_*.npz"))


def test_one_pass_finds_everything(run: Run, folder: Path, decoded: list[str]) -> None:
    judge = ColourJudge()
    survey = survey_data(run, folder, judge=judge)
    assert len(decoded) == 2 * COUNT
    assert judge.asked == [16, 16, 5]
    assert list(survey.pairs) == find_pairs(folder)
    undecodable = os.fsdecode(b"\xff.png")
    assert survey.single_class == {0: ("é 0.png", "é 12.png", "é 36.png", undecodable), 1: ("é 6.png", "é 18.png")}
    assert survey.photos.key == hash_images(find_images(folder / "train" / "imgs"))
    config = CONFIG.data
    assert TrainingPairs(survey.pairs, config, hashes=survey.hashes).fingerprint == TrainingPairs(survey.pairs, config).fingerprint


def test_the_reference_is_that_of_the_photos_alone(run: Run, folder: Path, tmp_path: Path) -> None:
    """The very bytes, from the pass over pairs and from one over photos, and with a judge that resizes and a real network."""
    photos = find_images(folder / "train" / "imgs")
    images = np.stack([np.asarray(Image.open(photo.path)) for photo in photos])
    embedded = fit(images, np.zeros(images.shape[:3], dtype=np.uint8), CONFIG.data.label_classes, steps=1)
    for judge in (ColourJudge(), embedded):
        survey = survey_data(run, folder, judge=judge)
        (path,) = references(run)
        other = Run.create(tmp_path / f"other {judge.distance}", CONFIG)
        reference = find_reference(other, judge, survey_photos(other, photos))
        assert path.read_bytes() == (other.features / path.name).read_bytes()
        assert reference.count == COUNT
        batches = [judge.observe_photos(list(images[start : start + 16])) for start in range(0, COUNT, 16)]
        np.testing.assert_array_equal(reference.gaussian.mean, np.concatenate(batches).astype(np.float64).mean(axis=0))
        assert survey.photos.key == hash_images(photos)
        shutil.rmtree(run.features)


def test_it_is_found_again_by_content(run: Run, folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    judge = ColourJudge()
    first = survey_data(run, folder, judge=judge)
    names = [path.name for path in (folder / "train" / "imgs").iterdir()]
    random.Random(0).shuffle(names)
    for kind in ("imgs", "labels"):
        (tmp_path / "copy" / "train" / kind).mkdir(parents=True)
        for name in names:
            shutil.copyfile(folder / "train" / kind / name, tmp_path / "copy" / "train" / kind / name)
    decoded.clear()
    judge.asked.clear()
    for place in (folder, tmp_path / "copy"):
        again = survey_data(run, place, judge=judge)
        assert (again.hashes, again.single_class, again.photos.key) == (first.hashes, first.single_class, first.photos.key)
        assert list(again.pairs) == find_pairs(place)
    assert decoded == [] == judge.asked
    assert len(references(run)) == 1


@pytest.mark.parametrize("kind", ["imgs", "labels"])
def test_one_changed_pixel_is_another_set(run: Run, folder: Path, decoded: list[str], kind: str) -> None:
    before = survey_data(run, folder)
    path = folder / "train" / kind / "é 6.png"
    array = np.array(Image.open(path))
    array[5, 5] = (array[5, 5] + 1) % 3
    original = path.read_bytes()
    path.write_bytes(encode_png(array))
    decoded.clear()
    after = survey_data(run, folder)
    assert len(decoded) == 2 * COUNT
    assert after.hashes != before.hashes
    assert after.single_class[1] == (("é 6.png", "é 18.png") if kind == "imgs" else ("é 18.png",))
    path.write_bytes(original)
    decoded.clear()
    assert survey_data(run, folder).single_class == before.single_class
    assert decoded == []


def test_what_ids_mean_is_part_of_the_key(run: Run, folder: Path, tmp_path: Path, decoded: list[str]) -> None:
    survey_data(run, folder)
    decoded.clear()
    more = Config(
        data=DataConfig(classes=("a", "b", "c", "d"), ignore=255, width=64, height=48, load_width=64), model=CONFIG.model, train=CONFIG.train
    )
    other = Run.create(tmp_path / "other", more)
    shutil.copytree(run.features, other.features)
    survey_data(other, folder)
    assert len(decoded) == 2 * COUNT


def test_a_judge_that_comes_later_looks_at_the_photos_only(run: Run, folder: Path, decoded: list[str]) -> None:
    survey = survey_data(run, folder)
    assert references(run) == []
    decoded.clear()
    judge = ColourJudge()
    reference = find_reference(run, judge, survey.photos)
    assert sum(judge.asked) == len(decoded) == COUNT == reference.count
    assert len(references(run)) == 1
    assert find_reference(run, judge, survey.photos).gaussian.mean.tolist() == reference.gaussian.mean.tolist()
    assert len(decoded) == COUNT


def test_killed_among_the_photos_it_goes_on_behind_the_last_piece(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "_PIECE", 8)
    photos = survey_data(run, folder).photos
    whole = find_reference(Run.create(run.path.parent / "unbroken", CONFIG), ColourJudge(), photos)
    with pytest.raises(Killed):
        find_reference(run, ColourJudge(dies_after=20), photos)
    judge = ColourJudge()
    found = find_reference(run, judge, photos)
    assert sum(judge.asked) == COUNT - 16  # two pieces were finished
    assert found.gaussian.mean.tolist() == whole.gaussian.mean.tolist()
    assert [path.name for path in run.features.iterdir() if path.is_dir()] == []


def test_how_many_threads_read_changes_nothing(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for count in (1, 7):
        monkeypatch.setattr(threads, "_THREADS", count)
        find_reference(run, ColourJudge(), survey_data(run, folder).photos)
        (path,) = references(run)
        written.append(path.read_bytes())
        shutil.rmtree(run.features)
    assert written[0] == written[1]


def test_a_damaged_reference_is_made_again(run: Run, folder: Path) -> None:
    photos = survey_data(run, folder).photos
    find_reference(run, ColourJudge(), photos)
    (path,) = references(run)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    find_reference(run, ColourJudge(), photos)
    assert path.read_bytes() == whole


def test_photos_are_checked_once_and_all_problems_told(run: Run, folder: Path, decoded: list[str]) -> None:
    images = find_images(folder / "train" / "imgs")
    whole = images[3].path.read_bytes()
    for image in images[3:5]:
        image.path.write_bytes(b"")
    with pytest.raises(DataError, match="2 problems"):
        survey_photos(run, images)
    for image in images[3:5]:
        image.path.write_bytes(whole)
    find_reference(run, ColourJudge(), survey_photos(run, images))
    decoded.clear()
    survey_photos(run, images)
    assert decoded == []
    assert survey_photos(run, images, convert=True).key != survey_photos(run, images).key


def test_killed_in_the_middle_it_begins_again(run: Run, folder: Path) -> None:
    with pytest.raises(Killed):
        survey_data(run, folder, judge=ColourJudge(dies_after=20))
    assert not run.features.exists()
    judge = ColourJudge()
    survey_data(run, folder, judge=judge)
    assert judge.asked == [16, 16, 5]


def test_a_damaged_survey_is_made_again(run: Run, folder: Path, decoded: list[str]) -> None:
    expected = survey_data(run, folder)
    (path,) = run.features.glob("survey_*.json")
    for content in (b"", b"{", b"[]", b'{"single_class": 5}', b'{"single_class": {"x": []}}', path.read_bytes()[:40]):
        path.write_bytes(content)
        decoded.clear()
        assert survey_data(run, folder) == expected
        assert len(decoded) == 2 * COUNT
    assert json.loads(path.read_bytes())["pairs"] == COUNT


def test_problems_are_told_and_nothing_is_kept(run: Run, folder: Path) -> None:
    (folder / "train" / "imgs" / "é 3.png").write_bytes(b"")
    (folder / "train" / "labels" / "é 4.png").write_bytes(encode_png(np.full((48, 64), 9, dtype=np.uint8)))
    with pytest.raises(DataError, match="2 problems"):
        survey_data(run, folder, judge=ColourJudge())
    for path in (folder / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=f"{2 * COUNT} problems"):
        survey_data(run, folder, judge=ColourJudge())
    assert not run.features.exists()


def test_score_finds_what_train_surveyed(run: Run, folder: Path, decoded: list[str]) -> None:
    (folder / "test" / "labels").mkdir(parents=True)
    for index in range(3):
        ids = np.random.default_rng(index).integers(0, 3, size=(48, 64), dtype=np.uint8)
        (folder / "test" / "labels" / f"{index}.png").write_bytes(encode_png(ids))
    images = np.stack([np.asarray(Image.open(path)) for path in (folder / "train" / "imgs").iterdir()])
    judge = fit(images, np.zeros(images.shape[:3], dtype=np.uint8), CONFIG.data.label_classes, steps=1)
    judge.save(run.judges / "embedded.safetensors")
    survey_data(run, folder, judge=EmbeddedJudge.load(run.judges / "embedded.safetensors"))
    decoded.clear()
    bench = open_bench(run, Evaluation(data=folder))
    assert len(decoded) == 4 * 3  # the label maps to draw: checked, put in order, and pictured for the report, small and large
    assert references(run)[0].stem.split("_")[1] == bench.photos.key[:24]
    assert bench.judges.identity == embedded_judges(judge).identity
    elsewhere = open_bench(run, Evaluation(labels=folder / "test" / "labels", real=folder / "train" / "imgs"))
    assert elsewhere.protocol == bench.protocol
    assert elsewhere.protocol["label_maps"]["key"] == hash_label_maps((folder / "test" / "labels").iterdir())
