"""What a configuration costs: against the original's known figures, against real networks, and against files that were really written."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import apfgan.players
from apfgan.backend import Conv2d, Tensor, counted_work, freeze, from_numpy, named_memory_errors, no_gradients, one_hot, set_training, state_arrays
from apfgan.checkpoints import save_checkpoint
from apfgan.config import PRESETS, Config, DataConfig, ModelConfig, TrainConfig
from apfgan.cost import Costs, perceptual_cost
from apfgan.data import Batch
from apfgan.ema import Averages
from apfgan.networks import build_discriminators, build_painter
from apfgan.networks.perceptual import Inception, Vgg19
from apfgan.players import Players
from apfgan.randomness import random_source
from apfgan.runs import Run
from apfgan.schedule import plan_epoch
from apfgan.training_state import Position, TrainingState, save_state

FULL = PRESETS["full"]

CONFIG = Config(
    data=DataConfig(classes=("a", "b", "c"), width=64, height=32, load_width=64),
    model=ModelConfig(width=8, hidden=6, upsamplings=3, levels=3),
    train=TrainConfig(progressive_epochs=8, epochs=10),
)
"""Epochs 1 and 2 hold the smallest size, 3 fades, 4 and 5 hold, 6 and 7 fade, 8 is at full size, 9 and 10 have noise."""


def changed(**model: object) -> Config:
    return replace(CONFIG, model=replace(CONFIG.model, **model))


def normal(*shape: int) -> Tensor:
    return from_numpy(random_source("test").standard_normal(shape, dtype=np.float32), device="cpu")


def billions(multiply_accumulates: int) -> float:
    """Floating point operations of the method's description, in 10^9: two for each."""
    return 2 * multiply_accumulates / 1e9


# The figures of the original at full size (spec: method, 2.7)


@pytest.fixture(scope="module")
def full() -> Costs:
    return Costs(FULL)


def test_an_image_costs_what_the_originals_does(full: Costs) -> None:
    assert billions(full.image.forward) == pytest.approx(424.5, abs=0.05)
    parts = full.image.by_module
    kinds = {r"encoder\..*": 8.4, r".*\.(gamma|beta)": 284.9, r".*\.shared": 52.6, r".*\.noise": 3.6, r".*\.conv_[01s]": 74.7}
    for pattern, expected in kinds.items():
        assert billions(sum(amount for name, amount in parts.items() if re.fullmatch(pattern, name))) == pytest.approx(expected, abs=0.05), pattern
    blocks = {"head": 2.3, "middle.0": 9.1, "middle.1": 9.1, "up.0": 21, "up.1": 31, "up.2": 51, "up.3": 95, "up.4": 198}
    for name, expected in blocks.items():
        found = sum(amount for part, amount in parts.items() if part.startswith(f"generator.{name}."))
        assert billions(found) == pytest.approx(expected, abs=0.05 if expected < 10 else 0.6), name


@pytest.mark.parametrize(
    ("epoch", "size", "drawing", "judging"),
    [
        (10, (48, 64), 80, 1.6),
        (45, (96, 128), 131, 3.8),
        (75, (96, 128), 131, 3.6),
        (105, (192, 256), 225, 6.6),
        (130, (192, 256), 225, 6.2),
        (165, (384, 512), 421, 10.6),
        (180, (384, 512), 421, 88),
        (181, (384, 512), 424.5, 88),
    ],
)
def test_epochs_cost_what_the_originals_do(full: Costs, epoch: int, size: tuple[int, int], drawing: float, judging: float) -> None:
    plan = plan_epoch(epoch, FULL)
    assert full.image_size(plan) == size
    assert billions(full.drawing(plan).forward) == pytest.approx(drawing, abs=0.5)
    assert billions(full.judging(plan).forward) == pytest.approx(judging, abs=0.05 if judging < 80 else 0.5)


def test_perceptual_networks_cost_what_the_originals_do() -> None:
    assert billions(perceptual_cost("vgg19", height=384, width=512)) == pytest.approx(142, abs=0.5)
    assert billions(perceptual_cost("inception", height=384, width=512)) == pytest.approx(26, abs=0.5)
    assert perceptual_cost("none", height=384, width=512) == 0


def test_parameters_are_the_originals_less_what_it_never_uses(full: Costs) -> None:
    generator, pictures = 93_401_635, (64 + 128 + 256) * 3 * 9 + 3 * 3  # of the second phase, and of the levels below the full image
    assert full.painter_parameters == generator + pictures + 8_642_880
    assert full.discriminator_parameters == 28_137_868


# Real networks


