"""What happens to a drawing before it is judged or handed in: photos in the place of some, and the encoder that every submitted image passes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apfgan.candidates import Candidate
from apfgan.config import OutputConfig
from apfgan.errors import DataError
from apfgan.files import hash_bytes, hash_value
from apfgan.images import Encoding, decode_jpeg, decode_photo, encode_jpeg, read_content, shown
from apfgan.sampling import to_pixels
from apfgan.single_class import SCHEME, paste_photo
from selection.drawn import Drawn
from selection.studio import Studio


@dataclass(frozen=True, slots=True)
class StandIn:
    """A training photo of nothing but one class, in the place of that class in a drawing."""

    class_id: int
    photo: Path
    sha256: str
    """Of the file's bytes, when the training set was surveyed."""

    def cover(self, pixels: np.ndarray, label_map: np.ndarray) -> np.ndarray:
        """`pixels` uint8 (H, W, 3) with the photo where `label_map` (H, W) is of the class. Raises `DataError` for a photo that changed."""
        content, source = read_content(self.photo), shown(self.photo)
        if hash_bytes(content) != self.sha256:
            raise DataError(f"{source}: changed since the training set was surveyed; run the same command again when nothing writes there any more")
        return paste_photo(pixels, label_map, decode_photo(content, source), class_id=self.class_id)


@dataclass(frozen=True, slots=True)
class Finish:
    """What the drawings of one candidate pass."""

    output: OutputConfig
    """The encoder: the run's, or the candidate's own."""
    stand_ins: Mapping[str, StandIn]
    """By the stem of a label map, the photo that covers what was drawn for it; photos come before the encoder."""

    @classmethod
    def of(cls, studio: Studio, candidate: Candidate) -> "Finish":
        """The finish that a candidate's name asks for. With `~photos` the run must be locked by the caller: see `Studio.survey`."""
        output = studio.run.config.output
        if candidate.jpeg is not None:
            output = replace(output, jpeg_quality=candidate.jpeg.quality, jpeg_subsampling=candidate.jpeg.subsampling)
        if not candidate.photos:
            return cls(output, {})
        pairs = {pair.photo.name: pair for pair in studio.survey.pairs}
        found = {stem: (each.class_id, pairs[each.photo]) for stem, each in studio.replacements.items() if each.photo is not None}
        hashes = studio.survey.hashes
        return cls(output, {stem: StandIn(class_id, pair.photo, hashes[pair.stem].photo) for stem, (class_id, pair) in found.items()})

    @property
    def identity(self) -> dict[str, Any]:
        """All that it does to the pixels, as JSON. Where no drawing gives way to a photo, it is the same as without photos."""
        identity: dict[str, Any] = {"output": asdict(self.output)}
        if self.stand_ins:
            plan = hash_value({stem: [each.class_id, each.sha256] for stem, each in self.stand_ins.items()})
            identity["photos"] = {"scheme": SCHEME, "plan": plan}
        return identity

    @property
    def encoding(self) -> Mapping[str, Any]:
        """How the finished images are stored, as JSON."""
        return submitted_encoding(self.output)

    def pixels(self, stem: str, label_map: np.ndarray, drawing: np.ndarray) -> np.ndarray:
        """What the encoder is given, uint8 (H, W, 3), for a drawing of the same form."""
        stand_in = self.stand_ins.get(stem)
        return drawing if stand_in is None else stand_in.cover(drawing, label_map)

    def drawn(self, stem: str, label_map: np.ndarray, drawing: np.ndarray) -> Drawn:
        """The image as it is judged and submitted, for a drawing uint8 (H, W, 3)."""
        return encoded(stem, label_map, self.pixels(stem, label_map, drawing), self.output)


def replacement_note(studio: Studio, candidate: Candidate) -> str | None:
    """In words, in how many of a candidate's images photos stand in for drawings; None for a candidate without `~photos`."""
    if not candidate.photos:
        return None
    names = studio.run.config.data.label_classes.names
    plan = list(studio.replacements.values())
    replaced = [names[each.class_id] for each in plan if each.photo is not None]
    kept = len(plan) - len(replaced)
    if replaced:
        counts = ", ".join(f"{name} {replaced.count(name)}" for name in dict.fromkeys(replaced))
        text = f"in {candidate}, training photos of a single class stand in for {len(replaced)} of {len(studio.label_maps)} drawings ({counts})"
        return text + (f"; {kept} more stay drawings, no photo of their class was left" if kept else "")
    plain = replace(candidate, photos=False)
    if not studio.survey.single_class:
        return f"{candidate} is the same as {plain}: no training photo is of a single class"
    if not plan:
        return f"{candidate} is the same as {plain}: no label map is of one class almost everywhere"
    return f"{candidate} is the same as {plain}: for the {kept} drawings of almost one class there is no photo of it"


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
