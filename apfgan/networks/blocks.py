"""The pieces that networks are built of: SPADE, its residual block, and seeded initial weights.

`onehot` is the label map (N, classes, H, W); `noise` is (N, 1, h, w) at the size of the features, the same for all channels.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from apfgan.backend import BatchNorm, Conv2d, Module, Tensor, alike, leaky_relu, load_arrays, relu, resize_nearest, state_arrays
from apfgan.config import ModelConfig

SLOPE = 0.2
"""Of every leaky ReLU."""


class Spade(Module):
    """Normalisation whose scale and shift are drawn from the label map (Park et al. 2019), with label-guided noise before it."""

    def __init__(self, channels: int, config: ModelConfig, *, classes: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.norm = BatchNorm(channels, variance=config.running_variance)
        self.noise = Conv2d(classes, channels, kernel=1, stride=1, padding=0, bias=True, spectral_norm=False)
        self.shared = Conv2d(classes, hidden, kernel=3, stride=1, padding=1, bias=True, spectral_norm=False)
        self.gamma = Conv2d(hidden, channels, kernel=3, stride=1, padding=1, bias=True, spectral_norm=False)
        self.beta = Conv2d(hidden, channels, kernel=3, stride=1, padding=1, bias=True, spectral_norm=False)

    def forward(self, x: Tensor, onehot: Tensor, noise: Tensor | None) -> Tensor:
        """Features (N, channels, h, w) under a label map of the same size."""
        if noise is not None:
            x = x + alike(noise, x) * self.noise(onehot)
        hidden = relu(self.shared(onehot))
        return self.norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)


class SpadeBlock(Module):
    """Two convolutions, each behind a SPADE, beside a shortcut that is convolved when the number of channels changes."""

    def __init__(self, inputs: int, outputs: int, config: ModelConfig, *, classes: int) -> None:
        super().__init__()
        middle, spectral_norm = min(inputs, outputs), config.spectral_norm
        self.changes_channels = inputs != outputs
        if self.changes_channels:
            self.norm_s = Spade(inputs, config, classes=classes)
            self.conv_s = Conv2d(inputs, outputs, kernel=1, stride=1, padding=0, bias=False, spectral_norm=spectral_norm)
        self.norm_0 = Spade(inputs, config, classes=classes)
        self.conv_0 = Conv2d(inputs, middle, kernel=3, stride=1, padding=1, bias=True, spectral_norm=spectral_norm)
        self.norm_1 = Spade(middle, config, classes=classes)
        self.conv_1 = Conv2d(middle, outputs, kernel=3, stride=1, padding=1, bias=True, spectral_norm=spectral_norm)

    def forward(self, x: Tensor, onehot: Tensor, noise: Iterator[Tensor | None]) -> Tensor:
        """Features (N, inputs, h, w) to (N, outputs, h, w), under the full-size label map.

        Takes three tensors from `noise`, or two where there is no convolution in the shortcut.
        """
        small = resize_nearest(onehot, height=x.shape[2], width=x.shape[3])
        # The order of the draws is the original's: shortcut, first, second. There is no activation on the shortcut.
        shortcut = self.conv_s(self.norm_s(x, small, next(noise))) if self.changes_channels else x
        inner = self.conv_0(leaky_relu(self.norm_0(x, small, next(noise)), slope=SLOPE))
        return shortcut + self.conv_1(leaky_relu(self.norm_1(inner, small, next(noise)), slope=SLOPE))


def initialise(module: Module, source: np.random.Generator, *, gain: float) -> None:
    """Fill a fresh network: convolutions with Xavier normal draws, biases zero (spec: method, 2.6; the original's gain is 0.02).

    The convolutions of the label-guided noise stay zero, so that it is silent until `start_noise`.
    """
    arrays = state_arrays(module)
    for name, array in arrays.items():
        if name.endswith(".weight") and not _is_noise(name):
            arrays[name] = xavier_normal(array.shape, source, gain=gain)
            if f"{name}_u" in arrays:
                arrays[f"{name}_u"], arrays[f"{name}_v"] = _singular_vectors(arrays[name], source)
    load_arrays(module, arrays, origin="the initial weights")


def start_noise(module: Module, source: np.random.Generator, *, gain: float) -> None:
    """Initialise the convolutions of the label-guided noise, once, before the second phase.

    Gain 0: silent, as the paper describes. Otherwise Xavier normal as the rest, which is what the original trained (spec: method, 0.8).
    """
    arrays = state_arrays(module)
    for name, array in arrays.items():
        if _is_noise(name):
            arrays[name] = np.zeros_like(array) if name.endswith(".bias") else xavier_normal(array.shape, source, gain=gain)
    load_arrays(module, arrays, origin="the initial noise weights")


def xavier_normal(shape: tuple[int, ...], source: np.random.Generator, *, gain: float) -> np.ndarray:
    """float32 draws of N(0, gain * sqrt(2 / (fan in + fan out))) for a convolution's weight (out, in, k, k)."""
    outputs, inputs, *kernel = shape
    deviation = gain * np.sqrt(2 / ((inputs + outputs) * np.prod(kernel)))
    return source.standard_normal(shape, dtype=np.float32) * np.float32(deviation)


def count_modules(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """How many numbered modules (`prefix.0.`, `prefix.1.`, ...) the names hold."""
    return len({name.removeprefix(f"{prefix}.").split(".")[0] for name in shapes if name.startswith(f"{prefix}.")})


def _is_noise(name: str) -> bool:
    return ".noise." in name


def _singular_vectors(weight: np.ndarray, source: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Start of spectral normalisation's power iteration: the left and right vectors after fifteen rounds."""
    matrix = weight.reshape(len(weight), -1)
    left = source.standard_normal(len(weight), dtype=np.float32)
    for _ in range(15):
        right = matrix.T @ left
        right /= np.linalg.norm(right)
        left = matrix @ right
        left /= np.linalg.norm(left)
    return left, right
