"""What goes on inside networks, seen in the backend's words alone: gradients, and what a module gives out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from apfgan.backend import Conv2d, Module, ModuleList, Tensor, adam, add_gradient, load_arrays, move, one_hot, optimizer_arrays


def gradients(module: Module, loss: Tensor) -> dict[str, np.ndarray]:
    """The gradient of `loss` by the name of each parameter of `module` that gets one."""
    optimizer = adam(module, betas=(0.0, 0.9), epsilon=1e-8, steps="own")
    add_gradient(optimizer, loss)
    move(optimizer, rate=0.0)
    # Adam without a first moment remembers the gradient itself as its mean.
    return {name.removesuffix(".mean"): array for name, array in optimizer_arrays(optimizer).items() if name.endswith(".mean")}


def input_gradients(loss_of: Callable[..., Tensor], *inputs: np.ndarray) -> list[np.ndarray | None]:
    """The gradient of `loss_of(*inputs)` with respect to each input (N, C, H, W); None for one that gets none."""
    given = ModuleList(_Given(array) for array in inputs)
    found = gradients(given, loss_of(*(each() for each in given)))
    return [each.image(found[name]) if (name := f"{index}.pixels.weight") in found else None for index, each in enumerate(given)]


class _Given(Module):
    """An image as parameters: the weights of a convolution that looks at an image in which each pixel is a class of its own."""

    def __init__(self, image: np.ndarray) -> None:
        super().__init__()
        images, channels, height, width = image.shape
        self.numbers = np.arange(images * height * width).reshape(images, height, width)
        self.pixels = Conv2d(self.numbers.size, channels, kernel=1, stride=1, padding=0, bias=False, spectral_norm=False)
        weight = image.astype(np.float32).transpose(1, 0, 2, 3).reshape(channels, -1, 1, 1)
        load_arrays(self.pixels, {"weight": weight}, origin="test")

    def forward(self) -> Tensor:
        return self.pixels(one_hot(self.numbers, self.numbers.size, device="cpu"))

    def image(self, weight: np.ndarray) -> np.ndarray:
        return weight.reshape(-1, *self.numbers.shape).transpose(1, 0, 2, 3)


@contextmanager
def watched(module: Module, seen: Callable[[Any], object]) -> Iterator[None]:
    """Within this context `seen` is told what `module` gives out, call by call."""
    forward = module.forward

    def watch(*given: Any, **named: Any) -> Any:
        output = forward(*given, **named)
        seen(output)
        return output

    module.forward = watch
    try:
        yield
    finally:
        del module.forward
