"""How a SegFormer is fine-tuned: the sizes that its authors gave it, and every number of their recipe."""

import math
from dataclasses import dataclass

from apfgan.errors import UsageError

LEAST_CROP = 32
"""Each stage of the encoder halves the picture, the first quarters it: the last sees one position of such a crop."""


@dataclass(frozen=True, slots=True)
class Size:
    """What tells one SegFormer from another (Xie et al. 2021, tables 6 and 7); all else they share is transformers' default."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    decoder_width: int


SIZES = {
    "b0": Size((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": Size((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "b2": Size((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "b3": Size((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "b4": Size((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "b5": Size((64, 128, 320, 512), (3, 6, 40, 3), 768),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The recipe of SegFormer's authors for ADE20K (Xie et al. 2021, section 4.1; the configurations beside their code).

    Only `steps` and `batch` are not theirs: they learned 160 000 batches of 16, which is each of ADE20K's 20 210 photos 127 times; the
    defaults show each of 10 000 photos 32 times, which is enough where the network begins with fine-tuned weights.
    """

    steps: int = 40_000
    """Batches to learn from."""
    batch: int = 8
    """Crops that are learned from together."""
    crop: int = 512
    """Height and width of what the network sees at once. Scale 1 is where the photo's short side is as long."""
    rate: float = 6e-5
    """Learning rate of AdamW for the encoder."""
    head_rate: float = 10.0
    """The decode head learns so many times as fast."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's means of the gradient and of its square."""
    weight_decay: float = 0.01
    """Of all but the encoder's norms. The recipe spares blocks called pos_block, too, of which a SegFormer has none."""
    power: float = 1.0
    """The rate falls to zero as this power of the share of steps that is left."""
    warm_up: int = 1500
    """Steps over which the rate rises to that curve; a tenth of all steps where that is less."""
    warm_up_from: float = 1e-6
    """Share of the rate with which that begins."""
    scales: tuple[float, float] = (0.5, 2.0)
    """Photos are scaled by a number between these, uniformly."""
    long_side: float = 4.0
    """At scale 1 the long side has at most so many times the length of a crop: a longer photo is scaled less."""
    one_class: float = 0.75
    """A crop whose largest class has this share of its labelled pixels or more is drawn again,"""
    tries: int = 10
    """so many times."""
    mirrored: float = 0.5
    """Share of the crops that are mirrored."""
    distorted: float = 0.5
    """Probability of each of the four changes of colour below (mmsegmentation's photometric distortion)."""
    brightness: float = 32.0
    """Added to all colours: at most this, of 255, either way."""
    contrast: tuple[float, float] = (0.5, 1.5)
    """Factor of all colours."""
    saturation: tuple[float, float] = (0.5, 1.5)
    """Factor of the saturation."""
    hue: float = 36.0
    """Turn of the hue: at most this, in degrees, either way."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "tries"):
            if getattr(self, name) < 1:
                raise UsageError(f"a judge is fitted with at least one of {name}, not {getattr(self, name)}")
        if self.crop < LEAST_CROP:
            raise UsageError(f"a SegFormer sees nothing in a crop of {self.crop} pixels: choose {LEAST_CROP} or more")
        if not 0 < self.rate < math.inf:
            raise UsageError(f"the learning rate must be positive, not {self.rate}")

    @property
    def warm_up_steps(self) -> int:
        """Steps of the warm-up, scaled to the whole."""
        return min(self.warm_up, self.steps // 10)

    def rate_at(self, step: int) -> float:
        """Share of the learning rates at a step, counted from 0."""
        falling = (1 - step / self.steps) ** self.power
        if step >= self.warm_up_steps:
            return falling
        return falling * (1 - (1 - self.warm_up_from) * (1 - step / self.warm_up_steps))
