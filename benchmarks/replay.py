"""What the searches save and how far their answers can be trusted: run them many times in a world of the published tables, whose truth is known.

    python -m benchmarks.replay

The program's own searches, rankings and intervals run; only the images are simulated (`benchmarks.published_world`). A trial is one redraw or one
world, in which all ways of searching meet. Trials that are done are kept in the work folder and not done again; more of them may be asked for
later. The program's own code is not part of their name: after a change of a search, remove the folder.
"""

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import matplotlib
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from apfgan.candidates import Candidate
from apfgan.composite import FORMULAS, composite
from apfgan.files import append_line, hash_value, write_bytes, write_text
from apfgan.noise import QUANTILE, difference
from apfgan.progress import Progress, terminal_progress
from apfgan.ranking import Entry, foresee, gap, rank
from apfgan.records import Estimate
from apfgan.runs import versions
from benchmarks.published_world import AESTHETIC, IMAGES, MASK_ACCURACY, Contest, World, published
from selection.driving import drive, spent
from selection.merge_candidates import ladder, uniform, windows
from selection.merge_search import at_once, exhaustive, planned
from selection.pick_plan import wanted_plan
from selection.picking import choose
from selection.racing import race
from selection.sampled_search import sampled
from selection.seed_search import judge_seeds, search_seeds
from selection.units import Measure, Part, Search, Unit

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
"""Marks in the page; what stands between them is written by the command."""

BIASES = (0.0, 0.05, 0.1, 0.16, 0.2)
"""Deviations of the candidates' own bias that are tried; synthetic features and a toy generator have 0.08 to 0.16 (spec: selection, 2a)."""

SWEEP, AIM = "full sweep", "every merge of the best 6"
"""Ways of searching that others are compared with."""

RACE, PLAN = "the race", "the default plan"
"""The program's own."""

SHARES = ("images", "best three right", "best right", "held", "probability of being best", "best of what was measured", "alone", "claimed")
"""Figures that are shown in percent."""

OWN, OTHER = "#0072b2", "#777777"
"""Colours of the program's own ways and of the others."""

