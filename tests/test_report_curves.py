"""The report's figures in the page: their tables against the run, and the choice of an epoch in a real browser."""

import re
from pathlib import Path

import numpy as np
import pytest

from apfgan.picks import FinalistRecord
from apfgan.records import Estimate
from apfgan.runs import Run
from reports.page import write_report
from tests.browser import open_page, violations
from tests.report_runs import EVERYTHING, NOW, TRAINED, build_run, pick

FRESH = (1001, 1002, 1003)


def finalist(name: str, scores: tuple[float, ...], *, gain: Estimate | None, confirmed: bool | None) -> FinalistRecord:
    return FinalistRecord(
        candidate=name,
        expected_score=Estimate(float(np.mean(scores)), 0.0021),
        scores=scores,
        deviation=float(np.std(scores, ddof=1)),
        probability_best=0.8,
        rank_interval=(1, 2),
        gain=gain,
        gain_by_chance=None if gain is None else 0.01,
        gain_confirmed=confirmed,
    )


def pick_a_merge(run: Run) -> None:
    """Let a merge be picked of two finalists."""
    finalists = (
        finalist("avg_13_16", (0.41234, 0.41251, 0.41219), gain=Estimate(0.0123, 0.002), confirmed=True),
        finalist("13", (0.40012, 0.40025, 0.39987), gain=None, confirmed=None),
    )
    pick(run, "avg_13_16", expected_score=finalists[0].expected_score, clear_winner=True, best_single="13", finalists=finalists, fresh_seeds=FRESH)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    built = build_run(tmp_path_factory.mktemp("runs") / "demo", [*EVERYTHING, "14@3", "14@8"])
    pick_a_merge(built)
    write_report(built, now=NOW)
    return built


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return (run.report / "index.html").read_text()


@pytest.fixture
def tab(run: Run, browser):
    """The report at its curves; it must have had nothing to complain of."""
    opened, _, complaints = open_page(browser, run.report / "index.html", state="curves", viewport={"width": 1400, "height": 900})
    yield opened
    assert complaints == []
    opened.context.close()


def cells(html: str, table: str) -> list[list[str]]:
    """Texts of a table's body, without the folded spaces."""
    body = re.search(rf'<table[^>]*id="{table}".*?<tbody>(.*?)</tbody>', html, re.DOTALL)
    assert body
    rows = re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL)] for row in rows]


def exact(html: str, table: str, row: int) -> list[str]:
    body = re.search(rf'<table[^>]*id="{table}".*?<tbody>(.*?)</tbody>', html, re.DOTALL)
    assert body
    return re.findall(r'data-value="([^"]*)"', re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)[row])


def test_numbers_behind_the_curves_are_those_of_the_run(run: Run, page: str) -> None:
    found = {each.candidate: each for each in run.ledger.read()}
    rows = cells(page, "curves-table")
    assert [row[0] for row in rows] == TRAINED
    for index, epoch in enumerate(TRAINED):
        seeds = [found[name] for name in ((epoch, "14@3", "14@8") if epoch == "14" else (epoch,))]
        metrics = [[each.composite for each in seeds], *([each.metrics[name] for each in seeds] for name in ("mask_accuracy", "fid", "aesthetic"))]
        assert [float(value) for value in exact(page, "curves-table", index)] == pytest.approx(
            [np.mean([each.value for each in metric]) for metric in metrics]
        )
        assert rows[index][1] == str(len(seeds))
        assert rows[index][2] == f"{metrics[0][0].value:.4f} ± 0.0055" or epoch == "14"


def test_seeds_stand_beside_luck(run: Run, page: str) -> None:
    values = {each.candidate: each for each in run.ledger.read() if each.candidate.partition("@")[0] == "14"}
    scores, distances = (np.array([get(each) for each in values.values()]) for get in (lambda e: e.composite.value, lambda e: e.metrics["fid"].value))
    texts = [row[0] for row in cells(page, "seeds-table")]
    assert texts == ["avg_13_16", "14"]
    number = [float(value) for value in exact(page, "seeds-table", 1)[3:]]
    factor = 3 / (2 * np.sqrt(np.pi))  # mean of the largest of three normal draws
    expected = []
    for each, best in ((scores, scores.max()), (distances, distances.min())):
        deviation = each.std(ddof=1)
        expected += [each.mean(), deviation, abs(best - each.mean()), factor * deviation]
    assert number == pytest.approx(expected)
    assert "Expected gain on new label maps: <strong>0</strong>" in page
    assert re.search(r"The best of 10 gains [\d.]+ FID by luck; observed: [\d.]+\.", page)


def test_finalists_are_told_with_every_fresh_seed(page: str) -> None:
    (first, second) = cells(page, "finalists")
    assert first == ["avg_13_16", "0.4123 ± 0.0041", "0.41234", "0.41251", "0.41219", "0.00016", "0.80", "+0.0123 ± 0.0039", "✓ confirmed"]
    assert second[:6] == ["13", "0.4001 ± 0.0041", "0.40012", "0.40025", "0.39987", "0.00019"]
    assert second[7:] == ["–", "the best single checkpoint"]


