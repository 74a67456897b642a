"""The search over JPEG settings and photos: what it asks for, what it makes of the answers, and the verbs around it."""

import functools
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import selection.evaluation
from apfgan.backend import state_arrays
from apfgan.candidates import Candidate, Jpeg
from apfgan.checkpoints import save_checkpoint
from apfgan.config import Config, DataConfig, ModelConfig, OutputConfig, TrainConfig
from apfgan.errors import UsageError
from apfgan.landscapes import make_landscapes
from apfgan.measured import Measured
from apfgan.networks import build_painter
from apfgan.ranking import Entry
from apfgan.runs import Run
from selection.driving import drive
from selection.output_search import OutputVerdict, jpeg_settings, judge_outputs, output_search, output_variants
from selection.units import Outcome, Unit

Call = Callable[..., tuple[int, str, str]]

IMAGES = 40
OWN = OutputConfig()
"""Quality 75, 4:2:0."""


def variants(candidate: str = "299") -> list[Candidate]:
    return output_variants(Candidate.parse(candidate), jpeg_settings("75,85,90,95", "420,444"), OWN)


def outcome(candidate: Candidate, values: np.ndarray, metric: str = "composite") -> Outcome:
    measured = Measured.mean(values)
    return Outcome(Unit(candidate), Entry(str(candidate), {metric: measured.estimate}, {metric: measured}))


class World:
    """Measures candidates whose value in each image is known."""

    images, parallel = IMAGES, 1

    def __init__(self, values: Callable[[Candidate], np.ndarray | None], metric: str = "composite") -> None:
        self.values, self.metric = values, metric
        self.asked: list[list[str]] = []

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        self.asked.append([str(unit.candidate) for unit in units])
        known = {unit: self.values(unit.candidate) for unit in units}
        return {unit: outcome(unit.candidate, values, self.metric) for unit, values in known.items() if values is not None}


def test_every_quality_with_every_subsampling():
    assert jpeg_settings("75, 90", "420,444") == [Jpeg(75, "4:2:0"), Jpeg(75, "4:4:4"), Jpeg(90, "4:2:0"), Jpeg(90, "4:4:4")]
    for qualities, subsamplings in (("75,x", "420"), ("96", "420"), ("0", "420"), ("75", "411"), ("75.5", "420"), ("", "420"), ("75", "")):
        with pytest.raises(UsageError):
            jpeg_settings(qualities, subsamplings)


@pytest.mark.parametrize("name", ["avg_1_2@7", "avg_1_2~q90-444@7", "avg_1_2~photos@7"])
def test_the_runs_own_setting_is_the_plain_candidate(name):
    found = [str(each) for each in variants(name)]
    assert found[0] == "avg_1_2@7" and len(found) == len(set(found)) == 8 and not any("q75-420" in each or "photos" in each for each in found)
    other = output_variants(Candidate.parse(name), [Jpeg(75, "4:2:0"), Jpeg(75, "4:2:0")], OutputConfig(jpeg_quality=80))
    assert [str(each) for each in other] == ["avg_1_2@7", "avg_1_2~q75-420@7"]


@pytest.mark.parametrize(("metric", "sign"), [("composite", 1), ("fid", -1)])
def test_photos_come_on_top_of_the_best_setting(metric, sign):
    best = Candidate.parse("299~q90-444")
    world = World(lambda each: np.linspace(0, 1, IMAGES) + sign * (each == best), metric)
    found = drive(output_search(variants(), photos=True, by=metric), world)
    assert world.asked == [[str(each) for each in variants()], ["299~q90-444~photos"]]
    assert len(found) == 9
    world.asked.clear()
    assert len(drive(output_search(variants(), photos=False, by=metric), world)) == 8 and len(world.asked) == 1


def test_what_cannot_be_measured_is_left_out():
    world = World(lambda each: None if each.jpeg else np.arange(IMAGES) / IMAGES)
    found = drive(output_search(variants(), photos=True), world)
    assert [str(unit.candidate) for unit in found] == ["299", "299~photos"]
    assert drive(output_search(variants(), photos=True), World(lambda each: None)) == {}


def verdict_of(values: Mapping[str, np.ndarray], metric: str = "composite") -> OutputVerdict:
    outcomes = {Unit(Candidate.parse(name)): outcome(Candidate.parse(name), each, metric) for name, each in values.items()}
    return judge_outputs(outcomes, Candidate.parse("299"), by=metric)


