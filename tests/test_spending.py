"""What commands cost: a line for each that ends, with what was measured, found and drawn."""

import functools
import json
import resource
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageFilter

import selection.evaluation
from apfgan.checked_lines import check_line, checked_line
from apfgan.config import PRESETS
from apfgan.errors import DataError, EnvironmentProblem, UsageError
from apfgan.landscapes import make_landscapes
from apfgan.runs import Run
from apfgan.spending import booking, read_spending
from commands.stopping import Stopped

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", PRESETS["tiny"])


def test_a_command_that_ends_leaves_a_line(run: Run) -> None:
    with booking(run, "score") as account:
        account.measured, account.found, account.drawn = 3, 2, 96
    (line,) = read_spending(run)
    assert (line.command, line.ended, line.measured, line.found, line.drawn) == ("score", "finished", 3, 2, 96)
    assert 0 <= line.seconds < 60 and datetime.strptime(line.started, "%Y-%m-%dT%H:%M:%S%z")
    if sys.platform == "linux":
        assert 2**22 < line.peak_memory <= 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    assert line.peak_device_memory is None


def test_memory_of_gpus_is_that_of_the_fullest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 3, max_memory_reserved=lambda index: [5, 9, 7][index])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with booking(run, "score"):
        pass
    assert read_spending(run)[0].peak_device_memory == 9


@pytest.mark.parametrize(("error", "ended"), [(Stopped(130), "stopped"), (DataError("no"), "failed")])
def test_so_does_one_that_is_stopped_or_fails(run: Run, error: BaseException, ended: str) -> None:
    with pytest.raises(type(error)), booking(run, "pick") as account:
        account.drawn = 5
        raise error
    (line,) = read_spending(run)
    assert (line.ended, line.drawn) == (ended, 5)


def test_one_that_is_refused_has_cost_nothing(run: Run) -> None:
    with pytest.raises(UsageError), booking(run, "merge"):
        raise UsageError("no")
    assert not run.costs.exists()


def test_an_error_is_told_even_where_its_cost_cannot_be_written(run: Run, full_disk) -> None:
    full_disk.left = 0
    with pytest.raises(DataError), booking(run, "score"):
        raise DataError("the reason")
    with pytest.raises(EnvironmentProblem, match="disk full"), booking(run, "score"):
        pass


def test_damaged_lines_are_left_out(run: Run) -> None:
    for name in ("train", "score", "pick"):
        with booking(run, name):
            pass
    lines = run.costs.read_bytes().splitlines(keepends=True)
    newer = checked_line(json.dumps(json.loads(lines[0]) | {"schema": 99})).encode() + b"\n"
    run.costs.write_bytes(lines[0] + lines[1].replace(b'"score"', b'"scare"') + b"[1]\n\n" + newer + lines[2] + b'{"command": "torn')
    assert [each.command for each in read_spending(run)] == ["train", "pick"]
    run.costs.unlink()
    assert read_spending(run) == []


def test_a_checked_line_tells_every_flipped_bit_of_its_content() -> None:
    line = checked_line('{"value": 0.5, "name": "é"}').encode()
    assert json.loads(line)["value"] == 0.5 and check_line(line) and check_line(b'{"value": 0.5}')
    for position in range(1, len(line) - len(', "check": "01234567"}')):
        assert not check_line(line[:position] + bytes([line[position] ^ 1]) + line[position + 1 :]), position


def test_evaluations_that_were_made_and_found_are_told_apart(apfgan: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection.evaluation, "fit", functools.partial(selection.evaluation.fit, steps=40))
    make_landscapes(tmp_path / "data", train=10, test=6, width=64, height=48)
    for name, blur in (("one", 0.5), ("two", 2.0)):
        (tmp_path / name).mkdir()
        for photo in (tmp_path / "data" / "test" / "imgs").iterdir():
            with Image.open(photo) as image:
                image.filter(ImageFilter.GaussianBlur(blur)).save(tmp_path / name / f"{photo.stem}.png")
    run = Run(tmp_path / "run")
    score = ("score", "--run", run.path, "--data", tmp_path / "data", "-q")
    one, two = ("--images", tmp_path / "one"), ("--images", tmp_path / "two")
    for arguments in (one, (*one, *two), (*one, *two), (*one, *two, "--board", "B")):
        code, _, error = apfgan(*score, *arguments)
        assert code == 0, error
    told = [(each.command, each.ended, each.measured, each.found, each.drawn) for each in read_spending(run)]
    assert told == [
        ("score", "finished", 1, 0, 6),
        ("score", "finished", 1, 1, 6),
        ("score", "finished", 0, 2, 0),
        ("score", "finished", 2, 0, 0),  # another formula: new numbers of the same images
    ]
    assert apfgan(*score, *one, "--labels", tmp_path / "nowhere")[0] == 3
    assert len(read_spending(run)) == 4  # it failed before it held the run
