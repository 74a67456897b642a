"""The report's figures: what they show against the ledger and NumPy, and what is drawn of it."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from apfgan.candidates import Candidate
from apfgan.config import PRESETS
from apfgan.files import write_bytes, write_text
from apfgan.measured import Measured
from apfgan.records import Estimate
from apfgan.runs import Run
from reports.board import Board, read_board
from reports.figures.curves import FRAME, PANEL, draw_curves, loss_curves, score_curves
from reports.figures.gallery import Gallery, draw_figures, write_figures
from reports.figures.merges import MOST_MERGES, draw_gains, merge_gains
from reports.figures.seeds import draw_seeds, seed_spreads
from reports.figures.svg import Box, legible
from reports.figures.tradeoff import draw_scatter, place_labels, tradeoffs
from tests.report_runs import EVERYTHING, MERGES, SEEDS, TRAINED, build_run, measure


def scored(path: Path, names: Sequence[str], **changes) -> Run:
    """A run with nothing but a ledger."""
    run = Run.create(path, PRESETS["tiny"])
    for name in names:
        run.ledger.append(measure(name, **changes))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    built = build_run(tmp_path_factory.mktemp("figures") / "run", [*EVERYTHING, "14@3", "14@8"], pictures=False)
    for name in ("2", "3", "avg_9_10"):
        built.ledger.append(measure(name, part=(0, 8), images=8, composite=Estimate(0.9, 0.1)))
    return built


@pytest.fixture(scope="module")
def board(run: Run) -> Board:
    return read_board(run)


@pytest.fixture(scope="module")
def gallery(run: Run, board: Board) -> Gallery:
    return draw_figures(board, loss_curves(run))


def value_of(run: Run, name: str) -> float:
    return next(each.composite.value for each in run.ledger.read() if each.candidate == name)


def test_curves_hold_the_mean_over_the_seeds_of_every_trained_epoch(run: Run, board: Board) -> None:
    curves = score_curves(board)
    assert curves is not None and [curve.metric for curve in curves.curves] == ["score", "mask_accuracy", "fid", "aesthetic"]
    score = curves.curves[0]
    assert [str(point.epoch) for point in score.points] == TRAINED  # neither the untrained generator nor what was looked at in part
    seeds = [value_of(run, name) for name in ("14", "14@3", "14@8")]
    assert score.at[14].estimate.value == pytest.approx(np.mean(seeds)) and sorted(score.at[14].seeds) == sorted(seeds)
    assert score.at[13].estimate.value == value_of(run, "13") and score.at[13].seeds == ()
    best = max(score.points, key=lambda point: point.estimate.value)
    assert score.best == best and f"best (highest) {best.estimate.value:.4g} at epoch {best.epoch}" in score.summary
    distance = curves.curves[2]
    assert distance.lower_is_better and distance.best == min(distance.points, key=lambda point: point.estimate.value)
    assert curves.boundary == PRESETS["tiny"].train.progressive_epochs and curves.partly == ("2", "3")
    assert board.choice is not None and curves.reference == board.choice.name and score.reference == board.choice.score.value


def test_error_of_a_mean_over_seeds_is_that_of_each_images_mean(tmp_path: Path) -> None:
    """With each image's value under each seed known, the mean's error is the usual one of the images' means over seeds."""
    run = scored(tmp_path / "run", ["5"])
    rng = np.random.default_rng(3)
    values = rng.normal(0.5, 0.1, (3, 24)) + rng.normal(0, 0.1, 24)
    for seed, each in enumerate(values, start=1):
        name = "6" if seed == 1 else f"6@{seed}"
        measured = Measured.mean(each)
        measurement = measure(name, composite=measured.estimate)
        run.ledger.append(measurement)
        run.influences.write(measurement.key, [str(index) for index in range(24)], {"composite": measured})
    curves = score_curves(read_board(run))
    assert curves is not None
    of_images = values.mean(axis=0)
    point = curves.curves[0].at[6]
    assert point.estimate.value == pytest.approx(of_images.mean())
    assert point.estimate.error == pytest.approx(of_images.std(ddof=1) / math.sqrt(24))
    assert curves.curves[1].at[6].estimate.error == pytest.approx(0.0031)  # influences unknown: that of one seed


