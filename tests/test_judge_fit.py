"""`apfgan judge fit`: the recipe against plain PyTorch, crops against what they show, and fits that are killed, stopped, refused and used."""

import colorsys
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from apfgan.data import Pair, find_pairs, hold_out
from apfgan.errors import DataError, EnvironmentProblem, UsageError, WeightsError
from apfgan.files import hash_file, lock_folder
from apfgan.images import read_label_map, read_photo
from apfgan.labels import Classes
from apfgan.landscapes import make_landscapes
from commands.stopping import PATIENCE
from metrics import pixel_loss
from metrics.inference import IMAGENET_MEAN, IMAGENET_STD
from metrics.pixel_loss import UNLABELLED, pixel_cross_entropy
from metrics.pretrained import load_pretrained
from metrics.segformer import SegformerJudge
from metrics.segformer_crops import recolour, scaled_size, training_crop
from metrics.segformer_recipe import SIZES, Recipe
from metrics.segformer_training import Learner, adapted_segformer, new_segformer, parameter_groups
from selection.judge_card import FittedJudge, held_out_pairs, read_fitted
from selection.judge_fitting import fit_judge

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
STATE = "fit_state.safetensors"

QUICK = Recipe(steps=6, batch=2, crop=32)


def tiny_network(classes: int, *, drops: float = 0.0) -> SegformerForSemanticSegmentation:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = SegformerConfig(
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 8, 16, 16],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=16,
            drop_path_rate=drops,
            classifier_dropout_prob=drops,
            id2label={index: f"thing {index}" for index in range(classes)},
            label2id={f"thing {index}": index for index in range(classes)},
        )
        return SegformerForSemanticSegmentation(config)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landscapes")
    make_landscapes(folder, train=16, test=1, width=96, height=72)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of other classes, with dropout and stochastic depth, to begin with."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_network(5, drops=0.3).save_pretrained(folder)
    return folder


def fit(data: Path, out: Path, tiny: Path, recipe: Recipe = QUICK, **options: Any) -> FittedJudge | None:
    return fit_judge(data, out, classes=options.pop("classes", Classes()), recipe=recipe, pretrained=tiny, share=0.2, **options)


