"""What each ingredient of the method is worth at small size: train without it, from the same seeds, and compare the embedded score.

    python -m benchmarks.ablation --jobs 2

Every run has the same pairs, label maps, judges and number of epochs. A seed fixes the initial weights and the order of the data, so a variant
is compared with the base seed by seed. Trainings that were stopped go on, and a finished pair of variant and seed is found again in the CSV by
the content that it follows from. The program's own code is not part of that: after a change of the method, remove the CSV and the work folder.
"""

import argparse
import csv
import multiprocessing
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from statistics import fmean, median, stdev

import torch
from pydantic import TypeAdapter
from scipy import stats

from apfgan.candidates import Candidate
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig, build_config, parse_settings
from apfgan.data import TrainingPairs, find_pairs
from apfgan.ema import average_name
from apfgan.files import append_line, hash_value, write_text
from apfgan.landscapes import make_landscapes
from apfgan.progress import SILENT, Progress, terminal_progress
from apfgan.runs import Run, versions
from apfgan.training import train
from selection.evaluation import Evaluation, open_bench
from selection.examining import Examiner
from selection.measuring import Bench

BASE = Config(
    data=DataConfig(width=64, height=48, load_width=72),
    model=ModelConfig(width=8, hidden=16, upsamplings=3, levels=3, init_gain=0.7),
    # Half a minute of one core, in which the score goes from 0.07 to about 0.3. With equal batches the first phase can be left out without
    # another number of steps. The rates are five times the authors', for so short a training; their ratio is the authors'.
    train=TrainConfig(
        progressive_epochs=6,
        epochs=12,
        progressive_batch=4,
        batch=4,
        generator_rate=5e-4,
        discriminator_rate=2e-3,
    ),
)
"""What the variants change."""

PAIRS, MAPS = 96, 64
"""Painted training pairs, and label maps that are scored."""

SCORED = 3
"""Last checkpoints whose scores are averaged: one epoch alone moves by 0.03 and more."""

LEVEL = 0.95
"""Of the intervals."""

COLUMNS = (
    "variant", "settings", "seeds", "composite", "last", "mask accuracy", "aesthetic", "fd-embedded", "steps", "seconds",
    "difference", "interval", "verdict",
)  # fmt: skip
"""Of the page's table."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A named change of the base."""

    name: str
    settings: tuple[str, ...] = ()
    """As the command line's `--set` takes them."""

    def config(self, base: Config, *, seed: int) -> Config:
        """The base with this change, and the seed."""
        changed = build_config(parse_settings(self.settings), base=base)
        return replace(changed, train=replace(changed.train, seed=seed))


VARIANTS = (
    Variant("base"),
    Variant("no progressive phase", ("train.progressive_epochs=0",)),
    Variant("no fade-in", ("train.fade_in=false",)),
    Variant("no multi-scale discriminators", ("model.multi_scale=false",)),
    Variant("no hand-over of discriminators", ("model.hand_over=none",)),
    Variant("one rate for both: the generator's", ("train.discriminator_rate=5e-4",)),
    Variant("one rate for both: in between", ("train.generator_rate=1e-3", "train.discriminator_rate=1e-3")),
    Variant("no feature matching", ("train.feature_weight=0.0",)),
    Variant("no augmentation", ("train.augment=[]",)),
    Variant("no augmentation of colour", ('train.augment=["crop", "translation"]',)),
    Variant("no augmentation by crops", ('train.augment=["color", "translation"]',)),
    Variant("no augmentation by translation", ('train.augment=["color", "crop"]',)),
    Variant("no label-guided noise", ("train.seg_noise=false",)),
    Variant("noise starts loud", ("model.seg_noise_init=xavier",)),
    Variant("no mirrored pairs", ("data.flip=false",)),
    Variant("crops from the top only", ("data.crop=top",)),
    Variant("spectral normalisation", ("model.spectral_norm=true",)),
    Variant("levels shrunk without antialiasing", ("model.level_resize=bilinear",)),
    Variant("pyramid with dark borders", ("model.pyramid_border=zeros",)),
    Variant("biased running variance", ("model.running_variance=biased",)),
    Variant("deepest discriminator sees largest", ("model.full_size_order=deepest_sees_largest",)),
    Variant("hand-over shares weights", ("model.hand_over=shared",)),
    Variant("Adam counts common steps", ("train.adam_steps=common",)),
    Variant(
        "all accidents of the original",
        (
            "data.crop=top",
            "model.seg_noise_init=xavier",
            "model.running_variance=biased",
            "model.pyramid_border=zeros",
            "model.level_resize=bilinear",
            "model.hand_over=shared",
            "train.adam_steps=common",
            "output.rounding=down",
        ),
    ),
    Variant("averaged weights are scored", ("train.ema=[0.1]",)),
    Variant("bfloat16", ("train.precision=bfloat16",)),
)
"""The base, then each ingredient off, then each choice between the paper and the program, then the additions."""


