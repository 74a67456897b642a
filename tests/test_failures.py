"""What looks wrong among images: planted failures are found, and nothing is found among photos that are none."""

import functools
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import selection.evaluation
from apfgan.candidates import Candidate
from apfgan.config import Config, DataConfig, TrainConfig
from apfgan.failures import Failures, failures_path, picture_path, read_failures, write_failures
from apfgan.landscapes import make_landscapes
from apfgan.runs import Run
from metrics.products import nearest
from metrics.reference import Reference
from selection import failures as searching
from selection.evaluation import Evaluation, open_bench, open_label_maps
from selection.examining import Examiner
from selection.failures import FLAT, find_failures, find_flat, find_near, find_pairs
from selection.image_candidates import find_image_candidates
from selection.likeness import ALIKE, likeness, likeness_to_photo, small_grey
from selection.measuring import Bench

WIDTH, HEIGHT, TRAIN, TEST = 128, 96, 64, 32


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def shifted(image: Image.Image, pixels: int) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, pixels, 0, 1, pixels), Image.Resampling.BILINEAR)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose test photos are known, too."""
    folder = tmp_path_factory.mktemp("data")
    make_landscapes(folder, train=TRAIN, test=TEST, width=WIDTH, height=HEIGHT)
    return folder


@pytest.fixture(scope="module")
def planted(photos: Path) -> dict[str, Image.Image]:
    """Images by the stem of their label map that a generator should not have drawn; all others are the photos of their label maps."""

    def photo(part: str, index: int) -> Image.Image:
        with Image.open(photos / part / "imgs" / f"{part}_{index:05}.jpg") as image:
            return image.convert("RGB")

    grain = np.random.default_rng(0).integers(118, 122, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return {
        "test_00003": Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 160)),
        "test_00004": Image.fromarray(grain),
        "test_00011": jpeg(photo("test", 10), 80),
        "test_00020": jpeg(ImageEnhance.Brightness(shifted(photo("train", 7), 1)).enhance(1.1), 60),
        "test_00021": jpeg(photo("train", 12).transpose(Image.Transpose.FLIP_LEFT_RIGHT), 75),
    }


@pytest.fixture(scope="module")
def bench(photos: Path, planted: dict[str, Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two sets of images, both measured: `clean`, the photos of their label maps, and `spoilt`, the same with the planted ones."""
    folder = tmp_path_factory.mktemp("bench")
    for name, images in (("clean", {}), ("spoilt", planted)):
        for path in (photos / "test" / "imgs").iterdir():
            target = folder / name / f"{path.stem}.png"
            target.parent.mkdir(exist_ok=True)
            with Image.open(path) as image:
                images.get(path.stem, image).save(target)
    run = Run.create(
        folder / "run", Config(data=DataConfig(width=WIDTH, height=HEIGHT, load_width=WIDTH), train=TrainConfig(progressive_epochs=0, epochs=0))
    )
    evaluation = Evaluation(data=photos)
    sets = find_image_candidates([str(folder / "clean"), str(folder / "spoilt")], open_label_maps(evaluation))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection.evaluation, "fit", functools.partial(selection.evaluation.fit, steps=80))
        opened = open_bench(run, evaluation, images=sets)
    examiner = Examiner(opened)
    for candidate in sets.checked:
        examiner.measure(candidate)
    return opened


@pytest.fixture(scope="module")
def found(bench: Bench) -> Callable[[str], Failures]:
    def look(name: str) -> Failures:
        measurement = next(each for each in bench.run.ledger.read() if each.candidate == name)
        known = find_failures(bench, measurement)
        assert known is not None
        return known

    return look


