"""Checkpoints of the original program: read with their sizes, refused with the cause, and written as it writes them."""

import json
import lzma
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apfgan.backend import load_arrays, no_gradients, one_hot, set_training, state_arrays, to_numpy
from apfgan.checkpoints import load_weights
from apfgan.config import PRESETS, Config, DataConfig, ModelConfig
from apfgan.errors import UsageError, WeightsError
from apfgan.networks import build_discriminators, build_painter
from apfgan.original import (
    HEADS,
    NOISE,
    OriginalPainter,
    config_for,
    count_levels,
    discriminator_slots,
    encoder_beside,
    encoder_slots,
    export_painter,
    generator_slots,
    name_of,
    read_discriminators,
    read_painter,
    save_original,
    write_painter,
)
from apfgan.pickles import format_arrays_pickle, read_arrays_pickle
from apfgan.runs import Run
from apfgan.training_state import load_fork, state_path

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens" / "A"
recorded = pytest.mark.skipif(not GOLDENS.exists(), reason="the recordings are not here")

MODEL = ModelConfig(width=8, hidden=128)
CLASSES = 3
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded files as the original wrote them."""
    folder = tmp_path_factory.mktemp("goldens")
    for path in (GOLDENS / "ckpt").glob("*.xz"):
        (folder / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> tuple[Arrays, Arrays]:
    """Contents of a generator's and an encoder's file of the original, small ones, of the second phase."""
    config = Config(data=DataConfig(classes=("a", "b", "c")), model=replace(MODEL, hidden=4))
    weights = random_weights(build_painter(config, seed=0))
    networks = export_painter(weights, replace(config, model=MODEL), phase="augmented")
    return networks["generator"], networks["encoder"]


def random_weights(painter: object) -> Arrays:
    source = np.random.default_rng(0)
    return {name: source.standard_normal(array.shape, dtype=np.float32) for name, array in state_arrays(painter).items()}


def write(folder: Path, **contents: Mapping[str, np.ndarray]) -> tuple[Path, ...]:
    """`G=...` becomes 1_net_G.pkl."""
    paths = []
    for letter, arrays in contents.items():
        paths.append(folder / f"1_net_{letter}.pkl")
        paths[-1].write_bytes(format_arrays_pickle(arrays))
    return tuple(paths)


def refusal(generator: Path, encoder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_painter(generator, encoder)
    return str(caught.value)


def shapes(arrays: Mapping[str, np.ndarray]) -> list[list]:
    return [[name, list(array.shape)] for name, array in arrays.items()]


@pytest.mark.parametrize("model", [MODEL, ModelConfig(width=16, hidden=5), ModelConfig(width=16, hidden=5, levels=3)])
def test_every_array_of_our_networks_has_one_place_in_the_files(model: ModelConfig) -> None:
    config = Config(data=DataConfig(classes=("a", "b", "c")), model=model)
    painter = {name: array.shape for name, array in state_arrays(build_painter(config, seed=0)).items()}
    slots = generator_slots(model, classes=3) + encoder_slots(model, classes=3)
    assert {slot.ours: slot.shape for slot in slots} == painter and len(slots) == len(painter)
    discriminators = {name: array.shape for name, array in state_arrays(build_discriminators(config, seed=0)).items()}
    slots = discriminator_slots(model, classes=3)
    assert {slot.ours: slot.shape for slot in slots} == discriminators and len(slots) == len(discriminators)


@recorded
@pytest.mark.parametrize(("kind", "phase"), [("phase1_epoch_lt_180", "progressive"), ("phase2", "augmented")])
def test_files_of_the_full_size_have_the_original_names_order_and_shapes(kind: str, phase: str) -> None:
    listed = json.loads((GOLDENS / "keys_full_ngf64.json").read_text())[kind]
    config = PRESETS["original"]
    slots = generator_slots(config.model, classes=29) + encoder_slots(config.model, classes=29)
    weights = {slot.ours: np.broadcast_to(np.float32(0), slot.shape) for slot in slots}  # takes no memory
    networks = export_painter(weights, config, phase=phase)
    assert shapes(networks["generator"]) == listed["G"]
    assert shapes(networks["encoder"]) == listed["E"]
    if "D" in listed:
        theirs = [[name.removesuffix("_orig"), shape] for name, shape in listed["D"] if not name.endswith(("_u", "_v"))]
        assert [[slot.theirs, list(slot.shape)] for slot in discriminator_slots(config.model, classes=29)] == theirs
        assert [slot.theirs + "_orig" for slot in discriminator_slots(config.model, classes=29) if slot.spectral] == [
            name for name, _ in listed["D"] if name.endswith("_orig")
        ]


@recorded
@pytest.mark.parametrize("epoch", ["1", "2", "avg_1_2"])
def test_a_recorded_checkpoint_comes_back_as_it_was(goldens: Path, tmp_path: Path, epoch: str) -> None:
    generator, encoder = goldens / f"{epoch}_net_G.pkl", goldens / f"{epoch}_net_E.pkl"
    painter = read_painter(generator, encoder)
    assert (painter.model, painter.classes, painter.absent) == (replace(PRESETS["original"].model, width=8), 29, (HEADS,))
    config = config_for(painter, width=128, height=128)
    written = write_painter(tmp_path, epoch, export_painter(painter.weights, config, phase=painter.phase))
    assert [path.name for path in written] == [generator.name, encoder.name]
    for path, original in zip(written, (generator, encoder), strict=True):
        ours, theirs = read_arrays_pickle(path), read_arrays_pickle(original)
        assert (
            shapes(ours)
            == shapes(theirs)
            == [[name, shape] for name, shape, _ in json.loads((GOLDENS / "keys.json").read_text())[f"1{path.name[-10:]}"]]
        )
        for name, array in theirs.items():
            assert ours[name].dtype == np.float32
            if name.endswith(("_u", "_v")):
                assert np.linalg.norm(ours[name]) == pytest.approx(1)
            elif name.startswith("fc_"):
                assert not ours[name].any()
            else:
                assert np.array_equal(ours[name], array.astype(np.float32)), name
    again = read_painter(*written)
    assert again.weights.keys() == painter.weights.keys()
    assert all(np.array_equal(array, painter.weights[name]) for name, array in again.weights.items())


@recorded
def test_a_newer_jittor_wraps_the_same_arrays(goldens: Path) -> None:
    wrapped = read_arrays_pickle(goldens / "avg_1_2_net_E.jittor1.3.11.pkl")
    merged = read_arrays_pickle(goldens / "avg_1_2_net_E.pkl")
    assert {array.dtype.name for array in merged.values()} == {"float64"}
    assert list(wrapped) == list(merged)
    assert all(np.array_equal(array, merged[name].astype(np.float32)) for name, array in wrapped.items())


@recorded
def test_recorded_discriminators_are_read(goldens: Path) -> None:
    painter = read_painter(goldens / "1_net_G.pkl", goldens / "1_net_E.pkl")
    arrays = read_discriminators(goldens / "1_net_D.pkl", painter)
    theirs = read_arrays_pickle(goldens / "1_net_D.pkl")
    assert sum(array.size for array in arrays.values()) == sum(array.size for name, array in theirs.items() if not name.endswith(("_u", "_v")))
    assert np.array_equal(arrays["levels.2.grow.1.weight"], theirs["multiscale_discriminator_2.extra2.0.0.weight_orig"])


@recorded
def test_one_network_is_not_taken_for_another(goldens: Path) -> None:
    generator, encoder, discriminators = (goldens / f"1_net_{letter}.pkl" for letter in "GED")
    assert "1_net_E.pkl holds the original's encoder, where a file of the generator is wanted" in refusal(encoder, encoder)
    assert "1_net_D.pkl holds the original's discriminators, where a file of the generator is wanted" in refusal(discriminators, encoder)
    assert "1_net_G.pkl holds the original's generator, where a file of the encoder is wanted" in refusal(generator, generator)
    with pytest.raises(
        WeightsError, match=r"1_net_E.pkl holds the original's encoder, where a file of the discriminators is wanted, such as 299_net_D.pkl"
    ):
        read_discriminators(encoder, read_painter(generator, encoder))


def test_sizes_are_read_off_the_arrays(tmp_path: Path, files: tuple[Arrays, Arrays]) -> None:
    painter = read_painter(*write(tmp_path, G=files[0], E=files[1]))
    assert (painter.model.width, painter.model.hidden, painter.model.levels, painter.model.upsamplings, painter.classes) == (8, 4, 4, 5, 3)
    config = config_for(painter, width=192, height=128)
    assert config.data.classes == ("class 0", "class 1", "class 2")
    assert (config.data.width, config.data.height, config.data.load_width) == (192, 128, 214)
    assert replace(config, data=PRESETS["original"].data, model=PRESETS["original"].model) == PRESETS["original"]
    with pytest.raises(UsageError, match="multiples of 64"):
        config_for(painter, width=100, height=128)


def test_fewer_levels_are_read_off_the_image_heads_or_the_discriminators(tmp_path: Path, files: tuple[Arrays, Arrays]) -> None:
    generator, encoder = files
    heads = {f"{HEADS}.{index}.{kind}": shape for index in range(2) for kind, shape in (("weight", (3, 8 << index, 3, 3)), ("bias", (3,)))}
    paths = write(tmp_path, G=generator | {name: np.zeros(shape, np.float32) for name, shape in heads.items()}, E=encoder)
    assert read_painter(*paths).model.levels == 3
    slots = discriminator_slots(replace(MODEL, levels=3), classes=3)
    names = {slot.theirs.replace("weight", "weight_orig") if slot.spectral else slot.theirs: slot.shape for slot in slots}
    (judges,) = write(tmp_path, D={name: np.zeros(shape, np.float32) for name, shape in names.items()})
    painter = read_painter(*write(tmp_path, G=generator, E=encoder), levels=count_levels(judges))
    assert painter.model.levels == 3
    assert read_discriminators(judges, painter).keys() == {slot.ours for slot in slots}
    with pytest.raises(WeightsError, match="missing multiscale_discriminator_3"):
        read_discriminators(judges, read_painter(*write(tmp_path, G=generator, E=encoder)))


def test_what_a_phase_does_not_train_may_be_absent(tmp_path: Path, files: tuple[Arrays, Arrays]) -> None:
    generator, encoder = files
    heads = {f"{HEADS}.{index}.{kind}": shape for index in range(3) for kind, shape in (("weight", (3, 8 << index, 3, 3)), ("bias", (3,)))}
    first = {name: array for name, array in generator.items() if NOISE not in name}
    grown = first | {name: np.full(shape, 0.5, np.float32) for name, shape in heads.items()}
    for arrays, absent, phase in ((generator, (HEADS,), "augmented"), (first, (NOISE, HEADS), "progressive"), (grown, (NOISE,), "progressive")):
        painter = read_painter(*write(tmp_path, G=arrays, E=encoder))
        assert (painter.absent, painter.phase) == (absent, phase)
        assert (not painter.weights["generator.images.0.weight"].any()) == (HEADS in absent)
        assert (not painter.weights["generator.up.3.norm_s.noise.weight"].any()) == (NOISE in absent)
        written = export_painter(painter.weights, config_for(replace(painter, model=MODEL), width=64, height=64), phase=phase)["generator"]
        assert written.keys() == (generator if phase == "augmented" else grown).keys()
    half = {name: array for name, array in generator.items() if f"up_4.norm_1.{NOISE}" not in name}
    assert "missing up_4.norm_1.seg_noise_var.weight, up_4.norm_1.seg_noise_var.bias. " in refusal(*write(tmp_path, G=half, E=encoder))


def test_weight_and_weight_orig_are_the_same(tmp_path: Path, files: tuple[Arrays, Arrays]) -> None:
    painter = read_painter(*write(tmp_path, G=files[0], E=files[1]))
    plain = [{name.removesuffix("_orig"): array for name, array in arrays.items() if not name.endswith(("_u", "_v"))} for arrays in files]
    both = files[0] | plain[0]
    for generator, encoder in (plain, (both, files[1])):
        again = read_painter(*write(tmp_path, G=generator, E=encoder))
        assert all(np.array_equal(array, painter.weights[name]) for name, array in again.weights.items())
    both["up_1.conv_0.weight"] = both["up_1.conv_0.weight"] + 1
    assert "has up_1.conv_0.weight twice, as weight and as weight_orig, and they differ" in refusal(*write(tmp_path, G=both, E=files[1]))


Change = Callable[[Arrays], Arrays]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: without(g, "up_1.conv_0.bias"), "does not fit the original's generator: missing up_1.conv_0.bias. Give the file"),
        (lambda g: without(g, "up_"), "missing up_0.conv_0.bias, up_0.conv_0.weight"),
        (lambda g: without(g, "up_"), "and 169 more"),
        (lambda g: g | {"fc.weight": np.ones((2, 2))}, "not expected fc.weight"),
        (lambda g: g | {"up_0.conv_0.bias": np.ones(63)}, "of another shape up_0.conv_0.bias (63,) instead of (64,)"),
        (lambda g: g | {"out_conv_img.weight": np.ones((3, 8, 3, 3))}, "instead of (256, 256, 3, 3)"),
        (lambda g: g | {"out_conv_img.weight": np.ones((3, 3, 3, 3))}, "model.width is 6"),
        (lambda g: g | {"out_conv_img.weight": np.ones(3)}, "lacks the arrays from which a generator's size is read"),
        (lambda g: without(g, "out_conv_img.weight"), "lacks the arrays from which a generator's size is read"),
        (lambda g: g | {"up_0.conv_0.bias": np.full(64, np.nan)}, "infinite or none, in up_0.conv_0.bias"),
        (lambda g: {"model.0.weight": np.ones(1)}, "none of the original's networks but 'model.0.weight', where"),
        (lambda g: {}, "none of the original's networks but nothing, where"),
    ],
)
def test_a_generator_that_does_not_fit_is_explained(tmp_path: Path, files: tuple[Arrays, Arrays], change: Change, message: str) -> None:
    generator, encoder = write(tmp_path, G=change(files[0]), E=files[1])
    found = refusal(generator, encoder)
    assert message in found and str(generator) in found and len(found) < 1500


def without(arrays: Arrays, start: str) -> Arrays:
    return {name: array for name, array in arrays.items() if not name.startswith(start)}


def test_numbers_beyond_float32_are_refused(tmp_path: Path, files: tuple[Arrays, Arrays]) -> None:
    generator, encoder = write(tmp_path, G=files[0], E=files[1])
    doubles = {name: array.astype(np.float64) for name, array in files[1].items()}
    encoder.write_bytes(pickle.dumps(doubles))
    assert read_painter(generator, encoder).weights["encoder.convs.0.weight"].dtype == np.float32
    encoder.write_bytes(pickle.dumps(doubles | {"layer1.0.weight_orig": np.full((8, 3, 3, 3), 1e300)}))
    assert "infinite or none, in layer1.0.weight" in refusal(generator, encoder)


def test_networks_of_two_trainings_are_refused(tmp_path: Path, files: tuple[Arrays, Arrays]) -> None:
    config = Config(data=DataConfig(classes=("a", "b", "c", "d")), model=ModelConfig(width=16, hidden=4))
    other = export_painter(state_arrays(build_painter(config, seed=0)), replace(config, model=replace(config.model, hidden=128)), phase="augmented")
    generator, encoder = write(tmp_path, G=files[0], E=other["encoder"])
    message = refusal(generator, encoder)
    assert "It looks like width 16, and the generator 8; classes 4, and the generator 3: take files of one training" in message
    assert "layer1.0.weight (16, 4, 3, 3) instead of (8, 3, 3, 3)" in message


def test_names(tmp_path: Path) -> None:
    for file, wanted, name in (
        ("299_net_G.pkl", None, "299"),
        ("latest_net_G.pkl", None, "latest"),
        ("avg_273_299_net_G.pkl", None, "merged-273-299"),
        ("G.pkl", None, "G"),
        ("299_net_G.pkl", "best", "best"),
        ("299_net_G.pkl", "0298", "298"),
    ):
        assert name_of(tmp_path / file, wanted) == name
    for wanted in ("avg_273_299", "0.4*273+0.6*299", "299@7"):
        with pytest.raises(UsageError, match=r"--epoch .* a file becomes one checkpoint"):
            name_of(tmp_path / "299_net_G.pkl", wanted)
    for file in ("my weights_net_G.pkl", "all_net_G.pkl", "../../x"):
        with pytest.raises(UsageError, match="names no checkpoint"):
            name_of(Path(file), None if file.endswith("pkl") else file)
    generator, encoder = write(tmp_path, G={}, E={})
    assert encoder_beside(generator) == encoder
    for alone in (encoder, tmp_path / "2_net_G.pkl"):
        with pytest.raises(UsageError, match="no encoder was found beside"):
            encoder_beside(alone)


def original_painter(width: int = 8, classes: int = 3) -> OriginalPainter:
    model = ModelConfig(width=width, hidden=4)
    config = Config(data=DataConfig(classes=tuple("abcdefgh"[:classes])), model=model)
    return OriginalPainter(model=model, classes=classes, weights=state_arrays(build_painter(config, seed=0)), absent=(HEADS,))


def test_a_run_takes_what_fits_it_and_only_once(tmp_path: Path) -> None:
    painter = original_painter()
    run = Run.create(tmp_path / "run", config_for(painter, width=64, height=64))
    manifest = save_original(run, "299", painter)
    assert (manifest.name, manifest.epoch, manifest.phase) == ("299", 299, "augmented")
    assert save_original(run, "299", painter).sha256 == manifest.sha256
    loaded = load_weights(run, "299")
    assert all(np.array_equal(loaded[name], array) for name, array in painter.weights.items())
    changed = replace(painter, weights={name: array + 1 for name, array in painter.weights.items()})
    with pytest.raises(UsageError, match="has another checkpoint 299 already"):
        save_original(run, "299", changed)
    assert save_original(run, "best", changed).epoch is None
    with pytest.raises(WeightsError, match=r"they have width 16 instead of 8, classes 4 instead of 3\. Import them into a run of their own"):
        save_original(run, "300", original_painter(width=16, classes=4))
    normalised = replace(run.config, model=replace(run.config.model, spectral_norm=True))
    with pytest.raises(WeightsError, match="spectral_norm False instead of True"):
        save_original(Run.create(tmp_path / "other", normalised), "299", painter)


def test_a_training_can_go_on_from_the_discriminators(tmp_path: Path) -> None:
    painter = original_painter()
    run = Run.create(tmp_path / "run", config_for(painter, width=64, height=64))
    discriminators = state_arrays(build_discriminators(run.config, seed=1))
    save_original(run, "180", painter)
    save_original(run, "180", painter, discriminators=discriminators)
    state = load_fork(run, epoch=None)
    assert (state.position.epoch, state.position.batches) == (180, 0)
    expected = {f"players.painter.{name}": array for name, array in painter.weights.items()}
    expected |= {f"players.discriminators.{name}": array for name, array in discriminators.items()}
    assert state.arrays.keys() == expected.keys()
    assert all(np.array_equal(state.arrays[name], array) for name, array in expected.items())
    before = state_path(run).read_bytes()
    with pytest.raises(UsageError, match="has a training to go on from already"):
        save_original(run, "181", painter, discriminators=discriminators)
    assert state_path(run).read_bytes() == before and run.checkpoint_names() == ["180"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelConfig(width=8, hidden=24), "hidden 24 instead of 128"),
        (ModelConfig(width=8, upsamplings=4, levels=3), "upsamplings 4 instead of 5"),
    ],
)
def test_networks_that_the_original_cannot_have_are_not_exported(model: ModelConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export_painter({}, Config(model=model), phase="augmented")


def test_a_spectral_normalisation_is_worked_into_the_weights(tmp_path: Path) -> None:
    config = Config(
        data=DataConfig(classes=("a", "b", "c"), width=64, height=64, load_width=64), model=replace(MODEL, spectral_norm=True, init_gain=1)
    )
    painter = build_painter(config, seed=0)
    set_training(painter, False)
    arrays = export_painter(state_arrays(painter), config, phase="augmented")
    again = read_painter(*write_painter(tmp_path, "1", arrays))
    plain = build_painter(replace(config, model=again.model), seed=1)
    load_arrays(plain, again.weights, origin="the exported files")
    set_training(plain, False)
    onehot = one_hot(np.random.default_rng(0).integers(0, 3, (1, 64, 64)), 3, device="cpu")
    with no_gradients():
        images = [to_numpy(network(onehot, noise=None, stage=None)) for network in (painter, plain)]
    assert np.ptp(images[0]) > 0.1
    assert np.abs(images[0] - images[1]).max() < 1e-5


def test_a_weighted_merge_has_a_file_name(tmp_path: Path) -> None:
    networks = {"generator": {"a": np.ones(1)}, "encoder": {}}
    names = [path.name for path in write_painter(tmp_path, "1/2*a_b+1/2*c", networks)]
    assert names == ["1-2xa_b+1-2xc_net_G.pkl", "1-2xa_b+1-2xc_net_E.pkl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
