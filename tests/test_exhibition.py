"""The report's pictures: which there are, what they show, how many fit, and where they lie."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apfgan.config import PRESETS, Config
from apfgan.errors import UsageError
from apfgan.labels import Classes
from apfgan.prints import label_prints, make_print
from apfgan.records import Estimate
from apfgan.runs import Run
from benchmarks import report_size
from reports.board import read_board
from reports.budget import AIM, CAP, LEAST_IMAGES, NO_WISH, Wish, plan_pictures
from reports.exhibition import Exhibition, Picture, choose_cast, read_exhibition
from reports.observations import read_observations
from reports.page import read_content, write_content, write_report
from reports.picture_store import PicturesBeside, PicturesInside, remove_stale_pictures
from tests.browser import open_page
from tests.report_runs import IMAGES, NOW, PROTOCOL, STEMS, all_stems, build_run, drawing, judged, landscape, measure

ROOT = Path(__file__).parents[1]
NAMES = ["0", "5", "16", "avg_13_16"]


def exhibit(run: Run, wish: Wish = NO_WISH) -> Exhibition:
    """The exhibition of a run."""
    board = read_board(run)
    observed = {row.name: seen for row in board.rows if (seen := read_observations(run, row.measurement))}
    return read_exhibition(run, board, observed, wish=wish)


def pixels(picture: Picture | None) -> np.ndarray:
    """uint8 (H, W, 3): what a picture within the page shows."""
    assert picture is not None and picture.source.startswith("data:image/")
    with Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))) as image:
        assert image.size == (picture.width, picture.height)
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return build_run(tmp_path_factory.mktemp("runs") / "demo", NAMES, prints=True)


Write = Callable[..., Path]


@pytest.fixture(scope="module")
def write(run: Run) -> Write:
    """Write the report of `run` as wished, its plots drawn once for each wish; the path of the page."""
    read = cache(lambda wish: read_content(run, wish=wish))
    return lambda folder, wish=NO_WISH, now=NOW: write_content(read(wish), folder, now=now)


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    """A run to damage."""
    shutil.copytree(run.path, tmp_path / "copy", ignore=shutil.ignore_patterns("report"))
    return Run.open(tmp_path / "copy")


def test_every_label_map_can_be_shown_not_only_those_set_aside(run: Run) -> None:
    exhibition = exhibit(run)
    assert sorted(shown.stem for shown in exhibition.panel) == sorted(all_stems()) and len(all_stems()) == IMAGES > len(STEMS)
    assert [row.name for row in exhibition.cast] == ["0", "5", "16", "avg_13_16"]
    assert len(exhibition.drawings) == len(exhibition.found) == len(NAMES)
    assert {len(pictures) for pictures in (*exhibition.drawings, *exhibition.found, exhibition.label_maps, exhibition.photos)} == {IMAGES}
    assert exhibition.left_out == () and exhibition.form == "file" and exhibition.store.files == {}
    assert exhibition.how == "These are all of which there are pictures."


def test_label_maps_and_what_was_found_are_exact(run: Run) -> None:
    exhibition = exhibit(run)
    for place, shown in enumerate(exhibition.panel):
        label_map = landscape(all_stems().index(shown.stem))
        assert (pixels(exhibition.label_maps[place]) == Classes().paint(label_map)).all()
        for row, found in zip(exhibition.cast, exhibition.found, strict=True):
            assert (pixels(found[place]) == Classes().paint(judged(label_map, row.name))).all()


def test_drawings_are_those_of_their_candidate_and_label_map(run: Run) -> None:
    exhibition = exhibit(run)
    for row, pictures in zip(exhibition.cast, exhibition.drawings, strict=True):
        for shown, picture in zip(exhibition.panel, pictures, strict=True):
            drawn = make_print(drawing(all_stems().index(shown.stem), row.name), None, Classes()).image
            assert drawn and picture and picture.source == PicturesInside().keep("p-0-0", drawn, "image/webp")
    photo = pixels(exhibition.photos[[each.stem for each in exhibition.panel].index(STEMS[0])])
    assert photo.std() > 10 and len({picture.source for picture in exhibition.photos if picture}) == IMAGES


def test_fewer_are_shown_where_that_is_wished(run: Run) -> None:
    exhibition = exhibit(run, Wish(images=3))
    assert len(exhibition.panel) == len(exhibition.label_maps) == len(exhibition.drawings[0]) == 3
    assert exhibition.how.startswith("Chosen by rule: 1 without a look at what was drawn, 1 where the mask accuracy of avg_13_16 is lowest")
    assert exhibition.left_out == ()


def test_runs_without_prints_show_what_was_set_aside(copy: Run) -> None:
    shutil.rmtree(copy.prints)
    exhibition = exhibit(copy)
    assert sorted(shown.stem for shown in exhibition.panel) == sorted(STEMS)
    for place, shown in enumerate(exhibition.panel):
        index = STEMS.index(shown.stem)
        assert (pixels(exhibition.label_maps[place]) == Classes().paint(landscape(index))).all()
        assert np.abs(pixels(exhibition.drawings[2][place]).astype(float) - drawing(index, "16")).mean() < 6
        assert (exhibition.photos[place] is None) == (index == 4)
    assert {picture for pictures in exhibition.found for picture in pictures} == {None}
    assert exhibition.left_out == (
        "What the mask judge found was not kept with the pictures of 0, 5, 16, avg_13_16, so wrong pixels cannot be marked there.",
    )


def test_nothing_is_shown_of_a_run_without_pictures(tmp_path: Path) -> None:
    exhibition = exhibit(build_run(tmp_path / "run", ["5", "6"], pictures=False))
    assert not exhibition.pictured and exhibition.left_out == () and [row.name for row in exhibition.cast] == ["5", "6"]
    assert not exhibit(Run.create(tmp_path / "empty", PRESETS["tiny"])).cast


@pytest.mark.parametrize("damage", ["cut", "gone", "flipped", "not a zip"])
def test_damaged_pictures_are_left_out_and_told(copy: Run, damage: str) -> None:
    measurement = next(each for each in copy.ledger.read() if each.candidate == "5")
    pack = copy.prints / measurement.observations / "0001.zip"
    content = pack.read_bytes()
    flipped = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    pack.write_bytes({"cut": content[:-200], "flipped": flipped, "not a zip": b"nonsense"}.get(damage, b""))
    if damage == "gone":
        pack.unlink()
    exhibition = exhibit(copy)
    gone = {shown.stem for shown, picture in zip(exhibition.panel, exhibition.drawings[1], strict=True) if picture is None}
    assert gone == set(all_stems()[10:])
    assert exhibition.left_out == ("14 pictures are missing or damaged and stay blank: of 5.",)
    assert all(picture for place in (0, 2, 3) for picture in exhibition.drawings[place])


def test_a_missing_label_map_is_told(copy: Run) -> None:
    (label_prints(copy.prints, PROTOCOL) / "0001.zip").unlink()
    exhibition = exhibit(copy)
    assert sum(picture is None for picture in exhibition.label_maps) == IMAGES - 10
    assert len(exhibition.left_out) == 1 and re.fullmatch(
        r"Missing or damaged is the label map of (48\d{4}, ){3}48\d{4} and 10 more\.", exhibition.left_out[0]
    )


LARGE = Config(data=replace(PRESETS["tiny"].data, width=384, height=288, load_width=400), model=PRESETS["tiny"].model, train=PRESETS["tiny"].train)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose images are larger than prints."""
    built = build_run(tmp_path_factory.mktemp("runs") / "large", NAMES, prints=True, config=LARGE)
    for path in (*built.samples.rglob("*.jpg"), *built.panel.glob("*.jpg")):
        with Image.open(path) as image:
            larger = image.resize((384, 288))
        larger.save(path, quality=90)
    return built


