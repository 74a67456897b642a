"""The networks in whose features the perceptual loss compares images: VGG19 and InceptionV3 (Johnson et al. 2016; spec: method, 6).

Both take images (N, 3, H, W) in [-1, 1] as they are: at their own size and, like the original's, without ImageNet's mean and deviation.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from apfgan.backend import (
    Conv2d,
    Module,
    ModuleList,
    PretrainedNorm,
    Tensor,
    concatenate,
    freeze,
    load_arrays,
    mean,
    place,
    pool_maximum,
    pool_mean_3x3,
    read_pretrained,
    relu,
    set_training,
    state_arrays,
)
from apfgan.config import TrainConfig
from apfgan.errors import WeightsError
from apfgan.files import hash_file, weights_folders

_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512)
"""Output channels of VGG19's 3x3 convolutions up to relu5_1."""

_STAGE_STARTS = (0, 2, 4, 8, 12)
"""Convolutions that begin a stage: their output is a feature, and all but the first have a maximum pooling before them."""

_FILES = {"vgg19": ("vgg19", "vgg19-dcbb9e9d.pth"), "inception": ("inception_v3", "inception_v3_google-0cc3c7bd.pth")}
"""What `apfgan weights` calls each network's file, and torchvision's name of it, which ends with the first digits of its SHA-256."""

_FID_CLASSES = 1008
"""Outputs of the Inception network that FID uses; the rest of its file has the names and shapes of torchvision's, and other weights."""

Kernel = int | tuple[int, int]

Layer = Sequence[tuple[str, int, Kernel]]
"""Convolutions side by side, mostly one: torchvision's name, output channels and kernel of each."""


class Vgg19(Module):
    """The convolutions up to relu5_1."""

    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    """Share of each feature in the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = ModuleList(
            Conv2d(inputs, outputs, kernel=3, stride=1, padding=1, bias=True, spectral_norm=False) for inputs, outputs in pairwise((3, *_CHANNELS))
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1."""
        x, features = images, []
        for index, conv in enumerate(self.convs):
            starts = index in _STAGE_STARTS
            x = relu(conv(pool_maximum(x, size=2) if starts and index > 0 else x))
            if starts:
                features.append(x)
        return features


