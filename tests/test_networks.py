"""Networks of several sizes: shapes, the effect of every setting, initial weights, strict loading."""

from dataclasses import replace

import numpy as np
import pytest

from apfgan.backend import Tensor, from_numpy, load_arrays, mean, no_gradients, one_hot, set_training, state_arrays, to_numpy
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.errors import WeightsError
from apfgan.networks import Discriminators, Painter, build_discriminators, build_painter, start_noise
from apfgan.networks.blocks import xavier_normal
from apfgan.networks.generator import Generator
from apfgan.randomness import layered_noise, random_source
from apfgan.schedule import Role, Stage, plan_epoch
from tests.observing import gradients

pytestmark = pytest.mark.both_engines

CLASSES = 3


def config(**model: object) -> Config:
    settings = ModelConfig(**({"width": 4, "hidden": 4, "upsamplings": 2, "levels": 2} | model))
    return Config(
        data=DataConfig(classes=("a", "b", "c"), width=2 * settings.stride, height=settings.stride, load_width=2 * settings.stride),
        model=settings,
        train=TrainConfig(progressive_epochs=4 * (settings.levels - 1), epochs=20),
    )


def labels(size: Config, *, images: int = 2) -> Tensor:
    maps = random_source("labels").integers(0, CLASSES, (images, size.data.height, size.data.width))
    return one_hot(maps, CLASSES, device="cpu")


def draw_noise(generator: Generator, size: Config, *, seed: int, images: int = 2) -> list[Tensor]:
    sources = [random_source(seed, image) for image in range(images)]
    return [from_numpy(layer, device="cpu") for layer in layered_noise(sources, generator.noise_shapes(size.data.height, size.data.width))]


def paint(painter: Painter, size: Config, *, seed: int | None = None, stage: Stage | None = None) -> np.ndarray:
    noise = None if seed is None else draw_noise(painter.generator, size, seed=seed)
    with no_gradients():
        return to_numpy(painter(labels(size), noise=noise, stage=stage))


@pytest.mark.parametrize(("upsamplings", "levels"), [(2, 2), (3, 2), (3, 3), (4, 3), (5, 4)])
def test_sizes(upsamplings: int, levels: int) -> None:
    size = config(upsamplings=upsamplings, levels=levels, width=8)
    painter = build_painter(size, seed=0)
    height, width = size.data.height, size.data.width
    with no_gradients():
        z = painter.encoder(labels(size))
        assert tuple(z.shape) == (2, 2 ** (upsamplings - 1) * 8, 1, 2)
        image = painter.generator(z, labels(size), noise=draw_noise(painter.generator, size, seed=0), stage=None)
        assert tuple(image.shape) == (2, 3, height, width)
        assert np.abs(to_numpy(image)).max() <= 1
        for level in range(levels - 1):
            halvings = levels - 1 - level
            small, fading = (painter.generator(z, labels(size), noise=None, stage=stage).shape for stage in (Stage(level), Stage(level, 0.5)))
            assert tuple(small[2:]) == (height >> halvings, width >> halvings)
            assert tuple(fading[2:]) == (2 * height >> halvings, 2 * width >> halvings)


def test_noise_draws_of_the_original_size() -> None:
    shapes = build_painter(config(upsamplings=5, levels=4, width=8), seed=0).generator.noise_shapes(384, 512)
    sizes = [(6, 8)] * 2 + [(12, 16)] * 4 + [(24 << index, 32 << index) for index in range(5) for _ in range(3)]
    assert shapes == sizes


def test_full_size_has_the_channels_of_the_original() -> None:
    arrays = {name: array.shape for name, array in state_arrays(Painter(ModelConfig(width=8, hidden=128), classes=29)).items()}
    assert [arrays[f"encoder.convs.{index}.weight"][:2] for index in range(6)] == [(8, 29), (16, 8), (32, 16), (64, 32), (64, 64), (128, 64)]
    assert [arrays[f"generator.up.{index}.conv_1.weight"][:2] for index in range(5)] == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert [arrays[f"generator.images.{level}.weight"][1] for level in range(4)] == [32, 16, 8, 4]


@pytest.mark.parametrize("epoch", [1, 3, 5, 7, 8, 9])
def test_discriminators_see_every_role(epoch: int) -> None:
    size = config(upsamplings=3, levels=3, width=8)
    judges = build_discriminators(size, seed=0)
    roles = plan_epoch(epoch, size).roles
    picture = labels(size)
    seen = judges(picture, picture, roles=roles)
    assert [len(outputs) for outputs in seen] == [role.discriminator + (4 if role.fade else 5) for role in roles]
    assert all(tuple(outputs[-1].shape[:2]) == (2, 1) for outputs in seen)


