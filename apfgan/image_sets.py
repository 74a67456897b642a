"""The images of one set, whoever made them: found in a folder, a zip or by a pattern, paired with label maps, and checked before they are used.

    out/epoch_10            a folder, not those below it
    results/10.zip          a zip, flat or with one folder in it
    out/*_fake.png          a pattern
    out/{epoch}/*.jpg       a pattern of several sets; what stands for {epoch} is the name of each

Numpy only.
"""

import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from apfgan.candidates import Candidate
from apfgan.errors import DataError, UsageError
from apfgan.files import hash_bytes, hash_value
from apfgan.folders import Problem, first_of_each_name, natural_order, normal_name, raise_problems, regular_files, visible_entries
from apfgan.images import Encoding, decode_photo, decode_stored, read_content, shown
from apfgan.progress import SILENT, Progress
from apfgan.threads import in_threads

SUFFIXES = (".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What the name of an image may end with, in letters of either case: all that pytorch-fid takes."""

MEMBER_LIMIT = 2**28
"""Bytes to which a member of a zip may unpack; an image of `apfgan.images.PIXEL_LIMIT` pixels, uncompressed, has 2**27.6."""

_MEMBER_NAME_LIMIT = 1024
_LOCAL_HEADER = 30
_ENCRYPTED_OR_PATCHED = 0x61
_PLACEHOLDER = re.compile(r"\{[A-Za-z_]+\}")
_WILD = re.compile(r"[*?\[]")
_NAMES_SHOWN = 10
_EXAMPLES_SHOWN = 3
_KINDS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image file, or a member of a zip."""

    path: Path
    """The file, or the zip."""
    member: zipfile.ZipInfo | None = None

    @property
    def location(self) -> Path:
        """What errors call it: `out/7.png`, or `out.zip/7.png`."""
        return self.path if self.member is None else self.path / _member_path(self.member)

    @property
    def stem(self) -> str:
        """Its name, without folder and suffix."""
        return self.location.stem

    def read(self) -> bytes:
        """Its bytes, from any thread; raises `DataError` that names it where it cannot be read or is not what was packed."""
        return read_content(self.path) if self.member is None else _unpack(self.path, self.member)


@dataclass(frozen=True, slots=True)
class Paired:
    """Images and the label maps that they were made for."""

    images: tuple[StoredImage, ...]
    label_maps: tuple[Path, ...]
    """That of each image, in the order that was given."""
    note: str
    """What was left out; empty where nothing was."""


@dataclass(frozen=True, slots=True)
class CheckedImages:
    """A set of images of which every one was decoded: what they have in common."""

    images: tuple[StoredImage, ...]
    size: tuple[int, int]
    """(width, height) of each."""
    encoding: Encoding | None
    """How each is stored; None where they differ, which only images that are encoded again may."""
    hashes: Mapping[str, str]
    """SHA-256 of the bytes of each, by its stem."""
    convert: bool
    """How they are read: see `apfgan.images.decode_photo`."""

    @property
    def key(self) -> str:
        """Hash of each one's name and bytes, whatever their place and order."""
        return hash_named(self.hashes.items())

    @property
    def note(self) -> str:
        """What is odd but no error: images that are the same file; empty where there are none."""
        times = Counter(self.hashes.values())
        twins = [image for image in self.images if times[self.hashes[image.stem]] > 1]
        if not twins:
            return ""
        return f"{len(twins)} of {len(self.images)} images are copies of one another ({_examples(twins)}): was each drawn for its own label map?"


def find_images(where: Path | str) -> list[StoredImage]:
    """The images in a folder (not those below it), in a zip, or that a pattern matches, in natural order (2 before 10).

    A part of a path that exists means itself, whatever it holds of `*?[`; otherwise these match as in a shell. Raises `DataError` with every
    entry that cannot be an image by its name or kind, or when there are none.
    """
    start, parts = _split(where)
    images, problems = _find(start, parts)
    raise_problems(problems)
    return images


def expand_pattern(text: str) -> dict[str, list[StoredImage]]:
    """Sets of images by the names of their candidates, in natural order.

    `out/{epoch}/*.jpg`, `out/epoch_{epoch}` and `zips/{name}.zip` name as many sets as there are; `NAME=WHERE` is one set with a name of its
    own, and a folder or zip alone has the name that it has on the disk. A name is one that a candidate may have (`epoch_10` is `10`).
    Raises `UsageError` for a pattern that means nothing, `DataError` with all that is wrong with what it matches.
    """
    placeholders = _PLACEHOLDER.findall(text)
    if not placeholders:
        name, where = _named(text)
        return {name: find_images(where)}
    if len(placeholders) > 1:
        raise UsageError(
            f"{text!r} has {len(placeholders)} names in braces ({', '.join(placeholders)}): one of them tells the sets apart, write * for others"
        )
    start, parts = _split(text)
    place = next(index for index, part in enumerate(parts) if placeholders[0] in part)
    before, after = parts[place].split(placeholders[0])
    if _WILD.search(before + after):
        raise UsageError(f"{text!r}: write no * beside {placeholders[0]}, which would leave open what the name is")
    naming = re.compile(f"{re.escape(before)}(.+){re.escape(after)}", re.DOTALL)
    rest = parts[place + 1 :]

    found: dict[str, list[StoredImage]] = {}
    entry_of: dict[str, Path] = {}
    problems: list[Problem] = []
    for folder in _matching(start, parts[:place]):
        for entry in _entries(folder):
            match = naming.fullmatch(entry.name)
            if match is None or not (entry.is_dir() or (not rest and _is_zip(entry))):
                continue
            try:
                name = str(Candidate((match[1],)))
            except UsageError as error:
                problems.append(Problem(entry, f"{error}. Rename it, or narrow the pattern"))
                continue
            if name in found:
                problems.append(Problem(entry, f"is another {name} beside {shown(entry_of[name])}; narrow the pattern"))
                continue
            entry_of[name] = entry
            found[name], wrong = _find(entry, rest)
            problems += wrong
    raise_problems(problems)
    if not found:
        raise DataError(f"nothing matches {shown(Path(text))}: {_nothing(start, parts[: place + 1])}")
    return {name: found[name] for name in sorted(found, key=natural_order)}


def pair_images(images: Sequence[StoredImage], label_maps: Sequence[Path], *, allow_missing: bool = False) -> Paired:
    """The images in the order of the label maps that have the same stem (accents composed or decomposed).

    Raises `DataError` that counts the images without label map and the label maps without image and names the first ten of each;
    `allow_missing` goes on with what they have in common, if there is any.
    """
    image_of = {normal_name(image.stem): image for image in images}
    label_map_of = {normal_name(path.stem): path for path in label_maps}
    common = [name for name in label_map_of if name in image_of]
    lonely_images = [image.location.name for name, image in image_of.items() if name not in label_map_of]
    lonely_maps = [path.name for name, path in label_map_of.items() if name not in image_of]
    differences = [
        *([f"{len(lonely_maps)} of {len(label_maps)} label maps have no image ({_listed(lonely_maps)})"] if lonely_maps else []),
        *([f"{len(lonely_images)} of {len(images)} images have no label map ({_listed(lonely_images)})"] if lonely_images else []),
    ]
    if differences and not common:
        raise DataError(f"{'; '.join(differences)}. An image is named after its label map: 7.jpg for 7.png")
    if differences and not allow_missing:
        raise DataError(f"{'; '.join(differences)}. Complete the set, or go on with the {len(common)} that match: --allow-missing")
    return Paired(tuple(image_of[name] for name in common), tuple(label_map_of[name] for name in common), "; ".join(differences))


def check_images(
    images: Sequence[StoredImage],
    *,
    convert: bool = False,
    size: tuple[int, int] | None = None,
    reencoded: bool = False,
    progress: Progress = SILENT,
) -> CheckedImages:
    """Decode every image before the first one is used, and raise one `DataError` for all that is wrong.

    All must have one size, `size` (width, height) if it is given, and be stored alike unless they are `reencoded` before they are judged.
    `convert`: see `apfgan.images.decode_photo`.
    """
    seen, problems = _examine_all(images, convert=convert, progress=progress)
    by_size: dict[tuple[int, int], list[StoredImage]] = {}
    by_encoding: dict[Encoding, list[StoredImage]] = {}
    for image, each in zip(images, seen, strict=True):
        if each is not None:
            by_size.setdefault(each.size, []).append(image)
            by_encoding.setdefault(each.encoding, []).append(image)
    here = images[0].location.parent
    if len(by_size) > 1 or (size is not None and by_size.keys() - {size}):
        wanted = "one size" if size is None else f"{size[0]}x{size[1]}"
        sizes = {f"{width}x{height}": members for (width, height), members in by_size.items()}
        problems.append(Problem(here, f"the images must have {wanted}: {_census(sizes)}. Draw or resize them alike"))
    if len(by_encoding) > 1 and not reencoded:
        ways = _census({str(encoding): members for encoding, members in by_encoding.items()})
        problems.append(
            Problem(
                here,
                f"the images are stored in {len(by_encoding)} ways, which cost them differently: {ways}. Store them alike, or pass all "
                "through the encoder of a submission: --reencode",
            )
        )
    raise_problems(problems)
    return CheckedImages(
        images=tuple(images),
        size=next(iter(by_size)),
        encoding=next(iter(by_encoding)) if len(by_encoding) == 1 else None,
        hashes={image.stem: each.sha256 for image, each in zip(images, seen, strict=True) if each is not None},
        convert=convert,
    )


def check_photos(photos: Sequence[StoredImage], *, convert: bool = False, progress: Progress = SILENT) -> None:
    """Decode photos of any sizes, and raise one `DataError` for all that cannot be used."""
    _, problems = _examine_all(photos, convert=convert, progress=progress)
    raise_problems(problems)


def read_images(images: Iterable[StoredImage], *, convert: bool = False) -> Iterator[np.ndarray]:
    """The pixels of each, uint8 (H, W, 3), in order; a few are decoded ahead. Raises the `DataError` of the first that cannot be used."""
    return in_threads(lambda image: decode_photo(image.read(), shown(image.location), convert=convert), images)


def hash_images(images: Iterable[StoredImage]) -> str:
    """Hash of a set: of each one's name and bytes, whatever their place and order. Nothing is decoded."""
    return hash_named(hash_each(images))


def hash_each(images: Iterable[StoredImage]) -> list[tuple[str, str]]:
    """The stem of each, and the SHA-256 of its bytes."""
    listed = list(images)
    return list(zip((image.stem for image in listed), in_threads(lambda image: hash_bytes(image.read()), listed), strict=True))


def hash_named(hashes: Iterable[tuple[str, str]]) -> str:
    """Hash of a set of files, given the stem and the SHA-256 of each, in any order."""
    # ascii() also takes names whose bytes are no text.
    return hash_value(sorted([ascii(normal_name(stem)), sha256] for stem, sha256 in hashes))


def _named(text: str) -> tuple[str, str]:
    """The name and the place in `NAME=WHERE`, or of a folder or zip alone."""
    name, equals, where = text.partition("=")
    if not equals or "/" in name or os.path.lexists(text):
        path = Path(text)
        name, where = path.stem if _is_zip(path) else path.resolve().name, text
    try:
        return str(Candidate((name,))), where
    except UsageError as error:
        raise UsageError(f"{text!r}: {error}. Name the set: NAME=WHERE, or put {{epoch}} where the names of several differ") from error


def _split(where: Path | str) -> tuple[Path, tuple[str, ...]]:
    """Where a path or pattern begins, and its parts from there."""
    path = Path(os.path.expanduser(where))  # noqa: PTH111 (Path's own refuses a name that begins with ~ and is no user's)
    return Path(path.anchor), path.parts[1:] if path.anchor else path.parts


def _find(start: Path, parts: Sequence[str]) -> tuple[list[StoredImage], list[Problem]]:
    where = start.joinpath(*parts)
    matches = _matching(start, parts)
    if not matches:
        return [], [Problem(where, _nothing(start, parts))]
    if len(matches) == 1 and _is_zip(matches[0]):
        images, problems = _list_zip(matches[0])
        instead = ""
    else:
        entries = _entries(matches[0]) if len(matches) == 1 and matches[0].is_dir() else matches
        files, problems = regular_files(entry for entry in entries if entry.suffix.lower() in SUFFIXES)
        images = [StoredImage(file) for file in files]
        instead = _instead(entries)
    images, twins = first_of_each_name(sorted(images, key=lambda image: natural_order(image.location.name)), lambda image: image.location)
    problems += twins
    if not images and not problems:
        problems.append(Problem(where, f"holds no image ({' '.join(SUFFIXES)}){instead}"))
    return images, problems


def _matching(start: Path, parts: Sequence[str]) -> list[Path]:
    """What the parts of a pattern match, from `start` on."""
    found = [start]
    for part in parts:
        found = [child for folder in found for child in _children(folder, part)]
    return found


def _children(folder: Path, part: str) -> list[Path]:
    if os.path.lexists(folder / part):
        return [folder / part]
    if "**" in part:
        raise UsageError(f"{shown(folder / part)}: ** is not understood; images of one set lie in one folder")
    if not _WILD.search(part) or not folder.is_dir():
        return []
    return [entry for entry in _entries(folder) if fnmatchcase(entry.name, part)]


def _entries(folder: Path) -> list[Path]:
    try:
        return visible_entries(folder)
    except OSError as error:
        raise DataError(f"{shown(folder)}: cannot be listed: {error.strerror}") from error


def _nothing(start: Path, parts: Sequence[str]) -> str:
    """Why a pattern matches nothing: the part that is not there, and what is there instead."""
    folders = [start]
    for part in parts:
        if not (deeper := _children(folders[0], part)):
            return f"there is no {part!r} in {shown(folders[0])}" + (
                _instead(_entries(folders[0])) if folders[0].is_dir() else ", which is no folder"
            )
        folders = deeper
    return f"there is nothing of the kind in {shown(folders[0])}" + _instead(folders)


def _instead(entries: Sequence[Path]) -> str:
    """What is there, for whoever looked for something else."""
    if folders := [entry.name for entry in entries if entry.is_dir()]:
        return f"; there are folders ({_listed(folders)}): name one of them, or put {{epoch}} in their place"
    return f"; there are {_listed([entry.name for entry in entries])}" if entries else "; it is empty"


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def _list_zip(archive: Path) -> tuple[list[StoredImage], list[Problem]]:
    """The images in a zip, by its directory alone, and what is wrong with their entries. What is no image does not count."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
    except Exception as error:  # a damaged directory makes zipfile raise anything from BadZipFile to UnicodeDecodeError
        return [], [Problem(archive, f"is no zip, or is damaged or cut short ({error}); pack it again")]
    images: list[StoredImage] = []
    problems: list[Problem] = []
    for member in members:
        path = _member_path(member)
        hidden = any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in path.parts)
        if hidden or path.suffix.lower() not in SUFFIXES:
            continue
        if wrong := _refused(member, path):
            problems.append(Problem(Path(f"{archive}/{path}"[:_MEMBER_NAME_LIMIT]), wrong))
        else:
            images.append(StoredImage(archive, member))
    folders = {image.location.parent for image in images}
    if len(folders) > 1:
        problems.append(Problem(archive, f"holds images in {len(folders)} folders ({_listed(sorted(map(shown, folders)))}); pack each set alone"))
    return images, problems


def _member_path(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename.replace("\\", "/"))  # as some Windows programs separate folders


def _refused(member: zipfile.ZipInfo, path: PurePosixPath) -> str:
    """Why a member of a zip is not read; empty if it is."""
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "points outside of the zip; pack it again"
    if len(os.fsencode(member.filename)) > _MEMBER_NAME_LIMIT:
        return f"has a name of more than {_MEMBER_NAME_LIMIT} bytes; pack it again"
    if len(path.parts) > 2:
        return "lies deeper than one folder; pack the images themselves"
    if (kind := stat.S_IFMT(member.external_attr >> 16)) and kind != stat.S_IFREG:
        return "is a link or a device, not a file; pack the images themselves"
    if member.flag_bits & _ENCRYPTED_OR_PATCHED:
        return "is encrypted; pack it without a password"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that is not read here; pack it as an ordinary zip"
    if member.file_size > MEMBER_LIMIT:
        return f"unpacks to {member.file_size} bytes, more than the {MEMBER_LIMIT} allowed: a decompression bomb?"
    return ""


def _unpack(archive: Path, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, their checksum compared. Opens the file anew, so that any thread may call it and no handle stays open."""
    source = shown(archive / _member_path(member))
    try:
        with archive.open("rb") as file:
            file.seek(member.header_offset)
            header = file.read(_LOCAL_HEADER)
            if not header.startswith(b"PK\3\4"):
                raise zipfile.BadZipFile("no member begins where the directory says")
            name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
            file.seek(name + extra, os.SEEK_CUR)
            with zipfile.ZipExtFile(file, "r", member) as packed:
                content = packed.read(member.file_size + 1)  # bounded, so that a size that lies unpacks to no more
    except Exception as error:  # a damaged member makes zlib and zipfile raise anything
        raise DataError(f"{source}: damaged or cut short ({error}); pack it again") from error
    if len(content) != member.file_size:
        raise DataError(f"{source}: damaged: unpacks to {len(content)} bytes instead of {member.file_size}; pack it again")
    return content


@dataclass(frozen=True, slots=True)
class _Seen:
    """What an image is like."""

    size: tuple[int, int]
    encoding: Encoding
    sha256: str


def _examine_all(images: Sequence[StoredImage], *, convert: bool, progress: Progress) -> tuple[list[_Seen | None], list[Problem]]:
    """What each image is like, None where it cannot be used, and why."""
    seen: list[_Seen | None] = []
    problems: list[Problem] = []
    with progress.task("check the images", len(images)) as task:
        for found in in_threads(partial(_examine, convert=convert), images):
            if isinstance(found, Problem):
                problems.append(found)
                seen.append(None)
            else:
                seen.append(found)
            task.advance()
    return seen, problems


def _examine(image: StoredImage, *, convert: bool) -> _Seen | Problem:
    try:
        content = image.read()
        pixels, encoding = decode_stored(content, shown(image.location), convert=convert)
    except DataError as error:
        return Problem.of(image.location, error)
    return _Seen((pixels.shape[1], pixels.shape[0]), encoding, hash_bytes(content))


def _census(groups: Mapping[str, Sequence[StoredImage]]) -> str:
    """How many images there are of each kind, the most first, with examples."""
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    described = [f"{len(members)} {kind} ({_examples(members)})" for kind, members in ordered[:_KINDS_SHOWN]]
    return ", ".join(described) + (f" and {len(ordered) - _KINDS_SHOWN} more kinds" if len(ordered) > _KINDS_SHOWN else "")


def _examples(images: Sequence[StoredImage]) -> str:
    names = ", ".join(shown(Path(image.location.name)) for image in images[:_EXAMPLES_SHOWN])
    return f"{names}, ..." if len(images) > _EXAMPLES_SHOWN else names


def _listed(names: Sequence[str]) -> str:
    """The first ten of some names, and how many more there are."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(shown(Path(name)) for name in names[:_NAMES_SHOWN]) + more
