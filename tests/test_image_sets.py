"""Finding the images of any generator, pairing them with label maps, and looking at every one before the first is used."""

import hashlib
import io
import json
import os
import random
import shutil
import struct
import threading
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apfgan import image_sets
from apfgan.errors import DataError, UsageError
from apfgan.image_sets import StoredImage, check_images, check_photos, expand_pattern, find_images, hash_images, pair_images, read_images
from apfgan.images import encode_jpeg, encode_png

RANDOM = np.random.default_rng(0)


def picture(seed: int = 0, size: tuple[int, int] = (16, 12)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def make_set(folder: Path, count: int = 12, *, suffix: str = ".png", first: int = 0) -> Path:
    """0.png, 1.png, ...: each another picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"{index}{suffix}").write_bytes(encode_png(picture(first + index)))
    return folder


def pack(archive: Path, members: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(archive, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return archive


def open_handles() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def stems(images: list[StoredImage]) -> list[str]:
    return [image.stem for image in images]


# --- finding


def test_all_suffixes_of_pytorch_fid_count_in_either_case_and_nothing_else(tmp_path: Path) -> None:
    from pytorch_fid.fid_score import IMAGE_EXTENSIONS

    assert {suffix.removeprefix(".") for suffix in image_sets.SUFFIXES} == IMAGE_EXTENSIONS
    for index, extension in enumerate(sorted(IMAGE_EXTENSIONS)):
        (tmp_path / f"{index}.{extension if index % 2 else extension.upper()}").touch()
    for other in ("Thumbs.db", "notes.txt", "film.gif", "0", ".hidden.png", "._1.png", ".8.png.tmp"):
        (tmp_path / other).touch()
    assert len(find_images(tmp_path)) == len(IMAGE_EXTENSIONS)
    pack(tmp_path / "all.zip", {path.name: b"" for path in tmp_path.iterdir()})
    assert stems(find_images(tmp_path / "all.zip")) == stems(find_images(tmp_path))


def test_images_are_in_natural_order_from_everywhere(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set")
    expected = [str(index) for index in range(12)]
    names = [path.name for path in folder.iterdir()]
    random.Random(0).shuffle(names)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for prefix in ("", "inside/"):
            pack(tmp_path / "set.zip", {prefix + name: (folder / name).read_bytes() for name in names}, method=method)
            packed = find_images(tmp_path / "set.zip")
            assert stems(packed) == expected
            assert [image.read() for image in packed] == [(folder / f"{index}.png").read_bytes() for index in range(12)]
    assert stems(find_images(folder)) == stems(find_images(str(folder / "*.PNG").replace("PNG", "p?g"))) == expected
    assert stems(find_images(folder / "1*.png")) == ["1", "10", "11"]
    assert stems(find_images(folder / "7.png")) == ["7"]


def test_special_characters_in_names_mean_themselves(tmp_path: Path) -> None:
    make_set(tmp_path / "runs[1]" / "a*b", 3)
    make_set(tmp_path / "runs1" / "axb", 5)
    assert len(find_images(tmp_path / "runs[1]" / "a*b")) == 3
    assert len(find_images(tmp_path / "runs[1]" / "a*b" / "*.png")) == 3
    assert len(find_images(tmp_path / "runs[0-9]" / "a?b" / "*.png")) == 5
    with pytest.raises(UsageError, match=r"\*\* is not understood"):
        find_images(tmp_path / "**" / "*.png")


def test_odd_names_survive(tmp_path: Path) -> None:
    names = ["a b", 'it\'s "so"', "line\nbreak", "-rf", "=cmd()", "<img onerror=x>", "ünïcode", "雪山", "a.b.c", "{epoch}", "x" * 251, "[!]", "~"]
    for index, name in enumerate([*names, os.fsdecode(b"\xff\xfe")]):
        (tmp_path / f"{name}.png").write_bytes(encode_png(picture(index)))
    found = find_images(tmp_path)
    assert {*stems(found)} == {*names, os.fsdecode(b"\xff\xfe")}
    checked = check_images(found)
    assert checked.key == hash_images(random.Random(0).sample(found, len(found)))
    (tmp_path / "line\nbreak.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        check_images(found)
    assert "line\\nbreak.png" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


def test_unicode_twins_and_other_twins_are_told_all_at_once(tmp_path: Path) -> None:
    for name in ("caf\u00e9.png", "cafe\u0301.jpg", "A.png", "a.png", "b.jpg", "b.webp", "good.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "away.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match=r"^6 problems") as caught:
        find_images(tmp_path)
    for part in ("same name", "a.png", "b.webp", "away.jpg", "folder.png", "pipe.jpg"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match=r"^3 problems"):
        find_images(pack(tmp_path / "twins.zip", dict.fromkeys(("A.png", "a.png", "b.jpg", "b.webp", "\u00e9.png", "e\u0301.png"), b"")))


def test_where_there_is_nothing_it_says_what_is_there(tmp_path: Path) -> None:
    make_set(tmp_path / "out" / "epoch_1", 2)
    make_set(tmp_path / "out" / "epoch_2", 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    for where, reason in {
        "out": r"holds no image .*folders \(epoch_1, epoch_2\): name one of them, or put \{epoch\}",
        "out/epoch_3": r"no 'epoch_3' in .*out; there are folders \(epoch_1, epoch_2\)",
        "out/epoch_1/*.jpg": r"no '\*\.jpg' in .*epoch_1; there are 0\.png, 1\.png",
        "out/*": r"holds no image .*folders \(epoch_1, epoch_2\)",
        "empty": "holds no image .*; it is empty",
        "texts": r"holds no image .*; there are a\.txt",
        "texts/a.txt/*.png": r"no '\*\.png' in .*a\.txt, which is no folder",
        "gone.zip": "no 'gone.zip'",
    }.items():
        with pytest.raises(DataError, match=reason):
            find_images(tmp_path / where)


def test_a_home_folder_in_quotes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(make_set(tmp_path / "home", 2)))
    assert len(find_images("~/*.png")) == 2
    assert expand_pattern("mine=~")["mine"]


# --- zips


def rewritten(archive: Path, change: bytes, to: bytes) -> Path:
    content = archive.read_bytes()
    assert change in content
    archive.write_bytes(content.replace(change, to))
    return archive


def test_members_that_are_no_plain_files_of_a_flat_zip_are_refused_by_name(tmp_path: Path) -> None:
    good = encode_png(picture())
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    bomb = zipfile.ZipInfo("bomb.png")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        for name in ("../up.png", "/etc/root.png", "a/../../b.png", "C:/windows.png", "deep/er/still.png", "x" * 1100 + ".png", "1" * 5000 + ".png"):
            file.writestr(name, good)
        file.writestr(link, "/etc/passwd")
        file.writestr(bomb, good)
        file.writestr("lzma.png", good, zipfile.ZIP_LZMA)
        file.writestr("good.png", good)
        bomb.file_size = 2**40
    with pytest.raises(DataError, match=r"^10 problems") as caught:
        find_images(tmp_path / "bad.zip")
    for part in (
        "up.png: points outside",
        "root.png: points outside",
        "b.png: points outside",
        "windows.png: points outside",
        "still.png: lies deeper",
        "name of more than 1024 bytes",
        "link.png: is a link",
        "bomb.png: unpacks to 1099511627776 bytes",
        "lzma.png: is compressed in a way",
    ):
        assert part in str(caught.value)
    assert "good.png" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.zip"]


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "secret.zip", {"1.png": encode_png(picture())})
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"secret\.zip/1\.png: is encrypted"):
        find_images(archive)


def test_images_in_two_folders_of_a_zip_are_two_sets(tmp_path: Path) -> None:
    members = {f"{folder}/{index}.png": b"" for index, folder in enumerate(("a", "b"))}
    with pytest.raises(DataError, match=r"images in 2 folders \(.*both\.zip/a, .*both\.zip/b\)"):
        find_images(pack(tmp_path / "both.zip", members))
    with pytest.raises(DataError, match="images in 2 folders"):
        find_images(pack(tmp_path / "both.zip", {"1.png": b"", "a/2.png": b""}))


def test_what_macs_and_windows_put_beside_the_images_does_not_matter(tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "mac.zip", {"set/1.png": b"", "__MACOSX/set/._1.png": b"", "set/.DS_Store": b"", "__MACOSX/2.png": b"", "read me.txt": b""}
    )
    assert stems(find_images(archive)) == ["1"]
    windows = rewritten(pack(tmp_path / "windows.zip", {"set/1.png": b"x", "set/2.png": b"y"}), b"set/", b"set\\")
    assert [image.location for image in find_images(windows)] == [windows / "set" / "1.png", windows / "set" / "2.png"]
    assert [image.read() for image in find_images(windows)] == [b"x", b"y"]


def test_a_size_that_lies_unpacks_to_no_more(tmp_path: Path) -> None:
    """A member that says 1000 bytes and holds 64 MB: neither read as an image, nor unpacked whole."""
    archive = pack(tmp_path / "liar.zip", {"1.png": bytes(2**26)}, method=zipfile.ZIP_DEFLATED)
    rewritten(archive, struct.pack("<I", 2**26), struct.pack("<I", 1000))
    (image,) = find_images(archive)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"liar\.zip/1\.png: damaged"):
            image.read()
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_of_a_zip_is_an_error_or_does_no_harm(tmp_path: Path, method: int) -> None:
    contents = {"1.png": encode_png(picture(1, (4, 3))), "2.png": encode_png(picture(2, (4, 3)))}
    archive = pack(tmp_path / "set.zip", contents, method=method)
    whole = archive.read_bytes()
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        archive.write_bytes(damaged)
        try:
            for image in find_images(archive):
                assert image.read() in contents.values()
        except DataError as error:
            assert "set.zip" in str(error)
            refused += 1
    assert refused > len(contents["1.png"]) * 2 - 20


def test_damaged_members_are_named_all_of_them(tmp_path: Path) -> None:
    contents = {f"{index}.png": encode_png(picture(index)) for index in range(5)}
    archive = pack(tmp_path / "set.zip", contents)
    content = bytearray(archive.read_bytes())
    for name in ("1.png", "3.png"):
        content[content.index(contents[name]) + 60] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"^2 problems(.|\n)*set\.zip/1\.png: damaged(.|\n)*set\.zip/3\.png: damaged"):
        check_images(find_images(archive))


def test_a_zip_cut_short_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "set.zip", {"1.png": encode_png(picture())})
    whole = archive.read_bytes()
    for part in (0, 0.25, 0.5, 0.99):
        archive.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(DataError, match=r"set\.zip: is no zip, or is damaged or cut short"):
            find_images(archive)


def test_a_zip_that_grew_a_head_is_read(tmp_path: Path) -> None:
    """A self-extracting one: every offset in it is moved."""
    archive = pack(tmp_path / "set.zip", {"1.png": b"one", "2.png": b"two"})
    archive.write_bytes(b"#!/bin/sh\n" * 100 + archive.read_bytes())
    assert [image.read() for image in find_images(archive)] == [b"one", b"two"]


def test_zips_leave_no_handle_open_and_are_read_from_many_threads(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", 40)
    archive = pack(tmp_path / "set.zip", {path.name: path.read_bytes() for path in folder.iterdir()}, method=zipfile.ZIP_DEFLATED)
    before, threads = open_handles(), set(threading.enumerate())
    images = find_images(archive)
    for one, other in zip(read_images(images), read_images(find_images(folder)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert open_handles() == before
    assert set(threading.enumerate()) == threads


# --- patterns of several sets


def test_sets_have_the_names_of_their_candidates_in_natural_order(tmp_path: Path) -> None:
    for epoch in ("epoch_10", "epoch_9", "epoch_0100"):
        folder = make_set(tmp_path / "out" / epoch, 2, suffix=".jpg")
        (tmp_path / "zips").mkdir(exist_ok=True)
        pack(tmp_path / "zips" / f"{epoch}.zip", {path.name: path.read_bytes() for path in folder.iterdir()})
    (tmp_path / "out" / "log.txt").touch()
    (tmp_path / "out" / ".git").mkdir()
    for pattern in (
        "out/{epoch}/*.jpg",
        "out/{epoch}",
        "out/epoch_{epoch}",
        "out/{name}/*",
        "zips/{name}.zip",
        "zips/epoch_{e}.zip",
        "*ut/{epoch}/[0-9].jpg",
    ):
        found = expand_pattern(str(tmp_path / pattern))
        assert list(found) == ["9", "10", "100"], pattern
        assert all(stems(images) == ["0", "1"] for images in found.values())


def test_a_set_may_have_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_set(tmp_path / "their images", 2)
    make_set(tmp_path / "a=b" / "spade", 2)
    assert list(expand_pattern("oasis=their images")) == ["oasis"]
    assert list(expand_pattern("oasis=their images/*.png")) == ["oasis"]
    assert list(expand_pattern("epoch_0007=their images")) == ["7"]
    assert list(expand_pattern("a=b/spade")) == ["spade"]
    assert list(expand_pattern("a=b/{model}")) == ["spade"]
    assert list(expand_pattern("x=a=b/spade")) == ["x"]
    monkeypatch.chdir(tmp_path / "a=b" / "spade")
    assert list(expand_pattern(".")) == ["spade"]


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("{a}/{b}", UsageError, r"2 names in braces \(\{a\}, \{b\}\)"),
        ("{a}{a}", UsageError, "2 names in braces"),
        ("out/{epoch}*", UsageError, r"no \* beside \{epoch\}"),
        ("their images", UsageError, "NAME=WHERE"),
        ("out/*.png", UsageError, "NAME=WHERE"),
        ("all=out/1", UsageError, "'all' names no checkpoint"),
        ("1-3=out/1", UsageError, "'1-3' names no checkpoint"),
        ("../x=out/1", DataError, r"no 'x=out' in \.\."),
        ("x=out/3", DataError, "no '3' in out"),
        ("gone/{epoch}", DataError, "nothing matches .*: there is no 'gone' in"),
        ("out/x_{epoch}", DataError, r"nothing matches .*: there is no 'x_\{epoch\}' in out; there are folders \(1, 2\)"),
        ("out/{epoch}.zip", DataError, "nothing matches"),
        ("out/{epoch}/*.jpg", DataError, r"^2 problems"),
        ("twice/{epoch}", DataError, r"epoch_1: is another 1 beside twice/1"),
        ("bad/{epoch}", DataError, r"^2 problems(.|\n)*'-rf' names no checkpoint(.|\n)*narrow the pattern"),
        ("holes/{epoch}", DataError, r"holes/2: holds no image"),
    ],
)
def test_patterns_that_cannot_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: type, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("out/1", "out/2", "their images", "twice/1", "twice/epoch_1", "bad/-rf", "bad/<img onerror=x>", "bad/1", "holes/1"):
        make_set(tmp_path / folder, 2)
    (tmp_path / "holes" / "2").mkdir()
    with pytest.raises(error, match=reason):
        expand_pattern(text)


# --- pairing


def test_images_go_in_the_order_of_the_label_maps(tmp_path: Path) -> None:
    images = find_images(make_set(tmp_path / "set"))
    (tmp_path / "set" / "cafe\u0301.png").touch()
    images.append(StoredImage(tmp_path / "set" / "cafe\u0301.png"))
    maps = [Path("labels") / f"{stem}.png" for stem in ("caf\u00e9", *map(str, range(11, -1, -1)))]
    paired = pair_images(images, maps)
    assert paired.label_maps == tuple(maps)
    assert [image.stem for image in paired.images] == ["cafe\u0301", *map(str, range(11, -1, -1))]
    assert paired.note == ""


def test_what_has_no_partner_is_listed_both_ways(tmp_path: Path) -> None:
    images = [StoredImage(tmp_path / f"{index}.jpg") for index in range(40)]
    maps = [tmp_path / f"{index}.png" for index in range(15, 47)]
    with pytest.raises(DataError) as caught:
        pair_images(images, maps)
    assert "7 of 32 label maps have no image (40.png, 41.png, 42.png, 43.png, 44.png, 45.png, 46.png)" in str(caught.value)
    assert "15 of 40 images have no label map (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg, 6.jpg, 7.jpg, 8.jpg, 9.jpg and 5 more)" in str(caught.value)
    assert "the 25 that match: --allow-missing" in str(caught.value)
    paired = pair_images(images, maps, allow_missing=True)
    assert [image.stem for image in paired.images] == [path.stem for path in paired.label_maps] == [str(index) for index in range(15, 40)]
    assert "7 of 32" in paired.note
    assert "15 of 40" in paired.note
    for allowed in (False, True):
        with pytest.raises(DataError, match=r"3 of 3 images have no label map \(0\.jpg, 1\.jpg, 2\.jpg\)\. An image is named after"):
            pair_images(images[:3], [tmp_path / f"{index}_label.png" for index in range(3)], allow_missing=allowed)


# --- checking


def test_a_sound_set_is_described(tmp_path: Path) -> None:
    checked = check_images(find_images(make_set(tmp_path / "set")))
    assert checked.size == (16, 12)
    assert checked.encoding is not None
    assert checked.encoding.record == {"format": "PNG"}
    assert checked.note == ""
    assert not checked.convert


def test_everything_that_is_wrong_is_told_before_anything_is_used(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", 12)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(picture()).save(folder / "12.jpg", exif=turned)
    Image.fromarray(picture()).convert("CMYK").save(folder / "13.jpg")
    Image.fromarray(picture()[..., 0].astype(np.uint16)).save(folder / "14.png")
    Image.fromarray(np.dstack([picture(), picture()[..., 0]])).save(folder / "15.png")
    frames = [Image.fromarray(picture(seed)) for seed in range(3)]
    frames[0].save(folder / "16.webp", save_all=True, append_images=frames[1:])
    (folder / "17.png").touch()
    (folder / "18.png").write_bytes(encode_png(picture())[:-30])
    (folder / "19.jpg").write_text("<html>404</html>")
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    (folder / "20.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
        + struct.pack(">I", 0)
        + b"IDAT"
    )
    (folder / "21.png").write_bytes(encode_png(picture(21, (20, 12))))
    images = find_images(folder)
    with pytest.raises(DataError, match=r"^10 problems") as caught:
        check_images(images)
    for part in (
        "12.jpg: its EXIF orientation is 6",
        "13.jpg: this is a CMYK image",
        "14.png: this is a I;16 image",
        "15.png: parts of this photo are transparent",
        "16.webp: this is an animation of 3 pictures",
        "17.png: the file is empty",
        "18.png: damaged or cut short",
        "19.jpg: this is none of",
        "20.png: a decompression bomb",
        "the images must have one size: 12 16x12 (0.png, 1.png, 2.png, ...), 1 20x12 (21.png)",
    ):
        assert part in str(caught.value)
    assert str(caught.value).count("--convert") == 5
    with pytest.raises(DataError, match=r"^6 problems") as caught:
        check_images(images, convert=True)
    assert "stored in 4 ways" in str(caught.value)
    with pytest.raises(DataError, match=r"^9 problems"):
        check_photos(images)


def test_a_file_that_goes_away_or_becomes_a_pipe_is_a_problem_of_its_own(tmp_path: Path) -> None:
    images = find_images(make_set(tmp_path / "set", 4))
    images[1].path.unlink()
    images[2].path.unlink()
    os.mkfifo(images[2].path)
    with pytest.raises(DataError, match=r"^2 problems(.|\n)*1\.png: there is no such file(.|\n)*2\.png: this is not a regular file"):
        check_images(images)


def test_sizes_must_be_one_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    images = find_images(make_set(tmp_path / "set", 4))
    assert check_images(images, size=(16, 12)).size == (16, 12)
    with pytest.raises(DataError, match=r"must have 512x384: 4 16x12 \(0\.png, 1\.png, 2\.png, \.\.\.\)"):
        check_images(images, size=(512, 384))
    for index in range(9):
        (tmp_path / "set" / f"9{index}.png").write_bytes(encode_png(picture(index, (20 + index, 12))))
    with pytest.raises(DataError, match=r"must have one size: 4 16x12 .*, 1 24x12 \(94\.png\) and 4 more kinds"):
        check_images(find_images(tmp_path / "set"))
    check_photos(find_images(tmp_path / "set"))


def test_one_set_is_stored_in_one_way_unless_it_is_encoded_again(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", 4)
    for index, quality in enumerate((75, 75, 90)):
        (folder / f"j{index}.jpg").write_bytes(encode_jpeg(picture(50 + index), quality=quality, subsampling="4:2:0"))
    images = find_images(folder)
    reason = (
        r"stored in 3 ways, .*: 4 PNG \(0\.png, 1\.png, 2\.png, \.\.\.\), 2 JPEG \(quality 75, 4:2:0\) \(j0\.jpg, j1\.jpg\), "
        r"1 JPEG \(quality 90, 4:2:0\) \(j2\.jpg\)\. .*--reencode"
    )
    with pytest.raises(DataError, match=reason):
        check_images(images)
    assert check_images(images, reencoded=True).encoding is None
    alike = check_images([image for image in images if image.stem in ("j0", "j1")])
    assert alike.encoding is not None
    assert alike.encoding.record == {"format": "JPEG", "quality": 75, "subsampling": "4:2:0"}


def test_the_content_tells_the_format_not_the_name(tmp_path: Path) -> None:
    for index, suffix in enumerate((".png", ".jpg", ".webp")):
        (tmp_path / f"{index}{suffix}").write_bytes(encode_png(picture(index)))
    assert check_images(find_images(tmp_path)).encoding is not None


def test_the_key_is_of_names_and_content(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set")
    images = find_images(folder)
    checked = check_images(images)
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    copied = find_images(tmp_path / "copy")
    random.Random(1).shuffle(copied)
    packed = find_images(pack(tmp_path / "set.zip", {f"a/{image.location.name}": image.read() for image in copied}))
    for others in (copied, packed):
        assert check_images(others).key == hash_images(others) == checked.key
    named = sorted([repr(path.stem), hashlib.sha256(path.read_bytes()).hexdigest()] for path in folder.iterdir())
    assert checked.key == hashlib.sha256(json.dumps(named, separators=(",", ":")).encode()).hexdigest()

    other = np.array(Image.open(copied[0].path))
    other[5, 7, 1] ^= 1
    copied[0].path.write_bytes(encode_png(other))
    assert check_images(copied).key != checked.key
    renamed = images[3].path.rename(folder / "another.png")
    assert renamed.exists()
    assert check_images(find_images(folder)).key != checked.key


def test_copies_within_a_set_are_noted(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", 6)
    for index in (3, 4):
        shutil.copy(folder / "0.png", folder / f"{index}.png")
    assert "3 of 6 images are copies of one another (0.png, 3.png, 4.png)" in check_images(find_images(folder)).note


def test_only_a_few_images_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: what is kept of each is its size, encoding and hash."""
    images = find_images(make_set(tmp_path / "set", 100))
    lock, held, most = threading.Lock(), 0, 0
    real = image_sets.decode_stored

    def decode(*arguments: object, **options: object) -> object:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        try:
            return real(*arguments, **options)  # type: ignore[arg-type]
        finally:
            with lock:
                held -= 1

    monkeypatch.setattr(image_sets, "decode_stored", decode)
    check_images(images)
    assert most <= 8


def test_the_twentieth_problem_is_the_last_that_is_shown(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", 3)
    for index in range(100, 130):
        (folder / f"{index}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"^30 problems(.|\n)*\.\.\. and 10 more$"):
        check_images(find_images(folder))


def test_real_photos_are_found_and_checked() -> None:
    folder = Path(__file__).parents[2] / "shared" / "data" / "coco-stuff-mini" / "train" / "imgs"
    if not folder.is_dir():
        pytest.skip("the sample data is not here")
    photos = find_images(folder)
    assert len(photos) == len(list(folder.iterdir()))
    check_photos(photos)
    for image, pixels in zip(photos, read_images(photos), strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(image.read())).convert("RGB")))
