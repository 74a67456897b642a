"""What Jittor needs before its import: found out, set, and told to `apfgan doctor`.

Jittor is steered by environment variables and by files below the home folder, all of them read while it is imported. Its own choices fail on
many machines: a CUDA toolkit without a GPU, no network to fetch its oneDNN from, a Python whose headers it does not look for. So the choice is
made here; what the user has set in the environment stays as it is, and an empty value is one. `JITTOR_HOME` is never set: Jittor remembers it
for every later run.
"""

import atexit
import ctypes
import fcntl
import importlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from textwrap import shorten
from typing import Any

from apfgan.errors import EnvironmentProblem
from apfgan.files import write_bytes
from apfgan.progress import Lines, describe_seconds

SETTINGS = ("JITTOR_HOME", "cache_name", "cc_path", "log_silent", "nvcc_path", "python_config_path", "use_mkl")
"""The environment variables of Jittor's that matter here; a user's own are respected."""

INSTALL = "pip install -e '.[jittor]'"
"""The command that installs Jittor and the wheels that it needs."""

_LEAST_VERSION = (1, 3, 11)
_ONEDNN_WHEELS = ("onednn-cpu-gomp", "onednn-devel-cpu-gomp")
_ONEDNN_VERSION = "2021.2.0"  # how the wheels call oneDNN 2.2
_ONEDNN_PARTS = ("include/mkldnn.hpp", "lib/libmkldnn.so")
_ONEDNN_ALIAS = "lib/libdnnl.so.2"  # Jittor links the library by the name above, and the loader looks for it by this one
_SLOW = 3.0  # seconds; importing a core that is compiled already takes about one


class OneDnn(StrEnum):
    """Where Jittor gets oneDNN, the library for convolutions on the CPU."""

    in_place = "in place"
    wheels = "wheels"
    """From the installed wheels, at the first use."""
    download = "download"
    """Jittor's own affair: it downloads it at the first use."""
    declined = "declined"
    """The user does without (`use_mkl`)."""
    missing = "missing"


@dataclass(frozen=True)
class JittorSetup:
    """What Jittor finds on this machine, and what is set for it."""

    version: str | None
    """None where it is not installed."""
    compiler: str | None
    headers: str | None
    """Folder of Python's headers, as the compiler is told it."""
    numpy: str
    onednn: OneDnn
    nvcc: str | None
    """The compiler for CUDA that Jittor takes."""
    gpu: bool
    """Whether the driver has a GPU for this process."""
    cuda: bool
    """Whether Jittor can compute on the GPU: with both."""
    respected: Mapping[str, str]
    """Those of `SETTINGS` that the user has set."""
    settings: Mapping[str, str]
    """Environment variables that are set before the import."""
    problems: tuple[str, ...]
    """Why Jittor cannot be used here, each a sentence with what mends it; none where it can."""


def load_jittor(say: Callable[[str], None] | None = None) -> None:
    """Set what Jittor needs, and import it; does nothing where that has been done.

    `say` is told when it takes long, which is when Jittor compiles its core; without it, standard error is. Raises `EnvironmentProblem` where
    Jittor cannot be used, with what mends it.
    """
    if "jittor" in sys.modules:
        return
    setup = inspect_jittor()
    if setup.problems:
        raise EnvironmentProblem(f"Jittor cannot be used here. {' '.join(setup.problems)} See: apfgan doctor")
    if setup.onednn is OneDnn.wheels:
        place_onednn(_onednn_folder(jittor_home(os.environ)), onednn_wheel_files())
    os.environ.update(setup.settings)
    with _telling(say or Lines().say), _undisturbed():
        try:
            importlib.import_module("jittor")
        except (Exception, SystemExit) as error:
            hint = "; nvcc_path='' in the environment leaves the GPU out" if setup.cuda else ""
            raise EnvironmentProblem(f"Jittor cannot be imported: {telling_line(error)} (see: apfgan doctor{hint})") from error


def inspect_jittor() -> JittorSetup:
    """What Jittor would find here, without importing it; nothing is set or written."""
    environment = os.environ
    script = find_config_script(environment)
    compiler = shutil.which(environment.get("cc_path", _usual_compiler()))
    headers = _find_headers(script)
    unreadable: tuple[str, ...] = ()
    try:
        home = jittor_home(environment)
    except EnvironmentProblem as problem:
        home, unreadable = Path.home(), (str(problem),)
    version, numpy = _version("jittor"), metadata.version("numpy")
    onednn = find_onednn(home, environment, wheels=bool(onednn_wheel_files()))
    nvcc, gpu = find_nvcc(home, environment), sees_gpu()
    cuda = gpu and nvcc is not None
    problems = find_problems(environment, version=version, numpy=numpy, compiler=compiler, headers=headers, onednn=onednn)
    return JittorSetup(
        version=version,
        compiler=compiler,
        headers=headers,
        numpy=numpy,
        onednn=onednn,
        nvcc=nvcc,
        gpu=gpu,
        cuda=cuda,
        respected={name: environment[name] for name in SETTINGS if name in environment},
        settings=choose_settings(environment, cuda=cuda, script=script),
        problems=unreadable + problems,
    )


