from pathlib import Path

import pytest

from apfgan.composite import FORMULAS
from apfgan.errors import DataError
from selection.tables import rank_table

PUBLISHED = Path(__file__).parents[2] / "shared" / "published"
needs_published = pytest.mark.skipif(not PUBLISHED.exists(), reason="the published tables are not here")


def names(path: Path, **options: str) -> list[str]:
    return [place.entry.name for place in rank_table(path, **options).places]


@needs_published
def test_the_published_decisions_come_out():
    assert names(PUBLISHED / "apfgan_epochs.csv")[:3] == ["299", "298", "273"]
    merges = rank_table(PUBLISHED / "apfgan_merges.csv").places[0]
    assert (merges.entry.name, merges.value.value) == ("273+299", 26.93)
    seeds = rank_table(PUBLISHED / "apfgan_seeds.csv").places[0]
    assert (seeds.entry.name, seeds.value.value) == ("9", 26.76)


@needs_published
def test_the_published_totals_are_reproduced_to_their_digits():
    table = rank_table(PUBLISHED / "competition_scores.csv")
    published = {0.8334: 0.4683, 0.8479: 0.4520, 0.9028: 0.4712, 0.7847: 0.1775}
    for place in table.places:
        accuracy = place.entry.metrics["mask_accuracy"].value
        if accuracy in published:
            assert round(place.value.value, 4) == published[accuracy]
        else:  # the third contest's row: one unit in the last place
            assert place.value.value == pytest.approx(0.5684, abs=1e-4)
    assert table.by == "composite" and table.disagreements == []
    totals = [place.value.value for place in table.places]
    assert totals == sorted(totals, reverse=True)


def test_a_total_that_does_not_follow_is_told(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("name,mask_accuracy,aesthetic,fid,total\nours,0.9,5,40,0.6\n")
    assert rank_table(path).disagreements == ["ours: the table says 0.6, formula A gives 0.4950"]
    path.write_text("name,mask_accuracy,aesthetic,fid,total\nours,0.9,5,40,0.495\n")
    assert rank_table(path).disagreements == []


def test_formula_and_metric_can_be_chosen(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("name,mask_accuracy,aesthetic,fid\na,0.9,5,40\nb,0.8,6,20\n")
    assert names(path) == ["b", "a"]
    assert names(path, by="mask_accuracy") == ["a", "b"]
    assert rank_table(path, formula=FORMULAS["B"]).places[0].value.value == pytest.approx(0.8 * (0.6 * 0.25 + 0.8 * 0.25))


def test_errors_make_ties(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("epoch,fid,fid_error\n1,30.0,0.5\n2,30.5,0.5\n3,39,0.5\n")
    assert [place.tied for place in rank_table(path).places] == [True, True, False]


def test_errors_of_the_parts_reach_the_total(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("name,mask_accuracy,mask_accuracy_error,aesthetic,aesthetic_error,fid,fid_error\na,0.9,0.01,5,0.1,40,0.5\n")
    # By hand: total = m (a / 20 + (100 - f) / 200), so its derivatives are 0.55, 0.045 and -0.0045.
    total = rank_table(path).places[0].value
    assert total.value == pytest.approx(0.495)
    assert total.error == pytest.approx(((0.55 * 0.01) ** 2 + (0.045 * 0.1) ** 2 + (0.0045 * 0.5) ** 2) ** 0.5)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not a CSV"),
        ("epoch,fid\n", "no rows"),
        ("epoch,score\n1,2\n", "no metric column"),
        ("epoch,fid\n1,30\n2,nan\n", "line 3: fid is 'nan'"),
        ("epoch,fid\n1,30\n2,\n", "line 3: fid is ''"),
        ("epoch,fid\n1,thirty\n", "line 2: fid is 'thirty'"),
    ],
)
def test_bad_tables_are_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        rank_table(path)
    with pytest.raises(DataError, match="cannot read"):
        rank_table(tmp_path / "none.csv")
