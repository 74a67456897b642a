"""`apfgan merge`: average checkpoints into one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apfgan.errors import UsageError
from commands.opening import find_device, writing
from commands.options import DeviceOption, JsonOption, QuietOption, RunOption, VerboseOption
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.candidates import Candidate
    from apfgan.runs import Run


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
    with writing(opened, context.obj):
        studio = Studio(opened, (), data or remembered(opened).data, find_device(device))
        manifest = save_candidate(studio, candidate, allow_cross_run=allow_cross_run)
    path = opened.checkpoint_path(candidate.base)
    result = {"candidate": candidate.base, "path": str(path), "sha256": manifest.sha256, "members": dict(manifest.members)}
    made_of = ", ".join(f"{share:.6g} of {name}" for name, share in manifest.members.items())
    screen.result(result, f"{candidate.base} -> {path}\nmade of {made_of}")


def _asked_merge(run: "Run", members: Sequence[str], *, shares: tuple[float, ...] | None, window: int | None, norms: str | None) -> "Candidate":
    """The candidate that `merge` is asked to save."""
    from apfgan.candidates import Candidate, describe_epochs
    from selection.merge_candidates import windows

    candidate = Candidate.parse(members[0]) if len(members) == 1 and shares is None else Candidate(tuple(members), shares)
    if window is not None:
        (last, *others), epochs = candidate.members, run.epochs()
        if others or not last.isdigit():
            raise UsageError(f"--window {window} averages epochs up to one: apfgan merge --run {run.path} --window {window} EPOCH")
        found = windows([replace(candidate, members=(str(epoch),)) for epoch in epochs if epoch <= int(last)], (window,))
        if int(last) not in epochs or not found:
            raise UsageError(f"there are no {window} epochs up to {last} to average; saved: {describe_epochs(list(map(str, epochs))) or 'none'}")
        (candidate,) = found
    if norms is not None:
        how, _, count = norms.partition(":")
        if norms != "average" and not (how == "recal" and count.isdecimal() and int(count) > 0):
            raise UsageError(f"--bn {norms}: write average, or recal:500 for statistics taken anew on so many training label maps")
        candidate = replace(candidate, recalibrated=int(count or 0))
    return candidate


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text}: write numbers with commas between them, as in 0.4,0.6") from error