def choose_settings(environment: Mapping[str, str], *, cuda: bool, script: Path | None) -> dict[str, str]:
    """The environment variables to set for Jittor: none that the user has set, and none that it does without.

    `script` tells where Python's headers are; `find_config_script`.
    """
    wanted = {
        "log_silent": "1",  # it begins its log on standard output, where results go
        "cache_name": "default",  # else the git branch around the installation: a core for each
    }
    if not cuda:
        wanted["nvcc_path"] = ""  # else it takes an nvcc without a GPU, or downloads one for a GPU without
    if script is not None and script not in _usual_config_scripts():
        wanted["python_config_path"] = str(script)
    return {name: value for name, value in wanted.items() if name not in environment}


def find_problems(
    environment: Mapping[str, str], *, version: str | None, numpy: str, compiler: str | None, headers: str | None, onednn: OneDnn
) -> tuple[str, ...]:
    """What keeps Jittor from working, each a sentence with what mends it; `JittorSetup` explains the arguments."""
    python = f"python{_python_version()}"
    if version is None:
        other = f" in an environment with Python 3.11 or 3.12; this is {_python_version()}" if sys.version_info >= (3, 13) else ""
        return (f"Jittor is not installed: {INSTALL}{other}.",)
    problems = []
    if _numbers(version) < _LEAST_VERSION:
        problems.append(f"Jittor {version} is too old, {'.'.join(map(str, _LEAST_VERSION))} is needed: {INSTALL}.")
    if _numbers(numpy) >= (2,):
        problems.append(f"NumPy {numpy} is too new for Jittor: pip install 'numpy<2'.")
    if compiler is None and "cc_path" in environment:
        problems.append(f"There is no compiler at cc_path={environment['cc_path']}: set it to one, or unset it.")
    elif compiler is None:
        problems.append(f"There is no C++ compiler, {_usual_compiler()}: apt-get install g++ (or set cc_path to one).")
    elif not re.search(r"g\+\+|clang|icc|icpc", Path(compiler).name):
        problems.append(f"Jittor knows a compiler by its name, and {compiler} is none of g++, clang++ and icpc: set cc_path to one of them.")
    if headers is None:
        problems.append(f"Python's headers are missing: apt-get install {python}-dev (or set python_config_path to this Python's {python}-config).")
    if onednn is OneDnn.missing:
        wheels = " ".join(f"{wheel}=={_ONEDNN_VERSION}" for wheel in _ONEDNN_WHEELS)
        problems.append(
            f"oneDNN is missing: pip install {wheels}. Jittor would download it while it is imported (set use_mkl=1 to have it do so); without it "
            "(use_mkl=0) convolutions on the CPU are about 100 times slower."
        )
    return tuple(problems)


def find_onednn(home: Path, environment: Mapping[str, str], *, wheels: bool) -> OneDnn:
    """Where Jittor with this home gets oneDNN; `wheels` says whether those that hold it are installed."""
    if environment.get("use_mkl", "1") != "1":
        return OneDnn.declined
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return OneDnn.download
    if _is_whole(_onednn_folder(home)):
        return OneDnn.in_place
    if wheels:
        return OneDnn.wheels
    return OneDnn.download if "use_mkl" in environment else OneDnn.missing


def onednn_wheel_files() -> dict[str, Path]:
    """The files of oneDNN that the installed wheels brought, by where they belong in its folder; none where they are not all there."""
    if any(_version(wheel) != _ONEDNN_VERSION for wheel in _ONEDNN_WHEELS):
        return {}
    found = {}
    for file in (file for wheel in _ONEDNN_WHEELS for file in metadata.files(wheel) or ()):
        within = str(file).lstrip("./")  # they lie beside the packages' folder: ../../../include/mkldnn.hpp
        if file.name == "libmkldnn.so" or within.startswith("include/"):
            found[f"lib/{file.name}" if file.name == "libmkldnn.so" else within] = Path(str(file.locate()))
    whole = all(part in found for part in _ONEDNN_PARTS) and all(path.is_file() for path in found.values())
    return found if whole else {}


def place_onednn(folder: Path, files: Mapping[str, Path]) -> None:
    """Copy oneDNN to the folder where Jittor looks for it. Whoever looks sees all of it or nothing; of two that do it at once, the second waits.

    `files`: `onednn_wheel_files`. Raises `EnvironmentProblem` when it cannot be written.
    """
    unfinished = folder.parent / ".onednn.tmp"  # Jittor takes any folder there whose name begins with "dnnl"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / ".onednn.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_whole(folder):
                return
            for half in (unfinished, folder):  # of a process that was killed, Jittor's own download among them
                if half.exists():
                    shutil.rmtree(half)
            for name, source in files.items():
                write_bytes(unfinished / name, source.read_bytes())
            (unfinished / _ONEDNN_ALIAS).symlink_to(Path(_ONEDNN_PARTS[-1]).name)
            unfinished.rename(folder)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot put oneDNN into {folder}: {error.strerror or error}. Check the folder's permissions and its disk."
        ) from error


