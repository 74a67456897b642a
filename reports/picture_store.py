"""Where the bytes of a page's pictures go: into the page itself, or into files beside it that the browser reads when it shows them."""

import base64
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from apfgan.files import write_bytes, write_durably

FOLDER = "pictures"
"""Folder beside the page with the pictures that are files."""

ARCHIVE = "report.zip"
"""The whole report as one file to send."""

_OURS = re.compile(r"[a-z](-[0-9]+)+\.(webp|png)")
"""File names of pictures, which hold nothing of a user's text; no other file is ever deleted."""


class PictureStore(Protocol):
    """Takes pictures in and gives their addresses."""

    policy: str
    """What a content-security policy must name as sources of images."""

    def keep(self, name: str, content: bytes, media_type: str) -> str:
        """The address of a picture in the page. `name` is a letter and numbers, `p-3-7`, and no other picture's; `media_type` is `image/webp` or
        `image/png`."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """Contents of the files that must lie beside the page, by their paths from it."""


class PicturesInside:
    """Pictures within the page, as `data:` addresses."""

    policy = "data:"
    files: Mapping[str, bytes] = {}

    def keep(self, name: str, content: bytes, media_type: str) -> str:
        """The address that is the picture."""
        return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


class PicturesBeside:
    """Pictures as files of the folder `pictures` beside the page."""

    policy = "data: 'self' file:"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def keep(self, name: str, content: bytes, media_type: str) -> str:
        """The path of the picture's file from the page."""
        file = f"{name}.{media_type.removeprefix('image/')}"
        if not _OURS.fullmatch(file):
            raise ValueError(f"{file} is no name of a picture: a letter and numbers, p-3-7.webp")
        path = f"{FOLDER}/{file}"
        self.files[path] = content
        return path


def write_pictures(folder: Path, store: PictureStore) -> list[Path]:
    """Write the files of a store beside a page in `folder`."""
    for name, content in store.files.items():
        write_bytes(folder / name, content, flush=False)
    return [folder / name for name in store.files]


def remove_stale_pictures(folder: Path, store: PictureStore) -> None:
    """Delete what an earlier report left in `folder` and this one does not have: pictures, and the zip, which would tell of that report."""
    (folder / ARCHIVE).unlink(missing_ok=True)
    pictures = folder / FOLDER
    for path in sorted(pictures.iterdir()) if pictures.is_dir() else ():
        if _OURS.fullmatch(path.name) and f"{FOLDER}/{path.name}" not in store.files:
            path.unlink()
    if pictures.is_dir() and not any(pictures.iterdir()):
        pictures.rmdir()


def write_archive(folder: Path, paths: Sequence[Path]) -> Path:
    """Put files of a report in `folder` into a zip beside them; the same files give the same bytes."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for path in sorted(paths):
                entry = zipfile.ZipInfo(f"report/{path.relative_to(folder).as_posix()}")  # of 1980, and no one's rights
                entry.compress_type = zipfile.ZIP_STORED if path.suffix in (".webp", ".png") else zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())

    write_durably(folder / ARCHIVE, write)
    return folder / ARCHIVE
