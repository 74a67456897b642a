"""Executors: equal numbers wherever units are examined, and what is left when workers, machines or whoever asks are killed.

As a program this file is one that asks: `python test_executors.py local|cluster|join FOLDER [ADDRESS]`.
"""

import functools
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

import selection.evaluation
from apfgan.backend import state_arrays
from apfgan.candidates import Candidate
from apfgan.checkpoints import save_checkpoint
from apfgan.config import Config, DataConfig, ModelConfig
from apfgan.errors import DataError, EnvironmentProblem, UsageError, WeightsError
from apfgan.files import hash_file, read_arrays
from apfgan.landscapes import make_landscapes
from apfgan.networks import build_painter
from apfgan.progress import SILENT, Progress, Silent
from apfgan.ranking import Entry
from apfgan.runs import Run
from selection.evaluation import Evaluation, open_bench
from selection.examining import Examiner
from selection.executors import ray_cluster
from selection.executors.executor import Failure
from selection.executors.local import worker_environments
from selection.executors.opening import ExecutorKind, open_executor
from selection.executors.scheduling import RETRIES, Answer, Lost, Scheduler
from selection.executors.worker import Refusal, Worker, WorkOrder
from selection.measuring import Bench
from selection.units import Outcome, Part, Unit

ROOT = Path(__file__).parents[1]
PICO = Config(data=DataConfig(width=64, height=48, load_width=72), model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0))
DAMAGED = Unit(Candidate(("3",)))
UNITS = [
    Unit(Candidate(("4",))),
    Unit(Candidate(("5",))),
    Unit(Candidate(("0",))),
    Unit(Candidate(("0", "1"), (0.25, 0.75))),
    Unit(Candidate(("2",)), Part(0, 4)),
    DAMAGED,
    Unit(Candidate(("0",), seed=7)),
    Unit(Candidate(("2",))),
]
TOKEN = "0123456789abcdef" * 4
STORE = 80 * 2**20
PATIENCE = 100.0


class Said(Silent):
    """What is said to the person who waits."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def asked(folder: Path) -> tuple[Bench, WorkOrder]:
    """The bench of the run in a folder, and the order to open it again."""
    evaluation = Evaluation(data=folder / "data")
    bench = open_bench(Run.open(folder / "run"), evaluation, pictures=False)
    return bench, WorkOrder.of(bench, evaluation)


def examine_all(
    folder: Path, kind: ExecutorKind, *, workers: int | None = None, address: str | None = None, progress: Progress = SILENT
) -> list[Failure]:
    """Measure all units in a folder's run; what failed."""
    bench, order = asked(folder)
    with bench.run.lock(), open_executor(kind, bench, order, workers=workers, address=address, progress=progress) as executor:
        examiner = Examiner(bench, executor)
        assert set(examiner(UNITS)) == set(UNITS) - {failure.unit for failure in examiner.failures}
    return examiner.failures


def found_in(folder: Path) -> dict[str, Any]:
    """Everything that a ledger, its influences and prints hold but for time and place, by candidate and part; no two lines are alike."""
    run = Run.open(folder / "run")
    lines = run.ledger.read()
    found = {
        f"{each.candidate} {each.part}": {
            **asdict(replace(each, seconds=0.0, device="")),
            **{name: array.tolist() for name, array in read_arrays(run.influences.folder / f"{each.key}.npz").items()},
            "prints": {path.name: hash_file(path) for path in (run.prints / each.observations).glob("[0-9]*.zip")},
        }
        for each in lines
    }
    assert len(found) == len(lines) and all(each["prints"] for each in found.values())
    return found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, and a run of checkpoints, one of them damaged, whose judges are fitted already."""
    folder = tmp_path_factory.mktemp("prepared")
    make_landscapes(folder / "data", train=8, test=6, width=64, height=48)
    run = Run.create(folder / "run", PICO)
    for epoch in range(6):
        save_checkpoint(run, str(epoch), state_arrays(build_painter(PICO, seed=epoch)), epoch=epoch)
    content = bytearray(run.checkpoint_path("3").read_bytes())
    content[-3] ^= 1
    run.checkpoint_path("3").write_bytes(bytes(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection.evaluation, "fit", functools.partial(selection.evaluation.fit, steps=60))
        asked(folder)
    return folder


def copied(prepared: Path, folder: Path) -> Path:
    """The same run elsewhere, in which nothing is measured yet."""
    return Path(shutil.copytree(prepared, folder))


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    return copied(prepared, tmp_path / "all")


@pytest.fixture(scope="module")
def expected(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What this process finds."""
    folder = copied(prepared, tmp_path_factory.mktemp("inline") / "all")
    (failure,) = examine_all(folder, "inline")
    assert failure.unit == DAMAGED and isinstance(failure.error, WeightsError)
    found = found_in(folder)
    assert len(found) == len(UNITS) - 1 and len({json.dumps(each) for each in found.values()}) == len(found)
    return found


