import numpy as np
import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from apfgan.errors import WeightsError
from apfgan.labels import LANDSCAPE_CLASSES, Classes
from metrics.segformer import SegformerJudge, translate

ADE_STYLE = ["wall", "building, edifice", "sky", "sea", "boat;ship", "door"]


def save_segformer(folder, names, *, seed: int = 0):
    """A small random SegFormer whose classes are `names`; random enough to see all of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = SegformerConfig(
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 8, 16, 16],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=16,
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
        )
        network = SegformerForSemanticSegmentation(config).eval()
        torch.nn.init.normal_(network.decode_head.classifier.weight, std=2)
    network.save_pretrained(folder)
    return network


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, 45, 64, 3), dtype=np.uint8)


def by_transformers(network, images: np.ndarray) -> np.ndarray:
    """What transformers' own processor makes of the images, without resizing."""
    processor = SegformerImageProcessor(do_resize=False)
    inputs = processor(images=list(images), return_tensors="pt")
    with torch.no_grad():
        output = network(**inputs)
    return np.stack([each.numpy() for each in processor.post_process_semantic_segmentation(output, target_sizes=[images.shape[1:3]] * len(images))])


def test_equals_transformers_own_post_processing(tmp_path, images) -> None:
    names = [f"class {index}" for index in range(7)]
    network = save_segformer(tmp_path, names)
    judge = SegformerJudge(tmp_path, Classes(names=tuple(names)), batch=2)
    expected = by_transformers(network, images)
    assert len(np.unique(expected)) > 3  # else this would show nothing
    assert (judge.predict(images) == expected).mean() > 0.9999


def test_confusion_of_its_own_prediction_is_diagonal(tmp_path, images) -> None:
    names = ("a", "b", "c")
    save_segformer(tmp_path, names)
    judge = SegformerJudge(tmp_path, Classes(names=names, ignore=255), batch=2)
    given = judge.predict(images)
    given[0, :10] = 255
    confusion = judge.observe(images, given)["confusion"]
    assert confusion.shape == (5, 3, 3)
    assert (confusion.sum(axis=(1, 2)) == [35 * 64] + [45 * 64] * 4).all()
    assert (np.trace(confusion, axis1=1, axis2=2) == confusion.sum(axis=(1, 2))).all()


def test_batches_do_not_matter(tmp_path, images) -> None:
    names = ("a", "b", "c")
    save_segformer(tmp_path, names)
    maps = np.zeros(images.shape[:3], np.uint8)
    one, four = (SegformerJudge(tmp_path, Classes(names=names), batch=batch).observe(images, maps)["confusion"] for batch in (1, 4))
    assert np.abs(one.astype(int) - four.astype(int)).max() <= 1
    assert SegformerJudge(tmp_path, Classes(names=names), batch=1).identity == SegformerJudge(tmp_path, Classes(names=names), batch=4).identity


def test_a_foreign_judge_is_translated_by_first_names(tmp_path, images) -> None:
    classes = Classes(names=("sky", "building", "boat", "other"))
    network = save_segformer(tmp_path, ADE_STYLE)
    judge = SegformerJudge(tmp_path, classes)
    # wall, building, sky, sea, boat, door
    table = np.array([3, 1, 0, 3, 2, 3])
    assert (judge.predict(images) == table[by_transformers(network, images)]).mean() > 0.9999
    assert judge.identity["translation"] == table.tolist()


def test_the_landscape_classes_are_found_among_ade20k_names() -> None:
    """Every landscape class but "other" is the first name of an ADE20K class; the rest becomes "other" (spec: data)."""
    foreign = [f"{name}, synonym" for name in LANDSCAPE_CLASSES[:-1]] + ["bed", "cabinet"]
    assert translate(foreign, Classes()).tolist() == [*range(28), 28, 28]


def test_the_own_classes_are_used_as_they_are() -> None:
    assert translate(list(LANDSCAPE_CLASSES), Classes()).tolist() == list(range(29))


def test_classes_that_the_judge_cannot_see_are_listed() -> None:
    with pytest.raises(WeightsError, match=r"cannot see river, lake"):
        translate(ADE_STYLE, Classes(names=("sky", "river", "lake", "other")))


def test_without_other_the_surplus_is_listed() -> None:
    with pytest.raises(WeightsError, match=r"wall, sea, door.*no class \"other\""):
        translate(ADE_STYLE, Classes(names=("sky", "building", "boat")))


def test_identity_follows_weights_and_classes(tmp_path) -> None:
    save_segformer(tmp_path / "one", ("a", "b"))
    save_segformer(tmp_path / "copy", ("a", "b"))
    save_segformer(tmp_path / "other", ("a", "b"), seed=1)
    one, copy, other = (SegformerJudge(tmp_path / name, Classes(names=("a", "b"))).identity for name in ("one", "copy", "other"))
    assert one == copy
    assert one["weights"] != other["weights"]


def test_a_backbone_without_a_head_is_refused(tmp_path) -> None:
    save_segformer(tmp_path, ("a", "b")).segformer.save_pretrained(tmp_path / "backbone")
    with pytest.raises(WeightsError, match=r"lacks weights.*decode_head"):
        SegformerJudge(tmp_path / "backbone", Classes(names=("a", "b")))


@pytest.mark.parametrize("damage", ["cut", "no config", "empty folder"])
def test_a_damaged_folder_is_named(tmp_path, damage: str) -> None:
    folder = tmp_path / "judge"
    folder.mkdir()
    if damage != "empty folder":
        save_segformer(folder, ("a", "b"))
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    if damage == "no config":
        (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="judge"):
        SegformerJudge(folder, Classes(names=("a", "b")))
