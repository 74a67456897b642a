"""The weights behind candidates' names: what they are made of, how they are known again, and what is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import selection.shelf
from apfgan.backend import load_arrays, state_arrays
from apfgan.candidates import Candidate
from apfgan.checkpoints import load_manifest, load_weights, remove_checkpoint, save_checkpoint
from apfgan.config import Config, DataConfig, ModelConfig
from apfgan.ema import Averages, average_name
from apfgan.errors import UsageError, WeightsError
from apfgan.landscapes import make_landscapes
from apfgan.networks import build_painter
from apfgan.runs import Run
from apfgan.sampling import load_painter
from selection.candidate_weights import candidate_weights, rebuildable_widths, save_candidate, weights_identity, weights_phase
from selection.studio import Studio

PICO = Config(
    data=DataConfig(width=32, height=24, load_width=32),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0, spectral_norm=True),
)
STEPS = 20
"""Optimiser steps of an epoch."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_landscapes(folder, train=6, test=1, width=32, height=24)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Four epochs of painters that have nothing to do with one another."""
    run = Run.create(tmp_path / "run", PICO)
    for epoch in range(1, 5):
        save_checkpoint(run, str(epoch), painter(epoch), epoch=epoch, step=STEPS * epoch, phase="augmented", data="d")
    return run


@pytest.fixture
def studio(run: Run, data: Path) -> Studio:
    return Studio(run, (), data)


def painter(seed: int) -> dict[str, np.ndarray]:
    return state_arrays(build_painter(PICO, seed=seed))


def named(text: str) -> Candidate:
    return Candidate.parse(text)


def same(ones: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> bool:
    return ones.keys() == others.keys() and all(np.array_equal(ones[name], others[name]) for name in ones)


def fresh(studio: Studio) -> Studio:
    """The same in another process: nothing is at hand."""
    return replace(studio)


def test_a_single_checkpoint_is_its_file(studio, run):
    assert same(candidate_weights(studio, named("2~q90-444@7")), load_weights(run, "2"))
    assert weights_identity(studio, named("2")) == {"weights": [[load_manifest(run, "2").sha256, 1.0]]}


def test_a_merge_is_the_weighted_mean_and_draws(studio):
    merged = candidate_weights(studio, named("0.25*1+0.75*3"))
    for name, array in merged.items():
        if not name.endswith(("_u", "_v")):
            np.testing.assert_allclose(array, 0.25 * painter(1)[name] + 0.75 * painter(3)[name], rtol=1e-5, atol=1e-7)
    load_painter(merged, PICO, origin="test")


def test_the_identity_is_that_of_the_content(studio, run):
    known = weights_identity(studio, named("0.25*1+0.75*3"))
    assert known == weights_identity(studio, named("0.75*3+0.25*1~photos@9"))
    for other in ("0.26*1+0.74*3", "0.75*1+0.25*3", "avg_1_3", "0.25*1+0.75*2", "1", "0.25*1+0.75*3~recal4"):
        assert weights_identity(studio, named(other)) != known
    save_checkpoint(run, "copy", painter(3), data="d")
    assert weights_identity(studio, named("0.25*1+0.75*copy")) == known
    save_checkpoint(run, "3", painter(9), epoch=3, data="d")
    assert weights_identity(studio, named("0.25*1+0.75*3")) != known


def test_checkpoints_are_verified_once(studio, run, monkeypatch):
    opened = []
    real = selection.shelf.open_weights
    monkeypatch.setattr(selection.shelf, "open_weights", lambda run, name: opened.append(name) or real(run, name))
    for text in ("avg_1_2", "avg_1_2_3", "avg_1_2_3_4", "3", "0.1*1+0.9*4"):
        candidate_weights(studio, named(text))
    assert sorted(opened) == ["1", "2", "3", "4"]
    save_checkpoint(run, "2", painter(8), epoch=2, data="d")  # trained again
    assert same(candidate_weights(studio, named("2")), painter(8))


def test_a_damaged_member_is_refused(studio, run):
    path = run.checkpoint_path("3")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"epoch_0003.* is not what was saved"):
        candidate_weights(studio, named("avg_1_3"))


