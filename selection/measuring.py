"""Look at candidates: draw, judge and score some images, and never draw or judge any of them twice.

Everything is found again by content. Per-image observations depend on the images, the label maps and the judges; the numbers depend on
those and on the reference photos. So a changed reference needs no new image, a race that looks at more label maps draws only the further ones,
and a killed process goes on behind the last chunk of images that it finished.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from apfgan.candidates import Candidate
from apfgan.composite import Formula
from apfgan.data import hash_label_maps
from apfgan.errors import DataError
from apfgan.files import hash_value, read_arrays, write_arrays, write_bytes
from apfgan.measured import Measured
from apfgan.prints import make_print, pack_name, write_prints
from apfgan.progress import SILENT, Progress
from apfgan.ranking import Entry, protocol_id
from apfgan.runs import Run
from apfgan.threads import in_threads
from metrics.judges import Judges, Look, Observations
from metrics.reference import Reference
from metrics.scorer import join, total_scores
from selection.drawn import Drawn
from selection.sources import CountingSource, GeneratorSource, ImageSource
from selection.studio import Studio
from selection.survey import Photos
from selection.units import Outcome, Part, Unit

CHUNK = 32
"""Images whose observations are written together: what a kill can cost."""


@dataclass(frozen=True)
class Bench:
    """One fixed way to measure: label maps, judges, reference and formula. All candidates of a ranking meet on the same bench."""

    run: Run
    label_maps: Sequence[Path]
    """The label maps to draw, in an order in which any first few are a fair sample of all (`selection.label_order`)."""
    judges: Judges
    references: Sequence[Reference]
    """What is known of the photos, for each of the judges' `feature_judges`."""
    photos: Photos
    """The photos that images are compared with."""
    formula: Formula
    encoding: Mapping[str, Any]
    """How images are stored before they are judged: as they are handed in, unless a candidate's name says otherwise."""
    training_set: Path | None = None
    """Data set in the real layout, for candidates that need it."""
    stored: Mapping[Candidate, ImageSource] = field(default_factory=dict)
    """Candidates whose images are there already; all others are drawn."""
    panel: frozenset[str] = frozenset()
    """Stems of the label maps whose images are kept as they were judged; of all others only prints are (`apfgan.prints`)."""
    device: str = "cpu"

    @cached_property
    def studio(self) -> Studio:
        """Where candidates are drawn."""
        return Studio(self.run, self.label_maps, self.training_set, self.device)

    def source(self, candidate: Candidate) -> ImageSource:
        """Where a candidate's images come from."""
        return self.stored.get(candidate) or GeneratorSource(self.studio, candidate)

    def part(self, unit: Unit) -> Part:
        """The label maps of a unit."""
        return unit.part or Part(0, len(self.label_maps))

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What must agree before two numbers may be compared (spec: cli, "ledger")."""
        return {
            "judges": self.judges.identity,
            "reference": {"key": self.photos.key, "photos": self.references[0].count},
            "formula": asdict(self.formula),
            "encoding": dict(self.encoding),
            **self.drawn,
        }

    @cached_property
    def drawn(self) -> dict[str, Any]:
        """What is drawn, for which classes, at which size: the part of the protocol on which observations depend besides the judges."""
        data = self.run.config.data
        return {
            "label_maps": {"key": hash_label_maps(self.label_maps), "count": len(self.label_maps), "resize": "pil-nearest"},
            "size": [data.width, data.height],
            "classes": {"count": len(data.classes), "ignore": data.ignore},
        }

    @property
    def protocol_id(self) -> str:
        """Short name of the protocol, the formula and the number of images: what the ledger's lines of this bench have in common."""
        return protocol_id(self.protocol, formula=self.formula.name, images=len(self.label_maps))


def examine(bench: Bench, unit: Unit, *, progress: Progress = SILENT) -> Outcome:
    """The numbers of a unit, from its images. Writes the observations of each finished chunk, and nothing else.

    All of them for all label maps; for a part of these only what a total is made of, with the slopes that tell how biased so few images are.
    """
    started = time.monotonic()
    source = CountingSource(bench.source(unit.candidate))
    part = bench.part(unit)
    observations = observe(bench, source, observations_key(bench, source), part=part, title=str(unit.candidate), progress=progress)
    numbers = totals(bench, observations, checks=unit.part is None)
    slopes = {} if unit.part is None else _slopes(bench, observations, numbers)
    estimates = {name: each.estimate for name, each in numbers.items()}
    return Outcome(unit, Entry(str(unit.candidate), estimates, numbers), slopes, time.monotonic() - started, bench.device, source.drawn)


