"""The files of a folder as people name them: which count, in what order, which belong together, and what is wrong with the others."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from apfgan.errors import DataError
from apfgan.images import shown

_PROBLEMS_SHOWN = 20

_Item = TypeVar("_Item")


class Problem(NamedTuple):
    """Something that makes files unusable."""

    path: Path
    """The file or folder that it is about."""
    message: str
    """What is wrong, and what to do; does not repeat the path."""

    @classmethod
    def of(cls, path: Path, error: DataError) -> "Problem":
        """What an error says about the file in `path`."""
        return cls(path, str(error).removeprefix(f"{shown(path)}: "))


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise a `DataError` if there are problems: it counts them all and shows the first 20."""
    if problems:
        listed = "\n".join(f"  {shown(path)}: {message}" for path, message in problems[:_PROBLEMS_SHOWN])
        more = f"\n  ... and {len(problems) - _PROBLEMS_SHOWN} more" if len(problems) > _PROBLEMS_SHOWN else ""
        raise DataError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the data:\n{listed}{more}")


def visible_entries(folder: Path) -> list[Path]:
    """What lies in `folder`, in natural order. Hidden files (temporaries, too) do not count. Raises `OSError`."""
    return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: natural_order(entry.name))


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Sort key that takes numbers within names as numbers: 2 before 10."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def normal_name(stem: str) -> str:
    """The name by which partners find each other: file systems store accents composed or decomposed."""
    return unicodedata.normalize("NFC", stem)


def regular_files(entries: Iterable[Path]) -> tuple[list[Path], list[Problem]]:
    """The entries that are files, and what is wrong with the others."""
    files: list[Path] = []
    problems: list[Problem] = []
    for entry in entries:
        if entry.is_file():
            files.append(entry)
        else:
            problems.append(Problem(entry, "is not a file (a folder, a pipe, or a link that leads nowhere); remove it"))
    return files, problems


def first_of_each_name(items: Iterable[_Item], locate: Callable[[_Item], Path]) -> tuple[list[_Item], list[Problem]]:
    """The items whose file name differs from those before in more than letter case and suffix, and what is wrong with the others."""
    first_with: dict[str, Path] = {}
    kept: list[_Item] = []
    problems: list[Problem] = []
    for item in items:
        path = locate(item)
        name = normal_name(path.stem).casefold()
        if name in first_with:
            problems.append(Problem(path, f"has the same name as {shown(first_with[name])}, but for letter case or suffix; rename or remove one"))
        else:
            first_with[name] = path
            kept.append(item)
    return kept, problems
