"""`apfgan import` and `apfgan export` as users meet them, on files that the original program wrote."""

import json
import lzma
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from apfgan.images import encode_png
from apfgan.landscapes import make_landscapes
from apfgan.pickles import format_arrays_pickle, read_arrays_pickle

GOLDENS = Path(__file__).parents[2] / "shared" / "goldens" / "A"
pytestmark = pytest.mark.skipif(not GOLDENS.exists(), reason="the recordings are not here")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goldens")
    for path in (GOLDENS / "ckpt").glob("*.xz"):
        (folder / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
    (folder / "labels").mkdir()
    for index, label_map in enumerate(np.load(GOLDENS / "labels_128x128.npy")):
        (folder / "labels" / f"{index}.png").write_bytes(encode_png(label_map))
    return folder


@pytest.fixture
def run(apfgan: Call, goldens: Path, tmp_path: Path) -> Path:
    """A run with the recorded checkpoints 1 and 2, and the original's own merge of both."""
    run = tmp_path / "run"
    for arguments in (["1_net_G.pkl", "--size", "128x128"], ["2_net_G.pkl"], ["avg_1_2_net_G.pkl"]):
        code, _, error = apfgan("import", goldens / arguments[0], "--run", run, *arguments[1:])
        assert code == 0, error
    return run


def test_imported_checkpoints_draw_what_the_original_drew(apfgan, run, goldens, tmp_path):
    drawn = {"1": "1", "2": "2", "merged-1-2": "avg_1_2", "avg_1_2": "avg_1_2"}
    code, _, error = apfgan(
        *("generate", "--run", run, "--epochs", ",".join(drawn), "--labels", goldens / "labels", "--out", tmp_path / "images"),
        *("--noise", "off", "--format", "npy", "--device", "cpu"),
    )
    assert code == 0, error
    for name, recording in drawn.items():
        images = np.stack([np.load(tmp_path / "images" / name / f"{index}.npy") for index in range(2)])
        assert np.abs(images - np.load(GOLDENS / f"out_{recording}_zero_128x128.npy")).max() < 2e-4
    commands = [json.loads(line)["arguments"][0] for line in (run / "history.jsonl").read_text().splitlines()]
    assert commands == ["import"] * 3


def test_what_is_said_of_an_import(apfgan, goldens, tmp_path):
    arrays = read_arrays_pickle(goldens / "1_net_G.pkl")
    first_phase = tmp_path / "20_net_G.pkl"
    first_phase.write_bytes(format_arrays_pickle({name: array for name, array in arrays.items() if "seg_noise" not in name}))
    code, _, error = apfgan("import", first_phase, "--run", tmp_path / "run")
    assert code == 2 and "no encoder was found beside" in error and not (tmp_path / "run").exists()
    code, text, error = apfgan("import", first_phase, goldens / "1_net_E.pkl", "--run", tmp_path / "run", "--size", "64x64", "--json")
    assert code == 0, error
    found = json.loads(text)
    assert (found["checkpoint"], found["width"], found["classes"], len(found["absent"])) == ("20", 8, 29, 2)
    code, text, error = apfgan("import", first_phase, goldens / "avg_1_2_net_E.jittor1.3.11.pkl", "--run", tmp_path / "run", "--epoch", "best")
    assert code == 0, error
    assert "best.safetensors (width 8, 29 classes)" in text and "the file has no label-guided noise: it is silent" in text
    code, text, _ = apfgan("import", first_phase, goldens / "2_net_E.pkl", "--run", tmp_path / "run", "--epoch", "best")
    assert code == 2


def test_what_cannot_be_imported_leaves_no_run(apfgan, goldens, tmp_path, monkeypatch):
    class Attack:
        def __reduce__(self) -> tuple:
            return os.system, ("touch executed",)

    monkeypatch.chdir(tmp_path)
    generator = tmp_path / "1_net_G.pkl"
    for content, exit_code, what in (
        (pickle.dumps({"head_0.conv_0.bias": Attack()}), 4, "1_net_G.pkl is refused, and nothing in it was run: it calls posix.system"),
        ((goldens / "1_net_G.pkl").read_bytes()[:-1], 4, "is damaged"),
        ((goldens / "1_net_D.pkl").read_bytes(), 4, "holds the original's discriminators, where a file of the generator is wanted"),
    ):
        generator.write_bytes(content)
        code, _, error = apfgan("import", generator, goldens / "1_net_E.pkl", "--run", "run")
        assert code == exit_code and what in error
    for arguments, what in (
        (["--size", "big"], "write WIDTHxHEIGHT"),
        (["--size", "100x100"], "multiples of 64"),
        (["--epoch", "avg_1_2"], "a file becomes one checkpoint"),
        (["--epoch", "best", "--discriminators", goldens / "1_net_D.pkl"], "give --epoch a number instead of best"),
    ):
        code, _, error = apfgan("import", goldens / "1_net_G.pkl", "--run", "run", *arguments)
        assert code == 2 and what in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1_net_G.pkl"]


def test_a_run_of_another_size_is_kept_as_it_is(apfgan, goldens, run, tmp_path):
    before = sorted(run.rglob("*"))
    code, _, error = apfgan("import", goldens / "1_net_G.pkl", "--run", run, "--epoch", "3", "--size", "512x384")
    assert code == 2 and "draws at 128x128" in error
    settings = (run / "run.toml").read_text()
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "run.toml").write_text(settings.replace("width = 8", "width = 16"))
    code, _, error = apfgan("import", goldens / "1_net_G.pkl", "--run", tmp_path / "wide")
    assert code == 4 and "they have width 8 instead of 16. Import them into a run of their own" in error
    assert sorted(run.rglob("*")) == before