def widths(exhibition: Exhibition, pictures: tuple[Picture | None, ...], *, set_aside: bool) -> set[int]:
    """Widths of those of the label maps that were set aside, or of the others."""
    shown = zip(exhibition.panel, pictures, strict=True)
    return {picture.width for each, picture in shown if picture and (each.stem in STEMS) == set_aside}


def test_room_that_is_left_is_spent_on_full_size(large: Run) -> None:
    exhibition = exhibit(large)
    for pictures in (*exhibition.drawings, exhibition.photos):
        assert widths(exhibition, pictures, set_aside=True) <= {384, 256} and 384 in widths(exhibition, pictures, set_aside=True)
        assert widths(exhibition, pictures, set_aside=False) == {256}
    for pictures in (*exhibition.found, exhibition.label_maps):  # lie upon one another pixel by pixel
        assert {picture.width for picture in pictures if picture} == {256}


def test_full_size_goes_to_the_foremost_first(large: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And to all pictures of a candidate or to none: half of them would look sharper for no merit of its own."""
    order = ["avg_13_16", "16", "5", "0"]
    board = read_board(large)
    assert board.choice and board.rival and [board.choice.name, board.rival.name] == order[:2]
    counts = set()
    for aim in range(2_100_000, 2_600_000, 20_000):
        monkeypatch.setattr("reports.exhibition.AIM", aim)
        exhibition = exhibit(large)
        found = {row.name: widths(exhibition, pictures, set_aside=True) for row, pictures in zip(exhibition.cast, exhibition.drawings, strict=True)}
        assert all(each in ({256}, {384}) for each in found.values())
        full = [name for name in order if found[name] == {384}]
        assert full == order[: len(full)]
        counts.add(len(full))
    assert {0, 4} < counts


def page_of(sizes: np.ndarray) -> int:
    """Bytes of pictures as data addresses, counted one by one."""
    return sum(len(base64.b64encode(bytes(size))) for size in sizes.ravel().tolist() if size)


def test_plan_drops_label_maps_then_epochs_and_stays_near_the_aim() -> None:
    def plan(candidates: int, images: int, size: int, wish: Wish = NO_WISH, thinnable: range | None = None):
        sizes = np.full((candidates + 1, images, 2), size)
        found = plan_pictures(sizes, thinnable=range(1, candidates - 2) if thinnable is None else thinnable, wish=wish)
        shown = page_of(sizes[[*found.rows, candidates], : found.columns])
        assert 0 < found.size - shown < 3_000_000
        return found

    assert plan(10, 24, 3000).columns == 24
    tight = plan(40, 24, 4000)
    assert 8 < tight.columns < 24 and tight.rows == tuple(range(40)) and tight.form == "file" and tight.size <= AIM
    assert plan(40, 24, 3000).columns > tight.columns
    thinned = plan(48, 24, 12000)
    assert thinned.columns == LEAST_IMAGES and thinned.size <= AIM
    kept = [row for row in thinned.rows if row in range(1, 46)]
    gaps = np.diff(kept)
    assert {0, 46, 47} <= set(thinned.rows) and 0 < len(kept) < 45 and gaps.max() - gaps.min() <= 1
    wished = plan(48, 24, 12000, Wish(images=24))
    assert wished.columns == 24 and wished.size <= AIM and {0, 46, 47} <= set(wished.rows) and len(wished.rows) < len(thinned.rows)
    assert plan(48, 24, 40_000, thinnable=range(0)).form == "folder"
    assert plan(48, 24, 40_000, thinnable=range(0)).rows == tuple(range(48))
    assert plan(48, 24, 40_000, Wish(form="file"), thinnable=range(0)).form == "file"
    for form in ("folder", "zip"):
        chosen = plan(48, 24, 40_000, Wish(form=form))
        assert (chosen.form, chosen.columns, len(chosen.rows)) == (form, 24, 48)
    few = plan(48, 5, 300_000, thinnable=range(0))
    assert few.columns == 5


def test_what_is_dropped_for_room_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.budget.AIM", 2_100_000)
    monkeypatch.setattr("reports.exhibition.AIM", 2_100_000)
    exhibition = exhibit(run)
    dropped = IMAGES - len(exhibition.panel)
    assert LEAST_IMAGES <= len(exhibition.panel) < IMAGES
    assert exhibition.left_out == (
        f"Left out to keep this page near 2 MB: {dropped} of 24 label maps. With --form folder all are shown, from files.",
    )
    assert exhibition.how.startswith("Chosen by rule: ")
    monkeypatch.setattr("reports.budget.AIM", 0)
    exhibition = exhibit(run)
    assert len(exhibition.panel) == LEAST_IMAGES and [row.name for row in exhibition.cast] == ["0", "16", "avg_13_16"]
    assert "16 of 24 label maps and 1 of 4 candidates (epochs between those that are shown)" in exhibition.left_out[0]
    assert len(exhibition.drawings) == len(exhibition.found) == 3
    monkeypatch.setattr("reports.budget.CAP", 0)
    exhibition = exhibit(run)
    assert exhibition.form == "folder" and len(exhibition.panel) == IMAGES and len(exhibition.cast) == 4
    assert exhibition.left_out == ("Its pictures would make this page 2 MB large, so they are files in the folder pictures: keep both together.",)
    monkeypatch.setattr("reports.exhibition.WARN", 0)
    assert "may be slow to open" in exhibit(run, Wish(form="file")).left_out[-1]


def test_cast_of_many_has_epochs_evenly_and_the_best_of_the_others(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", PRESETS["tiny"])
    for epoch in range(1, 61):
        run.ledger.append(measure(str(epoch), composite=Estimate(0.3 + epoch / 1000, 0.001)))
    for number in range(2, 42):
        run.ledger.append(measure(f"avg_1_{number}", composite=Estimate(0.5 - number / 1000, 0.001)))
    run.ledger.append(measure("avg_1_2@7", composite=Estimate(0.6, 0.001)))
    cast = choose_cast(read_board(run), most=20)
    epochs = [row.epoch for row in cast if row.epoch is not None]
    assert len(cast) == 20 and epochs == sorted(epochs) and epochs[-1] == 60 and epochs[0] == 1
    assert len(epochs) == 10 and np.diff(epochs[:-1]).max() - np.diff(epochs[:-1]).min() <= 1
    assert [row.name for row in cast if row.epoch is None] == ["avg_1_2@7", *(f"avg_1_{number}" for number in range(3, 12))]
    assert len(choose_cast(read_board(run), most=1000)) == 100
    assert len([row for row in choose_cast(read_board(run), most=98) if row.epoch is None]) == 40


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", ["file", "folder", "zip"])
def test_every_form_shows_the_same_and_asks_nothing_of_any_server(write: Write, form: str, tmp_path: Path, browser) -> None:
    page = write(tmp_path / "a <b> & 'c'", Wish(form=form), now=NOW)
    folder = page.parent
    tab, requests, complaints = open_page(browser, page)
    shown = tab.evaluate(
        """async () => {
            const found = {};
            for (const template of document.querySelectorAll("#pictures template")) {
                const image = document.importNode(template.content.firstElementChild);
                await image.decode();
                found[template.id] = [image.naturalWidth, image.width, image.alt];
            }
            return found;
        }"""
    )
    assert len(shown) == IMAGES * 2 * (1 + len(NAMES))
    assert {(natural, width) for natural, width, _ in shown.values()} == {(256, 256)}
    assert complaints == [] and all(request.startswith(folder.as_uri()) for request in requests)
    assert all(Path(request.removeprefix("file://")).suffix in (".html", ".webp", ".png") for request in requests)
    tab.context.close()
    names = set(files_of(folder))
    assert ("report.zip" in names) == (form == "zip")
    assert sum(bool(re.match(r"pictures/[pflh]-", name)) for name in names) == (0 if form == "file" else len(shown))
    assert ('src="data:image' in page.read_text()) == (form == "file")


def test_zip_is_the_whole_report(write: Write, tmp_path: Path) -> None:
    page = write(tmp_path / "made", Wish(form="zip"), now=NOW)
    with zipfile.ZipFile(page.parent / "report.zip") as archive:
        archive.extractall(tmp_path / "out")
    made = files_of(page.parent)
    del made["report.zip"]
    assert files_of(tmp_path / "out" / "report") == made
    assert {"index.html", "report.json", "scores.csv", "plots/curves.svg", "pictures/p-0-0.webp"} <= set(made)


@pytest.mark.parametrize("form", ["file", "folder", "zip"])
def test_same_run_gives_same_bytes_in_every_form(write: Write, form: str, tmp_path: Path) -> None:
    made = [files_of(write(tmp_path / name, Wish(form=form), now=NOW).parent) for name in ("one", "other")]
    assert made[0] == made[1]
    later = files_of(write(tmp_path / "one", Wish(form=form), now=datetime(2031, 7, 8, tzinfo=UTC)).parent)
    assert {name for name in later if later[name] != made[0][name]} == {"index.html", "report.json"} | ({"report.zip"} if form == "zip" else set())


def test_nothing_of_an_earlier_form_stays_behind(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write(folder, Wish(form="zip"), now=NOW)
    (folder / "pictures" / "holiday.png").write_bytes(b"mine")
    (folder / "notes.txt").write_text("mine")
    write(folder, Wish(form="folder", images=5), now=NOW)
    assert {name for name in files_of(folder) if name.startswith("pictures/p-")} == {
        f"pictures/p-{row}-{image}.webp" for row in range(4) for image in range(5)
    }
    assert not (folder / "report.zip").exists()
    write(folder, now=NOW)
    assert {name for name in files_of(folder) if name.startswith("pictures/")} == {"pictures/holiday.png"}  # not ours to delete
    assert (folder / "notes.txt").exists()
    (folder / "pictures" / "holiday.png").unlink()
    write(folder, now=NOW)
    assert not (folder / "pictures").exists()


def test_another_page_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("my site")
    with pytest.raises(UsageError, match="--out"):
        write_report(run, folder=tmp_path)
    assert files_of(tmp_path) == {"index.html": b"my site"}


def test_stores_give_addresses(tmp_path: Path) -> None:
    assert PicturesInside().keep("p-1", b"abc", "image/webp") == "data:image/webp;base64,YWJj"
    store = PicturesBeside()
    assert store.keep("p-3-7", b"abc", "image/png") == "pictures/p-3-7.png" and store.files == {"pictures/p-3-7.png": b"abc"}
    for name in ("../p-1", "p-1/../../x", "x", "</a>", "p-1.html"):
        with pytest.raises(ValueError, match="no name of a picture"):
            store.keep(name, b"", "image/png")
    remove_stale_pictures(tmp_path, store)  # where there is nothing


def test_every_picture_says_what_it_shows(run: Run, write: Write, tmp_path: Path) -> None:
    html = write(tmp_path, now=NOW).read_text()
    alts = dict(re.findall(r'<template id="([^"]*)"><img [^>]*alt="([^"]*)"></template>', html))
    exhibition = exhibit(run)
    for place, shown in enumerate(exhibition.panel):
        given = np.bincount(landscape(all_stems().index(shown.stem)).ravel(), minlength=29)
        largest = np.argsort(-given, kind="stable")[:3]
        content = ", ".join(f"{Classes().names[index]} {100 * given[index] / given.sum():.0f} %" for index in largest if given[index])
        assert alts[f"label-{place}"] == f"label {shown.stem}: {content}" and alts[f"photo-{place}"] == f"photo {shown.stem}: {content}"
        assert alts[f"drawing-3-{place}"] == f"avg_13_16 draws {shown.stem}: {content}"
        assert alts[f"found-3-{place}"] == f"what the mask judge finds where avg_13_16 draws {shown.stem}"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small files, for which nobody waits until they are on the disk."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.mark.usefixtures("no_waiting")
def test_forty_candidates_of_a_thousand_images_fit_and_open_at_once(tmp_path: Path, browser) -> None:
    run = report_size.make_run(tmp_path / "run", candidates=40, images=1000, scenes=8, features=4)
    page = write_report(run, now=NOW)
    assert 0.7 * AIM < page.stat().st_size < 1.1 * AIM < CAP
    tab, requests, complaints = open_page(browser, page)
    assert (requests, complaints) == ([page.as_uri()], [])
    kept, live, shown = tab.evaluate(
        """() => [document.querySelectorAll("#pictures template").length, document.images.length,
            data.panel.length]"""
    )
    assert shown >= LEAST_IMAGES and kept == 2 * shown * 41
    assert live < 100  # what a browser decodes as it opens: none of the others
    tab.context.close()


@pytest.mark.usefixtures("browser")
def test_benchmark_of_the_reports_size(tmp_path: Path) -> None:
    """In a process of its own, where it drives a browser of its own."""
    sizes = ("--candidates", "4", "--images", "4", "--features", "4", "--rounds", "1", "--json", str(tmp_path / "found.json"))
    done = subprocess.run([sys.executable, "-m", "benchmarks.report_size", *sizes], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["auto", "folder", "zip"] and done.stdout.count("\n") == 4
    assert found["folder"]["page"] < found["auto"]["page"] and found["folder"]["files"] + 1 == found["zip"]["files"]
    assert all(0 < each["interactive"] <= each["loaded"] for each in found.values())


def test_command_line_grants_wishes(run: Run, apfgan: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, output, errors = apfgan("report", "--run", run.path, "--images", 3, "--form", "zip", "--out", tmp_path / "out", "--json")
    assert (code, json.loads(output)) == (0, {"report": str(tmp_path / "out" / "index.html")}), errors
    assert len(list((tmp_path / "out" / "pictures").glob("l-*.png"))) == 3 and (tmp_path / "out" / "report.zip").exists()
    assert not run.report.exists()
    assert apfgan("report", "--run", run.path, "--images", 0)[0] == 2
    assert apfgan("report", "--run", run.path, "--form", "pdf")[0] == 2
