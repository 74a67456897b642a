"""The report on classes in a real browser: its numbers against the CSV and Python's, whichever pair is chosen, and the way to the images."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from apfgan.files import read_arrays, write_arrays
from apfgan.runs import Run
from reports.board import read_board
from reports.by_class import ClassTable, class_table, points, signed_points
from reports.comparing import FEW_IMAGES, compare_classes
from reports.exhibition import choose_cast
from reports.observations import read_observations
from reports.page import write_report
from tests.browser import open_page
from tests.report_runs import IMAGES, NOW, STEMS, build_run, landscape

NAMES = ("5", "9", "13", "16", "avg_13_16")


def judge(run: Run) -> None:
    """Let the judge take classes for one another, each candidate in its own way: most where it asks for tree, the more the later the image."""
    for measurement in run.ledger.read():
        random = np.random.default_rng(sum(map(ord, measurement.candidate)))
        skill = {"5": 0.35, "9": 0.6, "13": 0.75, "16": 0.8}.get(measurement.candidate, 0.85)
        image = 0
        for path in sorted((run.features / measurement.observations).glob("[0-9]*.npz")):
            arrays = dict(read_arrays(path))
            for confusion in arrays["confusion"]:
                given = np.bincount(landscape(image).ravel(), minlength=len(confusion))
                right = random.binomial(given, np.clip(skill + random.normal(0, 0.05, len(given)), 0, 1))
                shares = random.dirichlet(np.full(6, 0.4), len(given))
                for index in np.flatnonzero(given):
                    confusion[index] = 0
                    confusion[index, [0, 1, 2, 5, 12, 20]] = random.multinomial(given[index] - right[index], shares[index])
                    confusion[index, index] += right[index]
                image += 1
            write_arrays(path, arrays)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    built = build_run(tmp_path_factory.mktemp("classes") / "run", NAMES)
    judge(built)
    write_report(built, now=NOW)
    return built


@pytest.fixture(scope="module")
def accuracies(run: Run) -> dict[tuple[str, str], tuple[float, float]]:
    """Accuracy and IoU by candidate and class, from the CSV."""
    with (run.report / "per_class.csv").open() as file:
        return {(row["candidate"], row["class"]): (float(row["accuracy"]), float(row["iou"])) for row in csv.DictReader(file) if row["accuracy"]}


def confusion_of(run: Run, name: str) -> dict[str, np.ndarray]:
    """A candidate's confusion of each image."""
    measurement = next(each for each in run.ledger.read() if each.candidate == name)
    parts = [read_arrays(path) for path in sorted((run.features / measurement.observations).glob("[0-9]*.npz"))]
    return {str(stem): confusion for part in parts for stem, confusion in zip(part["stem"], part["confusion"], strict=True)}


def table_of(run: Run, a: str, b: str) -> ClassTable:
    """What Python makes of a pair."""
    board = read_board(run)
    cast = choose_cast(board)
    observed = {row.name: found for row in board.rows if (found := read_observations(run, row.measurement))}
    comparison = compare_classes(cast, observed, run.config.data.label_classes)
    assert comparison is not None
    names = [row.name for row in cast]
    return class_table(comparison, names.index(a), names.index(b))


def shown_rows(tab) -> list[list[str]]:
    return tab.locator("#class-table tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.replace(/\\s+/g, ' ').trim()))"
    )


