"""Whether the errors printed beside the numbers are right: draw images of a known world many times, and see how often an interval holds the truth.

    python -m benchmarks.coverage --jobs 2

A world has photos, label maps and two generators, A and B, that differ a little. The photos are drawn once, as in a contest; label maps and
noise are drawn again and again. The truth about a number at N images is its mean over all redraws, and the true error its standard deviation.
Redraws that are done are kept in the work folder and not done again; more of them may be asked for later. The program's own code is not part
of their name: after a change of a metric, remove the folder.
"""

import argparse
import csv
import io
import json
import math
import multiprocessing
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from apfgan.composite import FORMULAS, Formula, composite_estimate, composite_measured
from apfgan.confusion import class_scores, mask_accuracy, mean_iou
from apfgan.files import append_line, hash_value, write_bytes, write_text
from apfgan.measured import Measured
from apfgan.noise import CONFIDENCE, QUANTILE, difference, told_apart
from apfgan.progress import Progress, terminal_progress
from apfgan.records import DISTANCE_CLIP, Estimate
from apfgan.runs import versions
from benchmarks.world import Observations, Stage, World, draw_pair, open_stage
from metrics.frechet import frechet_distance
from metrics.reference import Reference

RESAMPLES = 40
"""Of the bootstrap, and halves of half-sampling."""

PILOTS = 10
"""Other redraws that say where A's FID lies."""

SPECTRA = ("spectrum 1.0", "spectrum 1.6")
"""Names of the two studies at full size."""

EXTRAPOLATED = (250, 500, 1000)
"""Numbers of images from which one could hope to reach the FID of infinitely many, taking it to be linear in 1/N."""

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
"""Marks in the page; what stands between them is written by the command."""

COLOURS = ("#0072b2", "#e69f00", "#009e73")
"""Okabe and Ito's; one for each number of images."""

Found = dict[int, dict[str, Estimate]]
"""One redraw: estimates by number of images and name. `fid | half-sampling` is another method's estimate of `fid`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Redraws of one world."""

    name: str
    world: World
    images: tuple[int, ...] = (50, 250, 1000)
    """Numbers of images that are measured: the first so many of each redraw."""
    compared: int
    """Redraws in which other methods are tried, too: they are slow."""
    checked: int
    """Redraws in which KID, precision and recall are measured, too: at full size each takes seconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one method does for one number. A row of the CSV."""

    study: str
    images: int
    quantity: str
    method: str
    """Empty: the one that is printed."""
    redraws: int
    truth: float
    """Mean of the quantity over redraws."""
    true_error: float
    """Standard deviation of the quantity over redraws."""
    bias: float
    """Mean of the method's values less the quantity's in the same redraws."""
    error: float | None
    """Mean of the method's standard errors; None where it gives none."""
    coverage: float | None
    """Share of redraws whose interval holds the truth."""

    @property
    def ratio(self) -> float | None:
        """The printed error over the true one; None where either is missing."""
        return self.error / self.true_error if self.error is not None and self.true_error > 0 else None

    @property
    def coverage_error(self) -> float:
        """Standard error of a coverage of `CONFIDENCE` over so many redraws."""
        return math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / self.redraws)


def measure_scores(observations: Observations, reference: Reference) -> dict[str, Measured]:
    """Every number of a set of images by name: the scores, and the totals of all formulas (style similarity, where it counts, as known: 0.5)."""
    scores = {
        "mask_accuracy": mask_accuracy(observations["confusion"]),
        "mean_iou": mean_iou(observations["confusion"]),
        "aesthetic": Measured.mean(observations["aesthetic"]),
        **reference.measure(observations["features"]),
    }
    totals = {f"composite {formula.name}": _total(formula, scores) for formula in FORMULAS.values()}
    return scores | totals


