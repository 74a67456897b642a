"""Training of pico networks: phases, checkpoints, exact resumption, refusals; and that it learns."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from apfgan.backend import load_arrays, no_gradients, one_hot, set_training, to_numpy
from apfgan.checkpoints import load_manifest, load_weights
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import Batch, TrainingPairs, find_pairs
from apfgan.errors import UsageError, WeightsError
from apfgan.files import hash_file, hash_value
from apfgan.networks.perceptual import Vgg19
from apfgan.players import Players, plan_epoch
from apfgan.randomness import random_source
from apfgan.runs import Run
from apfgan.training import Company, fork, never, train
from apfgan.training_log import EpochRecord
from apfgan.training_state import load_state

CONFIG = Config(
    data=DataConfig(classes=("a", "b", "c"), width=16, height=8, load_width=16),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2),
    train=TrainConfig(
        progressive_epochs=4,
        epochs=6,
        progressive_batch=3,
        batch=2,
        generator_rate=1e-3,
        discriminator_rate=1e-3,
        save_progressive_every=3,
        ema=(0.1,),
    ),
)
"""Epochs 1 and 2 hold the small size, 3 fades, 4 is at full size, 5 and 6 are augmented."""


@dataclass
class PicoPairs:
    """Six photos in memory whose colour is that of the pixel's class."""

    count: int = 6
    height: int = 8
    width: int = 16
    spoilt_epoch: int = 0
    """In this epoch the photos hold NaN."""

    @property
    def fingerprint(self) -> str:
        return hash_value(["pico", self.count])

    def __len__(self) -> int:
        return self.count

    def batch_count(self, batch: int) -> int:
        return max(1, self.count // batch)

    def batches(self, epoch: int, *, batch: int, seed: int, skip: int = 0, rows: slice = slice(None)) -> Iterator[Batch]:
        label_maps = (
            random_source("maps").integers(0, 3, (self.count, self.height // 2, self.width // 2)).repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)
        )
        colours = np.array([[-0.8, 0.5, 0], [0.7, -0.6, 0.2], [0.1, 0.4, -0.9]], dtype=np.float32)
        photos = colours[label_maps].transpose(0, 3, 1, 2)
        if epoch == self.spoilt_epoch:
            photos = photos * np.float32(np.nan)
        order = random_source(seed, epoch, "order").permutation(self.count)
        for index in range(skip, self.batch_count(batch)):
            chosen = order[index * batch : (index + 1) * batch][rows]
            yield Batch(np.ascontiguousarray(photos[chosen]), label_maps[chosen], tuple(str(number) for number in chosen))


def trained(
    path: Path, config: Config = CONFIG, *, until: int | None = None, pairs: PicoPairs | None = None, stop: Callable[[], bool] = never
) -> tuple[Run, list[EpochRecord]]:
    run = Run.create(path, config)
    return run, list(train(run, pairs or PicoPairs(), until=until, company=Company(stop=stop)))


def contents(run: Run) -> dict[str, str]:
    """Hash of every file that training writes, but for the seconds in its log."""
    hashes = {path.name: hash_file(path) for path in run.checkpoints.iterdir()}
    return hashes | {"log": json.dumps([{name: value for name, value in row.items() if name != "seconds"} for row in log(run)])}


def log(run: Run) -> list[dict[str, str]]:
    with run.training_log.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[EpochRecord]]:
    """Trained without interruption."""
    return trained(tmp_path_factory.mktemp("straight"))


def test_records_tell_of_every_epoch(straight: tuple[Run, list[EpochRecord]]) -> None:
    run, records = straight
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record.phase for record in records] == ["progressive"] * 4 + ["augmented"] * 2
    assert [record.level for record in records] == [0, 0, 1, 1, 1, 1]
    assert [record.images for record in records] == [6] * 6
    names = ["adversarial", "feature_matching", "discriminator_fake", "discriminator_real"]
    assert all(list(record.losses) == names and all(np.isfinite(list(record.losses.values()))) for record in records)
    rows = log(run)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, record in zip(rows, records, strict=True):
        assert (row["phase"], int(row["level"]), int(row["images"])) == (record.phase, record.level, record.images)
        assert {name: float(row[name]) for name in names} == pytest.approx(record.losses, rel=1e-5)
        assert row["perceptual"] == ""


def test_checkpoints_are_the_first_the_last_of_each_phase_and_every_so_many(straight: tuple[Run, list[EpochRecord]]) -> None:
    run, _ = straight
    assert run.checkpoint_names() == ["0", "3", "4", "5", "6", "3-ema0.1", "4-ema0.1", "5-ema0.1", "6-ema0.1"]
    manifests = [load_manifest(run, name) for name in run.checkpoint_names()[:5]]
    assert [manifest.epoch for manifest in manifests] == [0, 3, 4, 5, 6]
    assert [manifest.step for manifest in manifests] == [0, 6, 8, 11, 14]
    assert [manifest.phase for manifest in manifests] == ["progressive"] * 3 + ["augmented"] * 2
    assert {manifest.data for manifest in manifests} == {PicoPairs().fingerprint}
    assert all(name.startswith(("generator.", "encoder.")) for name in load_weights(run, "6"))


def test_noise_is_silent_in_the_first_phase_and_learns_in_the_second(straight: tuple[Run, list[EpochRecord]]) -> None:
    run, _ = straight

    def noise(epoch: str) -> dict[str, np.ndarray]:
        return {name: array for name, array in load_weights(run, epoch).items() if ".noise." in name}

    assert not any(array.any() for array in noise("4").values())
    assert all(array.any() for name, array in noise("5").items() if name.endswith("weight"))
    assert any((array != noise("5")[name]).any() for name, array in noise("6").items())


def test_the_second_phase_begins_with_fresh_optimisers(tmp_path: Path) -> None:
    counts = []
    for until in (4, 5):
        run, _ = trained(tmp_path / "run", until=until)
        arrays = load_file(run.checkpoints / "training_state.safetensors")
        counts.append(int(arrays["players.painter_optimizer.encoder.convs.0.weight.steps"]))
    assert counts == [8, 3]


def test_a_new_discriminator_starts_from_the_one_below() -> None:
    players = Players(CONFIG, device="cpu")
    before = players.arrays()
    players.begin(plan_epoch(2, CONFIG))
    assert all((array == before[name]).all() for name, array in players.arrays().items())
    players.begin(plan_epoch(3, CONFIG))
    after = players.arrays()
    assert (after["discriminators.levels.1.predict.weight"] == before["discriminators.levels.0.predict.weight"]).all()
    assert (after["discriminators.levels.1.grow.0.weight"] == before["discriminators.levels.1.grow.0.weight"]).all()


@pytest.mark.parametrize("stops", [(2,), (1, 3, 4, 5)])
def test_stopping_and_going_on_changes_nothing(tmp_path: Path, straight: tuple[Run, list[EpochRecord]], stops: tuple[int, ...]) -> None:
    epochs = []
    for until in (*stops, None):
        run, records = trained(tmp_path / "run", until=until)
        epochs += [record.epoch for record in records]
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert contents(run) == contents(straight[0])
    assert trained(tmp_path / "run")[1] == []


def test_stopping_at_any_batch_changes_nothing(tmp_path: Path, straight: tuple[Run, list[EpochRecord]]) -> None:
    """In both phases and at their boundary: it stops after every batch, and the next start goes on with the one behind it."""
    epochs = []
    for _ in range(14):  # as many as there are batches in all
        run, records = trained(tmp_path / "run", stop=lambda: True)
        epochs += [record.epoch for record in records]
        assert (state := load_state(run, data=PicoPairs().fingerprint)) and state.position.batches > 0
    assert epochs == [1, 2, 3, 4, 5]
    _, records = trained(tmp_path / "run")
    assert [record.epoch for record in records] == [6]
    assert contents(run) == contents(straight[0])


def test_a_kill_at_any_write_changes_nothing(
    tmp_path: Path, straight: tuple[Run, list[EpochRecord]], killed_at_flushes: Callable[[Callable[[], object], Iterable[int]], int]
) -> None:
    """The process vanishes at the n-th time that something is flushed to the disk, for every n in turn, and training goes on each time."""
    assert killed_at_flushes(lambda: trained(tmp_path / "run"), range(1, 200)) > 5
    assert contents(Run.open(tmp_path / "run")) == contents(straight[0])


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_training
from apfgan import training

save, saved = training.save_state, []
def die_before_the_state_of_epoch_3(*arguments, **options):
    saved.append(1)
    if len(saved) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments, **options)
