"""The painter and the discriminators that train each other: one step of each (spec: method, 6 to 8).

N images, C classes; label maps are one-hot (N, C, H, W), photos and images (N, 3, H, W) in [-1, 1].
"""

from collections.abc import Mapping

import numpy as np

from apfgan.augment import augment, draw
from apfgan.backend import (
    Module,
    Optimizer,
    Tensor,
    adam,
    concatenate,
    from_numpy,
    load_arrays,
    load_optimizer_arrays,
    no_gradients,
    normal,
    one_hot,
    optimizer_arrays,
    place,
    resize_area,
    resize_bilinear,
    resize_nearest,
    state_arrays,
    step,
    to_numpy,
)
from apfgan.config import Config
from apfgan.data import Batch
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real, perceptual
from apfgan.networks import build_discriminators, build_painter, start_noise
from apfgan.networks.perceptual import Inception, Vgg19, load_perceptual
from apfgan.randomness import random_source
from apfgan.schedule import Plan, plan_epoch

LOSSES = ("adversarial", "feature_matching", "perceptual", "discriminator_fake", "discriminator_real")
"""Names of the losses, weighted as they are minimised. The first three added up are the painter's, the others the discriminators'."""


class Players:
    """Networks and optimisers. All that they learn follows from the configuration, the batches and the seed."""

    def __init__(self, config: Config, *, device: str) -> None:
        self.config, self.device = config, device
        self.painter = build_painter(config, seed=config.train.seed)
        self.discriminators = build_discriminators(config, seed=config.train.seed)
        place(self.painter, device)
        place(self.discriminators, device)
        # Both at once, so that a file that is missing does not stop the training at its second phase.
        wanted = {plan_epoch(epoch, config).perceptual for epoch in (1, config.train.epochs)}
        self.perceptual: dict[str, Vgg19 | Inception] = {
            name: load_perceptual(name, config.train, device=device) for name in wanted if name != "none"
        }
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
        self.painter_optimizer, self.discriminator_optimizer = (
            adam(network, betas=(0.0, 0.9), epsilon=1e-8, steps=self.config.train.adam_steps) for network in (self.painter, self.discriminators)
        )

    def _teach_painter(self, onehot: Tensor, photos: Tensor, plan: Plan, index: int) -> dict[str, Tensor]:
        settings, losses = self.config.train, {}
        key = (plan.epoch, index, "painter")
        fakes = self._paint(onehot, plan, key)
        labels, photos = self._shrink(onehot, photos, fakes)
        if network := self.perceptual.get(plan.perceptual):  # it compares what the discriminators do not see: the images before augmentation
            with no_gradients():
                wanted = network(photos)
            losses["perceptual"] = settings.perceptual_weight * perceptual(network(fakes), wanted, weights=network.weights)
        labels, photos, fakes = self._augmented(labels, photos, fakes, plan, key)
        fake = self.discriminators(labels, fakes, roles=plan.roles)
        losses["adversarial"] = adversarial(fake)
        if settings.feature_weight > 0:
            with no_gradients():
                real = self.discriminators(labels, photos, roles=plan.roles)
            losses["feature_matching"] = settings.feature_weight * feature_matching(fake, real)
        first, *others = losses.values()
        step(self.painter_optimizer, sum(others, start=first), rate=plan.rate * settings.generator_rate)
        return losses

    def _teach_discriminators(self, onehot: Tensor, photos: Tensor, plan: Plan, index: int) -> dict[str, Tensor]:
        key = (plan.epoch, index, "discriminators")
        if plan.heir is not None and plan.roles[0].borrows:
            # What the heir borrows learns in the step, and its own copy stays one step behind.
            self.discriminators.hand_over(plan.heir)
        with no_gradients():
            fakes = self._paint(onehot, plan, key)
            labels, photos, fakes = self._augmented(*self._shrink(onehot, photos, fakes), fakes, plan, key)
            labels, images = concatenate([labels, labels], axis=0), concatenate([fakes, photos], axis=0)
        # Together they take 0.95 to 0.99 of the time on a CPU (widths 16 and 32): every image is normalised by itself.
        predictions = [features[-1] for features in self.discriminators(labels, images, roles=plan.roles)]
        fake = hinge_fake([[prediction[: len(fakes)]] for prediction in predictions])
        real = hinge_real([[prediction[len(fakes) :]] for prediction in predictions])
        step(self.discriminator_optimizer, fake + real, rate=plan.rate * self.config.train.discriminator_rate)
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

    def _shrink(self, onehot: Tensor, photos: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor]:
        """Label maps and photos at the size of the generated images."""
        height, width = fakes.shape[2:]
        if photos.shape[2:] == (height, width):
            return onehot, photos
        label_rule, photo_rule = (resize_nearest, resize_area) if self.config.model.level_resize == "exact" else (resize_bilinear, resize_bilinear)
        return label_rule(onehot, height=height, width=width), photo_rule(photos, height=height, width=width)
