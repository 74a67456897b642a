"""The backend's words in PyTorch.

Images and features are float32 (N, C, H, W). Nothing here is random: noise comes from numpy, so that a seed means the same on every engine and
device.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm as normalise_spectrum

from apfgan.backend.fitting import Described, check_arrays, check_memory
from apfgan.errors import EnvironmentProblem

Tensor = torch.Tensor
ModuleList = torch.nn.ModuleList

_EPSILON = 1e-5  # of the normalisations that learn; the same in Jittor and PyTorch, fixed here so that it stays so
_MOMENTUM = 0.1  # of BatchNorm's running statistics; likewise


class Module(Described, torch.nn.Module):
    """Base of every network: parameters, buffers and sub-networks are attributes; calling it calls `forward`."""


class Conv2d(Module):
    """Convolution with zero padding; a pair of numbers is (height, width). Weights are born zero; `initialise` of the networks fills them,
    seeded."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int | tuple[int, int],
        stride: int,
        padding: int | tuple[int, int],
        bias: bool,
        spectral_norm: bool,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = torch.nn.Parameter(torch.zeros(outputs, inputs, *((kernel, kernel) if isinstance(kernel, int) else kernel)))
        self.bias = torch.nn.Parameter(torch.zeros(outputs)) if bias else None
        if spectral_norm:
            normalise_spectrum(self, "weight", n_power_iterations=1, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class BatchNorm(Module):
    """Batch normalisation without scale and shift: epsilon 1e-5, momentum 0.1.

    `variance` says which variance of the batch the running one follows: its own, "biased", as in Jittor (spec: method, 2.2), or the
    estimate for the population, "unbiased", n / (n - 1) times as large, as in PyTorch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, variance: Literal["unbiased", "biased"]) -> None:
        super().__init__()
        self.variance = variance
        self.processes = 1
        self.shown: int | None = None  # images whose statistics the running ones are the mean of; None: they follow with momentum
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the batch's statistics in training, with the running ones otherwise."""
        if self.training and self.processes > 1:
            return self._forward_together(x)
        count = x.numel() // x.shape[1]
        share = self._share(len(x)) if self.training else 0.0
        if not self.training or (count > 1 and self.variance == "unbiased"):
            return F.batch_norm(x, self.running_mean, self.running_var, training=self.training, momentum=share, eps=_EPSILON)
        batch_mean, batch_var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        if count > 1:
            # With momentum 1 the engine hands out the statistics that it computes anyway.
            out = F.batch_norm(x, batch_mean, batch_var, training=True, momentum=1.0, eps=_EPSILON)
            batch_var = batch_var * ((count - 1) / count)  # not in place: the engine keeps the other for the gradient
        else:  # one value a channel is its own mean, and no estimate of a variance
            batch_mean += x.detach().reshape(-1)
            out = x - x.mean((0, 2, 3), keepdim=True)
        self.running_mean.lerp_(batch_mean, share)
        if self.variance == "biased":
            self.running_var.lerp_(batch_var, share)
        return out

    def _share(self, images: int) -> float:
        """How far the running statistics move towards those of a batch of so many images."""
        if self.shown is None:
            return _MOMENTUM
        self.shown += images
        return images / self.shown

    def _forward_together(self, x: Tensor) -> Tensor:
        out, batch_mean, batch_var = _normalise_together(x, epsilon=_EPSILON)
        if self.variance == "unbiased":
            count = x.numel() // x.shape[1] * self.processes
            batch_var = batch_var * (count / (count - 1))
        self.running_mean.lerp_(batch_mean, _MOMENTUM)
        self.running_var.lerp_(batch_var, _MOMENTUM)
        return out


class PretrainedNorm(Module):
    """Batch normalisation with scale and shift, in a pretrained network that learns no more; epsilon 1e-3, as in Inception.

    Outside of training it normalises with the running statistics; in training with the batch's, and leaves the running ones alone.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.processes = 1
        self.weight, self.bias = torch.nn.Parameter(torch.ones(channels)), torch.nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same."""
        if self.training and self.processes > 1:
            out, _, _ = _normalise_together(x, epsilon=1e-3)
            return alike(out * self.weight[:, None, None] + self.bias[:, None, None], x)
        if self.training:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=1e-3)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=1e-3)


