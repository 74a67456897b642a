"""The same training step and the same drawing on PyTorch and on Jittor, in turn: seconds of each, and what Jittor takes of PyTorch's time.

    python -m benchmarks.engines --preset full --batch 1 --threads 2

Each engine has a process of its own, and only one of them computes at a time. Steps are those at the end of both phases, without the perceptual
losses, whose networks must be fetched; an image is drawn with noise, as for `score`. The first of each is told apart: Jittor compiles then.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from apfgan.config import PRESETS, Config, build_config, parse_settings
from apfgan.engines import Engine, choose_engine
from apfgan.files import write_text
from apfgan.runs import versions

if TYPE_CHECKING:
    from apfgan.networks import Painter
    from apfgan.players import Players

WITHOUT_PERCEPTUAL = ["train.progressive_perceptual=none", "train.perceptual=none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Seconds of one piece of work on both engines."""

    work: str
    first: dict[str, float]
    """The first time, by engine."""
    median: dict[str, float]
    """Of the times after it."""

    @property
    def ratio(self) -> float:
        """What Jittor takes of PyTorch's time."""
        return self.median[Engine.jittor] / self.median[Engine.pytorch]


def step_seconds(config: Config, epoch: int, batch: int) -> float:
    """Seconds of a training step of `epoch`, on this process's engine."""
    from apfgan.preflight import painted_batch
    from apfgan.schedule import plan_epoch

    plan, images = plan_epoch(epoch, config), painted_batch(config, batch)
    players = _players(config, epoch)
    began = time.perf_counter()
    players.learn(images, plan, index=0)
    return time.perf_counter() - began


def draw_seconds(config: Config, batch: int) -> float:
    """Seconds of drawing `batch` images at once, on this process's engine."""
    from apfgan.preflight import painted_batch
    from apfgan.sampling import sample

    maps = [(str(index), label_map) for index, label_map in enumerate(painted_batch(config, batch).label_maps)]
    painter = _painter(config)
    began = time.perf_counter()
    list(sample(painter, maps, classes=len(config.data.classes), seed=0, batch=batch))
    return time.perf_counter() - began


def compare(config: Config, *, batch: int, repeats: int) -> list[Comparison]:
    """Steps at the end of both phases, and drawing, each on both engines in turn."""
    epochs = sorted({epoch for epoch in (config.train.progressive_epochs, config.train.epochs) if epoch > 0})
    works = [(f"step of epoch {epoch}", step_seconds, (config, epoch, batch)) for epoch in epochs] + [("drawing", draw_seconds, (config, batch))]
    context = multiprocessing.get_context("spawn")
    pools = {engine: ProcessPoolExecutor(1, mp_context=context, initializer=choose_engine, initargs=(engine,)) for engine in Engine}
    compared = []
    for work, function, arguments in works:
        times: dict[str, list[float]] = {engine: [] for engine in Engine}
        for _ in range(repeats + 1):
            for engine, pool in pools.items():
                times[engine].append(pool.submit(function, *arguments).result())
        medians = {engine: statistics.median(seconds[1:]) for engine, seconds in times.items()}
        compared.append(Comparison(work=work, first={engine: seconds[0] for engine, seconds in times.items()}, median=medians))
    for pool in pools.values():
        pool.shutdown()
    return compared


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare both engines and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="Change a setting; may be repeated.")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="Times of each, behind a first one.")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    config = build_config(parse_settings([*WITHOUT_PERCEPTUAL, *options.set]), base=PRESETS[options.preset])
    compared = compare(config, batch=options.batch, repeats=options.repeats)
    print(f"{'seconds':20}{'pytorch':>16}{'jittor':>16}{'ratio':>8}\n{'':20}{2 * '   first  median'}")
    for each in compared:
        seconds = "".join(f"{each.first[engine]:8.2f}{each.median[engine]:8.2f}" for engine in Engine)
        print(f"{each.work:20}{seconds}{each.ratio:8.2f}")
    if options.json:
        write_text(options.json, json.dumps({"versions": versions(), "compared": [asdict(each) for each in compared]}, indent=1) + "\n")


@cache
def _players(config: Config, epoch: int) -> "Players":
    """Networks at the beginning of an epoch, kept from one call to the next."""
    from apfgan.players import Players
    from apfgan.schedule import plan_epoch

    players = Players(config, device="cpu")
    players.begin(plan_epoch(epoch, config))
    return players


@cache
def _painter(config: Config) -> "Painter":
    from apfgan.backend import state_arrays
    from apfgan.networks import build_painter
    from apfgan.sampling import load_painter

    return load_painter(state_arrays(build_painter(config, seed=0)), config, origin="fresh weights")


if __name__ == "__main__":
    main()
