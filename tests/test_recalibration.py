"""BatchNorm's statistics taken anew, against the statistics of features that were caught on their way in."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from apfgan.backend import BatchNorm, Module, fresh_statistics, from_numpy, set_training, state_arrays, to_numpy
from apfgan.config import Config, DataConfig, ModelConfig
from apfgan.data import find_pairs, load_label_map
from apfgan.landscapes import make_landscapes
from apfgan.networks import Painter, build_painter
from apfgan.runs import Run
from apfgan.sampling import load_painter, sample
from selection.recalibration import fresh_norms, statistics_identity
from selection.studio import Studio

PICO = Config(
    data=DataConfig(width=32, height=24, load_width=32),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0, seg_noise_init="xavier", spectral_norm=True),
)
COUNT = 10


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_landscapes(folder, train=14, test=1, width=32, height=24)
    return folder


@pytest.fixture
def studio(tmp_path: Path, data: Path) -> Studio:
    return Studio(Run.create(tmp_path / "run", PICO), (), data)


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return loud(PICO)


def loud(config: Config) -> dict[str, np.ndarray]:
    source = np.random.default_rng(0)
    arrays = state_arrays(build_painter(config, seed=3))
    return {name: source.normal(size=array.shape).astype(np.float32) if ".noise." in name else array for name, array in arrays.items()}


def norms(arrays: dict[str, np.ndarray]) -> set[str]:
    return {name for name in arrays if ".norm.running_" in name}


@contextmanager
def caught(painter: Painter) -> Iterator[dict[str, list[np.ndarray]]]:
    """What each BatchNorm is shown, batch by batch."""
    seen: dict[str, list[np.ndarray]] = {}
    handles = [
        norm.register_forward_pre_hook(lambda _, inputs, name=name: seen.setdefault(name, []).append(to_numpy(inputs[0]).astype(np.float64)))
        for name, norm in painter.named_modules()
        if isinstance(norm, BatchNorm)
    ]
    yield seen
    for handle in handles:
        handle.remove()


@pytest.mark.both_engines
@pytest.mark.parametrize("variance", ["unbiased", "biased"])
def test_the_mean_of_the_batches_counts_images(variance: Literal["unbiased", "biased"]) -> None:
    source = np.random.default_rng(0)
    norm = BatchNorm(3, variance=variance)
    batches = [source.normal(loc, 2, size=(images, 3, 5, 4)).astype(np.float32) for images, loc in ((4, 0), (4, 3), (1, -1))]
    norm(from_numpy(batches[0] + 9, device="cpu"))  # forgotten
    with fresh_statistics(norm):
        for batch in batches:
            out = to_numpy(norm(from_numpy(batch, device="cpu")))
            own = (batch - batch.mean((0, 2, 3), keepdims=True)) / np.sqrt(batch.var((0, 2, 3), keepdims=True) + 1e-5)
            np.testing.assert_allclose(out, own, atol=1e-5)
    shares = [4 / 9, 4 / 9, 1 / 9]
    found = state_arrays(norm)
    factors = [(pixels := 20 * len(batch)) / (pixels - 1) if variance == "unbiased" else 1.0 for batch in batches]
    variances = [batch.var((0, 2, 3)) * factor for batch, factor in zip(batches, factors, strict=True)]
    np.testing.assert_allclose(found["running_mean"], np.average([batch.mean((0, 2, 3)) for batch in batches], axis=0, weights=shares), rtol=1e-5)
    np.testing.assert_allclose(found["running_var"], np.average(variances, axis=0, weights=shares), rtol=1e-5)
    # And it follows with momentum again.
    set_training(norm, True)
    norm(from_numpy(np.full((2, 3, 5, 4), 100, dtype=np.float32), device="cpu"))
    np.testing.assert_allclose(state_arrays(norm)["running_mean"], 0.9 * found["running_mean"] + 10, rtol=1e-5)


def test_all_else_stays_outside_of_training() -> None:
    class Watched(Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.modes = BatchNorm(2, variance="biased"), []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.modes.append((self.training, self.norm.training))
            return self.norm(x)

    module = Watched()
    with pytest.raises(RuntimeError, match="halfway"), fresh_statistics(module):
        module(torch.zeros(2, 2, 3, 3))
        raise RuntimeError("halfway")
    module(torch.zeros(2, 2, 3, 3))
    assert module.modes == [(False, True), (False, False)] and module.norm.shown is None


@pytest.mark.parametrize("variance", ["unbiased", "biased"])
def test_norms_are_those_of_the_features_of_training_label_maps(tmp_path: Path, data: Path, variance: Literal["unbiased", "biased"]) -> None:
    """Batches of four images with the noise of seed 0, each of them counted alike."""
    config = replace(PICO, model=replace(PICO.model, running_variance=variance))
    studio, weights = Studio(Run.create(tmp_path / "run", config), (), data), loud(config)
    found = fresh_norms(studio, weights, COUNT, identity={"of": 1}, origin="test")
    pairs = find_pairs(data)
    chosen = [pairs[position] for position in np.linspace(0, len(pairs) - 1, COUNT).round().astype(int)]
    painter = load_painter(weights, config, origin="test")
    for norm in painter.modules():
        if isinstance(norm, BatchNorm):
            norm.train()
    maps = ((pair.stem, load_label_map(pair.label_map, config.data)) for pair in chosen)
    with caught(painter) as seen:
        assert len(list(sample(painter, maps, classes=len(config.data.classes), seed=0, batch=4))) == COUNT
    assert found.keys() == norms(weights)
    for name, batches in seen.items():
        assert [len(batch) for batch in batches] == [4, 4, 2]
        means = [batch.mean((0, 2, 3)) for batch in batches]
        pixels = [batch[:, 0].size for batch in batches]
        factors = [count / (count - 1) if variance == "unbiased" else 1.0 for count in pixels]
        variances = [batch.var((0, 2, 3)) * factor for batch, factor in zip(batches, factors, strict=True)]
        np.testing.assert_allclose(found[f"{name}.running_mean"], np.average(means, axis=0, weights=pixels), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[f"{name}.running_var"], np.average(variances, axis=0, weights=pixels), rtol=1e-4, atol=1e-6)


def test_only_norms_change_and_the_same_ones_come_out_each_time(studio, weights):
    before = {name: array.copy() for name, array in weights.items()}
    one = fresh_norms(studio, weights, COUNT, identity={"of": 1}, origin="test")
    assert one.keys() == norms(weights)
    assert all(np.array_equal(array, before[name]) for name, array in weights.items())
    assert all(not np.array_equal(array, weights[name]) for name, array in one.items())
    again = fresh_norms(studio, weights, COUNT, identity={"of": 2}, origin="test")
    assert all(np.array_equal(array, one[name]) for name, array in again.items())
    fewer = fresh_norms(studio, weights, COUNT - 1, identity={"of": 3}, origin="test")
    assert any(not np.array_equal(array, one[name]) for name, array in fewer.items())


def test_they_are_kept_and_found_again(studio, weights, monkeypatch):
    first = fresh_norms(studio, weights, COUNT, identity={"of": 1}, origin="test")
    (path,) = studio.run.features.glob("norms_*.npz")
    with monkeypatch.context() as patch:
        patch.setattr("selection.recalibration.load_painter", lambda *_, **__: pytest.fail("drawn again"))
        found = fresh_norms(studio, weights, COUNT, identity={"of": 1}, origin="test")
    assert found.keys() == first.keys() and all(np.array_equal(array, first[name]) for name, array in found.items())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    found = fresh_norms(studio, weights, COUNT, identity={"of": 1}, origin="test")
    assert all(np.array_equal(array, first[name]) for name, array in found.items())


def test_the_identity_follows_the_label_maps_that_are_used(tmp_path, studio, data):
    known = statistics_identity(studio, COUNT)
    assert known["count"] == COUNT
    assert statistics_identity(studio, COUNT + 1)["label_maps"] != known["label_maps"]
    assert statistics_identity(studio, 500)["count"] == 14  # all there are
    moved = tmp_path / "moved"
    moved.symlink_to(data)
    assert statistics_identity(replace(studio, training_set=moved), COUNT) == known
    config = replace(PICO, data=replace(PICO.data, exclude=(find_pairs(data)[0].stem,)))
    excluded = Studio(Run.create(tmp_path / "other", config), (), data)
    assert statistics_identity(excluded, 500)["count"] == 13
    assert statistics_identity(excluded, COUNT)["label_maps"] != known["label_maps"]


@pytest.mark.both_engines
def test_a_spectral_norm_does_not_move_when_images_are_drawn(weights, data):
    """Neither by drawing nor by taking statistics: only training may."""
    painter = load_painter(weights, PICO, origin="test")
    maps = [(pair.stem, load_label_map(pair.label_map, PICO.data)) for pair in find_pairs(data)[:3]]
    vectors = [name for name in weights if name.endswith(("_u", "_v"))]
    assert vectors
    list(sample(painter, maps, classes=29, seed=0))
    with fresh_statistics(painter):
        list(sample(painter, maps, classes=29, seed=0))
    after = state_arrays(painter)
    assert all(np.array_equal(after[name], weights[name]) for name in vectors)
    assert {name for name, array in after.items() if not np.array_equal(array, weights[name])} == norms(weights)
