"""Fixtures that several test files share."""

import errno
import io
import os

# One thread for each test process, before PyTorch is imported: two processes with two threads each on two cores wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import cli
from apfgan.config import LEAST_SIDE
from tests.browser import launch_browser
from tests.engines import need_jittor

Call = Callable[..., tuple[int, str, str]]


class FullDisk:
    """Stands between `Path` and the disk, and lets the n-th operation that needs space fail: a write (half of it done), a flush, a rename."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        """Operations that still succeed; None: all of them."""
        disk, real_open, real_fsync, real_replace = self, Path.open, os.fsync, Path.replace

        class Raw(io.FileIO):
            def write(self, content: Any, /) -> int:
                try:
                    disk.spend()
                except OSError:
                    super().write(bytes(content)[: len(content) // 2])
                    raise
                return super().write(bytes(content)[:48])  # short writes, so that there are many

        def open_file(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if mode == "xb":
                return io.BufferedWriter(Raw(path, "x"), buffer_size=64)
            if mode == "a+b":
                return io.BufferedRandom(Raw(path, "a+"), buffer_size=64)
            return real_open(path, mode, *arguments, **options)

        def fsync(handle: int) -> None:
            disk.spend()
            real_fsync(handle)

        def replace(path: Path, target: Path) -> Path:
            disk.spend()
            return real_replace(path, target)

        monkeypatch.setattr(Path, "open", open_file)
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)

    def spend(self) -> None:
        if self.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.left is not None:
            self.left -= 1


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `jittor` wants one."""
    if item.get_closest_marker("jittor"):
        need_jittor()


class Killed(BaseException):
    """The process vanishes."""


@pytest.fixture
def killed_at_flushes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object], Iterable[int]], int]:
    """Call some work again and again until it gets through; each time it is killed behind so many flushes to the disk. Gives how often it was."""
    flush, left = os.fsync, 0

    def flush_or_die(handle: int) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        flush(handle)

    def run(work: Callable[[], object], survived: Iterable[int]) -> int:
        nonlocal left
        monkeypatch.setattr(os, "fsync", flush_or_die)
        try:
            for kills, flushes in enumerate(survived):
                left = flushes
                with suppress(Killed):
                    work()
                    return kills
        finally:
            monkeypatch.setattr(os, "fsync", flush)
        raise AssertionError("it never got through")

    return run


@pytest.fixture
def perceptual_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """For stand-ins of the perceptual networks, which see something in the smallest image."""
    for name in LEAST_SIDE:
        monkeypatch.setitem(LEAST_SIDE, name, 1)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """Set `left` to n, and the operation after the next n that need space fails with ENOSPC."""
    return FullDisk(monkeypatch)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Without the rights of root, for whom no folder is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def apfgan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run the command line in this process: exit code, standard output, standard error."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["apfgan", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.main()
        output = capsys.readouterr()
        return int(exit.value.code or 0), output.out, output.err

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pytorch-fid's file in its real layout, with random weights that keep the activations alive and the features as large as the real ones."""
    import torch

    from metrics.inception import Inception

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Inception()
        for name, tensor in network.state_dict().items():
            if name.endswith("conv.weight"):
                torch.nn.init.kaiming_normal_(tensor)
            elif name.endswith(("bn.bias", "running_mean")):
                tensor.normal_(0, 0.2)
            elif name.endswith(("bn.weight", "running_var")):
                tensor.uniform_(0.7, 1.4)
        for name in ("branch1x1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"):
            for parameter in network.get_submodule(f"Mixed_7c.{name}.bn").parameters():
                parameter.data *= 0.1
    path = tmp_path_factory.mktemp("weights") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def pytorch_fid_inception(inception_weights: Path) -> Any:
    """pytorch-fid's own network with these weights."""
    import pytorch_fid.inception
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: torch.load(inception_weights, weights_only=True))
        return pytorch_fid.inception.InceptionV3([3]).eval()


@pytest.fixture(scope="session")
def clean_inception_weights(pytorch_fid_inception: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clean-fid's file in its real form, a TorchScript network with `layers` and `output`, with the same weights."""
    import torch

    names = ["conv", "conv_1", "conv_2", "pool0", "conv_3", "conv_4", "pool1", "mixed", *(f"mixed_{i}" for i in range(1, 11)), "pool2"]
    modules = [module for block in pytorch_fid_inception.blocks for module in block]

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(OrderedDict(zip(names, modules, strict=True)))
            self.output = torch.nn.Linear(2048, 1008)

        def forward(self, img: torch.Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False) -> torch.Tensor:
            features = self.layers((img - 128) / 128).flatten(1)
            return features if return_features else torch.softmax(self.output(features), dim=1)

    path = tmp_path_factory.mktemp("weights") / "inception-2015-12-05.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer PyTorch would rather not have such files
        torch.jit.script(Network().eval()).save(path)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Headless Chromium."""
    with launch_browser() as launched:
        yield launched
