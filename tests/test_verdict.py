"""The verdict: what is recommended in each state of a run, with its reasons, doubts and guards."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apfgan.candidates import Candidate
from apfgan.config import PRESETS
from apfgan.files import hash_value, write_bytes
from apfgan.guards import Guard
from apfgan.picks import FinalistRecord, MemberRecord, PickRecord, Verification
from apfgan.records import Estimate
from apfgan.runs import Run
from reports.board import read_board
from reports.page import write_report
from reports.verdict import Verdict, chips_of, verdict_of
from tests.browser import open_page
from tests.report_runs import NOW, PROTOCOL, measure, pick

GUARDS = (
    Guard("goodhart", "no", "none of the checks became worse"),
    Guard("luck", "unknown", "more seeds would show how much"),
    Guard("unconfirmed_gain", "yes", "the gain over 6 is 0.0100 ±0.0090 with fresh seeds"),
    Guard("of_tomorrow", "yes", "something new"),
)


def make_run(path: Path, scores: dict[str, float], *, error: float | None = 0.001, checkpoints: tuple[str, ...] = ()) -> Run:
    run = Run.create(path, PRESETS["tiny"])
    for name in checkpoints:
        write_bytes(run.checkpoint_path(name), b"weights")
        write_bytes(run.checkpoint_path(name).with_suffix(".json"), json.dumps({"name": name, "sha256": hash_value(name)}).encode())
    for name, score in scores.items():
        number = measure("5", composite=Estimate(score, error))
        run.ledger.append(replace(number, key=hash_value(name), candidate=name, seed=Candidate.parse(name).seed))
    return run


def finalist(name: str, *, gain: Estimate | None = None, confirmed: bool | None = None) -> FinalistRecord:
    return FinalistRecord(
        candidate=name, expected_score=Estimate(0.61, 0.002), scores=(0.61, 0.61), deviation=0.0, probability_best=0.5, rank_interval=(1, 2),
        gain=gain, gain_by_chance=None, gain_confirmed=confirmed,
    )  # fmt: skip


def confirm(run: Run, name: str, **changes: Any) -> PickRecord:
    """Let a merge of 5 and 6 be picked as a clear winner, but for the `changes`."""
    told: dict[str, Any] = {
        "members": (MemberRecord(name="5", share=0.5, sha256="a" * 64), MemberRecord(name="6", share=0.5, sha256="b" * 64)),
        "saved": "c" * 64, "expected_score": Estimate(0.61, 0.002), "interval": (0.606, 0.614), "probability_best": 0.7, "clear_winner": True,
        "best_single": "6", "finalists": (finalist(name), finalist("6")), "fresh_seeds": (1001, 1002), "guards": GUARDS, "tried": 9,
        "commands": {"submit": "apfgan submit --pick it", "merge": "apfgan merge it"},
    }  # fmt: skip
    return pick(run, name, **(told | changes))


def verdict(run: Run) -> Verdict:
    found = verdict_of(read_board(run))
    assert found is not None
    return found


def says(sentences: tuple[str, ...], *words: str) -> bool:
    """Whether one sentence holds all these words."""
    return any(all(word in sentence for word in words) for sentence in sentences)


def test_nothing_measured_has_no_verdict(tmp_path: Path) -> None:
    assert verdict_of(read_board(Run.create(tmp_path, PRESETS["tiny"]))) is None


@pytest.mark.parametrize(
    ("scores", "error", "standing", "eyebrow"),
    [
        ({"5": 0.5}, 0.001, "only", "the only candidate so far"),
        ({"5": 0.5, "5@3": 0.501, "5@4": 0.502}, 0.001, "only", "the only candidate so far"),
        ({"5": 0.6, "6": 0.5}, 0.001, "clear", "clear winner"),
        ({"5": 0.6, "6": 0.5, "5@3": 0.601}, 0.001, "clear", "clear winner"),  # its own seeds are no rivals
        ({"5": 0.6, "6": 0.599}, 0.001, "open", "no clear winner: these two are within noise"),
        ({"5": 0.6, "6": 0.5995, "7": 0.599, "8": 0.1}, 0.001, "open", "no clear winner: these three are within noise"),
        ({str(epoch): 0.6 + epoch / 1e5 for epoch in range(5, 17)}, 0.001, "open", "no clear winner: these 12 are within noise"),
        ({"5": 0.6, "6": 0.5}, None, "unknown", "highest score, its noise unknown"),
    ],
)
def test_standing(tmp_path: Path, scores: dict[str, float], error: float | None, standing: str, eyebrow: str) -> None:
    found = verdict(make_run(tmp_path, scores, error=error))
    assert (found.standing, found.eyebrow) == (standing, eyebrow)
    assert (found.standing == "open") == says(found.doubts, "does not tell it from")


def test_rivals_are_the_best_of_other_weights_and_the_last_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"avg_5_6@3": 0.62, "avg_5_6": 0.61, "avg_5_7": 0.6, "5": 0.55, "7": 0.5})
    found = verdict(run)
    assert [(role, each.row.name, each.other.name) for role, each in found.versus] == [
        ("runner-up", "avg_5_6@3", "avg_5_7"),
        ("last epoch", "avg_5_6@3", "7"),
    ]
    assert found.versus[1][1].gap.value == pytest.approx(0.12) and found.versus[1][1].probability == pytest.approx(1)
    assert says(found.reasons, "clearly better than the last epoch 7", "0.1200")
    merged = verdict(make_run(tmp_path / "two", {"avg_5_6": 0.61, "6": 0.5}))
    assert [(role, each.other.name) for role, each in merged.versus] == [("runner-up and last epoch", "6")]


def test_a_chosen_seed_is_expected_to_score_the_mean(tmp_path: Path) -> None:
    found = verdict(make_run(tmp_path, {"avg_5_6@3": 0.63, "avg_5_6@4": 0.61, "avg_5_6": 0.59, "5": 0.5}))
    assert found.expected is not None and found.expected.value == pytest.approx(0.61)
    assert found.expected_told == "with any other seed: the mean of its 3 seeds"
    assert says(found.doubts, "Its seed was chosen on these very images", "0.0200 above the mean of its 3 seeds")


def test_what_is_not_measured_yet_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"5": 0.6, "6": 0.5}, checkpoints=("0", "5", "6", "7", "8"))
    assert says(verdict(run).doubts, "2 candidates are not measured yet.")
    assert verdict(run).commands == (("Hand it in", f"apfgan submit --run {tmp_path} --pick 5"),)
    assert verdict(make_run(tmp_path / "elsewhere", {"5": 0.6, "6": 0.5})).commands == ()


def test_the_pick_is_told_with_what_it_is_worth(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"avg_5_6": 0.6, "5": 0.55, "6": 0.5})
    gain = finalist("avg_5_6", gain=Estimate(0.05, 0.002), confirmed=True)
    record = confirm(run, "avg_5_6", finalists=(gain, finalist("6")), verification=Verification(True, 24))
    found = verdict(run)
    assert found.expected == record.expected_score and "fresh seeds, on 24 label maps" in found.expected_told
    assert found.standing == "clear" and found.preferred == ""
    assert says(found.reasons, "9 candidates", "2 fresh seeds") and says(found.reasons, "best of 2 finalists: 0.70")
    assert says(found.reasons, "gain over 6", "confirmed with fresh seeds", "+0.0500 ± 0.0039")
    assert says(found.reasons, "Verified", "24 images")
    assert found.doubts == ()
    assert found.commands == (("Make it again", "apfgan merge it"), ("Hand it in", "apfgan submit --pick it"))
    assert found.files == (("avg_5_6", "c" * 64), ("0.5 × 5", "a" * 64), ("0.5 × 6", "b" * 64))


def test_what_speaks_against_a_pick_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"avg_5_6": 0.6, "5": 0.55, "6": 0.5})
    gain = finalist("avg_5_6", gain=Estimate(0.01, 0.009), confirmed=False)
    confirm(run, "avg_5_6", finalists=(gain, finalist("6")), clear_winner=False, within_noise=("6", "5"), failed=("avg_4_5",))
    found = verdict(run)
    assert found.eyebrow == "no clear winner: these three are within noise" and found.contenders == ("6", "5")
    assert says(found.doubts, "does not tell it from 6, 5.") and says(found.doubts, "gain over 6", "not confirmed: +0.0100")
    assert says(found.doubts, "no fresh process") and says(found.doubts, "Not measured", "avg_4_5")
    confirm(run, "avg_5_6", verification=Verification(False, problem="the images differ"))
    assert says(verdict(run).doubts, "could not be verified: the images differ")


def test_why_a_pick_is_not_the_highest_number(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"0.4*5+0.6*6@1001": 0.65, "avg_5_6": 0.6, "5": 0.55, "6": 0.5})
    confirm(run, "avg_5_6", finalists=(finalist("0.4*5+0.6*6"), finalist("avg_5_6")))
    assert verdict(run).preferred == (
        "The highest number measured is 0.6500, of 0.4*5+0.6*6 with seed 1001. But single draws are partly luck. By the mean of 2 fresh seeds "
        "0.4*5+0.6*6 leads by no more than one standard error, and of what lies so close the pick is the simplest."
    )
    confirm(run, "avg_5_6")
    assert verdict(run).preferred.endswith("But single draws are partly luck: the pick is the best by the mean of 2 fresh seeds.")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (None, ""),
        ("protocol", "avg_5_6 was picked under another protocol"),
        ("candidate", "avg_7_8 was picked, but is not among these measurements"),
        ("cut off", "it is damaged or was changed"),
        ("a number", "it is damaged or was changed"),
        ("a list", "it is damaged or was changed"),
    ],
)
def test_only_a_pick_of_these_numbers_counts(tmp_path: Path, damage: str | None, told: str) -> None:
    run = make_run(tmp_path, {"7": 0.9, "avg_5_6": 0.6, "6": 0.5})
    confirm(run, "avg_7_8" if damage == "candidate" else "avg_5_6", **({"protocol_id": "another"} if damage == "protocol" else {}))
    text = run.pick_path.read_text()
    run.pick_path.write_text(
        text[:-5] if damage == "cut off" else text.replace("0.61", "0.71") if damage == "a number" else f"[{text}]" if damage == "a list" else text
    )
    board, found = read_board(run), verdict(run)
    assert says(found.doubts, told) if told else not says(found.doubts, "picked")
    assert board.choice is not None and board.choice.name == ("7" if damage else "avg_5_6") and (board.pick is None) == (damage is not None)


def test_page_and_summary_tell_the_pick(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"7": 0.9, "avg_5_6": 0.6, "6": 0.5})
    confirm(run, "avg_5_6")
    html = write_report(run, now=NOW).read_text()
    summary = json.loads((run.report / "report.json").read_text())
    assert summary["choice"] == summary["pick"]["candidate"] == "avg_5_6" and summary["best"] == "7"
    assert summary["expected_score"] == {"value": 0.61, "error": 0.002} and summary["standing"] == "clear"
    assert '<span class="pick">avg_5_6</span>' in html and "beware: gain not confirmed" in html and "avg_5_6 <code" in html
    assert '<span class="value">0.6100</span>' in html and "The highest number measured is 0.9000, of 7." in html


def test_guards_are_worded_and_what_to_beware_of_comes_first() -> None:
    assert [(chip.word, chip.label, chip.sentence) for chip in chips_of(GUARDS)] == [
        ("beware", "gain not confirmed", "The gain over 6 is 0.0100 ±0.0090 with fresh seeds."),
        ("beware", "of tomorrow", "Something new."),
        ("unknown", "how much is luck", "More seeds would show how much."),
        ("fine", "no other check became worse", "None of the checks became worse."),
    ]


def test_guards_without_a_pick_follow_from_the_numbers(tmp_path: Path) -> None:
    embedded = PROTOCOL | {"judges": PROTOCOL["judges"] | {"mask_accuracy": {"name": "embedded-segformer"}}}
    run = Run.create(tmp_path, PRESETS["tiny"])
    run.ledger.append(measure("5", protocol=embedded))
    assert next((chip.word, chip.label) for chip in verdict(run).chips) == ("beware", "judges of this run alone")


def test_the_verdict_is_one_page_of_its_own_in_print(tmp_path: Path, browser) -> None:
    run = make_run(tmp_path, {"0.4*5+0.6*6@1001": 0.65, "avg_5_6": 0.6, "5": 0.55, "6": 0.5})
    confirm(run, "avg_5_6", finalists=(finalist("0.4*5+0.6*6"), finalist("avg_5_6")), verification=Verification(True, 24))
    # A4 with margins of 1 cm at 96 pixels an inch.
    tab, _, complaints = open_page(browser, write_report(run, now=NOW), viewport={"width": 718, "height": 1046})
    tab.emulate_media(media="print")
    assert tab.locator("#verdict").evaluate("section => section.getBoundingClientRect().bottom") < 1046
    assert tab.locator("#verdict").evaluate("section => getComputedStyle(section).breakAfter") == "page"
    assert tab.locator("#verdict button:visible").count() == 0 and complaints == []
    tab.context.close()


def test_hostile_names_are_text(tmp_path: Path) -> None:
    run = Run.create(tmp_path, PRESETS["tiny"])
    name = "</h2><script>alert(1)</script>+<b>"
    run.ledger.append(measure("5", candidate=name, key=hash_value(name)))
    html = write_report(run, now=NOW).read_text()
    assert "<script>alert" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;+<wbr>&lt;b&gt;" in html


def test_a_long_name_is_told_whole_with_its_seed(tmp_path: Path, browser) -> None:
    run = make_run(tmp_path, {"0.283*31+0.09*35+0.627*40@1001": 0.65, "5": 0.55})
    for width in (390, 1180):
        tab, _, _ = open_page(browser, write_report(run, now=NOW), viewport={"width": width, "height": 900})
        head = tab.locator("#verdict-title")
        assert head.text_content() == "Use 0.283*31+0.09*35+0.627*40, seed 1001"
        seen = head.evaluate(
            "head => ({ cut: head.scrollWidth > head.clientWidth, lines: head.getClientRects().length, way: getComputedStyle(head).whiteSpace })"
        )
        assert seen == {"cut": False, "lines": 1, "way": "normal"}
        assert tab.locator("#verdict-title .seed").evaluate("seed => seed.getBoundingClientRect().right <= innerWidth")
        tab.context.close()
