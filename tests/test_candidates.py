import math

import numpy as np
import pytest

from apfgan.candidates import Candidate, describe_epochs, epoch_order, select_candidates
from apfgan.errors import UsageError
from apfgan.records import Estimate


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("299", "299"),
        (" 0299 ", "299"),
        ("epoch_0299", "299"),
        ("best", "best"),
        ("v1.5-final_b", "v1.5-final_b"),
        ("avg_299_273", "avg_273_299"),
        ("avg_9_10_best", "avg_9_10_best"),
        ("avg_273", "273"),
        ("0.6*299+0.4*273", "0.4*273+0.6*299"),
        ("0.4 * 273 + 0.6 * 299@7", "0.4*273+0.6*299@7"),
        ("0.5*299+0.5*273", "avg_273_299"),
        (".25*1+3/4*2", "0.25*1+0.75*2"),
        ("1/3*1+1/3*2+1/3*3", "avg_1_2_3"),
        ("0.333333*1+0.333333*2+0.333334*3", "avg_1_2_3"),
        ("0.333333*1+0.333333*2+0.333333*3", "avg_1_2_3"),
        ("0.333333*1+0.333332*2+0.333335*3", "0.333333*1+0.333332*2+0.333335*3"),
        ("0.500001*1+0.499999*2", "0.500001*1+0.499999*2"),
        ("1e-6*3+0.999999*4", "1e-06*3+0.999999*4"),
        ("0*1+1*2", "2"),
        ("1e-9*1+0.4*2+0.6*3", "0.4*2+0.6*3"),
        ("1/2*a_b+1/2*c", "0.5*a_b+0.5*c"),
        ("299@0", "299"),
        ("299@007", "299@7"),
        ("avg_273_299@2433", "avg_273_299@2433"),
        (f"299@{2**63 - 1}", f"299@{2**63 - 1}"),
    ],
)
def test_candidate_has_one_spelling(text, name):
    candidate = Candidate.parse(text)
    assert str(candidate) == name
    assert Candidate.parse(name) == candidate
    assert math.isclose(sum(candidate.shares), 1, abs_tol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "@", "@7", "a b", "../x", "a/b", "-1", ".hidden", "=cmd()", "a\nb", "ü", "²", "x" * 65),
        *("all", "last10", "270-310", "9" * 5000),
        *("avg_", "avg_273_", "avg_a__b", "avg_273_273", "avg_299_0299"),
        *("273+299", "0.4*273+299", "*", "+", "0.4*", "*273", "0.4*273*2+0.6*1", "x*273+1*2", "0.5.5*1+.5*2", "1/0*1+1*2"),
        *("2*273+1*299", "0.4*273+0.5*299", "-0.5*273+1.5*299", "nan*1+1*2", "inf*1+1*2", "1e400*1+1*2", "1e999999999*1+1*2", "0*1+0*2", "1*1+1*1"),
        *("299@", "299@x", "299@-1", "299@1.5", "299@1@2", "299@²", f"299@{2**63}", "299@" + "9" * 5000),
    ],
)
def test_what_names_no_candidate_is_refused(text):
    with pytest.raises(UsageError):
        Candidate.parse(text)


@pytest.mark.parametrize("weights", [(0.4, 0.5), (math.nan, 1.0), (math.inf, 0.0), (-0.5, 1.5), (1.0,), (0.0, 0.0)])
def test_weights_that_are_no_shares_are_refused(weights):
    with pytest.raises(UsageError):
        Candidate(("273", "299"), weights)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(UsageError, match="seed"):
        Candidate(("299",), seed=seed)


def test_weights_that_do_not_add_up_are_explained():
    with pytest.raises(UsageError, match=r"2, 1 add up to 3.*2/3\*273"):
        Candidate.parse("2*273+1*299")


def test_any_candidate_comes_back_from_its_text():
    draw = np.random.default_rng(0)
    names = [str(epoch) for epoch in range(1, 400)] + ["best", "v1.5", "a_b", "avg2", "e-1", "merged_final"]
    for _ in range(3000):
        count = int(draw.integers(1, 40))
        members = tuple(str(name) for name in draw.choice(names, size=count, replace=False))
        weights = None if draw.random() < 0.3 else tuple(draw.dirichlet(np.full(count, 10.0 ** draw.uniform(-2, 2))).tolist())
        candidate = Candidate(members, weights, seed=int(draw.integers(0, 2**63)) if draw.random() < 0.5 else 0)

        assert Candidate.parse(str(candidate)) == candidate
        assert Candidate(candidate.members, candidate.weights, candidate.seed) == candidate
        assert Candidate.parse(candidate.base).with_seed(candidate.seed) == candidate
        assert list(candidate.members) == sorted(candidate.members, key=epoch_order)
        assert math.isclose(math.fsum(candidate.shares), 1, abs_tol=1e-12)
        assert min(candidate.shares) > 0
        if weights is not None:
            given = dict(zip(members, weights, strict=True))
            shares = dict(zip(candidate.members, candidate.shares, strict=True))
            assert max(abs(shares.get(name, 0) - weight) for name, weight in given.items()) < 2e-6

        order = draw.permutation(count)
        shuffled = Candidate(tuple(members[i] for i in order), weights and tuple(weights[i] for i in order), candidate.seed)
        assert shuffled == candidate and hash(shuffled) == hash(candidate)


