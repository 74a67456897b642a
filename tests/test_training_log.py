"""The training log and TensorBoard's curves derived from it, through stops, kills and restarts."""

import builtins
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from apfgan.config import PRESETS
from apfgan.errors import EnvironmentProblem
from apfgan.files import write_bytes
from apfgan.images import encode_jpeg
from apfgan.records import Estimate
from apfgan.runs import Run
from apfgan.training_log import PICTURES, EpochRecord, TrainingLog, Vitals, rank_by_probe, read_log


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", PRESETS["tiny"])


def record(epoch: int, *, shift: float = 0.0) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        phase="progressive" if epoch < 3 else "augmented",
        level=min(2, epoch),
        seconds=1.5 + epoch,
        images=96,
        generator_rate=4e-4 / epoch,
        discriminator_rate=4e-4,
        losses={"adversarial": 0.25 * epoch + shift, "feature_matching": 16.0, "discriminator_fake": 0.5, "discriminator_real": 0.75},
        vitals=Vitals(0.9, 0.75, 0.03125),
        probe=Estimate(0.25 + 0.0625 * (epoch % 4), 0.015625) if epoch >= 3 else None,
    )


def write(run: Run, epochs: Sequence[int], *, after: int, pictures: bool = False) -> TrainingLog:
    log = TrainingLog(run, after=after)
    for epoch in epochs:
        if pictures:
            write_bytes(run.preview_path(epoch), encode_jpeg(np.full((4, 6, 3), epoch, np.uint8), quality=90, subsampling="4:4:4"))
        log.append(record(epoch))
    return log


def curves(run: Run) -> dict[str, dict[int, float]]:
    """What a viewer shows: value by epoch of each curve; fails on a point that stands there twice."""
    accumulator = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    shown = {}
    for tag in accumulator.Tags()["scalars"]:
        points = [(event.step, event.value) for event in accumulator.Scalars(tag)]
        assert len(dict(points)) == len(points), tag
        shown[tag] = dict(points)
    return shown


def pictures(run: Run) -> list[tuple[int, bytes]]:
    accumulator = EventAccumulator(str(run.tensorboard), size_guidance={"images": 0})
    accumulator.Reload()
    return [(event.step, event.encoded_image_string) for event in accumulator.Images("preview")] if accumulator.Tags()["images"] else []


def rows(run: Run) -> list[dict[str, str]]:
    with run.training_log.open(newline="") as file:
        return list(csv.DictReader(file))


def column(run: Run, name: str) -> dict[int, float]:
    return {int(row["epoch"]): float(row[name]) for row in rows(run) if row[name]}


def test_csv_and_curves_say_the_same(run: Run) -> None:
    write(run, range(1, 6), after=0)
    shown = curves(run)
    for tag, values in shown.items():
        assert values == pytest.approx(column(run, tag.partition("/")[2]), rel=1e-5), tag
    assert shown.keys() == {
        *("losses/adversarial", "losses/feature_matching", "losses/discriminator_fake", "losses/discriminator_real"),
        *("rates/generator_rate", "rates/discriminator_rate"),
        *("images/contrast", "images/variety", "images/plain", "probe/probe", "probe/probe_error"),
    }
    assert column(run, "probe").keys() == {3, 4, 5}
    assert {row["perceptual"] for row in rows(run)} == {""}


def test_records_come_back_from_the_disk(run: Run) -> None:
    log = write(run, range(1, 6), after=0)
    assert log.records == [record(epoch) for epoch in range(1, 6)]
    read = read_log(run.training_log)
    assert [each.epoch for each in read] == [1, 2, 3, 4, 5]
    for found, expected in zip(read, log.records, strict=True):
        assert replace(found, generator_rate=expected.generator_rate) == expected
        assert found.generator_rate == pytest.approx(expected.generator_rate, rel=1e-5)


def test_no_log_has_no_records(tmp_path: Path) -> None:
    assert read_log(tmp_path / "training.csv") == []
    (tmp_path / "training.csv").write_text("")
    assert read_log(tmp_path / "training.csv") == []


def test_a_restart_drops_what_is_trained_again(run: Run) -> None:
    write(run, range(1, 6), after=0, pictures=True)
    log = TrainingLog(run, after=3)
    assert [each.epoch for each in log.records] == [1, 2, 3] == [int(row["epoch"]) for row in rows(run)]
    assert {tuple(points) for points in curves(run).values()} == {(1, 2, 3), (3,)}
    log.append(record(4, shift=8.0))
    assert curves(run)["losses/adversarial"] == {1: 0.25, 2: 0.5, 3: 0.75, 4: 9.0}
    assert [step for step, _ in pictures(run)] == [1, 2, 3, 4]