def estimate_all(stage: Stage, one: Observations, other: Observations, *, pilot: float, checks: bool) -> dict[str, Estimate]:
    """All numbers of one redraw with their errors: A's, and the differences from B; with the `checks` of the distance or without.

    `pilot` is about A's mean FID. Scaled so that it would be 100, half of the redraws lie beyond the contest's clip.
    """
    # Without the photos' features, only their mean and covariance are known, and the distance is all that can be measured.
    reference = stage.reference if checks else replace(stage.reference, features=None)
    first, second = (measure_scores(each, reference) for each in (one, other))
    slopes: list[Measured] = []
    slopes_other: list[Measured] = []
    for scores, possible in ((first, slopes), (second, slopes_other)):
        distance = _scaled(scores["fid"], DISTANCE_CLIP / pilot)
        scores["composite A at the clip"] = _total(FORMULAS["A"], scores | {"fid": distance})
        possible += [_total(FORMULAS["A"], scores | {"fid": each}) for each in _sides_of_the_clip(distance)]
    found = {
        "composite A at the clip | widest slope": _widest([each.estimate for each in slopes], first["composite A at the clip"].value),
        "composite A at the clip, A-B | widest slope": _widest(
            [each.minus(other) for each in slopes for other in slopes_other],
            first["composite A at the clip"].value - second["composite A at the clip"].value,
        ),
    }
    for name, measured in first.items():
        found[name] = measured.estimate
        found[f"{name}, A-B"] = measured.minus(second[name])
        found[f"{name}, A-B | unpaired"] = difference(measured.estimate, second[name].estimate)
        if stage.world.images_per_map > 1:
            found[f"{name} | by label map"] = by_label_map(measured, stage.world.images_per_map)
    found["composite A | parts as independent"] = composite_estimate(
        FORMULAS["A"], {name: measured.estimate for name, measured in first.items()}, distance="fid"
    )
    classes = class_scores(one["confusion"])
    for wanted in (1.0, 0.1, 0.0):
        row = int(np.abs(stage.presence - wanted).argmin())
        if classes.images[row]:
            measured = Measured(float(classes.iou[row]), classes.iou_influence[:, row], int(classes.images[row]))
            found[f"IoU of a class in {stage.presence[row]:.1%} of maps"] = measured.estimate
    return found


def by_label_map(measured: Measured, images_per_map: int) -> Estimate:
    """The error where so many images in a row share a label map: their influences belong together."""
    influence = measured.influence.reshape(-1, images_per_map).mean(axis=1)
    return Measured(measured.value, influence, len(influence)).estimate


