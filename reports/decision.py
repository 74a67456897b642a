"""Where the score of the choice comes from: the steps from the last epoch to it, what its terms add, and what a unit of each score is worth there.

Values only; the page draws them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apfgan.composite import Formula, contributions, exchange_rates, require_complete, scores_of
from apfgan.errors import UsageError
from apfgan.noise import QUANTILE
from apfgan.ranking import foresee, gap, is_distance, parts_of
from apfgan.records import Estimate, Measurement
from reports.board import Board, Row, SeedGroup, metric_title

_TITLES = {
    "epoch": "choice of the epoch",
    "merge": "merge",
    "variant": "post-processing",
    "other": "choice of the checkpoint",
}
"""What the step to a candidate of each kind is called."""

_UNITS = {"distance": 1.0, "mask_accuracy": 0.01, "aesthetic": 0.1}
"""What is exchanged for one another: a step in each score that is about as hard to gain as those in the others."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step on the way from the last epoch to the choice. The first has no gain; the gains of the others add up to the choice's score."""

    title: str
    """`choice of the epoch`."""
    name: str
    """What stands there then: `299`."""
    told: str
    """What it was chosen from: `the best of 39 epochs`; empty where there is nothing to tell."""
    score: float
    """The total after the step."""
    gain: Estimate | None
    """Over the step before, with its standard error: paired image by image where that is known."""
    luck: float | None
    """How much of the gain is owed, on average, to having chosen the highest of several noisy numbers; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Where a step lies on an axis from 0 to 100 that all steps share."""

    start: float
    end: float
    low: float | None
    """The 95 % interval of its end, given its start; None where the noise is not known."""
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A small step in one score, and what it is worth."""

    metric: str
    label: str
    """`1 FID`, `1 point of mask accuracy`, `0.1 aesthetic`."""
    total: float
    """What the total gains by it: a distance falls, the others rise."""
    equal: Mapping[str, float | None]
    """By metric, how much of it gains the same: a mask accuracy in points, which are hundredths. None for what gains nothing."""


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What a score is made of."""

    formula: Formula
    terms: Mapping[str, float]
    """What each weighed term adds: `aesthetic`, `closeness`, `style`, `votes`. They add up to the score."""
    units: tuple[Unit, ...]
    """What each of the three scores is worth there: of the distance, the mask accuracy and the aesthetic."""


def bridge(board: Board) -> tuple[Step, ...]:
    """How the choice's score came about: last epoch, best epoch, merge, what else is done to it, and the seed, as far as each is a step.

    The step of the seed starts from the mean of all seeds that were drawn of the candidate, for that is what it would be expected to score with
    any other. By how much the standard draw was luckier or less lucky than this mean is a step of its own. Empty where there is no way to tell.
    """
    choice = board.choice
    if choice is None or choice.candidate is None or (choice.kind == "other" and not board.drawn(choice)):
        return ()
    epochs = sorted(board.epochs, key=lambda row: row.rank)
    mean = _first_drawn(board, choice.candidate.mean) if choice.kind == "variant" else None
    found = (board.last_epoch, *epochs[:1], mean, board.find(choice.unseeded))
    waypoints = list(dict.fromkeys(row for row in found if row is not None))
    if not waypoints:
        return ()
    group = next((each for each in board.seeds if each.name == choice.unseeded), None) if choice not in waypoints else None
    steps = [_start(board, waypoints[0], len(epochs))]
    for row, previous in zip(waypoints[1:], waypoints, strict=False):
        steps.append(_step_to(board, row, previous))
    if group is not None:
        steps += _seed_steps(choice, group, waypoints[-1])
    elif choice not in waypoints:
        steps.append(_step_to(board, choice, waypoints[-1]))
    return tuple(steps) if len(steps) > 1 else ()


def waterfall(steps: Sequence[Step]) -> tuple[Bar, ...]:
    """The steps as bars that hang from one another."""
    if not steps:
        return ()
    starts = [steps[0].score, *(step.score for step in steps[:-1])]
    reach = [QUANTILE * step.gain.error if step.gain is not None and step.gain.error is not None else None for step in steps]
    ends = [(step.score - (half or 0.0), step.score + (half or 0.0)) for step, half in zip(steps, reach, strict=True)]
    low, high = min(start for start, _ in ends), max(end for _, end in ends)
    width = (high - low) or 1.0

    def place(value: float) -> float:
        return round(100 * (value - low) / width, 2)

    return tuple(
        Bar(
            start=place(start),
            end=place(step.score),
            low=None if half is None else place(step.score - half),
            high=None if half is None else place(step.score + half),
        )
        for step, start, half in zip(steps, starts, reach, strict=True)
    )