training.save_state = die_before_the_state_of_epoch_3
test_training.trained(Path(sys.argv[1]))
"""


def test_a_killed_process_is_continued_to_the_same_weights(tmp_path: Path, straight: tuple[Run, list[EpochRecord]]) -> None:
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "run"), str(here), str(here.parent)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    run = Run.open(tmp_path / "run")
    assert "3" in run.checkpoint_names()  # epoch 3 was saved, but is not finished
    _, records = trained(tmp_path / "run")
    assert [record.epoch for record in records] == [3, 4, 5, 6]
    assert contents(run) == contents(straight[0])


def test_other_pairs_are_refused(tmp_path: Path) -> None:
    trained(tmp_path, until=1)
    with pytest.raises(UsageError, match="other pairs"):
        trained(tmp_path, pairs=PicoPairs(count=5))


def test_other_settings_are_refused(tmp_path: Path) -> None:
    run, _ = trained(tmp_path, until=1)
    run.config_path.write_text(run.config_path.read_text().replace("generator_rate = 0.001", "generator_rate = 0.002"))
    with pytest.raises(UsageError, match=r"train\.generator_rate: 0\.001 -> 0\.002"):
        list(train(Run.open(tmp_path), PicoPairs()))


@pytest.mark.parametrize("damage", ["flip", "epoch", "truncate", "empty", "remove"])
def test_a_damaged_state_is_refused_and_nothing_overwritten(tmp_path: Path, damage: str) -> None:
    run, _ = trained(tmp_path, until=4)
    state = run.checkpoints / "training_state.safetensors"
    content = bytearray(state.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    if damage == "remove":
        state.unlink()
    else:
        state.write_bytes(
            {"flip": bytes(content), "epoch": content.replace(b'"epoch\\": 4', b'"epoch\\": 5'), "truncate": bytes(content[:-100]), "empty": b""}[
                damage
            ]
        )
    before = contents(run)
    with pytest.raises(WeightsError, match=r"training_state\.safetensors is (damaged|missing).*--run"):
        trained(tmp_path)
    assert contents(run) == before


def test_a_state_of_other_networks_is_refused(tmp_path: Path) -> None:
    other = replace(CONFIG, model=replace(CONFIG.model, width=8))
    run, _ = trained(tmp_path / "one", until=1)
    foreign = Players(other, device="cpu").arrays()
    players = Players(CONFIG, device="cpu")
    with pytest.raises(WeightsError, match="width 8, expected 4"):
        players.load(foreign, origin=str(run.path))


@pytest.mark.parametrize("epoch", [2, 6])
def test_a_loss_that_is_not_finite_stops_training(tmp_path: Path, epoch: int) -> None:
    with pytest.raises(WeightsError) as caught:
        trained(tmp_path, pairs=PicoPairs(spoilt_epoch=epoch))
    message = str(caught.value)
    assert f"epoch {epoch}, batch 1" in message and "nan" in message
    assert f"last good checkpoint is epoch {0 if epoch == 2 else 5}" in message
    assert len(log(Run.open(tmp_path))) == epoch - 1


def test_spectral_norm_resumes_exactly(tmp_path: Path) -> None:
    config = replace(CONFIG, model=replace(CONFIG.model, spectral_norm=True))
    straight, _ = trained(tmp_path / "straight", config)
    trained(tmp_path / "stopped", config, until=3)
    resumed, _ = trained(tmp_path / "stopped", config)
    assert contents(resumed) == contents(straight)


def test_perceptual_loss_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, perceptual_at_any_size: None) -> None:
    class PicoVgg(Vgg19):
        def forward(self, images: object) -> list:
            return [images] * 5

    monkeypatch.setattr("apfgan.players.load_perceptual", lambda name, settings, *, device: PicoVgg())
    changed = {"progressive_perceptual": "vgg19", "perceptual": "vgg19", "vgg19_weights": "vgg19.pth", "perceptual_weight": 3.0}
    records = [
        trained(tmp_path / str(weight), replace(CONFIG, train=replace(CONFIG.train, **changed | {"perceptual_weight": weight})))[1]
        for weight in (3, 6)
    ]
    assert records[1][0].losses["perceptual"] == pytest.approx(2 * records[0][0].losses["perceptual"], rel=0.05)
    assert records[0][-1].losses["perceptual"] != records[1][-1].losses["perceptual"]


def test_missing_perceptual_weights_are_named(tmp_path: Path, perceptual_at_any_size: None) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, perceptual="vgg19", vgg19_weights=str(tmp_path / "vgg19.pth")))
    with pytest.raises(WeightsError, match=r"vgg19\.pth"):
        trained(tmp_path / "run", config)


def test_a_fork_goes_on_with_other_settings(tmp_path: Path, straight: tuple[Run, list[EpochRecord]]) -> None:
    """From the end of the first phase: with the same settings it ends where the run itself did, with others elsewhere."""
    same = Run.create(tmp_path / "same", CONFIG)
    assert fork(same, PicoPairs(), straight[0], epoch=4) == 4
    assert same.checkpoint_names() == ["4", "4-ema0.1"]
    assert load_manifest(same, "4").sha256 == load_manifest(straight[0], "4").sha256
    assert [record.epoch for record in train(same, PicoPairs())] == [5, 6]
    for name in ("5", "6", "6-ema0.1"):
        assert load_manifest(same, name).sha256 == load_manifest(straight[0], name).sha256

    config = replace(CONFIG, train=replace(CONFIG.train, generator_rate=2e-3, epochs=7, ema=(0.1, 0.2)))
    other = Run.create(tmp_path / "other", config)
    fork(other, PicoPairs(), straight[0], epoch=4)
    assert [record.epoch for record in train(other, PicoPairs())] == [5, 6, 7]
    assert load_manifest(other, "6").sha256 != load_manifest(straight[0], "6").sha256
    assert "7-ema0.2" in other.checkpoint_names()


def test_a_fork_begins_an_unfinished_epoch_anew(tmp_path: Path) -> None:
    source, _ = trained(tmp_path / "source", stop=lambda: True)
    run = Run.create(tmp_path / "fork", CONFIG)
    assert fork(run, PicoPairs(), source) == 0
    assert [record.epoch for record in train(run, PicoPairs(), until=2)] == [1, 2]


def test_what_cannot_be_forked_is_explained(tmp_path: Path, straight: tuple[Run, list[EpochRecord]]) -> None:
    fresh = Run.create(tmp_path / "fresh", CONFIG)
    with pytest.raises(UsageError, match="never trained"):
        fork(fresh, PicoPairs(), Run.create(tmp_path / "empty", CONFIG))
    with pytest.raises(UsageError, match=r"at epoch 5.*kept at 4, 6 only"):
        fork(fresh, PicoPairs(), straight[0], epoch=5)
    with pytest.raises(UsageError, match="was trained already"):
        fork(straight[0], PicoPairs(), straight[0])
    wide = Run.create(tmp_path / "wide", replace(CONFIG, model=replace(CONFIG.model, width=8)))
    with pytest.raises(WeightsError, match="width 4, expected 8"):
        fork(wide, PicoPairs(), straight[0])
    assert not (wide.checkpoints / "training_state.safetensors").exists()


def test_only_the_latest_checkpoints_of_the_second_phase_stay(tmp_path: Path, straight: tuple[Run, list[EpochRecord]]) -> None:
    run, _ = trained(tmp_path, replace(CONFIG, train=replace(CONFIG.train, epochs=9, keep=2)))
    assert run.checkpoint_names() == ["0", "3", "4", "8", "9", "3-ema0.1", "4-ema0.1", "8-ema0.1", "9-ema0.1"]


def test_other_levels_and_upsamplings_train_through(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        data=replace(CONFIG.data, width=32, height=16, load_width=32),
        model=replace(CONFIG.model, upsamplings=3, levels=3),
        train=replace(CONFIG.train, progressive_epochs=2, epochs=3),
    )
    _, records = trained(tmp_path, config, pairs=PicoPairs(height=16, width=32))
    assert [record.level for record in records] == [1, 2, 2]


def test_pairs_from_the_disk_train(tmp_path: Path) -> None:
    source = random_source("files")
    for kind, suffix, shape in (("imgs", "jpg", (12, 24, 3)), ("labels", "png", (12, 24))):
        folder = tmp_path / "data" / "train" / kind
        folder.mkdir(parents=True)
        for name in "abc":
            Image.fromarray(source.integers(0, 3 if kind == "labels" else 256, shape).astype(np.uint8)).save(folder / f"{name}.{suffix}")
    run = Run.create(tmp_path / "run", CONFIG)
    records = list(train(run, TrainingPairs(find_pairs(tmp_path / "data"), CONFIG.data), until=5))
    assert [record.images for record in records] == [3, 3, 3, 3, 2]


def test_an_unlabelled_value_given_later_is_another_setting(tmp_path: Path) -> None:
    run, _ = trained(tmp_path, until=1)
    run.config_path.write_text(run.config_path.read_text().replace("flip = ", "ignore = 255\nflip = "))
    with pytest.raises(UsageError, match=r"data\.ignore: None -> 255"):
        list(train(Run.open(tmp_path), PicoPairs()))


def test_training_learns_the_colours(tmp_path: Path) -> None:
    """The photos' colour is a function of the class, so the distance between image and photo must shrink."""
    config = replace(
        CONFIG,
        model=replace(CONFIG.model, width=8, hidden=8, init_gain=0.7),
        train=replace(CONFIG.train, progressive_epochs=10, epochs=30, generator_rate=5e-3, discriminator_rate=5e-3, augment=(), save_every=30),
    )
    trained(tmp_path, config)
    players = Players(config, device="cpu")
    batch = next(PicoPairs().batches(1, batch=6, seed=0))
    distances = []
    for epoch in ("0", "30"):
        load_arrays(players.painter, load_weights(Run.open(tmp_path), epoch), origin="test")
        set_training(players.painter, False)
        with no_gradients():
            images = to_numpy(players.painter(one_hot(batch.label_maps, 3, device="cpu"), noise=None, stage=None))
        distances.append(float(np.abs(images - batch.photos).mean()))
    assert distances[1] < 0.75 * distances[0]
