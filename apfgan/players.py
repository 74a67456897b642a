"""The painter and the discriminators that train each other: one step of each (spec: method, 6 to 8).

N images, C classes; label maps are one-hot (N, C, H, W), photos and images (N, 3, H, W) in [-1, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apfgan.augment import augment, draw
from apfgan.backend import (
    Module,
    Optimizer,
    Tensor,
    adam,
    from_numpy,
    load_arrays,
    load_optimizer_arrays,
    no_gradients,
    normal,
    one_hot,
    optimizer_arrays,
    place,
    resize_bilinear,
    state_arrays,
    step,
    to_numpy,
)
from apfgan.config import Config
from apfgan.data import Batch
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real, perceptual
from apfgan.networks import build_discriminators, build_painter, start_noise
from apfgan.networks.perceptual import load_vgg19
from apfgan.randomness import random_source
from apfgan.schedule import Phase, Role, Stage, heir_at, phase_at, roles_at, stage_at

LOSSES = ("adversarial", "feature_matching", "perceptual", "discriminator_fake", "discriminator_real")
"""Names of the losses, weighted as they are minimised. The first three added up are the painter's, the others the discriminators'."""


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
    noise: bool
    augment: tuple[str, ...]
    batch: int
    kept: bool
    """A checkpoint is saved at the end."""


def plan_epoch(epoch: int, config: Config) -> Plan:
    """The plan of `epoch`, counted from 1; 0 stands for the fresh networks."""
    settings = config.train
    schedule = {"levels": config.model.levels, "progressive_epochs": settings.progressive_epochs}
    phase = phase_at(epoch, progressive_epochs=settings.progressive_epochs)
    augmented = phase == "augmented"
    return Plan(
        epoch=epoch,
        phase=phase,
        stage=stage_at(epoch, **schedule),
        roles=roles_at(epoch, **schedule),
        heir=heir_at(epoch, **schedule),
        starts_phase=epoch == settings.progressive_epochs + 1,
        noise=augmented and settings.seg_noise,
        augment=settings.augment if augmented else (),
        batch=settings.batch if augmented else settings.progressive_batch,
        kept=epoch in (0, settings.progressive_epochs, settings.epochs)
        or epoch % (settings.save_every if augmented else settings.save_progressive_every) == 0,
    )


class Players:
    """Networks and optimisers. All that they learn follows from the configuration, the batches and the seed."""

    def __init__(self, config: Config, *, device: str) -> None:
        self.config, self.device = config, device
        self.painter = build_painter(config, seed=config.train.seed)
        self.discriminators = build_discriminators(config, seed=config.train.seed)
        place(self.painter, device)
        place(self.discriminators, device)
        self.vgg19 = load_vgg19(Path(config.train.vgg19_weights), device=device) if config.train.perceptual == "vgg19" else None
        self._renew_optimizers()

    def begin(self, plan: Plan) -> None:
        """What changes at the start of an epoch."""
        if plan.heir is not None:
            self.discriminators.hand_over(plan.heir)
        if plan.starts_phase:
            self._renew_optimizers()
        if plan.starts_phase and plan.noise:
            source = random_source(self.config.train.seed, "noise weights")
            start_noise(self.painter, source, gain=self.config.model.init_gain if self.config.model.seg_noise_init == "xavier" else 0.0)

    def learn(self, batch: Batch, plan: Plan, *, index: int) -> dict[str, float]:
        """A step of the painter, then one of the discriminators, each on images drawn for it; the losses that they started from.

        `index` numbers the batches of the epoch.
        """
        onehot = one_hot(batch.label_maps, len(self.config.data.classes), device=self.device)
        photos = from_numpy(batch.photos, device=self.device)
        losses = self._teach_painter(onehot, photos, plan, index) | self._teach_discriminators(onehot, photos, plan, index)
        return {name: float(to_numpy(loss)) for name, loss in losses.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is needed to go on."""
        arrays: dict[str, np.ndarray] = {}
        for part, network, optimizer in self._parts():
            arrays |= {f"{part}.{name}": array for name, array in state_arrays(network).items()}
            arrays |= {f"{part}_optimizer.{name}": array for name, array in optimizer_arrays(optimizer).items()}
        return arrays

    def load(self, arrays: Mapping[str, np.ndarray], *, origin: str) -> None:
        """Go on from `arrays`; raises `WeightsError` when they do not fit."""

        def under(prefix: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        for part, network, optimizer in self._parts():
            load_arrays(network, under(f"{part}."), origin=origin)
            load_optimizer_arrays(optimizer, under(f"{part}_optimizer."), origin=origin)

    def _parts(self) -> tuple[tuple[str, Module, Optimizer], ...]:
        return (("painter", self.painter, self.painter_optimizer), ("discriminators", self.discriminators, self.discriminator_optimizer))

    def _renew_optimizers(self) -> None:
        # Two time scales (Heusel et al. 2017); constant rates (spec: method, 7).
        settings = self.config.train
        self.painter_optimizer = adam(self.painter, rate=settings.generator_rate, betas=(0.0, 0.9), epsilon=1e-8)
        self.discriminator_optimizer = adam(self.discriminators, rate=settings.discriminator_rate, betas=(0.0, 0.9), epsilon=1e-8)

    def _teach_painter(self, onehot: Tensor, photos: Tensor, plan: Plan, index: int) -> dict[str, Tensor]:
        settings, losses = self.config.train, {}
        fakes = self._paint(onehot, plan, (plan.epoch, index, "painter"))
        labels, photos = _resized(onehot, fakes), _resized(photos, fakes)
        if self.vgg19 is not None:  # it compares what the discriminators do not see: the images before augmentation
            with no_gradients():
                wanted = self.vgg19(photos)
            losses["perceptual"] = settings.perceptual_weight * perceptual(self.vgg19(fakes), wanted)
        labels, photos, fakes = self._augmented(labels, photos, fakes, plan, (plan.epoch, index, "painter"))
        fake = self.discriminators(labels, fakes, roles=plan.roles)
        with no_gradients():
            real = self.discriminators(labels, photos, roles=plan.roles)
        losses["adversarial"] = adversarial(fake)
        losses["feature_matching"] = settings.feature_weight * feature_matching(fake, real)
        first, *others = losses.values()
        step(self.painter_optimizer, sum(others, start=first))
        return losses

    def _teach_discriminators(self, onehot: Tensor, photos: Tensor, plan: Plan, index: int) -> dict[str, Tensor]:
        key = (plan.epoch, index, "discriminators")
        with no_gradients():
            fakes = self._paint(onehot, plan, key)
            labels, photos, fakes = self._augmented(_resized(onehot, fakes), _resized(photos, fakes), fakes, plan, key)
        fake, real = (hinge(self.discriminators(labels, images, roles=plan.roles)) for hinge, images in ((hinge_fake, fakes), (hinge_real, photos)))
        step(self.discriminator_optimizer, fake + real)
        return {"discriminator_fake": fake, "discriminator_real": real}

    def _paint(self, onehot: Tensor, plan: Plan, key: tuple[int | str, ...]) -> Tensor:
        noise = None
        if plan.noise:
            images, _, height, width = onehot.shape
            source = random_source(self.config.train.seed, *key, "noise")
            noise = [normal(source, (images, 1, *shape), device=self.device) for shape in self.painter.generator.noise_shapes(height, width)]
        return self.painter(onehot, noise=noise, stage=plan.stage)

    def _augmented(self, labels: Tensor, photos: Tensor, fakes: Tensor, plan: Plan, key: tuple[int | str, ...]) -> tuple[Tensor, Tensor, Tensor]:
        if not plan.augment:
            return labels, photos, fakes
        images, _, height, width = fakes.shape
        draws = draw(random_source(self.config.train.seed, *key, "augmentation"), plan.augment, images=images, height=height, width=width)
        photos, fakes, labels = augment(draws, photos=photos, fakes=fakes, labels=labels, device=self.device)
        return labels, photos, fakes


def _resized(x: Tensor, image: Tensor) -> Tensor:
    """`x` at the size of `image`; label maps become soft, as the original's (spec: method, 0.2)."""
    height, width = image.shape[2:]
    return x if x.shape[2:] == (height, width) else resize_bilinear(x, height=height, width=width)
