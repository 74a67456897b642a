"""Where random numbers come from: a stream of its own for every purpose, derived from a seed and nothing else."""

import hashlib
from collections.abc import Sequence

import numpy as np


def random_source(*key: int | str) -> np.random.Generator:
    """The stream that belongs to `key`, such as `(seed, epoch, step, "noise")`; the same key gives the same numbers anywhere.

    No state survives between streams, so resuming in the middle of a training needs none.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def layered_noise(sources: Sequence[np.random.Generator], shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Standard normal float32 arrays (N, 1, h, w), one for each of `shapes`; each image draws all of its own from its own source."""
    images = [[source.standard_normal((1, height, width), dtype=np.float32) for height, width in shapes] for source in sources]
    return [np.stack(layer) for layer in zip(*images, strict=True)]
