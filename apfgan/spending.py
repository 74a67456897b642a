"""`RUN/costs.jsonl`: what each command that wrote to a run has cost, a line as it ends, however it ends. Values only; needs no network library.

The last field of a line, `check`, is the CRC-32 of the line without it (`apfgan.checked_lines`). No number stands on these lines: one that is
damaged is left out. A command that was killed leaves none.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from apfgan.checked_lines import check_line, checked_line
from apfgan.errors import EnvironmentProblem, UsageError
from apfgan.files import append_line
from apfgan.runs import Run

SCHEMA = 1
"""Version of a line."""

Ending = Literal["finished", "stopped", "failed"]
"""How a command ended: with its work done, by a signal, or by an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """What one command has cost."""

    command: str
    """Its verb: `merge-search`."""
    started: str
    """When, as `2026-03-01T12:30:00+0000`."""
    seconds: float
    """Wall-clock time."""
    ended: Ending
    measured: int
    """Evaluations (of a candidate, on all label maps or some) that were made."""
    found: int
    """Evaluations that the ledger held already."""
    drawn: int
    """Images drawn and judged for them; of images from elsewhere, read and judged."""
    peak_memory: int
    """Bytes of memory that the largest process had at its largest: of this one, since it began, and of those that it started."""
    peak_device_memory: int | None
    """Bytes of the GPU's memory that this process had reserved at most; None where it used none."""
    schema: int = SCHEMA


@dataclass
class Account:
    """What a command under way has done so far."""

    measured: int = 0
    found: int = 0
    drawn: int = 0


@contextmanager
def booking(run: Run, command: str) -> Iterator[Account]:
    """Within this context a command works and fills its account; behind it the run says what that has cost.

    Where the work fails, its error is what counts: a line that cannot be written then is let go. A command that is refused has cost nothing.
    """
    started, began, account = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.monotonic(), Account()

    def book(ended: Ending) -> None:
        found = Spending(
            command=command,
            started=started,
            seconds=round(time.monotonic() - began, 3),
            ended=ended,
            **asdict(account),
            peak_memory=_peak_memory(),
            peak_device_memory=_peak_device_memory(),
        )
        append_line(run.costs, checked_line(json.dumps(asdict(found), ensure_ascii=False)))

    try:
        yield account
    except UsageError:
        raise
    except BaseException as error:
        with suppress(EnvironmentProblem):
            book("failed" if isinstance(error, Exception) else "stopped")
        raise
    book("finished")


def read_spending(run: Run) -> list[Spending]:
    """What each command has cost, the oldest first; lines that are damaged, or of a newer version of this program, are left out."""
    try:
        lines = run.costs.read_bytes().split(b"\n")[:-1]  # what follows the last newline was never finished
    except OSError:
        return []
    found = []
    for line in lines:
        if check_line(line):
            with suppress(ValidationError):
                found.append(_SPENDING.validate_json(line))
    return [each for each in found if each.schema <= SCHEMA]


_SPENDING = TypeAdapter(Spending)


def _peak_memory() -> int:
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kB


def _peak_device_memory() -> int | None:
    """Without importing PyTorch: a process that has not done so has no memory there."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return max(torch.cuda.max_memory_reserved(index) for index in range(torch.cuda.device_count()))