def test_what_was_saved_is_the_same_when_its_members_are_gone(studio, run):
    for text in ("avg_1_3", "0.3*1+0.7*2", "avg_1_3~recal4", "2~recal4"):
        candidate = named(text)
        identity, weights = weights_identity(studio, candidate), candidate_weights(studio, candidate)
        manifest = save_candidate(studio, candidate)
        assert (manifest.phase, manifest.data) == ("augmented", "d") and sum(manifest.members.values()) == pytest.approx(1)
        assert manifest.member_hashes.keys() == manifest.members.keys()
        assert weights_identity(fresh(studio), candidate) == identity and same(candidate_weights(fresh(studio), candidate), weights)
    assert load_manifest(run, "avg_1_3~recal4").members == {"avg_1_3": 1.0}
    expected = {text: candidate_weights(studio, named(text)) for text in ("avg_1_3", "avg_1_3~recal4", "avg_1_3~recal5", "2~recal4")}
    identities = {text: weights_identity(studio, named(text)) for text in expected}
    for name in "1234":
        remove_checkpoint(run, name)
    for text, weights in expected.items():
        assert weights_identity(fresh(studio), named(text)) == identities[text]
        assert same(candidate_weights(fresh(studio), named(text)), weights)
        assert weights_phase(fresh(studio), named(text)) == "augmented"
    # Also without the training set, where nothing is taken anew.
    assert same(candidate_weights(replace(studio, training_set=None), named("avg_1_3~recal4")), expected["avg_1_3~recal4"])
    for text in ("avg_1_2", "2", "0.5*1+0.5*4~recal4"):
        with pytest.raises(WeightsError, match="no checkpoint"):
            candidate_weights(fresh(studio), named(text))


def test_saving_again_changes_nothing_and_mends_what_is_damaged(studio, run):
    candidate = named("avg_1_3")
    saved = save_candidate(studio, candidate)
    path = run.checkpoint_path("avg_1_3")
    before = path.stat().st_mtime_ns
    assert save_candidate(fresh(studio), candidate).sha256 == saved.sha256 and path.stat().st_mtime_ns == before
    path.write_bytes(path.read_bytes()[:-1])
    assert save_candidate(fresh(studio), candidate) == saved
    assert same(load_weights(run, "avg_1_3"), candidate_weights(fresh(studio), candidate))


def test_what_was_saved_of_other_members_is_not_taken_for_it(studio, run):
    save_candidate(studio, named("avg_1_3"))
    save_checkpoint(run, "3", painter(9), epoch=3, data="d")
    for name, array in candidate_weights(studio, named("avg_1_3")).items():
        if name.endswith(".bias") and array.any():
            np.testing.assert_allclose(array, (painter(1)[name] + painter(9)[name]) / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("text", "message"), [("3", "two checkpoints"), ("avg_1_3@4", "Leave @4 out: avg_1_3"), ("avg_1_3~photos", "Leave ~photos")])
def test_only_weights_can_be_saved(studio, text, message):
    with pytest.raises(UsageError, match=message):
        save_candidate(studio, named(text))
    assert load_manifest(studio.run, "3").identity == {}


def test_checkpoints_of_different_runs_are_not_averaged(studio, run, tmp_path):
    other = Run.create(tmp_path / "other", replace(PICO, data=replace(PICO.data, load_width=40)))
    save_checkpoint(other, "7", painter(7), epoch=7, data="other")
    for suffix in (".safetensors", ".json"):
        run.checkpoint_path("7").with_suffix(suffix).write_bytes(other.checkpoint_path("7").with_suffix(suffix).read_bytes())
    with pytest.raises(WeightsError, match=r"7 and 1 are not of one run: they differ in the training data, data.load_width.* --allow-cross-run"):
        candidate_weights(studio, named("avg_1_7"))
    candidate_weights(studio, named("7"))
    saved = save_candidate(studio, named("avg_1_7"), allow_cross_run=True)
    assert saved.members == {"1": 0.5, "7": 0.5}
    assert same(candidate_weights(studio, named("avg_1_7")), load_weights(run, "avg_1_7"))  # from now on it is a checkpoint like any other
    save_candidate(studio, named("avg_2_7~recal4"), allow_cross_run=True)


def test_checkpoints_that_nobody_knows_the_data_of_are_of_one_run(studio, run):
    for name in ("5", "6"):
        save_checkpoint(run, name, painter(int(name)), epoch=int(name))
    candidate_weights(studio, named("avg_5_6"))
    with pytest.raises(WeightsError, match="they differ in the training data"):
        candidate_weights(studio, named("avg_4_5"))


