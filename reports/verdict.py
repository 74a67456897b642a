"""What the report recommends, in words: how sure that is, what speaks for it and against it, and how to get it. Values and sentences; the page places
them.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from apfgan.guards import Answer, Guard
from apfgan.picks import PickRecord
from apfgan.records import Estimate
from reports.board import UNTRAINED, Board, Comparison, Row, SeedGroup
from reports.formats import Format, counted, listed
from reports.notes import guard_sentence, guards_of
from reports.terminal import chance_text

MOST_NAMES = 5
"""Candidates that one sentence names."""

Standing = Literal["only", "clear", "open", "unknown"]
"""The only candidate; told from all others; not told from some; or not to be said, for want of errors."""

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_LABELS: Mapping[str, Mapping[Answer, str]] = {
    "embedded_judges": {"yes": "judges of this run alone", "no": "judges used elsewhere, too", "unknown": "who judged"},
    "goodhart": {"yes": "other checks became worse", "no": "no other check became worse", "unknown": "how other checks changed"},
    "unconfirmed_gain": {"yes": "gain not confirmed", "no": "no unconfirmed gain", "unknown": "whether the gain is real"},
    "luck": {"yes": "found by luck", "no": "not a lucky find", "unknown": "how much is luck"},
    "same_label_maps": {
        "yes": "found and confirmed on the same label maps",
        "no": "confirmed on other label maps",
        "unknown": "which label maps confirmed it",
    },
    "mask_above_photos": {
        "yes": "mask accuracy above that of photos",
        "no": "mask accuracy no higher than that of photos",
        "unknown": "what photos would reach",
    },
    "judge_alarms": {"yes": "a suspicious mask judge", "no": "mask judge tried on photos", "unknown": "how good the mask judge is"},
    "beyond_clip": {"yes": "distance too large to count", "no": "distance small enough to count", "unknown": "whether the distance counts"},
    "photos": {"yes": "photos among the images", "no": "every image is drawn", "unknown": "whether every image is drawn"},
}
_WORDS: Mapping[Answer, str] = {"yes": "beware", "unknown": "unknown", "no": "fine"}


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A guard as a newcomer can read it."""

    answer: Answer
    """`yes`: beware."""
    word: str
    """`beware`, `unknown` or `fine`."""
    label: str
    """`judges of this run alone`."""
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to say of the board's choice."""

    standing: Standing
    eyebrow: str
    """The standing in words: `no clear winner: these three are within noise`."""
    preferred: str
    """Why the choice is not the highest number measured; empty where it is."""
    expected: Estimate | None
    """The score to expect; None where that is not known."""
    expected_told: str
    """Of what kind that expectation is."""
    versus: tuple[tuple[str, Comparison], ...]
    """The choice against the runner-up and the last epoch, each with its role."""
    reasons: tuple[str, ...]
    doubts: tuple[str, ...]
    chips: tuple[Chip, ...]
    """What to beware of first."""
    contenders: tuple[str, ...]
    """Other candidates, whatever their seeds, that the noise does not tell from the choice."""
    commands: tuple[tuple[str, str], ...]
    """What to do, and the command for it."""
    files: tuple[tuple[str, str], ...]
    """Checkpoint files, or members with their shares, and their SHA-256."""


def verdict_of(board: Board, *, origin: Sequence[tuple[str, str]] = ()) -> Verdict | None:
    """The verdict on a board, None where nothing is measured. `origin`: the choice's checkpoint files with their hashes, for want of a pick."""
    choice, pick, shown = board.choice, board.pick, Format.of(board)
    if choice is None:
        return None
    versus = _versus(board, choice)
    contenders = pick.within_noise if pick else _contenders(board, choice)
    standing = _standing(board, choice, contenders)
    expected, told = _expectation(board, choice)
    return Verdict(
        standing=standing,
        eyebrow=_eyebrow(standing, contenders),
        preferred=_preferred(board, choice, shown),
        expected=expected,
        expected_told=told,
        versus=versus,
        reasons=(*_reasons_of_numbers(board, standing, versus, shown), *(_reasons_of_pick(pick, shown) if pick else ())),
        doubts=(*_doubts_of_numbers(board, choice, standing, contenders, shown), *(_doubts_of_pick(pick, shown) if pick else ())),
        chips=chips_of(guards_of(board)),
        contenders=contenders,
        commands=_commands(board, choice),
        files=_files(pick) if pick else tuple(origin),
    )


