"""The searches in a world of the published tables, at small size: `benchmarks.replay` does the same at full size for docs/selection.md."""

import csv
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from apfgan.candidates import Candidate
from apfgan.progress import SILENT
from apfgan.ranking import Entry, gap, rank
from apfgan.records import Estimate
from benchmarks import replay
from benchmarks.published_world import COMMON_BIAS, FLOOR, IMAGES, SEED_DEVIATION, Contest, Tables, World, open_landscape, published
from benchmarks.replay import Findings, Row, Study, best_first, epochs, screen, summarise, sweep, tables, try_intervals, try_picks, try_seeds
from selection.driving import drive, spent
from selection.merge_search import at_once, exhaustive, planned
from selection.racing import race
from selection.seed_search import judge_seeds
from selection.units import Part, Unit

DOCS = Path(__file__).parents[1] / "docs"
TABLES = Path(__file__).parents[2] / "shared" / "published"
OWN, COMMON = World(shared=0.0), World()
MERGE = Candidate.parse("avg_273_299")
BEST_THREE = {"299", "298", "273"}


def rows_of(trial, world: World, trials: int) -> dict[tuple[str, str], Row]:
    """By the way of searching and the figure."""
    return {(row.way, row.figure): row for row in summarise("", [trial(world, number) for number in range(trials)])}


class TestPublished:
    """What the program says of the authors' own numbers."""

    @pytest.mark.skipif(not TABLES.exists(), reason="the published tables are not at hand")
    def test_the_numbers_are_the_published_ones(self) -> None:
        def column(name: str, key: str) -> dict[str, float]:
            with (TABLES / f"apfgan_{name}.csv").open(newline="") as file:
                return {row[key]: float(row["fid"]) for row in csv.DictReader(file)}

        assert published().epochs == column("epochs", "epoch")
        assert published().merges == {f"avg_{members.replace('+', '_')}": fid for members, fid in column("merges", "members").items()}
        assert list(published().seeds) == list(column("seeds", "run").values())

    def test_ranking(self) -> None:
        order = [entry.name for entry in sweep(Tables())]
        assert order[0] == "299"
        assert set(order[:3]) == BEST_THREE
        assert order == sorted(published().epochs, key=lambda name: published().epochs[name])

    def test_every_merge_of_the_best_three(self) -> None:
        outcomes = drive(exhaustive([Candidate.parse(entry.name) for entry in sweep(Tables())], 3), Tables())
        assert {str(unit.candidate): outcome.entry.metrics["fid"].value for unit, outcome in outcomes.items()} == published().merges
        assert best_first([*(each.entry for each in outcomes.values()), *sweep(Tables())])[0].name == str(MERGE)

    def test_the_default_plan_lives_with_merges_that_cannot_be_measured(self) -> None:
        outcomes = drive(planned(sweep(Tables()), images=IMAGES), Tables())
        assert {str(unit.candidate) for unit in outcomes} <= published().merges.keys()
        assert best_first(each.entry for each in outcomes.values())[0].name == str(MERGE)

    def test_numbers_are_not_ordered_as_text(self) -> None:
        """The original sorts FIDs as strings: "100.2" < "33.1" < "9.8"."""
        found = [Entry(name, {"fid": Estimate(fid)}) for name, fid in (("1", 33.1), ("2", 100.2), ("3", 9.8))]
        assert [place.entry.name for place in rank(found, by="fid")] == ["3", "1", "2"]

    def test_seeds(self) -> None:
        verdict = judge_seeds(published().seeds, metric="fid")
        assert verdict.mean == pytest.approx(26.971, abs=1e-3)
        assert verdict.deviation == pytest.approx(SEED_DEVIATION, abs=1e-3)
        assert (verdict.best, verdict.gain) == (26.76, pytest.approx(0.21, abs=2e-3))
        assert verdict.gain_by_luck == pytest.approx(0.175, abs=2e-3)


