"""What a run is made of: frozen dataclasses, read strictly from TOML and written once to `run.toml`.

Sizes are pixels; a learning rate belongs to one Adam step. The defaults are the authors' settings (APF-GAN, 512x384).
"""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import TypeAdapter, ValidationError

from apfgan.errors import UsageError
from apfgan.files import write_text
from apfgan.labels import LANDSCAPE_CLASSES, Classes


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

    def __post_init__(self) -> None:
        _check(self.width > 0 and self.height > 0, f"data.width and data.height must be positive, not {self.width}x{self.height}")
        _check(self.load_width >= self.width, f"data.load_width is {self.load_width}, smaller than data.width {self.width}: there is nothing to crop")
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
    """Divide each convolution's weight by its largest singular value. The original meant to and did not (spec: method, 4)."""
    init_gain: float = 0.02
    """Gain of the Xavier normal initial weights. A short training starts from larger ones: at 0.02 the label branch stays quiet for long."""
    seg_noise_init: Literal["xavier", "zero"] = "xavier"
    """How the label-guided noise starts: as the original trained it, or silent as its paper describes."""

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
    """Epochs of the first phase; a multiple of `model.levels - 1`."""
    epochs: int = 310
    """Last epoch of the second phase."""
    progressive_batch: int = 10
    """Batch size of the first phase."""
    batch: int = 5
    """Batch size of the second phase."""
    generator_rate: float = 1e-4
    """Adam's learning rate for generator and encoder."""
    discriminator_rate: float = 4e-4
    """Adam's learning rate for the discriminators (two time scales)."""
    feature_weight: float = 10.0
    """Weight of the feature matching loss."""
    perceptual: Literal["none", "vgg19"] = "none"
    """Network of the perceptual loss; `vgg19` needs its weights file."""
    perceptual_weights: str = ""
    """Path of that weights file (torchvision's layout)."""
    perceptual_weight: float = 10.0
    """Weight of the perceptual loss."""
    augment: tuple[Literal["color", "crop", "translation"], ...] = ("color", "crop", "translation")
    """DiffAugment's parts in the second phase, label maps moved along."""
    seg_noise: bool = True
    """Label-guided noise in the second phase."""
    save_every: int = 1
    """A checkpoint of the second phase is kept every so many epochs; the last one of each phase is always kept."""
    save_progressive_every: int = 20
    """The same for the first phase."""
    seed: int = 0
    """Seed of the initial weights and of every random draw in training."""

    def __post_init__(self) -> None:
        for name in ("progressive_epochs", "progressive_batch", "batch", "save_every", "save_progressive_every"):
            _check(getattr(self, name) >= 1, f"train.{name} is {getattr(self, name)}; it must be at least 1")
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
        _check(
            self.perceptual == "none" or self.perceptual_weights != "",
            f"train.perceptual = {self.perceptual!r} needs train.perceptual_weights = FILE",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig:
    """How an image leaves the generator: this is what is judged and what is submitted."""

    jpeg_quality: int = 75
    """JPEG quality; the original used Pillow's default."""
    jpeg_subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0"
    """Chroma subsampling."""

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
            self.data.width % stride == 0 and self.data.height % stride == 0,
            f"the image size {self.data.width}x{self.data.height} cannot be halved {self.model.upsamplings + 1} times: "
            f"make data.width and data.height multiples of {stride}, or lower model.upsamplings",
        )
        _check(
            epochs % (levels - 1) == 0,
            f"train.progressive_epochs is {epochs}; {levels} levels need a multiple of {levels - 1}, so that each level gets the same span",
        )


PRESETS: dict[str, Config] = {
    "full": Config(),
    "tiny": Config(
        data=DataConfig(width=128, height=96, load_width=144),
        # Tried side by side for 14 epochs on 96 painted pairs: gain 0.02 and 0.3 stay blurred, 1.0 breaks into stripes, 0.7 draws texture.
        model=ModelConfig(width=16, hidden=24, upsamplings=4, levels=3, init_gain=0.7),
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
"""Settings by name: the authors' own, and one that trains on a CPU in minutes."""


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
