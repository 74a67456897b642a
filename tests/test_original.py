"""Parity with recordings of the original Jittor program: schedule, networks, losses, gradients, augmentation, VGG19 features."""

import io
import json
import lzma
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from apfgan.augment import Draws, augment
from apfgan.backend import (
    from_numpy,
    load_arrays,
    no_gradients,
    one_hot,
    resize_bilinear,
    set_training,
    state_arrays,
    to_numpy,
)
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import Batch
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real, perceptual
from apfgan.networks import Discriminators, Painter, build_discriminators, build_painter
from apfgan.networks.perceptual import load_vgg19
from apfgan.players import Players, plan_epoch
from apfgan.schedule import heir_at, roles_at, stage_at

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens" / "A"
pytestmark = pytest.mark.skipif(not GOLDENS.exists(), reason="the recordings are not here")

SCHEDULE = {"levels": 4, "progressive_epochs": 180}
CONFIG = Config(data=DataConfig(width=128, height=128, load_width=144), model=ModelConfig(width=8))


class NumpyUnpickler(pickle.Unpickler):
    """Reads the recordings, which are trusted, and nothing but arrays."""

    def find_class(self, module: str, name: str) -> object:
        if module.split(".")[0] == "numpy":
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def recorded_weights(name: str) -> dict[str, np.ndarray]:
    return NumpyUnpickler(io.BytesIO(lzma.open(GOLDENS / "ckpt" / f"{name}.pkl.xz").read())).load()


def ours(name: str) -> str:
    """Our name of one of the original's parameters."""
    parts = name.split(".")
    if name.startswith("layer"):
        return f"convs.{int(parts[0][5:]) - 1}.weight"
    if name.startswith("multiscale_discriminator_"):
        level, layer, kind = parts[0][-1], parts[1], parts[-1].removesuffix("_orig")
        if layer.startswith("toRGB"):
            return f"levels.{level}.from_image.{layer[11:]}.{kind}"
        if layer.startswith("extra"):
            return f"levels.{level}.grow.{int(layer[5:]) - 1}.{kind}"
        return f"levels.{level}.predict.{kind}" if layer == "model4" else f"levels.{level}.body.{layer[5:]}.{kind}"
    if name.startswith("inter_conv_img"):
        return f"images.{2 - int(parts[1])}.{parts[-1]}"
    for theirs, our in (
        ("out_conv_img", "images.3"),
        ("head_0", "head"),
        ("G_middle_", "middle."),
        ("up_", "up."),
        ("param_free_norm", "norm"),
        ("seg_noise_var", "noise"),
        ("mlp_shared.0", "shared"),
        ("mlp_", ""),
        ("weight_orig", "weight"),
    ):
        name = name.replace(theirs, our)
    return name


def renamed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    kept = {name: array for name, array in arrays.items() if not name.endswith(("weight_u", "weight_v")) and not name.startswith("fc_")}
    return {ours(name): array.astype(np.float32) for name, array in kept.items()}


def load_painter(checkpoint: str) -> Painter:
    painter = build_painter(CONFIG, seed=0)
    heads = renamed(np.load(GOLDENS / "train_inter_conv_img.npz"))
    load_arrays(painter.generator, renamed(recorded_weights(f"{checkpoint}_net_G")) | heads, origin="the recording")
    load_arrays(painter.encoder, renamed(recorded_weights(f"{checkpoint}_net_E")), origin="the recording")
    set_training(painter, False)
    return painter


@pytest.fixture(scope="module")
def painters() -> dict[str, Painter]:
    return {checkpoint: load_painter(checkpoint) for checkpoint in ("1", "2", "avg_1_2")}