class TestWorld:
    @pytest.mark.parametrize("seed", range(3))
    def test_every_landscape_goes_through_the_published_numbers(self, seed: int) -> None:
        landscape = open_landscape(seed, 0.2)
        for name, fid in {**published().epochs, **published().merges}.items():
            assert landscape.fid(Candidate.parse(name)) == pytest.approx(fid, abs=1e-9)

    def test_between_them_landscapes_differ_smoothly(self) -> None:
        names = ["avg_273_303", "0.4*273+0.6*303", "0.401*273+0.599*303", "avg_272_288_292_298", "avg_279_280"]
        found = np.array([[open_landscape(seed, 0.2).fid(Candidate.parse(name)) for name in names] for seed in range(60)])
        bowl = open_landscape(0, 0.0)
        bowls = [FLOOR + bowl.weights(each) @ bowl.products @ bowl.weights(each) for each in map(Candidate.parse, names)]
        deviations = (found - bowls).std(axis=0)
        assert deviations.mean() == pytest.approx(0.2, abs=0.03)
        assert np.corrcoef(found[:, 1], found[:, 2])[0, 1] > 0.99
        # Merging helps: every mean lies below the mean of its members.
        assert (found.mean(axis=0) < [fmean(published().epochs[member] for member in Candidate.parse(name).members) for name in names]).all()

    def test_a_part_is_made_of_the_images_of_the_whole(self) -> None:
        contest, part = Contest(OWN), Part(100, 400)
        found = contest([Unit(MERGE), Unit(MERGE, part), Unit(MERGE, Part(0, IMAGES))])
        whole, some, all_of_it = found.values()
        assert whole.entry.metrics == all_of_it.entry.metrics
        for name in ("aesthetic", "mask_accuracy"):
            pulls = whole.entry.measured[name].influence[part.start : part.stop]
            assert some.entry.metrics[name].value - whole.entry.metrics[name].value == pytest.approx(pulls.mean())
            assert some.slopes[name] == pytest.approx(0.0, abs=1e-9)
        expected = whole.entry.metrics["fid"].value + whole.entry.measured["fid"].influence[part.start : part.stop].mean()
        bias = contest.truth(MERGE, images=300) - contest.truth(MERGE)
        assert some.entry.metrics["fid"].value - bias == pytest.approx(expected, abs=0.2)  # the noise of second order

    def test_numbers_are_honest(self) -> None:
        """Over redraws: the mean is the truth, at any number of images; the deviation is the error; the slope is that of the truth."""
        one, other, part = Unit(Candidate(("299",))), Unit(Candidate(("298",))), Part(0, 200)
        looked = [replace(unit, part=part) for unit in (one, other)]
        rows = []
        for redraw in range(400):
            contest = Contest(OWN, redraw=redraw)
            found = contest([one, other, *looked])
            whole, few = (gap(found[a].entry, found[b].entry, by="fid") for a, b in ((one, other), looked))
            slope = (found[looked[0]].slopes["fid"] - found[looked[1]].slopes["fid"]) * (1 / 200 - 1 / IMAGES)
            alone = found[one].entry.metrics["fid"]
            rows.append((alone.value, alone.error, whole.value, whole.error, few.value, few.error, few.value - slope))
        mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
        uncertain = spread / np.sqrt(len(rows))
        truth = {images: contest.truth(one.candidate, images=images) - contest.truth(other.candidate, images=images) for images in (200, IMAGES)}
        assert mean[0] == pytest.approx(28.12, abs=3 * uncertain[0])
        assert mean[2] == pytest.approx(truth[IMAGES], abs=3 * uncertain[2])
        assert mean[4] == pytest.approx(truth[200], abs=3 * uncertain[4])
        assert abs(truth[200] - truth[IMAGES]) > 0.2
        assert mean[6] == pytest.approx(truth[IMAGES], abs=3 * uncertain[6])
        for value, error in ((0, 1), (2, 3), (4, 5)):
            assert mean[error] == pytest.approx(spread[value], rel=0.12)
        # Slopes take the bias away and bring noise of their own.
        assert spread[6] > 1.05 * spread[4]

    def test_seeds_deviate_as_the_published_ones(self) -> None:
        for world in (OWN, COMMON):
            found = Contest(world)([Unit(MERGE.with_seed(seed)) for seed in range(400)])
            assert stdev(each.entry.metrics["fid"].value for each in found.values()) == pytest.approx(SEED_DEVIATION, rel=0.1)

    def test_candidates_share_the_luck_of_a_seed(self) -> None:
        def deviation(world: World) -> float:
            gaps = [contest([Unit(MERGE), Unit(Candidate(("299",)))]) for contest in (Contest(world, redraw) for redraw in range(200))]
            return stdev(gap(*(each.entry for each in found.values()), by="fid").value for found in gaps)

        assert deviation(OWN) == pytest.approx(0.094 * 2**0.5, rel=0.15)
        assert deviation(COMMON) == pytest.approx(0.03 * 2**0.5, rel=0.25)

    def test_laws_of_the_bias(self) -> None:
        for law in (1.0, 0.5, 0.1):
            world = World(law=law, bias_deviation=0.0)
            assert world.bias(IMAGES) == 0
            assert world.bias(200) == pytest.approx(4)
            outcome = Contest(world)([Unit(MERGE, Part(0, 200))])[Unit(MERGE, Part(0, 200))]
            foretold = outcome.slopes["fid"] * (1 / 200 - 1 / IMAGES) / (4 * COMMON_BIAS)
            assert foretold == pytest.approx({1.0: 1.0, 0.5: 0.6, 0.1: 0.39}[law], abs=0.02)
        assert not Contest(World(slopes=False))([Unit(MERGE, Part(0, 200))])[Unit(MERGE, Part(0, 200))].slopes

    def test_a_contest_follows_from_its_numbers(self) -> None:
        unit = Unit(MERGE)
        one, again, other, seeded = (
            contest([unit])[unit].entry.metrics["fid"].value
            for contest in (Contest(OWN), Contest(OWN), Contest(OWN, 1), Contest(replace(OWN, seed=1)))
        )
        assert one == again
        assert len({one, other, seeded}) == 3


