"""What a run is made of: frozen dataclasses, read strictly from TOML and written once to `run.toml`.

Sizes are pixels; a learning rate belongs to one Adam step. The defaults are the authors' settings (APF-GAN, 512x384), without the perceptual
losses, whose networks must be fetched. Where the original program does something by accident of its framework or by a bug, a setting says
which behaviour is meant: the default is the one to train with, the preset `original` is the one that reproduces the original.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import TypeAdapter, ValidationError

from apfgan.errors import UsageError
from apfgan.files import write_text
from apfgan.images import Subsampling
from apfgan.labels import LANDSCAPE_CLASSES, Classes

PerceptualNetwork = Literal["none", "vgg19", "inception"]

LEAST_SIDE: dict[PerceptualNetwork, int] = {"none": 1, "vgg19": 16, "inception": 75}
"""Smallest image that leaves a perceptual network a pixel at its deepest layer."""

MAXIMAL_EMA_WIDTH = 0.28
"""A power function cannot average more widely: at exponent 0, the plain mean of all steps, the relative width is 1 / sqrt(12)."""


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The label maps, and the size at which the generator draws."""

    classes: tuple[str, ...] = LANDSCAPE_CLASSES
    """Name of each class id."""
    ignore: int | None = None
    """Pixel value that means "unlabelled"."""
    width: int = 512
    """Width of the generated image."""
    height: int = 384
    """Height of the generated image."""
    load_width: int = 572
    """A training photo is resized to this width before it is cropped to `width`."""
    flip: bool = True
    """Mirror half of the training pairs."""
    crop: Literal["anywhere", "top"] = "anywhere"
    """Where the window of a training crop may lie. The original bounds the vertical offset by the wrong side and always cuts at row 0, so that
    it never sees the lowest tenth of a photo (spec: method, 0.9)."""
    exclude: tuple[str, ...] = ()
    """Names of training pairs to leave out, without suffix."""

    def __post_init__(self) -> None:
        _check(self.width > 0 and self.height > 0, f"data.width and data.height must be positive, not {self.width}x{self.height}")
        _check(self.load_width >= self.width, f"data.load_width is {self.load_width}, smaller than data.width {self.width}: there is nothing to crop")
        _check(len(set(self.exclude)) == len(self.exclude), "data.exclude names a pair twice")
        Classes(names=self.classes, ignore=self.ignore)  # refuses what cannot be

    @property
    def label_classes(self) -> Classes:
        """The same as the value that readers of label maps take."""
        return Classes(names=self.classes, ignore=self.ignore)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The networks. The full size of the paper is `width` 64, `hidden` 128, five upsamplings and four levels at 512x384."""

    width: int = 64
    """Channels of the last but one generator block, and of the first discriminator layer (`ngf`, `ndf`)."""
    hidden: int = 128
    """Channels between the two convolutions of a SPADE layer's label branch."""
    upsamplings: int = 5
    """Blocks behind the middle of the generator, each doubling the size; the encoder halves once more than that."""
    levels: int = 4
    """Sizes of the progressive phase, and discriminators: each level doubles the one before, the last is the full image."""
    spectral_norm: bool = False
    """Divide each convolution's weight by its largest singular value. The original computes the quotient and throws it away (spec: method, 4):
    its published weights, and its result, need False. At small size neither was better (docs/ablation.md), so new trainings keep to what won."""
    init_gain: float = 0.02
    """Gain of the Xavier normal initial weights. A short training starts from larger ones: at 0.02 the label branch stays quiet for long."""
    seg_noise_init: Literal["zero", "xavier"] = "zero"
    """How the label-guided noise starts the second phase: silent, so that it goes on from the images of the first, as the paper describes; or
    drawn like the other weights, as the original's global initialisation leaves it (spec: method, 0.8)."""
    running_variance: Literal["unbiased", "biased"] = "unbiased"
    """Which variance of a batch moves BatchNorm's running one: the estimate for the population, as PyTorch and cuDNN have it, or the batch's
    own, as Jittor has it (spec: method, 2.2)."""
    pyramid_border: Literal["ignored", "zeros"] = "ignored"
    """Whether the zeros around an image count when it is halved for the next discriminator. They darken the border; the original asks for
    them not to count, and Jittor ignores that (spec: method, 0.3)."""
    level_resize: Literal["exact", "bilinear"] = "exact"
    """How photos and label maps shrink to the size of a level in the first phase. exact: photos by the mean of the area, label maps by one
    pixel, so that they stay one-hot. bilinear: both, without antialiasing, Jittor's unnamed default (spec: method, 0.2): photos get
    aliased and label maps soft."""
    full_size_order: Literal["deepest_sees_smallest", "deepest_sees_largest"] = "deepest_sees_smallest"
    """Which discriminator judges which size once the image is full. The original turns the order of the first phase round (spec: method,
    0.4); its authors call that the version that works, and so it is the default, too."""
    hand_over: Literal["copied", "shared", "none"] = "copied"
    """How a discriminator that judges for the first time starts from the one below it. copied: once, and both learn on. shared: through its
    first epoch it has no weights of its own for what they share, as Jittor's `update` makes it (spec: method, 0.5), so that half of the
    pyramid stands still. none: from its initial weights."""
    multi_scale: bool = True
    """Judge the image at each size of the pyramid, not only at its own."""

    def __post_init__(self) -> None:
        _check(2 <= self.upsamplings <= 10, f"model.upsamplings is {self.upsamplings}; allowed: 2 to 10")
        _check(2 <= self.levels <= self.upsamplings, f"model.levels is {self.levels}; allowed: 2 to model.upsamplings ({self.upsamplings})")
        divisor = 2 ** (self.levels - 1)
        _check(self.width % divisor == 0 and self.width > 0, f"model.width is {self.width}; {self.levels} levels need a multiple of {divisor}")
        _check(self.hidden > 0, f"model.hidden is {self.hidden}; it must be positive")

    @property
    def stride(self) -> int:
        """Pixels of the image for one pixel of the encoder's output: both sides of the image must be a multiple of it."""
        return 2 ** (self.upsamplings + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Both phases: progressive pre-training, then augmented fine-tuning (APF-GAN, section 3)."""

    progressive_epochs: int = 180
    """Epochs of the first phase; a multiple of `model.levels - 1`. 0: no such phase."""
    fade_in: bool = True
    """Mix a new level in over half of its predecessor's span; otherwise it takes over at once."""
    epochs: int = 310
    """Last epoch of the second phase. 0: nothing is trained; the run keeps the scores of images from elsewhere, of any size."""
    progressive_batch: int = 10
    """Batch size of the first phase."""
    batch: int = 5
    """Batch size of the second phase."""
    generator_rate: float = 1e-4
    """Adam's learning rate for generator and encoder."""
    discriminator_rate: float = 4e-4
    """Adam's learning rate for the discriminators (two time scales)."""
    decay_epochs: int = 0
    """Both rates fall linearly to 0 over so many last epochs. The original has such a rule and never comes to use it (spec: method, 0.7)."""
    adam_steps: Literal["own", "common"] = "own"
    """How Adam counts the steps of a parameter that gets no gradient: not at all, as PyTorch, or like all others, as Jittor. A level that
    joins late then starts with up to 3.16 times the rate (spec: method, 7)."""
    feature_weight: float = 10.0
    """Weight of the feature matching loss; 0: without."""
    progressive_perceptual: PerceptualNetwork = "none"
    """Network of the perceptual loss in the first phase (the authors': vgg19)."""
    perceptual: PerceptualNetwork = "none"
    """Network of the perceptual loss in the second phase (the authors': inception)."""
    vgg19_weights: str = ""
    """File of VGG19's weights in torchvision's layout; empty: where torchvision keeps it."""
    inception_weights: str = ""
    """File of InceptionV3's weights in torchvision's layout; empty: where torchvision keeps it."""
    inception_statistics: Literal["running", "batch"] = "running"
    """What BatchNorm in the Inception network normalises with. The original forgets to freeze it, so that images and photos are normalised
    by themselves and the loss is sixteen times as large (spec: method, 6)."""
    perceptual_weight: float = 10.0
    """Weight of the perceptual loss; 0: without."""
    augment: tuple[Literal["color", "crop", "translation"], ...] = ("color", "crop", "translation")
    """DiffAugment's parts in the second phase, label maps moved along."""
    seg_noise: bool = True
    """Label-guided noise in the second phase."""
    accumulate: int = 1
    """Parts into which a batch of the second phase is cut, one behind the other, to save memory. BatchNorm sees a part at a time."""
    progressive_accumulate: int = 1
    """The same for the first phase."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of convolutions in training. Weights, norms, losses and the optimiser stay float32, and so does what is drawn for judges."""
    compiled: bool = False
    """Compile the networks at the start of each level. On a CPU this takes most of a minute for each size, and pays in bfloat16 only (0.72 of
    the time of a step; docs/costs.md)."""
    ema: tuple[float, ...] = ()
    """Averages of the painter's weights that are kept along the way: their widths relative to the training so far (Karras et al. 2024,
    "power function EMA")."""
    save_every: int = 1
    """A checkpoint of the second phase is kept every so many epochs; the last one of each phase is always kept."""
    save_progressive_every: int = 20
    """The same for the first phase."""
    keep: int = 0
    """Checkpoints of the second phase that stay, the latest so many; 0: all. The best so far and the last of each phase always stay."""
    seed: int = 0
    """Seed of the initial weights and of every random draw in training."""

    def __post_init__(self) -> None:
        for name in ("progressive_batch", "batch", "accumulate", "progressive_accumulate", "save_every", "save_progressive_every"):
            _check(getattr(self, name) >= 1, f"train.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("progressive_epochs", "decay_epochs", "keep"):
            _check(getattr(self, name) >= 0, f"train.{name} is {getattr(self, name)}; it must not be negative")
        for whole, parts in (("batch", "accumulate"), ("progressive_batch", "progressive_accumulate")):
            _check(
                getattr(self, whole) % getattr(self, parts) == 0,
                f"train.{whole} is {getattr(self, whole)}, which cannot be cut into train.{parts} = {getattr(self, parts)} equal parts",
            )
        _check(
            self.epochs >= self.progressive_epochs,
            f"train.epochs is {self.epochs}, before the end of the first phase (train.progressive_epochs = {self.progressive_epochs})",
        )
        for name in ("generator_rate", "discriminator_rate"):
            _check(0 < getattr(self, name) < math.inf, f"train.{name} is {getattr(self, name)}; it must be positive and finite")
        for name in ("feature_weight", "perceptual_weight"):
            _check(0 <= getattr(self, name) < math.inf, f"train.{name} is {getattr(self, name)}; it must be finite and not negative")
        _check(0 <= self.seed < 2**63, f"train.seed is {self.seed}; allowed: 0 to {2**63 - 1}")
        _check(len(set(self.augment)) == len(self.augment), f"train.augment names a part twice: {', '.join(self.augment)}")
        _check(self.decay_epochs <= self.epochs, f"train.decay_epochs is {self.decay_epochs}, more than train.epochs ({self.epochs})")
        _check(
            all(0 < width <= MAXIMAL_EMA_WIDTH for width in self.ema) and len(set(self.ema)) == len(self.ema),
            f"train.ema is {list(self.ema)}; it lists different widths above 0 and up to {MAXIMAL_EMA_WIDTH}, such as 0.05",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig:
    """How an image leaves the generator: this is what is judged and what is submitted."""

    jpeg_quality: int = 75
    """JPEG quality; the original used Pillow's default."""
    jpeg_subsampling: Subsampling = "4:2:0"
    """Chroma subsampling."""
    rounding: Literal["nearest", "down"] = "nearest"
    """How a value becomes one of 256 levels. The original cuts off, which darkens every image by half a level (spec: method, 12.19)."""

    def __post_init__(self) -> None:
        _check(1 <= self.jpeg_quality <= 95, f"output.jpeg_quality is {self.jpeg_quality}; allowed: 1 to 95")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One run: everything that shapes its weights and images."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        stride, levels, epochs = self.model.stride, self.model.levels, self.train.progressive_epochs
        _check(
            self.train.epochs == 0 or (self.data.width % stride == 0 and self.data.height % stride == 0),
            f"the image size {self.data.width}x{self.data.height} cannot be halved {self.model.upsamplings + 1} times: "
            f"make data.width and data.height multiples of {stride}, or lower model.upsamplings",
        )
        smallest = min(self.data.width, self.data.height)
        for name, side in (("progressive_perceptual", smallest // 2 ** (levels - 1)), ("perceptual", smallest)):
            network = getattr(self.train, name)
            needed = LEAST_SIDE[network]
            _check(
                side >= needed,
                f"train.{name} is {network!r}, which sees nothing in images of less than {needed} pixels a side, and there are such of {side}: "
                f"make data.width and data.height larger, or take another network, or none",
            )
        _check(
            epochs % (levels - 1) == 0,
            f"train.progressive_epochs is {epochs}; {levels} levels need a multiple of {levels - 1}, so that each level gets the same span",
        )


_AUTHORS = TrainConfig(progressive_perceptual="vgg19", perceptual="inception")

PRESETS: dict[str, Config] = {
    "full": Config(train=replace(_AUTHORS, ema=(0.05, 0.1))),
    "single-gpu-24g": Config(
        # 14.5 GiB by count, where float32 has 23.7 (docs/costs.md): a batch need not be cut.
        train=replace(_AUTHORS, ema=(0.05, 0.1), precision="bfloat16", keep=40),
    ),
    "original": Config(
        data=DataConfig(crop="top"),
        model=ModelConfig(
            seg_noise_init="xavier",
            running_variance="biased",
            pyramid_border="zeros",
            level_resize="bilinear",
            hand_over="shared",
        ),
        train=replace(_AUTHORS, adam_steps="common", inception_statistics="batch"),
        output=OutputConfig(rounding="down"),
    ),
    "tiny": Config(
        data=DataConfig(width=128, height=96, load_width=144),
        # Tried side by side for 14 epochs on 96 painted pairs: gain 0.02 and 0.3 stay blurred, 1.0 breaks into stripes, 0.7 draws texture.
        # Its second phase is short: the noise is there from its first epoch, so that seeds make a difference.
        model=ModelConfig(width=16, hidden=24, upsamplings=4, levels=3, init_gain=0.7, seg_noise_init="xavier"),
        train=TrainConfig(
            progressive_epochs=8,
            epochs=18,
            progressive_batch=4,
            batch=2,
            generator_rate=4e-4,
            discriminator_rate=4e-4,
            save_progressive_every=4,
        ),
    ),
}
"""Settings by name: the authors' own, the same for one GPU of 24 GiB, the original program with all its oddities, and one that trains on a
CPU in minutes."""


def build_config(settings: Mapping[str, Any], *, base: Config | None = None) -> Config:
    """The configuration that `settings` (nested, as in TOML) makes of `base` (default: the authors' settings).

    Raises `UsageError` that names every unknown setting, with the nearest known one, or the values that do not fit. Types are taken
    strictly, as JSON has them: neither "4", nor 4.0, nor true is a whole number.
    """
    problems = list(_unknown_settings(settings, Config))
    if problems:
        raise UsageError("; ".join(problems))
    resolved = _overlay(_plain(base or Config()), settings)
    try:
        return TypeAdapter(Config).validate_json(json.dumps(resolved, default=str), strict=True)
    except ValidationError as error:
        raise UsageError(
            "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']} (given: {part['input']!r})" for part in error.errors())
        ) from error


def load_config(path: Path, *, base: Config | None = None) -> Config:
    """The configuration in a TOML file, on top of `base`; raises `UsageError` that names the file."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not even UTF-8
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    try:
        return build_config(settings, base=base)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def save_config(path: Path, config: Config) -> None:
    """Write every setting, resolved, as TOML."""
    write_text(path, tomli_w.dumps(_plain(config)))


def parse_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """Nested settings from `section.key=value` (the command line's `--set`); the value is TOML, or a bare word.

    >>> parse_settings(["train.batch=4", "train.perceptual=none"])
    {'train': {'batch': 4, 'perceptual': 'none'}}
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise UsageError(f"--set {assignment}: write section.key=value, for example --set train.batch=4")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        settings.setdefault(section, {})[key] = parsed
    return settings


def differing_settings(one: Config, other: Config) -> list[str]:
    """Names of the settings in which two configurations differ, with both values."""
    others = asdict(other)
    return [
        f"{section}.{key}: {old!r} -> {others[section][key]!r}"
        for section, values in asdict(one).items()
        for key, old in values.items()
        if others[section][key] != old
    ]


def _plain(config: Config) -> dict[str, Any]:
    """Nested dict that TOML can hold: no None, lists instead of tuples."""
    return {
        section: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items() if value is not None}
        for section, values in asdict(config).items()
    }


def _overlay(base: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {section: {**values, **settings.get(section, {})} for section, values in base.items()}


def _unknown_settings(settings: Mapping[str, Any], owner: Any, prefix: str = "") -> Iterable[str]:
    known = {item.name: item.type for item in fields(owner)}
    for name, value in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(prefix + each for each in known)}"
            yield f"unknown setting {prefix}{name}; {hint}"
        elif is_dataclass(known[name]):
            if isinstance(value, Mapping):
                yield from _unknown_settings(value, known[name], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name} is a section: write [{name}] and its settings below it"