def discriminators() -> Discriminators:
    networks = build_discriminators(CONFIG, seed=0)
    load_arrays(networks, renamed(recorded_weights("1_net_D")), origin="the recording")
    return networks


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def test_schedule_of_every_epoch() -> None:
    recorded = json.loads((GOLDENS / "schedule_180_4.json").read_text())["epochs"]
    assert len(recorded) == 312
    for row in recorded:
        epoch = row["epoch"]
        stage, roles = stage_at(epoch, **SCHEDULE), roles_at(epoch, **SCHEDULE)
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
        heir = heir_at(epoch, **SCHEDULE)
        assert row["copy"] == ([] if heir is None else [[heir - 1, heir]])


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


def test_noise_sizes_are_the_recorded_ones(painters: dict[str, Painter]) -> None:
    recorded = np.load(GOLDENS / "noise_128x128.npz")
    assert painters["1"].generator.noise_shapes(128, 128) == [recorded[name].shape[2:] for name in sorted(recorded)]


def test_features_inside_the_painter(painters: dict[str, Painter]) -> None:
    painter = painters["1"]
    generator = painter.generator
    taps: dict[str, np.ndarray] = {}
    modules = {"z": painter.encoder, "head_0": generator.head, "G_middle_0": generator.middle[0], "G_middle_1": generator.middle[1]}
    modules |= {"up_0": generator.up[0], "up_1": generator.up[1]}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: taps.update({name: to_numpy(output)}))
        for name, module in modules.items()
    ]
    with no_gradients():
        painter(one_hot(np.load(GOLDENS / "labels_128x128.npy"), 29, device="cpu"), noise=None, stage=None)
    for hook in hooks:
        hook.remove()
    differences = {name: largest_difference(tap, np.load(GOLDENS / f"tap_1_{name}.npy")) for name, tap in taps.items()}
    assert max(differences.values()) < 3e-4


@pytest.mark.parametrize("epoch", [10, 45, 75, 105, 130, 165, 200])
def test_losses_and_gradients(epoch: int) -> None:
    recorded = json.loads((GOLDENS / "train_golden.json").read_text())["losses"][str(epoch)]
    stage, roles = stage_at(epoch, **SCHEDULE), roles_at(epoch, **SCHEDULE)
    photos = from_numpy((np.load(GOLDENS / "train_real_128x128.npy") / 255 - 0.5).astype(np.float32) / 0.5, device="cpu")
    onehot = one_hot(np.load(GOLDENS / "train_labels_128x128.npy"), 29, device="cpu")
    painter, judges = load_painter("1"), discriminators()
    set_training(painter, True)

    fakes = painter(onehot, noise=None, stage=stage)
    height, width = fakes.shape[2:]
    labels = resize_bilinear(onehot, height=height, width=width)
    photos = resize_bilinear(photos, height=height, width=width)
    fake, real = judges(labels, fakes, roles=roles), judges(labels, photos, roles=roles)
    for ours_fake, ours_real, theirs in zip(fake, real, recorded["pred"], strict=True):
        assert len(ours_fake) == theirs["n_out"]
        assert [list(feature.shape[1:]) for feature in ours_fake[:-1]] == theirs["feat_shapes"]
        assert [ours_fake[-1].mean().item(), ours_real[-1].mean().item()] == pytest.approx([theirs["fake_mean"], theirs["real_mean"]], abs=1e-4)
        assert [(one - other).abs().mean().item() for one, other in zip(ours_fake[:-1], ours_real[:-1], strict=True)] == pytest.approx(
            theirs["feat_l1"], abs=1e-4
        )
    generator_losses = {"GAN": adversarial(fake), "GAN_Feat": 10 * feature_matching(fake, real)}
    compare_losses(generator_losses, recorded["G_losses"])
    sum(generator_losses.values()).backward()
    compare_gradients({"G": painter.generator, "E": painter.encoder}, recorded["G_grad_l2"])

    judges.zero_grad()
    seen = judges(labels, fakes.detach(), roles=roles)
    discriminator_losses = {"D_Fake": hinge_fake(seen), "D_real": hinge_real(judges(labels, photos, roles=roles))}
    compare_losses(discriminator_losses, recorded["D_losses"])
    sum(discriminator_losses.values()).backward()
    compare_gradients({"D": judges}, recorded["D_grad_l2"])


