"""The painter and the discriminators that train each other: one step of each (spec: method, 6 to 8).

N images, C classes; label maps are one-hot (N, C, H, W), photos and images (N, 3, H, W) in [-1, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from apfgan.augment import augment, draw
from apfgan.backend import (
    ALONE,
    Distributed,
    Module,
    Optimizer,
    Tensor,
    World,
    adam,
    add_gradient,
    autocast,
    averages,
    compile_anew,
    concatenate,
    detach,
    distribute,
    from_numpy,
    frozen,
    load_arrays,
    load_optimizer_arrays,
    move,
    no_gradients,
    one_hot,
    optimizer_arrays,
    place,
    resize_area,
    resize_bilinear,
    resize_nearest,
    state_arrays,
    synchronise,
    to_numpy,
    unshared,
    widen,
)
from apfgan.config import Config
from apfgan.data import Batch
from apfgan.errors import UsageError
from apfgan.losses import adversarial, feature_matching, hinge_fake, hinge_real, perceptual
from apfgan.networks import build_discriminators, build_painter, start_noise
from apfgan.networks.perceptual import Inception, Vgg19, load_perceptual
from apfgan.randomness import layered_noise, random_source
from apfgan.schedule import Plan, plan_epoch

LOSSES = ("adversarial", "feature_matching", "perceptual", "discriminator_fake", "discriminator_real")
"""Names of the losses, weighted as they are minimised. The first three added up are the painter's, the others the discriminators'."""


Key = tuple[int | str, ...]
"""Names what chance is asked for: epoch, batch, and whose step it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some pairs of a batch, learned together."""

    onehot: Tensor
    photos: Tensor
    rows: slice
    """Which rows of the whole batch they are: chance treats a pair alike, however a batch is cut and whoever learns it."""


class Players:
    """Networks and optimisers. All that they learn follows from the configuration, the batches and the seed.

    In a `world` of several processes each learns its rows of every batch, and all make the step of the whole batch.
    """

    def __init__(self, config: Config, *, device: str, world: World = ALONE) -> None:
        self.config, self.device, self.world = config, device, world
        self.painter = build_painter(config, seed=config.train.seed)
        self.discriminators = build_discriminators(config, seed=config.train.seed)
        # Both at once, so that a file that is missing does not stop the training at its second phase.
        wanted = {plan_epoch(epoch, config).perceptual for epoch in (1, config.train.epochs)}
        self.perceptual: dict[str, Vgg19 | Inception] = {
            name: load_perceptual(name, config.train, device=device) for name in wanted if name != "none"
        }
        place(self.painter, device)
        place(self.discriminators, device)
        for network in (self.painter, *self.perceptual.values()):
            synchronise(network, world)
        self._painting, self._judging = distribute(self.painter, world), distribute(self.discriminators, world)
        self._compiled_for: object = None
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

        `batch` holds this process's rows of the batch; `index` numbers the batches of the epoch. Raises `UsageError` when the rows cannot be
        cut into as many parts as the configuration says.
        """
        settings, parts = self.config.train, self._parts_of(batch, plan)
        if settings.compiled and self._compiled_for != plan.graph:
            compile_anew(self.painter, self.discriminators)
            self._compiled_for = plan.graph
        painter_key, discriminator_key = ((plan.epoch, index, name) for name in ("painter", "discriminators"))
        with frozen(self.discriminators):
            losses = self._descend(
                self._painting,
                self.painter_optimizer,
                parts,
                lambda part: self._painter_losses(part, plan, painter_key),
                settings.generator_rate * plan.rate,
            )
        if plan.heir is not None and plan.roles[0].borrows:
            # What the heir borrows learns in the step, and its own copy stays one step behind.
            self.discriminators.hand_over(plan.heir)
        losses |= self._descend(
            self._judging,
            self.discriminator_optimizer,
            parts,
            lambda part: self._discriminator_losses(part, plan, discriminator_key),
            settings.discriminator_rate * plan.rate,
        )
        return averages(losses, self.world, device=self.device)

    def _parts_of(self, batch: Batch, plan: Plan) -> list[Part]:
        images, first = len(batch.photos), self.world.rank * len(batch.photos)
        if images % plan.accumulate:
            raise UsageError(
                f"{images} pairs cannot be cut into {plan.accumulate} equal parts: lower train.accumulate and train.progressive_accumulate, or the "
                "number of processes"
            )
        size, classes = images // plan.accumulate, len(self.config.data.classes)
        return [
            Part(
                one_hot(batch.label_maps[start : start + size], classes, device=self.device),
                from_numpy(batch.photos[start : start + size], device=self.device),
                slice(first + start, first + start + size),
            )
            for start in range(0, images, size)
        ]

    @staticmethod
    def _descend(
        network: Distributed, optimizer: Optimizer, parts: Sequence[Part], losses_of: Callable[[Part], dict[str, Tensor]], rate: float
    ) -> dict[str, float]:
        """One step down the mean of the parts' losses; returns that of each loss."""
        totals: dict[str, Tensor] = {}
        for number, part in enumerate(parts, start=1):
            # Processes exchange their gradients once, behind the last part.
            with unshared(network) if number < len(parts) else nullcontext():
                losses = {name: loss / len(parts) for name, loss in losses_of(part).items()}
                first, *others = losses.values()
                add_gradient(optimizer, sum(others, start=first))
            totals = {name: totals[name] + detach(loss) if totals else detach(loss) for name, loss in losses.items()}
        move(optimizer, rate=rate)
        return {name: to_numpy(total).item() for name, total in totals.items()}

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

    def _painter_losses(self, part: Part, plan: Plan, key: Key) -> dict[str, Tensor]:
        settings, losses = self.config.train, {}
        fakes = self._paint(self._painting, part, plan, key)
        labels, photos = self._shrink(part, fakes)
        with self._precision():
            if network := self.perceptual.get(plan.perceptual):  # it compares what the discriminators do not see: the images before augmentation
                with no_gradients():
                    wanted = network(photos)
                losses["perceptual"] = settings.perceptual_weight * perceptual(network(fakes), wanted, weights=network.weights)
        labels, photos, fakes = self._augmented(labels, photos, fakes, part, plan, key)
        with self._precision():
            fake = self.discriminators(labels, fakes, roles=plan.roles)
            losses["adversarial"] = adversarial(fake)
            if settings.feature_weight > 0:
                with no_gradients():
                    real = self.discriminators(labels, photos, roles=plan.roles)
                losses["feature_matching"] = settings.feature_weight * feature_matching(fake, real)
        return losses

    def _discriminator_losses(self, part: Part, plan: Plan, key: Key) -> dict[str, Tensor]:
        with no_gradients():
            fakes = self._paint(self.painter, part, plan, key)
            labels, photos, fakes = self._augmented(*self._shrink(part, fakes), fakes, part, plan, key)
            labels, images = concatenate([labels, labels], axis=0), concatenate([fakes, photos], axis=0)
        # Together they take 0.95 to 0.99 of the time on a CPU (widths 16 and 32): every image is normalised by itself.
        with self._precision():
            predictions = [widen(features[-1]) for features in self._judging(labels, images, roles=plan.roles)]
        fake = hinge_fake([[prediction[: len(fakes)]] for prediction in predictions])
        real = hinge_real([[prediction[len(fakes) :]] for prediction in predictions])
        return {"discriminator_fake": fake, "discriminator_real": real}

    def _paint(self, painter: Distributed, part: Part, plan: Plan, key: Key) -> Tensor:
        noise = None
        if plan.noise:
            shapes = self.painter.generator.noise_shapes(*part.onehot.shape[2:])
            sources = [random_source(self.config.train.seed, *key, "noise", row) for row in range(part.rows.start, part.rows.stop)]
            noise = [from_numpy(layer, device=self.device) for layer in layered_noise(sources, shapes)]
        with self._precision():
            return widen(painter(part.onehot, noise=noise, stage=plan.stage))

    def _augmented(self, labels: Tensor, photos: Tensor, fakes: Tensor, part: Part, plan: Plan, key: Key) -> tuple[Tensor, Tensor, Tensor]:
        if not plan.augment:
            return labels, photos, fakes
        _, _, height, width = fakes.shape
        draws = draw(random_source(self.config.train.seed, *key, "augmentation"), plan.augment, images=plan.batch, height=height, width=width)
        photos, fakes, labels = augment(draws.of(part.rows), photos=photos, fakes=fakes, labels=labels, device=self.device)
        return labels, photos, fakes

    def _precision(self) -> AbstractContextManager[object]:
        return autocast(self.config.train.precision, device=self.device)

    def _shrink(self, part: Part, fakes: Tensor) -> tuple[Tensor, Tensor]:
        """Label maps and photos at the size of the generated images."""
        height, width = fakes.shape[2:]
        if part.photos.shape[2:] == (height, width):
            return part.onehot, part.photos
        label_rule, photo_rule = (resize_nearest, resize_area) if self.config.model.level_resize == "exact" else (resize_bilinear, resize_bilinear)
        return label_rule(part.onehot, height=height, width=width), photo_rule(part.photos, height=height, width=width)
