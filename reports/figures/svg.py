"""How figures look, and how one that matplotlib drew becomes an SVG file, a PNG file, and the parts of it that the page shows.

An SVG unit is a CSS pixel. A figure is laid out in pixels from its top left corner, so that the page knows where in it an epoch or a candidate
lies. Colours are Okabe and Ito's, with a shape of its own for each meaning. Nothing here keeps a change of matplotlib's settings.
"""

import copy
import io
import re
import unicodedata
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GREEN = "#1b1f24", "#5b636e", "#009e73"
"""Of what is measured, of axes and what explains, of what is best. On the page they follow its theme."""

TEXT, SMALL = 12.0, 11.0
"""Sizes of text, in pixels."""

WIDTH = 358.0
"""Of a figure: the column of a page on a telephone, so that its text is as large there as was meant."""

_PIXELS_PER_INCH = 72
_PNG_DENSITY = 2.2
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the reader's font
    "font.family": "sans-serif",
    "font.size": TEXT,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.linewidth": 0.8,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "xtick.major.size": 3.5,
    "ytick.major.size": 0.0,
    "axes.formatter.useoffset": False,
}
_REFERENCE = re.compile(r"url\(#(.+)\)")


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in a figure, in pixels from its top left corner."""

    left: float
    top: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Whether the two have more than an edge in common."""
        beside = self.left >= other.left + other.width or other.left >= self.left + self.width
        return not (beside or self.top >= other.top + other.height or other.top >= self.top + self.height)

    def holds(self, other: "Box") -> bool:
        """Whether the other lies within."""
        across = self.left <= other.left and other.left + other.width <= self.left + self.width
        return across and self.top <= other.top and other.top + other.height <= self.top + self.height


@dataclass(frozen=True)
class Part:
    """What the page shows of a figure."""

    box: Box
    groups: tuple[str, ...]
    """Ids of the axes within it. What stands beside axes (title, key) is the file's alone: the page has its own."""


@dataclass(frozen=True)
class Drawing:
    """A figure, drawn once."""

    svg: bytes
    png: bytes
    parts: tuple[Markup, ...]
    """For the page: `<svg>` elements that take colours and font from it, hidden from assistive technology, without a `style`."""


@contextmanager
def look(salt: str) -> Iterator[None]:
    """Our look, for making and drawing a figure; `salt` tells apart the ids within the SVGs of one page, and they are the same each time."""
    with matplotlib.rc_context({**_LOOK, "svg.hashsalt": salt}):
        yield


def new_figure(height: float, *, width: float = WIDTH) -> Figure:
    """An empty figure, its sizes in pixels."""
    return Figure(figsize=(width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH))


def add_axes(figure: Figure, box: Box, *, name: str) -> Axes:
    """Axes whose frame is `box`, in our look; `name` is their id in the SVG."""
    width, height = figure.get_size_inches() * _PIXELS_PER_INCH
    axes = figure.add_axes((box.left / width, 1 - (box.top + box.height) / height, box.width / width, box.height / height), gid=name)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(True, color=INK, alpha=0.12, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def add_note(figure: Figure, left: float, top: float, text: str, *, bold: bool = False) -> None:
    """A line of text beside the axes, for the files: the page says it in its own words."""
    width, height = figure.get_size_inches() * _PIXELS_PER_INCH
    figure.text(left / width, 1 - top / height, text, va="top", color=INK if bold else MUTED, fontsize=TEXT if bold else SMALL,
                fontweight="bold" if bold else "normal", parse_math=False)  # fmt: skip


def draw(figure: Figure, parts: Sequence[Part], *, salt: str) -> Drawing:
    """Draw a figure that was made in the same `look`. The same figure gives the same bytes."""
    svg, png = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        # The SVG keeps every letter, for the reader's fonts. The PNG has those of matplotlib's: a box stands for each letter that these lack.
        warnings.filterwarnings("ignore", message="(?s).*Glyph .* missing", category=UserWarning)
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        figure.savefig(png, format="png", dpi=_PIXELS_PER_INCH * _PNG_DENSITY, facecolor="white", metadata={"Software": None})
    root = ElementTree.fromstring(svg.getvalue())
    for element in root.iter():
        _make_themable(element)
    by_id = {identity: element for element in root.iter() if (identity := element.get("id"))}
    return Drawing(svg.getvalue(), png.getvalue(), tuple(_cut(by_id, part, salt=f"{salt}-{index}") for index, part in enumerate(parts)))


def legible(text: str, *, columns: int) -> str:
    """A user's text as one line of at most so many columns (a CJK letter takes two), cut with an ellipsis; what cannot be seen becomes a �."""
    seen = [letter if letter.isprintable() else "�" for letter in text]
    ends, end = [], 0
    for letter in seen:
        end += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        ends.append(end)
    return "".join(seen) if end <= columns else "".join(letter for letter, end in zip(seen, ends, strict=True) if end < columns) + "…"


def _cut(by_id: Mapping[str, ElementTree.Element], part: Part, *, salt: str) -> Markup:
    """Groups of an SVG as an SVG of their own, with a copy of all that they refer to; ids end on `salt`, and none is left that is not used."""
    groups = [by_id[name] for name in part.groups]
    used = sorted({identity for group in groups for element in group.iter() for _, identity in _references(element)})
    for parent in [element for group in groups for element in group.iter()]:
        for child in parent.findall("defs"):
            parent.remove(child)
    box = part.box
    whole = ElementTree.Element("svg", {"class": "plot", "viewBox": f"{box.left:g} {box.top:g} {box.width:g} {box.height:g}"})
    whole.attrib |= {"stroke-linejoin": "round", "aria-hidden": "true"}
    ElementTree.SubElement(whole, "defs").extend(copy.deepcopy(by_id[identity]) for identity in used)
    whole.extend(groups)
    for element in whole.iter():
        if (identity := element.attrib.pop("id", None)) in used:
            element.set("id", f"{identity}-{salt}")
        for name, identity in _references(element):
            element.set(name, element.attrib[name].replace(f"#{identity}", f"#{identity}-{salt}"))
        element.text, element.tail = (element.text or "").strip(), None
    return Markup(ElementTree.tostring(whole, encoding="unicode"))  # our own drawing, with every text escaped by the XML writer


def _references(element: ElementTree.Element) -> list[tuple[str, str]]:
    """Attributes that refer to another element, with its id."""
    found = [(name, _REFERENCE.fullmatch(element.get(name, ""))) for name in ("clip-path", "fill")]
    marker = [("href", element.attrib["href"].removeprefix("#"))] if element.tag == "use" else []
    return [*marker, *((name, match[1]) for name, match in found if match)]


def _make_themable(element: ElementTree.Element) -> None:
    """Attributes instead of a `style`, which the page's content security policy refuses; ink and font of the page; no namespaces."""
    element.tag = _local(element.tag)
    for name in [name for name in element.attrib if name.startswith("{")]:
        element.set(_local(name), element.attrib.pop(name))
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":  # "bold 12px 'DejaVu Sans', ..."
            words = value.split()
            element.set("font-size", next(word for word in words if word.endswith("px")))
            element.set("font-weight", "bold" if {"bold", "700"} & set(words) else "normal")
        elif name and name != "font-family":
            element.set(name, value)
    if element.tag == "text":
        element.set("fill", element.get("fill", INK))
    for name in ("fill", "stroke"):
        if element.get(name) == INK:
            element.set(name, "currentColor")


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
