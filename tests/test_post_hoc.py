"""Averages after the fact, against quadrature and against averages that were really tracked."""

import numpy as np
import pytest
from scipy.integrate import quad

from apfgan.ema import exponent_of, share_at
from apfgan.errors import WeightsError
from selection.post_hoc import POOR, Profile, inner_products, rebuild, widths_at_hand


def density(profile: Profile, time: np.ndarray | float) -> np.ndarray | float:
    """The profile itself, whose integral is 1."""
    exponent = exponent_of(profile.width)
    return np.where(np.asarray(time) <= profile.step, (exponent + 1) / profile.step * (time / profile.step) ** exponent, 0.0)


def kept(last: int, every: int, widths: tuple[float, ...] = (0.05, 0.1), first: int = 0) -> list[Profile]:
    return [Profile(width, step) for step in range(first or every, last + 1, every) for width in widths]


def distance(stored: list[Profile], shares: np.ndarray, wanted: Profile) -> float:
    """How far the combined profile is from the wanted one, relative to its norm, by brute force."""
    times = (np.arange(200_000) + 0.5) / 200_000 * wanted.step
    combined = sum(share * density(profile, times) for share, profile in zip(shares, stored, strict=True) if share)
    return float(np.linalg.norm(combined - density(wanted, times)) / np.linalg.norm(density(wanted, times)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Profile(0.05, 100), Profile(0.05, 100)),
        (Profile(0.05, 100), Profile(0.1, 100)),
        (Profile(0.1, 60), Profile(0.25, 100)),
        (Profile(0.2, 100), Profile(0.01, 70)),
        (Profile(0.28, 1), Profile(0.003, 2)),
    ],
)
def test_inner_products_are_integrals(one: Profile, other: Profile) -> None:
    end = min(one.step, other.step)
    expected, _ = quad(lambda time: float(density(one, time) * density(other, time)), 0, end, epsabs=0, epsrel=1e-10, limit=500)
    assert inner_products([one], [other])[0, 0] == pytest.approx(expected, rel=1e-7)


def test_inner_products_of_a_long_training_are_finite() -> None:
    profiles = [Profile(0.001, 10_000_000), Profile(0.28, 1), Profile(0.05, 5_000_000)]
    products = inner_products(profiles, profiles)
    assert np.isfinite(products).all() and np.array_equal(products, products.T) and (np.diag(products) > 0).all()


@pytest.mark.parametrize("wanted", [Profile(0.05, 300), Profile(0.1, 300), Profile(0.1, 240)])
def test_a_stored_average_is_itself(wanted: Profile) -> None:
    stored = kept(wanted.step, 10)
    shares = rebuild(stored, wanted)
    assert shares[stored.index(wanted)] == 1 and np.count_nonzero(shares) == 1


@pytest.mark.parametrize("width", [0.015, 0.03, 0.07, 0.12, 0.18])
def test_few_stored_averages_make_a_profile_of_another_width(width: float) -> None:
    stored, wanted = kept(3000, 10), Profile(width, 3000)
    shares = rebuild(stored, wanted)
    assert shares.sum() == pytest.approx(1, abs=1e-12)
    assert np.count_nonzero(shares) < 60 < len(stored)
    assert distance(stored, shares, wanted) < 0.0101


@pytest.mark.parametrize("every", [20, 50, 100, 300])
@pytest.mark.parametrize("width", [0.04, 0.07, 0.11])
def test_no_shares_come_much_nearer(every: int, width: float) -> None:
    """Than those that numpy finds for the profiles at many times."""
    stored, wanted = kept(300, every), Profile(width, 300)
    times = (np.arange(30_000) + 0.5) / 100
    columns = np.stack([density(profile, times) for profile in stored], axis=1)
    # One share is what the others leave of 1.
    free = np.linalg.lstsq(columns[:, 1:] - columns[:, :1], density(wanted, times) - columns[:, 0], rcond=None)[0]
    best = distance(stored, np.array([1 - free.sum(), *free]), wanted)
    assert distance(stored, rebuild(stored, wanted), wanted) <= max(0.01, 1.1 * best) + 1e-3


@pytest.mark.parametrize("width", [0.02, 0.03, 0.07, 0.15])
def test_a_rebuilt_average_is_the_one_that_would_have_been_tracked(width: float) -> None:
    """Within what the error of its profile allows (Cauchy and Schwarz): exact but for that, however the weights move."""
    steps, every = 1200, 12
    source = np.random.default_rng(1)
    weights = np.cumsum(source.normal(size=(steps, 5)), axis=0) * [1, 1, 0, 10, 1] + np.linspace(0, 50, steps)[:, None]
    widths = (0.05, 0.1, width)
    averages = np.zeros((len(widths), 5))
    stored, kept_weights = [], []
    for step in range(1, steps + 1):
        for index, each in enumerate(widths):
            averages[index] += share_at(step, exponent_of(each)) * (weights[step - 1] - averages[index])
        if step % every == 0:
            stored += [Profile(each, step) for each in widths[:2]]
            kept_weights += [averages[0].copy(), averages[1].copy()]
    wanted = Profile(width, steps)
    shares = rebuild(stored, wanted)
    error = shares @ np.array(kept_weights) - averages[2]
    # The integral of (combined - wanted profile) times the weights less any constant, since both profiles integrate to 1.
    norm = np.sqrt(inner_products([wanted], [wanted])[0, 0])
    allowed = (distance(stored, shares, wanted) + 1e-4) * norm * np.linalg.norm(weights - averages[2], axis=0)
    assert (np.abs(error) <= allowed).all()
    spread = np.ptp(weights, axis=0)
    assert (np.abs(error) < 0.01 * spread).all()
    if width not in (0.07,):  # between the two that were kept, either is near
        assert all((np.abs(kept_weights[index] - averages[2]) > 3 * np.abs(error)).all() for index in (-1, -2))


def test_what_cannot_be_had_is_refused_with_what_can() -> None:
    stored = kept(300, 300)
    with pytest.raises(WeightsError, match=r"width 0.2 up to step 300 cannot be rebuilt from the 2 .* off by 60%; those from 0.037 to 0.123 can"):
        rebuild(stored, Profile(0.2, 300))
    rebuild(stored, Profile(0.037, 300))
    rebuild(stored, Profile(0.123, 300))
    with pytest.raises(WeightsError, match="no other can, either"):  # all of them end long before
        rebuild(kept(100, 50), Profile(0.05, 300))


def test_the_widths_at_hand_are_those_that_can_be_rebuilt() -> None:
    stored = kept(300, 20, first=200)
    found = widths_at_hand(stored, 300)
    assert {0.05, 0.1} <= set(found)
    for width in (0.01, 0.02, 0.05, 0.14, 0.2):
        if width in found:
            assert distance(stored, rebuild(stored, Profile(width, 300)), Profile(width, 300)) <= POOR + 1e-3
        else:
            with pytest.raises(WeightsError):
                rebuild(stored, Profile(width, 300))


def test_averages_of_every_epoch_are_no_trouble() -> None:
    """Hundreds of nearly dependent profiles of three widths."""
    stored, wanted = kept(400_000, 1000, widths=(0.05, 0.06, 0.1)), Profile(0.03, 400_000)
    shares = rebuild(stored, wanted)
    assert np.count_nonzero(shares) < 20 and distance(stored, shares, wanted) < 0.02
