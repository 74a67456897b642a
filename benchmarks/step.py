"""What a training step takes: seconds of the painter's and the discriminators' half, peak memory, and its speed against the machine's own.

    python -m benchmarks.step --preset full --batch 1 --threads 2

Each phase runs in a process of its own, so that its peak memory is its own. Full-size images at the end of both phases; without the
perceptual losses, whose networks must be fetched. The machine's own speed is that of a float32 matrix product and of the convolution that
the generator spends most on, measured in turn with the steps.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from apfgan.backend import memory_peak
from apfgan.config import PRESETS, Config, build_config, parse_settings
from apfgan.cost import Costs
from apfgan.files import write_text
from apfgan.players import Players
from apfgan.preflight import aligned, painted_batch
from apfgan.runs import versions
from apfgan.schedule import plan_epoch
from benchmarks.engines import WITHOUT_PERCEPTUAL


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTiming:
    """Medians of one phase. Seconds, bytes and multiply-accumulates."""

    phase: str
    epoch: int
    batch: int
    threads: int
    first: float
    """Seconds of the first step, which warms up."""
    painter: float
    discriminators: float
    multiply_accumulates: int
    """Of both halves."""
    memory: int
    """Peak of the process."""
    matrix_product: float
    """Multiply-accumulates a second of a float32 product of square matrices, in the same process."""
    convolution: float
    """The same of a 3x3 convolution of 128 to 128 channels."""

    @property
    def rate(self) -> float:
        """Multiply-accumulates a second of the step."""
        return self.multiply_accumulates / (self.painter + self.discriminators)


def measure_step(config: Config, epoch: int, *, batch: int, threads: int, repeats: int, side: int) -> StepTiming:
    """Time training steps of `epoch` in this process, which nothing else should have used."""
    torch.set_num_threads(threads)
    plan, players = plan_epoch(epoch, config), Players(config, device="cpu")
    players.begin(plan)
    images = painted_batch(config, batch)
    halves: list[tuple[float, float]] = []
    between: list[float] = []
    players.painter_optimizer.engine.register_step_post_hook(lambda *_: between.append(time.perf_counter()))
    for index in range(repeats + 1):
        began = time.perf_counter()
        players.learn(images, plan, index=index)
        halves.append((between[-1] - began, time.perf_counter() - between[-1]))
    memory = memory_peak("cpu")
    matrix = torch.ones(side, side)
    features, kernel = torch.ones(1, 128, 3 * side // 32, side // 8).to(memory_format=torch.channels_last), torch.ones(128, 128, 3, 3)
    painter, discriminators = zip(*halves[1:], strict=True)
    with torch.no_grad():
        matrix_seconds = _median_seconds(lambda: matrix @ matrix, repeats)
        convolution_seconds = _median_seconds(lambda: torch.conv2d(features, kernel, padding=1), repeats)
    return StepTiming(
        phase=plan.phase,
        epoch=epoch,
        batch=batch,
        threads=threads,
        first=sum(halves[0]),
        painter=statistics.median(painter),
        discriminators=statistics.median(discriminators),
        multiply_accumulates=batch * Costs(config).step(plan).total,
        memory=memory,
        matrix_product=side**3 / matrix_seconds,
        convolution=features.numel() * 128 * 9 / convolution_seconds,
    )


def describe(timings: Sequence[StepTiming]) -> str:
    """A table of the timings."""
    rows: list[tuple[str, ...]] = [("phase", "first s", "painter s", "discr. s", "step s", "peak GiB", "TMAC", "GMAC/s", "matrix", "conv")]
    for each in timings:
        seconds = (each.first, each.painter, each.discriminators, each.painter + each.discriminators)
        rates = (each.rate, each.matrix_product, each.convolution)
        figures = (*seconds, each.memory / 2**30, each.multiply_accumulates / 1e12)
        rows.append((each.phase, *(f"{value:.2f}" for value in figures), *(f"{rate / 1e9:.0f}" for rate in rates)))
    return "\n".join(aligned(rows, left=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both phases and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="Change a setting; may be repeated.")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="Steps that are timed, behind one that warms up.")
    parser.add_argument("--side", type=int, default=2048, help="Rows of the matrices; the convolution's image is an eighth as wide.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    options = parser.parse_args(arguments)
    config = build_config(parse_settings([*WITHOUT_PERCEPTUAL, *options.set]), base=PRESETS[options.preset])
    phases = sorted({epoch for epoch in (config.train.progressive_epochs, config.train.epochs) if epoch > 0})
    sizes = {"batch": options.batch, "threads": options.threads, "repeats": options.repeats, "side": options.side}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes:
        timings = [processes.submit(measure_step, config, epoch, **sizes).result() for epoch in phases]
    print(describe(timings))
    if options.json:
        write_text(options.json, json.dumps({"versions": versions(), "timings": [asdict(each) for each in timings]}, indent=1) + "\n")


def _median_seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(3 * repeats + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
