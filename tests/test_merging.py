"""Merging, against sums by hand and numpy's singular values."""

import numpy as np
import pytest

from apfgan.errors import WeightsError
from apfgan.spectral import find_vectors, normalised_weights, singular_vectors
from selection.merging import average


def weights(seed: int) -> dict[str, np.ndarray]:
    source = np.random.default_rng(seed)
    return {
        "a": source.normal(size=(3, 4)).astype(np.float32),
        "b": source.normal(size=5).astype(np.float32),
        "steps": np.array(seed, dtype=np.int64),
    }


def normalised(weight: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {"conv.weight": weight.astype(np.float32)}
    return arrays | find_vectors(arrays, ["conv.weight"])


def norm(arrays: dict[str, np.ndarray]) -> float:
    """By what spectral normalisation divides: u'Wv."""
    weight = arrays["conv.weight"]
    return float(arrays["conv.weight_u"] @ weight.reshape(len(weight), -1) @ arrays["conv.weight_v"])


def true_norm(weight: np.ndarray) -> float:
    return float(np.linalg.svd(weight.reshape(len(weight), -1).astype(np.float64), compute_uv=False)[0])


def of_spectrum(source: np.random.Generator, rows: int, columns: int, singular_values: np.ndarray) -> np.ndarray:
    left = np.linalg.qr(source.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(source.normal(size=(columns, rows)))[0]
    return (left * singular_values) @ right.T


def test_a_checkpoint_with_itself_is_itself():
    one = weights(1) | normalised(np.random.default_rng(2).normal(size=(4, 3, 3, 3)))
    one["b"][0] = -0.0
    one["conv.weight_u"] *= -1  # not what would be found
    for count in (2, 3, 7):
        merged = average([one] * count, [1 / count] * count, names=["1"] * count)
        assert merged.keys() == one.keys()
        for name, array in one.items():
            assert merged[name].tobytes() == array.tobytes() and merged[name].dtype == array.dtype


def test_shares_weigh():
    merged = average([weights(1), weights(2)], [0.25, 0.75], names=["1", "2"])
    np.testing.assert_allclose(merged["b"], 0.25 * weights(1)["b"] + 0.75 * weights(2)["b"], rtol=1e-6)


def test_accumulates_in_float64():
    small, large = {"a": np.array([1], dtype=np.float32)}, {"a": np.array([1e8], dtype=np.float32)}
    merged = average([large, small, {"a": -large["a"]}], [0.25, 0.5, 0.25], names=list("abc"))
    assert merged["a"][0] == 0.5  # float32 would lose the small term


def test_counters_take_the_largest():
    assert average([weights(3), weights(9), weights(5)], [0.5, 0.25, 0.25], names=["3", "9", "5"])["steps"] == 9


def test_a_variance_stays_one_under_negative_shares():
    ones, others = ({f"norm.running_{kind}": np.array([value, 2.0], dtype=np.float32) for kind in ("mean", "var")} for value in (0.1, 1.0))
    merged = average([ones, others], [2.0, -1.0], names=["1", "2"])
    assert merged["norm.running_var"].tolist() == [0.0, 2.0]
    assert merged["norm.running_mean"].tolist() == pytest.approx([-0.8, 2.0])


def test_differing_checkpoints_are_refused_with_names():
    other = weights(2)
    other["c"] = other.pop("b")
    with pytest.raises(WeightsError, match="299 cannot be merged with 273: only one of them has b, c"):
        average([weights(1), other], [0.5, 0.5], names=["273", "299"])
    many = weights(1) | {f"x{number}": np.zeros(1) for number in range(9)}
    with pytest.raises(WeightsError, match="has x0, x1, x2, x3, x4 and 4 more"):
        average([weights(1), many], [0.5, 0.5], names=["273", "299"])
    with pytest.raises(WeightsError, match=r"299 cannot be merged with 273: a is \(4, 3\) in one and \(3, 4\) in the other"):
        average([weights(1), weights(2) | {"a": weights(2)["a"].T}], [0.5, 0.5], names=["273", "299"])


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (64, 32, 3, 3), (32, 64, 1, 1), (128, 64, 3, 3), (3, 1, 1, 1), (1, 5, 3, 3)])
def test_a_merged_weight_has_its_own_norm(shape: tuple[int, int, int, int]) -> None:
    source = np.random.default_rng(0)
    for shares in ([0.5, 0.5], [0.9, 0.1], [2.0, -1.0]):
        ones, others = normalised(source.normal(size=shape)), normalised(source.normal(size=shape))
        merged = average([ones, others], shares, names=["1", "2"])
        assert norm(merged) == pytest.approx(true_norm(merged["conv.weight"]), rel=1e-5)
        for side in "uv":
            vector = merged[f"conv.weight_{side}"]
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
            assert vector.dtype == np.float32 and vector.shape == ones[f"conv.weight_{side}"].shape


@pytest.mark.parametrize(
    "spectrum",
    {
        "as trained": np.arange(1, 65) ** -0.5,
        "close": np.concatenate([1 + 1e-4 * np.arange(8), np.full(56, 0.9)]),
        "equal": np.ones(64),
        "one": np.eye(64)[0],
        "tiny": 1e-6 * np.arange(1, 65) ** -1.0,
    }.items(),
    ids=lambda named: named[0],
)
def test_norms_of_all_kinds_of_spectra(spectrum: tuple[str, np.ndarray]) -> None:
    source = np.random.default_rng(1)
    for _ in range(5):
        base = of_spectrum(source, 64, 288, spectrum[1])
        noise = [0.02 * spectrum[1].max() * source.normal(size=base.shape) / 17 for _ in range(2)]
        ones, others = (normalised((base + each).reshape(64, 32, 3, 3)) for each in noise)
        merged = average([ones, others], [0.5, 0.5], names=["1", "2"])
        assert norm(merged) == pytest.approx(true_norm(merged["conv.weight"]), rel=1e-4)


def test_the_vectors_of_neither_member_are_a_start_for_the_merge() -> None:
    """The first's are singular vectors of the mean, too, but of the smaller value: power iteration from there would never leave them."""
    ones, others = (normalised(np.diag(diagonal).reshape(2, 2, 1, 1)) for diagonal in ([5.0, 4.0], [1.0, 9.0]))
    assert norm(average([ones, others], [0.5, 0.5], names=["1", "2"])) == pytest.approx(6.5)


def test_the_mean_of_vectors_would_be_wrong() -> None:
    """What the mean of everything gives, as the original program's: this is what must not happen."""
    source = np.random.default_rng(3)
    ones, others = (normalised(source.normal(size=(32, 16, 3, 3))) for _ in range(2))
    naive = {name: (ones[name] + others[name]) / 2 for name in ones}
    assert abs(norm(naive)) < 0.8 * true_norm(naive["conv.weight"])


def test_a_weight_of_zeros_has_vectors_too() -> None:
    left, right = singular_vectors(np.zeros((4, 2, 3, 3), dtype=np.float32))
    assert np.isfinite(left).all() and np.isfinite(right).all()
    assert normalised_weights(["a.weight", "b.weight", "b.weight_u", "b.weight_v", "c.bias"]) == ["b.weight"]