class Blocked:
    """Checkpoints that are pipes: who reads one waits until it is let go."""

    def __init__(self, folder: Path, *names: str) -> None:
        self._paths = [Run.open(folder / "run").checkpoint_path(name) for name in names]
        self._contents = [path.read_bytes() for path in self._paths]
        for path in self._paths:
            path.unlink()
            os.mkfifo(path)
        self._handles: list[int] = []

    def wait(self) -> list[int]:
        """The processes that read, once there is one for each. Who opens the checkpoints from now on finds files."""
        for path, content in zip(self._paths, self._contents, strict=True):
            self._handles.append(_soon(functools.partial(_open_for_a_reader, path)))
            path.with_suffix(".whole").write_bytes(content)
            path.with_suffix(".whole").rename(path)
        return _soon(lambda: readers if len(readers := self.readers()) == len(self._paths) else None)

    def readers(self) -> list[int]:
        """The processes that wait now."""
        pipes = {(status.st_dev, status.st_ino) for status in map(os.fstat, self._handles)}
        found = set()
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if ((status := link.stat()).st_dev, status.st_ino) in pipes:
                    found.add(int(link.parts[2]))
        return sorted(found - {os.getpid()})

    def let_go(self) -> None:
        """Who waits still gets what it waits for."""
        for handle, content in zip(self._handles, self._contents, strict=True):
            with suppress(BrokenPipeError), os.fdopen(handle, "wb") as file:
                file.write(content)


