"""How pretrained weights get to where they are looked for: downloaded, or copied from a disk; verified on the way, whole or not at all."""

import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError

from apfgan.errors import WeightsError
from apfgan.files import torch_cache, write_durably
from apfgan.progress import SILENT, Progress
from metrics.weights import (
    CATALOGUE,
    WEIGHT_FILES,
    HubModel,
    WeightsFile,
    by_hand,
    catalogue_entry,
    check_network,
    describe,
    find_file,
    find_network,
    locate,
    weights_of,
)
from metrics.weights_content import Content, blocks_of, read_blocks, read_file

OFFLINE_VARIABLES = ("APFGAN_OFFLINE", "HF_HUB_OFFLINE")
"""Environment variables that forbid every download when they are 1, on, yes or true; the second is the Hugging Face hub's."""


def fetch(name: str, *, progress: Progress = SILENT, timeout: float = 60) -> Path:
    """Download one entry of the catalogue by name, unless it is here already; returns its place.

    A file appears under its name only after its hash was compared; `timeout` is how many seconds a connection may be silent. Raises `UsageError`
    for a name that is not in the catalogue, `WeightsError` when downloads are forbidden or fail, or the content is another.
    """
    entry = catalogue_entry(name)
    try:
        return find_file(entry) if isinstance(entry, WeightsFile) else find_network(entry)
    except WeightsError as error:
        if variable := next((each for each in OFFLINE_VARIABLES if os.environ.get(each, "").lower() in ("1", "on", "yes", "true")), None):
            raise WeightsError(f"{variable} is set: nothing is downloaded, and {error}") from error
    return _fetch_file(entry, progress, timeout) if isinstance(entry, WeightsFile) else _fetch_network(entry, progress)


def add(path: Path) -> Path:
    """Copy a file of the catalogue, or a folder with a hub model of it, to where judges (and pytorch-fid) look; returns its new place.

    Files go by content. A folder is one of the catalogue's by its weights, or by its name where their hash is not pinned. Raises `WeightsError`
    that names what it is instead; nothing was copied then.
    """
    if path.is_dir():
        return _add_network(path)
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    content = read_file(path)
    files = [entry for entry in CATALOGUE.values() if isinstance(entry, WeightsFile)]
    entry = next((entry for entry in files if entry.sha256 == content.sha256), None)
    if entry is None:
        if model := next((each for each in _hub_models() if content.sha256 in each.pins.values()), None):
            raise WeightsError(f"{path} is a part of {model.repository}: add the folder that holds it and its config.json")
        alike = next((each for each in files if path.name in (each.file, *each.aliases)), None)
        wanted = alike.file if alike else "any of the catalogue's (apfgan weights list)"
        raise WeightsError(f"{path} is not {wanted}: {describe(content, alike)}. Nothing was copied; get the file again")
    target = torch_cache() / entry.file
    _copy(path, target, entry.sha256)
    return target


def _hub_models() -> list[HubModel]:
    return [entry for entry in CATALOGUE.values() if isinstance(entry, HubModel)]


def _add_network(folder: Path) -> Path:
    if weights_of(folder) is None:
        raise WeightsError(f"{folder} is no folder of a network: it needs config.json and {' or '.join(WEIGHT_FILES)}")
    entry = _recognise(folder)
    found = check_network(entry, folder)
    if problem := next((each.problem for each in found if each.problem), None):
        raise WeightsError(f"{problem}. Nothing was copied; get the file again, or name the folder to the command that needs another network")
    target = torch_cache() / entry.folder
    if weights_of(target):
        if [each.sha256 for each in check_network(entry, target)] != [each.sha256 for each in found]:
            raise WeightsError(f"{target} holds other files of {entry.repository}. Delete it if they are not wanted, and run the same command again")
        return target
    for each in reversed(found):  # the configuration last: without it, a folder is not taken for a network's
        _copy(each.path, target / each.path.name, each.sha256)
    return target


def _recognise(folder: Path) -> HubModel:
    """The model in `folder`: by its name, which in the hub's cache is that of a folder above, else by the hash of its weights."""
    names = {part.removeprefix("models--").rpartition("--")[2] for part in folder.resolve().parts[-3:]}
    if entry := next((each for each in _hub_models() if each.folder in names), None):
        return entry
    hashes = {read_file(folder / name).sha256 for name in WEIGHT_FILES if (folder / name).is_file()}
    if entry := next((each for each in _hub_models() if hashes.intersection(each.pins.values())), None):
        return entry
    known = ", ".join(each.folder for each in _hub_models())
    raise WeightsError(f"{folder} is none of the networks that are known here, neither by its name nor by its weights: {known}. Nothing was copied")


def _copy(source: Path, target: Path, sha256: str) -> None:
    with source.open("rb") as file:
        changed = f"{source} changed while it was copied. Nothing was kept; run the same command again"
        _write_verified(target, blocks_of(file), sha256, source.stat().st_size, complaint=lambda _: changed)


def _fetch_file(entry: WeightsFile, progress: Progress, timeout: float) -> Path:
    target = torch_cache() / entry.file

    def complaint(content: Content) -> str:
        return f"what came from {entry.url} is not {entry.file}: {describe(content, entry)}. Nothing was kept; try again, or {by_hand(entry)}"

    with progress.task(f"fetch {entry.file}", entry.size, unit="bytes") as task:
        blocks = _download(entry, timeout)
        _write_verified(target, blocks, entry.sha256, entry.size, complaint=complaint, advance=task.advance)
    return target


def _download(entry: WeightsFile, timeout: float) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(entry.url, timeout=timeout) as response:
            yield from blocks_of(response)
    except (OSError, HTTPException) as error:  # OSError: urllib's own errors, timeouts, broken connections, certificates
        if isinstance(error, HTTPError):
            error.close()
        raise WeightsError(f"cannot download {entry.url} ({error}). Without a network: {by_hand(entry)}") from error


def _fetch_network(entry: HubModel, progress: Progress) -> Path:
    from huggingface_hub import hf_hub_download

    again = locate(entry) is not None  # and it is wrong
    try:
        with _hub_bars(shown=progress is not SILENT):
            for file in entry.pins:
                hf_hub_download(entry.repository, file, revision=entry.revision, force_download=again)
    except Exception as error:  # the hub's client raises its own errors, OSError, and those of whichever HTTP library it uses
        reason = str(error).partition("\n")[0].rstrip(".")
        raise WeightsError(f"cannot download {entry.addresses[0]} ({reason}). Without a network: {by_hand(entry)}") from error
    return find_network(entry)


@contextmanager
def _hub_bars(*, shown: bool) -> Iterator[None]:
    """The hub's client shows its bars, or none; its setting is put back."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    if not shown:
        disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


def _write_verified(
    target: Path,
    blocks: Iterator[bytes],
    sha256: str,
    size: int,
    *,
    complaint: Callable[[Content], str],
    advance: Callable[[int], None] | None = None,
) -> None:
    """Write `blocks` to `target` durably; nothing is kept under that name, and `WeightsError` says `complaint`, unless they have this hash."""

    def write(file: BinaryIO) -> None:
        content = read_blocks(blocks, file.write, advance)
        if content.sha256 != sha256:
            raise WeightsError(complaint(content))

    target.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(target.parent).free) < size:
        raise WeightsError(f"{target.parent} has {free >> 20} MiB free, {target.name} needs {size >> 20}: free some space, or set TORCH_HOME")
    write_durably(target, write)
