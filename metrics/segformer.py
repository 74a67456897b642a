"""Mask accuracy's judge: a SegFormer that names each pixel of an image, compared with the label map that the image was drawn for.

Geometry is part of the number (a squashed and a native image agree on 83 % of the pixels, spec: metrics, 2.5), so there is one, and it is in
the identity: the image at its own size, ImageNet normalisation, logits brought to that size bilinearly, then the largest.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import SegformerForSemanticSegmentation

from apfgan.confusion import count_confusion
from apfgan.errors import WeightsError
from apfgan.labels import Classes
from metrics.inference import IMAGENET_MEAN, IMAGENET_STD, exact_inference, freeze, image_tensor, largest_logit, normalise
from metrics.pretrained import load_pretrained, pretrained_identity

OTHER = "other"
"""The class that collects whatever a foreign judge sees and the data set has no name for."""


class SegformerJudge:
    """Observes `confusion` by any SegFormer of transformers.

    One fine-tuned on the data set's own classes is used as it is. Another one (ADE20K, say) chooses among its own classes first, and then
    its choice is translated by name: the part before the first comma or semicolon of each of its names.
    """

    def __init__(self, folder: Path, classes: Classes, *, device: str = "cpu", batch: int = 4) -> None:
        """`folder` holds the network (see `metrics.pretrained`); `batch` images go through it together.

        Raises `WeightsError` when it does not load, or cannot name the classes.
        """
        network = load_pretrained(SegformerForSemanticSegmentation, folder)
        labels = network.config.id2label
        self._translation = translate([str(labels[index]) for index in range(len(labels))], classes)
        self._network = freeze(network, device)
        self._classes = classes
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
            "resize": "none",
            "upsample": "bilinear",
        }

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """`confusion`, uint32 (N, C, C), of images uint8 (N, H, W, 3) drawn for label maps (N, H, W)."""
        parts = []
        for start in range(0, len(images), self._batch):
            rows = slice(start, start + self._batch)
            parts.append(count_confusion(label_maps[rows], self.predict(images[rows]), self._classes))
        return {"confusion": np.concatenate(parts)}

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The class seen at each pixel, (N, H, W), of images uint8 (N, H, W, 3)."""
        with exact_inference():
            pixels = normalise(image_tensor(images, self._device), IMAGENET_MEAN, IMAGENET_STD)
            return self._translation[largest_logit(self._network(pixels).logits, images.shape[1:3])]


def translate(names: Sequence[str], classes: Classes) -> np.ndarray:
    """For each of a judge's classes by name, the id of our class it stands for, (judge's classes,).

    Raises `WeightsError` that lists the classes the judge can never see, or, where there is no class "other", those it has too many.
    """
    if tuple(names) == classes.names:
        return np.arange(len(classes))
    ours = {name: index for index, name in enumerate(classes.names)}
    theirs = [re.split(r"[,;]", name)[0].strip() for name in names]
    unseen = [name for name in classes.names if name not in theirs and name != OTHER]
    if unseen:
        raise WeightsError(
            f"the mask judge has {len(names)} classes ({', '.join(theirs[:4])}, ...) and cannot see {', '.join(unseen)}. "
            "Use one that was fine-tuned on these classes (id2label in its config.json must hold their names), or the embedded judges."
        )
    surplus = [name for name in theirs if name not in ours]
    if surplus and OTHER not in ours:
        raise WeightsError(
            f'the mask judge sees classes that the data set lacks ({", ".join(surplus[:8])}), and there is no class "{OTHER}" to count them as. '
            "Use one that was fine-tuned on these classes, or the embedded judges."
        )
    return np.array([ours[name] if name in ours else ours[OTHER] for name in theirs])
