"""A world in which the published tables of APF-GAN are the truth, and any other merge, seed or number of images can be asked for, too.

`published.csv` holds what the authors of APF-GAN published of their run: the FID of 39 epochs, of the four merges of the best three, and of twenty
noise seeds of the best merge, each on the contest's 1000 label maps. No image of theirs is at hand, so the rest is modelled:

- **Merges** follow a quadratic in the weights, FID(a) = `FLOOR` + |Σ a_e x_e|², with vectors x_e whose lengths give the published epochs and
  whose angles, by how far epochs lie apart, come as near to the published merges as they can; what they miss is a smooth random field, bound to
  the published merges. All published numbers are exact; every seed of a world is another landscape between them.
- **Images** each have a value, and what is measured on some of them is made of theirs alone. Part of it is the label map's, for all candidates;
  part is the noise's, of which candidates that are drawn with the same seed share most; the rest is the candidate's own.
- **Few images** are biased as a Fréchet distance is, by something over their number: a part of that is common, a part the candidate's own.

A redraw is another set of label maps with its own noise. Candidates, weights and bias stay the same.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from apfgan.candidates import Candidate
from apfgan.composite import FORMULAS, composite_estimate, composite_measured
from apfgan.measured import Measured
from apfgan.randomness import random_source
from apfgan.ranking import Entry
from apfgan.records import Estimate
from selection.units import Outcome, Part, Unit

IMAGES = 1000
"""Label maps of the contest."""

SEED_DEVIATION = 0.094
"""Of FID between the twenty published seeds; all candidates are drawn so."""

MAP_DEVIATION = 0.3
"""Of FID between sets of 1000 label maps, common to all candidates: about what simulated features show (spec: metrics, 5)."""

OWN_MAP_DEVIATION = 0.01
"""Of FID between sets of label maps, each candidate's own whatever the seed: docs/noise.md sees little of it."""

CURVATURE = 0.25
"""A candidate's own noise of second order (products of means, as in a covariance), over its noise of the first, at 1000 images. With it the
slopes are as uncertain as those of `benchmarks.world`: at 200 images a difference of two slopes, over n, has 0.4 to 0.7 times the deviation of
the difference of the two values, 1/n of it at n images."""

PRODUCTS = 4
"""How many products the noise of second order is the mean of."""

COMMON_BIAS = 5.0
"""FID of 1000 images above that of infinitely many, as a 1/n law would have it. It is the same for all, and decides nothing."""

FLOOR = 25.0
"""FID under the quadratic's bowl. The four merges do not determine it (their squared misses change by a third between 5 and 25); here the
mean of all 39 epochs has 27.0, as in the study that the specification records (spec: selection, 2b)."""

MISFIT = 0.2
"""Of the smooth field, as in that study. The quadratic misses the published merges by 0.14, root mean square."""

SMOOTHNESS = 0.5
"""Distance between two vectors of weights at which their fields correlate by 0.6. Two pairs with one member in common are 0.7 apart."""

MASK_ACCURACY, AESTHETIC = 0.92, 5.0
"""The same for all candidates: FID alone decides."""

_WAVES = 256
_PULL = math.sqrt(IMAGES)
"""Deviation of an image's value over that of the mean of all."""


@dataclass(frozen=True, eq=False)
class Published:
    """What the authors of APF-GAN published: FIDs on 1000 label maps."""

    epochs: Mapping[str, float]
    merges: Mapping[str, float]
    """By the candidate's name."""
    seeds: tuple[float, ...]
    """Of `avg_273_299`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """One landscape between the published numbers, and how it is looked at."""

    seed: int = 0
    shared: float = 0.9
    """Part of the noise's variance that is common to candidates drawn with the same seed. 0.9 leaves each 0.03 of FID for its own, as in the
    study that the specification records; 0: as if every candidate had a seed of its own."""
    bias_deviation: float = 0.1
    """By how much candidates differ in the bias of few images: n of N have N/n - 1 times that."""
    law: float = 1.0
    """The bias falls as 1/n to this power; at a fifth of all images it is the same for every law. By 0.1 the slopes foretell 0.4 of what is lost on
    the way from there, about as little as with 1024 features (`selection.racing`: a third)."""
    slopes: bool = True
    """Whether anyone is told the slopes."""
    misfit: float = MISFIT
    """Standard deviation of the smooth field that is added to the quadratic."""

    def bias(self, images: int) -> float:
        """How much so few images are biased, in units of a candidate's bias."""
        return 4 * float((IMAGES / images) ** self.law - 1) / (5**self.law - 1)


