"""The backend's words, each against its definition written out in numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from apfgan.backend import (
    BatchNorm,
    Conv2d,
    Module,
    adam,
    from_numpy,
    instance_norm,
    load_arrays,
    load_optimizer_arrays,
    mean,
    normal,
    one_hot,
    optimizer_arrays,
    place,
    pool_mean_3x3,
    read_pretrained,
    resize_bilinear,
    resize_nearest,
    set_training,
    state_arrays,
    step,
    to_numpy,
)
from apfgan.errors import EnvironmentProblem, WeightsError
from apfgan.randomness import random_source


def features(*shape: int) -> np.ndarray:
    return random_source("features", *shape).standard_normal(shape, dtype=np.float32)


def tensor(array: np.ndarray) -> torch.Tensor:
    return from_numpy(array, device="cpu")


def filled_conv(*, inputs: int = 3, outputs: int = 4, spectral_norm: bool = False) -> Conv2d:
    conv = Conv2d(inputs, outputs, kernel=3, stride=1, padding=1, bias=True, spectral_norm=spectral_norm)
    arrays = state_arrays(conv)
    load_arrays(conv, {name: features(*array.shape) for name, array in arrays.items()}, origin="test")
    return conv


def test_batch_norm_normalises_and_follows_the_biased_variance() -> None:
    norm, x = BatchNorm(5), features(2, 5, 3, 4)
    out = to_numpy(norm(tensor(x)))
    batch_mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    expected = (x - batch_mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    running = state_arrays(norm)
    np.testing.assert_allclose(running["running_mean"], 0.1 * batch_mean, atol=1e-6)
    np.testing.assert_allclose(running["running_var"], 0.9 + 0.1 * variance, rtol=1e-6)
    assert not np.allclose(running["running_var"], 0.9 + 0.1 * x.var((0, 2, 3), ddof=1), rtol=1e-3)


def test_batch_norm_outside_of_training_uses_the_running_statistics() -> None:
    norm, x = BatchNorm(2), features(1, 2, 3, 3)
    load_arrays(norm, {"running_mean": np.array([1, 2], np.float32), "running_var": np.array([4, 9], np.float32)}, origin="test")
    set_training(norm, False)
    expected = (x - np.array([1, 2])[:, None, None]) / np.sqrt(np.array([4, 9]) + 1e-5)[:, None, None]
    np.testing.assert_allclose(to_numpy(norm(tensor(x))), expected, atol=1e-5)


def test_batch_norm_of_a_single_value_is_zero() -> None:
    norm = BatchNorm(3)
    assert not to_numpy(norm(tensor(features(1, 3, 1, 1)))).any()
    assert np.isfinite(state_arrays(norm)["running_var"]).all()


def test_batch_norm_has_the_gradient_of_its_formula() -> None:
    x = tensor(features(2, 3, 4, 4)).double().requires_grad_()
    norm = BatchNorm(3).double()
    assert torch.autograd.gradcheck(norm, (x,), atol=1e-4)


def test_instance_norm() -> None:
    x = features(2, 3, 4, 5)
    expected = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(to_numpy(instance_norm(tensor(x))), expected, atol=1e-5)
    np.testing.assert_allclose(to_numpy(instance_norm(tensor(features(1, 3, 1, 1)))), 0, atol=1e-4)


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


def test_pooling_counts_the_zeros_of_the_padding() -> None:
    pooled = to_numpy(pool_mean_3x3(tensor(np.ones((1, 1, 4, 4), np.float32))))[0, 0]
    np.testing.assert_allclose(pooled, np.array([[4, 6], [6, 9]]) / 9, rtol=1e-6)


def test_one_hot_leaves_ignored_pixels_empty() -> None:
    maps = np.array([[[0, 2], [255, 3]]], dtype=np.uint16)
    vectors = to_numpy(one_hot(maps, 3, device="cpu"))
    assert vectors.shape == (1, 3, 2, 2)
    assert vectors[0, :, 0, 0].tolist() == [1, 0, 0]
    assert vectors[0, :, 0, 1].tolist() == [0, 0, 1]
    assert not vectors[0, :, 1].any()


def test_normal_draws_depend_on_the_source_alone() -> None:
    one, again, other = (to_numpy(normal(random_source(0, purpose), (4, 5), device="cpu")) for purpose in ("a", "a", "b"))
    assert (one == again).all()
    assert not np.isclose(one, other).any()
    assert one.dtype == np.float32


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
    optimizer = adam(conv, rate=0.1, betas=(0.0, 0.9), epsilon=1e-8)
    weight = state_arrays(conv)["bias"].astype(np.float64)
    square = np.zeros_like(weight)
    for count in range(1, 4):
        step(optimizer, mean(conv(tensor(features(1, 3, 4, 4))) ** 2, axes=None))
        gradient = conv.bias.grad.double().numpy()
        square = 0.9 * square + 0.1 * gradient**2
        weight = weight - 0.1 * gradient / (np.sqrt(square / (1 - 0.9**count)) + 1e-8)
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
    optimizers = [adam(pair, rate=0.1, betas=(0.0, 0.9), epsilon=1e-8) for pair in (straight, stopped, resumed)]
    for pair, optimizer in zip((straight, stopped), optimizers, strict=False):
        for _ in range(2):
            step(optimizer, mean(pair(x) ** 2, axes=None))
    load_arrays(resumed, state_arrays(stopped), origin="test")
    memory = optimizer_arrays(optimizers[1])
    assert set(memory) == {f"used.{name}.{kind}" for name in ("weight", "bias") for kind in ("mean", "square", "steps")}
    load_optimizer_arrays(optimizers[2], memory, origin="test")
    for pair, optimizer in ((straight, optimizers[0]), (resumed, optimizers[2])):
        step(optimizer, mean((pair(x) + pair.idle(x)) ** 2, axes=None))  # one parameter joins late
    assert all((array == state_arrays(resumed)[name]).all() for name, array in state_arrays(straight).items())
    with pytest.raises(WeightsError, match=r"used\.weight\.square"):
        load_optimizer_arrays(optimizers[2], memory | {"used.weight.square": np.zeros(1, np.float32)}, origin="test")
    with pytest.raises(WeightsError, match=r"not expected other\.steps"):
        load_optimizer_arrays(optimizers[2], memory | {"other.steps": np.zeros((), np.float32)}, origin="test")


def test_a_step_computes_no_gradient_for_others() -> None:
    own, judge = filled_conv(inputs=3, outputs=3), filled_conv(inputs=3, outputs=3)
    before = state_arrays(judge)
    step(adam(own, rate=0.1, betas=(0.0, 0.9), epsilon=1e-8), mean(judge(own(tensor(features(1, 3, 4, 4)))), axes=None))
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
        optimizers.append(adam(conv, rate=0.1, betas=(0.0, 0.9), epsilon=1e-8))
    step(optimizers[0], mean(straight(x) ** 2, axes=None))
    load_arrays(resumed, state_arrays(straight), origin="test")
    load_optimizer_arrays(optimizers[1], optimizer_arrays(optimizers[0]), origin="test")
    for conv, optimizer in zip((straight, resumed), optimizers, strict=True):
        step(optimizer, mean(conv(x) ** 2, axes=None))
    assert (state_arrays(straight)["weight"] == state_arrays(resumed)["weight"]).all()
