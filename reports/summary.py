"""`report.json`: the report for programs, and `report.schema.json`, the JSON Schema of it, made of the dataclasses here.

Its `schema` goes up whenever a field changes its meaning or goes. New fields may come at any time: readers pass over those that they do not know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from apfgan.failures import Failures
from apfgan.guards import Guard
from apfgan.picks import PickRecord
from apfgan.ranking import protocol_of
from apfgan.records import Anchors, Estimate
from apfgan.runs import versions
from reports.board import Board
from reports.costs import Costs, Stage
from reports.decision import Step, Worth, bridge, worth_of
from reports.notes import guards_of
from reports.verdict import Standing, Verdict

SCHEMA = 2
"""Version of `report.json`."""

_DESCRIBED = ConfigDict(use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One row of the leaderboard."""

    __pydantic_config__ = _DESCRIBED

    rank: int
    """Its place, from 1."""
    candidate: str
    kind: str
    """`epoch`, `merge`, `variant` or `other`."""
    rank_interval: tuple[int, int] | None
    """The places that the noise leaves open, with 95 %; null where it is not known."""
    probability_best: float | None
    """Of truly being the best."""
    pareto: bool | None
    """Whether no other candidate is as good in everything and better in something by more than its standard error."""
    probability_pareto: float | None
    """Of truly being so."""
    seed: int
    images: int
    composite: float
    """The total."""
    composite_error: float | None
    """Its standard error over label maps; null where it is not known."""
    metrics: Mapping[str, Estimate]
    """Every number by its name, with its standard error."""
    seconds: float
    """Wall-clock time that measuring it took."""
    key: str
    """Hash of all that the numbers depend on: the same as in the ledger and in scores.csv."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """Measurements under another protocol, which are not ranked."""

    __pydantic_config__ = _DESCRIBED

    measurements: int
    protocol_id: str
    differing: tuple[str, ...]
    """Fields of the protocol that differ from the ranked ones'."""


@dataclass(frozen=True, kw_only=True)
class Suspicions:
    """What looked wrong among the images of a candidate; each to be looked at."""

    __pydantic_config__ = _DESCRIBED

    candidate: str
    images: int
    flat: tuple[str, ...]
    """Label maps whose images are nearly of one grey."""
    twins: tuple[tuple[str, str], ...]
    """Pairs of label maps whose images are nearly one."""
    copies: tuple[tuple[str, str], ...]
    """Label maps whose images look like a training photo, with the photo's name."""
    replaced: int
    """Images in which a training photo stands in for a drawing, as the candidate's name says."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the run has cost."""

    __pydantic_config__ = _DESCRIBED

    stages: tuple[Stage, ...]
    """By verb, in the order of the work."""
    seconds: float
    """Of all stages."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The whole of `report.json`."""

    __pydantic_config__ = _DESCRIBED

    schema: int
    made: str
    """When, as `2026-03-01 12:30:00Z`. The only thing in it that differs between two reports of the same run."""
    version: str
    """Of the program that made the report."""
    run: str
    """Name of the run directory."""
    protocol_id: str | None
    """Short hash of all that must agree before two numbers may be compared; null where nothing is measured."""
    protocol: Mapping[str, Any]
    """Every field of it."""
    formula: str | None
    """Name of the total's formula."""
    embedded_judges: bool
    """Whether the judges were fitted for this run: then its numbers compare with no others."""
    checkpoints: int
    sweep: int
    """Candidates that the last sweep set out to measure; where that is not known, all epochs."""
    measured: int
    """Of these, how many are ranked."""
    looked_at: int
    """How many more were looked at on a part of the label maps; when the sweep is at its end, these are ruled out."""
    swept: bool
    """Whether that sweep has come to its end."""
    limit: int | None
    """Label maps that the last `score` was limited to; null: none was left out."""
    best: str | None
    """Candidate with the highest total."""
    choice: str | None
    """What the report recommends: the pick where there is one, else the best."""
    standing: Standing | None
    """How sure that is: `only` one candidate, `clear`, `open` (within noise of others), or `unknown`."""
    clear: bool
    """`standing` is `clear`."""
    within_noise: tuple[str, ...]
    """Other candidates that the noise does not tell from the choice."""
    tried: int
    """Candidates among which the best was found."""
    submission_score: Estimate | None
    """Total of the choice on these very images."""
    expected_score: Estimate | None
    """What is to be expected of it without the luck of having been chosen; null where that is not known."""
    pick: PickRecord | None
    """`pick.json` under this protocol."""
    guards: tuple[Guard, ...]
    """Ways in which the choice may look better than it is; `yes` means beware."""
    bridge: tuple[Step, ...]
    """How the choice's score came about, from the last epoch on."""
    worth: Worth | None
    """What the choice's score is made of."""
    anchors: Anchors | None
    """What real photos score."""
    ranking: tuple[Ranked, ...]
    """Best first."""
    left_out: tuple[Left, ...]
    suspicions: tuple[Suspicions, ...]
    """Of each candidate whose images were looked at."""
    costs: Spent | None
    """null where nothing is known."""
    notes: tuple[str, ...]
    """What a reader must know before trusting the numbers, in sentences."""


