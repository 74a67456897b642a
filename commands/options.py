"""Options that several commands share, and what their texts mean."""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apfgan.engines import VARIABLE, Engine
from apfgan.errors import UsageError

if TYPE_CHECKING:
    from apfgan.labels import Classes
    from selection.driving import Budget


class ExecutorChoice(StrEnum):
    """Where candidates are drawn and judged."""

    inline = "inline"
    local = "local"
    ray = "ray"


class FidChoice(StrEnum):
    """Whose FID."""

    pytorch_fid = "pytorch-fid"
    clean = "clean"


class GeometryChoice(StrEnum):
    """How the mask judge takes an image in."""

    native = "native"
    squash_512 = "squash-512"
    short_512 = "short-512"


class JudgesChoice(StrEnum):
    """Which judges score."""

    standard = "standard"
    embedded = "embedded"


RunOption = Annotated[Path, typer.Option("--run", help="The run directory.", show_default=False)]
BackendOption = Annotated[Engine, typer.Option("--backend", envvar=VARIABLE, help="The engine that computes.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ... (auto: cuda where there is one).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and prose on standard error.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say more; show the traceback of an error.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Noise seed of candidates that name none with @.", min=0)]
ClassesOption = Annotated[int | None, typer.Option("--classes", help="Number of classes. Default: the 29 landscape classes.", min=1)]
IgnoreOption = Annotated[int | None, typer.Option("--ignore", help="Pixel value that means unlabelled.")]
EpochsOption = Annotated[
    str,
    typer.Option("--epochs", help="270-310, 270-310:2, 273,298,299, last10, all, or candidates: avg_273_299@7.", show_default=False),
]

BudgetOption = Annotated[float | None, typer.Option("--budget", help="Evaluations at most; one is a candidate on all label maps.", min=1)]
TimeOption = Annotated[str | None, typer.Option("--time", help="Time of measuring at most: 2h, 30min, 90s.")]

ExecutorOption = Annotated[
    ExecutorChoice, typer.Option("--executor", help="inline: this process; local: one for each GPU; ray: the machines of a cluster.")
]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="With local or ray: so many processes. Default: one for each GPU.", min=1)]
AddressOption = Annotated[str | None, typer.Option("--ray-address", help="With ray: HOST:PORT of the cluster's head.")]


def read_budget(evaluations: float | None, time: str | None) -> "Budget":
    """What `--budget` and `--time` say."""
    from selection.driving import Budget

    if time is None:
        return Budget(evaluations)
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) ?(h|min|s)", time.strip())
    if not match:
        raise UsageError(f"--time {time}: write a number and a unit, as in 2h, 30min or 90s")
    return Budget(evaluations, float(match[1]) * {"h": 3600, "min": 60, "s": 1}[match[2]])


def read_classes(count: int | None, ignore: int | None) -> "Classes":
    """What `--classes` and `--ignore` say of a data set that no run knows."""
    from apfgan.labels import Classes

    return Classes(ignore=ignore) if count is None else Classes.numbered(count, ignore=ignore)


def read_size(text: str) -> tuple[int, int]:
    """Width and height, as `--size` gives them."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {text}: write WIDTHxHEIGHT in pixels, as in 512x384")
    return int(width), int(height)
