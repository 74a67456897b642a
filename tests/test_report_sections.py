"""The report's last sections: failures, data, cost, method and files, and `report.json`, each against what it was made of."""

import hashlib
import html
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from apfgan.checked_lines import checked_line
from apfgan.composite import FORMULAS
from apfgan.failures import Control, Failures, FlatImage, SuspectedCopy, Twins, keep_picture, write_failures
from apfgan.files import append_line, write_json, write_text
from apfgan.measured import Measured
from apfgan.ranking import protocol_of
from apfgan.records import Anchors, Estimate
from apfgan.runs import Run
from reports.board import read_board
from reports.costs import read_costs
from reports.facts import anchor_sentences, read_data_facts
from reports.failures import MOST, per_image_gaps, read_failure_report
from reports.method import method_of
from reports.notes import guard_sentence, guards_of
from reports.observations import read_observations
from reports.page import write_report
from reports.picture_store import PicturesInside
from reports.summary import SCHEMA, Summary, summary_schema
from tests.report_runs import NOW, PROTOCOL, build_run, measure

NAMES = ["0", "5", "13", "16", "avg_13_16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    built = build_run(tmp_path_factory.mktemp("sections") / "demo", NAMES, prints=True)
    write_report(built, now=NOW)
    return built


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return (run.report / "index.html").read_text()


def section(page: str, name: str) -> str:
    """What a section says, without its marks."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", found[0]))) if found else ""


def found_among(run: Run, name: str, **changes: object) -> Failures:
    """A record of a candidate in which nothing was found, but for the `changes`; it is kept with the run."""
    measurement = next(each for each in run.ledger.read() if each.candidate == name)
    nothing = Failures(
        key="k", candidate=name, images=24, photos=90, flat=(), twins=(), copies=(), near=3, compared=3, replaced=0,
        control=Control(photos=64, copies=0, contrast=40.0, flat=0), not_looked_at=(),
    )  # fmt: skip
    found = replace(nothing, **changes)  # type: ignore[arg-type]
    write_failures(run, measurement.observations, found)
    return found


# Failures


def test_drops_are_the_largest_of_all_images(run: Run) -> None:
    board = read_board(run)
    assert board.choice and board.rival
    observed = {row.name: seen for row in board.rows if (seen := read_observations(run, row.measurement))}
    gaps = per_image_gaps(board.choice, board.rival, observed)
    assert gaps is not None and gaps[0] == "mask_accuracy"  # of the totals, no influences are kept
    differences = observed[board.choice.name].accuracy - observed[board.rival.name].accuracy
    assert gaps[1] == pytest.approx(differences)
    report = read_failure_report(run, board, observed, PicturesInside())
    assert report is not None and report.drops is not None
    worst = sorted(range(24), key=lambda index: differences[index])[:MOST]
    stems = observed[board.choice.name].stems
    assert [each.title for each in report.drops.findings] == [stems[index] for index in worst if differences[index] < 0]
    first = report.drops.findings[0]
    ours, theirs = (observed[name].accuracy[worst[0]] for name in (board.choice.name, board.rival.name))
    assert f"Mask accuracy {ours:.3f} against {theirs:.3f}" in first.text
    assert [frame.letter for frame in first.frames] == ["", "a", "b"] and all(frame.picture for frame in first.frames)
    assert f"on {(differences < 0).sum()} of 24 label maps" in report.drops.told


def test_a_share_in_the_score_is_the_total_of_images_like_it(tmp_path: Path) -> None:
    """For a total that is a mean over images, it is the image's own difference."""
    rng = np.random.default_rng(1)
    built = build_run(tmp_path / "run", ["15", "16"], pictures=False)
    totals = {name: rng.uniform(0.2, 0.6, 24) for name in ("15", "16")}
    stems = None
    for measurement in built.ledger.read():
        stems = read_observations(built, measurement).stems  # type: ignore[union-attr]
        changed = replace(measurement, composite=Estimate(float(totals[measurement.candidate].mean()), 0.01), key=f"new {measurement.candidate}")
        built.ledger.append(changed)
        built.influences.write(changed.key, stems, {"composite": Measured.mean(totals[measurement.candidate])})
    board = read_board(built)
    observed = {row.name: seen for row in board.rows if (seen := read_observations(built, row.measurement))}
    rows = {row.name: row for row in board.rows}
    name, gaps = per_image_gaps(rows["16"], rows["15"], observed) or ("", np.empty(0))
    assert name == "score" and gaps == pytest.approx(totals["16"] - totals["15"])


def test_findings_are_shown_with_their_pictures_and_numbers(tmp_path: Path) -> None:
    built = build_run(tmp_path / "run", NAMES, prints=True)
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (10, 200, 30)).save(buffer, "WEBP")
    picture, stems = keep_picture(built, buffer.getvalue()), ("487100", "488003")
    choice = read_board(built).choice
    assert choice
    photo = '<img src=x onerror=alert(1)>".jpg'
    found_among(
        built,
        choice.name,
        flat=(FlatImage(stem="488001", contrast=0.042),),
        twins=(Twins(stems=stems, distance=0.123, likeness=0.956, agreement=0.5),),
        copies=(
            SuspectedCopy(stem="487101", photo=photo, picture=picture, nearness=0.31, likeness=0.97, mirrored=True),
            SuspectedCopy(stem="487102", photo="gone.jpg", picture="gone.webp", nearness=0.5, likeness=0.93, mirrored=False),
        ),
        replaced=2,
        not_looked_at=("Small pictures are kept of 20 of 24 images.",),
    )
    content = write_report(built, now=NOW).read_text()
    text = section(content, "images")
    assert "<img src=x" not in content
    for told in (
        "Nearly of one grey Found: 1 among 24 images",
        "Its grey values vary 4 % as much as those of a typical photo.",
        "1 pair among 24 images",
        "0.12 of the typical distance of two photos apart, and their small pictures correlate by 0.96. Their label maps agree in 50 %",
        f"training photo {photo}",
        "It lies 0.31 times as far from the photo as that photo's third nearest neighbour",
        "and the small pictures correlate by 0.97 with the photo's mirror image.",
        "none of 64 photos would be called a copy of another",
        "In 2 images of avg_13_16 a training photo stands in for a drawing",
        "no picture",
        "Small pictures are kept of 20 of 24 images.",
        "Nobody has looked for flat images, near-duplicates and copies among the images of 16 yet.",
        "The images of 3 other candidates were not looked at.",
    ):
        assert told in text, told
    summary = json.loads((built.report / "report.json").read_text())
    (suspicion,) = summary["suspicions"]
    assert suspicion["twins"] == [list(stems)] and suspicion["copies"] == [["487101", photo], ["487102", "gone.jpg"]]


