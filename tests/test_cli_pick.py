"""`apfgan pick` on a tiny run: its record, its verification in a process of its own, and what is noticed when something was tampered with."""

import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import commands.pick
import selection.evaluation
from apfgan.files import hash_file, hash_value
from apfgan.landscapes import make_landscapes
from apfgan.picks import Verification, read_pick
from apfgan.runs import Run
from tests.pico import pico

PICO = pico(model={"init_gain": 1.0}, train={"progressive_epochs": 1, "epochs": 3, "save_progressive_every": 1})

Call = Callable[..., tuple[int, str, str]]
SMALL = ("--no-merges", "--seeds", "1")


@pytest.fixture(autouse=True)
def quick_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection.evaluation, "fit", functools.partial(selection.evaluation.fit, steps=60))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_landscapes(folder, train=8, test=6, width=64, height=48)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what several tests begin with is kept."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def run(made: Path, data: Path, apfgan: Call, tmp_path: Path) -> Path:
    """A run that nothing was measured in."""
    if not (made / "trained").exists():
        (made / "pico.toml").write_text(PICO)
        options = ["--config", made / "pico.toml", "--plan-seconds", 0, "--probe", 0, "-q"]
        code, _, error = apfgan("train", "--data", data, "--run", made / "trained", *options)
        assert code == 0, error
    return shutil.copytree(made / "trained", tmp_path / "run")


