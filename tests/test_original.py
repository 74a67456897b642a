"""Parity with recordings of the original Jittor program, by the preset `original`.

Largest differences found: images 2.1e-5 at 128x128 and 1.8e-4 at 192x256, features inside 3.3e-5, losses 2.3e-5, gradient norms 0.5 % (the
original's instance norm is the less exact one), weights after three steps 7e-5 of their norm and running statistics 9e-4, augmentation 4.4e-6,
perceptual losses 7.5e-7 (VGG19) and 2.4e-5 (Inception by its batches). Schedule, order of the noise draws and augmented label maps are equal.
On Jittor: images 2.1e-5 and 1.8e-4, features 3.3e-5, losses 1.8e-5, gradient norms 0.4 %, augmentation 4.0e-6.
"""

import json
import lzma
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from safetensors.numpy import save_file

from apfgan.augment import Draws, augment
from apfgan.backend import (
    Tensor,
    from_numpy,
    load_arrays,
    no_gradients,
    one_hot,
    optimizer_arrays,
    set_training,
    state_arrays,
    to_numpy,
)
from apfgan.config import PRESETS, TrainConfig
from apfgan.data import Batch
from apfgan.losses import perceptual
from apfgan.networks import Discriminators, Painter, build_discriminators, build_painter
from apfgan.networks.blocks import Spade
from apfgan.networks.perceptual import Inception, Vgg19, load_perceptual
from apfgan.original import discriminator_slots, encoder_slots, generator_slots
from apfgan.pickles import parse_arrays_pickle
from apfgan.players import Players
from apfgan.schedule import plan_epoch
from tests.observing import watched

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens" / "A"
pytestmark = [pytest.mark.both_engines, pytest.mark.skipif(not GOLDENS.exists(), reason="the recordings are not here")]

ORIGINAL = PRESETS["original"]
CONFIG = replace(
    ORIGINAL,
    data=replace(ORIGINAL.data, width=128, height=128, load_width=144),
    model=replace(ORIGINAL.model, width=8),
    # The recordings are without perceptual loss, noise and augmentation.
    train=replace(ORIGINAL.train, progressive_perceptual="none", perceptual="none", seg_noise=False, augment=()),
)
NAMES = {"adversarial": "GAN", "feature_matching": "GAN_Feat", "discriminator_fake": "D_Fake", "discriminator_real": "D_real"}


SLOTS = [*generator_slots(CONFIG.model, classes=29), *encoder_slots(CONFIG.model, classes=29), *discriminator_slots(CONFIG.model, classes=29)]
OURS = {slot.theirs: slot.ours for slot in SLOTS}
"""Our name of each of the original's arrays, as importing takes them."""


def ours(name: str) -> str:
    """Our name of what the original calls `weight`, or `weight_orig` where it believes to normalise."""
    return OURS[name.replace("weight_orig", "weight")]


def recorded_weights(name: str) -> dict[str, np.ndarray]:
    """The arrays of a recorded checkpoint under our names."""
    arrays = parse_arrays_pickle(lzma.decompress((GOLDENS / "ckpt" / f"{name}.pkl.xz").read_bytes()), origin=name)
    return {ours(key): array.astype(np.float32) for key, array in arrays.items() if not key.endswith(("_u", "_v")) and not key.startswith("fc_")}


def load_painter(checkpoint: str) -> Painter:
    painter = build_painter(CONFIG, seed=0)
    heads = {ours(name): array for name, array in np.load(GOLDENS / "train_inter_conv_img.npz").items()}
    weights = recorded_weights(f"{checkpoint}_net_G") | recorded_weights(f"{checkpoint}_net_E") | heads
    load_arrays(painter, weights, origin="the recording")
    set_training(painter, False)
    return painter


@pytest.fixture(scope="module")
def painters() -> dict[str, Painter]:
    return {checkpoint: load_painter(checkpoint) for checkpoint in ("1", "2", "avg_1_2")}


