from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model, PreTrainedModel

from apfgan.errors import WeightsError
from apfgan.files import hash_file
from metrics.inference import exact_inference
from metrics.reference import Reference
from metrics.vision_features import CLIP_EMBEDDING, FD_CLIP, FD_DINOV2, Recipe, VisionJudge, crop_square, squash

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def save_dinov2(folder: Path, *, image_size: int = 224) -> Dinov2Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Dinov2Config(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            mlp_ratio=2,
            image_size=image_size,
            patch_size=14,
            drop_path_rate=0.5,
            hidden_dropout_prob=0.5,
        )
        network = Dinov2Model(config).eval()
    network.save_pretrained(folder)
    return network


def save_clip(folder: Path, *, image_size: int = 336) -> CLIPVisionModelWithProjection:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=image_size,
                patch_size=28,
                projection_dim=20,
                attention_dropout=0.5,
            )
        ).eval()
    network.save_pretrained(folder)
    return network


def save(recipe: Recipe, folder: Path) -> PreTrainedModel:
    return save_dinov2(folder) if recipe is FD_DINOV2 else save_clip(folder)


def pixels(image: np.ndarray, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The recipe in words: Pillow's bicubic filter straight to a square of 8-bit values, then /255, mean and deviation."""
    square = np.asarray(Image.fromarray(image).resize((side, side), Image.BICUBIC)).astype(np.float32) / 255
    return torch.from_numpy((square - np.array(mean, np.float32)) / np.array(std, np.float32)).permute(2, 0, 1)[None]


def agree(actual: np.ndarray, expected: np.ndarray, tolerance: float = 1e-6) -> None:
    """Within `tolerance` of the largest feature."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture
def photos() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    sizes = [(512, 384), (384, 512), (301, 300), (64, 48), (225, 224), (100, 333), (224, 224), (512, 384), (7, 9)]
    return [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in sizes]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (11, 48, 64, 3), dtype=np.uint8)


def test_dinov2_equals_transformers_on_squashed_photos(tmp_path, photos) -> None:
    network = save_dinov2(tmp_path)
    with torch.no_grad():
        expected = torch.cat([network(pixels(photo, 224, *IMAGENET)).last_hidden_state[:, 0] for photo in photos]).numpy()
    features = VisionJudge(tmp_path, FD_DINOV2).observe_photos(photos)
    assert features.dtype == np.float32
    agree(features, expected)


def test_clip_equals_transformers_on_squashed_photos(tmp_path, photos) -> None:
    network = save_clip(tmp_path)
    with torch.no_grad():
        expected = torch.cat([network(pixels(photo, 336, *OPENAI)).image_embeds for photo in photos]).numpy()
    agree(VisionJudge(tmp_path, FD_CLIP).observe_photos(photos), expected)


def stretch(square: np.ndarray, *, to: int) -> np.ndarray:
    """What DINOv2's own code makes of a square (n, n, D) of positions: a cubic through 4x4 of them (a = -0.75), repeated beyond the border,
    every n / (to + 0.1), from the centre of the first."""
    size = len(square)
    centres = (np.arange(to) + 0.5) * size / (to + 0.1) - 0.5
    matrix = np.zeros((to, size))
    for row, centre in enumerate(centres):
        for place in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            x, a = abs(centre - place), -0.75
            weight = ((a + 2) * x - (a + 3)) * x * x + 1 if x <= 1 else a * (((x - 5) * x + 8) * x - 4)
            matrix[row, min(max(place, 0), size - 1)] += weight
    return np.einsum("ai,bj,ijd->abd", matrix, matrix, square)


def test_dinov2_takes_its_positions_as_its_authors_do(tmp_path, photos) -> None:
    """The published network has 37x37 positions, for 518 pixels. transformers brings them to 16x16 in a slightly other way."""
    network = save_dinov2(tmp_path, image_size=518)
    judge = VisionJudge(tmp_path, FD_DINOV2)
    with torch.no_grad():
        as_transformers = torch.cat([network(pixels(photo, 224, *IMAGENET)).pooler_output for photo in photos]).numpy()
        table = network.embeddings.position_embeddings
        square = stretch(table[0, 1:].double().numpy().reshape(37, 37, -1), to=16)
        table.set_(torch.cat([table[0, :1], torch.from_numpy(square).float().flatten(0, 1)])[None])
        expected = torch.cat([network(pixels(photo, 224, *IMAGENET)).pooler_output for photo in photos]).numpy()
    features = judge.observe_photos(photos)
    agree(features, expected, 1e-5)
    assert np.abs(features - as_transformers).max() > 1e-3


@pytest.mark.parametrize("recipe", [FD_DINOV2, FD_CLIP], ids=lambda recipe: recipe.name)
def test_batches_order_and_shards_do_not_matter(tmp_path, images, recipe: Recipe) -> None:
    save(recipe, tmp_path)
    maps = np.zeros(images.shape[:3], np.uint8)
    one, many = (VisionJudge(tmp_path, recipe, batch=batch) for batch in (1, 8))
    expected = one.observe(images, maps)["features"]
    together = many.observe(images, maps)["features"]
    agree(together, expected)
    agree(many.observe(images[::-1], maps)["features"][::-1], expected)
    shards = [many.observe(images[rows], maps[rows])["features"] for rows in (slice(0, 3), slice(3, 4), slice(4, 11))]
    agree(np.concatenate(shards), expected)
    assert (shards[0] == together[:3]).all()  # at the same place of a batch: the same bits, whoever else is in it
    assert one.identity == many.identity


@pytest.mark.parametrize("recipe", [FD_DINOV2, FD_CLIP], ids=lambda recipe: recipe.name)
def test_generated_images_and_photos_are_seen_alike(tmp_path, images, recipe: Recipe) -> None:
    save(recipe, tmp_path)
    judge = VisionJudge(tmp_path, recipe)
    assert (judge.observe(images, np.zeros(images.shape[:3], np.uint8))["features"] == judge.observe_photos(list(images))).all()


@pytest.mark.parametrize("recipe", [FD_DINOV2, FD_CLIP], ids=lambda recipe: recipe.name)
def test_the_distance_has_the_recipes_name(tmp_path, images, recipe: Recipe) -> None:
    save(recipe, tmp_path)
    judge = VisionJudge(tmp_path, recipe)
    features = judge.observe_photos(list(images))
    reference = judge.fit_reference(features)
    assert isinstance(reference, Reference)
    assert reference.distance == judge.distance == judge.identity["name"] == recipe.name
    assert reference.measure(features)[recipe.name].value == pytest.approx(0, abs=1e-4 * reference.gaussian.trace)
    assert reference.measure(255 - features)[recipe.name].value > reference.gaussian.trace


def test_a_stretched_image_is_not_a_cropped_one(photos) -> None:
    """What transformers' own processors would make of a photo that is not square, and dgm-eval does not."""
    wide = photos[0]
    assert np.abs(squash(wide, 224).astype(int) - crop_square(wide, 224)).mean() > 10


def test_identity_follows_the_files_and_names_the_geometry(tmp_path) -> None:
    save_dinov2(tmp_path / "dinov2")
    save_clip(tmp_path / "clip")
    dinov2, clip = VisionJudge(tmp_path / "dinov2", FD_DINOV2).identity, VisionJudge(tmp_path / "clip", FD_CLIP).identity
    assert dinov2 == {
        "name": "fd-dinov2",
        "version": 1,
        "weights": hash_file(tmp_path / "dinov2" / "model.safetensors"),
        "config": hash_file(tmp_path / "dinov2" / "config.json"),
        "resize": "pil-bicubic",
        "square": "squash",
        "side": 224,
        "output": "pooler_output",
    }
    assert (clip["name"], clip["square"], clip["side"], clip["output"]) == ("fd-clip", "squash", 336, "image_embeds")
    assert (CLIP_EMBEDDING.square, CLIP_EMBEDDING.side) == (crop_square, 224)


def test_the_other_clip_is_refused(tmp_path) -> None:
    save_clip(tmp_path, image_size=224)
    with pytest.raises(WeightsError, match=r"made for images of 224 pixels, and 336 are wanted"):
        VisionJudge(tmp_path, FD_CLIP)


def test_another_kind_of_network_is_refused(tmp_path) -> None:
    save_clip(tmp_path / "clip")
    save_dinov2(tmp_path / "dinov2")
    with pytest.raises(WeightsError, match=r"clip holds a clip_vision_model.*Dinov2Model"):
        VisionJudge(tmp_path / "clip", FD_DINOV2)
    with pytest.raises(WeightsError, match=r"dinov2 holds a dinov2.*CLIPVisionModelWithProjection"):
        VisionJudge(tmp_path / "dinov2", FD_CLIP)


def test_full_precision_whatever_the_process_has_chosen() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        with exact_inference():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
