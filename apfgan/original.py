"""Checkpoints of the original Jittor program: read into ours, and written from ours (spec: method, 2 to 4).

Three files make one of its checkpoints: generator (`299_net_G.pkl`), encoder (`_net_E`), discriminators (`_net_D`). Each is laid out here once,
by the names and in the order of the original, with our name and the shape beside each: reading, checking and writing all follow from that.

A generator's file lacks what its phase does not train: in the first phase the label-guided noise, in the second the image heads of the smaller
sizes, at the end of the first phase both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from apfgan.candidates import Candidate
from apfgan.checkpoints import load_manifest, load_weights, save_checkpoint
from apfgan.config import PRESETS, Config, ModelConfig
from apfgan.errors import UsageError, WeightsError
from apfgan.files import write_bytes
from apfgan.labels import Classes
from apfgan.pickles import format_arrays_pickle, read_arrays_pickle
from apfgan.records import Manifest
from apfgan.runs import Run
from apfgan.schedule import Phase
from apfgan.shapes import mismatches, some
from apfgan.training_state import Position, TrainingState, save_state, state_path

Network = Literal["generator", "encoder", "discriminators"]

LETTERS: Mapping[Network, str] = {"generator": "G", "encoder": "E", "discriminators": "D"}
"""What the original calls each network in a file's name."""

NOISE, HEADS = "seg_noise_var", "inter_conv_img"
"""Part of the original's names of what a generator's file may lack."""

ABSENT = {
    NOISE: "label-guided noise: it is silent, as in the first phase",
    HEADS: "image heads for the smaller sizes: they are zero, and only the first phase would use them",
}
"""What it means that a file lacks them."""

LEVELS = 4
"""Discriminators (`num_D`) of the published checkpoints."""

_UPSAMPLINGS, _HIDDEN = 5, 128
"""What the original cannot change about its networks."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One array: its place in the original's file and in our checkpoint."""

    theirs: str
    """Where `spectral`, the file says `weight_orig` for `weight`, and adds the two vectors that it never uses (spec: method, 4)."""
    ours: str
    shape: tuple[int, ...]
    spectral: bool = False


