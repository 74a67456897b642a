"""The live score: what it is made of, that training does not notice it, and that it finds a better generator better."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apfgan.backend import load_arrays, set_training, state_arrays
from apfgan.candidates import Candidate
from apfgan.checkpoints import save_checkpoint
from apfgan.composite import FORMULAS
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import TrainingPairs, find_label_maps, find_pairs
from apfgan.images import encode_jpeg, encode_png
from apfgan.networks import build_painter
from apfgan.players import Players, plan_epoch
from apfgan.runs import Run
from metrics import embedded
from metrics.judges import Judges
from metrics.reference import Reference
from selection import evaluation
from selection.evaluation import Evaluation, open_bench
from selection.examining import Examiner
from selection.measuring import Bench
from selection.probe import IMAGES, Probe, open_probe
from selection.survey import Photos

CONFIG = Config(
    data=DataConfig(classes=("sky", "sea", "land"), width=64, height=32, load_width=64),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0),
    train=TrainConfig(progressive_epochs=1, epochs=3, progressive_batch=4, batch=4),
)


@dataclass(frozen=True, eq=False)
class ColourJudge:
    """Sees brightness as the mask, colours as features and their spread as beauty."""

    distance = "fd-colours"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "colours"}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        seen = (images.mean(axis=3) // 86).astype(int)
        pairs = [g.astype(int) * 3 + s for g, s in zip(label_maps, seen, strict=True)]
        confusion = np.stack([np.bincount(pair.ravel(), minlength=9).reshape(3, 3) for pair in pairs]).astype(np.uint32)
        features = np.concatenate([images.mean(axis=(1, 2)), images.std(axis=(1, 2))], axis=1).astype(np.float32)
        return {"confusion": confusion, "features": features, "aesthetic": images.std(axis=(1, 2, 3)) / 25.5, "found": seen}

    def observe_photos(self, paths: Sequence[Path], **options: Any) -> np.ndarray:
        raise NotImplementedError

    def fit_reference(self, features: np.ndarray) -> Reference:
        return Reference.fit(features, distance=self.distance)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    source = np.random.default_rng(0)
    colours = np.array([[200, 220, 250], [30, 80, 160], [90, 140, 60]])
    for part, count in (("train", 12), ("test", 20)):
        for number in range(count):
            label_map = source.integers(0, 3, (4, 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
            photo = np.clip(colours[label_map] + source.normal(0, 12, (32, 64, 3)), 0, 255).astype(np.uint8)
            for kind, suffix, content in (
                ("labels", "png", encode_png(label_map)),
                ("imgs", "jpg", encode_jpeg(photo, quality=95, subsampling="4:4:4")),
            ):
                path = tmp_path / "data" / part / kind / f"{number}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    return tmp_path / "data"


@pytest.fixture
def bench(tmp_path: Path, data: Path) -> Bench:
    judge = ColourJudge()
    reference = judge.fit_reference(np.random.default_rng(1).normal(100, 20, size=(40, 6)))
    run = Run.create(tmp_path / "run", CONFIG)
    return Bench(
        run,
        find_label_maps(data / "test" / "labels"),
        Judges(name="test", mask=judge, aesthetic=judge, features=judge),
        [reference],
        Photos((), "photos"),
        FORMULAS["A"],
        {"format": "JPEG"},
    )


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_probe_of_all_maps_is_what_score_measures(bench: Bench) -> None:
    painter = build_painter(CONFIG, seed=3)
    before = files(bench.run.path)
    estimate = Probe(bench)(painter)
    assert files(bench.run.path) == before, "a probe leaves nothing behind"
    save_checkpoint(bench.run, "1", state_arrays(painter), epoch=1)
    assert Examiner(bench).measure(Candidate(("1",))).composite == estimate
    assert estimate.error is not None and estimate.error > 0


def test_the_encoder_and_the_rounding_are_part_of_it(bench: Bench, tmp_path: Path) -> None:
    painter = build_painter(CONFIG, seed=3)
    values = {Probe(bench)(painter).value}
    for name, change in (("quality", {"jpeg_quality": 5}), ("rounding", {"rounding": "down"})):
        run = Run.create(tmp_path / name, replace(CONFIG, output=replace(CONFIG.output, **change)))
        values.add(Probe(replace(bench, run=run))(painter).value)
    assert len(values) == 3


def test_training_does_not_notice(bench: Bench, data: Path) -> None:
    pairs = TrainingPairs(find_pairs(data), CONFIG.data)
    watched, alone = Players(CONFIG, device="cpu"), Players(CONFIG, device="cpu")
    probe, found = Probe(bench), []
    for epoch in (1, 2, 3):
        plan = plan_epoch(epoch, CONFIG)
        for players in (watched, alone):
            players.begin(plan)
            for index, batch in enumerate(pairs.batches(epoch, batch=plan.batch, seed=0)):
                players.learn(batch, plan, index=index)
        found.append(probe(watched.painter))
        assert all(module.training for module in watched.painter.modules())
        assert probe(watched.painter) == found[-1], "the same images every time"
        expected = alone.arrays()
        for name, array in watched.arrays().items():
            assert array.tobytes() == expected[name].tobytes(), (epoch, name)
    assert len({estimate.value for estimate in found}) == 3


def test_running_statistics_are_what_it_draws_with(bench: Bench) -> None:
    painter = build_painter(CONFIG, seed=3)
    before = Probe(bench)(painter)
    arrays = state_arrays(painter)
    load_arrays(painter, {name: array * 4 if name.endswith("running_var") else array for name, array in arrays.items()}, origin="test")
    set_training(painter, True)
    assert Probe(bench)(painter) != before


@pytest.fixture
def quick_fit(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Judges fitted in a few steps; holds the number of pairs of each fit."""
    fits: list[int] = []

    def fit(photos: np.ndarray, *arguments: Any, **options: Any) -> embedded.EmbeddedJudge:
        fits.append(len(photos))
        return embedded.fit(photos, *arguments, **options, steps=2)

    monkeypatch.setattr(evaluation, "fit", fit)
    return fits