def test_nothing_found_is_said(tmp_path: Path) -> None:
    built = build_run(tmp_path / "run", NAMES, prints=True)
    for name in ("avg_13_16", "16"):
        found_among(built, name)
    text = section(write_report(built, now=NOW).read_text(), "images")
    assert text.count("Found: none among 24 images of avg_13_16, none among 24 images of 16.") == 3
    assert "Nobody has looked" not in text


# Data and guards


def test_data_says_what_the_protocol_names(tmp_path: Path) -> None:
    built = build_run(tmp_path / "run", [], pictures=False)
    protocol = PROTOCOL | {
        "label_maps": {"key": "ab12" * 16, "count": 24, "resize": "pil-nearest"},
        "reference": {"key": "cd34" * 16, "photos": 9876},
        "size": [512, 384],
        "encoding": {"format": "JPEG", "quality": 75, "subsampling": "4:2:0"},
    }
    built.ledger.append(measure("16", protocol=protocol))
    write_json(
        built.evaluation_path, {"asked": {"data": "/home/somebody/photos & <b>", "limit": 24}, "protocol": protocol_of(built.ledger.read()[0])}
    )
    write_json(built.features / "survey_1.json", {"pairs": 9876, "single_class": {"1": ["a", "b"], "3": ["c"]}})
    facts = {fact.term: (fact.text, fact.key) for fact in read_data_facts(built, read_board(built)).facts}
    assert facts["data set"] == ("somebody/photos & <b>", "") and facts["limited to"][0].startswith("24 label maps")
    assert facts["label maps"] == ("24, brought to the images' size by the nearest pixel (pil-nearest)", "ab12" * 16)
    assert facts["compared with"] == ("9876 photos", "cd34" * 16)
    assert facts["images"][0] == "512 × 384 pixels, judged as the JPEGs that are handed in: quality 75, colours 4:2:0"
    assert facts["classes"][0].startswith("29;")
    assert facts["photos of one class"][0] == "3 of them (sky 2, sea 1)"
    write_json(built.features / "survey_2.json", {"pairs": 5, "single_class": {}})
    assert "training set" not in {fact.term for fact in read_data_facts(built, read_board(built)).facts}  # which of both?
    text = section(write_report(built, now=NOW).read_text(), "data")
    assert "/photos & <b>" in text and "9876 photos cd34cd34cd34" in text


