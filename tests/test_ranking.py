import math

import numpy as np
import pytest

from apfgan.errors import UsageError
from apfgan.measured import Measured
from apfgan.noise import QUANTILE
from apfgan.ranking import (
    Entry,
    better,
    comparable,
    foresee,
    gap,
    parts_of,
    protocol_of,
    rank,
    rank_measurements,
    variant_notes,
)
from apfgan.records import Estimate, Measurement
from apfgan.runs import Influences


def entry(name: str, composite: float, error: float | None = None, **metrics: float) -> Entry:
    return Entry(name, {"composite": Estimate(composite, error), **{metric: Estimate(value) for metric, value in metrics.items()}})


def sampled(source: np.random.Generator, name: str, truths: dict[str, float], *, difficulty: np.ndarray) -> Entry:
    """A candidate measured image by image; what is hard about an image is hard for all."""
    measured = {
        metric: Measured.mean(truth + 0.3 * better(metric) * difficulty + source.normal(0, 0.1, len(difficulty))) for metric, truth in truths.items()
    }
    return Entry(name, {metric: each.estimate for metric, each in measured.items()}, measured)


def measurement(
    candidate: str,
    composite: float,
    *,
    key: str = "",
    protocol: dict | None = None,
    images: int = 8,
    part: tuple[int, int] | None = None,
) -> Measurement:
    return Measurement(
        key=key or candidate,
        candidate=candidate,
        seed=0,
        images=images,
        metrics={"mask_accuracy": Estimate(0.5, 0.01), "aesthetic": Estimate(5), "fid": Estimate(30)},
        composite=Estimate(composite, 0.01),
        formula="A",
        protocol=protocol or {"judges": "x"},
        observations="",
        seconds=1,
        device="cpu",
        versions={},
        part=part,
    )


def test_numbers_are_ordered_as_numbers():
    places = rank([Entry(name, {"fid": Estimate(value)}) for name, value in (("a", 100.2), ("b", 33.1), ("c", 9.8))], by="fid")
    assert [place.entry.name for place in places] == ["c", "b", "a"]  # sorted as text, 100.2 would come first


def test_higher_is_better_for_the_composite():
    assert [place.entry.name for place in rank([entry("1", 0.3), entry("2", 0.5), entry("3", 0.4)])] == ["2", "3", "1"]


def test_equal_scores_go_to_the_better_mask_then_to_the_later_epoch():
    entries = [entry("9", 0.5, mask_accuracy=0.8), entry("10", 0.5, mask_accuracy=0.8), entry("8", 0.5, mask_accuracy=0.9)]
    assert [place.entry.name for place in rank(entries)] == ["8", "10", "9"]


@pytest.mark.parametrize("gap, tied", [(1.9, True), (2.0, False)])
def test_a_tie_ends_where_the_difference_leaves_its_interval(gap, tied):
    error = 0.01
    places = rank([entry("1", 0.5, error), entry("2", 0.5 - gap * error * math.sqrt(2), error)])
    assert places[1].tied is tied


def test_false_alarms_are_as_rare_as_promised():
    source = np.random.default_rng(0)
    pairs = source.normal(0.5, 0.01, size=(4000, 2))
    told_apart = [not rank([entry("1", a, 0.01), entry("2", b, 0.01)])[1].tied for a, b in pairs]
    assert np.mean(told_apart) == pytest.approx(0.05, abs=0.012)


def test_pairing_tells_apart_what_unpaired_errors_cannot():
    """Two candidates that share what is hard about each image."""
    source = np.random.default_rng(0)
    shared = source.normal(0.5, 0.2, 200)
    one, other = (Measured.mean(shared + gain + 0.01 * source.normal(size=200)) for gain in (0.01, 0))
    paired = [Entry(name, {"composite": each.estimate}, {"composite": each}) for name, each in (("1", one), ("2", other))]
    assert not rank(paired)[1].tied
    assert rank([Entry(each.name, each.metrics) for each in paired])[1].tied
    assert gap(*paired).error == one.minus(other).error


def test_influences_are_found_by_the_measurement(tmp_path):
    influences = Influences(tmp_path)
    line = measurement("1", 0.5)
    measured = {name: Measured(each.value, np.array([0.1, -0.3, 0.2]), 3) for name, each in {**line.metrics, "composite": line.composite}.items()}
    assert influences.read(line) == {}
    influences.write(line.key, ["a", "b", "c"], measured)
    found = influences.read(line)
    assert {name: (each.value, each.influence.tolist(), each.images) for name, each in found.items()} == {
        name: (each.value, [0.1, -0.3, 0.2], 3) for name, each in measured.items()
    }
    (tmp_path / f"{line.key}.npz").write_bytes(b"damaged")
    assert influences.read(line) == {}


def test_families_of_metrics_know_their_direction():
    assert [better(name) for name in ("fid", "fid-clean", "fd-dinov2", "kid-embedded", "precision-clean", "mean_iou")] == [-1, -1, -1, -1, 1, 1]
    assert parts_of(["mask_accuracy", "aesthetic", "fid-clean", "mean_iou", "kid-clean", "fd-dinov2"]) == ("mask_accuracy", "aesthetic", "fid-clean")


def test_without_errors_only_equals_are_tied():
    assert [place.tied for place in rank([entry("1", 0.5), entry("2", 0.5), entry("3", 0.49)])] == [True, True, False]


