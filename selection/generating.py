"""Write a candidate's images to a folder."""

import io
from pathlib import Path
from typing import Literal

import numpy as np

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from apfgan.files import write_bytes
from apfgan.images import encode_png
from apfgan.progress import SILENT, Progress
from apfgan.sampling import to_pixels
from selection.finishing import Finish
from selection.sources import draw_images
from selection.studio import Studio

Format = Literal["jpg", "png", "npy"]


def generate_images(
    studio: Studio,
    candidate: Candidate,
    folder: Path,
    *,
    form: Format = "jpg",
    noise: bool = True,
    progress: Progress = SILENT,
) -> None:
    """Draw `candidate` for every label map of the studio into `folder`, one file each, with the label map's stem.

    `jpg`: as submitted; `png`: the same pixels before the JPEG encoder; `npy`: float32 (3, H, W) in [-1, 1], what the generator itself gives.
    Raises `UsageError` for an `npy` of a candidate with photos. Which drawing gives way to which photo depends on all label maps of the studio.
    """
    if form == "npy" and candidate.photos:
        raise UsageError(
            f"npy holds what the generator itself draws, and {candidate} shows photos in some places: take --format png, or leave ~photos out"
        )
    finish = Finish.of(studio, candidate)
    with progress.task(f"generate {candidate}", len(studio.label_maps)) as task:
        for stem, label_map, image in draw_images(studio, candidate, studio.label_maps, noise=noise):
            write_bytes(folder / f"{stem}.{form}", _encode(stem, label_map, image, form, finish))
            task.advance()


def _encode(stem: str, label_map: np.ndarray, image: np.ndarray, form: Format, finish: Finish) -> bytes:
    if form == "npy":
        buffer = io.BytesIO()
        np.save(buffer, image, allow_pickle=False)
        return buffer.getvalue()
    drawing = to_pixels(image, rounding=finish.output.rounding)
    return encode_png(finish.pixels(stem, label_map, drawing)) if form == "png" else finish.drawn(stem, label_map, drawing).encoded