def vertices(part: str, *, stroke: str = "currentColor", width: str = "1.4") -> list[tuple[float, float]]:
    """Points of the one line of that look, in pixels of the part."""
    root = ElementTree.fromstring(part)
    (path,) = [each for each in root.iter("path") if each.get("stroke-width") == width and each.get("stroke") == stroke]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.attrib["d"])]


def corner(part: str) -> tuple[float, float]:
    left, top, width, height = map(float, ElementTree.fromstring(part).attrib["viewBox"].split())
    assert (width, height) == (PANEL.width, PANEL.height)
    return left, top


def test_columns_lie_where_the_epochs_are_drawn_in_every_panel(gallery: Gallery) -> None:
    assert gallery.curves is not None
    columns = gallery.curves.values.columns
    for part in gallery.curves.drawing.parts:
        left, top = corner(part)
        drawn = vertices(part)
        assert [x - left for x, _ in drawn] == pytest.approx([column.middle for column in columns], abs=1e-3)
        assert all(FRAME.top <= y - top <= FRAME.top + FRAME.height for _, y in drawn)
    assert columns[0].left == FRAME.left and columns[-1].left + columns[-1].width == pytest.approx(FRAME.left + FRAME.width)
    for one, other in pairwise(columns):
        assert one.left + one.width == pytest.approx(other.left)
        assert abs(one.left + one.width - one.middle) == pytest.approx(abs(other.middle - other.left))  # each point belongs to the nearest epoch


def test_an_epoch_stands_under_its_first_seed(tmp_path: Path) -> None:
    curves = score_curves(read_board(scored(tmp_path / "run", ["5@9", "5@2", "6"])))
    assert curves is not None
    assert [(column.epoch, column.candidate) for column in curves.columns] == [(5, "5@2"), (6, "6")]


def test_losses_count_as_they_were_learned_last(run: Run, tmp_path: Path) -> None:
    empty = Run.create(tmp_path / "run", PRESETS["tiny"])
    assert loss_curves(empty) is None
    lines = ["epoch,phase,level,seconds,images,generator,late,probe", "1,a,0,1,1,9,,0.1", "2,a,0,1,1,8,,0.2", "1,a,0,1,1,7,,0.3"]
    write_text(empty.training_log, "\n".join([*lines, "3,a,0,1,1,6,1.5,0.4", "4,a,0,1,1,5,1.25,0.5"]) + "\n")
    curves = loss_curves(empty)
    assert curves is not None and curves.epochs == (1, 2, 3, 4) and curves.columns == ()
    found = {curve.title: [(point.epoch, point.estimate.value) for point in curve.points] for curve in curves.curves}
    assert found == {"generator": [(1, 7.0), (2, 8.0), (3, 6.0), (4, 5.0)], "late": [(3, 1.5), (4, 1.25)]}
    write_text(empty.training_log, "step,generator\n1,2\n2,3\n")
    assert loss_curves(empty) is None  # no log of a training


def test_scatter_shows_who_trades_what_for_what(board: Board) -> None:
    scatter = tradeoffs(board)
    assert scatter is not None and len(scatter.spots) + scatter.left_out == len(board.rows)
    assert "0" not in [spot.name for spot in scatter.spots]  # the untrained generator is far behind
    assert scatter.total is not None
    quality_at_none, weight = scatter.total
    for spot in scatter.spots:
        row = board.rows[spot.rank - 1]
        assert (spot.name, spot.distance, spot.accuracy) == (row.name, row.entry.metrics["fid"], row.entry.metrics["mask_accuracy"])
        assert spot.pareto == row.standing.pareto
        with_its_aesthetic = quality_at_none + (spot.aesthetic - scatter.spots[0].aesthetic) / 20
        assert spot.accuracy.value * (with_its_aesthetic - weight * spot.distance.value) == pytest.approx(row.score.value)
        total = scatter.total_at(spot.distance.value, spot.accuracy.value)
        assert total is not None and scatter.accuracy_for(total, spot.distance.value) == pytest.approx(spot.accuracy.value)
    # The line of the best: whoever lies on it is beaten by none in both numbers, whoever does not, is.
    for spot in scatter.spots:
        beaten = any(
            other.distance.value <= spot.distance.value and other.accuracy.value >= spot.accuracy.value and other is not spot
            for other in scatter.spots
        )
        assert (spot in scatter.nearest) is not beaten
    assert sum(seeds for _, seeds in scatter.front) == sum(bool(row.standing.pareto) for row in board.rows)
    assert len({row.unseeded for row, _ in scatter.front}) == len(scatter.front)


