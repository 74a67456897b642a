"""The distances of a sweep as we score it: one process, JPEGs in memory, all results kept.

    python -m benchmarks.our_fid PHOTOS CANDIDATE.npy ... --weights INCEPTION --run RUN

A candidate's images come as an array instead of from a generator. The parts are those of `apfgan score`, without what is no part of the
distance; prints JSON.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from apfgan.config import Config
from apfgan.files import write_arrays
from apfgan.images import decode_jpeg, encode_jpeg, read_photo
from apfgan.records import Estimate, Measurement
from apfgan.runs import Run, versions
from benchmarks.timing import DECODE, DISTANCE, ENCODE, NETWORK, PHOTOS, RECORDS, RESIZE, Stopwatch
from metrics.frechet import Gaussian, measure_distance
from metrics.inception import Inception, InceptionJudge
from metrics.reference import Reference
from selection.measuring import CHUNK


def load(weights: Path) -> InceptionJudge:
    """The judge."""
    return InceptionJudge(weights)


def learn_photos(judge: InceptionJudge, paths: Sequence[Path], watch: Stopwatch) -> np.ndarray:
    """Features (N, 2048) of photo files."""
    rows = []
    for start in range(0, len(paths), CHUNK):
        with watch.stage(PHOTOS):
            rows.append(judge.observe_photos([read_photo(path) for path in paths[start : start + CHUNK]]))
    return np.concatenate(rows)


def fit_reference(features: np.ndarray, run: Run) -> Reference:
    """The reference of the photos' features (N, D) as far as the distance needs it, kept in the run."""
    reference = Reference(gaussian=Gaussian.fit(features), distance="fid", count=len(features))
    reference.save(run.features / "reference.npz")
    return reference


def score_candidate(
    look: Callable[[np.ndarray], np.ndarray],
    reference: Reference,
    run: Run,
    name: str,
    images: Sequence[np.ndarray],
    *,
    features: int,
    watch: Stopwatch,
) -> Estimate:
    """The distance of a candidate's images uint8 (H, W, 3) behind the JPEG encoder; `look` gives features of images (N, H, W, 3)."""
    output = run.config.output
    rows = []
    for number, start in enumerate(range(0, len(images), CHUNK)):
        with watch.stage(ENCODE):
            chunk = images[start : start + CHUNK]
            encoded = [encode_jpeg(image, quality=output.jpeg_quality, subsampling=output.jpeg_subsampling) for image in chunk]
        with watch.stage(DECODE):
            pixels = np.stack([decode_jpeg(content) for content in encoded])
        with watch.stage(RESIZE):
            rows.append(look(pixels))
        with watch.stage(RECORDS):
            write_arrays(run.features / name / f"{number:04d}.npz", {"features": rows[-1]})
    with watch.stage(DISTANCE):
        estimate = measure_distance(np.concatenate(rows)[:, :features], reference.gaussian).estimate
    with watch.stage(RECORDS):
        measurement = Measurement(
            key=name,
            candidate=name,
            seed=0,
            images=len(images),
            metrics={reference.distance: estimate},
            composite=estimate,
            formula="none",
            protocol={"output": asdict(output)},
            observations=name,
            seconds=0.0,
            device="cpu",
            versions=versions(),
        )
        run.ledger.append(measurement)
    return estimate


def looking(judge: InceptionJudge) -> Callable[[np.ndarray], np.ndarray]:
    """What turns images (N, H, W, 3) into features (N, 2048)."""
    return lambda images: judge.observe(images, np.zeros(images.shape[:3], np.uint8))["features"]


@contextmanager
def network_apart(watch: Stopwatch) -> Iterator[None]:
    """Count what happens inside Inception as a stage of its own, wherever it is called."""

    def begin(module: torch.nn.Module, _: object) -> None:
        if isinstance(module, Inception):
            watch.begin(NETWORK)

    def end(module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, Inception):
            watch.end()

    hooks = torch.nn.modules.module
    handles = [hooks.register_module_forward_pre_hook(begin), hooks.register_module_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def main(arguments: Sequence[str] | None = None) -> None:
    """Score candidates against photos, and print their distances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("candidates", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="A new folder for the results.")
    parser.add_argument("--features", type=int, default=2048, help="Use the first so many features alone.")
    options = parser.parse_args(arguments)
    judge, run, watch = load(options.weights), Run.create(options.run, Config()), Stopwatch()
    rows = learn_photos(judge, sorted(options.photos.glob("*.jpg")), watch)
    reference = fit_reference(rows[:, : options.features], run)
    estimates = [
        score_candidate(looking(judge), reference, run, path.stem, np.load(path), features=options.features, watch=watch)
        for path in options.candidates
    ]
    print(json.dumps({"distances": [estimate.value for estimate in estimates]}))


if __name__ == "__main__":
    main()
