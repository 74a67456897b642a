"""The command line as users meet it: the whole job on a tiny run, what is said when it goes wrong, and what survives a kill."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, SegformerConfig, SegformerForSemanticSegmentation

import selection.evaluation
from apfgan.files import hash_file
from apfgan.images import encode_jpeg, encode_png, read_photo
from apfgan.labels import LANDSCAPE_CLASSES
from apfgan.landscapes import make_landscapes
from apfgan.runs import Run
from metrics.inception import Inception
from tests.pico import pico

ROOT = Path(__file__).parents[1]

PICO = pico(model={"init_gain": 1.0}, train={"progressive_epochs": 2, "epochs": 4, "save_progressive_every": 1})

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quick_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection.evaluation, "fit", functools.partial(selection.evaluation.fit, steps=60))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_landscapes(folder, train=8, test=6, width=64, height=48)
    return folder


@pytest.fixture
def pico(tmp_path: Path) -> Path:
    path = tmp_path / "pico.toml"
    path.write_text(PICO)
    return path


@pytest.fixture
def trained(apfgan: Call, data: Path, pico: Path, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    code, _, error = apfgan("train", "--data", data, "--run", run, "--config", pico, "--plan-seconds", 0, "--probe", 0, "-q")
    assert code == 0, error
    return run


def test_help_needs_no_heavy_import():
    script = """
import sys
sys.argv = ["apfgan", "--help"]
import cli
try:
    cli.main()
