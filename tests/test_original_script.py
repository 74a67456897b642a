"""The original's test script on its own files: an imported checkpoint, no noise, label maps in, JPEGs out, single-class photos put in."""

import json
import lzma
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from apfgan.backend import from_numpy, no_gradients, one_hot, to_numpy
from apfgan.candidates import Candidate
from apfgan.data import check_dataset, find_label_maps, load_label_map
from apfgan.images import decode_jpeg, encode_jpeg, read_photo
from apfgan.labels import Classes
from apfgan.original import config_for, read_painter, save_original
from apfgan.runs import Run
from apfgan.sampling import load_painter, to_pixels
from apfgan.single_class import Replacement, paste_photo, plan_replacements
from selection.candidate_weights import candidate_weights
from selection.sources import draw_images
from selection.studio import Studio

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens" / "A"
RECORDED = GOLDENS / "e2e"
pytestmark = pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not here")

CANDIDATE = Candidate.parse("merged")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The recorded files in the layout of a data set."""
    folder = tmp_path_factory.mktemp("data")
    for prefix, place in (("train_img_", "train/imgs"), ("train_label_", "train/labels"), ("test_label_", "test/labels")):
        (folder / place).mkdir(parents=True)
        for path in RECORDED.glob(f"{prefix}*"):
            shutil.copyfile(path, folder / place / path.name.removeprefix(prefix))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run with the original's settings and the checkpoint that the script drew with."""
    recorded = json.loads((RECORDED / "e2e.json").read_text())
    assert recorded["noise"] == "zero"
    folder = tmp_path_factory.mktemp("original")
    files = []
    for letter in "GE":
        files.append(folder / f"{recorded['checkpoint']}_net_{letter}.pkl")
        files[-1].write_bytes(lzma.decompress((GOLDENS / "ckpt" / f"{files[-1].name}.xz").read_bytes()))
    painter = read_painter(*files)
    run = Run.create(folder / "run", config_for(painter, width=512, height=384))
    save_original(run, CANDIDATE.base, painter)
    return run


@pytest.fixture(scope="module")
def drawn(run: Run, data: Path) -> dict[str, np.ndarray]:
    """What our networks draw for the label maps of which something drawn is to be seen."""
    paths = [path for path in find_label_maps(data / "test" / "labels") if path.stem != "t10"]
    drawn = draw_images(Studio(run, paths), CANDIDATE, paths, noise=False)
    return {stem: to_pixels(image, rounding=run.config.output.rounding) for stem, _, image in drawn}


@pytest.fixture(scope="module")
def given_z(run: Run, data: Path) -> dict[str, np.ndarray]:
    """The same behind the encoder's output that was recorded."""
    painter = load_painter(candidate_weights(Studio(run, ()), CANDIDATE), run.config, origin="the recording")

    def draw() -> Iterator[tuple[str, np.ndarray]]:
        for stem in ("t1", "t3"):
            onehot = one_hot(load_label_map(data / "test" / "labels" / f"{stem}.png", run.config.data)[np.newaxis], 29, device="cpu")
            z = from_numpy(np.load(RECORDED / f"z_{stem}.npy"), device="cpu")
            with no_gradients():
                image = to_numpy(painter.generator(z, onehot, noise=None, stage=None))[0]
            yield stem, to_pixels(image, rounding=run.config.output.rounding)

    return dict(draw())


def submitted(run: Run, pixels: np.ndarray) -> bytes:
    return encode_jpeg(pixels, quality=run.config.output.jpeg_quality, subsampling=run.config.output.jpeg_subsampling)


def differences(run: Run, pixels: np.ndarray, stem: str) -> np.ndarray:
    """Grey levels, int (384, 512, 3), between the JPEG of `pixels` and the recorded one, both decoded."""
    theirs = read_photo(RECORDED / f"result_{stem}.jpg").astype(int)
    assert theirs.shape == (384, 512, 3)
    return np.abs(decode_jpeg(submitted(run, pixels)).astype(int) - theirs)


def plan(run: Run, data: Path) -> dict[str, Replacement]:
    photos = check_dataset(data, Classes()).single_class
    maps = ((path.stem, load_label_map(path, run.config.data)) for path in find_label_maps(data / "test" / "labels"))
    return plan_replacements(maps, photos, Classes())


def replaced(run: Run, data: Path, stem: str, pixels: np.ndarray) -> np.ndarray:
    """`pixels` with the photo that the plan has for `stem`."""
    replacement = plan(run, data)[stem]
    label_map = load_label_map(data / "test" / "labels" / f"{stem}.png", run.config.data)
    return paste_photo(pixels, label_map, read_photo(data / "train" / "imgs" / str(replacement.photo)), class_id=replacement.class_id)


def test_the_dictionary_lists_the_photos_of_one_class(data: Path) -> None:
    report = check_dataset(data, Classes())
    assert report.problems == ()
    assert report.single_class == {3: ("a1.jpg", "a2.jpg"), 2: ("c9.jpg",)}


def test_who_gets_which_photo(run: Run, data: Path) -> None:
    assert [path.stem for path in find_label_maps(data / "test" / "labels")] == ["t1", "t2", "t3", "t10"]
    assert plan(run, data) == {"t2": Replacement(3, "a2.jpg"), "t10": Replacement(3, "a1.jpg")}  # t3 has 96.7 % of a class


@pytest.mark.parametrize("stem", ["t1", "t3"])
def test_jpegs_behind_the_recorded_encoder(run: Run, given_z: dict[str, np.ndarray], stem: str) -> None:
    assert differences(run, given_z[stem], stem).max() <= 2


@pytest.mark.parametrize(("stem", "largest"), [("t1", 13), ("t3", 29)])
def test_jpegs_of_our_own_encoder(run: Run, drawn: dict[str, np.ndarray], stem: str, largest: int) -> None:
    """Ours is exact; Jittor's instance norm is not where a channel hardly varies, and its program's own images show it (spec: method, 12.28)."""
    assert differences(run, drawn[stem], stem).max() <= largest + 2


def test_a_map_of_one_class_becomes_the_photo(run: Run, data: Path) -> None:
    grey = np.full((384, 512, 3), 128, dtype=np.uint8)
    pixels = replaced(run, data, "t10", grey)
    assert differences(run, pixels, "t10").max() == 0


def test_a_map_of_almost_one_class_keeps_the_rest_of_the_drawing(run: Run, data: Path, drawn: dict[str, np.ndarray]) -> None:
    found = differences(run, replaced(run, data, "t2", drawn["t2"]), "t2")
    label_map = load_label_map(data / "test" / "labels" / "t2.png", run.config.data)
    blocks = (label_map != 3).reshape(24, 16, 32, 16).any(axis=(1, 3))  # of 16x16 pixels: what JPEG mixes at 4:2:0 ...
    mixed = ndimage.binary_dilation(np.kron(blocks, np.ones((16, 16), dtype=bool)), np.ones((5, 5)))  # ... and how far colours reach beyond
    assert found[~mixed].max() == 0
    assert mixed.mean() < 0.02
    # Behind our own encoder, since this one's output was not recorded; the photo itself would be 68 levels off there on average.
    assert found[label_map != 3].mean() < 15