def test_sections_without_anything_to_show_are_absent_or_say_what_would_fill_them(tmp_path: Path) -> None:
    few = write_report(build_run(tmp_path / "few", ["5", "6"], pictures=False), now=NOW).read_text()
    assert all(f'<section id="{name}"' in few for name in ("curves", "tradeoffs"))
    assert not any(f'<section id="{name}"' in few for name in ("merges", "seeds")) and 'id="finalists"' not in few
    one = build_run(tmp_path / "one", ["5"], pictures=False)
    html = write_report(one, now=NOW).read_text()
    assert "Two scored epochs make a curve" in html and '<details id="training" open>' in html
    one.training_log.unlink()
    assert '<section id="curves"' not in write_report(one, now=NOW).read_text()


def test_every_figure_is_told_in_words(page: str) -> None:
    told = re.findall(r'<div role="img" aria-label="([^"]+)"><svg class="plot"', page)
    assert len(told) == page.count('<svg class="plot"') == 4 + 4 + 1 + 1 + 1
    assert re.match(r"score: 0\.\d+ at epoch 5, 0\.\d+ at epoch 16, best \(highest\)", told[0])


def column(epoch: int) -> str:
    return f'#curves-epochs rect[data-epoch="{epoch}"]'


def marks(tab, role: str) -> list[float | None]:
    """Where a candidate is marked in each curve, in the page's pixels from the left of the panel; None where it is not."""
    return tab.locator(f"#curves-plots .epoch-mark.{role}").evaluate_all(
        """marks => marks.map(mark => mark.getBoundingClientRect().width === 0 && mark.getBoundingClientRect().height === 0 ? null
            : mark.querySelector("line").getBoundingClientRect().left - mark.ownerSVGElement.getBoundingClientRect().left)"""
    )


def middle(tab, epoch: int) -> float:
    """Where an epoch lies in the first curve."""
    return tab.locator(column(epoch)).evaluate("each => each.dataset.middle * each.ownerSVGElement.getBoundingClientRect().width / 358")


def chosen(tab) -> str | None:
    return tab.evaluate("state.get('b') ?? null")


def test_a_click_on_a_curve_sets_b_everywhere(tab) -> None:
    assert marks(tab, "a") == [None] * 4  # a merge
    assert marks(tab, "b") == pytest.approx([middle(tab, 16)] * 4, abs=1)  # the last epoch, as the page opens
    panels = tab.locator("#curves-plots .overlay")
    for panel, epoch in ((0, 9), (2, 12), (3, 6)):
        box = panels.nth(panel).bounding_box()
        panels.nth(panel).click(position={"x": middle(tab, epoch) + 3, "y": box["height"] / 2})
        assert chosen(tab) == str(epoch)
        assert marks(tab, "b") == pytest.approx([middle(tab, epoch)] * 4, abs=1)
        assert tab.locator("#curves-epochs [aria-checked=true]").evaluate_all("found => found.map(each => each.dataset.epoch)") == [str(epoch)]
        assert tab.locator("#stage-b").input_value() in (str(epoch), tab.locator("#stage-b option:checked").get_attribute("value"))
    assert tab.locator("#epochs-text").inner_text() == "6"
    tab.wait_for_timeout(450)  # browsers do not like to be told of an address too often
    assert tab.evaluate("location.hash") == "#curves&b=6"


def test_what_is_chosen_elsewhere_moves_the_marks(tab) -> None:
    tab.locator("#epochs-range").evaluate("range => { range.value = 2; range.dispatchEvent(new Event('input')); }")
    assert chosen(tab) == "7" and marks(tab, "b") == pytest.approx([middle(tab, 7)] * 4, abs=1)
    tab.evaluate("const name = data.cast.find(each => each.epoch === 14).name; state.set({ a: name, b: name })")
    assert tab.locator("#curves-readout").inner_text().startswith("Epoch 14: score ")
    assert marks(tab, "a") == marks(tab, "b") == pytest.approx([middle(tab, 14)] * 4, abs=1)
    letters = tab.locator("#curves-plots .epoch-mark text").evaluate_all("texts => texts.slice(0, 2).map(each => each.getBoundingClientRect().left)")
    assert abs(letters[0] - letters[1]) > 10  # A and B stand beside each other
    tab.evaluate("state.set({ b: 'avg_15_16' })")
    assert marks(tab, "b") == [None] * 4 and tab.locator("#curves-readout").inner_text() == "B is avg_15_16, no single epoch"


