"""pytorch-fid's Inception-v3 and the features that FID is computed from, without torchvision.

The network is that of "Rethinking the Inception Architecture" (Szegedy et al. 2016) with the oddities of the TensorFlow graph of 2015-12-05:
average pools do not count the padding, and the last block pools by maximum. Its modules carry the names of the weights file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from apfgan.files import hash_file
from metrics.feature_network import FeatureNetwork
from metrics.inference import freeze, image_tensor, load_state, read_state

BATCH = 16
"""Images that go through the network together."""

SIDE = 299
"""Height and width of what the network is shown, in pixels."""

Step = str | tuple[str, str]
"""A layer of a branch, or two that stand side by side at its end."""


class _Convolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, *, stride: int = 1, padded: bool = True) -> None:
        """Convolution, normalisation, ReLU; `padded` keeps the size at stride 1."""
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride=stride, padding=padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


class _Mixed(nn.Module):
    """Branches side by side; the pooled input is the last one, through `branch_pool` where there is such a layer."""

    def __init__(self, layers: Mapping[str, _Convolution], branches: Sequence[Sequence[Step]], pool: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._branches = branches
        self._pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for branch in self._branches:
            y = x
            for step in branch:
                y = self.get_submodule(step)(y) if isinstance(step, str) else torch.cat([self.get_submodule(name)(y) for name in step], dim=1)
            outputs.append(y)
        pooled = self._pool(x)
        outputs.append(self.get_submodule("branch_pool")(pooled) if "branch_pool" in self._modules else pooled)
        return torch.cat(outputs, dim=1)


def _average_pool() -> nn.Module:
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def _mixed_a(inputs: int, pooled: int) -> _Mixed:
    layers = {
        "branch1x1": _Convolution(inputs, 64),
        "branch5x5_1": _Convolution(inputs, 48),
        "branch5x5_2": _Convolution(48, 64, 5),
        "branch3x3dbl_1": _Convolution(inputs, 64),
        "branch3x3dbl_2": _Convolution(64, 96, 3),
        "branch3x3dbl_3": _Convolution(96, 96, 3),
        "branch_pool": _Convolution(inputs, pooled),
    }
    return _Mixed(layers, [["branch1x1"], ["branch5x5_1", "branch5x5_2"], [f"branch3x3dbl_{i}" for i in (1, 2, 3)]], _average_pool())


def _mixed_b(inputs: int) -> _Mixed:
    layers = {
        "branch3x3": _Convolution(inputs, 384, 3, stride=2, padded=False),
        "branch3x3dbl_1": _Convolution(inputs, 64),
        "branch3x3dbl_2": _Convolution(64, 96, 3),
        "branch3x3dbl_3": _Convolution(96, 96, 3, stride=2, padded=False),
    }
    return _Mixed(layers, [["branch3x3"], [f"branch3x3dbl_{i}" for i in (1, 2, 3)]], nn.MaxPool2d(3, stride=2))


def _mixed_c(width: int) -> _Mixed:
    layers = {
        "branch1x1": _Convolution(768, 192),
        "branch7x7_1": _Convolution(768, width),
        "branch7x7_2": _Convolution(width, width, (1, 7)),
        "branch7x7_3": _Convolution(width, 192, (7, 1)),
        "branch7x7dbl_1": _Convolution(768, width),
        "branch7x7dbl_2": _Convolution(width, width, (7, 1)),
        "branch7x7dbl_3": _Convolution(width, width, (1, 7)),
        "branch7x7dbl_4": _Convolution(width, width, (7, 1)),
        "branch7x7dbl_5": _Convolution(width, 192, (1, 7)),
        "branch_pool": _Convolution(768, 192),
    }
    return _Mixed(layers, [["branch1x1"], [f"branch7x7_{i}" for i in (1, 2, 3)], [f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)]], _average_pool())


def _mixed_d() -> _Mixed:
    layers = {
        "branch3x3_1": _Convolution(768, 192),
        "branch3x3_2": _Convolution(192, 320, 3, stride=2, padded=False),
        "branch7x7x3_1": _Convolution(768, 192),
        "branch7x7x3_2": _Convolution(192, 192, (1, 7)),
        "branch7x7x3_3": _Convolution(192, 192, (7, 1)),
        "branch7x7x3_4": _Convolution(192, 192, 3, stride=2, padded=False),
    }
    return _Mixed(layers, [["branch3x3_1", "branch3x3_2"], [f"branch7x7x3_{i}" for i in (1, 2, 3, 4)]], nn.MaxPool2d(3, stride=2))


def _mixed_e(inputs: int, pool: nn.Module) -> _Mixed:
    layers = {
        "branch1x1": _Convolution(inputs, 320),
        "branch3x3_1": _Convolution(inputs, 384),
        "branch3x3_2a": _Convolution(384, 384, (1, 3)),
        "branch3x3_2b": _Convolution(384, 384, (3, 1)),
        "branch3x3dbl_1": _Convolution(inputs, 448),
        "branch3x3dbl_2": _Convolution(448, 384, 3),
        "branch3x3dbl_3a": _Convolution(384, 384, (1, 3)),
        "branch3x3dbl_3b": _Convolution(384, 384, (3, 1)),
        "branch_pool": _Convolution(inputs, 192),
    }
    square: list[Step] = ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")]
    double: list[Step] = ["branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")]
    return _Mixed(layers, [["branch1x1"], square, double], pool)


class Inception(nn.Module):
    """Images (N, 3, 299, 299) in -1..1 to features (N, 2048), the last average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = _Convolution(64, 80)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, padded=False)
        self.Mixed_5b = _mixed_a(192, 32)
        self.Mixed_5c = _mixed_a(256, 64)
        self.Mixed_5d = _mixed_a(288, 64)
        self.Mixed_6a = _mixed_b(288)
        self.Mixed_6b = _mixed_c(128)
        self.Mixed_6c = _mixed_c(160)
        self.Mixed_6d = _mixed_c(160)
        self.Mixed_6e = _mixed_c(192)
        self.Mixed_7a = _mixed_d()
        self.Mixed_7b = _mixed_e(1280, _average_pool())
        self.Mixed_7c = _mixed_e(2048, nn.MaxPool2d(3, stride=1, padding=1))
        self.fc = nn.Linear(2048, 1008)  # part of the file, not of the features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (N, 2048)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = functional.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = functional.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))


