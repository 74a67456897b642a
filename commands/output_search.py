"""`apfgan output-search`: how to store what was drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from commands.opening import find_candidates, open_examiner, read_ranking, run_search, set_up_bench, writing
from commands.options import (
    AddressOption,
    DeviceOption,
    ExecutorChoice,
    ExecutorOption,
    JsonOption,
    QuietOption,
    RunOption,
    VerboseOption,
    WorkersOption,
)
from commands.screen import Screen

if TYPE_CHECKING:
    from apfgan.candidates import Candidate
    from selection.measuring import Bench
    from selection.output_search import OutputVerdict


def output_search(
    context: typer.Context,
    run: RunOption,
    candidate: Annotated[str | None, typer.Option("--candidate", help="Default: the best so far.")] = None,
    qualities: Annotated[str, typer.Option("--qualities", help="JPEG qualities, 1 to 95.")] = "75,85,90,95",
    subsamplings: Annotated[str, typer.Option("--subsamplings", help="How JPEGs store colours: 420, 422, 444.")] = "420,444",
    photos: Annotated[
        bool | None,
        typer.Option("--photos/--no-photos", help="Try training photos for single-class drawings, too. Default: if a training set is known."),
    ] = None,
    executor: ExecutorOption = ExecutorChoice.inline,
    workers: WorkersOption = None,
    ray_address: AddressOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure one candidate's drawings stored in several ways, and say which is better than the run's own."""
    from apfgan.candidates import Candidate
    from apfgan.runs import Run
    from selection import output_search as search
    from selection.driving import UNLIMITED
    from selection.finishing import Finish, replacement_note

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    opened = Run.open(run)
    settings = search.jpeg_settings(qualities, subsamplings)
    with writing(opened, context.obj) as account:
        chosen = find_candidates(opened, candidate, None)[0] if candidate else Candidate.parse(read_ranking(opened)[0].entry.name)
        bench = set_up_bench(opened, device, screen)
        if photos is None:
            photos = bench.training_set is not None and (bench.training_set / "train" / "labels").is_dir()
        variants = search.output_variants(chosen, settings, opened.config.output)
        with_photos = replace(variants[0], photos=photos)
        note = replacement_note(bench.studio, with_photos)
        replacing = bool(Finish.of(bench.studio, with_photos).stand_ins)
        bench = search.share_drawings(bench, variants)
        with open_examiner(bench, screen, account, executor, workers, ray_address) as examiner:
            found = run_search(search.output_search(variants, photos=replacing), examiner, UNLIMITED)
        examiner.raise_failures()
    verdict = search.judge_outputs(found, variants[0])
    sizes = {each.candidate: search.mean_bytes(bench, each.candidate) for each in verdict.variants}
    _show_outputs(screen, bench, verdict, sizes, [note] if note else [])


def _show_outputs(screen: Screen, bench: "Bench", verdict: "OutputVerdict", sizes: "Mapping[Candidate, float | None]", notes: Sequence[str]) -> None:
    """A line for each way to store the drawings, best first, and which one to take."""
    from apfgan.candidates import Jpeg
    from apfgan.ranking import better
    from reports.terminal import table, with_error, wrapped

    output = bench.run.config.output
    own = Jpeg(output.jpeg_quality, output.jpeg_subsampling)
    rows, records = [], []
    for each in verdict.variants:
        size, gap = sizes[each.candidate], each.difference
        beside = ["", "the run's own"]
        if each.candidate != verdict.baseline:
            ahead = better(verdict.by) * gap.value > 0
            beside = [("+" if gap.value >= 0 else "") + with_error(gap), ("better" if ahead else "worse") if each.told_apart else "not told apart"]
        setting = f"{each.candidate.jpeg or own}{' photos' if each.candidate.photos else ''}"
        rows.append([setting, with_error(each.entry.metrics[verdict.by]), *beside, "" if size is None else f"{size / 1000:.1f} kB"])
        metrics = {name: asdict(value) for name, value in each.entry.metrics.items()}
        record = {"candidate": str(each.candidate), "metrics": metrics, "difference": asdict(gap), "told_apart": each.told_apart}
        records.append({**record, "bytes": size})
    result = {"baseline": str(verdict.baseline), "by": verdict.by, "choice": str(verdict.choice), "variants": records, "notes": list(notes)}
    lines = [f"{verdict.baseline}, {len(bench.label_maps)} images, stored in {len(rows)} ways", ""]
    lines += [table(["", "score", "difference", "", "an image"], rows), ""]
    if verdict.choice == verdict.baseline:
        lines.append("none is better than the run's own beyond the noise of these images")
    else:
        lines.append(f"take: {verdict.choice}")
    lines += [wrapped(f"note: {note}") for note in notes]
    screen.result(result, "\n".join(lines))
