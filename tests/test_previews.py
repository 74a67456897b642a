"""Previews: what they show, what they measure, and that training does not notice them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apfgan.backend import state_arrays
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import TrainingPairs, find_pairs
from apfgan.images import encode_jpeg, encode_png, read_photo
from apfgan.players import Players, plan_epoch
from apfgan.previews import FILM_EPOCHS, SUBJECTS, Panel, Subject, draw_panel, load_panel, measure_spread, measure_vitals, save_film, save_preview
from apfgan.runs import Run
from apfgan.sampling import load_painter, sample, to_pixels
from apfgan.schedule import Stage

CONFIG = Config(
    data=DataConfig(classes=("a", "b", "c"), width=32, height=16, load_width=32),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0),
    train=TrainConfig(progressive_epochs=4, epochs=6, progressive_batch=3, batch=3, generator_rate=1e-2, discriminator_rate=1e-2),
)
"""Epochs 1 and 2 hold the small size, 3 fades, 4 is at full size, 5 and 6 are augmented."""


def save_pair(folder: Path, stem: str, source: np.random.Generator, *, photo: bool = True) -> None:
    (folder / "imgs").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / f"{stem}.png").write_bytes(encode_png(source.integers(0, 3, (4, 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)))
    if photo:
        picture = source.integers(0, 256, (32, 64, 3)).astype(np.uint8)
        (folder / "imgs" / f"{stem}.jpg").write_bytes(encode_jpeg(picture, quality=95, subsampling="4:4:4"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    source = np.random.default_rng(0)
    for number in range(9):
        save_pair(tmp_path / "data" / "train", f"pair {number}", source)
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", CONFIG)


def panel_of(*colours: int, photo: int | None = None) -> Panel:
    """Subjects of one class each."""
    photos = None if photo is None else np.full((16, 32, 3), photo, np.uint8)
    return Panel(tuple(Subject(str(colour), np.full((16, 32), colour, np.uint8), photos) for colour in colours), (50.0, 50.0))


def plain_images(*levels: int) -> np.ndarray:
    return np.stack([np.full((16, 32, 3), level, np.uint8) for level in levels])


def cells(picture: np.ndarray, *, rows: int, columns: int) -> np.ndarray:
    """The middle pixel of each cell (rows, columns, 3)."""
    head = len(picture) - rows * (16 + 4)
    return np.array([[picture[head + row * 20 + 8, column * 36 + 16] for column in range(columns)] for row in range(rows)]).astype(int)


def learn(players: Players, pairs: TrainingPairs, epoch: int) -> None:
    plan = plan_epoch(epoch, CONFIG)
    players.begin(plan)
    for index, batch in enumerate(pairs.batches(epoch, batch=plan.batch, seed=0)):
        players.learn(batch, plan, index=index)


def test_training_does_not_notice(data: Path) -> None:
    pairs, panel = TrainingPairs(find_pairs(data), CONFIG.data), load_panel(data, CONFIG.data)
    watched, alone = Players(CONFIG, device="cpu"), Players(CONFIG, device="cpu")
    for epoch in range(1, 7):
        for players in (watched, alone):
            learn(players, pairs, epoch)
        images = draw_panel(watched.painter, panel, CONFIG, stage=plan_epoch(epoch, CONFIG).stage, device="cpu")
        assert images.std() > 0
        assert watched.painter.training and all(module.training for module in watched.painter.modules())
        expected = alone.arrays()
        for name, array in watched.arrays().items():
            assert array.tobytes() == expected[name].tobytes(), (epoch, name)


def test_a_painter_that_fails_to_draw_goes_on_training(data: Path) -> None:
    painter = Players(CONFIG, device="cpu").painter
    odd = Panel((Subject("odd", np.zeros((16, 31), np.uint8)),), (1.0, 1.0))
    with pytest.raises(ValueError, match="31x16"):
        draw_panel(painter, odd, CONFIG, stage=None, device="cpu")
    assert painter.training


def test_images_are_those_of_the_stage(data: Path) -> None:
    players, panel = Players(CONFIG, device="cpu"), load_panel(data, CONFIG.data)
    sizes = [draw_panel(players.painter, panel, CONFIG, stage=stage, device="cpu").shape for stage in (Stage(0), Stage(0, 0.5), None)]
    assert sizes == [(6, 8, 16, 3), (6, 16, 32, 3), (6, 16, 32, 3)]


def test_at_full_size_they_are_what_a_finished_painter_draws(data: Path) -> None:
    players, panel = Players(CONFIG, device="cpu"), load_panel(data, CONFIG.data)
    learn(players, TrainingPairs(find_pairs(data), CONFIG.data), 5)
    images = draw_panel(players.painter, panel, CONFIG, stage=None, device="cpu")
    finished = load_painter(state_arrays(players.painter), CONFIG, origin="test")
    maps = [(subject.stem, subject.label_map) for subject in panel.subjects]
    expected = [to_pixels(image, rounding="nearest") for _, _, image in sample(finished, maps, classes=3, seed=0)]
    assert (images == np.stack(expected)).all()
    assert (images == draw_panel(players.painter, panel, CONFIG, stage=None, device="cpu")).all()


def test_training_pairs_stand_in_where_there_are_no_test_maps(data: Path) -> None:
    panel = load_panel(data, CONFIG.data)
    stems = [subject.stem for subject in panel.subjects]
    assert len(stems) == SUBJECTS and stems[0] == "pair 0" and stems[-1] == "pair 8"
    assert stems == [subject.stem for subject in load_panel(data, CONFIG.data).subjects]
    for subject in panel.subjects:
        assert subject.label_map.shape == (16, 32)
        truth = Image.open(data / "train" / "imgs" / f"{subject.stem}.jpg").resize((32, 16), Image.Resampling.BICUBIC)
        assert subject.photo is not None and (subject.photo == np.asarray(truth)).all()


def test_test_maps_come_with_the_photos_that_are_known(data: Path) -> None:
    source = np.random.default_rng(1)
    for stem in ("x", "y"):
        save_pair(data / "test", stem, source, photo=stem == "y")
    assert [(subject.stem, subject.photo is None) for subject in load_panel(data, CONFIG.data).subjects] == [("x", True), ("y", False)]
    for path in (data / "test" / "imgs").iterdir():
        path.unlink()
    (data / "test" / "imgs").rmdir()
    assert [subject.photo for subject in load_panel(data, CONFIG.data).subjects] == [None, None]


def test_a_preview_shows_maps_photos_and_images(run: Run) -> None:
    save_preview(run, panel_of(0, 2, photo=200), plain_images(60, 120), epoch=7)
    picture = read_photo(run.previews / "epoch_0007.jpg")
    assert picture.shape[1] == 3 * 36
    found = cells(picture, rows=2, columns=3)
    colours = CONFIG.data.label_classes.colours.astype(int)
    expected = [[colours[0], [200] * 3, [60] * 3], [colours[2], [200] * 3, [120] * 3]]
    assert np.abs(found - np.array(expected)).max() <= 6
    caption = picture[: len(picture) - 40, 72:]
    assert caption.max() > 150, "the epoch's number stands above its column"


def test_photos_have_no_column_where_none_is_known(run: Run) -> None:
    save_preview(run, panel_of(0, 2), plain_images(60, 120), epoch=7)
    assert read_photo(run.preview_path(7)).shape[1] == 2 * 36


def test_small_images_are_enlarged_pixel_by_pixel(run: Run) -> None:
    small = np.zeros((1, 8, 16, 3), np.uint8)
    small[:, :, 8:] = 200
    save_preview(run, panel_of(1), small, epoch=1)
    image = read_photo(run.preview_path(1))[-20:-4, 36:68].astype(int)
    assert image[:, :15].max() < 25 and image[:, 17:].min() > 175


def test_the_film_shows_first_last_and_evenly_between(run: Run) -> None:
    panel = panel_of(0, 2, photo=200)
    for epoch in range(1, 31):
        save_preview(run, panel, plain_images(8 * epoch, 0), epoch=epoch)
    film = read_photo(run.previews / "film.jpg")
    assert film.shape[1] == (2 + FILM_EPOCHS) * 36
    shown = cells(film, rows=2, columns=2 + FILM_EPOCHS)[0, 2:, 0]
    assert (np.abs(shown - 8 * np.linspace(1, 30, FILM_EPOCHS).round()) <= 6).all()


def test_the_film_passes_over_later_epochs_and_other_panels(run: Run) -> None:
    save_preview(run, panel_of(0), plain_images(30), epoch=1)  # a map fewer than from then on
    for epoch in (2, 3, 4):
        save_preview(run, panel_of(0, 2), plain_images(60 * epoch, 0), epoch=epoch)
    save_film(run, until=3)
    film = read_photo(run.previews / "film.jpg")
    assert film.shape[1] == 3 * 36
    assert np.abs(cells(film, rows=2, columns=3)[0, 1:, 0] - [120, 180]).max() <= 6


def test_a_wide_film_is_shrunk(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "wide", replace(CONFIG, data=replace(CONFIG.data, width=512, height=384, load_width=512)))
    subject = Subject("0", np.zeros((384, 512), np.uint8))
    for epoch in range(1, 6):
        save_preview(run, Panel((subject,), (1.0, 1.0)), np.zeros((1, 384, 512, 3), np.uint8), epoch=epoch)
    assert read_photo(run.previews / "film.jpg").shape[1] == 2400


def test_spread_agrees_with_its_definition() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 3)).astype(np.uint8)
    within = np.sqrt(np.mean([images[n, :, :, c].astype(float).var() for n in range(5) for c in range(3)]))
    between = np.sqrt(np.mean([images[:, y, x, c].astype(float).var(ddof=1) for y in range(7) for x in range(9) for c in range(3)]))
    assert measure_spread(images) == pytest.approx((within, between))
    assert measure_spread(images[:1])[1] == 0


def test_vitals_of_photos_and_of_the_dead() -> None:
    source = np.random.default_rng(0)
    photos = source.integers(0, 256, (6, 16, 32, 3)).astype(np.uint8)
    panel = replace(panel_of(0), photos=measure_spread(photos))
    vitals = measure_vitals(photos, panel)
    assert (vitals.contrast, vitals.variety) == (1, 1) and vitals.plain < 0.01
    flat = measure_vitals(plain_images(10, 90, 250), panel)
    assert flat.contrast == 0 and flat.variety > 1 and flat.plain == 1
    copies = measure_vitals(np.stack([photos[0]] * 6), panel)
    assert copies.contrast > 0.9 and copies.variety == 0 and copies.plain < 0.01
    pinned = measure_vitals(source.choice([0, 255], (6, 4, 4, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8), panel)
    assert pinned.contrast > 1 and pinned.variety > 1 and pinned.plain > 0.85


def test_photos_that_do_not_vary_ask_for_nothing() -> None:
    vitals = measure_vitals(plain_images(10, 10), replace(panel_of(0), photos=(0.0, 0.0)))
    assert (vitals.contrast, vitals.variety) == (1, 1)


def test_a_single_image_has_nothing_to_be_like() -> None:
    image = np.zeros((1, 4, 6, 3), dtype=np.uint8)
    image[0, :2] = 200
    assert measure_vitals(image, Panel((), (50.0, 40.0))).variety == 1.0
    assert measure_vitals(image.repeat(2, axis=0), Panel((), (50.0, 40.0))).variety == 0.0