def test_planted_failures_are_found(found: Callable[[str], Failures], bench: Bench) -> None:
    spoilt = found("spoilt")
    assert (spoilt.candidate, spoilt.images, spoilt.photos) == ("spoilt", TEST, TRAIN)
    assert {each.stem for each in spoilt.flat} == {"test_00003", "test_00004"} and all(each.contrast < FLAT / 2 for each in spoilt.flat)
    (pair,) = spoilt.twins
    assert set(pair.stems) == {"test_00010", "test_00011"} and pair.distance < 0.1 and pair.likeness > 0.97
    copies = {each.stem: each for each in spoilt.copies}
    assert {stem: (each.photo, each.mirrored) for stem, each in copies.items()} == {
        "test_00020": ("train_00007.jpg", False),
        "test_00021": ("train_00012.jpg", True),
    }
    assert all(each.nearness < 1 and each.likeness >= ALIKE for each in copies.values())
    assert spoilt.not_looked_at == () and spoilt.replaced == 0
    assert spoilt.text == "2 nearly of one grey, 1 near-duplicate pairs, 2 suspected copies of photos"
    kept = picture_path(bench.run, copies["test_00020"].picture)
    with Image.open(kept) as small, Image.open(bench.photos.images[0].path.parent / "train_00007.jpg") as photo:
        assert small.size == (WIDTH, HEIGHT)
        assert likeness(small_grey(small), small_grey(photo)) > 0.99


def test_label_maps_of_twins_differ_as_much_as_is_said(found: Callable[[str], Failures], photos: Path) -> None:
    (pair,) = found("spoilt").twins
    one, other = (np.asarray(Image.open(photos / "test" / "labels" / f"{stem}.png")) for stem in pair.stems)
    assert pair.agreement == pytest.approx((one == other).mean())


def test_nothing_is_found_among_photos_of_other_scenes(found: Callable[[str], Failures]) -> None:
    """None of 32 held out photos, and none of the 64 that are the control: with 95 % confidence a false alarm in fewer than 1 of 32 images."""
    clean = found("clean")
    assert clean.text == "" and clean.flat == clean.twins == clean.copies == ()
    assert clean.compared > 0 and clean.near >= clean.compared  # by features alone many a photo would be suspected
    assert clean.control is not None
    assert (clean.control.photos, clean.control.copies, clean.control.flat) == (TRAIN, 0, 0)