def test_statistics_taken_anew_replace_those_of_the_mean(studio):
    merged, recalibrated = (candidate_weights(studio, named(text)) for text in ("avg_1_3", "avg_1_3~recal4"))
    changed = {name for name in merged if not np.array_equal(merged[name], recalibrated[name])}
    assert changed == {name for name in merged if ".norm.running_" in name}
    assert same(candidate_weights(fresh(studio), named("avg_1_3~recal4@5")), recalibrated)  # whichever seed it is drawn with
    with pytest.raises(UsageError, match="needs the training set"):
        candidate_weights(replace(studio, training_set=None), named("avg_1_3~recal4"))


def follow(run: Run, *, epochs: int, widths: tuple[float, ...], kept: tuple[float, ...]) -> dict[str, np.ndarray]:
    """A training that moves at random, of whose averages the widths `kept` are saved; gives the others."""
    source = np.random.default_rng(0)
    network = build_painter(PICO, seed=0)
    arrays = state_arrays(network)
    averages = Averages(network, widths)
    for step in range(1, STEPS * epochs + 1):
        arrays = {name: array + np.float32(0.01) * np.abs(source.standard_normal(array.shape, dtype=np.float32)) for name, array in arrays.items()}
        load_arrays(network, arrays, origin="test")
        averages.follow(step)
        if step % STEPS == 0:
            epoch = step // STEPS
            save_checkpoint(run, str(epoch), arrays, epoch=epoch, step=step, phase="augmented", data="d")
            for width in kept:
                save_checkpoint(
                    run,
                    f"{epoch}-{average_name(width)}",
                    averages.weights()[average_name(width)],
                    epoch=epoch,
                    step=step,
                    phase="augmented",
                    data="d",
                )
    return {name: array for width in widths if width not in kept for name, array in averages.weights()[average_name(width)].items()}


def test_an_average_of_another_width_is_the_one_that_would_have_been_tracked(studio, run):
    for name in "1234":
        remove_checkpoint(run, name)
    expected = follow(run, epochs=12, widths=(0.05, 0.1, 0.07), kept=(0.05, 0.1))
    candidate = named("12~ema0.07")
    found = candidate_weights(studio, candidate)
    nearest = load_weights(run, "12-ema0.05")
    for name, array in expected.items():
        if not name.endswith(("_u", "_v")):
            error, difference = np.abs(found[name] - array).mean(), np.abs(nearest[name] - array).mean()
            assert error < 0.1 * difference, name
    for name in (name for name in found if f"{name}_u" in found):
        matrix = found[name].reshape(len(found[name]), -1)
        assert found[f"{name}_u"] @ matrix @ found[f"{name}_v"] == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-4)
    load_painter(found, PICO, origin="test")
    assert same(candidate_weights(studio, named("12~ema0.05")), load_weights(run, "12-ema0.05"))

    identity = weights_identity(studio, candidate)
    assert len(identity["averages"]) == 24 and identity["wanted"] == [0.07, 240]
    for other in ("11~ema0.07", "12~ema0.08", "12~ema0.07~recal4", "12"):
        assert weights_identity(studio, named(other)) != identity
    manifest = save_candidate(studio, candidate)
    assert sum(manifest.members.values()) == pytest.approx(1) and manifest.members.keys() == manifest.member_hashes.keys()
    for name in run.checkpoint_names():
        if "ema0.1" in name or name == "12":
            remove_checkpoint(run, name)
    remove_checkpoint(run, "12")
    assert weights_identity(fresh(studio), candidate) == identity and same(candidate_weights(fresh(studio), candidate), found)


def test_what_is_missing_for_an_average_is_said(studio, run):
    with pytest.raises(WeightsError, match=r"run has none up to epoch 3.*train.ema=\[0.05,0.1\].*apfgan merge 3 --window 5"):
        candidate_weights(studio, named("3~ema0.07"))
    save_checkpoint(run, "4-ema0.05", painter(1), epoch=4, step=80, data="d")  # later than epoch 3
    with pytest.raises(WeightsError, match="none up to epoch 3"):
        weights_identity(studio, named("3~ema0.07"))
    save_checkpoint(run, "3-ema0.05", painter(1), epoch=3, step=60, data="d")
    with pytest.raises(WeightsError, match=r"cannot be rebuilt from the 1 that were kept.*those from 0.044 to 0.056 can"):
        candidate_weights(studio, named("3~ema0.1"))
    assert (min(found := rebuildable_widths(run, named("3"))), max(found)) == (0.044, 0.056)
    with pytest.raises(WeightsError, match="no checkpoint 9"):
        candidate_weights(studio, named("9~ema0.1"))
