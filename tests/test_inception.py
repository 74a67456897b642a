from pathlib import Path

import pytest
import torch

from apfgan.errors import WeightsError
from metrics.inception import InceptionJudge


@pytest.fixture(scope="module")
def judge(inception_weights: Path) -> InceptionJudge:
    return InceptionJudge(inception_weights)


def test_layout_is_that_of_the_real_file(inception_weights: Path) -> None:
    state = torch.load(inception_weights, weights_only=True)
    assert len(state) == 566
    assert sum(tensor.numel() for tensor in state.values()) == 23_885_486
    assert state["fc.weight"].shape == (1008, 2048)


def test_identity_follows_the_weights(tmp_path, inception_weights: Path, judge: InceptionJudge) -> None:
    state = torch.load(inception_weights, weights_only=True)
    state["fc.bias"][0] += 1
    torch.save(state, tmp_path / "other.pth")
    assert InceptionJudge(tmp_path / "other.pth").identity["weights"] != judge.identity["weights"]


def test_another_networks_file_is_refused(tmp_path, inception_weights: Path) -> None:
    state = torch.load(inception_weights, weights_only=True)
    del state["Mixed_7c.branch_pool.conv.weight"]
    state["AuxLogits.fc.bias"] = torch.zeros(1)
    state["fc.weight"] = torch.zeros(1000, 2048)
    torch.save(state, tmp_path / "torchvision.pth")
    with pytest.raises(WeightsError, match=r"missing Mixed_7c.*unexpected AuxLogits.*\(1000, 2048\), expected \(1008, 2048\)"):
        InceptionJudge(tmp_path / "torchvision.pth")


def test_clean_fids_file_is_refused_for_what_it_is(clean_inception_weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"inception-2015-12-05\.pt is a TorchScript network, as clean-fid's"):
        InceptionJudge(clean_inception_weights)


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
