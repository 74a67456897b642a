"""The benchmarks run, at pico size; what they find is not judged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance

from apfgan.config import build_config, parse_settings
from apfgan.cost import Costs
from apfgan.schedule import plan_epoch
from benchmarks import engine_options, frechet, original_fid, step, sweep, timing
from benchmarks.gaussians import draw_features, form_statistics

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens" / "A"
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


def test_frechet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "frechet.json"
    frechet.main(["--sizes", "16x40,24x10", "--photos", "60", "--rounds", "2", "--json", str(out)])
    found = json.loads(out.read_text())
    assert found["threads"] >= 1
    assert [(each["features"], each["images"]) for each in found["timings"][::5]] == [(16, 40), (24, 10)]
    for ours, with_error, *others in (found["timings"][:5], found["timings"][5:]):
        assert [each["side"] for each in others] == ["pytorch-fid", "clean-fid", "torch-fidelity's method"]
        assert ours["statistics"] == with_error["statistics"] == 0 and ours["ratio"] == ours["distance_ratio"] == 1
        for each in others:
            assert each["value"] == pytest.approx(ours["value"], abs=frechet.TOLERANCE)
            assert each["statistics"] > 0 and 0 < each["distance_ratio"] < each["ratio"]
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_distances_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frechet, "pytorch_fid_distance", lambda *_: 7.0)
    with pytest.raises(SystemExit, match=r"pytorch-fid finds 7\.000000 where ours is .*nothing was timed"):
        frechet.main(["--sizes", "8x20", "--photos", "30"])


def test_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "STARTS", 1)
    sizes = {"candidates": 5, "images": 12, "photos": 40, "size": "48x32", "photo-size": "64x48", "features": 16}
    measured = {"measured-candidates": 1, "measured-photos": 6, "network-images": 10, "run-candidates": 1, "run-images": 6}
    out = tmp_path / "sweep.json"
    sweep.main([*(word for name, value in (sizes | measured).items() for word in (f"--{name}", str(value))), "--json", str(out)])
    found = json.loads(out.read_text())
    assert found["agreement"] <= sweep.AGREEMENT
    assert [len(found["run"][title]["distances"]) for title in ("original", "ours")] == [1, 1]
    original, ours = found["stages"]["original"], found["stages"]["ours"]
    assert original.keys() == ours.keys() == sweep.STAGES.keys()
    assert {stage for stage, seconds in ours.items() if not seconds > 0} == set()
    assert {stage for stage, seconds in original.items() if not seconds > 0} == {timing.RECORDS, *sweep.BEYOND}
    # As many images as photos per process, candidate and sweep: what the network takes for one follows from what it takes for the other.
    assert original[timing.PHOTO_NETWORK] / original[timing.NETWORK] == pytest.approx(40 / (5 * 12))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_sides_that_differ_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finding(distance: float) -> sweep.Side:
        return sweep.Side("", lambda *_: sweep.Outcome(1.0, [distance]), lambda *_: {}, lambda _: 1)

    monkeypatch.setattr(sweep, "SIDES", {"original": finding(2.0), "ours": finding(2.01)})
    with pytest.raises(SystemExit, match=r"finds \[2\.0\] where ours finds \[2\.01\]; nothing was timed"):
        sweep.check_agreement(tmp_path, tmp_path / "weights.pth", features=16)


def test_stages_are_scaled_by_their_units() -> None:
    sizes = sweep.Sizes(candidates=3, images=10, photos=7, size=(8, 8), photo_size=(8, 8), features=4)
    costs = {timing.START: 1.0, timing.DECODE: 2.0, timing.DISTANCE: 5.0, timing.PHOTOS: 11.0, timing.FIT: 13.0, timing.NETWORK: 17.0}
    found = {title: sweep.scaled(side, costs, sizes) for title, side in sweep.SIDES.items()}
    assert found["original"][timing.START] == 4  # the photos', then one a candidate
    assert found["ours"][timing.START] == 1
    for stages in found.values():
        counted = [stages[stage] for stage in (timing.DECODE, timing.DISTANCE, timing.PHOTOS, timing.FIT, timing.NETWORK, timing.RECORDS)]
        assert counted == [60, 15, 77, 13, 510, 0]
    assert sweep.total(found["ours"], network=True) == 1 + 60 + 15 + 77 + 13 + 510
    assert sweep.total(found["ours"], network=False) == 1 + 60 + 15 + 77 + 13


def test_only_the_first_images_reach_the_network() -> None:
    drawn = np.arange(12.0).reshape(6, 2)
    partly = sweep.Partly(lambda batch: -batch, images=3, drawn=drawn)
    found = np.concatenate([partly(np.ones((2, 2))) for _ in range(3)])
    assert partly.shown == 4
    np.testing.assert_array_equal(found, [*-np.ones((4, 2)), *drawn[4:]])


def test_a_stage_within_another_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 10.0, 13.0, 20.0, 21.0, 25.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(times))
    watch = timing.Stopwatch()
    with watch.stage("outer"), watch.stage("inner"):
        pass
    with watch.stage("outer"):
        pass
    assert watch.seconds == {"outer": 10 + 7 + 4, "inner": 3}


@pytest.mark.filterwarnings("ignore")  # SciPy's, of how pytorch-fid calls it
@pytest.mark.parametrize("images", [10, 60], ids=["n < d", "n > d"])
def test_the_original_takes_the_distance_of_pytorch_fid(images: int) -> None:
    statistics = [*form_statistics(draw_features(images, 24, seed=1, shift=0.5)), *form_statistics(draw_features(80, 24, seed=2))]
    assert original_fid.distance(*statistics) == pytest.approx(calculate_frechet_distance(*statistics), abs=1e-4)


@pytest.mark.skipif(not GOLDENS.exists(), reason="the recordings are not here")
@pytest.mark.parametrize(("name", "recording"), [("result_t1.jpg", "t1"), ("train_img_a1.jpg", "a1")])
def test_the_original_shrinks_as_recorded(name: str, recording: str) -> None:
    image = np.asarray(Image.open(GOLDENS / "e2e" / name)).astype(np.float32)
    np.testing.assert_allclose(original_fid.shrink(image)[::8, ::8], np.load(GOLDENS / f"fid_resize_{recording}_stride8.npy"), atol=1e-3)


def test_the_original_shows_every_file_in_batches_of_ten(tmp_path: Path) -> None:
    original_fid.write_jpegs([np.full((20, 30, 3), 10 * index, dtype=np.uint8) for index in range(13)], tmp_path / "results")
    sizes = []

    def look(images: torch.Tensor) -> np.ndarray:
        sizes.append(len(images))
        assert images.shape[1:] == (3, 299, 299)
        return images.mean(dim=(2, 3)).numpy()

    found = original_fid.observe(sorted((tmp_path / "results").iterdir()), look, timing.Stopwatch())
    assert sizes == [10, 3]
    np.testing.assert_allclose(found, np.repeat(np.arange(13)[:, np.newaxis] * 20 / 255 - 1, 3, axis=1), atol=0.01)
