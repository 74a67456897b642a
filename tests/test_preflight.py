"""The look ahead before a training: what it tries, what it says, and when it refuses."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

import apfgan.preflight
from apfgan.config import PRESETS, Config, DataConfig, ModelConfig, TrainConfig
from apfgan.cost import Costs
from apfgan.data import Batch
from apfgan.errors import EnvironmentProblem
from apfgan.players import Players
from apfgan.preflight import TrainingPlan, describe_bytes, describe_plan, plan_training
from apfgan.runs import Run
from apfgan.schedule import Plan, plan_epoch

CONFIG = Config(
    data=DataConfig(classes=("a", "b", "c"), width=16, height=8, load_width=16),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2),
    train=TrainConfig(progressive_epochs=4, epochs=6, progressive_batch=4, batch=2),
)
"""Epochs 1 and 2 hold the small size, 3 fades, 4 is at full size, 5 and 6 are augmented."""

NOW = datetime(2030, 1, 31, 22, 0)


def changed(**settings: object) -> Config:
    return replace(CONFIG, train=replace(CONFIG.train, **settings))


def plan(config: Config = CONFIG, *, folder: Path = Path("nowhere/checkpoints"), pairs: int = 10, **arguments: object) -> TrainingPlan:
    return plan_training(config, pairs=pairs, device="cpu", checkpoints=folder, **arguments)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs whose steps were tried, in order; a step of epoch e takes e seconds on a clock of its own."""
    tried: list[int] = []
    clock = [0.0]

    def learn(players: Players, batch: Batch, epoch: Plan, *, index: int) -> dict[str, float]:
        tried.append(epoch.epoch)
        clock[0] += epoch.epoch
        return {}

    monkeypatch.setattr(Players, "learn", learn)
    monkeypatch.setattr("apfgan.preflight.time.monotonic", lambda: clock[0])
    return tried


def test_stretches_are_the_epochs_that_cost_the_same() -> None:
    found = plan(probe_seconds=0).stretches
    assert [(each.first, each.last, each.width, each.height, each.fading, each.batch, each.steps) for each in found] == [
        (1, 2, 8, 4, False, 4, 4),
        (3, 3, 16, 8, True, 4, 2),
        (4, 4, 16, 8, False, 4, 2),
        (5, 6, 16, 8, False, 2, 10),
    ]
    costs = Costs(CONFIG)
    for each in found:
        assert each.multiply_accumulates == each.batch * costs.step(plan_epoch(each.last, CONFIG)).total


def test_stretches_of_the_full_size(huge_disk: None) -> None:
    found = plan(PRESETS["original"], pairs=9871, probe_seconds=0).stretches
    assert [(each.first, each.last) for each in found] == [(1, 30), (31, 59), (60, 90), (91, 119), (120, 150), (151, 179), (180, 180), (181, 310)]
    assert [each.fading for each in found] == [False, True] * 3 + [False, False]
    assert sum(each.steps for each in found) == 180 * 987 + 130 * 1974  # (spec: method, 7)


def test_fewer_pairs_than_a_batch_make_one_step() -> None:
    assert [(each.batch, each.steps) for each in plan(pairs=3, probe_seconds=0).stretches] == [(3, 2), (3, 1), (3, 1), (2, 2)]


