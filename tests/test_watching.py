"""A training with its watchers: they change nothing, survive every kill, and stop what is not worth going on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from apfgan import training
from apfgan.backend import load_arrays, state_arrays
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import Batch, TrainingPairs, find_pairs
from apfgan.errors import WeightsError
from apfgan.files import hash_file
from apfgan.images import encode_jpeg, encode_png
from apfgan.networks import Painter
from apfgan.players import Players
from apfgan.previews import Panel, load_panel
from apfgan.records import Estimate
from apfgan.runs import Run
from apfgan.sampling import drawing
from apfgan.schedule import Plan
from apfgan.training import Company, train
from apfgan.training_log import EpochRecord, Vitals, read_log

CONFIG = Config(
    data=DataConfig(classes=("a", "b", "c"), width=16, height=8, load_width=16),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0),
    train=TrainConfig(progressive_epochs=2, epochs=6, progressive_batch=3, batch=3, decay_epochs=2),
)
"""Epoch 1 holds the small size, 2 is at full size, 3 to 6 are augmented, 5 and 6 at lower rates."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    for number in range(6):
        label_map = source.integers(0, 3, (4, 8)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        photo = source.integers(0, 256, (16, 32, 3)).astype(np.uint8)
        for kind, suffix, content in (
            ("labels", "png", encode_png(label_map)),
            ("imgs", "jpg", encode_jpeg(photo, quality=95, subsampling="4:4:4")),
        ):
            path = folder / "train" / kind / f"{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def panel(data: Path) -> Panel:
    return load_panel(data, CONFIG.data)


def probe(painter: Painter) -> Estimate:
    """Something that follows from the weights, and from drawing mode."""
    with drawing(painter):
        assert not painter.training
        return Estimate(float(np.mean([np.abs(array).mean() for array in state_arrays(painter).values()])), 0.125)


def trained(
    path: Path,
    data: Path,
    panel: Panel | None = None,
    probe: Callable[[Painter], Estimate] | None = None,
    *,
    config: Config = CONFIG,
    until: int | None = None,
    patience: int = 3,
) -> tuple[Run, list[EpochRecord]]:
    run = Run.create(path, config)
    pairs = TrainingPairs(find_pairs(data), config.data)
    return run, list(train(run, pairs, until=until, company=Company(panel=panel, probe=probe, patience=patience)))


def weights(run: Run) -> dict[str, str]:
    return {path.name: hash_file(path) for path in run.checkpoints.iterdir() if path.suffix == ".safetensors" and "state" not in path.name}


def written(run: Run) -> dict[str, object]:
    """All that a training leaves, but for times."""
    previews = {path.name: hash_file(path) for path in run.previews.iterdir()}
    records = [replace(record, seconds=0.0) for record in read_log(run.training_log)]
    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0, "images": 0}).Reload()
    curves = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    rounded = {tag: [(step, float(f"{value:.4g}")) for step, value in points] for tag, points in curves.items()}
    pictures = [(event.step, event.encoded_image_string) for event in events.Images("preview")]
    return {"weights": weights(run), "previews": previews, "records": records, "curves": rounded, "pictures": pictures}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, data: Path, panel: Panel) -> tuple[Run, list[EpochRecord]]:
    return trained(tmp_path_factory.mktemp("watched") / "run", data, panel, probe)


def test_watchers_change_no_weight(tmp_path: Path, data: Path, watched: tuple[Run, list[EpochRecord]]) -> None:
    alone, records = trained(tmp_path / "run", data)
    assert weights(alone) == weights(watched[0])
    assert [record.losses for record in records] == [record.losses for record in watched[1]]
    assert all(record.vitals is None and record.probe is None for record in records)
    assert not alone.previews.exists()


