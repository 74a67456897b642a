"""The classes of a label map: their names, which ids count, and readable colours. Data only."""

import colorsys
from dataclasses import dataclass

import numpy as np

from apfgan.errors import UsageError

LANDSCAPE_CLASSES = (
    "mountain", "sky", "water", "sea", "rock", "tree", "earth", "hill", "river", "sand", "land", "building", "grass", "plant", "person",
    "boat", "waterfall", "wall", "pier", "path", "lake", "bridge", "field", "road", "railing", "fence", "ship", "house", "other",
)  # fmt: skip
"""The 29 classes of the Jittor landscape contest; the index is the pixel value. There is no "unknown" class."""

_LANDSCAPE_COLOURS = (
    "8c7b75", "8ecae6", "3a86c8", "1d5f8a", "8d8d99", "2d6a4f", "9c6644", "7f9172", "4ea8de", "ecd9a0", "bc8a5f", "c1666b", "70c14a", "a7c957",
    "ff006e", "f77f00", "caf0f8", "a39081", "b08968", "d4a373", "48bfe3", "6d6875", "d9ed92", "5c677d", "9d4edd", "b5838d", "d62828", "e5989b",
    "bdbdbd",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """What the pixel values of a label map mean."""

    names: tuple[str, ...] = LANDSCAPE_CLASSES
    """Name of each class id."""
    ignore: int | None = None
    """Pixel value (0..65535) that means "unlabelled": no class is asked for there, and no judge counts it. None: every pixel has a class."""

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError("a data set needs at least one class: set data.classes")
        if len(set(self.names)) != len(self.names):
            twice = next(name for index, name in enumerate(self.names) if name in self.names[:index])
            raise UsageError(f"two classes are called {twice!r}: tell them apart in data.classes")
        if self.ignore is not None and not 0 <= self.ignore <= 65535:
            raise UsageError(f"the ignore value {self.ignore} is no pixel value: choose one from {len(self.names)} to 65535")
        if self.ignore is not None and self.ignore < len(self.names):
            raise UsageError(
                f"the ignore value {self.ignore} is also the id of class {self.names[self.ignore]!r}: choose one outside 0..{len(self.names) - 1}"
            )

    @classmethod
    def numbered(cls, count: int, *, ignore: int | None = None) -> "Classes":
        """`count` classes without names of their own (COCO-Stuff's 182, say)."""
        return cls(names=tuple(f"class {index}" for index in range(count)), ignore=ignore)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def colours(self) -> np.ndarray:
        """uint8 (classes, 3): an RGB colour for each class, the same on every machine."""
        if self.names == LANDSCAPE_CLASSES:
            return np.array([tuple(bytes.fromhex(colour)) for colour in _LANDSCAPE_COLOURS], dtype=np.uint8)
        # Golden-angle hues keep neighbouring ids apart; three tiers of lightness separate what hue alone cannot.
        rgb = [colorsys.hls_to_rgb(index * 0.618034 % 1, (0.45, 0.6, 0.75)[index % 3], 0.6) for index in range(len(self))]
        return np.round(np.array(rgb) * 255).astype(np.uint8)

    def paint(self, label_map: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) picture of a label map (H, W) whose values were checked; ignored pixels are black."""
        palette = np.zeros((max(256, len(self) + 1, (self.ignore or 0) + 1), 3), dtype=np.uint8)
        palette[: len(self)] = self.colours
        return palette[label_map]
