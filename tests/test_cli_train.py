"""`apfgan train` as a process: killed and stopped at random instants, in both phases and between them; forked; limited to a phase."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from apfgan.files import hash_file
from apfgan.landscapes import make_landscapes
from apfgan.runs import Run
from apfgan.training_log import read_log
from apfgan.training_state import state_path
from tests.pico import pico

ROOT = Path(__file__).parents[1]

SETTINGS = pico(model={}, train={"progressive_epochs": 4, "epochs": 8, "batch": 2, "save_progressive_every": 1, "ema": [0.1]})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    make_landscapes(folder / "data", train=24, test=2, width=64, height=48)
    (folder / "pico.toml").write_text(SETTINGS)
    return folder


def start(place: Path, run: str, *arguments: str) -> subprocess.Popen[str]:
    common = ["--run", str(place / run), "--data", str(place / "data"), "--device", "cpu", "--plan-seconds", "0", "--probe", "0"]
    command = [sys.executable, str(ROOT / "cli.py"), "train", *common, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=120)
    return process.returncode, out, error


def weights(run: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in (run / "checkpoints").glob("*.safetensors")}


@pytest.fixture(scope="module")
def straight(place: Path) -> Path:
    code, _, error = finish(start(place, "straight", "--config", "pico.toml"))
    assert code == 0, error
    return place / "straight"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_at_random_instants_it_ends_with_the_same_weights(place: Path, straight: Path, number: signal.Signals) -> None:
    draw, path, stops = random.Random(int(number)), place / f"stopped-{number}", 0
    while True:
        process = start(place, path.name, "--config", "pico.toml")
        began = time.monotonic()
        while process.poll() is None and not state_path(Run(path)).exists() and time.monotonic() < began + 60:
            time.sleep(0.05)
        time.sleep(1.0 * stops + draw.uniform(0.2, 2.5))  # later and later, so that it comes to an end however slow the machine is
        process.send_signal(number)
        sent = time.monotonic()
        code, _, error = finish(process)
        if code == 0:
            break
        stops += 1
        assert code == (-number if number == signal.SIGKILL else 128 + number), error
        assert time.monotonic() - sent < 10
        if number == signal.SIGTERM:
            assert "the same command goes on from there" in error
        assert stops < 30
    assert stops > 0
    assert weights(path) == weights(straight)


def test_a_fork_and_a_phase(place: Path, straight: Path) -> None:
    code, _, error = finish(start(place, "first", "--config", "pico.toml", "--phase", "augmented"))
    assert code == 2 and "has not finished its first phase (epochs 1-4)" in error
    code, out, error = finish(start(place, "first", "--phase", "progressive", "--json"))
    assert code == 0, error
    assert json.loads(out)["checkpoints"][:5] == ["0", "1", "2", "3", "4"]
    assert "5" not in json.loads(out)["checkpoints"]

    code, out, error = finish(start(place, "fork", "--fork", str(straight) + "@4", "--set", "train.batch=4", "--phase", "augmented", "--json"))
    assert code == 0, error
    assert json.loads(out)["epochs"] == 4
    assert Run.open(place / "fork").config.train.batch == 4
    assert weights(place / "fork")["epoch_0004.safetensors"] == weights(straight)["epoch_0004.safetensors"]
    assert weights(place / "fork")["epoch_0008.safetensors"] != weights(straight)["epoch_0008.safetensors"]

    code, _, error = finish(start(place, "fork", "--fork", str(straight) + "@4"))
    assert code == 0, error  # the same command goes on, and finds nothing to do
    code, _, error = finish(start(place, "other", "--fork", str(straight) + "@6"))
    assert code == 2 and "kept at 4, 8 only" in error
    code, _, error = finish(start(place, "another", "--fork", str(straight), "--preset", "tiny"))
    assert code == 2 and "--fork takes the settings of the run" in error


def test_excluded_pairs_are_named_in_a_file(place: Path) -> None:
    names = sorted(path.stem for path in (place / "data/train/imgs").iterdir())
    (place / "names.txt").write_text(f"{names[0]}\n\n{names[1]}  \nno-such-pair\n")
    code, _, error = finish(start(place, "excluded", "--config", "pico.toml", "--exclude", "names.txt", "--until", "1"))
    assert code == 0, error
    assert Run.open(place / "excluded").config.data.exclude == (names[0], names[1], "no-such-pair")
    code, _, error = finish(start(place, "unreadable", "--config", "pico.toml", "--exclude", "missing.txt"))
    assert code == 2 and "cannot read the names in missing.txt" in error


def test_two_processes_go_on_when_one_is_killed(place: Path, straight: Path) -> None:
    """They end with the weights of two that were left alone; and one process would have had the same losses."""
    several = ("--config", "pico.toml", "--nproc", "2")
    code, _, error = finish(start(place, "two", *several))
    assert code == 0, error
    losses = [next(record.losses for record in read_log(Run(run).training_log)) for run in (place / "two", straight)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)  # after steps of Adam, which enlarges rounding

    process = start(place, "two-killed", *several)
    while len(read_log(Run(place / "two-killed").training_log)) < 3:
        assert process.poll() is None, finish(process)
        time.sleep(0.05)
    os.kill(worker(place / "two-killed", rank=1), signal.SIGKILL)
    code, _, error = finish(process)
    assert code == 0, error
    assert "process 1 of 2 ended by SIGKILL. Starting all again" in error
    assert weights(place / "two-killed") == weights(place / "two")


def worker(run: Path, *, rank: int) -> int:
    """The process of this rank that trains `run`."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            if f"RANK={rank}".encode() in environment and str(run).encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                return int(folder.name)
    raise AssertionError(f"no process of rank {rank} trains {run}")
