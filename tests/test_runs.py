import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apfgan.candidates import Candidate
from apfgan.config import PRESETS
from apfgan.errors import DataError, EnvironmentProblem, UsageError
from apfgan.records import SCHEMA, Estimate, Measurement
from apfgan.runs import Ledger, Run, versions

ROOT = Path(__file__).parents[1]


def measurement(name: str = "299", *, key: str = "", value: float = 0.1 + 0.2) -> Measurement:
    candidate = Candidate.parse(name)
    return Measurement(
        key=key or f"key of {name}",
        candidate=str(candidate),
        seed=candidate.seed,
        images=1000,
        metrics={"fid": Estimate(value, 0.25), "aesthetic": Estimate(5)},
        composite=Estimate(-1e-300, 0.0),
        formula="A",
        protocol={"judges": [{"name": "prüfer", "sha256": "ab" * 32}], "width": 512, "reference": None},
        observations="f" * 64,
        seconds=1.5,
        device="cpu",
        versions={"numpy": "2.0"},
    )


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "run", PRESETS["tiny"])


def test_run_is_created_once_and_opened_again(tmp_path):
    run = Run.create(tmp_path / "run", PRESETS["tiny"])
    written = run.config_path.read_bytes()
    assert Run.create(tmp_path / "run", PRESETS["tiny"]).config == Run.open(tmp_path / "run").config == PRESETS["tiny"]
    changed = replace(PRESETS["tiny"], train=replace(PRESETS["tiny"].train, batch=9))
    run.checkpoints.mkdir()
    with pytest.raises(UsageError, match=r"train\.batch: 2 -> 9"):
        Run.create(tmp_path / "run", changed)
    assert run.config_path.read_bytes() == written


def test_a_run_that_made_nothing_takes_other_settings(tmp_path, run):
    """As after a plan that found the disk too small."""
    changed = replace(PRESETS["tiny"], train=replace(PRESETS["tiny"].train, batch=9))
    assert Run.create(tmp_path / "run", changed).config == Run.open(tmp_path / "run").config == changed


def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="apfgan train --data DATA --run"):
        Run.open(tmp_path)


def test_run_of_an_unknown_version_names_its_file(run):
    run.config_path.write_text(run.config_path.read_text() + "\n[dream]\nx = 1\n")
    with pytest.raises(UsageError, match=r"run\.toml: unknown setting dream"):
        _ = Run.open(run.path).config


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("7", "epoch_0007.safetensors"),
        ("12345", "epoch_12345.safetensors"),
        ("best", "best.safetensors"),
        ("v1.5", "v1.5.safetensors"),
        ("avg_299_273@7", "avg_273_299.safetensors"),
        ("0.6*299+0.4*273", "0.4*273+0.6*299.safetensors"),
    ],
)
def test_checkpoint_lies_under_its_name(run, name, file):
    assert run.checkpoint_path(name) == run.path / "checkpoints" / file


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", "a b", "all"])
def test_checkpoint_cannot_lie_elsewhere(run, name):
    with pytest.raises(UsageError):
        run.checkpoint_path(name)


