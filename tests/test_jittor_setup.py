"""What Jittor needs before its import: the decisions on made-up machines, oneDNN's folder, and what its import may not take over."""

import ctypes
import importlib.util
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from apfgan import jittor_setup
from apfgan.errors import EnvironmentProblem
from apfgan.jittor_setup import (
    SETTINGS,
    JittorSetup,
    OneDnn,
    choose_settings,
    find_config_script,
    find_nvcc,
    find_onednn,
    find_problems,
    inspect_jittor,
    jittor_home,
    load_jittor,
    onednn_wheel_files,
    place_onednn,
    sees_gpu,
    telling_line,
)

ROOT = Path(__file__).parents[1]

FOLDER = Path(".cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp")
"""Where Jittor 1.3.11 looks for oneDNN below its home on Linux x86_64."""

FINE = JittorSetup(
    version="1.3.11.0",
    compiler="/usr/bin/g++",
    headers="/usr/include/python3.11",
    numpy="1.26.4",
    onednn=OneDnn.in_place,
    nvcc=None,
    gpu=False,
    cuda=False,
    respected={},
    settings={"log_silent": "1", "nvcc_path": ""},
    problems=(),
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has set nothing, and what is set for Jittor goes away with the test."""
    for name in SETTINGS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any machine, the one for which there are wheels."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(jittor_setup.platform, "machine", lambda: "x86_64")


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def made_up_wheels(environment: Path, version: str = "2021.2.0") -> dict[str, bytes]:
    """Install what stands for oneDNN's wheels as pip does; what has to be in oneDNN's folder."""
    site = environment / "lib" / "python3" / "site-packages"
    brought = {
        "onednn_cpu_gomp": {"lib/libmkldnn.so": b"library" * 999, "lib/libdnnl.so.2": b"library" * 999, "share/doc/LICENSE": b"free"},
        "onednn_devel_cpu_gomp": {"include/mkldnn.hpp": b"//", "include/oneapi/dnnl/dnnl.hpp": b"// all", "lib/cmake/dnnl.cmake": b"no"},
    }
    for name, files in brought.items():
        about = site / f"{name}-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
        (about / "RECORD").write_text("".join(f"{os.path.relpath(environment / file, site)},,\n" for file in files))
        for file, content in files.items():
            (environment / file).parent.mkdir(parents=True, exist_ok=True)
            (environment / file).write_bytes(content)
    wanted = {file: content for files in brought.values() for file, content in files.items() if file.startswith("include/")}
    return wanted | dict.fromkeys(("lib/libmkldnn.so", "lib/libdnnl.so.2"), b"library" * 999)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The wheels are installed; what has to be in oneDNN's folder."""
    content = made_up_wheels(tmp_path / "venv")
    monkeypatch.syspath_prepend(tmp_path / "venv" / "lib" / "python3" / "site-packages")
    return content


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_machine_without_a_usable_gpu_is_told_so_and_results_keep_standard_output():
    assert choose_settings({}, cuda=False, script=None) == {"log_silent": "1", "cache_name": "default", "nvcc_path": ""}
    assert "nvcc_path" not in choose_settings({}, cuda=True, script=None)


@pytest.mark.parametrize("value", ["", "0", "of the user's own"])
def test_what_the_user_has_set_stays(value):
    script = Path("/of/its/own/python3-config")
    assert choose_settings(dict.fromkeys(SETTINGS, value), cuda=False, script=script) == {}
    for name in ("log_silent", "cache_name", "nvcc_path", "python_config_path"):
        settings = choose_settings({name: value}, cuda=False, script=script)
        assert name not in settings and len(settings) == 3


def test_jittors_home_is_never_set():
    """It would be remembered for every later run."""
    assert "JITTOR_HOME" not in choose_settings({}, cuda=False, script=Path("/some/script"))


def test_headers_that_jittor_does_not_look_for_are_named(tmp_path, monkeypatch):
    own = executable(tmp_path / "base" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}-config")
    usual = tmp_path / "usr" / "bin" / "python3-config"
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "base"))
    monkeypatch.setattr(jittor_setup, "_usual_config_scripts", lambda: [usual])
    assert find_config_script({}) == own
    assert choose_settings({}, cuda=False, script=own)["python_config_path"] == str(own)
    assert find_config_script({"python_config_path": str(tmp_path / "none")}) == own
    executable(usual)
    assert find_config_script({}) == usual
    assert "python_config_path" not in choose_settings({}, cuda=False, script=usual)
    theirs = executable(tmp_path / "theirs")
    assert find_config_script({"python_config_path": str(theirs)}) == theirs


