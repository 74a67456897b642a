"""A run's pictures, read from its files: prints where there are any, else what else was kept, made as small."""

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from apfgan.errors import DataError
from apfgan.images import encode_png, read_photo
from apfgan.prints import QUALITY, WIDTH, Print, label_prints, print_size, read_prints
from apfgan.records import Measurement
from apfgan.runs import Run

FULL_WIDTH = 512
"""Widest picture, in pixels, where there is room for more than prints."""

FULL_QUALITY = 80
"""WebP quality of pictures that are larger than prints."""


def read_drawings(run: Run, measurement: Measurement, stems: Sequence[str]) -> dict[str, Print]:
    """By stem, the pictures that there are of what was drawn behind a measurement."""
    prints = read_prints(run.prints / measurement.observations, stems)
    samples = run.samples / measurement.observations
    kept = {stem: _small(samples / f"{stem}.jpg") for stem in stems if stem not in prints}
    return prints | {stem: Print(image, None) for stem, image in kept.items() if image}


def read_label_maps(run: Run, measurement: Measurement, stems: Sequence[str]) -> dict[str, Print]:
    """By stem, what was to be drawn behind a measurement, and the photos."""
    prints: dict[str, Print] = {}
    with suppress(KeyError):  # a protocol of another program
        prints = read_prints(label_prints(run.prints, measurement.protocol), stems)
    kept = {stem: Print(_small(run.panel / f"{stem}.jpg"), _painting(run.panel / f"{stem}.png")) for stem in stems if stem not in prints}
    return prints | kept


def read_larger(run: Run, folder: Path, stems: Sequence[str]) -> dict[str, bytes]:
    """By stem, WebPs of the JPEGs in a folder that hold more than their prints do."""
    if run.config.data.width <= WIDTH:
        return {}
    found = {stem: _webp(folder / f"{stem}.jpg", width=FULL_WIDTH, quality=FULL_QUALITY) for stem in stems}
    return {stem: content for stem, content in found.items() if content}


def _small(path: Path) -> bytes | None:
    return _webp(path, width=WIDTH, quality=QUALITY)


def _webp(path: Path, *, width: int, quality: int) -> bytes | None:
    """A picture file, at most so wide, as WebP; None where there is none, or it is damaged."""
    if (pixels := _pixels(path)) is None:
        return None
    image = Image.fromarray(pixels)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _painting(path: Path) -> bytes | None:
    """A painted label map as large as its print would be, every pixel of a class's colour."""
    if (pixels := _pixels(path)) is None:
        return None
    image = Image.fromarray(pixels)
    return encode_png(np.asarray(image.resize(print_size(*image.size), Image.Resampling.NEAREST)))


def _pixels(path: Path) -> np.ndarray | None:
    try:
        return read_photo(path)
    except DataError:
        return None
