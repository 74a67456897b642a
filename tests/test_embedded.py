import numpy as np
import pytest
from PIL import Image, ImageFilter

from apfgan.errors import DataError, WeightsError
from apfgan.labels import Classes
from metrics.aesthetic_proxy import AestheticProxy, colourfulness, proxy_score
from metrics.embedded import EmbeddedJudge, embedded_judges, fit

CLASSES = Classes(names=("sky", "hill", "water", "house"), ignore=255)
WIDTH, HEIGHT = 64, 48


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A made-up landscape, uint8 (H, W, 3), and its label map (H, W): sky, hills, sometimes water and a house."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    light = random.uniform(-20, 20, 3)
    photo = np.array([130, 175, 225]) + light + rows[..., None] * 0.6 + random.normal(0, 2, (HEIGHT, WIDTH, 1))
    label_map = np.zeros((HEIGHT, WIDTH), np.uint8)
    horizon = random.uniform(0.3, 0.6) * HEIGHT
    ridge = horizon + sum(random.normal(0, 3 / wave) * np.sin(columns * wave * 0.1 + random.uniform(0, 6)) for wave in (1, 2, 3, 5))
    coarse = Image.fromarray(random.normal(0, 25, (HEIGHT // 3, WIDTH // 3)).astype(np.float32))
    texture = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))[..., None]
    hill, water = rows > ridge, rows > horizon + random.uniform(6, 20)
    photo[hill] = (np.array([70, 110, 60]) + light / 2 + texture)[hill]
    photo[water] = (np.array([45, 80, 130]) + light / 2 + texture * 0.2)[water]
    label_map[hill], label_map[water] = 1, 2
    if random.random() < 0.5:
        left, top = random.integers(4, WIDTH - 16), int(horizon) - 3
        photo[top : top + 9, left : left + 12] = np.array([175, 85, 65]) + light
        label_map[top : top + 9, left : left + 12] = 3
    label_map[:, :2] = 255
    return np.clip(photo, 0, 255).astype(np.uint8), label_map


def scenes(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = [scene(seed) for seed in range(first, first + count)]
    return np.stack([photo for photo, _ in pairs]), np.stack([label_map for _, label_map in pairs])


def blurred(photos: np.ndarray, radius: float) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(radius))) for photo in photos])


def noisy(photos: np.ndarray, deviation: float) -> np.ndarray:
    return np.clip(photos + np.random.default_rng(0).normal(0, deviation, photos.shape), 0, 255).astype(np.uint8)


def tinted(photos: np.ndarray, strength: float) -> np.ndarray:
    return np.clip(photos * np.array([1 + strength, 1, 1 - strength]), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def judge() -> EmbeddedJudge:
    return fit(*scenes(0, 60), CLASSES, steps=150)


@pytest.fixture(scope="module")
def values(judge: EmbeddedJudge) -> dict[str, dict[str, float]]:
    """Scores of photos held out, and of what becomes of them."""
    photos, label_maps = scenes(1000, 60)
    reference = judge.fit_reference(judge.observe(*scenes(0, 60))["features"])
    sets = {
        "held out": photos,
        "tinted": tinted(photos, 0.1),
        "tinted more": tinted(photos, 0.3),
        "blurred": blurred(photos, 1),
        "blurred more": blurred(photos, 3),
        "noisy": noisy(photos, 10),
        "noisy more": noisy(photos, 40),
        "one picture": np.repeat(photos[:1], len(photos), axis=0),
        "other maps' pictures": photos[::-1],
        "noise": np.random.default_rng(5).integers(0, 256, photos.shape, dtype=np.uint8),
    }
    judges = embedded_judges(judge)
    scored = {name: judges.measure(judges.observe(images, label_maps).observations, [reference]) for name, images in sets.items()}
    return {name: {metric: estimate.value for metric, estimate in each.items()} for name, each in scored.items()}


def test_it_is_never_called_fid(values) -> None:
    assert list(values["held out"])[:3] == ["mask_accuracy", "aesthetic", "fd-embedded"]
    assert not {"fid", "kid"} & values["held out"].keys()


def test_distance_tells_good_from_bad(values) -> None:
    distance = {name: each["fd-embedded"] for name, each in values.items()}
    assert distance["held out"] < 20
    for name in ("tinted", "blurred", "noisy"):
        assert 1.4 * distance["held out"] < distance[name] < distance[f"{name} more"] < distance["noise"]
    assert distance["one picture"] > 100  # 100 for the mean picture, more for any other
    assert distance["noise"] > 300
    assert distance["other maps' pictures"] == pytest.approx(distance["held out"], abs=1e-3)  # a distance of sets does not see pairs


def test_mask_accuracy_tells_whose_picture_it_is(values) -> None:
    accuracy = {name: each["mask_accuracy"] for name, each in values.items()}
    assert accuracy["held out"] > 0.93
    assert accuracy["other maps' pictures"] < accuracy["held out"] - 0.1
    assert accuracy["noise"] < 0.6


def test_the_same_seed_gives_the_same_judge() -> None:
    photos, label_maps = scenes(0, 6)
    one, same, other = (fit(photos, label_maps, CLASSES, seed=seed, steps=3).identity for seed in (1, 1, 2))
    assert one == same
    assert one["weights"] != other["weights"]


def test_an_image_is_judged_by_itself(judge: EmbeddedJudge) -> None:
    photos, label_maps = scenes(2000, 20)
    together = judge.observe(photos, label_maps)
    alone = judge.observe(photos[7:8], label_maps[7:8])
    np.testing.assert_allclose(together["features"][7:8], alone["features"], atol=1e-3)
    assert np.abs(together["confusion"][7].astype(int) - alone["confusion"][0]).max() <= 2


def test_photos_are_brought_to_the_images_size(judge: EmbeddedJudge) -> None:
    photos, label_maps = scenes(0, 3)
    np.testing.assert_allclose(judge.observe_photos(photos), judge.observe(photos, label_maps)["features"], atol=1e-3)
    large = np.asarray(Image.fromarray(photos[0]).resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.BICUBIC))
    assert judge.observe_photos([large, *photos[1:]]).shape == (3, judge.observe(photos, label_maps)["features"].shape[1])


