import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, SegformerConfig, SegformerForSemanticSegmentation

from apfgan.errors import WeightsError
from apfgan.files import hash_file
from apfgan.labels import Classes
from metrics import standard
from metrics.inception import Inception
from metrics.judges import score
from metrics.standard import standard_judges

CLASSES = Classes(names=("sky", "sea", "other"))


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """Random weights for every standard judge, in the files' real formats; the pinned hash is that of the random Inception."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(Inception().state_dict(), tmp_path / "inception.pth")
        SegformerForSemanticSegmentation(
            SegformerConfig(
                depths=[1, 1, 1, 1],
                hidden_sizes=[8, 8, 16, 16],
                num_attention_heads=[1, 1, 2, 2],
                decoder_hidden_size=16,
                id2label={0: "sky", 1: "sea, ocean", 2: "bed"},
            )
        ).save_pretrained(tmp_path / "segformer")
        CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=32, projection_dim=8
            )
        ).save_pretrained(tmp_path / "clip")
        torch.save(torch.nn.Linear(8, 1).state_dict(), tmp_path / "head.pth")
    pinned = dataclasses.replace(standard.INCEPTION, sha256=hash_file(tmp_path / "inception.pth"))
    monkeypatch.setattr(standard, "INCEPTION", pinned)
    return tmp_path


def test_all_three_scores_from_images(weights: Path) -> None:
    judges = standard_judges(
        CLASSES,
        segformer=str(weights / "segformer"),
        clip=str(weights / "clip"),
        aesthetic_head=weights / "head.pth",
        inception=weights / "inception.pth",
    )
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    observed = judges.observe(images, random.integers(0, 3, (4, 48, 64), dtype=np.uint8))
    assert {name: (array.shape, array.dtype.name) for name, array in observed.items()} == {
        "confusion": ((4, 3, 3), "uint32"),
        "aesthetic": ((4,), "float64"),
        "features": ((4, 2048), "float32"),
    }
    reference = judges.features.fit_reference(judges.features.observe_photos(images))
    scores = score(observed, reference)
    assert tuple(scores) == judges.metrics == ("mask_accuracy", "aesthetic", "fid")
    assert scores["fid"].value == pytest.approx(0, abs=1e-6)  # the photos are the images
    assert judges.identity["judges"] == "standard"
    assert judges.identity["features"]["weights"] == hash_file(weights / "inception.pth")


def test_an_inception_of_another_hash_is_no_judge_of_fid(weights: Path) -> None:
    (weights / "inception.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"inception\.pth is not pt_inception"):
        standard_judges(
            CLASSES,
            segformer=str(weights / "segformer"),
            clip=str(weights / "clip"),
            aesthetic_head=weights / "head.pth",
            inception=weights / "inception.pth",
        )
