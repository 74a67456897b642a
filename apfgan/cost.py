"""What a configuration costs, before anything is trained: multiply-accumulates, parameters, memory for gradients, bytes on the disk.

Nothing here describes the networks a second time: the real ones run on tensors that have shapes and no values, and what they would compute
is counted. Multiply-accumulates (two floating point operations each) are those of one image; a batch costs as many times more.
"""

from dataclasses import dataclass, replace

import numpy as np

from apfgan.backend import SHAPES_ONLY, Tensor, Work, counted_work, freeze, from_numpy, one_hot, parameter_sizes, place, set_training, state_sizes
from apfgan.config import Config, PerceptualNetwork
from apfgan.networks.discriminator import Discriminators
from apfgan.networks.generator import Painter
from apfgan.networks.perceptual import Inception, Vgg19
from apfgan.schedule import Plan, plan_epoch

_FLOAT = 4  # bytes
_HALF = 0.55  # of the bytes that wait in float32 wait in bfloat16: 0.54 and 0.55 in the phases at full width, measured on a CPU
_ARRAY_HEADER = 256  # bytes, at most, that name, type, shape and place of one array take in a safetensors file
_MANIFEST = 4096  # bytes, about, beside a checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """What one image costs in a training step."""

    painter: int
    """Multiply-accumulates of the painter's step: drawing, judging and comparing, forward and backward."""
    discriminators: int
    """Those of the discriminators' step, drawing for them included."""
    held: int
    """Bytes that wait for the backward pass at once, in float32."""

    @property
    def total(self) -> int:
        """Multiply-accumulates of both steps."""
        return self.painter + self.discriminators


