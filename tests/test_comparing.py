"""Candidates held against each other: differences by class with their errors, against images drawn anew; what is paired, judged and shown."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import reports.comparing
from apfgan.config import PRESETS, Config, DataConfig
from apfgan.files import write_arrays
from apfgan.labels import Classes
from apfgan.records import Estimate
from apfgan.runs import Run
from reports.board import Row, read_board
from reports.by_class import class_table, points, signed_points
from reports.comparing import ClassComparison, compare_classes, score_gaps
from reports.observations import read_observations
from tests.report_runs import measure

STEMS = tuple(f"map {index:04d}" for index in range(2000))


def some_confusions(random: np.random.Generator, count: int, *, images: int, classes: int, occurring: int) -> np.ndarray:
    """uint32 (count, images, classes, classes): what `count` candidates made of the same label maps, each of which asks for some classes."""
    given = random.integers(100, 900, (images, occurring)) * (random.random((images, occurring)) < 0.7)
    hard = random.uniform(-0.3, 0.3, (images, occurring))  # for all candidates alike
    found = np.zeros((count, images, classes, classes), np.uint32)
    for candidate in range(count):
        right = np.round(given * np.clip(random.normal(0.6 + hard, 0.1), 0, 1)).astype(np.uint32)
        image, index = np.indices(given.shape)
        other = (index + random.integers(1, classes, (images, occurring))) % classes
        found[candidate, image, index, index] = right
        np.add.at(found[candidate], (image, index, other), (given - right).astype(np.uint32))
    return found


def observe(path: Path, confusions: Sequence[np.ndarray], *, stems: Mapping[int, Sequence[str]] | None = None) -> tuple[list[Row], dict, Run]:
    """Candidates 1, 2, ... with these confusions, in this order, and their observations; a run whose first candidate has the best score."""
    classes = confusions[0].shape[1]
    tiny = PRESETS["tiny"]
    data = DataConfig(classes=Classes.numbered(classes).names, width=128, height=96, load_width=144)
    run = Run.create(path / "run", Config(data=data, model=tiny.model, train=tiny.train))
    for index, confusion in enumerate(confusions):
        measurement = measure(str(index + 1), composite=Estimate(0.9 - 0.01 * index, 0.001 * (index + 1)))
        run.ledger.append(measurement)
        names = (stems or {}).get(index, STEMS[: len(confusion)])
        write_arrays(run.features / measurement.observations / "0000.npz", {"stem": np.array(names), "confusion": confusion})
    board = read_board(run)
    observed = {row.name: found for row in board.rows if (found := read_observations(run, row.measurement))}
    return list(board.rows), observed, run


def compared(path: Path, confusions: Sequence[np.ndarray], **options) -> ClassComparison:
    cast, observed, run = observe(path, confusions, **options)
    comparison = compare_classes(cast, observed, run.config.data.label_classes)
    assert comparison is not None
    return comparison


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(8)


def test_classes_by_brute_force(tmp_path: Path, random: np.random.Generator) -> None:
    confusions = some_confusions(random, 2, images=30, classes=6, occurring=4)
    comparison = compared(tmp_path, confusions)
    pixels = confusions[0].sum(axis=(0, 2), dtype=np.int64)
    assert comparison.ids.tolist() == sorted(range(4), key=lambda index: -pixels[index])  # classes 4 and 5 are nowhere asked for
    for place, index in enumerate(comparison.ids):
        assert comparison.names[place] == f"class {index}"
        assert comparison.images[place] == sum(confusion[index].any() for confusion in confusions[0])
        assert comparison.share[place] == pytest.approx(pixels[index] / pixels.sum(), abs=1e-5)
        for candidate, confusion in enumerate(confusions):
            total = confusion.sum(axis=0).astype(float)
            assert comparison.accuracy[candidate, place] == pytest.approx(total[index, index] / total[index].sum(), abs=1e-4)
            either = total[index].sum() + total[:, index].sum() - total[index, index]
            assert comparison.iou[candidate, place] == pytest.approx(total[index, index] / either, abs=1e-4)


def test_errors_are_those_of_images_drawn_anew(tmp_path: Path, random: np.random.Generator) -> None:
    """By the bootstrap and by the jackknife, which leave the formula alone; and far from what unpaired images would give."""
    confusions = some_confusions(random, 2, images=150, classes=4, occurring=3)
    comparison = compared(tmp_path, confusions)
    right = np.diagonal(confusions, axis1=2, axis2=3).astype(float)[:, :, comparison.ids]
    given = confusions[0].sum(axis=2).astype(float)[:, comparison.ids]

    def difference(images: np.ndarray) -> np.ndarray:
        return (right[0, images].sum(axis=0) - right[1, images].sum(axis=0)) / given[images].sum(axis=0)

    drawn = np.array([difference(random.integers(0, 150, 150)) for _ in range(3000)])
    without = np.array([difference(np.delete(np.arange(150), image)) for image in range(150)])
    jackknife = np.sqrt(149 / 150 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    error = comparison.error(0, 1)
    assert error == pytest.approx(drawn.std(axis=0), rel=0.06)
    assert error == pytest.approx(jackknife, rel=0.02)
    alone = np.array([right[:, images].sum(axis=1) / given[images].sum(axis=0) for images in random.integers(0, 150, (500, 150))]).std(axis=0)
    assert (error < 0.8 * np.hypot(*alone)).all()


def test_every_pair_has_its_own_difference(tmp_path: Path, random: np.random.Generator) -> None:
    confusions = some_confusions(random, 5, images=20, classes=4, occurring=3)
    together = compared(tmp_path / "all", confusions)
    for one, other in combinations(range(5), 2):
        alone = compared(tmp_path / f"{one}-{other}", [confusions[one], confusions[other]])
        assert together.error(one, other).tolist() == together.error(other, one).tolist() == alone.error(0, 1).tolist()
        assert together.gap(one, other).tolist() == (-together.gap(other, one)).tolist() == alone.gap(0, 1).tolist()
    assert not together.error(3, 3).any()


def test_images_are_paired_by_their_names(tmp_path: Path, random: np.random.Generator) -> None:
    confusions = list(some_confusions(random, 3, images=40, classes=4, occurring=3))
    order = random.permutation(40)
    expected = compared(tmp_path / "in order", confusions)
    turned = [confusions[0], confusions[1][order], confusions[2][:39]]
    stems = {1: [STEMS[index] for index in order]}
    found = compared(tmp_path / "turned", turned, stems=stems)
    assert found.error(0, 1).tolist() == expected.error(0, 1).tolist()
    assert np.isnan(found.error(0, 2)).all() and np.isfinite(found.accuracy[2]).all()  # one image is missing: nothing to pair


def test_what_a_single_image_shows_has_no_error(tmp_path: Path, random: np.random.Generator) -> None:
    confusions = some_confusions(random, 2, images=10, classes=3, occurring=2)
    confusions[:, 0, 2, 2] = 50
    comparison = compared(tmp_path, confusions)
    rare = comparison.ids.tolist().index(2)
    assert np.isnan(comparison.error(0, 1)[rare]) and comparison.images[rare] == 1
    assert np.isfinite(np.delete(comparison.error(0, 1), rare)).all()


def test_thresholds_are_those_of_students_table(tmp_path: Path, random: np.random.Generator) -> None:
    """Ten judged classes in 21 images each: 20 degrees of freedom, 2.5 % and 0.25 % on each side. An eleventh in 19 images is not judged."""
    confusions = np.zeros((2, 40, 11, 11), np.uint32)
    for index in range(11):
        images = random.choice(40, 19 if index == 10 else 21, replace=False)
        confusions[:, images, index, index] = random.integers(1, 90, (2, len(images)))
        confusions[:, images, index, 0] += 100 - confusions[:, images, index, index]
    comparison = compared(tmp_path, confusions)
    rare = comparison.images == 19
    assert comparison.judged.tolist() == (~rare).tolist() and rare.sum() == 1
    assert set(comparison.reach[~rare]) == {2.086} and set(comparison.clear[~rare]) == {3.153}
    assert np.isnan(comparison.clear[rare]).all() and comparison.reach[rare] == 2.101


def test_candidates_alike_are_seldom_told_apart_in_any_class(tmp_path: Path, random: np.random.Generator) -> None:
    comparison = compared(tmp_path, some_confusions(random, 24, images=60, classes=10, occurring=10))
    tables = [class_table(comparison, *pair) for pair in combinations(range(24), 2)]
    wrong = np.mean([any(row.ahead for row in table.rows) for table in tables])
    outside = np.mean([any(abs(row.gap or 0) > (row.half or 0) for row in table.rows) for table in tables])
    assert wrong < 0.12 and outside > 0.25


def test_only_so_many_errors_travel(tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    confusions = some_confusions(random, 5, images=25, classes=3, occurring=3)
    cast, observed, run = observe(tmp_path, confusions)
    monkeypatch.setattr(reports.comparing, "MOST_ERRORS", 9)  # three pairs of three classes: three candidates
    comparison = compare_classes(cast, observed, run.config.data.label_classes, foremost=["5"])
    assert comparison is not None and comparison.without_errors == 2
    known = {pair for pair in combinations(range(5), 2) if np.isfinite(comparison.error(*pair)).all()}
    assert known == {(0, 1), (0, 4), (1, 4)} and np.isfinite(comparison.accuracy).all()


def test_scores_are_compared_in_the_order_of_the_pairs(tmp_path: Path, random: np.random.Generator) -> None:
    cast, _, _ = observe(tmp_path, some_confusions(random, 4, images=3, classes=3, occurring=3))
    gaps = score_gaps(cast)
    for (one, other), gap in zip([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], gaps, strict=True):
        assert gap.value == pytest.approx(0.01 * (other - one))
        assert gap.error == pytest.approx(np.hypot(0.001 * (one + 1), 0.001 * (other + 1)))


def test_without_observations_there_is_nothing_to_compare(tmp_path: Path, random: np.random.Generator) -> None:
    cast, observed, run = observe(tmp_path, some_confusions(random, 3, images=4, classes=3, occurring=3))
    assert compare_classes(cast, {}, run.config.data.label_classes) is None
    del observed["2"]
    comparison = compare_classes(cast, observed, run.config.data.label_classes)
    assert comparison is not None and np.isnan(comparison.accuracy[1]).all() and np.isnan(comparison.error(0, 1)).all()
    assert np.isfinite(comparison.accuracy[[0, 2]]).all() and np.isfinite(comparison.error(0, 2)).all()
    assert all(row.accuracy[1] is None and row.gap is None and row.forest is None and row.ahead == "" for row in class_table(comparison, 0, 1).rows)


@pytest.mark.parametrize("classes", [30, 31])
def test_matrix_names_all_classes_or_the_most_frequent(tmp_path: Path, random: np.random.Generator, classes: int) -> None:
    confusion = some_confusions(random, 1, images=40, classes=classes, occurring=classes)[0]
    confusion[:, 7] //= 4  # the rarest
    comparison = compared(tmp_path, [confusion])
    table = class_table(comparison, 0, 0)
    order = np.argsort(-confusion.sum(axis=(0, 2), dtype=np.int64), kind="stable")
    named = classes if classes == 30 else 20
    total = confusion.sum(axis=0).astype(float)[np.ix_(order, order)]
    grouped = np.zeros((named + 1, named + 1))
    grouped[:named, :named] = total[:named, :named]
    grouped[:named, named] = total[:named, named:].sum(axis=1)
    grouped[named, :named] = total[named:, :named].sum(axis=0)
    grouped[named, named] = total[named:, named:].sum()
    rows = named + (classes > named)
    shares = grouped[:rows] / grouped[:rows].sum(axis=1, keepdims=True)
    expected = np.where(shares >= 0.005, shares, 0)
    assert comparison.confusion[0][:rows] == pytest.approx(expected, abs=6e-4)
    assert [name for name, _ in table.given] == [f"class {index}" for index in order[:named]] + ["others"] * (classes > named)
    assert len(table.found) == rows and table.named == named
    for cells, line in zip(table.matrix, expected, strict=True):
        for cell, share in zip(cells, line, strict=False):
            assert abs(int(cell.text or 0) - 100 * share) <= 0.56 and abs(cell.heat - 10 * np.sqrt(share)) <= 0.6


def test_mistakes_are_remembered_with_their_images(tmp_path: Path, random: np.random.Generator) -> None:
    confusion = some_confusions(random, 1, images=12, classes=5, occurring=5)[0]
    confusion[3] = 0  # nothing is labelled
    confusion[4, 0, 1] = 1  # too little to remember
    _, observed, _ = observe(tmp_path, [confusion])
    for image, counts in enumerate(confusion):
        shares = counts / max(counts.sum(), 1)
        expected = {
            (given, found): shares[given, found] for given in range(5) for found in range(5) if given != found and shares[given, found] >= 0.005
        }
        found = observed["1"].mistakes_in(STEMS[image])
        assert {(given, taken): share for given, taken, share in found} == pytest.approx(expected)
        assert [share for *_, share in found] == sorted(expected.values(), reverse=True)
    assert observed["1"].mistakes_in(STEMS[3]) == observed["1"].mistakes_in("unseen") == []


def test_the_axis_holds_what_is_judged(tmp_path: Path, random: np.random.Generator) -> None:
    comparison = compared(tmp_path, some_confusions(random, 2, images=50, classes=4, occurring=4))
    table = class_table(comparison, 0, 1)
    reaches = [100 * (abs(row.gap) + row.half) for row in table.rows if row.gap is not None and row.half is not None]
    assert max(reaches) <= table.axis <= 2.5 * max(reaches)
    for row in table.rows:
        assert row.gap is not None and row.half is not None and row.forest is not None
        low, middle, high = ((place - 500) / 500 * table.axis / 100 for place in row.forest)
        assert (low, middle, high) == pytest.approx((row.gap - row.half, row.gap, row.gap + row.half), abs=table.axis / 50000)


@pytest.mark.parametrize(
    ("share", "text", "signed"),
    [
        (0.1225, "12.3", "+12.3"),
        (-0.1225, "−12.2", "−12.2"),
        (0.0004, "0.0", "0.0"),
        (-0.0004, "0.0", "0.0"),
        (1.0, "100.0", "+100.0"),
        (None, "–", "–"),
    ],
)
def test_points_round_halves_up(share: float | None, text: str, signed: str) -> None:
    assert (points(share), signed_points(share)) == (text, signed)
