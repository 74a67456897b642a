"""The nouns that every part exchanges: candidates and measurements. Values only; needs no network library."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from apfgan.errors import UsageError

SCHEMA = 1
"""Version of a ledger line."""


DISTANCE_CLIP = 100.0
"""A larger Fréchet distance counts as this in every contest's total (spec: metrics, 2.6)."""


_NAME = re.compile(r"(?!avg_)[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_RESERVED = re.compile(r"all|ema|last[0-9]+|[0-9]+(-[0-9]+)?")
_AVERAGE = re.compile(r"[0-9]+-ema[0-9.]+")
"""Names of the averages that training keeps beside an epoch (`apfgan.ema`)."""
_SHARE = re.compile(r"[0-9.]{1,30}(?:[eE]-?[0-9]{1,2})?(?:/[0-9]{1,9})?")
_UNITS = 1_000_000
"""Shares are whole millionths, so that a candidate and its text are the same thing."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that can be scored: one checkpoint or a weighted mean of several, drawn with one noise seed.

    Its text is its name everywhere (command line, ledger, report, file names): `299`, `avg_273_299`, `0.4*273+0.6*299`; a seed other than
    0 follows an `@`: `avg_273_299@2433`. Equal candidates have equal texts, and `Candidate.parse(str(candidate)) == candidate`.
    """

    members: tuple[str, ...]
    """Names of the checkpoints, sorted as epochs."""
    weights: tuple[float, ...] | None = None
    """Share of each member, a multiple of 1e-6, adding up to 1; None: equal shares. A member whose share rounds to 0 is left out."""
    seed: int = 0
    """Seed of the label-guided noise."""

    def __post_init__(self) -> None:
        members = tuple(_checked_name(name) for name in self.members)
        if not members:
            raise UsageError("a candidate needs at least one checkpoint")
        if len(set(members)) != len(members):
            raise UsageError(f"a checkpoint is named twice in {'+'.join(members)}; give it a larger weight instead")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"the seed {self.seed} is out of range: choose one from 0 to {2**63 - 1}")
        order = sorted(range(len(members)), key=lambda index: epoch_order(members[index]))
        units = [1] * len(order)
        if self.weights is not None:
            if len(self.weights) != len(members):
                raise UsageError(f"{len(self.weights)} weights for {len(members)} checkpoints ({', '.join(members)})")
            units = _in_units([self.weights[index] for index in order])
        kept = [(members[index], share) for index, share in zip(order, units, strict=True) if share]
        object.__setattr__(self, "members", tuple(name for name, _ in kept))
        # As near to equal as millionths come (333333, 333333, 333334) is equal: one candidate, one spelling.
        equal = self.weights is None or all(abs(share * len(kept) - _UNITS) < len(kept) for _, share in kept)
        object.__setattr__(self, "weights", None if equal else tuple(share / _UNITS for _, share in kept))

    @classmethod
    def parse(cls, text: str) -> "Candidate":
        """The candidate that `text` names; raises `UsageError` with the grammar if it names none."""
        body, at, seed = text.strip().partition("@")
        if at and not re.fullmatch(r"[0-9]{1,19}", seed):
            raise UsageError(f"candidate {text!r}: what follows @ is the seed, a whole number")
        chosen = int(seed) if at else 0
        if body.startswith("avg_"):
            return cls(tuple(body.removeprefix("avg_").split("_")), seed=chosen)
        if "*" not in body:
            return cls((body,), seed=chosen)
        terms = [[part.strip() for part in term.split("*")] for term in body.split("+")]
        if not all(len(term) == 2 and _SHARE.fullmatch(term[0]) for term in terms):
            raise UsageError(f"candidate {text!r}: write weights as in 0.4*273+0.6*299 or 1/3*273+2/3*299")
        try:
            shares = tuple(float(Fraction(share)) for share, _ in terms)
        except (ValueError, ZeroDivisionError) as error:
            raise UsageError(f"candidate {text!r}: its weights are no numbers; write them as in 0.4*273+0.6*299 or 1/3*273+2/3*299") from error
        return cls(tuple(name for _, name in terms), shares, chosen)

    @property
    def base(self) -> str:
        """Its name without the seed."""
        if len(self.members) == 1:
            return self.members[0]
        if self.weights is None and not any("_" in name for name in self.members):
            return "avg_" + "_".join(self.members)
        # Not as a fraction: a name is also a file's name.
        shares = [f"{share:.6g}" for share in self.shares]
        return "+".join(f"{share}*{name}" for share, name in zip(shares, self.members, strict=True))

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of each member."""
        return self.weights or (1 / len(self.members),) * len(self.members)

    @property
    def is_merge(self) -> bool:
        """Made of more than one checkpoint."""
        return len(self.members) > 1

    def with_seed(self, seed: int) -> "Candidate":
        """The same weights, drawn with another seed."""
        return Candidate(self.members, self.weights, seed)

    def __str__(self) -> str:
        return self.base + (f"@{self.seed}" if self.seed else "")


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
    """Its name as a candidate: the epoch, or a merge's name."""
    sha256: str
    """Hash of the safetensors file."""
    epoch: int | None = None
    step: int | None = None
    """Optimiser steps so far."""
    phase: str = ""
    members: Mapping[str, float] = field(default_factory=dict)
    """Of a merge: the share of each checkpoint."""
    member_hashes: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    """Hash of the training data."""
    config: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""


