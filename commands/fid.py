"""`apfgan fid`: distances between any images and photos."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.opening import find_device
from commands.options import DeviceOption, FidChoice, JsonOption, QuietOption, VerboseOption
from commands.screen import Screen

if TYPE_CHECKING:
    from selection.distances import Comparison


def fid(
    images: Annotated[str, typer.Argument(help="Images to judge: a folder, a zip, or a pattern as 'out/*.png'.", show_default=False)],
    real: Annotated[str, typer.Argument(help="Photos to compare with: the same, or an .npz with their statistics.", show_default=False)],
    protocol: Annotated[FidChoice, typer.Option("--protocol", help="Whose FID.")] = FidChoice.pytorch_fid,
    save_stats: Annotated[Path | None, typer.Option("--save-stats", help="Keep the photos' statistics in this .npz, for the next time.")] = None,
    convert: Annotated[bool, typer.Option("--convert", help="Read doubtful files (16 bit, transparent, ...) as pytorch-fid does.")] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """FID, KID, precision and recall of any images, by pytorch-fid's or clean-fid's protocol."""
    from metrics.standard import fid_judge, find_fid_weights
    from selection.distances import compare_images

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    judge = fid_judge(protocol.value, find_fid_weights(protocol.value), device=find_device(device))
    found = compare_images(images, real, judge, convert=convert, keep=save_stats, progress=screen.progress)
    _show_comparison(screen, found, judge.identity)


def _show_comparison(screen: Screen, found: "Comparison", judge: Mapping[str, Any]) -> None:
    """Every number on a line with its error, KID in both usual scales, and what has to be known of them below."""
    from reports.terminal import with_error, wrapped

    estimates = {name: each.estimate for name, each in found.measured.items()}
    result: dict[str, Any] = {"judge": dict(judge), "images": found.images, "photos": found.reference.count}
    result |= {name: asdict(each) for name, each in estimates.items()}
    result |= {"floor": found.floor and asdict(found.floor), "notes": found.notes}
    lines = [f"{judge['name']}: {found.images} images, {found.reference.count or 'unknown'} photos"]
    for name, each in estimates.items():
        if name.startswith("kid"):
            lines.append(f"{name:16} {with_error(each, digits=7)}")
            name, each = f"{name} x1000", replace(each, value=1000 * each.value, error=each.error and 1000 * each.error)
        lines.append(f"{name:16} {with_error(each)}")
    if found.floor is not None:
        lines.append(f"{'floor':16} {found.floor.mean:.4f} ±{found.floor.deviation:.4f} for as many of the photos against the others")
    for note in found.notes:
        lines.append(wrapped(f"note: {note}"))
    screen.result(result, "\n".join(lines))
