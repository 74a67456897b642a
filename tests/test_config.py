import datetime
import tomllib
from dataclasses import fields, replace

import numpy as np
import pytest

from apfgan.config import (
    PRESETS,
    Config,
    DataConfig,
    OutputConfig,
    TrainConfig,
    build_config,
    differing_settings,
    load_config,
    parse_settings,
    save_config,
)
from apfgan.errors import UsageError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_come_back_from_toml(tmp_path, name):
    path = tmp_path / "run.toml"
    save_config(path, PRESETS[name])
    assert load_config(path) == PRESETS[name]
    assert build_config({}, base=PRESETS[name]) == PRESETS[name]


def test_toml_holds_every_setting_but_an_absent_ignore_value(tmp_path):
    save_config(tmp_path / "run.toml", Config())
    written = tomllib.loads((tmp_path / "run.toml").read_text(encoding="utf-8"))
    for section in fields(Config):
        assert set(written[section.name]) | {"ignore"} == {item.name for item in fields(section.type)} | {"ignore"}
    assert "ignore" not in written["data"]


def test_any_configuration_comes_back_from_toml(tmp_path):
    draw = np.random.default_rng(0)
    for _ in range(100):
        config = Config(
            data=DataConfig(classes=("Fluß", 'a "b"', "c\n", "d"), ignore=None if draw.random() < 0.5 else int(draw.integers(4, 65536))),
            train=TrainConfig(
                generator_rate=float(10.0 ** draw.uniform(-12, 3)),
                feature_weight=float(draw.uniform(0, 1e9)),
                augment=tuple(draw.permutation(["color", "crop", "translation"])[: draw.integers(0, 4)].tolist()),
                seed=int(draw.integers(0, 2**63)),
                seg_noise=bool(draw.random() < 0.5),
                perceptual="vgg19",
                vgg19_weights="/tmp/ü 'x'.pth",
            ),
            output=OutputConfig(jpeg_quality=int(draw.integers(1, 96))),
        )
        save_config(tmp_path / "run.toml", config)
        assert load_config(tmp_path / "run.toml") == config


def test_settings_lie_over_the_base():
    config = build_config({"train": {"batch": 2, "generator_rate": 1}, "data": {"ignore": 255}}, base=PRESETS["tiny"])
    assert (config.train.batch, config.train.generator_rate, config.data.ignore) == (2, 1.0, 255)
    assert isinstance(config.train.generator_rate, float)
    assert config.model == PRESETS["tiny"].model
    assert config.data.label_classes.ignore == 255


@pytest.mark.parametrize(("section", "name"), [(section.name, item.name) for section in fields(Config) for item in fields(section.type)])
def test_misspelt_settings_are_named_with_the_nearest_known_one(section, name):
    with pytest.raises(UsageError, match=rf"unknown setting {section}\.{name}x; did you mean {section}\.{name}\?"):
        build_config({section: {f"{name}x": 1}})


