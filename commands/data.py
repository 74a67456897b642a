"""`apfgan data check`: a data set, looked at file by file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import ClassesOption, IgnoreOption, JsonOption, QuietOption, VerboseOption, read_classes
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.data import LabelCounts
    from apfgan.labels import Classes


def data_check(
    data: Annotated[Path, typer.Argument(help="Folder with train/imgs, train/labels and perhaps test/labels.", show_default=False)],
    classes: ClassesOption = None,
    ignore: IgnoreOption = None,
    problems: Annotated[Path | None, typer.Option("--problems", help="Write every problem to this file, a line each.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Decode every file, report all that is wrong at once, and count the classes."""
    from apfgan.data import check_dataset
    from apfgan.files import write_text
    from apfgan.images import shown

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    meaning = read_classes(classes, ignore)
    found = check_dataset(data, meaning, progress=screen.progress)
    if problems is not None:
        write_text(problems, "".join(f"{shown(path)}: {message}\n" for path, message in found.problems))
    parts = {"train": found.train} | ({"test": found.test} if found.test else {})
    result = {
        "problems": [{"path": str(problem.path), "message": problem.message} for problem in found.problems],
        **{name: {"maps": counts.maps, "class_maps": counts.class_maps, "class_pixels": counts.class_pixels} for name, counts in parts.items()},
    }
    if found.train.maps and not (as_json and found.problems):
        screen.result(result, _counts_text(meaning, parts))
    found.raise_problems()


def _counts_text(classes: "Classes", parts: "Mapping[str, LabelCounts]") -> str:
    """Sizes of each part's label maps, and a table of the classes that occur: maps that hold it, and its share of the pixels."""
    from reports.terminal import table

    sizes = [
        f"{name}: {counts.maps} label maps, {', '.join(f'{many} of {width}x{height}' for (width, height), many in counts.sizes.items())}"
        for name, counts in parts.items()
    ]
    rows = []
    for index, name in enumerate(classes.names):
        cells = [
            cell
            for counts in parts.values()
            for cell in (str(counts.class_maps[index]), f"{counts.class_pixels[index] / max(1, sum(counts.class_pixels)):.2%}")
        ]
        if any(counts.class_maps[index] for counts in parts.values()):
            rows.append([name, *cells])
    header = ["class", *(title for name in parts for title in (f"{name} maps", "pixels"))]
    return "\n".join([*sizes, "", table(header, rows)])
