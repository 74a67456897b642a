"""clean-fid's Inception features (Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation"; its mode "clean").

Same network as pytorch-fid's, another protocol: images shrink by an antialiasing filter, and 128 and not 127.5 becomes 0. Numbers of the two
are not comparable. The network comes as a TorchScript file, so that it does not depend on how anybody writes Inception down.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from apfgan.errors import WeightsError
from apfgan.files import hash_file
from metrics.feature_network import FeatureNetwork
from metrics.inception import BATCH, SIDE
from metrics.inference import exact_inference, image_tensor, is_torchscript, reason


class CleanInceptionJudge(FeatureNetwork):
    """Looks as clean-fid does: RGB in 0..255, squashed to 299x299 by an antialiasing bicubic filter, not rounded, (x - 128) / 128; 2048 features."""

    def __init__(self, weights: Path, *, device: str = "cpu") -> None:
        """`weights` is `inception-2015-12-05.pt` or a TorchScript network of its form; `WeightsError` says what another file is."""
        layers = _load(weights, device)
        super().__init__(
            distance="fid-clean",
            identity={
                "name": "fid/clean",
                "version": 1,
                "weights": hash_file(weights),
                "size": [SIDE, SIDE],
                "resize": "bicubic",
                "antialias": True,
            },
            prepare=lambda photo: squash_clean(image_tensor(photo[np.newaxis], device))[0],
            look=lambda inputs: layers(inputs).flatten(1),
            batch=BATCH,
        )


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
