"""Images that something else stored, as a source for the judges."""

import io
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apfgan.candidates import Candidate
from apfgan.config import PRESETS, OutputConfig
from apfgan.errors import DataError
from apfgan.image_sets import StoredImage, check_images, find_images, pair_images
from apfgan.images import encode_jpeg, encode_png
from apfgan.labels import Classes
from apfgan.runs import Run
from selection.sources import GeneratorSource, ImageSource, StoredSource
from selection.studio import Studio

CLASSES = Classes.numbered(182, ignore=255)
SIZE = (33, 50)
"""Width and height of the images: no generator of this project draws such."""


def make_images(folder: Path, *, count: int = 12) -> Path:
    source = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        (folder / f"{index}.png").write_bytes(encode_png(source.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_images(tmp_path / "images")


@pytest.fixture
def label_maps(tmp_path: Path) -> list[Path]:
    """Of twice the size of the images, and a pixel more."""
    source = np.random.default_rng(1)
    (tmp_path / "labels").mkdir()
    paths = [tmp_path / "labels" / f"{index}.png" for index in range(12)]
    for path in paths:
        path.write_bytes(encode_png(source.choice([0, 3, 181, 255], (2 * SIZE[1] + 1, 2 * SIZE[0] + 1)).astype(np.uint8)))
    return paths


def stored(folder: Path, *, convert: bool = False, reencode: OutputConfig | None = None) -> StoredSource:
    return StoredSource(check_images(find_images(folder), convert=convert, reencoded=reencode is not None), CLASSES, reencode)


def test_images_come_with_their_label_maps_in_the_order_asked_for(folder: Path, label_maps: list[Path]) -> None:
    source: ImageSource = stored(folder)
    asked = random.Random(0).sample(label_maps, 7)
    drawn = list(source.draw(asked))
    assert [each.stem for each in drawn] == [path.stem for path in asked]
    for path, each in zip(asked, drawn, strict=True):
        content = (folder / path.name).read_bytes()
        assert each.encoded == content
        np.testing.assert_array_equal(each.pixels, np.asarray(Image.open(io.BytesIO(content))))
        large = np.asarray(Image.open(path))
        rows = [int((row + 0.5) * large.shape[0] / SIZE[1]) for row in range(SIZE[1])]
        columns = [int((column + 0.5) * large.shape[1] / SIZE[0]) for column in range(SIZE[0])]
        np.testing.assert_array_equal(each.label_map, large[np.ix_(rows, columns)])


def test_it_is_known_by_names_and_content_and_never_by_place(folder: Path, tmp_path: Path) -> None:
    source = stored(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert stored(tmp_path / "copy").identity == source.identity
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "images")
    assert stored(tmp_path / "packed.zip").identity == source.identity

    identities = [source.identity, stored(folder, convert=True).identity]
    identities += [stored(folder, reencode=output).identity for output in (OutputConfig(), OutputConfig(jpeg_quality=90))]
    changed = np.array(Image.open(folder / "3.png"))
    changed[0, 0, 0] ^= 1
    (folder / "3.png").write_bytes(encode_png(changed))
    identities.append(stored(folder).identity)
    (tmp_path / "copy" / "3.png").rename(tmp_path / "copy" / "13.png")
    identities.append(stored(tmp_path / "copy").identity)
    assert all(one != other for index, one in enumerate(identities) for other in identities[:index])


def test_encoded_again_they_are_what_a_submission_would_hold(folder: Path, label_maps: list[Path]) -> None:
    output = OutputConfig(jpeg_quality=60, jpeg_subsampling="4:2:2")
    source = stored(folder, reencode=output)
    for path, each in zip(label_maps, source.draw(label_maps), strict=True):
        expected = encode_jpeg(np.asarray(Image.open(folder / path.name)), quality=60, subsampling="4:2:2")
        assert each.encoded == expected
        np.testing.assert_array_equal(each.pixels, np.asarray(Image.open(io.BytesIO(expected))))
    assert source.encoding == {"format": "JPEG", "quality": 60, "subsampling": "4:2:2"}


def test_images_stored_in_several_ways_become_alike(folder: Path, label_maps: list[Path]) -> None:
    (folder / "3.png").unlink()
    (folder / "3.jpg").write_bytes(encode_jpeg(np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8), quality=30, subsampling="4:2:0"))
    with pytest.raises(DataError, match="--reencode"):
        stored(folder)
    source = stored(folder, reencode=OutputConfig())
    assert all(Image.open(io.BytesIO(each.encoded)).format == "JPEG" for each in source.draw(label_maps))
    assert source.encoding == {"format": "JPEG", "quality": 75, "subsampling": "4:2:0"}


def test_a_submission_of_this_project_is_stored_as_its_generator_stores(tmp_path: Path) -> None:
    """So that both may be compared: a folder of such JPEGs, and the generator that would write them."""
    run = Run.create(tmp_path / "run", PRESETS["tiny"])
    output = run.config.output
    (tmp_path / "results").mkdir()
    for index in range(2):
        photo = np.random.default_rng(index).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        content = encode_jpeg(photo, quality=output.jpeg_quality, subsampling=output.jpeg_subsampling)
        (tmp_path / "results" / f"{index}.jpg").write_bytes(content)
    assert stored(tmp_path / "results").encoding == GeneratorSource(Studio(run, ()), Candidate(("1",))).encoding
    assert stored(make_images(tmp_path / "others")).encoding == {"format": "PNG"}


def test_doubtful_images_are_converted_when_asked(folder: Path, label_maps: list[Path]) -> None:
    half = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 4), dtype=np.uint8)
    (folder / "5.png").write_bytes(encode_png(half))
    with pytest.raises(DataError, match=r"5\.png: parts of this photo are transparent"):
        stored(folder)
    drawn = list(stored(folder, convert=True).draw([label_maps[5]]))
    np.testing.assert_array_equal(drawn[0].pixels, half[..., :3])


