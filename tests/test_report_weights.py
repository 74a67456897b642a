"""Sliders for the weights of the total: the page ranks as Python does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apfgan.composite import FORMULAS, Formula, composite_estimate
from apfgan.config import PRESETS
from apfgan.files import hash_value
from apfgan.ranking import Entry, rank
from apfgan.records import Estimate
from apfgan.runs import Run
from reports.board import Board, board_of_tables, read_board
from reports.decision import formula_of
from reports.page import write_report, write_table_report
from selection.tables import measure_tables
from tests.browser import open_page
from tests.report_runs import NOW, PROTOCOL, measure

POSITIONS = [(0, 0), (1, 0), (0, 1), (1, 1), (0.01, 0.99), (0.37, 0.81), (0.5, 0.49)]


def expected(board: Board, aesthetic: float, closeness: float) -> list[tuple[str, float]]:
    """Names and scores in Python's order."""
    entries = []
    for row in board.rows:
        formula = formula_of(row.measurement)
        assert formula is not None
        metrics = row.measurement.metrics
        score = composite_estimate(replace(formula, aesthetic=aesthetic, closeness=closeness), metrics, distance="fid")
        entries.append(Entry(row.name, {**metrics, "composite": score}))
    return [(place.entry.name, place.value.value) for place in rank(entries)]


def slide(tab, name: str, value: float) -> None:
    slider = tab.locator(f"#weight-{name}")
    slider.evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value)


def shown(tab) -> list[tuple[str, float]]:
    """Names and scores as the leaderboard has them, by rank."""
    rows = tab.locator("#board tbody tr").evaluate_all(
        "rows => rows.map(row => [row.dataset.candidate, Number(row.querySelector('.rank').textContent), row.querySelector('.score').dataset.value])"
    )
    assert [place for _, place, _ in rows] == list(range(1, len(rows) + 1))
    return [(name, float(score)) for name, _, score in rows]


def make_run(path: Path, formula: Formula) -> Run:
    """Made-up numbers: some distances beyond the clip, some scores equal, one candidate in several seeds."""
    run = Run.create(path, PRESETS["tiny"])
    rng = np.random.default_rng(3)
    names = [*map(str, range(5, 17)), "avg_5_6", "avg_9_16", "avg_9_16@3", "avg_9_16@7", "avg_15_16~photos", "0.4*5+0.6*9"]
    protocol = PROTOCOL | {"formula": {name: getattr(formula, name) for name in formula.__dataclass_fields__}}
    for index, name in enumerate(names):
        accuracy, aesthetic, distance = rng.uniform(0.4, 0.9), rng.uniform(3, 7), rng.uniform(20, 130)
        if index in (3, 4, 5):  # equal in everything but the epoch
            accuracy, aesthetic, distance = 0.7, 5.5, 33.0
        if index in (7, 8):  # equal but for the aesthetic, both beyond the clip
            accuracy, distance = 0.65, 100.0 + index
        metrics = {"mask_accuracy": Estimate(accuracy, 0.01), "aesthetic": Estimate(aesthetic, 0.02), "fid": Estimate(distance, 0.3)}
        total = composite_estimate(formula, metrics, distance="fid")
        run.ledger.append(replace(measure(name), key=hash_value(name), metrics=metrics, composite=total, protocol=protocol, formula=formula.name))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make_run(tmp_path_factory.mktemp("weights") / "run", FORMULAS["A"])
    write_report(made, now=NOW)
    return made


