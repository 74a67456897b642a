"""The file that is handed in: one flat zip of JPEGs, checked by judging the very bytes that are in it."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from apfgan.candidates import Candidate
from apfgan.data import load_label_map
from apfgan.errors import DataError, EnvironmentProblem
from apfgan.files import hash_file, write_durably
from apfgan.folders import natural_order
from apfgan.images import decode_jpeg
from apfgan.progress import SILENT, Progress
from apfgan.records import Estimate
from metrics.scorer import join
from selection.drawn import Drawn
from selection.measuring import CHUNK, Bench, look, totals

TOLERANCE = 1e-3
"""Largest difference between the score of the zip's bytes and the ledger's: batches of another size may round a few pixels differently."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A written and verified zip."""

    path: Path
    sha256: str
    images: int
    composite: Estimate
    """Score of the bytes in the zip."""


def submit(bench: Bench, candidate: Candidate, path: Path, *, expected: Estimate | None = None, progress: Progress = SILENT) -> Submission:
    """Draw all label maps of `bench` with `candidate` into a zip at `path`, read it back, and judge what was read.

    `expected` is the composite that the ledger holds for the candidate; a zip that scores otherwise is an error, not a surprise later.
    """
    source = bench.source(candidate)
    label_maps = sorted(bench.label_maps, key=lambda path: natural_order(path.stem))
    with progress.task(f"draw {candidate}", len(bench.label_maps)) as task:

        def entries() -> Iterator[tuple[str, bytes]]:
            for image in source.draw(label_maps):
                yield f"{image.stem}.jpg", image.encoded
                task.advance()

        write_durably(path, lambda file: _write_zip(file, entries()))
    with progress.task("verify by judging the zip", len(bench.label_maps)) as task:
        written, found = _read_zip(bench, path), []
        while images := list(islice(written, CHUNK)):
            found.append(look(bench, images).observations)
            task.advance(len(images))
    composite = totals(bench, join(found))["composite"].estimate
    if expected is not None and abs(composite.value - expected.value) > TOLERANCE:
        raise EnvironmentProblem(
            f"{path} scores {composite.value:.4f}, but {candidate} was measured as {expected.value:.4f}. "
            f"The images are not the ones that were chosen: score {candidate} again on this machine, then submit"
        )
    return Submission(path, hash_file(path), len(bench.label_maps), composite)


def _write_zip(file: Any, entries: Iterator[tuple[str, bytes]]) -> None:
    """A zip without compression (JPEGs do not shrink), flat, with fixed dates: the same images give the same bytes."""
    seen: set[str] = set()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            if name.casefold() in seen:
                raise DataError(f"two label maps would both become {name} in the zip (names that differ by case only): rename one")
            seen.add(name.casefold())
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def _read_zip(bench: Bench, path: Path) -> Iterator[Drawn]:
    """What is in the zip, image by image, each checked against the label map it belongs to."""
    data = bench.run.config.data
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        names = archive.namelist()
        if sorted(names) != sorted(f"{each.stem}.jpg" for each in bench.label_maps):
            raise EnvironmentProblem(f"{path} holds {len(names)} files for {len(bench.label_maps)} label maps: the disk may be failing; submit again")
        for label_map in bench.label_maps:
            content = archive.read(f"{label_map.stem}.jpg")
            pixels = decode_jpeg(content)
            if pixels.shape != (data.height, data.width, 3):
                raise EnvironmentProblem(f"{path}: {label_map.stem}.jpg is {pixels.shape[1]}x{pixels.shape[0]}, not {data.width}x{data.height}")
            yield Drawn(label_map.stem, load_label_map(label_map, data), pixels, content)