@dataclass(frozen=True, eq=False)
class Landscape:
    """The true FID of every merge of the published epochs, on 1000 images, over all label maps and noise."""

    members: tuple[str, ...]
    products: np.ndarray
    """float64 (E, E): x_e · x_f of all epochs."""
    waves: np.ndarray
    """float64 (W, E): directions of the random field's cosines."""
    phases: np.ndarray
    """float64 (W,)."""
    heights: np.ndarray
    """float64 (W,)."""

    def fid(self, candidate: Candidate) -> float:
        """The truth about a merge of epochs; its seed is no part of it."""
        assert candidate.is_plain, "this world knows of nothing but merges"
        weights = self.weights(candidate)
        return FLOOR + float(weights @ self.products @ weights) + float(self.field(weights[None])[0] @ self.heights)

    def weights(self, candidate: Candidate) -> np.ndarray:
        """float64 (E,): the share of every epoch."""
        shares = dict(zip(candidate.members, candidate.shares, strict=True))
        return np.array([shares.pop(member, 0.0) for member in self.members])

    def field(self, weights: np.ndarray) -> np.ndarray:
        """float64 (M, W): by how much each cosine counts at these weights (M, E): not at all at an epoch, in full from a pair on."""
        mixed = np.minimum(1.0, 2 * (1 - np.square(weights).sum(axis=1)))
        found: np.ndarray = mixed[:, None] * math.sqrt(2 / len(self.waves)) * np.cos(weights @ self.waves.T + self.phases)
        return found


@cache
def published() -> Published:
    """The published tables."""
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tables = {kind: {row["name"]: float(row["fid"]) for row in rows if row["kind"] == kind} for kind in ("epoch", "merge", "seed")}
    return Published(tables["epoch"], tables["merge"], tuple(tables["seed"].values()))


@cache
def open_landscape(seed: int, misfit: float) -> Landscape:
    """The landscape of that seed."""
    members = tuple(published().epochs)
    merges = {Candidate.parse(name): fid for name, fid in published().merges.items()}
    random = random_source("landscape", seed)
    waves = random.standard_normal((_WAVES, len(members))) / SMOOTHNESS
    landscape = Landscape(members, _products(), waves, random.uniform(0, 2 * math.pi, _WAVES), np.zeros(_WAVES))
    heights = misfit * random.standard_normal(_WAVES)
    # Of all fields, one that goes through what the quadratic misses of the published merges: the least correction that does it.
    field_there = landscape.field(np.stack([landscape.weights(merge) for merge in merges]))
    missed = np.array([fid - landscape.fid(merge) for merge, fid in merges.items()])
    heights += np.linalg.lstsq(field_there, missed - field_there @ heights, rcond=None)[0]
    return replace(landscape, heights=heights)


@cache
def _products() -> np.ndarray:
    """x_e · x_f, float64 (E, E): lengths by the published epochs, angles by how far epochs lie apart, fitted to the published merges."""
    table = published()
    epochs = np.array([int(epoch) for epoch in table.epochs])
    lengths = np.sqrt(np.array(list(table.epochs.values())) - FLOOR)
    apart = np.abs(epochs[:, None] - epochs)
    merges = {tuple(int(member) for member in Candidate.parse(name).members): fid for name, fid in table.merges.items()}
    shares = np.stack([np.isin(epochs, members) / len(members) for members in merges])

    def products(parameters: np.ndarray) -> np.ndarray:
        far = 1 / (1 + math.exp(-parameters[0]))
        correlations = far + (1 - far) * np.exp(-apart / math.exp(parameters[1]))
        found: np.ndarray = correlations * np.outer(lengths, lengths)
        return found

    def missed(parameters: np.ndarray) -> np.ndarray:
        found: np.ndarray = FLOOR + np.einsum("me,ef,mf->m", shares, products(parameters), shares) - list(merges.values())
        return found

    return products(least_squares(missed, (0.0, 0.0)).x)


@dataclass(frozen=True, slots=True)
class Tables:
    """A `Measure` that knows the published epochs and merges on all images; whatever else is asked of it fails."""

    images: int = IMAGES
    parallel: int = 1

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        """The published numbers of those of the units that were published, without errors."""
        known = {**published().epochs, **published().merges}
        whole = [unit for unit in units if unit.part is None and str(unit.candidate) in known]
        return {unit: Outcome(unit, _published_entry(unit.candidate, known[str(unit.candidate)])) for unit in whole}


def _published_entry(candidate: Candidate, fid: float) -> Entry:
    scores = {"mask_accuracy": Estimate(MASK_ACCURACY), "aesthetic": Estimate(AESTHETIC), "fid": Estimate(fid)}
    return Entry(str(candidate), {**scores, "composite": composite_estimate(FORMULAS["A"], scores, distance="fid")})


