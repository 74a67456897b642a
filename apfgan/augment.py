"""Differentiable augmentation of photos, generated images and their label maps together (Zhao et al. 2020; spec: method, 8).

Photos and generated images of a pair get the same crop and shift, and the label map with them; their colours are changed independently.
Images are (N, 3, H, W) in [-1, 1] and are not clamped; labels are one-hot (N, classes, H, W), all zero where nothing is left.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from apfgan.backend import Tensor, from_numpy, mean, resize_bicubic, resize_nearest, shift, take

_ENLARGED = 1.2
"""A crop is cut from the image at this scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """What chance decided for one batch; None: that part is left out."""

    colour: np.ndarray | None
    """float32 (2, 3, N) in [0, 1): brightness, saturation, contrast of the photos [0] and of the generated images [1]."""
    cropped: np.ndarray | None
    """bool (N,): which samples are cropped."""
    window: tuple[int, int]
    """Top and left of the window in the enlarged image, the same for the whole batch."""
    shift: np.ndarray | None
    """int (N, 2): rows and columns by which a sample moves down and right."""

    def of(self, rows: slice) -> "Draws":
        """Those of some samples of the batch."""
        return Draws(
            colour=None if self.colour is None else self.colour[:, :, rows],
            cropped=None if self.cropped is None else self.cropped[rows],
            window=self.window,
            shift=None if self.shift is None else self.shift[rows],
        )


def draw(source: np.random.Generator, policy: Collection[str], *, images: int, height: int, width: int) -> Draws:
    """Decide about a batch of images of height x width; `policy` holds any of color, crop and translation."""
    tall, wide = _enlarged(height, width)
    reach = np.array([int(height / 8 + 0.5), int(width / 8 + 0.5)])
    return Draws(
        colour=source.random((2, 3, images), dtype=np.float32) if "color" in policy else None,
        cropped=source.random(images) < 0.5 if "crop" in policy else None,
        window=(int(source.integers(0, tall - height + 1)), int(source.integers(0, wide - width + 1))),
        shift=source.integers(-reach, reach + 1, (images, 2)) if "translation" in policy else None,
    )


def augment(draws: Draws, *, photos: Tensor, fakes: Tensor, labels: Tensor, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Photos, generated images and labels as the discriminators get to see them."""
    if draws.colour is not None:
        photos, fakes = _recolour(photos, draws.colour[0], device), _recolour(fakes, draws.colour[1], device)
    if draws.cropped is not None:
        photos, fakes = _crop(photos, draws, resize_bicubic, device), _crop(fakes, draws, resize_bicubic, device)
        labels = _crop(labels, draws, resize_nearest, device)
    if draws.shift is not None:
        down, right = draws.shift.T
        photos, fakes, labels = (shift(x, down=down, right=right) for x in (photos, fakes, labels))
    return photos, fakes, labels


def _recolour(images: Tensor, colour: np.ndarray, device: str) -> Tensor:
    brightness, saturation, contrast = (from_numpy(values.reshape(-1, 1, 1, 1), device=device) for values in colour)
    images = images + (brightness - 0.5)
    grey = mean(images, axes=(1,))
    images = (images - grey) * (2 * saturation) + grey
    level = mean(images, axes=(1, 2, 3))
    return (images - level) * (contrast + 0.5) + level


def _crop(x: Tensor, draws: Draws, resize: Callable[..., Tensor], device: str) -> Tensor:
    assert draws.cropped is not None
    height, width = x.shape[2:]
    tall, wide = _enlarged(height, width)
    top, left = draws.window
    # An engine that compiles meets the same graph whoever is cropped, if only for nothing: who it is are numbers.
    places = np.flatnonzero(draws.cropped) if draws.cropped.any() else np.zeros(1, dtype=int)
    enlarged = resize(take(x, places), height=tall, width=wide)
    windows = enlarged[:, :, top : top + height, left : left + width]
    chosen = from_numpy(draws.cropped.astype(np.float32).reshape(-1, 1, 1, 1), device=device)
    return x * (1 - chosen) + take(windows, np.maximum(np.cumsum(draws.cropped) - 1, 0)) * chosen


def _enlarged(height: int, width: int) -> tuple[int, int]:
    return int(_ENLARGED * height), int(_ENLARGED * width)
