"""What scoring a sweep costs by the Fréchet distance alone: ours beside the original's procedure, stage by stage, with the network and without.

    OMP_NUM_THREADS=1 python -m benchmarks.sweep

The original (`benchmarks.original_fid`): a process for each candidate; JPEG files written, read back, resized by scikit-image, shown to Inception
once; a matrix square root. Ours (`benchmarks.our_fid`): one process; the same JPEGs in memory, PyTorch's resizing, the low-rank distance with its
standard error, and everything kept on the disk (features, reference, ledger). Both learn the photos once. Drawing the images is the same for both
and left out. What the original does not do is no part of the sums: mask accuracy and aesthetics are left out, and KID, precision and recall, which
ours measures on the same features, stand below. The network is Inception with random weights from a seed.

1. At 256x256, where the original's additional resizing changes nothing, both must find the same distance; else nothing is timed.
2. A small sweep is really run on both sides, and set against the sum of its stages, each timed by itself.
3. The stages are timed on full sets of images, few of which go through the network, and scaled to the sweep: a stage's seconds for one image,
   candidate, process or photo, times how many there are.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageFilter

from apfgan.config import Config
from apfgan.files import write_text
from apfgan.images import encode_jpeg
from apfgan.landscapes import paint_landscape
from apfgan.preflight import aligned
from apfgan.runs import Run, versions
from benchmarks import original_fid, our_fid
from benchmarks.gaussians import draw_features, form_statistics
from benchmarks.timing import (
    CHECKS,
    DECODE,
    DISTANCE,
    ENCODE,
    FIT,
    NETWORK,
    PHOTO_CHECKS,
    PHOTO_NETWORK,
    PHOTOS,
    RECORDS,
    RESIZE,
    START,
    Stopwatch,
    cpu_threads,
)
from metrics.inception import Inception
from metrics.kid import kernel_mean, measure_kid
from metrics.manifold import measure_manifold, neighbour_radii

ROOT = Path(__file__).parents[1]
AGREEMENT = 1e-3
"""Largest relative difference of two distances between the same images."""
PAINTED = 64
"""Different images that a full set is filled with; what one costs does not depend on the others."""
STARTS = 3
"""Processes that are started to time one."""

Unit = Literal["process", "image", "candidate", "photo", "sweep"]

STAGES: Mapping[str, Unit] = {
    START: "process",
    ENCODE: "image",
    DECODE: "image",
    RESIZE: "image",
    DISTANCE: "candidate",
    RECORDS: "candidate",
    PHOTOS: "photo",
    FIT: "sweep",
    NETWORK: "image",
    PHOTO_NETWORK: "photo",
    CHECKS: "candidate",
    PHOTO_CHECKS: "sweep",
}
"""What a stage's seconds are counted for."""
OF_NETWORK = (NETWORK, PHOTO_NETWORK)
BEYOND = (CHECKS, PHOTO_CHECKS)
"""Stages that only ours has a use for, and that are no part of the sums."""

_Batch = TypeVar("_Batch", bound=Sized)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is scored."""

    candidates: int
    images: int
    """Of each candidate."""
    photos: int
    size: tuple[int, int]
    """Width and height of the images."""
    photo_size: tuple[int, int]
    features: int
    """2048, or less for a quick look: the first so many are used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """How much of it goes all the way when stages are timed."""

    network_images: int
    """Of each candidate."""
    photos: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sweep's inputs lie: photos as JPEG files, each candidate's images as one array, and the network."""

    folder: Path
    weights: Path

    @property
    def photos(self) -> Path:
        """Folder of the photos."""
        return self.folder / "photos"

    @property
    def candidates(self) -> list[Path]:
        """A `.npy` for each candidate, uint8 (N, H, W, 3)."""
        return sorted(self.folder.glob("candidate_*.npy"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sweep that was really run."""

    seconds: float
    """From the start of the first process to the end of the last."""
    distances: list[float]
    """Of each candidate."""


@dataclass(frozen=True, slots=True)
class Side:
    """A way to score a sweep."""

    module: str
    """Which of the benchmarks' modules starts and loads as it does."""
    run: Callable[[Place, int], Outcome]
    """Scores every candidate of a place by so many features."""
    costs: Callable[[Place, Sizes, Extent], dict[str, float]]
    """Seconds of each stage but the start for one of its unit, timed by itself on every candidate of a place, filled up to full size."""
    processes: Callable[[int], int]
    """How many it starts for so many candidates."""


