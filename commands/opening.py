"""What several commands open before they call the core: the device, candidates, the ranking, the bench and its examiner."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from apfgan.engines import Engine, choose_engine, chosen_engine
from apfgan.errors import EnvironmentProblem, UsageError
from commands.options import ExecutorChoice
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.candidates import Candidate
    from apfgan.ranking import Place
    from apfgan.runs import Run
    from apfgan.spending import Account
    from selection.driving import Budget
    from selection.evaluation import Evaluation
    from selection.examining import Examiner
    from selection.image_candidates import ImageCandidates
    from selection.measuring import Bench
    from selection.units import Outcome, Search, Unit


def open_engine(engine: Engine, screen: Screen) -> None:
    """Have this process compute with `engine`; nothing that imports `apfgan.backend` may have been imported yet.

    Raises `EnvironmentProblem` when the engine cannot start here.
    """
    choose_engine(engine)
    if engine is Engine.jittor:
        from apfgan.jittor_setup import load_jittor

        load_jittor(screen.progress.say)


def find_device(name: str) -> str:
    """`name`, or what `auto` means here for all who compute: the engine, and PyTorch, whose judges look at what it draws.

    Raises `EnvironmentProblem` for a device that one of them cannot use, and `UsageError` for one GPU of several where Jittor knows one only.
    """
    kind, _, number = name.partition(":")
    if number and chosen_engine() is Engine.jittor:
        raise UsageError(f"--device {name}: Jittor knows one GPU. Say which by CUDA_VISIBLE_DEVICES={number} in the environment, and --device {kind}")
    if kind not in ("auto", "cuda"):
        return name
    unable = _unable_to_use_cuda()
    if name == "auto":
        return "cpu" if unable else "cuda"
    if unable:
        raise EnvironmentProblem(
            f"--device {name}: no CUDA device is usable here by {unable}. Leave it out, or use --device cpu (see: apfgan doctor)"
        )
    return name


def _unable_to_use_cuda() -> str | None:
    """Who of those that compute in this process can use no CUDA device."""
    import torch

    if not torch.cuda.is_available():
        return "PyTorch"
    if chosen_engine() is Engine.jittor:
        from apfgan.jittor_setup import inspect_jittor

        if not inspect_jittor().cuda:
            return "Jittor"
    return None


def find_candidates(run: "Run", text: str, seed: int | None) -> "list[Candidate]":
    """The candidates that `text` selects; those without a seed of their own get `seed`."""
    from apfgan.candidates import select_candidates

    chosen = select_candidates(text, run.checkpoint_names())
    return [each if seed is None or each.seed else each.with_seed(seed) for each in chosen]


def read_ranking(run: "Run", *, by: str = "composite") -> "list[Place]":
    """The run's candidates in order; raises `UsageError` when nothing is measured."""
    from apfgan.ranking import comparable, rank_measurements

    measured = comparable(run.ledger.read(), protocol=run.current_protocol)
    if not measured:
        raise UsageError(f"nothing is measured in {run.path} yet. Do so with: apfgan score --run {run.path} --data DATA")
    return rank_measurements(measured, by=by, influences=run.influences)


def set_up_bench(
    run: "Run",
    device: str,
    screen: Screen,
    asked: Mapping[str, Any] | None = None,
    *,
    images: "ImageCandidates | None" = None,
    sweep: "Sequence[Candidate]" = (),
) -> "Bench":
    """The bench of this run: as the last `score` set it up, but for what was asked for anew; remembered for the next command, with the `sweep`
    that it is for.
    """
    from selection.evaluation import open_bench, remember, remembered

    evaluation = replace(remembered(run), **(asked or {}))
    bench = open_bench(run, evaluation, images=images, device=find_device(device), progress=screen.progress)
    remember(run, evaluation, protocol=bench.protocol_id, sweep=sweep)
    return bench


def find_anchors(bench: "Bench", evaluation: "Evaluation", screen: Screen) -> None:
    """Have it known what real photos score."""
    from selection import anchors

    anchors.find_anchors(bench, anchors.real_photos(evaluation, bench.label_maps), progress=screen.progress)


def look_for_failures(bench: "Bench", screen: Screen) -> None:
    """Have it known what looks wrong among the images of the candidates that the report shows first."""
    from reports.board import read_board
    from selection.failures import find_failures

    board = read_board(bench.run)
    for row in {row.name: row for row in (board.choice, board.rival, board.last_epoch) if row is not None}.values():
        found = find_failures(bench, row.measurement)
        if found and found.text:
            screen.progress.say(f"look at the images of {row.name}: {found.text} (see the report)")


@contextmanager
def writing(run: "Run", arguments: Sequence[str]) -> "Iterator[Account]":
    """Hold a run for writing, with the command in its history; when the command ends, the run says what it has cost."""
    from apfgan.spending import booking

    with run.lock():
        run.record_command(arguments)
        with booking(run, arguments[0]) as account:
            yield account


@contextmanager
def open_examiner(
    bench: "Bench",
    screen: Screen,
    account: "Account",
    executor: ExecutorChoice = ExecutorChoice.inline,
    workers: int | None = None,
    address: str | None = None,
    *,
    images: "ImageCandidates | None" = None,
) -> "Iterator[Examiner]":
    """What measures on a bench that `set_up_bench` opened, in this process or in others; how much that was goes into the account."""
    from selection.evaluation import remembered
    from selection.examining import Examiner
    from selection.executors import WorkOrder, open_executor

    order = WorkOrder.of(bench, remembered(bench.run), images=images)
    with open_executor(executor.value, bench, order, workers=workers, address=address, progress=screen.progress) as opened:
        examiner = Examiner(bench, opened, screen.progress)
        try:
            yield examiner
        finally:
            account.measured += examiner.examined
            account.found += examiner.found
            account.drawn += examiner.drawn


def run_search(search: "Search", examiner: "Examiner", budget: "Budget") -> "dict[Unit, Outcome]":
    """Run a search; says so when the ledger held all that it asked for."""
    from selection.driving import drive

    before = examiner.examined
    found = drive(search, examiner, budget=budget)
    if found and examiner.examined == before:
        examiner.progress.say(f"nothing to measure: the ledger holds all {len(found)} already")
    return found


def known_pace(examiner: "Examiner") -> float | None:
    """Seconds of one evaluation, as far as the ledger knows, with as many at a time as the examiner takes."""
    from selection.pacing import seconds_per_image

    pace = seconds_per_image(examiner.bench)
    return None if pace is None else pace * examiner.images / examiner.parallel