Findings = Mapping[str, Mapping[str, float]]
"""What one trial found: figures by the way of searching, then by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Trials of one kind in one kind of world."""

    name: str
    world: World
    trial: Callable[[World, int], Findings]
    """One trial by its number."""
    trials: int


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one way of searching, over all trials of a study. A row of the CSV."""

    study: str
    way: str
    figure: str
    trials: int
    mean: float
    error: float
    """Standard error of the mean over trials."""


def epochs() -> list[Candidate]:
    """The published epochs, in the order of training."""
    return [Candidate((epoch,)) for epoch in published().epochs]


def sweep(measure: Measure) -> list[Entry]:
    """The published epochs, all measured on all images, best first."""
    return best_first(each.entry for each in drive(at_once(epochs()), measure).values())


def best_first(entries: Iterable[Entry]) -> list[Entry]:
    """As the program ranks them."""
    return [place.entry for place in rank(list(entries))]


def screen(first: int, keep: int) -> Search:
    """What one would do without a race: all epochs on a few images, those that look best on all."""
    looked = yield [Unit(epoch, Part(0, first)) for epoch in epochs()]
    ordered = sorted(looked.values(), key=lambda each: each.entry.metrics["fid"].value)
    yield [Unit(each.unit.candidate) for each in ordered[:keep]]


def greedy(singles: Sequence[Entry]) -> Search:
    """Take each checkpoint in turn, best first, into the merge, and keep it where that is better (Wortsman et al. 2022, recipe 1)."""
    kept, best = [Candidate.parse(singles[0].name)], singles[0]
    for single in singles[1:]:
        tried = Unit(uniform([*kept, Candidate.parse(single.name)]))
        outcomes = yield [tried]
        if gap(outcomes[tried].entry, best).value > 0:
            kept, best = [*kept, Candidate.parse(single.name)], outcomes[tried].entry


def race_ways() -> dict[str, Search]:
    """Every way of finding the best three of the epochs that is compared."""
    return {
        SWEEP: at_once(epochs()),
        "200 images for all, 3 go on": screen(200, 3),
        "200 images for all, 8 go on": screen(200, 8),
        "500 images for all, 5 go on": screen(500, 5),
        RACE: race(epochs(), images=IMAGES),
    }


def merge_ways(singles: Sequence[Entry]) -> dict[str, Search]:
    """Every way of searching for a merge that is compared, given the measured epochs, best first."""
    ranked = [Candidate.parse(entry.name) for entry in singles]
    return {
        "the authors': every merge of the best 3": exhaustive(ranked, 3),
        "every merge of the best 5": exhaustive(ranked, 5),
        AIM: exhaustive(ranked, 6),
        "mean of all 39": at_once([uniform(ranked)]),
        "means of the last 2, 3, 5, 8, 13, 21": at_once(windows(epochs())),
        "means of the best 2, 3, 4, 5, 6, 8, ... 39": at_once(ladder(ranked, (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 27, 39))),
        "greedy, over the best 12": greedy(singles[:12]),
        PLAN: planned(singles, images=IMAGES),
        "CMA-ES over the best 8": sampled(ranked, sampler="cmaes", evaluations=60),
        "TPE over the best 8": sampled(ranked, sampler="tpe", evaluations=60),
    }


def try_races(world: World, number: int) -> Findings:
    """All ways to the best three epochs, in one world."""
    contest = Contest(replace(world, seed=number))
    truths = {str(epoch): contest.truth(epoch) for epoch in epochs()}
    *right, _ = sorted(truths, key=lambda name: truths[name])[:4]
    found = {}
    for way, search in race_ways().items():
        outcomes = drive(search, contest)
        names = [entry.name for entry in best_first(each.entry for each in outcomes.values() if each.unit.part is None)]
        found[way] = {
            "images": spent(outcomes, IMAGES) / len(truths),
            "best three right": float(set(names[:3]) == set(right)),
            "best right": float(names[0] == right[0]),
            "FID lost by the best": truths[names[0]] - truths[right[0]],
        }
    return found


def try_merges(world: World, number: int) -> Findings:
    """All ways of searching for a merge, in one world."""
    contest = Contest(replace(world, seed=number))
    singles = sweep(contest)
    # What label maps and noise do to all candidates alike is no one's luck.
    common = fmean(_luck(contest, entry) for entry in singles)
    found = {}
    for way, search in merge_ways(singles).items():
        outcomes = drive(search, contest)
        pick = best_first([*(each.entry for each in outcomes.values() if each.unit.part is None), *singles])[0]
        found[way] = {
            "evaluations": spent(outcomes, IMAGES),
            "true FID": contest.truth(Candidate.parse(pick.name)),
            "observed - true": _luck(contest, pick) - common,
        }
    aim = found[AIM]["true FID"]
    return {way: {**figures, "behind the best 6": figures["true FID"] - aim} for way, figures in found.items()}


def try_intervals(world: World, number: int) -> Findings:
    """How often every kind of interval holds its truth, on one redraw of label maps and noise."""
    contest = Contest(world, redraw=number)
    singles = sorted(sweep(contest), key=lambda entry: int(entry.name))
    truth = {entry.name: contest.truth(Candidate.parse(entry.name)) for entry in singles}
    neighbours = list(pairwise(singles))
    gaps = [truth[one.name] - truth[other.name] for one, other in neighbours]
    return {
        "FID of an epoch": _held([entry.metrics["fid"] for entry in singles], list(truth.values())),
        "FID of an epoch, on these very label maps": _held(
            [entry.metrics["fid"] for entry in singles], [contest.expected(Candidate.parse(entry.name)) for entry in singles]
        ),
        "total of an epoch": _held(
            [entry.metrics["composite"] for entry in singles],
            [total(each) for each in truth.values()],
        ),
        "FID of an epoch less that of the next": _held([gap(one, other, by="fid") for one, other in neighbours], gaps),
        "the same, as if on different images": _held([difference(one.metrics["fid"], other.metrics["fid"]) for one, other in neighbours], gaps),
        **_try_ranks(contest),
    }


def _try_ranks(contest: Contest) -> Findings:
    """What a ranking of the 57 merges of the best six epochs says of their true places, and of its first."""
    ranked = sorted(epochs(), key=contest.truth)
    outcomes = drive(exhaustive(ranked, 6), contest)
    places = rank([each.entry for each in outcomes.values()], by="fid")
    outlook = foresee(places, by="fid")
    truths = [contest.truth(Candidate.parse(place.entry.name)) for place in places]
    order = sorted(truths)
    held = [
        low <= order.index(value) + 1 <= high for place, value in zip(places, truths, strict=True) for low, high in [place.rank_interval or (1, 0)]
    ]
    luck = places[0].value.value - truths[0]
    common = fmean(place.value.value - value for place, value in zip(places, truths, strict=True))
    assert outlook.expected is not None
    widths = [high - low for place in places for low, high in [place.rank_interval or (1, 57)]]
    return {
        "place of a merge among 57": {"held": fmean(held), "half-width": fmean(widths) / 2},
        "places of all 57 at once": {"held": float(all(held)), "half-width": fmean(widths) / 2},
        "the best of 57": {
            "probability of being best": outlook.standings[0].probability_best or 0.0,
            "best of what was measured": float(truths[0] == order[0]),
            "expected - observed": outlook.expected.value - places[0].value.value,
            "true - observed": common - luck,
        },
    }


def _held(estimates: Sequence[Estimate], truths: Sequence[float], *, unit: float = 1.0) -> dict[str, float]:
    """The share of intervals that hold their truth, and how wide they are, in the given unit."""
    known = [(each.value, QUANTILE * (each.error or 0.0)) for each in estimates]
    held = [abs(value - truth) <= half for (value, half), truth in zip(known, truths, strict=True)]
    return {"held": fmean(held), "half-width": fmean(half for _, half in known) / unit}


def try_picks(world: World, number: int) -> Findings:
    """What `apfgan pick` says of the candidate that it picks, beside the truth; confirmed on the same label maps, or on a half that was held out."""
    contest = Contest(replace(world, seed=number))
    found = {}
    for way, hold_out in (("pick", False), ("pick --hold-out", True)):
        plan = wanted_plan(epochs(), images=IMAGES, hold_out=hold_out)
        decision = choose(plan, contest, formula=FORMULAS["A"])
        gain = decision.finalist.gain
        assert gain is not None, "in this world every search finds a merge that is better than the best epoch"
        # Of the half that was held out, what is confirmed is a score of so many images.
        pick, single = (total(contest.truth(each, images=decision.confirmation.images)) for each in (decision.pick, decision.single))
        found[way] = {
            "evaluations": sum(decision.spending.values()),
            "true FID": contest.truth(decision.pick),
            "alone": float(not decision.rivals),
            "told gain": 100 * gain.size.value,
            "true gain": 100 * (pick - single),
            **_held([gain.size], [pick - single], unit=0.01),
            "claimed": float(gain.confirmed),
        }
    return found


def total(fid: float) -> float:
    """The total of a candidate with this FID."""
    return composite(FORMULAS["A"], mask_accuracy=MASK_ACCURACY, aesthetic=AESTHETIC, distance=fid)


def try_seeds(world: World, number: int) -> Findings:
    """The best of twenty seeds: what it gains here, and on other label maps."""
    merge = Candidate.parse("avg_273_299")
    here, elsewhere = (
        [outcome.entry.metrics["fid"].value for outcome in drive(search_seeds(merge, 20), contest).values()]
        for contest in (Contest(world, redraw=2 * number), Contest(world, redraw=2 * number + 1))
    )
    verdict = judge_seeds(here, metric="fid")
    best = here.index(verdict.best)
    return {
        "the best of 20 seeds": {
            "gain on these images": verdict.gain,
            "by luck": verdict.gain_by_luck,
            "gain of the same seed on other label maps": fmean(elsewhere) - elsewhere[best],
        }
    }


def _luck(contest: Contest, entry: Entry) -> float:
    return entry.metrics["fid"].value - contest.truth(Candidate.parse(entry.name))


def studies(trials: int) -> list[Study]:
    """All that is simulated, given the number of races of each kind."""
    own, common = World(shared=0.0), World()
    hard = replace(own, bias_deviation=0.16)
    races = {
        **{f"own noise: {bias:g}": replace(own, bias_deviation=bias) for bias in BIASES},
        **{f"common noise: {bias:g}": replace(common, bias_deviation=bias) for bias in BIASES},
        "own noise, bias 0.16: slopes foretell 40 % of it": replace(hard, law=0.1),
        "own noise, bias 0.16: no slopes": replace(hard, slopes=False),
    }
    merges = {"common noise": common, "own noise": own, "common noise, twice the misfit": replace(common, misfit=0.4)}
    return [
        *(Study(name=f"races, {name}", world=world, trial=try_races, trials=trials) for name, world in races.items()),
        *(Study(name=f"merges, {name}", world=world, trial=try_merges, trials=max(2, trials // 5)) for name, world in merges.items()),
        Study(name="intervals", world=common, trial=try_intervals, trials=trials),
        Study(name="picks", world=common, trial=try_picks, trials=trials),
        Study(name="seeds", world=common, trial=try_seeds, trials=trials),
    ]


def read_trials(path: Path) -> dict[int, Findings]:
    """The finished trials by number; none where there is no file."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []  # behind the last newline is at most a torn row
    return {line["trial"]: line["found"] for line in map(json.loads, lines)}


