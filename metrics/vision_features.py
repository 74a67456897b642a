"""Vision transformers of the transformers library as feature networks, each with one pinned way of bringing an image before it.

The geometry decides what such a network sees, and so the number: a recipe has no settings, and judges record which one they used. Images are
resized by Pillow on 8-bit values, as the authors of these measures do, and not by transformers' own processors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionModelWithProjection, Dinov2Model, PreTrainedModel

from apfgan.errors import WeightsError
from metrics.feature_network import FeatureNetwork
from metrics.inference import IMAGENET_MEAN, IMAGENET_STD, freeze, image_tensor, normalise
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


def _load_clip(folder: Path, side: int) -> PreTrainedModel:
    network: PreTrainedModel = load_pretrained(CLIPVisionModelWithProjection, folder)
    if network.config.image_size != side:
        raise WeightsError(f"the CLIP in {folder} is made for images of {network.config.image_size} pixels, and {side} are wanted: it is another one")
    return network


def _load_dinov2(folder: Path, side: int) -> PreTrainedModel:
    """DINOv2 with its positions (a square of 37 patches for 518 pixels) brought to `side` as the authors' own code brings them.

    That stretches the square by (n + 0.1) / 37 for n patches, where transformers takes n / 37, and dgm-eval uses the authors' code.
    """
    network: PreTrainedModel = load_pretrained(Dinov2Model, folder)
    embeddings, (had, wanted) = network.embeddings, (size // network.config.patch_size for size in (network.config.image_size, side))
    if had != wanted:
        first, others = embeddings.position_embeddings.detach().split([1, had * had], dim=1)
        square = others.unflatten(1, (had, had)).permute(0, 3, 1, 2)
        stretched = functional.interpolate(square, scale_factor=(wanted + 0.1) / had, mode="bicubic", align_corners=False)
        embeddings.position_embeddings = nn.Parameter(torch.cat([first, stretched.permute(0, 2, 3, 1).flatten(1, 2)], dim=1))
    return network


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How images are brought before a network, and what is taken from it."""

    name: str
    """Name of the distance between its features; where there is none, of what it gives."""
    load: Callable[[Path, int], PreTrainedModel]
    """The network in a folder, for images of so many pixels a side; raises `WeightsError`."""
    side: int
    """Height and width of what it is shown, in pixels."""
    square: Callable[[np.ndarray, int], np.ndarray]
    """Makes a square of an image: `squash` or `crop_square`."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    output: str
    """Field of the network's output, (N, D)."""


CLIP_EMBEDDING = Recipe(
    name="clip-embedding", load=_load_clip, side=224, square=crop_square, mean=CLIP_MEAN, std=CLIP_STD, output="image_embeds"
)  # fmt: skip
"""What LAION's aesthetic heads score: OpenAI's own preprocessing (spec: metrics, 2.4)."""

FD_DINOV2 = Recipe(
    name="fd-dinov2", load=_load_dinov2, side=224, square=squash, mean=IMAGENET_MEAN, std=IMAGENET_STD, output="pooler_output"
)  # fmt: skip
"""FD-DINOv2 as dgm-eval has it (Stein et al. 2023): the class token behind the last norm, of facebook/dinov2-large."""

FD_CLIP = Recipe(
    name="fd-clip", load=_load_clip, side=336, square=squash, mean=CLIP_MEAN, std=CLIP_STD, output="image_embeds"
)  # fmt: skip
"""The network and geometry of CMMD (Jayasumana et al. 2024), openai/clip-vit-large-patch14-336. Unlike there, the embedding keeps its length."""


class VisionJudge(FeatureNetwork):
    """Looks by a pretrained network that is used by a recipe."""

    def __init__(self, folder: Path, recipe: Recipe, *, device: str = "cpu", batch: int = 8) -> None:
        """`folder` holds the network (see `metrics.pretrained`); `batch` images go through it together.

        Raises `WeightsError` when it does not load, or is not of the recipe's kind and size.
        """
        network = recipe.load(folder, recipe.side)
        self.dimensions: int = getattr(network.config, "projection_dim", network.config.hidden_size)
        """Length D of an image's features."""
        frozen = freeze(network, device)
        super().__init__(
            distance=recipe.name,
            identity={
                "name": recipe.name,
                "version": 1,
                **pretrained_identity(folder),
                "resize": "pil-bicubic",
                "square": recipe.square.__name__,
                "side": recipe.side,
                "output": recipe.output,
            },
            prepare=lambda photo: normalise(image_tensor(recipe.square(photo, recipe.side)[np.newaxis], device), recipe.mean, recipe.std)[0],
            look=lambda inputs: frozen(inputs)[recipe.output],
            batch=batch,
        )