def save(run: Run, name: str) -> Path:
    path = run.checkpoint_path(name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    path.with_suffix(".json").write_text(json.dumps({"name": name}))
    return path


def test_checkpoint_names_come_back_from_the_files(run):
    long = str(Candidate(tuple(map(str, range(270, 309))), tuple((np.arange(1, 40) / np.arange(1, 40).sum()).tolist())))
    assert len(long) > 400
    names = ["7", "12", "12345", "0.4*273+0.6*299", "avg_273_299", "best", "v1.5", long]
    for name in names:
        assert len(save(run, name).name.encode()) <= 255
    assert set(run.checkpoint_names()) == set(names)
    assert run.checkpoint_names()[:3] == ["7", "12", "12345"]


def test_unfinished_and_foreign_files_are_no_checkpoints(run):
    assert run.checkpoint_names() == []
    save(run, "1").with_suffix(".json").unlink()
    save(run, "2").unlink()
    save(run, "3")
    for name in (".0a1b.tmp", ".4.json", "notes.txt", "my notes.json", "my notes.safetensors", "merge+00.json", "merge+00.safetensors"):
        (run.checkpoints / name).touch()
    assert run.checkpoint_names() == ["3"]


def test_history_has_one_line_a_command(run):
    name = os.fsdecode(b"caf\xe9")
    run.record_command(["score", "--epochs", "270-310"])
    run.record_command(["train", "--data", f"a\nb {name}"])
    lines = [json.loads(line) for line in (run.path / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["arguments"] for line in lines] == [["score", "--epochs", "270-310"], ["train", "--data", f"a\nb {name}"]]
    for line in lines:
        assert line["versions"] == versions() and line["versions"]["numpy"] == np.__version__
        time.strptime(line["time"], "%Y-%m-%dT%H:%M:%S%z")


def test_history_without_git(run, monkeypatch):
    monkeypatch.setenv("PATH", "")
    run.record_command(["rank"])
    assert json.loads((run.path / "history.jsonl").read_text())["commit"] == ""


def test_measurements_come_back_as_they_were(run):
    written = [measurement("299"), measurement("avg_273_299@7"), measurement("298", value=-0.0)]
    for each in written:
        run.ledger.append(each)
    assert run.ledger.read() == written
    for line in run.ledger.path.read_text(encoding="utf-8").splitlines():
        assert json.loads(line)["schema"] == SCHEMA


def test_empty_ledger(tmp_path):
    assert Ledger(tmp_path / "none").read() == []
    assert Ledger(tmp_path / "none").find("key") is None


def test_find_gives_the_latest_with_the_key(run):
    for each in (measurement("1", key="a"), measurement("2", key="b"), measurement("3", key="a"), measurement("a", key="c")):
        run.ledger.append(each)
    found = run.ledger.find("a")
    assert found is not None and found.candidate == "3"
    assert run.ledger.find("d") is None
    assert run.ledger.find("numpy") is None


def test_find_gives_what_reading_everything_would_give(run):
    draw = np.random.default_rng(0)
    for number in range(60):
        run.ledger.append(measurement(str(number), key=f"k{draw.integers(20)}"))
    everything = run.ledger.read()
    for key in (f"k{number}" for number in range(25)):
        expected = [each for each in everything if each.key == key]
        assert run.ledger.find(key) == (expected[-1] if expected else None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_never_reach_the_ledger(run, value):
    run.ledger.append(measurement())
    with pytest.raises(ValueError):
        run.ledger.append(replace(measurement(), seconds=value))
    with pytest.raises(ValueError):
        run.ledger.append(replace(measurement(), protocol={"a": [value]}))
    assert run.ledger.read() == [measurement()]


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"fid": {"value": float("nan")}}},
        {"composite": {"value": 1.0, "error": float("inf")}},
        {"images": "1000"},
        {"images": 10.5},
        {"key": None},
        {"metrics": [1, 2]},
    ],
)
def test_foreign_lines_that_are_no_measurements_are_named(run, change):
    run.ledger.append(measurement("1"))
    line = {**json.loads(run.ledger.path.read_text()), **change}
    del line["check"]
    with run.ledger.path.open("a") as file:
        file.write(f"\n{json.dumps(line)}\n")
    with pytest.raises(DataError, match=rf"measurements\.jsonl, line 3: not a measurement \({next(iter(change))}.*Remove that line"):
        run.ledger.read()


def test_line_of_a_newer_version_is_refused_as_such(run):
    run.ledger.append(measurement("1"))
    with run.ledger.path.open("a") as file:
        file.write(json.dumps({"schema": SCHEMA + 1, "key": ["of", "another", "shape"]}) + "\n")
    with pytest.raises(DataError, match=f"line 2: written by a newer version of apfgan .schema {SCHEMA + 1}"):
        run.ledger.read()