@dataclass(eq=False)
class Contest:
    """A `Measure`: one redraw of label maps and noise of a world, on which candidates are scored."""

    world: World
    redraw: int = 0
    _outcomes: dict[Unit, Outcome] = field(default_factory=dict, init=False)
    _drawn: dict[Candidate, "_Drawn"] = field(default_factory=dict, init=False)
    _common: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    @property
    def images(self) -> int:
        """As many as the published numbers were measured on."""
        return IMAGES

    @property
    def parallel(self) -> int:
        """One unit at a time."""
        return 1

    def truth(self, candidate: Candidate, *, images: int = IMAGES) -> float:
        """Mean FID of so many images over all redraws."""
        return open_landscape(self.world.seed, self.world.misfit).fid(candidate) + self._bias(candidate) * self.world.bias(images)

    def expected(self, candidate: Candidate) -> float:
        """Mean FID over all seeds, on these very label maps."""
        return self.truth(candidate) + float(self._maps(candidate).mean())

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        """What comes of these units: FID, and the total of formula A, in which it alone decides."""
        self._outcomes.update((unit, self._measure(unit)) for unit in units if unit not in self._outcomes)
        return {unit: self._outcomes[unit] for unit in units}

    def _measure(self, unit: Unit) -> Outcome:
        drawn = self._draw(unit.candidate)
        part = unit.part or Part(0, IMAGES)
        rows = drawn.rows(slice(part.start, part.stop))
        measured = rows.measure()
        slopes = {}
        if unit.part is not None and self.world.slopes:
            halves = [rows.rows(slice(start, None, 2)).measure() for start in (0, 1)]
            slopes = {name: part.count * (sum(half[name].value for half in halves) / 2 - whole.value) for name, whole in measured.items()}
        entry = Entry(str(unit.candidate), {name: each.estimate for name, each in measured.items()}, measured)
        return Outcome(unit, entry, slopes)

    def _draw(self, candidate: Candidate) -> "_Drawn":
        if candidate not in self._drawn:
            fid, bias = self.truth(candidate), self._bias(candidate)
            own = math.sqrt(1 - self.world.shared)
            values = self._maps(candidate) + _PULL * SEED_DEVIATION * math.sqrt(self.world.shared) * self._normal("noise", candidate.seed)
            normal = random_source(self.world.seed, self.redraw, "own", str(candidate)).standard_normal((1 + 2 * PRODUCTS, IMAGES))
            # Noise of first and second order together are what seeds differ by.
            deviation = SEED_DEVIATION * own / math.hypot(1, CURVATURE)
            self._drawn[candidate] = _Drawn(
                truth=lambda images: fid + bias * self.world.bias(images),
                curvature=CURVATURE * deviation,
                values=values + _PULL * deviation * normal[0],
                factors=normal[1:].reshape(2, PRODUCTS, IMAGES),
                mask_accuracy=MASK_ACCURACY + 0.05 * self._normal("mask accuracy"),
                aesthetic=AESTHETIC + 0.5 * self._normal("aesthetic"),
            )
        return self._drawn[candidate]

    def _bias(self, candidate: Candidate) -> float:
        own = float(random_source(self.world.seed, "bias", candidate.unseeded).standard_normal())
        return COMMON_BIAS + self.world.bias_deviation * own

    def _maps(self, candidate: Candidate) -> np.ndarray:
        """What each label map adds to FID (IMAGES,), whatever the seed."""
        return _PULL * (MAP_DEVIATION * self._normal("map") + OWN_MAP_DEVIATION * self._normal("map", candidate.unseeded))

    def _normal(self, *purpose: str | int) -> np.ndarray:
        """Standard normal numbers (IMAGES,) of this redraw, drawn once for all candidates that have to do with them."""
        key = repr(purpose)
        if key not in self._common:
            self._common[key] = random_source(self.world.seed, self.redraw, *purpose).standard_normal(IMAGES)
        return self._common[key]


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What images of one candidate are like, N of them; a score is a function of nothing else."""

    truth: Callable[[int], float]
    """FID of so many images, but for noise."""
    curvature: float
    values: np.ndarray
    """float64 (N,): each image's pull at FID."""
    factors: np.ndarray
    """float64 (2, P, N): FID also moves by the products of their means."""
    mask_accuracy: np.ndarray
    aesthetic: np.ndarray

    def rows(self, chosen: slice) -> "_Drawn":
        """Some of the images."""
        return replace(
            self,
            values=self.values[chosen],
            factors=self.factors[..., chosen],
            mask_accuracy=self.mask_accuracy[chosen],
            aesthetic=self.aesthetic[chosen],
        )

    def measure(self) -> dict[str, Measured]:
        """The scores of these images."""
        count = len(self.values)
        means = self.factors.mean(axis=2)
        strength = self.curvature * IMAGES / math.sqrt(PRODUCTS)
        linear = Measured.mean(self.values)
        value = self.truth(count) + linear.value + strength * float((means[0] * means[1]).sum())
        # The product's derivative: each factor's departure times the other's mean.
        moved = strength * np.einsum("pk,pkn->n", means[::-1], self.factors - means[:, :, None])
        scores = {
            "mask_accuracy": Measured.mean(self.mask_accuracy),
            "aesthetic": Measured.mean(self.aesthetic),
            "fid": Measured(value, linear.influence + moved, count),
        }
        return scores | {"composite": composite_measured(FORMULAS["A"], scores, distance="fid")}