def test_spots_lie_where_they_are_drawn(gallery: Gallery) -> None:
    assert gallery.tradeoffs is not None
    part = ElementTree.fromstring(gallery.tradeoffs.drawing.parts[0])
    left, top = (float(each) for each in part.attrib["viewBox"].split()[:2])
    drawn = {(round(float(use.attrib["x"]) - left, 1), round(float(use.attrib["y"]) - top, 1)) for use in part.iter("use")}
    for spot, (x, y) in gallery.tradeoffs.values.places:
        assert any(abs(x - other[0]) <= 0.11 and abs(y - other[1]) <= 0.11 for other in drawn), spot.name


def test_labels_overlap_neither_each_other_nor_a_spot() -> None:
    rng = np.random.default_rng(0)
    frame = Box(left=40, top=20, width=300, height=200)
    for count in (1, 5, 40, 300):
        spots = [(float(x), float(y)) for x, y in zip(rng.uniform(40, 340, count), rng.uniform(20, 220, count), strict=True)]
        taken = [Box(left=x - 4, top=y - 4, width=8, height=8) for x, y in spots]
        boxes = place_labels(spots, [(16, 12)] * count, taken, frame)
        placed = [(index, box) for index, box in enumerate(boxes) if box is not None]
        assert boxes[0] is not None or count == 300
        for index, box in placed:
            assert frame.holds(box)
            assert not any(box.overlaps(other) for other in taken)
            assert not any(box.overlaps(other) for place, other in placed if place != index)
            x, y = spots[index]
            assert max(abs(box.left + 8 - x) - 8, abs(box.top + 6 - y) - 6) < 8  # beside its spot
    assert Box(left=0, top=0, width=2, height=2).overlaps(Box(left=1, top=1, width=2, height=2))
    assert not Box(left=0, top=0, width=2, height=2).overlaps(Box(left=2, top=0, width=2, height=2))


def test_gains_of_merges_are_those_over_the_best_member(run: Run, board: Board) -> None:
    gains = merge_gains(board)
    assert gains is not None and gains.tried == len(MERGES) and gains.partly == ("avg_9_10",)
    assert [each.name for each in gains.gains] == sorted(MERGES, key=lambda name: -value_of(run, name))
    for each in gains.gains:
        best = max(Candidate.parse(each.name).members, key=lambda member: value_of(run, member))
        assert each.other == best and each.gain.value == pytest.approx(value_of(run, each.name) - value_of(run, best))


def test_what_the_best_merge_owes_to_chance(tmp_path: Path) -> None:
    """Of equals it is the mean of the largest of so many draws, of clearly different ones nothing; unknown where errors are."""
    names = [f"avg_5_{epoch}" for epoch in range(6, 16)]

    def luck(step: float, error: float | None) -> float | None:
        folder = tmp_path / f"{step}-{error}"
        run = Run.create(folder, PRESETS["tiny"])
        for index, name in enumerate(["5", *names]):
            run.ledger.append(measure(name, metrics={"mask_accuracy": Estimate(0.5, 0.1)}, composite=Estimate(0.5 + step * index, error)))
        found = merge_gains(read_board(run))
        assert found is not None
        return found.luck

    equal, apart = luck(0.0, 0.01), luck(1.0, 0.01)
    assert equal == pytest.approx(0.01 * np.random.default_rng(0).normal(size=(20000, 10)).max(axis=1).mean(), rel=0.2)
    assert apart == pytest.approx(0, abs=1e-6)
    assert luck(0.0, None) is None
    assert merge_gains(read_board(scored(tmp_path / "none", ["5", "6"]))) is None
    alone = merge_gains(read_board(scored(tmp_path / "alone", ["5", "6", "avg_5_6"])))
    assert alone is not None and alone.luck is None