def test_it_is_the_same_with_and_without_the_script(run: Run, browser) -> None:
    """Python fills the cells of the first pair, the script those of all: by one rule."""
    texts = []
    for scripts in (True, False):
        tab, _, complaints = open_page(browser, run.report / "index.html", java_script_enabled=scripts)
        assert complaints == []
        forests = tab.locator("#class-table .forest svg").evaluate_all("all => all.map(each => each.outerHTML)")
        cells = tab.locator("#confusion td").evaluate_all("all => all.map(each => [each.textContent.trim(), each.dataset.heat])")
        texts.append((shown_rows(tab), forests, cells, re.sub(r"\s+", " ", tab.locator("#classes-summary").text_content())))
        assert tab.locator("#classes button:visible, #classes select:visible").count() == 0 or scripts
        tab.context.close()
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("a", "b"), [("5", "16"), ("16", "5"), ("13", "avg_13_16"), ("9", "9")])
def test_every_pair_shows_the_numbers_of_the_csv_and_pythons_intervals(run: Run, browser, accuracies, a: str, b: str) -> None:
    tab, _, complaints = open_page(browser, run.report / "index.html", state=f"classes&a={a}&b={b}")
    table = table_of(run, a, b)
    shown = shown_rows(tab)
    assert len(shown) == len(table.rows) == 5
    for cells, row in zip(shown, table.rows, strict=True):
        name, accuracy_a, accuracy_b, gap, _, iou_a, iou_b, images, share = cells
        assert name == row.name
        assert [float(cell) for cell in (accuracy_a, iou_a)] == pytest.approx([100 * value for value in accuracies[a, name]], abs=0.06)
        assert [float(cell) for cell in (accuracy_b, iou_b)] == pytest.approx([100 * value for value in accuracies[b, name]], abs=0.06)
        assert row.gap is not None and row.half is not None
        words = [signed_points(row.gap), "±", points(row.half), *([row.ahead.upper(), "clearly", "ahead"] if row.ahead else [])]
        assert gap.split() == words
        assert share == f"{points(row.share)} %" and images.split()[0] == str(row.images)
    summary = tab.locator("#classes-summary [data-count]").evaluate_all("all => all.map(each => [each.dataset.count, Number(each.textContent)])")
    assert dict(summary) == {ahead: table.count(ahead) for ahead in ("a", "b", "")}
    assert tab.locator("#class-table [data-axis]").first.text_content() == str(table.axis)
    assert tab.input_value("#classes-a") == a and complaints == []
    tab.context.close()


def test_a_clear_lead_has_its_letter(run: Run) -> None:
    """Lest the comparison above be one of blanks."""
    assert table_of(run, "16", "5").count("a") >= 2 and table_of(run, "5", "16").count("b") >= 2
    assert table_of(run, "9", "9").count("a") == table_of(run, "9", "9").count("b") == 0


def test_choosing_another_candidate_keeps_the_order_that_was_asked_for(run: Run, browser) -> None:
    tab, _, complaints = open_page(browser, run.report / "index.html")
    head = tab.locator("#class-table thead th").nth(3)
    values = "cells => cells.map(cell => Number(cell.dataset.value))"
    gaps = tab.locator("#class-table tbody td:nth-child(4)")
    head.locator("button").click()
    first = gaps.evaluate_all(values)
    assert first == sorted(first, reverse=True) and head.get_attribute("aria-sort") == "descending"
    tab.select_option("#classes-b", "5")
    second = gaps.evaluate_all(values)
    assert second == sorted(second, reverse=True) and second != first
    assert tab.evaluate("state.get('b')") == "5"
    assert complaints == []
    tab.context.close()


def test_classes_of_few_images_are_grey_and_say_so(run: Run, browser) -> None:
    tab, _, _ = open_page(browser, run.report / "index.html")
    images = {name: sum((landscape(index) == place).any() for index in range(IMAGES)) for place, name in ((0, "mountain"), (1, "sky"), (5, "tree"))}
    assert images["sky"] >= FEW_IMAGES > images["mountain"]
    for name, count in images.items():
        row = tab.locator("#class-table tbody tr", has=tab.locator("th", has_text=name))
        few = count < FEW_IMAGES
        assert ("few" in (row.get_attribute("class") or "")) == few == ("too few to judge by" in row.text_content())
    heads = (tab.locator(f"#class-table tbody tr{kind} th").first for kind in (".few", ":not(.few)"))
    muted, ink = (head.evaluate("each => getComputedStyle(each).color") for head in heads)
    assert muted != ink
    tab.context.close()


