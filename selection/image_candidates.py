"""Candidates that are folders of images: found by patterns, paired with the label maps, and checked before the first of them is judged."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apfgan.candidates import Candidate
from apfgan.config import OutputConfig
from apfgan.errors import DataError, UsageError
from apfgan.image_sets import CheckedImages, check_images, expand_pattern, pair_images
from apfgan.labels import Classes
from apfgan.progress import SILENT, Progress
from selection.sources import StoredSource

_SHOWN = 10
"""Sets whose problems are listed."""


@dataclass(frozen=True)
class ImageCandidates:
    """Sets of images for the same label maps, of one size and stored alike: what one ranking may hold."""

    checked: Mapping[Candidate, CheckedImages]
    label_maps: tuple[Path, ...]
    """Those of which every set has an image."""
    reencode: OutputConfig | None
    """The encoder that all images pass before they are judged; None: they are judged as they are stored."""
    notes: tuple[str, ...]
    """What was left out, and what is odd, in words."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of every image."""
        return next(iter(self.checked.values())).size

    @property
    def encoding(self) -> Mapping[str, Any]:
        """How every image is stored when it is judged, for the protocol."""
        return next(iter(self.sources(Classes()).values())).encoding

    def copies_of(self, contents: Collection[str]) -> int:
        """How many of the images are files with these SHA-256 hashes."""
        return sum(content in contents for checked in self.checked.values() for content in checked.hashes.values())

    def sources(self, classes: Classes) -> dict[Candidate, StoredSource]:
        """Where each candidate's images come from; `classes` says what the label maps hold."""
        return {candidate: StoredSource(checked, classes, self.reencode) for candidate, checked in self.checked.items()}


def find_image_candidates(
    patterns: Sequence[str],
    label_maps: Sequence[Path],
    *,
    size: tuple[int, int] | None = None,
    convert: bool = False,
    allow_missing: bool = False,
    reencode: OutputConfig | None = None,
    progress: Progress = SILENT,
) -> ImageCandidates:
    """The sets of images that `patterns` name (`apfgan.image_sets.expand_pattern`), every image decoded once.

    Every set must have one image for each label map; with `allow_missing`, the label maps of which all sets have one are used. `size`: (width,
    height) that every image must have. Raises one `DataError` for all that is wrong with all sets.
    """
    found = {}
    for pattern in patterns:
        for name, images in expand_pattern(pattern).items():
            if name in found:
                raise UsageError(f"--images names two sets {name}: give one of them another name, NAME=WHERE")
            found[name] = images
    problems, notes = [], []
    for name, images in found.items():
        try:
            paired = pair_images(images, label_maps, allow_missing=allow_missing)
        except DataError as error:
            problems.append(f"{name}: {error}")
            continue
        label_maps = paired.label_maps
        if paired.note:
            notes.append(f"{name}: {paired.note}")
    checked: dict[Candidate, CheckedImages] = {}
    for name, images in found.items() if not problems else ():
        try:
            # Once more: a later set may have left fewer label maps.
            common = pair_images(images, label_maps, allow_missing=allow_missing).images
            seen = check_images(common, convert=convert, size=size, reencoded=reencode is not None, progress=progress)
        except DataError as error:
            problems.append(f"{name}: {error}")
            continue
        size = seen.size
        checked[Candidate.parse(name)] = seen
        if seen.note:
            notes.append(f"{name}: {seen.note}")
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more sets have problems"] if len(problems) > _SHOWN else []
        raise DataError("\n".join([*problems[:_SHOWN], *more]))
    if reencode is None:
        _require_one_encoding(checked)
    return ImageCandidates(checked, tuple(label_maps), reencode, tuple(notes))


def _require_one_encoding(checked: Mapping[Candidate, CheckedImages]) -> None:
    names: dict[str, list[str]] = {}
    for candidate, images in checked.items():
        names.setdefault(str(images.encoding), []).append(str(candidate))
    if len(names) > 1:
        listed = "; ".join(f"{encoding}: {', '.join(of[:5])}{', ...' if len(of) > 5 else ''}" for encoding, of in names.items())
        raise DataError(
            f"the sets are stored in {len(names)} ways, which cost their images differently ({listed}). Score each kind in a run of its own, or "
            "pass all through the encoder of a submission: --reencode"
        )