def compare_losses(losses: dict, recorded: dict[str, float]) -> None:
    values = {name: loss.item() for name, loss in losses.items()}
    assert values == pytest.approx(recorded, abs=1e-4)


def compare_gradients(networks: dict, recorded: dict[str, float]) -> None:
    for name, expected in recorded.items():
        kind, _, parameter = name.partition(":")
        gradient = dict(networks[kind].named_parameters())[ours(parameter)].grad
        norm = 0.0 if gradient is None else gradient.norm().item()
        assert norm == pytest.approx(expected, rel=1e-2), name


@pytest.mark.parametrize("epoch", [45, 200])
def test_three_training_steps(epoch: int) -> None:
    """The first step's losses agree closely; later ones less, since Adam's first steps follow the sign of a gradient, however small."""
    recorded = json.loads((GOLDENS / "train_golden.json").read_text())["trace"][str(epoch)]["losses"]
    names = {"adversarial": "GAN", "feature_matching": "GAN_Feat", "discriminator_fake": "D_Fake", "discriminator_real": "D_real"}
    config = replace(CONFIG, train=TrainConfig(augment=(), seg_noise=False))
    players = Players(config, device="cpu")
    for network, weights in ((players.painter, load_painter("1")), (players.discriminators, discriminators())):
        load_arrays(network, state_arrays(weights), origin="the recording")
    photos = (np.load(GOLDENS / "train_real_128x128.npy") / 255 - 0.5).astype(np.float32) / 0.5
    batch = Batch(photos, np.load(GOLDENS / "train_labels_128x128.npy"), ("a", "b"))
    for index, theirs in enumerate(recorded):
        losses = players.learn(batch, plan_epoch(epoch, config), index=index)
        assert {names[name]: value for name, value in losses.items()} == pytest.approx(theirs, **({"abs": 1e-4} if index == 0 else {"rel": 0.05}))


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


def test_vgg19_perceptual_loss(tmp_path: Path) -> None:
    recorded = json.loads((GOLDENS / "perceptual.json").read_text())["vgg"]
    weights = {}
    for name, shape in recorded["keys"]:
        source = np.random.RandomState(zlib.crc32(name.encode()))
        values = source.standard_normal(shape)
        scale = 0.1 if name.endswith("bias") else np.sqrt(2 / np.prod(shape[1:]))
        weights[f"features.{name.partition('.')[2]}"] = (values * scale).astype(np.float32)
    save_file(weights, tmp_path / "vgg19.safetensors")
    vgg = load_vgg19(tmp_path / "vgg19.safetensors", device="cpu")
    inputs = np.load(GOLDENS / "perceptual_inputs.npz")
    with no_gradients():
        fake, real = (vgg(from_numpy(inputs[name].astype(np.float32), device="cpu")) for name in ("x", "y"))
        loss = perceptual(fake, real).item()
    assert [list(feature.shape) for feature in fake] == recorded["feat_shapes"]
    assert loss == pytest.approx(recorded["loss"], abs=1e-4)


def test_every_array_of_the_original_has_one_place_of_ours(painters: dict[str, Painter]) -> None:
    sizes = json.loads((GOLDENS / "keys.json").read_text())
    for file, network in (("1_net_G.pkl", painters["1"].generator), ("1_net_E.pkl", painters["1"].encoder), ("1_net_D.pkl", discriminators())):
        theirs = {ours(name): tuple(shape) for name, shape, _ in sizes[file] if not name.endswith(("_u", "_v")) and not name.startswith("fc_")}
        mine = {name: array.shape for name, array in state_arrays(network).items()}
        assert theirs.items() <= mine.items()
        assert {name.rpartition(".")[0] for name in mine.keys() - theirs.keys()} <= {"images.0", "images.1", "images.2"}