@pytest.fixture(scope="module")
def straight(data: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fit that nobody disturbed gives."""
    out = tmp_path_factory.mktemp("straight") / "judge"
    assert fit(data, out, tiny) is not None
    return out


# The loss


@pytest.mark.parametrize("together", [1, 1 << 30])
def test_the_loss_and_its_gradient_are_those_of_full_size_logits(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    monkeypatch.setattr(pixel_loss, "_LOGITS", together)
    random = torch.Generator().manual_seed(0)
    target = torch.randint(0, 7, (3, 20, 24), generator=random)
    target[0, :9] = UNLABELLED
    logits = torch.randn(3, 7, 5, 6, generator=random, dtype=torch.float64)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = pixel_cross_entropy(ours, target)
    expected = functional.cross_entropy(functional.interpolate(plain, size=(20, 24), mode="bilinear", align_corners=False), target)
    (2 * loss).backward()
    (2 * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, plain.grad)


def test_a_batch_without_a_label_has_no_loss() -> None:
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((1, 8, 8), UNLABELLED))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None and (logits.grad == 0).all()


# The recipe


def mmcv_rate(step: int, steps: int, warm_up: int, ratio: float = 1e-6) -> float:
    """Poly policy of power 1 with linear warm-up, as mmcv documents it, for a rate of 1."""
    regular = (1 - step / steps) ** 1.0
    if step >= warm_up:
        return regular
    missing = (1 - step / warm_up) * (1 - ratio)
    return regular * (1 - missing)


@pytest.mark.parametrize(("steps", "warm_up"), [(160_000, 1500), (15_000, 1500), (400, 40), (5, 0)])
def test_the_rate_follows_the_reference(steps: int, warm_up: int) -> None:
    recipe = Recipe(steps=steps)
    for step in {0, 1, warm_up // 2, max(0, warm_up - 1), warm_up, steps // 2, steps - 1}:
        assert recipe.rate_at(step) == pytest.approx(mmcv_rate(step, steps, warm_up), abs=1e-12)


def test_the_parameter_groups_are_those_of_the_reference() -> None:
    """By the names of parameters, as mmcv matches them: "head" and "norm" in a name, the first that matches counts."""
    network, recipe = tiny_network(3), Recipe()
    found = {id(each): (group["lr"], group["weight_decay"]) for group in parameter_groups(network, recipe) for each in group["params"]}
    for name, parameter in network.named_parameters():
        head, norm = "head" in name, "norm" in name
        assert found[id(parameter)] == pytest.approx((6e-4, 0.01) if head else (6e-5, 0.0 if norm else 0.01)), name
    assert len(found) == len(list(network.parameters()))


def test_steps_equal_a_plain_replica() -> None:
    """With AdamW and LambdaLR of PyTorch, and the loss of transformers."""
    recipe = Recipe(steps=40, batch=2, crop=64, rate=1e-3)
    ours, plain = tiny_network(4).train(), tiny_network(4).train()
    before = copy.deepcopy(plain.state_dict())
    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (6, 2, 64, 64, 3), dtype=np.uint8)
    targets = random.integers(0, 4, (6, 2, 64, 64))
    targets[:, 0, :30] = UNLABELLED

    head = [each for name, each in plain.named_parameters() if "head" in name]
    norms = [each for name, each in plain.named_parameters() if "norm" in name and "head" not in name]
    others = [each for name, each in plain.named_parameters() if "norm" not in name and "head" not in name]
    optimiser = torch.optim.AdamW(
        [{"params": head, "lr": 1e-2}, {"params": norms, "weight_decay": 0.0}, {"params": others}], lr=1e-3, weight_decay=0.01, betas=(0.9, 0.999)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: mmcv_rate(step, 40, 4))
    learner = Learner(ours, recipe, seed=0)
    for step in range(6):
        loss = learner.learn(photos[step], targets[step], step=step)
        pixels = (torch.from_numpy(photos[step]).permute(0, 3, 1, 2) / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(
            IMAGENET_STD
        ).view(3, 1, 1)
        labels = torch.from_numpy(np.where(targets[step] == UNLABELLED, 255, targets[step]))
        expected = plain(pixel_values=pixels, labels=labels).loss
        optimiser.zero_grad()
        expected.backward()
        optimiser.step()
        schedule.step()
        assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    moved = max(float((plain.state_dict()[name] - before[name]).abs().max()) for name in before if before[name].is_floating_point())
    assert moved > 1e-3
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, atol=2e-5, rtol=1e-4, msg=name)


def test_sizes_are_those_of_the_paper() -> None:
    """Millions of parameters with ADE20K's 150 classes, from table 1 of Xie et al. 2021."""
    for size, millions in {"b0": 3.8, "b1": 13.7, "b2": 27.5, "b3": 47.3, "b4": 64.1, "b5": 84.7}.items():
        shape = SIZES[size]
        config = SegformerConfig(hidden_sizes=list(shape.widths), depths=list(shape.depths), decoder_hidden_size=shape.decoder_width, num_labels=150)
        with torch.device("meta"):
            count = sum(each.numel() for each in SegformerForSemanticSegmentation(config).parameters())
        assert count / 1e6 == pytest.approx(millions, abs=0.15), size


def test_new_weights_follow_from_the_seed() -> None:
    one, same, other = (new_segformer("b0", Classes(), seed=seed).state_dict() for seed in (1, 1, 2))
    name = "decode_head.classifier.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
    with pytest.raises(UsageError, match=r"no SegFormer of size 'b6'; known: b0, b1"):
        new_segformer("b6", Classes(), seed=0)


def test_an_adapted_network_keeps_all_but_the_classes(tiny: Path) -> None:
    origin = load_pretrained(SegformerForSemanticSegmentation, tiny).state_dict()
    one, same, other = (adapted_segformer(tiny, Classes(), seed=seed) for seed in (1, 1, 2))
    assert one.config.id2label == dict(enumerate(Classes().names))
    assert one.config.label2id["other"] == 28
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
        if "classifier" in name:
            assert len(tensor) == 29
        else:
            assert torch.equal(tensor, origin[name]) and torch.equal(tensor, other.state_dict()[name])
    assert not torch.equal(one.decode_head.classifier.weight, other.decode_head.classifier.weight)


def test_an_encoder_alone_will_do_and_a_head_alone_will_not(tmp_path: Path, tiny: Path) -> None:
    network = tiny_network(5)
    network.segformer.save_pretrained(tmp_path / "encoder")
    adapted = adapted_segformer(tmp_path / "encoder", Classes(), seed=0)
    name = "stages.0.patch_embeddings.proj.weight"
    assert torch.equal(adapted.segformer.state_dict()[name], network.segformer.state_dict()[name])
    config = json.loads((tiny / "config.json").read_text()) | {"hidden_sizes": [8, 8, 16, 32]}
    (tmp_path / "wider").mkdir()
    (tmp_path / "wider/config.json").write_text(json.dumps(config))
    (tmp_path / "wider/model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="lacks weights"):
        adapted_segformer(tmp_path / "wider", Classes(), seed=0)


# The crops


def test_photos_are_scaled_by_their_short_side() -> None:
    recipe = Recipe()
    assert scaled_size((1024, 768), recipe, scale=1) == (683, 512)
    assert scaled_size((1024, 768), recipe, scale=0.5) == (341, 256)
    assert scaled_size((640, 481), recipe, scale=2) == (1362, 1024)
    assert scaled_size((500, 4000), recipe, scale=1) == (256, 2048)  # the long side limits


def test_a_crop_shows_what_its_targets_name() -> None:
    """The photo's colour names the class: where the crop is sure of the colour, the targets agree, and beside the photo there are none."""
    label_map = np.zeros((60, 90), dtype=np.uint16)
    label_map[:30, 45:], label_map[30:, :45], label_map[30:, 45:] = 300, 2, 255
    colours = {0: (0, 0, 0), 300: (255, 0, 0), 2: (0, 255, 0), 255: (0, 0, 255)}
    photo = np.zeros((60, 90, 3), dtype=np.uint8)
    for value, colour in colours.items():
        photo[label_map == value] = colour
    recipe = Recipe(crop=64, distorted=0.0)
    seen, mirrored = set(), set()
    for draw in range(40):
        crop, targets = training_crop(photo, label_map, recipe, ignore=255, source=np.random.default_rng(draw))
        assert crop.shape == (64, 64, 3) and crop.dtype == np.uint8 and targets.shape == (64, 64) and targets.dtype == np.int64
        for value, colour in colours.items():
            sure = (crop == colour).all(axis=2)
            assert (targets[sure] == (UNLABELLED if value == 255 else value)).mean() > 0.97 if sure.any() else True
            seen |= {value} if sure.any() else set()
        assert set(np.unique(targets)) <= {0, 2, 300, UNLABELLED}
        beside = (crop == [124, 116, 104]).all(axis=2)
        assert (targets[beside] == UNLABELLED).all()
        left, right = (np.argwhere(targets == value)[:, 1] for value in (0, 300))
        if len(left) and len(right):
            mirrored.add(left.mean() > right.mean())
    assert seen == set(colours)
    assert mirrored == {True, False}


def test_a_crop_that_one_class_fills_is_drawn_again() -> None:
    label_map = np.zeros((64, 640), dtype=np.uint8)
    label_map[::2, 500:] = 1
    photo = np.zeros((64, 640, 3), dtype=np.uint8)

    def filled(recipe: Recipe) -> int:
        crops = [training_crop(photo, label_map, recipe, ignore=None, source=np.random.default_rng(draw))[1] for draw in range(60)]
        return sum(np.bincount(crop[crop >= 0]).max() >= 0.75 * (crop >= 0).sum() for crop in crops)

    recipe = Recipe(crop=64, scales=(1.0, 1.0), long_side=100)
    assert filled(recipe) < 15 < 40 < filled(replace(recipe, tries=1))


def test_crops_without_a_label_are_no_trouble() -> None:
    label_map = np.full((40, 40), 255, dtype=np.uint8)
    _, targets = training_crop(np.zeros((40, 40, 3), np.uint8), label_map, Recipe(crop=32), ignore=255, source=np.random.default_rng(0))
    assert (targets == UNLABELLED).all()


class Chance(np.random.Generator):
    """Gives what it is told."""

    def __init__(self, switches: list[float], values: list[float]) -> None:
        super().__init__(np.random.PCG64(0))
        self.switches, self.values = switches, list(values)

    def random(self, *arguments: Any) -> Any:
        return np.array(self.switches)

    def uniform(self, *arguments: Any) -> Any:
        return self.values.pop(0)


def test_colours_are_changed_as_they_should_be() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    recipe = Recipe()
    assert (recolour(photo, recipe, Chance([1, 1, 1, 1, 1], [20, 1.3, 1.4, 30])) == photo).all()
    brighter = recolour(photo, recipe, Chance([0, 1, 1, 1, 1], [20, 1.3, 1.4, 30]))
    assert (brighter == np.clip(photo.astype(int) + 20, 0, 255)).all()
    contrasted = recolour(photo, recipe, Chance([1, 0, 1, 1, 1], [20, 1.3, 1.4, 30]))
    assert (contrasted == np.clip(np.floor(photo * 1.3), 0, 255)).all()
    turned = recolour(photo, recipe, Chance([1, 1, 0, 0, 1], [20, 1.3, 0.6, 30]))
    expected = np.empty(photo.shape)
    for place in np.ndindex(photo.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*photo[place] / 255)
        expected[place] = np.array(colorsys.hsv_to_rgb((hue + 30 / 360) % 1, saturation * 0.6, value)) * 255
    assert np.abs(turned - expected).max() < 6  # Pillow's HSV has 256 levels of each
    first = recolour(photo, recipe, Chance([1, 0, 0, 1, 0], [0, 1.5, 0.5, 0]))
    last = recolour(photo, recipe, Chance([1, 0, 0, 1, 1], [0, 1.5, 0.5, 0]))
    assert (first != last).any()  # contrast before the saturation, or after


# Who is held out


def pairs_named(*names: str) -> list[Pair]:
    return [Pair(name, Path(f"{name}.jpg"), Path(f"{name}.png")) for name in names]


def test_neither_order_nor_more_pairs_change_who_is_held_out() -> None:
    names = [f"photo {index}" for index in range(400)]
    learned, held = hold_out(pairs_named(*names), 0.1)
    assert 20 <= len(held) <= 65
    assert len(learned) + len(held) == 400 and not {each.stem for each in learned} & {each.stem for each in held}
    assert {each.stem for each in hold_out(pairs_named(*reversed(names)), 0.1)[1]} == {each.stem for each in held}
    more = hold_out(pairs_named(*names, *(f"another {index}" for index in range(400))), 0.1)[1]
    assert {each.stem for each in held} == {each.stem for each in more} & set(names)


@pytest.mark.parametrize(("pairs", "share", "held"), [(0, 0.05, 0), (1, 0.9, 0), (2, 0.0001, 1), (5, 0.0, 0), (3, 0.99999, 2)])
def test_few_pairs_are_shared_out(pairs: int, share: float, held: int) -> None:
    assert len(hold_out(pairs_named(*map(str, range(pairs))), share)[1]) == held


# A fit


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A real SegFormer-b0 with random weights, after a few seconds: the data, and the judge."""
    folder = tmp_path_factory.mktemp("fitted")
    make_landscapes(folder / "data", train=40, test=1, width=128, height=96)
    recipe = Recipe(steps=100, batch=2, crop=64, rate=1e-4)
    assert fit_judge(folder / "data", folder / "judge", classes=Classes(), recipe=recipe, share=0.2) is not None
    return folder / "data", folder / "judge"


def test_a_fit_on_landscapes_beats_chance(fitted: tuple[Path, Path]) -> None:
    data, folder = fitted
    card = read_fitted(folder)
    assert card is not None and card.accuracy is not None and card.accuracy.error is not None and card.mean_iou is not None
    held = held_out_pairs(card, find_pairs(data))
    assert len(held) == len(card.held_out) >= 4 and card.pairs == 40 - len(held)
    given = np.concatenate([read_label_map(pair.label_map, Classes()).ravel() for pair in held])
    chance = np.bincount(given).max() / len(given)
    assert card.accuracy.value > chance + 0.1
    assert card.mean_iou.value > 2 / 29


def test_the_folder_is_what_transformers_writes(fitted: tuple[Path, Path]) -> None:
    data, folder = fitted
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "judge.json", "lock"}
    photo = read_photo(find_pairs(data)[0].photo).copy()
    network, report = SegformerForSemanticSegmentation.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert network.config.id2label == dict(enumerate(Classes().names))
    processor = SegformerImageProcessor(do_resize=False)
    with torch.no_grad():
        output = network.eval()(**processor(images=[photo], return_tensors="pt"))
    (expected,) = processor.post_process_semantic_segmentation(output, target_sizes=[photo.shape[:2]])
    seen = SegformerJudge(folder, Classes()).predict(photo[None])[0]
    assert (seen == expected.numpy()).mean() > 0.999
    assert len(np.unique(seen)) > 1


def test_a_finished_fit_is_not_repeated(data: Path, tiny: Path, straight: Path) -> None:
    before = {path.name: (hash_file(path), path.stat().st_mtime_ns) for path in straight.iterdir() if path.name != "lock"}
    again = fit(data, straight, tiny)
    assert again == read_fitted(straight)
    assert before == {path.name: (hash_file(path), path.stat().st_mtime_ns) for path in straight.iterdir() if path.name != "lock"}


def test_every_seed_and_setting_has_an_effect(data: Path, tiny: Path, straight: Path, tmp_path: Path) -> None:
    weights = {hash_file(straight / "model.safetensors")}
    for index, (recipe, seed) in enumerate(
        [(QUICK, 1), *((replace(QUICK, **{name: value}), 0) for name, value in [("rate", 1e-3), ("batch", 3), ("crop", 48), ("hue", 0.0)])]
    ):
        assert fit(data, tmp_path / str(index), tiny, recipe, seed=seed) is not None
        weights.add(hash_file(tmp_path / str(index) / "model.safetensors"))
    assert len(weights) == 6


def products(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in folder.iterdir() if path.name != "lock"}


def test_killed_at_any_flush_it_ends_with_the_same_files(data: Path, tiny: Path, straight: Path, tmp_path: Path, killed_at_flushes: Any) -> None:
    kills = killed_at_flushes(lambda: fit(data, tmp_path / "judge", tiny, state_seconds=0), [0, 1, 2, 3, 1, 2, 3, 2, 1, 30])
    assert kills > 5
    assert products(tmp_path / "judge") == products(straight)


def test_whatever_was_published_the_folder_is_a_judge_or_none(data: Path, tiny: Path, tmp_path: Path, killed_at_flushes: Any) -> None:
    out = tmp_path / "judge"

    def work() -> None:
        if (out / "config.json").exists():  # what `find_pretrained` asks for
            SegformerJudge(out, Classes())
            assert read_fitted(out) is not None
        fit(data, out, tiny)

    assert killed_at_flushes(work, [5, 1, 3, 5, 7, 30]) > 3  # the state takes two flushes, and so does each file after it


def test_stopped_after_every_step_it_ends_with_the_same_files(data: Path, tiny: Path, straight: Path, tmp_path: Path) -> None:
    for _ in range(QUICK.steps):
        assert fit(data, tmp_path / "judge", tiny, stop=lambda: True) is None or (tmp_path / "judge/judge.json").exists()
        if (tmp_path / "judge/judge.json").exists():
            break
    assert fit(data, tmp_path / "judge", tiny) is not None
    assert products(tmp_path / "judge") == products(straight)


def test_other_settings_are_refused_by_name(data: Path, tiny: Path, straight: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"recipe.steps: 6 -> 7; recipe.rate: 6e-05 -> 0.001"):
        fit(data, straight, tiny, replace(QUICK, steps=7, rate=1e-3))
    with pytest.raises(UsageError, match=r"\(seed: 0 -> 3\)"):
        fit(data, straight, tiny, seed=3)
    with pytest.raises(UsageError, match=r"begins_with.weights.*begins_with.size"):
        fit_judge(data, straight, classes=Classes(), recipe=QUICK, share=0.2)
    make_landscapes(tmp_path / "more", train=17, test=1, width=96, height=72)
    with pytest.raises(UsageError, match=r"other settings \(data\)"):
        fit(tmp_path / "more", straight, tiny)
    assert fit(data, tmp_path / "begun", tiny, stop=lambda: True) is None
    with pytest.raises(UsageError, match=r"classes.names"):
        fit(data, tmp_path / "begun", tiny, classes=Classes.numbered(29))


def test_what_is_there_already_is_not_overwritten(data: Path, tiny: Path, tmp_path: Path) -> None:
    tiny_network(3).save_pretrained(tmp_path / "foreign")
    before = hash_file(tmp_path / "foreign/model.safetensors")
    with pytest.raises(UsageError, match=r"is there already"):
        fit(data, tmp_path / "foreign", tiny)
    assert hash_file(tmp_path / "foreign/model.safetensors") == before
    with lock_folder(tmp_path / "busy"), pytest.raises(EnvironmentProblem, match=r"is being written by process"):
        fit(data, tmp_path / "busy", tiny)


def test_a_copy_of_the_data_in_another_order_goes_on(data: Path, tiny: Path, tmp_path: Path, straight: Path) -> None:
    assert fit(data, tmp_path / "judge", tiny, stop=lambda: True) is None
    shutil.copytree(data, tmp_path / "copy")
    assert fit(tmp_path / "copy", tmp_path / "judge", tiny) is not None
    assert products(tmp_path / "judge") == products(straight)


@pytest.mark.parametrize("damage", ["cut", "flipped bit", "no state of ours"])
def test_a_damaged_state_is_not_used(data: Path, tiny: Path, tmp_path: Path, damage: str) -> None:
    assert fit(data, tmp_path, tiny, stop=lambda: True) is None
    content = bytearray((tmp_path / STATE).read_bytes())
    content[-1000] ^= damage == "flipped bit"
    (tmp_path / STATE).write_bytes(content[: len(content) // 2] if damage == "cut" else content if damage == "flipped bit" else b"{}")
    with pytest.raises(WeightsError, match=r"fit_state.safetensors is damaged"):
        fit(data, tmp_path, tiny)


def test_a_damaged_card_is_named(data: Path, tiny: Path, straight: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.json").write_text('{"pairs": 3}')
    with pytest.raises(WeightsError, match=r"judge.json is damaged"):
        fit(data, tmp_path, tiny)


def test_a_fit_that_diverges_stops(data: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"diverged.*lower --rate"):
        fit(data, tmp_path, tiny, replace(QUICK, rate=1e30))
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    ("setting", "message"), [({"steps": 0}, "steps"), ({"crop": 31}, "crop of 31"), ({"rate": 0.0}, "rate"), ({"batch": 0}, "batch")]
)
def test_recipes_that_make_no_sense_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(**setting)


def test_all_problems_of_the_data_come_first(data: Path, tiny: Path, tmp_path: Path) -> None:
    make_landscapes(tmp_path / "data", train=3, test=1, width=96, height=72)
    first, second, _ = sorted((tmp_path / "data/train/imgs").iterdir())
    first.write_bytes(first.read_bytes()[:500])
    second.write_bytes(b"")
    with pytest.raises(DataError, match=r"2 problems"):
        fit(tmp_path / "data", tmp_path / "judge", tiny)


def test_without_held_out_pairs_there_is_no_accuracy(data: Path, tiny: Path, tmp_path: Path) -> None:
    found = fit_judge(data, tmp_path, classes=Classes(), recipe=QUICK, pretrained=tiny, share=0.0)
    assert found is not None and found.accuracy is None and not found.held_out and found.pairs == 16


def test_pairs_of_any_name_are_found_again(tiny: Path, tmp_path: Path) -> None:
    make_landscapes(tmp_path / "data", train=4, test=1, width=64, height=48)
    for folder in ("imgs", "labels"):
        for name, path in zip(
            ["line\nbreak", "e\u0301 decomposed", os.fsdecode(b"no text \xff")], sorted((tmp_path / "data/train" / folder).iterdir()), strict=False
        ):
            path.rename(path.with_name(name + path.suffix))
    card = fit_judge(tmp_path / "data", tmp_path / "judge", classes=Classes(), recipe=QUICK, pretrained=tiny, share=0.999999)
    assert card is not None and card == read_fitted(tmp_path / "judge")
    assert len(held_out_pairs(card, find_pairs(tmp_path / "data"))) == len(card.held_out) == 3


@pytest.mark.parametrize(("name", "classes"), [("landscape-mini", Classes()), ("coco-stuff-mini", Classes.numbered(182, ignore=255))])
def test_real_data(name: str, classes: Classes, tiny: Path, tmp_path: Path) -> None:
    """16-bit label maps; 182 classes, an ignore value and odd sizes."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not here")
    for pair in find_pairs(SHARED / name)[:3]:
        for path, folder in ((pair.photo, "imgs"), (pair.label_map, "labels")):
            (tmp_path / "data/train" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data/train" / folder / path.name).write_bytes(path.read_bytes())
    found = fit_judge(tmp_path / "data", tmp_path / "judge", classes=classes, recipe=replace(QUICK, steps=2, crop=64), pretrained=tiny)
    assert found is not None and len(found.held_out) == 1 and found.accuracy is not None and 0 <= found.accuracy.value <= 1
    pair = find_pairs(tmp_path / "data")[0]
    judge = SegformerJudge(tmp_path / "judge", classes)
    label_map = read_label_map(pair.label_map, classes)
    confusion = judge.observe(read_photo(pair.photo)[None], label_map[None])["confusion"]
    assert confusion.sum() == (label_map != 255).sum() if classes.ignore else label_map.size


# The command


def start(data: Path, out: Path, tiny: Path) -> subprocess.Popen[str]:
    """A fit of `SLOW` in a process of its own, which holds the folder by now."""
    options = ["--from", str(tiny), "--steps", "300", "--batch", "2", "--crop", "32", "--hold-out", "0.2", "--device", "cpu", "--quiet"]
    command = [sys.executable, str(ROOT / "cli.py"), "judge", "fit", "--data", str(data), "--out", str(out), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lock = out / "lock"
    while process.poll() is None and not (lock.exists() and f"process {process.pid} on" in lock.read_text()):
        time.sleep(0.05)
    return process


SLOW = Recipe(steps=300, batch=2, crop=32)


def test_a_signal_keeps_the_state_and_a_kill_costs_nothing_but_time(data: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "judge"
    process = start(data, out, tiny)
    time.sleep(0.7)
    sent = time.monotonic()
    process.terminate()
    _, error = process.communicate(timeout=60)
    took = time.monotonic() - sent
    assert process.returncode == 143, error
    assert took < 10 and "the same command goes on from there" in error
    assert (out / STATE).exists() or took > PATIENCE  # then the first step had not ended
    assert not (out / "config.json").exists()

    process = start(data, out, tiny)
    time.sleep(0.5)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL

    for folder in (out, tmp_path / "straight"):
        assert fit(data, folder, tiny, SLOW) is not None
    assert products(out) == products(tmp_path / "straight")


def test_the_command_line(apfgan: Any, data: Path, tiny: Path, straight: Path, tmp_path: Path) -> None:
    options = ["--data", data, "--steps", 6, "--batch", 2, "--crop", 32, "--hold-out", 0.2, "--device", "cpu"]
    code, out, _ = apfgan("judge", "fit", "--out", straight, "--from", tiny, *options, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["pairs"] + found["held_out"] == 16 and 0 <= found["accuracy"]["value"] <= 1 and found["begins_with"]["weights"]
    code, _, error = apfgan("judge", "fit", "--out", tmp_path / "a", "--from", tiny, "--size", "b1", *options)
    assert code == 2 and "leave --size out" in error
    code, _, error = apfgan("judge", "fit", "--out", tmp_path / "a", "--from", "nobody/nothing", *options)
    assert code == 4 and "nobody/nothing" in error
    code, _, error = apfgan("judge", "fit", "--out", tmp_path / "a", "--size", "b9", *options)
    assert code == 2 and "known: b0" in error
    assert not (tmp_path / "a" / STATE).exists()


def test_random_weights_and_a_short_warm_up_are_said(apfgan: Any, data: Path, tmp_path: Path) -> None:
    code, _, error = apfgan("judge", "fit", "--data", data, "--out", tmp_path, "--steps", 10, "--batch", 1, "--crop", 32, "--device", "cpu")
    assert code == 0, error
    assert "SegFormer-b0 begins with random weights" in error
    assert "warm-up: 1 steps, a tenth of all, instead of 1500" in error
