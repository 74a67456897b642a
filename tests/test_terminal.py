"""Rankings in a terminal of 80 columns, and as JSON."""

import json

import numpy as np
import pytest

from apfgan.measured import Measured
from apfgan.ranking import Entry, foresee, rank
from apfgan.records import Anchors, Estimate
from reports.terminal import Standings, chance_text, interval_text, shortened

LONG = "0.42*273+0.13*298+0.45*299~recal500~photos@7"


def entries(names: list[str], distance: str = "fid") -> list[Entry]:
    """Candidates whose quality falls in steps that the noise of 60 images partly hides."""
    source = np.random.default_rng(0)
    found = []
    for index, name in enumerate(names):
        truths = {"mask_accuracy": 0.9 - 0.004 * index, "aesthetic": 5.0, distance: 28.0 + index, "mean_iou": 0.5, "composite": 0.56 - 0.004 * index}
        measured = {metric: Measured.mean(source.normal(truth, 0.02, 60)) for metric, truth in truths.items()}
        found.append(Entry(name, {metric: each.estimate for metric, each in measured.items()}, measured))
    return found


@pytest.mark.parametrize("distance", ["fid", "fd-embedded"])
@pytest.mark.parametrize("by", ["composite", "mask_accuracy"])
def test_rankings_fit_the_terminal(distance, by):
    anchors = Anchors(metrics={"mask_accuracy": Estimate(0.95, 0.01)}, composite=Estimate(0.6, 0.01), photos=60, origin="60 photos")
    found = entries(["299", "avg_273_298_299@31337", LONG, "0.42*273+0.13*298+0.45*299~q95-444", "a" * 64], distance)
    standings = Standings(places=rank(found, by=by), by=by, anchors=anchors)
    for checks in (False, True):
        text = standings.as_text(top=20, checks=checks)
        assert max(map(len, text.splitlines())) <= 80
        assert text.count("real photos  ") == text.count("candidate")
    assert LONG in [place["candidate"] for place in json.loads(json.dumps(standings.as_json()))["places"]]


def test_places_show_what_the_noise_leaves_open():
    places = rank(entries(["299", "298", "297", "296", "295", "294"]))
    outlook = foresee(places)
    text = Standings(places=places, by="composite").as_text(top=6)
    header, *rows = text.splitlines()[:7]
    assert header.split() == ["candidate", "score", "ranks", "P(best)", "mask", "aesth.", "fid"]
    for row, place, standing in zip(rows, places, outlook.standings, strict=True):
        cells = row.split()
        mark = ("=" if place.tied and place.place > 1 else "") + ("*" if standing.pareto else "")
        assert cells[:2] == [f"{place.place}{mark}", place.entry.name]
        assert cells[4:6] == [interval_text(place.rank_interval), chance_text(standing.probability_best)]
    prose = " ".join(text.split())
    best, expected = places[0].value, outlook.expected
    assert f"submission score {best.value:.4f} on these very images; expected score {expected.value:.4f} ±{expected.error:.4f}" in prose
    assert f"as the best of 6 it owes {best.value - expected.value:.4f} to luck" in prose and best.value > expected.value


def test_json_holds_all_that_is_known():
    places = rank(entries(["299", "298"]))
    outlook = foresee(places)
    found = Standings(places=places, by="composite").as_json()
    assert found["tried"] == 2
    assert found["submission"]["value"] == places[0].value.value and found["expected"]["value"] == outlook.expected.value
    for line, place, standing in zip(found["places"], places, outlook.standings, strict=True):
        assert tuple(line["rank_interval"]) == place.rank_interval
        assert line["probability_best"] == standing.probability_best
        assert (line["pareto"], line["probability_pareto"]) == (standing.pareto, standing.probability_pareto)


def test_a_published_table_shows_no_chances():
    places = rank([Entry("299", {"fid": Estimate(28.12)}), Entry("298", {"fid": Estimate(28.59)})], by="fid")
    standings = Standings(places=places, by="fid")
    assert standings.as_text(top=5).splitlines() == ["   candidate    fid", "1  299        28.12", "2  298        28.59"]
    assert standings.as_json()["expected"] is None


def test_what_is_done_to_images_is_said_below_the_table():
    text = Standings(places=rank(entries(["299~photos", "299~q95-444", "299"])), by="composite").as_text(top=1)
    assert "note: ~photos: training photos stand in for drawings of a single class" in text and "note: ~q: " in text


@pytest.mark.parametrize(("width", "shown"), [(44, LONG), (43, "0.42*273+0.13*298+0.4…299~recal500~photos@7"), (16, "0.42*273…hotos@7")])
def test_long_names_lose_their_middle(width, shown):
    assert shortened(LONG, width) == shown and len(shown) <= width


def test_chances_are_never_certain():
    assert [chance_text(each) for each in (None, 0.0, 0.004, 0.01, 0.5, 0.99, 0.996, 1.0)] == [
        "–",
        "<0.01",
        "<0.01",
        "0.01",
        "0.50",
        "0.99",
        ">0.99",
        ">0.99",
    ]
    assert [interval_text(each) for each in ((1, 4), (3, 3), None)] == ["1-4", "3", ""]
