"""The mask encoder: a label map becomes the generator's start, without sampling (spec: method, 2.1)."""

from collections.abc import Mapping
from itertools import pairwise

from apfgan.backend import Conv2d, Module, ModuleList, Tensor, instance_norm, leaky_relu
from apfgan.config import ModelConfig
from apfgan.networks.blocks import SLOPE


class Encoder(Module):
    """Stride-2 convolutions without bias, each followed by instance normalisation and a leaky ReLU."""

    def __init__(self, config: ModelConfig, *, classes: int) -> None:
        super().__init__()
        self.stride = config.stride
        channels = [classes, *(min(2**index, 8) * config.width for index in range(config.upsamplings)), 2 ** (config.upsamplings - 1) * config.width]
        self.convs = ModuleList(
            Conv2d(inputs, outputs, kernel=3, stride=2, padding=1, bias=False, spectral_norm=config.spectral_norm)
            for inputs, outputs in pairwise(channels)
        )

    def forward(self, onehot: Tensor) -> Tensor:
        """(N, classes, H, W) to (N, 2^(u-1) width, H / 2^(u+1), W / 2^(u+1)) with u upsamplings; refuses sizes that do not divide."""
        height, width = onehot.shape[2:]
        if height % self.stride or width % self.stride:
            raise ValueError(f"label maps of {width}x{height} pixels: both sides must be multiples of {self.stride}")
        x = onehot
        for conv in self.convs:
            x = leaky_relu(instance_norm(conv(x)), slope=SLOPE)
        return x

    def dimensions(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Width and classes, from the first convolution."""
        first = shapes.get("convs.0.weight")
        return {"width": first[0], "classes": first[1]} if first else {}
