"""LAION's aesthetic scores: a linear head on the normalised image embedding of CLIP ViT-L/14.

Version 1 is one linear layer. Version 2 is five of them without an activation between, and so one affine map, too: it is collapsed in
float64 when it is read (measured: equal to the float32 layers to 1e-6). Dropout, which the original code leaves to `eval()`, does not exist
here, and the embedding is normalised inside: the two known ways to a wrong score (spec: metrics, 2.4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from apfgan.errors import WeightsError
from apfgan.files import hash_file
from metrics.inference import exact_inference, freeze, image_tensor, normalise, read_state
from metrics.pretrained import load_pretrained, pretrained_identity

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class AestheticHead:
    """score = weight · embedding + bias, for an embedding of length 1."""

    weight: np.ndarray
    """float64 (D,)."""
    bias: float
    sha256: str
    """Hash of the file it came from."""

    @classmethod
    def read(cls, path: Path) -> "AestheticHead":
        """Read a head of version 1 (`weight`, `bias`) or version 2 (`layers.N.weight`, `layers.N.bias`, linear only)."""
        state = {name: tensor.double().numpy() for name, tensor in read_state(path).items()}
        layers = sorted({name.rpartition(".")[0] for name in state})
        if layers not in ([""], ["layers.0", "layers.2", "layers.4", "layers.6", "layers.7"]):
            raise WeightsError(
                f"{path} is no aesthetic head that is known here: its layers are {', '.join(layers)}. "
                "Wanted: sac+logos+ava1-l14-linearMSE.pth (not the reluMSE one) or sa_0_4_vit_l_14_linear.pth"
            )
        prefixes = [f"{layer}." if layer else "" for layer in layers]
        try:
            weight, bias = state[prefixes[0] + "weight"], state[prefixes[0] + "bias"]
            for prefix in prefixes[1:]:
                weight, bias = state[prefix + "weight"] @ weight, state[prefix + "weight"] @ bias + state[prefix + "bias"]
            (row,), (offset,) = weight, bias
        except (KeyError, ValueError) as error:
            raise WeightsError(f"{path} is no aesthetic head: its layers do not make one number of an embedding ({error})") from error
        return cls(row, float(offset), hash_file(path))

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """Scores float64 (N,) of embeddings (N, D) of any length."""
        exact = embeddings.astype(np.float64)
        return exact @ self.weight / np.linalg.norm(exact, axis=1) + self.bias


class AestheticJudge:
    """Observes `aesthetic` by a head on CLIP."""

    def __init__(self, clip: Path, head: Path, *, device: str = "cpu", batch: int = 8) -> None:
        """`clip` is a folder with a CLIP of transformers, `head` one of LAION's files; `batch` images go through the network together.

        Raises `WeightsError` when one of them does not load, or they do not fit each other.
        """
        network = load_pretrained(CLIPVisionModelWithProjection, clip)
        self._head = AestheticHead.read(head)
        if network.config.projection_dim != len(self._head.weight):
            raise WeightsError(
                f"{head} is for embeddings of {len(self._head.weight)} numbers, the CLIP in {clip} makes {network.config.projection_dim}: "
                "both LAION heads want openai/clip-vit-large-patch14"
            )
        self._side: int = network.config.image_size
        self._network = freeze(network, device)
        self._device = device
        self._batch = batch
        self._hashes = pretrained_identity(clip)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Hashes of both files, and the geometry."""
        return {
            "name": "laion-aesthetic",
            "version": 1,
            "head": self._head.sha256,
            **{f"clip_{name}": value for name, value in self._hashes.items()},
            "resize": "pil-bicubic",
            "crop": "centre",
            "size": self._side,
        }

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """`aesthetic`, float64 (N,), of images uint8 (N, H, W, 3); the label maps are not looked at."""
        rows = [self._head.score(self.embed(images[start : start + self._batch])) for start in range(0, len(images), self._batch)]
        return {"aesthetic": np.concatenate(rows)}

    def embed(self, images: np.ndarray) -> np.ndarray:
        """CLIP's image embeddings float32 (N, D), not normalised, of images uint8 (N, H, W, 3)."""
        with exact_inference():
            squares = np.stack([crop_square(image, self._side) for image in images])
            pixels = normalise(image_tensor(squares, self._device), CLIP_MEAN, CLIP_STD)
            embeddings: torch.Tensor = self._network(pixels).image_embeds
        return embeddings.cpu().numpy()


def crop_square(image: np.ndarray, side: int) -> np.ndarray:
    """OpenAI's geometry: the short side brought to `side` by Pillow's bicubic filter, then the middle square; uint8 (side, side, 3)."""
    height, width = image.shape[:2]
    short = min(height, width)
    resized = np.asarray(
        Image.fromarray(image).resize((int(side * width / short), int(side * height / short)), Image.Resampling.BICUBIC),
    )
    top, left = round((resized.shape[0] - side) / 2), round((resized.shape[1] - side) / 2)
    return resized[top : top + side, left : left + side]
