"""Where the score comes from, by hand on the published tables and on made-up runs."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from apfgan.candidates import Candidate
from apfgan.config import PRESETS
from apfgan.files import hash_value
from apfgan.measured import Measured
from apfgan.noise import QUANTILE
from apfgan.records import Estimate
from apfgan.runs import Run
from reports.board import Board, board_of_tables, read_board
from reports.decision import Step, bridge, formula_of, reweighable, waterfall, worth_of
from selection.tables import measure_tables
from tests.report_runs import PROTOCOL, measure

TABLES = [Path(__file__).parents[1] / "docs" / "published" / f"apfgan_{name}.csv" for name in ("epochs", "merges", "seeds")]
PER_POINT = 0.9 * 0.5 / 100
"""What the total of formula A gains by one point of the distance, at a mask accuracy of 0.90."""
SEEDS = (26.99, 26.95, 26.88, 26.91, 27.09, 26.82, 27.07, 27.13, 26.76, 26.93, 27.05, 27.01, 27.02, 27.00, 26.91, 26.86, 27.04, 26.99, 26.97, 27.04)


def board_of(tables: list[Path]) -> Board:
    measured = measure_tables(tables, assume={"mask_accuracy": 0.90, "aesthetic": 5.0})
    return board_of_tables(measured.measurements, name="published", seeded=measured.seeded)


@pytest.fixture(scope="module")
def published() -> Board:
    return board_of(TABLES)


def adds_up(steps: tuple[Step, ...], board: Board) -> bool:
    gains = [step.gain.value for step in steps if step.gain]
    return board.choice is not None and math.isclose(steps[0].score + math.fsum(gains), board.choice.score.value, abs_tol=1e-12)


def test_published_steps_by_hand(published: Board) -> None:
    steps = bridge(published)
    assert [(step.title, step.name) for step in steps] == [
        ("last epoch", "309"),
        ("choice of the epoch", "299"),
        ("merge", "avg_273_299"),
        ("back to the mean of its seeds", "avg_273_299, mean of 20 seeds"),
        ("choice of the seed", "seed 9"),
    ]
    gains = [step.gain for step in steps]
    by_hand = [(31.35 - 28.12) * PER_POINT, (28.12 - 26.93) * PER_POINT, (26.93 - 26.971) * PER_POINT, (26.971 - 26.76) * PER_POINT]
    assert [gain.value for gain in gains if gain] == pytest.approx(by_hand)
    assert [f"{gain.value:.4f}" for gain in gains if gain] == ["0.0145", "0.0054", "-0.0002", "0.0009"]
    assert adds_up(steps, published)
    noise = stdev(SEEDS) * PER_POINT
    assert [gain.error for gain in gains[1:4] if gain] == pytest.approx([math.sqrt(2) * noise, math.sqrt(2) * noise, noise])
    assert steps[-1].gain is not None and steps[-1].gain.error is None
    assert steps[-1].luck == pytest.approx(1.8675 * noise, rel=1e-4)  # of 20 standard normal draws (tables of order statistics)
    assert steps[1].luck == pytest.approx(0, abs=1e-5) and steps[2].luck is not None and 0 <= steps[2].luck < 0.0002
    assert steps[1].told == "the best of 39 epochs" and steps[2].told == "the best of 4 merges"


def test_published_exchange_by_hand(published: Board) -> None:
    worth = worth_of(published.choice)
    assert worth is not None
    distance, mask, aesthetic = worth.units
    assert (distance.label, mask.label, aesthetic.label) == ("1 FID", "1 point of mask accuracy", "0.1 aesthetic")
    per_mask = 0.5 * 5.0 / 10 + 0.5 * (100 - 26.76) / 100
    assert distance.total == pytest.approx(0.0045) and aesthetic.total == pytest.approx(0.0045) and mask.total == pytest.approx(per_mask / 100)
    assert {name: f"{value:.2f}" for name, value in distance.equal.items()} == {"fid": "1.00", "mask_accuracy": "0.73", "aesthetic": "0.10"}
    assert mask.equal["fid"] == pytest.approx(per_mask / 100 / 0.0045) and mask.equal["aesthetic"] == pytest.approx(per_mask / 100 / 0.045)
    assert aesthetic.equal["mask_accuracy"] == pytest.approx(distance.equal["mask_accuracy"])
    assert worth.terms == pytest.approx({"aesthetic": 0.9 * 0.25, "closeness": 0.9 * 0.3662})
    assert sum(worth.terms.values()) == pytest.approx(published.rows[0].score.value)


def test_beyond_the_clip_a_distance_is_worth_nothing(tmp_path: Path) -> None:
    (tmp_path / "far.csv").write_text("epoch,mask_accuracy,aesthetic,fid\n1,0.5,4,140\n")
    worth = worth_of(board_of_tables(measure_tables([tmp_path / "far.csv"]).measurements, name="far", seeded=()).choice)
    assert worth is not None
    distance, mask, aesthetic = worth.units
    assert distance.total == 0 and set(distance.equal.values()) == {None}
    assert mask.equal["fid"] is None and aesthetic.equal["mask_accuracy"] == pytest.approx(0.5 * 0.05 * 0.1 / 0.002)


def test_noise_of_a_step_is_paired_image_by_image(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    rng, influences = np.random.default_rng(0), {}
    common = rng.normal(0, 0.1, 40)
    for name, score in {"5": 0.52, "6": 0.5, "avg_5_6": 0.55}.items():
        influence = common + rng.normal(0, 0.01, 40)
        influences[name] = influence - influence.mean()
        measurement = measure(name, images=40, composite=Estimate(score, 0.02))
        run.ledger.append(measurement)
        run.influences.write(measurement.key, [str(index) for index in range(40)], {"composite": Measured(score, influences[name], 40)})
    board = read_board(run)
    steps = bridge(board)
    assert adds_up(steps, board) and [step.name for step in steps] == ["6", "5", "avg_5_6"]
    for step, one, other in zip(steps[1:], ("5", "avg_5_6"), ("6", "5"), strict=True):
        assert step.gain is not None
        assert step.gain.error == pytest.approx(np.std(influences[one] - influences[other], ddof=1) / math.sqrt(40))
        assert step.gain.error < 0.003  # the errors of the scores themselves are 0.02


def make_board(path: Path, scores: dict[str, float], *, error: float | None = 0.001, checkpoints: tuple[str, ...] = ()) -> Board:
    run = Run.create(path, PRESETS["tiny"])
    for name in checkpoints:
        run.checkpoint_path(name).parent.mkdir(exist_ok=True)
        run.checkpoint_path(name).write_bytes(b"weights")
        run.checkpoint_path(name).with_suffix(".json").write_text(f'{{"name": "{name}"}}')
    for name, score in scores.items():
        run.ledger.append(
            replace(measure("5", composite=Estimate(score, error)), key=hash_value(name), candidate=name, seed=Candidate.parse(name).seed)
        )
    return read_board(run)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"5": 0.5}, []),
        ({"5": 0.5, "6": 0.4}, [("last epoch", "6"), ("choice of the epoch", "5")]),
        ({"5": 0.5, "6": 0.6}, []),
        ({"5": 0.4, "6": 0.5, "avg_5_6": 0.6}, [("last epoch", "6"), ("merge", "avg_5_6")]),
        ({"6": 0.5, "avg_5_6": 0.6, "avg_5_6~photos": 0.7}, [("last epoch", "6"), ("merge", "avg_5_6"), ("post-processing", "avg_5_6~photos")]),
        ({"6": 0.5, "avg_5_6@3": 0.6}, [("last epoch", "6"), ("merge", "avg_5_6@3")]),
        (  # no standard draw: the merge leads to the mean of its seeds at once
            {"6": 0.5, "avg_5_6@3": 0.6, "avg_5_6@4": 0.7},
            [("last epoch", "6"), ("merge", "avg_5_6, mean of 2 seeds"), ("choice of the seed", "seed 4")],
        ),
        ({"6": 0.5, "6@3": 0.4}, []),
        ({"theirs": 0.6, "6": 0.5}, []),
        ({"avg_5_6": 0.5, "avg_5_6~photos": 0.7}, [("start", "avg_5_6"), ("post-processing", "avg_5_6~photos")]),
    ],
)
def test_only_what_is_known_is_a_step(tmp_path: Path, scores: dict[str, float], expected: list[tuple[str, str]]) -> None:
    board = make_board(tmp_path, scores)
    steps = bridge(board)
    assert [(step.title, step.name) for step in steps] == expected
    assert not steps or adds_up(steps, board)


def test_a_last_epoch_that_was_not_measured_is_told(tmp_path: Path) -> None:
    assert bridge(make_board(tmp_path, {"5": 0.6, "6": 0.5}, checkpoints=("5", "6", "7")))[0].title == "last epoch measured in full"
    assert bridge(make_board(tmp_path / "whole", {"5": 0.6, "6": 0.5}, checkpoints=("5", "6")))[0].title == "last epoch"


def test_bars_hang_from_one_another() -> None:
    def step(score: float, error: float | None) -> Step:
        return Step(title="", name="", told="", score=score, gain=Estimate(0.0, error), luck=None)

    bars = waterfall([Step(title="", name="", told="", score=0.5, gain=None, luck=None), step(0.6, 0.05), step(0.55, None)])
    low, width = 0.5, 0.1 + QUANTILE * 0.05
    assert (bars[0].start, bars[0].end) == (0, 0)
    assert bars[1].start == 0 and bars[1].end == bars[2].start == pytest.approx(100 * (0.6 - low) / width, abs=0.01)
    assert bars[1].high == 100 and bars[1].low == pytest.approx(100 * (0.6 - QUANTILE * 0.05 - low) / width, abs=0.01)
    assert bars[2].low is None and bars[2].end == pytest.approx(100 * 0.05 / width, abs=0.01)
    assert waterfall([]) == ()
    assert [bar.end for bar in waterfall([step(0.5, None), step(0.5, None)])] == [0, 0]


@pytest.mark.parametrize(
    "formula",
    [
        None,
        "A",
        {"name": "A"},
        {"name": "A", "aesthetic": 1, "closeness": 1, "sharpness": 2},
        {"name": "x", "aesthetic": 0, "closeness": 0, "style": 1},
    ],
)
def test_without_a_formula_nothing_is_weighed(tmp_path: Path, formula: object) -> None:
    measurement = measure("5", protocol=PROTOCOL | {"formula": formula})
    assert formula_of(measurement) is None
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measurement)
    assert worth_of(read_board(run).choice) is None and not reweighable(read_board(run))


def test_without_all_scores_nothing_is_weighed(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measure("5"))
    assert not reweighable(read_board(run))  # there is nothing to rank
    run.ledger.append(measure("7"))
    assert reweighable(read_board(run))
    run.ledger.append(measure("6", metrics={"mask_accuracy": Estimate(0.5), "fid": Estimate(30.0)}))
    assert not reweighable(read_board(run))
