"""Both FID protocols against the libraries whose they are: pytorch_fid and clean-fid read the same files and run networks with the same weights."""

import dataclasses
import functools
import inspect
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cleanfid.features
import cleanfid.fid
import cleanfid.inception_torchscript
import numpy as np
import pytest
import pytorch_fid.fid_score
import pytorch_fid.inception
import scipy.linalg
import torch
from PIL import Image

from apfgan.files import WEIGHTS_VARIABLE, hash_file
from metrics import standard
from metrics.clean import CleanInceptionJudge
from metrics.inception import InceptionJudge
from metrics.judges import FeatureJudge
from metrics.reference import Reference

pytestmark = pytest.mark.skipif(
    "disp" not in inspect.signature(scipy.linalg.sqrtm).parameters,
    reason="pytorch-fid and clean-fid call scipy's sqrtm with disp=, which this scipy no longer takes",
)

REAL_PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "coco-stuff-mini" / "train" / "imgs"
WIDTH = 2048

FrechetDistance = Callable[..., float]
FORMULAS = {"pytorch-fid": pytorch_fid.fid_score.calculate_frechet_distance, "clean-fid": cleanfid.fid.frechet_distance}


@contextmanager
def their_way() -> Iterator[None]:
    """Without the warnings of the libraries: of how they call scipy, Pillow and TorchScript, and of singular matrices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance as pytorch-fid computes them."""
    exact = features.astype(np.float64)
    return exact.mean(axis=0), np.cov(exact, rowvar=False)


def few_dimensions(formula: FrechetDistance) -> FrechetDistance:
    """Their formula on the few axes that few images span: turning the axes changes no distance, and its root of 2048x2048 takes 20 s."""

    def turned(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray) -> float:
        shift = np.subtract(mean, other_mean, dtype=np.float64)
        spanned = (covariance + other_covariance + np.outer(shift, shift)) @ np.random.default_rng(0).normal(size=(len(mean), 64))
        axes = np.linalg.qr(spanned)[0]
        assert np.isclose(np.trace(covariance), np.trace(axes.T @ covariance @ axes), rtol=1e-12)
        return formula(mean @ axes, axes.T @ covariance @ axes, other_mean @ axes, axes.T @ other_covariance @ axes)

    return turned


def defined_distance(features: np.ndarray, photos: np.ndarray) -> float:
    """The Fréchet distance by its definition in float64: tr((S_x S_y)^½) is the sum of the singular values of X_c Y_cᵀ over √((n-1)(m-1))."""
    x, y = features.astype(np.float64), photos.astype(np.float64)
    shift, x, y = x.mean(axis=0) - y.mean(axis=0), x - x.mean(axis=0), y - y.mean(axis=0)
    n, m = len(x) - 1, len(y) - 1
    root = scipy.linalg.svdvals(x @ y.T).sum() / np.sqrt(n) / np.sqrt(m)
    return float(shift @ shift + np.square(x).sum() / n + np.square(y).sum() / m - 2 * root)


def distance(features: np.ndarray, reference: Reference) -> float:
    return reference.measure(features)[reference.distance].value


def smooth_pictures(count: int, size: tuple[int, int], *, seed: int) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC) for _ in range(count)]


