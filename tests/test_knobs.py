"""Every setting of the method changes what is learnt, in the phase that it belongs to and in no other.

Both phases of pico networks are trained on four pictures in memory, once for each value of a setting. The settings of the data are in
test_data.py.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from apfgan.backend import Module, Tensor, mean, state_arrays, to_numpy
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import Batch
from apfgan.players import Players
from apfgan.randomness import random_source
from apfgan.schedule import plan_epoch

CONFIG = Config(
    data=DataConfig(classes=("a", "b", "c"), width=16, height=8, load_width=16),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=0.5),
    train=TrainConfig(progressive_epochs=4, epochs=6, progressive_batch=4, batch=2, generator_rate=1e-3, discriminator_rate=2e-3),
)
"""Epochs 1 and 2 hold the small size, 3 fades, 4 is at full size, 5 and 6 are augmented."""

ALONE = {"progressive_epochs": 0, "epochs": 2}
"""The second phase alone."""


@dataclass(frozen=True)
class Trained:
    """What there is at the end of the first phase and of the second, and the losses of every step."""

    first: dict[str, np.ndarray]
    second: dict[str, np.ndarray]
    losses: tuple[dict[str, float], ...]


class StandIn(Module):
    """In place of a pretrained network: the image, and its square or fourth power."""

    weights = (1.0, 2.0)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.power = {"vgg19": 2, "inception": 4}[name]

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, mean(images**self.power, axes=(1,))]


def batches(epoch: int, size: int) -> Iterator[Batch]:
    source = random_source("pictures")
    label_maps = source.integers(0, 3, (4, 8, 16)).astype(np.uint8)
    photos = np.tanh(source.standard_normal((4, 3, 8, 16), dtype=np.float32) + label_maps[:, None] - 1)
    order = random_source(epoch, "order").permutation(4)
    for start in range(0, 4, size):
        chosen = order[start : start + size]
        yield Batch(photos[chosen], label_maps[chosen], tuple(str(number) for number in chosen))


@functools.cache
def train(config: Config) -> Trained:
    players = Players(config, device="cpu")

    def networks() -> dict[str, np.ndarray]:
        return {name: array for name, array in players.arrays().items() if "_optimizer." not in name}

    first, losses = networks(), []
    for epoch in range(1, config.train.epochs + 1):
        plan = plan_epoch(epoch, config)
        players.begin(plan)
        losses += [players.learn(batch, plan, index=index) for index, batch in enumerate(batches(epoch, plan.batch))]
        if epoch == config.train.progressive_epochs:
            first = networks()
    return Trained(first, networks(), tuple(losses))


def changed(section: str, base: Config = CONFIG, **settings: object) -> Config:
    return replace(base, **{section: replace(getattr(base, section), **settings)})


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Bit by bit."""
    return one.keys() == other.keys() and all(np.array_equal(array, other[name]) for name, array in one.items())


@pytest.fixture(autouse=True)
def no_pretrained_networks(monkeypatch: pytest.MonkeyPatch, perceptual_at_any_size: None) -> None:
    monkeypatch.setattr("apfgan.players.load_perceptual", lambda name, settings, *, device: StandIn(name))