def perform_all(wanted: Sequence[Study], *, work: Path, progress: Progress) -> list[Row]:
    """Do the trials that the work folder lacks; returns all figures."""
    rows = []
    for study in wanted:
        path = work / f"{hash_value([study.trial.__name__, asdict(study.world)])[:16]}.jsonl"
        found = dict(read_trials(path))
        missing = [number for number in range(study.trials) if number not in found]
        with progress.task(study.name, study.trials, done=study.trials - len(missing), unit="trials") as task:
            for number in missing:
                found[number] = study.trial(study.world, number)
                append_line(path, json.dumps({"trial": number, "found": found[number]}))
                task.advance()
        rows += summarise(study.name, [found[number] for number in range(study.trials)])
    return rows


def summarise(study: str, trials: Sequence[Findings]) -> list[Row]:
    """Every figure's mean over at least two trials, and how well it is known."""
    rows = []
    for way, figures in trials[0].items():
        for figure in figures:
            values = [found[way][figure] for found in trials]
            mean, error = fmean(values), stdev(values) / math.sqrt(len(values))
            rows.append(Row(study, way, figure, len(values), _rounded(mean), _rounded(error)))
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """All rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    writer.writerows(astuple(row) for row in rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote."""
    return TypeAdapter(list[Row]).validate_python(list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())))


