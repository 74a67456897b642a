"""Several processes that train one network: each takes its rows of every batch, and all make the same step.

`torchrun` starts them, on one machine or on several, and tells each its place by environment variables. They talk through NCCL where they
compute on GPUs and through gloo otherwise.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from apfgan.backend.pytorch.words import BatchNorm, Module, PretrainedNorm
from apfgan.backend.world import ALONE, World
from apfgan.errors import EnvironmentProblem, UsageError

_PATIENCE = timedelta(hours=2)
"""How long the others wait for process 0 while it looks through the data, saves or scores. One that died is noticed by `torchrun`."""


Distributed = torch.nn.Module
"""A network, or what stands for it where several processes train it together."""


@contextmanager
def join(device: str) -> Iterator[tuple[World, str]]:
    """Within this context the processes that `torchrun` started can talk: this one's place among them, and its own device.

    Without `torchrun`: `ALONE`, and `device` as it is. Raises `UsageError` when `device` names one GPU for several processes, and
    `EnvironmentProblem` when there is none for this one or the others cannot be reached.
    """
    if "RANK" not in os.environ:
        yield ALONE, device
        return
    world = World(rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]), local_rank=int(os.environ["LOCAL_RANK"]))
    kind, _, number = device.partition(":")
    if number:
        raise UsageError(f"--device {device} names one GPU for {world.size} processes: say --device {kind}, and each takes its own")
    if kind == "cuda":
        if world.local_rank >= torch.cuda.device_count():
            raise EnvironmentProblem(
                f"process {world.local_rank} of this machine needs a GPU of its own, and there are {torch.cuda.device_count()}: start fewer processes"
            )
        device = f"cuda:{world.local_rank}"
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise EnvironmentProblem(
            f"process {world.rank} of {world.size} cannot reach the others: {reason}. "
            "Start all of them with torchrun, on machines that reach each other."
        ) from error
    try:
        yield world, device
    finally:
        dist.destroy_process_group()


def synchronise(module: Module, world: World) -> None:
    """Let every BatchNorm of `module` normalise with the statistics of all processes' images, which move the running ones, too."""
    for part in module.modules():
        if isinstance(part, BatchNorm | PretrainedNorm):
            part.processes = world.size


def distribute(module: Module, world: World) -> Distributed:
    """What to call instead of `module` where its parameters learn: a backward pass through it leaves the mean of all processes' gradients.

    It has to be called alike in all processes, and may be called several times before one backward pass. A parameter that no process
    uses gets no gradient.
    """
    if world.size == 1:
        return module
    with warnings.catch_warnings():
        # Running statistics are equal already. The newest PyTorch warns that it will call this option another name.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        # A growing network leaves the layers of its later levels unused.
        return DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)


def unshared(module: Distributed) -> AbstractContextManager[None]:
    """Within this context gradients of a distributed module add up in each process alone, until a backward pass outside of it."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def averages(values: Mapping[str, float], world: World, *, device: str) -> dict[str, float]:
    """The mean of each value over all processes, the same in each of them."""
    if world.size == 1:
        return dict(values)
    vector = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(vector)
    return dict(zip(values, (vector / world.size).tolist(), strict=True))


def anywhere(flag: bool, world: World, *, device: str) -> bool:
    """Whether `flag` is set in any process: so all stop behind the same batch."""
    return averages({"flag": flag}, world, device=device)["flag"] > 0


def wait(world: World) -> None:
    """Go on when all processes have come here."""
    if world.size > 1:
        dist.barrier()
