"""What a file turned out to contain: its hash, and whether it is what a stopped download, an error page or Git leaves in place of a file."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """What was read of a file: enough to tell it from those that it is taken for."""

    sha256: str
    size: int
    start: bytes
    """The first megabyte."""
    end: bytes
    """The last megabyte."""


def read_file(path: Path) -> Content:
    """Read a file from its first to its last byte."""
    with path.open("rb") as file:
        return read_blocks(blocks_of(file))


def blocks_of(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, a megabyte at a time."""
    return iter(lambda: file.read(_BLOCK), b"")


def read_blocks(blocks: Iterable[bytes], write: Callable[[bytes], object] | None = None, advance: Callable[[int], None] | None = None) -> Content:
    """Read `blocks`; `write` gets each of them, and `advance` its length."""
    digest, size, start, end = hashlib.sha256(), 0, b"", b""
    for block in blocks:
        digest.update(block)
        size += len(block)
        start += block[: _BLOCK - len(start)]
        end = (end + block)[-_BLOCK:]
        if write:
            write(block)
        if advance:
            advance(len(block))
    return Content(digest.hexdigest(), size, start, end)


def spoiled(content: Content) -> str:
    """Why this can be no file of weights or settings, whichever was wanted; empty if it may be one."""
    start = content.start
    if not content.size:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, a few lines that stand for the file (git lfs pull brings the file itself)"
    if start[:512].lstrip().startswith(b"<"):
        return "it is a web page, perhaps of an error, saved under that name"
    if (start.startswith(b"PK\3\4") and b"PK\5\6" not in content.end) or content.size < _safetensors_size(start):
        return f"it ends after {content.size} bytes in the middle of its data, as if a download had stopped"
    return ""


def _safetensors_size(start: bytes) -> int:
    """Bytes of a .safetensors file with this beginning, by its header; 0 when it is none, or its header is longer than `start`."""
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or 8 + length > len(start):
        return 0
    try:
        header = json.loads(start[8 : 8 + length])
        return 8 + length + max((tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, LookupError):
        return 0