def chips_of(guards: Sequence[Guard]) -> tuple[Chip, ...]:
    """Guards as chips: what to beware of, then what is not known, then what is fine."""
    order: Sequence[Answer] = ("yes", "unknown", "no")
    return tuple(
        Chip(
            answer=guard.answer,
            word=_WORDS[guard.answer],
            label=_LABELS.get(guard.name, {}).get(guard.answer, guard.name.replace("_", " ")),
            sentence=guard_sentence(guard),
        )
        for guard in sorted(guards, key=lambda guard: order.index(guard.answer))
    )


def runner_up(board: Board) -> Row | None:
    """The best row that is not another seed of the choice."""
    return next((row for row in board.rows if board.choice is not None and row.unseeded != board.choice.unseeded), None)


def _versus(board: Board, choice: Row) -> tuple[tuple[str, Comparison], ...]:
    second, last = runner_up(board), board.last_epoch
    if last is not None and last.unseeded == choice.unseeded:
        last = None
    rivals = [("runner-up and last epoch", second)] if second is last else [("runner-up", second), ("last epoch", last)]
    return tuple((role, Comparison(choice, row)) for role, row in rivals if row is not None)


def _contenders(board: Board, choice: Row) -> tuple[str, ...]:
    tied = (row.unseeded for row in board.rows if row.unseeded != choice.unseeded and Comparison(choice, row).tied)
    return tuple(dict.fromkeys(tied))


def _standing(board: Board, choice: Row, contenders: Sequence[str]) -> Standing:
    if all(row.unseeded == choice.unseeded for row in board.rows):
        return "only"
    if contenders:
        return "open"
    if board.pick is None and any(row.score.error is None for row in board.rows):
        return "unknown"
    return "clear"


def _eyebrow(standing: Standing, contenders: Sequence[str]) -> str:
    if standing == "open":
        count = len(contenders) + 1
        return f"no clear winner: these {_NUMBERS[count] if count < len(_NUMBERS) else count} are within noise"
    return {"only": "the only candidate so far", "clear": "clear winner", "unknown": "highest score, its noise unknown"}[standing]


def _preferred(board: Board, choice: Row, shown: Format) -> str:
    highest, pick = board.rows[0], board.pick
    if pick is None or highest is choice:
        return ""
    seed = f" with seed {highest.seed}" if highest.seed else ""
    told = f"The highest number measured is {shown.number(highest.score.value)}, of {highest.unseeded}{seed}."
    leader = pick.finalists[0] if pick.finalists else None
    if leader is None or leader.candidate == pick.candidate:
        return f"{told} But single draws are partly luck: the pick is the best by the mean of {counted(len(pick.fresh_seeds), 'fresh seed')}."
    return (
        f"{told} But single draws are partly luck. By the mean of {counted(len(pick.fresh_seeds), 'fresh seed')} {leader.candidate} leads by no more "
        "than one standard error, and of what lies so close the pick is the simplest."
    )


def _expectation(board: Board, choice: Row) -> tuple[Estimate | None, str]:
    if board.pick is not None:
        return board.pick.expected_score, f"with fresh seeds, on {counted(board.pick.confirmed_on, 'label map')}: nothing was chosen by it"
    if board.outlook is None or board.outlook.expected is None or choice is not board.best or len(board.rows) == 1:
        return None, ""
    expected, group = board.outlook.expected, _chosen_from(board, choice)
    if group is not None and group.mean < expected.value:
        return Estimate(group.mean, expected.error), f"with any other seed: the mean of its {len(group.rows)} seeds"
    return expected, "less the luck of having been chosen" if board.of_tables else "on new label maps"


def _chosen_from(board: Board, choice: Row) -> SeedGroup | None:
    """The seeds of which the choice is the best; None where its seed was not chosen."""
    return next((group for group in board.seeds if choice is group.rows[0]), None) if board.pick is None else None


def _reasons_of_numbers(board: Board, standing: Standing, versus: Sequence[tuple[str, Comparison]], shown: Format) -> list[str]:
    reasons = []
    if board.pick is None and len(board.rows) > 1:
        reasons.append(f"It has the highest score of {counted(len(board.rows), 'measurement')}.")
    if standing == "clear" and board.pick is None:
        reasons.append("Every other candidate lies clearly behind.")
    for role, comparison in versus:
        if comparison.gap.error is not None and not comparison.tied and comparison.gap.value > 0:
            reasons.append(f"It is clearly better than the {role} {comparison.other.name}, by {shown.number(comparison.gap.value)}.")
    return reasons