def test_anchors_are_told_in_words(tmp_path: Path) -> None:
    built = build_run(tmp_path / "run", ["16"], pictures=False)
    assert anchor_sentences(read_board(built)) == []
    real = {"mask_accuracy": Estimate(0.9, 0.004), "aesthetic": Estimate(5.5, 0.02), "fid": Estimate(31.93, 0.3)}
    anchors = Anchors(metrics=real, composite=Estimate(0.5, 0.01), photos=24, origin="held out")
    board = replace(read_board(built), anchors=anchors)
    assert board.choice
    accuracy = board.choice.measurement.metrics["mask_accuracy"].value
    told = " ".join(anchor_sentences(board))
    assert "24 real photos (held out)" in told and "in 0.9000 ± 0.0078 of the pixels: the ceiling" in told
    assert f"16 reaches {accuracy:.4f}, {100 * accuracy / 0.9:.0f} % of it." in told
    assert "a FID of 31.93 ± 0.59 from the others: the floor" in told and "total would be 0.5000 ± 0.0196" in told


def test_photos_too_few_for_a_distance_have_none(tmp_path: Path) -> None:
    built = build_run(tmp_path / "run", ["16"], pictures=False)
    protocol = protocol_of(built.ledger.read()[0])
    write_json(built.anchors_path(protocol), asdict(Anchors(metrics={}, composite=None, photos=1, origin="held out")))
    row = section(write_report(built, now=NOW).read_text(), "leaderboard").partition("real photos photos")[2]
    assert row.split()[:4] == ["–"] * 4


def test_all_guards_are_sentences(run: Run, page: str) -> None:
    guards = guards_of(read_board(run))
    assert [guard.name for guard in guards] == ["embedded_judges", "mask_above_photos", "judge_alarms", "beyond_clip"]
    text = section(page, "data")
    for guard in guards:
        told = guard_sentence(guard)
        assert told in text and told.endswith(".") and not told[0].islower()
    assert guard_sentence(guards[-1]).startswith("FID ")


# Cost


def spend(run: Run, command: str, **changes: object) -> None:
    line = {
        "command": command, "started": "2026-03-01T10:00:00+0000", "seconds": 10.0, "ended": "finished", "measured": 0, "found": 0, "drawn": 0,
        "peak_memory": 10**9, "peak_device_memory": None, "schema": 1,
    }  # fmt: skip
    append_line(run.costs, checked_line(json.dumps(line | changes)))