def convolutions(network: torch.nn.Module, *inputs: Tensor, **settings: object) -> int:
    """Multiply-accumulates of the convolutions in a real forward pass, by their formula."""
    total = 0

    def count(conv: torch.nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(conv, Conv2d)
        total += output.numel() * conv.weight[0].numel()

    hooks = [each.register_forward_hook(count) for each in network.modules() if isinstance(each, Conv2d)]
    with no_gradients():
        network(*inputs, **settings)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("epoch", [1, 3, 6, 9])
@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        changed(levels=2),
        changed(upsamplings=4, hidden=5),
        changed(multi_scale=False, full_size_order="deepest_sees_largest"),
        changed(spectral_norm=True),
        replace(CONFIG, data=DataConfig(classes=tuple("abcdefg"), width=48, height=64, load_width=48)),
    ],
    ids=["plain", "two levels", "deeper", "one judge", "spectral norm", "portrait"],
)
def test_counts_are_those_of_real_networks(config: Config, epoch: int) -> None:
    plan, costs = plan_epoch(epoch, config), Costs(config)
    height, width = config.data.height, config.data.width
    classes = len(config.data.classes)
    painter = build_painter(config, seed=0)
    labels = one_hot(np.zeros((1, height, width), np.uint8), classes, device="cpu")
    shapes = painter.generator.noise_shapes(height, width)
    noise = [normal(1, 1, *shape) for shape in shapes] if plan.noise else None
    assert costs.drawing(plan).forward == convolutions(painter, labels, noise=noise, stage=plan.stage)

    height, width = costs.image_size(plan)
    with no_gradients():
        assert painter(labels, noise=noise, stage=plan.stage).shape == (1, 3, height, width)
    labels = one_hot(np.zeros((1, height, width), np.uint8), classes, device="cpu")
    image = normal(1, 3, height, width)
    assert costs.judging(plan).forward == convolutions(build_discriminators(config, seed=0), labels, image, roles=plan.roles)


def painted_noise(config: Config, images: int) -> Batch:
    source, size = random_source("batch"), (config.data.height, config.data.width)
    label_maps = source.integers(0, len(config.data.classes), (images, *size)).astype(np.uint8)
    return Batch(source.standard_normal((images, 3, *size), dtype=np.float32), label_maps, ())


@pytest.mark.parametrize(
    ("config", "epoch", "images"),
    [
        (CONFIG, 1, 1),
        (CONFIG, 3, 2),
        (CONFIG, 4, 3),
        (CONFIG, 9, 1),
        (replace(CONFIG, train=replace(CONFIG.train, feature_weight=0.0, seg_noise=False)), 9, 2),
        (replace(CONFIG, train=replace(CONFIG.train, fade_in=False)), 6, 1),
        (replace(changed(levels=2), train=replace(CONFIG.train, progressive_perceptual="vgg19", perceptual="vgg19")), 6, 1),
        (replace(changed(levels=2), train=replace(CONFIG.train, progressive_perceptual="vgg19", perceptual="vgg19")), 9, 2),
    ],
)
def test_a_step_costs_what_a_real_one_does(monkeypatch: pytest.MonkeyPatch, config: Config, epoch: int, images: int) -> None:
    """Forward and backward, counted by the engine where it really happens."""

    def load(name: str, *_: object, **__: object) -> Vgg19:
        assert name == "vgg19"
        network = Vgg19()
        freeze(network)
        set_training(network, False)
        return network

    monkeypatch.setattr(apfgan.players, "load_perceptual", load)
    plan, players = plan_epoch(epoch, config), Players(config, device="cpu")
    with FlopCounterMode(display=False) as counter:
        players.learn(painted_noise(config, images), plan, index=0)
    assert images * Costs(config).step(plan).total == counter.get_total_flops() // 2


def test_inception_is_part_of_a_step() -> None:
    config = replace(CONFIG, data=DataConfig(classes=("a", "b", "c"), width=96, height=80, load_width=96))
    plan = plan_epoch(9, config)
    without, with_it = (Costs(config).step(each) for each in (plan, replace(plan, perceptual="inception")))
    forward = perceptual_cost("inception", height=80, width=96)
    assert forward == convolutions(Inception().eval(), normal(1, 3, 80, 96))
    # Forward on image and photo; backward to the image, which costs as much as forward, for nothing in the network learns.
    assert with_it.painter - without.painter == 3 * forward
    assert with_it.discriminators == without.discriminators
    assert with_it.held > without.held


def test_gradients_are_counted_where_they_are_needed() -> None:
    conv = Conv2d(2, 3, kernel=3, stride=1, padding=1, bias=False, spectral_norm=False)
    once = 8 * 8 * 2 * 3 * 9
    x = normal(1, 2, 8, 8)
    with counted_work(conv, learns=True) as work:
        conv(x)
    assert (work.forward, work.backward, work.by_module) == (once, once, {"": once})
    assert work.held == x.nbytes  # its weight waits as well, but is there anyway
    x.requires_grad_(True)
    with counted_work(conv, learns=True) as work:
        conv(conv(x)[:, :2])
    assert (work.forward, work.backward) == (2 * once, 4 * once)
    with counted_work(conv, learns=False) as work:
        conv(x)
    assert (work.forward, work.backward) == (once, once)
    with counted_work(conv, learns=True) as work, no_gradients():
        conv(x)
    assert (work.forward, work.backward, work.held) == (once, 0, 0)


