"""Where memory layout, half precision and compilation pay: each beside plain float32 with channels last, measured in turn in one run.

    python -m benchmarks.engine_options --width 32 --image 128x96 --batch 2 --threads 2 --compile

What the options draw from the same weights is compared; one that draws something else is not reported. Ratios are medians over the rounds,
each round's time against the plain one's of the same round; below 1 is faster. "first" is what the first step takes, with compilation.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from apfgan.backend import autocast, from_numpy, load_arrays, no_gradients, one_hot, set_training, state_arrays, to_numpy
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.files import write_text
from apfgan.players import Players
from apfgan.preflight import aligned, painted_batch
from apfgan.randomness import layered_noise, random_source
from apfgan.runs import versions
from apfgan.schedule import plan_epoch

LARGEST_DIFFERENCE = 0.25
"""Of an image in [-1, 1]. bfloat16 was measured at 0.07 on trained weights of full width; a fault would be of the order of 1."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to compute the same."""

    name: str
    precision: Literal["float32", "bfloat16"] = "float32"
    compiled: bool = False
    layout: torch.memory_format = torch.channels_last


OPTIONS = (
    Option("plain"),
    Option("contiguous", layout=torch.contiguous_format),
    Option("bfloat16", "bfloat16"),
    Option("compiled", compiled=True),
    Option("compiled bfloat16", "bfloat16", compiled=True),
)
"""The first is what the others are compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionTiming:
    """What an option is worth."""

    option: str
    difference: float
    """Largest difference of an image in [-1, 1] from the plain one."""
    first: float
    """Seconds of the first training step."""
    step: float
    """Seconds of a training step."""
    step_ratio: float
    """To the plain step's."""
    draw: float
    """Seconds of drawing a batch."""
    draw_ratio: float


def measure_options(config: Config, options: Sequence[Option], *, batch: int, rounds: int) -> list[OptionTiming]:
    """Time a training step of the second phase and drawing, with each option in turn; the first option is what the others are compared with."""
    plan, images = plan_epoch(config.train.epochs, config), painted_batch(config, batch)
    players = [_players(config, option) for option in options]
    weights = state_arrays(players[0].painter)
    lessons = [partial(each.learn, images, plan, index=0) for each in players]
    firsts = [_seconds(learn) for learn in lessons]
    for learn in lessons:
        learn()  # where several are compiled, each compilation forgets the one before
    steps = _in_turn(lessons, rounds)

    for each in players:
        load_arrays(each.painter, weights, origin="the initial weights")
    drawings = [partial(_draw, each, images.label_maps) for each in players]
    drawn = [draw() for draw in drawings]
    differences = [float(np.abs(image - drawn[0]).max()) for image in drawn]
    for option, difference in zip(options, differences, strict=True):
        if not difference <= LARGEST_DIFFERENCE:
            raise SystemExit(f"{option.name} draws something else: it differs by {difference:.3f}")
    draws = _in_turn(drawings, rounds)
    return [
        OptionTiming(
            option=option.name,
            difference=differences[index],
            first=firsts[index],
            step=statistics.median(steps[index]),
            step_ratio=statistics.median(one / plain for one, plain in zip(steps[index], steps[0], strict=True)),
            draw=statistics.median(draws[index]),
            draw_ratio=statistics.median(one / plain for one, plain in zip(draws[index], draws[0], strict=True)),
        )
        for index, option in enumerate(options)
    ]


def describe(timings: Sequence[OptionTiming]) -> str:
    """A table of the options."""
    rows: list[tuple[str, ...]] = [("option", "difference", "first s", "step s", "ratio", "draw s", "ratio")]
    for each in timings:
        seconds = (f"{value:.3f}" for value in (each.first, each.step, each.step_ratio, each.draw, each.draw_ratio))
        rows.append((each.option, f"{each.difference:.1e}", *seconds))
    return "\n".join(aligned(rows, left=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the options and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32, help="model.width; the paper's is 64.")
    parser.add_argument("--hidden", type=int, default=64, help="model.hidden; the paper's is 128.")
    parser.add_argument("--upsamplings", type=int, default=4, help="model.upsamplings; the paper's is 5.")
    parser.add_argument("--levels", type=int, default=3, help="model.levels; the paper's is 4.")
    parser.add_argument("--image", default="128x96", metavar="WIDTHxHEIGHT")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="Measure the compiled options, too, which takes minutes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    width, height = map(int, options.image.split("x"))
    config = Config(
        data=DataConfig(width=width, height=height, load_width=width),
        # At the authors' gain the images of fresh networks are nearly flat, and would not show a difference.
        model=ModelConfig(width=options.width, hidden=options.hidden, upsamplings=options.upsamplings, levels=options.levels, init_gain=0.7),
        train=TrainConfig(progressive_epochs=0, epochs=1, batch=options.batch),
    )
    chosen = [each for each in OPTIONS if options.compile or not each.compiled]
    timings = measure_options(config, chosen, batch=options.batch, rounds=options.rounds)
    print(describe(timings))
    if options.json:
        size = {name: value for name, value in vars(options).items() if name != "json"}
        write_text(options.json, json.dumps({"versions": versions(), "size": size, "timings": [asdict(each) for each in timings]}, indent=1) + "\n")


def _players(config: Config, option: Option) -> Players:
    players = Players(replace(config, train=replace(config.train, precision=option.precision, compiled=option.compiled)), device="cpu")
    for network in (players.painter, players.discriminators):
        if option.layout != torch.channels_last:
            network.to(memory_format=option.layout)
            # A convolution takes the layout of its input, and one-hot label maps are born with channels last.
            network.register_forward_pre_hook(lambda _, inputs: tuple(x.contiguous(memory_format=option.layout) for x in inputs))
    return players


def _draw(players: Players, label_maps: np.ndarray) -> np.ndarray:
    """Images of label maps, all with the same noise."""
    data = players.config.data
    labels = one_hot(label_maps, len(data.classes), device="cpu")
    sources = [random_source("drawing", number) for number in range(len(labels))]
    shapes = players.painter.generator.noise_shapes(data.height, data.width)
    noise = [from_numpy(layer, device="cpu") for layer in layered_noise(sources, shapes)]
    set_training(players.painter, False)
    with no_gradients(), autocast(players.config.train.precision, device="cpu"):
        images = to_numpy(players.painter(labels, noise=noise, stage=None))
    set_training(players.painter, True)
    return images.astype(np.float32)


def _in_turn(works: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each work in each round."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, found in zip(works, times, strict=True):
            found.append(_seconds(work))
    return times


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