except SystemExit:
    print(sorted({"torch", "pandas", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.endswith("[]\n") and "merge-search" in done.stdout


def test_the_whole_job(apfgan, data, trained):
    code, text, error = apfgan("score", "--run", trained, "--data", data)
    assert code == 0, error
    assert len(text.splitlines()[0].split()) == 7  # candidate, score, ranks, P(best), three metrics
    places = json.loads(apfgan("rank", "--run", trained, "--json")[1])["places"]
    assert {place["candidate"] for place in places} == {"0", "1", "2", "3", "4"}
    scores = [place["metrics"]["composite"]["value"] for place in places]
    assert scores == sorted(scores, reverse=True)
    assert all({"mask_accuracy", "aesthetic", "fd-embedded", "composite", "mean_iou"} <= place["metrics"].keys() for place in places)
    assert not any({"fid", "kid"} & place["metrics"].keys() for place in places)
    assert all(place["metrics"]["composite"]["error"] is not None for place in places)

    assert apfgan("merge-search", "--run", trained)[0] == 0
    code, text, _ = apfgan("seed-search", "--run", trained, "--candidate", "4", "--tries", "3", "--json")
    found = json.loads(text)
    assert code == 0 and found["tries"] == 3 and found["expected_gain_on_new_label_maps"] == 0
    measured = {each.candidate for each in Run(trained).ledger.read()}
    assert sum("_" in each for each in measured) >= 4 and {"4", "4@1", "4@2"} <= measured and "4@3" not in measured

    code, text, _ = apfgan("report", "--run", trained)
    page = (trained / "report" / "index.html").read_text()
    assert code == 0 and str(trained / "report" / "index.html") in text and "fd-embedded" in page

    code, text, error = apfgan("submit", "--run", trained, "--json")
    assert code == 0, error
    with zipfile.ZipFile(trained / "result.zip") as archive:
        assert len(archive.namelist()) == 6
    best = json.loads(apfgan("rank", "--run", trained, "--json")[1])["places"][0]
    assert json.loads(text)["candidate"] == best["candidate"]
    assert json.loads(text)["score"] == pytest.approx(best["metrics"]["composite"]["value"], abs=1e-3)

    commands = [json.loads(line)["arguments"][0] for line in (trained / "history.jsonl").read_text().splitlines()]
    assert commands == ["train", "score", "merge-search", "seed-search", "submit"]


def write_standard_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of the standard judges in their real formats, with random weights; the catalogue's hashes follow. Returns the SegFormer's folder."""
    import metrics.standard as standard

    torch.manual_seed(0)
    inception, head = folder / standard.INCEPTION.file, folder / standard.AESTHETIC_HEAD.file
    torch.save(Inception().state_dict(), inception)
    sizes = {0: (768, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}
    layers = {index: torch.nn.Linear(*size) for index, size in sizes.items()}
    torch.save({f"layers.{index}.{name}": value for index, layer in layers.items() for name, value in layer.state_dict().items()}, head)
    for name, path in (("INCEPTION", inception), ("AESTHETIC_HEAD", head)):
        entry = replace(getattr(standard, name), sha256=hash_file(path), size=path.stat().st_size)
        monkeypatch.setattr(standard, name, entry)
    monkeypatch.setattr(standard, "CLIP", replace(standard.CLIP, pins={}))
    clip = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=32, projection_dim=768
    )
    CLIPVisionModelWithProjection(clip).save_pretrained(folder / standard.CLIP.repository.rpartition("/")[2])
    names = {index: f"{name}, and more" for index, name in enumerate((*LANDSCAPE_CLASSES[:-1], "door", "window"))}
    segformer = SegformerConfig(
        depths=[1] * 4,
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    SegformerForSemanticSegmentation(segformer).save_pretrained(folder / "ade")
    monkeypatch.setenv("APFGAN_WEIGHTS_DIR", str(folder))
    return folder / "ade"


def test_the_standard_judges_score_from_their_files(apfgan, data, trained, tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    segformer = write_standard_weights(folder, monkeypatch)
    code, text, error = apfgan(
        "score", "--run", trained, "--data", data, "--epochs", "3,4", "--judges", "standard", "--segformer", segformer, "--json"
    )
    assert code == 0, error
    found = json.loads(text)
    assert found["notes"] == [] or "compare within" not in found["notes"][0]
    assert all({"mask_accuracy", "aesthetic", "fid", "kid", "composite"} <= place["metrics"].keys() for place in found["places"])
    (line, _) = Run(trained).ledger.read()
    judges = line.protocol["judges"]
    assert judges["judges"] == "standard" and judges["distance"] == "fid"
    hashes = json.dumps(judges)
    assert hash_file(folder / "pt_inception-2015-12-05-6726825d.pth") in hashes
    code, _, error = apfgan("score", "--run", trained, "--epochs", "3,4")  # judges and their files are remembered
    assert code == 0 and "nothing to measure" in error
    with (folder / "pt_inception-2015-12-05-6726825d.pth").open("r+b") as file:
        file.seek(1000)
        file.write(b"rubbish")
    code, _, error = apfgan("score", "--run", trained, "--epochs", "2")
    assert code == 4 and "pt_inception-2015-12-05-6726825d.pth" in error


def test_a_signal_that_a_library_makes_another_error_of_is_still_one(monkeypatch):
    """As when torch is interrupted while it is imported: Python wraps what a descriptor raises."""
    import cli
    from commands.stopping import stop

    class Interrupted:
        def __set_name__(self, owner: type, name: str) -> None:
            stop(signal.SIGTERM, None)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(cli, "app", lambda **_: type("Imported", (), {"attribute": Interrupted()}))
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert left.value.code == 143


def test_scoring_twice_computes_nothing_and_says_so(apfgan, data, trained, monkeypatch):
    assert apfgan("score", "--run", trained, "--data", data, "--epochs", "3,4")[0] == 0
    ledger = (trained / "measurements.jsonl").read_bytes()
    monkeypatch.setattr("selection.sources.load_painter", None)  # drawing would fail
    code, _, error = apfgan("score", "--run", trained, "--epochs", "3-4")
    assert code == 0 and "nothing to measure: the ledger holds all 2 already" in error
    assert (trained / "measurements.jsonl").read_bytes() == ledger


def test_the_ranking_is_of_what_was_asked_last(apfgan, data, trained):
    def shown(*arguments: object) -> dict[str, float]:
        code, text, error = apfgan(*arguments, "--run", trained, "--json")
        assert code == 0, error
        return {place["candidate"]: place["metrics"]["aesthetic"]["value"] for place in json.loads(text)["places"]}

    whole = shown("score", "--data", data)
    look = shown("score", "--limit", "3", "--epochs", "3,4")
    assert set(look) == {"3", "4"} and look != {name: whole[name] for name in look}
    assert shown("rank") == look
    assert shown("score", "--epochs", "4") == whole == shown("rank")  # all of it is in the ledger: nothing was appended


def test_training_twice_trains_nothing(apfgan, data, trained):
    code, text, _ = apfgan("train", "--data", data, "--run", trained)
    assert code == 0 and "nothing to train" in text


def test_other_settings_are_refused_by_name(apfgan, data, trained, pico):
    code, _, error = apfgan("train", "--data", data, "--run", trained, "--config", pico, "--set", "train.batch=2")
    assert code == 2 and "train.batch: 4 -> 2" in error


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["score", "--run", "{run}", "--epochs", "3-9"], 2, "no checkpoint for 5-9; saved: 0-4"),
        (["score", "--run", "{run}", "--epochs", "4"], 2, "--labels DIR"),
        (["score", "--run", "{run}", "--data", "{data}", "--epochs", "4", "--judges", "standard"], 4, "apfgan weights"),
        (["score", "--run", "nowhere"], 2, "apfgan train"),
        (["score", "--run", "{run}", "--data", "{data}", "--board", "C"], 2, "known: A, B, jittor3"),
        (["score", "--run", "{run}", "--data", "{data}", "--board", "jittor3"], 2, "--style-similarity"),
        (["train", "--data", "{data}", "--run", "new", "--preset", "huge"], 2, "known: full, single-gpu-24g"),
        (["train", "--data", "{data}", "--run", "new", "--set", "train.batchs=3"], 2, "did you mean train.batch?"),
        (["train", "--data", "nowhere", "--run", "new", "--preset", "tiny"], 3, "nowhere"),
        (["merge", "--run", "{run}", "3", "9"], 2, "no checkpoint for 9; saved: 0-4"),
        (["merge", "--run", "{run}", "3", "4", "--weights", "0.5,0.6"], 2, "add up to 1"),
        (["merge-search", "--run", "{run}"], 2, "apfgan score"),
        (["rank", "--run", "{run}"], 2, "apfgan score"),
        (["rank"], 2, "--csv FILE"),
        (["rank", "--csv", "none.csv"], 3, "none.csv"),
        (["submit", "--run", "{run}", "--pick", "77"], 2, "no checkpoint for 77; saved: 0-4"),
        (["generate", "--run", "{run}", "--epochs", "4", "--labels", "nowhere", "--out", "o"], 3, "nowhere"),
        (["report", "--run", "nowhere"], 2, "apfgan train"),
        (["score", "--run", "{run}", "--epochs", "4", "--data", "{data}", "--device", "cuda:9"], 5, "--device cpu"),
    ],
)
def test_what_goes_wrong_is_said_with_its_cure(apfgan, data, trained, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-weights"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-hub"))
    given = [argument.format(run=trained, data=data) for argument in arguments]
    found, out, error = apfgan(*given)
    assert (found, message in error) == (code, True), error
    assert "Traceback" not in error and out == ""
    found, out, _ = apfgan(*given, "--json")
    assert json.loads(out)["exit_code"] == found == code


@pytest.mark.parametrize("fault", ["id 29", "missing photo", "truncated", "size"])
def test_bad_data_is_found_before_anything_is_computed(apfgan, data, trained, tmp_path, pico, fault):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(data, broken)
    photo, label_map = broken / "train/imgs/train_00003.jpg", broken / "train/labels/train_00003.png"
    expected = {"id 29": "29", "missing photo": "train_00003", "truncated": "train_00003.jpg", "size": "64x48"}[fault]
    if fault == "id 29":
        label_map.write_bytes(encode_png(np.full((48, 64), 29, dtype=np.uint16)))
    elif fault == "missing photo":
        photo.unlink()
    elif fault == "truncated":
        photo.write_bytes(photo.read_bytes()[:-200])
    else:
        photo.write_bytes(encode_jpeg(read_photo(photo)[:, :32], quality=90, subsampling="4:4:4"))
    for command in (["data", "check", broken], ["train", "--data", broken, "--run", tmp_path / "other", "--config", pico]):
        code, _, error = apfgan(*command)
        assert code == 3 and expected in error and "train_00003" in error
    assert not list((tmp_path / "other").rglob("*.safetensors"))


def test_a_bad_test_map_stops_score_before_the_first_image(apfgan, data, trained, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(data, broken)
    (broken / "test/labels/test_00002.png").write_bytes(encode_png(np.full((48, 64), 284, dtype=np.uint16)))
    code, _, error = apfgan("score", "--run", trained, "--data", broken)
    assert code == 3 and "test_00002.png" in error and "284" in error
    assert not (trained / "measurements.jsonl").exists()


def test_generate_writes_what_is_asked(apfgan, data, trained, tmp_path):
    for form in ("jpg", "png", "npy"):
        out = tmp_path / form
        assert apfgan("generate", "--run", trained, "--epochs", "4", "--labels", data / "test/labels", "--out", out, "--format", form)[0] == 0
        assert sorted(path.name for path in out.iterdir()) == [f"test_0000{index}.{form}" for index in range(6)]
    image = np.load(tmp_path / "npy" / "test_00001.npy")
    assert image.shape == (3, 48, 64) and image.dtype == np.float32 and np.abs(image).max() <= 1
    pixels = read_photo(tmp_path / "png" / "test_00001.png")
    np.testing.assert_array_equal(pixels, np.rint((image.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8))
    code, _, _ = apfgan("generate", "--run", trained, "--epochs", "3,avg_3_4", "--labels", data / "test/labels", "--out", tmp_path / "two")
    assert code == 0 and {path.name for path in (tmp_path / "two").iterdir()} == {"3", "avg_3_4"}


def test_merge_writes_the_mean_and_its_recipe(apfgan, trained):
    code, text, _ = apfgan("merge", "--run", trained, "3", "4", "--weights", "0.25,0.75", "--json")
    assert code == 0
    found = json.loads(text)
    manifest = json.loads(Path(found["path"]).with_suffix(".json").read_text())
    assert manifest["members"] == {"3": 0.25, "4": 0.75} and set(manifest["member_hashes"]) == {"3", "4"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_a_killed_training_goes_on_to_the_same_weights(data, pico, trained, tmp_path):
    run = tmp_path / "killed"
    arguments = command("train", "--data", data, "--run", run, "--config", pico, "--plan-seconds", 0, "--probe", 0)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (run / "checkpoints/epoch_0002.json").exists(), process)
        process.kill()
        process.communicate()
    assert "4" not in Run(run).checkpoint_names()
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "epoch   1" not in done.stderr  # nothing finished is done again
    for epoch in range(5):
        name = f"checkpoints/epoch_{epoch:04d}.safetensors"
        assert (run / name).read_bytes() == (trained / name).read_bytes(), epoch


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_score_keeps_what_it_had(apfgan, data, trained, number, code):
    assert apfgan("score", "--run", trained, "--data", data, "--epochs", "0")[0] == 0  # fits the judges
    ledger = trained / "measurements.jsonl"
    with subprocess.Popen(command("score", "--run", trained), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: len(ledger.read_bytes().splitlines()) >= 2, process)
        process.send_signal(number)
        _, error = process.communicate(timeout=20)
    before = ledger.read_bytes()
    if process.returncode != 0:  # it may have been quicker than the signal
        assert process.returncode == code and "goes on from there" in error
        assert not Run(trained).swept
    assert apfgan("score", "--run", trained)[0] == 0
    assert Run(trained).sweep == ("0", "1", "2", "3", "4") and Run(trained).swept
    after = ledger.read_bytes()
    assert after.startswith(before) and len(after.splitlines()) == 5


def test_two_writers_are_kept_apart(apfgan, data, trained):
    with Run(trained).lock():
        code, _, error = apfgan("score", "--run", trained, "--data", data)
    assert code == 5 and f"process {os.getpid()}" in error


def test_a_reader_who_leaves_is_no_error(trained):
    with subprocess.Popen(command("doctor"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