def test_headers_are_where_the_script_says(tmp_path):
    (tmp_path / "with spaces").mkdir()
    (tmp_path / "with spaces" / "Python.h").touch()
    script = executable(tmp_path / "python3-config")
    script.write_text(f"#!/bin/sh\necho \"-I{tmp_path}/none '-I{tmp_path}/with spaces'\"\n")
    assert jittor_setup._find_headers(script) == str(tmp_path / "with spaces")
    (tmp_path / "with spaces" / "Python.h").unlink()
    assert jittor_setup._find_headers(script) is None
    script.write_text("#!/bin/sh\nexit 1\n")
    assert jittor_setup._find_headers(script) is None
    script.chmod(0o644)
    assert jittor_setup._find_headers(tmp_path / "absent") is None and jittor_setup._find_headers(None) is None


@pytest.mark.parametrize(
    ("environment", "installed", "found"),
    [
        ({}, True, OneDnn.wheels),
        ({}, False, OneDnn.missing),
        ({"use_mkl": "1"}, True, OneDnn.wheels),
        ({"use_mkl": "1"}, False, OneDnn.download),
        ({"use_mkl": "0"}, True, OneDnn.declined),
        ({"use_mkl": ""}, False, OneDnn.declined),
    ],
)
def test_where_onednn_comes_from(tmp_path, linux, environment, installed, found):
    assert find_onednn(tmp_path, environment, wheels=installed) is found


def test_onednn_that_is_there_is_left_alone(tmp_path, linux):
    for part in ("include/mkldnn.hpp", "lib/libmkldnn.so"):
        (tmp_path / FOLDER / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / FOLDER / part).touch()
        assert find_onednn(tmp_path, {}, wheels=True) is OneDnn.wheels
    (tmp_path / FOLDER / "lib" / "libdnnl.so.2").touch()
    assert find_onednn(tmp_path, {}, wheels=False) is OneDnn.in_place


def test_onednn_of_another_platform_is_jittors_affair(tmp_path, linux, monkeypatch):
    monkeypatch.setattr(jittor_setup.platform, "machine", lambda: "aarch64")
    assert find_onednn(tmp_path, {}, wheels=False) is OneDnn.download


def test_onednn_is_put_where_jittor_looks(tmp_path, linux, wheels):
    place_onednn(tmp_path / FOLDER, onednn_wheel_files())
    assert content_of(tmp_path / FOLDER) == wheels
    assert (tmp_path / FOLDER / "lib" / "libdnnl.so.2").is_symlink()
    assert find_onednn(tmp_path, {}, wheels=False) is OneDnn.in_place
    assert [path.name for path in (tmp_path / FOLDER).parent.iterdir() if path.name.startswith("dnnl")] == [FOLDER.name]  # Jittor takes any such


def test_wheels_that_are_not_whole_or_of_another_version_are_none(tmp_path, wheels, monkeypatch):
    (tmp_path / "venv" / "include" / "mkldnn.hpp").unlink()
    assert onednn_wheel_files() == {}
    made_up_wheels(tmp_path / "other", version="2021.3.0")
    monkeypatch.syspath_prepend(tmp_path / "other" / "lib" / "python3" / "site-packages")
    assert onednn_wheel_files() == {}


def test_a_half_made_folder_is_replaced_and_a_whole_one_is_not(tmp_path, wheels):
    folder = tmp_path / FOLDER
    for half in (folder, folder.parent / ".onednn.tmp"):
        (half / "include").mkdir(parents=True)
        (half / "include" / "of_a_killed_process.hpp").touch()
    place_onednn(folder, onednn_wheel_files())
    assert content_of(folder) == wheels
    (folder / "include" / "mkldnn.hpp").write_text("// the user's own")
    place_onednn(folder, onednn_wheel_files())
    assert (folder / "include" / "mkldnn.hpp").read_text() == "// the user's own"


def test_a_kill_at_any_point_leaves_nothing_or_all_of_onednn(tmp_path, wheels, killed_at_flushes):
    folder = tmp_path / FOLDER

    def place() -> None:
        assert not folder.exists()
        place_onednn(folder, onednn_wheel_files())

    assert killed_at_flushes(place, range(100)) > 5
    assert content_of(folder) == wheels