def test_pointer_reads_an_epoch_without_choosing_it(run: Run, tab) -> None:
    value = next(each for each in run.ledger.read() if each.candidate == "8").composite.value
    panel = tab.locator("#curves-plots .overlay").nth(1)
    panel.hover(position={"x": middle(tab, 8), "y": 60})
    assert tab.locator("#curves-readout").inner_text().startswith(f"Epoch 8: score {value:.4f} ± 0.0055, mask accuracy ")
    assert tab.locator("#curves-plots .epoch-cursor").evaluate_all("all => all.map(each => each.getAttribute('display'))") == ["inline"] * 4
    assert chosen(tab) is None
    tab.mouse.move(5, 5)
    assert tab.locator("#curves-readout").inner_text().startswith("Epoch 16: ")


def test_keyboard_walks_the_epochs_with_one_tab_stop(tab) -> None:
    assert tab.locator("#curves-epochs [tabindex='0']").count() == 1
    tab.evaluate("document.querySelector('#curves-epochs [tabindex=\"0\"]').closest('figure').closest('section').querySelector('h2').tabIndex = -1")
    tab.evaluate("document.querySelector('#curves h2').focus()")
    tab.keyboard.press("Tab")
    focused = "document.activeElement.dataset.epoch"
    assert tab.evaluate(focused) == "16"
    for key, epoch in (("ArrowLeft", 15), ("ArrowLeft", 14), ("ArrowRight", 15), ("Home", 5), ("ArrowLeft", 5), ("End", 16), ("ArrowRight", 16)):
        tab.keyboard.press(key)
        assert tab.evaluate(focused) == str(epoch)
        assert chosen(tab).partition("@")[0] == str(epoch)  # by the seed that stands for it among the pictures
        assert marks(tab, "b") == pytest.approx([middle(tab, epoch)] * 4, abs=1)
        assert tab.locator("#curves-epochs [tabindex='0']").get_attribute("data-epoch") == str(epoch)
    outline = tab.locator(column(16)).evaluate("each => getComputedStyle(each).stroke")
    assert outline not in ("none", "transparent")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('#curves-epochs')") is None
    tab.keyboard.press("Shift+Tab")
    assert tab.evaluate(focused) == "16"


def test_rings_are_around_a_and_b_in_the_trade_off(tab) -> None:
    tab.evaluate("state.set({ a: 'avg_13_16', b: '13' })")
    for role, name in (("a", "avg_13_16"), ("b", "13")):
        centres = tab.evaluate(
            """selectors => selectors.map(selector => { const box = document.querySelector(selector).getBoundingClientRect();
                return [box.left + box.width / 2, box.top + box.height / 2]; })""",
            [f".ring.{role} circle", f'.spot[data-candidate="{name}"]'],
        )
        assert centres[0] == pytest.approx(centres[1], abs=0.5)
    tab.evaluate("state.set({ b: '0' })")  # far behind, and left out
    assert tab.locator(".ring.b").get_attribute("display") == "none"


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_axes_of_the_multiples_are_aligned_and_text_is_the_pages_size(run: Run, browser, width: int, scheme: str) -> None:
    tab, _, _ = open_page(browser, run.report / "index.html", viewport={"width": width, "height": 900}, color_scheme=scheme)
    panels = tab.locator("#curves-plots .plot").evaluate_all("all => all.map(each => each.getBoundingClientRect().toJSON())")
    columns = {panel["left"] for panel in panels}
    assert len(columns) == (2 if width == 1400 else 1) and len({(panel["width"], panel["height"]) for panel in panels}) == 1
    assert 0.97 < panels[0]["width"] / 358 < 1.08
    for section in ("curves", "tradeoffs", "merges", "seeds"):
        sizes = tab.locator(f"#{section} .plot:visible text").evaluate_all(
            "texts => texts.map(each => parseFloat(getComputedStyle(each).fontSize) * each.getScreenCTM().a / Math.hypot(1, 0))"
        )
        assert sizes and min(sizes) > 8 and max(sizes) < 15
        cut = tab.locator(f"#{section} .plot:visible").evaluate_all(
            """plots => plots.flatMap(plot => { const whole = plot.getBoundingClientRect();
                return [...plot.querySelectorAll("text")].filter(each => { const box = each.getBoundingClientRect();
                    return box.left < whole.left - 1 || box.right > whole.right + 1 || box.top < whole.top - 1 || box.bottom > whole.bottom + 1; })
                    .map(each => each.textContent); })"""
        )
        assert cut == []
    tab.context.close()


def test_figures_keep_the_rules_of_accessibility(run: Run, browser) -> None:
    tab, _, _ = open_page(browser, run.report / "index.html", state="curves", bypass_csp=True)
    others = "main > section:not(#verdict, #curves, #tradeoffs, #merges, #seeds)"
    tab.evaluate("others => { for (const each of document.querySelectorAll(others)) if (!each.querySelector('h1')) each.remove(); }", others)
    tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found = violations(tab)
    assert found == [], found
    tab.context.close()
