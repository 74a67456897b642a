"""Where the images of a candidate come from: so far a generator of this project, later anything that has a label map's stem."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from apfgan.checkpoints import load_manifest, load_weights
from apfgan.config import OutputConfig
from apfgan.data import load_label_map
from apfgan.images import decode_jpeg, encode_jpeg
from apfgan.records import Candidate
from apfgan.runs import Run
from apfgan.sampling import NOISE_SCHEME, load_painter, sample, to_pixels
from selection.merging import average


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One image as it is judged."""

    stem: str
    label_map: np.ndarray
    """Integer (H, W): the label map it was drawn for."""
    pixels: np.ndarray
    """uint8 (H, W, 3)."""
    encoded: bytes
    """The bytes that would be submitted; `pixels` is what they decode to."""


class ImageSource(Protocol):
    """Draws the images of one candidate."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its images depend on besides the label maps, as JSON: content, never a path. Cheap: loads no weights."""

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        """The images for these label maps, in their order."""


@dataclass(frozen=True)
class GeneratorSource:
    """A candidate of a run: checkpoints, merged in memory where there are several."""

    run: Run
    candidate: Candidate
    device: str = "cpu"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Weights by hash and share, noise, and the rounding and encoder that every image passes."""
        members = zip(self.candidate.members, self.candidate.shares, strict=True)
        return {
            "weights": sorted([load_manifest(self.run, name).sha256, round(share, 6)] for name, share in members),
            "merge": "mean, BatchNorm averaged",
            "seed": self.candidate.seed,
            "noise": NOISE_SCHEME,
            "output": asdict(self.run.config.output),
        }

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        """Images after the JPEG encoder of the submission: what is shipped is what is judged."""
        for stem, label_map, image in draw_images(self.run, self.candidate, label_maps, device=self.device):
            yield as_submitted(stem, label_map, image, self.run.config.output)


def as_submitted(stem: str, label_map: np.ndarray, image: np.ndarray, output: OutputConfig) -> Drawn:
    """An image float32 (3, H, W) in [-1, 1] behind the encoder that every submitted image passes."""
    encoded = encode_jpeg(to_pixels(image, rounding=output.rounding), quality=output.jpeg_quality, subsampling=output.jpeg_subsampling)
    return Drawn(stem, label_map, decode_jpeg(encoded), encoded)


def draw_images(
    run: Run, candidate: Candidate, label_maps: Sequence[Path], *, noise: bool = True, device: str = "cpu"
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(stem, label map (H, W), image float32 (3, H, W) in [-1, 1]) of a candidate for each label map, in order."""
    config = run.config
    painter = load_painter(candidate_weights(run, candidate), config, origin=f"candidate {candidate} of {run.path}", device=device)
    maps = ((path.stem, load_label_map(path, config.data)) for path in label_maps)
    yield from sample(painter, maps, classes=len(config.data.classes), seed=candidate.seed if noise else None, device=device)


def candidate_weights(run: Run, candidate: Candidate) -> dict[str, np.ndarray]:
    """The weights of a candidate, merged in memory where it has several members."""
    loaded = [load_weights(run, name) for name in candidate.members]
    return average(loaded, candidate.shares, names=candidate.members) if candidate.is_merge else loaded[0]
