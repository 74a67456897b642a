"""Reading the files that people really have: the label zoo and the photo zoo."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from apfgan import images
from apfgan.errors import DataError, EnvironmentProblem
from apfgan.labels import Classes

CLASSES = Classes()
RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(0, 29, size=(12, 16)).astype(np.uint8)
PHOTO = RANDOM.integers(0, 256, size=(12, 16, 3)).astype(np.uint8)


def png(rows: list[bytes], width: int, *, bits: int, colour: int, extra: bytes = b"") -> bytes:
    """A PNG written by hand: an independent source of the depths that Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_label_maps_are_read_whatever_their_depth(tmp_path: Path) -> None:
    palette = Image.frombytes("P", (16, 12), IDS.tobytes())
    palette.putpalette(RANDOM.integers(0, 256, 768).tolist())
    alpha = np.dstack([IDS, IDS, IDS, np.full_like(IDS, 255)])
    zoo = {
        "grey8": Image.fromarray(IDS),
        "grey16": Image.fromarray(IDS.astype(np.uint16)),
        "palette": palette,
        "rgb": Image.fromarray(np.dstack([IDS] * 3)),
        "rgba": Image.fromarray(alpha),
        "grey_alpha": Image.fromarray(alpha[..., 2:]),
    }
    for name, image in zoo.items():
        read = images.read_label_map(saved(tmp_path / f"{name}.png", image), CLASSES)
        assert read.dtype == np.uint8, name
        np.testing.assert_array_equal(read, IDS, err_msg=name)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("colour", [0, 3])
def test_low_depths_are_not_stretched(tmp_path: Path, bits: int, colour: int) -> None:
    ids = np.arange(16).reshape(2, 8) % 2**bits
    digits = [int("".join(f"{value:0{bits}b}" for value in row), 2).to_bytes(bits, "big") for row in ids]
    palette = bytes(RANDOM.integers(0, 256, 3 * 2**bits).tolist())
    extra = struct.pack(">I", len(palette)) + b"PLTE" + palette + struct.pack(">I", zlib.crc32(b"PLTE" + palette)) if colour == 3 else b""
    path = tmp_path / "low.png"
    path.write_bytes(png(digits, 8, bits=bits, colour=colour, extra=extra))
    np.testing.assert_array_equal(images.read_label_map(path, CLASSES), ids)


def test_mode_one_holds_the_ids_zero_and_one(tmp_path: Path) -> None:
    ids = IDS % 2
    path = saved(tmp_path / "bits.png", Image.fromarray(ids * 255).convert("1"))
    np.testing.assert_array_equal(images.read_label_map(path, CLASSES), ids)


@pytest.mark.parametrize("value", [29, 255, 284, 65535])
def test_ids_that_do_not_fit_are_refused_before_they_are_narrowed(tmp_path: Path, value: int) -> None:
    ids = IDS.astype(np.uint16)
    ids[3, 4:6] = value
    path = saved(tmp_path / "map.png", Image.fromarray(ids))
    with pytest.raises(DataError, match=rf"map\.png: holds {value} \(2 pixels\); allowed ids: 0\.\.28"):
        images.read_label_map(path, CLASSES)
    read = images.read_label_map(path, Classes(ignore=value))
    np.testing.assert_array_equal(read, ids)
    assert read.dtype == (np.uint8 if value < 256 else np.uint16)


def test_many_wrong_ids_are_counted(tmp_path: Path) -> None:
    path = saved(tmp_path / "map.png", Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    with pytest.raises(DataError, match="and 219 more"):
        images.read_label_map(path, CLASSES)


def test_two_hundred_and_fifty_seven_classes_need_sixteen_bits(tmp_path: Path) -> None:
    ids = np.array([[0, 256]], dtype=np.uint16)
    path = saved(tmp_path / "map.png", Image.fromarray(ids))
    read = images.read_label_map(path, Classes.numbered(257))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, ids)


