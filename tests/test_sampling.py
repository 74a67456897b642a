import numpy as np
import pytest
from PIL import Image

from apfgan.backend import state_arrays
from apfgan.candidates import Candidate
from apfgan.checkpoints import save_checkpoint
from apfgan.config import Config, DataConfig, ModelConfig, OutputConfig, TrainConfig
from apfgan.images import encode_png
from apfgan.networks import build_painter
from apfgan.randomness import layered_noise, random_source
from apfgan.runs import Run
from apfgan.sampling import to_pixels
from selection.generating import generate_images
from selection.sources import GeneratorSource
from selection.studio import Studio


def test_pixels_are_rounded_and_clipped():
    levels = np.arange(256)
    exact = np.broadcast_to((levels / 127.5 - 1).astype(np.float32), (3, 2, 256))
    np.testing.assert_array_equal(to_pixels(exact, rounding="nearest")[0, :, 0], levels)
    just_below = np.full((3, 1, 1), 99.6 / 127.5 - 1, dtype=np.float32)
    for rounding, level in (("nearest", 100), ("down", 99)):
        assert to_pixels(just_below, rounding=rounding).tolist() == [[[level] * 3]]
        assert to_pixels(np.full((3, 1, 1), 1.2, dtype=np.float32), rounding=rounding).tolist() == [[[255] * 3]]
        assert to_pixels(np.full((3, 1, 1), -1.2, dtype=np.float32), rounding=rounding).tolist() == [[[0] * 3]]


def test_rounding_down_darkens_by_half_a_level():
    image = np.random.default_rng(0).uniform(-1, 1, (3, 100, 100)).astype(np.float32)
    nearest, down = (to_pixels(image, rounding=rounding).astype(float) for rounding in ("nearest", "down"))
    assert (nearest - down).mean() == pytest.approx(0.5, abs=0.01)


def test_rounding_reaches_what_is_judged_and_handed_in(tmp_path):
    (tmp_path / "map.png").write_bytes(encode_png(np.arange(32 * 24, dtype=np.uint8).reshape(24, 32) % 2))
    candidate, drawn, identities = Candidate.parse("1"), {}, []
    for rounding in ("nearest", "down"):
        config = Config(
            data=DataConfig(classes=("sky", "sea"), width=32, height=24, load_width=32),
            model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2, init_gain=1.0),
            train=TrainConfig(progressive_epochs=1, epochs=2),
            output=OutputConfig(rounding=rounding, jpeg_quality=95, jpeg_subsampling="4:4:4"),
        )
        run = Run.create(tmp_path / rounding, config)
        save_checkpoint(run, "1", state_arrays(build_painter(config, seed=0)), epoch=1)
        source = GeneratorSource(Studio(run, ()), candidate)
        identities.append(source.identity)
        (image,) = source.draw([tmp_path / "map.png"])
        generate_images(Studio(run, [tmp_path / "map.png"]), candidate, tmp_path / rounding)
        assert (tmp_path / rounding / "map.jpg").read_bytes() == image.encoded
        generate_images(Studio(run, [tmp_path / "map.png"]), candidate, tmp_path / rounding, form="png")
        drawn[rounding] = np.asarray(Image.open(tmp_path / rounding / "map.png")).astype(int)
    assert set(np.unique(drawn["nearest"] - drawn["down"])) == {0, 1}
    assert identities[0] != identities[1]
    assert [identity["output"]["rounding"] for identity in identities] == ["nearest", "down"]


def test_channels_come_last():
    image = np.zeros((3, 2, 4), dtype=np.float32)
    image[0, 1, 3] = 1
    pixels = to_pixels(image, rounding="nearest")
    assert pixels.shape == (2, 4, 3) and pixels[1, 3].tolist() == [255, 128, 128]


def test_an_image_draws_its_own_noise_whatever_stands_beside_it():
    shapes = [(2, 3), (4, 6)]
    alone = layered_noise([random_source(7, "a")], shapes)
    assert [each.shape for each in alone] == [(1, 1, 2, 3), (1, 1, 4, 6)] and {each.dtype for each in alone} == {np.dtype(np.float32)}
    together = layered_noise([random_source(7, "b"), random_source(7, "a"), random_source(8, "a")], shapes)
    for one, several in zip(alone, together, strict=True):
        np.testing.assert_array_equal(several[1], one[0])
        assert not np.array_equal(several[0], one[0]) and not np.array_equal(several[2], one[0])


def test_noise_is_standard_normal():
    (drawn,) = layered_noise([random_source(0, f"map {index}") for index in range(40)], [(48, 64)])
    assert drawn.mean() == pytest.approx(0, abs=0.01) and drawn.std() == pytest.approx(1, abs=0.01)
