"""Which sizes and which discriminators an epoch trains: pure functions of the epoch (APF-GAN, section 3; spec: method, 5).

Epochs are counted from 1, and the formulas use that number as it is. So the first level has one epoch less than the others, and the last
epoch of the progressive phase is already at full size, though with that phase's losses.
"""

from dataclasses import dataclass
from typing import Literal

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
    """A discriminator's part in an epoch: `fade` > 0 means that it judges the size that is being mixed in."""

    discriminator: int
    fade: float = 0.0


def phase_at(epoch: int, *, progressive_epochs: int) -> Phase:
    """The phase that `epoch` belongs to: losses, batch size, augmentation and noise follow from it."""
    return "progressive" if epoch <= progressive_epochs else "augmented"


def stage_at(epoch: int, *, levels: int, progressive_epochs: int) -> Stage | None:
    """The growth at `epoch`; None: full size. Each level holds for half of its span, then the next one is mixed in linearly."""
    if epoch >= progressive_epochs:
        return None
    span = progressive_epochs // (levels - 1)
    level, into = divmod(epoch, span)
    return Stage(level, max(0.0, into / (span / 2) - 1))


def roles_at(epoch: int, *, levels: int, progressive_epochs: int) -> tuple[Role, ...]:
    """Who judges at `epoch`, in order: the first sees the image at its own size, each further one at half of the size before.

    While growing, a discriminator belongs to a size, 0 to the smallest. At full size the order is turned round: the shallow, wide
    discriminator 0 sees the full image and the deepest sees the smallest, as the original trains it (spec: method, 0.4).
    """
    stage = stage_at(epoch, levels=levels, progressive_epochs=progressive_epochs)
    if stage is None:
        return tuple(Role(index) for index in range(levels))
    fading = (Role(stage.top, stage.fade),) if stage.fade > 0 else ()
    return fading + tuple(Role(index) for index in range(stage.level, -1, -1))


def heir_at(epoch: int, *, levels: int, progressive_epochs: int) -> int | None:
    """The discriminator that takes over the weights of the one below it at the start of `epoch`: the one that judges for the first time.

    The original copies at every forward of that epoch and lets both share one variable, so that only the lower one learns in it (spec:
    method, 5). Copying once lets both learn from the first step on.
    """
    stage = stage_at(epoch, levels=levels, progressive_epochs=progressive_epochs)
    before = stage_at(epoch - 1, levels=levels, progressive_epochs=progressive_epochs)
    return stage.top if stage and before and stage.top > before.top else None