def discriminators() -> Discriminators:
    networks = build_discriminators(CONFIG, seed=0)
    load_arrays(networks, recorded_weights("1_net_D"), origin="the recording")
    return networks


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def test_schedule_of_every_epoch() -> None:
    recorded = json.loads((GOLDENS / "schedule_180_4.json").read_text())["epochs"]
    assert len(recorded) == 312
    for row in recorded:
        plan = plan_epoch(row["epoch"], ORIGINAL)
        stage, roles = plan.stage, plan.roles
        assert (row["G"] == "tensor") == (stage is None)
        top = 3 if stage is None else stage.top
        assert row["out_hw"] == [384 >> (3 - top), 512 >> (3 - top)]
        levels = [3] if stage is None else list(range(stage.level, stage.top + 1))
        assert row["heads"] == ["out_conv_img" if level == 3 else f"inter_conv_img.{2 - level}" for level in levels]
        assert row["blend"] == pytest.approx([stage.fade] if stage and stage.fade > 0 else [], abs=1e-6)
        outputs = [role.discriminator + (4 if role.fade > 0 else 5) for role in roles]
        sizes = [[384 >> (3 - top + step), 512 >> (3 - top + step)] for step in range(len(roles))]
        assert [[index, size, count] for index, size, _, count in row["D"]] == [
            [role.discriminator, size, count] for role, size, count in zip(roles, sizes, outputs, strict=True)
        ]
        assert [fade for _, _, fade, _ in row["D"]] == pytest.approx([role.fade for role in roles], abs=1e-6)
        assert row["copy"] == ([] if plan.heir is None else [[plan.heir - 1, plan.heir]])
        assert [role.discriminator for role in roles if role.borrows] == [below + 1 for below, _ in row["copy"]]
        assert plan.rate == 1


@pytest.mark.parametrize(
    ("checkpoint", "labels", "noise", "recording", "tolerance"),
    [
        ("1", "labels_128x128", False, "out_1_zero_128x128", 2e-4),
        ("2", "labels_128x128", False, "out_2_zero_128x128", 2e-4),
        ("avg_1_2", "labels_128x128", False, "out_avg_1_2_zero_128x128", 2e-4),
        ("2", "labels_128x128", True, "out_2_noise_128x128", 2e-4),
        ("avg_1_2", "labels_128x128", True, "out_avg_1_2_noise_128x128", 2e-4),
        ("avg_1_2", "labels_192x256", False, "out_avg_1_2_zero_192x256_stride2", 1e-3),
        ("1", "labels_pure", False, "out_1_zero_pure", 1e-3),
    ],
)
def test_images(painters: dict[str, Painter], checkpoint: str, labels: str, noise: bool, recording: str, tolerance: float) -> None:
    onehot = one_hot(np.load(GOLDENS / f"{labels}.npy"), 29, device="cpu")
    recorded = np.load(GOLDENS / "noise_128x128.npz")
    draws = [from_numpy(recorded[name].astype(np.float32), device="cpu") for name in sorted(recorded)] if noise else None
    with no_gradients():
        image = to_numpy(painters[checkpoint](onehot, noise=draws, stage=None))
    expected = np.load(GOLDENS / f"{recording}.npy")
    difference = largest_difference(image[:, :, ::2, ::2] if "stride2" in recording else image, expected)
    assert difference < tolerance


