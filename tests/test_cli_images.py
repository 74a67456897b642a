"""`apfgan score --images`: folders and zips that something else filled."""

import functools
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import selection.evaluation
from apfgan.landscapes import make_landscapes
from apfgan.runs import Run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quick_judges(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selection.evaluation, "fit", functools.partial(selection.evaluation.fit, steps=60))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_landscapes(folder, train=12, test=6, width=64, height=48)
    return folder


@pytest.fixture
def drawn(tmp_path: Path, data: Path) -> Path:
    """Three epochs of a generator of odd-sized PNGs: the photos, more or less blurred."""
    for epoch, blur in ((9, 4.0), (10, 1.0), (11, 2.0)):
        for photo in (data / "test" / "imgs").iterdir():
            path = tmp_path / "out" / f"epoch_{epoch}" / f"{photo.stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(photo) as image:
                image.resize((61, 47)).filter(ImageFilter.GaussianBlur(blur)).save(path)
    return tmp_path / "out"


def names(text: str) -> list[str]:
    return [place["candidate"] for place in json.loads(text)["places"]]


def test_epochs_of_another_generator_are_ranked(apfgan: Call, data: Path, drawn: Path) -> None:
    code, text, error = apfgan("score", "--images", f"{drawn}/{{epoch}}/*.png", "--data", data)
    assert code == 0, error
    assert "3 sets of 6 images, 61x47" in error
    assert max(len(line) for line in text.splitlines()) <= 80, text
    assert "real photos" in text
    checks = apfgan("rank", "--run", "apfgan-scores", "--checks")[1]
    assert all(name in checks for name in ("mean_iou", "kid-embedded", "precision-embedded", "recall-embedded"))
    assert max(map(len, checks.splitlines())) <= 80, checks
    found = json.loads(apfgan("rank", "--run", "apfgan-scores", "--json")[1])
    assert [place["candidate"] for place in found["places"]] == ["10", "11", "9"]
    real = found["real_photos"]
    assert real["metrics"]["fd-embedded"]["value"] < found["places"][0]["metrics"]["fd-embedded"]["value"]
    assert sum(found["contributions"].values()) == pytest.approx(found["places"][0]["metrics"]["composite"]["value"])
    run = Run.open(Path("apfgan-scores"))
    assert (run.config.data.width, run.config.data.height) == (61, 47)
    assert all(each.protocol["encoding"] == {"format": "PNG"} for each in run.ledger.read())
    code, _, error = apfgan("score", "--images", f"{drawn}/{{epoch}}/*.png", "--data", data)
    assert code == 0 and "nothing to measure" in error
    assert apfgan("report", "--run", "apfgan-scores")[0] == 0
    page = (run.report / "index.html").read_text()
    assert "apfgan submit" not in page  # there is nothing that could draw them again
    assert "real photos" in page and "Its judges: colour-contrast-sharpness, embedded-segformer." in page


def test_copies_in_a_zip_are_found_in_the_ledger(apfgan: Call, data: Path, drawn: Path, tmp_path: Path) -> None:
    assert apfgan("score", "--images", f"mine={drawn}/epoch_10", "--data", data)[0] == 0
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for path in (drawn / "epoch_10").iterdir():
            archive.write(path, f"images/{path.name}")
    code, text, error = apfgan("score", "--images", "other.zip", "--data", data, "--json")
    assert code == 0 and "nothing to measure" in error
    assert names(text) == ["mine", "other"] or names(text) == ["other", "mine"]


def test_jpegs_of_two_qualities_are_not_ranked_together(apfgan: Call, data: Path, drawn: Path, tmp_path: Path) -> None:
    for quality in (75, 95):
        for path in (drawn / "epoch_10").iterdir():
            place = tmp_path / "jpegs" / f"q{quality}" / f"{path.stem}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                image.save(place, quality=quality)
    code, _, error = apfgan("score", "--images", "jpegs/{name}", "--data", data)
    assert code == 3 and "quality 75" in error and "quality 95" in error and "--reencode" in error
    code, text, error = apfgan("score", "--images", "jpegs/{name}", "--data", data, "--reencode", "--json")
    assert code == 0 and set(names(text)) == {"q75", "q95"}
    # Scored as they are, one after the other, each has a protocol of its own.
    assert names(apfgan("score", "--run", "as-is", "--images", "jpegs/q75", "--data", data, "--json")[1]) == ["q75"]
    found = json.loads(apfgan("score", "--run", "as-is", "--images", "jpegs/q95", "--data", data, "--json")[1])
    assert [place["candidate"] for place in found["places"]] == ["q95"]
    assert "another protocol" in found["notes"][0]