@pytest.fixture
def picked(made: Path, run: Path, data: Path, apfgan: Call, tmp_path: Path) -> Path:
    """A run with a pick, just as the command left it."""
    if not (made / "picked").exists():
        shutil.copytree(run, made / "picked")
        code, _, error = apfgan("pick", "--run", made / "picked", "--data", data)
        assert code == 0, error
        assert "race" in error and "evaluations (about" in error  # the plan, before anything
    return shutil.copytree(made / "picked", tmp_path / "picked")


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No further process, where it is not what is tested."""
    monkeypatch.setattr(commands.pick, "_verify_elsewhere", lambda *_: (Verification(True, 6, 0.0, 0.5), 0))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(run: Path, change: Callable[[dict[str, Any]], None], *, seal: bool) -> None:
    """Change the record, with its check made right if `seal`."""
    content = json.loads(Run(run).pick_path.read_text())
    check = content.pop("check")
    change(content)
    Run(run).pick_path.write_text(json.dumps({**content, "check": hash_value(content) if seal else check}))


def test_picks_from_an_unmeasured_run(picked):
    record = read_pick(Run(picked))
    names = [each.candidate for each in record.finalists]
    assert record.candidate in names and record.best_single in {"0", "1", "2", "3"} and len(names) in (3, 4)
    assert record.fresh_seeds == (1001, 1002, 1003, 1004, 1005) and all(len(each.scores) == 5 for each in record.finalists)
    assert sum(each.probability_best or 0 for each in record.finalists) == pytest.approx(1)
    assert record.clear_winner == (not record.within_noise)
    guards = {each.name: each.answer for each in record.guards}
    assert guards["embedded_judges"] == guards["same_label_maps"] == "yes" and set(guards.values()) <= {"yes", "no", "unknown"}
    for member in record.members:
        assert hash_file(Run(picked).checkpoint_path(member.name)) == member.sha256
    assert record.verification is not None and record.verification.verified
    assert (record.verification.images, record.verification.largest_difference) == (6, 0)
    assert record.verification.score == pytest.approx(record.score.value, abs=1e-9)
    measured = {each.candidate: each for each in Run(picked).ledger.read() if each.part is None}
    assert measured[record.candidate].composite == record.score
    assert sum(record.spent.values()) == pytest.approx(len(measured))


def test_what_was_picked_is_handed_in(apfgan, picked):
    code, text, error = apfgan("submit", "--run", picked, "--json")
    assert code == 0, error
    assert json.loads(text)["candidate"] == read_pick(Run(picked)).candidate


def test_picking_again_measures_nothing_and_writes_the_same(apfgan, picked, made, monkeypatch):
    whole = made / "picked"
    before, ledger = Run(whole).pick_path.read_bytes(), (whole / "measurements.jsonl").read_bytes()
    monkeypatch.setattr(commands.pick, "_verify_elsewhere", lambda *_: (read_pick(Run(picked)).verification, 0))
    code, text, error = apfgan("pick", "--run", whole)
    assert code == 0, error
    assert Run(whole).pick_path.read_bytes() == before and (whole / "measurements.jsonl").read_bytes() == ledger
    assert "pick: " in text and "verified: 6 images" in text and all(len(line) <= 80 or str(whole) in line for line in text.splitlines())
    code, text, _ = apfgan("pick", "--run", whole, "--json")
    assert json.loads(text) == json.loads(json.dumps(asdict(read_pick(Run(picked)))))


def test_verifies_in_this_process_too(apfgan, picked):
    code, text, _ = apfgan("pick", "--run", picked, "--verify", "--json")
    assert code == 0 and json.loads(text)["verified"]
    shutil.rmtree(picked / "features")  # a cache: made again
    assert apfgan("pick", "--run", picked, "--verify")[0] == 0


def test_a_changed_weight_is_found(apfgan, picked):
    record = read_pick(Run(picked))
    path = Run(picked).checkpoint_path(record.members[-1].name)
    flip(path)
    code, _, error = apfgan("pick", "--run", picked, "--verify")
    assert code == 4 and path.name in error
    # Even with a manifest that agrees with it.
    manifest = path.with_suffix(".json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"sha256": hash_file(path)}))
    code, _, error = apfgan("pick", "--run", picked, "--verify")
    assert code == 4 and path.name in error and "SHA-256" in error


def test_a_merge_is_saved_and_a_lost_member_is_no_loss(apfgan, data, run, trusted):
    assert apfgan("pick", "--run", run, "--data", data, "--epochs", "avg_2_3", *SMALL)[0] == 0
    record, path = read_pick(Run(run)), Run(run).checkpoint_path("avg_2_3")
    assert (record.candidate, [each.share for each in record.members]) == ("avg_2_3", [0.5, 0.5])
    assert record.saved == hash_file(path) and record.commands["merge"].endswith(" avg_2_3")
    Run(run).checkpoint_path("2").with_suffix(".json").unlink()
    assert apfgan("pick", "--run", run, "--verify")[0] == 0
    flip(path)
    code, _, error = apfgan("pick", "--run", run, "--verify")
    assert code == 4 and "not what was saved" in error


@pytest.mark.parametrize("change", [{"clear_winner": "maybe"}, {"tried": 1}, {"probability_best": 0.5}, {"guards": []}])
def test_an_edited_record_is_found(apfgan, picked, change):
    edit(picked, lambda content: content.update(change), seal=False)
    code, _, error = apfgan("pick", "--run", picked, "--verify")
    assert code == 3 and "pick.json" in error


@pytest.mark.parametrize(
    "change, code, message",
    [
        (lambda content: content["score"].update(value=content["score"]["value"] + 0.001), 5, "the record says"),
        (lambda content: content.update(candidate="0" if content["candidate"] != "0" else "1"), 4, "put together otherwise"),
        (lambda content: content.update(candidate=content["candidate"] + "@7"), 5, "made otherwise"),
        (lambda content: content.update(protocol_id="0" * 12), 5, "another protocol"),
    ],
)
def test_a_false_record_is_found_even_where_it_is_sealed(apfgan, picked, change, code, message):
    edit(picked, change, seal=True)
    found, _, error = apfgan("pick", "--run", picked, "--verify")
    assert (found, message in error) == (code, True), error


def test_images_that_come_out_otherwise_are_found(apfgan, picked, monkeypatch):
    import selection.verifying

    def look_again(bench, images):
        seen = look(bench, images)
        return replace(seen, observations={**seen.observations, "aesthetic": seen.observations["aesthetic"] + 0.5})

    look = selection.verifying.look
    monkeypatch.setattr(selection.verifying, "look", look_again)
    code, _, error = apfgan("pick", "--run", picked, "--verify")
    assert code == 5 and "standard deviations" in error


@pytest.mark.parametrize(
    "ended, code, message",
    [
        ((4, json.dumps({"error": "epoch_0003 is not what was saved", "exit_code": 4})), 4, "epoch_0003 is not what was saved"),
        ((-9, ""), 5, "ended with code -9"),
    ],
)
def test_a_pick_that_cannot_be_verified_says_so_and_fails(apfgan, picked, monkeypatch, ended, code, message):
    real = subprocess.run

    def fresh_process(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, *ended, "") if "--verify" in command and "pick" in command else real(command, **options)

    monkeypatch.setattr(commands.pick.subprocess, "run", fresh_process)
    found, text, error = apfgan("pick", "--run", picked)
    record = read_pick(Run(picked))
    assert found == code and message in " ".join((text + error).split())
    assert record.verification is None or (not record.verification.verified and "NOT VERIFIED" in text)


def test_a_damaged_checkpoint_is_left_out_and_named(apfgan, data, run, trusted):
    flip(Run(run).checkpoint_path("2"))
    code, text, error = apfgan("pick", "--run", run, "--data", data, *SMALL)
    record = read_pick(Run(run))
    assert code == 0, error
    assert record.failed == ("2",) and "could not be measured: 2" in text and "2" not in {each.candidate for each in record.finalists}


def test_half_of_the_label_maps_is_held_out(apfgan, data, run, trusted):
    code, _, error = apfgan("pick", "--run", run, "--data", data, "--hold-out", *SMALL)
    assert code == 0, error
    record = read_pick(Run(run))
    searched, confirmed = ([each for each in Run(run).ledger.read() if (each.seed > 0) is fresh] for fresh in (False, True))
    assert {each.part for each in confirmed} == {(3, 6)}
    (first, *searched), whole = searched, {record.candidate, record.best_single}
    assert first.part == (0, 6)  # what the plan knows the time from
    assert {each.part for each in searched} == {(0, 3), None} and {each.candidate for each in searched if each.part is None} == whole
    assert record.confirmed_on == 3 and {each.name: each.answer for each in record.guards}["same_label_maps"] == "no"


def test_a_plan_and_what_a_budget_cuts(apfgan, data, run):
    code, text, _ = apfgan("pick", "--run", run, "--data", data, "--plan")
    assert code == 0 and "confirmation" in text and not Run(run).pick_path.exists()
    code, text, _ = apfgan("pick", "--run", run, "--plan", "--budget", 13, "--json")
    assert code == 0 and "no merges" in json.loads(text)["cut"] and json.loads(text)["seconds_per_evaluation"] > 0
    code, _, error = apfgan("pick", "--run", run, "--budget", 5)
    assert code == 2 and "fewer --epochs" in error
    code, _, error = apfgan("pick", "--run", run, "--verify")
    assert code == 2 and "nothing was picked" in error


def test_seed_search_keeps_the_best_seed_apart_from_the_mean(apfgan, data, run):
    assert apfgan("score", "--run", run, "--data", data, "--epochs", "3")[0] == 0
    code, text, error = apfgan("seed-search", "--run", run, "--tries", 4, "--json")
    assert code == 0 and "4 seeds of 3: 4 evaluations (about" in error, error  # the cost, before anything
    found, values = json.loads(text), {each.seed: each for each in Run(run).ledger.read()}
    assert set(values) == {0, 1, 2, 3} and set(found["seeds"]) == {"0", "1", "2", "3"}
    for name in ("composite", "mask_accuracy", "aesthetic", "fd-embedded"):
        series = [values[seed].composite.value if name == "composite" else values[seed].metrics[name].value for seed in range(4)]
        verdict = found["metrics"][name]
        assert verdict["mean"] == pytest.approx(np.mean(series)) and verdict["deviation"] == pytest.approx(np.std(series, ddof=1))
        assert verdict["best"] == (min if name.startswith("fd") else max)(series)
        assert [found["seeds"][str(seed)][name] for seed in range(4)] == series
    best = max(values, key=lambda seed: values[seed].composite.value)
    assert found["best_seed"]["seed"] == best and found["best_seed"]["candidate"] == values[best].candidate
    assert found["expected_gain_on_new_label_maps"] == 0
    code, text, error = apfgan("seed-search", "--run", run, "--tries", 4)
    assert code == 0 and "holds all 4 already" in error and "gain on these 6 images; expected on new label maps: 0" in text
    code, text, _ = apfgan("seed-search", "--run", run, "--candidate", "1", "--tries", 2)
    assert code == 0 and "1 draws without noise" in text