def test_an_export_is_the_original_file_again(apfgan, goldens, run, tmp_path):
    hashes = {name: json.loads((run / "checkpoints" / f"{name}.json").read_text())["sha256"] for name in ("epoch_0001", "merged-1-2")}
    code, text, error = apfgan("export", "--run", run, "avg_1_2", "--out", tmp_path / "out", "--json")
    assert code == 0, error
    assert json.loads(text)["files"] == [str(tmp_path / "out" / f"avg_1_2_net_{letter}.pkl") for letter in "GE"]
    assert apfgan("export", "--run", run, "1", "--out", tmp_path / "out")[0] == 0
    for path in (tmp_path / "out").iterdir():
        ours, theirs = read_arrays_pickle(path), read_arrays_pickle(goldens / path.name)
        assert list(ours) == list(theirs)
        for name, array in theirs.items():
            if not name.endswith(("_u", "_v")) and not name.startswith("fc_"):
                assert np.array_equal(ours[name], array.astype(np.float32)), name
    code, text, error = apfgan("import", tmp_path / "out" / "1_net_G.pkl", "--run", tmp_path / "again", "--json")
    assert code == 0 and json.loads(text)["sha256"] == hashes["epoch_0001"]
    code, text, error = apfgan("import", tmp_path / "out" / "avg_1_2_net_G.pkl", "--run", tmp_path / "again", "--json")
    assert code == 0 and json.loads(text)["sha256"] == hashes["merged-1-2"]


def test_what_cannot_be_exported(apfgan, run, tmp_path):
    for candidate, what in (("1-2", "names 2 candidates"), ("3", "no checkpoint for 3")):
        code, _, error = apfgan("export", "--run", run, candidate, "--out", tmp_path / "out")
        assert code == 2 and what in error
    assert not (tmp_path / "out").exists()


def test_training_goes_on_from_the_original(apfgan, goldens, tmp_path):
    make_landscapes(tmp_path / "data", train=2, test=1, width=64, height=64)
    discriminators = ["--discriminators", goldens / "1_net_D.pkl"]
    code, text, error = apfgan(
        "import", goldens / "1_net_G.pkl", "--run", tmp_path / "original", "--epoch", "180", "--size", "64x64", *discriminators
    )
    assert code == 0 and "--fork" in text, error
    shorter = ["train.epochs=181", "train.batch=2", "train.perceptual=none", "train.progressive_perceptual=none"]
    settings = [part for setting in shorter for part in ("--set", setting)]
    command = [
        "train",
        "--data",
        tmp_path / "data",
        "--run",
        tmp_path / "run",
        "--fork",
        tmp_path / "original",
        "--device",
        "cpu",
        "--plan-seconds",
        "0",
        "--probe",
        "0",
    ]
    code, text, error = apfgan(*command, *settings, "--json")
    assert code == 0, error
    assert json.loads(text)["checkpoints"] == ["180", "181"]
    assert "181" in (tmp_path / "run" / "training.csv").read_text()
