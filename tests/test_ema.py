"""Averages of weights along the training, against their closed form."""

import numpy as np
import pytest

from apfgan.backend import load_arrays, state_arrays
from apfgan.config import Config, DataConfig, ModelConfig
from apfgan.ema import Averages, average_name, exponent_of, parse_average, share_at
from apfgan.errors import WeightsError
from apfgan.networks import Painter, build_painter

pytestmark = pytest.mark.both_engines

WIDTHS = (0.05, 0.1, 0.25)


def pico(width: int = 4) -> Painter:
    config = Config(
        data=DataConfig(classes=("a", "b"), width=16, height=8, load_width=16), model=ModelConfig(width=width, hidden=4, upsamplings=2, levels=2)
    )
    return build_painter(config, seed=0)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_exponent_gives_the_relative_width(width: float) -> None:
    """The spread of t^exponent over the training, by brute force."""
    times = (np.arange(200_000) + 0.5) / 200_000
    density = times ** exponent_of(width)
    density /= density.sum()
    mean = (density * times).sum()
    assert np.sqrt((density * (times - mean) ** 2).sum()) == pytest.approx(width, rel=1e-4)


@pytest.mark.parametrize("width", WIDTHS)
def test_an_average_weighs_the_steps_by_the_power_function(width: float) -> None:
    painter, steps = pico(), 60
    averages = Averages(painter, [width])
    rng = np.random.default_rng(0)
    seen = []
    for step in range(1, steps + 1):
        arrays = {name: rng.standard_normal(array.shape, dtype=np.float32) for name, array in state_arrays(painter).items()}
        load_arrays(painter, arrays, origin="test")
        averages.follow(step)
        seen.append(arrays)
    shares = np.array([share_at(step, exponent_of(width)) for step in range(1, steps + 1)])
    weights = shares * np.array([np.prod(1 - shares[step:]) for step in range(1, steps + 1)])
    assert weights.sum() == pytest.approx(1)
    expected_density = (np.arange(1, steps + 1) / steps) ** exponent_of(width)
    assert np.abs(np.cumsum(weights) - np.cumsum(expected_density) / expected_density.sum()).max() < 0.1
    found = averages.weights()[average_name(width)]
    for name, array in found.items():
        assert array == pytest.approx(sum(weight * arrays[name].astype(float) for weight, arrays in zip(weights, seen, strict=True)), abs=1e-5)


def test_the_first_step_is_the_weights_themselves_and_they_are_left_alone() -> None:
    painter = pico()
    averages = Averages(painter, WIDTHS)
    load_arrays(painter, {name: array + 1 for name, array in state_arrays(painter).items()}, origin="test")
    before = state_arrays(painter)
    averages.follow(1)
    assert all((array == before[name]).all() for arrays in averages.weights().values() for name, array in arrays.items())
    averages.follow(2)
    assert all((array == before[name]).all() for name, array in state_arrays(painter).items())


def test_they_go_on_from_what_was_written_down() -> None:
    one, other = Averages(pico(), WIDTHS), Averages(pico(), WIDTHS[:2])
    painter = one._network
    load_arrays(painter, {name: array + 1 for name, array in state_arrays(painter).items()}, origin="test")
    one.follow(3)
    other.load(one.arrays(), origin="test")
    assert all((array == one.arrays()[name]).all() for name, array in other.arrays().items())
    one.load(other.arrays(), origin="test")  # the third begins at the network
    assert all((array == state_arrays(painter)[name]).all() for name, array in one.weights()["ema0.25"].items())
    with pytest.raises(WeightsError, match="width 8, expected 4"):
        Averages(pico(), WIDTHS).load(Averages(pico(8), WIDTHS).arrays(), origin="test")


def test_no_average_costs_nothing() -> None:
    averages = Averages(pico(), ())
    averages.follow(1)
    assert averages.arrays() == {}


def test_an_average_is_drawn_with_a_norm_of_its_own() -> None:
    """The average of the vectors of spectral normalisation is not those of the average."""
    config = Config(
        data=DataConfig(classes=("a", "b"), width=16, height=8, load_width=16),
        model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, spectral_norm=True),
    )
    painter = build_painter(config, seed=0)
    averages = Averages(painter, [0.1])
    for step in range(1, 6):
        load_arrays(painter, state_arrays(build_painter(config, seed=step)), origin="test")
        averages.follow(step)
    found = averages.weights()["ema0.1"]
    names = [name for name in found if f"{name}_u" in found]
    assert names
    for name in names:
        matrix = found[name].reshape(len(found[name]), -1)
        assert found[f"{name}_u"] @ matrix @ found[f"{name}_v"] == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0], rel=1e-4)
    raw = averages.arrays()  # to go on from, it is as it is
    assert any(not np.array_equal(raw[f"ema0.1.{name}_u"], found[f"{name}_u"]) for name in names)


def test_a_name_says_which_average_it_is() -> None:
    assert parse_average(f"299-{average_name(0.05)}") == (299, 0.05)
