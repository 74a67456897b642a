import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from apfgan.candidates import Candidate
from apfgan.errors import UsageError
from apfgan.randomness import random_source
from selection.quadratic import LARGEST_POOL, Quadratic, fit_quadratic

PUBLISHED = Path(__file__).parents[2] / "shared" / "published"


def published(name: str) -> dict[str, float]:
    if not (path := PUBLISHED / name).exists():
        pytest.skip(f"needs {path}")
    with path.open(encoding="utf-8", newline="") as file:
        return {key: float(value) for key, value in list(csv.reader(file))[1:]}


def published_pairs() -> tuple[dict[str, float], dict[Candidate, float]]:
    epochs = published("apfgan_epochs.csv")
    merges = {Candidate(tuple(members.split("+"))): fid for members, fid in published("apfgan_merges.csv").items()}
    return {name: epochs[name] for name in ("273", "298", "299")}, {merge: fid for merge, fid in merges.items() if len(merge.members) == 2}


def world(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses and gains of checkpoints that lie about the bottom of a bowl in five dimensions."""
    points = random_source("bowl", seed).standard_normal((count, 5)) + 0.5
    return 20 + np.square(points).sum(axis=1), np.square(points[:, None] - points).sum(axis=2)


def merges_of(count: int, size: int) -> list[Candidate]:
    return [Candidate(chosen) for chosen in combinations(map(str, range(count)), size)]


def test_published_pairs_predict_the_published_merge_of_three():
    model = fit_quadratic(*published_pairs())
    # By hand: mean of the singles 28.45, less the gains 5.80, 2.54 and 4.98 over 9. Published: 27.20.
    assert (
        model.predict(Candidate(("273", "298", "299")))
        == pytest.approx(28.45 - (5.80 + 2.54 + 4.98) / 9, abs=1e-9)
        == pytest.approx(26.97, abs=0.005)
    )


def test_published_pairs_propose_shares():
    model = fit_quadratic(*published_pairs(), ridge=1e-9)
    assert model.minimum() == pytest.approx([0.42, 0.13, 0.45], abs=0.005)
    assert model.loss(model.minimum()) == pytest.approx(26.88, abs=0.005)
    # What is held towards the mean proposes nearly the same.
    assert fit_quadratic(*published_pairs()).minimum() == pytest.approx(model.minimum(), abs=0.02)


def test_recovers_a_world_that_is_quadratic():
    losses, gains = world(6, 0)
    truth = Quadratic(tuple(map(str, range(6))), losses, gains)
    measured = {merge: truth.predict(merge) for merge in merges_of(6, 2)}
    model = fit_quadratic({str(name): loss for name, loss in enumerate(losses)}, measured, ridge=1e-12)
    assert model.gains == pytest.approx(gains, abs=1e-6)
    shares = random_source("shares").dirichlet(np.ones(6), size=50)
    assert [model.loss(each) for each in shares] == pytest.approx([truth.loss(each) for each in shares], abs=1e-6)
    # Written as distances from the bottom, it is the same loss.
    points = random_source("bowl", 0).standard_normal((6, 5)) + 0.5
    assert [truth.loss(each) for each in shares] == pytest.approx([20 + float(np.square(each @ points).sum()) for each in shares])


def test_predicts_merges_of_many_from_few_pairs_and_a_ladder():
    missed = []
    for seed in range(20):
        losses, gains = world(8, seed)
        truth = Quadratic(tuple(map(str, range(8))), losses, gains)
        few = [*merges_of(4, 2), Candidate(tuple(map(str, range(5)))), Candidate(tuple(map(str, range(8))))]
        model = fit_quadratic({str(name): loss for name, loss in enumerate(losses)}, {merge: truth.predict(merge) for merge in few})
        missed += [(model.predict(merge) - truth.predict(merge), truth.predict(merge) - losses.mean()) for merge in merges_of(8, 5)]
    missed, spread = np.array(missed).T
    assert np.sqrt(np.mean(missed**2)) < 0.2 * np.sqrt(np.mean(spread**2))


def test_an_unseen_pair_gains_what_pairs_gain_on_average():
    model = fit_quadratic(dict.fromkeys("123", 10.0), {Candidate(("1", "2")): 9.0, Candidate(("1", "3")): 8.0})
    assert model.gains[0, 1] < model.gains[1, 2] < model.gains[0, 2]
    assert model.gains[1, 2] == pytest.approx(6.0)
    assert not model.gains.diagonal().any() and (model.gains == model.gains.T).all()


def test_without_merges_the_best_single_is_proposed():
    model = fit_quadratic({"1": 3.0, "2": 2.0, "3": 4.0}, {})
    assert model.minimum().tolist() == [0, 1, 0]


@pytest.mark.parametrize("convex", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_minimum_is_that_of_a_fine_grid(seed, convex):
    losses, gains = world(4, seed)
    if not convex:  # merging some pairs makes worse: several faces have a minimum of their own
        noise = random_source("bumps", seed).standard_normal((4, 4)) * 12
        gains = gains + np.triu(noise, 1) + np.triu(noise, 1).T
    model = Quadratic(tuple("1234"), losses, gains)
    steps = 60
    counts = np.array([(a, b, c, steps - a - b - c) for a in range(steps + 1) for b in range(steps + 1 - a) for c in range(steps + 1 - a - b)])
    grid = counts / steps
    values = grid @ losses - np.einsum("gi,ij,gj->g", grid, gains, grid) / 2
    shares = model.minimum()
    assert shares.min() >= 0 and shares.sum() == pytest.approx(1)
    assert model.loss(shares) <= values.min() + 1e-12
    # The grid has a point within half a step of every share, and near a minimum the loss grows with the square of that, at most by the curvature.
    slope = np.abs((losses - gains @ shares) - (losses - gains @ shares).min()).max()
    assert model.loss(shares) >= values.min() - (np.abs(gains).max() / steps**2 * 4 + slope / steps)


def test_checkpoints_that_are_the_same_leave_a_flat_face():
    losses = np.array([3.0, 3.0, 4.0])
    gains = np.array([[0.0, 0.0, 8.0], [0.0, 0.0, 8.0], [8.0, 8.0, 0.0]])
    shares = Quadratic(tuple("123"), losses, gains).minimum()
    # By hand, with x on the third: 3 + x - 8 x (1 - x), least at x = 7 / 16.
    assert shares[2] == pytest.approx(7 / 16) and shares[:2].sum() == pytest.approx(9 / 16)


def test_refuses_what_it_cannot_look_through():
    with pytest.raises(UsageError, match=f"at most {LARGEST_POOL}"):
        fit_quadratic({str(number): 1.0 for number in range(LARGEST_POOL + 1)}, {}).minimum()
    with pytest.raises(ValueError, match="made of 9"):
        fit_quadratic({"1": 1.0, "2": 2.0}, {}).predict(Candidate(("1", "9")))
