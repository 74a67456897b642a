"""A ranking for a terminal of 80 columns, and the same as JSON for programs."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from apfgan.noise import difference, told_apart
from apfgan.ranking import Place, clipping_note, parts_of
from apfgan.records import Anchors, Estimate

COLUMNS = 80

_SHORT = {"composite": "score", "mask_accuracy": "mask"}


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

    @property
    def doubts(self) -> list[str]:
        """The notes, and what these numbers themselves give reason to doubt."""
        clipping = clipping_note([place.entry.metrics for place in self.places])
        alarms = self.anchors.alarms if self.anchors is not None else ()
        return [
            *self.notes,
            *(f"of the mask judge on real photos: {alarm}" for alarm in alarms),
            *self._beyond_photos(),
            *([clipping] if clipping else []),
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything, at full precision."""
        return {
            "by": self.by,
            "notes": self.doubts,
            "places": [
                {
                    "place": place.place,
                    "candidate": place.entry.name,
                    "tied_with_best": place.tied,
                    "metrics": {name: asdict(each) for name, each in place.entry.metrics.items()},
                }
                for place in self.places
            ],
            "real_photos": None if self.anchors is None else asdict(self.anchors),
            **(self.worth or {}),
        }

    def as_text(self, *, top: int, checks: bool = False) -> str:
        """The first `top` places with what a total is made of, or with the `checks` instead; then what there is to say of them."""
        measured = self.places[0].entry.metrics
        parts = ("composite", *parts_of(measured)) if "composite" in measured else tuple(measured)
        metrics = [name for name in measured if name != self.by and (name in parts) is not checks]
        lines = []
        if len(self.places) > top:
            lines.append(f"... and {len(self.places) - top} more (--top {len(self.places)} shows all)")
        if any(place.tied for place in self.places[1:]):
            lines.append("= not told apart from the best by the noise of these images")
        if self.anchors is not None:
            lines.append(f"real photos: {self.anchors.origin}, judged as the images are; the distance of as many others is its floor")
        if self.worth is not None:
            lines += _worth_lines(self.worth)
        lines += [f"note: {doubt}" for doubt in self.doubts]
        return "\n".join([*self._tables(metrics, top), *map(wrapped, lines)])

    def _tables(self, metrics: Sequence[str], top: int) -> list[str]:
        """The first places and the real photos by these metrics, in as many tables as it takes to fit the terminal."""
        rows = [
            [
                f"{place.place}{'=' if place.tied and place.place > 1 else ''}",
                place.entry.name,
                with_error(place.value) if self.by == "composite" or place.value.error is not None else f"{place.value.value:.6g}",
                *(_brief(place.entry.metrics.get(name)) for name in metrics),
            ]
            for place in self.places[:top]
        ]
        if self.anchors is not None:
            real = {**self.anchors.metrics, **({"composite": self.anchors.composite} if self.anchors.composite else {})}
            rows.append(["", "real photos", with_error(real[self.by]) if self.by in real else "", *(_brief(real.get(name)) for name in metrics)])
        whole = table(["", "candidate", *(_SHORT.get(name, name) for name in (self.by, *metrics))], rows)
        if len(metrics) < 2 or max(map(len, whole.splitlines())) <= COLUMNS:
            return [whole]
        half = (len(metrics) + 1) // 2
        return [*self._tables(metrics[:half], top), "", *self._tables(metrics[half:], top)]

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


def wrapped(text: str, *, indent: str = "") -> str:
    """Prose in lines of the terminal."""
    return textwrap.fill(text, COLUMNS - len(indent), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _worth_lines(worth: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the best total is made of, and what a unit of each score is worth there."""
    terms = " + ".join(f"{name} {value:.4f}" for name, value in worth["contributions"].items())
    rates = worth["exchange_rates"]
    steps = {"mask +0.01": rates["mask_accuracy"] / 100, "aesthetic +0.1": rates["aesthetic"] / 10, "distance -1": 0 - rates["distance"]}
    return [f"the best score is {terms}", ", ".join(f"{step}: {gain:+.4f}" for step, gain in steps.items())]


def _brief(value: Estimate | None) -> str:
    return "" if value is None else f"{value.value:.4g}"
