import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from apfgan.errors import WeightsError
from apfgan.files import hash_file
from metrics.aesthetic import AestheticHead, AestheticJudge, crop_square

REAL_HEAD = Path(__file__).parents[2] / "shared" / "weights" / "sac+logos+ava1-l14-linearMSE.pth"
DIMENSIONS = 24


def save_clip(folder: Path) -> CLIPVisionModelWithProjection:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=224,
                patch_size=32,
                projection_dim=DIMENSIONS,
            )
        ).eval()
    network.save_pretrained(folder)
    return network


def layers(sizes: list[int], *, seed: int = 0) -> torch.nn.Sequential:
    """LAION's second head with other widths: linear layers and dropout, no activation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: list[torch.nn.Module] = []
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            parts.append(torch.nn.Linear(inputs, outputs))
            if index < 3:
                parts.append(torch.nn.Dropout(0.2))
        return torch.nn.Sequential(*parts).eval()


def save_second_head(path: Path, dimensions: int = DIMENSIONS) -> torch.nn.Sequential:
    network = layers([dimensions, 32, 16, 8, 4, 1])
    torch.save({f"layers.{name}": tensor for name, tensor in network.state_dict().items()}, path)
    return network


@pytest.fixture
def images() -> np.ndarray:
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(each).resize((128, 96), Image.Resampling.BICUBIC)) for each in coarse])


def test_the_second_head_collapses_to_the_same_numbers(tmp_path) -> None:
    network = save_second_head(tmp_path / "head.pth")
    embeddings = np.random.default_rng(0).normal(size=(50, DIMENSIONS)).astype(np.float32) * 7
    head = AestheticHead.read(tmp_path / "head.pth")
    with torch.no_grad():
        expected = network(torch.nn.functional.normalize(torch.from_numpy(embeddings), dim=1))[:, 0].numpy()
    np.testing.assert_allclose(head.score(embeddings), expected, atol=1e-6)


def test_the_real_head_collapses_to_the_same_numbers() -> None:
    if not REAL_HEAD.exists():
        pytest.skip("the real aesthetic head is not here")
    network = layers([768, 1024, 128, 64, 16, 1])
    state = torch.load(REAL_HEAD, map_location="cpu", weights_only=True)
    network.load_state_dict({name.removeprefix("layers."): tensor for name, tensor in state.items()})
    embeddings = np.random.default_rng(0).normal(size=(200, 768)).astype(np.float32)
    head = AestheticHead.read(REAL_HEAD)
    with torch.no_grad():
        expected = network(torch.nn.functional.normalize(torch.from_numpy(embeddings), dim=1))[:, 0].numpy()
    np.testing.assert_allclose(head.score(embeddings), expected, atol=5e-6)
    assert np.linalg.norm(head.weight) == pytest.approx(18.0, abs=0.05)
    assert head.bias == pytest.approx(5.2367, abs=1e-4)


def test_the_first_head_is_one_layer(tmp_path) -> None:
    layer = torch.nn.Linear(DIMENSIONS, 1)
    torch.save(layer.state_dict(), tmp_path / "linear.pth")
    embedding = np.eye(DIMENSIONS)[:3]
    expected = layer.weight.detach().numpy()[0, :3] + layer.bias.detach().numpy()
    np.testing.assert_allclose(AestheticHead.read(tmp_path / "linear.pth").score(embedding), expected, rtol=1e-6)


def test_the_head_with_activations_is_refused(tmp_path) -> None:
    """Its layers are 0, 3, 6, 9 and 11: collapsing them would be wrong without a word."""
    state = {f"layers.{index}.{kind}": torch.zeros(1, 1) for index in (0, 3, 6, 9, 11) for kind in ("weight", "bias")}
    torch.save(state, tmp_path / "relu.pth")
    with pytest.raises(WeightsError, match=r"relu\.pth.*not the reluMSE one"):
        AestheticHead.read(tmp_path / "relu.pth")


def test_a_head_that_makes_no_single_number_is_refused(tmp_path) -> None:
    torch.save(torch.nn.Linear(8, 2).state_dict(), tmp_path / "two.pth")
    with pytest.raises(WeightsError, match=r"two\.pth is no aesthetic head"):
        AestheticHead.read(tmp_path / "two.pth")


@pytest.mark.parametrize("size", [(512, 384), (384, 512), (128, 96), (301, 300), (640, 427), (225, 224), (224, 224), (100, 333)])
def test_geometry_equals_openais(size) -> None:
    """OpenAI's CLIP resizes and crops by torchvision; transformers' processor crops one pixel further left where the rest is odd."""
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    recipe = transforms.Compose([transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)])
    assert (crop_square(image, 224) == np.asarray(recipe(Image.fromarray(image)))).all()


def test_scores_equal_the_recipe(tmp_path, images) -> None:
    """OpenAI's preprocessing by transformers, its CLIP, normalisation, and the layers of the head one by one."""
    clip, head = save_clip(tmp_path / "clip"), save_second_head(tmp_path / "head.pth")
    pixels = CLIPImageProcessorPil()(images=list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        embeddings = clip(pixels).image_embeds
        expected = head(embeddings / embeddings.norm(dim=-1, keepdim=True))[:, 0].numpy()
    judge = AestheticJudge(tmp_path / "clip", tmp_path / "head.pth", batch=2)
    seen = judge.observe(images, np.zeros(images.shape[:3], np.uint8))["aesthetic"]
    assert seen.dtype == np.float64
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_batches_do_not_matter(tmp_path, images) -> None:
    save_clip(tmp_path / "clip")
    save_second_head(tmp_path / "head.pth")
    maps = np.zeros(images.shape[:3], np.uint8)
    one, many = (AestheticJudge(tmp_path / "clip", tmp_path / "head.pth", batch=batch) for batch in (1, 8))
    np.testing.assert_allclose(one.observe(images, maps)["aesthetic"], many.observe(images, maps)["aesthetic"], atol=1e-5)
    assert one.identity == many.identity


def test_identity_names_both_files(tmp_path) -> None:
    save_clip(tmp_path / "clip")
    save_second_head(tmp_path / "head.pth")
    identity = AestheticJudge(tmp_path / "clip", tmp_path / "head.pth").identity
    assert identity["head"] == hash_file(tmp_path / "head.pth")
    assert identity["clip_weights"] == hash_file(tmp_path / "clip" / "model.safetensors")


def test_a_head_for_another_clip_is_refused(tmp_path) -> None:
    save_clip(tmp_path / "clip")
    save_second_head(tmp_path / "head.pth", dimensions=12)
    with pytest.raises(WeightsError, match=r"12 numbers.*makes 24"):
        AestheticJudge(tmp_path / "clip", tmp_path / "head.pth")