def test_differences_are_paired():
    source = np.random.default_rng(0)
    base = source.normal(0.5, 0.1, IMAGES)
    values = {"299": base, "299~q90-420": base + source.normal(0.01, 0.005, IMAGES), "299~q95-444": base - source.normal(0.01, 0.005, IMAGES)}
    found = verdict_of(values)
    assert [str(each.candidate) for each in found.variants] == ["299~q90-420", "299", "299~q95-444"]
    for each in found.variants:
        gain = values[str(each.candidate)] - base
        assert each.difference.value == pytest.approx(gain.mean())
        assert each.difference.error == pytest.approx(gain.std(ddof=1) / np.sqrt(IMAGES))
    assert [each.told_apart for each in found.variants] == [True, False, True]
    assert str(found.choice) == "299~q90-420"
    # A small number may be the good one.
    assert str(verdict_of(values, "fid").choice) == "299~q95-444"


def test_with_so_many_tries_more_is_asked_of_each():
    def shifted(deviations: float, seed: int) -> np.ndarray:
        """Noise whose mean is so many of its standard errors."""
        noise = np.random.default_rng(seed).normal(size=IMAGES)
        noise -= noise.mean()
        return noise + deviations * noise.std(ddof=1) / np.sqrt(IMAGES)

    assert str(verdict_of({"299": np.zeros(IMAGES), "299~q90-420": shifted(2.2, 0)}).choice) == "299~q90-420"
    others = {f"299~q{quality}-444": shifted(0.3, quality) for quality in range(80, 87)}
    found = verdict_of({"299": np.zeros(IMAGES), "299~q90-420": shifted(2.2, 0), **others})
    assert str(found.variants[0].candidate) == "299~q90-420" and str(found.choice) == "299"
    # Holm: 8 times the smallest chance, then 7 times the next, ...
    for deviations, expected in ((2.7, False), (2.8, True)):
        assert (8 * 2 * stats.norm.sf(deviations) < 0.05) == expected
        assert verdict_of({"299": np.zeros(IMAGES), "299~q90-420": shifted(deviations, 0), **others}).variants[0].told_apart == expected


def test_luck_alone_is_seldom_taken_for_a_gain():
    source = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        base = source.normal(size=IMAGES)
        values = {"299": base} | {f"299~q{quality}-444": base + source.normal(size=IMAGES) for quality in range(80, 88)}
        wrong += any(each.told_apart for each in verdict_of(values).variants)
    assert wrong / 400 < 0.1  # 0.05 with many images; errors are themselves estimated from 40


def test_what_changes_nothing_is_no_gain():
    base = np.linspace(0, 1, IMAGES)
    found = verdict_of({"299~photos": base, "299": base})
    assert [str(each.candidate) for each in found.variants] == ["299", "299~photos"] and str(found.choice) == "299"
    assert not any(each.told_apart for each in found.variants)


CONFIG = Config(
    data=DataConfig(width=64, height=48, load_width=64),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0),
    train=TrainConfig(progressive_epochs=0, epochs=2),
)
SEA = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Painted landscapes, with a photo and two label maps of nothing but sea."""
    folder = tmp_path_factory.mktemp("data")
    make_landscapes(folder, train=8, test=6, width=64, height=48)
    for path in (folder / "test/labels").glob("*.png"):
        if (np.asarray(Image.open(path)) == np.asarray(Image.open(path)).flat[0]).all():
            path.unlink()
    for place in ("train/labels/sea.png", "test/labels/sea_1.png", "test/labels/sea_2.png"):
        Image.fromarray(np.full((48, 64), SEA, dtype=np.uint8)).save(folder / place)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(folder / "train/imgs/sea.png")
    return folder


@pytest.fixture
def run(apfgan: Call, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose evaluation is known, with epochs 1 and 2."""
    monkeypatch.setattr(selection.evaluation, "fit", functools.partial(selection.evaluation.fit, steps=60))
    made = Run.create(tmp_path / "run", CONFIG)
    for epoch in (1, 2):
        save_checkpoint(made, str(epoch), state_arrays(build_painter(CONFIG, seed=epoch)), epoch=epoch)
    code, _, error = apfgan("score", "--run", made.path, "--data", data, "--epochs", "1", "-q")
    assert code == 0, error
    return made.path