def test_what_is_known_is_not_looked_for_again(found: Callable[[str], Failures], bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = found("spoilt")
    path = failures_path(bench.run, next(each for each in bench.run.ledger.read() if each.candidate == "spoilt").observations)
    content = path.read_bytes()
    monkeypatch.setattr(searching, "read_prints", lambda *_: pytest.fail("looked again"))
    assert found("spoilt") == first
    monkeypatch.undo()
    path.write_bytes(content.replace(b'"images": 32', b'"images": 31'))
    assert read_failures(bench.run, path.stem) is None  # not what was written
    assert found("spoilt") == first and path.read_bytes() == content


def test_what_cannot_be_looked_at_is_said(bench: Bench, found: Callable[[str], Failures]) -> None:
    observations = next(each for each in bench.run.ledger.read() if each.candidate == "spoilt").observations
    packs, elsewhere = bench.run.prints / observations, bench.run.prints / "elsewhere"
    found("spoilt")
    packs.rename(elsewhere)
    blind = found("spoilt")
    elsewhere.rename(packs)
    assert blind.text == "" and "none of the images" in blind.not_looked_at[0]
    assert found("spoilt").text


def test_photos_that_stand_in_for_drawings_are_no_suspicion(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    measurement = next(each for each in bench.run.ledger.read() if each.candidate == "spoilt")
    failures_path(bench.run, measurement.observations).unlink()
    monkeypatch.setattr(searching, "_replaced", lambda bench, name: frozenset({"test_00020"}))
    replaced = find_failures(bench, measurement)
    failures_path(bench.run, measurement.observations).unlink()
    assert replaced is not None and replaced.replaced == 1
    assert [each.stem for each in replaced.copies] == ["test_00021"]


def test_nearest_is_what_brute_force_finds() -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(11, 5)).astype(np.float32)
    apart = np.linalg.norm(rows[:, None].astype(float) - columns[None].astype(float), axis=2)
    distances, places = nearest(rows, columns)
    assert distances == pytest.approx(apart.min(axis=1)) and places.tolist() == apart.argmin(axis=1).tolist()
    own = np.linalg.norm(rows[:, None].astype(float) - rows[None].astype(float), axis=2) + np.diag(np.full(7, np.inf))
    distances, places = nearest(rows, rows, same=True)
    assert distances == pytest.approx(own.min(axis=1)) and places.tolist() == own.argmin(axis=1).tolist()


def test_nearness_is_the_share_of_the_third_nearest_other_photo() -> None:
    photos = np.array([[0, 0], [1, 0], [0, 2], [4, 0], [10, 10], [11, 10]], dtype=np.float32)
    images = np.array([[0.5, -2], [10, 10.5], [60, 60]], dtype=np.float32)
    reference = Reference.fit(photos)
    ((first, photo, ratio), (second, other, share)) = find_near(["a", "b", "c"], images, reference)
    assert (first, photo) == ("b", 4) and ratio == pytest.approx(0.5 / np.hypot(10, 8))  # its others: 1, 10.63 and 11.66 away
    assert (second, other) == ("a", 0) and share == pytest.approx(np.hypot(0.5, 2) / 4)
    assert [stem for stem, _, _ in find_near(["a", "b", "c"], images, reference, but={"b"})] == ["a"]


def test_pairs_are_named_once() -> None:
    features = np.array([[0.0], [0.1], [5.0], [5.2], [9.0]])
    assert [(one, other, round(share, 6)) for one, other, share in find_pairs(features, typical=1.0)] == [(0, 1, 0.1), (2, 3, 0.2)]


def test_flat_is_below_a_tenth_of_a_photo() -> None:
    pictures = {"a": np.array([0.0, 9.0]), "b": np.array([0.0, 11.0]), "c": np.array([3.0, 3.0])}
    assert [(each.stem, each.contrast) for each in find_flat(pictures, typical=50.0)] == [("c", 0.0), ("a", 0.09)]


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda image: jpeg(image, 50), 0.98),
        (lambda image: ImageEnhance.Brightness(image).enhance(1.2), 0.97),
        (lambda image: shifted(image, 1), ALIKE),
        (lambda image: image.resize((511, 300)), 0.98),
    ],
)
def test_likeness_forgives_what_a_copy_may_have_suffered(photos: Path, change: Callable, least: float) -> None:
    for index in range(8):
        with Image.open(photos / "train" / "imgs" / f"train_{index:05}.jpg") as image:
            assert likeness(small_grey(image), small_grey(change(image))) > least


def test_likeness_tells_scenes_apart(photos: Path) -> None:
    greys = []
    for path in sorted((photos / "train" / "imgs").iterdir()):
        with Image.open(path) as image:
            greys.append(small_grey(image))
    values = [likeness(one, other) for index, one in enumerate(greys) for other in greys[:index]]
    assert max(values) < ALIKE
    assert likeness(greys[0], greys[0]) == pytest.approx(1)
    assert likeness(np.full((24, 32), 9.0), greys[0]) == likeness(greys[0], np.full((24, 32), 9.0)) == 0
    mirrored = likeness_to_photo(greys[0][:, ::-1], greys[0])
    assert mirrored.mirrored and mirrored.value == pytest.approx(1)


def test_records_read_back_as_they_were_written(tmp_path: Path, found: Callable[[str], Failures]) -> None:
    run = Run.create(tmp_path, Config())
    assert read_failures(run, "key") is None
    write_failures(run, "key", found("spoilt"))
    assert read_failures(run, "key") == found("spoilt")
    failures_path(run, "key").write_text(json.dumps([1]))
    assert read_failures(run, "key") is None


def test_only_a_candidate_with_photos_has_stand_ins(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching.Finish, "of", lambda studio, candidate: SimpleNamespace(stand_ins={"test_00001": candidate}))
    assert Candidate.parse("clean") in bench.stored
    assert [searching._replaced(bench, name) for name in ("clean", "5", "5~photos@3")] == [frozenset(), frozenset(), {"test_00001"}]
