import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apfgan.composite import FORMULAS, Formula, composite, composite_estimate, composite_measured, contributions, exchange_rates, find_formula
from apfgan.errors import UsageError
from apfgan.measured import Measured
from apfgan.records import Estimate

PUBLISHED = Path(__file__).parents[2] / "shared" / "published" / "competition_scores.csv"
A, B, THIRD = FORMULAS["A"], FORMULAS["B"], FORMULAS["jittor3"]


def test_reproduces_the_published_totals() -> None:
    if not PUBLISHED.exists():
        pytest.skip("the published scores are not here")
    rows = list(csv.DictReader(PUBLISHED.read_text().splitlines()))
    assert len(rows) == 5
    for row in rows:
        third = row["competition"].startswith("jittor3")
        total = composite(
            # Board B's published totals follow formula A, too.
            replace(THIRD, style_similarity=float(row["style_similarity"])) if third else A,
            mask_accuracy=float(row["mask_accuracy"]),
            aesthetic=float(row["aesthetic"]),
            distance=float(row["fid"]),
        )
        # The third contest's row is computed from rounded scores: one unit in the last place.
        assert total == pytest.approx(float(row["total"]), abs=1.01e-4 if third else 0.5e-4)


def test_formula_a_by_hand() -> None:
    assert composite(A, mask_accuracy=0.9, aesthetic=5.0, distance=40.0) == pytest.approx(0.9 * (0.25 + 0.3))


def test_formula_b_is_half_the_machine_and_half_the_jury() -> None:
    machine = composite(B, mask_accuracy=0.9, aesthetic=5.0, distance=40.0)
    assert machine == pytest.approx(composite(A, mask_accuracy=0.9, aesthetic=5.0, distance=40.0) / 2)
    assert composite(replace(B, votes_won=1.0), mask_accuracy=0.9, aesthetic=5.0, distance=40.0) == pytest.approx(machine + 0.9 * 0.5)


@pytest.mark.parametrize(("distance", "same_as"), [(-1e-9, 0.0), (100.0, 250.0), (107.49, 100.0)])
def test_the_distance_is_clipped(distance: float, same_as: float) -> None:
    assert composite(A, mask_accuracy=1, aesthetic=5, distance=distance) == composite(A, mask_accuracy=1, aesthetic=5, distance=same_as)


def test_the_third_contest_needs_style_similarity() -> None:
    with pytest.raises(UsageError, match="style similarity"):
        composite(THIRD, mask_accuracy=0.9, aesthetic=5, distance=40)
    perfect = composite(replace(THIRD, style_similarity=1), mask_accuracy=1, aesthetic=10, distance=0)
    assert perfect == pytest.approx(1)


@pytest.mark.parametrize("formula", [A, replace(B, votes_won=0.3), replace(THIRD, style_similarity=0.5)], ids=lambda formula: formula.name)
def test_exchange_rates_are_the_slopes(formula: Formula) -> None:
    at = {"mask_accuracy": 0.9, "aesthetic": 4.9, "distance": 45.0}
    rates = exchange_rates(formula, **at)
    for name, rate in rates.items():
        step = 1e-6
        up = composite(formula, **(at | {name: at[name] + step}))
        down = composite(formula, **(at | {name: at[name] - step}))
        assert rate == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_exchange_rates_as_documented() -> None:
    """Near (0.90, 4.9, 45): 1 FID = 0.0045, 1 % mask accuracy = 0.0052, 0.1 aesthetic = 0.0045 (spec: metrics, 2.6)."""
    rates = exchange_rates(A, mask_accuracy=0.9, aesthetic=4.9, distance=45)
    assert [-rates["distance"], rates["mask_accuracy"] / 100, rates["aesthetic"] / 10] == pytest.approx([0.0045, 0.0052, 0.0045], abs=5e-5)


def test_beyond_the_clip_the_distance_buys_nothing() -> None:
    assert exchange_rates(A, mask_accuracy=0.9, aesthetic=4.9, distance=120)["distance"] == 0


def test_error_of_independent_scores() -> None:
    metrics = {"mask_accuracy": Estimate(0.9, 0.01), "aesthetic": Estimate(5.0, 0.1), "fid": Estimate(40.0, 0.5)}
    total = composite_estimate(A, metrics, distance="fid")
    assert total.value == composite(A, mask_accuracy=0.9, aesthetic=5.0, distance=40.0)
    assert total.error == pytest.approx(math.hypot(0.01 * 0.55, 0.1 * 0.045, 0.5 * 0.0045))
    assert composite_estimate(A, metrics | {"fid": Estimate(40.0)}, distance="fid").error is None


def test_error_of_scores_that_move_together() -> None:
    """Against the spread of the total over redraws of images whose mask accuracy and aesthetic score are correlated."""
    random = np.random.default_rng(0)

    def draw() -> dict[str, Measured]:
        luck = random.normal(size=200)
        accuracy = 0.9 + 0.05 * luck
        aesthetic = 5 + 0.8 * luck + 0.3 * random.normal(size=200)
        return {"mask_accuracy": Measured.mean(accuracy), "aesthetic": Measured.mean(aesthetic), "fid": Measured(40.0, np.zeros(200), 200)}

    drawn = [draw() for _ in range(400)]
    totals = [composite_measured(A, each, distance="fid") for each in drawn]
    true = np.std([each.value for each in totals], ddof=1)
    assert totals[0].estimate.error == pytest.approx(true, rel=0.2)
    independent = composite_estimate(A, {name: each.estimate for name, each in drawn[0].items()}, distance="fid").error
    assert independent is not None
    assert independent < 0.85 * true  # taking them as independent would promise too much


def test_what_each_term_adds() -> None:
    parts = contributions(A, mask_accuracy=0.9, aesthetic=5.0, distance=40.0)
    assert parts == pytest.approx({"aesthetic": 0.9 * 0.25, "closeness": 0.9 * 0.3})
    third = contributions(replace(THIRD, style_similarity=0.2), mask_accuracy=0.9, aesthetic=5.0, distance=140.0)
    assert third == pytest.approx({"aesthetic": 0.09, "closeness": 0.0, "style": 0.9 * 0.6 * 0.3})


@pytest.mark.parametrize(
    "broken", [{"aesthetic": -0.1}, {"aesthetic": math.nan}, {"style_similarity": 1.5}, {"votes_won": -0.2}], ids=lambda broken: next(iter(broken))
)
def test_what_is_no_formula_is_refused(broken: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="odd"):
        Formula(**({"name": "odd", "aesthetic": 0.5, "closeness": 0.5} | broken))


def test_weights_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("aesthetic = 0.3\ncloseness = 0.6\nvotes = 0.1\n")
    assert find_formula(str(mine)) == Formula(name="mine", aesthetic=0.3, closeness=0.6, votes=0.1)
    assert find_formula("B") is B


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("aestetic = 0.3\ncloseness = 0.6", "did you mean aesthetic"),
        ("aesthetic = 0.3", "does not say closeness"),
        ("aesthetic = true\ncloseness = 1", "must be a number"),
        ("name = 'A'\naesthetic = 0.3\ncloseness = 0.6", "another name"),
        ("aesthetic = ", "cannot read"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=complaint):
        find_formula(str(tmp_path / "mine.toml"))


def test_an_unknown_board_is_named() -> None:
    with pytest.raises(UsageError, match="no board 'C'; known: A, B, jittor3"):
        find_formula("C")