def epoch_order(name: str) -> tuple[int, int, str]:
    """Sort key that orders names as numbers where they are numbers: 9 before 10, and named ones behind."""
    return (0, int(name), name) if _is_epoch(name) else (1, 0, name)


def select_candidates(text: str, available: Sequence[str]) -> list[Candidate]:
    """The candidates that `--epochs` names: `270-310`, `270-310:2`, `273,298,299`, `last10`, `all`, `ema`, or candidates (`avg_273_299@7`).

    `ema` are the averages that training kept, which `all` leaves out. `available` are the names of the checkpoints at hand; a merge is at hand
    if its own file is, or every member's. A range takes every epoch it names; one that is missing is an error that lists what is there, for
    a sweep with holes would compare unlike things.
    """
    names = sorted(available, key=epoch_order)
    epochs = [name for name in names if _is_epoch(name)]
    saved = f"saved: {describe_epochs(names) or 'none yet (apfgan train makes them)'}"
    chosen: list[Candidate] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part == "all":
            chosen += [Candidate.parse(name) for name in names if not is_average(name)]
        elif part == "ema":
            chosen += [Candidate.parse(name) for name in names if is_average(name)]
        elif match := re.fullmatch(r"last([0-9]{1,9})", part):
            chosen += map(Candidate.parse, epochs[max(0, len(epochs) - int(match[1])) :])
        elif match := re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})(?::([0-9]{1,9}))?", part):
            first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
            if last < first or step < 1:
                raise UsageError(f"the range {part} is empty: write FIRST-LAST or FIRST-LAST:STEP")
            if len(wanted := range(first, last + 1, step)) > 100_000:
                raise UsageError(f"the range {part} names {len(wanted)} epochs; {saved}")
            chosen += [Candidate((str(epoch),)) for epoch in wanted]
        else:
            chosen.append(Candidate.parse(part))
    at_hand = set(names)
    missing = {name for candidate in chosen if candidate.base not in at_hand for name in candidate.members} - at_hand
    if missing:
        raise UsageError(f"no checkpoint for {describe_epochs(missing)}; {saved}")
    if not chosen:
        raise UsageError(f"{text!r} selects nothing; {saved}")
    return list(dict.fromkeys(chosen))


def is_average(name: str) -> bool:
    """Whether a checkpoint's name is that of an average along the training (`apfgan.ema`)."""
    return _AVERAGE.fullmatch(name) is not None


def describe_epochs(names: Iterable[str]) -> str:
    """Names as short text: runs of epochs as ranges (`270-310, best`), of more than twenty such parts the first twenty."""
    ranges: list[list[str]] = []
    for name in sorted(set(names), key=epoch_order):
        last = ranges[-1][-1] if ranges else ""
        if _is_epoch(name) and _is_epoch(last) and int(name) == int(last) + 1:
            ranges[-1].append(name)
        else:
            ranges.append([name])
    parts = [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ranges]
    return ", ".join(parts if len(parts) <= 20 else [*parts[:20], f"and {len(parts) - 20} more"])


def _is_epoch(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _checked_name(name: str) -> str:
    """The name of a checkpoint in its one spelling (`299` for `0299` and `epoch_0299`); raises `UsageError` for what is none."""
    if _is_epoch(number := name.removeprefix("epoch_")) and len(number) <= 18:
        return str(int(number))
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise UsageError(
            f"{name!r} names no checkpoint: that is an epoch, or a name of at most 64 letters, digits, '.', '_' and '-' that does not read as a "
            "selection. A candidate is written 299, avg_273_299 or 0.4*273+0.6*299, with @SEED behind it if you like"
        )
    return name


def _in_units(weights: Sequence[float]) -> list[int]:
    """Shares in millionths that add up to one, each as near to its weight as that allows."""
    total = math.fsum(weights)
    if not (min(weights) >= 0 and math.isclose(total, 1, abs_tol=len(weights) / _UNITS)):
        raise UsageError(
            f"the weights {', '.join(f'{weight:g}' for weight in weights)} add up to {total:g}; they must add up to 1, none of them negative. "
            "Fractions are fine: 2/3*273+1/3*299"
        )
    exact = [weight / total * _UNITS for weight in weights]
    units = [round(share) for share in exact]
    surplus = sum(units) - _UNITS
    for index in sorted(range(len(units)), key=lambda index: exact[index] - units[index], reverse=surplus < 0)[: abs(surplus)]:
        units[index] -= 1 if surplus > 0 else -1
    return units