def test_stages_add_up(tmp_path: Path) -> None:
    built = build_run(tmp_path / "run", NAMES, pictures=False)
    spend(built, "pick", seconds=100.0, measured=4, found=6, drawn=96, peak_memory=3 * 10**9, peak_device_memory=8 * 10**9)
    spend(built, "score", seconds=30.0, measured=5, drawn=120)
    spend(built, "score", seconds=20.5, measured=0, found=5, ended="stopped")
    spend(built, "train", seconds=7000.0)
    costs = read_costs(built, built.ledger.read())
    assert costs is not None
    assert [stage.name for stage in costs.stages] == ["train", "score", "pick"]
    score = costs.stages[1]
    assert (score.commands, score.unfinished, score.seconds, score.measured, score.found, score.drawn) == (2, 1, 50.5, 5, 5, 120)
    total = costs.total
    assert (total.commands, total.seconds, total.measured, total.found, total.drawn) == (4, 7150.5, 9, 11, 216)
    assert (total.peak_memory, total.peak_device_memory) == (3 * 10**9, 8 * 10**9)
    told = " ".join(costs.told)
    assert "Of 20 evaluations that commands asked for, the ledger held 11 already (55 %)" in told
    assert "16 epochs took 11 min: 42 s each" in told  # 16 of 41.5 s
    pace = float(np.median([each.seconds / each.images for each in built.ledger.read()]))
    assert f"To draw and judge one image took {pace:.2g} s (cpu; the median of 5 measurements" in told
    text = section(write_report(built, now=NOW).read_text(), "cost")
    assert "train 1 1 h 57 min 0 0 0 1.0 GB –" in text and "score 2 (1 not to the end) 50 s 5 5 120 1.0 GB –" in text
    assert "all 4 (1 not to the end) 1 h 59 min 9 11 216 3.0 GB 8.0 GB" in text


def test_older_runs_tell_what_they_know(run: Run, page: str, tmp_path: Path) -> None:
    costs = read_costs(run, run.ledger.read())
    assert costs is not None and not run.costs.exists()
    train, measuring = costs.stages
    assert (train.name, train.seconds, train.commands, train.measured) == ("train", 16 * 41.5, None, None)
    assert measuring.seconds == pytest.approx(sum(each.seconds for each in run.ledger.read())) and measuring.measured == len(NAMES)
    assert "train – 11 min – – – –" in section(page, "cost") and "A dash: the command ran before" in section(page, "cost")
    empty = Run.create(tmp_path, run.config)
    write_text(empty.training_log, "epoch,seconds\n1,nonsense\n2\n3,-5\n")
    assert read_costs(empty, []) is None


# Method


def test_the_formula_gives_the_score(run: Run, page: str) -> None:
    """With the numbers as they stand there."""
    board = read_board(run)
    method = method_of(board)
    assert method is not None and board.choice
    assert method.total == "total = mask accuracy × (0.5 × aesthetic / 10 + 0.5 × (100 − FID) / 100)"
    name, _, equation = method.worked.partition(": ")
    left, _, right = equation.partition(" = ")
    assert name == board.choice.name and float(right) == pytest.approx(board.choice.score.value, abs=5e-5)
    accuracy, *terms = map(float, re.findall(r"[0-9.]+", left))
    assert accuracy * sum(terms) == pytest.approx(float(right), abs=3e-4)
    text = section(page, "method")
    assert method.total in text and method.worked in text
    for field in ("judges.distance.sha256", "jpeg.quality", "label_resize", "67" * 32, "progressive_epochs"):
        assert field in text


def test_other_weights_stand_in_the_formula(tmp_path: Path) -> None:
    built = Run.create(tmp_path, build_run(tmp_path / "other", [], pictures=False).config)
    formula = {"name": "B", "aesthetic": 0.25, "closeness": 0.25, "votes": 0.5, "votes_won": 0.4}
    assert {name: getattr(FORMULAS["B"], name) for name in ("aesthetic", "closeness", "votes")} == {
        "aesthetic": 0.25,
        "closeness": 0.25,
        "votes": 0.5,
    }
    built.ledger.append(measure("5", protocol=PROTOCOL | {"formula": formula}))
    method = method_of(read_board(built))
    assert method is not None
    assert method.total.endswith("(0.25 × aesthetic / 10 + 0.25 × (100 − FID) / 100 + 0.5 × votes won)") and "+ 0.2000)" in method.worked