def observe(
    bench: Bench, source: ImageSource, key: str, *, title: str, part: Part | None = None, progress: Progress = SILENT
) -> dict[str, np.ndarray]:
    """Per-image observations of the label maps of `part` (default: all), one row an image; finished chunks are read, not drawn again."""
    part = part or Part(0, len(bench.label_maps))
    folder = bench.run.features / key
    # Whole chunks are drawn and kept, whichever part is asked for.
    numbers = range(part.start // CHUNK, -(-part.stop // CHUNK))
    chunks = {number: bench.label_maps[number * CHUNK : (number + 1) * CHUNK] for number in numbers}
    found = {number: _read_chunk(folder / f"{number:04d}.npz", chunk) for number, chunk in chunks.items()}
    todo = [path for number, chunk in chunks.items() if found[number] is None for path in chunk]
    if todo:
        total = sum(map(len, chunks.values()))
        with progress.task(f"score {title}", total, done=total - len(todo)) as task:
            drawn = source.draw(todo)
            for number, chunk in chunks.items():
                if found[number] is None:
                    images = []
                    for _ in chunk:
                        images.append(next(drawn))
                        task.advance()
                    found[number] = _judge_chunk(bench, key, number, images)
    joined = join([{name: array for name, array in arrays.items() if name != "stem"} for arrays in found.values() if arrays is not None])
    first = numbers.start * CHUNK
    return {name: array[part.start - first : part.stop - first] for name, array in joined.items()}


def look(bench: Bench, images: Sequence[Drawn]) -> Look:
    """What the judges see in some images, one row an image. Raises `DataError` that names an image in which something is not finite."""
    stems = [each.stem for each in images]
    return bench.judges.observe(np.stack([each.pixels for each in images]), np.stack([each.label_map for each in images]), stems)


def totals(bench: Bench, observations: Observations, *, checks: bool = True) -> dict[str, Measured]:
    """The metrics and the `composite` of per-image observations, each with every image's influence; without the `checks`, what a total is made of."""
    return total_scores(bench.judges, observations, bench.references, bench.formula, checks=checks)


def observations_key(bench: Bench, source: ImageSource) -> str:
    """Key of the per-image observations, which depend on neither reference nor formula, nor on how many label maps are looked at."""
    return hash_value({"source": source.identity, "judges": bench.judges.observing, **bench.drawn})


def measurement_key(bench: Bench, unit: Unit) -> str:
    """Key of all that could change a unit's numbers."""
    # By name: a part is what it holds, whatever order it was cut out of.
    part = None if unit.part is None else [path.stem for path in bench.label_maps[unit.part.start : unit.part.stop]]
    observations = observations_key(bench, bench.source(unit.candidate))
    return hash_value({"observations": observations, "protocol": bench.protocol, "part": part})


def _slopes(bench: Bench, observations: Observations, numbers: Mapping[str, Measured]) -> dict[str, float]:
    """How each number changes with the number of images n, as a slope in 1/n: what the mean over two halves is more than the whole, times n.

    For a mean that is 0; a Fréchet distance has its bias of the order 1/n (Chong & Forsyth 2020, section 3). The noise of the images is the
    same on both sides, and so drops out.
    """
    count = len(next(iter(observations.values())))
    if count < 4:
        return {}
    halves = [totals(bench, {name: rows[first::2] for name, rows in observations.items()}, checks=False) for first in (0, 1)]
    return {name: count * (sum(half[name].value for half in halves) / 2 - each.value) for name, each in numbers.items()}


def _judge_chunk(bench: Bench, key: str, number: int, images: Sequence[Drawn]) -> dict[str, np.ndarray]:
    """What the judges observe in the images of a chunk. Their pictures are kept before that: where observations are found, nobody looks again."""
    seen = look(bench, images)
    stems = [each.stem for each in images]
    classes = bench.run.config.data.label_classes
    prints = in_threads(lambda each: make_print(each[0].pixels, each[1], classes), zip(images, seen.found, strict=True))
    write_prints(bench.run.prints / key / pack_name(number), dict(zip(stems, prints, strict=True)))
    for each in images:
        if each.stem in bench.panel:
            write_bytes(bench.run.samples / key / f"{each.stem}.jpg", each.encoded)
    observed = {"stem": np.array(stems), **seen.observations}
    write_arrays(bench.run.features / key / f"{number:04d}.npz", observed)
    return observed


def _read_chunk(path: Path, label_maps: Sequence[Path]) -> dict[str, np.ndarray] | None:
    """The observations in `path` if they are there, whole, and of these label maps; None if they must be made (again)."""
    try:
        arrays = read_arrays(path)
    except (DataError, OSError):  # a damaged cache is only a cache: made again
        return None
    return arrays if [str(stem) for stem in arrays.get("stem", [])] == [each.stem for each in label_maps] else None
