"""`apfgan submit`: the zip to hand in."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.opening import find_candidates, open_examiner, read_ranking, run_search, set_up_bench, writing
from commands.options import DeviceOption, JsonOption, QuietOption, RunOption, VerboseOption
from commands.screen import Screen

if TYPE_CHECKING:
    from selection.showcase import Showcase


def submit(
    context: typer.Context,
    run: RunOption,
    pick: Annotated[str | None, typer.Option("--pick", help="Candidate to hand in. Default: what `pick` chose, or the best so far.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The zip. Default: RUN/result.zip.")] = None,
    showcase: Annotated[
        bool | None, typer.Option("--showcase/--no-showcase", help="Propose three images for a jury, in RUN/showcase. Default: for board B.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write result.zip, and verify it by judging its bytes; for board B with three images to show."""
    from apfgan.picks import read_pick
    from apfgan.runs import Run
    from reports.terminal import wrapped
    from selection.driving import UNLIMITED
    from selection.finishing import replacement_note
    from selection.merge_search import at_once
    from selection.showcase import propose, write_showcase
    from selection.submission import submit as write_submission

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    with writing(opened, context.obj) as account:
        if pick is None:
            pick = read_pick(opened).candidate if opened.pick_path.exists() else read_ranking(opened)[0].entry.name
        chosen = find_candidates(opened, pick, None)[0]
        bench = set_up_bench(opened, device, screen)
        with open_examiner(bench, screen, account) as examiner:
            run_search(at_once([chosen]), examiner, UNLIMITED)
            examiner.raise_failures()
            expected = examiner.measure(chosen).composite
        done = write_submission(bench, chosen, out or run / "result.zip", expected=expected, progress=screen.progress)
        note = replacement_note(bench.studio, chosen)
        shown = propose(bench, chosen) if showcase or (showcase is None and bench.formula.name == "B") else None
        if shown is not None:
            write_showcase(bench, shown, done.path, run / "showcase")
    result = {"candidate": str(chosen), "path": str(done.path), "sha256": done.sha256, "images": done.images, "score": done.composite.value}
    result |= {"notes": [note] if note else [], "showcase": shown and asdict(shown)}
    lines = [f"{done.path}: {done.images} images of {chosen}; its bytes score {done.composite.value:.4f}, as measured"]
    lines += [wrapped(f"note: {note}")] if note else []
    lines += _showcase_lines(shown, run / "showcase") if shown else []
    screen.result(result, "\n".join(lines))


def _showcase_lines(found: "Showcase", folder: Path) -> list[str]:
    """The proposed images, and why these."""
    from reports.terminal import table, wrapped

    rows = [
        [str(number), each.stem, f"{each.aesthetic:.2f}", f"{each.accuracy:.3f}", f"{each.distance:.2f}"]
        for number, each in enumerate(found.exhibits, start=1)
    ]
    shown = table(["", "to show", "aesthetic", "mask", "to the nearest"], rows)
    return ["", shown, wrapped(found.reason), f"look at them: {folder / 'contact_sheet.jpg'}"]