def test_the_verbs(apfgan, run, data, tmp_path):
    search = ("output-search", "--run", run, "--candidate", "1", "--qualities", "75,95", "--subsamplings", "420,444")
    code, text, error = apfgan(*search)
    assert code == 0, error
    assert max(map(len, text.splitlines())) <= 80 and "the run's own" in text
    assert "stand in for 1 of" in " ".join(text.split()) and "1 more stay drawings" in " ".join(text.split())
    found = json.loads(apfgan(*search, "--json")[1])
    names = [each["candidate"] for each in found["variants"]]
    assert {"1", "1~q75-444", "1~q95-420", "1~q95-444"} < set(names) and len(names) == 5 and sum("photos" in name for name in names) == 1
    sizes = {each["candidate"]: each["bytes"] for each in found["variants"]}
    assert sizes["1"] < sizes["1~q75-444"] < sizes["1~q95-444"] and sizes["1"] < sizes["1~q95-420"] < sizes["1~q95-444"]
    assert "nothing to measure" in apfgan(*search)[2]
    assert len(apfgan(*search, "--no-photos", "--json")[1].split("photos")) == 1

    # As if each had been measured alone, drawings and all.
    fresh = tmp_path / "fresh"
    made = Run.create(fresh, CONFIG)
    save_checkpoint(made, "1", state_arrays(build_painter(CONFIG, seed=1)), epoch=1)
    shutil.copytree(run / "judges", fresh / "judges")
    code, _, error = apfgan("score", "--run", fresh, "--data", data, "--epochs", ",".join(names), "-q")
    assert code == 0, error
    alone, shared = ({each.candidate: each.metrics for each in Run(path).ledger.read()} for path in (fresh, run))
    assert alone == shared

    (photographed,) = (name for name in names if "photos" in name)
    code, text, error = apfgan("submit", "--run", run, "--pick", photographed, "--showcase")
    assert code == 0, error
    assert max(len(line) for line in text.splitlines() if str(run) not in line) <= 80 and "stand in for 1 of" in " ".join(text.split())
    assert apfgan("generate", "--run", run, "--epochs", photographed, "--labels", data / "test/labels", "--out", tmp_path / "images")[0] == 0
    with zipfile.ZipFile(run / "result.zip") as archive:
        submitted = {name: archive.read(name) for name in archive.namelist()}
    assert submitted == {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    exhibits = {path.name: path.read_bytes() for path in (run / "showcase").iterdir() if path.name != "contact_sheet.jpg"}
    assert sorted(name[0] for name in exhibits) == ["1", "2", "3"]
    assert all(submitted[name[2:]] == content for name, content in exhibits.items())
    assert not any(name.endswith("sea_1.jpg") for name in exhibits)  # a photo, and no drawing
    with Image.open(run / "showcase/contact_sheet.jpg") as sheet:
        assert sheet.size[0] == 3 * (64 + 4)


def test_board_b_asks_for_three_images(apfgan, run, data):
    assert not json.loads(apfgan("submit", "--run", run, "--pick", "2", "--json")[1])["showcase"]
    assert not (run / "showcase").exists()
    assert apfgan("score", "--run", run, "--epochs", "1", "--board", "B", "-q")[0] == 0
    for pick in ("2", "1"):
        found = json.loads(apfgan("submit", "--run", run, "--pick", pick, "--json")[1])
        stems = [each["stem"] for each in found["showcase"]["exhibits"]]
        assert sorted(path.name for path in (run / "showcase").iterdir()) == sorted(
            ["contact_sheet.jpg", *(f"{number}_{stem}.jpg" for number, stem in enumerate(stems, start=1))]
        )
    assert json.loads(apfgan("submit", "--run", run, "--no-showcase", "--pick", "1", "--json")[1])["showcase"] is None


def test_photos_need_a_training_set(apfgan, run, data, tmp_path):
    assert apfgan("score", "--run", run, "--epochs", "1", "--real", data / "train/imgs", "-q")[0] == 0
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["asked"] |= {"labels": str(data / "test/labels"), "data": None}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    search = ("output-search", "--run", run, "--candidate", "1", "--qualities", "75", "--subsamplings", "420")
    code, text, error = apfgan(*search, "--json")
    assert code == 0 and len(json.loads(text)["variants"]) == 1, error
    code, _, error = apfgan(*search, "--photos")
    assert code == 2 and "needs the training set" in error and "--data DATA" in error