def _open_for_a_reader(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads yet
        return None
    os.set_blocking(handle, True)
    return handle


def _soon(look: Callable[[], Any]) -> Any:
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def _gone(process: int) -> bool | None:
    with suppress(OSError):
        return True if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z" else None
    return True


def _program(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """This file as a process that asks, in a group of its own as at a terminal."""
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_processes_find_what_one_finds_though_one_is_killed(folder: Path, expected: dict[str, Any]) -> None:
    blocked, said = Blocked(folder, "4"), Said()

    def kill() -> None:
        (reader,) = blocked.wait()
        os.kill(reader, signal.SIGKILL)

    Thread(target=kill, daemon=True).start()
    (failure,) = examine_all(folder, "local", workers=2, progress=said)
    assert failure.unit == DAMAGED and isinstance(failure.error, WeightsError) and "SHA-256 differs" in str(failure.error)
    assert found_in(folder) == expected
    (line,) = said.lines
    assert "killed by SIGKILL" in line and "4 is tried again" in line


def test_workers_end_with_whoever_asks_and_the_rest_is_done_later(folder: Path, expected: dict[str, Any]) -> None:
    first, second = Blocked(folder, "4"), Blocked(folder, "5")
    with _program("local", folder) as asking:
        (worker,) = first.wait()
        os.killpg(asking.pid, signal.SIGINT)  # Ctrl-C
        assert asking.stdout is not None and asking.stdout.readline() == "interrupted\n"
        assert _soon(lambda: _gone(worker))
        (worker,) = second.wait()
        asking.kill()
        assert _soon(lambda: _gone(worker))
        output, error = asking.communicate()
    assert (output, error) == ("", "")
    assert found_in(folder).items() <= expected.items()
    examine_all(folder, "inline")
    assert found_in(folder) == expected


def test_a_worker_that_would_measure_something_else_refuses(folder: Path, tmp_path: Path) -> None:
    _, order = asked(folder)
    cases = {
        "reference differ": replace(order, protocol={**order.protocol, "reference": {"key": "others", "photos": 8}}),
        "judges, torch differ": replace(order, protocol={**order.protocol, "judges": {}}, versions={**order.versions, "torch": "1.0"}),
        "same paths": replace(order, run=tmp_path / "elsewhere"),
        "not a run": replace(order, run=folder),
    }
    for message, other in cases.items():
        refusal = Worker().open(other)
        assert refusal is not None and message in str(refusal.error)
        assert isinstance(refusal.error, UsageError if message == "not a run" else EnvironmentProblem)


def test_a_mistake_of_ours_is_told_with_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    monkeypatch.chdir(folder)
    assert worker.open(asked(folder)[1]) is None
    monkeypatch.setattr("selection.executors.inline.examine", lambda *_, **__: 1 // 0)
    refusal = worker.examine(DAMAGED)
    assert isinstance(refusal, Refusal) and type(refusal.error) is RuntimeError and "ZeroDivisionError" in str(refusal.error)


class Pool:
    """Workers that are numbers and follow a script: what each answers to being started, and to a unit."""

    def __init__(self, room: int, births: Sequence[Answer] = (), deaths: dict[str, int] | None = None) -> None:
        self.room = room
        self.births = deque(births)
        self.deaths = deaths or {}
        self.started = 0
        self.alive: set[int] = set()
        self.news: deque[tuple[int, Answer]] = deque()
        self.given: list[str] = []

    def start(self, count: int) -> list[int]:
        workers = list(range(self.started, self.started + count))
        self.started += count
        self.alive |= set(workers)
        self.news += [(worker, self.births.popleft() if self.births else None) for worker in workers]
        return workers

    def give(self, worker: int, unit: Unit) -> None:
        assert worker in self.alive
        name = str(unit.candidate)
        self.given.append(name)
        if self.deaths.get(name, 0):
            self.deaths[name] -= 1
            self.news.append((worker, Lost("fell over")))
        elif name == "bad":
            self.news.append((worker, Failure(unit, DataError("bad"))))
        elif name == "full":
            self.news.append((worker, Refusal(EnvironmentProblem("disk full"))))
        else:
            self.news.append((worker, Outcome(unit, Entry(name, {}, {}))))

    def listen(self, seconds: float) -> tuple[int, Answer] | None:
        if not self.news:
            return None
        worker, answer = self.news.popleft()
        if isinstance(answer, Lost):
            self.stop(worker)
        return worker, answer

    def stop(self, worker: int) -> None:
        self.alive.remove(worker)
        self.news = deque(each for each in self.news if each[0] != worker)


def named(*names: str) -> list[Unit]:
    return [Unit(Candidate((name,))) for name in names]


def results(scheduler: Scheduler[int], *names: str) -> list[str]:
    """The names of what came, failures with a `!`."""
    return [f"{each.unit.candidate}{'!' * isinstance(each, Failure)}" for each in scheduler.run(named(*names))]


def test_units_are_handed_out_one_at_a_time() -> None:
    pool = Pool(3)
    scheduler = Scheduler(pool)
    assert scheduler.parallel == 3
    assert sorted(results(scheduler, "a", "bad", "c", "d", "e")) == ["a", "bad!", "c", "d", "e"]
    assert pool.started == 3 and pool.alive == {0, 1, 2}
    assert results(scheduler, "f") == ["f"] and pool.started == 3  # they stay
    assert results(Scheduler(few := Pool(8)), "a", "b") == ["a", "b"] and few.started == 2  # no more than there is to do
    assert results(Scheduler(Pool(2))) == []


@pytest.mark.parametrize("deaths", range(RETRIES + 2))
def test_a_unit_is_tried_again_when_its_worker_dies(deaths: int) -> None:
    pool, said = Pool(2, deaths={"b": deaths}), Said()
    found = results(Scheduler(pool, said), "a", "b", "c")
    assert sorted(found) == ["a", "b!" if deaths > RETRIES else "b", "c"]
    assert pool.given.count("b") == min(deaths, RETRIES) + 1 and pool.given.count("a") == pool.given.count("c") == 1
    assert len(said.lines) == min(deaths, RETRIES) and len(pool.alive) <= 2


def test_workers_that_die_before_they_are_ready() -> None:
    lost = Lost("cannot import it")
    assert sorted(results(Scheduler(Pool(2, [lost])), "a", "b")) == ["a", "b"]
    pool = Pool(2, [lost] * 9)
    with pytest.raises(EnvironmentProblem, match=r"no worker is left: the last one cannot import it.*same command goes on"):
        results(Scheduler(pool), "a", "b")
    assert pool.started <= 4 and not pool.alive and not pool.given


def test_a_refusal_stops_all() -> None:
    for pool in (Pool(2, [None, Refusal(EnvironmentProblem("disk full"))]), Pool(2)):
        with pytest.raises(EnvironmentProblem, match=r"^disk full$"):
            results(Scheduler(pool), "a", "full", "c")
        assert len(pool.alive) <= 1  # neither the one that refused nor one that had something in hand


def test_room_that_comes_and_goes() -> None:
    pool = Pool(1)
    scheduler = Scheduler(pool)
    run = scheduler.run(named(*"abcdef"))
    next(run)
    pool.room = 3  # a machine joins
    next(run)
    assert pool.started == 3
    pool.room = 1  # and leaves: those that are not there yet are not waited for
    pool.news = deque(each for each in pool.news if each[1] is not None)
    assert len(list(run)) == 4 and pool.alive == {0}
    with pytest.raises(EnvironmentProblem, match="no room"):
        results(Scheduler(Pool(0)), "a")


def test_what_is_not_waited_for_is_stopped() -> None:
    pool = Pool(2)
    run = Scheduler(pool).run(named(*"abcd"))
    next(run)
    run.close()
    assert len(pool.alive) <= 1  # whoever had something in hand is gone
    assert sorted(results(Scheduler(pool), "e", "f")) == ["e", "f"]


@pytest.mark.parametrize(
    ("device", "workers", "visible", "expected"),
    [
        ("cpu", None, None, [None] * 2),
        ("cpu", 3, "0,1", [None] * 3),
        ("cuda", None, None, ["0", "1"]),
        ("cuda", None, "4,GPU-7", ["4", "GPU-7"]),
        ("cuda", 3, None, ["0", "1", "0"]),
        ("cuda:1", None, "4,6", ["6"]),
    ],
)
def test_each_gpu_has_its_worker(monkeypatch: pytest.MonkeyPatch, device: str, workers: int | None, visible: str | None, expected: list[str]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = worker_environments(device, workers)
    assert [each.get("CUDA_VISIBLE_DEVICES") for each in found] == expected
    assert {each["OMP_NUM_THREADS"] for each in found} == {str(8 // len(expected))}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert {each["OMP_NUM_THREADS"] for each in worker_environments(device, workers)} == {"5"}  # the user's word


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("inline", {"workers": 2}, "--workers 2"),
        ("local", {"workers": 0}, "--workers 0"),
        ("local", {"address": "here:1"}, "--ray-address is for"),
    ],
)
def test_executors_that_cannot_be(folder: Path, kind: ExecutorKind, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message), open_executor(kind, *asked(folder), **options):
        pass


@pytest.mark.parametrize(
    ("version", "token", "address", "error", "message"),
    [
        (None, TOKEN, "localhost:1", EnvironmentProblem, "needs the package ray"),
        ("2.51.3", TOKEN, "localhost:1", EnvironmentProblem, "ray 2.51.3 cannot ask for a token"),
        ("2.60.0", None, "localhost:1", EnvironmentProblem, "there is no token.*localhost:1"),
        ("2.60.0", TOKEN, "localhost:1", EnvironmentProblem, "nothing answers at localhost:1"),
        ("2.60.0", TOKEN, "ray://localhost", UsageError, "HOST:PORT"),
    ],
)
def test_a_cluster_that_cannot_be_joined(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    token: str | None,
    address: str,
    error: type[Exception],
    message: str,
) -> None:
    def found(_: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(importlib.metadata, "version", found)
    monkeypatch.setattr(importlib, "import_module", lambda _: None)
    monkeypatch.setattr(os, "environ", {**os.environ, "HOME": str(tmp_path), "RAY_AUTH_TOKEN": token or "", "RAY_AUTH_TOKEN_PATH": ""})
    with pytest.raises(error, match=message), ray_cluster.ray_pool(asked(folder)[1], address=address):
        pass


class FakeRay:
    """What is asked of it, and the SIGTERM handler that it leaves behind."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def init(self, **options: Any) -> None:
        self.asked = options
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def test_a_cluster_of_our_own_has_a_token_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    tokens = []
    for _ in range(2):
        ray = FakeRay()
        environment = {"HOME": str(tmp_path)}
        monkeypatch.setattr(os, "environ", environment)
        ray_cluster._connect(ray, None)
        assert signal.getsignal(signal.SIGTERM) is handler
        assert ray.asked["address"] == "local" and ray.asked["include_dashboard"] is False and ray.asked["log_to_driver"] is False
        tokens.append(environment["RAY_AUTH_TOKEN"])
    assert len(set(tokens)) == 2 and {len(token) for token in tokens} == {64}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    monkeypatch.setattr(os, "environ", environment := {"HOME": str(tmp_path)})
    ray_cluster._connect(FakeRay(), None)
    assert environment == {"HOME": str(tmp_path)}  # Ray finds the user's


def test_nothing_is_done_for_a_cluster_that_serves_anyone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, order = asked(folder)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    refusal = ray_cluster.ClusterWorker().open(order)
    assert refusal is not None and "anyone" in str(refusal.error)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert ray_cluster.ClusterWorker().open(order) is None


def test_what_a_worker_takes_of_its_machine() -> None:
    def nodes(*resources: dict[str, float]) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": each} for each in resources] + [{"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}}]

    assert ray_cluster._needs(nodes({"CPU": 16.0, "GPU": 2.0}, {"CPU": 32.0}, {"CPU": 6.0, "GPU": 1.0}), "cuda") == {"GPU": 1, "CPU": 6}
    assert ray_cluster._needs(nodes({"CPU": 64.0, "GPU": 8.0}, {"CPU": 0.0}), "cpu") == {"GPU": 0, "CPU": 4}
    assert ray_cluster._needs(nodes({"CPU": 64.0}, {"CPU": 2.0}), "cpu") == {"GPU": 0, "CPU": 2}
    assert ray_cluster._needs(nodes({"CPU": 2.0}), "cpu", 2) == ray_cluster._needs(nodes({"CPU": 2.0}), "cpu", 5) == {"GPU": 0, "CPU": 1}
    for device, machine in (("cuda", {"CPU": 64.0}), ("cpu", {"GPU": 1.0})):
        with pytest.raises(EnvironmentProblem, match="no machine"):
            ray_cluster._needs(nodes(machine), device)


@contextmanager
def foreign_ray() -> Iterator[subprocess.Popen[bytes]]:
    """What `ray stop` would take for a Ray of its own."""
    script = "import time; time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", script, "raylet/raylet", "gcs_server/gcs_server"], start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def processes_with(text: str) -> list[str]:
    """The commands of all processes that have `text` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if text.encode() in path.read_bytes():
                found.append(path.with_name("cmdline").read_bytes().decode().replace("\0", " "))
    return found


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_cluster_finds_what_one_process_finds_though_a_machine_is_lost(folder: Path, expected: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as short, foreign_ray() as foreign:  # sockets have short names
        environment = {"RAY_TMPDIR": short, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "HOME": short, "RAY_USAGE_STATS_ENABLED": "0"}
        with _program("cluster", folder, **environment) as asking:
            output, error = asking.communicate(timeout=300)
        assert asking.returncode == 0, error
        _soon(lambda: None if processes_with(TOKEN) else True)
        assert foreign.poll() is None
        assert not (Path(short) / ".ray").exists()
    told = json.loads(output)
    assert told["failed"] == ["3"] and told["parallel"] == 2
    (line,) = told["said"]
    assert "is tried again" in line
    assert found_in(folder) == expected
    assert "cannot join the Ray cluster" in told["refused"] and told["refused code"] == 5


def ask_processes(folder: Path) -> None:
    """Ask one, until Ctrl-C; then ask again."""
    try:
        examine_all(folder, "local", workers=1)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    examine_all(folder, "local", workers=1)


def ask_cluster(folder: Path) -> None:
    """Ask a cluster of two machines, one of which vanishes when both have something in hand; then start one of our own and leave it."""
    ray_cluster._import_ray(None)
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    lost = cluster.add_node(**machine)
    joining = _program("join", folder, cluster.address, RAY_AUTH_TOKEN=TOKEN[::-1])
    blocked, said = Blocked(folder, "4", "5"), Said()

    def lose_machine() -> None:
        blocked.wait()
        cluster.remove_node(lost, allow_graceful=False)
        _soon(lambda: True if len(blocked.readers()) == 1 else None)
        blocked.let_go()

    bench, order = asked(folder)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with bench.run.lock(), open_executor("ray", bench, order, address=cluster.address, progress=said) as executor:
        assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        parallel = executor.parallel
        Thread(target=lose_machine, daemon=True).start()
        examiner = Examiner(bench, executor)
        examiner(UNITS)
    _, refused = joining.communicate()
    cluster.shutdown()
    with ray_cluster.ray_pool(order) as pool:
        assert pool.room >= 1
    failed = [str(each.unit.candidate) for each in examiner.failures]
    print(json.dumps({"failed": failed, "said": said.lines, "parallel": parallel, "refused": refused, "refused code": joining.returncode}))


def join(folder: Path, address: str) -> None:
    """Try to join a cluster; says why not."""
    try:
        with ray_cluster.ray_pool(asked(folder)[1], address=address):
            pass
    except EnvironmentProblem as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    job, where, *others = sys.argv[1:]
    {"local": ask_processes, "cluster": ask_cluster, "join": join}[job](Path(where), *others)
