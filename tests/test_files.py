import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from apfgan.errors import DataError, EnvironmentProblem
from apfgan.files import (
    append_line,
    hash_bytes,
    hash_file,
    hash_value,
    read_arrays,
    remove_temporaries,
    write_arrays,
    write_bytes,
    write_durably,
    write_json,
    write_text,
)

ROOT = Path(__file__).parents[1]


def run_until_killed(script: str, *arguments: object, seconds: float) -> None:
    """Run `script` and kill it without warning some time after it said that it is at work."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"at work\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(seconds)
        child.kill()
        assert child.wait() == -signal.SIGKILL


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "value.json"
    write_json(path, {"name": "Köln"})
    write_json(path, {"name": "Århus"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Århus"}
    assert [each.name for each in path.parent.iterdir()] == ["value.json"]


def test_names_up_to_the_file_systems_limit_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"


def test_json_refuses_nan_and_keeps_what_was_there(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_bytes_of_a_file_name_that_are_no_text_survive_in_json(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "a.json", name)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == name


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_rights_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a", "content")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_write_leaves_the_old_content_alone(tmp_path, error):
    path = tmp_path / "a"
    write_text(path, "old")

    def write(file):
        file.write(b"new")
        raise error

    with pytest.raises(error):
        write_durably(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_at_any_operation_leaves_old_or_new_content(tmp_path, full_disk):
    path = tmp_path / "a"
    old, new = b"o" * 500, b"n" * 700
    for count in range(100):
        write_bytes(path, old)
        full_disk.left = count
        try:
            write_bytes(path, new)
        except EnvironmentProblem as problem:
            assert "disk full" in str(problem) and str(path) in str(problem)
        else:
            break
        finally:
            full_disk.left = None
        # Once the new file is in place only the folder's flush is left to fail.
        assert path.read_bytes() in (old, new)
        assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == new
    assert count > 700 // 64


def test_size_limit_of_the_system_leaves_the_old_content(tmp_path):
    """The kernel's own short writes: RLIMIT_FSIZE lets a file grow to so many bytes and no further."""
    path = tmp_path / "a"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (0, 1, 4095, 4096, 99_999):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            with pytest.raises(EnvironmentProblem, match="File too large"):
                write_bytes(path, b"n" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_killed_writer_leaves_old_or_new_content(tmp_path):
    script = """
import sys
from pathlib import Path
from apfgan.files import write_bytes
while True:
    for letter in (b"a", b"b"):
        write_bytes(Path(sys.argv[1]), letter * 300_000)
        print("at work", flush=True)
"""
    path = tmp_path / "a"
    for wait in np.random.default_rng(0).uniform(0, 0.05, size=8):
        run_until_killed(script, path, seconds=wait)
        content = path.read_bytes()
        assert len(content) == 300_000 and content in (b"a" * 300_000, b"b" * 300_000)
    remove_temporaries(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_remove_temporaries_leaves_everything_else(tmp_path):
    for name in ("sub/.0123.tmp", ".0123.tmp", "a.tmp", ".hidden", "sub/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    remove_temporaries(tmp_path / "missing")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [".hidden", "a.tmp", "sub", "sub/b"]


@pytest.mark.parametrize("write", [lambda path: write_text(path, "x"), lambda path: append_line(path, "x")])
def test_places_that_cannot_be_written(tmp_path, write):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnvironmentProblem, match="file/a"):
        write(tmp_path / "file" / "a")
    with pytest.raises(EnvironmentProblem, match="folder"):
        write(tmp_path / "folder")
    with pytest.raises(EnvironmentProblem, match="File name too long"):
        write(tmp_path / ("x" * 256))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("write", [lambda path: write_text(path, "x"), lambda path: append_line(path, "x")])
def test_read_only_folder(write, ordinary_user):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with pytest.raises(EnvironmentProblem, match="Check the folder's permissions"):
            write(folder / "a")
        assert list(folder.iterdir()) == []
        folder.chmod(0o755)


def test_appended_lines_follow_one_another(tmp_path):
    path = tmp_path / "new" / "lines"
    for line in ("one", "zwölf", ""):
        append_line(path, line)
    assert path.read_text(encoding="utf-8") == "one\nzwölf\n\n"


@pytest.mark.parametrize("torn", ["t", "torn" * 50_000])
@pytest.mark.parametrize("whole", ["", "one\n", "one\ntwo\n"])
def test_torn_last_line_is_cut_off(tmp_path, whole, torn):
    path = tmp_path / "lines"
    path.write_text(whole + torn)
    append_line(path, "next")
    assert path.read_text() == whole + "next\n"


def test_full_disk_at_any_operation_of_an_append_loses_no_line(tmp_path, full_disk):
    path = tmp_path / "lines"
    for count in range(100):
        path.unlink(missing_ok=True)
        append_line(path, "first")
        full_disk.left = count
        try:
            append_line(path, "second" * 100)
        except EnvironmentProblem as problem:
            assert "disk full" in str(problem)
        else:
            break
        finally:
            full_disk.left = None
        append_line(path, "third")
        lines = path.read_text().splitlines()
        assert lines in (["first", "third"], ["first", "second" * 100, "third"])
    assert path.read_text() == "first\n" + "second" * 100 + "\n"
    assert count > 600 // 64


def test_killed_appender_leaves_whole_lines_and_one_torn_at_most(tmp_path):
    script = """
import itertools, sys
from pathlib import Path
from apfgan.files import append_line
path = Path(sys.argv[1])
for number in itertools.count(int(sys.argv[2])):
    append_line(path, f"{number} " + "x" * 100_000)
    print("at work", flush=True)
"""
    path = tmp_path / "lines"
    count = 0
    for wait in np.random.default_rng(1).uniform(0, 0.05, size=6):
        run_until_killed(script, path, count, seconds=wait)
        count = path.read_bytes().count(b"\n")
    append_line(path, f"{count} " + "x" * 100_000)
    lines = path.read_text().splitlines()
    assert [line.split()[0] for line in lines] == [str(number) for number in range(count + 1)]
    assert {len(line.split()[1]) for line in lines} == {100_000}


def test_two_processes_append_without_losing_a_line(tmp_path):
    script = """
import sys
from pathlib import Path
from apfgan.files import append_line
for number in range(40):
    append_line(Path(sys.argv[1]), f"{sys.argv[2]} {number} " + "x" * 20_000)
"""
    path = tmp_path / "lines"
    children = [subprocess.Popen([sys.executable, "-c", script, str(path), name], cwd=ROOT) for name in ("a", "b")]
    assert [child.wait() for child in children] == [0, 0]
    lines = [line.split() for line in path.read_text().splitlines()]
    for name in ("a", "b"):
        assert [int(number) for owner, number, _ in lines if owner == name] == list(range(40))
    assert {len(rest) for _, _, rest in lines} == {20_000}


def test_folder_that_cannot_be_flushed_is_no_problem(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(handle):
        if Path(f"/proc/self/fd/{handle}").resolve().is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a", "content")
    assert (tmp_path / "a").read_text() == "content"


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"confusion": np.arange(12, dtype=np.uint32).reshape(3, 4), "stem": np.array(["a", "ü"]), "empty": np.zeros((0, 5)), "file": np.ones(1)}
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_anyone_can_read_arrays(tmp_path):
    write_arrays(tmp_path / "a.npz", {"a": np.arange(3), "b": np.eye(2)})
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["a"], [0, 1, 2])
        np.testing.assert_array_equal(file["b"], [[1, 0], [0, 1]])


def test_equal_arrays_make_equal_files(tmp_path):
    for name in ("a", "b"):
        write_arrays(tmp_path / name, {"a": np.arange(1000)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_object_arrays_are_neither_written_nor_read(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError):
        write_arrays(tmp_path / "a.npz", {"objects": objects})
    assert list(tmp_path.iterdir()) == []
    np.savez(tmp_path / "b.npz", objects=objects)
    content = (tmp_path / "b.npz").read_bytes()[:-2]
    (tmp_path / "b.npz").write_bytes(content + (64).to_bytes(2, "little") + hash_bytes(content).encode())
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays(tmp_path / "b.npz")


def test_damaged_arrays_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"aesthetic": np.array([4.5, 5.25]), "stem": np.array(["0001", "0002"])})
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match="Delete it"):
            read_arrays(path)
    length_of_comment = range(len(content) - 66, len(content) - 64)  # says nothing of the arrays
    for index in set(range(len(content))) - set(length_of_comment):
        path.write_bytes(content[:index] + bytes([content[index] ^ 1 << index % 8]) + content[index + 1 :])
        with pytest.raises(DataError, match="Delete it"):
            read_arrays(path)


def test_missing_arrays_are_told_from_damaged_ones(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "missing.npz")


def test_hashes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert hash_file(tmp_path / "a") == hash_bytes(b"abc") == known
    assert hash_value({"b": [1, None], "a": 0.5}) == hash_value({"a": 0.5, "b": [1, None]}) == hashlib.sha256(b'{"a":0.5,"b":[1,null]}').hexdigest()
    assert len({hash_value(value) for value in (1, 1.5, "1", [1], {"1": 1}, None, True, os.fsdecode(b"\xff"))}) == 8
    with pytest.raises(ValueError):
        hash_value([float("inf")])