def test_noise_is_drawn_in_the_recorded_order(painters: dict[str, Painter], monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = np.load(GOLDENS / "noise_128x128.npz")
    generator, used = painters["1"].generator, []
    assert generator.noise_shapes(128, 128) == [recorded[name].shape[2:] for name in sorted(recorded)]
    draws = [from_numpy(recorded[name].astype(np.float32), device="cpu") for name in sorted(recorded)]
    blocks = {"head": generator.head} | {
        f"{part}.{index}": block for part in ("middle", "up") for index, block in enumerate(getattr(generator, part))
    }
    spades = {
        f"{name}.{part}": getattr(block, part) for name, block in blocks.items() for part in ("norm_s", "norm_0", "norm_1") if hasattr(block, part)
    }
    forward = Spade.forward

    def watch(spade: Spade, x: Tensor, onehot: Tensor, noise: Tensor | None) -> Tensor:
        name = next(name for name, each in spades.items() if each is spade)
        used.append((name, next(index for index, draw in enumerate(draws) if draw is noise)))
        return forward(spade, x, onehot, noise)

    monkeypatch.setattr(Spade, "forward", watch)
    with no_gradients():
        painters["1"](one_hot(np.load(GOLDENS / "labels_128x128.npy"), 29, device="cpu"), noise=draws, stage=None)
    order = json.loads((GOLDENS / "meta.json").read_text())["noise_draw_order"]
    assert used == [
        (ours(f"{name}.seg_noise_var.weight").removeprefix("generator.").removesuffix(".noise.weight"), index) for index, name in enumerate(order)
    ]


def test_features_inside_the_painter(painters: dict[str, Painter]) -> None:
    painter = painters["1"]
    generator = painter.generator
    modules = {"z": painter.encoder, "head_0": generator.head, "G_middle_0": generator.middle[0], "G_middle_1": generator.middle[1]}
    modules |= {f"up_{index}": block for index, block in enumerate(generator.up)}
    outputs: dict[str, list[Tensor]] = {name: [] for name in modules}
    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(watched(module, outputs[name].append))
        stack.enter_context(no_gradients())
        painter(one_hot(np.load(GOLDENS / "labels_128x128.npy"), 29, device="cpu"), noise=None, stage=None)
    recorded = json.loads((GOLDENS / "meta.json").read_text())["taps_stats_1"]
    assert outputs.keys() == recorded.keys() | {"z"}
    for name, (output,) in outputs.items():
        tap = to_numpy(output)
        if (path := GOLDENS / f"tap_1_{name}.npy").exists():
            assert largest_difference(tap, np.load(path)) < 3e-4
        if name in recorded:
            assert list(tap.shape) == recorded[name].pop("shape")
            assert {"mean": tap.mean(), "std": tap.std(), "absmax": np.abs(tap).max()} == pytest.approx(recorded[name], abs=3e-4)


def players_of_the_recording(*, rates: bool) -> tuple[Players, Batch]:
    """Checkpoint 1 in training, and its batch; without `rates` nothing moves."""
    config = CONFIG if rates else replace(CONFIG, train=replace(CONFIG.train, generator_rate=1e-30, discriminator_rate=1e-30))
    players = Players(config, device="cpu")
    for network, weights in ((players.painter, load_painter("1")), (players.discriminators, discriminators())):
        load_arrays(network, state_arrays(weights), origin="the recording")
    photos = (np.load(GOLDENS / "train_real_128x128.npy") / 255 - 0.5).astype(np.float32) / 0.5
    return players, Batch(photos, np.load(GOLDENS / "train_labels_128x128.npy"), ("a", "b"))


@pytest.mark.parametrize("epoch", [10, 45, 75, 105, 130, 165, 200])
def test_losses_and_gradients(epoch: int) -> None:
    recorded = json.loads((GOLDENS / "train_golden.json").read_text())["losses"][str(epoch)]
    players, batch = players_of_the_recording(rates=False)
    painted: list[Tensor] = []
    judged: list[list[list[Tensor]]] = []
    with watched(players.painter, painted.append), watched(players.discriminators, judged.append):
        losses = players.learn(batch, plan_epoch(epoch, players.config), index=0)
    assert {NAMES[name]: value for name, value in losses.items()} == pytest.approx(recorded["G_losses"] | recorded["D_losses"], abs=1e-4)

    fakes, theirs = to_numpy(painted[0]), recorded["fake"]
    assert list(fakes.shape) == np.array(theirs["shape"]).ravel().tolist()
    assert [fakes.mean(), fakes.std(), *fakes[0, :, 3, 5]] == pytest.approx([theirs["mean"], theirs["std"], *theirs["sample"]], abs=1e-4)
    for fake, real, theirs in zip(
        *([[to_numpy(each) for each in features] for features in seen] for seen in judged[:2]), recorded["pred"], strict=True
    ):
        assert len(fake) == theirs["n_out"] and list(fake[-1].shape) == theirs["shape"]
        assert [list(feature.shape[1:]) for feature in fake[:-1]] == theirs["feat_shapes"]
        assert [fake[-1].mean(), real[-1].mean()] == pytest.approx([theirs["fake_mean"], theirs["real_mean"]], abs=1e-4)
        distances = [np.abs(one - other).mean() for one, other in zip(fake[:-1], real[:-1], strict=True)]
        assert distances == pytest.approx(theirs["feat_l1"], abs=1e-4)

    # Adam without a first moment remembers the gradient itself as its mean.
    memory = optimizer_arrays(players.painter_optimizer) | optimizer_arrays(players.discriminator_optimizer)
    for name, expected in (recorded["G_grad_l2"] | recorded["D_grad_l2"]).items():
        parameter = name.partition(":")[2]
        gradient = memory[f"{ours(parameter)}.mean"]
        assert np.linalg.norm(gradient) == pytest.approx(expected, rel=1e-2), name


@pytest.mark.parametrize("epoch", [45, 200])
def test_three_training_steps(epoch: int) -> None:
    """The first step's losses agree closely; later ones less, since Adam's first steps follow the sign of a gradient, however small."""
    recorded = json.loads((GOLDENS / "train_golden.json").read_text())["trace"][str(epoch)]
    players, batch = players_of_the_recording(rates=True)
    for index, theirs in enumerate(recorded["losses"]):
        losses = players.learn(batch, plan_epoch(epoch, players.config), index=index)
        assert {NAMES[name]: value for name, value in losses.items()} == pytest.approx(theirs, **({"abs": 1e-4} if index == 0 else {"rel": 0.05}))
    after, before = (
        state_arrays(painter) | state_arrays(judges)
        for painter, judges in ((players.painter, players.discriminators), (load_painter("1"), discriminators()))
    )
    for name, theirs in recorded["params"].items():
        kind, _, parameter = name.partition(":")
        values, first = (each[ours(parameter)].astype(np.float64) for each in (after, before))
        if theirs["sum"] == pytest.approx(first.sum(), abs=1e-9):  # it takes no part in this epoch
            assert (values == first).all()
        elif "running" in name:
            assert [np.linalg.norm(values), values.sum()] == pytest.approx([theirs["l2"], theirs["sum"]], rel=0.01)
        else:  # a few signs differ among so many steps of the size of the rate
            assert np.linalg.norm(values) == pytest.approx(theirs["l2"], rel=1e-4)
            assert values.sum() == pytest.approx(theirs["sum"], abs=3 * (4e-4 if kind == "D" else 1e-4) * np.sqrt(values.size))


@pytest.mark.parametrize("tag", ["color", "crop", "translation", "color_crop_translation"])
def test_augmentation(tag: str) -> None:
    recorded = np.load(GOLDENS / "diffaug.npz")
    values = [recorded[name] for name in sorted(name for name in recorded if name.startswith(f"{tag}_draw"))]
    colour = cropped = shift = None
    window = (0, 0)
    if "color" in tag:
        # recorded in call order: brightness of real and fake, saturation, contrast
        colour, values = np.array([part.ravel() for part in values[:6]]).reshape(3, 2, -1).swapaxes(0, 1), values[6:]
    if "crop" in tag:
        window, cropped, values = (int(values[0]), int(values[1])), values[2].ravel() < 0.5, values[3:]
    if "translation" in tag:
        shift = np.stack([-values[0].ravel(), -values[1].ravel()], axis=1)
    draws = Draws(colour=colour, cropped=cropped, window=window, shift=shift)
    inputs = {name: from_numpy(recorded[key], device="cpu") for name, key in (("photos", "real"), ("fakes", "fake"), ("labels", "label"))}
    results = augment(draws, **inputs, device="cpu")
    differences = [
        largest_difference(to_numpy(result), recorded[f"{tag}_{name}"]) for result, name in zip(results, ("real", "fake", "label"), strict=True)
    ]
    assert max(differences[:2]) < 1e-5
    assert differences[2] == 0


def recipe_weights(keys: list, rename: Callable[[str], str]) -> dict[str, np.ndarray]:
    """Weights by the recordings' recipe: each from a seed that is the hash of its name."""
    weights = {}
    for name, shape in keys:
        draws = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        if name.endswith("running_var"):
            values = 1 + 0.1 * np.abs(draws)
        elif name.endswith(("bias", "running_mean")):
            values = 0.1 * draws
        else:
            values = 1 + 0.1 * draws if len(shape) == 1 else draws * np.sqrt(2 / np.prod(shape[1:]))
        weights[rename(name)] = values.astype(np.float32)
    return weights


def compare_features(network: Vgg19 | Inception, recorded: dict, shapes: list) -> None:
    inputs = np.load(GOLDENS / "perceptual_inputs.npz")
    with no_gradients():
        fake, real = (network(from_numpy(inputs[name].astype(np.float32), device="cpu")) for name in ("x", "y"))
        loss = to_numpy(perceptual(fake, real, weights=network.weights)).item()
    fake, real = ([to_numpy(feature) for feature in features] for features in (fake, real))
    assert [list(feature.shape) for feature in fake] == shapes
    assert [feature.mean() for feature in fake] == pytest.approx(recorded["feat_mean"], abs=1e-4)
    assert [np.abs(one - other).mean() for one, other in zip(fake, real, strict=True)] == pytest.approx(recorded["l1"], abs=1e-4)
    assert loss == pytest.approx(recorded["loss"], abs=1e-4)


def test_vgg19_perceptual_loss(tmp_path: Path) -> None:
    recorded = json.loads((GOLDENS / "perceptual.json").read_text())["vgg"]
    save_file(recipe_weights(recorded["keys"], lambda name: f"features.{name.partition('.')[2]}"), tmp_path / "vgg19.safetensors")
    network = load_perceptual("vgg19", TrainConfig(vgg19_weights=str(tmp_path / "vgg19.safetensors")), device="cpu")
    assert list(network.weights) == recorded["weights"]
    compare_features(network, recorded, recorded["feat_shapes"])


@pytest.mark.parametrize(("statistics", "mode"), [("batch", "train_mode"), ("running", "eval_mode")])
def test_inception_perceptual_loss(tmp_path: Path, statistics: Literal["batch", "running"], mode: str) -> None:
    recorded = json.loads((GOLDENS / "perceptual.json").read_text())["inception"]
    # The original keeps the layers in a list, where the two poolings count.
    places = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "", "Conv2d_3b_1x1", "Conv2d_4a_3x3", ""]
    places += [f"Mixed_{name}" for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")]

    def torchvision_name(name: str) -> str:
        _, place, rest = name.split(".", 2)
        return f"{places[int(place)]}.{rest}"

    save_file(recipe_weights(recorded["keys"], torchvision_name), tmp_path / "inception.safetensors")
    settings = TrainConfig(inception_weights=str(tmp_path / "inception.safetensors"), inception_statistics=statistics)
    network = load_perceptual("inception", settings, device="cpu")
    assert list(network.weights) == recorded["weights"]
    before = state_arrays(network)
    compare_features(network, recorded[mode], recorded["feat_shapes"])
    assert all((array == before[name]).all() for name, array in state_arrays(network).items())
