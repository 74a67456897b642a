"""`apfgan pick`: choose what to hand in, and verify it in a fresh process."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apfgan.errors import EnvironmentProblem
from commands.opening import find_anchors, find_candidates, known_pace, look_for_failures, open_examiner, set_up_bench, writing
from commands.options import (
    AddressOption,
    BudgetOption,
    DeviceOption,
    ExecutorChoice,
    ExecutorOption,
    JsonOption,
    JudgesChoice,
    QuietOption,
    RunOption,
    TimeOption,
    VerboseOption,
    WorkersOption,
    read_budget,
)
from commands.program import command_line
from commands.rank import finalists_text
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.candidates import Candidate
    from apfgan.picks import PickRecord, Verification
    from apfgan.runs import Run
    from selection.examining import Examiner


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
    from apfgan.picks import read_pick, write_pick
    from apfgan.runs import Run
    from selection.evaluation import finish_sweep, remembered
    from selection.guards import guard
    from selection.pick_plan import describe_plan, fitted, wanted_plan
    from selection.pick_record import make_record, save_pick
    from selection.picking import choose
    from selection.verifying import verify as verify_pick

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    limit = read_budget(budget, hours)
    asked = {name: value for name, value in {"labels": labels, "real": real, "data": data, "judges": judges and judges.value}.items() if value}
    with writing(opened, context.obj) as account:
        if verify:
            known = read_pick(opened)
            checked = verify_pick(set_up_bench(opened, device, screen, asked), known, progress=screen.progress)
            screen.result(asdict(checked), _verification_text(known.candidate, checked))
            return
        candidates = (
            find_candidates(opened, epochs, None) if epochs else [each for each in find_candidates(opened, "all", None) if each.base in each.members]
        )
        bench = set_up_bench(opened, device, screen, asked, sweep=() if plan else candidates)
        find_anchors(bench, remembered(opened), screen)
        with open_examiner(bench, screen, account, executor, workers, ray_address) as examiner:
            pace = _first_pace(examiner, candidates)
            wanted = wanted_plan(candidates, images=examiner.images, seeds=seeds, merges=merges, hold_out=hold_out, pace=pace)
            chosen = fitted(wanted, limit)
            ahead = {"evaluations": chosen.costs, "seconds_per_evaluation": pace, "cut": chosen.cuts(wanted)}
            if plan:
                screen.result(ahead, describe_plan(chosen, wanted))
                return
            screen.progress.say(describe_plan(chosen, wanted))
            decision = choose(chosen, examiner, formula=bench.formula, budget=limit, progress=screen.progress)
        finish_sweep(opened)
        guards = guard(decision, judges=bench.judges.name, anchors=opened.read_anchors(bench.protocol_id))
        failed = list(dict.fromkeys(str(each.unit.candidate) for each in examiner.failures))
        record = make_record(bench, decision, guards, wanted=wanted, budget=limit, saved=save_pick(bench, decision.pick), failed=failed)
        write_pick(opened, record)
        look_for_failures(bench, screen)
    screen.progress.say("verify the pick in a fresh process")
    verification, code = _verify_elsewhere(run, device)
    record = replace(record, verification=verification)
    with opened.lock():
        write_pick(opened, record)
    _show_pick(screen, opened, record)
    if code:
        raise typer.Exit(code)


def _first_pace(examiner: "Examiner", candidates: "Sequence[Candidate]") -> float | None:
    """The pace, after a first few images where nothing was measured yet; None where nothing can be."""
    from selection.measuring import CHUNK
    from selection.units import Part, Unit

    if known_pace(examiner) is None:
        part = Part(0, min(CHUNK, examiner.images))
        next((each for each in candidates if examiner([Unit(each, part)])), None)
    return known_pace(examiner)


def _verify_elsewhere(run: Path, device: str) -> "tuple[Verification, int]":
    """What `apfgan pick --verify` finds in a process of its own, and its exit code."""
    from apfgan.picks import Verification

    command = command_line(["pick", "--run", str(run), "--verify", "--device", device, "--json", "--quiet"])
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
        verdict = (
            f"no clear winner: the noise leaves {', '.join(record.within_noise)} beside it; of those within one standard error it is the simplest"
        )
    interval = "" if record.interval is None else f" (95 %: {record.interval[0]:.4f} to {record.interval[1]:.4f})"
    lines = [
        wrapped(f"pick: {record.candidate}, {verdict}"),
        wrapped(
            f"score {record.score.value:.4f} on these images (submission), {with_error(record.expected_score)}{interval} to be expected: the mean of "
            f"{len(record.fresh_seeds)} fresh seeds on {record.confirmed_on} label maps"
        ),
        "",
        finalists_text(record.finalists),
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