BOTH = [
    ("model", "width", 8),
    ("model", "hidden", 8),
    ("model", "spectral_norm", True),
    ("model", "init_gain", 0.6),
    ("model", "running_variance", "biased"),
    ("model", "pyramid_border", "zeros"),
    ("model", "full_size_order", "deepest_sees_largest"),  # the last epoch of the first phase is at full size
    ("model", "multi_scale", False),
    ("train", "generator_rate", 2e-3),
    ("train", "discriminator_rate", 1e-3),
    ("train", "feature_weight", 0.0),
    ("train", "feature_weight", 5.0),
    ("train", "seed", 1),
]
FIRST = [
    ("model", "level_resize", "bilinear"),
    ("model", "hand_over", "shared"),
    ("model", "hand_over", "none"),
    ("train", "fade_in", False),
    ("train", "adam_steps", "common"),
    ("train", "progressive_batch", 2),
    ("train", "progressive_perceptual", "vgg19"),
    ("train", "progressive_perceptual", "inception"),
]
SECOND = [
    ("model", "seg_noise_init", "xavier"),
    ("train", "batch", 4),
    ("train", "perceptual", "vgg19"),
    ("train", "perceptual", "inception"),
    ("train", "augment", ()),
    ("train", "augment", ("color",)),
    ("train", "augment", ("crop",)),
    ("train", "augment", ("translation",)),
    ("train", "seg_noise", False),
    ("train", "decay_epochs", 2),
]
ELSEWHERE = {
    # What a run is made of: its length, its files, its other forms of computing the same, and what only the networks' shapes tell.
    "train": {"epochs", "save_every", "save_progressive_every", "keep", "ema", "accumulate", "progressive_accumulate", "precision", "compiled"}
    # In tests of their own below, and in test_perceptual.py.
    | {"progressive_epochs", "perceptual_weight", "vgg19_weights", "inception_weights", "inception_statistics"},
    "model": {"upsamplings", "levels"},
}


@pytest.mark.parametrize(("section", "name", "value"), BOTH)
def test_settings_of_both_phases(section: str, name: str, value: object) -> None:
    config = changed(section, **{name: value})
    assert not equal(train(config).first, train(CONFIG).first)
    assert not equal(train(config).second, train(CONFIG).second)
    alone = changed("train", CONFIG, **ALONE)
    assert not equal(train(changed(section, alone, **{name: value})).second, train(alone).second)


@pytest.mark.parametrize(("section", "name", "value"), FIRST)
def test_settings_of_the_first_phase_do_not_touch_the_second(section: str, name: str, value: object) -> None:
    assert not equal(train(changed(section, **{name: value})).first, train(CONFIG).first)
    alone = changed("train", CONFIG, **ALONE)
    assert equal(train(changed(section, alone, **{name: value})).second, train(alone).second)


@pytest.mark.parametrize(("section", "name", "value"), SECOND)
def test_settings_of_the_second_phase_do_not_touch_the_first(section: str, name: str, value: object) -> None:
    result = train(changed(section, **{name: value}))
    assert equal(result.first, train(CONFIG).first)
    assert not equal(result.second, train(CONFIG).second)


def test_every_setting_has_a_test_of_its_effect() -> None:
    tested = {(section, name) for section, name, _ in BOTH + FIRST + SECOND} | {
        (section, name) for section in ELSEWHERE for name in ELSEWHERE[section]
    }
    assert tested == {(section, item.name) for section, owner in (("model", ModelConfig), ("train", TrainConfig)) for item in fields(owner)}


def test_training_is_repeatable() -> None:
    assert equal(train.__wrapped__(CONFIG).second, train(CONFIG).second)


def test_the_first_phase_can_be_left_out() -> None:
    alone = train(changed("train", **ALONE))
    assert len(alone.losses) == 4 and all(np.isfinite(list(losses.values())).all() for losses in alone.losses)
    assert not equal(alone.first, alone.second)


def test_running_variance_moves_nothing_else() -> None:
    """What is learnt depends on the batches' own statistics."""
    one, other = train(CONFIG).second, train(changed("model", running_variance="biased")).second
    assert equal(*({name: array for name, array in arrays.items() if ".running_" not in name} for arrays in (one, other)))
    for name in (name for name in one if name.endswith("running_mean")):
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)
    assert all((one[name] >= other[name]).all() for name in one if name.endswith("running_var"))


@pytest.mark.parametrize(("phase", "setting"), [(0, "progressive_perceptual"), (4, "perceptual")])
def test_the_perceptual_loss_belongs_to_a_phase_and_grows_with_its_weight(phase: int, setting: str) -> None:
    """The first losses of a phase: what is behind them is the same."""
    with_it, doubled = (train(changed("train", **{setting: "vgg19", "perceptual_weight": weight})).losses for weight in (1.0, 2.0))
    assert ["perceptual" in losses for losses in with_it] == [(step < 4) == (phase == 0) for step in range(8)]
    assert doubled[phase]["perceptual"] == pytest.approx(2 * with_it[phase]["perceptual"])
    assert all(doubled[phase][name] == with_it[phase][name] for name in ("adversarial", "feature_matching"))