def test_label_maps_that_are_none_are_refused(tmp_path: Path) -> None:
    deep = b"".join(struct.pack(">HHH", *(284,) * 3) for _ in range(4))
    (tmp_path / "deep.png").write_bytes(png([deep, deep], 4, bits=16, colour=2))
    transparent = np.dstack([IDS, IDS, IDS, np.full_like(IDS, 200)])
    turned = Image.Exif()
    turned[0x0112] = 6
    saved(tmp_path / "jpeg.png", Image.fromarray(IDS), format="JPEG")
    saved(tmp_path / "colours.png", Image.fromarray(CLASSES.paint(IDS)))
    saved(tmp_path / "transparent.png", Image.fromarray(transparent))
    saved(tmp_path / "turned.png", Image.fromarray(IDS), exif=turned)
    saved(tmp_path / "gif.png", Image.fromarray(IDS), format="GIF")
    for name, reason in {
        "deep": "16-bit",
        "jpeg": "JPEG label map",
        "colours": "picture in colours",
        "transparent": "transparent",
        "turned": "EXIF orientation is 6",
        "gif": "none of JPEG, PNG, whatever",
    }.items():
        with pytest.raises(DataError, match=rf"{name}\.png: .*{reason}"):
            images.read_label_map(tmp_path / f"{name}.png", CLASSES)


def test_photos_become_rgb(tmp_path: Path) -> None:
    grey = np.dstack([PHOTO[..., 0]] * 3)
    opaque = Image.fromarray(np.dstack([PHOTO, np.full_like(IDS, 255)]))
    few = Image.fromarray(PHOTO).quantize(16)
    zoo = {
        "rgb": (Image.fromarray(PHOTO), PHOTO),
        "grey": (Image.fromarray(PHOTO[..., 0]), grey),
        "opaque": (opaque, PHOTO),
        "palette": (few, np.asarray(few.convert("RGB"))),
    }
    for name, (image, expected) in zoo.items():
        np.testing.assert_array_equal(images.read_photo(saved(tmp_path / f"{name}.png", image)), expected, err_msg=name)


def test_photos_that_are_none_are_refused(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 8
    saved(tmp_path / "turned.jpg", Image.fromarray(PHOTO), exif=turned)
    saved(tmp_path / "deep.png", Image.fromarray(IDS.astype(np.uint16)))
    saved(tmp_path / "cmyk.jpg", Image.fromarray(PHOTO).convert("CMYK"))
    saved(tmp_path / "transparent.png", Image.fromarray(np.dstack([PHOTO, np.full_like(IDS, 254)])))
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, reason in {
        "turned.jpg": "EXIF orientation is 8",
        "deep.png": "more than 8 bits",
        "cmyk.jpg": "CMYK",
        "transparent.png": "transparent",
        "empty.jpg": "empty",
        "text.jpg": "none of JPEG, PNG, BMP, PGM, PPM, TIFF, WebP, whatever",
        "folder.jpg": "not a regular file",
        "link.jpg": "no such file",
        "pipe.jpg": "not a regular file",
    }.items():
        with pytest.raises(DataError, match=rf"{name}: .*{reason}"):
            images.read_photo(tmp_path / name)


def test_an_exif_orientation_of_one_is_fine(tmp_path: Path) -> None:
    upright = Image.Exif()
    upright[0x0112] = 1
    assert images.read_photo(saved(tmp_path / "upright.jpg", Image.fromarray(PHOTO), exif=upright)).shape == PHOTO.shape


def test_files_cut_short_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.tile(PHOTO, (8, 8, 1))).save(buffer, "JPEG")
    whole = buffer.getvalue()
    map_file = images.encode_png(np.tile(IDS, (8, 8)).astype(np.uint16))
    for part in (0, 0.25, 0.5, 0.99):
        (tmp_path / "cut.jpg").write_bytes(whole[: int(part * len(whole))])
        (tmp_path / "cut.png").write_bytes(map_file[: int(part * len(map_file))])
        with pytest.raises(DataError, match=r"cut\.jpg"):
            images.read_photo(tmp_path / "cut.jpg")
        with pytest.raises(DataError, match=r"cut\.png"):
            images.read_label_map(tmp_path / "cut.png", CLASSES)


def test_a_flipped_bit_in_a_label_map_is_an_error_or_does_no_harm(tmp_path: Path) -> None:
    whole = images.encode_png(IDS.astype(np.uint16))
    path = tmp_path / "flipped.png"
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(images.read_label_map(path, CLASSES), IDS)
        except DataError:
            refused += 1
    assert refused > 0.95 * len(whole)