def test_fading_reaches_from_the_level_below_to_the_level_itself() -> None:
    size = config(upsamplings=3, levels=3, width=8)
    painter = build_painter(size, seed=0)
    load_larger_weights(painter)
    small, faint, strong, large = (paint(painter, size, stage=stage) for stage in (Stage(0), Stage(0, 1e-6), Stage(0, 1 - 1e-6), Stage(1)))
    assert np.abs(faint - small.repeat(2, axis=2).repeat(2, axis=3)).mean() < np.abs(strong - faint).mean()
    np.testing.assert_allclose(strong, large, atol=1e-5)


def load_larger_weights(painter: Painter) -> None:
    """Xavier's gain of 0.02 leaves pictures nearly grey; these do not."""
    arrays = {name: array * (30 if name.endswith(".weight") else 1) for name, array in state_arrays(painter).items()}
    load_arrays(painter, arrays, origin="test")


def test_fresh_noise_is_silent_and_then_starts() -> None:
    size = config()
    painter = build_painter(size, seed=0)
    set_training(painter, False)
    load_larger_weights(painter)
    quiet = paint(painter, size)
    np.testing.assert_allclose(paint(painter, size, seed=1), quiet, atol=1e-6)  # an engine that fuses what it adds rounds otherwise
    start_noise(painter, random_source(0), gain=0.0)
    np.testing.assert_allclose(paint(painter, size, seed=1), quiet, atol=1e-6)
    start_noise(painter, random_source(0), gain=0.02)
    assert (paint(painter, size) == quiet).all()
    one, other = (paint(painter, size, seed=seed) for seed in (1, 2))
    assert min(np.abs(one - quiet).max(), np.abs(one - other).max()) > 1e-3
    noisy = [name for name, array in state_arrays(painter).items() if ".noise." in name and array.any()]
    assert noisy and all(name.endswith(".weight") for name in noisy)


def test_initial_weights_are_xavier_and_come_from_the_seed() -> None:
    size = config(width=32, hidden=16)
    for build in (build_painter, build_discriminators):
        arrays, again, other = (state_arrays(build(size, seed=seed)) for seed in (1, 1, 2))
        assert all((array == again[name]).all() for name, array in arrays.items())
        weights = [name for name in arrays if name.endswith(".weight") and ".noise." not in name]
        assert all((arrays[name] != other[name]).any() for name in weights)
        assert not any(array.any() for name, array in arrays.items() if name.endswith((".bias", "running_mean")))
    weight = xavier_normal((64, 128, 3, 3), random_source(0), gain=0.02)
    assert weight.std() == pytest.approx(0.02 * np.sqrt(2 / (9 * (64 + 128))), rel=0.02)


@pytest.mark.parametrize("change", [{"width": 8}, {"hidden": 8}, {"levels": 3, "width": 4}, {"upsamplings": 4}, {"spectral_norm": True}])
def test_every_setting_changes_the_networks(change: dict) -> None:
    plain, changed = config(upsamplings=3), config(**{"upsamplings": 3} | change)
    shapes = [
        {name: array.shape for build in (build_painter, build_discriminators) for name, array in state_arrays(build(each, seed=0)).items()}
        for each in (plain, changed)
    ]
    assert shapes[0] != shapes[1]


def test_spectral_norm_changes_the_image() -> None:
    images = []
    for spectral_norm in (False, True):
        size = config(spectral_norm=spectral_norm)
        painter = build_painter(size, seed=0)
        load_larger_weights(painter)
        images.append(paint(painter, size))
    assert np.abs(images[0] - images[1]).max() > 1e-3


def test_the_image_depends_on_the_label_map() -> None:
    size = config()
    painter = build_painter(size, seed=0)
    load_larger_weights(painter)
    with no_gradients():
        one, other = (
            to_numpy(painter(one_hot(np.full((1, size.data.height, size.data.width), label), CLASSES, device="cpu"), noise=None, stage=None))
            for label in (0, 1)
        )
    assert (one != other).any()


@pytest.mark.parametrize(
    ("other", "guess"),
    [
        ({"width": 8}, "width 8, expected 4"),
        ({"hidden": 16}, "hidden 16, expected 4"),
        ({"upsamplings": 4}, "upsamplings 4, expected 3"),
        ({"levels": 3}, "levels 3, expected 2"),
    ],
)
def test_loading_guesses_what_the_weights_are(other: dict, guess: str) -> None:
    painter = build_painter(config(upsamplings=3), seed=0)
    weights = state_arrays(build_painter(config(**{"upsamplings": 3} | other), seed=0))
    with pytest.raises(WeightsError, match=guess):
        load_arrays(painter, weights, origin="epoch_0001.safetensors")


def test_loading_other_discriminators_guesses_their_width() -> None:
    with pytest.raises(WeightsError, match="width 8, expected 4"):
        load_arrays(build_discriminators(config(), seed=0), state_arrays(build_discriminators(config(width=8), seed=0)), origin="state")


