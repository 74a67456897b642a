"""What is PyTorch's own behind the backend's words: memory layouts, and the gradient that its formula has beyond float32."""

from typing import Literal

import numpy as np
import pytest
import torch

from apfgan.backend import (
    BatchNorm,
    Conv2d,
    adam,
    add_gradient,
    from_numpy,
    instance_norm,
    load_arrays,
    load_optimizer_arrays,
    mean,
    move,
    optimizer_arrays,
    place,
    state_arrays,
    to_numpy,
)
from apfgan.randomness import random_source


def features(*shape: int) -> torch.Tensor:
    return from_numpy(random_source("features", *shape).standard_normal(shape, dtype=np.float32), device="cpu")


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
def test_batch_norm_has_the_gradient_of_its_formula(variance: Literal["biased", "unbiased"]) -> None:
    x = features(2, 3, 4, 4).double().requires_grad_()
    norm = BatchNorm(3, variance=variance).double()
    assert torch.autograd.gradcheck(norm, (x,), atol=1e-4)


def test_instance_norm_of_nearly_constant_channels_in_either_layout() -> None:
    x = 3.3 + 1e-4 * features(1, 4, 200, 200)
    exact = x.double()
    expected = (exact - exact.mean((2, 3), keepdim=True)) / (exact.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    for layout in (torch.contiguous_format, torch.channels_last):
        np.testing.assert_allclose(to_numpy(instance_norm(x.contiguous(memory_format=layout))), expected, atol=1e-3)


def test_an_optimizer_continues_in_the_layout_of_a_placed_network() -> None:
    """A placed network keeps its weights in another order in memory; what is saved has the common one."""
    x, optimizers = features(1, 3, 4, 4), []
    straight, resumed = (Conv2d(3, 4, kernel=3, stride=1, padding=1, bias=True, spectral_norm=False) for _ in range(2))
    for conv in (straight, resumed):
        load_arrays(conv, {"weight": features(4, 3, 3, 3).numpy(), "bias": features(4).numpy()}, origin="test")
        place(conv, "cpu")
        optimizers.append(adam(conv, betas=(0.0, 0.9), epsilon=1e-8, steps="own"))
    add_gradient(optimizers[0], mean(straight(x) ** 2, axes=None))
    move(optimizers[0], rate=0.1)
    load_arrays(resumed, state_arrays(straight), origin="test")
    load_optimizer_arrays(optimizers[1], optimizer_arrays(optimizers[0]), origin="test")
    for conv, optimizer in zip((straight, resumed), optimizers, strict=True):
        add_gradient(optimizer, mean(conv(x) ** 2, axes=None))
        move(optimizer, rate=0.1)
    assert (state_arrays(straight)["weight"] == state_arrays(resumed)["weight"]).all()


def test_a_step_computes_no_gradient_for_others() -> None:
    own, judge = (Conv2d(3, 3, kernel=1, stride=1, padding=0, bias=True, spectral_norm=False) for _ in range(2))
    add_gradient(adam(own, betas=(0.0, 0.9), epsilon=1e-8, steps="own"), mean(judge(own(features(1, 3, 4, 4))), axes=None))
    assert own.bias.grad is not None and judge.bias.grad is None