def test_several_processes_at_once_see_nothing_or_all_of_onednn(tmp_path, wheels):
    folder = tmp_path / FOLDER
    script = (
        "import sys; from pathlib import Path; from apfgan.jittor_setup import onednn_wheel_files, place_onednn\n"
        f"sys.path.insert(0, {str(tmp_path / 'venv' / 'lib' / 'python3' / 'site-packages')!r})\n"
        f"place_onednn(Path({str(folder)!r}), onednn_wheel_files())\n"
        f"print(sum(path.is_file() for path in Path({str(folder)!r}).rglob('*')))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    while any(process.poll() is None for process in processes):
        assert not folder.exists() or content_of(folder) == wheels
        time.sleep(0.001)
    assert [process.communicate()[0].strip() for process in processes] == [str(len(wheels))] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert not (folder.parent / ".onednn.tmp").exists()


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path, wheels):
    (tmp_path / ".cache").touch()
    with pytest.raises(EnvironmentProblem, match=r"cannot put oneDNN into .*dnnl_lnx_2\.2\.0_cpu_gomp: Not a directory"):
        place_onednn(tmp_path / FOLDER, onednn_wheel_files())


def test_a_full_disk_leaves_no_half_of_onednn(tmp_path, wheels, full_disk):
    full_disk.left = 3
    with pytest.raises(EnvironmentProblem, match="disk full"):
        place_onednn(tmp_path / FOLDER, onednn_wheel_files())
    assert not (tmp_path / FOLDER).exists()
    full_disk.left = None
    place_onednn(tmp_path / FOLDER, onednn_wheel_files())
    assert content_of(tmp_path / FOLDER) == wheels


def test_jittors_home_is_what_it_is_told_or_remembers_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jittor_home({}) == tmp_path
    memory = tmp_path / ".cache" / "jittor" / "config.json"
    memory.parent.mkdir(parents=True)
    for content, home in (("{}", tmp_path), ('{"JITTOR_HOME": "/elsewhere"}', Path("/elsewhere"))):
        memory.write_text(content)
        assert jittor_home({}) == home
    assert jittor_home({"JITTOR_HOME": "/told"}) == Path("/told")
    assert memory.read_text() == content
    for damaged in ("{", "[]", '{"JITTOR_HOME": 1}'):
        memory.write_text(damaged)
        with pytest.raises(EnvironmentProblem, match=r"config\.json: mend that file or remove it"):
            jittor_home({})
        assert any("config.json" in problem for problem in inspect_jittor().problems)


def test_the_cuda_compiler_is_the_one_that_jittor_takes(tmp_path, monkeypatch):
    path = executable(tmp_path / "bin" / "nvcc")
    monkeypatch.setenv("PATH", str(path.parent))
    assert find_nvcc(tmp_path, {}) == str(path)
    assert find_nvcc(tmp_path, {"nvcc_path": ""}) is None
    theirs = executable(tmp_path / "theirs" / "nvcc")
    assert find_nvcc(tmp_path, {"nvcc_path": str(theirs)}) == str(theirs)
    assert find_nvcc(tmp_path, {"nvcc_path": str(tmp_path / "none")}) is None
    brought = executable(tmp_path / ".cache" / "jittor" / "jtcuda" / "cuda12.2_cudnn8_linux" / "bin" / "nvcc")
    assert find_nvcc(tmp_path, {}) == str(brought)


@pytest.mark.parametrize(("initialised", "counted", "gpus", "seen"), [(0, 0, 1, True), (0, 0, 0, False), (100, 0, 1, False), (0, 3, 1, False)])
def test_a_gpu_is_what_the_driver_counts(monkeypatch, initialised, counted, gpus, seen):
    def count(reference):
        reference._obj.value = gpus
        return counted

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cuInit=lambda flags: initialised, cuDeviceGetCount=count))
    assert sees_gpu() is seen


