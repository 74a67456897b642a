"""Measure a candidate: draw, judge, score, and never do any of it twice.

Everything is found again by content. Per-image observations depend on the images, the label maps and the judges; the numbers depend on
those and on the reference photos. So a finished measurement is read from the ledger, a changed reference needs no new image, and a
killed process goes on behind the last chunk of images that it finished.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from apfgan.candidates import Candidate
from apfgan.data import hash_label_maps, spread
from apfgan.errors import DataError
from apfgan.files import hash_value, read_arrays, write_arrays, write_bytes
from apfgan.measured import Measured
from apfgan.progress import SILENT, Progress
from apfgan.ranking import protocol_id
from apfgan.records import Measurement
from apfgan.runs import Run, versions
from metrics.composite import Formula
from metrics.judges import Judges, Observations
from metrics.reference import Reference
from metrics.scorer import join, total_scores
from selection.sources import Drawn, GeneratorSource, ImageSource
from selection.survey import Photos

CHUNK = 32
"""Images whose observations are written together: what a kill can cost."""

PANEL = 8
"""Label maps whose images are kept for the report."""


@dataclass(frozen=True)
class Bench:
    """One fixed way to measure: label maps, judges, reference and formula. All candidates of a ranking meet on the same bench."""

    run: Run
    label_maps: Sequence[Path]
    """The label maps to draw, sorted by stem."""
    judges: Judges
    references: Sequence[Reference]
    """What is known of the photos, for each of the judges' `feature_judges`."""
    photos: Photos
    """The photos that images are compared with."""
    formula: Formula
    encoding: Mapping[str, Any]
    """How images are stored before they are judged: as they are handed in."""
    device: str = "cpu"

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

    @cached_property
    def panel(self) -> frozenset[str]:
        """Stems of the label maps whose images the report shows: evenly spread over the sorted list."""
        return frozenset(path.stem for path in spread(self.label_maps, PANEL))


def measure(bench: Bench, candidate: Candidate, *, source: ImageSource | None = None, progress: Progress = SILENT) -> Measurement:
    """The numbers of `candidate` on `bench`: from the ledger where it has them, else measured and appended to it.

    `source` says where its images come from (default: the run's checkpoints). The run must be locked by the caller.
    """
    source = source or GeneratorSource(bench.run, candidate, device=bench.device)
    observations_key, key = keys(bench, source)
    if found := bench.run.ledger.find(key, candidate=str(candidate)):
        return found
    if twin := bench.run.ledger.find(key):
        # The same content under another name (a checkpoint that was copied): its numbers hold, its line would leave this name out of the ranking.
        renamed = replace(twin, candidate=str(candidate), seed=candidate.seed, seconds=0.0)
        bench.run.ledger.append(renamed)
        return renamed
    started = time.monotonic()
    observations = observe(bench, source, observations_key, title=str(candidate), progress=progress)
    numbers = totals(bench, observations)
    bench.run.influences.write(key, [path.stem for path in bench.label_maps], numbers)
    estimates = {name: each.estimate for name, each in numbers.items()}
    measurement = Measurement(
        key=key,
        candidate=str(candidate),
        seed=candidate.seed,
        images=len(bench.label_maps),
        metrics={name: each for name, each in estimates.items() if name != "composite"},
        composite=estimates["composite"],
        formula=bench.formula.name,
        protocol=bench.protocol,
        observations=observations_key,
        seconds=round(time.monotonic() - started, 3),
        device=bench.device,
        versions=versions(),
    )
    bench.run.ledger.append(measurement)
    return measurement


def is_measured(bench: Bench, candidate: Candidate, source: ImageSource | None = None) -> bool:
    """Whether `measure` would find everything in the ledger."""
    _, key = keys(bench, source or GeneratorSource(bench.run, candidate, device=bench.device))
    return bench.run.ledger.find(key) is not None


def observe(bench: Bench, source: ImageSource, key: str, *, title: str, progress: Progress = SILENT) -> dict[str, np.ndarray]:
    """Per-image observations of all label maps, one row an image; chunks that an earlier process finished are read, not drawn again."""
    folder = bench.run.features / key
    chunks = [bench.label_maps[start : start + CHUNK] for start in range(0, len(bench.label_maps), CHUNK)]
    found = [_read_chunk(folder / f"{index:04d}.npz", chunk) for index, chunk in enumerate(chunks)]
    todo = [path for chunk, arrays in zip(chunks, found, strict=True) if arrays is None for path in chunk]
    if todo:
        with progress.task(f"score {title}", len(bench.label_maps), done=len(bench.label_maps) - len(todo)) as task:
            drawn = source.draw(todo)
            for index, chunk in enumerate(chunks):
                if found[index] is None:
                    images = []
                    for _ in chunk:
                        images.append(next(drawn))
                        task.advance()
                    observed = _judge_chunk(bench, images)
                    _keep_panel(bench, key, images)
                    write_arrays(folder / f"{index:04d}.npz", observed)
                    found[index] = observed
    return join([{name: array for name, array in arrays.items() if name != "stem"} for arrays in found if arrays is not None])


def look(bench: Bench, images: Sequence[Drawn]) -> dict[str, np.ndarray]:
    """What the judges observe in some images, one row an image. Raises `DataError` that names an image in which something is not finite."""
    stems = [each.stem for each in images]
    return bench.judges.observe(np.stack([each.pixels for each in images]), np.stack([each.label_map for each in images]), stems)


def totals(bench: Bench, observations: Observations) -> dict[str, Measured]:
    """The metrics and the `composite` of per-image observations, each with every image's influence."""
    return total_scores(bench.judges, observations, bench.references, bench.formula)


def keys(bench: Bench, source: ImageSource) -> tuple[str, str]:
    """Key of the per-image observations, which depend on neither reference nor formula, and of the measurement, which does."""
    observations = hash_value({"source": source.identity, "judges": bench.judges.observing, **bench.drawn})
    return observations, hash_value({"observations": observations, "protocol": bench.protocol})


def _judge_chunk(bench: Bench, images: Sequence[Drawn]) -> dict[str, np.ndarray]:
    return {"stem": np.array([each.stem for each in images]), **look(bench, images)}


def _keep_panel(bench: Bench, key: str, images: Sequence[Drawn]) -> None:
    for each in images:
        if each.stem in bench.panel:
            write_bytes(bench.run.samples / key / f"{each.stem}.jpg", each.encoded)


def _read_chunk(path: Path, label_maps: Sequence[Path]) -> dict[str, np.ndarray] | None:
    """The observations in `path` if they are there, whole, and of these label maps; None if they must be made (again)."""
    try:
        arrays = read_arrays(path)
    except (DataError, OSError):  # a damaged cache is only a cache: made again
        return None
    return arrays if [str(stem) for stem in arrays.get("stem", [])] == [each.stem for each in label_maps] else None
