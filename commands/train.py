"""`apfgan train`: plan, start, resume and fork a training."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apfgan.engines import Engine, chosen_engine, require_precision, require_processes
from apfgan.errors import UsageError
from commands.opening import find_device, open_engine, writing
from commands.options import BackendOption, ClassesOption, DeviceOption, IgnoreOption, JsonOption, QuietOption, RunOption, VerboseOption
from commands.program import command_line
from commands.screen import Screen
from commands.stopping import patient

if TYPE_CHECKING:
    from apfgan.config import Config
    from apfgan.data import TrainingPairs
    from apfgan.preflight import TrainingPlan
    from apfgan.runs import Run
    from apfgan.training import Company
    from apfgan.training_log import EpochRecord

RESTARTS = 3
"""How often processes that train together are started again when one of them dies."""


class PhaseChoice(StrEnum):
    """A phase of training."""

    progressive = "progressive"
    augmented = "augmented"


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
    backend: BackendOption = Engine.pytorch,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train both phases; a run that was stopped goes on where it was."""
    from apfgan.data import TrainingPairs, find_pairs
    from apfgan.launch import launch, launched, leads
    from apfgan.runs import Run

    if processes > 1 or launched():
        require_processes(backend)
    if processes > 1 and not launched():
        raise typer.Exit(launch(command_line(context.obj), processes=processes, restarts=RESTARTS))
    if probe == 1:
        raise UsageError("--probe 1: a Fréchet distance needs two images at least; give a larger number, or 0 for no probe")
    source = _fork_source(origin)
    chosen = _training_config(
        run, source and source[0], preset=preset, config=config, settings=settings or [], classes=classes, ignore=ignore, exclude=exclude, seed=seed
    )
    require_precision(chosen.train.precision, backend)
    screen = Screen.open(as_json=as_json, quiet=quiet or not leads(), verbose=verbose)
    open_engine(backend, screen)
    device = find_device(device)

    from apfgan.backend import join, wait
    from apfgan.preflight import describe_plan
    from apfgan.training import Company
    from apfgan.training import train as train_run

    if plan:
        ahead = _plan(Run(run), chosen, len(find_pairs(data)), screen, until=until, processes=processes, seconds=plan_seconds, device=device)
        screen.result(asdict(ahead), describe_plan(ahead, now=datetime.now()))
        return
    opened = Run.create(run, chosen)
    with ExitStack() as held:
        world, own = held.enter_context(join(device))
        company = Company(progress=screen.progress, patience=patience)
        if world.leads:
            held.enter_context(writing(opened, context.obj))
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
        company = replace(company, stop=held.enter_context(patient()))
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
        begun = fork(run, pairs, source[0], epoch=source[1], device=device, progress=screen.progress)
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
    from apfgan.candidates import describe_epochs, is_average
    from apfgan.training_log import rank_by_probe, read_log
    from reports.terminal import with_error

    names = run.checkpoint_names()
    best = next(iter(rank_by_probe(read_log(run.training_log))), None)
    result: dict[str, Any] = {"run": str(run.path), "epochs": epochs, "engine": chosen_engine(), "checkpoints": names}
    averages = sum(map(is_average, names))
    kept = describe_epochs([name for name in names if not is_average(name)]) + (f", and {averages} averages (--epochs ema)" if averages else "")
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
