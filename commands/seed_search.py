"""`apfgan seed-search`: what noise seeds are worth."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from commands.opening import find_candidates, known_pace, look_for_failures, open_examiner, read_ranking, run_search, set_up_bench, writing
from commands.options import (
    AddressOption,
    DeviceOption,
    ExecutorChoice,
    ExecutorOption,
    JsonOption,
    QuietOption,
    RunOption,
    VerboseOption,
    WorkersOption,
)
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.candidates import Candidate
    from selection.units import Outcome


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
    with writing(opened, context.obj) as account:
        chosen = find_candidates(opened, candidate, None)[0] if candidate else Candidate.parse(read_ranking(opened)[0].entry.name)
        bench = set_up_bench(opened, device, screen)
        with open_examiner(bench, screen, account, executor, workers, ray_address) as examiner:
            screen.progress.say(f"{tries} seeds of {chosen.unseeded}: {cost_text(tries, known_pace(examiner))} in all")
            found = run_search(search_seeds(chosen, tries), examiner, UNLIMITED)
        look_for_failures(bench, screen)
    examiner.raise_failures()
    _show_seeds(screen, chosen, list(found.values()))


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
