"""The backend's words, each against its definition written out in numpy."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from apfgan.backend import (
    BatchNorm,
    Conv2d,
    Module,
    Optimizer,
    PretrainedNorm,
    Tensor,
    adam,
    add_gradient,
    copy_arrays,
    freeze,
    from_numpy,
    instance_norm,
    load_arrays,
    load_optimizer_arrays,
    mean,
    move,
    one_hot,
    optimizer_arrays,
    place,
    pool_maximum,
    pool_mean_3x3,
    read_pretrained,
    resize_area,
    resize_bilinear,
    resize_nearest,
    set_training,
    state_arrays,
    to_numpy,
)
from apfgan.errors import EnvironmentProblem, WeightsError
from apfgan.randomness import random_source


def step(optimizer: Optimizer, loss: Tensor, *, rate: float) -> None:
    add_gradient(optimizer, loss)
    move(optimizer, rate=rate)


def features(*shape: int) -> np.ndarray:
    return random_source("features", *shape).standard_normal(shape, dtype=np.float32)


def tensor(array: np.ndarray) -> torch.Tensor:
    return from_numpy(array, device="cpu")


def filled_conv(*, inputs: int = 3, outputs: int = 4, spectral_norm: bool = False) -> Conv2d:
    conv = Conv2d(inputs, outputs, kernel=3, stride=1, padding=1, bias=True, spectral_norm=spectral_norm)
    arrays = state_arrays(conv)
    load_arrays(conv, {name: features(*array.shape) for name, array in arrays.items()}, origin="test")
    return conv


@pytest.mark.parametrize(("variance", "freedom"), [("biased", 0), ("unbiased", 1)])
def test_batch_norm_normalises_and_follows_the_variance_that_is_asked_for(variance: Literal["biased", "unbiased"], freedom: int) -> None:
    norm, x = BatchNorm(5, variance=variance), features(2, 5, 3, 4)
    out = to_numpy(norm(tensor(x)))
    batch_mean = x.mean((0, 2, 3))
    expected = (x - batch_mean[:, None, None]) / np.sqrt(x.var((0, 2, 3))[:, None, None] + 1e-5)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    running = state_arrays(norm)
    np.testing.assert_allclose(running["running_mean"], 0.1 * batch_mean, atol=1e-6)
    np.testing.assert_allclose(running["running_var"], 0.9 + 0.1 * x.var((0, 2, 3), ddof=freedom), rtol=1e-6)
    assert not np.allclose(running["running_var"], 0.9 + 0.1 * x.var((0, 2, 3), ddof=1 - freedom), rtol=1e-3)


def test_batch_norm_outside_of_training_uses_the_running_statistics() -> None:
    norm, x = BatchNorm(2, variance="unbiased"), features(1, 2, 3, 3)
    load_arrays(norm, {"running_mean": np.array([1, 2], np.float32), "running_var": np.array([4, 9], np.float32)}, origin="test")
    set_training(norm, False)
    expected = (x - np.array([1, 2])[:, None, None]) / np.sqrt(np.array([4, 9]) + 1e-5)[:, None, None]
    np.testing.assert_allclose(to_numpy(norm(tensor(x))), expected, atol=1e-5)


@pytest.mark.parametrize(("variance", "running"), [("biased", 0.9), ("unbiased", 1.0)])
def test_batch_norm_of_a_single_value_is_zero(variance: Literal["biased", "unbiased"], running: float) -> None:
    norm, x = BatchNorm(3, variance=variance), features(1, 3, 1, 1)
    assert not to_numpy(norm(tensor(x))).any()
    arrays = state_arrays(norm)
    np.testing.assert_allclose(arrays["running_mean"], 0.1 * x.ravel(), rtol=1e-6)
    np.testing.assert_allclose(arrays["running_var"], running, rtol=1e-6)


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
def test_batch_norm_has_the_gradient_of_its_formula(variance: Literal["biased", "unbiased"]) -> None:
    x = tensor(features(2, 3, 4, 4)).double().requires_grad_()
    norm = BatchNorm(3, variance=variance).double()
    assert torch.autograd.gradcheck(norm, (x,), atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_pretrained_norm_scales_and_keeps_its_statistics(training: bool) -> None:
    norm, x = PretrainedNorm(2), features(2, 2, 3, 3)
    given = {"weight": [2, 3], "bias": [0.5, -1], "running_mean": [1, 2], "running_var": [4, 9]}
    before = {name: np.array(values, np.float32) for name, values in given.items()}
    load_arrays(norm, before, origin="test")
    set_training(norm, training)
    average, variance = (x.mean((0, 2, 3)), x.var((0, 2, 3))) if training else (before["running_mean"], before["running_var"])
    normal = (x - average[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-3)
    expected = before["weight"][:, None, None] * normal + before["bias"][:, None, None]
    np.testing.assert_allclose(to_numpy(norm(tensor(x))), expected, atol=1e-5)
    assert all((array == before[name]).all() for name, array in state_arrays(norm).items())


def test_instance_norm() -> None:
    x = features(2, 3, 4, 5)
    expected = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(to_numpy(instance_norm(tensor(x))), expected, atol=1e-5)
    np.testing.assert_array_equal(to_numpy(instance_norm(tensor(features(1, 3, 1, 1)))), 0)


def test_instance_norm_of_nearly_constant_channels() -> None:
    x = (3.3 + 1e-4 * features(1, 4, 200, 200)).astype(np.float32)
    exact = x.astype(np.float64)
    expected = (exact - exact.mean((2, 3), keepdims=True)) / np.sqrt(exact.var((2, 3), keepdims=True) + 1e-5)
    for layout in (torch.contiguous_format, torch.channels_last):
        np.testing.assert_allclose(to_numpy(instance_norm(tensor(x).contiguous(memory_format=layout))), expected, atol=1e-3)


@pytest.mark.parametrize(("before", "after"), [(8, 4), (64, 2), (3, 6), (24, 28), (96, 115), (384, 460), (512, 614), (128, 153)])
def test_nearest_takes_the_row_of_the_floor(before: int, after: int) -> None:
    x = np.arange(before, dtype=np.float32).reshape(1, 1, before, 1).repeat(2, axis=3)
    rows = to_numpy(resize_nearest(tensor(x), height=after, width=2))[0, 0, :, 0]
    assert rows.tolist() == [index * before // after for index in range(after)]


def test_bilinear_halving_is_the_mean_of_four() -> None:
    x = features(1, 2, 6, 8)
    expected = x.reshape(1, 2, 3, 2, 4, 2).mean((3, 5))
    np.testing.assert_allclose(to_numpy(resize_bilinear(tensor(x), height=3, width=4)), expected, atol=1e-6)


def test_area_is_the_mean_of_each_block() -> None:
    x = features(2, 3, 12, 8)
    expected = x.reshape(2, 3, 3, 4, 4, 2).mean((3, 5))
    np.testing.assert_allclose(to_numpy(resize_area(tensor(x), height=3, width=4)), expected, atol=1e-6)


def test_mean_pooling_counts_the_zeros_beyond_the_border_or_does_not() -> None:
    ones = tensor(np.ones((1, 1, 4, 4), np.float32))
    np.testing.assert_allclose(to_numpy(pool_mean_3x3(ones, stride=2, border="zeros"))[0, 0], np.array([[4, 6], [6, 9]]) / 9, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(pool_mean_3x3(ones, stride=2, border="ignored"))[0, 0], np.ones((2, 2)), rtol=1e-6)
    assert pool_mean_3x3(ones, stride=1, border="zeros").shape == (1, 1, 4, 4)


def test_maximum_pooling_takes_every_second_window_that_fits() -> None:
    x = np.arange(6 * 7, dtype=np.float32).reshape(1, 1, 6, 7)
    assert to_numpy(pool_maximum(tensor(x), size=2))[0, 0].tolist() == [[8, 10, 12], [22, 24, 26], [36, 38, 40]]
    assert to_numpy(pool_maximum(tensor(x), size=3))[0, 0].tolist() == [[16, 18, 20], [30, 32, 34]]


def test_convolution_with_a_flat_kernel() -> None:
    conv, x = Conv2d(1, 1, kernel=(1, 3), stride=1, padding=(0, 1), bias=False, spectral_norm=False), features(1, 1, 4, 5)
    load_arrays(conv, {"weight": np.array([[[[1, 10, 100]]]], np.float32)}, origin="test")
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1)))
    np.testing.assert_allclose(to_numpy(conv(tensor(x))), padded[..., :-2] + 10 * padded[..., 1:-1] + 100 * padded[..., 2:], rtol=1e-5, atol=1e-4)


def test_one_hot_leaves_ignored_pixels_empty() -> None:
    maps = np.array([[[0, 2], [255, 3]]], dtype=np.uint16)
    vectors = to_numpy(one_hot(maps, 3, device="cpu"))
    assert vectors.shape == (1, 3, 2, 2)
    assert vectors[0, :, 0, 0].tolist() == [1, 0, 0]
    assert vectors[0, :, 0, 1].tolist() == [0, 0, 1]
    assert not vectors[0, :, 1].any()


def test_arrays_are_copies() -> None:
    conv = filled_conv()
    before = state_arrays(conv)
    load_arrays(conv, {name: array + 1 for name, array in before.items()}, origin="test")
    after = state_arrays(conv)
    assert all((after[name] == before[name] + 1).all() for name in before)


def test_loading_lists_what_does_not_fit_and_changes_nothing() -> None:
    conv = filled_conv()
    before = state_arrays(conv)
    with pytest.raises(WeightsError) as caught:
        load_arrays(conv, {"weight": np.zeros((4, 2, 3, 3), np.float32), "scale": np.zeros(1, np.float32)}, origin="some.safetensors")
    message = str(caught.value)
    for part in ("some.safetensors", "missing bias", "not expected scale", "weight (4, 2, 3, 3) instead of (4, 3, 3, 3)"):
        assert part in message
    assert all((array == before[name]).all() for name, array in state_arrays(conv).items())


def test_spectral_norm_divides_by_the_largest_singular_value() -> None:
    conv = filled_conv(inputs=2, outputs=5, spectral_norm=True)
    assert set(state_arrays(conv)) == {"weight", "bias", "weight_u", "weight_v"}
    x = tensor(features(1, 2, 6, 6))
    for _ in range(200):  # the power iteration advances once a forward in training
        conv(x)
    set_training(conv, False)
    arrays = state_arrays(conv)
    largest = np.linalg.svd(arrays["weight"].reshape(5, -1), compute_uv=False)[0]
    plain = filled_conv(inputs=2, outputs=5)
    load_arrays(plain, {"weight": arrays["weight"] / largest, "bias": arrays["bias"]}, origin="test")
    np.testing.assert_allclose(to_numpy(conv(x)), to_numpy(plain(x)), atol=1e-4)


def test_adam_follows_its_formula() -> None:
    conv = filled_conv()
    optimizer = adam(conv, betas=(0.0, 0.9), epsilon=1e-8, steps="own")
    weight = state_arrays(conv)["bias"].astype(np.float64)
    square = np.zeros_like(weight)
    for count, rate in enumerate((0.1, 0.1, 0.02), 1):
        add_gradient(optimizer, mean(conv(tensor(features(1, 3, 4, 4))) ** 2, axes=None))
        gradient = conv.bias.grad.double().numpy()
        move(optimizer, rate=rate)
        square = 0.9 * square + 0.1 * gradient**2
        weight = weight - rate * gradient / (np.sqrt(square / (1 - 0.9**count)) + 1e-8)
    np.testing.assert_allclose(state_arrays(conv)["bias"], weight, atol=1e-5)


class Pair(Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = filled_conv(), filled_conv()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


def test_an_optimizer_continues_from_its_arrays_exactly() -> None:
    x = tensor(features(1, 3, 4, 4))
    straight, stopped, resumed = Pair(), Pair(), Pair()
    optimizers = [adam(pair, betas=(0.0, 0.9), epsilon=1e-8, steps="own") for pair in (straight, stopped, resumed)]
    for pair, optimizer in zip((straight, stopped), optimizers, strict=False):
        for _ in range(2):
            step(optimizer, mean(pair(x) ** 2, axes=None), rate=0.1)
    load_arrays(resumed, state_arrays(stopped), origin="test")
    memory = optimizer_arrays(optimizers[1])
    assert set(memory) == {f"used.{name}.{kind}" for name in ("weight", "bias") for kind in ("mean", "square", "steps")}
    load_optimizer_arrays(optimizers[2], memory, origin="test")
    for pair, optimizer in ((straight, optimizers[0]), (resumed, optimizers[2])):
        step(optimizer, mean((pair(x) + pair.idle(x)) ** 2, axes=None), rate=0.1)  # one parameter joins late
    assert all((array == state_arrays(resumed)[name]).all() for name, array in state_arrays(straight).items())
    with pytest.raises(WeightsError, match=r"used\.weight\.square"):
        load_optimizer_arrays(optimizers[2], memory | {"used.weight.square": np.zeros(1, np.float32)}, origin="test")
    with pytest.raises(WeightsError, match=r"not expected other\.steps"):
        load_optimizer_arrays(optimizers[2], memory | {"other.steps": np.zeros((), np.float32)}, origin="test")


@pytest.mark.parametrize("late", [1, 2, 30])
def test_common_steps_let_a_late_parameter_begin_faster(late: int) -> None:
    """Its first step is the rate times sqrt((1 - 0.9^t) / 0.1), as measured in the original (spec: method, 7); with its own count, the rate."""
    x, moves = tensor(features(1, 3, 4, 4)), {}
    for steps in ("own", "common"):
        pair = Pair()
        optimizer = adam(pair, betas=(0.0, 0.9), epsilon=1e-8, steps=steps)
        for _ in range(late - 1):
            step(optimizer, mean(pair(x) ** 2, axes=None), rate=4e-4)
        before = state_arrays(pair)["idle.weight"]
        assert (before == state_arrays(Pair())["idle.weight"]).all()
        step(optimizer, mean((pair(x) + pair.idle(x)) ** 2, axes=None), rate=4e-4)
        moves[steps] = np.abs(state_arrays(pair)["idle.weight"] - before)
    np.testing.assert_allclose(moves["own"], 4e-4, rtol=2e-3)
    np.testing.assert_allclose(moves["common"], 4e-4 * np.sqrt((1 - 0.9**late) / 0.1), rtol=2e-3)


def test_copied_arrays_are_those_of_the_source() -> None:
    class More(Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.own = Conv2d(3, 4, kernel=3, stride=1, padding=1, bias=True, spectral_norm=False), filled_conv()

    class Less(Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = filled_conv()

    more, less = More(), Less()
    copy_arrays(less, more)
    arrays, source = state_arrays(more), state_arrays(less)
    assert all((array == source[name]).all() for name, array in arrays.items() if name in source)
    assert arrays["own.weight"].any()
    assert more.used.weight.requires_grad and more.used.weight is not less.used.weight


def test_a_gradient_flows_through_what_is_frozen() -> None:
    conv, x = filled_conv(), tensor(features(1, 3, 4, 4)).requires_grad_()
    freeze(conv)
    mean(conv(x), axes=None).backward()
    assert x.grad is not None and conv.weight.grad is None


def test_a_step_computes_no_gradient_for_others() -> None:
    own, judge = filled_conv(inputs=3, outputs=3), filled_conv(inputs=3, outputs=3)
    before = state_arrays(judge)
    step(adam(own, betas=(0.0, 0.9), epsilon=1e-8, steps="own"), mean(judge(own(tensor(features(1, 3, 4, 4)))), axes=None), rate=0.1)
    assert judge.weight.grad is None
    assert all((array == before[name]).all() for name, array in state_arrays(judge).items())


def test_unknown_device_is_the_machines_problem() -> None:
    with pytest.raises(EnvironmentProblem, match="abacus"):
        place(filled_conv(), "abacus")


def test_pretrained_files_are_read_without_executing_them(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "good.pth")
    assert read_pretrained(tmp_path / "good.pth")["a"].tolist() == [1, 1]
    torch.save({"a": Pair()}, tmp_path / "code.pth")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "torn.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:100])
    for name in ("code.pth", "torn.safetensors", "torn.pth", "absent.pth"):
        with pytest.raises(WeightsError, match=name):
            read_pretrained(tmp_path / name)


def test_an_optimizer_continues_in_the_layout_of_a_placed_network() -> None:
    """A placed network keeps its weights in another order in memory; what is saved has the common one."""
    x, straight, resumed = tensor(features(1, 3, 4, 4)), filled_conv(), filled_conv()
    optimizers = []
    for conv in (straight, resumed):
        place(conv, "cpu")
        optimizers.append(adam(conv, betas=(0.0, 0.9), epsilon=1e-8, steps="own"))
    step(optimizers[0], mean(straight(x) ** 2, axes=None), rate=0.1)
    load_arrays(resumed, state_arrays(straight), origin="test")
    load_optimizer_arrays(optimizers[1], optimizer_arrays(optimizers[0]), origin="test")
    for conv, optimizer in zip((straight, resumed), optimizers, strict=True):
        step(optimizer, mean(conv(x) ** 2, axes=None), rate=0.1)
    assert (state_arrays(straight)["weight"] == state_arrays(resumed)["weight"]).all()