def pack(folder: Path) -> None:
    """`folder` as a zip beside it."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)


def write_doubtful(folder: Path) -> None:
    """Files that the libraries convert to RGB in their own way."""
    picture, other = smooth_pictures(2, (90, 70), seed=1)
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(0, 2**16, (40, 60), dtype=np.uint16)).save(folder / "deep_grey.png")
    Image.fromarray(np.asarray(other.convert("L"), np.uint16) + 60).save(folder / "dark_deep_grey.png")
    picture.convert("L").save(folder / "grey.jpg")
    picture.quantize(17).save(folder / "palette.png")
    other.convert("CMYK").save(folder / "print.jpg")
    transparent = other.convert("RGBA")
    transparent.putalpha(128)
    transparent.save(folder / "transparent.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=turned)
    other.resize((37, 53)).save(folder / "odd.png")
    other.resize((3, 5)).save(folder / "tiny.png")
    other.resize((700, 301)).save(folder / "wide.bmp")


def read(folder: Path) -> list[np.ndarray]:
    """The photos in a folder as both libraries read them, in their order."""
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`real`, photos of several sizes and kinds, and `generated`, images of one size, also packed; fewer than there are features."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "real").mkdir()
    (folder / "generated").mkdir()
    write_doubtful(folder / "real")
    for index, picture in enumerate(smooth_pictures(4, (160, 120), seed=2)):
        picture.save(folder / "real" / f"photo_{index}.jpg", quality=92)
    for index, picture in enumerate(smooth_pictures(5, (128, 96), seed=3)):
        picture.save(folder / "generated" / f"{index}.png")
    pack(folder / "generated")
    return folder


@pytest.fixture(scope="module")
def photographed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with real photos; the images are photos at half their size, flipped and darkened."""
    if not REAL_PHOTOS.is_dir():
        pytest.skip(f"there are no photos in {REAL_PHOTOS}")
    folder = tmp_path_factory.mktemp("photographed")
    (folder / "generated").mkdir()
    (folder / "real").symlink_to(REAL_PHOTOS)
    for path in sorted(REAL_PHOTOS.iterdir())[:9]:
        image = Image.open(path).convert("RGB").resize((256, 192)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image.point(lambda value: value * 0.8).save(folder / "generated" / f"{path.stem}.png")
    pack(folder / "generated")
    return folder


@pytest.fixture(params=["made", "photographed"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def judge(inception_weights: Path) -> InceptionJudge:
    return InceptionJudge(inception_weights)


@pytest.fixture(scope="module")
def clean_judge(clean_inception_weights: Path) -> CleanInceptionJudge:
    return CleanInceptionJudge(clean_inception_weights)


@pytest.fixture(scope="module")
def pytorch_fids_number(inception_weights: Path) -> Callable[[Path], float]:
    """What pytorch-fid says of a folder with `generated` and `real`; it looks for weights in torch.hub's cache, and else downloads them."""

    @functools.cache
    def measure(folder: Path) -> float:
        with pytest.MonkeyPatch.context() as patch, their_way():
            patch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: torch.load(inception_weights, weights_only=True))
            patch.setattr(pytorch_fid.fid_score, "calculate_frechet_distance", few_dimensions(FORMULAS["pytorch-fid"]))
            paths = [str(folder / "generated"), str(folder / "real")]
            return pytorch_fid.fid_score.calculate_fid_given_paths(paths, batch_size=1, device="cpu", dims=WIDTH, num_workers=0)

    return measure


@pytest.fixture(scope="module")
def clean_fids_number(clean_inception_weights: Path) -> Callable[[Path], float]:
    """What clean-fid says of `generated.zip` and `real` in a folder; it looks for its network in /tmp, and else downloads it there."""

    def load(path: str, download: bool, resize_inside: bool) -> torch.nn.Module:
        return cleanfid.inception_torchscript.InceptionV3W(str(clean_inception_weights.parent), download=False, resize_inside=resize_inside)

    @functools.cache
    def measure(folder: Path) -> float:
        with pytest.MonkeyPatch.context() as patch, their_way():
            patch.setattr(cleanfid.features, "InceptionV3W", load)
            patch.setattr(cleanfid.fid, "frechet_distance", few_dimensions(FORMULAS["clean-fid"]))
            return cleanfid.fid.compute_fid(
                str(folder / "generated.zip"),
                str(folder / "real"),
                mode="clean",
                num_workers=0,
                batch_size=4,
                device=torch.device("cpu"),
                use_dataparallel=False,
            )

    return measure


def our_distances(judge: FeatureJudge, folder: Path) -> tuple[float, float]:
    """The judge's distance between the folder's `generated` and `real`, and the same by its definition from the judge's features."""
    generated = np.stack(read(folder / "generated"))
    features = judge.observe(generated, np.zeros(generated.shape[:3], np.uint8))["features"]
    photos = judge.observe_photos(read(folder / "real"))
    return distance(features, judge.fit_reference(photos)), defined_distance(features, photos)


def test_fid_is_pytorch_fids(folder: Path, judge: InceptionJudge, pytorch_fids_number: Callable[[Path], float]) -> None:
    ours, defined = our_distances(judge, folder)
    assert ours == pytest.approx(pytorch_fids_number(folder), abs=1e-3, rel=0)
    assert ours == pytest.approx(defined, rel=1e-9, abs=0)


def test_clean_fid_is_clean_fids(folder: Path, clean_judge: CleanInceptionJudge, clean_fids_number: Callable[[Path], float]) -> None:
    ours, defined = our_distances(clean_judge, folder)
    assert ours == pytest.approx(clean_fids_number(folder), abs=1e-3, rel=0)
    assert ours == pytest.approx(defined, rel=1e-9, abs=0)


@pytest.fixture
def installed(tmp_path, monkeypatch, inception_weights: Path, clean_inception_weights: Path) -> None:
    """Both networks where weights are looked for, with their hashes pinned in the place of the real ones."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, path in (("INCEPTION", inception_weights), ("INCEPTION_TORCHSCRIPT", clean_inception_weights)):
        (folder / path.name).symlink_to(path)
        entry = dataclasses.replace(getattr(standard, name), sha256=hash_file(path), size=path.stat().st_size)
        monkeypatch.setattr(standard, name, entry)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(folder))


@pytest.mark.usefixtures("installed")
def test_the_command_compares_folders_and_statistics_as_pytorch_fid(
    tmp_path, apfgan, made: Path, pytorch_fids_number: Callable[[Path], float]
) -> None:
    ours, theirs, request = tmp_path / "ours.npz", tmp_path / "theirs.npz", ("--device", "cpu", "--json")
    code, out, _ = apfgan("fid", made / "generated", made / "real", "--convert", "--save-stats", ours, *request)
    found = json.loads(out)
    assert (code, found["images"], found["photos"]) == (0, 5, 14)
    assert found["judge"]["name"] == "fid/pytorch-fid"
    assert found["fid"]["value"] == pytest.approx(pytorch_fids_number(made), abs=1e-3, rel=0)
    assert found["fid"]["error"] > 0
    assert 0 <= found["precision"]["value"] <= 1
    assert "compare it with distances of 5 images only" in found["notes"][0]

    mean, covariance = pytorch_fid.fid_score.compute_statistics_of_path(str(ours), None, 1, WIDTH, "cpu")
    np.savez_compressed(theirs, mu=mean, sigma=covariance)  # as pytorch-fid writes it
    code, out, _ = apfgan("fid", made / "generated", theirs, *request)
    found = json.loads(out)
    assert (code, found["photos"], found["floor"]) == (0, None, None)
    assert found["fid"]["value"] == pytest.approx(pytorch_fids_number(made), abs=1e-3, rel=0)
    assert "kid" not in found  # needs the photos' features
    assert "does not say how they were made" in found["notes"][1]


@pytest.mark.usefixtures("installed")
def test_the_command_compares_a_zip_as_clean_fid(tmp_path, apfgan, made: Path, clean_fids_number: Callable[[Path], float]) -> None:
    kept, request = tmp_path / "real.npz", ("--protocol", "clean", "--device", "cpu")
    code, out, _ = apfgan("fid", made / "generated.zip", made / "real", "--convert", "--save-stats", kept, *request)
    assert code == 0
    number, error = re.search(r"^fid-clean +([\d.]+) ±([\d.]+)$", out, re.MULTILINE).groups()
    assert float(number) == pytest.approx(clean_fids_number(made), abs=1e-3, rel=0)
    raw, thousandfold = (float(re.search(rf"^{name} +(-?[\d.]+) ±", out, re.MULTILINE)[1]) for name in ("kid-clean", "kid-clean x1000"))
    assert 1000 * raw == pytest.approx(thousandfold, abs=1e-3)
    assert all(name in out for name in ("fid/clean: 5 images, 14 photos", "precision-clean", "recall-clean", "floor", "note: "))
    assert max(map(len, out.splitlines())) <= 80

    code, out, _ = apfgan("fid", made / "generated.zip", kept, "--json", *request)
    assert code == 0
    again = json.loads(out)
    assert (f"{again['fid-clean']['value']:.4f}", f"{again['fid-clean']['error']:.4f}") == (number, error)
    assert again["kid-clean"]["value"] == pytest.approx(raw, abs=1e-7)

    code, _, err = apfgan("fid", made / "generated.zip", kept, "--protocol", "pytorch-fid", "--device", "cpu")
    assert code == 3
    assert "a reference for fid-clean, and fid is to be measured" in err


@pytest.mark.usefixtures("installed")
def test_the_command_refuses_before_it_looks(tmp_path, apfgan, made: Path) -> None:
    code, out, err = apfgan("fid", made / "generated", made / "real", "--device", "cpu")
    assert (code, out) == (3, "")
    assert all(name in err for name in ("deep_grey.png", "print.jpg", "transparent.png", "turned.jpg", "--convert"))
    assert apfgan("fid", made / "generated", made / "real", "--save-stats", tmp_path / "real.txt", "--device", "cpu")[0] == 2
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "0.png").symlink_to(made / "generated" / "0.png")
    code, _, err = apfgan("fid", tmp_path / "one", made / "real", "--convert", "--device", "cpu")
    assert code == 3
    assert "holds 1 image" in err


def test_the_command_says_which_weights_are_missing(tmp_path, monkeypatch, apfgan) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    code, _, err = apfgan("fid", tmp_path, tmp_path, "--protocol", "clean")
    assert code == 4
    assert "inception-2015-12-05.pt, which is not here" in err


def made_features(count: int, width: int, *, seed: int, scale: float = 1.0) -> np.ndarray:
    """Like Inception's: float32, not negative, most of their variance along few axes."""
    random = np.random.default_rng(seed)
    axes = np.random.default_rng(0).normal(size=(min(64, width), width)) / np.arange(1, min(64, width) + 1)[:, np.newaxis]
    rows = random.normal(size=(count, len(axes))) @ axes * scale + random.normal(size=(count, width)) * 0.2 + 0.3
    return (0.4 * np.abs(rows)).astype(np.float32)


def assert_equal_distances(formula: FrechetDistance, generated: np.ndarray, photos: np.ndarray) -> None:
    with their_way():
        expected = formula(*statistics(generated), *statistics(photos))
    ours = distance(generated, Reference.fit(photos))
    assert ours == pytest.approx(expected, abs=1e-3, rel=0)
    assert ours == pytest.approx(defined_distance(generated, photos), rel=1e-9, abs=0)


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
@pytest.mark.parametrize(
    "images,photos",
    [(40, 300), (96, 300), (97, 300), (300, 400), (300, 50), (60, 50), (2, 2), (2, 300)],
    ids=["fewer", "as many", "one more", "more", "flat reference", "both flat", "least", "least images"],
)
def test_distance_below_and_above_the_number_of_features(formula: FrechetDistance, images: int, photos: int) -> None:
    assert_equal_distances(formula, made_features(images, 96, seed=1), made_features(photos, 96, seed=2, scale=1.1))


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_distance_of_degenerate_features(formula: FrechetDistance) -> None:
    photos = made_features(200, 64, seed=2)
    photos[:, 40:] = 0  # features that never fire
    one_picture = np.repeat(made_features(1, 64, seed=1), 30, axis=0)
    assert_equal_distances(formula, made_features(30, 64, seed=1), photos)
    with their_way():
        expected = formula(*statistics(one_picture), *statistics(photos))
    assert distance(one_picture, Reference.fit(photos)) == pytest.approx(expected, abs=1e-3, rel=0)


@pytest.mark.parametrize("formula,images", [(FORMULAS["pytorch-fid"], WIDTH + 100), (FORMULAS["clean-fid"], 300)], ids=["above", "below"])
def test_distance_at_full_width(formula: FrechetDistance, images: int) -> None:
    assert_equal_distances(formula, made_features(images, WIDTH, seed=1), made_features(WIDTH + 400, WIDTH, seed=2, scale=1.1))
