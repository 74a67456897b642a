"""The nouns that every part exchanges: estimates, measurements, manifests. Values only; needs no network library."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
"""Version of a ledger line."""


DISTANCE_CLIP = 100.0
"""A larger Fréchet distance counts as this in every contest's total (spec: metrics, 2.6)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number and its standard error over label maps."""

    value: float
    error: float | None = None
    """Standard error; None where none is known (a published table)."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a measured value must be finite, not {self.value}")
        if self.error is not None and not 0 <= self.error < math.inf:
            raise ValueError(f"a standard error must be finite and not negative, not {self.error}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One line of the ledger: everything that was found out about one candidate under one protocol."""

    key: str
    """Hash of all that could change the numbers: weights, seed, label maps, reference photos, protocol. Never a path, a time or an order."""
    candidate: str
    """The candidate's name (`str(Candidate)`)."""
    seed: int
    images: int
    """Number of images behind the numbers."""
    metrics: Mapping[str, Estimate]
    """By metric name: `mask_accuracy`, `aesthetic`, the distance (`fid`, `fd-embedded`, ...), then the checks that no total is made of."""
    composite: Estimate
    """The score of the contest, by `formula`."""
    formula: str
    """Name of the composite's formula (`A`, `B`, `jittor3`)."""
    protocol: Mapping[str, Any]
    """Every judge's name and hash, sizes, resize rules, JPEG settings: what must agree before two numbers may be compared."""
    observations: str
    """Key of the per-image observations behind the numbers, in `features/`, and of the panel's images in `samples/`."""
    seconds: float
    """Wall-clock time that it took."""
    device: str
    versions: Mapping[str, str]
    part: tuple[int, int] | None = None
    """First and behind the last of the label maps, in their nested order, where a race or a search looked at some only; None: all of them.
    Such a line is never ranked beside whole ones."""
    slopes: Mapping[str, float] = field(default_factory=dict)
    """Of a part, by metric: how the value changes with the number of images n, as a slope in 1/n."""
    status: str = "complete"
    schema: int = SCHEMA


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchors:
    """What the judges say of real photos, beside which a score is read: the floor of the distance, the ceiling of what else there is."""

    metrics: Mapping[str, Estimate]
    """By metric name, as far as it could be measured. The distance is that of as many photos as there are images."""
    composite: Estimate | None
    """The total of these; None where a part of it is missing."""
    photos: int
    """Photos that were judged."""
    origin: str
    """Which photos, in words."""
    alarms: tuple[str, ...] = ()
    """What makes the mask judge suspicious on these photos."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What is written beside a checkpoint: where it comes from, and how to tell that it is whole."""

    name: str
    """Its name as a candidate: the epoch, or what it was made by (`avg_273_299`, `299~recal500`)."""
    sha256: str
    """Hash of the safetensors file."""
    epoch: int | None = None
    step: int | None = None
    """Optimiser steps so far."""
    phase: str = ""
    members: Mapping[str, float] = field(default_factory=dict)
    """Of one that was made of others: the share of each checkpoint."""
    member_hashes: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Of one that was made of others: all that it depends on, by content, so that it is known again when they are gone."""
    data: str = ""
    """Hash of the training data."""
    engine: str = ""
    """The engine (`apfgan.engines`) of the training that saved it; empty where it does not come from one, or only PyTorch could train yet."""
    config: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
