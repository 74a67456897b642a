"""The generator: from the encoder's small map to the image, growing by one level at a time in the first phase (spec: method, 2.4 and 5)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, repeat

from apfgan.backend import Conv2d, Module, ModuleList, Tensor, leaky_relu, resize_bilinear, resize_nearest, tanh, widen
from apfgan.config import ModelConfig
from apfgan.networks.blocks import SLOPE, SpadeBlock, count_modules
from apfgan.networks.encoder import Encoder
from apfgan.schedule import Stage


class Generator(Module):
    """SPADE blocks at doubling sizes. `images[level]` turns the features of a level into a picture; the last one draws the full size."""

    def __init__(self, config: ModelConfig, *, classes: int) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> SpadeBlock:
            return SpadeBlock(inputs, outputs, config, classes=classes)

        self.upsamplings, self.levels = config.upsamplings, config.levels
        widest = 2 ** (config.upsamplings - 1) * config.width
        channels = [widest // 2**index for index in range(config.upsamplings + 1)]
        self.head = block(widest, widest)
        self.middle = ModuleList([block(widest, widest), block(widest, widest)])
        self.up = ModuleList(block(inputs, outputs) for inputs, outputs in pairwise(channels))
        self.images = ModuleList(
            Conv2d(inputs, 3, kernel=3, stride=1, padding=1, bias=True, spectral_norm=False) for inputs in channels[-config.levels :]
        )

    def forward(self, z: Tensor, onehot: Tensor, *, noise: Sequence[Tensor] | None, stage: Stage | None) -> Tensor:
        """Image (N, 3, h, w) in [-1, 1] from the encoder's z and the full-size label map.

        `noise` holds tensors (N, 1, h, w) of the sizes that `noise_shapes` lists, in that order; None: no noise. `stage` is the growth in
        training's first phase, whose images are smaller; None: full size, the only way to draw outside of it.
        """
        if noise is not None and len(noise) != (needed := len(self.noise_shapes(0, 0))):
            raise ValueError(f"{needed} noise tensors are needed, not {len(noise)}")
        draws: Iterator[Tensor | None] = repeat(None) if noise is None else iter(noise)
        stage = stage or Stage(self.levels - 1)
        x = self.head(z, onehot, draws)
        x = self.middle[0](_double(x), onehot, draws)
        x = self.middle[1](x, onehot, draws)
        first = self.upsamplings - self.levels + 1  # blocks that the smallest level needs
        for block in self.up[: first + stage.level]:
            x = block(_double(x), onehot, draws)
        image = self._image(x, stage.level)
        if stage.fade > 0:
            x = self.up[first + stage.level](_double(x), onehot, draws)
            large = self._image(x, stage.top)
            enlarged = resize_bilinear(image, height=large.shape[2], width=large.shape[3])
            image = stage.fade * large + (1 - stage.fade) * enlarged
        return image

    def _image(self, x: Tensor, level: int) -> Tensor:
        return tanh(widen(self.images[level](leaky_relu(x, slope=SLOPE))))

    def noise_shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(h, w) of each noise tensor of a full-size forward for an image of height x width, in the order in which they are used."""
        head_and_middle = [self.upsamplings + 1] * 2 + [self.upsamplings] * 4  # two draws a block: these have no shortcut convolution
        halvings = head_and_middle + [times for times in reversed(range(self.upsamplings)) for _ in range(3)]
        return [(height >> times, width >> times) for times in halvings]

    def dimensions(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """Classes, hidden channels, upsamplings, levels and width, as far as the names and shapes tell."""
        found = {"upsamplings": count_modules(shapes, "up"), "levels": count_modules(shapes, "images")}
        if shared := shapes.get("head.norm_0.shared.weight"):
            found |= {"hidden": shared[0], "classes": shared[1]}
        if image := shapes.get(f"images.{found['levels'] - 1}.weight"):
            found["width"] = 2 * image[1]
        return found


class Painter(Module):
    """Encoder and generator together: what a checkpoint holds (`encoder.*`, `generator.*`), and what turns a label map into an image."""

    def __init__(self, config: ModelConfig, *, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(config, classes=classes)
        self.generator = Generator(config, classes=classes)

    def forward(self, onehot: Tensor, *, noise: Sequence[Tensor] | None, stage: Stage | None) -> Tensor:
        """Image (N, 3, h, w) in [-1, 1] from the label map (N, classes, H, W); the rest as in `Generator.forward`."""
        return self.generator(self.encoder(onehot), onehot, noise=noise, stage=stage)

    def dimensions(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The generator's."""
        return self.generator.dimensions({name.removeprefix("generator."): shape for name, shape in shapes.items() if name.startswith("generator.")})


def _double(x: Tensor) -> Tensor:
    return resize_nearest(x, height=2 * x.shape[2], width=2 * x.shape[3])
