"""The judge for when no weights can be had: a small SegFormer fitted on the run's own training pairs in under a minute.

It measures how well an image agrees with its label map and, by what it sees on the way, how far a set of images is from the photos. Both are
true measurements of these images, and neither compares with numbers from other runs or from the contest: the distance is called
`fd-embedded`, never FID. It is given in percent of the photos' own spread, so that 100 is what showing the same mean picture always would get.

Features are the mean and the spread over positions of the encoder's four stages, and the contrast in each octave of the image, because a
network that learns to name classes learns to overlook blur and noise. Measured on painted landscapes at 128x96, fitted on 96 pairs, 96 images
of a set: held out 18, 10 % colour cast 21, slight blur 29, slight noise 33, a flat colour for each class 45, strong blur 57, no colour 63, one
image repeated 167, nothing but noise 2500. As every Fréchet distance it grows when there are fewer images: 32 held out score 36.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from apfgan.confusion import count_confusion
from apfgan.errors import DataError, WeightsError
from apfgan.files import hash_bytes, write_bytes, write_json
from apfgan.images import resize_label_map, resize_photo
from apfgan.labels import Classes
from apfgan.progress import SILENT, Progress
from metrics.aesthetic_proxy import AestheticProxy
from metrics.inference import IMAGENET_MEAN, IMAGENET_STD, exact_inference, freeze, image_tensor, largest_logit, normalise
from metrics.judges import Judges
from metrics.pixel_loss import UNLABELLED, pixel_cross_entropy
from metrics.reference import Reference

VERSION = 1
"""Goes up whenever the same weights would give other numbers."""

STEPS = 400
"""Optimiser steps of a fit: 30 s of one core at 128x96 with 29 classes. Pixels named right on scenes held out: 0.75; 0.76 after twice as many."""

BATCH = 16
"""Images that go through the network together."""

_PIXELS = 128 * 96
"""Larger images are judged at about this many pixels."""
_FIT_BATCH = 8
_RATE = 4e-3
_WARM_UP = 20
_OCTAVES = 4
_LEAST_SPREAD = 1e-3
"""Features that vary less than this over the photos are not blown up further."""


class EmbeddedJudge:
    """Observes `confusion` and `features` in one pass of a network that was fitted by `fit`."""

    distance = "fd-embedded"

    def __init__(
        self,
        network: SegformerForSemanticSegmentation,
        *,
        spread: torch.Tensor,
        classes: Classes,
        image_size: tuple[int, int],
        judged_size: tuple[int, int],
        device: str = "cpu",
    ) -> None:
        """`spread` is the standard deviation of each feature over the photos of the fit; sizes are (width, height)."""
        self._network = freeze(network, device)
        self._spread = spread.to(device)
        self._classes = classes
        self._image_size = image_size
        self._judged_size = judged_size
        self._device = device
        self._content = save({"spread": spread.cpu(), **{f"network.{name}": value.cpu() for name, value in network.state_dict().items()}})

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values: the hash of the fitted weights, and the sizes at which it looks."""
        return {
            "name": "embedded-segformer",
            "version": VERSION,
            "weights": hash_bytes(self._content),
            "classes": list(self._classes.names),
            "ignore": self._classes.ignore,
            "image_size": list(self._image_size),
            "judged_size": list(self._judged_size),
            "resize": "pil-bicubic",
        }

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """`confusion`, `found` (uint16) and `features` of images uint8 (N, H, W, 3) drawn for label maps (N, H, W)."""
        features, confusion, found = [], [], []
        _, height, width, _ = images.shape
        for start in range(0, len(images), BATCH):
            rows = slice(start, start + BATCH)
            seen_features, logits = self._look(images[rows])
            with exact_inference():
                seen = largest_logit(logits, (height, width)).astype(np.uint16)
            features.append(seen_features)
            found.append(seen)
            confusion.append(count_confusion(label_maps[rows], seen, self._classes))
        return {"features": np.concatenate(features), "confusion": np.concatenate(confusion), "found": np.concatenate(found)}

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Features float32 (N, D) of photos, brought to the size of the generated images first (Pillow's bicubic)."""
        return self._look(np.stack([resize_photo(photo, self._image_size) for photo in photos]))[0]

    def fit_reference(self, features: np.ndarray) -> Reference:
        """The reference from the photos' features (N, D); distances from it are in percent of the photos' spread."""
        return Reference.fit(features, distance=self.distance, relative=True)

    def save(self, path: Path) -> None:
        """Write `path` (.safetensors) and, beside it, the `.json` that identifies it; both durably."""
        write_bytes(path, self._content)
        write_json(path.with_suffix(".json"), dict(self.identity))

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu") -> "EmbeddedJudge":
        """A judge from `save`. Raises `WeightsError` when the files are missing, damaged, or of another version."""
        mend = "delete it and run the command again: the judge is fitted anew"
        try:
            content, identity = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())
        except FileNotFoundError as error:
            raise WeightsError(f"there is no fitted judge {error.filename}; run the command again: the judge is fitted anew") from error
        except (OSError, ValueError) as error:
            raise WeightsError(f"cannot read the fitted judge {path}: {error}; {mend}") from error
        if not isinstance(identity, dict) or hash_bytes(content) != identity.get("weights"):
            raise WeightsError(f"the fitted judge {path} is damaged: its hash is not the one in {path.with_suffix('.json').name}; {mend}")
        try:
            tensors = load(content)
            classes = Classes(names=tuple(identity["classes"]), ignore=identity["ignore"])
            network = _network(len(classes))
            network.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items() if name != "spread"})
            (width, height), (judged_width, judged_height) = identity["image_size"], identity["judged_size"]
            spread, version = tensors["spread"], identity["version"]
        except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"the fitted judge {path} was made by another version of this program or its libraries; {mend}") from error
        if version != VERSION:
            raise WeightsError(f"the fitted judge {path} is of version {version}, this program has version {VERSION}; {mend}")
        return cls(network, spread=spread, classes=classes, image_size=(width, height), judged_size=(judged_width, judged_height), device=device)

    def _look(self, images: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        """Features (N, D) in units of their spread, and logits (N, C, h, w)."""
        with exact_inference():
            pixels = normalise(image_tensor(_photos_at(images, self._judged_size), self._device), IMAGENET_MEAN, IMAGENET_STD)
            output = self._network(pixels, output_hidden_states=True)
            return (_pooled(pixels, output.hidden_states) / self._spread).cpu().numpy(), output.logits


def fit(
    photos: np.ndarray,
    label_maps: np.ndarray,
    classes: Classes,
    *,
    seed: int = 0,
    steps: int = STEPS,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> EmbeddedJudge:
    """Fit the judge to photos uint8 (N, H, W, 3), at the size of the generated images, and their label maps (N, H, W).

    The same arguments give the same judge on the same machine. Raises `DataError` for fewer than two photos, or sizes that do not fit.
    """
    if photos.dtype != np.uint8 or photos.ndim != 4 or photos.shape[:3] != label_maps.shape or len(photos) < 2:
        raise DataError(f"the embedded judge needs at least 2 photos uint8 (N, H, W, 3) and as many label maps: {photos.shape}, {label_maps.shape}")
    height, width = photos.shape[1:3]
    judged_size = _judged_size(width, height)
    pixels = normalise(image_tensor(_photos_at(photos, judged_size), "cpu"), IMAGENET_MEAN, IMAGENET_STD)
    targets = _targets(label_maps, judged_size, classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(len(classes)).to(device).train()
        _train(network, pixels, targets, steps=steps, seed=seed, device=device, progress=progress)
    freeze(network, device)
    rows = []
    with exact_inference():
        for chunk in pixels.split(BATCH):
            on_device = chunk.to(device)
            rows.append(_pooled(on_device, network(on_device, output_hidden_states=True).hidden_states).cpu())
        spread = torch.cat(rows).std(dim=0).clamp(min=_LEAST_SPREAD)
    return EmbeddedJudge(network, spread=spread, classes=classes, image_size=(width, height), judged_size=judged_size, device=device)


def embedded_judges(judge: EmbeddedJudge) -> Judges:
    """The set of judges that needs no weights: `judge`, and the aesthetic proxy."""
    return Judges(name="embedded", mask=judge, aesthetic=AestheticProxy(), features=judge)


def _network(classes: int) -> SegformerForSemanticSegmentation:
    """0.19 million weights; no dropout, so that a fit depends on nothing but its seed."""
    return SegformerForSemanticSegmentation(
        SegformerConfig(
            num_labels=classes,
            depths=[1, 1, 1, 1],
            hidden_sizes=[16, 32, 48, 64],
            num_attention_heads=[1, 2, 4, 4],
            mlp_ratios=[2, 2, 2, 2],
            decoder_hidden_size=64,
            drop_path_rate=0.0,
            classifier_dropout_prob=0.0,
        )
    )


def _train(
    network: SegformerForSemanticSegmentation,
    pixels: torch.Tensor,
    targets: torch.Tensor,
    *,
    steps: int,
    seed: int,
    device: str,
    progress: Progress,
) -> None:
    """AdamW with a short warm-up and a linear decay to zero, on random mirrored pairs."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / _WARM_UP) * (1 - step / steps))
    draw = torch.Generator().manual_seed(seed)
    with progress.task("fit the embedded judge", steps, unit="steps") as task:
        for _ in range(steps):
            chosen = torch.randint(len(pixels), (_FIT_BATCH,), generator=draw)
            mirrored = torch.rand((_FIT_BATCH, 1, 1), generator=draw) < 0.5
            batch = torch.where(mirrored[..., None], pixels[chosen].flip(-1), pixels[chosen]).to(device)
            target = torch.where(mirrored, targets[chosen].flip(-1), targets[chosen]).to(device)
            loss = pixel_cross_entropy(network(batch).logits, target)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            task.advance()


def _pooled(pixels: torch.Tensor, stages: Sequence[torch.Tensor]) -> torch.Tensor:
    """Features (N, D) of normalised images (N, 3, h, w) and the encoder's stages (N, c, h', w')."""
    parts = [statistic for stage in stages for statistic in _mean_and_spread(stage)]
    for _ in range(_OCTAVES):
        if min(pixels.shape[2:]) < 2:
            break
        coarse = functional.avg_pool2d(pixels, 2)
        detail = pixels - functional.interpolate(coarse, size=pixels.shape[2:], mode="bilinear", align_corners=False)
        parts += [detail.abs().mean(dim=(2, 3)), detail.std(dim=(2, 3), correction=0)]
        pixels = coarse
    parts += _mean_and_spread(pixels)
    return torch.cat(parts, dim=1)


def _mean_and_spread(maps: torch.Tensor) -> list[torch.Tensor]:
    return [maps.mean(dim=(2, 3)), maps.std(dim=(2, 3), correction=0)]


def _judged_size(width: int, height: int) -> tuple[int, int]:
    """The size itself, or one of the same shape with about `_PIXELS` pixels."""
    scale = (_PIXELS / (width * height)) ** 0.5
    return (width, height) if scale >= 1 else (max(1, round(width * scale)), max(1, round(height * scale)))


def _photos_at(photos: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    return photos if photos.shape[1:3] == (height, width) else np.stack([resize_photo(photo, size) for photo in photos])


def _targets(label_maps: np.ndarray, size: tuple[int, int], classes: Classes) -> torch.Tensor:
    """Class ids int64 (N, h, w) with the ignore value replaced. Raises `DataError` for an id that is no class."""
    narrow = label_maps.astype(np.uint16)
    targets = np.stack([resize_label_map(label_map, size) for label_map in narrow]).astype(np.int64)
    if classes.ignore is not None:
        targets[targets == classes.ignore] = UNLABELLED
    if targets.max() >= len(classes):
        raise DataError(f"the label maps hold class {targets.max()}; classes are 0 to {len(classes) - 1}. Check data.classes and data.ignore")
    return torch.from_numpy(targets)