def tables(rows: Sequence[Row]) -> str:
    """The measured part of the page in Markdown."""
    found = {(row.study, row.way, row.figure): row for row in rows}
    races = list(dict.fromkeys(row.study for row in rows if row.study.startswith("races")))
    others = list(dict.fromkeys(row.study for row in rows if not row.study.startswith("races")))
    lines = []
    for kind in dict.fromkeys(study.partition(": ")[0] for study in races):
        wanted = [study for study in races if study.startswith(f"{kind}: ")]
        lines += _table(
            f"{_capital(kind)}: the best three are right (images looked at)",
            ["", *(study.partition(": ")[2] for study in wanted)],
            [
                [_emphasised(way), *(f"{_cell(found[study, way, 'best three right'])} ({found[study, way, 'images'].mean:.0%})" for study in wanted)]
                for way in dict.fromkeys(row.way for row in rows if row.study in wanted)
            ],
        )
    for study in others:
        figures: dict[str, list[str]] = {}
        for row in rows:
            if row.study == study:
                figures.setdefault(row.way, []).append(row.figure)
        for its in dict.fromkeys(map(tuple, figures.values())):  # one table for all ways that have the same figures
            ways = [way for way in figures if tuple(figures[way]) == its]
            title = study if len(ways) > 1 or len(figures) == 1 else f"{study}: {ways[0]}"
            lines += _table(_capital(title), ["", *its], [[_emphasised(way), *(_cell(found[study, way, figure]) for figure in its)] for way in ways])
    return "\n".join(lines)