def jittor_home(environment: Mapping[str, str]) -> Path:
    """The folder below which Jittor keeps its files, `.cache/jittor`: the one that it is told, that it remembers, or the user's home.

    Raises `EnvironmentProblem` when what it remembers cannot be read.
    """
    if "JITTOR_HOME" in environment:
        return Path(environment["JITTOR_HOME"]).absolute()
    memory = Path.home() / ".cache" / "jittor" / "config.json"
    try:
        return Path(json.loads(memory.read_bytes()).get("JITTOR_HOME", Path.home())).absolute()
    except FileNotFoundError:
        return Path.home()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EnvironmentProblem(f"Jittor cannot read its settings, {memory}: mend that file or remove it.") from error


def find_nvcc(home: Path, environment: Mapping[str, str]) -> str | None:
    """The compiler for CUDA that Jittor with this home takes; None where there is none, or where the user wants none."""
    if "nvcc_path" in environment:
        return shutil.which(environment["nvcc_path"])
    brought = sorted((home / ".cache" / "jittor" / "jtcuda").glob("*/bin/nvcc"))  # by python -m jittor_utils.install_cuda
    usual = (f"{folder}/nvcc" for folder in ("/usr/local/cuda/bin", "/usr/bin", "/opt/cuda/bin"))
    return next(filter(None, map(shutil.which, [*map(str, brought), "nvcc", *usual])), None)


def sees_gpu() -> bool:
    """Whether the driver has an NVIDIA GPU for this process."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def find_config_script(environment: Mapping[str, str]) -> Path | None:
    """The script that tells Jittor where Python's headers are: the one that it finds, or else this Python's own, in whatever folder that is."""
    own = Path(sys.base_prefix, "bin", f"python{_python_version()}-config")
    told = [Path(environment["python_config_path"])] if "python_config_path" in environment else []
    return next((script for script in (*told, *_usual_config_scripts(), own) if script.is_file()), None)


def telling_line(error: BaseException) -> str:
    """The line of an import's failure that says most, in at most 200 characters."""
    if isinstance(error, SystemExit):
        return "it has brought itself up to date. Give the same command again"
    lines = [line for line in re.sub(r"\x1b\[[\d;]*m", "", str(error)).splitlines() if line.strip()]
    telling = next((line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)), lines[-1] if lines else type(error).__name__)
    return shorten(telling, 200, placeholder=" ...")


@contextmanager
def _telling(say: Callable[[str], None]) -> Iterator[None]:
    """Tell when what happens within takes long, and when it is done."""
    began = time.monotonic()
    timer = threading.Timer(
        _SLOW, say, ["Loading Jittor. At its first use it compiles its core for this machine and Python: about two minutes, once."]
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
    if (seconds := time.monotonic() - began) > _SLOW:
        say(f"Jittor is loaded, after {describe_seconds(seconds)}.")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Give back what Jittor's import takes over.

    It ends the process without a word when Ctrl-C is pressed or a child is killed, checks no certificate of any HTTPS server from then on, and keeps
    the processes that it compiles with. These are forked from this one: they must not share our handler of the signal that ends them.
    """
    with_signals = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD)
    handlers = {number: signal.getsignal(number) for number in numbers if with_signals}
    context = ssl._create_default_https_context
    for number in handlers:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        _end_compilers()
        ssl._create_default_https_context = context
        for number, handler in handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _end_compilers() -> None:
    """End the processes that Jittor has compiled its core with; it starts others should it need them."""
    helpers: Any = sys.modules.get("jittor_utils")
    if getattr(helpers, "pool_size", 0):
        atexit.unregister(helpers.pool_cleanup)
        helpers.pool_cleanup()
        helpers.pool_size = 0


def _onednn_folder(home: Path) -> Path:
    return home / ".cache" / "jittor" / "mkl" / "dnnl_lnx_2.2.0_cpu_gomp"


def _is_whole(folder: Path) -> bool:
    return all((folder / part).is_file() for part in (*_ONEDNN_PARTS, _ONEDNN_ALIAS))


def _usual_compiler() -> str:
    return "clang++" if sys.platform == "darwin" else "g++"


def _usual_config_scripts() -> list[Path]:
    """Where Jittor looks for the script, in its order."""
    name = f"python{_python_version()}-config"
    beside = Path(sys.executable).parent
    return [beside / name, Path(f"{sys.executable}-config"), Path("/usr/bin", name), Path("/usr/local/bin", name), beside / "python3-config"]


def _find_headers(script: Path | None) -> str | None:
    """The folder with `Python.h` that a script names; None where there is none."""
    try:
        told = subprocess.run([str(script), "--includes"], capture_output=True, text=True, check=True).stdout if script else ""
    except (OSError, subprocess.CalledProcessError):
        return None
    folders = [each.removeprefix("-I") for each in shlex.split(told)]
    return next((folder for folder in folders if Path(folder, "Python.h").is_file()), None)


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """`(1, 3, 11, 0)` for `1.3.11.0`."""
    return tuple(map(int, re.findall(r"\d+", version)))