def test_large_images_are_judged_at_a_smaller_size() -> None:
    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (2, 384, 512, 3), dtype=np.uint8)
    label_maps = random.integers(0, 4, (2, 384, 512), dtype=np.uint16)
    judge = fit(photos, label_maps, CLASSES, steps=1)
    assert judge.identity["image_size"] == [512, 384]
    assert judge.identity["judged_size"] == [128, 96]
    confusion = judge.observe(photos, label_maps)["confusion"]
    assert confusion.sum() == label_maps.size  # at the size of the label maps, none ignored


def test_saved_and_loaded_it_sees_the_same(judge: EmbeddedJudge, tmp_path) -> None:
    judge.save(tmp_path / "judge.safetensors")
    again = EmbeddedJudge.load(tmp_path / "judge.safetensors")
    photos, label_maps = scenes(3000, 4)
    assert again.identity == judge.identity
    for name, array in judge.observe(photos, label_maps).items():
        assert (again.observe(photos, label_maps)[name] == array).all()


@pytest.mark.parametrize("damage", ["cut", "flipped bit", "no identity", "another version"])
def test_a_damaged_judge_is_not_used(judge: EmbeddedJudge, tmp_path, damage: str) -> None:
    path = tmp_path / "judge.safetensors"
    judge.save(path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped bit":
        content[-1000] ^= 1
        path.write_bytes(content)
    elif damage == "no identity":
        path.with_suffix(".json").unlink()
    else:
        text = path.with_suffix(".json").read_text()
        path.with_suffix(".json").write_text(text.replace('"version": 1', '"version": 99'))
    with pytest.raises(WeightsError, match="fitted anew"):
        EmbeddedJudge.load(path)


def test_what_cannot_be_fitted_is_refused() -> None:
    photos, label_maps = scenes(0, 3)
    with pytest.raises(DataError, match="at least 2 photos"):
        fit(photos[:1], label_maps[:1], CLASSES)
    with pytest.raises(DataError, match="class 7"):
        fit(photos, np.where(label_maps == 3, 7, label_maps), CLASSES)


def test_a_batch_without_a_label_does_no_harm() -> None:
    photos, label_maps = scenes(0, 3)
    judge = fit(photos, np.full_like(label_maps, 255), CLASSES, steps=2)
    assert np.isfinite(judge.observe(photos, label_maps)["features"]).all()


def test_the_proxy_prefers_clear_colourful_pictures(values) -> None:
    aesthetic = {name: each["aesthetic"] for name, each in values.items()}
    for worse in ("blurred more", "noisy", "noisy more", "noise"):
        assert aesthetic[worse] < aesthetic["held out"]
    assert aesthetic["noise"] < 1


def test_the_proxy_is_monotone() -> None:
    photo = scene(4)[0]
    grey = photo.mean(axis=2, keepdims=True)
    colour = [proxy_score(np.clip(grey + share * (photo - grey), 0, 255).astype(np.uint8)) for share in (0, 0.3, 0.6, 1)]
    contrast = [proxy_score(np.clip(128 + share * (photo.astype(float) - 128), 0, 255).astype(np.uint8)) for share in (0, 0.25, 0.5, 1)]
    sharpness = [proxy_score(blurred(photo[None], radius)[0]) for radius in (6, 3, 1.5)]
    noise = [proxy_score(noisy(photo[None], deviation)[0]) for deviation in (60, 30, 15, 5)]
    for scores in (colour, contrast, sharpness, noise):
        assert scores == sorted(scores)
        assert len(set(scores)) == len(scores)
        assert all(0 <= each <= 10 for each in scores)
    assert contrast[0] == 0


def test_colourfulness_of_known_pictures() -> None:
    """By hand from Hasler and Süsstrunk's formula: half pure red, half pure green."""
    rgb = np.zeros((2, 2, 3))
    rgb[0, :, 0], rgb[1, :, 1] = 255, 255
    # red-green is +-255 (mean 0, deviation 255), yellow-blue is 127.5 everywhere
    assert colourfulness(rgb) == pytest.approx(255 + 0.3 * 127.5)
    assert colourfulness(np.full((4, 4, 3), 90.0)) == 0


def test_the_proxy_has_an_identity() -> None:
    assert AestheticProxy().identity["name"] == "colour-contrast-sharpness"