def test_a_restart_writes_nothing_that_stands_there(run: Run) -> None:
    write(run, range(1, 4), after=0)
    before = run.training_log.stat()
    write(run, [], after=3)
    assert run.training_log.stat() == before


@pytest.mark.parametrize("torn", [b"4,augm", b"4,augmented,2,5.500,96,0.0001,0.0004,1.0,16.0,,0.5,0.75,0.9,0.75,0.03,0.25,0.01", b"\xff\xfe"])
def test_a_torn_row_is_healed(run: Run, torn: bytes) -> None:
    write(run, range(1, 4), after=0)
    whole = run.training_log.read_bytes()
    run.training_log.write_bytes(whole + torn)
    log = TrainingLog(run, after=3)
    assert run.training_log.read_bytes() == whole
    log.append(record(4))
    assert [int(row["epoch"]) for row in rows(run)] == [1, 2, 3, 4]


@pytest.mark.parametrize("broken", ["x,augmented,2,1,96,1,1,1,1,,1,1,,,,,", "9,augmented,2,1,96,1,1,nan,1,,1,1,,,,,", "9,augmented", ""])
def test_a_row_that_is_none_is_left_out(run: Run, broken: str) -> None:
    write(run, range(1, 3), after=0)
    with run.training_log.open("a") as file:
        file.write(broken + "\n")
    assert [each.epoch for each in read_log(run.training_log)] == [1, 2]


def test_a_torn_curve_is_mended_by_a_restart(run: Run) -> None:
    write(run, range(1, 4), after=0)
    (events,) = run.tensorboard.iterdir()
    events.write_bytes(events.read_bytes()[:-7])
    write(run, [4], after=3)
    assert list(curves(run)["losses/adversarial"]) == [1, 2, 3, 4]


def test_a_viewer_that_looks_on_forgets_the_old_curves(run: Run) -> None:
    write(run, range(1, 6), after=0)
    viewer = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    viewer.Reload()
    TrainingLog(run, after=2).append(record(3, shift=8.0))
    viewer.Reload()
    assert [(event.step, event.value) for event in viewer.Scalars("losses/adversarial")] == [(1, 0.25), (2, 0.5), (3, 8.75)]


def test_restarts_leave_no_heap_of_files(run: Run) -> None:
    for after in range(5):
        write(run, [after + 1], after=after)
    assert len(list(run.tensorboard.iterdir())) <= 2
    assert list(curves(run)["losses/adversarial"]) == [1, 2, 3, 4, 5]


def test_previews_are_shown_as_they_are(run: Run) -> None:
    write(run, range(1, 4), after=0, pictures=True)
    assert pictures(run) == [(epoch, run.preview_path(epoch).read_bytes()) for epoch in (1, 2, 3)]


def test_a_restart_copies_a_few_previews_only(run: Run) -> None:
    write(run, range(1, 31), after=0, pictures=True)
    assert len(pictures(run)) == 30
    write(run, [], after=30)
    steps = [step for step, _ in pictures(run)]
    assert len(steps) == PICTURES and steps[0] == 1 and steps[-1] == 30


def test_without_tensorboard_it_says_so_once_and_logs_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Listening:
        def say(self, text: str) -> None:
            said.append(text)

    real_import = builtins.__import__

    def no_tensorboard(name: str, *arguments: object, **options: object) -> object:
        assert not name.startswith("tensorboard")
        return real_import(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("apfgan.training_log.find_spec", lambda name: None)
    monkeypatch.setattr(builtins, "__import__", no_tensorboard)
    log = TrainingLog(run, after=0, progress=Listening())  # type: ignore[arg-type]
    for epoch in (1, 2):
        log.append(record(epoch))
    assert len(said) == 1 and "tensorboard is not installed" in said[0]
    assert len(rows(run)) == 2 and not run.tensorboard.exists()


def test_a_full_disk_is_told(run: Run, full_disk) -> None:  # type: ignore[no-untyped-def]
    log = write(run, [1], after=0)
    for left in range(3):
        full_disk.left = left
        with pytest.raises(EnvironmentProblem, match="disk full"):
            log.append(record(2))
    full_disk.left = None
    assert [each.epoch for each in TrainingLog(run, after=1).records] == [1]


def test_the_best_so_far_is_the_highest_probe(run: Run) -> None:
    log = write(run, range(1, 10), after=0)
    places = rank_by_probe(log.records)
    assert [place.entry.name for place in places] == ["7", "3", "6", "9", "5", "8", "4"]
    assert [place.tied for place in places] == [True, True, True, False, False, False, False]
    assert rank_by_probe(log.records[:2]) == []
