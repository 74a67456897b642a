"""How many pictures a page carries, so that it stays a file to open and to send. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from apfgan.data import spread

IMAGES = 24
"""Label maps that are shown where no other number is wished for."""

LEAST_IMAGES = 8
"""So many are shown even if epochs have to give way to them."""

AIM = 8_000_000
"""Bytes that a page should have at most."""

WARN = 15_000_000
"""Bytes above which a page says that it is large."""

CAP = 25_000_000
"""Bytes above which pictures become files of their own."""

REST = 1_400_000
"""Bytes of a page that are kept for everything but its pictures: with 40 candidates of 1000 images it is 1.3 MB (benchmarks/report_size.py)."""

_TAGS = 200
"""Bytes around a picture, its template and its alternative text: 136 on average there."""

Form = Literal["auto", "file", "folder", "zip"]
"""Where a report's pictures are: in the page, in files beside it, or there and the whole also in a zip; `auto`: in the page up to `CAP`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the user asks of a report. It is granted; the rest is fitted to it."""

    images: int | None = None
    """Label maps to show."""
    form: Form = "auto"


NO_WISH = Wish()
"""Everything fitted to the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is shown of what there is."""

    form: Form
    """Never `auto`."""
    rows: tuple[int, ...]
    """Places of the candidates that are shown, in order."""
    columns: int
    """The first so many label maps are."""
    size: int
    """About how many bytes a page with these pictures in it has."""

    @property
    def inside(self) -> bool:
        """Whether the pictures are in the page."""
        return self.form == "file"


def plan_pictures(sizes: np.ndarray, *, thinnable: Sequence[int], wish: Wish = NO_WISH) -> Plan:
    """What to show of pictures whose files have `sizes` bytes, int64 (candidates + 1, label maps, pictures): 0 for none; the last row are those
    of the label maps themselves.

    While the page would be larger than `AIM`, label maps are left out, the last ones first, then candidates among `thinnable` (places of epochs, in
    order), such that the others stay evenly spread. If that does not take it below `CAP`, all pictures are shown, as files.
    """
    candidates, images = len(sizes) - 1, sizes.shape[1]
    everyone = tuple(range(candidates))
    weights = bytes_in_page(sizes).sum(axis=2)

    def size(rows: Sequence[int], columns: int) -> int:
        return REST + int(weights[[*rows, candidates], :columns].sum())

    as_files = Plan(form="zip" if wish.form == "zip" else "folder", rows=everyone, columns=images, size=size(everyone, images))
    if wish.form in ("folder", "zip"):
        return as_files
    columns, rows, kept = images, everyone, len(thinnable)
    least = min(LEAST_IMAGES, images) if wish.images is None else images
    while columns > least and size(rows, columns) > AIM:
        columns -= 1
    while kept > 0 and size(rows, columns) > AIM:
        kept -= 1
        left_out = {*thinnable} - {*spread(thinnable, kept)}
        rows = tuple(row for row in everyone if row not in left_out)
    if wish.form == "auto" and size(rows, columns) > CAP:
        return as_files
    return Plan(form="file", rows=rows, columns=columns, size=size(rows, columns))


def bytes_in_page(sizes: np.ndarray) -> np.ndarray:
    """Bytes that picture files of `sizes` bytes take in a page, with what stands around them; nothing for none."""
    return np.where(sizes > 0, (sizes + 2) // 3 * 4 + _TAGS, 0)
