"""What is known of the photos: fitted, kept, exchanged with pytorch-fid and clean-fid themselves, and measured against."""

import pickle
import warnings
from pathlib import Path

import cleanfid
import numpy as np
import pytest
import torch
from cleanfid import fid as clean_fid
from PIL import Image
from pytorch_fid import fid_score as pytorch_fid

from apfgan.errors import DataError
from metrics.frechet import Gaussian, frechet_distance
from metrics.kid import measure_kid
from metrics.manifold import measure_manifold
from metrics.reference import Reference


def draw(count: int, dimensions: int, *, seed: int, shift: float = 0.0) -> np.ndarray:
    """Non-negative, correlated features, as a network's pooled features are."""
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)
    return np.maximum(np.random.default_rng(seed).normal(shift, size=(count, dimensions)) @ mixing + 0.5, 0).astype(np.float32)


def value(features: np.ndarray, reference: Reference) -> float:
    return reference.measure(features)[reference.distance].value


def by_pytorch_fid(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    exact = features.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of sqrtm
        return float(pytorch_fid.calculate_frechet_distance(exact.mean(0), np.cov(exact, rowvar=False), mean, covariance))


class Small(torch.nn.Module):
    """In place of either library's network, whose weights are files: 64 features of images of any size, as pytorch-fid's first block has."""

    BLOCK_INDEX_BY_DIM = pytorch_fid.InceptionV3.BLOCK_INDEX_BY_DIM

    def __init__(self, _blocks: list[int]) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [torch.nn.functional.conv2d(images, self.kernel, stride=4).relu()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 30 small photos."""
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 24, 3), dtype=np.uint8)
    for index, photo in enumerate(pixels):
        Image.fromarray(photo).save(tmp_path / "photos" / f"{index:02d}.png")
    return tmp_path / "photos"


@pytest.fixture
def statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where clean-fid keeps statistics."""
    monkeypatch.setattr(cleanfid, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "stats").mkdir()
    return tmp_path / "stats"


def test_names_follow_the_distances() -> None:
    real, fake = draw(40, 6, seed=1), draw(30, 6, seed=2, shift=0.2)
    assert list(Reference.fit(real).measure(fake)) == ["fid", "kid", "precision", "recall"]
    for distance, suffix in (("fid-clean", "clean"), ("fd-embedded", "embedded")):
        measured = Reference.fit(real, distance=distance).measure(fake)
        assert list(measured) == [distance, f"kid-{suffix}", f"precision-{suffix}", f"recall-{suffix}"]


def test_measures_what_the_statistics_say() -> None:
    real, fake = draw(40, 6, seed=1), draw(30, 6, seed=2, shift=0.2)
    measured = Reference.fit(real).measure(fake)
    manifold = measure_manifold(fake=fake, real=real)
    assert measured["fid"].value == frechet_distance(fake, Gaussian.fit(real))
    assert measured["kid"].value == measure_kid(fake=fake, real=real).value
    assert (measured["precision"].value, measured["recall"].value) == (manifold.precision.value, manifold.recall.value)
    assert manifold.precision.value != manifold.recall.value
    for each in measured.values():
        assert each.influence.shape == (30,)
        assert each.influence.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("images", "photos", "names"), [(4, 9, ["fid", "kid"]), (9, 3, ["fid", "kid"]), (2, 2, ["fid", "kid"])])
def test_few_images_have_no_neighbours(images: int, photos: int, names: list[str]) -> None:
    assert list(Reference.fit(draw(photos, 6, seed=1)).measure(draw(images, 6, seed=2))) == names


def test_a_relative_distance_scores_the_mean_picture_100() -> None:
    real = draw(200, 16, seed=5).astype(np.float64) * 37
    reference = Reference.fit(real, distance="fd-embedded", relative=True)
    mean_picture = np.repeat(real.mean(0, keepdims=True), 3, axis=0)
    assert value(mean_picture, reference) == pytest.approx(100)
    scaled = Reference.fit(real * 1000, relative=True)
    generated = draw(40, 16, seed=6) * 37
    measured = reference.measure(generated)["fd-embedded"]
    assert value(generated * 1000, scaled) == pytest.approx(measured.value)
    raw = frechet_distance(generated, reference.gaussian)
    assert measured.value == pytest.approx(raw * 100 / np.trace(np.cov(real, rowvar=False)))


@pytest.mark.parametrize("count", [12, 100], ids=["fewer photos than features", "more"])
def test_saving_changes_no_number(tmp_path: Path, count: int) -> None:
    reference = Reference.fit(draw(count, 20, seed=1), distance="fd-embedded", relative=True)
    reference.save(tmp_path / "photos.npz")
    again = Reference.load(tmp_path / "photos.npz", distance="fd-embedded")
    assert (again.count, again.distance, again.unit, again.kernel_mean) == (count, "fd-embedded", reference.unit, reference.kernel_mean)
    generated = draw(30, 20, seed=3)
    first, second = reference.measure(generated), again.measure(generated)
    assert list(first) == list(second)
    for name, measured in first.items():
        assert second[name].value == measured.value
        np.testing.assert_array_equal(second[name].influence, measured.influence)


def test_the_same_photos_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.npz", "other.npz"):
        Reference.fit(draw(30, 8, seed=1)).save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


def test_pytorch_fid_reads_what_is_saved(tmp_path: Path) -> None:
    real, generated = draw(100, 20, seed=1), draw(60, 20, seed=2, shift=0.5)
    reference = Reference.fit(real)
    reference.save(tmp_path / "photos.npz")
    mean, covariance = pytorch_fid.compute_statistics_of_path(str(tmp_path / "photos.npz"), None, 50, 20, "cpu")
    assert value(generated, reference) == pytest.approx(by_pytorch_fid(generated, mean, covariance), rel=1e-9)


def test_reads_what_pytorch_fid_saves(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch_fid, "InceptionV3", Small)
    pytorch_fid.save_fid_stats([str(photos), str(tmp_path / "theirs.npz")], 10, "cpu", 64, num_workers=0)
    reference = Reference.load(tmp_path / "theirs.npz")
    assert (reference.count, reference.features, reference.distance) == (None, None, "fid")
    files = sorted(photos.iterdir())
    features = pytorch_fid.get_activations(files, Small([0]), 10, 64, "cpu", num_workers=0)
    assert list(reference.measure(features[:20])) == ["fid"]
    assert value(features[:20], reference) == pytest.approx(value(features[:20], Reference.fit(features)), rel=1e-9)


def test_exchanges_files_with_clean_fid(statistics: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mean is float32 and its covariance float64; its features for KID lie in a file of their own."""
    monkeypatch.setattr(clean_fid, "build_feature_extractor", lambda *_: lambda images: Small([0])(images)[0].mean((2, 3)))
    clean_fid.make_custom_stats("theirs", str(photos), device="cpu", verbose=False)
    reference = Reference.load(statistics / "theirs_clean_custom_na.npz", distance="fid-clean")
    with_features = Reference.load(statistics / "theirs_clean_custom_na_kid.npz", distance="fid-clean")
    features = with_features.features
    assert features is not None
    with np.load(statistics / "theirs_clean_custom_na.npz") as file:
        assert (file["mu"].dtype, file["sigma"].dtype) == (np.float32, np.float64)
    generated = features[:20] + 0.5 * np.random.default_rng(1).normal(size=(20, 64)).astype(np.float32)
    assert list(reference.measure(generated)) == ["fid-clean"]
    assert list(with_features.measure(generated)) == ["fid-clean", "kid-clean", "precision-clean", "recall-clean"]
    assert value(generated, reference) == pytest.approx(value(generated, with_features), rel=1e-5)

    with_features.save(statistics / "ours_clean_custom_na.npz")
    mean, covariance = clean_fid.get_reference_statistics("ours", "na", split="custom")
    assert by_pytorch_fid(generated, mean, covariance) == pytest.approx(value(generated, with_features), abs=1e-3)
    with_features.save(statistics / "ours_clean_custom_na_kid.npz")
    np.testing.assert_array_equal(clean_fid.get_reference_statistics("ours", "na", split="custom", metric="KID"), features)


def test_a_foreign_file_is_called_as_the_judge_calls_it(tmp_path: Path) -> None:
    real = draw(100, 20, seed=1).astype(np.float64)
    np.savez(tmp_path / "theirs.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    assert Reference.load(tmp_path / "theirs.npz").distance == "fid"
    assert Reference.load(tmp_path / "theirs.npz", distance="fid-clean").distance == "fid-clean"
    Reference.fit(real, distance="fd-clip").save(tmp_path / "ours.npz")
    assert Reference.load(tmp_path / "ours.npz", distance="fd-clip").distance == "fd-clip"
    with pytest.raises(DataError, match=r"ours\.npz is a reference for fd-clip, and fid is to be measured"):
        Reference.load(tmp_path / "ours.npz", distance="fid")


def test_single_precision_is_refused_in_the_covariance_alone(tmp_path: Path) -> None:
    real, generated = draw(100, 20, seed=1).astype(np.float64), draw(60, 20, seed=2, shift=0.3)
    mean, covariance = real.mean(0), np.cov(real, rowvar=False)
    np.savez(tmp_path / "mean.npz", mu=mean.astype(np.float32), sigma=covariance)
    assert value(generated, Reference.load(tmp_path / "mean.npz")) == pytest.approx(value(generated, Reference.fit(real)), rel=1e-6)
    for name, arrays in (("covariance", {"sigma": covariance.astype(np.float32)}), ("half", {"mu": mean.astype(np.float16)})):
        np.savez(tmp_path / f"{name}.npz", **({"mu": mean, "sigma": covariance} | arrays))
        with pytest.raises(DataError, match=rf"{name}\.npz: .*float.*float64 covariance is needed"):
            Reference.load(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"mu": np.zeros(3)},
        {"mu": np.zeros(3), "sigma": np.zeros((2, 2))},
        {"mu": np.full(2, np.nan), "sigma": np.eye(2)},
        {"mu": np.zeros(2), "sigma": np.array([[1.0, 0.0], [0.5, 1.0]])},
        {"mu": np.zeros(2), "sigma": np.array([[1.0, 2.0], [2.0, 1.0]])},
        {"mu": np.zeros(2, dtype=object), "sigma": np.eye(2)},
    ],
    ids=["empty", "no sigma", "sizes", "not finite", "not symmetric", "negative", "objects"],
)
def test_refuses_a_file_without_statistics(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(DataError, match=r"wrong\.npz"):
        Reference.load(tmp_path / "wrong.npz")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    Reference.fit(draw(30, 8, seed=1)).save(tmp_path / "whole.npz")
    content = (tmp_path / "whole.npz").read_bytes()
    for damaged in (b"", b"PK\x03\x04 not a zip at all", content[: len(content) // 2], content[:2000] + b"?" + content[2001:]):
        (tmp_path / "cut.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"cut\.npz"):
            Reference.load(tmp_path / "cut.npz")
    with pytest.raises(DataError, match=r"none\.npz"):
        Reference.load(tmp_path / "none.npz")


def test_a_pickle_is_not_opened_but_explained(tmp_path: Path) -> None:
    """As edm2 keeps its references: what the message says turns one into a file that is read."""
    real, generated = draw(100, 20, seed=1).astype(np.float64), draw(60, 20, seed=2)
    kept = {"fid": {"mu": real.mean(0), "sigma": np.cov(real, rowvar=False)}}
    (tmp_path / "edm2.pkl").write_bytes(pickle.dumps(kept))
    with pytest.raises(DataError, match=r"edm2\.pkl is a pickle.*numpy\.savez\('reference\.npz', \*\*pickle\.load\(open\(FILE, 'rb'\)\)\['fid'\]\)"):
        Reference.load(tmp_path / "edm2.pkl")
    np.savez(tmp_path / "reference.npz", **pickle.loads((tmp_path / "edm2.pkl").read_bytes())["fid"])
    assert value(generated, Reference.load(tmp_path / "reference.npz")) == pytest.approx(value(generated, Reference.fit(real)), rel=1e-9)


def test_features_of_another_judge_are_refused() -> None:
    with pytest.raises(DataError, match="the images have 8 features, the reference 9: they come from different judges"):
        Reference.fit(draw(50, 9, seed=2)).measure(draw(10, 8, seed=1))


def test_photos_that_are_copies_are_refused() -> None:
    with pytest.raises(DataError, match="copies"):
        Reference.fit(np.ones((5, 3)))