class TestSearches:
    @pytest.mark.parametrize("bias", [0.0, 0.1, 0.2])
    def test_a_race_finds_the_best_three_as_reliably_as_the_sweep_at_two_fifths_of_its_images(self, bias: float) -> None:
        right = {"sweep": 0, "race": 0, "screen": 0}
        trials = 40
        for number in range(trials):
            contest = Contest(replace(OWN, seed=number, bias_deviation=bias))
            for way, search in (("sweep", at_once(epochs())), ("race", race(epochs(), images=IMAGES)), ("screen", screen(200, 3))):
                outcomes = drive(search, contest)
                best = best_first(each.entry for each in outcomes.values() if each.unit.part is None)[:3]
                right[way] += {entry.name for entry in best} == BEST_THREE
                if way == "race":
                    assert spent(outcomes, IMAGES) <= 0.4 * len(epochs())
        assert right["race"] >= 0.95 * right["sweep"]
        assert right["sweep"] > 0.85 * trials > right["screen"]  # without a race, this many images are not enough

    def test_the_default_plan_matches_every_merge_of_the_best_six(self) -> None:
        behind = []
        for number in range(16):
            contest = Contest(World(seed=number))
            singles = sweep(contest)
            picks = []
            for search in (planned(singles, images=IMAGES), exhaustive([Candidate.parse(entry.name) for entry in singles], 6)):
                outcomes = drive(search, contest)
                picks.append(best_first(each.entry for each in outcomes.values() if each.unit.part is None)[0])
                assert spent(outcomes, IMAGES) <= 16 or len(outcomes) == 57
            default, aim = (contest.truth(Candidate.parse(entry.name)) for entry in picks)
            behind.append(default - aim)
        assert fmean(behind) < 0.05

    def test_the_same_search_again_is_the_same_bit_for_bit(self) -> None:
        def run() -> list[tuple[Unit, float]]:
            contest = Contest(OWN)
            singles = best_first(each.entry for each in drive(race(epochs(), images=IMAGES), contest).values() if each.unit.part is None)
            found = drive(planned(singles, images=IMAGES), contest)
            return [(unit, outcome.entry.metrics["composite"].value) for unit, outcome in found.items()]

        assert run() == run()

    def test_intervals_hold_the_truth_as_often_as_they_say(self) -> None:
        found = rows_of(try_intervals, COMMON, 40)
        # Label maps move all epochs together: of these, a redraw is one observation.
        assert found["FID of an epoch", "held"].mean == pytest.approx(0.95, abs=0.09)
        assert found["total of an epoch", "held"].mean == pytest.approx(0.95, abs=0.09)
        assert found["FID of an epoch less that of the next", "held"].mean == pytest.approx(0.95, abs=0.02)
        assert found["places of all 57 at once", "held"].mean >= 0.95
        # What counts other label maps is too wide for these, and what does not pair is too wide for anything.
        assert found["FID of an epoch, on these very label maps", "held"].mean == 1
        assert found["the same, as if on different images", "held"].mean == 1
        assert found["the best of 57", "probability of being best"].mean == pytest.approx(
            found["the best of 57", "best of what was measured"].mean, abs=0.2
        )

    def test_what_a_pick_confirms_is_true(self) -> None:
        found = rows_of(try_picks, COMMON, 16)
        for way in ("pick", "pick --hold-out"):
            assert found[way, "held"].mean == pytest.approx(0.95, abs=0.12)
            assert found[way, "told gain"].mean == pytest.approx(found[way, "true gain"].mean, abs=0.01)
            assert found[way, "claimed"].mean > 0.9
            assert found[way, "true FID"].mean < 26.93  # the authors' pick

    def test_the_best_seed_is_lucky_on_its_images_alone(self) -> None:
        found = {figure: row for (_, figure), row in rows_of(try_seeds, COMMON, 150).items()}
        assert found["gain on these images"].mean == pytest.approx(0.175, abs=0.015)
        elsewhere = found["gain of the same seed on other label maps"]
        assert abs(elsewhere.mean) < 3 * elsewhere.error < 0.03


