"""Which engine computes in this process: PyTorch, or Jittor.

The networks are classes of the engine, so a process has one, from the first import of `apfgan.backend` to its end. Whoever wants another than
PyTorch says so before.
"""

import os
import sys
from enum import StrEnum

from apfgan.errors import UsageError

VARIABLE = "APFGAN_BACKEND"
"""The environment variable that names the engine of this process, and of those that it starts."""


class Engine(StrEnum):
    """What stands behind the words of `apfgan.backend`."""

    pytorch = "pytorch"
    jittor = "jittor"


def chosen_engine() -> Engine:
    """The engine that the environment names; PyTorch where it names none. Raises `UsageError` for a name that is no engine's."""
    name = os.environ.get(VARIABLE) or Engine.pytorch
    try:
        return Engine(name)
    except ValueError as error:
        raise UsageError(f"{VARIABLE}={name}: no such engine; known: {', '.join(Engine)}") from error


def choose_engine(engine: Engine) -> None:
    """Have this process compute with `engine`; it must not have begun with another one."""
    assert "apfgan.backend" not in sys.modules or chosen_engine() is engine
    os.environ[VARIABLE] = engine


def require_processes(engine: Engine) -> None:
    """Raise `UsageError` unless several processes can train one network together on `engine`."""
    if engine is Engine.jittor:
        raise UsageError(
            "Jittor trains in one process: several that train together talk through torch.distributed. "
            "Leave out --nproc and torchrun, or say --backend pytorch"
        )


def require_precision(precision: str, engine: Engine) -> None:
    """Raise `UsageError` for a precision (`train.precision`) that `engine` does not compute in."""
    if engine is Engine.jittor and precision != "float32":
        raise UsageError(f"train.precision={precision} is computed by PyTorch only: use --backend pytorch, or --set train.precision=float32")