def test_random_damage_of_a_photo_raises_nothing_else(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a description"
    Image.fromarray(PHOTO).save(buffer, "JPEG", exif=exif)
    whole = buffer.getvalue()
    for _ in range(300):
        damaged = bytearray(whole)
        for position in RANDOM.integers(0, len(whole), 4):
            damaged[position] = RANDOM.integers(0, 256)
        (tmp_path / "damaged.jpg").write_bytes(damaged)
        try:
            assert images.read_photo(tmp_path / "damaged.jpg").ndim == 3
        except DataError as error:
            assert "damaged.jpg" in str(error)


@pytest.mark.parametrize("side", [9000, 12000, 20000])
def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png([b"\0"], side, bits=8, colour=0).replace(struct.pack(">II", side, 1), struct.pack(">II", side, side)))
    content = bytearray(path.read_bytes())
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)
    with pytest.raises(DataError, match="decompression bomb"):
        images.read_label_map(path, CLASSES)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_maps_are_resized_by_the_pixel_at_the_centre(dtype: type) -> None:
    large = RANDOM.integers(0, 2000 if dtype is np.uint16 else 256, size=(12, 18)).astype(dtype)
    half = images.resize_label_map(large, (9, 6))
    assert half.dtype == dtype
    np.testing.assert_array_equal(half, large[1::2, 1::2])  # halving takes the odd pixels
    np.testing.assert_array_equal(images.resize_label_map(large, (6, 4)), large[1::3, 1::3])


def test_photos_keep_a_constant_colour_when_resized() -> None:
    photo = np.full((30, 40, 3), (10, 200, 77), dtype=np.uint8)
    resized = images.resize_photo(photo, (20, 10))
    assert resized.shape == (10, 20, 3)
    assert (resized == photo[0, 0]).all()


def multi(first: Image.Image, path: Path, **options: object) -> Path:
    return saved(path, first, save_all=True, append_images=[Image.fromarray(PHOTO[::-1]), Image.fromarray(PHOTO[:, ::-1])], **options)


def photo_zoo(folder: Path) -> dict[str, str]:
    """Files of every kind that pytorch-fid reads, each with why it is refused unless it is converted; no reason: it never is."""
    photo, grey = Image.fromarray(PHOTO), Image.fromarray(PHOTO[..., 0])
    deep = Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 16)
    half = Image.fromarray(np.dstack([PHOTO, PHOTO[..., 0]]))
    opaque = Image.fromarray(np.dstack([PHOTO, np.full_like(IDS, 255)]))
    few = photo.quantize(16)
    turned = Image.Exif()
    turned[0x0112] = 6
    for suffix in ("bmp", "jpg", "jpeg", "png", "ppm", "tif", "tiff", "webp"):
        saved(folder / f"plain.{suffix}", photo)
    for suffix in ("pgm", "png", "jpg", "tif", "bmp"):
        saved(folder / f"grey.{suffix}", grey)
    for suffix in ("png", "tif", "webp"):
        saved(folder / f"opaque.{suffix}", opaque)
        saved(folder / f"half.{suffix}", half)
    for suffix in ("jpg", "png", "tif", "webp"):
        saved(folder / f"turned.{suffix}", photo, exif=turned)
    for suffix in ("png", "tif", "pgm"):
        saved(folder / f"deep.{suffix}", deep)
    wide = b"".join(struct.pack(">HHH", *(int(value) * 200 for value in pixel)) for pixel in PHOTO[0])
    (folder / "wide.png").write_bytes(png([wide, wide], 16, bits=16, colour=2))
    saved(folder / "float.tif", Image.fromarray(PHOTO[..., 0].astype(np.float32)))
    saved(folder / "one.png", grey.convert("1"))
    saved(folder / "one.tif", grey.convert("1"))
    saved(folder / "grey_alpha.png", Image.fromarray(PHOTO[..., :2]))
    saved(folder / "palette.png", few)
    saved(folder / "palette.bmp", few)
    saved(folder / "see_through_index.png", few, transparency=3)
    saved(folder / "see_through_bytes.png", few, transparency=bytes(range(16)))
    saved(folder / "see_through_colour.png", photo, transparency=tuple(PHOTO[0, 0].tolist()))
    saved(folder / "cmyk.jpg", photo.convert("CMYK"))
    saved(folder / "cmyk.tif", photo.convert("CMYK"))
    saved(folder / "ycbcr.tif", photo.convert("YCbCr"))
    saved(folder / "lab.tif", Image.frombytes("LAB", (16, 12), PHOTO.tobytes()))
    saved(folder / "lossless.webp", photo, lossless=True)
    multi(photo, folder / "moving.webp")
    multi(photo, folder / "moving.png")
    multi(photo, folder / "pages.tif")
    multi(photo, folder / "camera.jpg", format="MPO")
    return {
        "half": "transparent", "grey_alpha": "transparent", "see_through_index": "transparent", "see_through_bytes": "transparent",
        "see_through_colour": "transparent", "turned": "EXIF orientation is 6", "deep": "more than 8 bits", "float": "more than 8 bits",
        "cmyk": "CMYK", "moving": "animation of 3", "pages": "animation of 3",
    }  # fmt: skip