def test_different_candidates_have_different_texts():
    draw = np.random.default_rng(1)
    found: dict[str, Candidate] = {}
    for _ in range(3000):
        members = tuple(str(name) for name in draw.choice(["1", "2", "11", "12", "a_b", "a", "b"], size=draw.integers(1, 4), replace=False))
        weights = None if draw.random() < 0.5 else tuple((draw.multinomial(10, np.full(len(members), 1 / len(members))) / 10).tolist())
        candidate = Candidate(members, weights, int(draw.integers(0, 3)))
        assert found.setdefault(str(candidate), candidate) == candidate
    assert len(found) == len(set(found.values())) > 100


def test_candidate_tells_what_it_is_made_of():
    merge = Candidate.parse("0.25*1+0.75*2@3")
    assert (merge.members, merge.shares, merge.seed, merge.base, merge.is_merge) == (("1", "2"), (0.25, 0.75), 3, "0.25*1+0.75*2", True)
    assert Candidate.parse("avg_1_2_3_4").shares == (0.25,) * 4
    single = Candidate.parse("7")
    assert (single.shares, single.is_merge, str(single.with_seed(5))) == ((1.0,), False, "7@5")


@pytest.mark.parametrize("numbers", [(math.nan,), (math.inf,), (1.0, math.nan), (1.0, math.inf), (1.0, -0.1)])
def test_estimates_are_finite(numbers):
    with pytest.raises(ValueError):
        Estimate(*numbers)


SAVED = ["10", "9", "270", "271", "272", "273", "best", "avg_270_271"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("270-273", "270 271 272 273"),
        ("270-273:2", "270 272"),
        ("273,9, 10 ,", "273 9 10"),
        ("9,9,0009,9-10", "9 10"),
        ("last2", "272 273"),
        ("last100", "9 10 270 271 272 273"),
        ("all", "9 10 270 271 272 273 avg_270_271 best"),
        ("avg_270_271@7,0.4*9+0.6*best", "avg_270_271@7 0.4*9+0.6*best"),
        ("best,270@3", "best 270@3"),
    ],
)
def test_selection(text, expected):
    assert [str(candidate) for candidate in select_candidates(text, SAVED)] == expected.split()


def test_merge_is_at_hand_by_its_own_file_or_by_its_members():
    assert [str(each) for each in select_candidates("avg_1_2,avg_3_4", ["avg_1_2", "3", "4"])] == ["avg_1_2", "avg_3_4"]
    with pytest.raises(UsageError, match="no checkpoint for 2; saved: 1"):
        select_candidates("avg_1_2", ["1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("270-275", "no checkpoint for 274-275; saved: 9-10, 270-273, avg_270_271, best"),
        ("5,avg_270_274", "no checkpoint for 5, 274; saved: 9-10, 270-273"),
        ("worst", "no checkpoint for worst; saved: 9-10"),
        ("273-270", "the range 273-270 is empty"),
        ("270-273:0", "the range 270-273:0 is empty"),
        ("1-999999999", "names 999999999 epochs; saved: 9-10"),
        ("last0", "'last0' selects nothing; saved: 9-10"),
        (" , ", "selects nothing; saved: 9-10"),
        ("270..273", r"no checkpoint for 270..273; saved"),
        ("270;273", "names no checkpoint"),
    ],
)
def test_selection_that_cannot_be_met_lists_what_is_there(text, message):
    with pytest.raises(UsageError, match=message):
        select_candidates(text, SAVED)


@pytest.mark.parametrize("text", ["all", "last3", "1"])
def test_selection_from_nothing_says_how_to_make_checkpoints(text):
    with pytest.raises(UsageError, match=r"none yet \(apfgan train makes them\)"):
        select_candidates(text, [])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["7"], "7"),
        (["3", "1", "2", "2"], "1-3"),
        (["9", "10", "12", "best", "a"], "9-10, 12, a, best"),
        ([str(2 * number) for number in range(22)], ", ".join(str(2 * number) for number in range(20)) + ", and 2 more"),
    ],
)
def test_epochs_are_described_as_ranges(names, text):
    assert describe_epochs(names) == text


def test_epochs_are_ordered_as_numbers():
    assert sorted(["10", "b", "9", "a", "²"], key=epoch_order) == ["9", "10", "a", "b", "²"]


def test_averages_are_chosen_by_a_word_of_their_own():
    names = ["0", "299", "300", "300-ema0.05", "300-ema0.1", "merged-273-299"]
    assert [str(each) for each in select_candidates("all", names)] == ["0", "299", "300", "merged-273-299"]
    assert [str(each) for each in select_candidates("ema", names)] == ["300-ema0.05", "300-ema0.1"]
    assert [str(each) for each in select_candidates("299,300-ema0.1", names)] == ["299", "300-ema0.1"]
    assert [str(each) for each in select_candidates("last2", names)] == ["299", "300"]
    with pytest.raises(UsageError, match="'ema' selects nothing"):
        select_candidates("ema", names[:3])
