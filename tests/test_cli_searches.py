"""`apfgan score --race` and `apfgan merge-search` on a tiny run: what they measure, what they say, and what they refuse."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import selection.evaluation
from apfgan.candidates import Candidate
from apfgan.landscapes import make_landscapes
from apfgan.runs import Run
from tests.pico import pico

PICO = pico(model={"init_gain": 1.0}, train={"progressive_epochs": 1, "epochs": 5, "ema": [0.05, 0.1]})

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run is made once, and copied from."""
    return tmp_path_factory.mktemp("searches")


@pytest.fixture
def run(apfgan: Call, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose epochs are measured."""
    if not (made / "run").exists():
        monkeypatch.setattr(selection.evaluation, "fit", functools.partial(selection.evaluation.fit, steps=60))
        make_landscapes(made / "data", train=8, test=6, width=64, height=48)
        (made / "pico.toml").write_text(PICO)
        train = ("train", "--data", made / "data", "--run", made / "run", "--config", made / "pico.toml", "--plan-seconds", 0, "--probe", 0, "-q")
        assert apfgan(*train)[0] == 0
        code, _, error = apfgan("score", "--run", made / "run", "--data", made / "data", "--race")
        assert code == 0, error
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


def measured(run: Path) -> list[Candidate]:
    return [Candidate.parse(each.candidate) for each in Run(run).ledger.read()]


def test_a_race_of_few_measures_all(run: Path) -> None:
    assert {str(each) for each in measured(run)} == {"0", "1", "2", "3", "4", "5"}


def test_the_plan_ends_with_confirmed_finalists_and_is_not_measured_again(apfgan: Call, run: Path) -> None:
    code, text, error = apfgan("merge-search", "--run", run, "--confirm", 2, "--json")
    assert code == 0, error
    confirmed = json.loads(text)["confirmed"]
    assert {len(each["scores"]) for each in confirmed} == {2} and 2 <= len(confirmed) <= 4
    assert sum(each["gain"] is None for each in confirmed) == 1  # the best single checkpoint, over which the others gain
    seeds = {each.seed for each in measured(run)}
    assert seeds == {0, 1001, 1002}
    lines = (run / "measurements.jsonl").read_bytes()
    code, text, error = apfgan("merge-search", "--run", run, "--confirm", 2)
    assert code == 0 and "nothing to measure" in error and "confirmed with 2 fresh seeds" in text
    assert (run / "measurements.jsonl").read_bytes() == lines


@pytest.mark.parametrize(
    "options, names",
    [
        (("--best", 3), None),
        (("--kind", "windows"), ["avg_4_5", "avg_3_4_5"]),
        (("--kind", "ema"), ["5~ema0.05", "5~ema0.1"]),
        (("--budget", 2), None),
    ],
)
def test_other_searches_measure_what_they_are_named_after(apfgan: Call, run: Path, options: tuple[object, ...], names: list[str] | None) -> None:
    before = set(measured(run))
    code, _, error = apfgan("merge-search", "--run", run, "--confirm", 0, *options)
    assert code == 0, error
    found = [each for each in measured(run) if each not in before]
    if names is not None:
        assert set(names) <= {str(each) for each in found}
    else:
        assert len(found) == {"--best": 4, "--budget": 2}[str(options[0])] and all(each.is_merge for each in found)


def test_fresh_statistics_are_tried_on_the_best_and_on_the_best_single(apfgan: Call, run: Path) -> None:
    assert apfgan("merge-search", "--run", run, "--confirm", 0, "--best", 2, "--recal", 4)[0] == 0
    recalibrated = [each for each in measured(run) if each.recalibrated == 4]
    assert any(each.is_merge for each in recalibrated) and any(not each.is_merge for each in recalibrated)


def test_a_sampler_finds_shares(apfgan: Call, run: Path) -> None:
    pytest.importorskip("optuna")
    code, _, error = apfgan("merge-search", "--run", run, "--confirm", 0, "--sampler", "tpe", "--budget", 12, "--seed", 3)
    assert code == 0, error
    assert len([each for each in measured(run) if each.weights]) > 5


@pytest.mark.parametrize(
    "options, message",
    [
        (("--best", 2, "--kind", "powers"), "take one of them"),
        (("--time", "soon"), "2h, 30min or 90s"),
        (("--workers", 2), "--executor local or ray"),
        (("--ray-address", "here:1"), "--executor ray"),
    ],
)
def test_what_makes_no_sense_is_refused(apfgan: Call, run: Path, options: tuple[object, ...], message: str) -> None:
    code, _, error = apfgan("merge-search", "--run", run, *options)
    assert code == 2 and message in error


def test_a_limit_of_time_ends_a_search_that_can_go_on(apfgan: Call, run: Path) -> None:
    before = len(measured(run))
    assert apfgan("merge-search", "--run", run, "--confirm", 0, "--time", "0.000001s")[0] == 0
    some = len(measured(run)) - before
    assert some == 1  # what the first one took is known afterwards
    assert apfgan("merge-search", "--run", run, "--confirm", 0, "--time", "1h")[0] == 0
    assert len(measured(run)) - before > some
