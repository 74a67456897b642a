"""The networks of the perceptual loss against torchvision's, and what is said when a file of weights is missing or wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apfgan.backend import from_numpy, mean, no_gradients
from apfgan.config import TrainConfig
from apfgan.errors import WeightsError
from apfgan.files import hash_file
from apfgan.networks import perceptual
from apfgan.networks.perceptual import Inception, Vgg19, load_perceptual
from apfgan.randomness import random_source
from metrics.weights import INCEPTION_V3, VGG19

IMAGES = random_source("images").uniform(-1, 1, (2, 3, 96, 112))
"""In float64: batch statistics of a few values would amplify rounding."""


def fill(module: torch.nn.Module) -> None:
    """Draw all weights and statistics from a seed, so that features neither vanish nor explode."""
    source = random_source("weights")
    with torch.no_grad():
        for name, value in module.state_dict().items():
            draws = torch.from_numpy(source.standard_normal(tuple(value.shape), dtype=np.float32))
            if value.ndim > 1:
                value.copy_(draws * (2 / value[0].numel()) ** 0.5)
            elif value.ndim == 1:
                value.copy_(1 + 0.2 * draws.abs() if name.endswith(("running_var", "bn.weight")) else 0.1 * draws)


@pytest.fixture(scope="module")
def torchvision_vgg19() -> torch.nn.Module:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):  # its classifier alone has 124 million weights
        features = models.vgg19(weights=None, init_weights=False).features
    features.to_empty(device="cpu")
    fill(features)
    return features.eval()


@pytest.fixture(scope="module")
def torchvision_inception() -> torch.nn.Module:
    models = pytest.importorskip("torchvision.models")
    # Its second head is part of the file, but these images are too small for it.
    network = models.inception_v3(weights=None, init_weights=False, transform_input=False, aux_logits=False)
    fill(network)
    return network.eval()


@pytest.fixture(scope="module")
def files(torchvision_vgg19: torch.nn.Module, torchvision_inception: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both in torchvision's format."""
    folder = tmp_path_factory.mktemp("files")
    vgg19 = {f"features.{name}": value for name, value in torchvision_vgg19.state_dict().items()}
    torch.save(vgg19 | {"classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.zeros(2)}, folder / "vgg19.pth")
    torch.save(torchvision_inception.state_dict() | {"AuxLogits.fc.bias": torch.zeros(1000)}, folder / "inception.pth")
    return folder


def settings(files: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(**{"vgg19_weights": str(files / "vgg19.pth"), "inception_weights": str(files / "inception.pth")} | changes)


def watched(network: torch.nn.Module, names: list[str]) -> list[np.ndarray]:
    """What modules of torchvision's network give out for the images."""
    outputs: list[np.ndarray] = []
    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: outputs.append(output.numpy().copy())) for name in names
    ]
    with torch.no_grad():
        network.double()(torch.from_numpy(IMAGES))
    for hook in hooks:
        hook.remove()
    return outputs


def features(network: Vgg19 | Inception) -> list[np.ndarray]:
    with no_gradients():
        return [feature.numpy() for feature in network.double()(from_numpy(IMAGES, device="cpu"))]


def compare(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-9 * np.abs(other).max()


def test_vgg19_is_torchvisions(files: Path, torchvision_vgg19: torch.nn.Module) -> None:
    compare(features(load_perceptual("vgg19", settings(files), device="cpu")), watched(torchvision_vgg19, ["1", "6", "11", "20", "29"]))


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_inception_is_torchvisions(files: Path, torchvision_inception: torch.nn.Module, statistics: str) -> None:
    network = load_perceptual("inception", settings(files, inception_statistics=statistics), device="cpu")
    found = features(network)
    torchvision_inception.train(statistics == "batch")
    before = {name: value.clone() for name, value in torchvision_inception.state_dict().items()}
    compare(found, watched(torchvision_inception, ["maxpool1", "maxpool2", "Mixed_6e", "avgpool"]))
    torchvision_inception.load_state_dict(before)  # batch statistics moved its running ones, which ours leave alone
    assert all((one == other).all() for one, other in zip(features(network), found, strict=True))


def test_images_get_a_gradient_and_the_network_none(files: Path) -> None:
    network = load_perceptual("vgg19", settings(files), device="cpu")
    images = from_numpy(IMAGES.astype(np.float32), device="cpu").requires_grad_()
    mean(network(images)[-1], axes=None).backward()
    assert images.grad is not None and images.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_catalogue_brings_the_files_that_are_looked_for() -> None:
    assert {"vgg19": (VGG19.name, VGG19.file), "inception": (INCEPTION_V3.name, INCEPTION_V3.file)} == perceptual._FILES
    assert all(entry.file.rpartition("-")[2] == f"{entry.sha256[:8]}.pth" for entry in (VGG19, INCEPTION_V3))


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """torch.hub's folder, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("APFGAN_WEIGHTS_DIR", raising=False)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(("name", "entry"), [("vgg19", VGG19), ("inception", INCEPTION_V3)])
def test_a_missing_file_is_named_with_the_ways_out(cache: Path, name: Any, entry: Any) -> None:
    with pytest.raises(WeightsError) as caught:
        load_perceptual(name, TrainConfig(), device="cpu")
    for part in (entry.file, f"apfgan weights fetch {entry.name}", f"--set train.{name}_weights=FILE", "--set train.progressive_perceptual=none"):
        assert part in str(caught.value)


def test_a_file_in_its_usual_place_is_what_its_name_says(cache: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (files / "vgg19.pth").read_bytes()
    (cache / VGG19.file).write_bytes(content)
    with pytest.raises(WeightsError, match=r"vgg19-dcbb9e9d\.pth is damaged: its SHA-256 is .*not dcbb9e9d.*apfgan weights fetch vgg19"):
        load_perceptual("vgg19", TrainConfig(), device="cpu")
    right = f"vgg19-{hash_file(files / 'vgg19.pth')[:8]}.pth"
    (cache / right).write_bytes(content)
    monkeypatch.setitem(perceptual._FILES, "vgg19", ("vgg19", right))
    compare(features(load_perceptual("vgg19", TrainConfig(), device="cpu")), features(load_perceptual("vgg19", settings(files), device="cpu")))


def test_another_networks_file_is_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"vgg19\.pth does not fit this network: missing"):
        load_perceptual("inception", settings(files, inception_weights=str(files / "vgg19.pth")), device="cpu")
    state = torch.load(files / "inception.pth", weights_only=True)
    torch.save(state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, tmp_path / "pt_inception.pth")
    with pytest.raises(WeightsError, match=r"pt_inception\.pth is the Inception network of FID"):
        load_perceptual("inception", settings(files, inception_weights=str(tmp_path / "pt_inception.pth")), device="cpu")
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        load_perceptual("vgg19", settings(files, vgg19_weights=str(tmp_path / "nowhere.pth")), device="cpu")
