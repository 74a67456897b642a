import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model, SegformerConfig, SegformerForSemanticSegmentation

from apfgan.errors import WeightsError
from apfgan.files import WEIGHTS_VARIABLE, hash_file
from apfgan.labels import Classes
from metrics import standard
from metrics.judges import Judges
from metrics.standard import standard_judges
from metrics.vision_features import FD_CLIP, FD_DINOV2

CLASSES = Classes(names=("sky", "sea", "other"))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch, inception_weights: Path, clean_inception_weights: Path) -> Path:
    """Random weights for every standard judge, in the files' real formats and places; the pinned hashes are theirs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        SegformerForSemanticSegmentation(
            SegformerConfig(
                depths=[1, 1, 1, 1],
                hidden_sizes=[8, 8, 16, 16],
                num_attention_heads=[1, 1, 2, 2],
                decoder_hidden_size=16,
                id2label={0: "sky", 1: "sea, ocean", 2: "bed"},
            )
        ).save_pretrained(tmp_path / standard.SEGFORMER.repository.rpartition("/")[2])
        for entry, side in ((standard.CLIP, 224), (standard.CLIP_336, 336)):
            CLIPVisionModelWithProjection(
                CLIPVisionConfig(
                    hidden_size=32,
                    intermediate_size=48,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    image_size=side,
                    patch_size=56,
                    projection_dim=8,
                )
            ).save_pretrained(tmp_path / entry.repository.rpartition("/")[2])
        Dinov2Model(Dinov2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=56)).save_pretrained(
            tmp_path / standard.DINOV2.repository.rpartition("/")[2]
        )
        torch.save(torch.nn.Linear(8, 1).state_dict(), tmp_path / standard.AESTHETIC_HEAD.file)
    for name, source in (("INCEPTION", inception_weights), ("INCEPTION_TORCHSCRIPT", clean_inception_weights), ("AESTHETIC_HEAD", None)):
        place = tmp_path / getattr(standard, name).file
        if source is not None:
            shutil.copyfile(source, place)
        monkeypatch.setattr(standard, name, dataclasses.replace(getattr(standard, name), sha256=hash_file(place), size=place.stat().st_size))
    for name in ("CLIP", "CLIP_336", "DINOV2", "SEGFORMER"):
        monkeypatch.setattr(standard, name, dataclasses.replace(getattr(standard, name), pins={}))
    networks = {"dinov2": (standard.DINOV2, FD_DINOV2), "clip": (standard.CLIP_336, FD_CLIP)}
    monkeypatch.setattr(standard, "_NETWORKS", networks)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    return tmp_path


def score(judges: Judges) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    observed = judges.observe(images, random.integers(0, 3, (6, 48, 64), dtype=np.uint8)).observations
    references = [judge.fit_reference(judge.observe_photos(list(images))) for judge in judges.feature_judges]
    return observed, {name: each.value for name, each in judges.measure(observed, references).items()}


def test_all_scores_from_images(weights: Path) -> None:
    judges = standard_judges(CLASSES, checks=("dinov2", "clip"))
    observed, scores = score(judges)
    assert {name: (array.shape, array.dtype.name) for name, array in observed.items()} == {
        "confusion": ((6, 3, 3), "uint32"),
        "embedding": ((6, 8), "float32"),
        "features": ((6, 2048), "float32"),
        "features_fd-dinov2": ((6, 24), "float32"),
        "features_fd-clip": ((6, 8), "float32"),
    }
    assert list(scores)[:3] == ["mask_accuracy", "aesthetic", "fid"]
    assert {"mean_iou", "kid", "precision", "recall", "fd-dinov2", "kid-dinov2", "fd-clip"} <= scores.keys()
    for distance in ("fid", "fd-dinov2", "fd-clip"):
        assert scores[distance] == pytest.approx(0, abs=1e-6)  # the photos are the images
    assert judges.identity["judges"] == "standard"
    assert judges.identity["features"]["weights"] == standard.INCEPTION.sha256
    assert judges.identity["head"]["weights"] == hash_file(weights / standard.AESTHETIC_HEAD.file)


def test_whose_fid_is_part_of_its_name(weights: Path) -> None:
    judges = standard_judges(CLASSES, fid="clean")
    assert judges.identity["features"]["name"] == "fid/clean"
    assert list(score(judges)[1])[2] == "fid-clean"
    assert judges.identity != standard_judges(CLASSES).identity


def test_an_inception_of_another_hash_is_no_judge_of_fid(weights: Path) -> None:
    place = weights / standard.INCEPTION.file
    place.write_bytes(place.read_bytes()[:-1] + b"?")
    with pytest.raises(WeightsError, match=rf"{standard.INCEPTION.file} is not"):
        standard_judges(CLASSES)


def test_everything_that_is_missing_is_told_at_once(monkeypatch, tmp_path) -> None:
    for variable in (WEIGHTS_VARIABLE, "TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(WeightsError) as raised:
        standard_judges(CLASSES, checks=("dinov2",))
    told = str(raised.value)
    assert [told.count(f"apfgan weights fetch {name}") for name in ("inception", "segformer", "clip", "aesthetic", "dinov2")] == [1, 1, 1, 1, 1]
    assert "--judges embedded" in told
