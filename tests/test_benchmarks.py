"""The benchmarks run, at pico size; what they find is not judged."""

import json
from pathlib import Path

import pytest

from apfgan.config import build_config, parse_settings
from apfgan.cost import Costs
from apfgan.schedule import plan_epoch
from benchmarks import engine_options, step

PICO = ["data.width=32", "data.height=16", "data.load_width=32", "model.width=8", "model.hidden=4", "model.upsamplings=3", "model.levels=2"]


def test_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [*PICO, "train.progressive_epochs=0", "train.epochs=3"]  # one phase, for each takes a process of its own
    out = tmp_path / "step.json"
    step.main(
        [
            "--batch",
            "2",
            "--repeats",
            "1",
            "--threads",
            "1",
            "--side",
            "64",
            "--json",
            str(out),
            *(word for each in settings for word in ("--set", each)),
        ]
    )
    found = json.loads(out.read_text())["timings"]
    config = build_config(parse_settings([*settings, *step.WITHOUT_PERCEPTUAL]))
    assert [each["epoch"] for each in found] == [3]
    assert [each["multiply_accumulates"] for each in found] == [2 * Costs(config).step(plan_epoch(3, config)).total]
    assert all(each[name] > 0 for each in found for name in ("first", "painter", "discriminators", "memory", "matrix_product", "convolution"))
    assert capsys.readouterr().out.split("\n")[1].startswith("augmented")


def test_engine_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"width": "8", "hidden": "4", "upsamplings": "3", "levels": "2", "image": "32x16", "rounds": "1", "threads": "1"}
    out = tmp_path / "options.json"
    engine_options.main([*(word for name, value in sizes.items() for word in (f"--{name}", value)), "--json", str(out)])
    found = json.loads(out.read_text())
    assert [each["option"] for each in found["timings"]] == ["plain", "contiguous", "bfloat16"]
    plain, contiguous, half = found["timings"]
    assert plain["difference"] == 0 and plain["step_ratio"] == plain["draw_ratio"] == 1
    assert contiguous["difference"] < 1e-4 < half["difference"] < engine_options.LARGEST_DIFFERENCE
    assert capsys.readouterr().out.count("\n") == 4


def test_options_that_draw_something_else_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_options, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(SystemExit, match="draws something else"):
        engine_options.main(["--width", "8", "--hidden", "4", "--upsamplings", "3", "--levels", "2", "--image", "32x16", "--threads", "1"])