def test_line_of_another_program_may_lack_the_checksum(run):
    run.ledger.append(measurement("1"))
    line = json.loads(run.ledger.path.read_text())
    del line["check"]
    run.ledger.path.write_text(json.dumps({**line, "note": "from elsewhere"}) + "\n")
    assert run.ledger.read() == [measurement("1")]


def test_ledger_cut_anywhere_keeps_the_lines_before(run):
    written = [measurement("1"), measurement("2")]
    for each in written:
        run.ledger.append(each)
    content = run.ledger.path.read_bytes()
    first = content.index(b"\n") + 1
    for size in range(0, len(content), 7):
        run.ledger.path.write_bytes(content[:size])
        kept = written[: 0 if size < first else 1]
        assert run.ledger.read() == kept
        run.ledger.append(measurement("3"))
        assert run.ledger.read() == [*kept, measurement("3")]


def test_flipped_bit_is_never_another_number(run):
    written = [measurement("1"), measurement("2")]
    for each in written:
        run.ledger.append(each)
    content = run.ledger.path.read_bytes()
    for index in range(len(content)):
        for bit in range(8):
            run.ledger.path.write_bytes(content[:index] + bytes([content[index] ^ 1 << bit]) + content[index + 1 :])
            try:
                found = run.ledger.read()
            except DataError:
                continue
            # The flip was in the word "check", or made the last line an unfinished one.
            assert found == written or (index == len(content) - 1 and found == written[:1])


def test_full_disk_at_any_operation_loses_no_measurement(run, full_disk):
    for count in range(100):
        run.ledger.path.unlink(missing_ok=True)
        run.ledger.append(measurement("1"))
        full_disk.left = count
        try:
            run.ledger.append(measurement("2"))
        except EnvironmentProblem:
            full_disk.left = None
            found = run.ledger.read()
            assert found in ([measurement("1")], [measurement("1"), measurement("2")])
            run.ledger.append(measurement("3"))
            assert run.ledger.read() == [*found, measurement("3")]
        else:
            full_disk.left = None
            break
    assert run.ledger.read() == [measurement("1"), measurement("2")]


def test_read_only_run_can_be_read_but_not_locked(ordinary_user):
    with tempfile.TemporaryDirectory() as name:
        run = Run.create(Path(name) / "run", PRESETS["tiny"])
        run.ledger.append(measurement())
        save(run, "299")
        run.path.chmod(0o555)
        again = Run.open(run.path)
        assert (again.config, again.checkpoint_names(), again.ledger.read()) == (PRESETS["tiny"], ["299"], [measurement()])
        with pytest.raises(EnvironmentProblem, match=r"cannot write in .*Check the folder's permissions"), again.lock():
            pass
        run.path.chmod(0o755)


HOLD = """
import sys, time
from pathlib import Path
from apfgan.runs import Run
with Run(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(600)
"""


def test_second_writer_is_told_who_the_first_is_and_a_killed_one_leaves_no_lock(run):
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"held\n"
            with pytest.raises(EnvironmentProblem, match=f"is being written by process {child.pid} on "), run.lock():
                pass
            assert run.ledger.read() == []  # readers do not wait
            child.send_signal(signal.SIGKILL)
        with run.lock():
            pass


def test_lock_is_given_back_after_an_error_which_stays_what_it_was(run):
    for error in (PermissionError(13, "of something else"), BlockingIOError(11, "of something else"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, run.lock():
            raise error
        assert caught.value is error
    with run.lock(), pytest.raises(EnvironmentProblem, match=f"process {os.getpid()} on"), run.lock():
        pass


def test_whoever_gets_the_lock_clears_away_what_killed_writers_left(run):
    left = [run.checkpoints / ".0a.tmp", run.features / "key" / ".0b.tmp", run.prints / "key" / ".0d.tmp", run.panel / ".0e.tmp"]
    kept = [run.features / "key" / "0000.npz", run.report / ".0c.tmp"]  # a report is written without the lock
    for path in left + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with run.lock():
        assert [path for path in left + kept if path.exists()] == kept


def test_run_that_cannot_be_written_cannot_be_locked(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="cannot write in"), Run(tmp_path / "file").lock():
        pass
