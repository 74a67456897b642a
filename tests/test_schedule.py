"""The plan of every epoch, for many numbers of levels and epochs, against the original's formulas (a recording is in test_original.py)."""

from dataclasses import replace

import pytest

from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.schedule import Plan, Role, Stage, plan_epoch, rate_at

CONFIG = Config(
    data=DataConfig(classes=("a", "b"), width=128, height=128, load_width=128),
    model=ModelConfig(width=32, hidden=4, upsamplings=6, levels=3),
    train=TrainConfig(progressive_epochs=8, epochs=12),
)


def plans(*, model: dict | None = None, **train: object) -> list[Plan]:
    """Of every epoch from 0 to the last."""
    config = Config(data=CONFIG.data, model=replace(CONFIG.model, **model or {}), train=replace(CONFIG.train, **train))
    return [plan_epoch(epoch, config) for epoch in range(config.train.epochs + 1)]


def original(epoch: int, *, num_d: int, pg_niter: int) -> dict:
    """What the original does: its formulas, one by one, in its own terms (spec: method, 5)."""
    if epoch >= pg_niter:
        return {"level": None, "alpha": 0, "calls": [(index, 0) for index in range(num_d)], "copy": None}
    span = pg_niter // (num_d - 1)
    level, alpha = epoch // span, max(0, (epoch % span) / (span / 2) - 1)
    calls = [(index, 0) for index in range(level, -1, -1)]
    copies = alpha > 0 and ((epoch - 1) % span) / (span / 2) - 1 <= 0
    return {
        "level": level,
        "alpha": alpha,
        "calls": [(level + 1, alpha), *calls] if alpha > 0 else calls,
        "copy": (level, level + 1) if copies else None,
    }


@pytest.mark.parametrize("levels", [2, 3, 4, 6])
@pytest.mark.parametrize("span", [1, 2, 3, 4, 5, 7, 10, 60, 61])
@pytest.mark.parametrize("hand_over", ["copied", "shared"])
def test_every_epoch_is_the_originals(levels: int, span: int, hand_over: str) -> None:
    last = span * (levels - 1)
    for plan in plans(model={"levels": levels, "hand_over": hand_over}, progressive_epochs=last, epochs=last + 3):
        theirs = original(plan.epoch, num_d=levels, pg_niter=last)
        assert plan.stage == (None if theirs["level"] is None else Stage(theirs["level"], theirs["alpha"]))
        assert [(role.discriminator, role.fade) for role in plan.roles] == theirs["calls"]
        assert plan.heir == (theirs["copy"] and theirs["copy"][1])
        assert [role.borrows for role in plan.roles] == [hand_over == "shared" and plan.heir == role.discriminator for role in plan.roles]
        assert plan.phase == ("progressive" if plan.epoch <= last else "augmented")


def test_a_level_holds_then_fades() -> None:
    stages = [plan.stage for plan in plans()]
    assert stages == [Stage(0), Stage(0), Stage(0), Stage(0, 0.5), Stage(1), Stage(1), Stage(1), Stage(1, 0.5), *[None] * 5]


def test_without_fading_every_epoch_has_the_same_size_and_heir() -> None:
    faded, sudden = plans(), plans(fade_in=False)
    assert [plan.stage for plan in sudden[:9]] == [*[Stage(0)] * 3, *[Stage(1)] * 4, Stage(2), None]
    for one, other in zip(faded, sudden, strict=True):
        assert (one.stage and one.stage.top) == (other.stage and other.stage.top)
        assert [role.discriminator for role in one.roles] == [role.discriminator for role in other.roles]
        assert all(role.fade == 0 for role in other.roles)
        assert one.heir == other.heir


def test_full_size_turns_the_order_round_unless_it_is_told_not_to() -> None:
    assert plans()[7].roles == (Role(2, 0.5), Role(1), Role(0))
    assert plans()[8].roles == (Role(0), Role(1), Role(2))
    straight = plans(model={"full_size_order": "deepest_sees_largest"})
    assert straight[8].roles == straight[12].roles == (Role(2), Role(1), Role(0))
    assert straight[:8] == plans()[:8]


def test_a_single_scale_is_the_images_own() -> None:
    assert [plan.roles for plan in plans(model={"multi_scale": False})] == [plan.roles[:1] for plan in plans()]


def test_no_hand_over() -> None:
    assert [plan.epoch for plan in plans() if plan.heir] == [3, 7]
    assert not any(plan.heir for plan in plans(model={"hand_over": "none"}))


def test_the_second_phase_may_be_the_only_one() -> None:
    plan = plans(progressive_epochs=0, epochs=3)
    assert all(each.stage is None and len(each.roles) == 3 and each.heir is None for each in plan)
    assert [each.phase for each in plan] == ["progressive", "augmented", "augmented", "augmented"]  # epoch 0 trains nothing
    assert [each.starts_phase for each in plan] == [False, True, False, False]
    assert plan[1].batch == CONFIG.train.batch and plan[1].noise


def test_what_belongs_to_a_phase() -> None:
    last, first = plans(progressive_perceptual="vgg19", perceptual="inception")[8:10]
    assert (last.perceptual, last.noise, last.augment, last.batch, last.starts_phase) == ("vgg19", False, (), 10, False)
    assert (first.perceptual, first.noise, first.augment, first.batch, first.starts_phase) == (
        "inception",
        True,
        ("color", "crop", "translation"),
        5,
        True,
    )
    assert {plan.perceptual for plan in plans(progressive_perceptual="vgg19", perceptual="inception", perceptual_weight=0.0)} == {"none"}


def test_the_rate_is_constant_or_falls_in_equal_steps_to_nothing() -> None:
    assert {plan.rate for plan in plans()} == {1.0}
    assert [rate_at(epoch, epochs=12, decay_epochs=4) for epoch in range(1, 15)] == pytest.approx([1.0] * 8 + [0.8, 0.6, 0.4, 0.2, 0.0, 0.0])
    assert [plan.rate for plan in plans(decay_epochs=4)][1:] == pytest.approx([1.0] * 8 + [0.8, 0.6, 0.4, 0.2])
    assert [plan.rate for plan in plans(decay_epochs=12)][1:] == pytest.approx([(13 - epoch) / 13 for epoch in range(1, 13)])


def test_checkpoints_are_kept_at_the_ends_of_phases_and_every_so_many() -> None:
    assert [plan.epoch for plan in plans(save_every=3, save_progressive_every=5) if plan.kept] == [0, 5, 8, 9, 12]
