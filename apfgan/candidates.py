"""Candidates: what can be scored, and the grammar by which people name them. Values only; needs no network library."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import get_args

from apfgan.errors import UsageError
from apfgan.images import Subsampling

_NAME = re.compile(r"(?!avg_)[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_RESERVED = re.compile(r"all|ema|last[0-9]+|[0-9]+(-[0-9]+)?")
_AVERAGE = re.compile(r"[0-9]+-ema[0-9.]+")
"""Names of the averages that training keeps beside an epoch (`apfgan.ema`)."""
_SHARE = re.compile(r"[0-9.]{1,30}(?:[eE]-?[0-9]{1,2})?(?:/[0-9]{1,9})?")
_UNITS = 1_000_000
"""Shares are whole millionths, so that a candidate and its text are the same thing."""
_NARROWEST, _WIDEST = 0.001, 0.28
"""Of an average along the training: the widest is `apfgan.config.MAXIMAL_EMA_WIDTH`."""


@dataclass(frozen=True, slots=True)
class Jpeg:
    """How an image is encoded: `q90-444` in a candidate's name."""

    quality: int
    """1 to 95."""
    subsampling: Subsampling

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95 or self.subsampling not in get_args(Subsampling):
            raise UsageError(
                f"no JPEG setting: quality {self.quality}, {self.subsampling}; a quality of 1 to 95 with {', '.join(get_args(Subsampling))}"
            )

    def __str__(self) -> str:
        return f"q{self.quality}-{self.subsampling.replace(':', '')}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that can be scored: one checkpoint or a weighted mean of several, drawn with one noise seed.

    Its text is its name everywhere (command line, ledger, report, file names): `299`, `avg_273_299`, `0.4*273+0.6*299`. What else is done to it
    follows, each behind a `~`: `~ema0.03` (the average of that width along the training up to the epoch, rebuilt from those that were kept),
    `~recal500` (BatchNorm's statistics taken anew on so many training label maps), `~q90-444` (another JPEG encoder than the run's) and
    `~photos` (training photos of nothing but one class stand in for drawings of nothing but that class). A seed other than 0 follows an `@`:
    `avg_273_299~recal500@2433`. Equal candidates have equal texts, and `Candidate.parse(str(candidate)) == candidate`.
    """

    members: tuple[str, ...]
    """Names of the checkpoints, sorted as epochs."""
    weights: tuple[float, ...] | None = None
    """Share of each member, a multiple of 1e-6, adding up to 1; None: equal shares. A member whose share rounds to 0 is left out."""
    seed: int = 0
    """Seed of the label-guided noise."""
    width: float | None = None
    """Relative width of the average along the training that takes the checkpoint's place (`apfgan.ema`); of a single epoch only."""
    recalibrated: int = 0
    """Training label maps on which BatchNorm's statistics are taken anew; 0: they are averaged like the weights."""
    jpeg: Jpeg | None = None
    """Encoder of its images; None: the run's."""
    photos: bool = False
    """Training photos of a single class stand in for drawings that one class dominates (`apfgan.single_class`)."""

    def __post_init__(self) -> None:
        members = tuple(_checked_name(name) for name in self.members)
        if not members:
            raise UsageError("a candidate needs at least one checkpoint")
        if len(set(members)) != len(members):
            raise UsageError(f"a checkpoint is named twice in {'+'.join(members)}; give it a larger weight instead")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"the seed {self.seed} is out of range: choose one from 0 to {2**63 - 1}")
        if self.width is not None:
            if not (_NARROWEST <= self.width <= _WIDEST and len(members) == 1 and _is_epoch(members[0])):
                raise UsageError(f"~ema{self.width:g}: a width is {_NARROWEST} to {_WIDEST}, of the average up to one epoch: 299~ema0.05")
            object.__setattr__(self, "width", float(f"{self.width:g}"))
        if not 0 <= self.recalibrated <= 1_000_000:
            raise UsageError(f"~recal{self.recalibrated}: name the number of training label maps, as in 299~recal500")
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
        body, *options = body.split("~")
        return replace(_with_options(cls._parse_members(body, text), options, text), seed=int(seed) if at else 0)

    @classmethod
    def _parse_members(cls, body: str, text: str) -> "Candidate":
        if body.startswith("avg_"):
            return cls(tuple(body.removeprefix("avg_").split("_")))
        if "*" not in body:
            return cls((body,))
        terms = [[part.strip() for part in term.split("*")] for term in body.split("+")]
        if not all(len(term) == 2 and _SHARE.fullmatch(term[0]) for term in terms):
            raise UsageError(f"candidate {text!r}: write weights as in 0.4*273+0.6*299 or 1/3*273+2/3*299")
        try:
            shares = tuple(float(Fraction(share)) for share, _ in terms)
        except (ValueError, ZeroDivisionError) as error:
            raise UsageError(f"candidate {text!r}: its weights are no numbers; write them as in 0.4*273+0.6*299 or 1/3*273+2/3*299") from error
        return cls(tuple(name for _, name in terms), shares)

    @property
    def mean(self) -> str:
        """Of which checkpoints it is the mean: the beginning of its name."""
        if len(self.members) == 1:
            return self.members[0]
        if self.weights is None and not any("_" in name for name in self.members):
            return "avg_" + "_".join(self.members)
        # Not as a fraction: a name is also a file's name.
        shares = [f"{share:.6g}" for share in self.shares]
        return "+".join(f"{share}*{name}" for share, name in zip(shares, self.members, strict=True))

    @property
    def base(self) -> str:
        """The name of its weights: without the seed, and without what is done to its images."""
        width = "" if self.width is None else f"~ema{self.width:g}"
        return self.mean + width + (f"~recal{self.recalibrated}" if self.recalibrated else "")

    @property
    def unseeded(self) -> str:
        """Its name without the seed."""
        return self.base + ("" if self.jpeg is None else f"~{self.jpeg}") + ("~photos" if self.photos else "")

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
        return replace(self, seed=seed)

    @property
    def is_plain(self) -> bool:
        """Nothing is done to it besides being averaged and drawn."""
        return self.width is None and not self.recalibrated and self.jpeg is None and not self.photos

    def __str__(self) -> str:
        return self.unseeded + (f"@{self.seed}" if self.seed else "")


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
    missing = {name for candidate in chosen if not {candidate.base, candidate.mean} & at_hand for name in candidate.members} - at_hand
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