def test_best_seed_is_held_against_luck_in_score_and_distance(run: Run, board: Board) -> None:
    spreads = seed_spreads(board)
    assert spreads is not None and [each.name for each in spreads.groups] == ["avg_13_16", "14"]
    group = spreads.groups[0]
    measurements = [each for each in run.ledger.read() if each.candidate in ("avg_13_16", *SEEDS)]
    scores = np.array([each.composite.value for each in measurements])
    distances = np.array([each.metrics["fid"].value for each in measurements])
    assert group.distance is not None
    for spread, values, best in ((group.score, scores, scores.max()), (group.distance, distances, distances.min())):
        assert spread.mean == pytest.approx(values.mean()) and spread.deviation == pytest.approx(values.std(ddof=1))
        assert spread.best == best and spread.gain == pytest.approx(abs(best - values.mean()))
        assert spread.luck == pytest.approx(1.5388 * values.std(ddof=1), rel=1e-4)  # tables: mean of the largest of ten normal draws
    assert group.seeds[0] == measurements[int(scores.argmax())].seed


def local_ids(part: str) -> tuple[list[str], set[str]]:
    """Ids of an SVG, and those that it refers to."""
    root = ElementTree.fromstring(part)
    referred = {found for each in root.iter() for value in each.attrib.values() for found in re.findall(r"url\(#(.+?)\)", value)}
    return [identity for each in root.iter() if (identity := each.get("id"))], referred | {each.attrib["href"][1:] for each in root.iter("use")}


def test_parts_stand_alone_on_a_page(gallery: Gallery) -> None:
    """No id twice, every reference within the part, nothing that the security policy refuses, and colours that follow the theme."""
    parts = [part for plot in vars(gallery).values() for part in plot.drawing.parts]
    assert len(parts) == 4 + 4 + 1 + 1 + 1
    everything: list[str] = []
    for part in parts:
        ids, referred = local_ids(part)
        assert set(ids) == referred
        everything += ids
        assert not re.search(r"style=|xlink|xmlns|<script|<style|font-family|#1b1f24", part)
        assert 'aria-hidden="true"' in part and "currentColor" in part
    assert len(everything) == len(set(everything))


def test_text_is_as_large_as_was_meant(gallery: Gallery) -> None:
    for plot in vars(gallery).values():
        for part in plot.drawing.parts:
            root = ElementTree.fromstring(part)
            assert {text.attrib["font-size"] for text in root.iter("text")} <= {"11px", "12px"}
            assert float(root.attrib["viewBox"].split()[2]) == 358  # the width of a telephone's column: one unit is one pixel there


def test_each_figure_is_a_file_of_either_kind_and_the_same_each_time(run: Run, board: Board, gallery: Gallery, tmp_path: Path) -> None:
    names = [f"{name}.{kind}" for name in ("curves", "training", "tradeoffs", "merges", "seeds") for kind in ("svg", "png")]
    assert [path.name for path in write_figures(tmp_path / "one", gallery)] == names
    again = write_figures(tmp_path / "other", draw_figures(read_board(run), loss_curves(run)))
    assert [path.read_bytes() for path in again] == [(tmp_path / "one" / name).read_bytes() for name in names]
    assert {path.read_bytes()[:4] for path in again if path.suffix == ".png"} == {b"\x89PNG"}


