"""Half precision, parts of a batch and compiled networks: what they change of a training step, and what they leave."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from apfgan.backend import (
    BatchNorm,
    adam,
    add_gradient,
    alike,
    autocast,
    compile_anew,
    detach,
    frozen,
    instance_norm,
    mean,
    move,
    no_gradients,
    one_hot,
    set_training,
    state_arrays,
    to_numpy,
    widen,
)
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import Batch
from apfgan.networks import build_discriminators, build_painter
from apfgan.players import Players
from apfgan.schedule import Role, Stage, plan_epoch

SIDE = 32
CONFIG = Config(
    data=DataConfig(classes=("a", "b", "c"), width=SIDE, height=SIDE, load_width=SIDE),
    model=ModelConfig(width=8, hidden=8, upsamplings=3, levels=3, init_gain=0.5),
    train=TrainConfig(progressive_epochs=4, epochs=8, progressive_batch=4, batch=4, generator_rate=1e-3, discriminator_rate=1e-3),
)
LAST = plan_epoch(CONFIG.train.epochs, CONFIG)


def batch(seed: int = 0, images: int = 4) -> Batch:
    source = np.random.default_rng(seed)
    label_maps = source.integers(0, 3, (images, SIDE // 8, SIDE // 8), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    photos = source.random((images, 3, SIDE, SIDE), dtype=np.float32) * 2 - 1
    return Batch(photos, label_maps, tuple(map(str, range(images))))


def players(**train: object) -> Players:
    return Players(replace(CONFIG, train=replace(CONFIG.train, **train)), device="cpu")


def test_half_precision_stays_near_float32() -> None:
    half, whole = players(precision="bfloat16"), players()
    before = half.arrays()
    found, wanted = (each.learn(batch(), LAST, index=0) for each in (half, whole))
    for name, value in found.items():
        assert value == pytest.approx(wanted[name], abs=0.01, rel=0.01) and value != wanted[name]
    after = half.arrays()
    assert {array.dtype for array in after.values()} == {np.dtype("float32")}
    assert all(np.isfinite(array).all() for array in after.values())
    assert any((after[name] != before[name]).any() for name in before)


def test_half_precision_points_the_same_way() -> None:
    """The angle between the painter's gradients; measured: cosine 0.998."""
    found = []
    for precision in ("float32", "bfloat16"):
        painter = build_painter(CONFIG, seed=0)
        with autocast(precision, device="cpu"):
            images = painter(one_hot(batch().label_maps, 3, device="cpu"), noise=None, stage=None)
        assert images.dtype == torch.float32
        mean((images - 0.3) ** 2, axes=None).backward()
        found.append((to_numpy(images), np.concatenate([each.grad.numpy().ravel() for each in painter.parameters() if each.grad is not None])))
    (images, gradient), (other_images, other_gradient) = found
    assert 0 < np.abs(images - other_images).mean() < 0.02
    assert gradient @ other_gradient > 0.95 * np.linalg.norm(gradient) * np.linalg.norm(other_gradient)


def test_float32_is_untouched_by_its_context() -> None:
    painter, onehot = build_painter(CONFIG, seed=0), one_hot(batch().label_maps, 3, device="cpu")
    set_training(painter, False)
    with no_gradients():
        plain = painter(onehot, noise=None, stage=None)
        with autocast("float32", device="cpu"):
            assert (painter(onehot, noise=None, stage=None) == plain).all()
        with autocast("bfloat16", device="cpu"):
            assert (painter(onehot, noise=None, stage=None) != plain).any()


