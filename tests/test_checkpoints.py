from pathlib import Path

import numpy as np
import pytest

from apfgan.backend import state_arrays
from apfgan.checkpoints import load_manifest, load_weights, save_checkpoint
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.errors import WeightsError
from apfgan.networks import build_painter
from apfgan.runs import Run
from apfgan.sampling import load_painter


def config(width: int = 4) -> Config:
    return Config(
        data=DataConfig(classes=("sky", "sea"), width=32, height=24, load_width=32),
        model=ModelConfig(width=width, hidden=4, upsamplings=2, levels=2),
        train=TrainConfig(progressive_epochs=1, epochs=2),
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "run", config())
    save_checkpoint(run, "7", state_arrays(build_painter(config(), seed=1)), epoch=7, step=70, phase="augmented", data="d")
    return run


def test_what_is_saved_is_loaded(run):
    expected = state_arrays(build_painter(config(), seed=1))
    loaded = load_weights(run, "7")
    assert loaded.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(loaded[name], array)
    manifest = load_manifest(run, "7")
    assert (manifest.epoch, manifest.step, manifest.phase, manifest.data) == (7, 70, "augmented", "d")
    assert manifest.config["model"]["width"] == 4
    load_painter(loaded, config(), origin="test")


@pytest.mark.parametrize("part", [0, 0.25, 0.5, 0.99])
def test_a_truncated_file_is_refused(run, part):
    path = run.checkpoint_path("7")
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(WeightsError, match="SHA-256"):
        load_weights(run, "7")
    manifest = path.with_suffix(".json")
    text = manifest.read_bytes()
    manifest.write_bytes(text[: int(part * len(text))])
    with pytest.raises(WeightsError, match="damaged"):
        load_manifest(run, "7")


def test_every_flipped_bit_is_noticed(run):
    path = run.checkpoint_path("7")
    content = path.read_bytes()
    source = np.random.default_rng(0)
    for position in source.integers(0, len(content), size=50):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(source.integers(8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(WeightsError):
            load_weights(run, "7")


def test_a_checkpoint_without_its_manifest_does_not_exist(run):
    run.checkpoint_path("7").with_suffix(".json").unlink()
    assert run.checkpoint_names() == []
    with pytest.raises(WeightsError, match="no checkpoint 7"):
        load_weights(run, "7")


def test_weights_of_another_width_are_explained(run):
    with pytest.raises(WeightsError, match=r"epoch 7 does not fit.*looks like width 4, expected 8"):
        load_painter(load_weights(run, "7"), config(width=8), origin="epoch 7")
