"""`RUN/pick.json`: what was picked, how sure that is, what speaks against it, and how to get it again.

The same measurements give the same bytes. The last field, `check`, is the hash of the others: the record is evidence, and a changed number in
it would be another claim.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from apfgan.errors import DataError, UsageError
from apfgan.files import hash_value, write_json
from apfgan.guards import Guard
from apfgan.records import Estimate
from apfgan.runs import Run

SCHEMA = 1
"""Version of the record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberRecord:
    """A checkpoint of the pick."""

    name: str
    share: float
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalistRecord:
    """What was confirmed of a candidate."""

    candidate: str
    expected_score: Estimate
    """Mean over fresh seeds; its error covers label maps and seeds."""
    scores: tuple[float, ...]
    """By seed."""
    deviation: float | None
    """Over seeds."""
    probability_best: float | None
    rank_interval: tuple[int, int] | None
    """Places among the finalists that the noise leaves possible."""
    gain: Estimate | None
    """Over the best single checkpoint; None for that itself."""
    gain_by_chance: float | None
    """Probability of such a gain by chance, raised for the number of candidates tried."""
    gain_confirmed: bool | None
    """Whether it may be claimed (`selection.confirming.Gain`)."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a fresh process found of the pick."""

    verified: bool
    images: int = 0
    """Drawn and judged anew."""
    largest_difference: float | None = None
    """Of any observation from what was kept, in standard deviations of its kind."""
    score: float | None = None
    """The composite of all that was kept, computed again."""
    problem: str = ""
    """Why it is not verified."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PickRecord:
    """The content of `pick.json`."""

    schema: int = SCHEMA
    candidate: str
    seed: int
    members: tuple[MemberRecord, ...]
    weights: Mapping[str, Any]
    """All that its weights depend on, by content."""
    saved: str | None
    """SHA-256 of the checkpoint that was written under its name; None where it is one of the training's own."""
    score: Estimate
    """Of what is handed in: the candidate with its seed on all label maps."""
    expected_score: Estimate
    """With fresh seeds: the number to tell, for nothing was chosen by it."""
    interval: tuple[float, float] | None
    """Of the expected score, with 95 %."""
    probability_best: float | None
    """Of being truly the best of the finalists."""
    clear_winner: bool
    within_noise: tuple[str, ...]
    """Finalists that the noise does not tell apart from the best, the pick left out."""
    best_single: str
    finalists: tuple[FinalistRecord, ...]
    """Best first."""
    fresh_seeds: tuple[int, ...]
    confirmed_on: int
    """Label maps."""
    guards: tuple[Guard, ...]
    tried: int
    """Candidates that were looked at."""
    failed: tuple[str, ...]
    """Those that could not be measured."""
    budget: Mapping[str, float | None]
    planned: Mapping[str, float]
    """Evaluations, by step."""
    spent: Mapping[str, float]
    """Evaluations, by step."""
    cut: tuple[str, ...]
    """What the budget left out."""
    protocol_id: str
    protocol: Mapping[str, Any]
    observations: str
    """Key of the pick's observations."""
    device: str
    versions: Mapping[str, str]
    commands: Mapping[str, str]
    """What to type to get the pick again, to hand it in, and to verify it."""
    verification: Verification | None = field(default=None)


def write_pick(run: Run, record: PickRecord) -> None:
    """Write the record, durably."""
    content = asdict(record)
    write_json(run.pick_path, {**content, "check": hash_value(content)})


def read_pick(run: Run) -> PickRecord:
    """The record of the last pick. Raises `UsageError` where there is none, `DataError` for one that is not as it was written."""
    path = run.pick_path
    try:
        content = json.loads(path.read_bytes())
        check = content.pop("check")
        record = TypeAdapter(PickRecord).validate_python(content)
    except FileNotFoundError as error:
        raise UsageError(f"nothing was picked in {run.path} yet. Do so with: apfgan pick --run {run.path}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise DataError(f"{path} is damaged. Pick again: what was measured is kept, and not measured again") from error
    if hash_value(content) != check:
        raise DataError(f"{path} is not what was written: its content was changed since. Pick again: what was measured is not measured again")
    return record
