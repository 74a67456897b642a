"""A ranking for a terminal of 80 columns, and the same as JSON for programs."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from apfgan.noise import difference, told_apart
from apfgan.ranking import Outlook, Place, clipping_note, foresee, parts_of, variant_notes
from apfgan.records import Anchors, Estimate

COLUMNS = 80

_NARROWEST_NAME = 14
"""Columns that a name keeps at least."""

_SHORT = {"composite": "score", "mask_accuracy": "mask", "aesthetic": "aesth."}


@dataclass(frozen=True, kw_only=True)
class Standings:
    """A ranking, and what has to be known to read it."""

    places: Sequence[Place]
    """Best first; at least one."""
    by: str
    """The metric that decides."""
    notes: Sequence[str] = ()
    anchors: Anchors | None = None
    """What real photos score."""
    worth: Mapping[str, Mapping[str, float]] | None = None
    """Of the best total: `contributions` of each term, and `exchange_rates`, what it moves by for one unit of each score."""

    @cached_property
    def outlook(self) -> Outlook:
        """What the noise leaves open of these places."""
        return foresee(self.places, by=self.by)

    @property
    def doubts(self) -> list[str]:
        """The notes, and what these numbers themselves give reason to doubt."""
        clipping = clipping_note([place.entry.metrics for place in self.places])
        alarms = self.anchors.alarms if self.anchors is not None else ()
        return [
            *self.notes,
            *variant_notes(place.entry.name for place in self.places),
            *(f"of the mask judge on real photos: {alarm}" for alarm in alarms),
            *self._beyond_photos(),
            *([clipping] if clipping else []),
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything, at full precision."""
        expected = self.outlook.expected
        return {
            "by": self.by,
            "tried": self.outlook.tried,
            "submission": asdict(self.places[0].value),
            "expected": expected and asdict(expected),
            "notes": self.doubts,
            "places": [
                {
                    "place": place.place,
                    "candidate": place.entry.name,
                    "tied_with_best": place.tied,
                    "rank_interval": place.rank_interval,
                    **asdict(standing),
                    "metrics": {name: asdict(each) for name, each in place.entry.metrics.items()},
                }
                for place, standing in zip(self.places, self.outlook.standings, strict=True)
            ],
            "real_photos": None if self.anchors is None else asdict(self.anchors),
            **(self.worth or {}),
        }

    def as_text(self, *, top: int, checks: bool = False) -> str:
        """The first `top` places with what a total is made of, or with the `checks` instead; then what there is to say of them."""
        measured = self.places[0].entry.metrics
        parts = ("composite", *parts_of(measured)) if "composite" in measured else tuple(measured)
        metrics = [name for name in measured if name != self.by and (name in parts) is not checks]
        columns = [*([] if checks else self._chances(top)), *(self._column(name, top) for name in metrics)]
        lines = []
        if len(self.places) > top:
            lines.append(f"... and {len(self.places) - top} more (--top {len(self.places)} shows all)")
        if any(place.tied for place in self.places[1:]):
            lines.append("= not told apart from the best by the noise of these images")
        if any(standing.pareto for standing in self.outlook.standings):
            names = ", ".join(_SHORT.get(name, name) for name in parts_of(measured))
            lines.append(f"* Pareto: no other is as good in all of {names} and better in one beyond its noise")
        if self.outlook.expected is not None:
            lines.append(self._prospect(self.outlook.expected))
        if self.anchors is not None:
            lines.append(f"real photos: {self.anchors.origin}, judged as the images are; the distance of as many others is its floor")
        if self.worth is not None:
            lines += _worth_lines(self.worth)
        lines += [f"note: {doubt}" for doubt in self.doubts]
        return "\n".join([*self._tables(columns, top), *map(wrapped, lines)])

    def _tables(self, columns: Sequence[Sequence[str]], top: int) -> list[str]:
        """The first places and the real photos, with these columns behind name and number, in as many tables as it takes to fit the terminal."""
        names = [place.entry.name for place in self.places[:top]]
        marks = [
            f"{place.place}{'=' if place.tied and place.place > 1 else ''}{'*' if standing.pareto else ''}"
            for place, standing in zip(self.places[:top], self.outlook.standings, strict=False)
        ]
        numbers = [
            with_error(place.value) if self.by == "composite" or place.value.error is not None else f"{place.value.value:.6g}"
            for place in self.places[:top]
        ]
        if self.anchors is not None:
            real = self._photos.get(self.by)
            marks, names, numbers = [*marks, ""], [*names, "real photos"], [*numbers, "" if real is None else with_error(real)]

        def draw(width: int) -> str:
            shown = ["candidate", *(shortened(name, width) for name in names)]
            header, *rows = zip(["", *marks], shown, [_SHORT.get(self.by, self.by), *numbers], *columns, strict=True)
            return table(header, rows)

        longest = max(map(len, names))
        whole = draw(longest)
        excess = max(map(len, whole.splitlines())) - COLUMNS
        if excess <= 0:
            return [whole]
        if longest - excess >= _NARROWEST_NAME or len(columns) < 2:
            return [draw(max(longest - excess, _NARROWEST_NAME))]
        half = (len(columns) + 1) // 2
        return [*self._tables(columns[:half], top), "", *self._tables(columns[half:], top)]

    def _column(self, metric: str, top: int) -> list[str]:
        """A metric of the first places, and of the real photos."""
        photos = [] if self.anchors is None else [self._photos.get(metric)]
        found = [*(place.entry.metrics.get(metric) for place in self.places[:top]), *photos]
        return [_SHORT.get(metric, metric), *("" if each is None else f"{each.value:.4g}" for each in found)]

    def _chances(self, top: int) -> list[list[str]]:
        """Which places the noise leaves open, and the probability of being the best; nothing where errors are unknown."""
        if self.outlook.expected is None:
            return []
        photos = [] if self.anchors is None else [""]
        intervals = [interval_text(place.rank_interval) for place in self.places[:top]]
        chances = [chance_text(standing.probability_best) for standing in self.outlook.standings[:top]]
        return [["ranks", *intervals, *photos], ["P(best)", *chances, *photos]]

    def _prospect(self, expected: Estimate) -> str:
        """What the best reaches on these images, and on others."""
        name, best, tried = _SHORT.get(self.by, self.by), self.places[0].value, self.outlook.tried
        chosen = f"as the best of {tried} it owes {abs(best.value - expected.value):.4f} to luck" if tried > 1 else "there was nothing to choose"
        return f"submission {name} {best.value:.4f} on these very images; expected {name} {with_error(expected)} on new label maps: {chosen}"

    @property
    def _photos(self) -> Mapping[str, Estimate]:
        """What real photos score, the total among it where it is known."""
        if self.anchors is None:
            return {}
        return {**self.anchors.metrics, **({"composite": self.anchors.composite} if self.anchors.composite else {})}

    def _beyond_photos(self) -> list[str]:
        """A doubt where the mask judge agrees with a generator more than with the truth."""
        best = self.places[0].entry
        drawn, real = best.metrics.get("mask_accuracy"), None if self.anchors is None else self.anchors.metrics.get("mask_accuracy")
        if drawn is None or real is None or drawn.value <= real.value or not told_apart(difference(drawn, real)):
            return []
        return [f"the mask judge finds more of the masks in the images of {best.name} than in real photos: look at them before you believe it"]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text, the first two left-aligned and the numbers right-aligned; fits 80 columns where names are short."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def show(line: Sequence[str]) -> str:
        cells = (cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return "\n".join(show(line) for line in lines)


def with_error(value: Estimate, *, digits: int = 4) -> str:
    """The value, and its standard error where that is known."""
    return f"{value.value:.{digits}f}" + ("" if value.error is None else f" ±{value.error:.{digits}f}")


def shortened(name: str, width: int) -> str:
    """A name in at most so many columns: what is too long loses its middle, for both ends tell candidates apart."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def interval_text(interval: tuple[int, int] | None) -> str:
    """The places that the noise leaves open: `2-5`, or `3` where it leaves one."""
    if interval is None:
        return ""
    first, last = interval
    return f"{first}" if first == last else f"{first}-{last}"


def chance_text(probability: float | None) -> str:
    """A probability as exactly as it is known, never as certain."""
    if probability is None:
        return "–"
    return "<0.01" if probability < 0.01 else ">0.99" if probability > 0.99 else f"{probability:.2f}"


def wrapped(text: str, *, indent: str = "") -> str:
    """Prose in lines of the terminal."""
    return textwrap.fill(text, COLUMNS - len(indent), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _worth_lines(worth: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the best total is made of, and what a unit of each score is worth there."""
    terms = " + ".join(f"{name} {value:.4f}" for name, value in worth["contributions"].items())
    rates = worth["exchange_rates"]
    steps = {"mask +0.01": rates["mask_accuracy"] / 100, "aesthetic +0.1": rates["aesthetic"] / 10, "distance -1": 0 - rates["distance"]}
    return [f"the best score is {terms}", ", ".join(f"{step}: {gain:+.4f}" for step, gain in steps.items())]
