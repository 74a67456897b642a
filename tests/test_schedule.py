"""The schedule for other numbers of levels and epochs than the original's (whose recording is in test_original.py)."""

import pytest

from apfgan.schedule import Role, Stage, heir_at, phase_at, roles_at, stage_at


def test_a_level_holds_then_fades() -> None:
    stages = [stage_at(epoch, levels=3, progressive_epochs=8) for epoch in range(1, 10)]
    assert stages == [Stage(0), Stage(0), Stage(0, 0.5), Stage(1), Stage(1), Stage(1), Stage(1, 0.5), None, None]


def test_full_size_turns_the_order_round() -> None:
    assert roles_at(7, levels=3, progressive_epochs=8) == (Role(2, 0.5), Role(1), Role(0))
    assert roles_at(8, levels=3, progressive_epochs=8) == (Role(0), Role(1), Role(2))


def test_the_last_progressive_epoch_is_at_full_size() -> None:
    assert phase_at(8, progressive_epochs=8) == "progressive"
    assert stage_at(8, levels=3, progressive_epochs=8) is None
    assert phase_at(9, progressive_epochs=8) == "augmented"


@pytest.mark.parametrize("levels", [2, 3, 4, 6])
@pytest.mark.parametrize("span", [1, 2, 3, 4, 7, 60])
def test_invariants(levels: int, span: int) -> None:
    last = span * (levels - 1)
    schedule = {"levels": levels, "progressive_epochs": last}
    heirs = []
    for epoch in range(1, last + 3):
        stage, roles = stage_at(epoch, **schedule), roles_at(epoch, **schedule)
        assert sorted(role.discriminator for role in roles) == list(range(len(roles)))
        if stage:
            assert 0 <= stage.level <= stage.top < levels
            assert 0 <= stage.fade < 1
            assert len(roles) == stage.top + 1
        else:
            assert len(roles) == levels
        if heir := heir_at(epoch, **schedule):
            heirs.append(heir)
            assert roles[0].discriminator == heir
    assert heirs == sorted(set(heirs))
    if span > 2:  # shorter spans have no epoch that fades
        assert heirs == list(range(1, levels))
