from pathlib import Path

import numpy as np
import pytest

from metrics.clean import CleanInceptionJudge
from metrics.feature_network import FeatureNetwork
from metrics.inception import InceptionJudge


@pytest.fixture(params=["pytorch-fid", "clean"])
def judge(request: pytest.FixtureRequest, inception_weights: Path, clean_inception_weights: Path) -> FeatureNetwork:
    return InceptionJudge(inception_weights) if request.param == "pytorch-fid" else CleanInceptionJudge(clean_inception_weights)


def test_an_images_features_do_not_depend_on_its_company(monkeypatch, judge: FeatureNetwork) -> None:
    images = np.random.default_rng(3).integers(0, 256, (16, 64, 80, 3), dtype=np.uint8)
    maps = np.zeros((16, 64, 80), np.uint8)
    together = judge.observe(images, maps)["features"]
    assert together.shape == (16, 2048)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(judge.observe(images[::-1], maps)["features"][::-1], together)
    np.testing.assert_array_equal(judge.observe(images[13:], maps[13:])["features"], together[13:])

    sizes, look = [], judge._look
    monkeypatch.setattr(judge, "_look", lambda inputs: sizes.append(len(inputs)) or look(inputs))
    monkeypatch.setattr(judge, "_batch", 1)
    alone = judge.observe_photos(list(images))
    assert sizes == [1] * 16
    assert np.linalg.norm(alone - together, axis=1).max() < 1e-6 * np.linalg.norm(together, axis=1).min()
