"""What counts as the end of a training: numbers that are not finite, and images without life after images with it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apfgan.config import PRESETS
from apfgan.files import write_bytes
from apfgan.health import broken_arrays, broken_losses, death, divergence, find_collapse, symptom
from apfgan.runs import Run
from apfgan.training_log import EpochRecord, TrainingLog, Vitals

ALIVE = EpochRecord(
    epoch=0,
    phase="augmented",
    level=2,
    seconds=1.0,
    images=96,
    generator_rate=1e-4,
    discriminator_rate=4e-4,
    losses={"adversarial": 0.3, "feature_matching": 17.0, "discriminator_fake": 0.9, "discriminator_real": 0.8},
    vitals=Vitals(0.9, 0.7, 0.05),
)
UNDRAWN = replace(ALIVE, vitals=None)


def discriminators(fake: float, real: float) -> EpochRecord:
    return replace(ALIVE, losses={**ALIVE.losses, "discriminator_fake": fake, "discriminator_real": real})


FLAT = replace(ALIVE, vitals=Vitals(0.01, 0.7, 0.05))
COPIES = replace(ALIVE, vitals=Vitals(0.9, 0.02, 0.05))
PINNED = replace(ALIVE, vitals=Vitals(1.3, 1.2, 0.95))
LOST = discriminators(0.01, 0.02)
EXPLODED = discriminators(4.4, 4.8)


def history(*records: EpochRecord) -> list[EpochRecord]:
    """The records as epochs 1, 2, 3, ..."""
    return [replace(record, epoch=epoch) for epoch, record in enumerate(records, start=1)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """With checkpoints of some epochs."""
    made = Run.create(tmp_path / "run", PRESETS["tiny"])
    for name in ("0", "4", "8", "9", "11"):
        for suffix in (".safetensors", ".json"):
            write_bytes(made.checkpoint_path(name).with_suffix(suffix), b"")
    return made


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (FLAT, "flat (0.01"),
        (COPIES, "all alike (0.02"),
        (PINNED, "a few plain colours (95%"),
        (LOST, "tell every image from every photo: their losses add up to 0.03"),
        (EXPLODED, "add up to 9.2"),
    ],
)
def test_signs_of_death_are_named(record: EpochRecord, said: str) -> None:
    assert said in (symptom(record) or "")


@pytest.mark.parametrize("record", [ALIVE, UNDRAWN, replace(UNDRAWN, losses={}), replace(ALIVE, vitals=Vitals(0.4, 0.3, 0.4)), discriminators(1, 1)])
def test_the_living_are_left_alone(record: EpochRecord) -> None:
    assert symptom(record) is None


def test_a_flat_beginning_is_no_collapse() -> None:
    assert find_collapse([]) is None
    assert find_collapse(history(*[FLAT] * 50)) is None
    assert find_collapse(history(FLAT, FLAT, FLAT, FLAT, ALIVE)) is None


def test_a_collapse_needs_life_before_it_and_patience() -> None:
    assert find_collapse(history(FLAT, ALIVE, PINNED, FLAT)) is None
    found = find_collapse(history(FLAT, ALIVE, PINNED, FLAT, COPIES))
    assert found is not None
    assert (found.alive, found.since) == (2, 3) and "all alike" in found.symptom
    assert find_collapse(history(FLAT, ALIVE, PINNED, FLAT, COPIES), patience=4) is None
    assert find_collapse(history(ALIVE, PINNED), patience=1) is not None


def test_one_epoch_of_life_ends_it() -> None:
    assert find_collapse(history(ALIVE, FLAT, FLAT, ALIVE, FLAT, FLAT)) is None
    assert find_collapse(history(ALIVE, FLAT, FLAT, FLAT, ALIVE)) is None


def test_losses_alone_can_tell() -> None:
    lost = replace(LOST, vitals=None)
    assert find_collapse(history(UNDRAWN, lost, lost, lost)) is not None


def test_the_verdict_survives_a_restart(run: Run) -> None:
    log = TrainingLog(run, after=0)
    for record in history(ALIVE, ALIVE, PINNED, LOST):
        log.append(record)
    assert find_collapse(log.records) is None
    again = TrainingLog(run, after=4)
    again.append(replace(FLAT, epoch=5))
    assert (
        find_collapse(again.records) == find_collapse(TrainingLog(run, after=5).records) == find_collapse(history(ALIVE, ALIVE, PINNED, LOST, FLAT))
    )
    assert find_collapse(TrainingLog(run, after=4).records) is None


@pytest.mark.parametrize(
    ("records", "last", "fork"),
    [
        ([*[ALIVE] * 5, PINNED, PINNED, PINNED], "epoch 4 ", False),
        ([*[ALIVE] * 10, PINNED, PINNED, PINNED], "epoch 9 ", True),
        ([ALIVE, PINNED, PINNED, PINNED], "epoch 0 ", False),
    ],
)
def test_the_message_names_the_last_good_checkpoint_and_the_cure(run: Run, records: Sequence[EpochRecord], last: str, fork: bool) -> None:
    collapse = find_collapse(history(*records))
    assert collapse is not None
    message = str(death(run, collapse))
    assert f"last good checkpoint is {last}" in message and "plain colours" in message
    assert "another --run with lower train.generator_rate" in message
    assert (f"--fork {run.path}@8" in message) == fork
    assert str(run.previews / "film.jpg") in message


def test_losses_that_are_not_finite_are_named() -> None:
    assert broken_losses({"adversarial": math.nan, "feature_matching": 1e30, "perceptual": math.inf}) == ["adversarial is nan", "perceptual is inf"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite_are_named(value: float) -> None:
    arrays = {"whole": np.ones((2, 3), np.float32), "steps": np.array(7), "broken": np.ones((2, 3), np.float32)}
    assert broken_arrays(arrays) == []
    arrays["broken"][1, 2] = value
    assert broken_arrays(arrays) == ["broken is not finite"]


def test_divergence_names_the_place_the_numbers_and_the_last_good_checkpoint(run: Run) -> None:
    message = str(divergence(run, ["adversarial is nan"], epoch=9, batch=3))
    assert "diverged in epoch 9, batch 3: adversarial is nan" in message and "last good checkpoint is epoch 8 " in message
    message = str(divergence(run, [f"array {number} is not finite" for number in range(10)], epoch=4))
    assert "in epoch 4: array 0 is not finite, array 1 is not finite, array 2 is not finite and 7 more" in message
    assert "last good checkpoint is epoch 0 " in message
