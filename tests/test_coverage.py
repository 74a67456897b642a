"""Whether the printed errors are right, by simulation at small size: `benchmarks.coverage` does the same at full size for docs/noise.md.

A coverage of 95 % over R redraws is itself known to √(0.95 · 0.05 / R): 0.9 % for 600.
"""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apfgan.measured import Measured
from apfgan.noise import QUANTILE
from apfgan.progress import SILENT
from apfgan.records import Estimate
from benchmarks import coverage
from benchmarks.coverage import SPECTRA, Found, Row, Study, draw, read_rows, redraw, summarise, tables, write_rows
from benchmarks.world import World, draw_pair, open_stage

REDRAWS = 600
WORLD = World(dimensions=32, photos=300, classes=6, pixels=2048)
STUDY = Study(name=SPECTRA[0], world=WORLD, images=(300,), compared=30, checked=300)
DOCS = Path(__file__).parents[1] / "docs"


def rows_of(study: Study, *, redraws: int) -> dict[tuple[str, str], Row]:
    """By quantity and method."""
    return {(row.quantity, row.method): row for row in summarise(study.name, [redraw(study, number) for number in range(redraws)])}


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], Row]:
    return rows_of(STUDY, redraws=REDRAWS)


SCORES = ("mask_accuracy", "mean_iou", "aesthetic", "fid", "composite A", "composite B", "composite jittor3")


@pytest.mark.parametrize("difference", ["", ", A-B"], ids=["one candidate", "paired difference"])
@pytest.mark.parametrize("score", SCORES)
def test_intervals_hold_the_truth_as_often_as_they_say(rows, score: str, difference: str) -> None:
    row = rows[score + difference, ""]
    assert row.redraws == REDRAWS
    assert row.coverage == pytest.approx(0.95, abs=0.03)
    # What images do in pairs is counted twice, so that a small difference of distances comes with an error that is a little too large.
    assert 0.9 < row.ratio < 1.2


@pytest.mark.parametrize("check", ["kid", "precision", "kid, A-B", "precision, A-B"])
def test_intervals_of_the_checks_hold_it_too(rows, check: str) -> None:
    row = rows[check, ""]
    assert row.redraws == 300
    assert row.coverage > 0.91
    assert 0.85 < row.ratio < 1.4


def test_the_error_of_recall_is_too_large_and_never_too_small(rows) -> None:
    """A jackknife counts what images do in pairs twice (Efron & Stein 1981), and recall is made of little else."""
    for quantity in ("recall", "recall, A-B"):
        assert rows[quantity, ""].coverage > 0.95
        assert 1.2 < rows[quantity, ""].ratio < 3


def test_pairing_is_worth_a_lot(rows) -> None:
    for score in SCORES:
        paired, apart = rows[f"{score}, A-B", ""], rows[f"{score}, A-B", "unpaired"]
        assert apart.error > 2.5 * paired.error
        assert apart.coverage > 0.99


def test_half_sampling_agrees_and_the_percentile_bootstrap_is_elsewhere(rows) -> None:
    halves, bootstrap = rows["fid", "half-sampling"], rows["fid", "percentile bootstrap"]
    assert halves.redraws == bootstrap.redraws == 30
    assert halves.error == pytest.approx(rows["fid", ""].error, rel=0.15)
    assert halves.coverage > 0.8
    assert bootstrap.bias > QUANTILE * bootstrap.true_error
    assert bootstrap.coverage < 0.5


def test_scores_are_not_independent(rows) -> None:
    """What moves the scores together may widen the total's error or narrow it; here it narrows it."""
    assert rows["composite A", "parts as independent"].ratio > 1.1 * rows["composite A", ""].ratio


@pytest.mark.parametrize("difference", ["", ", A-B"], ids=["one candidate", "paired difference"])
def test_at_the_clip_one_slope_is_not_enough(rows, difference: str) -> None:
    """A total's error knows the slope on one side of the kink; the widest of both holds the truth, and is mostly too wide."""
    cut, widest = rows[f"composite A at the clip{difference}", ""], rows[f"composite A at the clip{difference}", "widest slope"]
    assert cut.coverage < 0.9
    assert widest.coverage > 0.93


def test_this_can_fail() -> None:
    """Leave the covariance out of the influence of FID, and the intervals are seen to be too narrow."""
    stage = open_stage(WORLD)
    seen: list[Found] = []
    for number in range(300):
        features = draw_pair(stage, number, 300)[0]["features"]
        whole = stage.reference.measure(features)["fid"]
        shift = features.mean(axis=0) - stage.reference.gaussian.mean
        of_mean = Measured(whole.value, 2 * (features - features.mean(axis=0)) @ shift, len(features))
        seen.append({300: {"fid": whole.estimate, "fid | mean alone": of_mean.estimate}})
    right, wrong = summarise("", seen)
    assert right.coverage == pytest.approx(0.95, abs=0.03)
    assert wrong.coverage < 0.88