def summarise(
    board: Board,
    *,
    verdict: Verdict | None,
    failures: Sequence[Failures],
    costs: Costs | None,
    notes: Sequence[str],
    limit: int | None,
    moment: str,
) -> dict[str, Any]:
    """A `Summary` as JSON values."""
    best, outlook = board.best, board.outlook
    return asdict(
        Summary(
            schema=SCHEMA,
            made=moment,
            version=versions()["apfgan"],
            run=board.run_name,
            protocol_id=protocol_of(best.measurement) if best else None,
            protocol=dict(board.protocol),
            formula=board.formula or None,
            embedded_judges=board.embedded,
            checkpoints=len(board.checkpoints),
            sweep=len(board.sweep),
            measured=board.measured,
            looked_at=board.looked_at,
            swept=board.swept,
            limit=limit,
            best=best.name if best else None,
            choice=board.choice.name if board.choice else None,
            standing=verdict.standing if verdict else None,
            clear=verdict is not None and verdict.standing == "clear",
            within_noise=verdict.contenders if verdict else (),
            tried=outlook.tried if outlook else 0,
            submission_score=board.choice.score if board.choice else None,
            expected_score=verdict.expected if verdict else None,
            pick=board.pick,
            guards=guards_of(board),
            bridge=bridge(board),
            worth=worth_of(board.choice),
            anchors=board.anchors,
            ranking=_ranking(board),
            left_out=tuple(Left(measurements=group.count, protocol_id=group.protocol_id, differing=group.differing) for group in board.excluded),
            suspicions=tuple(_suspicions(found) for found in failures),
            costs=Spent(stages=costs.stages, seconds=costs.total.seconds) if costs else None,
            notes=tuple(notes),
        )
    )


def summary_schema() -> dict[str, Any]:
    """The JSON Schema of `report.json`."""
    return TypeAdapter(Summary).json_schema(mode="serialization")


def _ranking(board: Board) -> tuple[Ranked, ...]:
    return tuple(
        Ranked(
            rank=row.rank,
            candidate=row.name,
            kind=row.kind,
            rank_interval=row.place.rank_interval,
            probability_best=row.standing.probability_best,
            pareto=row.standing.pareto,
            probability_pareto=row.standing.probability_pareto,
            seed=row.seed,
            images=row.measurement.images,
            composite=row.score.value,
            composite_error=row.score.error,
            metrics=dict(sorted(row.measurement.metrics.items())),
            seconds=row.measurement.seconds,
            key=row.measurement.key,
        )
        for row in board.rows
    )


def _suspicions(found: Failures) -> Suspicions:
    return Suspicions(
        candidate=found.candidate,
        images=found.images,
        flat=tuple(each.stem for each in found.flat),
        twins=tuple(each.stems for each in found.twins),
        copies=tuple((each.stem, each.photo) for each in found.copies),
        replaced=found.replaced,
    )
