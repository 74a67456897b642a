"""What a segmenter in training sees of a photo and its label map: scaled, cut out, mirrored, and the photo recoloured.

The order and the draws are those of mmsegmentation's pipeline for ADE20K, with the resizing rules of this project. Numpy and Pillow only.
"""

import numpy as np
from PIL import Image

from apfgan.images import resize_label_map, resize_photo
from metrics.inference import IMAGENET_MEAN
from metrics.pixel_loss import UNLABELLED
from metrics.segformer_recipe import Recipe

_BESIDE = tuple(round(255 * mean) for mean in IMAGENET_MEAN)
"""Colour beside a photo that is smaller than the crop: nothing, once normalised."""


def training_crop(
    photo: np.ndarray, label_map: np.ndarray, recipe: Recipe, *, ignore: int | None, source: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A crop, uint8 (crop, crop, 3), of photo uint8 (H, W, 3), and its targets, int64 (crop, crop): class ids, or `UNLABELLED`."""
    size = scaled_size((photo.shape[1], photo.shape[0]), recipe, scale=float(source.uniform(*recipe.scales)))
    photo, label_map = resize_photo(photo, size), resize_label_map(label_map, size)
    window = _window(label_map, recipe, ignore=ignore, source=source)
    photo, label_map = photo[window], label_map[window]
    if source.random() < recipe.mirrored:
        photo, label_map = photo[:, ::-1], label_map[:, ::-1]
    height, width = label_map.shape
    seen = np.full((recipe.crop, recipe.crop, 3), _BESIDE, dtype=np.uint8)
    seen[:height, :width] = recolour(photo, recipe, source)
    targets = np.full((recipe.crop, recipe.crop), UNLABELLED, dtype=np.int64)
    targets[:height, :width] = label_map if ignore is None else np.where(label_map == ignore, UNLABELLED, label_map.astype(np.int64))
    return seen, targets


def scaled_size(size: tuple[int, int], recipe: Recipe, *, scale: float) -> tuple[int, int]:
    """The (width, height) of a photo of `size` at `scale`, its shape kept."""
    length = recipe.crop * scale
    factor = min(length / min(size), length * recipe.long_side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def recolour(photo: np.ndarray, recipe: Recipe, source: np.random.Generator) -> np.ndarray:
    """Photo uint8 (H, W, 3) with another brightness, contrast, saturation and hue, each by chance; contrast comes before the hue or after."""
    brighter, contrasted, saturated, turned, contrast_first = source.random(5) < [*[recipe.distorted] * 4, 0.5]
    offset = source.uniform(-recipe.brightness, recipe.brightness)
    contrast, saturation = source.uniform(*recipe.contrast), source.uniform(*recipe.saturation)
    turn = source.uniform(-recipe.hue, recipe.hue)
    if brighter:
        photo = _levels(1.0, offset)[photo]
    if contrasted and contrast_first:
        photo = _levels(contrast, 0.0)[photo]
    if saturated or turned:
        photo = _recolour_hsv(photo, saturation if saturated else 1.0, turn if turned else 0.0)
    if contrasted and not contrast_first:
        photo = _levels(contrast, 0.0)[photo]
    return photo


def _levels(factor: float, offset: float) -> np.ndarray:
    """What becomes of each of the 256 levels, uint8."""
    return np.clip(np.arange(256) * factor + offset, 0, 255).astype(np.uint8)


def _recolour_hsv(photo: np.ndarray, saturation: float, turn: float) -> np.ndarray:
    """Photo with its saturation multiplied and its hue turned by so many degrees. Pillow's hues go once around in 256 levels."""
    hues, saturations, values = Image.fromarray(np.ascontiguousarray(photo)).convert("HSV").split()
    hues = hues.point([(level + round(turn * 256 / 360)) % 256 for level in range(256)])
    saturations = saturations.point(_levels(saturation, 0.0).tolist())
    return np.asarray(Image.merge("HSV", (hues, saturations, values)).convert("RGB"))


def _window(label_map: np.ndarray, recipe: Recipe, *, ignore: int | None, source: np.random.Generator) -> tuple[slice, slice]:
    """Where to cut; another place is tried where one class fills the crop."""
    for _ in range(recipe.tries):
        top, left = (int(source.integers(0, max(0, length - recipe.crop), endpoint=True)) for length in label_map.shape)
        window = (slice(top, top + recipe.crop), slice(left, left + recipe.crop))
        ids = label_map[window]
        counts = np.bincount(ids[ids != ignore] if ignore is not None else ids.ravel())
        if counts.sum() > counts.max(initial=0) and counts.max() < recipe.one_class * counts.sum():
            break
    return window