def test_hand_over_copies_what_is_shared_and_nothing_else() -> None:
    judges = build_discriminators(config(upsamplings=3, levels=3, width=8), seed=0)
    before = state_arrays(judges)
    judges.hand_over(1)
    after = state_arrays(judges)
    shared = {name for name in before if name.startswith("levels.0.")}
    for name, array in after.items():
        below = name.replace("levels.1.", "levels.0.")
        assert (array == before[below if name.startswith("levels.1.") and below in shared else name]).all()
    assert (after["levels.1.body.0.weight"] == before["levels.0.body.0.weight"]).all()


def test_wrong_number_of_noise_tensors_is_refused() -> None:
    size = config()
    painter = build_painter(size, seed=0)
    with pytest.raises(ValueError, match="12 noise tensors"):
        painter(labels(size), noise=draw_noise(painter.generator, size, seed=0)[:-1], stage=None)


def test_sizes_that_do_not_divide_are_refused() -> None:
    painter = build_painter(config(), seed=0)
    with pytest.raises(ValueError, match="12x8 pixels: both sides must be multiples of 8"):
        painter(one_hot(np.zeros((1, 8, 12), np.uint8), CLASSES, device="cpu"), noise=None, stage=None)


def test_an_ignored_pixel_is_not_a_class() -> None:
    size = config()
    maps = np.zeros((1, size.data.height, size.data.width), dtype=np.uint8)
    maps[:, :4] = 255
    painter = build_painter(size, seed=0)
    load_larger_weights(painter)
    with no_gradients():
        ignored, plain = (to_numpy(painter(one_hot(each, CLASSES, device="cpu"), noise=None, stage=None)) for each in (maps, 0 * maps))
    assert (ignored != plain).any()


def test_pyramid_halves_the_picture_for_each_further_role() -> None:
    size = config()
    judges: Discriminators = build_discriminators(size, seed=0)
    picture = labels(size)
    seen = judges(picture, picture, roles=(Role(0), Role(0)))
    assert [tuple(outputs[0].shape[2:]) for outputs in seen] == [(5, 9), (3, 5)]


@pytest.mark.parametrize(("border", "edge"), [("zeros", 6 / 9), ("ignored", 1.0)])
def test_the_border_of_the_pyramid_is_darkened_or_not(border: str, edge: float, monkeypatch: pytest.MonkeyPatch) -> None:
    size = config(pyramid_border=border)
    judges, seen = build_discriminators(size, seed=0), []
    monkeypatch.setattr(type(judges.levels[0]), "forward", lambda _self, pictures, **_: seen.append(to_numpy(pictures)))
    ones = labels(size) * 0 + 1
    judges(ones, ones, roles=(Role(0), Role(1)))
    np.testing.assert_allclose(seen[1][:, :, 0, 1:], edge, rtol=1e-6)
    np.testing.assert_allclose(seen[1][:, :, 1:, 1:], 1, rtol=1e-6)


@pytest.mark.parametrize("fade", [0.0, 0.3])
def test_a_borrowing_discriminator_uses_the_layers_of_the_one_below(fade: float) -> None:
    """It sees what one that has been handed them sees; and its own copies take no part."""
    size = config(upsamplings=3, levels=3, width=8, init_gain=1.0)
    picture = labels(size)
    handed, borrowing = (build_discriminators(size, seed=0) for _ in range(2))
    handed.hand_over(2)
    expected = handed(picture, picture, roles=(Role(2, fade),))[0]
    found = borrowing(picture, picture, roles=(Role(2, fade, borrows=True),))[0]
    assert len(found) == len(expected)
    assert all((to_numpy(one) == to_numpy(other)).all() for one, other in zip(found, expected, strict=True))
    moved = set(gradients(borrowing, sum((mean(feature**2, axes=None) for feature in found[1:]), start=mean(found[0] ** 2, axes=None))))
    own = {f"levels.2.{name}" for name in ("from_image.2.weight", "from_image.2.bias", "grow.1.weight")}
    lent = {f"levels.1.{name}" for name in ("grow.0.weight", *(f"body.{index}.weight" for index in range(4)), "predict.weight", "predict.bias")}
    assert moved == own | lent | ({"levels.1.from_image.1.weight", "levels.1.from_image.1.bias"} if fade else set())


def test_settings_that_are_only_for_training_do_not_matter() -> None:
    size = config()
    other = replace(size, train=replace(size.train, batch=7))
    one, two = (state_arrays(build_painter(each, seed=3)) for each in (size, other))
    assert all((array == two[name]).all() for name, array in one.items())
    assert one["encoder.convs.0.weight"].shape == (4, 3, 3, 3)
