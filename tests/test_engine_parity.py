"""PyTorch and Jittor against each other, each in a process of its own (engine_runs.py): the same weights, inputs and batches.

Largest differences found, relative to an item's largest value or 1: networks 7.8e-6, features of VGG19 3.0e-6, of Inception 1.9e-6 (by the batch
4.8e-4), losses 5.8e-6, augmentation 7.6e-6, gradients 4.6e-4 (median 1.8e-6), losses of ten steps 1.0e-5; images of a checkpoint trained on the
other engine 3.7e-6, the next losses from its training state 3.9e-6.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from apfgan.engines import Engine
from tests.engine_runs import MODELS
from tests.engines import start_on
from tests.perceptual_files import write_perceptual_files

Found = Mapping[Engine, Mapping[str, np.ndarray]]
NAMES = [*MODELS]

pytestmark = pytest.mark.jittor


def run(folder: Path, job: str, *, others: bool) -> Found:
    """What both engines leave of a job; they work at the same time."""
    processes = {}
    for engine, other in ((Engine.pytorch, Engine.jittor), (Engine.jittor, Engine.pytorch)):
        (folder / engine).mkdir(exist_ok=True)
        processes[engine] = start_on(engine, "tests.engine_runs", job, folder / engine, folder, *([folder / other] if others else []))
    for engine, process in processes.items():
        said, _ = process.communicate()
        assert process.returncode == 0, f"{engine}: {said}"
    file = {"learn": "learned.npz", "go_on": "continued.npz"}[job]
    return {engine: dict(np.load(folder / engine / file)) for engine in processes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    write_perceptual_files(folder)
    return folder


@pytest.fixture(scope="module")
def learned(folder: Path) -> Found:
    return run(folder, "learn", others=False)


@pytest.fixture(scope="module")
def continued(folder: Path, learned: Found) -> Found:
    return run(folder, "go_on", others=True)


def named(found: Found, prefix: str) -> list[str]:
    """The items whose name begins with `prefix`; both engines have them."""
    one, other = ({name: array.shape for name, array in arrays.items() if name.startswith(prefix)} for arrays in found.values())
    assert one and one == other
    return list(one)


def far_apart(found: Found, prefix: str, *, tolerance: float) -> dict[str, float]:
    """Items whose name begins with `prefix` that differ by more than `tolerance` times their largest value, or 1 if that is larger."""
    one, other = found[Engine.pytorch], found[Engine.jittor]
    apart = {name: float(np.abs(one[name] - other[name]).max() / max(1.0, np.abs(one[name]).max())) for name in named(found, prefix)}
    return {name: difference for name, difference in apart.items() if not difference <= tolerance}


PARTS = ["encoder", "painter", "statistics", "discriminators", "vgg19 running", "inception running", "loss", "augmentation"]


@pytest.mark.parametrize("part", PARTS)
def test_what_is_computed_of_the_same(learned: Found, part: str) -> None:
    assert far_apart(learned, f"{part} ", tolerance=1e-4) == {}


def test_features_of_inception_by_the_statistics_of_few_values(learned: Found) -> None:
    """Layer upon layer divides by the deviation of at last eighteen values; the loss is as near as the others."""
    assert far_apart(learned, "inception batch ", tolerance=2e-3) == {}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_the_same(learned: Found, name: str) -> None:
    """Each by its norm. Where a normalisation behind it undoes what a bias does, the gradient is zero but for rounding."""
    one, other = learned[Engine.pytorch], learned[Engine.jittor]
    names = named(learned, f"gradient {name} ")
    norms = {each: float(np.linalg.norm(one[each])) for each in names}
    apart = {each: float(np.linalg.norm(one[each] - other[each])) / max(norms[each], 1e-3 * max(norms.values())) for each in names}
    assert {each: difference for each, difference in apart.items() if not difference <= 1e-3} == {}


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_ten_steps_of_each_phase(learned: Found, name: str) -> None:
    assert far_apart(learned, f"step {name} ", tolerance=1e-3) == {}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trained_on", [*Engine])
def test_a_checkpoint_draws_the_same_images_on_the_other_engine(learned: Found, continued: Found, name: str, trained_on: Engine) -> None:
    (other,) = set(Engine) - {trained_on}
    images = learned[trained_on][f"images {name}"]
    assert images.std() > 0.1
    assert np.abs(images - continued[other][f"images {name}"]).max() < 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trained_on", [*Engine])
def test_a_training_goes_on_alike_on_the_other_engine(learned: Found, continued: Found, name: str, trained_on: Engine) -> None:
    (other,) = set(Engine) - {trained_on}
    losses = learned[trained_on][f"further {name}"]
    assert losses.shape == (2, 5)
    np.testing.assert_array_less(np.abs(losses - continued[other][f"further {name}"]), 1e-3 * np.maximum(1, np.abs(losses)))