def _with_options(candidate: Candidate, options: Sequence[str], text: str) -> Candidate:
    """The candidate with what the parts of its name between `~` say; each kind at most once."""
    named = [re.match("[a-z]+", option) for option in options]
    if len({kind[0] for kind in named if kind}) < len(options):
        raise UsageError(f"candidate {text!r}: what may follow ~, each once, is ema0.03, recal500, q90-444 and photos")
    for option in options:
        if match := re.fullmatch(r"ema([0-9]*\.?[0-9]+)", option):
            candidate = replace(candidate, width=float(match[1]))
        elif match := re.fullmatch(r"recal([1-9][0-9]{0,6})", option):
            candidate = replace(candidate, recalibrated=int(match[1]))
        elif match := re.fullmatch(r"q([0-9]{1,2})-([0-9]{3})", option):
            known = {each.replace(":", ""): each for each in get_args(Subsampling)}
            if match[2] not in known:
                raise UsageError(f"candidate {text!r}: a JPEG's colours are stored as {', '.join(known)}, as in ~q90-444")
            candidate = replace(candidate, jpeg=Jpeg(int(match[1]), known[match[2]]))
        elif option == "photos":
            candidate = replace(candidate, photos=True)
        else:
            raise UsageError(f"candidate {text!r}: what may follow ~, each once, is ema0.03, recal500, q90-444 and photos")
    return candidate


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