def test_every_epoch_is_previewed_and_those_at_full_size_are_probed(watched: tuple[Run, list[EpochRecord]]) -> None:
    run, records = watched
    assert sorted(path.name for path in run.previews.iterdir()) == [*(f"epoch_000{epoch}.jpg" for epoch in range(1, 7)), "film.jpg"]
    assert all(record.vitals is not None and record.vitals.contrast > 0 for record in records)
    assert [record.epoch for record in records if record.probe is not None] == [2, 3, 4, 5, 6]
    rates = [record.generator_rate / CONFIG.train.generator_rate for record in records]
    assert rates[:4] == [1, 1, 1, 1] and 1 > rates[4] > rates[5] > 0
    assert [record.discriminator_rate / CONFIG.train.discriminator_rate for record in records] == pytest.approx(rates)


def test_a_kill_at_any_write_changes_nothing(
    tmp_path: Path,
    data: Path,
    panel: Panel,
    watched: tuple[Run, list[EpochRecord]],
    killed_at_flushes: Callable[[Callable[[], object], Iterable[int]], int],
) -> None:
    assert killed_at_flushes(lambda: trained(tmp_path / "run", data, panel, probe), range(7, 200, 3)) > 4
    assert written(Run.open(tmp_path / "run")) == written(watched[0])


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The contrast that the previews are found to have, epoch by epoch."""
    contrasts = [0.9, 0.9, 0.9, 0.01, 0.01, 0.01]
    monkeypatch.setattr(training, "measure_vitals", lambda images, panel: Vitals(contrasts.pop(0), 0.8, 0.1))
    return contrasts


def test_a_collapse_stops_it_and_stops_it_again(tmp_path: Path, data: Path, panel: Panel, dying: list[float]) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, epochs=9))
    message = r"collapsed: the images are flat.*no life in epoch 4 .*last good checkpoint is epoch 3 .*--fork .*@2"
    for _ in range(2):
        with pytest.raises(WeightsError, match=message):
            trained(tmp_path / "run", data, panel, config=config)
        assert [record.epoch for record in read_log(Run.open(tmp_path / "run").training_log)] == [1, 2, 3, 4, 5, 6]
    dying += [0.9, 0.9, 0.9]
    assert [record.epoch for record in trained(tmp_path / "run", data, panel, config=config, patience=0)[1]] == [7, 8, 9]


def test_a_collapse_in_the_last_epochs_is_told(tmp_path: Path, data: Path, panel: Panel, dying: list[float]) -> None:
    with pytest.raises(WeightsError, match="collapsed"):
        trained(tmp_path / "run", data, panel)


def test_weights_that_break_in_the_last_step_are_never_saved(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = Players.learn

    def learn_and_break(players: Players, batch: Batch, plan: Plan, *, index: int) -> Mapping[str, float]:
        losses = learn(players, batch, plan, index=index)
        if (plan.epoch, index) == (4, 1):
            arrays = state_arrays(players.painter)
            arrays["encoder.convs.0.weight"][0, 0] = np.nan
            load_arrays(players.painter, arrays, origin="test")
        return losses

    monkeypatch.setattr(Players, "learn", learn_and_break)
    with pytest.raises(WeightsError, match=r"epoch 4.*encoder\.convs\.0\.weight is not finite.*last good checkpoint is epoch 3 "):
        trained(tmp_path / "run", data)
    run = Run.open(tmp_path / "run")
    assert run.checkpoint_names()[-1] == "3" and len(read_log(run.training_log)) == 3
    monkeypatch.undo()
    assert trained(tmp_path / "run", data)[1][0].epoch == 4


def test_the_best_so_far_is_never_given_up(tmp_path: Path, data: Path) -> None:
    scores = iter([0.1, 0.9, 0.3, 0.2, 0.4])  # of epochs 2 to 6
    config = replace(CONFIG, train=replace(CONFIG.train, keep=1))
    run, _ = trained(tmp_path / "run", data, probe=lambda painter: Estimate(next(scores), 0.01), config=config)
    assert run.checkpoint_names() == ["0", "2", "3", "6"]