def test_interval_is_the_normal_one():
    assert pytest.approx(1.959964, abs=1e-6) == QUANTILE
    low, high = rank([entry("1", 0.5, 0.01)])[0].interval
    assert (low, high) == pytest.approx((0.5 - 0.01959964, 0.5 + 0.01959964))


def test_rank_intervals_hold_all_true_ranks_at_once():
    """In at least 95 % of all rankings, and they are not as wide as the ranking."""
    source = np.random.default_rng(0)
    held, widths = [], []
    for _ in range(200):
        truths = dict(zip(map(str, range(12)), source.normal(0, 0.08, 12), strict=True))
        difficulty = source.normal(size=100)
        places = rank([sampled(source, name, {"composite": truth}, difficulty=difficulty) for name, truth in truths.items()])
        true_rank = {name: 1 + sum(each > truth for each in truths.values()) for name, truth in truths.items()}
        held.append(all(place.rank_interval[0] <= true_rank[place.entry.name] <= place.rank_interval[1] for place in places))
        widths += [last - first for first, last in (place.rank_interval for place in places)]
    assert np.mean(held) >= 0.95
    assert np.mean(widths) < 6


def test_rank_interval_counts_those_that_are_told_apart():
    places = rank([entry("1", 0.9, 0.01), entry("2", 0.89, 0.01), entry("3", 0.5, 0.01), entry("4", 0.1, 0.01)])
    assert [place.rank_interval for place in places] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert [place.tied for place in places] == [True, True, False, False]
    assert places[2].apart == {1, 2, 4}
    assert [place.rank_interval for place in rank([entry("1", 0.9, 0.01), entry("2", 0.5)])] == [None, None]
    assert rank([]) == []


def test_outlook_is_that_of_the_deciding_number_in_its_direction():
    source = np.random.default_rng(0)
    difficulty = source.normal(size=200)
    truths = {"1": (0.5, 20.0), "2": (0.5, 20.0), "3": (0.8, 40.0), "4": (0.4, 60.0)}
    entries = [
        sampled(source, name, {"composite": score, "mask_accuracy": score, "aesthetic": 5.0, "fid": fid}, difficulty=difficulty)
        for name, (score, fid) in truths.items()
    ]
    for by, contenders in (("composite", {"3"}), ("fid", {"1", "2"})):
        places = rank(entries, by=by)
        outlook = foresee(places, by=by)
        chances = {place.entry.name: standing.probability_best for place, standing in zip(places, outlook.standings, strict=True)}
        assert sum(chances.values()) == pytest.approx(1)
        assert {name for name, chance in chances.items() if chance > 0} == contenders
        assert outlook.tried == 4 and outlook.expected.error == places[0].value.error
        luck = better(by) * (places[0].value.value - outlook.expected.value)
        assert luck == 0 if len(contenders) == 1 else luck > 0
        front = {place.entry.name for place, standing in zip(places, outlook.standings, strict=True) if standing.pareto}
        assert "3" in front and front & {"1", "2"} and "4" not in front
        assert all(standing.probability_pareto > 0.99 for place, standing in zip(places, outlook.standings, strict=True) if place.entry.name == "3")


def test_nothing_is_foreseen_without_errors_but_the_front():
    table = [entry("1", 0.5, mask_accuracy=0.9, fid=30.0), entry("2", 0.4, mask_accuracy=0.8, fid=20.0), entry("3", 0.3, mask_accuracy=0.8, fid=25.0)]
    outlook = foresee(rank(table))
    assert outlook.expected is None and outlook.tried == 3
    assert [standing.probability_best for standing in outlook.standings] == [None] * 3
    assert [(standing.pareto, standing.probability_pareto) for standing in outlook.standings] == [(True, None), (True, None), (False, None)]
    assert [standing.pareto for standing in foresee(rank([entry("1", 0.5), entry("2", 0.4)])).standings] == [None, None]


def test_what_is_done_to_images_is_said():
    assert variant_notes(["299", "avg_273_299@7", "299~ema0.05", "my own images~photos"]) == []
    assert [note.partition(":")[0] for note in variant_notes(["299~photos@7", "299~q90-444"])] == ["~photos", "~q"]


def test_parts_of_the_label_maps_are_never_ranked():
    found = [measurement("1", 0.5), measurement("2", 0.9, part=(0, 4)), measurement("3", 0.9, protocol={"judges": "y"}, part=(0, 4))]
    assert comparable(found) == found[:1]
    assert comparable(found[1:]) == []


def test_an_unmeasured_metric_is_named():
    with pytest.raises(UsageError, match="fid was not measured for 2"):
        rank([entry("1", 0.5, fid=3.0), entry("2", 0.5)], by="fid")
    with pytest.raises(UsageError, match="measured: composite"):
        rank([entry("1", 0.5)], by="luck")


def test_only_one_protocol_is_ranked_and_the_latest_measurement_counts():
    old = measurement("1", 0.1, protocol={"judges": "old"})
    found = [
        old,
        measurement("2", 0.2),
        measurement("3", 0.3, images=4),
        measurement("2", 0.25, key="again"),
        measurement("1", 0.15),
    ]
    places = rank_measurements(comparable(found))
    assert [(place.entry.name, place.value.value) for place in places] == [("2", 0.25), ("1", 0.15)]
    assert comparable(found, protocol=protocol_of(old)) == [old]
    assert comparable(found, protocol="unheard of") == comparable(found)
    assert comparable([]) == []
