"""The report: its numbers against the ledger, and its partial states. What a browser makes of it is in `test_report_browser.py`."""

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apfgan.candidates import Candidate
from apfgan.config import PRESETS
from apfgan.errors import DataError
from apfgan.files import write_bytes, write_json
from apfgan.records import Estimate
from apfgan.runs import Run
from reports.board import Comparison, read_board
from reports.decision import bridge
from reports.observations import read_observations
from reports.page import write_report
from reports.tables import defuse
from tests.report_runs import EVERYTHING, MERGES, NOW, PROTOCOL, build_run, measure


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    built = build_run(tmp_path_factory.mktemp("runs") / "demo")
    write_report(built, now=NOW)
    return built


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return (run.report / "index.html").read_text()


def read_table(path: Path, *texts: str) -> pd.DataFrame:
    """A CSV whose columns are exact floats, but for the named ones."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = [name for name in table.columns if name not in texts]
    return table.assign(**{name: [float(cell or "nan") for cell in table[name]] for name in numbers})


TEXTS = (
    *("candidate", "kind", "members", "weights", "formula", "judges", "protocol", "key", "device", "status"),
    *("best_member", "stem", "class", "part", "pareto"),
)


def test_scores_read_back_as_the_ledger(run: Run) -> None:
    table = read_table(run.report / "scores.csv", *TEXTS)
    ledger = run.ledger.read()
    assert len(table) == len(ledger)
    for line, measurement in zip(table.to_dict("records"), ledger, strict=True):
        assert line["candidate"] == measurement.candidate
        assert (line["seed"], line["images"], line["key"]) == (measurement.seed, measurement.images, measurement.key)
        assert (line["composite"], line["composite_error"]) == (measurement.composite.value, measurement.composite.error)
        assert line["seconds"] == measurement.seconds
        for name, estimate in measurement.metrics.items():
            assert (line[name], line[f"{name}_error"]) == (estimate.value, estimate.error)
    by_score = table.sort_values("composite", ascending=False)
    assert by_score["rank"].tolist() == list(range(1, len(ledger) + 1))


def test_page_and_json_show_the_best_of_the_table(run: Run, page: str) -> None:
    table = read_table(run.report / "scores.csv", *TEXTS).sort_values("rank")
    best = table.iloc[0]
    assert f'<span class="figure">{best["composite"]:.4f}</span>' in page
    summary = json.loads((run.report / "report.json").read_text())
    assert summary["best"] == best["candidate"]
    assert [entry["composite"] for entry in summary["ranking"]] == table["composite"].tolist()


def test_ties_go_by_mask_accuracy_then_by_the_later_epoch(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    same = Estimate(0.5, 0.01)
    for name, accuracy in (("9", 0.8), ("10", 0.8), ("avg_8_9", 0.8), ("3", 0.9), ("11@5", 0.8)):
        run.ledger.append(measure(name, composite=same, metrics={"mask_accuracy": Estimate(accuracy)}))
    assert [row.name for row in read_board(run).rows] == ["3", "11@5", "10", "9", "avg_8_9"]


def test_a_later_measurement_replaces_an_earlier_one(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measure("5", composite=Estimate(0.9, 0.01)))
    run.ledger.append(measure("6", composite=Estimate(0.5, 0.01)))
    run.ledger.append(measure("5", composite=Estimate(0.4, 0.01)))
    write_report(run, now=NOW)
    assert [(row.name, row.score.value) for row in read_board(run).rows] == [("6", 0.5), ("5", 0.4)]
    assert pd.read_csv(run.report / "scores.csv")["rank"].astype("Int64").tolist() == [pd.NA, 1, 2]
    assert "1 earlier measurement" in (run.report / "index.html").read_text()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"protocol": PROTOCOL | {"label_resize": "cv2-nearest"}}, "label_resize"), ({"formula": "B"}, "formula"), ({"images": 10}, "images")],
)
def test_only_comparable_measurements_are_ranked(tmp_path: Path, changes: dict, reason: str) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measure("5", composite=Estimate(0.99, 0.01), **changes))
    run.ledger.append(measure("6"))
    write_report(run, now=NOW)
    board = read_board(run)
    assert [row.name for row in board.rows] == ["6"]
    assert [(group.count, group.differing) for group in board.excluded] == [(1, (reason,))]
    assert f"left out of the ranking: {reason} differs" in (run.report / "index.html").read_text()


def test_verdict_names_what_the_noise_leaves_open(tmp_path: Path) -> None:
    clear, open_, unknown = (Run.create(tmp_path / name, PRESETS["tiny"]) for name in ("clear", "open", "unknown"))
    for run, distance, error in ((clear, 0.1, 0.01), (open_, 0.01, 0.01), (unknown, 0.1, None)):
        for epoch in (5, 6):
            run.ledger.append(measure(str(epoch), composite=Estimate(0.5 + distance * (epoch == 6), error)))
        write_report(run, now=NOW)
    words = {run: (run.report / "index.html").read_text() for run in (clear, open_, unknown)}
    assert "clear winner" in words[clear] and "no clear winner" not in words[clear]
    assert "no clear winner" in words[open_]
    assert "clear winner" not in words[unknown] and "noise unknown" in words[unknown]
    board = read_board(clear)
    versus = Comparison(board.rows[0], board.rows[1])
    assert versus.gap.error == pytest.approx(math.sqrt(2) * 0.01)
    assert versus.probability == pytest.approx(1.0, abs=1e-6)


def test_what_the_noise_leaves_open_is_the_same_everywhere(run: Run, page: str) -> None:
    """On the page, in the table and in the JSON; and the expected score is the submission score less what it owes to luck."""
    board = read_board(run)
    table = read_table(run.report / "scores.csv", *TEXTS).sort_values("rank").to_dict("records")
    summary = json.loads((run.report / "report.json").read_text())
    for row, line, entry in zip(board.rows, table, summary["ranking"], strict=True):
        assert row.place.rank_interval == (line["rank_first"], line["rank_last"]) == tuple(entry["rank_interval"])
        assert row.standing.probability_best == line["probability_best"] == entry["probability_best"]
        assert row.standing.probability_pareto == line["probability_pareto"] == entry["probability_pareto"]
        assert (row.standing.pareto, f"{row.standing.pareto}") == (entry["pareto"], line["pareto"])
    assert sum(line["probability_best"] for line in table) == pytest.approx(1)
    expected = summary["expected_score"]["value"]
    assert summary["tried"] == len(EVERYTHING)
    assert 0 < summary["submission_score"]["value"] - expected < 3 * summary["submission_score"]["error"]
    assert f'<strong>expected score</strong> <span class="value">{expected:.4f}</span>' in page
    assert f"the best of {len(EVERYTHING)} candidates tried" in page


def test_the_page_says_how_far_a_sweep_is(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measure("5"))
    for names, told in ((["5"], "complete: 1 candidate<"), (["5", "6", "7", "8"], "partial: 1 of 4 candidates<")):
        write_json(run.evaluation_path, {"asked": {}, "sweep": names})
        assert told in write_report(run, now=NOW).read_text()
    run.ledger.append(measure("6", part=(0, 8), images=8))
    assert "partial: 2 of 4 candidates, 1 of them ruled out after a part of the label maps<" in write_report(run, now=NOW).read_text()
    write_json(run.evaluation_path, {"asked": {}, "sweep": ["5", "6"], "swept": False})  # a race that goes on has ruled out nobody
    page = write_report(run, now=NOW).read_text()
    assert "partial: 1 of 2 candidates, and 1 looked at on a part of the label maps so far<" in page
    assert "The sweep is not at its end: 1 of 2 candidates measured on all label maps so far." in page
    write_json(run.evaluation_path, {"asked": {}, "sweep": ["5", "6"], "swept": True})
    assert "complete: all 2 candidates, 1 of them ruled out after a part of the label maps<" in write_report(run, now=NOW).read_text()


def test_variants_are_a_kind_of_their_own_and_no_seeds(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    names = ["16", "16@7", "16~photos", "16~photos@7", "16~q95-444", "avg_15_16", "avg_15_16~recal500"]
    for index, name in enumerate(names):
        write_bytes(run.checkpoint_path("16"), b"weights")
        run.ledger.append(measure(name, composite=Estimate(0.5 + 0.01 * index, 0.001)))
    write_report(run, now=NOW)
    board = read_board(run)
    kinds = {row.name: row.kind for row in board.rows}
    assert kinds == dict(zip(names, ["epoch", "epoch", "variant", "variant", "variant", "merge", "variant"], strict=True))
    assert [(group.name, len(group.rows)) for group in board.seeds] == [("16~photos", 2), ("16", 2)]
    assert [merge.row.name for merge in board.merges] == ["avg_15_16"]
    assert [row.name for row in board.epochs] == ["16"]
    assert [step.name for step in bridge(board)] == ["16", "avg_15_16", "avg_15_16~recal500"]
    html = (run.report / "index.html").read_text()
    assert "~photos: training photos stand in for drawings of a single class." in html and "another JPEG encoder" in html


def test_parts_of_the_label_maps_are_told_but_not_ranked(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measure("5"))
    run.ledger.append(measure("6", part=(0, 8), images=8, composite=Estimate(0.99, 0.01)))
    write_report(run, now=NOW)
    board = read_board(run)
    assert [row.name for row in board.rows] == ["5"] and board.excluded == () and board.partial == 1
    assert "1 measurement of a part of the label maps" in (run.report / "index.html").read_text()
    table = pd.read_csv(run.report / "scores.csv", dtype=str, keep_default_na=False)
    assert table[["rank", "part"]].to_numpy().tolist() == [["1", ""], ["", "0-8"]]


def test_merges_are_held_against_their_best_member(run: Run) -> None:
    table = read_table(run.report / "merges.csv", *TEXTS)
    assert sorted(table["candidate"]) == sorted(MERGES)  # seeds of a merge are no further combinations
    scores = {measurement.candidate: measurement.composite.value for measurement in run.ledger.read()}
    for line in table.to_dict("records"):
        best = max(Candidate.parse(line["candidate"]).members, key=lambda member: scores[member])
        assert line["best_member"] == best
        assert line["gain"] == scores[line["candidate"]] - scores[best]


def test_seeds_are_held_against_luck(run: Run, page: str) -> None:
    (group,) = read_board(run).seeds
    scores = [measurement.composite.value for measurement in run.ledger.read() if measurement.candidate.startswith("avg_13_16@")]
    scores += [measurement.composite.value for measurement in run.ledger.read() if measurement.candidate == "avg_13_16"]
    assert group.name == "avg_13_16" and len(group.rows) == len(scores) == 10
    assert group.deviation == pytest.approx(np.std(scores, ddof=1))
    assert group.gain == pytest.approx(max(scores) - np.mean(scores))
    assert "Expected gain on new label maps: <strong>0</strong>" in page


def test_tables_by_image_and_class_come_from_the_observations(run: Run) -> None:
    measurement = next(each for each in run.ledger.read() if each.candidate == "16")
    parts = [np.load(run.features / measurement.observations / f"{part:04d}.npz") for part in range(2)]
    confusion = np.concatenate([part["confusion"] for part in parts]).astype(float)
    images = read_table(run.report / "per_image.csv", *TEXTS).query("candidate == '16'")
    assert images["stem"].tolist() == [*parts[0]["stem"], *parts[1]["stem"]]
    assert images["mask_accuracy"].to_numpy() == pytest.approx([each.trace() / each.sum() for each in confusion])
    aesthetic = run.influences.read(measurement)["aesthetic"]
    assert images["aesthetic"].tolist() == (aesthetic.value + aesthetic.influence).tolist()
    classes = read_table(run.report / "per_class.csv", *TEXTS).query("candidate == '16'").set_index("class")
    total = confusion.sum(axis=0)
    assert classes.loc["sky", "accuracy"] == pytest.approx(total[1, 1] / total[1].sum())
    assert classes.loc["mountain", "iou"] == pytest.approx(total[0, 0] / (total[0].sum() + total[:, 0].sum() - total[0, 0]))
    assert math.isnan(classes.loc["boat", "accuracy"])


def test_damaged_observations_cost_only_themselves(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", ["5", "6"], pictures=False)
    measurement = run.ledger.read()[0]
    path = run.features / measurement.observations / "0001.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"0001\.npz"):
        read_observations(run, measurement)
    write_report(run, now=NOW)
    assert "Left out of the tables by image and by class" in (run.report / "index.html").read_text()
    assert set(pd.read_csv(run.report / "per_image.csv", dtype=str)["candidate"]) == {"6"}


@pytest.mark.parametrize("cell", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_formulas_in_cells_are_defused(cell: str) -> None:
    assert defuse(cell) == f"'{cell}"


def test_plain_cells_are_left_alone() -> None:
    assert [defuse(cell) for cell in ("299", "0.4*273+0.6*299", -1.5, None)] == ["299", "0.4*273+0.6*299", -1.5, None]


def test_same_run_gives_same_bytes_but_for_the_time(run: Run, page: str) -> None:
    before = {path.relative_to(run.report): path.read_bytes() for path in run.report.rglob("*") if path.is_file()}
    assert write_report(run, now=datetime(2031, 7, 8, 9, 10, 11, tzinfo=UTC)) == run.report / "index.html"
    after = {path.relative_to(run.report): path.read_bytes() for path in run.report.rglob("*") if path.is_file()}
    changed = {path for path in before if before[path] != after[path]}
    assert before.keys() == after.keys()
    assert changed == {Path("index.html"), Path("report.json")}
    for path in changed:
        assert before[path].count(b"2026-03-01 12:30:00Z") == 1
        assert before[path].replace(b"2026-03-01 12:30:00Z", b"2031-07-08 09:10:11Z") == after[path]
    write_report(run, now=NOW)


@pytest.mark.parametrize(
    ("names", "expected", "absent"),
    [
        ([], ["Nothing is measured yet", "13 checkpoints are saved", "apfgan score --run"], ['id="leaderboard"', 'id="images"', 'id="merges"']),
        (["8"], ["the only candidate so far", "apfgan submit --run"], ['id="curves-table"', 'id="merges"', 'id="seeds"']),
        (["5", "6", "7"], ["partial: 3 of 13 candidates", 'id="curves"'], ['id="merges"', 'id="seeds"']),
        (["avg_13_16"], ["not measured alone: 13, 16"], ['id="curves-table"', 'id="seeds"']),
    ],
)
def test_partial_states(tmp_path: Path, names: list[str], expected: list[str], absent: list[str]) -> None:
    run = build_run(tmp_path / "run", names, photos=False)
    html = write_report(run, now=NOW).read_text()
    assert [text for text in expected if text not in html] == []
    assert [text for text in absent if text in html] == []
    assert not re.search(r">\s*photo\s*<", html)


def test_empty_run_says_how_to_begin(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", PRESETS["tiny"])
    html = write_report(run, now=NOW).read_text()
    assert "apfgan train --data DATA --run" in html
    assert json.loads((run.report / "report.json").read_text())["best"] is None
    assert pd.read_csv(run.report / "scores.csv").empty


def test_embedded_judges_are_announced(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measure("5", metrics={"mask_accuracy": Estimate(0.5, 0.01), "fd-embedded": Estimate(3.0, 0.1)}))
    html = write_report(run, now=NOW).read_text()
    assert "Embedded judges." in html and "fd-embedded" in html
    assert "Embedded judges." not in write_report(build_run(tmp_path / "standard", ["5"]), now=NOW).read_text()


def test_every_picture_carries_its_classes_in_words(page: str) -> None:
    described = re.findall(r'<img [^>]*alt="([^"]*)"[^>]*loading', page)
    assert described and all(re.search(r"4871\d\d: \w+ \d+ %|^photo 4871\d\d$", text) for text in described)
