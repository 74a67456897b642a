"""What work costs in Jittor. It computes nothing before a value is asked for, so whatever is only counted costs nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from apfgan.backend.host import host_memory_peak, host_memory_size
from apfgan.backend.jittor.engine import Tensor, jt
from apfgan.backend.jittor.words import Conv2d, Module, state_tensors, trainable
from apfgan.backend.work import Work

_OUT_OF_MEMORY = ("Unable to alloc", "bad_alloc", "out of memory")


@contextmanager
def counted_work(network: Module, *, learns: bool) -> Iterator[Work]:
    """Count what the convolutions of `network` do inside this context.

    Held are the values that go into and out of each convolution: its own gradient needs the former, the normalisation behind it the latter. What
    else Jittor keeps depends on what it fuses.
    """
    work = Work()

    def count(name: str, conv: Conv2d, x: Tensor, output: Tensor) -> None:
        amount = output.numel() * conv.weight[0].numel()
        work.forward += amount
        work.by_module[name] = work.by_module.get(name, 0) + amount
        flows = not output.is_stop_grad()
        work.backward += amount * (flows and not x.is_stop_grad()) + amount * (flows and learns)
        work.held += 4 * flows * (x.numel() + output.numel())

    convolutions = [(name, module) for name, module in network.named_modules() if isinstance(module, Conv2d)]
    for name, conv in convolutions:
        conv.observer = partial(count, name, conv)
    try:
        with jt.flag_scope(th_mode=1):  # what is made of constants alone is one then, and its gradient costs nothing
            yield work
    finally:
        for _, conv in convolutions:
            conv.observer = None


def parameter_sizes(module: Module) -> list[int]:
    """How many values each trainable parameter has."""
    return [tensor.numel() for tensor in trainable(module).values()]


def state_sizes(module: Module) -> list[int]:
    """How many values each array has that a checkpoint of `module` holds."""
    return [tensor.numel() for tensor in state_tensors(module).values()]


@contextmanager
def named_memory_errors() -> Iterator[None]:
    """Inside this context a device that runs out of memory raises Python's `MemoryError`, whatever Jittor calls it."""
    try:
        yield
    except RuntimeError as error:
        if any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise MemoryError(str(error)) from error
        raise


def memory_size(device: str) -> int:
    """Bytes of memory that `device` has."""
    return int(jt.get_mem_info().total_cuda_ram) if device == "cuda" else host_memory_size()


def memory_peak(device: str) -> int:
    """The most bytes of memory that this process has taken so far: for tensors on a GPU, whose pool only grows, in all on a CPU."""
    return int(jt.get_mem_info().total_cuda_used) if device == "cuda" else host_memory_peak()


def release_memory(device: str) -> None:
    """Give back what Jittor keeps of memory that is no longer used."""
    del device
    jt.sync_all()
    jt.gc()
