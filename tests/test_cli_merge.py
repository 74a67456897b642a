"""`apfgan merge` as users meet it, and `apfgan export` of what it makes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apfgan.backend import state_arrays
from apfgan.checkpoints import load_weights, remove_checkpoint, save_checkpoint
from apfgan.config import Config, DataConfig, ModelConfig
from apfgan.landscapes import make_landscapes
from apfgan.networks import build_painter
from apfgan.runs import Run

PICO = Config(data=DataConfig(width=64, height=64, load_width=72), model=ModelConfig(width=4, hidden=128, upsamplings=5, levels=2, init_gain=1.0))

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_landscapes(folder, train=4, test=1, width=64, height=64)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Epochs 10, 11, 12, 14 and their averages of width 0.05."""
    run = Run.create(tmp_path_factory.mktemp("trained") / "run", PICO)
    for epoch in (10, 11, 12, 14):
        for name, seed in ((str(epoch), epoch), (f"{epoch}-ema0.05", 100 + epoch)):
            weights = state_arrays(build_painter(PICO, seed=seed))
            save_checkpoint(run, name, weights, epoch=epoch, step=10 * epoch, phase="augmented", data="d")
    return run.path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(trained, tmp_path / "run"))


def plain_weights(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if name.endswith(".weight")}


@pytest.mark.parametrize(
    ("arguments", "name", "shares"),
    [
        (["10", "12"], "avg_10_12", {"10": 0.5, "12": 0.5}),
        (["14", "10", "--weights", "0.25,0.75"], "0.75*10+0.25*14", {"10": 0.75, "14": 0.25}),
        (["0.75*10+0.25*14"], "0.75*10+0.25*14", {"10": 0.75, "14": 0.25}),
        (["12", "--window", "2"], "avg_11_12", {"11": 0.5, "12": 0.5}),
        (["14", "--window", "3"], "avg_11_12_14", dict.fromkeys(("11", "12", "14"), 1 / 3)),
        (["avg_10_11", "--bn", "average"], "avg_10_11", {"10": 0.5, "11": 0.5}),
    ],
)
def test_a_merge_is_saved_with_its_recipe(apfgan: Call, run: Run, arguments: list[str], name: str, shares: dict[str, float]) -> None:
    code, text, error = apfgan("merge", "--run", run.path, *arguments, "--device", "cpu", "--json")
    assert code == 0, error
    found = json.loads(text)
    assert found["candidate"] == name and found["members"] == pytest.approx(shares)
    manifest = json.loads(Path(found["path"]).with_suffix(".json").read_text())
    assert manifest["sha256"] == found["sha256"] and manifest["members"] == found["members"] and manifest["phase"] == "augmented"
    saved, members = load_weights(run, name), {each: load_weights(run, each) for each in shares}
    for key, array in plain_weights(saved).items():
        np.testing.assert_allclose(array, sum(share * members[each][key] for each, share in shares.items()), rtol=1e-4, atol=1e-7)
    code, text, _ = apfgan("merge", "--run", run.path, name, "--device", "cpu")
    assert code == 0 and text.startswith(f"{name} -> ") and "made of " in text


def test_statistics_are_taken_anew_on_the_training_set(apfgan, run, data):
    code, _, error = apfgan("merge", "--run", run.path, "10", "12", "--bn", "recal:3", "--device", "cpu")
    assert code == 2 and "needs the training set" in error and run.checkpoint_names()[:4] == ["10", "11", "12", "14"]
    for arguments in (["10", "12", "--bn", "recal:3"], ["avg_10_12~recal3"], ["12~recal3"], ["12", "--bn", "recal:3"]):
        code, text, error = apfgan("merge", "--run", run.path, *arguments, "--data", data, "--device", "cpu", "--json")
        assert code == 0, error
    assert json.loads(text)["candidate"] == "12~recal3" and json.loads(text)["members"] == {"12": 1.0}
    assert {"avg_10_12~recal3", "12~recal3"} <= set(run.checkpoint_names())
    single, recalibrated = load_weights(run, "12"), load_weights(run, "12~recal3")
    changed = {name for name in single if not np.array_equal(single[name], recalibrated[name])}
    assert changed and all(".norm.running_" in name for name in changed)


