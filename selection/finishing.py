"""What happens to a drawing before it is judged or handed in: the encoder that every submitted image passes."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from apfgan.candidates import Candidate
from apfgan.config import OutputConfig
from apfgan.images import Encoding, decode_jpeg, encode_jpeg
from apfgan.sampling import to_pixels
from selection.drawn import Drawn
from selection.studio import Studio


def finish_identity(studio: Studio, candidate: Candidate) -> Mapping[str, Any]:
    """All that finishing does to the pixels, as JSON."""
    return {"output": asdict(output_of(studio, candidate))}


def output_of(studio: Studio, candidate: Candidate) -> OutputConfig:
    """The run's encoder, or the candidate's own."""
    output = studio.run.config.output
    if candidate.jpeg is None:
        return output
    return replace(output, jpeg_quality=candidate.jpeg.quality, jpeg_subsampling=candidate.jpeg.subsampling)


def submitted_encoding(output: OutputConfig) -> Mapping[str, Any]:
    """How the images of a submission are stored, as JSON."""
    return Encoding("JPEG", output.jpeg_quality, output.jpeg_subsampling).record


def as_submitted(stem: str, label_map: np.ndarray, image: np.ndarray, output: OutputConfig) -> Drawn:
    """An image float32 (3, H, W) in [-1, 1] behind the encoder that every submitted image passes."""
    return encoded(stem, label_map, to_pixels(image, rounding=output.rounding), output)


def encoded(stem: str, label_map: np.ndarray, pixels: np.ndarray, output: OutputConfig) -> Drawn:
    """An image uint8 (H, W, 3) behind the same encoder."""
    content = encode_jpeg(pixels, quality=output.jpeg_quality, subsampling=output.jpeg_subsampling)
    return Drawn(stem, label_map, decode_jpeg(content), content)
