"""What an epoch trains: `plan_epoch`, a pure function of the epoch and the configuration (APF-GAN, section 3; spec: method, 5).

Epochs are counted from 1, and the formulas use that number as it is. So the first level has one epoch less than the others, and the last
epoch of the progressive phase is already at full size, though with that phase's losses.
"""

from dataclasses import dataclass, replace
from typing import Literal

from apfgan.config import Config, ModelConfig, PerceptualNetwork

Phase = Literal["progressive", "augmented"]


@dataclass(frozen=True, slots=True)
class Stage:
    """How far the generator has grown: `level` is drawn (0 is the smallest size), and `fade` of the next is mixed in."""

    level: int
    fade: float = 0.0

    @property
    def top(self) -> int:
        """The level whose size the image has."""
        return self.level + (self.fade > 0)


@dataclass(frozen=True, slots=True)
class Role:
    """A discriminator's part in an epoch."""

    discriminator: int
    fade: float = 0.0
    """Above 0: it judges the size that is being mixed in, by so much."""
    borrows: bool = False
    """It uses the layers of the discriminator below it instead of its own, as far as that has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is trained in an epoch, and how."""

    epoch: int
    phase: Phase
    stage: Stage | None
    """How far the generator has grown; None: full size."""
    roles: tuple[Role, ...]
    heir: int | None
    """The discriminator that first takes over the weights of the one below it."""
    starts_phase: bool
    """The second phase begins: fresh optimisers, and the noise with them."""
    rate: float
    """Share of the learning rates in force."""
    noise: bool
    augment: tuple[str, ...]
    perceptual: PerceptualNetwork
    batch: int
    """Pairs that a step learns from."""
    accumulate: int
    """Parts in which it does."""
    kept: bool
    """A checkpoint is saved at the end."""

    @property
    def graph(self) -> tuple[object, ...]:
        """What decides which layers work at which sizes: epochs that agree in it can share compiled networks."""
        stage = None if self.stage is None else (self.stage.level, self.stage.fade > 0)
        return stage, tuple((role.discriminator, role.fade > 0, role.borrows) for role in self.roles), self.noise, self.batch


def plan_epoch(epoch: int, config: Config) -> Plan:
    """The plan of `epoch`, counted from 1; 0 stands for the fresh networks."""
    model, settings = config.model, config.train
    progressive_epochs = settings.progressive_epochs
    phase: Phase = "progressive" if epoch <= progressive_epochs else "augmented"
    augmented = phase == "augmented"
    perceptual = settings.perceptual if augmented else settings.progressive_perceptual
    heir = heir_at(epoch, levels=model.levels, progressive_epochs=progressive_epochs)
    return Plan(
        epoch=epoch,
        phase=phase,
        stage=stage_at(epoch, levels=model.levels, progressive_epochs=progressive_epochs, fade_in=settings.fade_in),
        roles=roles_at(epoch, model, progressive_epochs=progressive_epochs, fade_in=settings.fade_in),
        heir=None if model.hand_over == "none" else heir,
        starts_phase=epoch == progressive_epochs + 1,
        rate=rate_at(epoch, epochs=settings.epochs, decay_epochs=settings.decay_epochs),
        noise=augmented and settings.seg_noise,
        augment=settings.augment if augmented else (),
        perceptual=perceptual if settings.perceptual_weight > 0 else "none",
        batch=settings.batch if augmented else settings.progressive_batch,
        accumulate=settings.accumulate if augmented else settings.progressive_accumulate,
        kept=epoch in (0, progressive_epochs, settings.epochs)
        or epoch % (settings.save_every if augmented else settings.save_progressive_every) == 0,
    )


def stage_at(epoch: int, *, levels: int, progressive_epochs: int, fade_in: bool) -> Stage | None:
    """The growth at `epoch`; None: full size.

    Each level holds for half of its span, then the next one is mixed in linearly, or takes over at once without `fade_in`: each epoch has
    the same size either way. A span of one or two epochs has no half to mix in.
    """
    if epoch >= progressive_epochs:
        return None
    span = progressive_epochs // (levels - 1)
    level, into = divmod(epoch, span)
    stage = Stage(level, max(0.0, into / (span / 2) - 1))
    return stage if fade_in else Stage(stage.top)


def heir_at(epoch: int, *, levels: int, progressive_epochs: int) -> int | None:
    """The discriminator that takes over what it shares with the one below it: the one whose size begins to be mixed in at `epoch`."""
    stage = stage_at(epoch, levels=levels, progressive_epochs=progressive_epochs, fade_in=True)
    if stage is None or stage.fade == 0:
        return None
    before = stage_at(epoch - 1, levels=levels, progressive_epochs=progressive_epochs, fade_in=True)
    return None if before and before.fade > 0 else stage.top


def roles_at(epoch: int, model: ModelConfig, *, progressive_epochs: int, fade_in: bool) -> tuple[Role, ...]:
    """Who judges at `epoch`, in order: the first sees the image at its own size, each further one at half of the size before.

    While growing, a discriminator belongs to a size, 0 to the smallest. How they are ordered at full size is a setting: by default the
    shallow, wide discriminator 0 sees the full image and the deepest sees the smallest, as the original trains it (spec: method, 0.4).
    """
    stage = stage_at(epoch, levels=model.levels, progressive_epochs=progressive_epochs, fade_in=fade_in)
    if stage is None:
        order = range(model.levels) if model.full_size_order == "deepest_sees_smallest" else reversed(range(model.levels))
        roles = tuple(Role(index) for index in order)
    else:
        roles = tuple(Role(index) for index in range(stage.top, -1, -1))
        borrows = model.hand_over == "shared" and heir_at(epoch, levels=model.levels, progressive_epochs=progressive_epochs) is not None
        roles = (replace(roles[0], fade=stage.fade, borrows=borrows), *roles[1:])
    return roles if model.multi_scale else roles[:1]


def rate_at(epoch: int, *, epochs: int, decay_epochs: int) -> float:
    """Share of the learning rates in force at `epoch`: 1, then falling in equal steps through the last `decay_epochs`, to 0 behind the end."""
    return min(1.0, max(0.0, (epochs + 1 - epoch) / (decay_epochs + 1))) if decay_epochs else 1.0