@pytest.mark.parametrize("content", [b"", b"epoch,generator\n1,2\n2,\xff\xfe\n3,4\n", b'epoch,"generator\n1', b"no,columns\n1,2\n", b"\x00" * 100])
def test_a_damaged_training_log_costs_its_curves_alone(tmp_path: Path, content: bytes) -> None:
    run = scored(tmp_path / "run", ["8", "9"])
    write_bytes(run.training_log, content)
    assert loss_curves(run) is None


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    for names in ([], ["8"]):
        run = scored(tmp_path / f"{len(names)}", names)
        assert set(vars(draw_figures(read_board(run), loss_curves(run))).values()) == {None}
    few = draw_figures(read_board(scored(tmp_path / "few", ["8", "9"])), None)
    assert few.curves is not None and few.tradeoffs is not None and (few.training, few.merges, few.seeds) == (None, None, None)


def test_numbers_without_errors_or_differences_are_drawn_but_no_parts_that_are_the_same_for_all(tmp_path: Path) -> None:
    same = {"mask_accuracy": Estimate(0.5), "aesthetic": Estimate(5.0), "fid": Estimate(150.0)}
    run = scored(tmp_path / "run", ["5", "6", "6@2", "avg_5_6"], metrics=same, composite=Estimate(0.5))
    found = vars(draw_figures(read_board(run), None))
    assert [name for name in found if found[name] is None] == ["training", "tradeoffs"]
    assert [curve.metric for curve in found["curves"].values.curves] == ["score"]


NAMES = ["Zürich-雪景", "x$y_{", "</text><script>", "a\u202eb\x07c\nd", "n" * 300]


def test_names_are_text_in_the_svg_whatever_they_are(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", PRESETS["tiny"])
    write_text(run.training_log, 'epoch,"Zürich-雪景","x$y_{","</text><script>"\n1,1,1,1\n2,2,2,2\n')
    losses = loss_curves(run)
    assert losses is not None
    drawing = draw_curves(losses, salt="x")
    texts = [text.text for text in ElementTree.fromstring(drawing.svg).iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("Zürich-雪景") == texts.count("x$y {") == texts.count("</text><script>") == 1
    for name in NAMES:
        shown = legible(name, columns=40)
        assert shown.isprintable() and sum(2 if letter > "\u2e80" and letter != "�" else 1 for letter in shown) <= 40
    assert [legible(name, columns=40) for name in NAMES[:4]] == ["Zürich-雪景", "x$y_{", "</text><script>", "a�b�c�d"]
    assert legible(NAMES[4], columns=40) == "n" * 39 + "…"
    assert legible("雪" * 30, columns=11) == "雪" * 5 + "…"


def test_many_are_drawn_as_few_as_can_be_read(tmp_path: Path) -> None:
    epochs = [str(epoch) for epoch in range(1, 71)]
    merges = [f"avg_{epoch}_{epoch + 1}" for epoch in range(30, 60)]
    board = read_board(scored(tmp_path / "run", [*epochs, *merges, *(f"{name}@{seed}" for name in merges[:14] for seed in (1, 2))]))
    gains, spreads, curves, scatter = merge_gains(board), seed_spreads(board), score_curves(board), tradeoffs(board)
    assert gains is not None and spreads is not None and curves is not None and scatter is not None
    assert len(gains.gains) == 30 and len(gains.drawn) == MOST_MERGES
    assert len(spreads.groups) == 14 and len(spreads.drawn) == 12
    names = [text.text for text in ElementTree.fromstring(draw_gains(gains.drawn, salt="m").parts[0]).iter("text")]
    assert [name for name in names if name and name.startswith("avg_")] == [each.name for each in gains.drawn]
    names = [text.text for text in ElementTree.fromstring(draw_seeds(spreads.drawn, salt="s").parts[0]).iter("text")]
    assert [name for name in names if name and "seeds" in name and ":" in name] == [f"{each.name}: 3 seeds" for each in spreads.drawn]
    dots = ElementTree.fromstring(draw_curves(curves, salt="c").parts[0]).iter("use")
    assert len(list(dots)) < 70  # the best and the ticks, not one for each epoch
    labels = [text for text in ElementTree.fromstring(draw_scatter(scatter, salt="t").parts[0]).iter("text") if text.get("font-weight") == "700"]
    ranks = {str(row.rank) for row, _ in scatter.front}
    assert 0 < len(labels) <= len(ranks) and {text.text for text in labels} <= ranks
