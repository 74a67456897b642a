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


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that can be scored: one checkpoint or a weighted mean of several, drawn with one noise seed.

    Its text is its name everywhere (command line, ledger, report, file names): `299`, `avg_273_299`, `0.4*273+0.6*299`; a seed other than
    0 follows an `@`: `avg_273_299@2433`.
    """

    members: tuple[str, ...]
    """Names of the checkpoints, sorted as epochs."""
    weights: tuple[float, ...] | None = None
    """Share of each member, adding up to 1; None: equal shares."""
    seed: int = 0
    """Seed of the label-guided noise."""

    def __post_init__(self) -> None:
        if not self.members:
            raise UsageError("a candidate needs at least one checkpoint")
        if len(set(self.members)) != len(self.members):
            raise UsageError(f"a checkpoint is named twice in {'+'.join(self.members)}; give it a larger weight instead")
        if self.weights is not None:
            if len(self.weights) != len(self.members):
                raise UsageError(f"{len(self.weights)} weights for {len(self.members)} checkpoints ({', '.join(self.members)})")
            total = sum(self.weights)
            if min(self.weights) < 0 or not math.isclose(total, 1, abs_tol=1e-6):
                raise UsageError(f"the weights {list(self.weights)} must be positive and add up to 1; they add up to {total:g}")
        order = sorted(range(len(self.members)), key=lambda index: epoch_order(self.members[index]))
        object.__setattr__(self, "members", tuple(self.members[index] for index in order))
        if self.weights is not None:
            # Rounded, so that 0.4*a+0.6*b is one candidate however it was computed; equal shares have one spelling.
            shares = tuple(round(self.weights[index], 6) for index in order)
            equal = all(math.isclose(share, 1 / len(shares), abs_tol=1e-6) for share in shares)
            object.__setattr__(self, "weights", None if equal else shares)

    @classmethod
    def parse(cls, text: str) -> "Candidate":
        """The candidate that `text` names; raises `UsageError` with the grammar if it names none."""
        body, at, seed = text.strip().partition("@")
        if at and not seed.isdigit():
            raise UsageError(f"candidate {text!r}: what follows @ is the seed, a whole number")
        chosen = int(seed) if at else 0
        if body.startswith("avg_"):
            return cls(tuple(body.removeprefix("avg_").split("_")), seed=chosen)
        if "*" in body:
            terms = [term.partition("*") for term in body.split("+")]
            try:
                return cls(tuple(name.strip() for _, _, name in terms), tuple(float(Fraction(share.strip())) for share, _, _ in terms), seed=chosen)
            except (ValueError, ZeroDivisionError) as error:
                raise UsageError(f"candidate {text!r}: write weights as in 0.4*273+0.6*299") from error
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.\-]*", body):
            raise UsageError(f"{text!r} names no candidate; write 299, avg_273_299 or 0.4*273+0.6*299, with @SEED behind it if you like")
        return cls((body,), seed=chosen)

    @property
    def base(self) -> str:
        """Its name without the seed."""
        if len(self.members) == 1:
            return self.members[0]
        if self.weights is None:
            return "avg_" + "_".join(self.members)
        return "+".join(f"{share:g}*{name}" for share, name in zip(self.weights, self.members, strict=True))

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
    """By metric name (`mask_accuracy`, `aesthetic`, `fid` or `fd-embedded`)."""
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
    return (0, int(name), name) if name.isdigit() else (1, 0, name)


def select_candidates(text: str, available: Sequence[str]) -> list[Candidate]:
    """The candidates that `--epochs` names: `270-310`, `270-310:2`, `273,298,299`, `last10`, `all`, or candidates (`avg_273_299@7`).

    `available` are the names of the checkpoints at hand. A range takes every epoch it names; one that is missing is an error that
    lists what is there, for a sweep with holes would compare unlike things.
    """
    names = sorted(available, key=epoch_order)
    chosen: list[Candidate] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part == "all":
            chosen += [Candidate((name,)) for name in names]
        elif match := re.fullmatch(r"last(\d+)", part):
            epochs = [name for name in names if name.isdigit()]
            chosen += [Candidate((name,)) for name in epochs[-int(match[1]) :]] if int(match[1]) else []
        elif match := re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?", part):
            first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
            if last < first or step < 1:
                raise UsageError(f"the range {part} is empty: write FIRST-LAST or FIRST-LAST:STEP")
            chosen += [Candidate((str(epoch),)) for epoch in range(first, last + 1, step)]
        else:
            chosen.append(Candidate.parse(part))
    missing = sorted({name for candidate in chosen for name in candidate.members} - set(names), key=epoch_order)
    if missing:
        raise UsageError(f"no checkpoint for {describe_epochs(missing)}; saved: {describe_epochs(names) or 'none yet (apfgan train makes them)'}")
    if not chosen:
        raise UsageError(f"{text!r} selects nothing; saved: {describe_epochs(names) or 'none yet (apfgan train makes them)'}")
    return list(dict.fromkeys(chosen))


def describe_epochs(names: Iterable[str]) -> str:
    """Names as short text: runs of epochs as ranges (`270-310, best`)."""
    parts: list[str] = []
    numbers: list[int] = []

    def close_range() -> None:
        if numbers:
            parts.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}")
            numbers.clear()

    for name in sorted(names, key=epoch_order):
        if name.isdigit() and (not numbers or int(name) == numbers[-1] + 1):
            numbers.append(int(name))
        else:
            close_range()
            numbers.extend([int(name)] if name.isdigit() else [])
            parts.extend([] if name.isdigit() else [name])
    close_range()
    return ", ".join(parts)
