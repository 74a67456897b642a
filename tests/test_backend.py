"""The backend's words, each against its definition written out in numpy: they mean this on every engine (PyTorch's own are in test_pytorch.py).

Largest differences found, on either engine: values 2.9e-6, gradients 1.9e-8 of values around 3e-3.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from apfgan.backend import (
    ALONE,
    SHAPES_ONLY,
    BatchNorm,
    Conv2d,
    Module,
    ModuleList,
    Optimizer,
    PretrainedNorm,
    Tensor,
    absolute,
    adam,
    add_gradient,
    alike,
    anywhere,
    autocast,
    averages,
    concatenate,
    copy_arrays,
    counted_work,
    detach,
    distribute,
    duplicate,
    exact_drawing,
    freeze,
    from_numpy,
    frozen,
    instance_norm,
    join,
    leaky_relu,
    load_arrays,
    load_optimizer_arrays,
    mean,
    memory_peak,
    memory_size,
    move,
    move_towards,
    named_memory_errors,
    no_gradients,
    one_hot,
    optimizer_arrays,
    parameter_sizes,
    place,
    pool_maximum,
    pool_mean_3x3,
    read_pretrained,
    release_memory,
    relu,
    resize_area,
    resize_bicubic,
    resize_bilinear,
    resize_nearest,
    set_training,
    shift,
    state_arrays,
    state_sizes,
    synchronise,
    take,
    tanh,
    to_numpy,
    unshared,
    wait,
    widen,
)
from apfgan.errors import EnvironmentProblem, WeightsError
from apfgan.randomness import random_source
from tests.observing import gradients, input_gradients

pytestmark = pytest.mark.both_engines

# Definitions, in float64


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - distance)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.75."""
    near = 1.25 * distance**3 - 2.25 * distance**2 + 1
    far = -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def resized(x: np.ndarray, height: int, width: int, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Each pixel mixes those around its centre, whose place is that of half-pixel centres; beyond the edge lies the edge."""

    def mixing(before: int, after: int) -> np.ndarray:
        centres = (np.arange(after) + 0.5) * before / after - 0.5
        shares = np.zeros((after, before))
        for pixel in range(-3, before + 3):
            shares[:, min(max(pixel, 0), before - 1)] += kernel(np.abs(centres - pixel))
        return shares

    return mixing(x.shape[2], height) @ x @ mixing(x.shape[3], width).T


def windows(x: np.ndarray, kernel: tuple[int, int], *, stride: int, padding: tuple[int, int]) -> np.ndarray:
    """(N, C, H', W', *kernel)."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    return sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::stride, ::stride]


def pooled(x: np.ndarray, stride: int, border: str) -> np.ndarray:
    each = {"stride": stride, "padding": (1, 1)}
    total = windows(x, (3, 3), **each).sum((4, 5))
    return total / (9 if border == "zeros" else windows(np.ones_like(x), (3, 3), **each).sum((4, 5)))


def moved(x: np.ndarray, ways: Sequence[tuple[int, int]]) -> np.ndarray:
    """Each image down and right by its own way; zeros come in behind it."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (9, 9), (9, 9)))
    return np.stack(
        [image[:, 9 - down : 9 - down + height, 9 - right : 9 - right + width] for image, (down, right) in zip(padded, ways, strict=True)]
    )


def normalised(x: np.ndarray, *, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def convolved(x: np.ndarray, arrays: Mapping[str, np.ndarray], *, stride: int, padding: tuple[int, int]) -> np.ndarray:
    out = np.einsum("nchwij,ocij->nohw", windows(x, arrays["weight"].shape[2:], stride=stride, padding=padding), arrays["weight"])
    return out + arrays["bias"][:, None, None] if "bias" in arrays else out


def per_channel(*values: float) -> np.ndarray:
    return np.array(values)[:, None, None]


# What they are tried on


def features(*shape: int) -> np.ndarray:
    return random_source("features", *shape).standard_normal(shape, dtype=np.float32)


def tensor(array: np.ndarray) -> Tensor:
    return from_numpy(array, device="cpu")


def conv(
    inputs: int = 3, outputs: int = 4, *, kernel: int | tuple[int, int] = 3, stride: int = 1, padding: int | tuple[int, int] = 1, bias: bool = True
) -> Conv2d:
    return filled(Conv2d(inputs, outputs, kernel=kernel, stride=stride, padding=padding, bias=bias, spectral_norm=False))


def filled(module: Module) -> Module:
    load_arrays(module, {name: features(*array.shape) for name, array in state_arrays(module).items()}, origin="test")
    return module


NORM = {"weight": [2, 3, -1], "bias": [0.5, -1, 0], "running_mean": [1, 2, -1], "running_var": [4, 9, 0.5]}


def norm(kind: type[BatchNorm] | type[PretrainedNorm], *, training: bool) -> Module:
    module = BatchNorm(3, variance="biased") if kind is BatchNorm else PretrainedNorm(3)
    load_arrays(module, {name: np.array(NORM[name], np.float32) for name in state_arrays(module)}, origin="test")
    set_training(module, training)
    return module


def running(x: np.ndarray, epsilon: float) -> np.ndarray:
    return (x - per_channel(*NORM["running_mean"])) / np.sqrt(per_channel(*NORM["running_var"]) + epsilon)


def scaled(x: np.ndarray) -> np.ndarray:
    return x * per_channel(*NORM["weight"]) + per_channel(*NORM["bias"])


class Word(NamedTuple):
    """A word that turns an image into another tensor, and what it is in numpy."""

    said: Callable[[Tensor], Tensor]
    defined: Callable[[np.ndarray], np.ndarray]


OTHER = features(2, 3, 6, 8) + 4
WORDS = {
    "arithmetic": Word(lambda x: 1 - 2 * x / tensor(OTHER) + x**2 * -x, lambda x: 1 - 2 * x / OTHER + x**2 * -x),
    "slicing": Word(lambda x: x[1:, :, :-2, 3:5] * x[:1, :1, 2:, :1], lambda x: x[1:, :, :-2, 3:5] * x[:1, :1, 2:, :1]),
    "absolute": Word(absolute, np.abs),
    "alike": Word(lambda x: alike(x, tensor(OTHER)), lambda x: x),
    "concatenate": Word(lambda x: concatenate([x, 2 * x, x[:, :1]], axis=1), lambda x: np.concatenate([x, 2 * x, x[:, :1]], 1)),
    "concatenate rows": Word(lambda x: concatenate([x[1:], -x], axis=0), lambda x: np.concatenate([x[1:], -x])),
    "leaky_relu": Word(lambda x: leaky_relu(x, slope=0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "mean": Word(lambda x: mean(x, axes=(1, 3)) * x, lambda x: x.mean((1, 3), keepdims=True) * x),
    "mean of all": Word(lambda x: mean(x * x, axes=None) * x, lambda x: (x * x).mean() * x),
    "shift": Word(lambda x: shift(x, down=np.array([2, -1]), right=np.array([0, -3])), lambda x: moved(x, ((2, 0), (-1, -3)))),
    "shift one way": Word(lambda x: shift(x, down=np.array([0, 1]), right=np.array([1, 0])), lambda x: moved(x, ((0, 1), (1, 0)))),
    "relu": Word(relu, lambda x: np.maximum(x, 0)),
    "take": Word(lambda x: take(x, np.array([1, 0, 1])), lambda x: x[[1, 0, 1]]),
    "tanh": Word(tanh, np.tanh),
    "widen": Word(widen, lambda x: x),
    "resize_area": Word(lambda x: resize_area(x, height=2, width=4), lambda x: x.reshape(2, 3, 2, 3, 4, 2).mean((3, 5))),
    "resize_nearest down": Word(lambda x: resize_nearest(x, height=3, width=4), lambda x: x[:, :, ::2, ::2]),
    "resize_nearest up": Word(lambda x: resize_nearest(x, height=12, width=16), lambda x: x.repeat(2, 2).repeat(2, 3)),
    "resize_nearest": Word(lambda x: resize_nearest(x, height=7, width=5), lambda x: x[:, :, [0, 0, 1, 2, 3, 4, 5]][..., [0, 1, 3, 4, 6]]),
    "resize_bilinear down": Word(lambda x: resize_bilinear(x, height=3, width=4), lambda x: x.reshape(2, 3, 3, 2, 4, 2).mean((3, 5))),
    "resize_bilinear up": Word(lambda x: resize_bilinear(x, height=12, width=16), lambda x: resized(x, 12, 16, _linear)),
    "resize_bilinear": Word(lambda x: resize_bilinear(x, height=7, width=3), lambda x: resized(x, 7, 3, _linear)),
    "resize_bicubic": Word(lambda x: resize_bicubic(x, height=7, width=9), lambda x: resized(x, 7, 9, _cubic)),
    "resize_bicubic down": Word(lambda x: resize_bicubic(x, height=3, width=2), lambda x: resized(x, 3, 2, _cubic)),
    "pool_maximum 2": Word(lambda x: pool_maximum(x, size=2), lambda x: windows(x, (2, 2), stride=2, padding=(0, 0)).max((4, 5))),
    "pool_maximum 3": Word(lambda x: pool_maximum(x, size=3), lambda x: windows(x, (3, 3), stride=2, padding=(0, 0)).max((4, 5))),
    "pool_mean_3x3 zeros": Word(lambda x: pool_mean_3x3(x, stride=2, border="zeros"), lambda x: pooled(x, 2, "zeros")),
    "pool_mean_3x3 ignored": Word(lambda x: pool_mean_3x3(x, stride=2, border="ignored"), lambda x: pooled(x, 2, "ignored")),
    "pool_mean_3x3 of all": Word(lambda x: pool_mean_3x3(x, stride=1, border="zeros"), lambda x: pooled(x, 1, "zeros")),
    "instance_norm": Word(instance_norm, lambda x: normalised(x, axes=(2, 3), epsilon=1e-5)),
    "BatchNorm": Word(lambda x: norm(BatchNorm, training=True)(x), lambda x: normalised(x, axes=(0, 2, 3), epsilon=1e-5)),
    "BatchNorm running": Word(lambda x: norm(BatchNorm, training=False)(x), lambda x: running(x, 1e-5)),
    "PretrainedNorm": Word(lambda x: norm(PretrainedNorm, training=True)(x), lambda x: scaled(normalised(x, axes=(0, 2, 3), epsilon=1e-3))),
    "PretrainedNorm running": Word(lambda x: norm(PretrainedNorm, training=False)(x), lambda x: scaled(running(x, 1e-3))),
    "Conv2d": Word(lambda x: conv()(x), lambda x: convolved(x, state_arrays(conv()), stride=1, padding=(1, 1))),
    "Conv2d with a stride": Word(
        lambda x: conv(kernel=4, stride=2, padding=2)(x), lambda x: convolved(x, state_arrays(conv(kernel=4)), stride=2, padding=(2, 2))
    ),
    "Conv2d with a flat kernel": Word(
        lambda x: conv(kernel=(1, 3), padding=(0, 1), bias=False)(x),
        lambda x: convolved(x, state_arrays(conv(kernel=(1, 3), bias=False)), stride=1, padding=(0, 1)),
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_word_is_what_numpy_says(name: str) -> None:
    word, x = WORDS[name], features(2, 3, 6, 8)
    found, expected = to_numpy(word.said(tensor(x))), word.defined(x.astype(np.float64))
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("name", WORDS)
def test_its_gradient_is_that_of_finite_differences(name: str) -> None:
    word, x = WORDS[name], features(2, 3, 6, 8)
    shares = features(*word.defined(x).shape)
    (found,) = input_gradients(lambda given: mean(word.said(given) * tensor(shares), axes=None), x)
    expected, reach = np.zeros(x.size), 1e-5
    for index in range(x.size):
        step = np.zeros(x.size)
        step[index] = reach
        above, below = (word.defined(x + sign * step.reshape(x.shape)) for sign in (1.0, -1.0))
        expected[index] = ((above - below) * shares).mean() / (2 * reach)
    assert found is not None
    np.testing.assert_allclose(found, expected.reshape(x.shape), atol=1e-7)


@pytest.mark.parametrize(
    ("word", "expected"), [(relu, 0.0), (absolute, 0.0), (lambda x: leaky_relu(x, slope=0.2), 0.2)], ids=["relu", "absolute", "leaky_relu"]
)
def test_the_gradient_at_zero(word: Callable[[Tensor], Tensor], expected: float) -> None:
    shares = features(1, 1, 2, 3)
    (found,) = input_gradients(lambda x: mean(word(x) * tensor(shares), axes=None), np.zeros_like(shares))
    assert found is not None
    np.testing.assert_allclose(found, expected * shares / 6, rtol=1e-6)


@pytest.mark.parametrize("size", [2, 3])
def test_the_first_of_equal_maxima_gets_the_gradient(size: int) -> None:
    (found,) = input_gradients(lambda x: mean(pool_maximum(x, size=size), axes=None), np.ones((1, 1, 5, 5), np.float32))
    expected = np.zeros((5, 5))
    expected[:4:2, :4:2] = 1 / 4
    assert found is not None and (found[0, 0] == expected).all()


def test_the_mean_of_everything_is_one_number() -> None:
    assert to_numpy(mean(tensor(np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)), axes=None)).item() == 11.5


def test_a_tensor_shares_nothing_with_its_array() -> None:
    array = features(1, 2, 3, 4)
    found = to_numpy(tensor(array))
    assert (found == array).all() and not np.shares_memory(found, array)
    found[:] = 0
    transposed = to_numpy(tensor(array.transpose(0, 1, 3, 2)))  # whatever its order in memory is
    assert transposed.flags.c_contiguous and (transposed == array.transpose(0, 1, 3, 2)).all()


# Norms


@pytest.mark.parametrize(("variance", "freedom"), [("biased", 0), ("unbiased", 1)])
def test_batch_norm_follows_the_variance_that_is_asked_for(variance: Literal["biased", "unbiased"], freedom: int) -> None:
    norm, x = BatchNorm(5, variance=variance), features(2, 5, 3, 4)
    norm(tensor(x))
    running = state_arrays(norm)
    np.testing.assert_allclose(running["running_mean"], 0.1 * x.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(running["running_var"], 0.9 + 0.1 * x.var((0, 2, 3), ddof=freedom), rtol=1e-6)
    assert not np.allclose(running["running_var"], 0.9 + 0.1 * x.var((0, 2, 3), ddof=1 - freedom), rtol=1e-3)


@pytest.mark.parametrize(("variance", "running"), [("biased", 0.9), ("unbiased", 1.0)])
def test_batch_norm_of_a_single_value_is_zero(variance: Literal["biased", "unbiased"], running: float) -> None:
    norm, x = BatchNorm(3, variance=variance), features(1, 3, 1, 1)
    assert not to_numpy(norm(tensor(x))).any()
    arrays = state_arrays(norm)
    np.testing.assert_allclose(arrays["running_mean"], 0.1 * x.ravel(), rtol=1e-6)
    np.testing.assert_allclose(arrays["running_var"], running, rtol=1e-6)


@pytest.mark.parametrize(("kind", "training"), [(BatchNorm, False), (PretrainedNorm, False), (PretrainedNorm, True)])
def test_other_norms_keep_their_statistics(kind: type[BatchNorm] | type[PretrainedNorm], training: bool) -> None:
    module = norm(kind, training=training)
    before = state_arrays(module)
    module(tensor(features(2, 3, 3, 3)))
    assert all((array == before[name]).all() for name, array in state_arrays(module).items())


def test_instance_norm_of_one_pixel_is_zero() -> None:
    np.testing.assert_array_equal(to_numpy(instance_norm(tensor(features(1, 3, 1, 1)))), 0)


def test_instance_norm_of_nearly_constant_channels() -> None:
    x = (3.3 + 1e-4 * features(1, 4, 200, 200)).astype(np.float32)
    expected = normalised(x.astype(np.float64), axes=(2, 3), epsilon=1e-5)
    np.testing.assert_allclose(to_numpy(instance_norm(tensor(x))), expected, atol=1e-3)


# Sizes


@pytest.mark.parametrize(("before", "after"), [(8, 4), (64, 2), (3, 6), (24, 28), (96, 115), (384, 460), (512, 614), (128, 153)])
def test_nearest_takes_the_row_of_the_floor(before: int, after: int) -> None:
    x = np.arange(before, dtype=np.float32).reshape(1, 1, before, 1).repeat(2, axis=3)
    rows = to_numpy(resize_nearest(tensor(x), height=after, width=2))[0, 0, :, 0]
    assert rows.tolist() == [index * before // after for index in range(after)]


def test_mean_pooling_counts_the_zeros_beyond_the_border_or_does_not() -> None:
    ones = tensor(np.ones((1, 1, 4, 4), np.float32))
    np.testing.assert_allclose(to_numpy(pool_mean_3x3(ones, stride=2, border="zeros"))[0, 0], np.array([[4, 6], [6, 9]]) / 9, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(pool_mean_3x3(ones, stride=2, border="ignored"))[0, 0], np.ones((2, 2)), rtol=1e-6)


def test_maximum_pooling_takes_every_second_window_that_fits() -> None:
    x = np.arange(6 * 7, dtype=np.float32).reshape(1, 1, 6, 7)
    assert to_numpy(pool_maximum(tensor(x), size=2))[0, 0].tolist() == [[8, 10, 12], [22, 24, 26], [36, 38, 40]]
    assert to_numpy(pool_maximum(tensor(x), size=3))[0, 0].tolist() == [[16, 18, 20], [30, 32, 34]]


def test_one_hot_leaves_ignored_pixels_empty() -> None:
    maps = np.array([[[0, 2], [255, 3]]], dtype=np.uint16)
    vectors = to_numpy(one_hot(maps, 3, device="cpu"))
    assert vectors.shape == (1, 3, 2, 2) and vectors.dtype == np.float32
    assert vectors[0, :, 0, 0].tolist() == [1, 0, 0]
    assert vectors[0, :, 0, 1].tolist() == [0, 0, 1]
    assert not vectors[0, :, 1].any()


# Networks and their arrays


class Pair(Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = conv(), conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(array, other[name]) for name, array in one.items())


def test_arrays_are_copies() -> None:
    module = conv()
    before = state_arrays(module)
    load_arrays(module, {name: array + 1 for name, array in before.items()}, origin="test")
    after = state_arrays(module)
    assert all((after[name] == before[name] + 1).all() for name in before)


def test_loading_lists_what_does_not_fit_and_changes_nothing() -> None:
    module = conv()
    before = state_arrays(module)
    with pytest.raises(WeightsError) as caught:
        load_arrays(module, {"weight": np.zeros((4, 2, 3, 3), np.float32), "scale": np.zeros(1, np.float32)}, origin="some.safetensors")
    message = str(caught.value)
    for part in ("some.safetensors", "missing bias", "not expected scale", "weight (4, 2, 3, 3) instead of (4, 3, 3, 3)"):
        assert part in message
    assert equal(state_arrays(module), before)


def test_a_list_of_networks_is_in_order_and_can_be_cut() -> None:
    modules = ModuleList(conv(outputs=outputs) for outputs in (1, 2, 3))
    assert [len(state_arrays(each)["bias"]) for each in modules] == [1, 2, 3]
    assert [len(state_arrays(each)["bias"]) for each in reversed(modules)] == [3, 2, 1]
    assert [len(state_arrays(each)["bias"]) for each in modules[:2]] == [1, 2] and len(modules) == 3
    assert [name for name in state_arrays(modules) if name.endswith("bias")] == ["0.bias", "1.bias", "2.bias"]
    assert equal(state_arrays(modules[1]), state_arrays(conv(outputs=2)))


def test_copied_arrays_are_those_of_the_source_and_learn_apart() -> None:
    class Less(Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = conv()

    more, less = Pair(), Less()
    load_arrays(more, {name: array + 1 for name, array in state_arrays(more).items()}, origin="test")
    own = state_arrays(more.idle)
    copy_arrays(less, more)
    assert equal(state_arrays(more.used), state_arrays(conv())) and equal(state_arrays(more.idle), own)
    step(adam(more, betas=(0.0, 0.9), epsilon=1e-8, steps="own"), mean(more(tensor(features(1, 3, 4, 4))) ** 2, axes=None), rate=0.1)
    assert equal(state_arrays(less.used), state_arrays(conv()))
    assert (state_arrays(more.used)["bias"] != state_arrays(less.used)["bias"]).all()


def test_a_duplicate_follows_as_far_as_it_is_told_and_is_left_alone_otherwise() -> None:
    module = norm(BatchNorm, training=True)
    copied, before = duplicate(module), state_arrays(module)
    assert equal(state_arrays(copied), before)
    module(tensor(features(2, 3, 4, 4)))
    now = state_arrays(module)
    assert equal(state_arrays(copied), before) and not equal(now, before)
    move_towards(copied, module, share=0.25)
    for name, array in state_arrays(copied).items():
        np.testing.assert_allclose(array, 0.75 * before[name] + 0.25 * now[name], rtol=1e-6)
    move_towards(copied, module, share=1.0)
    assert equal(state_arrays(copied), now) and equal(state_arrays(module), now)


# Spectral norm


def spectral() -> Conv2d:
    module = Conv2d(2, 5, kernel=3, stride=1, padding=1, bias=True, spectral_norm=True)
    return filled(module)


def one_round(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, float]:
    """u, v and the singular value that they know of behind a round of power iteration."""
    matrix = arrays["weight"].reshape(len(arrays["weight"]), -1).astype(np.float64)
    u = matrix @ arrays["weight_v"]
    u /= np.linalg.norm(u)
    v = matrix.T @ u
    v /= np.linalg.norm(v)
    return u, v, float(u @ matrix @ v)


@pytest.mark.parametrize("training", [True, False])
def test_spectral_norm_takes_a_round_of_power_iteration_in_training(training: bool) -> None:
    module, x = spectral(), features(1, 2, 6, 6)
    set_training(module, training)
    arrays = state_arrays(module)
    u, v, _ = one_round(arrays) if training else (arrays["weight_u"], arrays["weight_v"], 0)
    value = u @ arrays["weight"].reshape(5, -1) @ v
    expected = convolved(x, {"weight": arrays["weight"] / value, "bias": arrays["bias"]}, stride=1, padding=(1, 1))
    np.testing.assert_allclose(to_numpy(module(tensor(x))), expected, atol=1e-4)
    after = state_arrays(module)
    assert set(after) == {"weight", "bias", "weight_u", "weight_v"}
    assert (after["weight"] == arrays["weight"]).all()
    np.testing.assert_allclose(after["weight_u"], u, atol=1e-6)
    np.testing.assert_allclose(after["weight_v"], v, atol=1e-6)


def test_the_gradient_of_a_normalised_weight_takes_its_norm_along() -> None:
    """W / s with s = u'Wv, where u and v are as good as constant: G / s - (G . W) / s^2 uv', with the gradient G of the quotient."""
    module, x = spectral(), features(1, 2, 6, 6)
    arrays = state_arrays(module)
    u, v, value = one_round(arrays)
    shares = features(1, 5, 6, 6)
    quotient = np.einsum("nchwij,nohw->ocij", windows(x, (3, 3), stride=1, padding=(1, 1)), shares / shares.size)
    inner = (quotient * arrays["weight"]).sum()
    expected = quotient / value - inner / value**2 * np.outer(u, v).reshape(quotient.shape)
    found = gradients(module, mean(module(tensor(x)) * tensor(shares), axes=None))
    assert set(found) == {"weight", "bias"}
    np.testing.assert_allclose(found["weight"], expected, atol=1e-6)
    np.testing.assert_allclose(found["bias"], shares.sum((0, 2, 3)) / shares.size, atol=1e-6)


def test_spectral_norm_divides_by_the_largest_singular_value() -> None:
    module, x = spectral(), tensor(features(1, 2, 6, 6))
    for _ in range(200):
        to_numpy(module(x))
    set_training(module, False)
    arrays = state_arrays(module)
    largest = np.linalg.svd(arrays["weight"].reshape(5, -1), compute_uv=False)[0]
    expected = convolved(features(1, 2, 6, 6), {"weight": arrays["weight"] / largest, "bias": arrays["bias"]}, stride=1, padding=(1, 1))
    np.testing.assert_allclose(to_numpy(module(x)), expected, atol=1e-4)


# Learning


def step(optimizer: Optimizer, loss: Tensor, *, rate: float) -> None:
    add_gradient(optimizer, loss)
    move(optimizer, rate=rate)


def test_adam_follows_its_formula() -> None:
    """Also with a first moment, and with gradients added up before a step."""
    module, x = conv(), features(1, 3, 4, 4)
    optimizer = adam(module, betas=(0.5, 0.9), epsilon=1e-8, steps="own")
    start = state_arrays(module)
    bias = start["bias"].astype(np.float64)
    first, square = np.zeros_like(bias), np.zeros_like(bias)
    for count, (rate, times) in enumerate(((0.1, 1), (0.1, 3), (0.02, 1)), 1):
        gradient = np.zeros_like(bias)
        for _ in range(times):
            out = convolved(x, state_arrays(module), stride=1, padding=(1, 1))
            gradient += 2 * out.sum((0, 2, 3)) / out.size
            add_gradient(optimizer, mean(module(tensor(x)) ** 2, axes=None))
        move(optimizer, rate=rate)
        first, square = 0.5 * first + 0.5 * gradient, 0.9 * square + 0.1 * gradient**2
        bias = bias - rate * (first / (1 - 0.5**count)) / (np.sqrt(square / (1 - 0.9**count)) + 1e-8)
        np.testing.assert_allclose(state_arrays(module)["bias"], bias, atol=1e-5)
    memory = optimizer_arrays(optimizer)
    np.testing.assert_allclose(memory["bias.mean"], first, rtol=1e-4)
    np.testing.assert_allclose(memory["bias.square"], square, rtol=1e-4)
    assert memory["bias.steps"] == 3


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
    assert all(array.dtype == np.float32 for array in memory.values())
    load_optimizer_arrays(optimizers[2], memory, origin="test")
    for pair, optimizer in ((straight, optimizers[0]), (resumed, optimizers[2])):
        step(optimizer, mean((pair(x) + pair.idle(x)) ** 2, axes=None), rate=0.1)  # one parameter joins late
    assert equal(state_arrays(straight), state_arrays(resumed))
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


def through(context: Callable[[], AbstractContextManager[object]]) -> Callable[[Tensor], Tensor]:
    def word(x: Tensor) -> Tensor:
        with context():
            return tanh(x)

    return word


@pytest.mark.parametrize("word", [lambda x: detach(tanh(x)), through(no_gradients), through(exact_drawing)], ids=["detach", "no", "exact"])
def test_no_gradient_flows_through_what_is_computed_without(word: Callable[[Tensor], Tensor]) -> None:
    x, other = features(1, 2, 3, 4), features(1, 1, 1, 1)
    found, none = input_gradients(lambda given, unused: mean(given * word(given) * word(unused), axes=None), x, other)
    assert none is None and found is not None
    np.testing.assert_allclose(found, np.tanh(x) * np.tanh(other) / x.size, atol=1e-7)


@pytest.mark.parametrize("kept", ["frozen", "freeze", "neither"])
def test_a_gradient_flows_through_what_learns_nothing(kept: str) -> None:
    """It is the same that flows through what learns; and only what the optimiser knows moves."""
    own, judge, x = conv(outputs=3), conv(outputs=3), tensor(features(1, 3, 4, 4))
    before = state_arrays(judge)
    if kept == "freeze":
        freeze(judge)
    with frozen(judge) if kept == "frozen" else nullcontext():
        found = gradients(own, mean(judge(own(x)) ** 2, axes=None))
    out = convolved(convolved(features(1, 3, 4, 4), state_arrays(own), stride=1, padding=(1, 1)), before, stride=1, padding=(1, 1))
    back = convolved(
        2 * out / out.size, {"weight": before["weight"].transpose(1, 0, 2, 3)[..., ::-1, ::-1]}, stride=1, padding=(1, 1)
    )  # a convolution's gradient is one with the kernel turned round
    np.testing.assert_allclose(found["bias"], back.sum((0, 2, 3)), rtol=1e-4)
    assert equal(state_arrays(judge), before)
    if kept == "frozen":
        assert set(gradients(judge, mean(judge(own(x)) ** 2, axes=None))) == {"weight", "bias"}


# The machine


def test_unknown_device_is_the_machines_problem() -> None:
    with pytest.raises(EnvironmentProblem, match="abacus"):
        place(conv(), "abacus")


def test_a_placed_network_computes_and_learns_as_before() -> None:
    x, placed, plain = tensor(features(1, 3, 4, 4)), conv(), conv()
    place(placed, "cpu")
    assert equal(state_arrays(placed), state_arrays(plain))
    for module in (placed, plain):
        step(adam(module, betas=(0.0, 0.9), epsilon=1e-8, steps="own"), mean(module(x) ** 2, axes=None), rate=0.1)
    for name, array in state_arrays(placed).items():
        np.testing.assert_allclose(array, state_arrays(plain)[name], atol=1e-5)


def test_float32_is_no_other_precision() -> None:
    module, x = conv(), tensor(features(1, 3, 4, 4))
    with autocast("float32", device="cpu"):
        found = to_numpy(module(x))
    assert (found == to_numpy(module(x))).all()


def test_alone_there_is_nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    module = conv()
    with join("cpu") as place:
        assert place == (ALONE, "cpu")
    synchronise(module, ALONE)
    assert distribute(module, ALONE) is module
    with unshared(module):
        wait(ALONE)
    assert averages({"a": 0.1, "b": -3.0}, ALONE, device="cpu") == {"a": 0.1, "b": -3.0}
    assert [anywhere(flag, ALONE, device="cpu") for flag in (False, True)] == [False, True]


@pytest.mark.parametrize("device", ["cpu", SHAPES_ONLY])
def test_work_is_counted(device: str) -> None:
    module = conv()
    assert sorted(parameter_sizes(module)) == [4, 108] and sum(state_sizes(norm(BatchNorm, training=True))) == 6
    place(module, device)
    once = 8 * 8 * 3 * 4 * 9
    x = from_numpy(features(1, 3, 8, 8), device=device)
    with counted_work(module, learns=True) as work:
        assert tuple(module(x).shape) == (1, 4, 8, 8)
    assert (work.forward, work.backward, work.by_module) == (once, once, {"": once}) and work.held >= 4 * 3 * 64
    with counted_work(module, learns=True) as work, no_gradients():
        module(x)
    assert (work.forward, work.backward, work.held) == (once, 0, 0)


def test_memory_is_counted_and_its_end_is_named() -> None:
    before = memory_peak("cpu")
    assert 2**20 < before < memory_size("cpu")
    release_memory("cpu")
    assert memory_peak("cpu") >= before
    with pytest.raises(RuntimeError, match="another"), named_memory_errors():
        raise RuntimeError("another")


def test_pretrained_files_are_read_without_executing_them(tmp_path: Path) -> None:
    """PyTorch's files; it writes them here, and need not read them."""
    import torch

    torch.save({"a": torch.ones(2)}, tmp_path / "good.pth")
    assert read_pretrained(tmp_path / "good.pth")["a"].tolist() == [1, 1]
    torch.save({"a": torch.nn.Linear(1, 1)}, tmp_path / "code.pth")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "torn.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:100])
    for name in ("code.pth", "torn.safetensors", "torn.pth", "absent.pth"):
        with pytest.raises(WeightsError, match=name):
            read_pretrained(tmp_path / name)