@pytest.mark.parametrize("mode", ["a", "b"])
def test_a_mistake_leads_to_the_image_in_which_it_is_largest(run: Run, browser, mode: str) -> None:
    tab, _, complaints = open_page(browser, run.report / "index.html", state="classes&a=9&b=16", reduced_motion="reduce")
    if mode == "b":
        tab.click("[data-confusion=b]")
    names = run.config.data.classes
    confusion = confusion_of(run, "9" if mode == "a" else "16")
    given, found = names.index("sky"), names.index("tree")
    total = sum(each.astype(int) for each in confusion.values())
    cell = tab.locator('#confusion button[aria-label^="sky taken for tree"]')
    assert cell.text_content() == str(round(100 * total[given, found] / total[given].sum()))
    cell.click()
    panel = tab.evaluate("data.panel.map(({ stem }) => stem)")
    assert set(panel) <= set(STEMS)
    shares = {stem: confusion[stem][given, found] / confusion[stem].sum() for stem in panel}
    expected = sorted((stem for stem in panel if shares[stem] >= 0.005), key=lambda stem: -shares[stem])[:6]
    listed = tab.locator("#examples li").all_text_contents()
    assert [text.split(":")[0] for text in listed] == expected
    assert [float(re.search(r"([\d.]+) %", text)[1]) for text in listed] == pytest.approx([100 * shares[stem] for stem in expected], abs=0.11)
    tab.locator("#examples button").first.click()
    assert tab.evaluate("['image', 'view', 'wrong', 'class'].map(state.get)") == [expected[0], "side", "1", "sky"]
    assert abs(tab.evaluate("byId('images').getBoundingClientRect().top")) < 100
    assert complaints == []
    tab.context.close()


def test_the_difference_of_two_matrices_is_signed(run: Run, browser) -> None:
    tab, _, complaints = open_page(browser, run.report / "index.html", state="classes&a=5&b=16&confusion=difference")
    names = run.config.data.classes
    given = names.index("sky")
    shares = []
    for name in ("5", "16"):
        row = sum(each.astype(int) for each in confusion_of(run, name).values())[given]
        shares.append(row / row.sum())
    heads = tab.locator("#confusion thead th").all_text_contents()
    row = tab.locator("#confusion tbody tr", has=tab.locator("th", has_text="sky")).locator("td")
    for head, text, side in zip(heads, row.all_text_contents(), row.evaluate_all("all => all.map(each => each.dataset.side)"), strict=True):
        if (name := head.strip()) not in names:
            continue
        gap = shares[0][names.index(name)] - shares[1][names.index(name)]
        assert float(text.strip().replace("−", "-") or 0) == pytest.approx(100 * gap, abs=1.01)  # what is below half a percent counts as none
        assert abs(gap) < 0.01 or side == ("a" if gap > 0 else "b")
    assert complaints == []
    tab.context.close()


def test_arrows_move_between_the_cells(run: Run, browser) -> None:
    tab, _, complaints = open_page(browser, run.report / "index.html", state="classes&a=9&b=16")
    assert tab.locator('#confusion button[tabindex="0"]').count() == 1
    tab.locator('#confusion button[tabindex="0"]').focus()
    place = "[document.activeElement.closest('tr').rowIndex, document.activeElement.closest('td').cellIndex]"
    row, column = tab.evaluate(place)
    image = tab.evaluate("state.get('image')")
    tab.keyboard.press("ArrowDown")
    below = tab.evaluate(place)
    assert below[0] > row and below[1] == column
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate(place) == [row, column] and tab.evaluate("state.get('image')") == image
    tab.keyboard.press("Enter")
    assert tab.locator("#examples h4").text_content() != "" and tab.locator('#confusion button[tabindex="0"]').count() == 1
    assert complaints == []
    tab.context.close()


def test_one_candidate_alone_has_no_other_side(tmp_path: Path, browser) -> None:
    built = build_run(tmp_path / "run", ["9"])
    judge(built)
    tab, _, complaints = open_page(browser, write_report(built, now=NOW))
    assert [len(cells) for cells in shown_rows(tab)] == [5] * 5
    assert tab.locator("#classes .letter").count() == tab.locator("#classes select").count() == 0
    tab.locator("#confusion button").first.click()
    assert tab.locator("#examples h4").text_content() != "" and complaints == []
    tab.context.close()


def test_without_observations_there_is_no_section(tmp_path: Path) -> None:
    built = build_run(tmp_path / "run", ["9", "16"])
    for path in built.features.rglob("*.npz"):
        path.unlink()
    assert 'id="classes"' not in write_report(built, now=NOW).read_text()