class Costs:
    """The costs of one configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        classes = len(config.data.classes)
        self._painter = Painter(config.model, classes=classes)
        self._discriminators = Discriminators(config.model, classes=classes)
        place(self._painter, SHAPES_ONLY)
        place(self._discriminators, SHAPES_ONLY)

    @property
    def painter_parameters(self) -> int:
        """Trainable values of encoder and generator, with the pictures of all levels and the label-guided noise."""
        return sum(parameter_sizes(self._painter))

    @property
    def discriminator_parameters(self) -> int:
        """Trainable values of all discriminators."""
        return sum(parameter_sizes(self._discriminators))

    @property
    def image(self) -> Work:
        """Drawing one full image with noise, convolution by convolution."""
        return self.drawing(replace(plan_epoch(self.config.train.epochs, self.config), noise=True))

    def drawing(self, plan: Plan) -> Work:
        """Drawing one image as in the epoch of `plan`, with the gradients for what draws it."""
        return self._draw(plan)[1]

    def judging(self, plan: Plan) -> Work:
        """All discriminators that judge one image in the epoch of `plan`, with the gradients for themselves."""
        height, width = self.image_size(plan)
        return self._judge(_blank_image(height, width), plan, learns=True)

    def image_size(self, plan: Plan) -> tuple[int, int]:
        """(height, width) of the images in the epoch of `plan`."""
        levels = self.config.model.levels
        halvings = 0 if plan.stage is None else levels - 1 - plan.stage.top
        return self.config.data.height >> halvings, self.config.data.width >> halvings

    def step(self, plan: Plan) -> StepCost:
        """One image in a training step of the epoch of `plan`."""
        fake, drawn = self._draw(plan)
        judged, taught = self._judge(fake, plan, learns=False), self.judging(plan)
        compared = _perceive(plan.perceptual, fake)
        photos = self.config.train.feature_weight > 0  # the painter's step shows the discriminators the photos as well
        return StepCost(
            painter=sum(work.forward + work.backward for work in (drawn, judged, compared)) + photos * judged.forward + compared.forward,
            discriminators=drawn.forward + 2 * (taught.forward + taught.backward),
            held=max(drawn.held + judged.held + compared.held, 2 * taught.held),
        )

    @property
    def checkpoint_bytes(self) -> int:
        """The most bytes that one checkpoint, or one average, takes on the disk."""
        return _file_bytes(state_sizes(self._painter)) + _MANIFEST

    @property
    def state_bytes(self) -> int:
        """The most bytes that the training state takes: networks, averages, and two moments and a count for each parameter."""
        averages = [1, *self.config.train.ema]
        moments = [size for network in (self._painter, self._discriminators) for size in parameter_sizes(network)]
        return _file_bytes([*state_sizes(self._painter) * len(averages), *state_sizes(self._discriminators), *moments * 2, *[1] * len(moments)])

    @property
    def checkpoints_at_once(self) -> int:
        """Checkpoints that lie on the disk at once at most, averages included: the newest is there before an old one goes."""
        settings = self.config.train
        kept = [epoch for epoch in range(1, settings.epochs + 1) if plan_epoch(epoch, self.config).kept]
        late = sum(epoch > settings.progressive_epochs for epoch in kept)
        at_once = min(late, settings.keep + 2) if settings.keep else late  # one more is the newest, and one the best
        return 1 + (len(kept) - late + at_once) * (1 + len(settings.ema))

    @property
    def disk_bytes(self) -> int:
        """The most bytes that checkpoints and states take at once. The state is replaced by a finished one, so two lie there for a moment;
        a further one stays from the end of the first phase."""
        settings = self.config.train
        states = 3 if 0 < settings.progressive_epochs < settings.epochs else 2
        return self.checkpoints_at_once * self.checkpoint_bytes + states * self.state_bytes

    @property
    def averages_memory(self) -> int:
        """Bytes of the averages of the painter, which lie on its device."""
        return len(self.config.train.ema) * _FLOAT * sum(state_sizes(self._painter))

    def memory(self, held: int) -> int:
        """Bytes that a training step takes when in float32 `held` would wait for the backward pass: with weights, gradients, moments and
        averages, in the precision of the configuration. What the kernels need for themselves comes on top.
        """
        learned = self.painter_parameters + self.discriminator_parameters
        always = 4 * _FLOAT * learned + self.averages_memory
        return always + held if self.config.train.precision == "float32" else always + _FLOAT // 2 * learned + round(_HALF * held)

    def _draw(self, plan: Plan) -> tuple[Tensor, Work]:
        height, width = self.config.data.height, self.config.data.width
        shapes = self._painter.generator.noise_shapes(height, width)
        noise = [_blank(1, 1, *shape) for shape in shapes] if plan.noise else None
        with counted_work(self._painter, learns=True) as work:
            return self._painter(self._labels(height, width), noise=noise, stage=plan.stage), work

    def _judge(self, image: Tensor, plan: Plan, *, learns: bool) -> Work:
        with counted_work(self._discriminators, learns=learns) as work:
            self._discriminators(self._labels(*image.shape[2:]), image, roles=plan.roles)
        return work

    def _labels(self, height: int, width: int) -> Tensor:
        return one_hot(np.zeros((1, height, width), np.uint8), len(self.config.data.classes), device=SHAPES_ONLY)


def perceptual_cost(name: PerceptualNetwork, *, height: int, width: int) -> int:
    """Multiply-accumulates of a perceptual network on one image."""
    return _perceive(name, _blank_image(height, width)).forward


def _perceive(name: PerceptualNetwork, image: Tensor) -> Work:
    if name == "none":
        return Work()
    network = Vgg19() if name == "vgg19" else Inception()
    freeze(network)
    set_training(network, False)
    place(network, SHAPES_ONLY)
    with counted_work(network, learns=False) as work:
        network(image)
    return work


def _blank(*shape: int) -> Tensor:
    return from_numpy(np.empty(shape, np.float32), device=SHAPES_ONLY)


def _blank_image(height: int, width: int) -> Tensor:
    return _blank(1, 3, height, width)


def _file_bytes(sizes: list[int]) -> int:
    return _FLOAT * sum(sizes) + _ARRAY_HEADER * len(sizes)
