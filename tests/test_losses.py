"""Losses against their formulas in numpy (recordings are in test_original.py)."""

import numpy as np
import pytest

from apfgan.backend import from_numpy
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real, perceptual
from apfgan.randomness import random_source


def seen(seed: int) -> list[list[np.ndarray]]:
    source = random_source(seed)
    return [[source.standard_normal((2, 4, size, size)), source.standard_normal((2, 1, size, size))] for size in (5, 3)]


def tensors(arrays: list[list[np.ndarray]]) -> list:
    return [[from_numpy(array, device="cpu").requires_grad_() for array in features] for features in arrays]


FAKE, REAL = seen(0), seen(1)


def test_hinge_losses() -> None:
    fake, real = [features[-1] for features in FAKE], [features[-1] for features in REAL]
    assert adversarial(tensors(FAKE)).item() == pytest.approx(-np.mean([each.mean() for each in fake]))
    assert hinge_fake(tensors(FAKE)).item() == pytest.approx(np.mean([np.maximum(0, 1 + each).mean() for each in fake]))
    assert hinge_real(tensors(REAL)).item() == pytest.approx(np.mean([np.maximum(0, 1 - each).mean() for each in real]))


def test_feature_matching_leaves_the_prediction_out_and_the_photo_alone() -> None:
    fake, real = tensors(FAKE), tensors(REAL)
    loss = feature_matching(fake, real)
    assert loss.item() == pytest.approx(np.mean([np.abs(ours[0] - theirs[0]).mean() for ours, theirs in zip(FAKE, REAL, strict=True)]))
    loss.backward()
    assert all(features[0].grad is not None and features[1].grad is None for features in fake)
    assert all(feature.grad is None for features in real for feature in features)


def test_perceptual_weights_grow_with_depth() -> None:
    features = [from_numpy(np.zeros((1, 1)), device="cpu") for _ in range(5)]
    losses = [perceptual([*features[:index], features[index] + 1, *features[index + 1 :]], features).item() for index in range(5)]
    assert losses == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]
