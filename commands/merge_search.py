"""`apfgan merge-search`: which checkpoints to average, and how."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from apfgan.errors import UsageError
from commands.opening import look_for_failures, open_examiner, read_ranking, run_search, set_up_bench, writing
from commands.options import (
    AddressOption,
    BudgetOption,
    DeviceOption,
    ExecutorChoice,
    ExecutorOption,
    JsonOption,
    QuietOption,
    RunOption,
    TimeOption,
    VerboseOption,
    WorkersOption,
    read_budget,
)
from commands.rank import show_ranking
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.picks import FinalistRecord
    from apfgan.ranking import Entry, Place
    from apfgan.runs import Run
    from selection.examining import Examiner
    from selection.measuring import Bench
    from selection.units import Search

SAMPLED = 60
"""Evaluations of a sampler that is given no budget."""

EXPONENTS = (1, 2, 4, 8, 16, 32, 64)
"""Of the time trained, in `merge-search --kind powers`: from nearly the plain mean to the last few epochs."""

WIDTHS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15)
"""Of the averages along the training in `merge-search --kind ema`."""


class SamplerChoice(StrEnum):
    """Who proposes shares."""

    cmaes = "cmaes"
    tpe = "tpe"


class KindChoice(StrEnum):
    """An average along the training."""

    windows = "windows"
    powers = "powers"
    ema = "ema"


def merge_search(
    context: typer.Context,
    run: RunOption,
    best: Annotated[int | None, typer.Option("--best", help="Measure every combination of so many of the best, as the authors did.", min=2)] = None,
    sampler: Annotated[SamplerChoice | None, typer.Option("--sampler", help="Sample the shares of the best 8 instead: for large budgets.")] = None,
    kind: Annotated[KindChoice | None, typer.Option("--kind", help="Measure averages of one kind instead, along the training.")] = None,
    budget: BudgetOption = None,
    hours: TimeOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampler.", min=0)] = 0,
    recal: Annotated[
        int | None, typer.Option("--recal", help="At last the best three and the best single, BatchNorm anew on so many training label maps.", min=1)
    ] = None,
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
    from selection.driving import UNLIMITED, spent

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    with writing(opened, context.obj) as account:
        ranked = [place.entry for place in read_ranking(opened)]
        bench = set_up_bench(opened, device, screen)
        search = _merge_search(ranked, bench, best=best, sampler=sampler, kind=kind, seed=seed, evaluations=budget)
        with open_examiner(bench, screen, account, executor, workers, ray_address) as examiner:
            found = run_search(search, examiner, read_budget(budget, hours))
            if recal:
                found |= run_search(_recalibrated(opened, recal), examiner, UNLIMITED)
            screen.progress.say(f"looked at {len({unit.candidate for unit in found})} merges in {spent(found, examiner.images):.1f} evaluations")
            finalists = _confirm(examiner, seeds=confirm) if confirm else []
        look_for_failures(bench, screen)
    show_ranking(screen, opened, finalists=finalists)
    examiner.raise_failures()


def _found(run: "Run") -> "list[Place]":
    """The ranking without what was measured to confirm it."""
    from selection.confirming import is_fresh

    return [place for place in read_ranking(run) if not (place.entry.measurement and is_fresh(place.entry.measurement.seed))]


def _recalibrated(run: "Run", label_maps: int) -> "Search":
    """The best three so far and the best single checkpoint, with BatchNorm's statistics taken anew: what is no merit of merging helps that, too."""
    from apfgan.candidates import Candidate
    from selection.confirming import finalists_of
    from selection.merge_search import at_once
    from selection.pick_plan import FINALISTS

    as_averaged = [place for place in _found(run) if not Candidate.parse(place.entry.name).recalibrated]
    return at_once(replace(each, recalibrated=label_maps) for each in finalists_of(as_averaged, most=FINALISTS))


def _confirm(examiner: "Examiner", *, seeds: int) -> "list[FinalistRecord]":
    """The best three so far and the best single checkpoint, with fresh seeds: what they truly have."""
    from selection.confirming import FRESH_SEEDS, best_single, confirm, finalists_of, judge_confirmation
    from selection.driving import UNLIMITED
    from selection.pick_plan import FINALISTS
    from selection.pick_record import finalist_record

    ranking = _found(examiner.bench.run)
    single = best_single(ranking)
    if single is None:
        return []
    finalists, fresh = finalists_of(ranking, most=FINALISTS), range(FRESH_SEEDS[0], FRESH_SEEDS[0] + seeds)
    examiner.progress.say(f"confirm {', '.join(map(str, finalists))} with {seeds} fresh seeds")
    found = run_search(confirm(finalists, fresh), examiner, UNLIMITED)
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
    from selection.candidate_weights import rebuildable_widths
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
                at_hand = rebuildable_widths(bench.run, epochs[-1])
                return at_once(post_hoc(epochs[-1], [width for width in WIDTHS if width in at_hand]))
    return planned(ranked, images=len(bench.label_maps))
