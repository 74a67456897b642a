"""`apfgan weights`: list, verify, fetch and add pretrained weights."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.options import JsonOption, QuietOption, VerboseOption
from commands.screen import Screen

if TYPE_CHECKING:
    from metrics.weights import Finding, Status


def weights_list(as_json: JsonOption = False, quiet: QuietOption = False, verbose: VerboseOption = False) -> None:
    """Which pretrained weights are here, and where to get the others."""
    from metrics.weights import catalogue_status

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    found = catalogue_status()
    result = {
        each.entry.name: {
            "for": each.entry.judge,
            "path": str(each.path) if each.path else None,
            "note": each.note or None,
            "files": each.entry.pins,
            "addresses": each.entry.addresses,
        }
        for each in found
    }
    screen.result(result, weights_text(found))


def weights_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which of them must be here and right. Default: all that are here.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Read the weights that are here and compare their hashes with the published ones; exit code 4 when one is wrong."""
    from apfgan.errors import WeightsError
    from metrics.weights import Verdict, verify

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    found = verify(names or (), progress=screen.progress)
    screen.result({name: [asdict(each) for each in findings] for name, findings in found.items()}, _findings_text(found))
    wrong = any(each.verdict is Verdict.WRONG for findings in found.values() for each in findings)
    if wrong or (names and not all(found.values())):
        raise typer.Exit(WeightsError.exit_code)


def weights_fetch(
    names: Annotated[list[str], typer.Argument(help="Which of them (see: apfgan weights list).", show_default=False)],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Download pretrained weights, verify them and put them where they are looked for.

    The only command that uses the network, and not where APFGAN_OFFLINE=1 or HF_HUB_OFFLINE=1 forbids it.
    """
    from metrics.weights import catalogue_entry
    from metrics.weights_transfer import fetch

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    entries = [catalogue_entry(name) for name in names]  # a misspelt name fails before the first download
    found = {entry.name: fetch(entry.name, progress=screen.progress) for entry in entries}
    screen.result({name: str(path) for name, path in found.items()}, "\n".join(f"{name}: {path}" for name, path in found.items()))


def weights_add(
    path: Annotated[
        Path, typer.Argument(help="A file of weights, or the folder of a hub model, that was brought here some other way.", show_default=False)
    ],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Verify a file of weights, or the folder of a hub model, and copy it to where the judges look."""
    from metrics.weights_transfer import add

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    place = add(path)
    screen.result({"path": str(place)}, f"verified and copied to {place}")


def weights_text(found: "Sequence[Status]") -> str:
    """Two lines for each of the pretrained weights, and below how the missing ones come here without a network.

    Nothing is wider than 80 columns but the addresses, which must be copied in one piece.
    """
    from reports.terminal import wrapped

    lines = []
    for each in found:
        name, pinned = each.entry.name, all(each.entry.pins.values())
        lines.append(f"{name:16} {each.entry.judge}")
        if each.path:
            lines.append(f"  {_narrow(each.path, 60)}{'' if pinned else '  (not pinned)'}")
        else:
            lines.append(f"  missing: apfgan weights fetch {name}")
        if each.note:
            lines.append(wrapped(each.note, indent="  "))
    missing = [each.entry for each in found if each.path is None]
    if missing:
        lines += [
            "",
            "Without a network, bring these files here (those of one hub model in a folder",
            "with its name), then: apfgan weights add PATH",
        ]
        lines += [address for entry in missing for address in entry.addresses]
        lines += ["Without any weights: --judges embedded"]
    return "\n".join(lines)


def _findings_text(found: "Mapping[str, Sequence[Finding]]") -> str:
    """Each file with its verdict, its hash where there was none to compare it with, and what a wrong one is instead; at last what is missing."""
    from reports.terminal import wrapped

    lines = []
    for name, findings in found.items():
        for each in findings:
            lines += [f"{name:16} {each.verdict}", f"  {_narrow(each.path, 78)}"]
            if each.verdict == "not pinned":
                lines.append(f"  sha256 {each.sha256}")
            if each.problem:
                lines.append(wrapped(each.problem, indent="  "))
    missing = ", ".join(name for name, findings in found.items() if not findings)
    return "\n".join([*lines, *([wrapped(f"missing: {missing} (see: apfgan weights list)")] if missing else [])])


def _narrow(path: Path, width: int) -> str:
    """`path` with ~ for the home folder, its beginning left out where it is wider than `width`."""
    text = str(path)
    if path.is_relative_to(Path.home()):
        text = str(Path("~") / path.relative_to(Path.home()))
    return text if len(text) <= width else "..." + text[3 - width :]
