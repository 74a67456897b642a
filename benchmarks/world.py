"""A world whose truth can be had by drawing it often: photos, label maps, and two generators that differ a little.

Nothing in it is an image. It draws what judges would observe: non-negative features with a power-law spectrum, of the size that an Inception
network's have, and for each image a confusion matrix and an aesthetic score. What makes an image hard to see through shows in all three.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from metrics.reference import Reference

VARIANCE = 320.0
"""Total variance of features before they are cut at 0. With it FIDs are of the size of the specification's: 53 and 20 for 1000 images."""

MAP_SHARE = 0.5
"""Part of an image's variance that its label map decides; noise decides the rest."""

GAIN = 0.05
"""By how much generator B is less at fault than A."""

_FIXED, _MAPS, _NOISE = range(3)
"""What randomness is for; a redraw's number comes behind it."""

Observations = Mapping[str, np.ndarray]
"""`features` float32 (N, D), `confusion` uint32 (N, C, C), `aesthetic` float64 (N,), as judges observe them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """How photos and images come about."""

    alpha: float = 1.0
    """Variance of the features falls as k^-alpha with the direction k."""
    dimensions: int = 2048
    photos: int = 10_000
    classes: int = 29
    pixels: int = 12_288
    """Of a label map."""
    fault: float = 1.0
    """How far generator A is from drawing as the photos are; 0: not at all, and B neither."""
    coupling: float = 0.9
    """Correlation of the noise in the two generators' images of one label map; 1: what noise decides, it decides in both."""
    images_per_map: int = 1
    fixed_maps: bool = False
    """Whether redraws change the noise only."""
    common_noise: float = 0.0
    """Part of the noise's variance that is the same in all images of a redraw."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Stage:
    """What stays while images are drawn again: the world's laws, and its photos."""

    world: World
    mixing: np.ndarray
    """float32 (D, D): latent directions to features, with the spectrum."""
    direction: np.ndarray
    """float32 (D,): where a generator's fault moves latent values, as signs."""
    presence: np.ndarray
    """float64 (C,): share of label maps that hold the class."""
    mistaken: np.ndarray
    """float64 (C, C): of a class's pixels that are seen wrongly, the share seen as each other class."""
    reference: Reference
    features_at_many: np.ndarray
    """float32 (M, D): features of as many images of generator A as there are photos."""

    def features(self, latent: np.ndarray, *, fault: float) -> np.ndarray:
        """Non-negative features float32 (N, D) of latent values (N, D): a fault shrinks variety and moves the mean."""
        return _features(latent * np.float32(1 - 0.1 * fault) + np.float32(0.2 * fault) * self.direction, self.mixing)


@cache
def open_stage(world: World) -> Stage:
    """Everything that is drawn once."""
    random = np.random.default_rng([world.seed, _FIXED])
    size = world.dimensions
    spectrum = np.arange(1, size + 1) ** (-world.alpha / 2)
    spectrum *= math.sqrt(VARIANCE / np.square(spectrum).sum())
    mixing = (spectrum[:, None] * random.standard_normal((size, size)) / math.sqrt(size)).astype(np.float32)
    direction = random.choice(np.array([-1, 1], dtype=np.float32), size=size)
    presence = np.arange(1, world.classes + 1) ** -1.5
    mistaken = random.exponential(size=(world.classes, world.classes)) ** 2
    np.fill_diagonal(mistaken, 0)
    reference = Reference.fit(_features(random.standard_normal((world.photos, size), dtype=np.float32), mixing))
    stage = Stage(world, mixing, direction, presence, mistaken / mistaken.sum(axis=1, keepdims=True), reference, np.empty(0))
    many = random.standard_normal((world.photos, size), dtype=np.float32)
    return replace(stage, features_at_many=stage.features(many, fault=world.fault))


def draw_pair(stage: Stage, number: int, images: int, *, pilot: bool = False) -> tuple[Observations, Observations]:
    """What is observed of the images of generators A and B in one redraw: the same label maps, coupled noise.

    The `pilot` redraws are others than those of the same numbers.
    """
    world = stage.world
    random = np.random.default_rng([world.seed, _MAPS, pilot, 0 if world.fixed_maps else number])
    maps = -(-images // world.images_per_map)
    scenes = random.standard_normal((maps, world.dimensions), dtype=np.float32)
    shares = random.exponential(size=(maps, world.classes)) * (random.random((maps, world.classes)) < stage.presence)
    areas = np.rint(world.pixels * shares / shares.sum(axis=1, keepdims=True)).astype(np.int64)
    scenes, areas = (np.repeat(each, world.images_per_map, axis=0)[:images] for each in (scenes, areas))

    random = np.random.default_rng([world.seed, _NOISE, pilot, number])
    width = world.dimensions + world.classes + 1
    noise, fresh = (
        _blend(random.standard_normal((images, width), dtype=np.float32), random.standard_normal(width, dtype=np.float32), world.common_noise)
        for _ in range(2)
    )
    other = np.float32(world.coupling) * noise + np.float32(math.sqrt(1 - world.coupling**2)) * fresh
    return (
        _observe(stage, scenes, areas, noise, random, fault=world.fault),
        _observe(stage, scenes, areas, other, random, fault=world.fault * (1 - GAIN)),
    )


def _features(latent: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """Cut at 0, as pooled activations are."""
    mixed: np.ndarray = latent @ mixing
    return np.maximum(mixed + np.float32(0.3), 0)


def _blend(own: np.ndarray, common: np.ndarray, share: float) -> np.ndarray:
    return own if share == 0 else np.float32(math.sqrt(1 - share)) * own + np.float32(math.sqrt(share)) * common


def _observe(stage: Stage, scenes: np.ndarray, areas: np.ndarray, noise: np.ndarray, random: np.random.Generator, *, fault: float) -> Observations:
    size = stage.world.dimensions
    latent = np.float32(math.sqrt(MAP_SHARE)) * scenes + np.float32(math.sqrt(1 - MAP_SHARE)) * noise[:, :size]
    # An image that is hard to see through is so in all its classes, and is so by what its features show, too.
    difficulty = (latent[:, 0] + latent[:, 1]).astype(np.float64) / math.sqrt(2)
    rarity = np.linspace(0, 1, stage.world.classes)
    skill = 2.8 - 0.4 * fault - rarity - 0.7 * difficulty[:, None] - 0.8 * noise[:, size:-1].astype(np.float64)
    right = random.binomial(areas, 1 / (1 + np.exp(-skill)))
    confusion = random.multinomial(areas - right, stage.mistaken)
    diagonal = np.arange(stage.world.classes)
    confusion[:, diagonal, diagonal] = right
    aesthetic = 5 - 0.2 * fault + 0.5 * latent[:, 0].astype(np.float64) - 0.2 * difficulty + 0.4 * noise[:, -1].astype(np.float64)
    return {
        "features": stage.features(latent, fault=fault),
        "confusion": confusion.astype(np.uint32),
        "aesthetic": np.clip(aesthetic, 0, 10),
    }
