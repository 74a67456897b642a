"""Prints: a small picture of every measured image and the classes that the mask judge found in it, for whoever looks at a run afterwards.

The prints of consecutive label maps lie together in a pack: an uncompressed zip with members `00.webp` and `00.png`, `01.webp`, ..., and in
`pack.json` the label maps that they belong to, whose names are users' text and so no names of members. A pack is only ever looked at: one that is
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
from apfgan.files import hash_value, open_pack, write_pack
from apfgan.images import encode_png, resize_label_map, resize_photo
from apfgan.labels import Classes

WIDTH = 256
"""Widest print, in pixels."""

QUALITY = 75
"""WebP quality: a photo of 256x192 pixels takes 6.5 kB, a smoother drawing less."""

_METHOD = 2
"""How hard WebP tries: 1.6 ms for a print, where Pillow's own 4 takes 3.5 ms for 4 % fewer bytes."""

_HEAD = "pack.json"
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
    """The print of an image, `pixels` uint8 (height, width, 3), in which a class was `found` at each pixel of (H, W), checked integers.

    Either may be unknown. Where they differ in size, the image is brought to the other's.
    """
    shaped = pixels if found is None else found
    assert shaped is not None, "a print of nothing"
    size = print_size(shaped.shape[1], shaped.shape[0])
    return Print(None if pixels is None else small_picture(pixels, size), None if found is None else _painting(found, size, classes))


def print_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the print of an image: its shape, at most `WIDTH` wide."""
    return (width, height) if width <= WIDTH else (WIDTH, max(1, round(height * WIDTH / width)))


def pack_name(number: int) -> str:
    """Name of the file with the prints of a chunk of label maps, counted from 0."""
    return f"{number:04d}.zip"


def write_prints(path: Path, prints: Mapping[str, Print], *, origin: str = "") -> None:
    """Write a pack of prints by stem, durably; the same prints give the same bytes.

    `origin` is the hash of what they were made from, where the path does not say that.
    """
    members = {_HEAD: json.dumps({"stems": list(prints), "origin": origin}).encode()}
    for number, each in enumerate(prints.values()):
        pictures = zip(_members(number), (each.image, each.found), strict=True)
        members |= {name: picture for name, picture in pictures if picture is not None}
    write_pack(path, members)


def has_prints(path: Path, stems: Sequence[str], *, origin: str = "") -> bool:
    """Whether the pack is there, whole, of these stems and of this origin."""
    try:
        return _head(open_pack(path)) == {"stems": list(stems), "origin": origin}
    except (DataError, OSError):
        return False


def read_prints(folder: Path, stems: Collection[str]) -> dict[str, Print]:
    """The prints by stem that the packs of a folder hold of `stems`; reads no further than to the last of these."""
    found: dict[str, Print] = {}
    for path in sorted(folder.glob("[0-9]*.zip")):
        if len(found) == len(stems):
            break
        try:
            pack = open_pack(path)
        except (DataError, OSError):
            continue
        names = set(pack.namelist())
        for number, stem in enumerate(_head(pack)["stems"]):
            if stem in stems:
                found[stem] = Print(*(pack.read(name) if name in names else None for name in _members(number)))
    return found


def label_prints(folder: Path, protocol: Mapping[str, Any]) -> Path:
    """The folder, within that of a run's prints, with those of the label maps that were drawn under a protocol."""
    return folder / f"label_maps-{hash_value({name: protocol[name] for name in _PICTURED})}"


def _members(number: int) -> tuple[str, str]:
    """Names of a print's image and of what was found in it, within its pack."""
    return f"{number:02d}.webp", f"{number:02d}.png"


def _head(pack: zipfile.ZipFile) -> dict[str, Any]:
    """What a pack says of itself."""
    return dict(json.loads(pack.read(_HEAD)))


def small_picture(pixels: np.ndarray, size: tuple[int, int]) -> bytes:
    """`pixels` uint8 (H, W, 3) at `size` (width, height) as a WebP."""
    buffer = io.BytesIO()
    Image.fromarray(resize_photo(pixels, size)).save(buffer, "WEBP", quality=QUALITY, method=_METHOD)
    return buffer.getvalue()


def _painting(found: np.ndarray, size: tuple[int, int], classes: Classes) -> bytes:
    small = resize_label_map(found.astype(np.uint16), size)
    if len(classes) >= 256:
        return encode_png(classes.paint(small))
    if classes.ignore is not None:
        small = np.where(small == classes.ignore, len(classes), small)
    image = Image.fromarray(small.astype(np.uint8), "P")
    image.putpalette([*classes.colours.tobytes(), 0, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
