import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_fid.fid_score
import pytorch_fid.inception
import torch
from PIL import Image

from apfgan.errors import WeightsError
from metrics.frechet import frechet_distance
from metrics.inception import Inception, InceptionJudge


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file of the real layout (566 tensors) with random weights that keep the activations alive."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Inception()
        for name, tensor in network.state_dict().items():
            if name.endswith("conv.weight"):
                torch.nn.init.kaiming_normal_(tensor)
            elif name.endswith(("bn.bias", "running_mean")):
                tensor.normal_(0, 0.2)
            elif name.endswith(("bn.weight", "running_var")):
                tensor.uniform_(0.7, 1.4)
    path = tmp_path_factory.mktemp("weights") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def judge(weights: Path) -> InceptionJudge:
    return InceptionJudge(weights)


@pytest.fixture(scope="module")
def theirs(weights: Path) -> torch.nn.Module:
    """pytorch-fid's own network with the same weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: torch.load(weights, weights_only=True))
        return pytorch_fid.inception.InceptionV3([3]).eval()


def write_photos(folder: Path, *, seed: int, sizes: list[tuple[int, int]]) -> list[Path]:
    """Smooth random pictures as PNG files, of the given sizes (width, height)."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    paths = []
    for index, size in enumerate(sizes):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        paths.append(folder / f"{index:02d}.png")
        coarse.resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def fid_by_pytorch_fid(generated: np.ndarray, photos: np.ndarray) -> float:
    """Their formula in the few dimensions that so few images span: turning the axes changes no distance, and 2048 of them take a minute."""
    turned = np.vstack([generated, photos]) @ np.linalg.qr(np.vstack([generated, photos]).T)[0]
    one, other = turned[: len(generated)], turned[len(generated) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of sqrtm: how pytorch-fid calls it, and singular matrices
        return float(
            pytorch_fid.fid_score.calculate_frechet_distance(one.mean(0), np.cov(one, rowvar=False), other.mean(0), np.cov(other, rowvar=False))
        )


def test_layout_is_that_of_the_real_file(weights: Path) -> None:
    state = torch.load(weights, weights_only=True)
    assert len(state) == 566
    assert sum(tensor.numel() for tensor in state.values()) == 23_885_486
    assert state["fc.weight"].shape == (1008, 2048)


def test_features_and_fid_equal_pytorch_fid(tmp_path, judge: InceptionJudge, theirs: torch.nn.Module) -> None:
    photos = write_photos(tmp_path / "photos", seed=1, sizes=[(160, 120)] * 4 + [(96, 128), (310, 200)])
    generated = write_photos(tmp_path / "generated", seed=2, sizes=[(128, 96)] * 5)
    expected = {
        name: pytorch_fid.fid_score.get_activations(paths, theirs, batch_size=1, num_workers=0)
        for name, paths in (("photos", photos), ("generated", generated))
    }
    real = judge.observe_photos([np.asarray(Image.open(path)) for path in photos])
    images = np.stack([np.asarray(Image.open(path)) for path in generated])
    seen = judge.observe(images, np.zeros(images.shape[:3], np.uint8))["features"]
    assert seen.dtype == np.float32
    scale = expected["photos"].std()
    np.testing.assert_allclose(real, expected["photos"], atol=1e-5 * scale, rtol=1e-5)
    np.testing.assert_allclose(seen, expected["generated"], atol=1e-5 * scale, rtol=1e-5)
    assert frechet_distance(seen, judge.fit_reference(real).gaussian) == pytest.approx(
        fid_by_pytorch_fid(expected["generated"], expected["photos"]), abs=1e-3
    )
    assert judge.fit_reference(real).distance == judge.distance == "fid"


def test_an_image_is_judged_by_itself(judge: InceptionJudge) -> None:
    images = np.random.default_rng(3).integers(0, 256, (3, 64, 80, 3), dtype=np.uint8)
    maps = np.zeros((3, 64, 80), np.uint8)
    together = judge.observe(images, maps)["features"]
    alone = judge.observe(images[1:2], maps[1:2])["features"]
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4 * together.std())


def test_identity_follows_the_weights(tmp_path, weights: Path, judge: InceptionJudge) -> None:
    state = torch.load(weights, weights_only=True)
    state["fc.bias"][0] += 1
    torch.save(state, tmp_path / "other.pth")
    assert InceptionJudge(tmp_path / "other.pth").identity["weights"] != judge.identity["weights"]


def test_another_networks_file_is_refused(tmp_path, weights: Path) -> None:
    state = torch.load(weights, weights_only=True)
    del state["Mixed_7c.branch_pool.conv.weight"]
    state["AuxLogits.fc.bias"] = torch.zeros(1)
    state["fc.weight"] = torch.zeros(1000, 2048)
    torch.save(state, tmp_path / "torchvision.pth")
    with pytest.raises(WeightsError, match=r"missing Mixed_7c.*unexpected AuxLogits.*\(1000, 2048\), expected \(1008, 2048\)"):
        InceptionJudge(tmp_path / "torchvision.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04cut short"])
def test_a_damaged_file_is_named(tmp_path, content: bytes) -> None:
    (tmp_path / "cut.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"cut\.pth"):
        InceptionJudge(tmp_path / "cut.pth")


def test_a_pickle_is_not_executed(tmp_path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match=r"trap\.pth"):
        InceptionJudge(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
