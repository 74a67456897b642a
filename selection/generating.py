"""Write a candidate's images to a folder."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from apfgan.config import OutputConfig
from apfgan.data import load_label_map
from apfgan.files import write_bytes
from apfgan.images import encode_jpeg, encode_png
from apfgan.progress import SILENT, Progress
from apfgan.records import Candidate
from apfgan.runs import Run
from apfgan.sampling import load_painter, sample, to_pixels
from selection.sources import candidate_weights

Format = Literal["jpg", "png", "npy"]


def generate_images(
    run: Run,
    candidate: Candidate,
    label_maps: Sequence[Path],
    folder: Path,
    *,
    form: Format = "jpg",
    noise: bool = True,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> None:
    """Draw `candidate` for every label map into `folder`, one file each, with the label map's stem.

    `jpg`: as submitted; `png`: the same pixels before the JPEG encoder; `npy`: float32 (3, H, W) in [-1, 1].
    """
    config = run.config
    painter = load_painter(candidate_weights(run, candidate), config, origin=f"candidate {candidate} of {run.path}", device=device)
    maps = ((path.stem, load_label_map(path, config.data)) for path in label_maps)
    with progress.task(f"generate {candidate}", len(label_maps)) as task:
        seed = candidate.seed if noise else None
        for stem, _, image in sample(painter, maps, classes=len(config.data.classes), seed=seed, device=device):
            write_bytes(folder / f"{stem}.{form}", _encode(image, form, config.output))
            task.advance()


def _encode(image: np.ndarray, form: Format, output: OutputConfig) -> bytes:
    if form == "npy":
        buffer = io.BytesIO()
        np.save(buffer, image, allow_pickle=False)
        return buffer.getvalue()
    pixels = to_pixels(image)
    return encode_png(pixels) if form == "png" else encode_jpeg(pixels, quality=output.jpeg_quality, subsampling=output.jpeg_subsampling)
