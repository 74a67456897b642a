"""The networks, written in the backend's words, and how fresh ones are made."""

from apfgan.config import Config
from apfgan.networks.blocks import initialise, start_noise
from apfgan.networks.discriminator import Discriminators
from apfgan.networks.generator import Painter
from apfgan.randomness import random_source

__all__ = ["Discriminators", "Painter", "build_discriminators", "build_painter", "start_noise"]


def build_painter(config: Config, *, seed: int) -> Painter:
    """Fresh encoder and generator on the CPU, in training mode; the label-guided noise is silent."""
    painter = Painter(config.model, classes=len(config.data.classes))
    initialise(painter, random_source(seed, "painter"), gain=config.model.init_gain)
    return painter


def build_discriminators(config: Config, *, seed: int) -> Discriminators:
    """Fresh discriminators on the CPU, in training mode."""
    discriminators = Discriminators(config.model, classes=len(config.data.classes))
    initialise(discriminators, random_source(seed, "discriminators"), gain=config.model.init_gain)
    return discriminators
