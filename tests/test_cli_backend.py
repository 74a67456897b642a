"""`--backend` as users meet it: what is refused, which engine the records name, and files that Jittor reads and writes.

Where Jittor itself is not asked for, PyTorch's words stand in under its name: what the commands do about an engine does not depend on which.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from apfgan.backend import state_arrays
from apfgan.checkpoints import load_manifest, save_checkpoint
from apfgan.config import PRESETS, Config, DataConfig
from apfgan.engines import VARIABLE, Engine
from apfgan.errors import EnvironmentProblem, UsageError
from apfgan.landscapes import make_landscapes
from apfgan.networks import build_painter
from apfgan.runs import Run
from apfgan.sealed import read_sealed, write_sealed
from apfgan.training_state import load_fork, state_path
from commands.opening import find_device
from tests.pico import pico

ROOT = Path(__file__).parents[1]
SETTINGS = pico(model={}, train={"progressive_epochs": 2, "epochs": 4, "save_progressive_every": 1})
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backend")
    make_landscapes(folder / "data", train=4, test=2, width=64, height=48)
    (folder / "pico.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(autouse=True)
def as_the_user_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets the variable; so it is the same again behind each test."""
    monkeypatch.setenv(VARIABLE, "")


def arguments(place: Path, run: str, *more: object) -> list[str]:
    """A training that takes a second."""
    common = ["--run", place / run, "--data", place / "data", "--device", "cpu", "--plan-seconds", "0", "--probe", "0"]
    return ["train", *map(str, [*common, *more])]


def with_stand_in(*arguments: object, setup: str = "", **environment: str) -> tuple[int, str, str]:
    """The command line in a process where PyTorch's words are Jittor's; `setup` runs when Jittor would be loaded."""
    script = f"""
import os, sys, types
from apfgan.errors import EnvironmentProblem

def load_jittor(say):
    say("Jittor is loaded")
    {setup or "pass"}
    os.environ["{VARIABLE}"] = "pytorch"
    import apfgan.backend
    os.environ["{VARIABLE}"] = "jittor"

sys.modules["apfgan.jittor_setup"] = types.SimpleNamespace(load_jittor=load_jittor, inspect_jittor=lambda: types.SimpleNamespace(cuda=False))
import cli
cli.main()
"""
    return run_script(script, *arguments, **environment)