@pytest.mark.parametrize("epoch", [1, 6, 9])
def test_what_waits_on_paper_waits_in_a_real_step(epoch: int) -> None:
    plan, costs = plan_epoch(epoch, CONFIG), Costs(CONFIG)
    painter, discriminators = build_painter(CONFIG, seed=0), build_discriminators(CONFIG, seed=0)
    label_maps = painted_noise(CONFIG, 1).label_maps
    height, width = costs.image_size(plan)
    shapes = painter.generator.noise_shapes(CONFIG.data.height, CONFIG.data.width)
    noise = [normal(1, 1, *shape) for shape in shapes] if plan.noise else None
    with counted_work(painter, learns=True) as work:
        fake = painter(one_hot(label_maps, 3, device="cpu"), noise=noise, stage=plan.stage)
        discriminators(one_hot(label_maps[:, :height, :width], 3, device="cpu"), fake, roles=plan.roles)
    assert costs.step(plan).held == pytest.approx(work.held, rel=0.05)


# Files


@pytest.mark.parametrize("config", [CONFIG, changed(spectral_norm=True), replace(CONFIG, train=replace(CONFIG.train, ema=(0.05, 0.1)))])
def test_files_are_no_larger_than_said(tmp_path: Path, config: Config) -> None:
    run, costs = Run.create(tmp_path / "run", config), Costs(config)
    players = Players(config, device="cpu")
    averages = Averages(players.painter, config.train.ema)
    players.learn(painted_noise(config, 1), plan_epoch(9, config), index=0)

    weights = state_arrays(players.painter)
    save_checkpoint(run, "9", weights, epoch=9, step=1)
    written = sum(path.stat().st_size for path in run.checkpoints.iterdir())
    assert 0.7 * costs.checkpoint_bytes < written <= costs.checkpoint_bytes

    parts = {"averages": averages.arrays(), "players": players.arrays()}
    arrays = {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
    save_state(tmp_path / "state", TrainingState(Position(), arrays), config=config, data="")
    assert 0.7 * costs.state_bytes < (tmp_path / "state").stat().st_size <= costs.state_bytes


def test_files_of_the_full_size(full: Costs) -> None:
    original = 374_088_903 + 51_416_256 - 4 * 4_194_816  # generator and encoder, less two unused layers
    assert full.checkpoint_bytes == pytest.approx(original, rel=0.002)
    assert full.state_bytes == pytest.approx(4 * 3 * (102_056_620 + 28_137_868) + 2 * full.checkpoint_bytes, rel=0.002)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 1 + 9 + 130),
        ({"ema": (0.05, 0.1)}, 1 + 3 * 139),
        ({"keep": 40}, 1 + 9 + 40 + 2),
        ({"keep": 200}, 1 + 9 + 130),
        ({"save_every": 40}, 1 + 9 + 4),  # 200, 240, 280, 310
        ({"save_progressive_every": 100}, 1 + 2 + 130),
        ({"progressive_epochs": 0, "epochs": 5}, 1 + 5),
        ({"epochs": 180}, 1 + 9),
    ],
)
def test_checkpoints_at_once(settings: dict, expected: int) -> None:
    assert Costs(Config(train=TrainConfig(**settings))).checkpoints_at_once == expected


def test_disk_holds_all_checkpoints_and_the_states(full: Costs) -> None:
    assert full.disk_bytes == 418 * full.checkpoint_bytes + 3 * full.state_bytes
    one_phase = Costs(replace(FULL, train=replace(FULL.train, progressive_epochs=0)))
    assert one_phase.disk_bytes == one_phase.checkpoints_at_once * one_phase.checkpoint_bytes + 2 * one_phase.state_bytes


def test_memory_has_weights_gradients_moments_and_averages() -> None:
    plain, averaged = Costs(CONFIG), Costs(replace(CONFIG, train=replace(CONFIG.train, ema=(0.05, 0.1))))
    assert plain.memory(1000) == 16 * (plain.painter_parameters + plain.discriminator_parameters) + 1000
    arrays = state_arrays(build_painter(CONFIG, seed=0))
    assert averaged.memory(0) - plain.memory(0) == 2 * sum(array.nbytes for array in arrays.values())
    half = Costs(replace(CONFIG, train=replace(CONFIG.train, precision="bfloat16")))
    assert half.memory(1000) - half.memory(0) == 550
    assert half.memory(0) - plain.memory(0) == 2 * (plain.painter_parameters + plain.discriminator_parameters)  # weights in both types


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_a_full_memory_has_one_name(error: Exception) -> None:
    with pytest.raises(MemoryError), named_memory_errors():
        raise error


def test_other_errors_keep_theirs() -> None:
    with pytest.raises(RuntimeError, match="shapes"), named_memory_errors():
        raise RuntimeError("shapes do not match")