@pytest.mark.parametrize(
    "formula",
    [FORMULAS["A"], replace(FORMULAS["B"], votes_won=0.3), replace(FORMULAS["jittor3"], style_similarity=0.37)],
    ids=lambda formula: formula.name,
)
def test_the_page_ranks_as_python_does(tmp_path: Path, browser, formula: Formula) -> None:
    run = make_run(tmp_path / "run", formula)
    board = read_board(run)
    tab, _, complaints = open_page(browser, write_report(run, now=NOW), state="leaderboard&seeds=1")
    own = [(row.name, row.score.value) for row in board.rows]
    texts = "cells => cells.map(cell => cell.textContent)"
    before = tab.locator("#board .score").evaluate_all(texts)
    assert shown(tab) == own
    for aesthetic, closeness in POSITIONS:
        slide(tab, "aesthetic", aesthetic)
        slide(tab, "closeness", closeness)
        wanted = expected(board, aesthetic, closeness)
        assert shown(tab) == wanted  # to the last bit
        assert tab.locator("#weights-top li .name").all_text_contents() == first_five(wanted)
        assert tab.locator(".reweighed-banner").is_visible() and "own weights" in tab.locator(".reweighed-banner").text_content()
        assert "line-through" in tab.locator("#board tbody .of-own-weights").first.evaluate("cell => getComputedStyle(cell).textDecorationLine")
    tab.locator(".reweighed-banner button").click()
    assert shown(tab) == own and tab.locator("#board .score").evaluate_all(texts) == before
    assert not tab.locator(".reweighed-banner").is_visible()
    assert complaints == []
    tab.context.close()


def first_five(order: Sequence[tuple[str, float]]) -> list[str]:
    """Each candidate once, whatever its seeds."""
    return list(dict.fromkeys(name.partition("@")[0] for name, _ in order))[:5]


def test_each_row_of_a_table_keeps_its_style(tmp_path: Path, browser) -> None:
    table = tmp_path / "scores.csv"
    table.write_text(
        "team,mask_accuracy,aesthetic,fid,style_similarity\none,0.90,5.0,40,0.10\ntwo,0.88,5.5,41,0.90\nthree,0.91,4.5,39,0.33\nfour,0.88,5.5,41,-0.7\n"
    )
    measured = measure_tables([table])
    board = board_of_tables(measured.measurements, name="teams", seeded=measured.seeded)
    tab, _, complaints = open_page(browser, write_table_report(measured.measurements, tmp_path / "page", name="teams", now=NOW))
    for aesthetic, closeness in POSITIONS:
        slide(tab, "aesthetic", aesthetic)
        slide(tab, "closeness", closeness)
        assert shown(tab) == expected(board, aesthetic, closeness)
    assert complaints == []
    tab.context.close()


def test_weights_stand_in_the_address(run: Run, browser) -> None:
    page, board = run.report / "index.html", read_board(run)
    for state, weights in (
        ("decision&aesthetic=0.2&closeness=0.9&seeds=1", (0.2, 0.9)),
        ("aesthetic=0.2&seeds=1", (0.2, 0.5)),
        ("aesthetic=7&closeness=x&seeds=1", (0.5, 0.5)),  # no weights
    ):
        tab, _, complaints = open_page(browser, page, state=state)
        assert shown(tab) == expected(board, *weights)
        assert [tab.locator(f"#weight-{name}-value").text_content() for name in ("aesthetic", "closeness")] == [f"{each:.2f}" for each in weights]
        assert tab.locator(".reweighed-banner").is_visible() == (weights != (0.5, 0.5))
        assert complaints == []
        tab.context.close()


def test_sliders_move_by_key(run: Run, browser) -> None:
    tab, _, _ = open_page(browser, run.report / "index.html")
    tab.locator("#weight-aesthetic").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("state.get('aesthetic')") == "0.51"
    tab.keyboard.press("ArrowLeft")
    assert tab.evaluate("state.get('aesthetic')") is None and not tab.locator(".reweighed-banner").is_visible()
    tab.context.close()


def test_without_a_formula_there_are_no_sliders(tmp_path: Path, browser) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measure("5", protocol={name: value for name, value in PROTOCOL.items() if name != "formula"}))
    tab, _, complaints = open_page(browser, write_report(run, now=NOW))
    assert tab.locator("#weights").count() == 0 and complaints == []
    tab.context.close()
