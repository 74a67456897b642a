import warnings
from pathlib import Path

import cleanfid.resize
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from apfgan.errors import WeightsError
from metrics.clean import CleanInceptionJudge, squash_clean
from metrics.inception import InceptionJudge
from metrics.inference import image_tensor


@pytest.fixture(scope="module")
def judge(clean_inception_weights: Path) -> CleanInceptionJudge:
    return CleanInceptionJudge(clean_inception_weights)


def save_torchscript(network: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(network).save(path)
    return path


@pytest.mark.parametrize("height,width", [(384, 512), (37, 53), (1, 7), (299, 299), (300, 298), (64, 1000)])
def test_resizing_is_clean_fids(height: int, width: int) -> None:
    photo = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Pillow's of the mode, for a while
        expected = cleanfid.resize.build_resizer("clean")(photo)
    resized = 128 * squash_clean(image_tensor(photo[np.newaxis], "cpu"))[0].permute(1, 2, 0).numpy() + 128
    assert np.abs(resized - expected).max() < 0.01
    assert np.abs(resized - expected).mean() < 0.001
    if (height, width) != (299, 299):
        assert np.abs(np.round(expected) - expected).mean() > 0.1  # a resizer that rounds to 8 bits would be seen


def test_it_is_another_protocol_than_pytorch_fids(judge: CleanInceptionJudge, inception_weights: Path) -> None:
    other = InceptionJudge(inception_weights)
    assert (judge.distance, judge.identity["name"]) == ("fid-clean", "fid/clean")
    assert (other.distance, other.identity["name"]) == ("fid", "fid/pytorch-fid")
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    photos = [np.asarray(coarse.resize((512, 384), Image.Resampling.BICUBIC)), np.asarray(coarse)]
    ours, others = judge.observe_photos(photos), other.observe_photos(photos)
    assert (np.linalg.norm(ours - others, axis=1) > 0.002 * np.linalg.norm(ours, axis=1)).all()  # same weights, 1000 times their disagreement
    assert judge.fit_reference(ours).distance == "fid-clean"


def test_a_file_of_weights_alone_is_refused_for_what_it_is(inception_weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"6726825d\.pth is no TorchScript network.*belongs to the protocol fid/pytorch-fid"):
        CleanInceptionJudge(inception_weights)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(WeightsError, match=r"there is no weights file .*nowhere\.pt"):
        CleanInceptionJudge(tmp_path / "nowhere.pt")


def test_a_damaged_file_is_named(tmp_path, clean_inception_weights: Path) -> None:
    """By its structure; damaged numbers are for the pinned hash to find."""
    content = clean_inception_weights.read_bytes()
    (tmp_path / "broken.pt").write_bytes(content[:-3000] + bytes(3000))
    (tmp_path / "cut.pt").write_bytes(content[:1000])
    for name in ("broken.pt", "cut.pt"):
        with pytest.raises(WeightsError, match=name):
            CleanInceptionJudge(tmp_path / name)


class OtherWidth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


@pytest.mark.parametrize("network,complaint", [(nn.Conv2d(3, 5, 3), "layers"), (OtherWidth(), "5 features")])
def test_another_torchscript_network_is_refused(tmp_path, network: nn.Module, complaint: str) -> None:
    with pytest.raises(WeightsError, match=rf"other\.pt .*{complaint}"):
        CleanInceptionJudge(save_torchscript(network, tmp_path / "other.pt"))


def test_identity_follows_the_weights(tmp_path, clean_inception_weights: Path, judge: CleanInceptionJudge) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = torch.jit.load(clean_inception_weights)
        with torch.no_grad():
            network.output.bias[0] += 1
        network.save(tmp_path / "other.pt")
    assert CleanInceptionJudge(tmp_path / "other.pt").identity["weights"] != judge.identity["weights"]
