"""The discriminators: one per level, patch-wise, together a pyramid (spec: method, 2.5)."""

from collections.abc import Mapping, Sequence

from apfgan.backend import (
    Conv2d,
    Module,
    ModuleList,
    Tensor,
    concatenate,
    copy_arrays,
    instance_norm,
    leaky_relu,
    pool_mean_3x3,
    resize_bilinear,
    widen,
)
from apfgan.config import ModelConfig
from apfgan.networks.blocks import SLOPE, count_modules
from apfgan.schedule import Role

_WIDEST = 512
"""Channels are not doubled beyond this, whatever the width."""


class Discriminator(Module):
    """The discriminator of one level: that of the level below with one more halving in front.

    `from_image[j]` reads a picture for the part that level j shares, `grow[j - 1]` leads from level j's first features to those of j - 1,
    `body` is common to all levels.
    """

    def __init__(self, config: ModelConfig, *, classes: int, level: int) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, *, stride: int, plain: bool) -> Conv2d:
            """Kernel 4, padding 2; plain: with bias and without spectral normalisation."""
            return Conv2d(inputs, outputs, kernel=4, stride=stride, padding=2, bias=plain, spectral_norm=config.spectral_norm and not plain)

        body = [min(config.width * 2**index, _WIDEST) for index in range(5)]
        self.level = level
        self.from_image = ModuleList(conv(classes + 3, config.width // 2**index, stride=1, plain=True) for index in range(level + 1))
        self.grow = ModuleList(
            conv(config.width // 2**index, config.width // 2 ** (index - 1), stride=2, plain=False) for index in range(1, level + 1)
        )
        self.body = ModuleList(conv(body[index], body[index + 1], stride=2 if index < 3 else 1, plain=False) for index in range(4))
        self.predict = conv(body[4], 1, stride=1, plain=True)

    def forward(self, pictures: Tensor, *, fade: float, lender: "Discriminator | None") -> list[Tensor]:
        """Features of every layer and, last, the prediction (N, 1, h, w) for label map and image together (N, classes + 3, H, W).

        `fade` > 0: the first halving is mixed, as much as `fade` says, with what the level below would read from the image at half the size.
        `lender`: the discriminator of the level below, whose layers are used instead of the own ones, but for the two that it does not have.
        """
        shared = lender or self
        x = leaky_relu(self.from_image[self.level](pictures), slope=SLOPE)
        layers = [*self.grow[self.level - 1 :], *reversed(shared.grow[: self.level - 1]), *shared.body]
        if fade > 0:
            half = resize_bilinear(pictures, height=pictures.shape[2] // 2, width=pictures.shape[3] // 2)
            below = leaky_relu(shared.from_image[self.level - 1](half), slope=SLOPE)
            x = (1 - fade) * below + fade * _layer(layers.pop(0), x)
        features = []
        for layer in layers:
            x = _layer(layer, x)
            features.append(x)
        return [*features, widen(shared.predict(x))]


class Discriminators(Module):
    """All levels' discriminators; `levels[0]` is the shallowest and widest."""

    def __init__(self, config: ModelConfig, *, classes: int) -> None:
        super().__init__()
        self.border = config.pyramid_border
        self.levels = ModuleList(Discriminator(config, classes=classes, level=level) for level in range(config.levels))

    def forward(self, labels: Tensor, images: Tensor, *, roles: Sequence[Role]) -> list[list[Tensor]]:
        """What each role sees in labels (N, classes, H, W; soft when resized) and images (N, 3, H, W): its features and prediction.

        The first role judges at H x W, each further one at half the size before.
        """
        pictures = concatenate([labels, images], axis=1)
        seen = []
        for index, role in enumerate(roles):
            if index > 0:
                pictures = pool_mean_3x3(pictures, stride=2, border=self.border)
            lender = self.levels[role.discriminator - 1] if role.borrows else None
            seen.append(self.levels[role.discriminator](pictures, fade=role.fade, lender=lender))
        return seen

    def hand_over(self, heir: int) -> None:
        """Copy everything that discriminator `heir` shares with the one below it, so that a new size starts from what is known."""
        copy_arrays(self.levels[heir - 1], self.levels[heir])

    def dimensions(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Levels, width and classes."""
        found = {"levels": count_modules(shapes, "levels")}
        if first := shapes.get("levels.0.from_image.0.weight"):
            found |= {"width": first[0], "classes": first[1] - 3}
        return found


def _layer(conv: Conv2d, x: Tensor) -> Tensor:
    return leaky_relu(instance_norm(conv(x)), slope=SLOPE)
