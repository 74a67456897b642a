"""Several processes against one: the same gradients, statistics and weights; and starting, stopping and restarting them.

As a program this file is one of the processes: `python test_processes.py JOB FOLDER`, with the environment variables of `torchrun`.
"""

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from apfgan.backend import (
    ALONE,
    Module,
    World,
    adam,
    add_gradient,
    anywhere,
    averages,
    distribute,
    from_numpy,
    frozen,
    join,
    load_arrays,
    load_optimizer_arrays,
    mean,
    move,
    no_gradients,
    one_hot,
    optimizer_arrays,
    place,
    state_arrays,
    synchronise,
    unshared,
    wait,
)
from apfgan.backend.pytorch.words import BatchNorm, PretrainedNorm
from apfgan.config import Config, DataConfig, ModelConfig
from apfgan.errors import EnvironmentProblem, UsageError
from apfgan.files import write_bytes
from apfgan.launch import launched
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real
from apfgan.networks import Painter, build_discriminators, build_painter, start_noise
from apfgan.randomness import random_source
from apfgan.schedule import Role, Stage

ROOT = Path(__file__).parents[1]
CLASSES, SIDE, IMAGES = 5, 32, 6
STAGES = {
    "small": (Stage(0), (Role(0),)),
    "fading": (Stage(1, 0.3), (Role(2, 0.3), Role(1), Role(0))),
    "whole": (None, (Role(0), Role(1), Role(2))),
}
VARIANTS = {
    "exact": {"kind": torch.float64, "rate": 1e-3, "spectral_norm": True},
    "float32": {"kind": torch.float32, "rate": 0.0, "spectral_norm": False},
}
TOLERANCES = {"exact": 1e-8, "float32": 2e-5}
"""Of the largest number in the same network. Measured: 3e-10 (gradients 3e-11) and 7e-6.

Weights are compared after steps in float64 alone: Adam makes whole steps of gradients that are nothing but rounding, such as those of a bias
that the next BatchNorm takes away.
"""


def build(*, spectral_norm: bool) -> tuple[Painter, Module]:
    config = Config(
        data=DataConfig(width=SIDE, height=SIDE, load_width=SIDE, classes=tuple("abcde")),
        model=ModelConfig(width=8, hidden=8, upsamplings=3, levels=3, init_gain=0.5, spectral_norm=spectral_norm),
    )
    painter, discriminators = build_painter(config, seed=0), build_discriminators(config, seed=0)
    start_noise(painter, random_source(0, "noise"), gain=0.5)
    return painter, discriminators


def gradients(module: Module) -> dict[str, np.ndarray]:
    return {name: parameter.grad.numpy().copy() for name, parameter in module.named_parameters() if parameter.grad is not None}