def test_photos_passed_off_as_images_are_noticed(apfgan: Call, data: Path) -> None:
    labels = sorted((data / "train" / "labels").iterdir())
    code, _, error = apfgan("score", "--images", f"{data}/train/imgs", "--labels", labels[0].parent, "--data", data)
    assert code == 0 and f"{len(labels)} images are among the photos" in error


def test_missing_images_are_listed_and_never_make_another_n(apfgan: Call, data: Path, drawn: Path) -> None:
    (drawn / "epoch_9" / "test_00002.png").unlink()
    shutil.copyfile(drawn / "epoch_9" / "test_00001.png", drawn / "epoch_9" / "stray.png")
    code, _, error = apfgan("score", "--images", f"{drawn}/{{epoch}}", "--data", data)
    assert code == 3 and "test_00002.png" in error and "stray.png" in error and "--allow-missing" in error
    assert not Path("apfgan-scores").exists()
    code, text, error = apfgan("score", "--images", f"{drawn}/{{epoch}}", "--data", data, "--allow-missing", "--json")
    assert code == 0, error
    assert {each.images for each in Run(Path("apfgan-scores")).ledger.read()} == {5}  # the same label maps for all
    assert len(names(text)) == 3
    found = json.loads(apfgan("score", "--images", f"{drawn}/epoch_10", "--data", data, "--json")[1])
    assert [place["candidate"] for place in found["places"]] == ["10"]  # six images: not to be ranked beside five


def test_everything_that_is_wrong_is_told_before_any_judge_is_made(apfgan: Call, data: Path, drawn: Path, monkeypatch) -> None:
    monkeypatch.setattr(selection.evaluation, "fit", None)
    (drawn / "epoch_9" / "test_00000.png").write_bytes((drawn / "epoch_9" / "test_00000.png").read_bytes()[:200])
    Image.new("RGB", (33, 22)).save(drawn / "epoch_10" / "test_00001.png")
    Image.fromarray(np.zeros((47, 61), np.uint16)).save(drawn / "epoch_11" / "test_00003.png")
    code, _, error = apfgan("score", "--images", f"{drawn}/{{epoch}}", "--data", data)
    assert code == 3
    assert all(said in error for said in ("9/test_00000.png", "33x22", "test_00003.png", "16"))


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ([], 2, "--images"),
        (["--images", "nowhere/{epoch}"], 3, "nowhere"),
        (["--images", "out/epoch_9", "--images", "9=out/epoch_10"], 2, "two sets 9"),
        (["--images", "out/{epoch}", "--expect", "1000"], 3, "--expect says 1000"),
        (["--images", "out/{epoch}", "--board", "C"], 2, "no board 'C'"),
        (["--images", "out/{epoch}", "--fid", "clean"], 2, "--fid: the embedded judges know nothing of it"),
        (["--images", "out/{epoch}", "--board", "jittor3"], 2, "style similarity"),
        (["--images", "out/{epoch}", "--votes", "7"], 2, "votes lie in 0 to 1"),
        (["--images", "out/{epoch}", "--classes", "3"], 3, "holds"),
    ],
)
def test_what_cannot_be_scored(apfgan: Call, data: Path, drawn: Path, arguments: list[str], code: int, complaint: str) -> None:
    found, _, error = apfgan("score", "--data", data, *arguments)
    assert (found, complaint in error) == (code, True), error


def test_weights_of_ones_own_rank_anew_without_an_image(apfgan: Call, data: Path, drawn: Path, monkeypatch) -> None:
    assert apfgan("score", "--images", f"{drawn}/{{epoch}}", "--data", data)[0] == 0
    Path("beauty.toml").write_text("aesthetic = 1\ncloseness = 0\n")
    monkeypatch.setattr("metrics.judges.Judges.observe", None)  # looking would fail
    code, text, error = apfgan("score", "--images", f"{drawn}/{{epoch}}", "--board", "beauty.toml", "--json")
    assert code == 0, error
    found = json.loads(text)
    assert found["contributions"].keys() == {"aesthetic"} and found["exchange_rates"]["distance"] == 0
    best = found["places"][0]["metrics"]
    assert best["composite"]["value"] == pytest.approx(best["mask_accuracy"]["value"] * best["aesthetic"]["value"] / 10)