def kept_bytes(precision: Literal["float32", "bfloat16"]) -> int:
    """What a step of the painter keeps for its backward pass, without the weights."""
    painter, discriminators = build_painter(CONFIG, seed=0), build_discriminators(CONFIG, seed=0)
    weights = {each.untyped_storage().data_ptr() for network in (painter, discriminators) for each in network.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x  # holding on to it, so that no other takes its place
        return x

    images = batch(images=16)
    onehot = one_hot(images.label_maps, 3, device="cpu")
    noise = [torch.zeros(16, 1, *shape) for shape in painter.generator.noise_shapes(SIDE, SIDE)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), autocast(precision, device="cpu"):
        discriminators(onehot, painter(onehot, noise=noise, stage=None), roles=LAST.roles)
    return sum(x.untyped_storage().nbytes() for pointer, x in kept.items() if pointer not in weights)


def test_features_are_kept_in_half_the_bytes() -> None:
    """Label maps and what leaves a network are not; measured: 0.62 of the bytes."""
    assert kept_bytes("bfloat16") < 0.7 * kept_bytes("float32")


def test_sums_and_norms_reckon_in_float32() -> None:
    ones = torch.ones(1, 1, 100, 100, dtype=torch.bfloat16)
    ones[..., 0] = 1.0078125
    assert mean(ones, axes=None).item() == pytest.approx(1.000078125, abs=1e-7)
    assert widen(ones).dtype == mean(ones, axes=(2, 3)).dtype == torch.float32
    assert widen(ones.double()).dtype == torch.float64
    assert alike(torch.ones(1), ones).dtype == torch.bfloat16
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 16, 16), dtype=np.float32) + 10).bfloat16()
    for norm in (BatchNorm(3, variance="unbiased"), instance_norm):
        out = norm(x)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), norm(x.float()), rtol=2**-8, atol=2**-8)


def test_half_precision_goes_on_exactly() -> None:
    straight, resumed = players(precision="bfloat16"), players(precision="bfloat16")
    straight.learn(batch(0), LAST, index=0)
    resumed.load(straight.arrays(), origin="test")
    for each in (straight, resumed):
        each.learn(batch(1), LAST, index=1)
    wanted, found = straight.arrays(), resumed.arrays()
    assert all((array == found[name]).all() for name, array in wanted.items())


def test_frozen_networks_only_pass_gradients_on() -> None:
    discriminators = build_discriminators(CONFIG, seed=0)
    labels, images = torch.randn(1, 3, SIDE, SIDE), torch.randn(1, 3, SIDE, SIDE, requires_grad=True)
    found = []
    for context in (frozen(discriminators), torch.enable_grad()):
        with context:
            mean(discriminators(labels, images, roles=LAST.roles)[0][-1], axes=None).backward()
        found.append(images.grad)
        images.grad = None
    assert (found[0] == found[1]).all()
    gradients = [parameter.grad for parameter in discriminators.parameters()]
    assert all(parameter.requires_grad for parameter in discriminators.parameters()) and any(gradient is not None for gradient in gradients)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Every graph that is compiled; it is run as it is, without the minutes that a compiler of machine code takes."""
    found: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        del inputs
        found.append(graph)
        return graph

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_module(module, backend=backend, fullgraph=True))
    yield found
    torch.compiler.reset()


def test_a_share_that_changes_every_epoch_compiles_nothing_anew(graphs: list[object]) -> None:
    compiled, plain = (build_painter(CONFIG, seed=0) for _ in range(2))
    judges, plain_judges = (build_discriminators(CONFIG, seed=0) for _ in range(2))
    onehot, counts = one_hot(batch().label_maps, 3, device="cpu"), []
    compile_anew(compiled, judges)
    for fade in (0.1, 0.2, 0.3, 0.7, 0.9):
        stage, roles = Stage(0, fade), (Role(1, fade), Role(0))
        images, wanted = (detach(painter(onehot, noise=None, stage=stage)) for painter in (compiled, plain))
        seen, expected = (network(onehot[..., ::2, ::2], wanted, roles=roles) for network in (judges, plain_judges))
        torch.testing.assert_close(images, wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-4)
        counts.append(len(graphs))
    assert counts == [2, 4, 4, 4, 4]  # the first epoch cannot tell that the share will change
    compile_anew(compiled, judges)
    compiled(onehot, noise=None, stage=Stage(1))
    assert len(graphs) == 5
    assert state_arrays(compiled).keys() == state_arrays(plain).keys()


def test_gradients_add_up_until_the_move() -> None:
    discriminators = build_discriminators(CONFIG, seed=0)
    optimizer = adam(discriminators, betas=(0.0, 0.9), epsilon=1e-8, steps="own")

    def loss(images: int) -> torch.Tensor:
        pictures = torch.full((images, 3, SIDE, SIDE), 0.5)
        return mean(discriminators(pictures, pictures, roles=(Role(0),))[0][-1], axes=None)

    bias = discriminators.levels[0].predict.bias
    add_gradient(optimizer, loss(1) / 4)
    add_gradient(optimizer, loss(1) / 2)
    assert bias.grad.item() == pytest.approx(0.75)
    move(optimizer, rate=0.5)
    assert bias.item() == pytest.approx(-0.5) and math.isfinite(bias.item()) and bias.grad is None