def test_doubtful_photos_are_refused_or_converted_as_pillow_does(tmp_path: Path) -> None:
    """Which is what pytorch-fid and clean-fid read (spec: metrics, 2.1)."""
    refused = photo_zoo(tmp_path)
    assert len(list(tmp_path.iterdir())) == 45
    for path in tmp_path.iterdir():
        with Image.open(path) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of a palette's transparency that it drops
            expected = np.asarray(image.convert("RGB"))
        content = path.read_bytes()
        np.testing.assert_array_equal(images.decode_photo(content, path.name, convert=True), expected, err_msg=path.name)
        if path.stem in refused:
            with pytest.raises(DataError, match=rf"{path.name}: .*{refused[path.stem]}.*--convert"):
                images.read_photo(path)
        else:
            np.testing.assert_array_equal(images.read_photo(path), expected, err_msg=path.name)


def test_conversion_reads_what_pytorch_fid_feeds_its_network(tmp_path: Path) -> None:
    from pytorch_fid.fid_score import ImagePathDataset

    photo_zoo(tmp_path)
    noisy = {"see_through_bytes.png", "moving.png", "pages.tif", "camera.jpg"}  # Pillow warns of the first, pytorch-fid leaves the others open
    paths = sorted(path for path in tmp_path.iterdir() if path.name not in noisy)
    for path, tensor in zip(paths, ImagePathDataset(paths), strict=True):
        np.testing.assert_array_equal(images.decode_photo(path.read_bytes(), path.name, convert=True), np.asarray(tensor), err_msg=path.name)


def test_deep_grey_saturates_when_it_is_converted(tmp_path: Path) -> None:
    path = saved(tmp_path / "deep.png", Image.fromarray(np.array([[0, 200, 255, 256, 65535]], dtype=np.uint16)))
    converted = images.decode_photo(path.read_bytes(), "deep.png", convert=True)
    assert converted[0, :, 0].tolist() == [0, 200, 255, 255, 255]


def test_photos_cut_short_are_refused_in_every_format_even_if_converted(tmp_path: Path) -> None:
    photo_zoo(tmp_path)
    large = Image.fromarray(RANDOM.integers(0, 256, (96, 128, 3), dtype=np.uint8))
    for suffix in ("bmp", "jpg", "png", "ppm", "tif", "webp"):
        whole = saved(tmp_path / f"large.{suffix}", large).read_bytes()
        for part in (0, 0.25, 0.5, 0.9, 0.99):
            with pytest.raises(DataError, match=f"cut.{suffix}"):
                images.decode_photo(whole[: int(part * len(whole))], f"cut.{suffix}", convert=True)


def test_nothing_is_read_while_pillow_fills_up_damaged_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch of the whole process, which many training scripts throw."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(EnvironmentProblem, match="LOAD_TRUNCATED_IMAGES is set"):
        images.decode_photo(images.encode_png(PHOTO), "whole.png")


def test_random_damage_of_photos_raises_nothing_else(tmp_path: Path) -> None:
    photo_zoo(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for _ in range(15):
            damaged = bytearray(whole)
            for position in RANDOM.integers(0, len(whole), 4):
                damaged[position] = RANDOM.integers(0, 256)
            try:
                assert images.decode_photo(bytes(damaged), path.name, convert=True).ndim == 3
            except DataError as error:
                assert path.name in str(error)


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [1, 50, 75, 95, 100])
def test_how_a_jpeg_was_stored_is_found_out(quality: int, subsampling: str) -> None:
    photo = Image.fromarray(PHOTO)
    for options in ({}, {"progressive": True}, {"optimize": True}):
        _, encoding = images.decode_stored(jpeg(photo, quality=quality, subsampling=subsampling, **options), "a.jpg")
        assert encoding.record == {"format": "JPEG", "quality": quality, "subsampling": subsampling}
    assert str(encoding) == f"JPEG (quality {quality}, {subsampling})"
    _, encoding = images.decode_stored(jpeg(photo.convert("L"), quality=quality), "a.jpg")
    assert encoding.record == {"format": "JPEG", "quality": quality, "subsampling": "none"}


