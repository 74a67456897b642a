"""Losses against values computed by hand, and what their gradients reach (recordings are in test_original.py)."""

import numpy as np
import pytest

from apfgan.backend import Tensor, from_numpy, to_numpy
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real, perceptual
from tests.observing import input_gradients

pytestmark = pytest.mark.both_engines

Arrays = list[list[np.ndarray]]
"""What two discriminators see: one layer and the prediction; two layers and the prediction."""


def image(rows: list) -> np.ndarray:
    return np.array(rows, dtype=np.float32, ndmin=4)


FAKE: Arrays = [[image([[1, 2], [3, 4]]), image([0.5, -2, 3, 0.25])], [image([1, 1]), image([[0, 4]]), image([-0.5])]]
REAL: Arrays = [[image([[0, 2], [5, 4]]), image([2, 0.5, -1, 1])], [image([3, 0]), image([[1, 1]]), image([0.75])]]


def tensors(arrays: list[np.ndarray]) -> list[Tensor]:
    return [from_numpy(array, device="cpu") for array in arrays]


def seen(arrays: Arrays) -> list[list[Tensor]]:
    return [tensors(each) for each in arrays]


def value(loss: Tensor) -> float:
    return to_numpy(loss).item()


def test_adversarial_is_minus_the_mean_prediction() -> None:
    # means 1.75 / 4 = 0.4375 and -0.5, their mean -0.03125
    assert value(adversarial(seen(FAKE))) == 0.03125


def test_hinge_of_generated_images() -> None:
    # max(0, 1 + p): 1.5, 0, 4, 1.25 -> 1.6875; 0.5; their mean
    assert value(hinge_fake(seen(FAKE))) == (1.6875 + 0.5) / 2


def test_hinge_of_photos() -> None:
    # max(0, 1 - p): 0, 0.5, 2, 0 -> 0.625; 0.25; their mean
    assert value(hinge_real(seen(REAL))) == (0.625 + 0.25) / 2


def test_hinges_push_only_what_is_within_the_margin() -> None:
    (found,) = input_gradients(lambda prediction: hinge_fake([[prediction], *seen(FAKE)[1:]]), FAKE[0][-1])
    assert found is not None and (found * 8).ravel().tolist() == [1, 0, 1, 1]
    (found,) = input_gradients(lambda prediction: hinge_real([[prediction], *seen(REAL)[1:]]), REAL[0][-1])
    assert found is not None and (found * 8).ravel().tolist() == [0, -1, -1, 0]


def test_feature_matching_sums_layers_and_averages_discriminators() -> None:
    # first: (1 + 0 + 2 + 0) / 4 = 0.75; second: (2 + 1) / 2 + (1 + 3) / 2 = 3.5; predictions do not count
    assert value(feature_matching(seen(FAKE), seen(REAL))) == (0.75 + 3.5) / 2


def test_feature_matching_leaves_the_photo_and_the_predictions_alone() -> None:
    def loss(*given: Tensor) -> Tensor:
        ours, theirs = ([[one, two], [three, four, five]] for one, two, three, four, five in (given[:5], given[5:]))
        return feature_matching(ours, theirs)

    found = input_gradients(loss, *FAKE[0], *FAKE[1], *REAL[0], *REAL[1])
    assert [gradient is not None for gradient in found] == [True, False, True, True, False, *[False] * 5]
    assert found[0] is not None and (found[0][0, 0] * 8).tolist() == [[1, 0], [-1, 0]]


def test_perceptual_weighs_each_layer_and_leaves_the_photo_alone() -> None:
    arrays = [image([1, 2]), image([[4]]), image([0, 5]), image([[1]])]
    assert value(perceptual(tensors(arrays[:2]), tensors(arrays[2:]), weights=(0.25, 2.0))) == 0.25 * (1 + 3) / 2 + 2 * 3
    first, second, *photo = input_gradients(lambda *given: perceptual(given[:2], given[2:], weights=(0.25, 2.0)), *arrays)
    assert first is not None and first.ravel().tolist() == [0.125, -0.125]
    assert second is not None and second.ravel().tolist() == [2]
    assert photo == [None, None]


def test_lists_of_unlike_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        feature_matching(seen(FAKE), seen(REAL)[:1])
    with pytest.raises(ValueError, match="zip"):
        perceptual(tensors([image([1])]), tensors([image([1])]), weights=(1.0, 2.0))
