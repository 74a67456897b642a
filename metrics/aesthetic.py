"""LAION's aesthetic scores: a linear head on the normalised image embedding of CLIP ViT-L/14.

The judge observes the embedding, and the head scores stored embeddings, so that another head needs no image. Version 1 of the head is one
linear layer. Version 2 is five of them without an activation between, and so one affine map, too: it is collapsed in float64 when it is read
(measured: equal to the float32 layers to 1e-6). Dropout, which the original code leaves to `eval()`, does not exist here, and the head
normalises by itself: the two known ways to a wrong score (spec: metrics, 2.4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apfgan.errors import DataError, WeightsError
from apfgan.files import hash_file
from metrics.inference import read_state
from metrics.vision_features import CLIP_EMBEDDING, VisionJudge


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

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values: its name, and the hash of its file."""
        return {"name": "laion-aesthetic", "version": 1, "weights": self.sha256}

    def require(self, dimensions: int) -> None:
        """Raise `WeightsError` unless the head is for embeddings of so many numbers."""
        if dimensions != len(self.weight):
            raise WeightsError(
                f"the aesthetic head is for embeddings of {len(self.weight)} numbers, this CLIP makes {dimensions}: "
                "both of LAION's heads want openai/clip-vit-large-patch14"
            )

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """Scores float64 (N,) of embeddings (N, D) of any length.

        LAION's scores of photos lie between about 1 and 10. One that does not is given as it is: the known cause, an embedding that was not
        normalised, cannot occur here, and to clip one number would hide what is wrong with all of them.

        Raises `WeightsError` for embeddings of another D, `DataError` for one that is not finite or is zero (it names the image's row).
        """
        self.require(embeddings.shape[1])
        exact = embeddings.astype(np.float64)
        length = np.linalg.norm(exact, axis=1)
        broken = np.flatnonzero(~np.isfinite(length) | (length == 0))
        if len(broken):
            raise DataError(f"the embedding of image {broken[0]} (counted from 0) is not finite, or zero: look at that image")
        return exact @ self.weight / length + self.bias


class EmbeddingJudge:
    """Observes `embedding`: CLIP's projected image embedding, as it leaves the network."""

    def __init__(self, clip: Path, *, device: str = "cpu", batch: int = 8) -> None:
        """`clip` is a folder with OpenAI's CLIP of transformers; `batch` images go through the network together.

        Raises `WeightsError` when it does not load, or wants images of another size than 224.
        """
        self._judge = VisionJudge(clip, CLIP_EMBEDDING, device=device, batch=batch)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Hashes of CLIP's files, and the geometry; nothing of the head."""
        return self._judge.identity

    @property
    def dimensions(self) -> int:
        """Length D of an embedding: what a head has to be made for."""
        return self._judge.dimensions

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """`embedding`, float32 (N, D), not normalised, of images uint8 (N, H, W, 3); the label maps are not looked at."""
        return {"embedding": self._judge.observe_photos(list(images))}