def test_a_batch_is_shared_among_processes_and_cut_into_parts() -> None:
    alone, shared = (plan(processes=processes, probe_seconds=0).stretches for processes in (1, 2))
    for one, other in zip(alone, shared, strict=True):
        assert (other.batch, other.steps, other.rows) == (one.batch, one.steps, one.batch // 2)
        assert other.multiply_accumulates == one.multiply_accumulates // 2
    cut = plan(changed(accumulate=2, progressive_accumulate=2), probe_seconds=0).stretches
    assert [each.memory for each in cut] == [each.memory for each in shared]
    assert [each.multiply_accumulates for each in cut] == [each.multiply_accumulates for each in alone]


def test_only_what_is_left_is_planned() -> None:
    assert [(each.first, each.last) for each in plan(finished=1, until=5, probe_seconds=0).stretches] == [(2, 2), (3, 3), (4, 4), (5, 5)]
    done = plan(finished=6)
    assert done.stretches == () and done.seconds == 0
    assert describe_plan(done, now=NOW) == "nothing left to train"


def test_the_largest_step_is_tried_first_and_then_what_takes_longest(learned: list[int]) -> None:
    found = plan(probe_seconds=1000)
    assert list(dict.fromkeys(learned)) == [4, 6, 3, 2]
    assert [each.seconds for each in found.stretches] == [2, 3, 4, 6]
    assert all(each.measured for each in found.stretches)
    assert found.seconds == sum(each.seconds * each.steps for each in found.stretches) == 4 * 2 + 2 * 3 + 2 * 4 + 10 * 6


def test_what_there_is_no_time_to_try_follows_from_the_count(learned: list[int]) -> None:
    found = plan(probe_seconds=3)
    assert learned == [4, 4]  # this one at least, to warm up and to time it, though it takes longer
    assert [each.measured for each in found.stretches] == [False, False, True, False]
    rates = [each.multiply_accumulates / each.seconds for each in found.stretches]
    assert rates == pytest.approx([rates[0]] * 4)
    assert found.seconds == pytest.approx(sum(each.total for each in found.stretches))


def test_steps_are_timed_without_the_first_where_there_is_time(learned: list[int]) -> None:
    plan(probe_seconds=1000)
    assert [learned.count(epoch) for epoch in (4, 6, 3, 2)] == [4, 4, 4, 4]


def test_a_real_step_is_measured() -> None:
    found = plan(probe_seconds=30)
    assert all(each.measured and each.seconds > 0 for each in found.stretches)
    assert found.memory_measured and 2**26 < found.memory < found.memory_size


def test_without_a_try_there_is_no_time(learned: list[int]) -> None:
    found = plan(probe_seconds=0)
    assert learned == [] and found.seconds is None
    assert found.memory == max(each.memory for each in found.stretches) and not found.memory_measured
    assert "unknown" in describe_plan(found, now=NOW)


def test_a_try_leaves_nothing_behind(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", CONFIG)
    np.random.seed(3)
    before = sorted(tmp_path.rglob("*")), torch.get_rng_state(), np.random.get_state()[1]
    plan(folder=run.checkpoints, probe_seconds=0.1)
    assert sorted(tmp_path.rglob("*")) == before[0]
    assert torch.equal(torch.get_rng_state(), before[1]) and np.array_equal(np.random.get_state()[1], before[2])


@pytest.mark.parametrize("engine_error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()])
def test_too_little_memory_is_said_with_what_helps(monkeypatch: pytest.MonkeyPatch, engine_error: Exception) -> None:
    def learn(players: Players, batch: Batch, epoch: Plan, *, index: int) -> dict[str, float]:
        raise engine_error

    monkeypatch.setattr(Players, "learn", learn)
    with pytest.raises(EnvironmentProblem) as caught:
        plan()
    message = str(caught.value)
    assert "epoch 4, 16x8, batch 4" in message and "does not fit" in message and "GiB" in message
    assert "train.progressive_accumulate=2" in message and "train.progressive_batch=2" in message and "train.precision=bfloat16" in message


def test_what_cannot_fit_is_not_even_tried(monkeypatch: pytest.MonkeyPatch, learned: list[int]) -> None:
    monkeypatch.setattr(apfgan.preflight, "memory_size", lambda device: 1000)
    with pytest.raises(EnvironmentProblem, match="does not fit") as caught:
        plan(changed(progressive_epochs=0, batch=6, accumulate=2, precision="bfloat16"))
    assert learned == []
    assert "in 2 parts" in str(caught.value) and "train.accumulate=3" in str(caught.value) and "precision" not in str(caught.value)


def test_half_precision_needs_less(monkeypatch: pytest.MonkeyPatch, learned: list[int]) -> None:
    config = changed(batch=500, progressive_batch=500)
    enough = plan(config, pairs=500, probe_seconds=0).memory
    monkeypatch.setattr(apfgan.preflight, "memory_size", lambda device: enough - 1)
    with pytest.raises(EnvironmentProblem):
        plan(config, pairs=500)
    assert learned == []
    plan(replace(config, train=replace(config.train, precision="bfloat16")), pairs=500)
    assert learned


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_said(device: str) -> None:
    with pytest.raises(EnvironmentProblem, match=f"cannot use the device '{device}'"):
        plan_training(CONFIG, pairs=10, device=device, checkpoints=Path("nowhere"))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that the disk has free."""
    amount = [0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, amount[0]))
    return amount


def test_too_little_disk_is_said_with_what_saves_how_much(tmp_path: Path, free: list[int], learned: list[int]) -> None:
    config = changed(epochs=54, ema=(0.1,))
    costs = Costs(config)
    free[0] = costs.disk_bytes - 1
    with pytest.raises(EnvironmentProblem) as caught:
        plan(config, folder=tmp_path / "run" / "checkpoints")
    message = str(caught.value)
    assert str(tmp_path / "run" / "checkpoints") in message and f"{costs.checkpoints_at_once} checkpoints" in message
    assert f"train.keep=20 saves {2 * 28 * costs.checkpoint_bytes / 2**20:.1f} MiB" in message
    assert "train.save_every=10 saves" in message and "train.ema=[] saves" in message
    assert learned == []  # the disk is looked at first
    free[0] += 1
    assert plan(config, folder=tmp_path / "run" / "checkpoints").disk == costs.disk_bytes


def test_what_lies_on_the_disk_already_is_not_needed_again(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name, size in (
        ("epoch_0001.safetensors", 100),
        ("1-ema0.1.safetensors", 20),
        ("training_state.safetensors", 3),
        ("avg_1_2.safetensors", 9999),
    ):
        (folder / name).write_bytes(bytes(size))
    assert plan(folder=folder, probe_seconds=0).disk == Costs(CONFIG).disk_bytes - 123


@pytest.fixture
def huge_disk(free: list[int]) -> None:
    free[0] = 10**13


def tables() -> Sequence[TrainingPlan]:
    full = plan(PRESETS["full"], pairs=9871, probe_seconds=0)
    slow = replace(full, stretches=tuple(replace(each, seconds=123.456, measured=each.first == 1) for each in full.stretches))
    return full, slow, plan(PRESETS["tiny"], pairs=96, probe_seconds=0), plan(changed(epochs=12345, progressive_epochs=10000), probe_seconds=0)


def test_the_table_fits_a_terminal(huge_disk: None) -> None:
    for found in tables():
        text = describe_plan(found, now=NOW)
        assert max(map(len, text.split("\n"))) <= 80, text
        assert text == "\n".join(line.rstrip() for line in text.split("\n"))


def test_the_table_says_what_was_found(learned: list[int]) -> None:
    lines = describe_plan(plan(probe_seconds=3), now=NOW).split("\n")
    assert lines[0].split() == ["epochs", "image", "batch", "steps", "s/step", "total"]
    assert lines[3].split() == ["4", "16x8", "4", "2", "4", "8", "s"]
    assert re.match(r"3 +16x8 fading in +4 +2 +~\d", lines[2])
    assert re.match(r"5-6 +16x8 +2 +10 +~\d", lines[4])
    assert any(line.startswith("~ ") for line in lines)
    assert any(line.startswith("time") and "2030-01-31 22:0" in line for line in lines)


def test_nothing_is_marked_where_all_was_tried(learned: list[int]) -> None:
    assert "~" not in describe_plan(plan(probe_seconds=1000), now=NOW)


def test_the_page_about_costs_is_right(huge_disk: None) -> None:
    page = (Path(__file__).parents[1] / "docs" / "costs.md").read_text(encoding="utf-8")
    table = page.partition("<!-- presets -->\n")[2].partition("\n\n")[0].split("\n")
    names, rows = [cell.strip(" `") for cell in table[0].split("|")[2:-1]], [[cell.strip() for cell in row.split("|")[2:-1]] for row in table[2:]]
    assert names == list(PRESETS)
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        config = PRESETS[name]
        costs, found = Costs(config), plan(config, pairs=96 if name == "tiny" else 9871, probe_seconds=0)
        ends = [costs.step(plan_epoch(epoch, config)).total for epoch in (config.train.progressive_epochs, config.train.epochs)]
        total = found.multiply_accumulates / 1e15
        assert list(column) == [
            f"{config.data.width}x{config.data.height}",
            f"{costs.painter_parameters / 1e6:.1f} M",
            f"{costs.discriminator_parameters / 1e6:.1f} M",
            f"{costs.image.forward / 1e9:.1f}",
            *(f"{each / 1e9:.1f}" for each in ends),
            f"{sum(each.steps for each in found.stretches):,}",
            f"{total:.1f}" if total > 1 else f"{total:.4f}",
            describe_bytes(found.memory),
            str(found.checkpoints),
            describe_bytes(found.checkpoint_bytes),
            describe_bytes(found.state_bytes),
            describe_bytes(costs.disk_bytes),
        ]