class _Convolution(Module):
    """Convolution, normalisation, ReLU. `padded` keeps the size at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, *, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if padded else 0
        self.conv = Conv2d(inputs, outputs, kernel=kernel, stride=stride, padding=padding, bias=False, spectral_norm=False)
        self.bn = PretrainedNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn(self.conv(x)))


class _Mixed(Module):
    """Branches side by side, and a pooling beside them: a mean, convolved to `pooled` channels; or, where that is None, a maximum that
    halves the size, as the last layer of each branch does."""

    def __init__(self, inputs: int, branches: Sequence[Sequence[Layer]], *, pooled: int | None) -> None:
        super().__init__()
        self.halves = pooled is None
        self.branches = [[[name for name, _, _ in layer] for layer in branch] for branch in branches]
        for branch in branches:
            channels = inputs
            for layer in branch:
                halves = self.halves and layer is branch[-1]
                for name, outputs, kernel in layer:
                    setattr(self, name, _Convolution(channels, outputs, kernel, stride=2 if halves else 1, padded=not halves))
                channels = sum(outputs for _, outputs, _ in layer)
        if pooled is not None:
            self.branch_pool = _Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for branch in self.branches:
            y = x
            for layer in branch:
                y = concatenate([getattr(self, name)(y) for name in layer], axis=1)
            outputs.append(y)
        last = pool_maximum(x, size=3) if self.halves else self.branch_pool(pool_mean_3x3(x, stride=1, border="zeros"))
        return concatenate([*outputs, last], axis=1)


def _chain(name: str, *layers: tuple[int, Kernel]) -> list[Layer]:
    """Convolutions one behind the other: `name`_1, `name`_2 and so on, or just `name`."""
    names = [name] if len(layers) == 1 else [f"{name}_{number}" for number in range(1, len(layers) + 1)]
    return [[(each, outputs, kernel)] for each, (outputs, kernel) in zip(names, layers, strict=True)]


def _fork(name: str) -> Layer:
    return [(f"{name}a", 384, (1, 3)), (f"{name}b", 384, (3, 1))]


def _mixed_5(inputs: int, *, pooled: int) -> _Mixed:
    branches = [_chain("branch1x1", (64, 1)), _chain("branch5x5", (48, 1), (64, 5)), _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3))]
    return _Mixed(inputs, branches, pooled=pooled)


def _mixed_6(width: int) -> _Mixed:
    flat, tall = (1, 7), (7, 1)
    branches = [
        _chain("branch1x1", (192, 1)),
        _chain("branch7x7", (width, 1), (width, flat), (192, tall)),
        _chain("branch7x7dbl", (width, 1), (width, tall), (width, flat), (width, tall), (192, flat)),
    ]
    return _Mixed(768, branches, pooled=192)


def _mixed_7(inputs: int) -> _Mixed:
    branches = [
        _chain("branch1x1", (320, 1)),
        [[("branch3x3_1", 384, 1)], _fork("branch3x3_2")],
        [[("branch3x3dbl_1", 448, 1)], [("branch3x3dbl_2", 384, 3)], _fork("branch3x3dbl_3")],
    ]
    return _Mixed(inputs, branches, pooled=192)


class Inception(Module):
    """InceptionV3 (Szegedy et al. 2016) up to the last average pool, its modules called as torchvision calls them.

    In training each batch is normalised by itself, in every layer, and nothing of it is kept.
    """

    weights = (1 / 16, 1 / 8, 1 / 4, 1.0)
    """Share of each feature in the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, padded=False)
        self.Mixed_5b = _mixed_5(192, pooled=32)
        self.Mixed_5c = _mixed_5(256, pooled=64)
        self.Mixed_5d = _mixed_5(288, pooled=64)
        self.Mixed_6a = _Mixed(288, [_chain("branch3x3", (384, 3)), _chain("branch3x3dbl", (64, 1), (96, 3), (96, 3))], pooled=None)
        self.Mixed_6b = _mixed_6(128)
        self.Mixed_6c = _mixed_6(160)
        self.Mixed_6d = _mixed_6(160)
        self.Mixed_6e = _mixed_6(192)
        self.Mixed_7a = _Mixed(
            768, [_chain("branch3x3", (192, 1), (320, 3)), _chain("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3))], pooled=None
        )
        self.Mixed_7b = _mixed_7(1280)
        self.Mixed_7c = _mixed_7(2048)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Both maximum poolings (64 and 192 channels), Mixed_6e (768) and the global mean of Mixed_7c (2048); sides of 75 pixels or more."""
        first = pool_maximum(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images))), size=3)
        second = pool_maximum(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(first)), size=3)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(second)))
        third = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return [first, second, third, mean(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(third))), axes=(2, 3))]


def load_perceptual(name: Literal["vgg19", "inception"], settings: TrainConfig, *, device: str) -> Vgg19 | Inception:
    """A network with the weights of the file that `settings` name, or that torchvision keeps; it learns nothing any more.

    The file has torchvision's names (`features.0.weight`, ...) and may hold the classifier, which is not needed. Raises `WeightsError` when
    it is missing, damaged or holds another network.
    """
    given = settings.vgg19_weights if name == "vgg19" else settings.inception_weights
    path = Path(given) if given else _usual_file(name)
    arrays = read_pretrained(path)
    if len(arrays.get("fc.bias", ())) == _FID_CLASSES:
        raise WeightsError(f"{path} is the Inception network of FID, not the ImageNet classifier of torchvision: name {_FILES[name][1]}")
    network: Vgg19 | Inception
    if name == "vgg19":
        network, names = Vgg19(), _vgg19_names()
    else:
        network = Inception()
        names = {each: each for each in state_arrays(network)}
    load_arrays(network, {names[each]: array for each, array in arrays.items() if each in names}, origin=str(path))
    freeze(network)
    place(network, device)
    set_training(network, name == "inception" and settings.inception_statistics == "batch")
    return network


def _usual_file(name: str) -> Path:
    entry, file = _FILES[name]
    path = next((folder / file for folder in weights_folders() if (folder / file).is_file()), None)
    switch_off = "or train without it: --set train.progressive_perceptual=none --set train.perceptual=none"
    if path is None:
        raise WeightsError(
            f"the perceptual loss needs {file}, which is not here. Get it with: apfgan weights fetch {entry}; "
            f"or name a copy: --set train.{name}_weights=FILE; {switch_off}"
        )
    digits = path.stem.rpartition("-")[2]
    if not (actual := hash_file(path)).startswith(digits):
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is {actual[:12]}..., not {digits}... as its name says. Get it again: apfgan weights fetch {entry}; "
            f"{switch_off}"
        )
    return path


def _vgg19_names() -> dict[str, str]:
    """torchvision's name of each parameter to ours: its `features` counts convolutions, ReLUs and poolings alike."""
    names: dict[str, str] = {}
    for index in range(len(_CHANNELS)):
        position = 2 * index + sum(0 < start <= index for start in _STAGE_STARTS)
        names |= {f"features.{position}.{kind}": f"convs.{index}.{kind}" for kind in ("weight", "bias")}
    return names