@pytest.mark.parametrize(
    ("name", "title", "said"),
    [
        ("fid", "FID", "It is larger for fewer images."),
        ("fid-clean", "FID (clean)", "clean-fid"),
        ("fd-embedded", "fd-embedded", "It is no FID"),
        ("fd-dinov2", "fd-dinov2", "another network (dinov2)"),
        ("kid-embedded", "kid-embedded", "kernel distance"),
        ("beauty", "beauty", "does not know its definition"),
    ],
)
def test_every_metric_is_defined(tmp_path: Path, name: str, title: str, said: str) -> None:
    built = Run.create(tmp_path, build_run(tmp_path / "other", [], pictures=False).config)
    built.ledger.append(measure("5", metrics={"mask_accuracy": Estimate(0.5, 0.01), name: Estimate(30.0, 1.0)}))
    method = method_of(read_board(built))
    assert method is not None
    definition = next(each for each in method.definitions if each.title == title)
    assert said in definition.text


# Files, and the report for programs


def test_files_are_linked_with_their_sizes_and_hashes(run: Run, page: str) -> None:
    body = re.search(r'<section id="files".*?</section>', page, re.DOTALL)
    assert body
    links = [unquote(html.unescape(link)) for link in re.findall(r'<th scope="row"><a href="([^"]*)"', body[0])]
    assert {"report.json", "report.schema.json", "scores.csv", "../run.toml", "../measurements.jsonl", "../training.csv"} <= set(links)
    for link in links:
        path = run.report / link
        assert path.is_file()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert (digest in body[0]) == (link != "report.json")  # which holds the time
    assert "apfgan train --data 'my data' --run runs/demo" in section(page, "files")


def test_links_to_files_elsewhere_are_only_addresses(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / 'a "b" <i> javascript:'
    content = write_report(run, folder=folder, now=NOW).read_text()
    assert "<i>" not in content
    links = [unquote(html.unescape(link)) for link in re.findall(r'<th scope="row"><a href="([^"]*)"', content)]
    assert all((folder / link).is_file() for link in links) and any(link.endswith("/run.toml") for link in links)


def test_the_report_for_programs_is_as_its_schema_says(run: Run) -> None:
    text = (run.report / "report.json").read_text()
    TypeAdapter(Summary).validate_json(text, strict=True)
    value, schema = json.loads(text), json.loads((run.report / "report.schema.json").read_text())
    assert schema == summary_schema() and value["schema"] == SCHEMA
    assert set(schema["required"]) == set(value) == set(schema["properties"])
    assert all("description" in each or each.get("title") for each in schema["properties"].values())
    assert schema["properties"]["tried"]["description"] == "Candidates among which the best was found."
    assert [each["candidate"] for each in value["ranking"]] == [row.name for row in read_board(run).rows]
    assert value["costs"]["seconds"] == pytest.approx(16 * 41.5 + sum(each.seconds for each in run.ledger.read()))


def test_an_empty_run_has_these_sections_as_far_as_they_mean_something(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", build_run(tmp_path / "other", [], pictures=False).config)
    content = write_report(run, now=NOW).read_text()
    assert [name for name in ("data", "cost", "method") if f'<section id="{name}"' in content] == []
    assert "report.json" in section(content, "files")
    TypeAdapter(Summary).validate_json((run.report / "report.json").read_text(), strict=True)


def test_the_sections_stand_in_order(page: str) -> None:
    ids: Callable[[str], int] = lambda name: page.index(f'<section id="{name}"')  # noqa: E731
    assert ids("data") < ids("cost") < ids("method") < ids("files")
    assert 'id="provenance"' not in page and not re.search(r'id="([^"]+)"(?=.*id="\1")', page.partition("<script")[0], re.DOTALL)
