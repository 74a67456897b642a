"""What the head of the page says of the run: how much of it is measured, and on what."""

import json
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
    try:
        limit = json.loads(run.evaluation_path.read_bytes())["asked"]["limit"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return limit if isinstance(limit, int) else None


def header(board: Board, *, limit: int | None) -> Header:
    """The facts of a board."""
    parts = {"label maps": "label_maps", "reference photos": "reference"}
    found = {what: board.protocol.get(field) for what, field in parts.items()}
    return Header(
        completeness=_completeness(board),
        partial=board.measured + board.ruled_out < len(board.sweep),
        limit=limit if board.rows else None,
        data=tuple((what, value["key"]) for what, value in found.items() if isinstance(value, dict) and isinstance(value.get("key"), str)),
    )


def _completeness(board: Board) -> str:
    asked, looked_at = len(board.sweep), board.measured + board.ruled_out
    if not asked:
        return ""
    known = f"complete: {'all ' if asked > 1 else ''}{asked}" if looked_at == asked else f"partial: {looked_at} of {asked}"
    raced = f", {board.ruled_out} of them ruled out after a part of the label maps" if board.ruled_out else ""
    return f"{known} candidate{'' if asked == 1 else 's'}{raced}"
