"""Which label maps a report shows: each stratum against its definition, on numbers made by hand."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from apfgan.labels import Classes
from reports.observations import Observations, read_observations
from reports.panel import RARE, STRATA, Seen, Shown, by_stratum, choose_label_maps, explain
from tests.report_runs import IMAGES, all_stems, build_run, landscape

CLASSES = Classes(names=("sky", "sea", "sand", "boat", "pier"))
COUNT = 100
STEMS = tuple(f"s{index:02d}" for index in range(COUNT))


@pytest.fixture
def seen() -> Seen:
    """Skies over the sea; two boats, a pier, three label maps of (almost) a single class."""
    rng = np.random.default_rng(3)
    shares = np.zeros((COUNT, len(CLASSES)))
    shares[:, 0] = rng.uniform(0.3, 0.6, COUNT)
    shares[:, 1] = 1 - shares[:, 0]
    for place, boat in ((41, 0.02), (17, 0.11)):
        shares[place, [1, 3]] += -boat, boat
    shares[70, [1, 4]] += -0.004, 0.004
    shares[[20, 21], :] = [1, 0, 0, 0, 0]
    shares[22] = [0.01, 0.99, 0, 0, 0]
    choice = rng.permutation(np.linspace(0.2, 0.9, COUNT))
    return Seen(stems=STEMS, shares=shares, choice=choice, rival=choice - rng.permutation(np.linspace(-0.1, 0.15, COUNT)))


def choose(seen: Seen, most: int = 24, first: tuple[str, ...] = ()) -> tuple[Shown, ...]:
    return choose_label_maps(seen, most=most, choice="avg_1_2", rival="9", classes=CLASSES, first=first)


def stems_of(panel: tuple[Shown, ...], stratum: str) -> list[str]:
    return [shown.stem for shown in panel if shown.stratum == stratum]


def test_every_stratum_shows_what_it_says(seen: Seen) -> None:
    panel = choose(seen)
    assert len(panel) == len({shown.stem for shown in panel}) == 24
    change = seen.choice - seen.rival
    before: set[str] = set()  # a label map is shown once, by the stratum whose turn came first
    for shown in panel:
        left = [place for place, stem in enumerate(STEMS) if stem not in before]
        place = STEMS.index(shown.stem)
        if shown.stratum == "worst":
            assert seen.choice[place] == seen.choice[left].min()
        if shown.stratum == "best":
            assert seen.choice[place] == seen.choice[left].max()
        if shown.stratum == "change":
            assert change[place] in (change[left].max(), change[left].min())
        before.add(shown.stem)
    assert {change[STEMS.index(stem)] > 0 for stem in stems_of(panel, "change")} == {True, False}  # up and down
    assert stems_of(panel, "rare") == ["s70", "s17"]  # the pier, in one label map; of two with boats the one with more of it
    assert stems_of(panel, "single") == ["s20", "s22", "s21"]  # one of each class first
    assert Counter(shown.stratum for shown in panel) == {"random": 7, "worst": 4, "best": 4, "change": 4, "rare": 2, "single": 3}


def test_it_says_why_each_is_there(seen: Seen) -> None:
    seen = dataclasses.replace(seen, choice=np.where(np.isin(np.arange(COUNT), [30, 31]), [[0.1], [0.15]][0], seen.choice))
    panel = {shown.stem: shown for shown in choose(seen)}
    assert panel["s70"].why == "pier, under 1 % of this one; 1 of 100 label maps asks for it"
    assert panel["s17"].why == "boat, 11 % of this one; 2 of 100 label maps ask for it"
    assert (panel["s20"].why, panel["s22"].why) == ("nothing but sky", "almost nothing but sea")
    assert panel["s30"].why == "mask accuracy 0.100, the lowest of 100" and panel["s31"].why == "mask accuracy 0.100, the 2nd lowest of 100"
    change = next(shown for shown in panel.values() if shown.stratum == "change")
    place = STEMS.index(change.stem)
    assert change.why == f"mask accuracy {seen.choice[place]:.3f} by avg_1_2, {seen.rival[place]:.3f} by 9"
    assert panel["s22"].content == "sea 99 %, sky 1 %" and panel["s20"].content == "sky 100 %"


def test_places_are_counted_in_english() -> None:
    accuracy = np.arange(140) / 140
    unknown = np.full(140, np.nan)
    panel = choose(Seen(stems=tuple(map(str, range(140))), shares=np.zeros((140, 5)), choice=accuracy, rival=unknown), most=140)
    worst = [shown.why.partition(", the ")[2] for shown in panel if shown.stratum == "worst"]
    assert [worst[place - 1] for place in (1, 2, 3, 4, 11, 12, 13, 21, 22)] == [
        f"{word}lowest of 140" for word in ("", "2nd ", "3rd ", "4th ", "11th ", "12th ", "13th ", "21st ", "22nd ")
    ]
    assert len(worst) == 24  # a sixth


def test_fewer_label_maps_are_the_first_of_more(seen: Seen) -> None:
    whole = choose(seen, most=24)
    for most in range(1, 24):
        assert choose(seen, most=most) == whole[:most]
    assert {shown.stratum for shown in whole[:8]} == set(STRATA)


def test_those_set_aside_come_first_at_random(seen: Seen) -> None:
    assert stems_of(choose(seen), "random")[:3] == ["s00", "s01", "s02"]
    assert stems_of(choose(seen, first=("s90", "s50")), "random")[:3] == ["s50", "s90", "s00"]


def test_where_there_is_room_all_are_shown_once(seen: Seen) -> None:
    panel = choose(seen, most=COUNT)
    assert sorted(shown.stem for shown in panel) == list(STEMS) and choose(seen, most=1000) == panel
    lowest = STEMS[int(seen.choice.argmin())]
    assert next(shown for shown in panel if shown.stem == lowest).stratum == "worst"  # not by lot, for none had to be drawn
    assert explain(panel, of=COUNT, choice="avg_1_2", rival="9") == "These are all of which there are pictures."


def test_without_observations_the_rest_takes_every_turn() -> None:
    unknown = np.full(COUNT, np.nan)
    panel = choose(Seen(stems=STEMS, shares=np.zeros((COUNT, 5)), choice=unknown, rival=unknown))
    assert [shown.stem for shown in panel] == list(STEMS[:24]) and {shown.stratum for shown in panel} == {"random"}
    assert {shown.content for shown in panel} == {""}
    assert choose(Seen(stems=(), shares=np.zeros((0, 5)), choice=np.zeros(0), rival=np.zeros(0))) == ()


def test_without_a_rival_nothing_changed(seen: Seen) -> None:
    panel = choose(dataclasses.replace(seen, rival=np.full(COUNT, np.nan)))
    assert stems_of(panel, "change") == [] and len(panel) == 24
    same = choose(dataclasses.replace(seen, rival=seen.choice))
    assert stems_of(same, "change") == []


def test_images_without_a_labelled_pixel_are_neither_worst_nor_best(seen: Seen) -> None:
    accuracy = seen.choice.copy()
    accuracy[[5, 6]] = np.nan
    for shown in choose(dataclasses.replace(seen, choice=accuracy), most=COUNT):
        assert shown.stem not in ("s05", "s06") or shown.stratum == "random"


def test_classes_of_many_label_maps_are_not_rare(seen: Seen) -> None:
    shares = seen.shares.copy()
    shares[: int(RARE * COUNT), 3] = 0.1
    assert "s17" not in stems_of(choose(dataclasses.replace(seen, shares=shares)), "rare")


def test_the_sentence_counts_the_strata(seen: Seen) -> None:
    text = explain(choose(seen), of=COUNT, choice="avg_1_2", rival="9")
    assert text == (
        "Chosen by rule: 7 without a look at what was drawn, 4 where the mask accuracy of avg_1_2 is lowest, 4 where it is highest, 4 where it "
        "differs most from that of 9, up or down, 2 with a class that fewer than 5 % of the label maps ask for, 3 of a single class."
    )


def test_they_are_shown_by_stratum(seen: Seen) -> None:
    panel = by_stratum(choose(seen))
    assert [shown.stratum for shown in panel] == sorted((shown.stratum for shown in panel), key=STRATA.index)
    assert stems_of(panel, "worst") == stems_of(choose(seen), "worst")


def test_observations_are_found_by_stem(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", ["5", "9"], pictures=False)
    five, nine = (read_observations(run, measurement) for measurement in run.ledger.read())
    assert isinstance(five, Observations) and isinstance(nine, Observations)
    stems = [*reversed(all_stems()), "unknown"]
    seen = Seen.of(stems, choice=nine, rival=five, classes=29)
    assert seen.choice[:IMAGES].tolist() == nine.accuracy[::-1].tolist() and seen.rival[:IMAGES].tolist() == five.accuracy[::-1].tolist()
    assert np.isnan([seen.choice[IMAGES], seen.rival[IMAGES]]).all()
    for place, index in enumerate(reversed(range(IMAGES))):
        assert seen.shares[place] == pytest.approx(np.bincount(landscape(index).ravel(), minlength=29) / landscape(index).size)
    assert not seen.shares[IMAGES].any()
    others = Seen.of(stems, choice=None, rival=None, others=[five], classes=29)
    assert np.isnan(others.choice).all() and (others.shares == seen.shares).all()