def _normalise_together(x: Tensor, *, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """`x` normalised with the mean and biased variance (channels,) of the images of all processes, which each have as many."""
    values = widen(x)
    common_mean = _MeanOfProcesses.apply(mean(values, axes=(0, 2, 3)))
    centred = values - common_mean
    variance = _MeanOfProcesses.apply(mean(centred.square(), axes=(0, 2, 3)))
    out = centred * (variance + epsilon).rsqrt()
    return alike(out, x), common_mean.detach().flatten(), variance.detach().flatten()


class _MeanOfProcesses(torch.autograd.Function):
    """The mean over all processes. Backwards it is the same: each process's loss is a part of one mean."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        del context
        total = x.clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return _MeanOfProcesses.forward(context, gradient)


def instance_norm(x: Tensor) -> Tensor:
    """Normalise each channel of each image by its own mean and biased variance, epsilon 1e-5; a 1x1 image becomes 0.

    In two passes, which nearly constant channels need: `group_norm` with as many groups as channels is the same on paper, but off by 0.15
    for a channel of mean 3.3 and deviation 1e-4 (spec: method, 12.28).
    """
    images, channels, height, width = x.shape
    if height * width == 1:
        return x * 0  # each pixel is its own mean; the engine cannot count with that
    # Given somewhere to put statistics, it has them in that type; it would round those of bfloat16 features, by 0.1 deviations for a mean of 50.
    ignored = torch.zeros(images * channels, dtype=_at_least_float32(x.dtype), device=x.device)
    each = x.contiguous().reshape(1, -1, height, width)
    out = torch.batch_norm(each, None, None, ignored, torch.ones_like(ignored), True, 0.0, _EPSILON, torch.backends.cudnn.enabled)
    return out.reshape(x.shape)


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return F.relu(x)


def leaky_relu(x: Tensor, *, slope: float) -> Tensor:
    """x where positive, `slope` times x elsewhere."""
    return F.leaky_relu(x, slope)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


def absolute(x: Tensor) -> Tensor:
    """|x|."""
    return x.abs()


def mean(x: Tensor, *, axes: tuple[int, ...] | None) -> Tensor:
    """Mean over `axes`, which stay as length 1; None: over everything, a scalar. Adds up, and returns, at least float32."""
    kind = _at_least_float32(x.dtype)
    return x.mean(dtype=kind) if axes is None else x.mean(axes, keepdim=True, dtype=kind)


def widen(x: Tensor) -> Tensor:
    """The same values in float32, whatever a network computed them in; float64 stays."""
    return x.to(_at_least_float32(x.dtype))


def alike(x: Tensor, other: Tensor) -> Tensor:
    """`x` in the type of `other`, so that what both make is of that type, too."""
    return x.to(other.dtype)


def concatenate(tensors: Sequence[Tensor], *, axis: int) -> Tensor:
    """The tensors one behind the other along `axis`."""
    return torch.cat(list(tensors), dim=axis)


def take(x: Tensor, places: np.ndarray) -> Tensor:
    """The images at these places of the batch, int (M,), in this order; one may be taken several times."""
    return x.index_select(0, torch.from_numpy(places).to(x.device))


def shift(x: Tensor, *, down: np.ndarray, right: np.ndarray) -> Tensor:
    """Each image moved by its own number of pixels, int (N,), down and right (up and left where negative); zeros come in behind it."""
    height, width = x.shape[2:]
    rows, columns = int(np.abs(down).max()), int(np.abs(right).max())
    padded = F.pad(x, (columns, columns, rows, rows))
    tops, lefts = (rows - down).tolist(), (columns - right).tolist()
    windows = [padded[i : i + 1, :, top : top + height, left : left + width] for i, (top, left) in enumerate(zip(tops, lefts, strict=True))]
    return torch.cat(windows)


def resize_nearest(x: Tensor, *, height: int, width: int) -> Tensor:
    """Row i of the result is row floor(i * H / height), columns likewise: halving takes the top-left pixel of each 2x2."""
    before = x.shape[2:]
    divides = before[0] % height == 0 and before[1] % width == 0
    if divides or (height, width) == (2 * before[0], 2 * before[1]):
        return F.interpolate(x, (height, width), mode="nearest")
    # For other ratios the engine multiplies floats: 512 to 614 gives 255 instead of 256 in the middle.
    rows = torch.arange(height, device=x.device) * before[0] // height
    columns = torch.arange(width, device=x.device) * before[1] // width
    return x.index_select(2, rows).index_select(3, columns)


def resize_bilinear(x: Tensor, *, height: int, width: int) -> Tensor:
    """Bilinear with half-pixel centres, edges clamped, no antialiasing: halving takes the mean of each 2x2."""
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False, antialias=False)


def resize_bicubic(x: Tensor, *, height: int, width: int) -> Tensor:
    """Bicubic (a = -0.75) with half-pixel centres, edges clamped, no antialiasing."""
    return F.interpolate(x, (height, width), mode="bicubic", align_corners=False, antialias=False)


def resize_area(x: Tensor, *, height: int, width: int) -> Tensor:
    """Each pixel is the mean of the block that it replaces; the sides of `x` must be multiples of `height` and `width`."""
    assert x.shape[2] % height == 0 and x.shape[3] % width == 0
    return F.avg_pool2d(x, (x.shape[2] // height, x.shape[3] // width))


def pool_mean_3x3(x: Tensor, *, stride: int, border: Literal["ignored", "zeros"]) -> Tensor:
    """Mean of 3x3 at each `stride`-th pixel. Beyond the border are zeros that count, or nothing: the mean is of what there is.

    (Jittor's pooling knows only the former, whatever it is asked for: spec, method, 0.3.)
    """
    return F.avg_pool2d(x, 3, stride=stride, padding=1, count_include_pad=border == "zeros")


def pool_maximum(x: Tensor, *, size: int) -> Tensor:
    """Maximum of `size` x `size` at each second pixel, without padding; what fills no window at the end is dropped."""
    return F.max_pool2d(x, size, stride=2)


def from_numpy(array: np.ndarray, *, device: str) -> Tensor:
    """A tensor with the array's values on `device`."""
    return torch.from_numpy(np.asarray(array, order="C")).to(device)


def to_numpy(x: Tensor) -> np.ndarray:
    """The values in C order, on the host, shared with nothing."""
    return x.detach().cpu().contiguous().numpy().copy()


def one_hot(label_maps: np.ndarray, classes: int, *, device: str) -> Tensor:
    """float32 (N, classes, H, W) of integer label maps (N, H, W); an id beyond the classes (an ignored pixel) is all zeros."""
    ids = torch.from_numpy(label_maps.astype(np.int32)).to(device)
    known = torch.arange(classes, dtype=torch.int32, device=device)
    return (ids[..., None] == known).float().permute(0, 3, 1, 2)


def place(module: Module, device: str) -> None:
    """Move a network to `device`, in the memory layout that convolutions there are fastest in.

    Channels last: a training step takes 0.85 of the time on a CPU (width 32, 256x192, and width 16, 128x96). Raises `EnvironmentProblem` when
    the machine has no such device.
    """
    try:
        module.to(device)
        module.to(memory_format=torch.channels_last)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise EnvironmentProblem(f"cannot use the device {device!r}: {reason}. Choose --device cpu, or mend the driver.") from error


def set_training(module: Module, training: bool) -> None:
    """Batch statistics, which move the running ones (True), or the running ones as they are (False)."""
    module.train(training)


@contextmanager
def fresh_statistics(module: Module) -> Iterator[None]:
    """Within this context every `BatchNorm` of a network takes its running statistics anew: they are the mean over the images shown so far of
    the statistics of their batches. All else is as outside of training, and so is the network afterwards."""
    norms = [each for each in module.modules() if isinstance(each, BatchNorm)]
    module.eval()
    for norm in norms:
        norm.train()
        norm.shown = 0
    try:
        yield
    finally:
        for norm in norms:
            norm.eval()
            norm.shown = None


def freeze(module: Module) -> None:
    """Its parameters take part in no gradient any more; one can still flow through it."""
    module.requires_grad_(False)


@contextmanager
def frozen(module: Module) -> Iterator[None]:
    """The same within this context. A compiled network computes gradients for all that wants one, asked for or not."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def autocast(precision: Literal["float32", "bfloat16"], *, device: str) -> torch.autocast:
    """Within this context networks compute in `precision`, and keep their weights in float32.

    bfloat16: convolutions take and give it, and so features are stored in it; norms reckon with them in float32. Of the painter's features
    for the backward pass 0.59 of the bytes remain (tiny preset's width at 96x96).
    """
    # Without a cache, or weights converted where nothing is kept for gradients would later be taken where something is.
    return torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)


def compile_anew(*modules: Module) -> None:
    """Compile these networks, and forget what was compiled before. Before images change in size or layers come and go: then each network has
    one size to be fast at, and a share that changes from epoch to epoch is all that may vary."""
    torch.compiler.reset()
    for module in modules:
        module.compile()


@contextmanager
def exact_drawing() -> Iterator[None]:
    """Within this context nothing is kept for gradients, and a GPU computes in real float32, by the same kernels on each run: what is drawn
    for a judge does not depend on the machine beyond rounding."""
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def no_gradients() -> torch.no_grad:
    """Within this context nothing is kept for gradients."""
    return torch.no_grad()


def detach(x: Tensor) -> Tensor:
    """The same values, through which no gradient flows."""
    return x.detach()


@dataclass(frozen=True)
class Optimizer:
    """Adam over the parameters of one module, each known by its name there."""

    names: tuple[str, ...]
    parameters: tuple[torch.nn.Parameter, ...]
    steps: Literal["own", "common"]
    engine: torch.optim.Adam


def adam(module: Module, *, betas: tuple[float, float], epsilon: float, steps: Literal["own", "common"]) -> Optimizer:
    """Adam over all parameters of `module`.

    `steps` says how those of a parameter are counted that gets no gradient. own: not at all, it stays as it is. common: as all others', as
    if its gradient were zero; this is Jittor's way, by which a layer that joins late begins with up to sqrt(1 / (1 - beta2)) times
    the rate (spec: method, 7). Jittor also adds epsilon before the bias correction, which makes no difference to speak of.
    """
    names, parameters = zip(*((_plain_name(name), parameter) for name, parameter in module.named_parameters()), strict=True)
    # A rate of its own comes with each step.
    engine = torch.optim.Adam(parameters, lr=0.0, betas=betas, eps=epsilon, weight_decay=0.0, fused=True)
    return Optimizer(names, parameters, steps, engine)


def add_gradient(optimizer: Optimizer, loss: Tensor) -> None:
    """Add the gradient of `loss` to those since the last `move`; it is computed for the optimiser's own parameters only."""
    loss.backward(inputs=list(optimizer.parameters))


def move(optimizer: Optimizer, *, rate: float) -> None:
    """One step at `rate` down the gradients that were added, which are forgotten then."""
    if optimizer.steps == "common":
        for parameter in optimizer.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.engine.param_groups:
        group["lr"] = rate
    optimizer.engine.step()
    optimizer.engine.zero_grad(set_to_none=True)


def state_arrays(module: Module) -> dict[str, np.ndarray]:
    """A copy of all parameters and buffers by name, on the host."""
    return {_plain_name(name): to_numpy(value) for name, value in module.state_dict().items()}


def load_arrays(module: Module, arrays: Mapping[str, np.ndarray], *, origin: str) -> None:
    """Copy `arrays` into the parameters and buffers of the same names.

    Raises `WeightsError` that names what is missing, left over or of another shape, and guesses the cause; nothing is changed then.
    `origin` says in the message where the arrays come from (a path).
    """
    targets = {_plain_name(name): value for name, value in module.state_dict().items()}
    check_arrays(module, {name: tuple(value.shape) for name, value in targets.items()}, arrays, origin=origin)
    for name, target in targets.items():
        target.copy_(torch.from_numpy(np.asarray(arrays[name], order="C")))


def duplicate(module: Module) -> Module:
    """A copy of a network with parameters of its own, on the same device, which are not trained."""
    copied = copy.deepcopy(module)
    return copied.requires_grad_(False)


def move_towards(module: Module, target: Module, *, share: float) -> None:
    """Move all parameters and buffers of `module` towards those of a network like it: 0 leaves them, 1 copies."""
    with torch.no_grad():
        torch._foreach_lerp_(list(module.state_dict().values()), list(target.state_dict().values()), share)


def copy_arrays(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Copy every parameter and buffer of `source` into the one of the same name and shape in `target`, which may have others besides."""
    targets = target.state_dict()
    for name, value in source.state_dict().items():
        targets[name].copy_(value)


def optimizer_arrays(optimizer: Optimizer) -> dict[str, np.ndarray]:
    """Adam's memory: `NAME.mean`, `NAME.square` and `NAME.steps` of each parameter that has moved."""
    arrays: dict[str, np.ndarray] = {}
    for name, parameter in zip(optimizer.names, optimizer.parameters, strict=True):
        if state := optimizer.engine.state.get(parameter):
            arrays |= {f"{name}.{ours}": to_numpy(state[theirs]) for ours, theirs in _ADAM_NAMES.items()}
    return arrays


def load_optimizer_arrays(optimizer: Optimizer, arrays: Mapping[str, np.ndarray], *, origin: str) -> None:
    """Give an optimiser the memory that `optimizer_arrays` wrote down; raises `WeightsError` when it is another network's."""
    parameters = dict(zip(optimizer.names, optimizer.parameters, strict=True))
    for name in check_memory({name: tuple(parameter.shape) for name, parameter in parameters.items()}, arrays, origin=origin):
        parameter = parameters[name]
        # Fused Adam walks through a parameter's memory, so its own arrays must be laid out alike.
        given = {theirs: torch.tensor(arrays[f"{name}.{ours}"], device=parameter.device) for ours, theirs in _ADAM_NAMES.items()}
        optimizer.engine.state[parameter] = {
            theirs: value if value.ndim == 0 else torch.empty_like(parameter, requires_grad=False).copy_(value) for theirs, value in given.items()
        }


_ADAM_NAMES = {"mean": "exp_avg", "square": "exp_avg_sq", "steps": "step"}

_SPECTRAL_NAMES = {
    "parametrizations.weight.original": "weight",
    "parametrizations.weight.0._u": "weight_u",
    "parametrizations.weight.0._v": "weight_v",
}


def _at_least_float32(kind: torch.dtype) -> torch.dtype:
    return torch.promote_types(kind, torch.float32)


def _plain_name(name: str) -> str:
    """The engine's name of a parameter without traces of how spectral normalisation is attached."""
    for theirs, ours in _SPECTRAL_NAMES.items():
        if name.endswith(theirs):
            return name.removesuffix(theirs) + ours
    return name
