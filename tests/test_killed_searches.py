"""Searches that are killed at any instant end with the ledger of one that never was, and measure nothing twice."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from apfgan.landscapes import make_landscapes
from tests.pico import pico

ROOT = Path(__file__).parents[1]

KILLS, IN_A_ROW = 20, 4

# One process that has everything imported already, and forks for each command: a kill then meets work, not the import of PyTorch.
SERVER = """
import json, os, sys
import cli, torch
import apfgan.sampling, metrics.embedded, selection.driving, selection.evaluation, selection.examining
import selection.executors, selection.merge_search, selection.seed_search
torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    if (process := os.fork()) == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["apfgan", *json.loads(line)]
        cli.main()
    print(process, flush=True)
    print(os.waitpid(process, 0)[1], flush=True)
"""

PICO = pico(model={"init_gain": 1.0, "seg_noise_init": "xavier"}, train={"progressive_epochs": 1, "epochs": 6})


@dataclass
class Server:
    """Runs commands in processes of their own."""

    process: subprocess.Popen[str]

    def run(self, *arguments: object, killed_after: float | None = None) -> tuple[int, float]:
        """Status of the process as `os.waitpid` has it, and the seconds that it lived."""
        incoming, outgoing = self._pipes
        began = time.monotonic()
        incoming.write(json.dumps([str(each) for each in arguments]) + "\n")
        incoming.flush()
        number = int(outgoing.readline())
        if killed_after is not None:
            time.sleep(killed_after)
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(number, signal.SIGKILL)
        return int(outgoing.readline()), time.monotonic() - began

    @property
    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self.process.stdin is not None and self.process.stdout is not None
        return self.process.stdin, self.process.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield Server(process)
        process.kill()


@pytest.fixture(scope="module")
def scored(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose epochs are measured."""
    place = tmp_path_factory.mktemp("searches")
    make_landscapes(place / "data", train=8, test=12, width=64, height=48)
    (place / "pico.toml").write_text(PICO)
    train = ("train", "--data", place / "data", "--run", place / "run", "--config", place / "pico.toml", "--plan-seconds", 0, "--probe", 0)
    assert server.run(*train)[0] == 0
    assert server.run("score", "--run", place / "run", "--data", place / "data")[0] == 0
    return place / "run"


def ledger(run: Path) -> list[dict[str, object]]:
    """The ledger's lines without what no two computations share: their time, and the checksum over it."""
    lines = [json.loads(line) for line in (run / "measurements.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("seconds", "check")} for line in lines]


@pytest.mark.parametrize("search", [("merge-search", "--confirm", 1), ("seed-search", "--candidate", "6", "--tries", "8")], ids=["merge", "seed"])
def test_killed_at_twenty_instants_it_ends_with_the_same_ledger(server: Server, scored: Path, search: tuple[object, ...], tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    shutil.copytree(scored, straight)
    verb, *options = search
    status, seconds = server.run(verb, "--run", straight, *options)
    assert status == 0
    expected = ledger(straight)
    assert len(expected) > len(ledger(scored)) + 5

    instants = random.Random(0)
    interrupted = 0
    for number in range(KILLS // IN_A_ROW):
        run = tmp_path / str(number)
        shutil.copytree(scored, run)
        for _ in range(IN_A_ROW):
            status, _ = server.run(verb, "--run", run, *options, killed_after=instants.uniform(0, 0.6 * seconds))
            interrupted += os.WIFSIGNALED(status)
        assert server.run(verb, "--run", run, *options)[0] == 0
        assert ledger(run) == expected
        shutil.rmtree(run)
    assert interrupted > KILLS / 2  # the later ones in a row may find nothing left to do
    names = [(line["candidate"], line["key"]) for line in expected]
    assert len(set(names)) == len(names)
