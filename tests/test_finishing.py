"""What drawings pass before they are judged: photos in the place of some, and an encoder; checked pixel by pixel with Pillow."""

import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apfgan import sampling
from apfgan.backend import state_arrays
from apfgan.candidates import Candidate
from apfgan.checkpoints import save_checkpoint
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import find_label_maps
from apfgan.errors import DataError, UsageError
from apfgan.networks import build_painter
from apfgan.runs import Run
from selection import sources
from selection.finishing import replacement_note
from selection.generating import Format, generate_images
from selection.sources import GeneratorSource, KeptDrawings
from selection.studio import Studio

PICO = Config(
    data=DataConfig(classes=("sky", "sea", "land"), width=32, height=24, load_width=32),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0, seg_noise_init="xavier"),
    train=TrainConfig(progressive_epochs=1, epochs=2),
)
SEA, LAND = 1, 2
GIVEN_WAY = {"t2": "a10", "t10": "a9", "t20": "a1"}
"""Label maps of sea in natural order, and photos of sea, the last first."""


def write_map(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids.astype(np.uint8)).save(path)


def write_photo(path: Path, *, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 20, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three photos of sea, and four label maps of it; one label map of land, of which there is no photo."""
    folder, source = tmp_path / "data", np.random.default_rng(0)
    for seed, (stem, ids) in enumerate(
        {"a1": np.full((12, 20), SEA), "a9": np.full((12, 20), SEA), "a10": np.full((12, 20), SEA), "b": source.integers(0, 3, (12, 20))}.items()
    ):
        write_map(folder / f"train/labels/{stem}.png", ids)
        write_photo(folder / f"train/imgs/{stem}.png", seed=seed)
    almost = np.full((24, 32), SEA)
    almost[:3, :5] = LAND  # 15 of 768 pixels: 98.05 % are sea
    mixed = almost.copy()
    mixed[3, 0] = LAND  # 97.9 %
    whole = np.full((24, 32), SEA)
    label_maps = {"t1": mixed, "t2": almost, "t10": whole, "t20": whole, "t30": whole, "u": np.full((24, 32), LAND)}
    for stem, ids in label_maps.items():
        write_map(folder / f"test/labels/{stem}.png", ids)
    return folder


@pytest.fixture
def studio(data: Path, tmp_path: Path) -> Studio:
    run = Run.create(tmp_path / "run", PICO)
    for epoch in (1, 2):
        save_checkpoint(run, str(epoch), state_arrays(build_painter(PICO, seed=epoch)), epoch=epoch)
    return Studio(run, find_label_maps(data / "test" / "labels"), data)


def drawn(studio: Studio, candidate: str, label_maps: Sequence[Path] | None = None) -> dict[str, bytes]:
    source = GeneratorSource(studio, Candidate.parse(candidate))
    return {each.stem: each.encoded for each in source.draw(studio.label_maps if label_maps is None else label_maps)}


def generated(studio: Studio, candidate: str, folder: Path, form: Format) -> dict[str, Path]:
    generate_images(studio, Candidate.parse(candidate), folder, form=form)
    return {path.stem: path for path in folder.glob(f"*.{form}")}


def jpeg(pixels: np.ndarray, *, quality: int, subsampling: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def by_hand(studio: Studio, plain: dict[str, Path]) -> dict[str, np.ndarray]:
    """The plain drawings with the photos put in."""
    assert studio.training_set is not None
    pixels = {stem: np.array(Image.open(path)) for stem, path in plain.items()}
    for stem, photo in GIVEN_WAY.items():
        stretched = np.asarray(Image.open(studio.training_set / f"train/imgs/{photo}.png").resize((32, 24), Image.Resampling.BICUBIC))
        ids = np.asarray(Image.open(studio.training_set / f"test/labels/{stem}.png"))
        pixels[stem][ids == SEA] = stretched[ids == SEA]
    return pixels


def test_photos_stand_in_before_the_encoder(studio, tmp_path):
    plain = generated(studio, "1", tmp_path / "plain", "png")
    expected = {stem: jpeg(pixels, quality=75, subsampling=2) for stem, pixels in by_hand(studio, plain).items()}
    found = drawn(studio, "1~photos")
    assert found == expected
    untouched = drawn(studio, "1")
    assert {stem for stem in found if found[stem] != untouched[stem]} == GIVEN_WAY.keys()


def test_an_image_gets_the_same_photo_alone_again_and_in_any_order(studio):
    together = drawn(studio, "1~photos")
    shuffled = replace(studio, label_maps=studio.label_maps[::-1])
    assert drawn(shuffled, "1~photos")["t2"] == together["t2"]
    for path in studio.label_maps:
        if path.stem in ("t10", "t20"):  # of which nothing drawn is left
            assert drawn(shuffled, "1~photos", [path]) == {path.stem: together[path.stem]} == drawn(studio, "2~photos@7", [path])


def test_generate_shows_what_is_judged(studio, tmp_path):
    for candidate in ("1~photos", "1~q90-444~photos@3"):
        shown = generated(studio, candidate, tmp_path / "jpg", "jpg")
        assert {stem: path.read_bytes() for stem, path in shown.items()} == drawn(studio, candidate)
    plain = generated(studio, "1", tmp_path / "plain", "png")
    for stem, path in generated(studio, "1~q90-444~photos", tmp_path / "png", "png").items():
        np.testing.assert_array_equal(np.asarray(Image.open(path)), by_hand(studio, plain)[stem])
    with pytest.raises(UsageError, match=r"npy holds what the generator itself draws.*--format png"):
        generated(studio, "1~photos", tmp_path / "npy", "npy")
    assert not (tmp_path / "npy").exists()


def test_a_candidate_has_an_encoder_of_its_own(studio, tmp_path):
    plain = generated(studio, "1", tmp_path / "plain", "png")
    found = drawn(studio, "1~q90-444")
    assert found == {stem: jpeg(np.asarray(Image.open(path)), quality=90, subsampling=0) for stem, path in plain.items()}
    assert GeneratorSource(studio, Candidate.parse("1~q90-444")).encoding == {"format": "JPEG", "quality": 90, "subsampling": "4:4:4"}


RECORDED = Path(__file__).parents[2] / "shared" / "goldens" / "A" / "e2e"


@pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not here")
def test_the_original_program_shows_the_same_photos(tmp_path):
    """Its own JPEGs, for a label map of nothing but sea and, away from the other pixels, for one of 99 % sea."""
    for prefix, place in (("train_img_", "train/imgs"), ("train_label_", "train/labels"), ("test_label_", "test/labels")):
        (tmp_path / place).mkdir(parents=True)
        for path in RECORDED.glob(f"{prefix}*"):
            shutil.copyfile(path, tmp_path / place / path.name.removeprefix(prefix))
    config = Config(data=DataConfig(width=512, height=384), model=replace(PICO.model, upsamplings=5), train=PICO.train)
    run = Run.create(tmp_path / "run", config)
    save_checkpoint(run, "1", state_arrays(build_painter(config, seed=0)), epoch=1)
    studio = Studio(run, find_label_maps(tmp_path / "test/labels"), tmp_path)
    found = drawn(studio, "1~photos", [path for path in studio.label_maps if path.stem in ("t2", "t10")])
    for stem, share in (("t10", 1.0), ("t2", 0.97)):
        theirs = np.asarray(Image.open(RECORDED / f"result_{stem}.jpg"))
        ours = np.asarray(Image.open(io.BytesIO(found[stem])))
        assert (ours == theirs).all(axis=2).mean() >= share


def identity(studio: Studio, candidate: str = "1~photos") -> object:
    return GeneratorSource(studio, Candidate.parse(candidate)).identity


def test_the_identity_is_content(studio, data, tmp_path):
    known = identity(studio)
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    assert identity(replace(studio, training_set=moved, label_maps=studio.label_maps[::-1])) == known
    assert identity(studio, "1~q75-420~photos") == known  # the run's own encoder
    different = [identity(studio, "1"), identity(studio, "1~q75-444~photos"), identity(replace(studio, label_maps=studio.label_maps[:3]))]
    write_photo(moved / "train/imgs/a9.png", seed=99)
    different.append(identity(replace(studio, training_set=moved)))
    assert all(each != known for each in different)
    write_photo(moved / "train/imgs/b.png", seed=98)  # no photo of a single class
    assert identity(replace(studio, training_set=moved)) == different[-1]


def test_where_no_drawing_gives_way_it_is_the_plain_candidate(studio, data):
    mixed_only = replace(studio, label_maps=studio.label_maps[:1])
    assert identity(mixed_only) == identity(mixed_only, "1")
    for stem in ("a1", "a9", "a10"):
        for path in (data / f"train/imgs/{stem}.png", data / f"train/labels/{stem}.png"):
            path.unlink()
    without = replace(studio)
    assert identity(without) == identity(without, "1")
    assert drawn(without, "1~photos") == drawn(without, "1")


def test_the_training_set_must_be_known_and_must_not_change_under_way(studio, data):
    with pytest.raises(UsageError, match=r"~photos needs the training set.*apfgan score --run .* --data DATA"):
        identity(replace(studio, training_set=None))
    assert identity(replace(studio, training_set=None), "1")
    source = GeneratorSource(studio, Candidate.parse("1~photos"))
    assert source.finish.stand_ins.keys() == GIVEN_WAY.keys()
    write_photo(data / "train/imgs/a9.png", seed=99)
    with pytest.raises(DataError, match=r"a9\.png: changed since the training set was surveyed"):
        list(source.draw(studio.label_maps))


def test_the_note_counts(studio, data):
    def note(candidate: str, label_maps: Sequence[Path]) -> str | None:
        return replacement_note(replace(studio, label_maps=label_maps), Candidate.parse(candidate))

    maps = studio.label_maps
    assert [path.stem for path in maps] == ["t1", "t2", "t10", "t20", "t30", "u"]
    assert note("1", maps) is None
    begin = "in 1~photos@2, training photos of a single class stand in for"
    assert note("1~photos@2", maps) == f"{begin} 3 of 6 drawings (sea 3); 2 more stay drawings, no photo of their class was left"
    assert note("1~photos@2", maps[:3]) == f"{begin} 2 of 3 drawings (sea 2)"
    assert note("1~q90-444~photos", maps[:1]) == "1~q90-444~photos is the same as 1~q90-444: no label map is of one class almost everywhere"
    assert note("1~photos", maps[5:]) == "1~photos is the same as 1: for the 1 drawings of almost one class there is no photo of it"
    for stem in ("a1", "a9", "a10"):
        write_map(data / f"train/labels/{stem}.png", np.arange(240).reshape(12, 20) % 2)
    assert note("1~photos", maps) == "1~photos is the same as 1: no training photo is of a single class"


def test_kept_drawings_are_drawn_once_and_finished_again(studio, monkeypatch):
    names = ["1@5", "1~q90-444@5", "1~q50-420~photos@5"]
    expected = {name: drawn(studio, name) for name in [*names, "1", "2@5"]}
    kept, sampled = KeptDrawings(studio), []

    def sample(painter: object, label_maps: Iterable[tuple[str, np.ndarray]], **options: Any) -> Iterator[Any]:
        for each in sampling.sample(painter, label_maps, **options):
            sampled.append(each[0])
            yield each

    monkeypatch.setattr(sources, "sample", sample)

    def finished(name: str, label_maps: Sequence[Path]) -> dict[str, bytes]:
        return {each.stem: each.encoded for each in GeneratorSource(studio, Candidate.parse(name), kept).draw(label_maps)}

    assert finished(names[0], studio.label_maps[:4]) == {path.stem: expected[names[0]][path.stem] for path in studio.label_maps[:4]}
    for name in names:
        assert finished(name, studio.label_maps) == expected[name] == finished(name, studio.label_maps[::-1])
    assert sampled == ["t1", "t2", "t10", "t20", "t30", "u"]
    for name in ("1", "2@5", "1@5"):  # other noise, other weights: each takes the place of what was kept
        sampled.clear()
        assert finished(name, studio.label_maps) == expected[name] and len(sampled) == 6
