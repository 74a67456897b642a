"""The ablation's pure parts: what a variant changes, which checkpoints are scored, pairing by seed, verdicts, and the page."""

import re
from dataclasses import asdict, replace

import pytest

from apfgan.config import PRESETS, Config, build_config, parse_settings
from apfgan.players import plan_epoch
from benchmarks.ablation import BASE, PAIRS, VARIANTS, Result, append_result, compare, describe, plan, read_results, scored_candidates, steps


def flat(config: Config) -> dict[str, object]:
    return {f"{section}.{key}": value for section, values in asdict(config).items() for key, value in values.items()}


def changes(one: Config, other: Config) -> dict[str, object]:
    before, after = flat(one), flat(other)
    return {name: value for name, value in after.items() if value != before[name]}


def result(variant: str, seed: int, composite: float) -> Result:
    return Result(
        key=f"{variant} {seed}",
        variant=variant,
        seed=seed,
        composite=composite,
        mask_accuracy=0.6,
        aesthetic=5.0,
        fd_embedded=50.0,
        last=composite,
        untrained=0.07,
        seconds=20.0,
    )


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_variant_changes_what_it_names_and_no_more(variant):
    changed = changes(BASE, variant.config(BASE, seed=5))
    assert changed.pop("train.seed") == 5
    assert set(changed) == {setting.partition("=")[0] for setting in variant.settings}


def test_names_can_stand_in_the_table_and_the_csv():
    names = [variant.name for variant in VARIANTS]
    assert len(set(names)) == len(names) and names[0] == "base"
    assert not any(set(name) & set(',"|\n') for name in names)


def test_the_accidents_are_those_of_the_original():
    (accidents,) = [variant for variant in VARIANTS if variant.name == "all accidents of the original"]
    original = changes(Config(), PRESETS["original"])
    perceptual = {"train.progressive_perceptual", "train.perceptual", "train.inception_statistics"}
    assert changes(Config(), build_config(parse_settings(accidents.settings))) == {
        name: value for name, value in original.items() if name not in perceptual
    }


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_scored_checkpoints_are_kept(variant):
    config = variant.config(BASE, seed=0)
    names = [str(candidate) for candidate in scored_candidates(config)]
    assert [name.partition("-")[0] for name in names] == ["10", "11", "12"]
    assert {name.partition("-")[2] for name in names} == ({"ema0.1"} if config.train.ema else {""})
    plans = [plan_epoch(epoch, config) for epoch in range(config.train.epochs + 1)]
    assert plans[0].kept and all(plans[int(name.partition("-")[0])].kept for name in names)
    assert steps(config) == sum(PAIRS // each.batch for each in plans[1:])


def test_the_base_fades_levels_in_and_hands_discriminators_over():
    """In a span of one epoch neither would happen, and to leave it out would change nothing."""
    plans = [plan_epoch(epoch, BASE) for epoch in range(1, BASE.train.epochs + 1)]
    assert [each.epoch for each in plans if each.stage is not None and each.stage.fade > 0] == [2, 5]
    assert [each.epoch for each in plans if each.heir is not None] == [2, 5]


def test_every_training_has_a_key_of_its_own_that_follows_from_its_content():
    jobs = plan(BASE, seeds=2, content=["pairs", "judges"])
    keys = [job.key for job in jobs]
    assert len(set(keys)) == len(keys) == 2 * len(VARIANTS)
    assert keys[: len(VARIANTS)] == [job.key for job in plan(BASE, seeds=1, content=["pairs", "judges"])]
    assert not set(keys) & {job.key for job in plan(BASE, seeds=1, content=["pairs", "other judges"])}
    assert not set(keys) & {job.key for job in plan(replace(BASE, train=replace(BASE.train, epochs=13)), seeds=1, content=["pairs", "judges"])}
    assert {job.config.train.seed for job in jobs if job.variant == "no fade-in"} == {0, 1}


def test_differences_are_taken_seed_by_seed():
    # Apart, both lists spread widely; the differences are 0.1, 0.2 and 0.3: mean 0.2, standard deviation 0.1. Student's t for 95 % and 2: 4.303.
    found = compare({0: 1.1, 1: 5.2, 2: 3.3, 9: 100.0}, {2: 3.0, 0: 1.0, 1: 5.0, 8: -100.0})
    assert found is not None
    assert found.difference == pytest.approx(0.2)
    assert found.error == pytest.approx(0.1 / 3**0.5)
    assert found.margin == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((0.1, 0.2, 0.3), "within noise"),  # the interval is -0.05 to 0.45
        ((0.19, 0.20, 0.21), "better"),
        ((-0.19, -0.20, -0.21), "worse"),
        ((0.2, 0.2, 0.2), "better"),
        ((0.0, 0.0, 0.0), "the same number"),
        ((-0.1, 0.0, 0.1), "within noise"),
    ],
)
def test_verdicts(differences, verdict):
    found = compare(dict(enumerate(differences)), {0: 0.0, 1: 0.0, 2: 0.0})
    assert found is not None and found.verdict == verdict


def test_one_seed_has_no_verdict():
    assert compare({0: 1.0, 1: 1.0}, {0: 2.0, 2: 2.0}) is None


def test_results_are_read_as_they_were_written_and_a_torn_row_is_left_out(tmp_path):
    path = tmp_path / "ablation.csv"
    assert read_results(path) == []
    rows = [result("base", 0, 1 / 3), result("no fade-in", 1, 0.25)]
    for row in rows:
        append_result(path, row)
    with path.open("a") as file:
        file.write("key,base,2,0.3")
    assert read_results(path) == rows
    append_result(path, rows[0])
    assert read_results(path) == [*rows, rows[0]]


def test_the_page():
    results = [result("base", seed, 0.3 + 0.01 * seed) for seed in range(3)]
    results += [result("no fade-in", seed, 0.2 + 0.01 * seed + 0.001 * (seed == 1)) for seed in range(3)]
    results += [result("bfloat16", seed, value) for seed, value in enumerate((0.36, 0.27, 0.34))]
    results += [result("no feature matching", 0, 0.1)]
    page = describe(BASE, results)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.split("\n") if line.startswith("|")]
    assert {len(row) for row in rows} == {len(rows[0])}
    by_name = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}
    assert list(by_name) == [*(variant.name for variant in VARIANTS), "no perceptual loss"]
    assert by_name["base"]["composite"] == "0.310" and by_name["base"]["verdict"] == ""
    assert by_name["no fade-in"]["verdict"] == "worse"
    assert by_name["no fade-in"]["difference"] == "-0.100 ± 0.000"
    assert by_name["bfloat16"]["verdict"] == "within noise"
    assert by_name["no feature matching"]["seeds"] == "1" and by_name["no feature matching"]["verdict"] == ""
    assert by_name["no label-guided noise"]["verdict"] == "not measured"
    assert by_name["no perceptual loss"]["verdict"].startswith("not measured")
    assert re.search(r"With 3 seeds .* 2 degrees of freedom", page) and "Of 2 verdicts" in page


def test_the_page_of_one_seed_says_so():
    assert "no verdicts" in describe(BASE, [result("base", 0, 0.3), result("bfloat16", 0, 0.2)])