def test_all_unknown_settings_are_named_at_once():
    with pytest.raises(UsageError) as caught:
        build_config({"trian": {}, "model": {"wdith": 3, "qqq": 1}, "data": 3})
    assert "unknown setting trian; did you mean train?" in str(caught.value)
    assert "unknown setting model.wdith; did you mean model.width?" in str(caught.value)
    assert "unknown setting model.qqq; known: model.width, model.hidden" in str(caught.value)
    assert "data is a section: write [data]" in str(caught.value)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        *(("train", "batch", value) for value in ("4", 4.0, 4.5, True, [4], "", datetime.date(2020, 1, 1), 0, -1)),
        *(("train", "seg_noise", value) for value in (1, 0, "true", "yes")),
        *(("train", "generator_rate", value) for value in ("1e-4", True, 0, -1.0, float("nan"), float("inf"))),
        *(("train", "feature_weight", value) for value in (-1.0, float("nan"), float("inf"))),
        *(("train", "augment", value) for value in ("color", ["colour"], ["color", "color"], {"color": 1})),
        *(("train", "perceptual", value) for value in ("VGG19", "resnet", 1, "")),
        *(("train", "accumulate", value) for value in (0, 2, 10)),
        *(("train", "ema", value) for value in ([0.0], [0.3], [0.1, 0.1], 0.1)),
        *(("train", "decay_epochs", value) for value in (-1, 311)),
        ("train", "keep", -1),
        ("data", "exclude", ["a", "a"]),
        *(("train", "seed", value) for value in (-1, 2**63)),
        *(("train", "progressive_epochs", value) for value in (179, 400)),
        *(("data", "ignore", value) for value in ("", "none", -1, 28, 65536)),
        *(("data", "classes", value) for value in ([], "abc", ["a", "a"], [1, 2])),
        *(("data", "width", value) for value in (0, -512, 500, 1024)),
        *(("model", "levels", value) for value in (1, 6)),
        *(("model", "upsamplings", value) for value in (1, 10**9)),
        *(("model", "width", value) for value in (0, -8, 12)),
        *(("output", "jpeg_quality", value) for value in (0, 96)),
        ("output", "jpeg_subsampling", "4:1:1"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_name(section, name, value):
    with pytest.raises(UsageError) as caught:
        build_config({section: {name: value}})
    assert any(words in str(caught.value) for words in (name, "the ignore value", "two classes", "the image size"))


def test_file_is_named_in_its_errors(tmp_path):
    path = tmp_path / "my.toml"
    with pytest.raises(UsageError, match=r"my\.toml: No such file"):
        load_config(path)
    for content, message in ((b"[train", "not valid TOML"), (b"a = '\xff'", "not valid TOML"), (b"[train]\nbtach = 3\n", "did you mean train.batch")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=rf"my\.toml.*{message}"):
            load_config(path)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("train.batch=4", 4),
        (" train.batch = 4 ", 4),
        ("train.batch=1e-4", 1e-4),
        ("train.batch=true", True),
        ("train.batch=vgg19", "vgg19"),
        ('train.batch="4"', "4"),
        ("train.batch=/a b/c=d.pth", "/a b/c=d.pth"),
        ('train.batch=["a", "b"]', ["a", "b"]),
        ("train.batch=[]", []),
        ("train.batch=", ""),
    ],
)
def test_assignments(assignment, value):
    assert parse_settings([assignment]) == {"train": {"batch": value}}


def test_later_assignments_win_and_sections_are_joined():
    assert parse_settings(["a.b=1", "a.c=2", "d.e=3", "a.b=4"]) == {"a": {"b": 4, "c": 2}, "d": {"e": 3}}


@pytest.mark.parametrize("assignment", ["", "batch=4", "train.batch", "train.=4", "=", ".=1"])
def test_assignments_that_are_none(assignment):
    with pytest.raises(UsageError, match=r"section\.key=value"):
        build_config(parse_settings([assignment]))


def test_differing_settings_are_named_with_both_values():
    one = Config()
    other = replace(one, train=replace(one.train, batch=7), data=replace(one.data, ignore=255))
    assert differing_settings(one, one) == []
    assert differing_settings(one, other) == ["data.ignore: None -> 255", "train.batch: 5 -> 7"]


@pytest.mark.parametrize(
    ("width", "height", "setting", "network", "fits"),
    [
        (128, 128, "progressive_perceptual", "vgg19", True),
        (192, 64, "progressive_perceptual", "vgg19", False),
        (192, 64, "perceptual", "vgg19", True),
        (192, 64, "perceptual", "inception", False),
        (128, 128, "perceptual", "inception", True),
        (512, 384, "progressive_perceptual", "inception", False),
        (64, 64, "perceptual", "none", True),
    ],
)
def test_images_too_small_for_a_perceptual_network_are_refused(width, height, setting, network, fits):
    settings = {"data": {"width": width, "height": height, "load_width": width}, "train": {setting: network}}
    if fits:
        build_config(settings)
    else:
        with pytest.raises(UsageError, match=rf"train\.{setting} is '{network}', which sees nothing in images of less than"):
            build_config(settings)