def _doubts_of_numbers(board: Board, choice: Row, standing: Standing, contenders: Sequence[str], shown: Format) -> list[str]:
    doubts = []
    if standing == "only":
        doubts.append("There is nothing to compare it with: score more checkpoints, then make this report again.")
    if contenders:
        doubts.append(f"The noise of these images does not tell it from {listed(contenders, most=MOST_NAMES)}.")
    if board.pick_problem:
        doubts.append(board.pick_problem)
    unknown = sum(row.score.error is None for row in board.rows)
    if unknown and standing != "only":
        doubts.append(
            f"{counted(unknown, 'score')} of {len(board.rows)} {'has' if unknown == 1 else 'have'} no known error: how sure this is cannot be said."
        )
    if board.pick is None and board.outlook is not None and board.outlook.expected is not None and choice is board.best and len(board.rows) > 1:
        luck = choice.score.value - board.outlook.expected.value
        doubts.append(f"As the best of {counted(board.outlook.tried, 'candidate')} tried it owes {shown.number(luck)} to luck, on average.")
    if (group := _chosen_from(board, choice)) is not None:
        doubts.append(
            f"Its seed was chosen on these very images: {shown.number(group.gain)} above the mean of its {len(group.rows)} seeds, where luck alone "
            f"gives {shown.number(group.luck)}. On other images that is worth nothing."
        )
    looked_at = {each.candidate for each in board.measurements}
    waiting = [name for name in board.sweep if name != UNTRAINED and name not in looked_at]
    if not board.swept:
        doubts.append(f"The sweep is not at its end: {board.measured} of {counted(len(board.sweep), 'candidate')} measured on all label maps so far.")
    elif waiting:
        doubts.append(f"{counted(len(waiting), 'candidate')} {'is' if len(waiting) == 1 else 'are'} not measured yet.")
    return doubts


def _reasons_of_pick(pick: PickRecord, shown: Format) -> list[str]:
    reasons = [f"It was picked from {counted(pick.tried, 'candidate')} and confirmed with {counted(len(pick.fresh_seeds), 'fresh seed')}."]
    if pick.probability_best is not None and len(pick.finalists) > 1:
        chance = chance_text(pick.probability_best)
        reasons.append(f"Probability of being truly the best of {counted(len(pick.finalists), 'finalist')}: {chance}.")
    finalist = next((each for each in pick.finalists if each.candidate == pick.candidate), None)
    if finalist is not None and finalist.gain is not None and finalist.gain_confirmed:
        size = f"{shown.signed(finalist.gain.value)} {shown.margin(finalist.gain.error)}".strip()
        reasons.append(f"Its gain over {pick.best_single}, the best single checkpoint, is confirmed with fresh seeds: {size}.")
    if pick.verification is not None and pick.verification.verified:
        reasons.append(f"Verified: a fresh process drew and judged {counted(pick.verification.images, 'image')} again and found the same.")
    return reasons


def _doubts_of_pick(pick: PickRecord, shown: Format) -> list[str]:
    doubts = []
    finalist = next((each for each in pick.finalists if each.candidate == pick.candidate), None)
    if finalist is not None and finalist.gain is not None and not finalist.gain_confirmed:
        size = f"{shown.signed(finalist.gain.value)} {shown.margin(finalist.gain.error)}".strip()
        doubts.append(f"Its gain over {pick.best_single}, the best single checkpoint, is not confirmed: {size} with fresh seeds.")
    if pick.verification is None:
        doubts.append("It is not verified: no fresh process has drawn and judged it again.")
    elif not pick.verification.verified:
        doubts.append(f"It could not be verified: {pick.verification.problem}")
    if pick.failed:
        doubts.append(f"Not measured, for something failed: {listed(pick.failed, most=MOST_NAMES)}.")
    return doubts


def _commands(board: Board, choice: Row) -> tuple[tuple[str, str], ...]:
    if board.pick is None:
        submit = shlex.join(["apfgan", "submit", "--run", board.run_path, "--pick", choice.name])
        return (("Hand it in", submit),) if board.drawn(choice) else ()
    titles = {"merge": "Make it again", "submit": "Hand it in", "verify": "Verify it"}
    return tuple((title, board.pick.commands[name]) for name, title in titles.items() if name in board.pick.commands)


def _files(pick: PickRecord) -> tuple[tuple[str, str], ...]:
    saved = ((pick.candidate, pick.saved),) if pick.saved else ()
    return (*saved, *((f"{member.share:.4g} × {member.name}" if len(pick.members) > 1 else member.name, member.sha256) for member in pick.members))
