"""Vision transformers of the transformers library as feature networks, each with one pinned way of bringing an image before it.

The geometry decides what such a network sees, and so the number: a recipe is not configurable, and judges record which one they used.
Images are resized by Pillow on 8-bit values, as the authors of these measures do, and not by transformers' own processors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionModelWithProjection, PreTrainedModel

from apfgan.errors import WeightsError
from metrics.inference import exact_inference, freeze, image_tensor, normalise
from metrics.pretrained import load_pretrained, pretrained_identity

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def squash(image: np.ndarray, side: int) -> np.ndarray:
    """Pillow's bicubic filter straight to a square, whatever the image's shape; uint8 (side, side, 3)."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def crop_square(image: np.ndarray, side: int) -> np.ndarray:
    """OpenAI's geometry: the short side brought to `side` by Pillow's bicubic filter, then the middle square; uint8 (side, side, 3)."""
    height, width = image.shape[:2]
    short = min(height, width)
    resized = np.asarray(
        Image.fromarray(image).resize((int(side * width / short), int(side * height / short)), Image.Resampling.BICUBIC),
    )
    top, left = round((resized.shape[0] - side) / 2), round((resized.shape[1] - side) / 2)
    return resized[top : top + side, left : left + side]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How images are brought before a network, and what is taken from it."""

    name: str
    """Name of the distance between its features; where there is none, of what it gives."""
    network: type[PreTrainedModel]
    trained_side: int
    """`image_size` of the network; one that was made for another size is refused."""
    side: int
    """Height and width of what it is shown."""
    square: Callable[[np.ndarray, int], np.ndarray]
    """Makes a square of an image: `squash` or `crop_square`."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    output: str
    """Field of the network's output, (N, D)."""
    width: str
    """Field of the network's configuration that holds D."""


CLIP_EMBEDDING = Recipe(
    name="clip-embedding",
    network=CLIPVisionModelWithProjection,
    trained_side=224,
    side=224,
    square=crop_square,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    output="image_embeds",
    width="projection_dim",
)
"""What LAION's aesthetic heads score: OpenAI's own preprocessing (spec: metrics, 2.4)."""


class VisionNetwork:
    """A pretrained network that is used by a recipe."""

    def __init__(self, folder: Path, recipe: Recipe, *, device: str = "cpu", batch: int = 8) -> None:
        """`folder` holds the network (see `metrics.pretrained`); `batch` images go through it together.

        Raises `WeightsError` when it does not load, or is not of the recipe's kind and size.
        """
        network = load_pretrained(recipe.network, folder)
        if network.config.image_size != recipe.trained_side:
            raise WeightsError(
                f"the network in {folder} is made for images of {network.config.image_size} pixels, {recipe.name} wants one for {recipe.trained_side}"
            )
        self.dimensions: int = getattr(network.config, recipe.width)
        """Length of an image's embedding."""
        self._network = freeze(network, device)
        self._recipe = recipe
        self._device = device
        self._batch = batch
        self._hashes = pretrained_identity(folder)

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values: the recipe with its geometry, and the hashes of the network's files."""
        return {
            "name": self._recipe.name,
            "version": 1,
            **self._hashes,
            "resize": "pil-bicubic",
            "square": self._recipe.square.__name__,
            "side": self._recipe.side,
            "output": self._recipe.output,
        }

    def embed(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The network's output float32 (N, D) of images uint8 (H, W, 3), which may differ in size."""
        return np.concatenate([self._look(images[start : start + self._batch]) for start in range(0, len(images), self._batch)])

    def _look(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        squares = np.stack([self._recipe.square(image, self._recipe.side) for image in images])
        with exact_inference():
            pixels = normalise(image_tensor(squares, self._device), self._recipe.mean, self._recipe.std)
            output: torch.Tensor = self._network(pixels)[self._recipe.output]
        return output.cpu().numpy()