def test_an_image_that_changed_since_is_not_judged_under_the_old_name(folder: Path, label_maps: list[Path]) -> None:
    source = stored(folder)
    (folder / "4.png").write_bytes((folder / "5.png").read_bytes())
    assert len(list(source.draw(label_maps[:4]))) == 4
    with pytest.raises(DataError, match=r"images/4\.png: changed since it was checked"):
        list(source.draw(label_maps))


def test_a_label_map_without_image_is_named(folder: Path, label_maps: list[Path]) -> None:
    checked = check_images([image for image in find_images(folder) if image.stem != "7"])
    with pytest.raises(DataError, match=r"labels/7\.png: there is no image of this label map"):
        list(StoredSource(checked, CLASSES).draw(label_maps))


def test_accents_may_be_stored_otherwise(folder: Path, label_maps: list[Path]) -> None:
    image = (folder / "0.png").rename(folder / "cafe\u0301.png")
    label_map = label_maps[0].rename(label_maps[0].with_stem("caf\u00e9"))
    paired = pair_images([StoredImage(image)], [label_map])
    (drawn,) = StoredSource(check_images(paired.images), CLASSES).draw(paired.label_maps)
    assert drawn.stem == "caf\u00e9"


def test_the_real_photos_score_in_their_own_place() -> None:
    data = Path(__file__).parents[2] / "shared" / "data" / "landscape-mini" / "train"
    if not data.is_dir():
        pytest.skip("the sample data is not here")
    label_maps = sorted((data / "labels").iterdir())
    paired = pair_images(find_images(data / "imgs"), label_maps)
    source = StoredSource(check_images(paired.images), Classes())
    assert source.encoding["format"] == "JPEG"
    for each in source.draw(paired.label_maps):
        assert each.pixels.shape[:2] == each.label_map.shape == (768, 1024)
        assert each.label_map.max() < 29