def test_score_finds_the_probes_judges_and_reference_again(tmp_path: Path, data: Path, quick_fit: list[int]) -> None:
    run = Run.create(tmp_path / "run", CONFIG)
    probe = open_probe(run, data)
    assert len(probe.bench.label_maps) == IMAGES and {"0", "19"} <= {path.stem for path in probe.bench.label_maps}
    made = files(run.path)
    assert {name.partition("/")[0] for name in made} == {"run.toml", "judges", "features"}
    estimate = probe(build_painter(CONFIG, seed=3))
    assert math.isfinite(estimate.value)
    again = open_probe(run, data)
    assert again(build_painter(CONFIG, seed=3)) == estimate and quick_fit == [10]  # of 12 pairs two are held out
    bench = open_bench(run, Evaluation(data=data), pictures=False)
    assert bench.photos.key == probe.bench.photos.key and bench.judges.identity == probe.bench.judges.identity
    assert all(name.startswith("features/order_") for name in files(run.path) - made) and run.ledger.read() == []  # of the other label maps
    assert bench.protocol_id != probe.bench.protocol_id


def test_training_maps_stand_in_where_there_are_no_test_maps(tmp_path: Path, data: Path, quick_fit: list[int]) -> None:
    for path in (data / "test" / "labels").iterdir():
        path.unlink()
    (data / "test" / "labels").rmdir()
    probe = open_probe(Run.create(tmp_path / "run", CONFIG), data, images=5)
    assert [path.parent for path in probe.bench.label_maps] == [data / "train" / "labels"] * 5


def test_a_single_test_map_is_not_enough(tmp_path: Path, data: Path, quick_fit: list[int]) -> None:
    for path in sorted((data / "test" / "labels").iterdir())[1:]:
        path.unlink()
    probe = open_probe(Run.create(tmp_path / "run", CONFIG), data, images=5)
    assert [path.parent for path in probe.bench.label_maps] == [data / "train" / "labels"] * 5
