"""Prints: a small picture of every measured image and the classes that the mask judge found in it, for whoever looks at a run afterwards.

The prints of consecutive label maps lie together in a pack: an uncompressed zip with members `00.webp` and `00.png`, `01.webp`, ..., and in
`stems.json` the label maps that they belong to, whose names are users' text and so no names of members. A pack is only ever looked at: one that is
missing or damaged costs pictures and no number, and is as if it had never been.
"""

import io
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apfgan.errors import DataError
from apfgan.files import hash_value, read_pack, write_pack
from apfgan.images import encode_png, resize_label_map
from apfgan.labels import Classes

WIDTH = 256
"""Widest print, in pixels."""

QUALITY = 75
"""WebP quality: 256x192 pixels take about 5 kB."""

_STEMS = "stems.json"
_PICTURED = ("label_maps", "size", "classes")
"""What of a protocol decides how label maps look."""


@dataclass(frozen=True, slots=True)
class Print:
    """The small pictures of one image, both of the same size. Of a label map: the photo with its name, and what it asks for."""

    image: bytes | None
    """WebP, at most `WIDTH` wide; None where there is no photo."""
    found: bytes | None
    """PNG in the colours of `Classes`: the class of the full-sized pixel under the centre of each of its pixels (pil-nearest); ignored ones black."""


def make_print(pixels: np.ndarray | None, found: np.ndarray | None, classes: Classes) -> Print:
    """The print of an image, `pixels` uint8 (H, W, 3), with the class `found` at each of its pixels, (H, W) of integers."""
    return Print(None if pixels is None else _picture(pixels), None if found is None else _painting(found, classes))


def print_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the print of an image: its shape, at most `WIDTH` wide."""
    return (width, height) if width <= WIDTH else (WIDTH, max(1, round(height * WIDTH / width)))


def write_prints(path: Path, prints: Mapping[str, Print], *, origin: str = "") -> None:
    """Write a pack of prints by stem, durably; the same prints give the same bytes.

    `origin` is the hash of what they were made from, where the path does not say that.
    """
    members = {_STEMS: json.dumps({"stems": list(prints), "origin": origin}).encode()}
    for number, each in enumerate(prints.values()):
        members |= {f"{number:02d}{suffix}": content for suffix, content in _pictures(each) if content is not None}
    write_pack(path, members)


def has_prints(path: Path, stems: Sequence[str], *, origin: str = "") -> bool:
    """Whether the pack is there, whole, of these stems and of this origin."""
    try:
        head = json.loads(read_pack(path)[_STEMS])
    except (DataError, OSError):
        return False
    return bool(head == {"stems": list(stems), "origin": origin})


def read_prints(folder: Path, stems: Collection[str]) -> dict[str, Print]:
    """The prints by stem that the packs of a folder hold of `stems`; reads no pack but those that hold one of them."""
    found: dict[str, Print] = {}
    for path in sorted(folder.glob("[0-9]*.zip")):
        try:
            wanted = {stem: number for number, stem in enumerate(_stems(path)) if stem in stems}
            members = read_pack(path) if wanted else {}
        except (DataError, OSError, ValueError, LookupError, zipfile.BadZipFile):
            continue
        found |= {stem: Print(members.get(f"{number:02d}.webp"), members.get(f"{number:02d}.png")) for stem, number in wanted.items()}
    return found


def label_prints(folder: Path, protocol: Mapping[str, Any]) -> Path:
    """The folder, within that of a run's prints, with those of the label maps that were drawn under a protocol."""
    return folder / f"label_maps-{hash_value({name: protocol[name] for name in _PICTURED})}"


def _stems(path: Path) -> list[str]:
    """The stems in a pack, without reading the rest of it."""
    with zipfile.ZipFile(path) as archive:
        return list(json.loads(archive.read(_STEMS))["stems"])


def _pictures(each: Print) -> tuple[tuple[str, bytes | None], ...]:
    return (".webp", each.image), (".png", each.found)


def _picture(pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.resize(print_size(*image.size), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()


def _painting(found: np.ndarray, classes: Classes) -> bytes:
    height, width = found.shape
    small = resize_label_map(found.astype(np.uint16), print_size(width, height))
    if len(classes) >= 256:
        return encode_png(classes.paint(small))
    if classes.ignore is not None:
        small = np.where(small == classes.ignore, len(classes), small)
    image = Image.fromarray(small.astype(np.uint8), "P")
    image.putpalette([*classes.colours.tobytes(), 0, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
