"""How far one set of images is from another: what `score` says of a candidate's features, for any two folders, zips or patterns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apfgan.errors import DataError, UsageError
from apfgan.image_sets import StoredImage, check_photos, find_images, hash_each, read_images
from apfgan.measured import Measured
from apfgan.progress import SILENT, Progress
from metrics.floor import Floor, measure_floor
from metrics.frechet import check_finite
from metrics.judges import FeatureJudge
from metrics.reference import Reference
from metrics.scorer import observe_photos

_PIECE = 32
"""Images between two signs of progress."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """What a feature judge says of a set of images."""

    measured: Mapping[str, Measured]
    """The distance first, then those checks that the reference allows (`Reference.measure`)."""
    images: int
    reference: Reference
    """What they were compared with."""
    floor: Floor | None
    """The distance of as many of the photos from the others; None where it cannot be told."""
    shared: int
    """Images that are among the photos, byte for byte."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers has to know, in words."""
        notes = []
        dimensions = len(self.reference.gaussian.mean)
        if self.images < dimensions:
            notes.append(
                f"this distance grows as images get fewer, steeply below {dimensions}: compare it with distances of {self.images} images only"
            )
        if self.shared:
            notes.append(f"{self.shared} of the images are among the photos that they are compared with")
        if self.reference.count is None:
            notes.append("the file of statistics does not say how they were made: by the same protocol? from how many photos?")
        return tuple(notes)


def compare_images(
    images: Path | str, real: Path | str, judge: FeatureJudge, *, convert: bool = False, keep: Path | None = None, progress: Progress = SILENT
) -> Comparison:
    """Look at `images` and compare them with `real`; each is a folder, a zip or a pattern (`apfgan.image_sets.find_images`).

    Sizes may differ: the judge brings every image to its own. `real` may also be an `.npz` of statistics, as `Reference.load` reads it. All
    files are decoded once before the network sees the first one. `keep`: an `.npz` for what is known of `real`, written before the images are
    looked at. `convert`: see `apfgan.images.decode_photo`.

    Raises `DataError` with every file that cannot be used, or for fewer than two images; `UsageError` when `keep` is no `.npz`.
    """
    if keep is not None and keep.suffix != ".npz":
        raise UsageError(f"{keep}: statistics are kept in a file whose name ends with .npz")
    found = find_images(images)
    if len(found) < 2:
        raise DataError(f"{images} holds 1 image; a Fréchet distance needs 2 at least, and thousands to mean much")
    statistics = Path(real).expanduser()
    reference = Reference.load(statistics, distance=judge.distance) if statistics.suffix == ".npz" else None
    photos = [] if reference else find_images(real)
    check_photos([*found, *photos], convert=convert, progress=progress)
    if reference is None:
        reference = judge.fit_reference(_look(judge, photos, "look at the photos", convert=convert, progress=progress))
    if keep is not None:
        reference.save(keep)
    features = _look(judge, found, "look at the images", convert=convert, progress=progress)
    known = {content for _, content in hash_each(photos)}
    return Comparison(
        measured=reference.measure(features),
        images=len(features),
        reference=reference,
        floor=measure_floor(reference, images=len(features)),
        shared=sum(content in known for _, content in hash_each(found)) if known else 0,
    )


def _look(judge: FeatureJudge, images: Sequence[StoredImage], title: str, *, convert: bool, progress: Progress) -> np.ndarray:
    """The judge's features (N, D) of images."""
    rows = []
    with progress.task(title, len(images)) as task:
        for start in range(0, len(images), _PIECE):
            piece = images[start : start + _PIECE]
            rows.append(observe_photos(judge, read_images(piece, convert=convert)))
            check_finite(rows[-1], [image.stem for image in piece])
            task.advance(len(piece))
    return np.concatenate(rows)
