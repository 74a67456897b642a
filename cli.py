"""The command line: one function a verb, each of which parses, opens what it needs, calls the core, and shows what came out.

Nothing heavy is imported until a verb needs it, so that `apfgan --help` answers at once. Results go to standard output; progress and
prose go to standard error; with `--json`, standard output holds one object and nothing else.
"""

import json
import logging
import re
import shlex
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from apfgan import __version__
from apfgan.errors import ApfganError, EnvironmentProblem, UsageError
from apfgan.progress import Progress, describe_seconds, terminal_progress

if TYPE_CHECKING:
    from apfgan.candidates import Candidate
    from apfgan.config import Config
    from apfgan.data import LabelCounts, TrainingPairs
    from apfgan.labels import Classes
    from apfgan.preflight import TrainingPlan
    from apfgan.ranking import Entry, Place
    from apfgan.records import Measurement
    from apfgan.runs import Run
    from apfgan.training import Company
    from apfgan.training_log import EpochRecord
    from metrics.segformer import Geometry
    from metrics.weights import Finding, Status
    from selection.distances import Comparison
    from selection.driving import Budget
    from selection.evaluation import Evaluation
    from selection.examining import Examiner
    from selection.image_candidates import ImageCandidates
    from selection.judge_check import Check
    from selection.measuring import Bench
    from selection.output_search import OutputVerdict
    from selection.pick_record import FinalistRecord, PickRecord, Verification
    from selection.showcase import Showcase
    from selection.units import Outcome, Search, Unit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train a semantic image generator, score its checkpoints, and choose the one to hand in.",
)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at a data set.")
weights_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Weights of judges and perceptual losses: what is here, and how to get the rest."
)
judge_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Judges of mask accuracy: fit one, and see what it is worth.")
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")
app.add_typer(judge_app, name="judge")


class ExecutorChoice(StrEnum):
    """Where candidates are drawn and judged."""

    inline = "inline"
    local = "local"
    ray = "ray"


RunOption = Annotated[Path, typer.Option("--run", help="The run directory.", show_default=False)]
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

INCEPTION_FEATURES = 2048
"""For fewer images than features the bias of a Fréchet distance is at its worst."""

DEMO_PAIRS, DEMO_MAPS = 96, 32
"""Training pairs and test label maps of the demo."""

RACED = 12
"""Candidates of `score` that are all measured in full unless a race is asked for."""

SAMPLED = 60
"""Evaluations of a sampler that is given no budget."""

EXPONENTS = (1, 2, 4, 8, 16, 32, 64)
"""Of the time trained, in `merge-search --kind powers`: from nearly the plain mean to the last few epochs."""

WIDTHS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15)
"""Of the averages along the training in `merge-search --kind ema`."""

PATIENCE = 8
"""Seconds that a stopped training gets to finish its batch and save itself; then it goes on from its last saved state."""

RESTARTS = 3
"""How often processes that train together are started again when one of them dies."""


class OnOff(StrEnum):
    """A switch."""

    on = "on"
    off = "off"


class ImageFormat(StrEnum):
    """How `generate` writes an image."""

    jpg = "jpg"
    png = "png"
    npy = "npy"


class PhaseChoice(StrEnum):
    """A phase of training."""

    progressive = "progressive"
    augmented = "augmented"


class FidChoice(StrEnum):
    """Whose FID."""

    pytorch_fid = "pytorch-fid"
    clean = "clean"


class CheckChoice(StrEnum):
    """A further network whose distance is reported."""

    dinov2 = "dinov2"
    clip = "clip"


class GeometryChoice(StrEnum):
    """How the mask judge takes an image in."""

    native = "native"
    squash_512 = "squash-512"
    short_512 = "short-512"


class SamplerChoice(StrEnum):
    """Who proposes shares."""

    cmaes = "cmaes"
    tpe = "tpe"


class KindChoice(StrEnum):
    """An average along the training."""

    windows = "windows"
    powers = "powers"
    ema = "ema"


class JudgesChoice(StrEnum):
    """Which judges score."""

    standard = "standard"
    embedded = "embedded"


@dataclass(frozen=True)
class Screen:
    """How this command talks: where progress goes, and whether results are text or JSON."""

    progress: Progress
    as_json: bool

    @classmethod
    def open(cls, *, as_json: bool, quiet: bool, verbose: bool) -> "Screen":
        """Set up for one command."""
        logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, stream=sys.stderr, format="%(message)s")
        return cls(terminal_progress(quiet=quiet), as_json)

    def result(self, value: Mapping[str, Any], text: str) -> None:
        """What the command found: the object, or the same as text."""
        print(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str) if self.as_json else text)


class _Stopped(BaseException):
    """A signal came. Every write is atomic, so it may interrupt anything."""

    def __init__(self, code: int) -> None:
        self.code = code


def main() -> NoReturn:
    """Run the command line and exit with the code of the kind of failure (`apfgan.errors`; 130 and 143: stopped)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app(obj=sys.argv[1:])
        code = 0
    except ApfganError as error:
        code = _fail(str(error), error.exit_code)
        logging.getLogger("apfgan").info("where it happened:", exc_info=error)
    except BrokenPipeError:
        sys.stdout = None  # whoever read our output has left; there is nobody to tell
        code = 0
    except BaseException as error:
        if (stopped := _stop_behind(error)) is None:
            raise
        code = _fail("stopped. Everything finished so far is kept; the same command goes on from there.", stopped.code)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # all is done and the code is known: only leaving is left
    sys.exit(code)


def _stop_behind(error: BaseException | None) -> _Stopped | None:
    """The signal that an error comes from. A library that is interrupted while it is imported may make another error of it."""
    while error is not None and not isinstance(error, _Stopped):
        error = error.__cause__ or error.__context__
    return error


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal does not wait for anything
    raise _Stopped(128 + number)


@contextmanager
def _patient() -> Iterator[Callable[[], bool]]:
    """Within this context a signal waits until the work has asked, by calling what is given, whether to stop; but not for long."""
    signals: list[int] = []

    def out_of_patience(number: int, frame: FrameType | None) -> None:
        raise _Stopped(128 + signals[0])

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        signal.signal(number, _stop)
        signal.signal(signal.SIGALRM, out_of_patience)
        signal.alarm(PATIENCE)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(signals)
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
    if signals:
        raise _Stopped(128 + signals[0])


def _fail(message: str, code: int) -> int:
    print(f"apfgan: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False))
    return code


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Where to put data, run, report and submission.")] = Path("apfgan-demo"),
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """The whole job on data it makes itself, offline, on a CPU, in minutes."""
    from apfgan.landscapes import make_landscapes

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
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
            app([*command, *talk], obj=command, standalone_mode=False)
    _summarise_demo(screen, out, seconds=time.monotonic() - began)


def _summarise_demo(screen: Screen, out: Path, *, seconds: float) -> None:
    """What was gained, from an untrained generator to the pick."""
    from apfgan.runs import Run
    from reports.terminal import with_error

    run = Run.open(out / "run")
    places = _ranking(run)
    untrained = next(place for place in places if place.entry.name == "0")
    epoch = next(place for place in places if place.entry.name in run.checkpoint_names())
    shown = {"untrained": untrained, "best epoch": epoch, "best of all": places[0]}
    found = {name: {"candidate": place.entry.name, "score": place.value.value, "error": place.value.error} for name, place in shown.items()}
    result = {**found, "seconds": round(seconds, 1), "report": str(out / "run/report/index.html"), "submission": str(out / "run/result.zip")}
    lines = [f"{name:12} {place.entry.name:22} score {with_error(place.value)}" for name, place in shown.items()]
    screen.result(result, "\n".join(["", *lines, f"done in {describe_seconds(seconds)}. Open {result['report']}"]))


@app.command()
def doctor(as_json: JsonOption = False, quiet: QuietOption = False, verbose: VerboseOption = False) -> None:
    """What this machine can do: versions, devices, memory, disk, pretrained weights."""
    import os
    import shutil

    import torch

    from apfgan.runs import versions
    from metrics.weights import catalogue_status

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    weights = catalogue_status()
    result = {
        "versions": versions(),
        "cuda": cuda,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "free_disk_gib": round(disk, 1),
        "weights": {each.entry.name: str(each.path) if each.path else None for each in weights},
    }
    lines = [f"{name:14}{version}" for name, version in versions().items()]
    lines += [
        f"{'devices':14}{', '.join(['cpu', *cuda])} ({os.cpu_count()} cores)",
        f"{'memory':14}{memory:.1f} GiB",
        f"{'free disk':14}{disk:.1f} GiB here",
    ]
    lines += ["", _weights_text(weights)]
    screen.result(result, "\n".join(lines))


@data_app.command("check")
def data_check(
    data: Annotated[Path, typer.Argument(help="Folder with train/imgs, train/labels and perhaps test/labels.", show_default=False)],
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    problems: Annotated[Path | None, typer.Option("--problems", help="Write every problem to this file, a line each.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Decode every file, report all that is wrong at once, and count the classes."""
    from apfgan.data import check_dataset
    from apfgan.files import write_text
    from apfgan.images import shown

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    meaning = _classes(classes, ignore)
    found = check_dataset(data, meaning, progress=screen.progress)
    if problems is not None:
        write_text(problems, "".join(f"{shown(path)}: {message}\n" for path, message in found.problems))
    parts = {"train": found.train} | ({"test": found.test} if found.test else {})
    result = {
        "problems": [{"path": str(problem.path), "message": problem.message} for problem in found.problems],
        **{name: {"maps": counts.maps, "class_maps": counts.class_maps, "class_pixels": counts.class_pixels} for name, counts in parts.items()},
    }
    if found.train.maps and not (as_json and found.problems):
        screen.result(result, _counts_text(meaning, parts))
    found.raise_problems()