@dataclass(frozen=True, slots=True)
class Job:
    """One training to do and score."""

    key: str
    """Hash of the variant's name, its settings and seed, and the training pairs, label maps and judges."""
    variant: str
    config: Config


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the CSV. The scores are means over the last checkpoints."""

    key: str
    variant: str
    seed: int
    composite: float
    mask_accuracy: float
    aesthetic: float
    fd_embedded: float
    last: float
    """Composite of the last checkpoint alone."""
    untrained: float
    """Composite of the initial weights."""
    seconds: float
    """Spent on training."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much a variant differs from the base, paired by seed."""

    difference: float
    error: float
    """Standard error over seeds."""
    margin: float
    """Half of the interval's width, from Student's t with one degree of freedom less than seeds."""

    @property
    def verdict(self) -> str:
        """In words, for a number of which more is better."""
        if self.difference == self.error == 0:
            return "the same number"
        if abs(self.difference) <= self.margin:
            return "within noise"
        return "better" if self.difference > 0 else "worse"


def compare(variant: Mapping[int, float], base: Mapping[int, float]) -> Comparison | None:
    """Compare numbers by seed, over the seeds that both have; None for fewer than two, which know nothing of noise."""
    differences = [value - base[seed] for seed, value in variant.items() if seed in base]
    if len(differences) < 2:
        return None
    error = stdev(differences) / len(differences) ** 0.5
    return Comparison(fmean(differences), error, error * float(stats.t.ppf((1 + LEVEL) / 2, len(differences) - 1)))


def scored_candidates(config: Config) -> list[Candidate]:
    """The last epochs, or where averages are kept, the first average of each."""
    average = f"-{average_name(config.train.ema[0])}" if config.train.ema else ""
    last = config.train.epochs
    return [Candidate.parse(f"{epoch}{average}") for epoch in range(last - SCORED + 1, last + 1)]


def steps(config: Config) -> int:
    """Optimiser steps of a training."""
    settings = config.train
    return settings.progressive_epochs * (PAIRS // settings.progressive_batch) + (settings.epochs - settings.progressive_epochs) * (
        PAIRS // settings.batch
    )


def plan(base: Config, *, seeds: int, content: object) -> list[Job]:
    """All trainings, seed by seed; `content` is what besides the settings their results follow from, as JSON."""
    configs = ((variant, variant.config(base, seed=seed)) for seed in range(seeds) for variant in VARIANTS)
    return [Job(hash_value([variant.name, asdict(config), content]), variant.name, config) for variant, config in configs]