def draw(rows: Sequence[Row]) -> bytes:
    """The figure as SVG: how often the best three are found, by the candidates' own bias; how good a merge each way of searching finds."""
    found = {(row.study, row.way, row.figure): row for row in rows}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "selection", "font.size": 8.5}):
        figure = Figure(figsize=(10, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for number, way in enumerate(dict.fromkeys(row.way for row in rows if row.figure == "best three right")):
            its = [found[f"races, own noise: {bias:g}", way, "best three right"] for bias in BIASES]
            images = found[f"races, own noise: {BIASES[0]:g}", way, "images"].mean
            style = {"color": OWN, "linewidth": 2.5} if way == RACE else {"color": OTHER, "linestyle": ("-", "-.", "--", ":")[number % 4]}
            left.plot(BIASES, [row.mean for row in its], marker="o", markersize=3, label=f"{way} ({images:.0%} of the images)", **style)
        left.set_xlabel("deviation of the candidates' own bias, in FID of 1000 images")
        left.set_ylabel("the best three are right")
        left.set_ylim(0, 1.03)
        left.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), fontsize=7.5)
        merges = [row for row in rows if (row.study, row.figure) == ("merges, common noise", "true FID")]
        for height, row in enumerate(reversed(merges)):
            right.errorbar(row.mean, height, xerr=QUANTILE * row.error, fmt="o", color=OWN if row.way == PLAN else OTHER, markersize=5)
        names = [f"{row.way} ({found[row.study, row.way, 'evaluations'].mean:.0f})" for row in reversed(merges)]
        right.set_yticks(range(len(merges)), names)
        right.set_title("Ways of searching for a merge (evaluations)", loc="right", fontsize=8.5)
        right.set_xlabel("true FID of the merge that is picked")
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(True, alpha=0.15)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _cell(row: Row) -> str:
    if row.figure in SHARES:
        return f"{row.mean:.1%}" + (f" ± {row.error:.1%}" if row.error else "")
    digits = max(0, -math.floor(math.log10(row.error))) if row.error else 2
    return f"{row.mean:.{digits}f}" + (f" ± {row.error:.{digits}f}" if row.error else "")


def _emphasised(way: str) -> str:
    return f"**{way}**" if way in (RACE, PLAN) else way


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"**{title}**", "", *(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)), ""]


def _rounded(value: float) -> float:
    """To six digits, for the CSV."""
    return float(f"{value:.6g}")


def main() -> int:
    """Do the trials that are missing, and write the CSV, the figure, and the tables into the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("runs/replay"), help="Folder of finished trials (default: %(default)s).")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="Folder of selection.csv, .svg and .md (default: %(default)s).")
    parser.add_argument("--trials", type=int, default=500, help="Races of each kind, at least 2; merges are a fifth of it (default: %(default)s).")
    options = parser.parse_args()
    rows = perform_all(studies(options.trials), work=options.work, progress=terminal_progress())
    write_rows(options.out / "selection.csv", rows)
    write_bytes(options.out / "selection.svg", draw(rows))
    made = (
        f"Made by `python -m benchmarks.replay --trials {options.trials}` with "
        + ", ".join(f"{name} {its}" for name, its in versions().items())
        + "."
    )
    page = options.out / "selection.md"
    before, _, behind = page.read_text(encoding="utf-8").partition(BEGIN)
    write_text(page, f"{before}{BEGIN}\n{made}\n\n{tables(rows)}\n{END}{behind.partition(END)[2]}")
    print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