def test_no_driver_is_no_gpu(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert not sees_gpu()


@pytest.mark.parametrize(("gpu", "cuda"), [(True, True), (False, False)])
def test_cuda_is_a_compiler_and_a_gpu(tmp_path, monkeypatch, gpu, cuda):
    nvcc = executable(tmp_path / "nvcc")
    monkeypatch.setenv("PATH", str(nvcc.parent), prepend=os.pathsep)
    monkeypatch.setattr(jittor_setup, "sees_gpu", lambda: gpu)
    monkeypatch.setenv("HOME", str(tmp_path))
    setup = inspect_jittor()
    assert (setup.nvcc, setup.gpu, setup.cuda) == (str(nvcc), gpu, cuda) and ("nvcc_path" in setup.settings) is not cuda
    monkeypatch.setenv("nvcc_path", "")
    setup = inspect_jittor()
    assert setup.cuda is False and setup.respected == {"nvcc_path": ""} and "nvcc_path" not in setup.settings


def problems(environment: dict[str, str] | None = None, **changes: object) -> tuple[str, ...]:
    setup = replace(FINE, **changes)
    return find_problems(
        environment or {},
        version=setup.version,
        numpy=setup.numpy,
        compiler=setup.compiler,
        headers=setup.headers,
        onednn=setup.onednn,
    )


@pytest.mark.parametrize(
    ("changes", "mends"),
    [
        ({"version": None}, "pip install -e '.[jittor]'"),
        ({"version": "1.3.9.7"}, "pip install -e '.[jittor]'"),
        ({"numpy": "2.0.1"}, "pip install 'numpy<2'"),
        ({"compiler": None}, "apt-get install g++"),
        ({"compiler": None, "environment": {"cc_path": "/no/g++"}}, "cc_path=/no/g++: set it to one, or unset it"),
        ({"compiler": "/usr/bin/c++"}, "/usr/bin/c++ is none of g++, clang++ and icpc: set cc_path"),
        ({"headers": None}, f"apt-get install python3.{sys.version_info.minor}-dev"),
        ({"onednn": OneDnn.missing}, "pip install onednn-cpu-gomp==2021.2.0 onednn-devel-cpu-gomp==2021.2.0"),
    ],
)
def test_each_problem_says_what_mends_it(linux, changes, mends):
    (problem,) = problems(**changes)
    assert mends in problem and problem.endswith(".")


@pytest.mark.parametrize("compiler", ["/usr/bin/x86_64-linux-gnu-g++-12", "/opt/clang++", "/opt/intel/icpc"])
def test_compilers_that_jittor_knows(compiler):
    assert problems(compiler=compiler) == ()


def test_several_problems_are_all_said():
    assert problems() == ()
    assert len(problems(numpy="2.1", compiler=None, headers=None, onednn=OneDnn.missing)) == 4


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RuntimeError("\x1b[31ma.cc: In function f:\na.cc:1: \x1b[1merror: no such file\x1b[0m\n1 error generated.\n"),
            "a.cc:1: error: no such file",
        ),
        (RuntimeError("Check failed: x\n\nSomething wrong...\n"), "Something wrong..."),
        (AssertionError(), "AssertionError"),
        (OSError(101, "Network is unreachable"), "[Errno 101] Network is unreachable"),
        (SystemExit(0), "it has brought itself up to date. Give the same command again"),
    ],
)
def test_the_line_that_says_most(error, line):
    assert telling_line(error) == line


def test_a_long_line_is_cut():
    assert len(telling_line(RuntimeError("Run cmd failed: " + "-I/some/folder " * 99))) <= 200