class InceptionJudge(FeatureNetwork):
    """Looks as pytorch-fid does: RGB in 0..1, squashed to 299x299 by a bilinear filter without antialiasing, then 2x - 1; 2048 features."""

    def __init__(self, weights: Path, *, device: str = "cpu") -> None:
        """`weights` is `pt_inception-2015-12-05-6726825d.pth` or a file of its layout; `WeightsError` lists how another one differs."""
        network = Inception()
        load_state(network, read_state(weights), weights)
        # Measured on a CPU, batches of 16: 114 ms an image, 73 with channels last, 61 with the normalisation folded in; features move by 1e-7.
        frozen = freeze(_folded(network.eval()), device).to(memory_format=torch.channels_last)
        super().__init__(
            distance="fid",
            identity={
                "name": "fid/pytorch-fid",
                "version": 1,
                "weights": hash_file(weights),
                "size": [SIDE, SIDE],
                "resize": "bilinear",
                "antialias": False,
            },
            prepare=lambda photo: squash(image_tensor(photo[np.newaxis], device))[0],
            look=lambda inputs: frozen(inputs.contiguous(memory_format=torch.channels_last)),
            batch=BATCH,
        )


def _folded(network: Inception) -> Inception:
    """The same network in evaluation, each normalisation made part of the convolution before it."""
    for layer in network.modules():
        if isinstance(layer, _Convolution) and isinstance(layer.bn, nn.BatchNorm2d):
            layer.conv, layer.bn = fuse_conv_bn_eval(layer.conv, layer.bn), nn.Identity()
    return network


def squash(photos: torch.Tensor) -> torch.Tensor:
    """Photos (N, 3, H, W) in 0..1 as (N, 3, 299, 299) in -1..1."""
    return 2 * functional.interpolate(photos, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=False) - 1
