"""Images for label maps: an image depends on the weights, the label map, its stem and the seed, and on nothing else.

Each image has a random stream of its own, that of (seed, stem), drawn on the host: neither batch size, order, number of images, device nor
engine changes its noise, so that two candidates meet under common random numbers (spec: selection, 0.2).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Literal

import numpy as np

from apfgan.backend import exact_drawing, from_numpy, load_arrays, one_hot, place, set_training, to_numpy
from apfgan.checkpoints import Weights
from apfgan.config import Config
from apfgan.networks import Painter, build_painter
from apfgan.randomness import layered_noise, random_source
from apfgan.schedule import Stage

NOISE_SCHEME = "host/seed,stem/1"
"""Name of the rule by which noise is drawn; part of every content key."""


def load_painter(weights: Weights, config: Config, *, origin: str, device: str = "cpu") -> Painter:
    """Encoder and generator with `weights`, ready to draw. `origin` names the weights in messages.

    Raises `WeightsError` that lists what does not fit the configuration.
    """
    painter = build_painter(config, seed=0)
    load_arrays(painter, weights, origin=origin)
    place(painter, device)
    set_training(painter, False)
    return painter


@contextmanager
def drawing(painter: Painter) -> Iterator[None]:
    """Within this context a painter in training draws like a finished one; behind it, it learns on as if it had never drawn."""
    set_training(painter, False)
    try:
        yield
    finally:
        set_training(painter, True)


def sample(
    painter: Painter,
    label_maps: Iterable[tuple[str, np.ndarray]],
    *,
    classes: int,
    seed: int | None,
    stage: Stage | None = None,
    device: str = "cpu",
    batch: int = 4,
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(stem, label map, image float32 (3, H, W) in [-1, 1]) for each (stem, label map (H, W)), in order.

    `seed` None: no noise at all. `stage`: draw as in training's first phase, smaller images without noise.
    """
    stream = iter(label_maps)
    while chunk := list(islice(stream, batch)):
        maps = np.stack([label_map for _, label_map in chunk])
        noise = None
        if seed is not None and stage is None:
            shapes = painter.generator.noise_shapes(*maps.shape[1:])
            noise = [from_numpy(layer, device=device) for layer in layered_noise([random_source(seed, stem) for stem, _ in chunk], shapes)]
        with exact_drawing():
            # By `forward`, which is never the compiled one: a training in progress has that made for batches and modes of its own.
            images = to_numpy(painter.forward(one_hot(maps, classes, device=device), noise=noise, stage=stage))
        for (stem, label_map), image in zip(chunk, images, strict=True):
            yield stem, label_map, image


def to_pixels(image: np.ndarray, *, rounding: Literal["nearest", "down"]) -> np.ndarray:
    """uint8 (H, W, 3) of a float image (3, H, W) in [-1, 1], by the rule of `OutputConfig.rounding`."""
    levels = (image.transpose(1, 2, 0) + 1) * 127.5
    return np.clip(np.rint(levels) if rounding == "nearest" else np.floor(levels), 0, 255).astype(np.uint8)
