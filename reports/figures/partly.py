"""Candidates that a race or a search looked at on a part of the label maps only: told beside the figures, which show whole measurements."""

from reports.board import Board, kind_of, parse_candidate


def partly_measured(board: Board, kind: str) -> tuple[str, ...]:
    """Names of the candidates of a kind (`epoch`, `merge`, `variant`) that were dropped before all label maps were drawn, under the board's
    protocol; each once, in the order in which they were looked at.
    """
    ranked = {row.name for row in board.rows}
    parts = [each.candidate for each in board.measurements if each.part is not None and each.protocol == board.protocol]
    return tuple(name for name in dict.fromkeys(parts) if name not in ranked and kind_of(parse_candidate(name)) == kind)
