import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from apfgan.errors import DataError, WeightsError
from apfgan.files import hash_file
from metrics.aesthetic import AestheticHead, EmbeddingJudge
from metrics.vision_features import crop_square

REAL_HEAD = Path(__file__).parents[2] / "shared" / "weights" / "sac+logos+ava1-l14-linearMSE.pth"
DIMENSIONS = 24
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 32}
REAL = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 2, "num_attention_heads": 16, "patch_size": 14}
"""The geometry of ViT-L/14 with 2 of its 24 layers."""


def save_clip(folder: Path, shape: dict[str, int] = SMALL, *, dimensions: int = DIMENSIONS, activation: str = "quick_gelu") -> CLIPModel:
    """A whole random CLIP, text encoder included, as the hub has it."""
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 8}
    tokens = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    vision = {"image_size": 224, "projection_dim": dimensions, "hidden_act": activation, "attention_dropout": 0.5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CLIPModel(CLIPConfig(text_config=text | tokens, vision_config=shape | vision, projection_dim=dimensions)).eval()
    network.save_pretrained(folder)
    return network


def by_transformers(clip: CLIPModel, images: list[np.ndarray]) -> torch.Tensor:
    """What transformers' own preprocessing by Pillow and its own CLIP make of images of any sizes."""
    pixels = torch.cat([CLIPImageProcessorPil()(images=[image], return_tensors="pt")["pixel_values"] for image in images])
    with torch.no_grad():
        return clip.get_image_features(pixels).pooler_output


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


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def maps_for(images: np.ndarray) -> np.ndarray:
    return np.zeros(images.shape[:3], np.uint8)


@pytest.mark.parametrize("size", [(512, 384), (384, 512), (301, 300), (253, 224), (100, 333)])
def test_embeddings_equal_transformers(tmp_path, size) -> None:
    """Sizes at which transformers' crop is OpenAI's, too: see the test above."""
    image = noise(*size)
    clip = save_clip(tmp_path)
    embedding = EmbeddingJudge(tmp_path).observe(image[np.newaxis], maps_for(image[np.newaxis]))["embedding"]
    assert embedding.dtype == np.float32
    expected = by_transformers(clip, [image]).numpy()
    assert np.abs(embedding - expected).max() < 1e-6 * np.abs(expected).max()


def test_embeddings_equal_transformers_in_the_real_geometry(tmp_path) -> None:
    images = np.stack([noise(512, 384), noise(512, 384)[::-1]])
    clip = save_clip(tmp_path, REAL, dimensions=768)
    judge = EmbeddingJudge(tmp_path)
    assert judge.dimensions == 768
    expected = by_transformers(clip, list(images)).numpy()
    np.testing.assert_allclose(judge.observe(images, maps_for(images))["embedding"], expected, atol=1e-5 * np.abs(expected).max())


def test_scores_equal_the_recipe(tmp_path, images) -> None:
    """OpenAI's preprocessing by transformers, its CLIP, normalisation, and the layers of the head one by one."""
    clip, head = save_clip(tmp_path / "clip"), save_second_head(tmp_path / "head.pth")
    embeddings = by_transformers(clip, list(images))
    with torch.no_grad():
        expected = head(embeddings / embeddings.norm(dim=-1, keepdim=True))[:, 0].numpy()
    observed = EmbeddingJudge(tmp_path / "clip", batch=2).observe(images, maps_for(images))
    seen = AestheticHead.read(tmp_path / "head.pth").score(observed["embedding"])
    assert seen.dtype == np.float64
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_batches_order_and_neighbours_do_not_matter(tmp_path, images) -> None:
    save_clip(tmp_path)
    one, many = (EmbeddingJudge(tmp_path, batch=batch) for batch in (1, 8))
    expected = one.observe(images, maps_for(images))["embedding"]
    tolerance = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(many.observe(images, maps_for(images))["embedding"], expected, atol=tolerance)
    np.testing.assert_allclose(many.observe(images[::-1], maps_for(images))["embedding"][::-1], expected, atol=tolerance)
    np.testing.assert_allclose(many.observe(images[2:3], maps_for(images[2:3]))["embedding"], expected[2:3], atol=tolerance)
    assert one.identity == many.identity


def test_the_activation_comes_from_the_configuration(tmp_path, images) -> None:
    """OpenAI's CLIP has an approximate GELU; computing it exactly is another network."""
    quick, exact = save_clip(tmp_path / "quick"), save_clip(tmp_path / "exact", activation="gelu")
    embeddings = [EmbeddingJudge(tmp_path / name).observe(images, maps_for(images))["embedding"] for name in ("quick", "exact")]
    for clip, seen in zip((quick, exact), embeddings, strict=True):
        np.testing.assert_allclose(seen, by_transformers(clip, list(images)), atol=1e-6)
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-4


def test_a_file_in_half_precision_is_computed_with_in_full(tmp_path, images) -> None:
    clip = save_clip(tmp_path / "full").half()
    clip.save_pretrained(tmp_path / "half")
    embeddings = EmbeddingJudge(tmp_path / "half").observe(images, maps_for(images))["embedding"]
    np.testing.assert_allclose(embeddings, by_transformers(clip.float(), list(images)), atol=1e-6)


def test_the_length_of_an_embedding_does_not_matter(tmp_path) -> None:
    """Without the normalisation, lengths like CLIP's would spread the scores tenfold (spec: metrics, pitfall 24)."""
    save_second_head(tmp_path / "head.pth")
    head = AestheticHead.read(tmp_path / "head.pth")
    embeddings = np.random.default_rng(0).normal(size=(100, DIMENSIONS))
    embeddings *= 10 / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = head.score(embeddings)
    np.testing.assert_allclose(head.score(embeddings * np.geomspace(1e-3, 1e3, 100)[:, np.newaxis]), scores, atol=1e-12)
    unnormalised = embeddings @ head.weight + head.bias
    assert unnormalised.std() == pytest.approx(10 * scores.std())


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_embedding_without_a_direction_is_named(tmp_path, value: float) -> None:
    save_second_head(tmp_path / "head.pth")
    embeddings = np.ones((4, DIMENSIONS), np.float32)
    embeddings[2] = value
    with pytest.raises(DataError, match="image 2"):
        AestheticHead.read(tmp_path / "head.pth").score(embeddings)


def test_identities_tell_what_is_seen_from_how_it_is_scored(tmp_path) -> None:
    save_clip(tmp_path / "clip")
    save_second_head(tmp_path / "head.pth")
    embedding = EmbeddingJudge(tmp_path / "clip").identity
    assert embedding["weights"] == hash_file(tmp_path / "clip" / "model.safetensors")
    assert embedding["config"] == hash_file(tmp_path / "clip" / "config.json")
    assert (embedding["square"], embedding["side"]) == ("crop_square", 224)
    head = hash_file(tmp_path / "head.pth")
    assert AestheticHead.read(tmp_path / "head.pth").identity["weights"] == head
    assert head not in str(embedding)


def test_a_head_for_another_clip_is_refused(tmp_path) -> None:
    save_clip(tmp_path / "clip")
    save_second_head(tmp_path / "head.pth", dimensions=12)
    head = AestheticHead.read(tmp_path / "head.pth")
    with pytest.raises(WeightsError, match=r"12 numbers.*makes 24"):
        head.require(EmbeddingJudge(tmp_path / "clip").dimensions)
    with pytest.raises(WeightsError, match=r"12 numbers.*makes 24"):
        head.score(np.ones((2, DIMENSIONS)))
