"""Write a candidate's images to a folder."""

import io
from pathlib import Path
from typing import Literal

import numpy as np

from apfgan.candidates import Candidate
from apfgan.config import OutputConfig
from apfgan.files import write_bytes
from apfgan.images import encode_jpeg, encode_png
from apfgan.progress import SILENT, Progress
from apfgan.sampling import to_pixels
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

    `jpg`: as submitted; `png`: the same pixels before the JPEG encoder; `npy`: float32 (3, H, W) in [-1, 1].
    """
    with progress.task(f"generate {candidate}", len(studio.label_maps)) as task:
        for stem, _, image in draw_images(studio, candidate, studio.label_maps, noise=noise):
            write_bytes(folder / f"{stem}.{form}", _encode(image, form, studio.run.config.output))
            task.advance()


def _encode(image: np.ndarray, form: Format, output: OutputConfig) -> bytes:
    if form == "npy":
        buffer = io.BytesIO()
        np.save(buffer, image, allow_pickle=False)
        return buffer.getvalue()
    pixels = to_pixels(image, rounding=output.rounding)
    return encode_png(pixels) if form == "png" else encode_jpeg(pixels, quality=output.jpeg_quality, subsampling=output.jpeg_subsampling)