class TestBenchmark:
    STUDY = Study(name="seeds", world=COMMON, trial=try_seeds, trials=3)

    def test_trials_are_kept_and_a_torn_one_is_done_again(self, tmp_path: Path) -> None:
        rows = replay.perform_all([self.STUDY], work=tmp_path, progress=SILENT)
        (path,) = tmp_path.iterdir()
        content = path.read_bytes()
        assert replay.perform_all([self.STUDY], work=tmp_path, progress=SILENT) == rows
        assert path.read_bytes() == content
        with path.open("a") as file:
            file.write('{"trial": 3, "fou')
        replay.perform_all([replace(self.STUDY, trials=4)], work=tmp_path, progress=SILENT)
        assert sorted(replay.read_trials(path)) == [0, 1, 2, 3]

    def test_summary_by_hand(self) -> None:
        trials: list[Findings] = [{"way": {"figure": value}} for value in (1.0, 2.0, 6.0)]
        assert summarise("study", trials) == [Row("study", "way", "figure", 3, 3.0, pytest.approx(7**0.5 / 3**0.5, rel=1e-5))]

    def test_rows_are_read_as_written(self, tmp_path: Path) -> None:
        rows = summarise("study, with a comma", [{"way": {"figure": value}} for value in (1.0, 1 / 3)])
        replay.write_rows(tmp_path / "rows.csv", rows)
        assert replay.read_rows(tmp_path / "rows.csv") == rows

    def test_the_page_shows_the_tables_of_its_csv(self) -> None:
        page = (DOCS / "selection.md").read_text(encoding="utf-8")
        assert tables(replay.read_rows(DOCS / "selection.csv")) in page.partition(replay.BEGIN)[2].partition(replay.END)[0]

    def test_the_figure_names_the_ways(self) -> None:
        text = "".join(ElementTree.fromstring(replay.draw(replay.read_rows(DOCS / "selection.csv"))).itertext())
        assert all(way in text for way in ("full sweep", "the race", "the default plan", "every merge of the best 6"))

    def test_all_that_is_simulated_has_a_name_of_its_own(self) -> None:
        names = [study.name for study in replay.studies(10)]
        assert len(set(names)) == len(names)
