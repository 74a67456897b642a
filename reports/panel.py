"""Which label maps a report shows: by strata, so that one sees the usual, the worst, the best, what changed and what is rare. Pure functions.

N label maps, C classes.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import numpy as np

from apfgan.labels import Classes
from apfgan.single_class import DOMINANT_SHARE
from reports.observations import Observations

RARE = 0.05
"""A class is rare that fewer than this share of the label maps ask for."""

Stratum = Literal["random", "worst", "best", "change", "rare", "single"]
STRATA: tuple[Stratum, ...] = ("random", "worst", "best", "change", "rare", "single")
"""In the order in which they take their turns and are shown."""

_Queue = Iterator[tuple[int, str]]
"""Positions of label maps, the most telling first, each with why it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One label map of the panel, and why it is there."""

    stem: str
    stratum: Stratum
    why: str
    """In words: `mask accuracy 0.412, the 3rd lowest of 400`."""
    content: str
    """What it asks for: `sky 61 %, mountain 39 %`; empty where that is not known."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Seen:
    """What a panel is chosen by: N label maps, and how well the choice and its rival drew each."""

    stems: tuple[str, ...]
    shares: np.ndarray
    """float64 (N, C): share of each class in a label map's labelled pixels; 0 throughout where there are none, or nothing is known."""
    choice: np.ndarray
    """float64 (N,): mask accuracy of the choice; NaN where that is not known."""
    rival: np.ndarray
    """The same of its rival."""

    @classmethod
    def of(
        cls, stems: Sequence[str], *, choice: Observations | None, rival: Observations | None, others: Iterable[Observations] = (), classes: int
    ) -> "Seen":
        """What observations say of some label maps; the `others` only what these ask for, of `classes` classes."""
        shares = np.zeros((len(stems), classes))
        for observed in filter(None, (choice, rival, *others)):
            missing = ~shares.any(axis=1)
            if not missing.any():
                break
            pixels = _aligned(observed.given.astype(np.float64), observed.stems, stems)[:, :classes]
            known = missing & (pixels.sum(axis=1) > 0)  # an unknown label map is NaN throughout
            shares[known, : pixels.shape[1]] = pixels[known] / pixels[known].sum(axis=1, keepdims=True)
        unknown = np.full(len(stems), np.nan)
        accuracies = [unknown if each is None else _aligned(each.accuracy, each.stems, stems) for each in (choice, rival)]
        return cls(stems=tuple(stems), shares=shares, choice=accuracies[0], rival=accuracies[1])


