"""The FID of the original program, rebuilt from our parts: what its numbers mean, and where ours differ on purpose.

It blurs and shrinks an image to 256x256 before the usual 299x299 (ours: 299x299 at once, as pytorch-fid), counts the zeros around a map when
it pools averages (ours: not), and drops the last incomplete batch (ours: all images).
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import nn
from torch.nn import functional

from metrics.frechet import Gaussian, frechet_distance
from metrics.inception import Inception
from metrics.inference import exact_inference, freeze

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens" / "A"
pytestmark = pytest.mark.skipif(not GOLDENS.exists(), reason="the recordings are not here")


def resized(name: str) -> np.ndarray:
    """float32 (256, 256, 3) in 0..255: as scikit-image's `resize`, which blurs by a Gaussian and then takes the nearest four pixels' mean."""
    image = np.asarray(Image.open(GOLDENS / "e2e" / name)).astype(np.float32)
    factors = np.array(image.shape[:2]) / 256
    blurred = ndimage.gaussian_filter(image, (*np.maximum(0, (factors - 1) / 2), 0), mode="mirror")
    return ndimage.zoom(blurred, (*1 / factors, 1), order=1, mode="mirror", grid_mode=True)


def recipe(name: str, shape: torch.Size) -> torch.Tensor:
    """The weights that the recording was made with (goldens: perceptual.json)."""
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_mean") or name.endswith("bias"):
        values = 0.1 * values
    elif name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif len(shape) == 1:
        values = 1 + 0.1 * values
    else:
        values = values * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Our Inception with the recorded weights, and average pools that count the padding."""
    network = Inception()
    weights = {name: recipe(name, value.shape) for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    network.load_state_dict(weights, strict=False)
    for module in network.modules():
        if isinstance(module, nn.AvgPool2d):
            module.count_include_pad = True
    return freeze(network, "cpu")


def features(network: nn.Module, names: list[str]) -> np.ndarray:
    with exact_inference():
        images = torch.from_numpy(np.stack([resized(name) for name in names])).permute(0, 3, 1, 2) / 255
        large = functional.interpolate(images, size=(299, 299), mode="bilinear", align_corners=False)
        return network(2 * large - 1).numpy()


@pytest.mark.parametrize(("name", "recording"), [("result_t1.jpg", "t1"), ("train_img_a1.jpg", "a1")])
def test_resize(name: str, recording: str) -> None:
    expected = np.load(GOLDENS / f"fid_resize_{recording}_stride8.npy")
    np.testing.assert_allclose(resized(name)[::8, ::8], expected, atol=1e-3)


def test_features(network: nn.Module) -> None:
    recorded = json.loads((GOLDENS / "fid_golden.json").read_text())
    names = [Path(name).name for name in recorded["features_files"]]
    expected = np.load(GOLDENS / "fid_features.npy")
    assert expected.shape == (recorded["n_used"], 2048)
    assert recorded["n_used"] == recorded["n_files"] // recorded["batch"] * recorded["batch"]  # the original dropped the third file
    found = features(network, names)
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_our_average_pools_give_other_features(network: nn.Module) -> None:
    """4 % (spec: method, 11): the original's numbers do not compare with FIDs from anywhere else."""
    ours = Inception()
    ours.load_state_dict(network.state_dict())
    expected = np.load(GOLDENS / "fid_features.npy")
    difference = np.linalg.norm(features(freeze(ours, "cpu"), ["result_t1.jpg", "result_t2.jpg"]) - expected) / np.linalg.norm(expected)
    assert 0.01 < difference < 0.1


def test_distances() -> None:
    recorded = json.loads((GOLDENS / "fid_golden.json").read_text())
    source = np.random.RandomState(3)
    some, others, few = source.randn(40, 16), source.randn(50, 16) * 1.3 + 0.4, source.randn(10, 16)
    assert frechet_distance(some, Gaussian.fit(others)) == pytest.approx(recorded["fd_AB"], rel=1e-9)
    assert frechet_distance(some, Gaussian.fit(few)) == pytest.approx(recorded["fd_AC_rank_deficient"], rel=1e-6)
