"""Several processes that train one network: with Jittor there is always one."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from apfgan.backend.jittor.words import Module
from apfgan.backend.world import ALONE, World
from apfgan.engines import Engine, require_processes

Distributed = Module
"""A network."""


@contextmanager
def join(device: str) -> Iterator[tuple[World, str]]:
    """`ALONE`, and `device` as it is; raises `UsageError` under `torchrun`."""
    if "RANK" in os.environ:
        require_processes(Engine.jittor)
    yield ALONE, device


def synchronise(module: Module, world: World) -> None:
    """Nothing: there are no others."""


def distribute(module: Module, world: World) -> Distributed:
    """The network itself."""
    del world
    return module


def unshared(module: Distributed) -> AbstractContextManager[None]:
    """Nothing: there are no others."""
    del module
    return nullcontext()


def averages(values: Mapping[str, float], world: World, *, device: str) -> dict[str, float]:
    """The values of this process."""
    del world, device
    return dict(values)


def anywhere(flag: bool, world: World, *, device: str) -> bool:
    """The flag of this process."""
    del world, device
    return flag


def wait(world: World) -> None:
    """Nothing: there are no others."""
