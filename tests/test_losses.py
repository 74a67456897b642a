"""Losses against values computed by hand, and what their gradients reach (recordings are in test_original.py)."""

import numpy as np
import pytest

from apfgan.backend import Tensor, from_numpy
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real, perceptual


def tensor(values: list) -> Tensor:
    return from_numpy(np.array(values, dtype=np.float64), device="cpu").requires_grad_()


def fake() -> list[list[Tensor]]:
    """Two discriminators: one layer and the prediction; two layers and the prediction."""
    return [[tensor([[1, 2], [3, 4]]), tensor([0.5, -2, 3, 0.25])], [tensor([1, 1]), tensor([[0, 4]]), tensor([-0.5])]]


def real() -> list[list[Tensor]]:
    return [[tensor([[0, 2], [5, 4]]), tensor([2, 0.5, -1, 1])], [tensor([3, 0]), tensor([[1, 1]]), tensor([0.75])]]


def test_adversarial_is_minus_the_mean_prediction() -> None:
    # means 1.75 / 4 = 0.4375 and -0.5, their mean -0.03125
    assert adversarial(fake()).item() == 0.03125


def test_hinge_of_generated_images() -> None:
    # max(0, 1 + p): 1.5, 0, 4, 1.25 -> 1.6875; 0.5; their mean
    assert hinge_fake(fake()).item() == (1.6875 + 0.5) / 2


def test_hinge_of_photos() -> None:
    # max(0, 1 - p): 0, 0.5, 2, 0 -> 0.625; 0.25; their mean
    assert hinge_real(real()).item() == (0.625 + 0.25) / 2


def test_hinges_push_only_what_is_within_the_margin() -> None:
    seen = fake()
    hinge_fake(seen).backward()
    assert [value * 8 for value in seen[0][-1].grad.tolist()] == [1, 0, 1, 1]
    seen = real()
    hinge_real(seen).backward()
    assert [value * 8 for value in seen[0][-1].grad.tolist()] == [0, -1, -1, 0]


def test_feature_matching_sums_layers_and_averages_discriminators() -> None:
    # first: (1 + 0 + 2 + 0) / 4 = 0.75; second: (2 + 1) / 2 + (1 + 3) / 2 = 3.5; predictions do not count
    assert feature_matching(fake(), real()).item() == (0.75 + 3.5) / 2


def test_feature_matching_leaves_the_photo_and_the_predictions_alone() -> None:
    ours, theirs = fake(), real()
    feature_matching(ours, theirs).backward()
    assert [[feature.grad is not None for feature in features] for features in ours] == [[True, False], [True, True, False]]
    assert all(feature.grad is None for features in theirs for feature in features)
    assert (ours[0][0].grad * 8).tolist() == [[1, 0], [-1, 0]]


def test_perceptual_weighs_each_layer_and_leaves_the_photo_alone() -> None:
    ours, theirs = [tensor([1, 2]), tensor([[4]])], [tensor([0, 5]), tensor([[1]])]
    loss = perceptual(ours, theirs, weights=(0.25, 2.0))
    assert loss.item() == 0.25 * (1 + 3) / 2 + 2 * 3
    loss.backward()
    assert ours[0].grad.tolist() == [0.125, -0.125] and ours[1].grad.tolist() == [[2]]
    assert all(feature.grad is None for feature in theirs)


def test_lists_of_unlike_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        feature_matching(fake(), real()[:1])
    with pytest.raises(ValueError, match="zip"):
        perceptual([tensor([1])], [tensor([1])], weights=(1.0, 2.0))
