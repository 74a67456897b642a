import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from apfgan.errors import DataError, WeightsError
from apfgan.files import hash_file
from apfgan.labels import LANDSCAPE_CLASSES, Classes
from metrics.segformer import Geometry, SegformerJudge, short_512, translate

ADE_STYLE = ["wall", "building, edifice", "sky", "sea", "boat;ship", "door"]

ADE20K = {
    0: "wall", 1: "building, edifice", 2: "sky", 4: "tree", 6: "road, route", 9: "grass", 12: "person, individual, someone, somebody, mortal, soul",
    13: "earth, ground", 16: "mountain, mount", 17: "plant, flora, plant life", 21: "water", 25: "house", 26: "sea", 29: "field",
    32: "fence, fencing", 34: "rock, stone", 38: "railing, rail", 46: "sand", 52: "path", 60: "river", 61: "bridge, span", 68: "hill", 76: "boat",
    94: "land, ground, soil", 103: "ship", 113: "waterfall, falls", 128: "lake", 140: "pier, wharf, wharfage, dock",
}  # fmt: skip
"""Where the landscape classes stand among the 150 of ADE20K, and what they are called there."""


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
    """Soft shapes with some noise, 64x45: neither smooth nor random alone shows everything."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (5, 5, 8, 3), dtype=np.uint8)
    soft = np.stack([np.asarray(Image.fromarray(each).resize((64, 45), Image.BICUBIC)) for each in coarse]).astype(int)
    return (soft + random.integers(-40, 40, soft.shape)).clip(0, 255).astype(np.uint8)


def by_transformers(network, images: np.ndarray, processor=None) -> np.ndarray:
    """What transformers' own processor makes of the images, without resizing unless it is another one."""
    processor = processor or SegformerImageProcessor(do_resize=False)
    inputs = processor(images=list(images), return_tensors="pt")
    with torch.no_grad():
        output = network(**inputs)
    return np.stack([each.numpy() for each in processor.post_process_semantic_segmentation(output, target_sizes=[images.shape[1:3]] * len(images))])


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Share of equal pixels."""
    return float((one == other).mean())


def some_names(count: int) -> tuple[str, ...]:
    return tuple(f"thing {index}" for index in range(count))


def test_native_equals_transformers(tmp_path, images) -> None:
    names = some_names(7)
    network = save_segformer(tmp_path, names)
    seen = SegformerJudge(tmp_path, Classes(names=names), batch=2).predict(images)
    expected = by_transformers(network, images)
    assert len(np.unique(expected)) > 3  # else this would show nothing
    assert agreement(seen, expected) >= 1 - 1e-4  # two classes may tie to the last bit of float32


@pytest.mark.parametrize("processor", [SegformerImageProcessorPil, SegformerImageProcessor], ids=["on Pillow", "on torchvision"])
def test_squash_equals_transformers_default(tmp_path, images, processor) -> None:
    names = some_names(7)
    network = save_segformer(tmp_path, names)
    seen = SegformerJudge(tmp_path, Classes(names=names), geometry="squash-512", batch=2).predict(images)
    assert agreement(seen, by_transformers(network, images, processor())) >= 1 - 1e-4


def test_short_side_equals_mmsegmentations_pipeline(tmp_path, images) -> None:
    """Bilinear without antialiasing to the size kept in ratio, and back by way of that size."""
    names = some_names(7)
    network = save_segformer(tmp_path, names)
    seen = SegformerJudge(tmp_path, Classes(names=names), geometry="short-512", batch=2).predict(images)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    shown = functional.interpolate(pixels, (512, 728), mode="bilinear").round()
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    with torch.no_grad():
        logits = network((shown - mean) / deviation).logits
    there = functional.interpolate(logits, (512, 728), mode="bilinear")
    expected = functional.interpolate(there, images.shape[1:3], mode="bilinear").argmax(1).numpy()
    assert agreement(seen, expected) >= 1 - 1e-4
    directly = functional.interpolate(logits, images.shape[1:3], mode="bilinear").argmax(1).numpy()
    assert agreement(seen, directly) < 1 - 1e-3


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((384, 512), (512, 683)), ((512, 384), (683, 512)), ((512, 512), (512, 512)), ((100, 800), (256, 2048)), ((45, 64), (512, 728))],
)
def test_the_short_side_is_512_unless_the_long_one_gets_too_long(shape, expected) -> None:
    assert short_512(*shape) == expected


def test_geometries_see_otherwise_and_say_so(tmp_path, images) -> None:
    names = some_names(7)
    save_segformer(tmp_path, names)
    geometries: tuple[Geometry, ...] = ("native", "squash-512", "short-512")
    judges = [SegformerJudge(tmp_path, Classes(names=names), geometry=geometry) for geometry in geometries]
    native, squash, short = (judge.predict(images) for judge in judges)
    assert max(agreement(native, squash), agreement(native, short), agreement(squash, short)) < 0.98
    assert [judge.identity["geometry"] for judge in judges] == list(geometries)
    assert SegformerJudge(tmp_path, Classes(names=names)).identity == judges[0].identity


def test_reduced_labels_of_a_processor_do_not_matter(tmp_path, images) -> None:
    """Networks for ADE20K come with a processor that moves label ids down by one. It is never asked."""
    names = some_names(4)
    save_segformer(tmp_path, names)
    judge = SegformerJudge(tmp_path, Classes(names=names))
    given = judge.predict(images)
    SegformerImageProcessor(do_reduce_labels=True).save_pretrained(tmp_path)
    again = SegformerJudge(tmp_path, Classes(names=names))
    assert again.identity == judge.identity
    confusion = again.observe(images, given)["confusion"]
    assert (np.trace(confusion, axis1=1, axis2=2) == 45 * 64).all()


@pytest.mark.parametrize("wrong", [3, 254, -1])
def test_a_label_beyond_the_classes_is_refused(tmp_path, images, wrong: int) -> None:
    """Ids shifted by one, or 255 that nobody declared, must not be counted as something."""
    save_segformer(tmp_path, some_names(3))
    maps = np.zeros(images.shape[:3], np.int16)
    maps[3, 0, 0] = wrong
    with pytest.raises(DataError, match=rf"label map 3 .* holds class {wrong}; classes are 0 to 2"):
        SegformerJudge(tmp_path, Classes(names=some_names(3), ignore=255)).observe(images, maps)


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


@pytest.mark.parametrize("geometry", ["native", "squash-512"])
def test_batches_order_and_shards_do_not_matter(tmp_path, images, geometry: Geometry) -> None:
    names = ("a", "b", "c")
    save_segformer(tmp_path, names)
    one, four = (SegformerJudge(tmp_path, Classes(names=names), geometry=geometry, batch=batch) for batch in (1, 4))
    expected = one.predict(images)
    for seen in (
        four.predict(images),
        four.predict(images[::-1])[::-1],
        np.concatenate([four.predict(images[:3]), four.predict(images[3:4]), four.predict(images[4:])]),
    ):
        assert agreement(seen, expected) >= 1 - 1e-4
    assert one.identity == four.identity


def test_a_foreign_judge_is_translated_by_first_names(tmp_path, images) -> None:
    classes = Classes(names=("sky", "building", "boat", "other"))
    network = save_segformer(tmp_path, ADE_STYLE)
    judge = SegformerJudge(tmp_path, classes)
    # wall, building, sky, sea, boat, door
    table = np.array([3, 1, 0, 3, 2, 3])
    assert (judge.predict(images) == table[by_transformers(network, images)]).mean() > 0.9999
    assert judge.identity["translation"] == table.tolist()


def ade20k_names() -> list[str]:
    return [ADE20K.get(index, f"thing {index}, object") for index in range(150)]


def test_a_judge_of_ade20k_sees_the_landscape_classes(tmp_path, images) -> None:
    """Every landscape class but "other" is the first name of an ADE20K class; the rest becomes "other" (spec: data)."""
    network = save_segformer(tmp_path, ade20k_names())
    judge = SegformerJudge(tmp_path, Classes())
    table = np.full(150, LANDSCAPE_CLASSES.index("other"))
    for index, name in ADE20K.items():
        table[index] = LANDSCAPE_CLASSES.index(name.split(",")[0])
    assert sorted(set(table)) == list(range(29))
    assert judge.identity["translation"] == table.tolist()
    assert agreement(judge.predict(images), table[by_transformers(network, images)]) >= 1 - 1e-4
    assert translate([name.replace(",", ";") for name in ade20k_names()], Classes()).tolist() == table.tolist()


def test_a_network_fine_tuned_on_the_29_classes(tmp_path, images) -> None:
    network = save_segformer(tmp_path, LANDSCAPE_CLASSES)
    judge = SegformerJudge(tmp_path, Classes())
    assert judge.identity["translation"] == list(range(29))
    assert agreement(judge.predict(images), by_transformers(network, images)) >= 1 - 1e-4


@pytest.mark.parametrize("named", [False, True])
def test_182_classes_with_unlabelled_pixels(tmp_path, images, named: bool) -> None:
    """COCO-Stuff: ids up to 181, and 255 for what nobody labelled. Its classes may go without names on both sides."""
    names = tuple(f"stuff {index}" for index in range(182)) if named else Classes.numbered(182).names
    save_segformer(tmp_path, names if named else [f"LABEL_{index}" for index in range(182)])
    judge = SegformerJudge(tmp_path, Classes(names=names, ignore=255))
    given = judge.predict(images).astype(np.uint8)
    given[:, :, :20] = 255
    confusion = judge.observe(images, given)["confusion"]
    assert confusion.shape == (5, 182, 182)
    assert (confusion.sum(axis=(1, 2)) == 45 * 44).all()
    assert (np.trace(confusion, axis1=1, axis2=2) == 45 * 44).all()


def test_a_judge_without_names_is_refused_where_the_classes_have_them(tmp_path) -> None:
    """As many classes do not mean the same order."""
    save_segformer(tmp_path, [f"LABEL_{index}" for index in range(29)])
    with pytest.raises(WeightsError, match=r"29 classes.*no names \(LABEL_0.*which of them is mountain.*id2label"):
        SegformerJudge(tmp_path, Classes())


def test_names_that_begin_at_one_are_refused(tmp_path) -> None:
    save_segformer(tmp_path, ("a", "b"))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"1": "a", "2": "b"}}))
    with pytest.raises(WeightsError, match=r"must name the classes 0 to 1; it names \[1, 2\]"):
        SegformerJudge(tmp_path, Classes(names=("a", "b")))


def test_a_long_list_of_classes_is_cut() -> None:
    with pytest.raises(WeightsError, match=r"182 classes .*thing 3 and 178 more\) and cannot see class 0,.*class 7 and 174 more"):
        translate(some_names(182), Classes.numbered(182))


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


def test_a_file_in_half_precision_is_computed_with_in_full(tmp_path, images) -> None:
    names = some_names(7)
    network = save_segformer(tmp_path / "full", names).half()
    network.save_pretrained(tmp_path / "half")
    seen = SegformerJudge(tmp_path / "half", Classes(names=names)).predict(images)
    assert agreement(seen, by_transformers(network.float(), images)) >= 1 - 1e-4


def test_another_network_is_refused(tmp_path) -> None:
    save_segformer(tmp_path, ("a", "b"))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "upernet"}))
    with pytest.raises(WeightsError, match=r"holds a upernet, and SegformerForSemanticSegmentation is wanted"):
        SegformerJudge(tmp_path, Classes(names=("a", "b")))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_of_mmsegmentation_is_refused_with_what_to_do(tmp_path, wrapped: bool) -> None:
    save_segformer(tmp_path, ("a", "b"))
    (tmp_path / "model.safetensors").unlink()
    state = {"backbone.layers.0.0.projection.weight": torch.zeros(8, 3, 7, 7), "decode_head.conv_seg.weight": torch.zeros(2, 16, 1, 1)}
    torch.save({"meta": {}, "state_dict": state} if wrapped else state, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"mmsegmentation.*converted.*save_pretrained"):
        SegformerJudge(tmp_path, Classes(names=("a", "b")))
    with pytest.raises(WeightsError, match=r"that is a folder with config\.json and model\.safetensors.*save_pretrained"):
        SegformerJudge(tmp_path / "pytorch_model.bin", Classes(names=("a", "b")))


def test_names_of_weights_in_the_file_are_not_those_in_memory(tmp_path) -> None:
    """Why networks are only loaded by transformers itself: it renames weights on the way (spec: metrics, 2.5)."""
    network = save_segformer(tmp_path, ("a", "b"))
    with (tmp_path / "model.safetensors").open("rb") as file:
        written = set(json.loads(file.read(int.from_bytes(file.read(8), "little")))) - {"__metadata__"}
    assert written != set(network.state_dict())
    assert SegformerJudge(tmp_path, Classes(names=("a", "b"))).identity["weights"] == hash_file(tmp_path / "model.safetensors")


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