def learn(world: World, *, kind: torch.dtype, rate: float, spectral_norm: bool, steps: int = 2) -> dict[str, dict[str, np.ndarray]]:
    """Train both players for some steps at three stages; the gradients of each stage's first step, and the state at its end."""

    def draws(source: np.random.Generator, *shape: int) -> torch.Tensor:
        return from_numpy(source.standard_normal((IMAGES, *shape)), device="cpu").to(kind)[world.rows(IMAGES)]

    found = {}
    painter, discriminators = build(spectral_norm=spectral_norm)
    for module in (painter, discriminators):
        place(module, "cpu")
        module.to(kind)
        synchronise(module, world)
    learning_painter, learning_discriminators = distribute(painter, world), distribute(discriminators, world)
    painters, judges = (adam(module, betas=(0.0, 0.9), epsilon=1e-8, steps="own") for module in (painter, discriminators))
    for name, (stage, roles) in STAGES.items():
        side = SIDE if stage is None else SIDE // 4 * 2**stage.top
        for index in range(steps):
            source = np.random.default_rng([index, side])
            label_maps = source.integers(0, CLASSES, (IMAGES, 8, 8)).repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
            onehot = one_hot(label_maps[world.rows(IMAGES)], CLASSES, device="cpu").to(kind)
            labels, photos = onehot[:, :, :: SIDE // side, :: SIDE // side], draws(source, 3, side, side)
            noise = [draws(source, 1, *shape) for shape in painter.generator.noise_shapes(SIDE, SIDE)] if stage is None else None
            fakes = learning_painter(onehot, noise=noise, stage=stage)
            with frozen(discriminators):
                fake = discriminators(labels, fakes, roles=roles)
                with no_gradients():
                    real = discriminators(labels, photos, roles=roles)
                add_gradient(painters, adversarial(fake) + 10 * feature_matching(fake, real))
            found.setdefault(f"{name}: painter's gradients", gradients(painter))
            move(painters, rate=rate)
            with no_gradients():
                fakes = painter(onehot, noise=noise, stage=stage)
            fake, real = (learning_discriminators(labels, images, roles=roles) for images in (fakes, photos))
            add_gradient(judges, hinge_fake(fake) + hinge_real(real))
            found.setdefault(f"{name}: discriminators' gradients", gradients(discriminators))
            move(judges, rate=rate)
        found |= {f"{name}: painter": state_arrays(painter), f"{name}: discriminators": state_arrays(discriminators)}
    if spectral_norm:  # its power iteration takes one more round with each part
        return found
    # The last batch again, one image behind the other: instance normalisation does not notice, and gradients are exchanged once.
    share = len(labels)
    for part in range(share):
        with unshared(learning_discriminators) if part < share - 1 else nullcontext():
            one = slice(part, part + 1)
            fake, real = (learning_discriminators(labels[one], images[one], roles=roles) for images in (fakes, photos))
            add_gradient(judges, (hinge_fake(fake) + hinge_real(real)) / share)
    found["in parts: discriminators' gradients"] = gradients(discriminators)
    return found


def agree(world: World) -> None:
    """The small talk between several processes, and norms of their own batches."""
    assert averages({"a": float(world.rank), "b": 7.0}, world, device="cpu") == {"a": (world.size - 1) / 2, "b": 7.0}
    assert anywhere(world.rank == world.size - 1, world, device="cpu")
    assert not anywhere(False, world, device="cpu")
    for norm in (BatchNorm(3, variance="unbiased"), BatchNorm(3, variance="biased"), PretrainedNorm(3)):
        alone = type(norm)(3, **({"variance": norm.variance} if isinstance(norm, BatchNorm) else {}))
        synchronise(norm, world)
        x = torch.from_numpy(np.random.default_rng(0).standard_normal((2 * world.size, 3, 4, 4), dtype=np.float32)) * 2 + 30
        out, wanted = norm(x[world.rows(len(x))]), alone(x)
        torch.testing.assert_close(out, wanted[world.rows(len(x))], rtol=0, atol=2e-5)
        assert norm(x[world.rows(len(x))].bfloat16()).dtype == torch.bfloat16


def compare(world: World, folder: Path) -> None:
    """Job: what `learn` finds in every variant."""
    if world.size > 1:
        agree(world)
    arrays = {
        f"{variant}|{group}|{name}": array
        for variant, settings in VARIANTS.items()
        for group, named in learn(world, **settings).items()
        for name, array in named.items()
    }
    np.savez(folder / f"{world.size}_{world.rank}.npz", **arrays)


def painted(world: World, folder: Path) -> None:
    """Job: four steps of a painter; process 0 saves after each, and process 1 is killed once where a file says so."""
    painter, _ = build(spectral_norm=False)
    place(painter, "cpu")
    synchronise(painter, world)
    optimizer, path, first = adam(painter, betas=(0.0, 0.9), epsilon=1e-8, steps="own"), folder / "state.npz", 0
    if path.exists():
        with np.load(path) as state:
            first = int(state["first"])
            load_arrays(painter, {name[8:]: state[name] for name in state.files if name.startswith("painter.")}, origin=str(path))
            load_optimizer_arrays(optimizer, {name[5:]: state[name] for name in state.files if name.startswith("adam.")}, origin=str(path))
    learning = distribute(painter, world)
    if world.leads:
        with (folder / "starts.txt").open("a") as log:
            print(first, file=log)
    for index in range(first, 4):
        if world.rank == 1 and index == 2 and (folder / "kill").exists():
            (folder / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        label_maps = np.random.default_rng(index).integers(0, CLASSES, (4, SIDE, SIDE))[world.rows(4)]
        add_gradient(optimizer, mean(learning(one_hot(label_maps, CLASSES, device="cpu"), noise=None, stage=Stage(0)) ** 2, axes=None))
        move(optimizer, rate=1e-3)
        if world.leads:
            memory = io.BytesIO()
            parts = {"painter": state_arrays(painter), "adam": optimizer_arrays(optimizer)}
            np.savez(memory, first=index + 1, **{f"{part}.{name}": array for part, named in parts.items() for name, array in named.items()})
            write_bytes(path, memory.getvalue())
        wait(world)


def start(job: str, folder: Path, *, processes: int) -> None:
    """Run `job` in so many processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": str(processes), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, job, str(folder)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    errors = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0] * processes, errors


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("one")
    compare(ALONE, folder)
    return dict(np.load(folder / "1_0.npz"))


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_learn_what_one_learns(one_process: dict[str, np.ndarray], tmp_path: Path, processes: int) -> None:
    start("compare", tmp_path, processes=processes)
    found = [dict(np.load(tmp_path / f"{processes}_{rank}.npz")) for rank in range(processes)]
    assert all(each.keys() == one_process.keys() for each in found)  # the same parameters have no gradient
    groups: dict[str, list[str]] = {}
    for name in one_process:
        groups.setdefault(name.rpartition("|")[0], []).append(name)
    off = {}
    for group, names in groups.items():
        largest = max(np.abs(one_process[name]).max() for name in names)
        off[group] = max(np.abs(found[0][name] - one_process[name]).max() for name in names) / largest
        assert all((each[name] == found[0][name]).all() for each in found for name in names), group
    assert {group: value for group, value in off.items() if not value < TOLERANCES[group.partition("|")[0]]} == {}


def test_parts_add_up_to_the_whole_batch() -> None:
    """Of the discriminators; BatchNorm in the painter sees a part at a time."""
    _, discriminators = build(spectral_norm=False)
    source, roles = np.random.default_rng(0), STAGES["whole"][1]
    labels, images = (from_numpy(source.standard_normal((4, channels, SIDE, SIDE), dtype=np.float32), device="cpu") for channels in (CLASSES, 3))
    optimizer = adam(discriminators, betas=(0.0, 0.9), epsilon=1e-8, steps="own")
    add_gradient(optimizer, hinge_real(discriminators(labels, images, roles=roles)))
    whole = gradients(discriminators)
    move(optimizer, rate=0.0)
    assert gradients(discriminators) == {}
    for part in (slice(0, 2), slice(2, 4)):
        add_gradient(optimizer, hinge_real(discriminators(labels[part], images[part], roles=roles)) / 2)
    for name, gradient in gradients(discriminators).items():
        np.testing.assert_allclose(gradient, whole[name], rtol=1e-3, atol=1e-5 * max(np.abs(each).max() for each in whole.values()))


def test_torchrun_goes_on_after_a_killed_process(tmp_path: Path) -> None:
    folders = straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    for folder in folders:
        folder.mkdir()
    (disturbed / "kill").touch()
    start("painted", straight, processes=2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    done = subprocess.run([*torchrun, __file__, "painted", str(disturbed)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [(folder / "starts.txt").read_text().split() for folder in folders] == [["0"], ["0", "2"]]
    with np.load(straight / "state.npz") as wanted, np.load(disturbed / "state.npz") as found:
        assert all((wanted[name] == found[name]).all() for name in wanted.files)


def test_rows_share_a_batch_equally() -> None:
    worlds = [World(rank=rank, size=3, local_rank=rank) for rank in range(3)]
    assert [index for world in worlds for index in range(6)[world.rows(6)]] == list(range(6))
    assert [world.leads for world in worlds] == [True, False, False]
    assert range(5)[ALONE.rows(5)] == range(5)
    with pytest.raises(UsageError, match=r"batch of 5 .* 3 processes.*multiples of 3"):
        worlds[0].rows(5)


def test_alone_nothing_changes() -> None:
    painter, _ = build(spectral_norm=False)
    synchronise(painter, ALONE)
    assert distribute(painter, ALONE) is painter
    assert averages({"a": 0.1}, ALONE, device="cpu") == {"a": 0.1}
    assert anywhere(True, ALONE, device="cpu") and not anywhere(False, ALONE, device="cpu")
    wait(ALONE)
    with join("cuda:1") as (world, device):
        assert (world, device) == (ALONE, "cuda:1")


@pytest.mark.parametrize(
    ("device", "local_rank", "error", "message"),
    [
        ("cuda:1", "0", UsageError, "one GPU for 2 processes: say --device cuda"),
        ("cuda", "999", EnvironmentProblem, "needs a GPU of its own"),
        ("cpu", "0", EnvironmentProblem, "process 0 of 2 cannot reach the others.*Start all of them with torchrun"),
    ],
)
def test_joining_that_cannot_be(monkeypatch: pytest.MonkeyPatch, device: str, local_rank: str, error: type[Exception], message: str) -> None:
    assert not launched()
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": local_rank}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert launched()
    with pytest.raises(error, match=message), join(device):
        pass


WORKER = """
import os, signal, sys, time
from pathlib import Path
rank, folder = int(os.environ["RANK"]), Path(sys.argv[1])
print("out", rank, flush=True)
print("err", rank, file=sys.stderr, flush=True)
"""

LAUNCHER = """
import sys
from pathlib import Path
from apfgan.launch import launch
folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    code = launch([sys.executable, str(folder / name), str(folder)], processes=2, restarts=1)
    print("code", code, flush=True)
    print("done", file=sys.stderr, flush=True)
sys.exit(code)
"""


def launcher(folder: Path, behaviours: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process that launches two workers of each behaviour, one behind the other."""
    for name, behaviour in behaviours.items():
        (folder / name).write_text(WORKER + behaviour)
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder), *behaviours], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_launching(tmp_path: Path) -> None:
    once = "once = folder / 'once'\nif rank == 1 and not once.exists():\n    once.touch()\n    os.kill(os.getpid(), 9)\ntime.sleep(1)\n"
    again = "Starting all again, 1 more times at most."
    cases = {
        "good": ("", 0, "out 0\n", "err 0\n"),
        # What a user has to mend would only happen again. It is told, whoever finds it, and the others are stopped.
        "refusal": ("time.sleep(1)\nif rank == 1: sys.exit(3)\ntime.sleep(60)", 3, "out 0\nout 1\n", "err 0\nerr 1\n"),
        "refusal of all": ("sys.exit(2)", 2, "out 0\n", "err 0\n"),
        # One that dies takes the others along, and all come again.
        "killed once": (once, 0, "out 0\nout 1\nout 0\n", f"err 0\nerr 1\napfgan: process 1 of 2 ended by SIGKILL. {again}\nerr 0\n"),
        "broken": (
            "time.sleep(1)\nif rank == 0: sys.exit(1)\ntime.sleep(60)",
            1,
            "out 0\nout 0\n",
            f"err 0\napfgan: process 0 of 2 ended with code 1. {again}\n"
            "err 0\napfgan: process 0 of 2 ended with code 1. It will not be started again.\n",
        ),
    }
    out, err = launcher(tmp_path, {name: behaviour for name, (behaviour, *_) in cases.items()}).communicate(timeout=200)
    wanted = [(f"{said}code {code}\n", f"{talk}done\n") for _, code, said, talk in cases.values()]
    assert (out, err) == ("".join(each for each, _ in wanted), "".join(each for _, each in wanted))


def test_a_signal_reaches_all(tmp_path: Path) -> None:
    stop = "def stop(*_):\n    (folder / f'stopped{rank}').touch()\n    sys.exit(143)\nsignal.signal(signal.SIGTERM, stop)\n"
    process = launcher(tmp_path, {"waits": f"{stop}(folder / f'ready{{rank}}').touch()\ntime.sleep(60)"})
    while process.poll() is None and len(list(tmp_path.glob("ready*"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (143, "out 0\ncode 143\n", "err 0\ndone\n")
    assert len(list(tmp_path.glob("stopped*"))) == 2


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join("cpu") as (here, _):
        {"compare": compare, "painted": painted}[sys.argv[1]](here, Path(sys.argv[2]))
