"""`apfgan demo`: the whole job on painted landscapes."""

import shlex
import sys
import time
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from apfgan.progress import describe_seconds
from commands.opening import read_ranking
from commands.options import JsonOption, QuietOption, VerboseOption
from commands.screen import Screen

DEMO_PAIRS, DEMO_MAPS = 96, 32
"""Training pairs and test label maps of the demo."""


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Where to put data, run, report and submission.")] = Path("apfgan-demo"),
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """The whole job on data it makes itself, offline, on a CPU, in minutes."""
    from apfgan.landscapes import make_landscapes

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    program = context.find_root().command
    data, run = out / "data", out / "run"
    commands = [
        ["train", "--data", str(data), "--run", str(run), "--preset", "tiny", "--device", "cpu"],
        ["score", "--run", str(run), "--data", str(data), "--epochs", "all", "--device", "cpu"],
        ["merge-search", "--run", str(run), "--confirm", "2", "--device", "cpu"],
        ["seed-search", "--run", str(run), "--tries", "5", "--device", "cpu"],
        ["report", "--run", str(run)],
        ["submit", "--run", str(run), "--device", "cpu"],
    ]
    began = time.monotonic()
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        print(f"[1/{len(commands) + 1}] paint {DEMO_PAIRS} training pairs and {DEMO_MAPS} test pairs into {data}", flush=True)
        make_landscapes(data, train=DEMO_PAIRS, test=DEMO_MAPS, width=256, height=192, progress=screen.progress)
        for number, command in enumerate(commands, start=2):
            print(f"\n[{number}/{len(commands) + 1}] apfgan {shlex.join(command)}", flush=True)
            talk = (["--quiet"] if quiet else []) + (["--verbose"] if verbose else [])
            program.main([*command, *talk], obj=command, standalone_mode=False)
    _summarise_demo(screen, out, seconds=time.monotonic() - began)


def _summarise_demo(screen: Screen, out: Path, *, seconds: float) -> None:
    """What was gained, from an untrained generator to the pick."""
    from apfgan.runs import Run
    from reports.terminal import with_error

    run = Run.open(out / "run")
    places = read_ranking(run)
    untrained = next(place for place in places if place.entry.name == "0")
    epoch = next(place for place in places if place.entry.name in run.checkpoint_names())
    shown = {"untrained": untrained, "best epoch": epoch, "best of all": places[0]}
    found = {name: {"candidate": place.entry.name, "score": place.value.value, "error": place.value.error} for name, place in shown.items()}
    result = {**found, "seconds": round(seconds, 1), "report": str(out / "run/report/index.html"), "submission": str(out / "run/result.zip")}
    lines = [f"{name:12} {place.entry.name:22} score {with_error(place.value)}" for name, place in shown.items()]
    screen.result(result, "\n".join(["", *lines, f"done in {describe_seconds(seconds)}. Open {result['report']}"]))
