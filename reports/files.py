"""The files of a run and of its report, with sizes and hashes, and the commands that made them."""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from apfgan.files import hash_file
from apfgan.runs import Run


@dataclass(frozen=True, kw_only=True)
class File:
    """A file, as the page names it."""

    name: str
    about: str
    """What it holds."""
    link: str
    """Its path from the page, as an address."""
    size: int
    """Bytes."""
    sha256: str
    """Empty for the one that holds the time, whose hash would be another every time."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that wrote to the run."""

    time: str
    text: str
    """As it was typed."""
    versions: str
    commit: str


_ABOUT = {
    "run.toml": "the configuration, as it was resolved",
    "history.jsonl": "the commands that made the run",
    "training.csv": "the training, epoch by epoch",
    "evaluation.json": "what the last score was asked for",
    "measurements.jsonl": "every measurement: the ledger",
    "pick.json": "what was picked, and how sure that is",
    "costs.jsonl": "what each command has cost",
    "result.zip": "what is handed in",
    "report.json": "this report for programs",
    "report.schema.json": "its JSON Schema",
    "scores.csv": "every measurement as a table",
    "merges.csv": "every merge with its gain",
    "per_image.csv": "every image of every candidate",
    "per_class.csv": "every class of every candidate",
}


def run_files(run: Run) -> tuple[Path, ...]:
    """Files of a run that say what it is and what came of it, as far as there are any."""
    names = ("run.toml", "history.jsonl", "training.csv", "evaluation.json", "measurements.jsonl", "pick.json", "costs.jsonl", "result.zip")
    return tuple(path for name in names if (path := run.path / name).is_file())


def describe_files(paths: Sequence[Path], folder: Path, *, timed: Path | None = None) -> list[File]:
    """Files that lie in `folder`, beside the page, or elsewhere: links are relative, so that they hold as long as the folders stay together.

    `timed`: the one among them that holds the time.
    """
    found = []
    for path in paths:
        place = Path(os.path.relpath(path, folder)).as_posix()
        inside = not place.startswith("../")
        found.append(
            File(
                name=place if inside else path.name,
                about=_ABOUT.get(path.name, "a figure" if path.suffix in (".png", ".svg") else ""),
                link=quote(os.fsencode(place)),
                size=path.stat().st_size,
                sha256="" if path == timed else hash_file(path),
            )
        )
    return found


def read_history(run: Run) -> tuple[Command, ...]:
    """The commands that made the run, the oldest first; lines that are not whole are passed over."""
    path = run.path / "history.jsonl"
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            found.append(
                Command(
                    time=str(entry["time"]),
                    text=shlex.join(["apfgan", *map(str, entry["arguments"])]),
                    versions=" ".join(f"{name} {version}" for name, version in entry["versions"].items()),
                    commit=str(entry["commit"]),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return tuple(found)