def test_every_quality_is_told_from_its_neighbours() -> None:
    photo = Image.fromarray(PHOTO)
    found = [images.decode_stored(jpeg(photo, quality=quality), "a.jpg")[1].quality for quality in range(1, 101)]
    assert found == list(range(1, 101))


def test_tables_of_another_program_have_no_quality() -> None:
    tables = [list(range(1, 65)), [17] * 64]
    _, encoding = images.decode_stored(jpeg(Image.fromarray(PHOTO), qtables=tables, subsampling="4:2:0"), "a.jpg")
    assert encoding.record == {"format": "JPEG", "quality": "custom", "subsampling": "4:2:0"}
    assert str(encoding) == "JPEG (custom tables, 4:2:0)"
    one = jpeg(Image.fromarray(PHOTO), quality=75, subsampling="4:2:0")
    start = one.index(b"\xff\xdb") + 5
    changed = one[:start] + bytes([one[start] + 1]) + one[start + 1 :]
    assert images.decode_stored(changed, "a.jpg")[1].quality is None


def test_an_unusual_subsampling_is_told_apart() -> None:
    """4:4:0, which Pillow does not write: the frame of a 4:2:2 picture on its side, marked by hand."""
    content = jpeg(Image.fromarray(PHOTO[:8, :8]), quality=75, subsampling="4:2:2")
    frame = content.index(b"\xff\xc0")
    assert content[frame + 11] == 0x21
    content = content[: frame + 11] + b"\x12" + content[frame + 12 :]
    assert images.decode_stored(content, "a.jpg", convert=True)[1].subsampling == "other"


@pytest.mark.parametrize(("suffix", "name"), [("png", "PNG"), ("bmp", "BMP"), ("ppm", "PPM"), ("tif", "TIFF"), ("webp", "WEBP")])
def test_other_formats_are_known_by_their_content(tmp_path: Path, suffix: str, name: str) -> None:
    content = saved(tmp_path / f"photo.{suffix}", Image.fromarray(PHOTO)).read_bytes()
    _, encoding = images.decode_stored(content, "photo.jpg")
    assert encoding.record == {"format": name}
    assert str(encoding) == name


def test_a_jpeg_has_the_settings_that_were_asked_for() -> None:
    photo = images.resize_photo(PHOTO, (64, 48))
    for subsampling, sampling in {"4:4:4": 0x11, "4:2:2": 0x21, "4:2:0": 0x22}.items():
        content = images.encode_jpeg(photo, quality=75, subsampling=subsampling)  # type: ignore[arg-type]
        frame = content.index(b"\xff\xc0")
        assert content[frame + 11] == sampling  # the luminance component's sampling factors
        assert content == images.encode_jpeg(photo, quality=75, subsampling=subsampling)  # type: ignore[arg-type]
    fine, coarse = (images.encode_jpeg(photo, quality=quality, subsampling="4:4:4") for quality in (95, 30))
    assert len(fine) > len(coarse)
    errors = [np.abs(images.decode_jpeg(content).astype(int) - photo).mean() for content in (fine, coarse)]
    assert errors[0] < errors[1]


def test_jpeg_data_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="JPEG data"):
        images.decode_jpeg(b"\xff\xd8\xff")


@pytest.mark.parametrize("array", [PHOTO, IDS, IDS.astype(np.uint16) * 1000])
def test_png_round_trip(array: np.ndarray) -> None:
    read = np.asarray(Image.open(io.BytesIO(images.encode_png(array))))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_odd_names_are_escaped_in_messages(tmp_path: Path) -> None:
    assert images.shown(Path("a b/ü.png")) == "a b/ü.png"
    assert "\n" not in images.shown(Path("a\nb.png"))
    images.shown(Path(os.fsdecode(b"\xff.png"))).encode()


def test_real_label_maps() -> None:
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the sample data is not here")
    for path in folder.rglob("landscape-mini/*/labels/*.png"):
        read = images.read_label_map(path, CLASSES)
        assert read.shape == (768, 1024)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, np.asarray(Image.open(path)))
    for path in folder.rglob("coco-stuff-mini/*/labels/*.png"):
        assert (images.read_label_map(path, Classes.numbered(182, ignore=255)) == np.asarray(Image.open(path))).all()
        with pytest.raises(DataError, match="255"):
            images.read_label_map(path, Classes.numbered(182))
