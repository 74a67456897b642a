"""VGG19's features, for the perceptual loss (Johnson et al. 2016; spec: method, 6)."""

from itertools import pairwise
from pathlib import Path

from apfgan.backend import Conv2d, Module, ModuleList, Tensor, load_arrays, place, pool_maximum_2x2, read_pretrained, relu, set_training

_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512)
"""Output channels of the 3x3 convolutions up to relu5_1."""

_STAGE_STARTS = (0, 2, 4, 8, 12)
"""Convolutions that begin a stage: their output is a feature, and all but the first have a maximum pooling before them."""

WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Share of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 in the loss."""


class Vgg19(Module):
    """The convolutions up to relu5_1."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = ModuleList(
            Conv2d(inputs, outputs, kernel=3, stride=1, padding=1, bias=True, spectral_norm=False) for inputs, outputs in pairwise((3, *_CHANNELS))
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """relu1_1 to relu5_1 of images (N, 3, H, W) in [-1, 1]; like the original's, without ImageNet's mean and deviation."""
        x, features = images, []
        for index, conv in enumerate(self.convs):
            starts = index in _STAGE_STARTS
            x = relu(conv(pool_maximum_2x2(x) if starts and index > 0 else x))
            if starts:
                features.append(x)
        return features


def load_vgg19(path: Path, *, device: str) -> Vgg19:
    """VGG19 with the weights of `path`, which has torchvision's names (`features.0.weight`, ...); its classifier is not needed.

    Raises `WeightsError` when the file is missing, damaged or holds another network.
    """
    network = Vgg19()
    known = _torchvision_names()
    given = {known[name]: array for name, array in read_pretrained(path).items() if name in known}
    load_arrays(network, given, origin=str(path))
    place(network, device)
    set_training(network, False)
    return network


def _torchvision_names() -> dict[str, str]:
    """torchvision's name of each parameter to ours: its `features` counts convolutions, ReLUs and poolings alike."""
    names: dict[str, str] = {}
    for index in range(len(_CHANNELS)):
        position = 2 * index + sum(0 < start <= index for start in _STAGE_STARTS)
        names |= {f"features.{position}.{kind}": f"convs.{index}.{kind}" for kind in ("weight", "bias")}
    return names