def test_what_weighs_nothing_is_neither_computed_nor_told() -> None:
    off = train(changed("train", progressive_perceptual="vgg19", perceptual="inception", perceptual_weight=0.0))
    assert off.losses == train(CONFIG).losses
    assert equal(off.second, train(CONFIG).second)
    without = train(changed("train", feature_weight=0.0))
    assert all(list(losses) == ["adversarial", "discriminator_fake", "discriminator_real"] for losses in without.losses)


def test_fresh_noise_is_silent_unless_it_is_drawn() -> None:
    """Silent noise leaves the first images of the second phase as they would be without; drawn noise does not."""
    plain = changed("train", augment=())
    silent, none, drawn = (
        train(config).losses[4] for config in (plain, changed("train", plain, seg_noise=False), changed("model", plain, seg_noise_init="xavier"))
    )
    assert silent["adversarial"] == none["adversarial"]
    assert drawn["adversarial"] != none["adversarial"]


def test_sizes_shrink_exactly_or_as_in_the_original() -> None:
    """To a quarter: the mean of sixteen pixels and the class of one, or of both the mean of the four in the middle."""
    source = random_source("pictures")
    photos, label_maps = source.standard_normal((2, 3, 16, 32), dtype=np.float32), source.integers(0, 3, (2, 16, 32)).astype(np.uint8)
    seen = {}
    for rule in ("exact", "bilinear"):
        config = Config(
            data=replace(CONFIG.data, width=32, height=16, load_width=32),
            model=replace(CONFIG.model, upsamplings=3, levels=3, level_resize=rule),
            train=CONFIG.train,
        )
        players, inputs = Players(config, device="cpu"), []
        players.discriminators.register_forward_pre_hook(lambda _module, given, inputs=inputs: inputs.append([to_numpy(each) for each in given]))
        players.learn(Batch(photos, label_maps, ("a", "b")), plan_epoch(1, config), index=0)
        seen[rule] = inputs[1]  # the painter's images come first
    blocks = photos.reshape(2, 3, 4, 4, 8, 4)
    onehot = (label_maps[:, None] == np.arange(3)[:, None, None]).astype(np.float32)
    assert (seen["exact"][0] == onehot[:, :, ::4, ::4]).all()
    np.testing.assert_allclose(seen["exact"][1], blocks.mean((3, 5)), atol=1e-6)
    np.testing.assert_allclose(seen["bilinear"][0], onehot.reshape(blocks.shape)[:, :, :, 1:3, :, 1:3].mean((3, 5)), atol=1e-6)
    np.testing.assert_allclose(seen["bilinear"][1], blocks[:, :, :, 1:3, :, 1:3].mean((3, 5)), atol=1e-6)


def test_rates_fall_by_the_epoch_alone() -> None:
    """Until they fall, nothing is different."""
    falling, constant = train(changed("train", decay_epochs=1)), train(CONFIG)
    assert falling.losses[:6] == constant.losses[:6]
    assert falling.losses[6]["adversarial"] == constant.losses[6]["adversarial"]
    assert falling.losses[7]["adversarial"] != constant.losses[7]["adversarial"]


def test_both_rates_are_those_of_the_plan() -> None:
    players, plan = Players(CONFIG, device="cpu"), plan_epoch(6, CONFIG)
    networks = {"painter": players.painter, "discriminators": players.discriminators}
    moved = {}
    for rate in (0.0, 1.0):
        before = {name: state_arrays(network) for name, network in networks.items()}
        players.learn(next(batches(6, 2)), replace(plan, rate=rate), index=0)
        moved[rate] = {
            name
            for name, network in networks.items()
            if any((array != before[name][key]).any() for key, array in state_arrays(network).items() if ".running_" not in key)
        }
    assert moved == {0.0: set(), 1.0: {"painter", "discriminators"}}