Pretend = Callable[[str], Path]


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Install a Jittor whose import does what is given, on a machine where all is fine; the file that counts its imports."""
    counter = tmp_path / "imports"

    def install(source: str = "") -> Path:
        (tmp_path / "site" / "jittor").mkdir(parents=True)
        (tmp_path / "site" / "jittor" / "__init__.py").write_text(f"with open({str(counter)!r}, 'a') as file: file.write('1')\n{source}\n")
        monkeypatch.syspath_prepend(tmp_path / "site")
        monkeypatch.setattr(jittor_setup, "inspect_jittor", lambda: FINE)
        monkeypatch.setitem(sys.modules, "jittor", None)
        monkeypatch.delitem(sys.modules, "jittor")
        return counter

    return install


def test_loading_sets_what_is_needed_before_the_import_and_does_it_once(pretend, monkeypatch):
    counter = pretend("import os\nassert os.environ['nvcc_path'] == '' and os.environ['log_silent'] == '1'")
    said: list[str] = []
    load_jittor(said.append)
    monkeypatch.setattr(jittor_setup, "inspect_jittor", None)
    load_jittor(said.append)
    assert counter.read_text() == "1" and said == []


def test_a_long_import_is_told_while_it_lasts(pretend, monkeypatch, capsys):
    monkeypatch.setattr(jittor_setup, "_SLOW", 0.1)
    pretend("import sys, time\nend = time.monotonic() + 10\nwhile not sys.stderr.getvalue() and time.monotonic() < end: time.sleep(0.01)")
    load_jittor()
    out, error = capsys.readouterr()
    begun, done = error.splitlines()
    assert "compiles its core" in begun and "two minutes" in begun and done.startswith("Jittor is loaded, after ") and out == ""


def test_problems_are_said_and_nothing_is_imported(pretend, monkeypatch):
    counter = pretend()
    monkeypatch.setattr(jittor_setup, "inspect_jittor", lambda: replace(FINE, problems=("No compiler: apt-get install g++.",)))
    with pytest.raises(EnvironmentProblem, match=r"No compiler: apt-get install g\+\+\. See: apfgan doctor"):
        load_jittor()
    assert not counter.exists() and "nvcc_path" not in os.environ


@pytest.mark.parametrize(
    ("source", "reason"), [("raise RuntimeError('first\\na.cc:1: error: bad')", "a.cc:1: error: bad"), ("raise SystemExit(0)", "again")]
)
def test_a_failing_import_is_the_machines_problem(pretend, source, reason):
    pretend(source)
    with pytest.raises(EnvironmentProblem, match=f"cannot be imported: .*{reason}.*apfgan doctor"):
        load_jittor(lambda text: None)


def test_a_failing_import_with_a_gpu_says_how_to_leave_it_out(pretend, monkeypatch):
    pretend("raise RuntimeError('no')")
    monkeypatch.setattr(jittor_setup, "inspect_jittor", lambda: replace(FINE, cuda=True))
    with pytest.raises(EnvironmentProblem, match="nvcc_path='' in the environment"):
        load_jittor()


@pytest.mark.parametrize("end", ["", "raise RuntimeError('no')"])
def test_signals_and_the_check_of_certificates_are_given_back(pretend, end):
    def own(number, frame):
        raise AssertionError

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD)
    before = {number: signal.signal(number, own) for number in numbers}
    context = ssl._create_default_https_context
    try:
        pretend(
            "import signal, ssl\nassert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
            "for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD): signal.signal(number, signal.SIG_IGN)\n"
            f"ssl._create_default_https_context = ssl._create_unverified_context\n{end}"
        )
        if end:
            with pytest.raises(EnvironmentProblem):
                load_jittor()
        else:
            load_jittor()
        assert [signal.getsignal(number) for number in numbers] == [own] * 4
        assert ssl._create_default_https_context is context
    finally:
        ssl._create_default_https_context = context
        for number, handler in before.items():
            signal.signal(number, handler)


def test_nothing_heavy_is_imported_to_look():
    script = (
        "import sys; from apfgan.jittor_setup import inspect_jittor; inspect_jittor(); print({'torch', 'jittor', 'jittor_utils'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "set()"


REAL = """
import json, os, signal, ssl, subprocess, sys, urllib.request
class Stopped(BaseException): pass
def stop(number, frame): raise Stopped
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, stop)
context = ssl._create_default_https_context
from apfgan.jittor_setup import SETTINGS, inspect_jittor, load_jittor
setup = inspect_jittor()
load_jittor()
import jittor
total = jittor.nn.conv2d(jittor.ones((1, 1, 4, 4)), jittor.ones((1, 1, 3, 3))).sum().item()
child = subprocess.Popen(["sleep", "60"])
child.kill()
child.wait()
children = [line.split()[0] for line in open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().splitlines()]
try:
    os.kill(os.getpid(), signal.SIGINT)
    stopped = False
except Stopped:
    stopped = True
set_now = {name: os.environ[name] for name in setup.settings}
print(json.dumps({"total": total, "mkl": jittor.mkl_ops is not None, "set": set_now, "planned": setup.settings, "stopped": stopped,
                  "children": children, "checked": ssl._create_default_https_context is context}))
"""


@pytest.mark.jittor
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_real_jittor_is_loaded_and_leaves_the_process_as_it_was():
    """Its convolution is oneDNN's; standard output holds results alone; a killed child and Ctrl-C are ours, and nothing is said when it ends."""
    done = subprocess.run([sys.executable, "-c", REAL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["total"] == 36 and found["mkl"] and found["checked"] and found["stopped"]
    assert found["children"] == [] and found["set"] == found["planned"] and "log_silent" in found["set"]
    assert "Traceback" not in done.stderr


def test_a_jittor_that_is_installed_is_found():
    assert (inspect_jittor().version is None) is (importlib.util.find_spec("jittor") is None)
