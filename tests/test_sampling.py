import numpy as np
import pytest

from apfgan.sampling import image_noise, to_pixels


def test_pixels_are_rounded_and_clipped():
    levels = np.arange(256)
    exact = np.broadcast_to((levels / 127.5 - 1).astype(np.float32), (3, 2, 256))
    np.testing.assert_array_equal(to_pixels(exact)[0, :, 0], levels)
    assert to_pixels(np.full((3, 1, 1), 1.2, dtype=np.float32)).tolist() == [[[255] * 3]]
    assert to_pixels(np.full((3, 1, 1), -1.2, dtype=np.float32)).tolist() == [[[0] * 3]]
    just_below = np.full((3, 1, 1), 99.6 / 127.5 - 1, dtype=np.float32)
    assert to_pixels(just_below).tolist() == [[[100] * 3]]  # the original's truncation would give 99


def test_channels_come_last():
    image = np.zeros((3, 2, 4), dtype=np.float32)
    image[0, 1, 3] = 1
    pixels = to_pixels(image)
    assert pixels.shape == (2, 4, 3) and pixels[1, 3].tolist() == [255, 128, 128]


def test_noise_follows_from_seed_and_stem_alone():
    shapes = [(2, 3), (4, 6)]
    one = image_noise("a", 7, shapes)
    assert [each.shape for each in one] == [(1, 2, 3), (1, 4, 6)] and {each.dtype for each in one} == {np.dtype(np.float32)}
    for again, other in zip(one, image_noise("a", 7, shapes), strict=True):
        np.testing.assert_array_equal(again, other)
    assert not np.array_equal(one[0], image_noise("a", 8, shapes)[0])
    assert not np.array_equal(one[0], image_noise("b", 7, shapes)[0])


def test_noise_is_standard_normal():
    drawn = np.concatenate([each.ravel() for index in range(40) for each in image_noise(f"map {index}", 0, [(48, 64)])])
    assert drawn.mean() == pytest.approx(0, abs=0.01) and drawn.std() == pytest.approx(1, abs=0.01)