def worth_of(row: Row | None) -> Worth | None:
    """What a row's score is made of, and what a unit of each score is worth there; None where its protocol does not name the formula, or where one
    of the scores is missing.
    """
    formula = formula_of(row.measurement) if row is not None else None
    if row is None or formula is None:
        return None
    metrics = row.measurement.metrics
    distance = next(filter(is_distance, parts_of(metrics)), None)
    if distance is None or not {"mask_accuracy", "aesthetic"} <= metrics.keys():
        return None
    values = {name: each.value for name, each in scores_of(metrics, distance=distance).items()}
    rates = exchange_rates(formula, **values)
    gains = {name: abs(rates[name]) * size for name, size in _UNITS.items()}
    names = {name: distance if name == "distance" else name for name in _UNITS}
    labels = {"distance": f"1 {metric_title(distance)}", "mask_accuracy": "1 point of mask accuracy", "aesthetic": "0.1 aesthetic"}
    return Worth(
        formula=formula,
        terms=contributions(formula, **values),
        units=tuple(
            Unit(
                metric=names[name],
                label=labels[name],
                total=gain,
                equal={names[other]: gain / gains[other] * _shown_size(other) if gains[other] and gain else None for other in _UNITS},
            )
            for name, gain in gains.items()
        ),
    )


def reweighable(board: Board) -> bool:
    """Whether several rows can be ranked by other weights: the formula of each is known, with all scores that it is made of."""
    return len(board.rows) > 1 and all(worth_of(row) is not None for row in board.rows)


def formula_of(measurement: Measurement) -> Formula | None:
    """The formula of a measurement's composite, as its protocol names it; None where it does not, or not fully."""
    named = measurement.protocol.get("formula")
    if not isinstance(named, Mapping):
        return None
    try:
        formula = Formula(**named)
        require_complete(formula)
    except (TypeError, UsageError):
        return None
    return formula


def _shown_size(name: str) -> float:
    """The size of a unit as it is shown: accuracy in points."""
    return 1.0 if name == "mask_accuracy" else _UNITS[name]


def _first_drawn(board: Board, name: str) -> Row | None:
    """The standard draw of a candidate, else that of its lowest seed."""
    return board.find(name) or min((row for row in board.rows if row.unseeded == name), key=lambda row: row.seed, default=None)


def _start(board: Board, row: Row, epochs: int) -> Step:
    last = row is board.last_epoch
    newest = max(filter(str.isdigit, board.checkpoints), key=int, default=row.name)
    title = "start" if not last else "last epoch" if row.name == newest else "last epoch measured in full"
    told = f"also the best of {epochs} epochs" if last and epochs > 1 and row is min(board.epochs, key=lambda each: each.rank) else ""
    return Step(title=title, name=row.name, told=told, score=row.score.value, gain=None, luck=None)


def _step_to(board: Board, row: Row, previous: Row) -> Step:
    """The step to a row from the one before it."""
    peers = {"epoch": board.epochs, "merge": tuple(merge.row for merge in board.merges)}.get(row.kind, ())
    best = row in peers and row.rank == min(peer.rank for peer in peers)
    told = f"{'the best' if best else 'one'} of {len(peers)} {row.kind}s" if row in peers and len(peers) > 1 else ""
    return Step(
        title=_TITLES[row.kind] if row.unseeded != previous.unseeded else "choice of the seed",
        name=row.name,
        told=told,
        score=row.score.value,
        gain=gap(row.entry, previous.entry),
        luck=_luck(peers) if best else None,
    )


def _seed_steps(choice: Row, group: SeedGroup, previous: Row) -> list[Step]:
    """The steps to the mean of a candidate's seeds, and from there to the chosen one."""
    count, mean = len(group.rows), group.mean
    standard = previous.unseeded == choice.unseeded
    noise = group.deviation if standard else gap(choice.entry, previous.entry).error
    best = choice is group.rows[0]
    return [
        Step(
            title="back to the mean of its seeds" if standard else _TITLES[choice.kind],
            name=f"{choice.unseeded}, mean of {count} seeds",
            told="what any other seed may be expected to score" if standard else "",
            score=mean,
            gain=Estimate(mean - previous.score.value, noise),
            luck=None,
        ),
        Step(
            title="choice of the seed",
            name=f"seed {choice.seed}",
            told=f"{'the best' if best else 'one'} of {count} seeds; worth nothing on other label maps",
            score=choice.score.value,
            gain=Estimate(choice.score.value - mean),
            luck=group.luck if best else None,
        ),
    ]


def _luck(peers: Sequence[Row]) -> float | None:
    """What the best of several candidates owes to having been chosen among them, on average."""
    if len(peers) < 2:
        return None
    places = [row.place for row in sorted(peers, key=lambda row: row.rank)]
    expected = foresee(places).expected
    return None if expected is None else places[0].value.value - expected.value
