"""clean-fid's Inception features (Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation"; its mode "clean").

Same network as pytorch-fid's, another protocol: images shrink by an antialiasing filter, and 128 and not 127.5 becomes 0. Numbers of the two
are not comparable. The network comes as a TorchScript file, so that it does not depend on how anybody writes Inception down.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from apfgan.errors import WeightsError
from apfgan.files import hash_file
from metrics.inception import BATCH, SIDE
from metrics.inference import exact_inference, image_tensor, in_batches, is_torchscript, reason
from metrics.reference import Reference


class CleanInceptionJudge:
    """Observes `features` as clean-fid does: RGB in 0..255, squashed to 299x299 by an antialiasing bicubic filter, not rounded, (x - 128) / 128."""

    distance = "fid-clean"

    def __init__(self, weights: Path, *, device: str = "cpu") -> None:
        """`weights` is `inception-2015-12-05.pt` or a TorchScript network of its form; `WeightsError` says what another file is."""
        self._layers = _load(weights, device)
        self._device = device
        self._hash = hash_file(weights)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The protocol's name and the hash of the weights file."""
        return {"name": "fid/clean", "version": 1, "weights": self._hash, "size": [SIDE, SIDE], "resize": "bicubic", "antialias": True}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """`features`, float32 (N, 2048), of images uint8 (N, H, W, 3); the label maps are not looked at."""
        return {"features": self.observe_photos(list(images))}

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Features float32 (N, 2048) of photos uint8 (H, W, 3), each squashed from its own size, as clean-fid does with a folder."""
        return in_batches(photos, self._prepare, self._look, batch=BATCH)

    def fit_reference(self, features: np.ndarray) -> Reference:
        """The reference from the photos' features (N, 2048)."""
        return Reference.fit(features, distance=self.distance)

    def _prepare(self, photo: np.ndarray) -> torch.Tensor:
        return squash_clean(image_tensor(photo[np.newaxis], self._device))[0]

    def _look(self, batch: torch.Tensor) -> np.ndarray:
        features: np.ndarray = self._layers(batch).flatten(1).cpu().numpy()
        return features


def squash_clean(photos: torch.Tensor) -> torch.Tensor:
    """Photos (N, 3, H, W) in 0..1 as (N, 3, 299, 299) in -1..127/128.

    clean-fid resizes each channel with Pillow in float32. Measured on photos and on noise of 1x1 to 2000x33 pixels, this differs from that
    by 0.006 of 255 at most and by 0.0008 on average.
    """
    resized = functional.interpolate(photos, size=(SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
    return (255 * resized.clamp(0, 1) - 128) / 128


def _load(path: Path, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The layers of the TorchScript network in `path`: images (N, 3, 299, 299) to the 2048 numbers of the last average pool."""
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    if not is_torchscript(path):
        raise WeightsError(
            f"{path} is no TorchScript network, as clean-fid's inception-2015-12-05.pt is one. A file of weights alone, as pytorch-fid's .pth, "
            "belongs to the protocol fid/pytorch-fid"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # newer PyTorch would rather have all such files made again in another format
            network: Any = torch.jit.load(path, map_location=device).eval()
        layers: Callable[[torch.Tensor], torch.Tensor] = network.layers
        with exact_inference():
            features = layers(torch.zeros(1, 3, SIDE, SIDE, device=device)).flatten(1)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is not, or no longer, clean-fid's inception-2015-12-05.pt ({reason(error)})") from error
    if features.shape != (1, 2048):
        raise WeightsError(f"{path} gives {features.shape[1]} features for an image, not Inception's 2048: it is another network")
    return layers
