"""The backend's words in Jittor. What each means is stated where PyTorch's is defined; here is said what Jittor would otherwise do.

Jittor computes nothing before somebody asks for a value. So a training step is one graph, which `add_gradient` and `move` have computed. Tensors
lie where the whole process computes, on the CPU or on one GPU. A scalar has shape (1,).
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, overload

import numpy as np

from apfgan.backend.fitting import Described, check_arrays, check_memory
from apfgan.backend.jittor.engine import Tensor, jt
from apfgan.backend.work import SHAPES_ONLY
from apfgan.engines import Engine, require_precision
from apfgan.errors import EnvironmentProblem

_EPSILON = 1e-5  # of the normalisations that learn
_MOMENTUM = 0.1  # of BatchNorm's running statistics
_SATURATED = 10.0  # where the hyperbolic tangent is 1 in float32


class Module(Described, jt.Module):
    """Base of every network: parameters, buffers and sub-networks are attributes; calling it calls `forward`."""

    buffers: ClassVar[frozenset[str]] = frozenset()
    """Which of its tensors are no parameters."""
    observer: Callable[[Any, Any], None] | None = None
    """Is told the first input and the output of each call."""

    def execute(self, *inputs: Any, **named: Any) -> Any:
        """What Jittor calls a network's `forward`."""
        output = self.forward(*inputs, **named)
        if self.observer is not None:
            self.observer(inputs[0], output)
        return output


class ModuleList(Module):
    """Networks in order, named by their numbers."""

    def __init__(self, modules: Iterable[Module]) -> None:
        super().__init__()
        for number, module in enumerate(modules):
            setattr(self, str(number), module)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Any]:
        return (value for value in self.__dict__.values() if isinstance(value, Module))

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> "list[Any]": ...

    def __getitem__(self, place: int | slice) -> Any:
        return list(self)[place]


