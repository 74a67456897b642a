import numpy as np
import pytest

from apfgan.errors import WeightsError
from selection.merging import average


def weights(seed: int) -> dict[str, np.ndarray]:
    source = np.random.default_rng(seed)
    return {
        "a": source.normal(size=(3, 4)).astype(np.float32),
        "b": source.normal(size=5).astype(np.float32),
        "steps": np.array(seed, dtype=np.int64),
    }


def test_a_checkpoint_with_itself_is_itself():
    one = weights(1)
    for count in (2, 3, 7):
        merged = average([one] * count, [1 / count] * count, names=["1"] * count)
        for name, array in one.items():
            np.testing.assert_array_equal(merged[name], array)
            assert merged[name].dtype == array.dtype


def test_shares_weigh():
    merged = average([weights(1), weights(2)], [0.25, 0.75], names=["1", "2"])
    np.testing.assert_allclose(merged["b"], 0.25 * weights(1)["b"] + 0.75 * weights(2)["b"], rtol=1e-6)


def test_accumulates_in_float64():
    small, large = {"a": np.array([1], dtype=np.float32)}, {"a": np.array([1e8], dtype=np.float32)}
    merged = average([large, small, {"a": -large["a"]}], [0.25, 0.5, 0.25], names=list("abc"))
    assert merged["a"][0] == 0.5  # float32 would lose the small term


def test_counters_take_the_largest():
    assert average([weights(3), weights(9)], [0.5, 0.5], names=["3", "9"])["steps"] == 9


def test_differing_checkpoints_are_refused_with_names():
    other = weights(2)
    other["c"] = other.pop("b")
    other["a"] = other["a"].T
    with pytest.raises(WeightsError, match=r"299 cannot be merged with 273.*b is missing.*c is missing.*a is \(3, 4\) in one and \(4, 3\)"):
        average([weights(1), other], [0.5, 0.5], names=["273", "299"])