class Partly(Generic[_Batch]):
    """Shows the first images to a network, and has the features of all others drawn beforehand."""

    def __init__(self, look: Callable[[_Batch], np.ndarray], *, images: int, drawn: np.ndarray) -> None:
        self._look, self._images, self._drawn = look, images, drawn
        self._passed = self.shown = 0

    def __call__(self, batch: _Batch) -> np.ndarray:
        """Features (N, D) of the next N images."""
        rows = slice(self._passed, self._passed + len(batch))
        self._passed = rows.stop
        if rows.start >= self._images:
            return self._drawn[rows]
        self.shown += len(batch)
        return self._look(batch)


def run_original(place: Place, features: int) -> Outcome:
    """A process for the photos, then one for each candidate."""
    shared = ("--weights", place.weights, "--features", features)
    kept = place.folder / "photos.npz"
    began = time.perf_counter()
    _run_module("original_fid", place.photos, *shared, "--save", kept)
    distances = []
    for path in place.candidates:
        results = path.with_suffix("")
        original_fid.write_jpegs(np.load(path), results)
        distances += json.loads(_run_module("original_fid", results, *shared, "--statistics", kept))["distances"]
    return Outcome(time.perf_counter() - began, distances)


def run_ours(place: Place, features: int) -> Outcome:
    """One process for all."""
    began = time.perf_counter()
    run = place.folder / "run"
    printed = _run_module("our_fid", place.photos, *place.candidates, "--weights", place.weights, "--features", features, "--run", run)
    return Outcome(time.perf_counter() - began, json.loads(printed)["distances"])


def original_costs(place: Place, sizes: Sizes, extent: Extent) -> dict[str, float]:
    """Seconds of the stages of `benchmarks.original_fid`."""
    look, drawn = original_fid.load(place.weights), draw_features(max(sizes.images, sizes.photos), 2048, seed=0)
    watch = Stopwatch()
    paths = sorted(place.photos.glob("*.jpg"))[: extent.photos]
    original_fid.observe(paths, Partly(look, images=0, drawn=drawn), watch)
    with watch.stage(FIT):
        fitted = form_statistics(drawn[: sizes.photos, : sizes.features])
        np.savez(place.folder / "fitted.npz", mu=fitted[0], sigma=fitted[1])
    costs = {PHOTOS: (watch.seconds[DECODE] + watch.seconds[RESIZE]) / len(paths), FIT: watch.seconds[FIT]}
    rounds = []
    for path in place.candidates:
        watch, partly = Stopwatch(), Partly(look, images=extent.network_images, drawn=drawn)
        results = place.folder / f"timed_{path.stem}"
        with watch.stage(ENCODE):
            original_fid.write_jpegs(_filled(np.load(path), sizes.images), results)
        rows = original_fid.observe(sorted(results.iterdir()), partly, watch)
        with watch.stage(DISTANCE):
            original_fid.distance(*form_statistics(rows[:, : sizes.features]), *fitted)
        counts = {ENCODE: sizes.images, DECODE: sizes.images, RESIZE: sizes.images, NETWORK: partly.shown, DISTANCE: 1}
        rounds.append({stage: watch.seconds[stage] / count for stage, count in counts.items()})
    return costs | _medians(rounds)


def our_costs(place: Place, sizes: Sizes, extent: Extent) -> dict[str, float]:
    """Seconds of the stages of `benchmarks.our_fid`, and of the checks."""
    judge, drawn = our_fid.load(place.weights), draw_features(max(sizes.images, sizes.photos), 2048, seed=0)
    run = Run.create(place.folder / "timed", Config())
    watch = Stopwatch()
    paths = sorted(place.photos.glob("*.jpg"))[: extent.photos]
    with our_fid.network_apart(watch):
        our_fid.learn_photos(judge, paths, watch)
    learned, generated = drawn[: sizes.photos, : sizes.features], drawn[: sizes.images, : sizes.features]
    with watch.stage(FIT):
        reference = our_fid.fit_reference(learned, run)
    with watch.stage(PHOTO_CHECKS):
        kernel, radii = kernel_mean(learned), neighbour_radii(learned)
    with watch.stage(CHECKS):
        measure_kid(fake=generated, real=learned, real_kernel=kernel)
        measure_manifold(fake=generated, real=learned, real_radii=radii)
    costs = {PHOTOS: watch.seconds[PHOTOS] / len(paths)} | {stage: watch.seconds[stage] for stage in (FIT, PHOTO_CHECKS, CHECKS)}
    rounds = []
    for path in place.candidates:
        watch, partly = Stopwatch(), Partly(our_fid.looking(judge), images=extent.network_images, drawn=drawn)
        images = _filled(np.load(path), sizes.images)
        with our_fid.network_apart(watch):
            our_fid.score_candidate(partly, reference, run, path.stem, images, features=sizes.features, watch=watch)
        counts = {ENCODE: sizes.images, DECODE: sizes.images, RESIZE: partly.shown, NETWORK: partly.shown, DISTANCE: 1, RECORDS: 1}
        rounds.append({stage: watch.seconds[stage] / count for stage, count in counts.items()})
    return costs | _medians(rounds)