@app.command()
def train(
    context: typer.Context,
    run: RunOption,
    data: Annotated[Path, typer.Option("--data", help="Data set in the real layout.", show_default=False)],
    preset: Annotated[
        str | None, typer.Option("--preset", help="Settings by name: full, single-gpu-24g, original, tiny. Default: full, or the run's own.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings in a TOML file, on top of the preset.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="One setting, as section.key=value; may be repeated.")] = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    exclude: Annotated[Path | None, typer.Option("--exclude", help="Text file with names of training pairs to leave out, one a line.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the initial weights and of every draw (train.seed).", min=0)] = None,
    origin: Annotated[
        str | None, typer.Option("--fork", help="Begin a new run where this one stands (RUN), or stood at the end of its first phase (RUN@180).")
    ] = None,
    phase: Annotated[PhaseChoice | None, typer.Option("--phase", help="Train this phase only.")] = None,
    until: Annotated[int | None, typer.Option("--until", help="Stop after this epoch; the same command without it goes on.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Try the largest training step, print what the training will take, and leave.")] = False,
    plan_seconds: Annotated[
        float, typer.Option("--plan-seconds", help="How long to try training steps before the start; 0: not at all.", min=0)
    ] = 60,
    probe: Annotated[int, typer.Option("--probe", help="Score full-size epochs on so many label maps, for the best so far; 0: do not.", min=0)] = 16,
    patience: Annotated[int, typer.Option("--patience", help="Epochs without life in the images that end the training; 0: never.", min=0)] = 3,
    processes: Annotated[int, typer.Option("--nproc", help="Train in so many processes of this machine, one for each GPU.", min=1)] = 1,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train both phases; a run that was stopped goes on where it was."""
    from apfgan.backend import join, wait
    from apfgan.data import TrainingPairs, find_pairs
    from apfgan.launch import launch, launched
    from apfgan.preflight import describe_plan
    from apfgan.runs import Run
    from apfgan.training import Company
    from apfgan.training import train as train_run

    if processes > 1 and not launched():
        command = [sys.executable, str(Path(__file__).resolve()), *context.obj]
        raise typer.Exit(launch(command, processes=processes, restarts=RESTARTS))
    if probe == 1:
        raise UsageError("--probe 1: a Fréchet distance needs two images at least; give a larger number, or 0 for no probe")
    source = _fork_source(origin)
    chosen = _training_config(
        run, source and source[0], preset=preset, config=config, settings=settings or [], classes=classes, ignore=ignore, exclude=exclude, seed=seed
    )
    if plan:
        screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
        ahead = _plan(Run(run), chosen, len(find_pairs(data)), screen, until=until, processes=processes, seconds=plan_seconds, device=_device(device))
        screen.result(asdict(ahead), describe_plan(ahead, now=datetime.now()))
        return
    opened = Run.create(run, chosen)
    with ExitStack() as held:
        world, own = held.enter_context(join(_device(device)))
        screen = Screen.open(as_json=as_json, quiet=quiet or not world.leads, verbose=verbose)
        company = Company(progress=screen.progress, patience=patience)
        if world.leads:
            held.enter_context(opened.lock())
            opened.record_command(context.obj)
            pairs = _training_pairs(opened, data, screen, device=own)
            if source is not None:
                _fork(opened, pairs, source, screen, device=own)
        wait(world)
        last = _last_epoch(opened, phase, until)
        if world.leads:
            ahead = _plan(opened, chosen, len(pairs), screen, until=last, processes=world.size, seconds=plan_seconds, device=own)
            screen.progress.say(describe_plan(ahead, now=datetime.now()))
            # A Fréchet distance needs two images; of a single pair there is nothing to probe.
            company = _with_watchers(company, opened, data, screen, images=probe if len(pairs) > 1 else 0, device=own)
        else:
            pairs = TrainingPairs(find_pairs(data), chosen.data)
        company = replace(company, stop=held.enter_context(_patient()))
        epochs = 0
        for record in train_run(opened, pairs, device=own, until=last, company=company, world=world):
            epochs += 1
            screen.progress.say(_epoch_text(record))
    if world.leads:
        _show_training(screen, opened, epochs)


def _training_pairs(run: "Run", data: Path, screen: Screen, *, device: str) -> "TrainingPairs":
    """The training set after one pass over it, from which the reference of its photos comes as well where that costs little."""
    from apfgan.data import TrainingPairs
    from metrics.inception import InceptionJudge
    from metrics.weights import INCEPTION, find_file, locate
    from selection.survey import survey_data

    # On a CPU the judge would take longer than reading the photos again when they are scored.
    judge = InceptionJudge(find_file(INCEPTION), device=device) if device.startswith("cuda") and locate(INCEPTION) else None
    survey = survey_data(run, data, judge=judge, progress=screen.progress)
    pairs = TrainingPairs(survey.pairs, run.config.data, hashes=survey.hashes)
    if missing := pairs.not_found:
        excluded = len(run.config.data.exclude)
        screen.progress.say(
            f"{len(missing)} of {excluded} excluded names are not in the data: {', '.join(missing[:5])}{'...' if missing[5:] else ''}"
        )
    return pairs


def _fork(run: "Run", pairs: "TrainingPairs", source: "tuple[Run, int | None]", screen: Screen, *, device: str) -> None:
    """Begin `run` with another one's weights, unless that was done already."""
    from apfgan.training import fork

    if not run.checkpoint_names():
        begun = fork(run, pairs, source[0], epoch=source[1], device=device)
        screen.progress.say(f"begins with {source[0].path} at epoch {begun}")


def _plan(
    run: "Run", config: "Config", pairs: int, screen: Screen, *, until: int | None, processes: int, seconds: float, device: str
) -> "TrainingPlan":
    """What the rest of the training will take; `run` need not exist yet."""
    from apfgan.preflight import plan_training
    from apfgan.training_log import read_log

    # A fork begins with a checkpoint and no log of its own.
    finished = [record.epoch for record in read_log(run.training_log)] + run.epochs()
    return plan_training(
        config,
        pairs=pairs,
        device=device,
        checkpoints=run.checkpoints,
        finished=max(finished, default=0),
        until=until,
        processes=processes,
        probe_seconds=seconds,
        progress=screen.progress,
    )


def _with_watchers(company: "Company", run: "Run", data: Path, screen: Screen, *, images: int, device: str) -> "Company":
    """Previews, and a probe on so many label maps (0: none)."""
    from apfgan.previews import load_panel
    from selection.probe import open_probe

    probe = open_probe(run, data, images=images, device=device, progress=screen.progress) if images > 0 else None
    return replace(company, panel=load_panel(data, run.config.data), probe=probe)


def _epoch_text(record: "EpochRecord") -> str:
    from apfgan.health import symptom
    from reports.terminal import with_error

    losses = "  ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
    probe = "" if record.probe is None else f"  probe {with_error(record.probe)}"
    warning = f"\n  {sign}" if (sign := symptom(record)) else ""
    return f"epoch {record.epoch:>3}  {record.phase:<12} {record.seconds:6.1f} s  {losses}{probe}{warning}"


def _show_training(screen: Screen, run: "Run", epochs: int) -> None:
    """What a training has come to."""
    from apfgan.candidates import is_average
    from apfgan.training_log import rank_by_probe, read_log
    from reports.terminal import with_error

    names = run.checkpoint_names()
    best = next(iter(rank_by_probe(read_log(run.training_log))), None)
    result: dict[str, Any] = {"run": str(run.path), "epochs": epochs, "checkpoints": names}
    averages = sum(map(is_average, names))
    kept = _epochs_text([name for name in names if not is_average(name)]) + (f", and {averages} averages (--epochs ema)" if averages else "")
    lines = [f"trained {epochs} epochs" if epochs else "nothing to train: the last epoch is done", f"checkpoints: {kept}"]
    if best is not None:
        result["probe"] = {"epoch": int(best.entry.name), "score": best.value.value, "error": best.value.error}
        lines.append(f"best by the probe, on a few label maps: epoch {best.entry.name}, {with_error(best.value)}")
    screen.result(result, "; ".join(lines[:2]) + "".join(f"\n{line}" for line in lines[2:]))


def _training_config(
    path: Path,
    source: "Run | None",
    *,
    preset: str | None,
    config: Path | None,
    settings: Sequence[str],
    classes: int | None,
    ignore: int | None,
    exclude: Path | None,
    seed: int | None,
) -> "Config":
    """The settings of the run at `path` where none is named, else those named: on top of a preset, or of the run that is forked."""
    from apfgan.config import PRESETS, build_config, load_config, parse_settings
    from apfgan.labels import Classes
    from apfgan.runs import Run

    if preset is not None and preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; known: {', '.join(PRESETS)}")
    if preset is not None and source is not None:
        raise UsageError("--fork takes the settings of the run that it begins with: change them by --config or --set, not by --preset")
    if (path / "run.toml").exists() and not (preset or config or settings or exclude or any(each is not None for each in (classes, ignore, seed))):
        return Run.open(path).config
    chosen = PRESETS[preset or "full"] if source is None else source.config
    if config:
        chosen = load_config(config, base=chosen)
    named: dict[str, dict[str, Any]] = {"data": {}, "train": {}}
    if classes is not None:
        named["data"]["classes"] = list(Classes.numbered(classes).names)
    if ignore is not None:
        named["data"]["ignore"] = ignore
    if exclude is not None:
        named["data"]["exclude"] = _lines(exclude)
    if seed is not None:
        named["train"]["seed"] = seed
    return build_config(parse_settings(settings), base=build_config(named, base=chosen))


def _fork_source(text: str | None) -> "tuple[Run, int | None] | None":
    """The run and the epoch that `--fork` names."""
    from apfgan.runs import Run

    if text is None:
        return None
    path, at, epoch = text.rpartition("@")
    return (Run.open(Path(path)), int(epoch)) if at and epoch.isdigit() else (Run.open(Path(text)), None)


def _last_epoch(run: "Run", phase: PhaseChoice | None, until: int | None) -> int | None:
    """Where training shall end, by `--phase` and `--until`; refuses a second phase whose first is not done."""
    boundary = run.config.train.progressive_epochs
    if phase is PhaseChoice.progressive:
        return boundary if until is None else min(until, boundary)
    if phase is PhaseChoice.augmented and boundary > 0 and max(run.epochs(), default=0) < boundary:
        raise UsageError(
            f"{run.path} has not finished its first phase (epochs 1-{boundary}): train it first (--phase progressive), or begin with a run that "
            f"has (--fork RUN@{boundary})"
        )
    return until


def _lines(path: Path) -> list[str]:
    """The lines of a text file that say something, each once."""
    try:
        return list(dict.fromkeys(filter(None, (line.strip() for line in path.read_text(encoding="utf-8").splitlines()))))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the names in {path}: {error}") from error


@app.command()
def generate(
    run: RunOption,
    epochs: EpochsOption,
    labels: Annotated[Path, typer.Option("--labels", help="Folder of label maps.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the images; several candidates get a folder each.", show_default=False)],
    seed: SeedOption = None,
    noise: Annotated[OnOff, typer.Option("--noise", help="Label-guided noise.")] = OnOff.on,
    image_format: Annotated[ImageFormat, typer.Option("--format", help="npy: float32 (3, H, W) in [-1, 1].")] = ImageFormat.jpg,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Draw an image for every label map of a folder."""
    from apfgan.data import check_label_maps, find_label_maps
    from apfgan.runs import Run
    from reports.terminal import wrapped
    from selection.evaluation import remembered
    from selection.finishing import replacement_note
    from selection.generating import generate_images
    from selection.studio import Studio

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    candidates = _candidates(opened, epochs, seed)
    label_maps = find_label_maps(labels)
    check_label_maps(label_maps, opened.config.data.label_classes)
    studio = Studio(opened, label_maps, remembered(opened).data, _device(device))
    # What the training set is made of is kept in the run.
    with opened.lock() if any(each.photos or each.recalibrated for each in candidates) else nullcontext():
        for candidate in candidates:
            folder = out if len(candidates) == 1 else out / str(candidate)
            generate_images(studio, candidate, folder, form=image_format.value, noise=noise is OnOff.on, progress=screen.progress)
        notes = [note for candidate in candidates if (note := replacement_note(studio, candidate))]
    count = len(label_maps) * len(candidates)
    result = {"images": count, "candidates": [str(each) for each in candidates], "out": str(out), "notes": notes}
    screen.result(result, "\n".join([f"{count} images in {out}", *(wrapped(f"note: {note}") for note in notes)]))


@app.command()
def score(
    context: typer.Context,
    run: Annotated[Path | None, typer.Option("--run", help="The run directory. With --images: where the scores are kept (apfgan-scores).")] = None,
    epochs: Annotated[str, typer.Option("--epochs", help="270-310, 270-310:2, 273,298,299, last10, all, or candidates: avg_273_299@7.")] = "all",
    images: Annotated[
        list[str] | None,
        typer.Option("--images", help="Images of any generator instead: 'out/{epoch}/*.jpg', 'zips/{name}.zip', NAME=FOLDER; may be repeated."),
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Folder of label maps.")] = None,
    real: Annotated[Path | None, typer.Option("--real", help="Photos to compare with: folder, zip, or pytorch-fid's .npz.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Data set that holds both (test/labels, train/imgs).")] = None,
    judges: Annotated[
        JudgesChoice | None, typer.Option("--judges", help="standard: Inception, SegFormer, CLIP; embedded: fitted on the training pairs.")
    ] = None,
    fid: Annotated[FidChoice | None, typer.Option("--fid", help="Standard judges: whose FID.")] = None,
    check: Annotated[list[CheckChoice] | None, typer.Option("--check", help="Standard judges: a further distance; may be repeated.")] = None,
    segformer: Annotated[str | None, typer.Option("--segformer", help="Standard judges: folder or hub id of the SegFormer.")] = None,
    geometry: Annotated[GeometryChoice | None, typer.Option("--geometry", help="Standard judges: how the SegFormer takes an image in.")] = None,
    aesthetic_head: Annotated[Path | None, typer.Option("--aesthetic-head", help="Standard judges: another of LAION's heads.")] = None,
    board: Annotated[str | None, typer.Option("--board", help="Formula of the total: A, B, jittor3, or a .toml of your own.")] = None,
    votes: Annotated[float | None, typer.Option("--votes", help="Share of the jury's votes, 0 to 1, where the formula weighs it.")] = None,
    style_similarity: Annotated[float | None, typer.Option("--style-similarity", help="-1 to 1, where the formula weighs it.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Only so many label maps, evenly spread.", min=2)] = None,
    expect: Annotated[int | None, typer.Option("--expect", help="Refuse any other number of label maps.", min=2)] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="With --images: take the label maps of which all sets have one.")] = False,
    reencode: Annotated[bool, typer.Option("--reencode", help="With --images: all pass the JPEG encoder of a submission first.")] = False,
    convert: Annotated[
        bool | None, typer.Option("--convert/--strict", help="Read doubtful files (16 bit, transparent, ...) as pytorch-fid does, or refuse them.")
    ] = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    seed: SeedOption = None,
    race: Annotated[
        bool | None, typer.Option("--race/--full", help="Drop who cannot be among the best early, or not. Default: race more than 12 candidates.")
    ] = None,
    executor: ExecutorOption = ExecutorChoice.inline,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure candidates into the ledger; what it holds already is not measured again."""
    from apfgan.runs import Run
    from selection.evaluation import open_label_maps, remembered

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    named: dict[str, Any] = {
        "labels": labels,
        "real": real,
        "data": data,
        "judges": judges and judges.value,
        "fid": fid and fid.value,
        "checks": tuple(each.value for each in check) if check else None,
        "segformer": segformer,
        "geometry": geometry and geometry.value,
        "aesthetic_head": aesthetic_head,
        "board": board,
        "votes": votes,
        "style_similarity": style_similarity,
        "convert": convert,
    }
    # A quick look is not remembered by the next score, only by the searches that follow it.
    asked = {name: value for name, value in named.items() if value is not None} | {"limit": limit}
    if run is None and not images:
        raise UsageError("name what to score: --run RUN, or --images 'out/{epoch}/*.jpg' for the images of another generator")
    here = Run(run or Path("apfgan-scores"))
    known = here.config_path.exists()
    candidates = [] if images else _candidates(Run.open(here.path), epochs, seed)
    evaluation = replace(remembered(here), **asked)
    standard = {"--fid": fid, "--check": check, "--segformer": segformer, "--geometry": geometry, "--aesthetic-head": aesthetic_head}
    if evaluation.judges == "embedded" and (idle := [option for option, value in standard.items() if value]):
        raise UsageError(f"{', '.join(idle)}: the embedded judges know nothing of it; add --judges standard")
    label_maps = open_label_maps(evaluation, expect=expect)
    found = None
    if images:
        found = _find_images(
            images, label_maps, here if known else None, screen, convert=evaluation.convert, missing=allow_missing, reencode=reencode
        )
        if not known:
            Run.create(here.path, _foreign_config(found.size, classes, ignore))
        candidates = list(found.checked)
    with here.lock():
        here.record_command(context.obj)
        bench = _bench(here, device, screen, asked, images=found)
        if found and (copies := found.copies_of(bench.photos.contents)):
            screen.progress.say(f"note: {copies} images are among the photos that they are compared with")
        _find_anchors(bench, evaluation, screen)
        with _examiner(bench, screen, executor, workers, ray_address, images=found) as examiner:
            _sweep(candidates, examiner, race=len(candidates) > RACED if race is None else race)
    if any(each.part is None for each in here.ledger.read()):
        _show_ranking(screen, here)
    examiner.raise_failures()


def _sweep(candidates: "Sequence[Candidate]", examiner: "Examiner", *, race: bool) -> None:
    """Measure candidates on all label maps, or only those that a race leaves; says what it saved."""
    from selection import racing
    from selection.driving import UNLIMITED
    from selection.merge_search import at_once

    found = _search(racing.race(candidates, images=examiner.images) if race else at_once(candidates), examiner, UNLIMITED)
    summary = racing.summarise(found, images=examiner.images)
    if summary.dropped:
        examiner.progress.say(
            f"raced: {len(summary.finished)} of {len(candidates)} went on to all {examiner.images} label maps; {summary.saved:.0%} of the images "
            f"of a full sweep were not needed (--full draws them)"
        )


def _find_images(
    patterns: Sequence[str], label_maps: Sequence[Path], run: "Run | None", screen: Screen, *, convert: bool, missing: bool, reencode: bool
) -> "ImageCandidates":
    """The sets of images that the patterns name, checked; of the size that the run has, if there is one."""
    from apfgan.config import OutputConfig
    from selection.image_candidates import find_image_candidates

    found = find_image_candidates(
        patterns,
        label_maps,
        size=None if run is None else (run.config.data.width, run.config.data.height),
        convert=convert,
        allow_missing=missing,
        reencode=None if not reencode else OutputConfig() if run is None else run.config.output,
        progress=screen.progress,
    )
    screen.progress.say(f"{len(found.checked)} sets of {len(found.label_maps)} images, {found.size[0]}x{found.size[1]}, all whole")
    for note in found.notes:
        screen.progress.say(f"note: {note}")
    return found


def _foreign_config(size: tuple[int, int], classes: int | None, ignore: int | None) -> "Config":
    """Settings of a run that holds nothing but scores of images from elsewhere."""
    from apfgan.config import Config, DataConfig, TrainConfig
    from apfgan.labels import Classes

    meaning = Classes(ignore=ignore) if classes is None else Classes.numbered(classes, ignore=ignore)
    data = DataConfig(width=size[0], height=size[1], load_width=size[0], classes=meaning.names, ignore=ignore)
    return Config(data=data, train=TrainConfig(progressive_epochs=0, epochs=0))


def _find_anchors(bench: "Bench", evaluation: "Evaluation", screen: Screen) -> None:
    """Have it known what real photos score."""
    from selection.anchors import find_anchors, real_photos

    find_anchors(bench, real_photos(evaluation, bench.label_maps), progress=screen.progress)


@app.command()
def rank(
    run: Annotated[Path | None, typer.Option("--run", help="The run directory.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Rank a table measured elsewhere instead.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Metric that decides. Default: the composite, or the one metric of the table.")] = None,
    board: Annotated[str | None, typer.Option("--board", help="Formula of a table's total. Default: by its columns.")] = None,
    top: Annotated[int, typer.Option("--top", help="Show so many.", min=1)] = 20,
    checks: Annotated[bool, typer.Option("--checks", help="Show the checks: mean IoU, KID, precision, recall, further distances.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Order what was measured, best first, with its noise."""
    from apfgan.runs import Run
    from metrics.composite import find_formula
    from reports.terminal import Standings
    from selection.tables import rank_table

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    if (run is None) == (csv is None):
        raise UsageError("name what to rank: --run RUN, or --csv FILE")
    if csv is not None:
        table = rank_table(csv, by=by, formula=find_formula(board) if board else None)
        standings = Standings(places=table.places, by=table.by, notes=table.disagreements)
        screen.result(standings.as_json(), standings.as_text(top=top))
    elif run is not None:
        _show_ranking(screen, Run.open(run), by=by or "composite", top=top, checks=checks)


@app.command()
def merge(
    context: typer.Context,
    run: RunOption,
    members: Annotated[
        list[str], typer.Argument(help="Epochs to average, or one candidate: 0.4*273+0.6*299, avg_273_299~recal500, 299~ema0.03.", show_default=False)
    ],
    weights: Annotated[str | None, typer.Option("--weights", help="Their shares, as 0.4,0.6. Default: equal.")] = None,
    window: Annotated[int | None, typer.Option("--window", help="Average so many saved epochs, up to the one that is named.", min=2)] = None,
    bn: Annotated[
        str | None, typer.Option("--bn", help="BatchNorm's statistics: average (default), or recal:500, taken anew on 500 training label maps.")
    ] = None,
    allow_cross_run: Annotated[bool, typer.Option("--allow-cross-run", help="Average checkpoints of different runs all the same.")] = False,
    data: Annotated[Path | None, typer.Option("--data", help="The training set, for recal. Default: the one that score used.")] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Average checkpoints into one and save it, with its recipe beside it."""
    from apfgan.candidates import select_candidates
    from apfgan.runs import Run
    from selection.candidate_weights import require_weights, save_candidate
    from selection.evaluation import remembered
    from selection.studio import Studio

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    candidate = _asked_merge(opened, members, shares=_numbers(weights, "--weights") if weights else None, window=window, norms=bn)
    require_weights(candidate)
    select_candidates(str(candidate), opened.checkpoint_names())  # names what is missing
    with opened.lock():
        opened.record_command(context.obj)
        studio = Studio(opened, (), data or remembered(opened).data, _device(device))
        manifest = save_candidate(studio, candidate, allow_cross_run=allow_cross_run)
    path = opened.checkpoint_path(candidate.base)
    result = {"candidate": candidate.base, "path": str(path), "sha256": manifest.sha256, "members": dict(manifest.members)}
    made_of = ", ".join(f"{share:.6g} of {name}" for name, share in manifest.members.items())
    screen.result(result, f"{candidate.base} -> {path}\nmade of {made_of}")


def _asked_merge(run: "Run", members: Sequence[str], *, shares: tuple[float, ...] | None, window: int | None, norms: str | None) -> "Candidate":
    """The candidate that `merge` is asked to save."""
    from apfgan.candidates import Candidate
    from selection.merge_candidates import windows

    candidate = Candidate.parse(members[0]) if len(members) == 1 and shares is None else Candidate(tuple(members), shares)
    if window is not None:
        (last, *others), epochs = candidate.members, run.epochs()
        if others or not last.isdigit():
            raise UsageError(f"--window {window} averages epochs up to one: apfgan merge --run {run.path} --window {window} EPOCH")
        found = windows([replace(candidate, members=(str(epoch),)) for epoch in epochs if epoch <= int(last)], (window,))
        if int(last) not in epochs or not found:
            raise UsageError(f"there are no {window} epochs up to {last} to average; saved: {_epochs_text(list(map(str, epochs))) or 'none'}")
        (candidate,) = found
    if norms is not None:
        how, _, count = norms.partition(":")
        if norms != "average" and not (how == "recal" and count.isdecimal() and int(count) > 0):
            raise UsageError(f"--bn {norms}: write average, or recal:500 for statistics taken anew on so many training label maps")
        candidate = replace(candidate, recalibrated=int(count or 0))
    return candidate


@app.command("import")
def import_original(
    context: typer.Context,
    generator: Annotated[Path, typer.Argument(help="The original's *_net_G.pkl.", show_default=False)],
    run: RunOption,
    encoder: Annotated[Path | None, typer.Argument(help="Its *_net_E.pkl. Default: the one beside it.", show_default=False)] = None,
    discriminators: Annotated[Path | None, typer.Option("--discriminators", help="Its *_net_D.pkl, to train on from that epoch.")] = None,
    epoch: Annotated[str | None, typer.Option("--epoch", help="Name of the checkpoint. Default: what the file is called.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="Size of the images of a new run, WIDTHxHEIGHT. Default: 512x384.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Take over a checkpoint of the original program; nothing in its files is executed."""
    from apfgan.original import ABSENT, LEVELS, config_for, count_levels, encoder_beside, name_of, read_discriminators, read_painter, save_original
    from apfgan.runs import Run

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    name = name_of(generator, epoch)
    if discriminators and not name.isdigit():
        raise UsageError(f"training goes on from an epoch: with --discriminators, give --epoch a number instead of {name}")
    levels = count_levels(discriminators) if discriminators else LEVELS
    painter = read_painter(generator, encoder or encoder_beside(generator), levels=levels)
    opponents = read_discriminators(discriminators, painter) if discriminators else None
    if (run / "run.toml").exists():
        opened = Run.open(run)
        if size is not None and _size(size) != (opened.config.data.width, opened.config.data.height):
            raise UsageError(f"{run} draws at {opened.config.data.width}x{opened.config.data.height}. Leave --size out, or choose another --run")
    else:
        width, height = _size(size or "512x384")
        opened = Run.create(run, config_for(painter, width=width, height=height))
    with opened.lock():
        opened.record_command(context.obj)
        manifest = save_original(opened, name, painter, discriminators=opponents)
    path = opened.checkpoint_path(name)
    lines = [f"{name} -> {path} (width {painter.model.width}, {painter.classes} classes)"]
    lines += [f"note: the file has no {ABSENT[part]}" for part in painter.absent]
    if opponents is not None:
        lines.append(f"train on with: apfgan train --data DATA --run NEW --fork {run}")
    result = {"checkpoint": name, "path": str(path), "sha256": manifest.sha256, "width": painter.model.width, "classes": painter.classes}
    screen.result(result | {"absent": [ABSENT[part] for part in painter.absent]}, "\n".join(lines))


@app.command("export")
def export_original(
    run: RunOption,
    candidate: Annotated[str, typer.Argument(help="299, avg_273_299, 0.4*273+0.6*299, 299~ema0.03, ...", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.", show_default=False)],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a candidate as files that the original program loads."""
    from apfgan.original import export_painter, write_painter
    from apfgan.runs import Run
    from selection.candidate_weights import candidate_weights, require_weights, weights_phase
    from selection.evaluation import remembered
    from selection.studio import Studio

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    chosen, *others = _candidates(opened, candidate, None)
    if others:
        raise UsageError(f"{candidate} names {1 + len(others)} candidates; export them one by one")
    require_weights(chosen)
    studio = Studio(opened, (), remembered(opened).data)
    with opened.lock() if chosen.recalibrated else nullcontext():  # what is taken anew is kept
        weights = candidate_weights(studio, chosen)
    paths = write_painter(out, chosen.base, export_painter(weights, opened.config, phase=weights_phase(studio, chosen)))
    screen.result({"candidate": chosen.base, "files": [str(path) for path in paths]}, "\n".join(str(path) for path in paths))


@app.command("merge-search")
def merge_search(
    context: typer.Context,
    run: RunOption,
    best: Annotated[int | None, typer.Option("--best", help="Measure every combination of so many of the best, as the authors did.", min=2)] = None,
    sampler: Annotated[SamplerChoice | None, typer.Option("--sampler", help="Sample the shares of the best 8 instead: for large budgets.")] = None,
    kind: Annotated[KindChoice | None, typer.Option("--kind", help="Measure averages of one kind instead, along the training.")] = None,
    budget: BudgetOption = None,
    hours: TimeOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampler.", min=0)] = 0,
    confirm: Annotated[int, typer.Option("--confirm", help="Fresh seeds to confirm the best three with; 0: do not.", min=0, max=1000)] = 5,
    executor: ExecutorOption = ExecutorChoice.inline,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Search the mean of several checkpoints that scores best; the default plan takes at most 16 evaluations."""
    from apfgan.runs import Run
    from selection.driving import spent

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    with opened.lock():
        opened.record_command(context.obj)
        ranked = [place.entry for place in _ranking(opened)]
        bench = _bench(opened, device, screen)
        search = _merge_search(ranked, bench, best=best, sampler=sampler, kind=kind, seed=seed, evaluations=budget)
        with _examiner(bench, screen, executor, workers, ray_address) as examiner:
            found = _search(search, examiner, _budget(budget, hours))
            screen.progress.say(f"looked at {len({unit.candidate for unit in found})} merges in {spent(found, examiner.images):.1f} evaluations")
            finalists = _confirm(examiner, seeds=confirm) if confirm else []
    _show_ranking(screen, opened, finalists=finalists)
    examiner.raise_failures()


def _confirm(examiner: "Examiner", *, seeds: int) -> "list[FinalistRecord]":
    """The best three so far and the best single checkpoint, with fresh seeds: what they truly have."""
    from selection.confirming import FRESH_SEEDS, best_single, confirm, finalists_of, judge_confirmation
    from selection.driving import UNLIMITED
    from selection.pick_plan import FINALISTS
    from selection.pick_record import finalist_record

    ranking = [place for place in _ranking(examiner.bench.run) if place.entry.measurement and place.entry.measurement.seed not in FRESH_SEEDS]
    single = best_single(ranking)
    if single is None:
        return []
    finalists, fresh = finalists_of(ranking, most=FINALISTS), range(FRESH_SEEDS[0], FRESH_SEEDS[0] + seeds)
    examiner.progress.say(f"confirm {', '.join(map(str, finalists))} with {seeds} fresh seeds")
    found = _search(confirm(finalists, fresh), examiner, UNLIMITED)
    confirmed = judge_confirmation(found, finalists, single=single, tried=len(ranking), formula=examiner.bench.formula, seeds=fresh)
    return [finalist_record(each) for each in confirmed.finalists] if confirmed else []


def _merge_search(
    ranked: "Sequence[Entry]",
    bench: "Bench",
    *,
    best: int | None,
    sampler: SamplerChoice | None,
    kind: KindChoice | None,
    seed: int,
    evaluations: float | None,
) -> "Search":
    """The search that the options ask for: the plan, unless they name another."""
    from apfgan.candidates import Candidate
    from selection.merge_candidates import post_hoc, powers, windows
    from selection.merge_search import at_once, exhaustive, planned
    from selection.sampled_search import sampled

    if sum(each is not None for each in (best, sampler, kind)) > 1:
        raise UsageError("--best, --sampler and --kind each name another search: take one of them")
    candidates = [Candidate.parse(entry.name) for entry in ranked]
    if best is not None:
        return exhaustive(candidates, best)
    if sampler is not None:
        return sampled(candidates, sampler=sampler.value, evaluations=int(evaluations or SAMPLED), seed=seed)
    if kind is not None:
        epochs = [Candidate((str(epoch),)) for epoch in bench.run.epochs() if epoch > bench.run.config.train.progressive_epochs]
        if len(epochs) < 2:
            raise UsageError(f"{bench.run.path} has {len(epochs)} epochs of the second phase: there is nothing to average along the training")
        match kind:
            case KindChoice.windows:
                return at_once(windows(epochs))
            case KindChoice.powers:
                return at_once(powers(epochs, EXPONENTS))
            case KindChoice.ema:
                return at_once(post_hoc(epochs[-1], WIDTHS))
    return planned(ranked, images=len(bench.label_maps))


@app.command("seed-search")
def seed_search(
    context: typer.Context,
    run: RunOption,
    candidate: Annotated[str | None, typer.Option("--candidate", help="Default: the best so far.")] = None,
    tries: Annotated[int, typer.Option("--tries", help="How many seeds.", min=2)] = 20,
    executor: ExecutorOption = ExecutorChoice.inline,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure one candidate under many noise seeds, and say what the best of them is worth."""
    from apfgan.candidates import Candidate
    from apfgan.runs import Run
    from selection.driving import UNLIMITED
    from selection.pacing import cost_text
    from selection.seed_search import search_seeds

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    with opened.lock():
        opened.record_command(context.obj)
        chosen = _candidates(opened, candidate, None)[0] if candidate else Candidate.parse(_ranking(opened)[0].entry.name)
        bench = _bench(opened, device, screen)
        with _examiner(bench, screen, executor, workers, ray_address) as examiner:
            screen.progress.say(f"{tries} seeds of {chosen.unseeded}: {cost_text(tries, _pace(examiner))} in all")
            found = _search(search_seeds(chosen, tries), examiner, UNLIMITED)
    examiner.raise_failures()
    _show_seeds(screen, chosen, list(found.values()))


@app.command("output-search")
def output_search(
    context: typer.Context,
    run: RunOption,
    candidate: Annotated[str | None, typer.Option("--candidate", help="Default: the best so far.")] = None,
    qualities: Annotated[str, typer.Option("--qualities", help="JPEG qualities, 1 to 95.")] = "75,85,90,95",
    subsamplings: Annotated[str, typer.Option("--subsamplings", help="How JPEGs store colours: 420, 422, 444.")] = "420,444",
    photos: Annotated[
        bool | None,
        typer.Option("--photos/--no-photos", help="Try training photos for single-class drawings, too. Default: if a training set is known."),
    ] = None,
    executor: ExecutorOption = ExecutorChoice.inline,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure one candidate's drawings stored in several ways, and say which is better than the run's own."""
    from apfgan.candidates import Candidate
    from apfgan.runs import Run
    from selection import output_search as search
    from selection.driving import UNLIMITED
    from selection.finishing import Finish, replacement_note

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    settings = search.jpeg_settings(qualities, subsamplings)
    with opened.lock():
        opened.record_command(context.obj)
        chosen = _candidates(opened, candidate, None)[0] if candidate else Candidate.parse(_ranking(opened)[0].entry.name)
        bench = _bench(opened, device, screen)
        if photos is None:
            photos = bench.training_set is not None and (bench.training_set / "train" / "labels").is_dir()
        variants = search.output_variants(chosen, settings, opened.config.output)
        with_photos = replace(variants[0], photos=photos)
        note = replacement_note(bench.studio, with_photos)
        replacing = bool(Finish.of(bench.studio, with_photos).stand_ins)
        bench = search.share_drawings(bench, variants)
        with _examiner(bench, screen, executor, workers, ray_address) as examiner:
            found = _search(search.output_search(variants, photos=replacing), examiner, UNLIMITED)
        examiner.raise_failures()
    verdict = search.judge_outputs(found, variants[0])
    sizes = {each.candidate: search.mean_bytes(bench, each.candidate) for each in verdict.variants}
    _show_outputs(screen, bench, verdict, sizes, [note] if note else [])


@app.command()
def pick(
    context: typer.Context,
    run: RunOption,
    epochs: Annotated[str | None, typer.Option("--epochs", help="What to race: 270-310, last10, ... Default: every epoch.")] = None,
    budget: BudgetOption = None,
    hours: TimeOption = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Fresh seeds that the finalists are confirmed with.", min=1, max=1000)] = 5,
    merges: Annotated[bool, typer.Option("--merges/--no-merges", help="Search merges of the best, or not.")] = True,
    hold_out: Annotated[bool, typer.Option("--hold-out", help="Search on half of the label maps, confirm on the other half.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Print what it would do and cost, and leave.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Verify the last pick: its weights, its images, its score.")] = False,
    labels: Annotated[Path | None, typer.Option("--labels", help="Folder of label maps. Default: as the last score.")] = None,
    real: Annotated[Path | None, typer.Option("--real", help="Photos to compare with. Default: as the last score.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Data set that holds both (test/labels, train/imgs).")] = None,
    judges: Annotated[JudgesChoice | None, typer.Option("--judges", help="standard, or embedded. Default: as the last score.")] = None,
    executor: ExecutorOption = ExecutorChoice.inline,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Choose what to hand in: race the epochs, search merges, confirm the finalists, and say how sure that is, in RUN/pick.json."""
    from apfgan.runs import Run
    from selection.evaluation import remembered
    from selection.guards import guard
    from selection.pick_plan import describe_plan, fitted, wanted_plan
    from selection.pick_record import make_record, read_pick, save_pick, write_pick
    from selection.picking import choose
    from selection.verifying import verify as verify_pick

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    limit = _budget(budget, hours)
    asked = {name: value for name, value in {"labels": labels, "real": real, "data": data, "judges": judges and judges.value}.items() if value}
    with opened.lock():
        opened.record_command(context.obj)
        if verify:
            known = read_pick(opened)
            checked = verify_pick(_bench(opened, device, screen, asked), known, progress=screen.progress)
            screen.result(asdict(checked), _verification_text(known.candidate, checked))
            return
        candidates = _candidates(opened, epochs, None) if epochs else [each for each in _candidates(opened, "all", None) if each.base in each.members]
        bench = _bench(opened, device, screen, asked)
        _find_anchors(bench, remembered(opened), screen)
        with _examiner(bench, screen, executor, workers, ray_address) as examiner:
            pace = _first_pace(examiner, candidates)
            wanted = wanted_plan(candidates, images=examiner.images, seeds=seeds, merges=merges, hold_out=hold_out, pace=pace)
            chosen = fitted(wanted, limit)
            ahead = {"evaluations": chosen.costs, "seconds_per_evaluation": pace, "cut": chosen.cuts(wanted)}
            if plan:
                screen.result(ahead, describe_plan(chosen, wanted))
                return
            screen.progress.say(describe_plan(chosen, wanted))
            decision = choose(chosen, examiner, formula=bench.formula, budget=limit, progress=screen.progress)
        guards = guard(decision, judges=bench.judges.name, anchors=opened.read_anchors(bench.protocol_id))
        failed = list(dict.fromkeys(str(each.unit.candidate) for each in examiner.failures))
        record = make_record(bench, decision, guards, wanted=wanted, budget=limit, saved=save_pick(bench, decision.pick), failed=failed)
        write_pick(opened, record)
    screen.progress.say("verify the pick in a fresh process")
    verification, code = _verify_elsewhere(run, device)
    record = replace(record, verification=verification)
    with opened.lock():
        write_pick(opened, record)
    _show_pick(screen, opened, record)
    if code:
        raise typer.Exit(code)


@app.command()
def report(
    run: RunOption,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write the HTML report, the tables and the plots; at any moment, also of a sweep under way."""
    from apfgan.runs import Run
    from reports.page import write_report

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    page = write_report(Run.open(run))
    screen.result({"report": str(page)}, f"report: {page}")
    if open_page:
        webbrowser.open(page.resolve().as_uri())


@app.command()
def submit(
    context: typer.Context,
    run: RunOption,
    pick: Annotated[str | None, typer.Option("--pick", help="Candidate to hand in. Default: what `pick` chose, or the best so far.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The zip. Default: RUN/result.zip.")] = None,
    showcase: Annotated[
        bool | None, typer.Option("--showcase/--no-showcase", help="Propose three images for a jury, in RUN/showcase. Default: for board B.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write result.zip, and verify it by judging its bytes; for board B with three images to show."""
    from apfgan.runs import Run
    from reports.terminal import wrapped
    from selection.finishing import replacement_note
    from selection.pick_record import read_pick
    from selection.showcase import propose, write_showcase
    from selection.submission import submit as write_submission

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    with opened.lock():
        opened.record_command(context.obj)
        best = read_pick(opened).candidate if pick is None and opened.pick_path.exists() else _ranking(opened)[0].entry.name
        chosen = _candidates(opened, pick or best, None)[0]
        bench = _bench(opened, device, screen)
        expected = _measure(bench, [chosen], screen)[0].composite
        done = write_submission(bench, chosen, out or run / "result.zip", expected=expected, progress=screen.progress)
        note = replacement_note(bench.studio, chosen)
        shown = propose(bench, chosen) if showcase or (showcase is None and bench.formula.name == "B") else None
        if shown is not None:
            write_showcase(bench, shown, done.path, run / "showcase")
    result = {"candidate": str(chosen), "path": str(done.path), "sha256": done.sha256, "images": done.images, "score": done.composite.value}
    result |= {"notes": [note] if note else [], "showcase": shown and asdict(shown)}
    lines = [f"{done.path}: {done.images} images of {chosen}; its bytes score {done.composite.value:.4f}, as measured"]
    lines += [wrapped(f"note: {note}")] if note else []
    lines += _showcase_lines(shown, run / "showcase") if shown else []
    screen.result(result, "\n".join(lines))


@app.command()
def fid(
    images: Annotated[str, typer.Argument(help="Images to judge: a folder, a zip, or a pattern as 'out/*.png'.", show_default=False)],
    real: Annotated[str, typer.Argument(help="Photos to compare with: the same, or an .npz with their statistics.", show_default=False)],
    protocol: Annotated[FidChoice, typer.Option("--protocol", help="Whose FID.")] = FidChoice.pytorch_fid,
    save_stats: Annotated[Path | None, typer.Option("--save-stats", help="Keep the photos' statistics in this .npz, for the next time.")] = None,
    convert: Annotated[bool, typer.Option("--convert", help="Read doubtful files (16 bit, transparent, ...) as pytorch-fid does.")] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """FID, KID, precision and recall of any images, by pytorch-fid's or clean-fid's protocol."""
    from metrics.standard import fid_judge, find_fid_weights
    from selection.distances import compare_images

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    judge = fid_judge(protocol.value, find_fid_weights(protocol.value), device=_device(device))
    found = compare_images(images, real, judge, convert=convert, keep=save_stats, progress=screen.progress)
    _show_comparison(screen, found, judge.identity)


@weights_app.command("list")
def weights_list(as_json: JsonOption = False, quiet: QuietOption = False, verbose: VerboseOption = False) -> None:
    """Which pretrained weights are here, and where to get the others."""
    from metrics.weights import catalogue_status

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    found = catalogue_status()
    result = {
        each.entry.name: {
            "for": each.entry.judge,
            "path": str(each.path) if each.path else None,
            "note": each.note or None,
            "files": each.entry.pins,
            "addresses": each.entry.addresses,
        }
        for each in found
    }
    screen.result(result, _weights_text(found))


@weights_app.command("verify")
def weights_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which of them must be here and right. Default: all that are here.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Read the weights that are here and compare their hashes with the published ones; exit code 4 when one is wrong."""
    from apfgan.errors import WeightsError
    from metrics.weights import Verdict, verify

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    found = verify(names or (), progress=screen.progress)
    screen.result({name: [asdict(each) for each in findings] for name, findings in found.items()}, _findings_text(found))
    wrong = any(each.verdict is Verdict.WRONG for findings in found.values() for each in findings)
    if wrong or (names and not all(found.values())):
        raise typer.Exit(WeightsError.exit_code)


@weights_app.command("fetch")
def weights_fetch(
    names: Annotated[list[str], typer.Argument(help="Which of them (see: apfgan weights list).", show_default=False)],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Download pretrained weights, verify them and put them where they are looked for.

    The only command that uses the network, and not where APFGAN_OFFLINE=1 or HF_HUB_OFFLINE=1 forbids it.
    """
    from metrics.weights import catalogue_entry
    from metrics.weights_transfer import fetch

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    entries = [catalogue_entry(name) for name in names]  # a misspelt name fails before the first download
    found = {entry.name: fetch(entry.name, progress=screen.progress) for entry in entries}
    screen.result({name: str(path) for name, path in found.items()}, "\n".join(f"{name}: {path}" for name, path in found.items()))


@weights_app.command("add")
def weights_add(
    path: Annotated[
        Path, typer.Argument(help="A file of weights, or the folder of a hub model, that was brought here some other way.", show_default=False)
    ],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Verify a file of weights, or the folder of a hub model, and copy it to where the judges look."""
    from metrics.weights_transfer import add

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    place = add(path)
    screen.result({"path": str(place)}, f"verified and copied to {place}")


@judge_app.command("fit")
def judge_fit(
    data: Annotated[Path, typer.Option("--data", help="Data set whose training pairs it is fitted to.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the judge; a fit that was stopped goes on from there.", show_default=False)],
    origin: Annotated[str | None, typer.Option("--from", help="Begin with the SegFormer in this folder, or of this hub id.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="Begin with random weights of this size, b0 to b5. Default: b0.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps. Default: 40000.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Crops a step. Default: 8.")] = None,
    crop: Annotated[int | None, typer.Option("--crop", help="Side of a crop in pixels. Default: 512.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Learning rate of the encoder. Default: 6e-5.")] = None,
    share: Annotated[float, typer.Option("--hold-out", help="Share of the pairs that is kept back, to check the judge on.", min=0, max=0.9)] = 0.05,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the new weights and of every draw.", min=0)] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Fine-tune a SegFormer on the training pairs, to be the standard mask judge; a fit that was stopped goes on where it was."""
    from metrics.pretrained import required_pretrained
    from metrics.segformer_recipe import Recipe
    from reports.terminal import with_error
    from selection.judge_fitting import fit_judge

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    if origin is not None and size is not None:
        raise UsageError("--from brings its own size: leave --size out")
    named: dict[str, Any] = {"steps": steps, "batch": batch, "crop": crop, "rate": rate}
    recipe = replace(Recipe(), **{name: value for name, value in named.items() if value is not None})
    with _patient() as stop:
        fitted = fit_judge(
            data,
            out,
            classes=_classes(classes, ignore),
            recipe=recipe,
            pretrained=required_pretrained(origin) if origin else None,
            size=size or "b0",
            share=share,
            seed=seed,
            device=_device(device),
            progress=screen.progress,
            stop=stop,
        )
    assert fitted is not None  # else it was stopped
    result = {"judge": str(out), "pairs": fitted.pairs, "held_out": len(fitted.held_out), "begins_with": dict(fitted.request.begins_with)}
    result |= {"accuracy": fitted.accuracy and asdict(fitted.accuracy), "mean_iou": fitted.mean_iou and asdict(fitted.mean_iou)}
    lines = [f"{out}: fitted to {fitted.pairs} pairs in {fitted.request.recipe.steps} steps"]
    if fitted.accuracy and fitted.mean_iou:
        found = f"mask accuracy {with_error(fitted.accuracy)}, mean IoU {with_error(fitted.mean_iou)}"
        lines.append(f"on the {len(fitted.held_out)} held out: {found}")
    lines.append(f"score with it: apfgan score --run RUN --judges standard --segformer {out}")
    screen.result(result, "\n".join(lines))


@judge_app.command("check")
def judge_check(
    data: Annotated[Path, typer.Option("--data", help="Data set whose photos are looked at.", show_default=False)],
    segformer: Annotated[str | None, typer.Option("--segformer", help="Check the SegFormer in this folder, or of this hub id.")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Check the embedded judge of this run.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Look at the pairs that it was fitted to as well.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="Only so many pairs, evenly spread.", min=1)] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="Bring the photos to WIDTHxHEIGHT. Default: the run's, or as the judge was fitted, or as they are.")
    ] = None,
    geometry: Annotated[GeometryChoice | None, typer.Option("--geometry", help="How the SegFormer takes a photo in. Default: native.")] = None,
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Accuracy of a mask judge on real photos that it was not fitted to: the most that any generated image can reach."""
    from apfgan.data import spread
    from apfgan.runs import Run
    from selection.judge_check import check, judge_photos
    from selection.judge_subject import embedded_subject, segformer_subject

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    if run is not None and segformer is None:
        if any(each is not None for each in (classes, ignore, geometry)):
            raise UsageError("--run brings its own classes and geometry: leave --classes, --ignore and --geometry out")
        subject = embedded_subject(Run.open(run), data, everything=everything, device=_device(device))
    elif segformer is not None and run is None:
        meaning = None if classes is None and ignore is None else _classes(classes, ignore)
        form: Geometry = geometry.value if geometry else "native"
        subject = segformer_subject(segformer, data, classes=meaning, geometry=form, everything=everything, device=_device(device))
    else:
        raise UsageError("name one judge to check: --segformer FOLDER_OR_HUB_ID, or --run RUN for its embedded judge")
    pairs = spread(subject.pairs, limit)
    shape = _size(size) if size else subject.size
    found = check(judge_photos(subject.judge, pairs, subject.classes, size=shape, progress=screen.progress), subject.classes)
    _show_check(screen, found, subject.classes, f"{len(pairs)} of {subject.about}" if limit else subject.about)


def _device(name: str) -> str:
    """`name`, or what `auto` means here; raises `EnvironmentProblem` for a device that this machine lacks."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise EnvironmentProblem(f"--device {name}: no CUDA device is usable here. Leave it out, or use --device cpu (see: apfgan doctor)")
    return name


def _candidates(run: "Run", text: str, seed: int | None) -> "list[Candidate]":
    """The candidates that `text` selects; those without a seed of their own get `seed`."""
    from apfgan.candidates import select_candidates

    chosen = select_candidates(text, run.checkpoint_names())
    return [each if seed is None or each.seed else each.with_seed(seed) for each in chosen]


def _bench(run: "Run", device: str, screen: Screen, asked: Mapping[str, Any] | None = None, *, images: "ImageCandidates | None" = None) -> "Bench":
    """The bench of this run: as the last `score` set it up, but for what was asked for anew; remembered for the next command."""
    from selection.evaluation import open_bench, remember, remembered

    evaluation = replace(remembered(run), **(asked or {}))
    bench = open_bench(run, evaluation, images=images, device=_device(device), progress=screen.progress)
    remember(run, evaluation, protocol=bench.protocol_id)
    return bench


def _measure(bench: "Bench", candidates: "Sequence[Candidate]", screen: Screen) -> "list[Measurement]":
    """Measure all of them on all label maps; says so when there was nothing left to do."""
    from selection.examining import Examiner
    from selection.units import Unit

    examiner = Examiner(bench, progress=screen.progress)
    units = [Unit(candidate) for candidate in candidates]
    known = sum(map(examiner.is_known, units))
    if known == len(units):
        screen.progress.say(f"nothing to measure: the ledger holds all {known} already")
    elif known:
        screen.progress.say(f"{known} of {len(units)} are in the ledger already")
    found = examiner(units)
    examiner.raise_failures()
    return [examiner.measure(unit.candidate) for unit in found]


@contextmanager
def _examiner(
    bench: "Bench",
    screen: Screen,
    executor: ExecutorChoice = ExecutorChoice.inline,
    workers: int | None = None,
    address: str | None = None,
    *,
    images: "ImageCandidates | None" = None,
) -> "Iterator[Examiner]":
    """What measures on a bench that `_bench` opened, in this process or in others."""
    from selection.evaluation import remembered
    from selection.examining import Examiner
    from selection.executors import WorkOrder, open_executor

    order = WorkOrder.of(bench, remembered(bench.run), images=images)
    with open_executor(executor.value, bench, order, workers=workers, address=address, progress=screen.progress) as opened:
        yield Examiner(bench, opened, screen.progress)


def _search(search: "Search", examiner: "Examiner", budget: "Budget") -> "dict[Unit, Outcome]":
    """Run a search; says so when the ledger held all that it asked for."""
    from selection.driving import drive

    before = examiner.examined
    found = drive(search, examiner, budget=budget)
    if found and examiner.examined == before:
        examiner.progress.say(f"nothing to measure: the ledger holds all {len(found)} already")
    return found


def _budget(evaluations: float | None, time: str | None) -> "Budget":
    """What `--budget` and `--time` say."""
    from selection.driving import Budget

    if time is None:
        return Budget(evaluations)
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) ?(h|min|s)", time.strip())
    if not match:
        raise UsageError(f"--time {time}: write a number and a unit, as in 2h, 30min or 90s")
    return Budget(evaluations, float(match[1]) * {"h": 3600, "min": 60, "s": 1}[match[2]])


def _ranking(run: "Run", *, by: str = "composite") -> "list[Place]":
    """The run's candidates in order; raises `UsageError` when nothing is measured."""
    from apfgan.ranking import comparable, rank_measurements

    measured = comparable(run.ledger.read(), protocol=run.current_protocol)
    if not measured:
        raise UsageError(f"nothing is measured in {run.path} yet. Do so with: apfgan score --run {run.path} --data DATA")
    return rank_measurements(measured, by=by, influences=run.influences)


def _classes(count: int | None, ignore: int | None) -> "Classes":
    """What `--classes` and `--ignore` say of a data set that no run knows."""
    from apfgan.labels import Classes

    return Classes(ignore=ignore) if count is None else Classes.numbered(count, ignore=ignore)


def _counts_text(classes: "Classes", parts: "Mapping[str, LabelCounts]") -> str:
    """Sizes of each part's label maps, and a table of the classes that occur: maps that hold it, and its share of the pixels."""
    from reports.terminal import table

    sizes = [
        f"{name}: {counts.maps} label maps, {', '.join(f'{many} of {width}x{height}' for (width, height), many in counts.sizes.items())}"
        for name, counts in parts.items()
    ]
    rows = []
    for index, name in enumerate(classes.names):
        cells = [
            cell
            for counts in parts.values()
            for cell in (str(counts.class_maps[index]), f"{counts.class_pixels[index] / max(1, sum(counts.class_pixels)):.2%}")
        ]
        if any(counts.class_maps[index] for counts in parts.values()):
            rows.append([name, *cells])
    header = ["class", *(title for name in parts for title in (f"{name} maps", "pixels"))]
    return "\n".join([*sizes, "", table(header, rows)])


def _show_ranking(
    screen: Screen, run: "Run", *, by: str = "composite", top: int = 20, checks: bool = False, finalists: "Sequence[FinalistRecord]" = ()
) -> None:
    """The ranking of a run, and below it what was confirmed with fresh seeds."""
    from apfgan.ranking import protocol_of
    from reports.terminal import Standings

    places = _ranking(run, by=by)
    ranked, ledger = {place.entry.name for place in places}, run.ledger.read()
    elsewhere = {each.candidate for each in ledger if each.part is None} - ranked
    partly = {each.candidate for each in ledger} - elsewhere - ranked
    notes = [f"{len(elsewhere)} candidates were measured under another protocol only, and are left out"] if elsewhere else []
    if partly:
        notes.append(f"{len(partly)} more candidates were dropped after a part of the label maps, and are left out")
    best = max((place.entry.measurement for place in places if place.entry.measurement), key=lambda each: each.composite.value)
    if best.protocol["judges"]["judges"] == "embedded":
        notes.append("embedded judges: these numbers compare within this run only")
    elif best.images < INCEPTION_FEATURES:
        notes.append(f"a Fréchet distance is larger for fewer images: compare at {best.images} images only, and with that of real photos")
    standings = Standings(places=places, by=by, notes=notes, anchors=run.read_anchors(protocol_of(best)), worth=_worth(best))
    text = standings.as_text(top=top, checks=checks)
    if finalists:
        text += f"\n\nconfirmed with {len(finalists[0].scores)} fresh seeds:\n{_finalists_text(finalists)}"
    screen.result(standings.as_json() | ({"confirmed": [asdict(each) for each in finalists]} if finalists else {}), text)


def _finalists_text(finalists: "Sequence[FinalistRecord]") -> str:
    """A table: what each is to be expected to score, and what it gains over the best single checkpoint."""
    from reports.terminal import chance_text, shortened, table, with_error

    rows = [
        [
            f"{place}",
            shortened(each.candidate, 24),
            with_error(each.expected_score),
            chance_text(each.probability_best),
            "best single" if each.gain is None else f"{each.gain.value:+.4f} ±{each.gain.error or 0:.4f}",
            "" if each.gain is None else "yes" if each.gain_confirmed else "no",
        ]
        for place, each in enumerate(finalists, start=1)
    ]
    return table(["", "finalist", "expected", "P(best)", "gain", "confirmed"], rows)


def _worth(best: "Measurement") -> dict[str, dict[str, float]]:
    """What each term adds to the total of a measurement, and how much the total moves for one unit of each score."""
    from metrics.composite import Formula, contributions, exchange_rates, scores_of

    formula = Formula(**best.protocol["formula"])
    values = {name: each.value for name, each in scores_of(best.metrics, distance=best.protocol["judges"]["distance"]).items()}
    return {"contributions": contributions(formula, **values), "exchange_rates": exchange_rates(formula, **values)}


def _show_seeds(screen: Screen, candidate: "Candidate", outcomes: "Sequence[Outcome]") -> None:
    """What a seed search found: the mean is the candidate's number; the best seed stands apart from it, for it is luck."""
    from apfgan.ranking import better, parts_of
    from selection.seed_search import judge_seeds

    first = outcomes[0].entry
    metrics = ("composite", *parts_of(first.metrics))
    verdicts = {name: judge_seeds([each.entry.metrics[name].value for each in outcomes], metric=name) for name in metrics}
    seeds = {each.unit.candidate.seed: {name: each.entry.metrics[name].value for name in metrics} for each in outcomes}
    best = max(seeds, key=lambda seed: better("composite") * seeds[seed]["composite"])
    score, images = verdicts["composite"], len(first.measured["composite"].influence)
    chosen = candidate.with_seed(best)
    if score.deviation:
        luck = "more than" if score.beats_luck else "no more than"
        ends = [
            f"{luck} luck gives: the best of {score.tries} draws of pure noise gains {score.gain_by_luck:.4f}",
            f"gain on these {images} images; expected on new label maps: 0",
        ]
    else:
        ends = [f"{candidate.unseeded} draws without noise: a seed changes nothing about it"]
    lines = [
        f"{candidate.unseeded}, {score.tries} seeds, by mean and standard deviation:",
        *(f"  {name:14} {verdict.mean:.4f} ±{verdict.deviation:.4f}" for name, verdict in verdicts.items()),
        f"best seed, a figure of its own: {chosen} with {score.best:.4f}, {score.gain:.4f} above the mean",
        *ends,
    ]
    result = {
        "candidate": candidate.unseeded,
        "tries": score.tries,
        "images": images,
        "metrics": {name: {**asdict(verdict), "beats_luck": verdict.beats_luck} for name, verdict in verdicts.items()},
        "best_seed": {"candidate": str(chosen), "seed": best, **seeds[best]},
        "seeds": seeds,
        "expected_gain_on_new_label_maps": 0,
    }
    screen.result(result, "\n".join(lines))


def _pace(examiner: "Examiner") -> float | None:
    """Seconds of one evaluation, as far as the ledger knows, with as many at a time as the examiner takes."""
    from selection.pacing import seconds_per_image

    pace = seconds_per_image(examiner.bench)
    return None if pace is None else pace * examiner.images / examiner.parallel


def _first_pace(examiner: "Examiner", candidates: "Sequence[Candidate]") -> float | None:
    """The pace, after a first few images where nothing was measured yet; None where nothing can be."""
    from selection.measuring import CHUNK
    from selection.units import Part, Unit

    if _pace(examiner) is None:
        part = Part(0, min(CHUNK, examiner.images))
        next((each for each in candidates if examiner([Unit(each, part)])), None)
    return _pace(examiner)


def _verify_elsewhere(run: Path, device: str) -> "tuple[Verification, int]":
    """What `apfgan pick --verify` finds in a process of its own, and its exit code."""
    from selection.pick_record import Verification

    command = [sys.executable, str(Path(__file__).resolve()), "pick", "--run", str(run), "--verify", "--device", device, "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        raise EnvironmentProblem(f"the process that was to verify the pick ended with code {done.returncode}: {done.stderr.strip()}") from error
    return (Verification(**found), 0) if done.returncode == 0 else (Verification(False, problem=found["error"]), done.returncode)


def _show_pick(screen: Screen, run: "Run", record: "PickRecord") -> None:
    """The verdict, what it rests on, and what speaks against it."""
    from reports.terminal import with_error, wrapped

    words = {"yes": "BEWARE ", "no": "fine   ", "unknown": "unknown"}
    verdict = "a clear winner"
    if not record.clear_winner:
        verdict = f"no clear winner: the noise leaves {', '.join(record.within_noise)} beside it; the simplest is taken, then the latest"
    interval = "" if record.interval is None else f" (95 %: {record.interval[0]:.4f} to {record.interval[1]:.4f})"
    lines = [
        wrapped(f"pick: {record.candidate}, {verdict}"),
        wrapped(
            f"score {record.score.value:.4f} on these images (submission), {with_error(record.expected_score)}{interval} to be expected: the mean of "
            f"{len(record.fresh_seeds)} fresh seeds on {record.confirmed_on} label maps"
        ),
        "",
        _finalists_text(record.finalists),
        "",
        *(wrapped(f"{words[each.answer]} {each.name.replace('_', ' ')}: {each.sentence}") for each in record.guards),
        *([wrapped(f"could not be measured: {', '.join(record.failed)}")] if record.failed else []),
        "",
        _verification_text(record.candidate, record.verification) if record.verification else "not verified",
        f"{run.pick_path}; hand it in with:",
        record.commands["submit"],
    ]
    screen.result(asdict(record), "\n".join(lines))


def _verification_text(candidate: str, found: "Verification") -> str:
    from reports.terminal import wrapped

    if not found.verified:
        return wrapped(f"NOT VERIFIED: {found.problem}")
    return wrapped(
        f"verified: {found.images} images of {candidate} drawn and judged anew differ by {found.largest_difference:.1g} standard deviations at most "
        f"from what was measured; all that was measured scores {found.score:.4f}"
    )


def _weights_text(found: "Sequence[Status]") -> str:
    """Two lines for each of the pretrained weights, and below how the missing ones come here without a network.

    Nothing is wider than 80 columns but the addresses, which must be copied in one piece.
    """
    from reports.terminal import wrapped

    lines = []
    for each in found:
        name, pinned = each.entry.name, all(each.entry.pins.values())
        lines.append(f"{name:16} {each.entry.judge}")
        if each.path:
            lines.append(f"  {_narrow(each.path, 60)}{'' if pinned else '  (not pinned)'}")
        else:
            lines.append(f"  missing: apfgan weights fetch {name}")
        if each.note:
            lines.append(wrapped(each.note, indent="  "))
    missing = [each.entry for each in found if each.path is None]
    if missing:
        lines += [
            "",
            "Without a network, bring these files here (those of one hub model in a folder",
            "with its name), then: apfgan weights add PATH",
        ]
        lines += [address for entry in missing for address in entry.addresses]
        lines += ["Without any weights: --judges embedded"]
    return "\n".join(lines)


def _findings_text(found: "Mapping[str, Sequence[Finding]]") -> str:
    """Each file with its verdict, its hash where there was none to compare it with, and what a wrong one is instead; at last what is missing."""
    from reports.terminal import wrapped

    lines = []
    for name, findings in found.items():
        for each in findings:
            lines += [f"{name:16} {each.verdict}", f"  {_narrow(each.path, 78)}"]
            if each.verdict == "not pinned":
                lines.append(f"  sha256 {each.sha256}")
            if each.problem:
                lines.append(wrapped(each.problem, indent="  "))
    missing = ", ".join(name for name, findings in found.items() if not findings)
    return "\n".join([*lines, *([wrapped(f"missing: {missing} (see: apfgan weights list)")] if missing else [])])


def _narrow(path: Path, width: int) -> str:
    """`path` with ~ for the home folder, its beginning left out where it is wider than `width`."""
    text = str(path)
    if path.is_relative_to(Path.home()):
        text = str(Path("~") / path.relative_to(Path.home()))
    return text if len(text) <= width else "..." + text[3 - width :]


def _show_check(screen: Screen, found: "Check", classes: "Classes", about: str) -> None:
    """The figures of a judge, and a table of the classes that were given or seen."""
    from reports.terminal import table, with_error, wrapped
    from selection.judge_check import FEW_IMAGES, class_estimates

    rows = []
    records: dict[str, dict[str, Any]] = {}
    pixels = max(1, int(found.classes.pixels.sum()))
    for index, (accuracy, iou) in enumerate(class_estimates(found)):
        if iou is None:
            continue
        name, images, share = classes.names[index], int(found.classes.images[index]), found.classes.pixels[index] / pixels
        cells = ["" if each is None else with_error(each) for each in (accuracy, iou)]
        rows.append([name[:24], f"{images}{'*' if images < FEW_IMAGES else ' '}", f"{share:.2%}", *cells])
        records[name] = {"images": images, "pixels": int(found.classes.pixels[index]), "accuracy": accuracy and asdict(accuracy), "iou": asdict(iou)}
    total = {"accuracy": found.accuracy.estimate, "mean_iou": found.iou.estimate}
    result = {"pairs": about, "images": found.accuracy.images, **{name: asdict(each) for name, each in total.items()}}
    result |= {"alarms": list(found.alarms), "classes": records}
    figures = f"mask accuracy {with_error(total['accuracy'])}, mean IoU {with_error(total['mean_iou'])}"
    lines = [figures, wrapped(f"on {about}"), ""]
    lines += [table(["class", "images", "pixels", "accuracy", "IoU"], rows), f"* in fewer than {FEW_IMAGES} images: these figures say little"]
    for alarm in found.alarms:
        lines += ["", wrapped(f"warning: {alarm}")]
    screen.result(result, "\n".join(lines))


def _show_comparison(screen: Screen, found: "Comparison", judge: Mapping[str, Any]) -> None:
    """Every number on a line with its error, KID in both usual scales, and what has to be known of them below."""
    from reports.terminal import with_error, wrapped

    estimates = {name: each.estimate for name, each in found.measured.items()}
    result: dict[str, Any] = {"judge": dict(judge), "images": found.images, "photos": found.reference.count}
    result |= {name: asdict(each) for name, each in estimates.items()}
    result |= {"floor": found.floor and asdict(found.floor), "notes": found.notes}
    lines = [f"{judge['name']}: {found.images} images, {found.reference.count or 'unknown'} photos"]
    for name, each in estimates.items():
        if name.startswith("kid"):
            lines.append(f"{name:16} {with_error(each, digits=7)}")
            name, each = f"{name} x1000", replace(each, value=1000 * each.value, error=each.error and 1000 * each.error)
        lines.append(f"{name:16} {with_error(each)}")
    if found.floor is not None:
        lines.append(f"{'floor':16} {found.floor.mean:.4f} ±{found.floor.deviation:.4f} for as many of the photos against the others")
    for note in found.notes:
        lines.append(wrapped(f"note: {note}"))
    screen.result(result, "\n".join(lines))


def _show_outputs(screen: Screen, bench: "Bench", verdict: "OutputVerdict", sizes: "Mapping[Candidate, float | None]", notes: Sequence[str]) -> None:
    """A line for each way to store the drawings, best first, and which one to take."""
    from apfgan.candidates import Jpeg
    from apfgan.ranking import better
    from reports.terminal import table, with_error, wrapped

    output = bench.run.config.output
    own = Jpeg(output.jpeg_quality, output.jpeg_subsampling)
    rows, records = [], []
    for each in verdict.variants:
        size, gap = sizes[each.candidate], each.difference
        beside = ["", "the run's own"]
        if each.candidate != verdict.baseline:
            ahead = better(verdict.by) * gap.value > 0
            beside = [("+" if gap.value >= 0 else "") + with_error(gap), ("better" if ahead else "worse") if each.told_apart else "not told apart"]
        setting = f"{each.candidate.jpeg or own}{' photos' if each.candidate.photos else ''}"
        rows.append([setting, with_error(each.entry.metrics[verdict.by]), *beside, "" if size is None else f"{size / 1000:.1f} kB"])
        metrics = {name: asdict(value) for name, value in each.entry.metrics.items()}
        record = {"candidate": str(each.candidate), "metrics": metrics, "difference": asdict(gap), "told_apart": each.told_apart}
        records.append({**record, "bytes": size})
    result = {"baseline": str(verdict.baseline), "by": verdict.by, "choice": str(verdict.choice), "variants": records, "notes": list(notes)}
    lines = [f"{verdict.baseline}, {len(bench.label_maps)} images, stored in {len(rows)} ways", ""]
    lines += [table(["", "score", "difference", "", "an image"], rows), ""]
    if verdict.choice == verdict.baseline:
        lines.append("none is better than the run's own beyond the noise of these images")
    else:
        lines.append(f"take: {verdict.choice}")
    lines += [wrapped(f"note: {note}") for note in notes]
    screen.result(result, "\n".join(lines))


def _showcase_lines(found: "Showcase", folder: Path) -> list[str]:
    """The proposed images, and why these."""
    from reports.terminal import table, wrapped

    rows = [
        [str(number), each.stem, f"{each.aesthetic:.2f}", f"{each.accuracy:.3f}", f"{each.distance:.2f}"]
        for number, each in enumerate(found.exhibits, start=1)
    ]
    shown = table(["", "to show", "aesthetic", "mask", "to the nearest"], rows)
    return ["", shown, wrapped(found.reason), f"look at them: {folder / 'contact_sheet.jpg'}"]


def _epochs_text(names: Sequence[str]) -> str:
    from apfgan.candidates import describe_epochs

    return describe_epochs(names)


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {text}: write WIDTHxHEIGHT in pixels, as in 512x384")
    return int(width), int(height)


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text}: write numbers with commas between them, as in 0.4,0.6") from error


if __name__ == "__main__":
    main()
