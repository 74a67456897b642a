"""What a reader of the numbers must know before trusting them: notes about the ranking, and the guards of what is recommended."""

from apfgan.guards import Guard, guards_of_numbers
from apfgan.ranking import clipping_note, is_distance, variant_notes
from reports.board import Board, metric_title
from reports.formats import counted


def board_notes(board: Board) -> tuple[str, ...]:
    """What is left out of the ranking, what its names mean, and where its noise is not known: a sentence or two each."""
    notes = []
    for group in board.excluded:
        fields = ", ".join(group.differing[:6]) + (" ..." if len(group.differing) > 6 else "")
        notes.append(
            f"{counted(group.count, 'measurement')} under another protocol ({group.protocol_id}) {'are' if group.count > 1 else 'is'} left out "
            f"of the ranking: {fields} differ{'s' if len(group.differing) == 1 else ''}, so the numbers cannot be compared. scores.csv has them."
        )
    if board.partial:
        notes.append(
            f"{counted(board.partial, 'measurement')} of a part of the label maps, by which a race or a search dropped candidates, "
            f"{'are' if board.partial > 1 else 'is'} left out of the ranking. scores.csv has them."
        )
    repeated = len(board.measurements) - len(board.rows) - board.partial - sum(group.count for group in board.excluded)
    if repeated:
        notes.append(
            f"{counted(repeated, 'earlier measurement')} of the same candidates {'were' if repeated > 1 else 'was'} replaced by a later one."
        )
    notes += [f"{note}." for note in variant_notes(row.name for row in board.rows)]
    if clipping := clipping_note([row.measurement.metrics for row in board.rows]):
        notes.append(f"{clipping[0].upper()}{clipping[1:]}.")
    missing = [row.name for row in board.rows if row.score.error is None]
    if missing:
        notes.append(f"The score of {counted(len(missing), 'candidate')} has no known error, so no difference to it can be called clear.")
    return tuple(notes)


def guards_of(board: Board) -> tuple[Guard, ...]:
    """Ways in which the choice may look better than it is: those of the pick where it is the choice, else those that follow from its numbers.

    Empty where nothing is measured.
    """
    if board.choice is None:
        return ()
    if board.pick is not None and board.pick.candidate == board.choice.name:
        return board.pick.guards
    judges = "embedded" if board.embedded else "standard"
    found = guards_of_numbers(board.choice.measurement.metrics, judges=judges, anchors=board.anchors)
    unknown = Guard("embedded_judges", "unknown", "a table does not say who judged")
    return tuple(unknown if board.of_tables and guard.name == unknown.name else guard for guard in found)


def guard_sentence(guard: Guard) -> str:
    """A guard's reason as a sentence of its own."""
    first, _, rest = guard.sentence.partition(" ")
    begun = metric_title(first) if is_distance(first) else f"{first[:1].upper()}{first[1:]}"
    return f"{begun} {rest}." if rest else ""