def try_others(stage: Stage, features: np.ndarray, random: np.random.Generator) -> dict[str, Estimate]:
    """FID of features (N, D) by half-sampling and by the percentile bootstrap, and what it seems to be for infinitely many images."""
    gaussian, count = stage.reference.gaussian, len(features)
    value = frechet_distance(features, gaussian)
    halves = [frechet_distance(features[random.permutation(count)[: count // 2]], gaussian) for _ in range(RESAMPLES)]
    resampled = [frechet_distance(features[random.integers(count, size=count)], gaussian) for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    found = {
        # A half drawn without return moves about the whole as the whole does about the truth: no rescaling (spec: metrics, 5.2).
        "fid | half-sampling": Estimate(value, stdev(halves)),
        "fid | percentile bootstrap": Estimate(float(low + high) / 2, float(high - low) / 2 / QUANTILE),
    }
    if count == EXTRAPOLATED[-1]:
        distances = [frechet_distance(features[:each], gaussian) for each in EXTRAPOLATED]
        many = f"fid of {len(stage.features_at_many)} images"
        found[many] = Estimate(_distance_at_many(stage))
        found[f"{many} | straight line in 1/N"] = Estimate(float(np.polyfit(1 / np.array(EXTRAPOLATED), distances, 1)[1]))
    return found


def redraw(study: Study, number: int) -> Found:
    """All estimates of one redraw."""
    stage = open_stage(study.world)
    one, other = draw_pair(stage, number, max(study.images))
    found = {}
    for images in study.images:
        cut_one, cut_other = ({name: rows[:images] for name, rows in each.items()} for each in (one, other))
        found[images] = estimate_all(stage, cut_one, cut_other, pilot=_pilot(study, images), checks=number < study.checked)
        if number < study.compared:
            random = np.random.default_rng([study.world.seed, number, images])
            found[images] |= try_others(stage, cut_one["features"], random)
    return found


def summarise(study: str, redraws: Sequence[Found]) -> list[Row]:
    """How each method does for each number; at least two redraws."""
    rows: list[Row] = []
    for images in redraws[0]:
        names = dict.fromkeys(name for found in redraws for name in found[images])
        for name in names:
            quantity, _, method = name.partition(" | ")
            truths = [found[images][quantity].value for found in redraws if quantity in found[images]]
            if len(truths) < 2:
                continue
            truth = fmean(truths)
            estimates = [found[images] for found in redraws if name in found[images]]
            known = [(each[name].value, each[name].error) for each in estimates]
            errors = [error for _, error in known if error is not None]
            held = [abs(value - truth) <= QUANTILE * error for value, error in known if error is not None]
            rows.append(
                Row(
                    study=study,
                    images=images,
                    quantity=quantity,
                    method=method,
                    redraws=len(errors) or len(estimates),
                    truth=_rounded(truth),
                    true_error=_rounded(stdev(truths)),
                    bias=_rounded(fmean(each[name].value - each[quantity].value for each in estimates)),
                    error=_rounded(fmean(errors)) if errors else None,
                    coverage=_rounded(fmean(held)) if held else None,
                )
            )
    return rows


def _rounded(value: float) -> float:
    """To six digits, for the CSV."""
    return float(f"{value:.6g}")


def _scaled(measured: Measured, scale: float) -> Measured:
    return Measured(measured.value * scale, measured.influence * scale, measured.images)


def _sides_of_the_clip(distance: Measured) -> list[Measured]:
    """The distance moved to each side of the clip on which, for all its noise lets one know, it lies: a total of it has that side's slope."""
    below = replace(distance, value=min(distance.value, math.nextafter(DISTANCE_CLIP, 0.0)))
    beyond = replace(distance, value=max(distance.value, DISTANCE_CLIP))
    if told_apart(Estimate(distance.value - DISTANCE_CLIP, distance.estimate.error)):
        return [below if distance.value < DISTANCE_CLIP else beyond]
    return [below, beyond]


def _widest(estimates: Sequence[Estimate], value: float) -> Estimate:
    """The value with the largest of the errors."""
    return Estimate(value, max(each.error or 0.0 for each in estimates))


def _total(formula: Formula, scores: Mapping[str, Measured]) -> Measured:
    return composite_measured(replace(formula, style_similarity=0.5), scores, distance="fid")


@cache
def _pilot(study: Study, images: int) -> float:
    stage = open_stage(study.world)
    drawn = (draw_pair(stage, number, images, pilot=True)[0]["features"] for number in range(PILOTS))
    return fmean(frechet_distance(features, stage.reference.gaussian) for features in drawn)


@cache
def _distance_at_many(stage: Stage) -> float:
    return frechet_distance(stage.features_at_many, stage.reference.gaussian)


def studies(*, dimensions: int, photos: int, compared: int, checked: int) -> list[Study]:
    """The two spectra of the specification at the given size, then, smaller, what the method rests on and where it ends."""
    world = World(dimensions=dimensions, photos=photos)
    small = World(dimensions=min(dimensions, 256), photos=min(photos, 2000), seed=2)
    return [
        Study(name=SPECTRA[0], world=world, compared=compared, checked=checked),
        Study(name=SPECTRA[1], world=replace(world, alpha=1.6, seed=1), compared=compared, checked=checked),
        *(
            Study(name=name, world=changed, images=(250,), compared=0, checked=1000)
            for name, changed in (
                ("small world", small),
                ("all noise shared", replace(small, coupling=1.0)),
                ("only label maps shared", replace(small, coupling=0.0)),
                ("generators as the photos", replace(small, fault=0.0)),
                ("five images a label map", replace(small, images_per_map=5)),
                ("label maps never redrawn", replace(small, fixed_maps=True)),
                ("5 % of the noise common to all images", replace(small, common_noise=0.05)),
            )
        ),
    ]


def read_redraws(path: Path) -> dict[int, Found]:
    """The finished redraws by number; none where there is no file."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []  # behind the last newline is at most a torn row
    return {
        line["redraw"]: {
            int(images): {name: Estimate(*estimate) for name, estimate in estimates.items()} for images, estimates in line["found"].items()
        }
        for line in map(json.loads, lines)
    }


def perform(study: Study, numbers: Iterable[int], path: Path) -> None:
    """Do these redraws, each a line of the file."""
    for number in numbers:
        found = {images: {name: (each.value, each.error) for name, each in estimates.items()} for images, estimates in redraw(study, number).items()}
        append_line(path, json.dumps({"redraw": number, "found": found}))


def perform_all(wanted: Sequence[Study], *, redraws: int, work: Path, processes: int, progress: Progress) -> list[Row]:
    """Do the redraws that the work folder lacks, each process with one thread; returns how every method did."""
    paths = {study: work / f"{hash_value(asdict(study))[:16]}.jsonl" for study in wanted}
    missing = [(study, sorted(set(range(redraws)) - set(read_redraws(path)))) for study, path in paths.items()]
    chunks = [(study, numbers[start : start + 5]) for study, numbers in missing for start in range(0, len(numbers), 5)]
    chunks.sort(key=lambda chunk: chunk[1][0])  # all worlds get on alike: whoever stops early has something of each
    left = sum(len(numbers) for _, numbers in chunks)
    with (
        ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool,
        progress.task("coverage", redraws * len(wanted), done=redraws * len(wanted) - left, unit="redraws") as task,
    ):
        running = {pool.submit(perform, study, numbers, paths[study]): len(numbers) for study, numbers in chunks}
        for finished in as_completed(running):
            finished.result()
            task.advance(running[finished])
    rows = []
    for study, path in paths.items():
        found = read_redraws(path)
        rows += summarise(study.name, [found[number] for number in range(redraws)])
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """All rows as CSV; nothing is written for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    for row in rows:
        writer.writerow(astuple(row))
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote."""
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return TypeAdapter(list[Row]).validate_python(
        [{name: value or (None if name in ("error", "coverage") else "") for name, value in row.items()} for row in rows]
    )


def tables(rows: Sequence[Row]) -> str:
    """The measured part of the page in Markdown."""
    large = _large(rows)
    sizes = sorted({row.images for row in large})
    printed = dict.fromkeys(row.quantity for row in large if not row.method and row.ratio is not None)
    differences = dict.fromkeys(row.quantity for row in large if row.method == "unpaired")
    limits = [row for row in rows if row.study not in SPECTRA and row.method in ("", "by label map")]
    shown = ("mask_accuracy", "aesthetic", "fid", "fid, A-B", "kid", "kid, A-B", "composite A", "composite A, A-B")
    return "\n".join(
        [
            *_table(
                "Printed error over true error, and how often the 95 % interval held the truth",
                ["", *(f"{study}, N={images}" for study in SPECTRA for images in sizes)],
                [[quantity, *(_verdict(_find(rows, study, images, quantity)) for study in SPECTRA for images in sizes)] for quantity in printed],
            ),
            *_table(
                f"What pairing is worth: errors of a difference A-B, N={sizes[-1]}",
                ["", *(f"{study}, {column}" for study in SPECTRA for column in ("true", "paired", "unpaired"))],
                [[quantity, *(cell for study in SPECTRA for cell in _pairing(rows, study, sizes[-1], quantity))] for quantity in differences],
            ),
            *_table(
                f"Other ways to an error, and to the FID of many images, N={sizes[-1]}",
                ["world", "number", "method", "truth", "moved by", "error / true error · coverage", "redraws"],
                [
                    [row.study, row.quantity, row.method, f"{row.truth:.4g}", f"{row.bias:+.2g}", _verdict(row), str(row.redraws)]
                    for row in large
                    if row.images == sizes[-1] and row.method not in ("", "unpaired")
                ],
            ),
            *_table(
                f"Worlds that bend the rules, N={', '.join(sorted({str(row.images) for row in limits}))}: error / true error · coverage",
                ["world", "error", *shown],
                [
                    [study, method or "as printed", *(_verdict(_find(rows, study, images, quantity, method)) for quantity in shown)]
                    for study, images, method in dict.fromkeys((row.study, row.images, row.method) for row in limits)
                ],
            ),
        ]
    )


def draw(rows: Sequence[Row]) -> bytes:
    """The figure as SVG: error ratio and coverage of every printed number, by number of images and spectrum; a band of two binomial errors."""
    chosen = [row for row in _large(rows) if not row.method and row.ratio is not None]
    places = {quantity: -place for place, quantity in enumerate(dict.fromkeys(row.quantity for row in chosen))}
    sizes = sorted({row.images for row in chosen})
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "noise", "font.size": 8.5}):
        figure = Figure(figsize=(8.5, 0.23 * len(places) + 1.3), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for (size, images), (number, study) in product(enumerate(sizes), enumerate(SPECTRA)):
            dots = [row for row in chosen if (row.images, row.study) == (images, study)]
            colour = COLOURS[size % len(COLOURS)]
            heights = [places[row.quantity] + 0.25 * (size - 1) for row in dots]
            for axes, values in ((left, [row.ratio for row in dots]), (right, [row.coverage for row in dots])):
                axes.plot(values, heights, "o", color=colour, markerfacecolor="white" if number else colour, markersize=4)
        for images, colour in zip(sizes, COLOURS, strict=False):
            left.plot([], [], "o", color=colour, markersize=4, label=f"N = {images}")
        left.plot([], [], "o", color="#1b1f24", markersize=4, label=SPECTRA[0])
        left.plot([], [], "o", color="#1b1f24", markerfacecolor="white", markersize=4, label=SPECTRA[1])
        figure.legend(loc="outside upper center", ncols=5, frameon=False)
        left.axvline(1, color="#1b1f24", linewidth=0.8)
        band = 2 * min(row.coverage_error for row in chosen)
        right.axvspan(CONFIDENCE - band, CONFIDENCE + band, color="#1b1f24", alpha=0.1, linewidth=0)
        right.axvline(CONFIDENCE, color="#1b1f24", linewidth=0.8)
        left.set_yticks(list(places.values()), list(places))
        left.set_xlabel("printed error / true error")
        right.set_xlabel(f"coverage of the {CONFIDENCE:.0%} interval")
        right.set_xlim(right=1.02)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(True, axis="y", alpha=0.15)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _large(rows: Sequence[Row]) -> list[Row]:
    """Of the worlds at full size, without what is half of something else."""
    return [row for row in rows if row.study in SPECTRA and row.quantity not in ("composite B", "composite B, A-B")]


def _find(rows: Sequence[Row], study: str, images: int, quantity: str, method: str = "") -> Row | None:
    wanted = (study, images, quantity, method)
    return next((row for row in rows if (row.study, row.images, row.quantity, row.method) == wanted), None)


def _verdict(row: Row | None) -> str:
    return "" if row is None or row.ratio is None or row.coverage is None else f"{row.ratio:.2f} · {row.coverage:.0%}"


def _pairing(rows: Sequence[Row], study: str, images: int, quantity: str) -> list[str]:
    found = [_find(rows, study, images, quantity, method) for method in ("", "unpaired")]
    errors = [found[0].true_error if found[0] else None, *(row.error if row else None for row in found)]
    return ["" if error is None else f"{error:.3g}" for error in errors]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"**{title}**", "", *(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)), ""]


def main() -> int:
    """Do the redraws that are missing, and write the CSV, the figure, and the tables into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("runs/coverage"), help="Folder of finished redraws (default: %(default)s).")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="Folder of noise.csv, noise.svg and noise.md (default: %(default)s).")
    parser.add_argument("--redraws", type=int, default=200, help="Of every world, at least 2 (default: %(default)s).")
    parser.add_argument("--jobs", type=int, default=1, help="Processes side by side, each with one thread (default: %(default)s).")
    parser.add_argument("--dimensions", type=int, default=2048, help="Features of an image in the large worlds (default: %(default)s).")
    parser.add_argument("--photos", type=int, default=10_000, help="Photos in the large worlds (default: %(default)s).")
    parser.add_argument("--checked", type=int, default=40, help="Redraws of the large worlds with KID, precision and recall (default: %(default)s).")
    parser.add_argument("--compared", type=int, default=6, help="Redraws of the large worlds with other methods for FID (default: %(default)s).")
    options = parser.parse_args()
    wanted = studies(dimensions=options.dimensions, photos=options.photos, compared=options.compared, checked=options.checked)
    rows = perform_all(wanted, redraws=options.redraws, work=options.work, processes=options.jobs, progress=terminal_progress())
    write_rows(options.out / "noise.csv", rows)
    write_bytes(options.out / "noise.svg", draw(rows))
    made = (
        f"Made by `python -m benchmarks.coverage --redraws {options.redraws} --dimensions {options.dimensions} --photos {options.photos}` with "
        + ", ".join(f"{package} {version}" for package, version in versions().items())
        + f". {options.redraws} redraws a world: a coverage of 95 % is known to ±{math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / options.redraws):.1%}, "
        f"a ratio to about ±{1 / math.sqrt(2 * options.redraws):.0%}.\n"
    )
    page = options.out / "noise.md"
    before, _, behind = page.read_text(encoding="utf-8").partition(BEGIN)
    write_text(page, f"{before}{BEGIN}\n{made}\n{tables(rows)}\n{END}{behind.partition(END)[2]}")
    print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
