"""A stand-in for a learned aesthetic score: colourfulness, contrast and sharpness of an image, on the same 0 to 10 scale.

It needs no weights, and it is no measure of beauty: it prefers a colourful, contrasty, sharp image to a dull, flat, blurred or noisy one, and
that is all. Results say by name which of the two was used.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Half-way constants in grey levels (0..255): a photo of that colourfulness, contrast or sharpness gets 63 % of the share.
_COLOUR_SCALE = 45.0
_CONTRAST_SCALE = 45.0
_SHARPNESS_SCALE = 30.0
_NOISE_SCALE = 20.0


class AestheticProxy:
    """Observes `aesthetic` without weights."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its name and version; it has no weights and no settings."""
        return {"name": "colour-contrast-sharpness", "version": 1}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        """`aesthetic`, float64 (N,), of images uint8 (N, H, W, 3); the label maps are not looked at."""
        return {"aesthetic": np.array([proxy_score(image) for image in images], dtype=np.float64)}


def proxy_score(image: np.ndarray) -> float:
    """0 (flat grey) to 10 of an image uint8 (H, W, 3) of at least 3x3 pixels.

    Sharpness and the noise that would pass for it are told apart by Immerkær's mask, to which edges and gradients are invisible.
    """
    rgb = image.astype(np.float64)
    grey = rgb @ (0.299, 0.587, 0.114)
    noise = _noise_level(grey)
    shares = (
        0.3 * _saturate(colourfulness(rgb) / _COLOUR_SCALE)
        + 0.3 * _saturate(float(grey.std()) / _CONTRAST_SCALE)
        + 0.4 * _saturate(max(0.0, _edge_strength(grey) - 2 * noise) / _SHARPNESS_SCALE)
    )
    return 10 * shares * float(np.exp(-noise / _NOISE_SCALE))


def colourfulness(rgb: np.ndarray) -> float:
    """Hasler and Süsstrunk 2003, M^(3): 0 for grey, about 15 slightly, 45 averagely, 109 extremely colourful; rgb (H, W, 3) in 0..255."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def _edge_strength(grey: np.ndarray) -> float:
    """98th percentile of the gradient's length, in grey levels a pixel."""
    down, across = grey[2:, 1:-1] - grey[:-2, 1:-1], grey[1:-1, 2:] - grey[1:-1, :-2]
    return float(np.percentile(np.hypot(down, across) / 2, 98))


def _noise_level(grey: np.ndarray) -> float:
    """Standard deviation of the noise (Immerkær 1996): mean response to the mask [1 -2 1]ᵀ[1 -2 1], scaled for Gaussian noise."""
    across = grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2]
    response = across[2:] - 2 * across[1:-1] + across[:-2]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(response).mean())


def _saturate(value: float) -> float:
    return 1 - float(np.exp(-value))
