import numpy as np
import pytest

from apfgan.measured import Measured


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_paired_differences(random) -> None:
    base = random.normal(size=50)
    one, other = Measured.mean(base), Measured.mean(base + 0.3 + 0.01 * random.normal(size=50))
    difference = other.minus(one)
    assert difference.value == pytest.approx(0.3, abs=0.01)
    assert difference.error is not None
    assert difference.error < 0.003
    with pytest.raises(ValueError, match="same images"):
        one.minus(Measured.mean(base[:10]))


def test_one_image_has_no_error() -> None:
    assert Measured.mean(np.array([0.5])).estimate.error is None
    assert Measured.mean(np.array([0.5, np.nan])).estimate.error is None


def test_the_average_of_several_draws_is_measured_as_their_mean_image_by_image(random) -> None:
    draws = random.normal(size=(3, 50))
    average, mean = Measured.average([Measured.mean(draw) for draw in draws]), Measured.mean(draws.mean(axis=0))
    assert average.value == pytest.approx(mean.value) and average.images == 50
    assert average.influence == pytest.approx(mean.influence)
    assert average.estimate.error == pytest.approx(mean.estimate.error)
