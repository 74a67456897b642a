"""What a Fréchet distance costs: ours beside pytorch-fid's, clean-fid's and torch-fidelity's method, on the same features, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.frechet

Every side has its reference ready, and starts from the features (n, d) of n images. The others form their mean and covariance (a Gaussian),
then take the distance of two Gaussians; ours never forms a covariance, so that all of its time counts against both of theirs. The sides must
agree before they are timed; then they take turns, in an order that is reversed from round to round. Ratios are medians over the rounds of a side's
time to ours in the same round: above 1, ours is faster.
"""

import argparse
import json
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from cleanfid.fid import frechet_distance as clean_fid_distance
from pytorch_fid.fid_score import calculate_frechet_distance as pytorch_fid_distance

from apfgan.files import write_text
from apfgan.preflight import aligned
from apfgan.runs import versions
from benchmarks.gaussians import draw_features, form_statistics
from benchmarks.timing import Stopwatch, cpu_threads
from metrics.frechet import Gaussian, frechet_distance, measure_distance

TOLERANCE = 1e-3
"""Largest difference between two distances. Where n < d a matrix square root is itself wrong by 4e-5 (spec: metrics, 3.2)."""

STATISTICS, DISTANCE = "statistics", "distance"
"""Stages."""

Distance = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], float]
"""Of mean (d,) and covariance (d, d), of the images and then of the photos."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way from features float32 (n, d) to the distance; it counts its stages on the watch."""

    name: str
    measure: Callable[[np.ndarray, Stopwatch], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What one side takes for one size. Medians, in seconds."""

    side: str
    features: int
    """d."""
    images: int
    """n."""
    photos: int
    value: float
    statistics: float
    """Mean and covariance from the features; 0 for ours, which needs none."""
    distance: float
    distance_ratio: float
    """Of the distance alone to all of ours."""
    ratio: float
    """Of statistics and distance together to all of ours."""


def eigenvalue_distance(mean: np.ndarray, covariance: np.ndarray, photo_mean: np.ndarray, photo_covariance: np.ndarray) -> float:
    """torch-fidelity's method: the trace of the root of a product is the sum of the roots of its eigenvalues."""
    roots = np.sqrt(np.linalg.eigvals(covariance @ photo_covariance).astype(complex)).real.sum()
    return float(np.square(mean - photo_mean).sum() + np.trace(covariance) + np.trace(photo_covariance) - 2 * roots)


def measure_size(images: int, dimensions: int, *, photos: int, rounds: int) -> list[Timing]:
    """Time all sides for one size, ours first. Leaves the program with a message where their distances differ."""
    reference = draw_features(photos, dimensions, seed=0)
    features = draw_features(images, dimensions, seed=1, shift=0.5)
    sides = _sides(reference)
    values = [side.measure(features, Stopwatch()) for side in sides]
    for side, value in zip(sides, values, strict=True):
        if not abs(value - values[0]) <= TOLERANCE:
            raise SystemExit(f"d={dimensions}, n={images}: {side.name} finds {value:.6f} where ours is {values[0]:.6f}; nothing was timed")
    watches: dict[str, list[Stopwatch]] = {side.name: [] for side in sides}
    for number in range(rounds):
        for side in sides[:: 1 if number % 2 == 0 else -1]:
            watches[side.name].append(Stopwatch())
            side.measure(features, watches[side.name][-1])
    ours = [watch.seconds[DISTANCE] for watch in watches[sides[0].name]]
    timings = []
    for side, value in zip(sides, values, strict=True):
        formed = [watch.seconds.get(STATISTICS, 0.0) for watch in watches[side.name]]
        taken = [watch.seconds[DISTANCE] for watch in watches[side.name]]
        timings.append(
            Timing(
                side=side.name,
                features=dimensions,
                images=images,
                photos=photos,
                value=value,
                statistics=statistics.median(formed),
                distance=statistics.median(taken),
                distance_ratio=statistics.median(one / our for one, our in zip(taken, ours, strict=True)),
                ratio=statistics.median((first + then) / our for first, then, our in zip(formed, taken, ours, strict=True)),
            )
        )
    return timings


def describe(timings: Sequence[Timing]) -> str:
    """A table of one size."""
    rows: list[tuple[str, ...]] = [("", "value", "Gaussian s", "distance s", "ratio", "both s", "ratio")]
    for each in timings:
        formed = f"{each.statistics:.3f}" if each.statistics else "-"
        alone = (f"{each.distance:.3f}", f"{each.distance_ratio:.1f}")
        rows.append((each.side, f"{each.value:.4f}", formed, *alone, f"{each.statistics + each.distance:.3f}", f"{each.ratio:.1f}"))
    size = f"d={timings[0].features}, n={timings[0].images}, {timings[0].photos} photos"
    return "\n".join([size, *aligned(rows, left=1)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the sizes and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="2048x1000,2048x500,2048x3000,768x1000,64x1000", metavar="DxN,...", help="Features and images.")
    parser.add_argument("--photos", type=int, default=10000, help="Photos behind the reference.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    options = parser.parse_args(arguments)
    print(f"CPU threads: {cpu_threads()}; median of {options.rounds} rounds; ratio: a side's time to all of ours")
    timings: list[Timing] = []
    for size in options.sizes.split(","):
        dimensions, images = map(int, size.split("x"))
        measured = measure_size(images, dimensions, photos=options.photos, rounds=options.rounds)
        print("\n" + describe(measured), flush=True)
        timings += measured
    if options.json:
        content = {"versions": versions(), "threads": cpu_threads(), "rounds": options.rounds, "timings": [asdict(each) for each in timings]}
        write_text(options.json, json.dumps(content, indent=1) + "\n")


def _sides(reference: np.ndarray) -> list[Side]:
    """All sides, ours first, with what each keeps of the photos' features (M, d)."""
    gaussian = Gaussian.fit(reference)
    photo_statistics = form_statistics(reference)

    def plain(features: np.ndarray, watch: Stopwatch) -> float:
        with watch.stage(DISTANCE):
            return frechet_distance(features, gaussian)

    def with_error(features: np.ndarray, watch: Stopwatch) -> float:
        with watch.stage(DISTANCE):
            return measure_distance(features, gaussian).estimate.value

    def by_statistics(distance: Distance) -> Callable[[np.ndarray, Stopwatch], float]:
        def measure(features: np.ndarray, watch: Stopwatch) -> float:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SciPy's, of how the libraries call its square root
                with watch.stage(STATISTICS):
                    formed = form_statistics(features)
                with watch.stage(DISTANCE):
                    return float(distance(*formed, *photo_statistics))

        return measure

    return [
        Side("ours", plain),
        Side("ours, with its error", with_error),
        Side("pytorch-fid", by_statistics(pytorch_fid_distance)),
        Side("clean-fid", by_statistics(clean_fid_distance)),
        Side("torch-fidelity's method", by_statistics(eigenvalue_distance)),
    ]


if __name__ == "__main__":
    main()