def choose_label_maps(seen: Seen, *, most: int, choice: str, rival: str, classes: Classes, first: Collection[str] = ()) -> tuple[Shown, ...]:
    """At most so many label maps, the most telling first: the strata take turns, so that any first few of them are a fair panel, too.

    `random` are the label maps in their order, of which every first few should be a fair sample, those in `first` before the others. It takes the
    turns of strata that have none left, or of which nothing is known; where there is room for all, it is what the others left. `choice` and `rival`
    are the names of the candidates behind `seen`.
    """
    queues: dict[Stratum, _Queue] = {
        "random": _any(seen, first),
        "worst": _extreme(seen.choice, "lowest"),
        "best": _extreme(-seen.choice, "highest"),
        "change": _changed(seen, choice, rival),
        "rare": _rare(seen, classes),
        "single": _single(seen, classes),
    }
    count = min(most, len(seen.stems))
    turns: list[tuple[Stratum, ...]]
    if count < len(seen.stems):
        turns = [(stratum, "random") for stratum in islice(cycle(STRATA), count)]
    else:  # none has to be drawn by lot before it is looked at
        turns = [(stratum,) for stratum in (*STRATA[1:] * -(-count // len(STRATA)), *STRATA[:1] * count)]
    taken: dict[int, Shown] = {}
    for turn in turns:
        for stratum in turn:
            place, why = next((each for each in queues[stratum] if each[0] not in taken), (None, ""))
            if place is not None:
                taken[place] = Shown(stem=seen.stems[place], stratum=stratum, why=why, content=_describe(seen.shares[place], classes))
                break
    return tuple(taken.values())


def by_stratum(panel: Iterable[Shown]) -> tuple[Shown, ...]:
    """The order in which a panel is shown."""
    return tuple(sorted(panel, key=lambda shown: STRATA.index(shown.stratum)))


def explain(panel: Sequence[Shown], *, of: int, choice: str, rival: str) -> str:
    """How the panel was chosen among so many label maps of which there are pictures, in a sentence."""
    if len(panel) >= of:
        return "These are all of which there are pictures."
    texts = {
        "random": "without a look at what was drawn",
        "worst": f"where the mask accuracy of {choice} is lowest",
        "best": "where it is highest",
        "change": f"where it differs most from that of {rival}, up or down",
        "rare": f"with a class that fewer than {_percent(RARE)} of the label maps ask for",
        "single": "of a single class",
    }
    counts = Counter(shown.stratum for shown in panel)
    return f"Chosen by rule: {', '.join(f'{counts[stratum]} {texts[stratum]}' for stratum in STRATA if counts[stratum])}."


def _any(seen: Seen, first: Collection[str]) -> _Queue:
    for wanted in (True, False):
        yield from ((place, "taken without a look at what was drawn") for place, stem in enumerate(seen.stems) if (stem in first) == wanted)


def _extreme(order: np.ndarray, adjective: str) -> _Queue:
    """By the lowest of `order` (N,), the mask accuracy or what is left of it from 0."""
    places = _sorted(order)
    for number, place in enumerate(places, start=1):
        yield place, f"mask accuracy {abs(order[place]):.3f}, the {_ordinal(number)}{adjective} of {len(places)}"


def _changed(seen: Seen, choice: str, rival: str) -> _Queue:
    """The largest gain of the choice over its rival and its largest loss in turn."""
    change = seen.choice - seen.rival
    gains, losses = ([place for place in _sorted(sign * change) if sign * change[place] < 0] for sign in (-1, 1))
    for pair in range(max(len(gains), len(losses))):
        for place in (*gains[pair : pair + 1], *losses[pair : pair + 1]):
            yield place, f"mask accuracy {seen.choice[place]:.3f} by {choice}, {seen.rival[place]:.3f} by {rival}"


def _rare(seen: Seen, classes: Classes) -> _Queue:
    """For each rare class, the rarest first, the label map with most of it."""
    images = (seen.shares > 0).sum(axis=0)
    for index in np.argsort(images, kind="stable"):
        if 0 < images[index] < RARE * len(seen.stems):
            place = int(seen.shares[:, index].argmax())
            told = f"{images[index]} of {len(seen.stems)} label maps ask{'s' if images[index] == 1 else ''} for it"
            yield place, f"{classes.names[index]}, {_percent(seen.shares[place, index])} of this one; {told}"


def _single(seen: Seen, classes: Classes) -> _Queue:
    """One of each class, then a second, and so on."""
    before: Counter[int] = Counter()
    found = []
    for place in map(int, np.flatnonzero(seen.shares.max(axis=1, initial=0) > DOMINANT_SHARE)):
        index = int(seen.shares[place].argmax())
        found.append((before[index], place, index))
        before[index] += 1
    for _, place, index in sorted(found):
        yield place, f"nothing but {classes.names[index]}" if seen.shares[place, index] == 1 else f"almost nothing but {classes.names[index]}"


def _aligned(values: np.ndarray, stems: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """The rows of `values` that belong to the wanted stems, in their order; NaN where there is none."""
    places = {stem: place for place, stem in enumerate(stems)}
    rows = np.array([places.get(stem, -1) for stem in wanted], dtype=np.int64)
    return np.concatenate([values, np.full((1, *values.shape[1:]), np.nan)])[rows]


def _sorted(values: np.ndarray) -> list[int]:
    """Places of the known values, the lowest first."""
    return [int(place) for place in np.argsort(values, kind="stable") if not np.isnan(values[place])]


def _describe(shares: np.ndarray, classes: Classes) -> str:
    """A label map in words, by its three largest classes."""
    largest = [index for index in np.argsort(-shares, kind="stable")[:3] if shares[index] > 0]
    return ", ".join(f"{classes.names[index]} {_percent(shares[index])}" for index in largest)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "under 1 %"


def _ordinal(number: int) -> str:
    """The word before `lowest`: nothing, `2nd `, `3rd `, ..."""
    if number == 1:
        return ""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending} "
