"""What work costs in PyTorch: multiply-accumulates, values that wait for gradients, memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from apfgan.backend.host import host_memory_peak, host_memory_size
from apfgan.backend.pytorch.words import Conv2d, Module, Tensor
from apfgan.backend.work import Work
from apfgan.errors import EnvironmentProblem


@contextmanager
def counted_work(network: Module, *, learns: bool) -> Iterator[Work]:
    """Count what `network` does inside this context. `learns`: gradients will be asked for its parameters, too, not only for its input."""
    work, held = Work(), dict[int, torch.UntypedStorage]()

    def count(name: str, conv: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(conv, Conv2d)
        amount = output.numel() * conv.weight[0].numel()
        work.forward += amount
        work.by_module[name] = work.by_module.get(name, 0) + amount
        # Either gradient is a convolution over the same pairs of values.
        work.backward += amount * (output.requires_grad and inputs[0].requires_grad) + amount * (output.requires_grad and learns)

    def hold(x: Tensor) -> Tensor:
        if not isinstance(x, torch.nn.Parameter):
            storage = x.untyped_storage()
            held[storage._cdata] = storage  # kept, so that no other takes its number
        return x

    hooks = [module.register_forward_hook(partial(count, name)) for name, module in network.named_modules() if isinstance(module, Conv2d)]
    try:
        with torch.autograd.graph.saved_tensors_hooks(hold, lambda x: x):
            yield work
    finally:
        for hook in hooks:
            hook.remove()
    work.held = sum(storage.nbytes() for storage in held.values())


def parameter_sizes(module: Module) -> list[int]:
    """How many values each trainable parameter has."""
    return [parameter.numel() for parameter in module.parameters()]


def state_sizes(module: Module) -> list[int]:
    """How many values each array has that a checkpoint of `module` holds."""
    return [value.numel() for value in module.state_dict().values()]


@contextmanager
def named_memory_errors() -> Iterator[None]:
    """Inside this context a device that runs out of memory raises Python's `MemoryError`, whatever the engine calls it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):
            raise MemoryError(str(error)) from error
        raise


def memory_size(device: str) -> int:
    """Bytes of memory that `device` has; raises `EnvironmentProblem` when the machine has no such device."""
    try:
        if _is_cuda(device):
            return torch.cuda.get_device_properties(device).total_memory
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise EnvironmentProblem(f"cannot use the device {device!r}: {reason}. Choose --device cpu, or mend the driver.") from error
    return host_memory_size()


def memory_peak(device: str) -> int:
    """The most bytes of memory that this process has taken so far: for tensors on a GPU, in all on a CPU."""
    if _is_cuda(device):
        return torch.cuda.max_memory_reserved(device)
    return host_memory_peak()


def release_memory(device: str) -> None:
    """Give back what the engine keeps of memory that is no longer used."""
    if _is_cuda(device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _is_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"