def generator_slots(model: ModelConfig, *, classes: int) -> list[Slot]:
    """The generator's arrays with all that any phase has."""
    width, widest = model.width, 16 * model.width
    blocks = [("head_0", "head", widest, widest), ("G_middle_0", "middle.0", widest, widest), ("G_middle_1", "middle.1", widest, widest)]
    blocks += [(f"up_{index}", f"up.{index}", widest >> index, widest >> (index + 1)) for index in range(_UPSAMPLINGS)]
    slots = [
        slot
        for theirs, ours, inputs, outputs in blocks
        for slot in _block(theirs, f"generator.{ours}", inputs, outputs, hidden=model.hidden, classes=classes)
    ]
    top = model.levels - 1
    heads = [(f"{HEADS}.{index}", top - 1 - index, width << index) for index in range(top)] + [("out_conv_img", top, width // 2)]
    for theirs, level, channels in heads:
        slots += _convolution(theirs, f"generator.images.{level}", (3, channels, 3, 3))
    return slots


def encoder_slots(model: ModelConfig, *, classes: int) -> list[Slot]:
    """The encoder's arrays that are used."""
    channels = [classes, *(model.width * factor for factor in (1, 2, 4, 8, 8, 16))]
    return [
        Slot(f"layer{index + 1}.0.weight", f"encoder.convs.{index}.weight", (outputs, inputs, 3, 3), spectral=True)
        for index, (inputs, outputs) in enumerate(pairwise(channels))
    ]


def discriminator_slots(model: ModelConfig, *, classes: int) -> list[Slot]:
    """The arrays of all discriminators."""
    body = [min(model.width << index, 512) for index in range(5)]
    slots = []
    for level in range(model.levels):
        theirs, ours = f"multiscale_discriminator_{level}", f"levels.{level}"
        below = list(range(level, -1, -1))
        for index in below:
            slots += _convolution(f"{theirs}.toRGB_extra{index}.0", f"{ours}.from_image.{index}", (model.width >> index, classes + 3, 4, 4))
        grow = [(f"extra{index}", f"grow.{index - 1}", model.width >> index, model.width >> (index - 1)) for index in below[:-1]]
        layers = [(f"model{index}", f"body.{index}", inputs, outputs) for index, (inputs, outputs) in enumerate(pairwise(body))]
        slots += [
            Slot(f"{theirs}.{their_layer}.0.0.weight", f"{ours}.{our_layer}.weight", (outputs, inputs, 4, 4), spectral=True)
            for their_layer, our_layer, inputs, outputs in [*grow, *layers]
        ]
        slots += _convolution(f"{theirs}.model4.0", f"{ours}.predict", (1, body[-1], 4, 4))
    return slots


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginalPainter:
    """A generator and an encoder of the original, under our names."""

    model: ModelConfig
    classes: int
    weights: Mapping[str, np.ndarray]
    """float32, as `apfgan.checkpoints` holds them; zeros where the file has nothing."""
    absent: tuple[str, ...]
    """What the file does not have: `NOISE`, `HEADS` or both."""

    @property
    def phase(self) -> Phase:
        """The phase that it comes from."""
        return "progressive" if NOISE in self.absent else "augmented"


def read_painter(generator: Path, encoder: Path, *, levels: int = LEVELS) -> OriginalPainter:
    """Read the two files that draw; the networks' sizes are read off their arrays. `levels` holds for a generator without the image heads of
    the first phase, which does not tell.

    Raises `WeightsError` when a file cannot be read, is another network's, or does not fit: what differs is listed, with the likely cause.
    """
    arrays = _read(generator, "generator")
    sizes = _sizes("generator", arrays)
    if not {"width", "hidden", "classes"} <= sizes.keys():
        raise WeightsError(f"{generator} lacks the arrays from which a generator's size is read (out_conv_img, head_0.norm_0.mlp_shared). {_ASK}")
    try:
        heads = len({name.split(".")[1] for name in arrays if name.startswith(f"{HEADS}.")})
        model = replace(PRESETS["original"].model, width=sizes["width"], hidden=sizes["hidden"], levels=heads + 1 if heads else levels)
    except UsageError as error:
        raise WeightsError(f"{generator} is no generator of the original: {error}. {_ASK}") from error
    absent = tuple(part for part in (NOISE, HEADS) if not any(part in name for name in arrays))
    weights = _fitted(generator, "generator", arrays, generator_slots(model, classes=sizes["classes"]), absent=absent)
    weights |= _fitted(encoder, "encoder", _read(encoder, "encoder"), encoder_slots(model, classes=sizes["classes"]), beside=sizes)
    return OriginalPainter(model=model, classes=sizes["classes"], weights=weights, absent=absent)


def read_discriminators(path: Path, painter: OriginalPainter) -> dict[str, np.ndarray]:
    """The discriminators that belong to `painter`, under our names; raises `WeightsError` as `read_painter` does."""
    slots = discriminator_slots(painter.model, classes=painter.classes)
    beside = {"width": painter.model.width, "classes": painter.classes}
    return _fitted(path, "discriminators", _read(path, "discriminators"), slots, beside=beside)


def count_levels(discriminators: Path) -> int:
    """How many discriminators a file holds; raises `WeightsError` when it is none of theirs."""
    return len({name.partition(".")[0] for name in _read(discriminators, "discriminators")})


def encoder_beside(generator: Path) -> Path:
    """Where the encoder of a generator's file lies by the original's names; raises `UsageError` when there is none."""
    encoder = generator.with_name(generator.name.replace("_net_G", "_net_E"))
    if encoder == generator or not encoder.exists():
        raise UsageError(
            f"no encoder was found beside {generator} (such as 299_net_E.pkl beside 299_net_G.pkl). Name both: apfgan import G.pkl E.pkl"
        )
    return encoder


def name_of(generator: Path, wanted: str | None) -> str:
    """Name of the checkpoint that a generator's file becomes: `wanted`, or what the file's own name says.

    `299_net_G.pkl` is 299. A merged file is one checkpoint like any other, whose members may not be at hand: `avg_273_299_net_G.pkl` is
    merged-273-299.
    """
    if wanted is None:
        own = generator.name.removesuffix(".pkl").removesuffix("_net_G")
        wanted = f"merged-{own.removeprefix('avg_').replace('_', '-')}" if own.startswith("avg_") else own
    candidate = Candidate.parse(wanted)
    if candidate.is_merge or candidate.seed:
        raise UsageError(
            f"--epoch {wanted} says how to draw from checkpoints that are there already; a file becomes one checkpoint. Name it by its epoch (299), "
            "or by a word of its own (best, merged-273-299)"
        )
    return candidate.base


def config_for(painter: OriginalPainter, *, width: int, height: int) -> Config:
    """The original's settings for a run that draws with `painter` at a size in pixels; raises `UsageError` when it cannot draw at that size."""
    original = PRESETS["original"]
    classes = original.data.classes if painter.classes == len(original.data.classes) else Classes.numbered(painter.classes).names
    load_width = width * original.data.load_width // original.data.width
    data = replace(original.data, classes=classes, width=width, height=height, load_width=load_width)
    try:
        return replace(original, data=data, model=painter.model)
    except UsageError:  # perhaps too small for the perceptual networks, which drawing does without
        train = replace(original.train, progressive_perceptual="none", perceptual="none")
        return replace(original, data=data, model=painter.model, train=train)


def save_original(run: Run, name: str, painter: OriginalPainter, *, discriminators: Mapping[str, np.ndarray] | None = None) -> Manifest:
    """Save `painter` as the checkpoint `name` of `run`; doing so twice changes nothing.

    With `discriminators`, `name` is an epoch, and the state of a training that has finished it is saved as well, to fork from; optimisers start
    afresh, as the original's do. Raises `WeightsError` when the run's networks are others, and `UsageError` when what would be saved is there
    already and differs.
    """
    own, other = _traits(run.config.model, len(run.config.data.classes)), _traits(painter.model, painter.classes)
    if different := [f"{trait} {other[trait]} instead of {value}" for trait, value in own.items() if other[trait] != value]:
        raise WeightsError(f"these files do not fit {run.path}: they have {', '.join(different)}. Import them into a run of their own: another --run")
    known = name in run.checkpoint_names()
    if known and not _same(load_weights(run, name), painter.weights):
        raise UsageError(f"{run.path} has another checkpoint {name} already. Choose another --epoch or another --run")
    if discriminators is not None and state_path(run).exists():
        raise UsageError(f"{run.path} has a training to go on from already. Import with --discriminators into another --run")
    if known:
        manifest = load_manifest(run, name)
    else:
        manifest = save_checkpoint(run, name, painter.weights, epoch=int(name) if name.isdigit() else None, phase=painter.phase)
    if discriminators is not None:
        networks = {"painter": painter.weights, "discriminators": discriminators}
        arrays = {f"players.{network}.{key}": array for network, named in networks.items() for key, array in named.items()}
        save_state(state_path(run), TrainingState(Position(epoch=int(name)), arrays), config=run.config, data="")
    return manifest


def export_painter(weights: Mapping[str, np.ndarray], config: Config, *, phase: str) -> dict[Network, dict[str, np.ndarray]]:
    """The original's generator and encoder files for `weights`, as named arrays in its order.

    They have what the original's own have in that phase. A spectral normalisation is worked into the weights, because the original leaves
    its own out. Raises `UsageError` when the original has no such networks.
    """
    model, classes = config.model, len(config.data.classes)
    fixed = {"upsamplings": _UPSAMPLINGS, "hidden": _HIDDEN}
    if different := [f"{trait} {getattr(model, trait)} instead of {value}" for trait, value in fixed.items() if getattr(model, trait) != value]:
        raise UsageError(f"the original program cannot load these networks: they have {', '.join(different)}. Only a model of its make can go back")
    left_out = NOISE if phase == "progressive" else HEADS
    generator = [slot for slot in generator_slots(model, classes=classes) if left_out not in slot.theirs]
    unused = {f"fc_{name}.{kind}": shape for name in ("mu", "var") for kind, shape in (("weight", (256, 128 * model.width)), ("bias", (256,)))}
    return {
        "generator": dict(_written(generator, weights)),
        "encoder": dict(_written(encoder_slots(model, classes=classes), weights))
        | {name: np.zeros(shape, dtype=np.float32) for name, shape in unused.items()},
    }


def write_painter(folder: Path, name: str, networks: Mapping[Network, Mapping[str, np.ndarray]]) -> list[Path]:
    """Write what `export_painter` gave as `NAME_net_G.pkl` and `NAME_net_E.pkl`, and return the paths."""
    stem = name.replace("*", "x").replace("/", "-")  # a weighted merge: 0.4x273+0.6x299
    paths = []
    for network, arrays in networks.items():
        paths.append(folder / f"{stem}_net_{LETTERS[network]}.pkl")
        write_bytes(paths[-1], format_arrays_pickle(arrays))
    return paths


def _convolution(theirs: str, ours: str, shape: tuple[int, int, int, int]) -> list[Slot]:
    return [Slot(f"{theirs}.weight", f"{ours}.weight", shape), Slot(f"{theirs}.bias", f"{ours}.bias", shape[:1])]


def _block(theirs: str, ours: str, inputs: int, outputs: int, *, hidden: int, classes: int) -> Iterator[Slot]:
    """A residual block: its convolutions, then its normalisations."""
    middle = min(inputs, outputs)
    for name, shape in (("conv_0", (middle, inputs, 3, 3)), ("conv_1", (outputs, middle, 3, 3))):
        yield Slot(f"{theirs}.{name}.bias", f"{ours}.{name}.bias", shape[:1])
        yield Slot(f"{theirs}.{name}.weight", f"{ours}.{name}.weight", shape, spectral=True)
    norms = [("norm_0", inputs), ("norm_1", middle)]
    if inputs != outputs:
        yield Slot(f"{theirs}.conv_s.weight", f"{ours}.conv_s.weight", (outputs, inputs, 1, 1), spectral=True)
        norms.append(("norm_s", inputs))
    for name, channels in norms:
        for statistic in ("running_mean", "running_var"):
            yield Slot(f"{theirs}.{name}.param_free_norm.{statistic}", f"{ours}.{name}.norm.{statistic}", (channels,))
        for their_layer, our_layer, shape in (
            (NOISE, "noise", (channels, classes, 1, 1)),
            ("mlp_shared.0", "shared", (hidden, classes, 3, 3)),
            ("mlp_gamma", "gamma", (channels, hidden, 3, 3)),
            ("mlp_beta", "beta", (channels, hidden, 3, 3)),
        ):
            yield from _convolution(f"{theirs}.{name}.{their_layer}", f"{ours}.{name}.{our_layer}", shape)


_FIRST: Mapping[Network, str] = {"generator": "head_0.", "encoder": "layer1.", "discriminators": "multiscale_discriminator_0."}
"""How the names of each network begin, by which it is known."""

_ASK = "Give the file that the original program wrote"


def _read(path: Path, network: Network) -> dict[str, np.ndarray]:
    """The arrays of a file that are used, with `weight` for `weight_orig`; refuses the file of another network."""
    arrays: dict[str, np.ndarray] = {}
    for name, array in read_arrays_pickle(path).items():
        if name.endswith(("weight_u", "weight_v")) or name.startswith(("fc_mu.", "fc_var.")):
            continue
        plain = name.removesuffix("_orig")
        if plain in arrays and not np.array_equal(arrays[plain], array):
            raise WeightsError(f"{path} has {plain} twice, as weight and as weight_orig, and they differ. {_ASK}")
        arrays[plain] = array
    held: list[Network] = [other for other, start in _FIRST.items() if any(name.startswith(start) for name in arrays)]
    if network not in held:
        content = (
            f"the original's {held[0]}" if held else f"none of the original's networks but {some([ascii(name) for name in arrays]) or 'nothing'}"
        )
        raise WeightsError(f"{path} holds {content}, where a file of the {network} is wanted, such as 299_net_{LETTERS[network]}.pkl")
    return arrays


def _sizes(network: Network, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Width and classes of a network, and the hidden channels of a generator, as far as its arrays tell."""
    shapes = {name: array.shape for name, array in arrays.items() if array.ndim == 4}
    found = {}
    match network:
        case "generator":
            if shape := shapes.get("out_conv_img.weight"):
                found["width"] = 2 * shape[1]
            if shape := shapes.get("head_0.norm_0.mlp_shared.0.weight"):
                found |= {"hidden": shape[0], "classes": shape[1]}
        case "encoder":
            if shape := shapes.get("layer1.0.weight"):
                found |= {"width": shape[0], "classes": shape[1]}
        case "discriminators":
            if shape := shapes.get("multiscale_discriminator_0.toRGB_extra0.0.weight"):
                found |= {"width": shape[0], "classes": shape[1] - 3}
    return found


def _fitted(
    path: Path,
    network: Network,
    arrays: Mapping[str, np.ndarray],
    slots: Sequence[Slot],
    *,
    absent: tuple[str, ...] = (),
    beside: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """float32 arrays for `slots`, by our names; zeros for the parts in `absent`. `beside` are the sizes of the generator it comes with."""
    needed = {slot.theirs: slot.shape for slot in slots if not any(part in slot.theirs for part in absent)}
    if problems := list(mismatches(needed, {name: array.shape for name, array in arrays.items()})):
        found = _sizes(network, arrays)
        guesses = [f"{name} {found[name]}, and the generator {size}" for name, size in (beside or {}).items() if found.get(name, size) != size]
        cause = f"It looks like {'; '.join(guesses)}: take files of one training" if guesses else _ASK
        raise WeightsError(f"{path} does not fit the original's {network}: {'; '.join(problems)}. {cause}")
    with np.errstate(over="ignore"):
        fitted = {slot: arrays[slot.theirs].astype(np.float32) for slot in slots if slot.theirs in needed}
    if broken := [slot.theirs for slot, array in fitted.items() if not np.isfinite(array).all()]:
        raise WeightsError(
            f"{path} holds numbers that are infinite or none, in {some(broken)}: its training diverged, or the file is damaged. {_ASK}"
        )
    return {slot.ours: fitted[slot] if slot in fitted else np.zeros(slot.shape, dtype=np.float32) for slot in slots}


def _traits(model: ModelConfig, classes: int) -> dict[str, int]:
    """What two models must share to exchange weights."""
    names = ("width", "hidden", "upsamplings", "levels", "spectral_norm")
    return {name: getattr(model, name) for name in names} | {"classes": classes}


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _written(slots: Sequence[Slot], weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a file, by the original's names."""
    for slot in slots:
        array = weights[slot.ours]
        if not slot.spectral:
            yield slot.theirs, array
            continue
        matrix = array.reshape(len(array), -1)
        if f"{slot.ours}_u" in weights:
            array = array / (weights[f"{slot.ours}_u"] @ matrix @ weights[f"{slot.ours}_v"])
        yield f"{slot.theirs}_orig", array
        for suffix, length in zip("uv", matrix.shape, strict=True):
            yield f"{slot.theirs}_{suffix}", np.full(length, length**-0.5, dtype=np.float32)