def read_results(path: Path) -> list[Result]:
    """The finished rows of the CSV; none where there is no file."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []  # behind the last newline is at most a torn row
    return TypeAdapter(list[Result]).validate_python(list(csv.DictReader(lines)))


def append_result(path: Path, result: Result) -> None:
    """Add a row, durably."""
    if not path.exists():
        append_line(path, ",".join(field.name for field in fields(Result)))
    append_line(path, ",".join(map(str, astuple(result))))


def perform(job: Job, *, work: Path) -> Result:
    """Train and score; goes on where an earlier process was stopped."""
    torch.set_num_threads(1)
    run = Run.create(work / "runs" / job.key[:16], job.config)
    with run.lock():
        for _ in train(run, TrainingPairs(find_pairs(work / "data"), job.config.data)):
            pass
        bench = replace(_open_bench(work), run=run)
        examiner = Examiner(bench)
        untrained = examiner.measure(Candidate.parse("0"))
        measured = [examiner.measure(candidate) for candidate in scored_candidates(job.config)]
    with run.training_log.open(encoding="utf-8") as log:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(log))

    def mean(metric: str) -> float:
        return fmean(each.metrics[metric].value for each in measured)

    return Result(
        key=job.key,
        variant=job.variant,
        seed=job.config.train.seed,
        composite=fmean(each.composite.value for each in measured),
        mask_accuracy=mean("mask_accuracy"),
        aesthetic=mean("aesthetic"),
        fd_embedded=mean("fd-embedded"),
        last=measured[-1].composite.value,
        untrained=untrained.composite.value,
        seconds=round(seconds, 1),
    )


def perform_all(jobs: Sequence[Job], *, work: Path, table: Path, processes: int, progress: Progress) -> list[str]:
    """Do the jobs that `table` lacks, each in a process with one thread, and append their rows; returns what failed, in words."""
    done = {result.key for result in read_results(table)}
    missing = [job for job in jobs if job.key not in done]
    failed = []
    with (
        ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool,
        progress.task("ablation", len(jobs), done=len(jobs) - len(missing), unit="runs") as task,
    ):
        running = {pool.submit(perform, job, work=work): job for job in missing}
        for finished in as_completed(running):
            if error := finished.exception():
                job = running[finished]
                failed.append(f"{job.variant}, seed {job.config.train.seed}: {type(error).__name__}: {error}")
                progress.say(failed[-1])
            else:
                result = finished.result()
                append_result(table, result)
                progress.say(f"{result.variant}, seed {result.seed}: {result.composite:.4f}, trained in {result.seconds:.0f} s")
            task.advance()
    return failed


def describe(base: Config, results: Iterable[Result]) -> str:
    """The page in Markdown; `results` hold the base with at least one seed."""
    by_variant: dict[str, dict[int, Result]] = {variant.name: {} for variant in VARIANTS}
    for result in results:
        by_variant[result.variant][result.seed] = result
    composites = {name: {seed: result.composite for seed, result in found.items()} for name, found in by_variant.items()}
    comparisons = {name: compare(found, composites["base"]) for name, found in composites.items() if name != "base"}
    rows = [_row(variant, base, list(by_variant[variant.name].values()), comparisons.get(variant.name)) for variant in VARIANTS]
    data, settings, found = base.data, base.train, by_variant["base"].values()
    lines = [
        "# Ablation at small size",
        "",
        f"Each row is the base with one change, trained from the same seeds on the same {PAIRS} painted landscapes at {data.width}x{data.height}:",
        f"{settings.progressive_epochs} epochs of the first phase, {settings.epochs - settings.progressive_epochs} of the second. All are scored on "
        f"{MAPS} label maps by the same embedded judges.",
        f"Scores are means over seeds and the last {SCORED} checkpoints (`last`: the last one alone). Untrained, the base scores "
        f"{fmean(result.untrained for result in found):.3f}.",
        "",
        "`difference` is the composite minus the base's, paired by seed, with its standard error over seeds. The verdict is `within noise`",
        f"unless the {LEVEL:.0%} interval leaves out 0.",
        *_noise([each for each in comparisons.values() if each is not None], seeds=len(found)),
        "",
        f"These are statements about a generator of width {base.model.width} after {settings.epochs} epochs on painted scenes. What helps there need "
        "not help at full size, and the reverse.",
        "",
        _line(COLUMNS),
        "|---" * len(COLUMNS) + "|",
        *rows,
        _line(["no perceptual loss"], verdict="not measured: the pretrained VGG19 and Inception could not be had"),
        "",
        "Every training is in `ablation.csv`. Made by `python -m benchmarks.ablation` with "
        + ", ".join(f"{package} {version}" for package, version in versions().items())
        + ".",
    ]
    return "".join(f"{line}\n" for line in lines)


def _noise(comparisons: Sequence[Comparison], *, seeds: int) -> list[str]:
    """What the reader should know about the verdicts."""
    if not comparisons:
        return ["One seed knows nothing of noise: there are no verdicts."]
    return [
        f"With {seeds} seeds (Student's t with {seeds - 1} degrees of freedom) the intervals are wide: half of them are wider than "
        f"±{median(each.margin for each in comparisons):.3f}, and a smaller effect is mostly not seen.",
        f"Of {len(comparisons)} verdicts about {(1 - LEVEL) * len(comparisons):.0f} would call luck an effect even if nothing had one. All rows "
        "share the base's runs: a lucky base pushes all differences to one side.",
    ]


def _row(variant: Variant, base: Config, results: Sequence[Result], comparison: Comparison | None) -> str:
    cells = [variant.name, " ".join(f"`{setting}`" for setting in variant.settings), str(len(results))]
    if not results:
        return _line(cells, verdict="not measured")

    def mean(name: str, digits: int) -> str:
        return f"{fmean(getattr(result, name) for result in results):.{digits}f}"

    cells += [mean("composite", 3), mean("last", 3), mean("mask_accuracy", 3), mean("aesthetic", 2), mean("fd_embedded", 1)]
    cells += [str(steps(variant.config(base, seed=0))), mean("seconds", 0)]
    if comparison is None:
        return _line(cells)
    low, high = comparison.difference - comparison.margin, comparison.difference + comparison.margin
    return _line([*cells, f"{comparison.difference:+.3f} ± {comparison.error:.3f}", f"{low:+.3f} to {high:+.3f}", comparison.verdict])


def _line(cells: Sequence[str], *, verdict: str = "") -> str:
    """A row of the table; what `cells` lack before the verdict stays empty."""
    missing = len(COLUMNS) - len(cells)
    return f"| {' | '.join([*cells, *[''] * (missing - 1), *[verdict] * bool(missing)])} |"


def _open_bench(work: Path, *, progress: Progress = SILENT) -> Bench:
    """The bench on which all runs meet; whoever opens it first fits its judges."""
    return open_bench(Run.open(work / "judges"), Evaluation(data=work / "data"), progress=progress)


def main() -> int:
    """Run what is missing and write the table; 1 where a training failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="Folder of data, judges and runs (default: %(default)s).")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="Folder of ablation.csv and ablation.md (default: %(default)s).")
    parser.add_argument("--seeds", type=int, default=3, help="Trainings of each variant (default: %(default)s).")
    parser.add_argument("--jobs", type=int, default=1, help="Processes side by side, each with one thread (default: %(default)s).")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="Change the base; may be repeated.")
    options = parser.parse_args()
    progress = terminal_progress()
    torch.set_num_threads(1)
    base = build_config(parse_settings(options.set), base=BASE)
    make_landscapes(options.work / "data", train=PAIRS, test=MAPS, width=2 * base.data.width, height=2 * base.data.height, progress=progress)
    Run.create(options.work / "judges", base)
    bench = _open_bench(options.work, progress=progress)
    content = [TrainingPairs(find_pairs(options.work / "data"), base.data).fingerprint, bench.protocol]
    jobs = plan(base, seeds=options.seeds, content=content)
    table = options.out / "ablation.csv"
    failed = perform_all(jobs, work=options.work, table=table, processes=options.jobs, progress=progress)
    wanted = {job.key for job in jobs}
    results = [result for result in read_results(table) if result.key in wanted]
    if any(result.variant == "base" for result in results):
        write_text(options.out / "ablation.md", describe(base, results))
        print(f"wrote {options.out / 'ablation.md'}")
    print("".join(f"FAILED: {each}\n" for each in failed), end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