def run_script(script: str, *arguments: object, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_what_jittor_cannot_do_is_refused_before_it_is_loaded(apfgan: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for several, rank in ((["--nproc", "2"], None), ([], "0")):
        if rank is not None:
            monkeypatch.setenv("RANK", rank)
        code, out, error = apfgan(*arguments(place, "refused", "--backend", "jittor", "--json", *several))
        assert code == 2 and "talk through torch.distributed" in error and "--backend pytorch" in error
        assert json.loads(out)["exit_code"] == 2
    monkeypatch.setenv(VARIABLE, "jittor")
    assert apfgan(*arguments(place, "refused", "--nproc", "2"))[0] == 2
    monkeypatch.delenv("RANK")
    code, _, error = apfgan(*arguments(place, "refused", "--set", "train.precision=bfloat16"))
    assert code == 2 and "computed by PyTorch only" in error
    assert not (place / "refused").exists()


@pytest.mark.parametrize(("options", "variable"), [(["--backend", "tensorflow"], ""), ([], "tensorflow")])
def test_another_engine_is_none(apfgan: Call, place: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], variable: str) -> None:
    monkeypatch.setenv(VARIABLE, variable)
    code, _, error = apfgan(*arguments(place, "none", *options))
    assert code == 2 and "'tensorflow' is not one of 'pytorch', 'jittor'" in error
    assert not (place / "none").exists()


def test_a_device_is_one_that_all_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(cuda=False)
    monkeypatch.setitem(sys.modules, "apfgan.jittor_setup", SimpleNamespace(inspect_jittor=lambda: found))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [find_device(name) for name in ("auto", "cuda:1", "cpu")] == ["cuda", "cuda:1", "cpu"]
    monkeypatch.setenv(VARIABLE, "jittor")
    assert find_device("auto") == "cpu"
    with pytest.raises(EnvironmentProblem, match="no CUDA device is usable here by Jittor"):
        find_device("cuda")
    with pytest.raises(UsageError, match=r"Jittor knows one GPU\. Say which by CUDA_VISIBLE_DEVICES=1 in the environment, and --device cuda$"):
        find_device("cuda:1")
    found.cuda = True
    assert find_device("auto") == find_device("cuda") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == "cpu"
    with pytest.raises(EnvironmentProblem, match="no CUDA device is usable here by PyTorch"):
        find_device("cuda")


def test_an_engine_that_cannot_start_is_a_problem_of_the_environment(place: Path) -> None:
    problem = "raise EnvironmentProblem('Jittor is not installed. Install it')"
    code, out, error = with_stand_in(*arguments(place, "without", "--config", place / "pico.toml", "--backend", "jittor", "--json"), setup=problem)
    assert code == 5 and "apfgan: Jittor is not installed. Install it" in error
    assert json.loads(out) == {"error": "Jittor is not installed. Install it", "exit_code": 5}
    assert not (place / "without").exists()


def test_a_training_says_where_another_engine_takes_over(apfgan: Call, place: Path) -> None:
    """And what it leaves names the engine it comes from."""
    run = Run(place / "run")
    configured = ["--config", place / "pico.toml"]
    code, out, error = apfgan(*arguments(place, "run", *configured, "--until", "1", "--json"))
    assert code == 0 and "goes on with" not in error, error
    assert json.loads(out)["engine"] == "pytorch"

    code, out, error = with_stand_in(*arguments(place, "run", "--until", "3", "--json"), **{VARIABLE: "jittor"})
    assert code == 0, error
    assert "Jittor is loaded" in error and json.loads(out)["engine"] == "jittor"
    said = error[error.index("goes on with jittor where pytorch stopped, behind epoch 1: weights") :].splitlines()[:3]
    assert said[-1].endswith("bit for bit those of one engine") and max(map(len, said)) <= 80
    assert [load_manifest(run, name).engine for name in "013"] == ["pytorch", "pytorch", "jittor"]
    assert load_fork(run, epoch=3).engine == load_fork(run, epoch=2).engine == "jittor"
    history = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    assert [line["engine"] for line in history] == ["pytorch", "jittor"]

    code, _, error = apfgan(*arguments(place, "fork", "--fork", f"{run.path}@2", "--until", "3"))
    assert code == 0 and "goes on with pytorch where jittor stopped, behind epoch 2" in error
    assert error.count("goes on with") == 1
    code, _, error = apfgan(*arguments(place, "fork"))
    assert code == 0 and "goes on with" not in error


def test_a_state_that_names_no_engine_is_of_pytorch(apfgan: Call, place: Path) -> None:
    run = Run(place / "older")
    assert apfgan(*arguments(place, "older", "--config", place / "pico.toml", "--until", "1"))[0] == 0
    arrays, header = read_sealed(state_path(run))
    del header["engine"]
    write_sealed(state_path(run), arrays, header)
    assert load_fork(run, epoch=None).engine == Engine.pytorch
    code, _, error = apfgan(*arguments(place, "older", "--until", "1"))
    assert code == 0 and "goes on with" not in error


def test_generate_draws_with_the_engine_that_is_asked_for(apfgan: Call, place: Path) -> None:
    assert apfgan(*arguments(place, "drawn", "--config", place / "pico.toml", "--until", "1"))[0] == 0
    command = ["generate", "--run", place / "drawn", "--epochs", "1", "--labels", place / "data/test/labels", "--device", "cpu"]
    code, out, error = with_stand_in(*command, "--out", place / "images", "--backend", "jittor", "--json")
    assert code == 0, error
    assert "Jittor is loaded" in error and json.loads(out)["images"] == 2


@pytest.mark.jittor
@pytest.mark.parametrize(("phase", "silent"), [("progressive", "noise."), ("augmented", "images.0 images.1 images.2")])
def test_jittor_loads_what_is_exported_and_what_it_saves_is_imported(apfgan: Call, tmp_path: Path, phase: str, silent: str) -> None:
    """Once around: our checkpoint, its export, a module of Jittor with the original's names, what that saves, and our checkpoint again."""
    config = Config(data=DataConfig(classes=("a", "b", "c"), width=64, height=64, load_width=72), model=replace(PRESETS["original"].model, width=8))
    run, source = Run.create(tmp_path / "run", config), np.random.default_rng(0)
    weights = {
        name: np.zeros_like(array) if any(part in name for part in silent.split()) else source.standard_normal(array.shape, dtype=np.float32)
        for name, array in state_arrays(build_painter(config, seed=0)).items()
    }
    saved = save_checkpoint(run, "7", weights, epoch=7, phase=phase)
    code, out, error = apfgan("export", "--run", run.path, "7", "--out", tmp_path / "exported", "--format", "jittor-pkl", "--json")
    assert code == 0, error
    assert json.loads(out)["format"] == "jittor-pkl"
    (tmp_path / "saved").mkdir()
    code, _, error = run_script(_THROUGH_JITTOR, tmp_path / "saved", *json.loads(out)["files"])
    assert code == 0, error
    size = ["--size", "64x64"]
    code, out, error = apfgan("import", tmp_path / "saved" / "7_net_G.pkl", "--run", tmp_path / "again", *size, "--json")
    assert code == 0, error
    assert json.loads(out)["sha256"] == saved.sha256


_THROUGH_JITTOR = """
import sys
from pathlib import Path

from apfgan.jittor_setup import load_jittor

load_jittor()
import jittor
import numpy as np


def module_of(arrays):
    '''A module that has parameters of these names, all zero; numbers are the layers of a sequence.'''
    parts = {}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = array
    made = {part: jittor.zeros(held[""].shape) if "" in held else module_of(held) for part, held in parts.items()}
    if all(part.isdigit() for part in made):
        return jittor.nn.Sequential(*made.values())
    module = jittor.nn.Module()
    for part, value in made.items():
        setattr(module, part, value)
    return module


folder, *files = map(Path, sys.argv[1:])
for file in files:
    arrays = jittor.load(str(file))
    assert all(array.dtype == np.float32 for array in arrays.values())
    module = module_of(arrays)
    module.load(str(file))
    state = module.state_dict()
    assert state.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(state[name].numpy(), array), name
    module.save(str(folder / file.name))
"""