def test_images_of_one_label_map_are_no_independent_images() -> None:
    found = rows_of(replace(STUDY, world=replace(WORLD, images_per_map=5), compared=0, checked=0), redraws=300)
    for score in ("fid", "mask_accuracy", "aesthetic"):
        assert found[score, ""].ratio < 0.8 and found[score, ""].coverage < 0.9
        assert found[score, "by label map"].coverage == pytest.approx(0.95, abs=0.045)


def test_the_error_counts_other_label_maps_too() -> None:
    """Where maps never change, redraws differ by noise alone, and the printed error is too large."""
    found = rows_of(replace(STUDY, world=replace(WORLD, fixed_maps=True), compared=0, checked=0), redraws=300)
    assert all(found[score, ""].ratio > 1.07 for score in ("fid", "mask_accuracy", "aesthetic"))


def test_noise_common_to_all_images_is_not_seen() -> None:
    found = rows_of(replace(STUDY, world=replace(WORLD, common_noise=0.05), compared=0, checked=0), redraws=100)
    assert found["aesthetic", ""].coverage < 0.75


def test_a_world_follows_from_its_seed() -> None:
    stage = open_stage(WORLD)
    one, again, other = (draw_pair(stage, number, 20)[0] for number in (3, 3, 4))
    assert all((one[name] == again[name]).all() for name in one)
    assert all((one[name] != other[name]).any() for name in one)
    assert (one["features"] >= 0).all() and (one["features"] == 0).any()
    assert (np.trace(one["confusion"], axis1=1, axis2=2) > 0).all()


def test_two_generators_share_label_maps_and_with_full_coupling_all_that_noise_decides() -> None:
    apart, coupled = (open_stage(replace(WORLD, coupling=coupling, fault=0.0)) for coupling in (0.0, 1.0))
    one, other = draw_pair(apart, 0, 1000)
    assert (one["confusion"].sum(axis=2) == other["confusion"].sum(axis=2)).all()
    assert 0.1 < np.corrcoef(one["aesthetic"], other["aesthetic"])[0, 1] < 0.5
    one, other = draw_pair(coupled, 0, 20)
    assert (one["features"] == other["features"]).all() and (one["aesthetic"] == other["aesthetic"]).all()


def test_summary_by_hand() -> None:
    values = [1.0, 2.0, 3.0, 6.0]  # mean 3, standard deviation √(14/3)
    redraws: list[Found] = [{10: {"x": Estimate(value, 1.5), "x | other": Estimate(value + 1, 0.1)}} for value in values]
    redraws[0][10]["y"] = Estimate(1.0)
    own, other = summarise("s", redraws)
    assert (own.quantity, own.method, own.images, own.redraws) == ("x", "", 10, 4)
    assert own.truth == 3 and own.true_error == pytest.approx(math.sqrt(14 / 3), rel=1e-5)
    assert own.ratio == pytest.approx(1.5 / math.sqrt(14 / 3), rel=1e-5)
    assert own.coverage == 0.75  # 1.96 · 1.5 = 2.94 reaches from 6 not down to 3
    assert (other.bias, other.coverage, other.truth) == (1, 0.25, 3)  # 2 + 1 alone is at 3


def test_redraws_are_kept_and_a_torn_one_is_done_again(tmp_path: Path) -> None:
    study = Study(name="tiny", world=replace(WORLD, dimensions=8, photos=30), images=(12,), compared=1, checked=2)
    path = tmp_path / "redraws.jsonl"
    coverage.perform(study, [0, 1], path)
    found = coverage.read_redraws(path)
    assert found == {number: redraw(study, number) for number in (0, 1)}
    with path.open("a") as file:
        file.write('{"redraw": 2, "fou')
    assert coverage.read_redraws(path) == found
    coverage.perform(study, [2], path)
    assert sorted(coverage.read_redraws(path)) == [0, 1, 2]


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    study = Study(name="tiny", world=replace(WORLD, dimensions=8, photos=30), images=(12,), compared=1, checked=2)

    def rows(redraws: int) -> list[Row]:
        return coverage.perform_all([study], redraws=redraws, work=tmp_path, processes=1, progress=SILENT)

    first = rows(3)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert rows(3) == first == summarise("tiny", [redraw(study, number) for number in range(3)])
    assert path.read_bytes() == content
    rows(4)
    assert path.read_bytes().startswith(content)


def test_rows_are_read_as_written(tmp_path: Path, rows) -> None:
    write_rows(tmp_path / "noise.csv", rows.values())
    assert read_rows(tmp_path / "noise.csv") == list(rows.values())


def test_the_page_shows_the_table_of_its_csv() -> None:
    page = (DOCS / "noise.md").read_text(encoding="utf-8")
    measured = page.partition(coverage.BEGIN)[2].partition(coverage.END)[0]
    assert tables(read_rows(DOCS / "noise.csv")) in measured


def test_the_figure_has_every_score(rows) -> None:
    text = "".join(ElementTree.fromstring(draw(list(rows.values()))).itertext())
    assert all(score in text for score in SCORES if score != "composite B")  # half of A