SIDES: Mapping[str, Side] = {
    "original": Side("original_fid", run_original, original_costs, lambda candidates: 1 + candidates),
    "ours": Side("our_fid", run_ours, our_costs, lambda _: 1),
}


def scaled(side: Side, costs: Mapping[str, float], sizes: Sizes) -> dict[str, float]:
    """Seconds of each stage of a sweep of `sizes`; 0 for one that a side does not have."""
    counts: dict[Unit, int] = {
        "process": side.processes(sizes.candidates),
        "image": sizes.candidates * sizes.images,
        "candidate": sizes.candidates,
        "photo": sizes.photos,
        "sweep": 1,
    }
    return {stage: costs.get(stage, 0.0) * counts[unit] for stage, unit in STAGES.items()}


def time_stages(place: Place, sizes: Sizes, extent: Extent, starts: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Seconds of each side's stages of a sweep of `sizes`; `starts` are those of one process."""
    found = {}
    for title, side in SIDES.items():
        costs = side.costs(place, sizes, extent)
        found[title] = scaled(side, costs | {START: starts[title], PHOTO_NETWORK: costs[NETWORK]}, sizes)
    return found


def prepare(folder: Path, sizes: Sizes, weights: Path) -> Place:
    """Paint a sweep: photos, and for each candidate the same scenes, blurred more from one candidate to the next."""
    place = Place(folder, weights)
    place.photos.mkdir(parents=True)
    width, height = sizes.photo_size
    for index in range(sizes.photos):
        photo, _ = paint_landscape(index, width=width, height=height, seed=0)
        (place.photos / f"{index:05d}.jpg").write_bytes(encode_jpeg(photo, quality=95, subsampling="4:4:4"))
    width, height = sizes.size
    scenes = [Image.fromarray(paint_landscape(index, width=width, height=height, seed=0, held_out=True)[0]) for index in range(sizes.images)]
    for number in range(sizes.candidates):
        drawn = [np.asarray(scene.filter(ImageFilter.GaussianBlur(number + 1))) for scene in scenes]
        np.save(folder / f"candidate_{number:02d}.npy", np.stack(drawn))
    return place


def write_random_inception(path: Path) -> None:
    """Inception with weights from a seed that keep its activations alive, as a file in pytorch-fid's layout."""
    network = Inception()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.bias.normal_(0, 0.2)
    torch.save(network.state_dict(), path)


def total(stages: Mapping[str, float], *, network: bool) -> float:
    """Seconds of all stages that both sides have a use for."""
    return sum(seconds for stage, seconds in stages.items() if stage not in BEYOND and (network or stage not in OF_NETWORK))


def describe(stages: Mapping[str, Mapping[str, float]]) -> str:
    """A table of each side's seconds by stage."""
    original, ours = stages["original"], stages["ours"]
    rows: list[tuple[str, ...]] = [("stage", "original s", "ours s", "ratio")]
    rows += [_row(stage, original[stage], ours[stage]) for stage in STAGES if stage not in BEYOND]
    rows.append(_row("all without the network", total(original, network=False), total(ours, network=False)))
    rows.append(_row("all", total(original, network=True), total(ours, network=True)))
    rows.append(_row("beyond: KID, precision, recall", 0.0, sum(ours[stage] for stage in BEYOND)))
    return "\n".join(aligned(rows, left=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, run, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--images", type=int, default=1000, help="Of each candidate.")
    parser.add_argument("--photos", type=int, default=9871)
    parser.add_argument("--size", default="512x384", metavar="WIDTHxHEIGHT")
    parser.add_argument("--photo-size", default="1024x768", metavar="WIDTHxHEIGHT")
    parser.add_argument("--features", type=int, default=2048, help="Use the first so many features alone, for a quick look.")
    parser.add_argument("--measured-candidates", type=int, default=2, help="Candidates that the stages are timed on.")
    parser.add_argument("--measured-photos", type=int, default=64)
    parser.add_argument("--network-images", type=int, default=128, help="Images of a measured candidate that go through the network.")
    parser.add_argument("--run-candidates", type=int, default=3, help="Candidates of the small sweep that is really run.")
    parser.add_argument("--run-images", type=int, default=64, help="Images of each, and photos.")
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    options = parser.parse_args(arguments)
    full = Sizes(
        candidates=options.candidates,
        images=options.images,
        photos=options.photos,
        size=_size(options.size),
        photo_size=_size(options.photo_size),
        features=options.features,
    )
    small = replace(full, candidates=options.run_candidates, images=options.run_images, photos=options.run_images)
    measured = replace(
        full, candidates=options.measured_candidates, images=min(PAINTED, options.images), photos=min(options.measured_photos, options.photos)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = folder / "inception.pth"
        write_random_inception(weights)
        print(f"CPU threads: {cpu_threads()}")
        difference = check_agreement(folder / "agreement", weights, features=full.features)
        print(f"at 256x256 both find the same distance, to {difference:.0e} of it", flush=True)
        starts = {title: _start_seconds(side.module, weights) for title, side in SIDES.items()}
        place = prepare(folder / "small", small, weights)
        ran = {title: side.run(place, small.features) for title, side in SIDES.items()}
        parts = time_stages(place, small, Extent(network_images=small.images, photos=small.photos), starts)
        sums = {title: total(stages, network=True) for title, stages in parts.items()}
        print(describe_run(small, ran, sums), flush=True)
        place = prepare(folder / "full", measured, weights)
        stages = time_stages(place, full, Extent(network_images=options.network_images, photos=measured.photos), starts)
    print(f"\n{full.candidates} candidates of {full.images} images {options.size}, {full.photos} photos {options.photo_size}: scaled from")
    print(f"{measured.candidates} candidates, {options.network_images} images of each through the network, {measured.photos} photos\n")
    print(describe(stages))
    if options.json:
        content = {
            "versions": versions(),
            "threads": cpu_threads(),
            "options": {name: value for name, value in vars(options).items() if name != "json"},
            "agreement": difference,
            "run": {title: asdict(outcome) | {"sum_of_stages": sums[title]} for title, outcome in ran.items()},
            "stages": stages,
        }
        write_text(options.json, json.dumps(content, indent=1) + "\n")


def check_agreement(folder: Path, weights: Path, *, features: int) -> float:
    """Largest relative difference between both sides' distances at 256x256; leaves the program if it is more than rounding explains."""
    tiny = Sizes(candidates=1, images=16, photos=16, size=(256, 256), photo_size=(256, 256), features=features)
    place = prepare(folder, tiny, weights)
    found = [side.run(place, features).distances for side in SIDES.values()]
    difference = max(abs(one - other) / other for one, other in zip(*found, strict=True))
    if not difference <= AGREEMENT:
        raise SystemExit(f"the original's procedure finds {found[0]} where ours finds {found[1]}; nothing was timed")
    return difference


def describe_run(sizes: Sizes, ran: Mapping[str, Outcome], sums: Mapping[str, float]) -> str:
    """What a sweep that was really run took and found."""
    lines = [f"\nreally run: {sizes.candidates} candidates of {sizes.images} images, {sizes.photos} photos"]
    for title, outcome in ran.items():
        distances = " ".join(f"{value:.3f}" for value in outcome.distances)
        lines.append(f"{title}: {outcome.seconds:.1f} s, sum of stages {sums[title]:.1f} s; distances {distances}")
    apart = max(abs(one / other - 1) for one, other in zip(ran["original"].distances, ran["ours"].distances, strict=True))
    lines.append(f"the distances differ by up to {apart:.1%}: the original shrinks images to 256x256 first")
    return "\n".join(lines)


def _row(name: str, original: float, ours: float) -> tuple[str, ...]:
    return (name, f"{original:.1f}" if original else "-", f"{ours:.1f}" if ours else "-", f"{original / ours:.1f}" if original and ours else "")


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def _filled(images: np.ndarray, count: int) -> list[np.ndarray]:
    """`count` images, in turn."""
    return [images[index % len(images)] for index in range(count)]


def _run_module(name: str, *arguments: object) -> str:
    """What one of the benchmarks' modules prints in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def _start_seconds(name: str, weights: Path) -> float:
    """What it takes to start a process that loads the network as a module does."""
    script = f"import sys; from pathlib import Path; from benchmarks.{name} import load; load(Path(sys.argv[1]))"
    taken = []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", script, str(weights)], cwd=ROOT, check=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {stage: statistics.median(costs[stage] for costs in rounds) for stage in rounds[0]}


if __name__ == "__main__":
    main()
