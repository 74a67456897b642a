"""What the head of the page says of the run: how much of it is measured, and on what."""

from dataclasses import dataclass

from apfgan.runs import Run
from reports.board import Board


@dataclass(frozen=True, kw_only=True)
class Header:
    """Facts about the run, in words."""

    completeness: str
    """`complete: all 41 candidates`, `partial: 18 of 41 candidates`; empty where nothing was set out to be measured."""
    partial: bool
    limit: int | None
    """Label maps that `score` was limited to; None: all were asked for."""
    data: tuple[tuple[str, str], ...]
    """What the numbers stand on, with the hash of its content: label maps, reference photos; as far as the protocol names them."""


def read_limit(run: Run) -> int | None:
    """How many label maps the last `score` was limited to; None where it was not, or where that is not known."""
    limit = run.asked.get("limit")
    return limit if isinstance(limit, int) else None


def header(board: Board, *, limit: int | None) -> Header:
    """The facts of a board."""
    parts = {"label maps": "label_maps", "reference photos": "reference"}
    found = {what: board.protocol.get(field) for what, field in parts.items()}
    return Header(
        completeness=_completeness(board),
        partial=not board.swept or board.measured + board.looked_at < len(board.sweep),
        limit=limit if board.rows else None,
        data=tuple((what, value["key"]) for what, value in found.items() if isinstance(value, dict) and isinstance(value.get("key"), str)),
    )


def _completeness(board: Board) -> str:
    asked, measured, more = len(board.sweep), board.measured, board.looked_at
    if not asked:
        return ""
    candidates = f"{asked} candidate{'' if asked == 1 else 's'}"
    if not board.swept:
        return f"partial: {measured} of {candidates}" + (f", and {more} looked at on a part of the label maps so far" if more else "")
    known = f"complete: {'all ' if asked > 1 else ''}{candidates}" if measured + more == asked else f"partial: {measured + more} of {candidates}"
    return known + (f", {more} of them ruled out after a part of the label maps" if more else "")
