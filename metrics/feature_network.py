"""A network whose features are compared: what every such judge does, whichever network and geometry it has."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from metrics.inference import in_batches
from metrics.reference import Reference


class FeatureNetwork:
    """Observes `features` of D numbers: a `metrics.judges.FeatureJudge`. Judges are subclasses that only say how they look."""

    def __init__(
        self,
        *,
        distance: str,
        identity: Mapping[str, Any],
        prepare: Callable[[np.ndarray], torch.Tensor],
        look: Callable[[torch.Tensor], torch.Tensor],
        batch: int,
    ) -> None:
        """`prepare` turns an image uint8 (H, W, 3) of any size into the network's input (3, h, w), `look` inputs into features (N, D)."""
        self.distance = distance
        """Name of the distance between features."""
        self.identity = identity
        """JSON values: protocol, geometry and the hashes of the weights."""
        self._prepare = prepare
        self._look = look
        self._batch = batch

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """`features`, float32 (N, D), of images uint8 (N, H, W, 3); the label maps are not looked at."""
        return {"features": self.observe_photos(list(images))}

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Features float32 (N, D) of photos uint8 (H, W, 3), each brought to the network's size from its own."""
        return in_batches(photos, self._prepare, lambda inputs: self._look(inputs).cpu().numpy(), batch=self._batch)

    def fit_reference(self, features: np.ndarray) -> Reference:
        """The reference from the photos' features (N, D)."""
        return Reference.fit(features, distance=self.distance)
