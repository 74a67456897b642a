"""Where the images of a candidate come from: a generator of this project, or files that anything made and named after the label maps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from apfgan.candidates import Candidate
from apfgan.config import OutputConfig
from apfgan.data import load_label_map
from apfgan.errors import DataError
from apfgan.files import hash_bytes
from apfgan.folders import normal_name
from apfgan.image_sets import CheckedImages, StoredImage
from apfgan.images import decode_photo, read_label_map, resize_label_map, shown
from apfgan.labels import Classes
from apfgan.sampling import NOISE_SCHEME, load_painter, sample, to_pixels
from apfgan.threads import in_threads
from selection.candidate_weights import candidate_weights, weights_identity
from selection.drawn import Drawn
from selection.finishing import Finish, encoded, submitted_encoding
from selection.studio import Studio


class ImageSource(Protocol):
    """Draws the images of one candidate."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its images depend on besides the label maps, as JSON: content, never a path. Cheap: loads no weights."""

    @property
    def encoding(self) -> Mapping[str, Any]:
        """How each image is stored when it is judged, as JSON (`apfgan.images.Encoding.record`): what it cost the pixels."""

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        """The images for these label maps, in their order."""


@dataclass(frozen=True)
class GeneratorSource:
    """A candidate of a run: checkpoints, merged in memory where there are several."""

    studio: Studio
    candidate: Candidate
    kept: "KeptDrawings | None" = None
    """Where drawings are kept that several candidates share; None: each draws its own."""

    @cached_property
    def finish(self) -> Finish:
        """What its drawings pass before they are judged."""
        return Finish.of(self.studio, self.candidate)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Weights by hash and share, noise, and what every image passes before it is judged."""
        return {
            **weights_identity(self.studio, self.candidate),
            "seed": self.candidate.seed,
            "noise": NOISE_SCHEME,
            **self.finish.identity,
        }

    @property
    def encoding(self) -> Mapping[str, Any]:
        """The JPEG settings of the submission."""
        return self.finish.encoding

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        """Images after the JPEG encoder of the submission: what is shipped is what is judged."""
        drawings = draw_pixels(self.studio, self.candidate, label_maps) if self.kept is None else self.kept.draw(label_maps, self.candidate)
        for drawing in drawings:
            yield self.finish.drawn(*drawing)


@dataclass(frozen=True)
class StoredSource:
    """Images that something else made and stored, every one of them checked beforehand."""

    checked: CheckedImages
    """Images that have the stems of the label maps that will be asked for."""
    classes: Classes
    """What the label maps hold."""
    reencode: OutputConfig | None = None
    """The encoder of the submission, where the images are to pass it first; None: they are judged as they are stored."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The images by name and content, how they are read, and the encoder that they pass."""
        return {
            "images": self.checked.key,
            "read": "convert" if self.checked.convert else "strict",
            "reencode": None if self.reencode is None else submitted_encoding(self.reencode),
        }

    @property
    def encoding(self) -> Mapping[str, Any]:
        """How they are stored, or the JPEG settings of the encoder that they pass."""
        if self.reencode is not None:
            return submitted_encoding(self.reencode)
        assert self.checked.encoding is not None, "images that are stored in several ways have no encoding before they are encoded alike"
        return self.checked.encoding.record

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        """The images of these label maps, a few read ahead, each label map brought to their size (pil-nearest).

        Raises `DataError` for a label map without an image, and for an image that is not the one that was checked.
        """
        yield from in_threads(self._read, label_maps)

    @cached_property
    def _by_name(self) -> Mapping[str, StoredImage]:
        return {normal_name(image.stem): image for image in self.checked.images}

    def _read(self, path: Path) -> Drawn:
        image = self._by_name.get(normal_name(path.stem))
        if image is None:
            raise DataError(f"{shown(path)}: there is no image of this label map")
        content, source = image.read(), shown(image.location)
        if hash_bytes(content) != self.checked.hashes[image.stem]:
            raise DataError(f"{source}: changed since it was checked; run the same command again when nothing writes there any more")
        label_map = resize_label_map(read_label_map(path, self.classes), self.checked.size)
        pixels = decode_photo(content, source, convert=self.checked.convert)
        return Drawn(path.stem, label_map, pixels, content) if self.reencode is None else encoded(path.stem, label_map, pixels, self.reencode)


@dataclass
class CountingSource:
    """A source of images that counts those it draws."""

    source: ImageSource
    drawn: int = field(default=0, init=False)

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of the source."""
        return self.source.identity

    @property
    def encoding(self) -> Mapping[str, Any]:
        """That of the source."""
        return self.source.encoding

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        """What the source draws."""
        for image in self.source.draw(label_maps):
            self.drawn += 1
            yield image


class KeptDrawings:
    """The drawings of one candidate, in memory, for others that differ from it in their finish alone. Each takes as many bytes as it has values."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._candidate: Candidate | None = None
        self._drawings: dict[str, tuple[str, np.ndarray, np.ndarray]] = {}

    def draw(self, label_maps: Sequence[Path], candidate: Candidate) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """What `draw_pixels` gives; of a candidate with the same weights and noise as the last one, what was drawn before is not drawn again."""
        unfinished = replace(candidate, jpeg=None, photos=False)
        if unfinished != self._candidate:
            self._candidate, self._drawings = unfinished, {}
        missing = draw_pixels(self._studio, unfinished, [path for path in label_maps if path.stem not in self._drawings])
        for path in label_maps:
            if path.stem not in self._drawings:
                self._drawings[path.stem] = next(missing)
            yield self._drawings[path.stem]


def draw_pixels(studio: Studio, candidate: Candidate, label_maps: Sequence[Path]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(stem, label map (H, W), drawing uint8 (H, W, 3)) of a candidate for each label map, in order; not finished yet."""
    rounding = studio.run.config.output.rounding
    for stem, label_map, image in draw_images(studio, candidate, label_maps):
        yield stem, label_map, to_pixels(image, rounding=rounding)


def draw_images(
    studio: Studio, candidate: Candidate, label_maps: Sequence[Path], *, noise: bool = True
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(stem, label map (H, W), image float32 (3, H, W) in [-1, 1]) of a candidate for each label map, in order."""
    config = studio.run.config
    painter = load_painter(candidate_weights(studio, candidate), config, origin=f"candidate {candidate} of {studio.run.path}", device=studio.device)
    maps = ((path.stem, load_label_map(path, config.data)) for path in label_maps)
    yield from sample(painter, maps, classes=len(config.data.classes), seed=candidate.seed if noise else None, device=studio.device)
