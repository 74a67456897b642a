"""One image as it is judged."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One image as it is judged."""

    stem: str
    label_map: np.ndarray
    """Integer (H, W): the label map it was drawn for."""
    pixels: np.ndarray
    """uint8 (H, W, 3)."""
    encoded: bytes
    """The bytes that would be submitted, or that are there already; `pixels` is what they decode to."""