def test_an_average_along_the_training_is_rebuilt(apfgan, run):
    code, text, error = apfgan("merge", "--run", run.path, "14~ema0.055", "--device", "cpu", "--json")
    assert code == 0, error
    assert all("-ema0.05" in name for name in json.loads(text)["members"]) and "14~ema0.055" in run.checkpoint_names()
    code, _, error = apfgan("merge", "--run", run.path, "14~ema0.2", "--device", "cpu")
    assert code == 4 and "an average of width 0.2 up to step 140 cannot be rebuilt" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["10"], "two checkpoints or more"),
        (["10", "13"], "no checkpoint for 13; saved: 10-12, 14"),
        (["10", "12", "--weights", "0.5,0.6"], "add up to 1"),
        (["10", "--weights", "0.5,0.5"], "2 weights for 1 checkpoints"),
        (["avg_10_12@4"], "avg_10_12@4: a seed, an encoder or photos are no part of the weights. Leave @4 out: avg_10_12"),
        (["avg_10_12~photos"], "Leave ~photos out"),
        (["avg_10_12~recal3~q90-444"], "Leave ~q90-444 out: avg_10_12~recal3"),
        (["10", "12~recal3"], "names no checkpoint"),
        (["10", "12", "--bn", "recal"], "write average, or recal:500"),
        (["10", "12", "--bn", "recal:0"], "write average, or recal:500"),
        (["10", "12", "--window", "2"], "averages epochs up to one"),
        (["14", "--window", "9"], "there are no 9 epochs up to 14 to average; saved: 10-12, 14"),
        (["13", "--window", "2"], "there are no 2 epochs up to 13"),
        (["12-ema0.05", "--window", "2"], "averages epochs up to one"),
    ],
)
def test_what_is_no_merge_is_refused_before_anything_is_written(apfgan, run, arguments, message):
    before = sorted(run.path.rglob("*"))
    code, _, error = apfgan("merge", "--run", run.path, *arguments, "--device", "cpu")
    assert code == 2 and message in error
    assert sorted(path for path in run.path.rglob("*") if path.name != "lock" and path.name != "history.jsonl") == before


def test_another_run_joins_only_when_asked_to(apfgan, run, tmp_path):
    other = Run.create(tmp_path / "other", replace(PICO, data=replace(PICO.data, load_width=80)))
    save_checkpoint(other, "20", load_weights(run, "10"), epoch=20, data="e")
    for suffix in (".safetensors", ".json"):
        run.checkpoint_path("20").with_suffix(suffix).write_bytes(other.checkpoint_path("20").with_suffix(suffix).read_bytes())
    code, _, error = apfgan("merge", "--run", run.path, "10", "20", "--device", "cpu")
    assert code == 4 and "20 and 10 are not of one run: they differ in the training data, data.load_width" in error
    assert apfgan("merge", "--run", run.path, "10", "20", "--allow-cross-run", "--device", "cpu")[0] == 0


def test_a_saved_merge_is_exported_when_its_members_are_gone(apfgan, run, data, tmp_path):
    names = ["avg_10_12", "12~recal3", "14~ema0.05"]
    for name in names:
        assert apfgan("merge", "--run", run.path, name, "--data", data, "--device", "cpu")[0] == 0
    for name in ("10", "12", "14", "14-ema0.05"):
        remove_checkpoint(run, name)
    for name in names:
        code, text, error = apfgan("export", "--run", run.path, name, "--out", tmp_path / "out", "--json")
        assert code == 0, error
        assert json.loads(text)["candidate"] == name and len(list((tmp_path / "out").glob(f"{name}_net_?.pkl"))) == 2
    code, _, error = apfgan("export", "--run", run.path, "avg_10_12@5", "--out", tmp_path / "out")
    assert code == 2 and "Leave @5 out" in error