class Conv2d(Module):
    """Convolution with zero padding, born zero."""

    buffers = frozenset({"weight_u", "weight_v"})

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
        self.stride, self.padding, self.spectral_norm = stride, padding, spectral_norm
        self.learned = False  # whether the last gradient came by here
        shape = (outputs, inputs, *((kernel, kernel) if isinstance(kernel, int) else kernel))
        self.bias = _variable(np.zeros(outputs, np.float32)) if bias else None
        self.weight = _variable(np.zeros(shape, np.float32))
        if spectral_norm:
            for name, length in (("weight_u", outputs), ("weight_v", int(np.prod(shape[1:])))):
                setattr(self, name, _constant(np.full(length, length**-0.5, np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        assert x.shape[1] == self.weight.shape[1]  # Jittor would repeat a single channel
        weight = self.weight if self.weight.is_stop_grad() else _Witness(self)(self.weight)
        if self.spectral_norm:
            weight = weight / self._largest_singular_value(weight)
        return jt.nn.conv2d(x, weight, self.bias, stride=self.stride, padding=self.padding, dilation=1, groups=1)

    def _largest_singular_value(self, weight: Tensor) -> Tensor:
        """As far as u and v know it, which in training take a round of power iteration first."""
        matrix = weight.reshape(weight.shape[0], -1)
        if self.training:
            with jt.no_grad():
                self.weight_u.update(_unit((matrix * self.weight_v).sum(1)))
                self.weight_v.update(_unit((matrix * self.weight_u.reshape(-1, 1)).sum(0)))
        return ((matrix * self.weight_v).sum(1) * self.weight_u).sum()


class _Witness(jt.Function):
    """A convolution's weight as it is, and on the way back the knowledge that a gradient came by: Jittor gives zeros for a parameter on which
    the loss does not depend, and these look like a gradient."""

    def __init__(self, conv: Conv2d) -> None:
        super().__init__()
        self._conv = conv

    def execute(self, weight: Tensor) -> Tensor:
        """The weight."""
        return weight

    def grad(self, gradient: Tensor) -> Tensor:
        """The gradient."""
        self._conv.learned = True
        return gradient


class BatchNorm(Module):
    """Batch normalisation without scale and shift; Jittor's own knows the biased variance only, from E[x^2] - E[x]^2 in float32."""

    buffers = frozenset({"running_mean", "running_var"})

    def __init__(self, channels: int, *, variance: Literal["unbiased", "biased"]) -> None:
        super().__init__()
        self.variance = variance
        self.shown: int | None = None  # images whose statistics the running ones are the mean of; None: they follow with momentum
        self.running_mean, self.running_var = _constant(np.zeros(channels, np.float32)), _constant(np.ones(channels, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the batch's statistics in training, with the running ones otherwise."""
        if not self.training:
            return _normalise(x, _per_channel(self.running_mean), _per_channel(self.running_var), epsilon=_EPSILON)
        average, variance = _moments(x, axes=(0, 2, 3))
        self._follow(average, variance, images=x.shape[0], count=x.numel() // x.shape[1])
        return _normalise(x, average, variance, epsilon=_EPSILON)

    def _follow(self, average: Tensor, variance: Tensor, *, images: int, count: int) -> None:
        """Move the running statistics towards those of a batch of so many images, with so many values in each channel."""
        share = _MOMENTUM
        if self.shown is not None:
            self.shown += images
            share = images / self.shown
        with jt.no_grad():
            self.running_mean.update(_towards(self.running_mean, average.reshape(-1), share))
            if self.variance == "biased":
                self.running_var.update(_towards(self.running_var, variance.reshape(-1), share))
            elif count > 1:  # one value is no estimate of a variance
                self.running_var.update(_towards(self.running_var, variance.reshape(-1) * (count / (count - 1)), share))


class PretrainedNorm(Module):
    """Batch normalisation with scale and shift and epsilon 1e-3, in a pretrained network that learns no more."""

    buffers = frozenset({"running_mean", "running_var"})

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = _variable(np.ones(channels, np.float32)), _variable(np.zeros(channels, np.float32))
        self.running_mean, self.running_var = _constant(np.zeros(channels, np.float32)), _constant(np.ones(channels, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same."""
        average, variance = _moments(x, axes=(0, 2, 3)) if self.training else (_per_channel(self.running_mean), _per_channel(self.running_var))
        return _normalise(x, average, variance, epsilon=1e-3) * _per_channel(self.weight) + _per_channel(self.bias)


def instance_norm(x: Tensor) -> Tensor:
    """Normalise each channel of each image, in two passes: Jittor's own, in one, is wrong for nearly constant channels (spec: method, 12.28)."""
    if x.shape[2] * x.shape[3] == 1:
        return x * 0
    return _normalise(x, *_moments(x, axes=(2, 3)), epsilon=_EPSILON)


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return jt.nn.relu(x)


def leaky_relu(x: Tensor, *, slope: float) -> Tensor:
    """x where positive, `slope` times x elsewhere."""
    return jt.nn.leaky_relu(x, slope)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent; the gradient of Jittor's own is no number beyond 45, for it squares the hyperbolic cosine."""
    return jt.tanh(jt.maximum(jt.minimum(x, _SATURATED), -_SATURATED))


def absolute(x: Tensor) -> Tensor:
    """|x|, with gradient 0 at 0, where that of Jittor's own is 1."""
    return relu(x) + relu(-x)


def mean(x: Tensor, *, axes: tuple[int, ...] | None) -> Tensor:
    """Mean over `axes`, which stay as length 1; None: over everything, a scalar. Axis by axis: Jittor adds up one value after the other in float32,
    by which the mean of 40 000 of them at once is 8e-5 off, and so 2e-7."""
    for axis in reversed(range(x.ndim) if axes is None else axes):
        x = x.mean(axis, keepdims=True)
    return x.reshape(1) if axes is None else x


def widen(x: Tensor) -> Tensor:
    """The same values in float32."""
    return x.float32()


def alike(x: Tensor, other: Tensor) -> Tensor:
    """`x` in the type of `other`."""
    return x.cast(other.dtype)


def concatenate(tensors: Sequence[Tensor], *, axis: int) -> Tensor:
    """The tensors one behind the other along `axis`."""
    return jt.concat(list(tensors), dim=axis)


def take(x: Tensor, places: np.ndarray) -> Tensor:
    """The images at these places of the batch, int (M,), in this order; one may be taken several times."""
    return x.reindex([len(places), *x.shape[1:]], ["@e0(i0)", "i1", "i2", "i3"], extras=[_constant(places.astype(np.int32))])


def shift(x: Tensor, *, down: np.ndarray, right: np.ndarray) -> Tensor:
    """Each image moved down and right by its own number of pixels; zeros come in behind it. One kernel for all distances, as they are data."""
    distances = [_constant(np.asarray(each, np.int32)) for each in (down, right)]
    return x.reindex(list(x.shape), ["i0", "i1", "i2-@e0(i0)", "i3-@e1(i0)"], extras=distances)


def resize_nearest(x: Tensor, *, height: int, width: int) -> Tensor:
    """Row i of the result is row floor(i * H / height), columns likewise. One kernel for all sizes, as the places are data."""
    images, channels, rows, columns = x.shape
    if (rows, columns) == (height, width):
        return x
    places = [_constant(np.arange(after, dtype=np.int32) * before // after) for before, after in ((rows, height), (columns, width))]
    return x.reindex([images, channels, height, width], ["i0", "i1", "@e0(i2)", "@e1(i3)"], extras=places)


def resize_bilinear(x: Tensor, *, height: int, width: int) -> Tensor:
    """Bilinear with half-pixel centres, edges clamped, no antialiasing."""
    return _resample(x, _linear_weights(x.shape[2], height), _linear_weights(x.shape[3], width))


def resize_bicubic(x: Tensor, *, height: int, width: int) -> Tensor:
    """Bicubic (a = -0.75) with half-pixel centres, edges clamped, no antialiasing."""
    return _resample(x, _cubic_weights(x.shape[2], height), _cubic_weights(x.shape[3], width))


def resize_area(x: Tensor, *, height: int, width: int) -> Tensor:
    """Each pixel is the mean of the block that it replaces."""
    images, channels, rows, columns = x.shape
    assert rows % height == 0 and columns % width == 0
    down, right = rows // height, columns // width
    return x.reindex([images, channels, height, width, down, right], ["i0", "i1", f"i2*{down}+i4", f"i3*{right}+i5"]).mean([4, 5])


def pool_mean_3x3(x: Tensor, *, stride: int, border: Literal["ignored", "zeros"]) -> Tensor:
    """Mean of 3x3 at each `stride`-th pixel; Jittor's own counts the zeros beyond the border, whatever it is asked for (spec: method, 0.3)."""
    images, channels, rows, columns = x.shape
    shape = [images, channels, (rows - 1) // stride + 1, (columns - 1) // stride + 1]
    total = x.reindex([*shape, 3, 3], ["i0", "i1", f"i2*{stride}-1+i4", f"i3*{stride}-1+i5"]).sum([4, 5])
    return total / (9 if border == "zeros" else _constant(_pixels_in_reach(rows, columns, stride)))


def pool_maximum(x: Tensor, *, size: int) -> Tensor:
    """Maximum of `size` x `size` at each second pixel, without padding; what fills no window at the end is dropped."""
    return jt.pool.Pool(size, stride=2, padding=0, ceil_mode=False, op="maximum")(x)


def from_numpy(array: np.ndarray, *, device: str) -> Tensor:
    """A tensor with the array's values; nobody asks for its gradient."""
    del device  # the whole process has one
    return _constant(array)


def to_numpy(x: Tensor) -> np.ndarray:
    """The values in C order, on the host, shared with nothing."""
    return np.array(x.numpy(), order="C")


def one_hot(label_maps: np.ndarray, classes: int, *, device: str) -> Tensor:
    """float32 (N, classes, H, W) of integer label maps (N, H, W); an id beyond the classes is all zeros."""
    ids = from_numpy(label_maps.astype(np.int32)[:, None], device=device)
    return (ids == _constant(np.arange(classes, dtype=np.int32).reshape(1, -1, 1, 1))).float32()


def place(module: Module, device: str) -> None:
    """Let the process compute on `device`; raises `EnvironmentProblem` when Jittor cannot use it."""
    del module
    if device == SHAPES_ONLY:
        return
    if device not in ("cpu", "cuda"):
        raise EnvironmentProblem(f"Jittor knows the devices cpu and cuda, not {device!r}. To choose among GPUs, set CUDA_VISIBLE_DEVICES.")
    if device == "cuda" and not jt.has_cuda:
        raise EnvironmentProblem("Jittor can use no GPU here: it was compiled without CUDA. Choose --device cpu, or see: apfgan doctor")
    jt.flags.use_cuda = int(device == "cuda")


def set_training(module: Module, training: bool) -> None:
    """Batch statistics, which move the running ones (True), or the running ones as they are (False)."""
    for part in module.modules():
        part.is_train = training  # Jittor's own `eval` would also let no gradient through


@contextmanager
def fresh_statistics(module: Module) -> Iterator[None]:
    """Within this context every `BatchNorm` takes its running statistics anew, as the mean over the images shown so far."""
    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    set_training(module, False)
    for norm in norms:
        norm.is_train, norm.shown = True, 0
    try:
        yield
    finally:
        for norm in norms:
            norm.is_train, norm.shown = False, None


def freeze(module: Module) -> None:
    """Its parameters take part in no gradient any more; one can still flow through it."""
    for tensor in state_tensors(module).values():
        tensor.stop_grad()


def frozen(module: Module) -> AbstractContextManager[None]:
    """The same within this context. Jittor computes no gradient that nobody asked for, so there is nothing to do."""
    del module
    return nullcontext()


def autocast(precision: Literal["float32", "bfloat16"], *, device: str) -> AbstractContextManager[None]:
    """float32 only; raises `UsageError` for what else PyTorch can do."""
    del device
    require_precision(precision, Engine.jittor)
    return nullcontext()


def compile_anew(*modules: Module) -> None:
    """Nothing: Jittor compiles whatever it computes."""


def exact_drawing() -> AbstractContextManager[None]:
    """Within this context nothing is kept for gradients."""
    return no_gradients()


def no_gradients() -> AbstractContextManager[None]:
    """Within this context nothing is kept for gradients."""
    return jt.no_grad()


def detach(x: Tensor) -> Tensor:
    """The same values, through which no gradient flows."""
    return x.detach()


@dataclass(slots=True)
class _Memory:
    """What Adam remembers of a parameter."""

    mean: Tensor
    square: Tensor
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Adam over the parameters of one module, each known by its name there."""

    parameters: Mapping[str, Tensor]
    convolutions: Mapping[str, Conv2d]
    """Whose they are, by what the parameters' names begin with."""
    betas: tuple[float, float]
    epsilon: float
    steps: Literal["own", "common"]
    memory: dict[str, _Memory] = field(default_factory=dict)
    """Of the parameters that have moved."""
    gradients: dict[str, Tensor] = field(default_factory=dict)
    """Those added since the last `move`."""


def adam(module: Module, *, betas: tuple[float, float], epsilon: float, steps: Literal["own", "common"]) -> Optimizer:
    """Adam over all parameters of `module`, by PyTorch's formula; Jittor's own counts one step for all and adds epsilon elsewhere."""
    return Optimizer(trainable(module), {prefix: part for part, prefix in _parts(module) if isinstance(part, Conv2d)}, betas, epsilon, steps)


def add_gradient(optimizer: Optimizer, loss: Tensor) -> None:
    """Add the gradient of `loss` to those since the last `move`; everything that was asked for so far is computed."""
    for conv in optimizer.convolutions.values():
        conv.learned = False
    gradients = zip(optimizer.parameters, jt.grad(loss, list(optimizer.parameters.values()), retain_graph=False), strict=True)
    for name, gradient in gradients:
        prefix, dot, _ = name.rpartition(".")
        if optimizer.convolutions[prefix + dot].learned:
            optimizer.gradients[name] = (optimizer.gradients[name] + gradient if name in optimizer.gradients else gradient).stop_grad()
    jt.sync_all()


def move(optimizer: Optimizer, *, rate: float) -> None:
    """One step at `rate` down the gradients that were added, which are forgotten then."""
    first, second = optimizer.betas
    for name, parameter in optimizer.parameters.items():
        gradient = optimizer.gradients.get(name)
        if gradient is None and optimizer.steps == "own":
            continue
        if name not in optimizer.memory:
            optimizer.memory[name] = _Memory(_zeros_like(parameter), _zeros_like(parameter))
        memory = optimizer.memory[name]
        memory.steps += 1
        with jt.no_grad():
            gradient = _zeros_like(parameter) if gradient is None else gradient
            memory.mean = first * memory.mean + (1 - first) * gradient
            memory.square = second * memory.square + (1 - second) * gradient * gradient
            deviation = jt.sqrt(memory.square / (1 - second**memory.steps)) + optimizer.epsilon
            _put(parameter, parameter - rate / (1 - first**memory.steps) * memory.mean / deviation)
    optimizer.gradients.clear()
    jt.sync_all()


def trainable(module: Module) -> dict[str, Tensor]:
    """The parameters of a network by name, without its buffers."""
    return {name: tensor for part, own in _parts(module) for name, tensor in _tensors(part, own) if name.rpartition(".")[2] not in part.buffers}


def state_tensors(module: Module) -> dict[str, Tensor]:
    """All parameters and buffers by name."""
    return {name: tensor for part, own in _parts(module) for name, tensor in _tensors(part, own)}


def state_arrays(module: Module) -> dict[str, np.ndarray]:
    """A copy of all parameters and buffers by name, on the host."""
    return {name: to_numpy(tensor) for name, tensor in state_tensors(module).items()}


def load_arrays(module: Module, arrays: Mapping[str, np.ndarray], *, origin: str) -> None:
    """Copy `arrays` into the parameters and buffers of the same names; Jittor's own takes what fits and says nothing of the rest.

    Raises `WeightsError`, and changes nothing then.
    """
    tensors = state_tensors(module)
    check_arrays(module, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, arrays, origin=origin)
    for name, tensor in tensors.items():
        _put(tensor, _constant(arrays[name]))


def duplicate(module: Module) -> Module:
    """A copy of a network with parameters of its own, which are not trained."""
    copied = copy.deepcopy(module)
    freeze(copied)
    return copied


def move_towards(module: Module, target: Module, *, share: float) -> None:
    """Move all parameters and buffers of `module` towards those of a network like it: 0 leaves them, 1 copies."""
    targets = state_tensors(target)
    for name, tensor in state_tensors(module).items():
        with jt.no_grad():
            _put(tensor, _towards(tensor, targets[name], share))


def copy_arrays(source: Module, target: Module) -> None:
    """Copy every parameter and buffer of `source` into the one of the same name in `target`; Jittor's own would let both share one."""
    targets = state_tensors(target)
    for name, array in state_arrays(source).items():
        _put(targets[name], _constant(array))


def optimizer_arrays(optimizer: Optimizer) -> dict[str, np.ndarray]:
    """Adam's memory: `NAME.mean`, `NAME.square` and `NAME.steps` of each parameter that has moved."""
    arrays: dict[str, np.ndarray] = {}
    for name, memory in optimizer.memory.items():
        kinds = {"mean": to_numpy(memory.mean), "square": to_numpy(memory.square), "steps": np.array(memory.steps, np.float32)}
        arrays |= {f"{name}.{kind}": array for kind, array in kinds.items()}
    return arrays


def load_optimizer_arrays(optimizer: Optimizer, arrays: Mapping[str, np.ndarray], *, origin: str) -> None:
    """Give an optimiser the memory that `optimizer_arrays` wrote down; raises `WeightsError` when it is another network's."""
    for name in check_memory({name: tuple(tensor.shape) for name, tensor in optimizer.parameters.items()}, arrays, origin=origin):
        mean_of, square_of, steps = (arrays[f"{name}.{kind}"] for kind in ("mean", "square", "steps"))
        optimizer.memory[name] = _Memory(_constant(mean_of), _constant(square_of), int(steps))


def _variable(array: np.ndarray) -> Tensor:
    return jt.array(np.asarray(array, order="C"))


def _constant(array: np.ndarray) -> Tensor:
    return _variable(array).stop_grad()


def _put(tensor: Tensor, value: Tensor) -> None:
    """Give a parameter or buffer another value, which nothing links to how it was computed."""
    learns = not tensor.is_stop_grad()
    tensor.update(value)
    if learns:
        tensor.start_grad()


def _parts(module: Module, prefix: str = "") -> Iterator[tuple[Module, str]]:
    """A network and all within it, with what their tensors' names begin with."""
    yield module, prefix
    for name, value in module.__dict__.items():
        if isinstance(value, Module):
            yield from _parts(value, f"{prefix}{name}.")


def _tensors(part: Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((f"{prefix}{name}", value) for name, value in part.__dict__.items() if isinstance(value, Tensor))


def _zeros_like(tensor: Tensor) -> Tensor:
    """Zeros in memory, so that the first step runs the same kernels as the others; Jittor's own would be computed within them."""
    return _constant(np.zeros(tuple(tensor.shape), np.float32))


def _towards(start: Tensor, end: Tensor, share: float) -> Tensor:
    return (1 - share) * start + share * end


def _unit(vector: Tensor) -> Tensor:
    return vector / jt.maximum(jt.sqrt((vector * vector).sum()), 1e-12)


def _per_channel(vector: Tensor) -> Tensor:
    return vector.reshape(1, -1, 1, 1)


def _moments(x: Tensor, *, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, in two passes."""
    average = mean(x, axes=axes)
    centred = x - average
    return average, mean(centred * centred, axes=axes)


def _normalise(x: Tensor, average: Tensor, variance: Tensor, *, epsilon: float) -> Tensor:
    return (x - average) / jt.sqrt(variance + epsilon)


def _resample(x: Tensor, down: np.ndarray, across: np.ndarray) -> Tensor:
    """The image with its rows mixed by `down` (height, H) and its columns by `across` (width, W)."""
    mixed = jt.matmul(x, _constant(across.T))
    return jt.matmul(mixed.transpose(0, 1, 3, 2), _constant(down.T)).transpose(0, 1, 3, 2)


def _linear_weights(before: int, after: int) -> np.ndarray:
    """How much of each of `before` pixels each of `after` takes, bilinearly."""
    return _interpolation(before, after, lambda distance: np.clip(1 - distance, 0, None), reach=1)


def _cubic_weights(before: int, after: int) -> np.ndarray:
    """The same by Keys' cubic with a = -0.75 (Keys 1981, eq. 4)."""
    a = -0.75

    def kernel(distance: np.ndarray) -> np.ndarray:
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((distance - 5) * distance + 8) * distance * a - 4 * a
        return np.where(distance <= 1, near, np.where(distance < 2, far, 0))

    return _interpolation(before, after, kernel, reach=2)


def _interpolation(before: int, after: int, kernel: Any, *, reach: int) -> np.ndarray:
    """float32 (after, before): weights of the pixels within `reach` of each centre; what lies beyond the edge counts for the edge."""
    centres = np.clip((np.arange(after) + 0.5) * before / after - 0.5, *((0, before - 1) if reach == 1 else (-np.inf, np.inf)))
    weights = np.zeros((after, before))
    for offset in range(1 - reach, reach + 1):
        pixels = np.floor(centres).astype(int) + offset
        np.add.at(weights, (np.arange(after), np.clip(pixels, 0, before - 1)), kernel(np.abs(centres - pixels)))
    return weights.astype(np.float32)


def _pixels_in_reach(rows: int, columns: int, stride: int) -> np.ndarray:
    """float32 (h, w): how many pixels of an image each 3x3 window covers."""
    down, across = (np.minimum(at + 1, size - 1) - np.maximum(at - 1, 0) + 1 for size in (rows, columns) for at in [np.arange(0, size, stride)])
    return np.outer(down, across).astype(np.float32)
