"""Mask accuracy's judge: a SegFormer that names each pixel of an image, compared with the label map that the image was drawn for.

Geometry is part of the number (of a random network's pixels, 83 % agree between a squashed and a native image; spec: metrics, 2.5), so it has a
name, and the name is in the identity. Whatever the geometry, logits are brought to the image's size bilinearly before the largest is taken.
Label maps are compared as they are: no processor of transformers ever sees them, and so none can shift their ids by one (`do_reduce_labels`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers import SegformerForSemanticSegmentation

from apfgan.confusion import count_confusion
from apfgan.errors import WeightsError
from apfgan.labels import Classes
from metrics.inference import IMAGENET_MEAN, IMAGENET_STD, freeze, image_tensor, in_batches, largest_logit, normalise
from metrics.pretrained import load_pretrained, pretrained_identity

Geometry = Literal["native", "squash-512", "short-512"]
"""At which size the network sees an image:

- `native`: at its own.
- `squash-512`: 512x512 whatever its shape, by Pillow's bilinear filter: what transformers' processor does unless told otherwise.
- `short-512`: short side 512, long side 2048 at most, bilinearly without antialiasing: mmsegmentation's test pipeline for ADE20K. The logits
  take mmsegmentation's way back, too: to the size that was seen, and from there to the image's.
"""

OTHER = "other"
"""The class that collects whatever a foreign judge sees and the data set has no name for."""


class SegformerJudge:
    """Observes `confusion`, and says what it `found`, by any SegFormer of transformers.

    One fine-tuned on the data set's own classes is used as it is. Another one (ADE20K, say) chooses among its own classes first, and then
    its choice is translated by name: the part before the first comma or semicolon of each of its names.
    """

    def __init__(self, folder: Path, classes: Classes, *, geometry: Geometry = "native", device: str = "cpu", batch: int = 4) -> None:
        """`folder` holds the network (see `metrics.pretrained`); `batch` images go through it together.

        Raises `WeightsError` when it does not load, or cannot name the classes.
        """
        network = load_pretrained(SegformerForSemanticSegmentation, folder)
        labels = network.config.id2label
        if sorted(labels) != list(range(len(labels))):
            raise WeightsError(
                f"id2label in {folder / 'config.json'} must name the classes 0 to {len(labels) - 1}; it names {sorted(labels)[:3]}, ..."
            )
        self._translation = translate([str(labels[index]) for index in range(len(labels))], classes).astype(np.uint16)
        self._network = freeze(network, device)
        self._classes = classes
        self._geometry = geometry
        self._device = device
        self._batch = batch
        self._hashes = pretrained_identity(folder)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Hashes, geometry, and the class into which each of the network's classes is translated."""
        return {
            "name": "segformer",
            "version": 1,
            **self._hashes,
            "translation": self._translation.tolist(),
            "ignore": self._classes.ignore,
            "geometry": self._geometry,
        }

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """`confusion`, uint32 (N, C, C), and `found`, uint16 (N, H, W), of images uint8 (N, H, W, 3) drawn for label maps (N, H, W)."""
        found = self.predict(images)
        return {"confusion": count_confusion(label_maps, found, self._classes), "found": found}

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The class seen at each pixel, uint16 (N, H, W), of images uint8 (N, H, W, 3)."""
        height, width = images.shape[1:3]
        sizes = [short_512(height, width), (height, width)] if self._geometry == "short-512" else [(height, width)]

        def look(inputs: torch.Tensor) -> np.ndarray:
            return self._translation[largest_logit(self._network(inputs).logits, *sizes)]

        return in_batches(list(images), self._prepare, look, batch=self._batch)

    def _prepare(self, image: np.ndarray) -> torch.Tensor:
        """What the network gets of an image uint8 (H, W, 3): float32 (3, h, w)."""
        if self._geometry == "squash-512":
            image = np.asarray(Image.fromarray(image).resize((512, 512), Image.Resampling.BILINEAR))
        pixels = image_tensor(image[np.newaxis], self._device)
        if self._geometry == "short-512":
            resized = functional.interpolate(pixels, size=short_512(*image.shape[:2]), mode="bilinear", align_corners=False)
            pixels = (resized * 255).round() / 255  # OpenCV, which mmsegmentation resizes with, rounds to 8 bits
        return normalise(pixels, IMAGENET_MEAN, IMAGENET_STD)[0]


def short_512(height: int, width: int) -> tuple[int, int]:
    """(height, width) within 512 by 2048 of an image's shape, rounded as mmsegmentation does: 384 by 512 becomes 512 by 683."""
    scale = min(512 / min(height, width), 2048 / max(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def translate(names: Sequence[str], classes: Classes) -> np.ndarray:
    """For each of a judge's classes by name, the id of our class it stands for, (judge's classes,).

    A judge without names (`LABEL_0`, ...) goes by its ids where the data set's classes have none either, and nowhere else: a network that was
    fine-tuned in another order would get every pixel wrong without a word.

    Raises `WeightsError` that lists the classes the judge can never see, or, where there is no class "other", those it has too many.
    """
    numbered = classes.names == Classes.numbered(len(classes)).names
    nameless = all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    if tuple(names) == classes.names or (nameless and numbered and len(names) == len(classes)):
        return np.arange(len(classes))
    if nameless and not numbered:
        raise WeightsError(
            f"the {len(names)} classes of the mask judge have no names ({names[0]}, ...), and which of them is {classes.names[0]} cannot be known. "
            "Write the names into id2label of its config.json, in the order in which it was fine-tuned"
        )
    ours = {name: index for index, name in enumerate(classes.names)}
    theirs = [re.split(r"[,;]", name)[0].strip() for name in names]
    unseen = [name for name in classes.names if name not in theirs and name != OTHER]
    if unseen:
        raise WeightsError(
            f"the mask judge has {len(names)} classes ({_listed(theirs, 4)}) and cannot see {_listed(unseen)}. Use one that was fine-tuned "
            "on these classes (id2label in its config.json and data.classes must agree in their names), or the embedded judges."
        )
    surplus = [name for name in theirs if name not in ours]
    if surplus and OTHER not in ours:
        raise WeightsError(
            f'the mask judge sees classes that the data set lacks ({_listed(surplus)}), and there is no class "{OTHER}" to count them as. '
            "Use one that was fine-tuned on these classes, or the embedded judges."
        )
    return np.array([ours.get(name, ours.get(OTHER)) for name in theirs])


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
