"""The report's page in a real browser: what holds for all of it (requests, policy, accessibility, print, address), and its leaderboard."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from apfgan.config import PRESETS, Config, DataConfig
from apfgan.files import append_line, hash_value, write_json, write_text
from apfgan.labels import Classes
from apfgan.ranking import protocol_of
from apfgan.records import Anchors, Estimate
from apfgan.runs import Run
from reports.board import read_board
from reports.page import write_report
from tests.browser import open_page, violations
from tests.report_runs import EVERYTHING, NOW, PROTOCOL, build_run, landscape, measure, photograph, pick, save_observations, save_picture

HOSTILE = (
    "</script><script>alert(1)</script>",
    'x"><img src=x onerror=alert(2)>',
    "=cmd|' /C calc'!A1",
    "{{ 7 * 7 }}",
    "$x_{",
    r"100 % & #1 ~ a\b ^ `*|_` ±<é>",
)
"""Names of candidates and classes that are only text, whatever reads them."""
STEM = 'x"><img src=x onerror=alert(3)>'


def protocol_with_ids() -> dict:
    return PROTOCOL | {"label_maps": {"key": "abcdef0123456789", "count": 24}, "reference": {"key": "9876543210fedcba", "photos": 96}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Epochs, merges and ten seeds of one merge, beside real photos."""
    built = build_run(tmp_path_factory.mktemp("runs") / "demo")
    protocol = protocol_of(built.ledger.read()[-1])
    metrics = {"mask_accuracy": Estimate(0.81, 0.004), "aesthetic": Estimate(5.2, 0.02), "fid": Estimate(11.5, 0.2)}
    anchors = Anchors(metrics=metrics, composite=Estimate(0.57, 0.003), photos=24, origin="those of the label maps")
    write_json(built.anchors_path(protocol), asdict(anchors))
    write_report(built, now=NOW)
    return built


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every name that a user may give is an attack."""
    classes = (*HOSTILE, *Classes().names[len(HOSTILE) :])
    config = Config(data=DataConfig(classes=classes, width=128, height=96, load_width=144), model=PRESETS["tiny"].model, train=PRESETS["tiny"].train)
    run = Run.create(tmp_path_factory.mktemp("hostile") / "a <b> & 'c'", config)
    for name in HOSTILE:
        measurement = measure("5", candidate=name, key=hash_value(name), observations=hash_value(name), protocol={"judge": {"name": HOSTILE[1]}})
        run.ledger.append(measurement)
        save_observations(run, measurement, classes=len(classes), stems=[STEM])
        save_picture(run.samples / measurement.observations / f"{STEM}.jpg", photograph(landscape(0), seed=0, blur=1))
    save_picture(run.panel / f"{STEM}.png", Image.fromarray(Classes().paint(landscape(0))))
    entry = {"time": HOSTILE[0], "arguments": list(HOSTILE), "versions": {HOSTILE[1]: "1"}, "commit": HOSTILE[1]}
    append_line(run.path / "history.jsonl", json.dumps(entry))
    write_text(run.training_log, f'epoch,phase,level,seconds,images,"{HOSTILE[0]}",$x_{{\n1,a,0,1,1,1,1\n2,a,0,1,1,2,3\n')
    write_report(run, now=NOW)
    return run


@pytest.fixture(scope="module")
def states(run: Run, hostile: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of runs in all states, by name."""
    folder = tmp_path_factory.mktemp("states")
    pages = {"whole": run.report / "index.html", "hostile": hostile.report / "index.html"}
    pages["nothing measured"] = write_report(build_run(folder / "nothing", [], pictures=False), now=NOW)
    pages["one candidate"] = write_report(build_run(folder / "one", ["8"], photos=False), now=NOW)
    pages["partial"] = write_report(build_run(folder / "partial", ["5", "6", "avg_5_6"], pictures=False), now=NOW)
    embedded = Run.create(folder / "embedded", PRESETS["tiny"])
    for epoch, distance in (("5", 3.0), ("6", 120.0)):
        metrics = {"mask_accuracy": Estimate(0.5, 0.01), "fd-embedded": Estimate(distance, 0.1)}
        embedded.ledger.append(measure(epoch, metrics=metrics))
    pages["embedded"] = write_report(embedded, now=NOW)
    return pages


@pytest.fixture
def show(browser) -> Iterator[Callable]:
    """Open a page at a state of the address; what the page complains of fails the test."""
    opened = []

    def open_it(page: Path, state: str = "", **options):
        tab, requests, complaints = open_page(browser, page, state=state, **{"viewport": {"width": 1400, "height": 900}} | options)
        opened.append((tab, page, requests, complaints))
        return tab

    yield open_it
    for tab, page, requests, complaints in opened:
        assert complaints == []
        assert set(requests) <= {page.as_uri()}
        tab.context.close()


def page_of(run: Run) -> Path:
    return run.report / "index.html"


def read_scores(run: Run) -> pd.DataFrame:
    """The ranked lines of scores.csv, best first, every cell as text."""
    table = pd.read_csv(run.report / "scores.csv", dtype=str, keep_default_na=False)
    return table[table["rank"] != ""].sort_values("rank", key=lambda ranks: ranks.astype(int)).reset_index(drop=True)


def settled(tab) -> None:
    """Wait until the address holds what was chosen."""
    tab.wait_for_timeout(450)


def shown(tab) -> list[str]:
    """Names of the rows of the leaderboard that are seen, from the top."""
    return tab.locator("#board tbody tr:visible").evaluate_all("rows => rows.map(row => row.dataset.candidate)")


def values(tab, column: str) -> list[str]:
    """The exact values behind a column of the rows that are seen."""
    return tab.evaluate(
        """column => {
            const head = document.querySelector(`#board thead th[data-key="${column}"]`);
            return [...document.querySelectorAll("#board tbody tr:not([hidden])")].map(row => row.cells[head.cellIndex].dataset.value);
        }""",
        column,
    )


def sort_by(tab, column: str) -> None:
    tab.locator(f'#board thead th[data-key="{column}"] button').click()


# The whole page.


@pytest.mark.parametrize("name", ["whole", "hostile", "nothing measured", "one candidate", "partial", "embedded"])
def test_it_asks_for_nothing_and_complains_of_nothing(show, states: dict[str, Path], name: str) -> None:
    tab = show(states[name])
    for summary in tab.locator("summary").all():
        if summary.is_visible():
            summary.click()
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    tab.wait_for_timeout(100)


def test_its_policy_lets_nothing_else_run_or_load(browser, run: Run) -> None:
    tab, _, complaints = open_page(browser, page_of(run))
    refused, ran = tab.evaluate(
        """async () => {
            const refused = [];
            addEventListener("securitypolicyviolation", event => refused.push(event.effectiveDirective));
            const add = (name, attributes, text = "") => {
                const element = document.createElement(name);
                for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
                element.textContent = text;
                document.body.append(element);
                return element;
            };
            add("script", {}, "window.ran = 'script'");
            add("button", { onclick: "window.ran = 'handler'" }).click();
            add("p", { style: "color: red" });
            add("style", {}, "body { color: red }");
            add("img", { src: "https://example.org/x.png" });
            add("iframe", { src: "https://example.org/" });
            await fetch("https://example.org/").catch(() => {});
            await new Promise(done => setTimeout(done, 200));
            return [refused, window.ran ?? null];
        }"""
    )
    assert ran is None
    expected = {"script-src-elem", "script-src-attr", "style-src-attr", "style-src-elem", "img-src", "frame-src", "connect-src"}
    assert expected <= set(refused) and len(complaints) >= len(expected)
    tab.context.close()


def test_hostile_names_are_only_text(hostile: Run) -> None:
    html = page_of(hostile).read_text()
    # One of data, which the browser does not run, and one of ours.
    assert html.count("<script") == html.count("</script") == 2
    assert "<img src=x" not in html and "&lt;img src=x" in html
    markup = re.sub(r"<script.*?</script>", "", html.partition("<body>")[2], flags=re.DOTALL)
    assert not re.search(r"\sstyle=|\son\w+=\"|javascript:", markup)
    assert "{{ 7 * 7 }}" in html
    assert "'=cmd" in (hostile.report / "scores.csv").read_text()


LOOKS = {
    "whole": [(390, "light"), (390, "dark"), (1400, "light"), (1400, "dark")],
    "hostile": [(390, "dark")],
    "nothing measured": [(1400, "light")],
    "one candidate": [(390, "light")],
    "partial": [(1400, "dark")],
    "embedded": [(390, "light")],
}
"""Widths and schemes in which a page is held to the rules."""


@pytest.mark.parametrize(("name", "width", "scheme"), [(name, *look) for name, looks in LOOKS.items() for look in looks])
def test_it_breaks_no_rule_of_accessibility(browser, states: dict[str, Path], name: str, width: int, scheme: str) -> None:
    tab, _, _ = open_page(browser, states[name], viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    tab.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    found = violations(tab)
    assert found == [], f"{len(found)} violations"
    tab.context.close()


def test_chosen_states_break_no_rule_either(browser, run: Run) -> None:
    state = "leaderboard&seeds=1&filter=avg&sort=-fid&aesthetic=0.9&wrong=1&class=sky&view=side"
    tab, _, _ = open_page(browser, page_of(run), state=state, viewport={"width": 1400, "height": 900}, bypass_csp=True)
    assert violations(tab) == []
    tab.context.close()


@pytest.mark.parametrize("name", ["whole", "hostile", "nothing measured", "embedded"])
def test_it_never_scrolls_sideways(show, states: dict[str, Path], name: str) -> None:
    """700 pixels are a window of 1400 at a zoom of 200 %."""
    tab = show(states[name], device_scale_factor=2)
    tab.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    for width in (1400, 1180, 700, 390):
        tab.set_viewport_size({"width": width, "height": 844})
        assert tab.evaluate("document.documentElement.scrollWidth") == width


def test_the_tab_key_walks_through_all_of_it(show, run: Run) -> None:
    """Whatever can be pressed gets the focus once, in the order of the page, and shows that it has it."""
    tab = show(page_of(run))
    expected = tab.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
            .filter(each => each.checkVisibility({ visibilityProperty: true }) && !each.disabled && each.tabIndex >= 0).length"""
    )
    walked = tab.evaluate("window.seen = []")
    order = []
    for _ in range(expected + 5):
        tab.keyboard.press("Tab")
        found = tab.evaluate(
            """() => {
                const here = document.activeElement;
                if (here === document.body) return null;
                window.seen.push(here);
                const style = getComputedStyle(here);
                const before = window.seen.at(-2);
                return {
                    marked: (here instanceof SVGElement ? style.stroke : style.outlineStyle) !== "none",
                    forwards: !before || Boolean(before.compareDocumentPosition(here) & Node.DOCUMENT_POSITION_FOLLOWING),
                    what: here.outerHTML.slice(0, 120),
                };
            }"""
        )
        if found is None:
            break
        order.append(found)
    assert walked == [] and len(order) == expected
    assert [each["what"] for each in order if not each["marked"]] == []
    assert [each["what"] for each in order if not each["forwards"]] == []


def test_theme_is_the_systems_until_another_is_chosen(show, run: Run) -> None:
    tab = show(page_of(run), color_scheme="dark")
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    dark = tab.evaluate(paper)
    tab.click("#theme")
    light = tab.evaluate(paper)
    assert tab.locator("#theme").get_attribute("aria-label") == "theme: light" and light != dark
    tab.reload()
    assert tab.evaluate(paper) == light
    tab.click("#theme")
    assert tab.evaluate(paper) == dark and tab.locator("html").get_attribute("data-theme") == "dark"
    tab.click("#theme")
    assert tab.locator("html").get_attribute("data-theme") is None


def test_the_verdict_is_printed_on_a_page_of_its_own(show, run: Run) -> None:
    tab = show(page_of(run), color_scheme="dark")
    paper = tab.pdf(format="A4", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) > 3
    width, height = 718, 1040  # A4 within Chromium's margins, in CSS pixels
    tab.set_viewport_size({"width": width, "height": height})
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.getElementById('verdict')).breakAfter") == "page"
    assert tab.evaluate("document.getElementById('verdict').getBoundingClientRect().bottom") < height
    assert tab.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.locator(".top:visible, .quiet:visible, #board button:visible:not(thead *), input:visible").count() == 0


def test_without_scripts_everything_is_there_to_read(show, run: Run) -> None:
    tab = show(page_of(run), java_script_enabled=False)
    assert tab.locator("#board tbody tr:visible").count() == len(EVERYTHING)
    assert tab.locator("#board tr.held-first").count() == tab.locator("#board tr.held-last").count() >= 1
    assert tab.locator("#images img:visible").count() > 0
    assert tab.locator("button:visible, input:visible, select:visible").count() == 0


def test_navigation_names_the_sections_there_are_and_where_one_reads(show, states: dict[str, Path]) -> None:
    tab = show(states["whole"], reduced_motion="reduce")
    links = tab.locator(".top nav a").evaluate_all("links => links.map(link => link.hash.slice(1))")
    assert links == tab.locator("main > section[id]").evaluate_all("sections => sections.map(section => section.id)")
    for name in ("leaderboard", "curves", "merges"):
        tab.locator(f'.top nav a[href="#{name}"]').click()
        tab.wait_for_timeout(150)
        assert tab.locator(".top nav [aria-current]").evaluate_all("links => links.map(link => link.hash.slice(1))") == [name]
    tab.evaluate("scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' })")
    tab.wait_for_timeout(200)
    assert tab.locator(".top nav [aria-current]").get_attribute("href") == f"#{links[-1]}"
    few = show(states["nothing measured"])
    assert few.locator('.top nav a[href="#leaderboard"]').count() == 0 and few.locator('.top nav a[href="#verdict"]').count() == 1


def test_navigation_can_be_reached_on_a_telephone(show, run: Run) -> None:
    tab = show(page_of(run), viewport={"width": 390, "height": 844})
    last = tab.locator(".top nav a").last
    last.focus()
    box = last.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 24


# What the head says.


def test_the_head_says_what_was_measured_how_and_on_what(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", PRESETS["tiny"])
    run.ledger.append(measure("5", protocol=protocol_with_ids()))
    write_json(run.evaluation_path, {"asked": {"limit": 24}, "protocol": protocol_of(run.ledger.read()[0])})
    html = write_report(run, now=NOW).read_text()
    head = html[html.index('class="masthead"') : html.index('id="verdict"')]
    told = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", head))
    for words in ("1 candidate measured", "24 images each", "limited to 24 label maps", "standard judges", "2026-03-01 12:30:00Z", "version"):
        assert words in told
    assert f"protocol {protocol_of(run.ledger.read()[0])} · label maps abcdef012345 · reference photos 9876543210fe" in told
    for field, value in (("judges.mask_accuracy.sha256", "ab" * 32), ("formula.closeness", "0.5"), ("label_maps.count", "24")):
        assert re.search(rf"{re.escape(field)}\W.*?{value}", head, re.DOTALL)
    assert "partial" not in told and "complete" not in told  # no checkpoint is there to be measured


def test_the_head_says_how_complete_it_is(states: dict[str, Path]) -> None:
    assert "partial: 2 of 13 candidates" in states["partial"].read_text()
    assert "complete: all 13 candidates" in states["whole"].read_text()
    assert "limited to" not in states["whole"].read_text()
    assert "Embedded judges." in states["embedded"].read_text() and "embedded judges" in states["embedded"].read_text()


# The leaderboard.


def test_leaderboard_shows_the_numbers_of_the_csv(show, run: Run) -> None:
    tab = show(page_of(run), "leaderboard&seeds=1")
    table = read_scores(run)
    assert shown(tab) == table["candidate"].tolist()
    columns = {"rank": "rank", "score": "composite", "mask_accuracy": "mask_accuracy", "aesthetic": "aesthetic", "fid": "fid", "seconds": "seconds"}
    for column, name in {**columns, "best": "probability_best", "ranks": "rank_first"}.items():
        assert [float(value) for value in values(tab, column)] == [float(value) for value in table[name]], column
    rows = tab.locator("#board tbody tr").evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim()))")
    heads = tab.locator("#board thead th").evaluate_all("heads => heads.map(head => head.dataset.title)")
    for cells, line in zip(rows, table.to_dict("records"), strict=True):
        row = dict(zip(heads, cells, strict=True))
        assert row["score"] == f"{float(line['composite']):.4f}"
        assert row["95 % interval"] == f"± {1.959964 * float(line['composite_error']):.4f}"
        assert row["ranks"] == "–".join(dict.fromkeys((line["rank_first"], line["rank_last"])))
        assert row["FID"].strip("▸") == f"{float(line['fid']):.2f}" and row["mask accuracy"].strip("▸") == f"{float(line['mask_accuracy']):.4f}"
        assert row["time"] == f"{float(line['seconds']):.1f} s"
        assert ("◆" in row["candidate"]) == (line["pareto"] == "True")
    leads = tab.locator("#board td.leads").evaluate_all("cells => cells.map(cell => [cell.closest('tr').dataset.candidate, cell.dataset.value])")
    best = {
        name: table.iloc[table[name].astype(float).argmin() if name == "fid" else table[name].astype(float).argmax()]
        for name in ("mask_accuracy", "aesthetic", "fid")
    }
    assert leads and {tuple(lead) for lead in leads} == {(line["candidate"], line[name]) for name, line in best.items()}


def test_merges_show_the_numbers_of_the_csv(show, run: Run) -> None:
    tab = show(page_of(run))
    table = pd.read_csv(run.report / "merges.csv", dtype=str, keep_default_na=False).set_index("candidate")
    rows = tab.locator("#merges tbody tr[data-candidate]").evaluate_all(
        "rows => rows.map(row => [row.dataset.candidate, ...[...row.querySelectorAll('td.n')].map(cell => cell.dataset.value)])"
    )
    assert [row[0] for row in rows] == table.index.tolist()
    for name, rank, score, gain in rows:
        line = table.loc[name]
        assert (int(rank), float(score), float(gain)) == (int(line["rank"]), float(line["composite"]), float(line["gain"]))


def test_every_column_sorts_both_ways_and_stays_in_the_address(show, run: Run) -> None:
    tab = show(page_of(run), "leaderboard&seeds=1")
    for column in ("score", "best", "mask_accuracy", "fid", "seconds", "rank", "candidate"):
        head = tab.locator(f'#board thead th[data-key="{column}"]')
        directions = []
        for _ in range(2):
            sort_by(tab, column)
            directions.append(head.get_attribute("aria-sort"))
            found = values(tab, column)
            if column != "candidate":
                assert [float(value) for value in found] == sorted(map(float, found), reverse=directions[-1] == "descending")
            assert tab.locator("#board thead th[aria-sort]").count() == 1
        # The best comes first, whichever way that is.
        assert directions == (["descending", "ascending"] if column in ("score", "best", "mask_accuracy") else ["ascending", "descending"])
    settled(tab)
    assert "sort=-candidate" in tab.url
    again = show(page_of(run), tab.url.partition("#")[2])
    assert shown(again) == shown(tab) and set(shown(again)) == set(EVERYTHING)
    assert again.locator('#board thead th[data-key="candidate"]').get_attribute("aria-sort") == "descending"


def test_names_sort_as_people_count(show, run: Run) -> None:
    tab = show(page_of(run), "leaderboard&filter=epoch")
    tab.locator('#board thead th[data-key="candidate"] button').press("Enter")
    assert shown(tab) == ["0", *map(str, range(5, 17))]


def test_filter_counts_what_it_leaves_and_stays_in_the_address(show, run: Run) -> None:
    tab = show(page_of(run), "leaderboard&seeds=1")
    tab.fill("#filter", "merge 15")
    assert sorted(shown(tab)) == sorted(["avg_13_15", "avg_13_15_16", "avg_15_16"])
    assert tab.locator("#board-count").inner_text() == f"3 of {len(EVERYTHING)} shown"
    settled(tab)
    again = show(page_of(run), tab.url.partition("#")[2])
    assert shown(again) == shown(tab) and again.input_value("#filter") == "merge 15"
    again.fill("#filter", "")
    assert len(shown(again)) == len(EVERYTHING)
    settled(again)
    assert "filter" not in again.url


def test_seeds_of_a_candidate_fold_under_their_first(show, run: Run) -> None:
    tab = show(page_of(run))
    seeds = [name for name in read_scores(run)["candidate"] if name.startswith("avg_13_16") and name != "avg_13_15_16"]
    assert len(seeds) == 10
    assert [name for name in shown(tab) if name in seeds] == seeds[:1]
    assert tab.locator("#board-count").inner_text() == f"{len(EVERYTHING) - 9} of {len(EVERYTHING)} shown, 9 seeds folded"
    assert tab.locator("#board .fold:visible").inner_text() == "+9 seeds"
    tab.click("#board .fold")
    assert [name for name in shown(tab) if name in seeds] == seeds
    settled(tab)
    assert "seeds=1" in tab.url
    tab.click("#board .fold")
    # In another order another of them is the first.
    sort_by(tab, "candidate")
    first = [name for name in shown(tab) if name in seeds]
    assert first == ["avg_13_16"] and tab.locator("#board .fold:visible").count() == 1
    tab.fill("#filter", "@7")
    assert shown(tab) == ["avg_13_16@7"] and tab.locator("#board .fold:visible").count() == 0
    tab.fill("#filter", "")
    tab.click("#board-seeds")
    assert len(shown(tab)) == len(EVERYTHING) and tab.locator("#board-seeds").get_attribute("aria-pressed") == "true"


def test_the_pick_is_marked_and_never_folded_away(show, tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", ["15", "15@1", "15@2", "15@3"], pictures=False)
    lowest = read_board(run).rows[-1].name
    pick(run, lowest, best_single="15")
    tab = show(write_report(run, now=NOW))
    assert shown(tab) == [read_board(run).rows[0].name, lowest]
    assert tab.locator("#board .picked").evaluate_all("chips => chips.map(chip => chip.closest('tr').dataset.candidate)") == [lowest]
    assert tab.locator("#board .fold:visible").inner_text() == "+2 seeds"


def test_the_bracket_holds_what_the_noise_does_not_tell_from_the_best(show, run: Run) -> None:
    tab = show(page_of(run), "leaderboard&seeds=1")
    board = read_board(run)
    held = "rows => rows.map(row => row.dataset.candidate)"
    tied = [row.name for row in board.rows if row.place.tied]
    assert 1 < len(tied) < len(EVERYTHING)
    assert tab.locator("#board tr.held").evaluate_all(held) == tied
    assert tab.locator("#board tr.held-first").count() == tab.locator("#board tr.held-last").count() >= 1
    assert f"holds the {len(tied)} rows together" in tab.locator("#leaderboard").inner_text()
    assert tab.locator('#board [aria-label="within the noise of the best"]').count() == len(tied) - 1
    sort_by(tab, "fid")
    assert tab.locator("#board tr.held").count() == 0


def pressed(tab, role: str) -> list[str]:
    """Who is marked as A or B in the leaderboard."""
    return tab.locator(f'#board tr:visible .choose.{role}[aria-pressed="true"]').evaluate_all(
        "marks => marks.map(mark => mark.closest('tr').dataset.candidate)"
    )


def choose(tab, name: str, role: str) -> None:
    tab.evaluate(
        """([name, role]) => [...document.querySelectorAll("#board tbody tr")]
            .find(row => row.dataset.candidate === name).querySelector(`.choose.${role}`).click()""",
        [name, role],
    )


def test_rows_are_chosen_as_a_and_b(show, run: Run) -> None:
    tab = show(page_of(run), "leaderboard")
    choice = read_board(run).choice
    assert choice is not None and pressed(tab, "a") == [choice.name] and pressed(tab, "b") == ["16"]
    choose(tab, "9", "b")
    choose(tab, "avg_11_13", "a")
    assert (pressed(tab, "a"), pressed(tab, "b")) == (["avg_11_13"], ["9"])
    assert tab.evaluate("[data.cast[compared.a].name, data.cast[compared.b].name]") == ["avg_11_13", "9"]
    # Who is chosen as the other's partner takes its place, and the other its own.
    choose(tab, "9", "a")
    assert (pressed(tab, "a"), pressed(tab, "b")) == (["9"], ["avg_11_13"])
    settled(tab)
    again = show(page_of(run), tab.url.partition("#")[2])
    assert (pressed(again, "a"), pressed(again, "b")) == (["9"], ["avg_11_13"])


def test_a_seed_without_pictures_is_compared_by_one_that_has_them(show, run: Run) -> None:
    tab = show(page_of(run), "leaderboard&seeds=1")
    cast = tab.evaluate("data.cast.map(each => each.name)")
    (shown_by,) = [name for name in cast if name.startswith("avg_13_16") and name != "avg_13_15_16"]
    other = next(name for name in shown(tab) if name.startswith("avg_13_16") and name != shown_by)
    choose(tab, other, "b")
    if tab.evaluate("state.get('a') ?? data.a") != shown_by:
        assert pressed(tab, "b") == [shown_by]
    label = tab.locator("#board tbody tr", has_text=other).locator(".choose.b").first.get_attribute("aria-label")
    assert f"shown by {shown_by}" in label


# The rows as text.


@pytest.fixture
def copied(show) -> Callable:
    """Press a button that copies the rows, and give what lies on the clipboard."""

    def press(page: Path, form: str, state: str = "") -> str:
        tab = show(page, state, permissions=["clipboard-read", "clipboard-write"])
        tab.click(f'#leaderboard [data-form="{form}"]')
        tab.wait_for_function("document.getElementById('board-status').textContent !== ''")
        return tab.evaluate("navigator.clipboard.readText()")

    return press


def test_rows_are_copied_as_csv_with_every_digit(copied, run: Run) -> None:
    text = copied(page_of(run), "csv", "leaderboard&filter=merge&sort=fid&seeds=1")
    found = list(csv.DictReader(io.StringIO(text)))
    table = read_scores(run)
    expected = table[table["kind"] == "merge"].sort_values("fid", key=lambda values: values.astype(float))
    assert [line["candidate"] for line in found] == expected["candidate"].tolist()
    for line, record in zip(found, expected.to_dict("records"), strict=True):
        for name, value in line.items():
            if name != "guards":
                assert (float(value) == float(record[name])) if name not in ("candidate", "members", "kind") else value == record[name], name


def test_copied_csv_is_defused(copied, hostile: Run) -> None:
    text = copied(page_of(hostile), "csv")
    expected = [f"'{name}" if name.startswith("=") else name for name in read_board(hostile) and HOSTILE]
    assert sorted(line["candidate"] for line in csv.DictReader(io.StringIO(text))) == sorted(expected)


def test_copied_markdown_keeps_its_columns(copied, hostile: Run) -> None:
    lines = copied(page_of(hostile), "markdown").splitlines()
    assert len(lines) == 2 + len(HOSTILE)
    # A bar that is not escaped ends a cell; a backslash takes the meaning of what follows it.
    cells = [[re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell).strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    assert sorted(line[1] for line in cells[2:]) == sorted(HOSTILE)
    assert all(re.fullmatch(r"-+:?", cell) for cell in cells[1])


def test_copied_latex_escapes_what_it_would_read(copied, hostile: Run) -> None:
    text = copied(page_of(hostile), "latex")
    lines = text.splitlines()
    assert lines[1].startswith(r"\begin{tabular}{rl") and lines[-1] == r"\end{tabular}"
    body = lines[lines.index(r"  \midrule") + 1 : lines.index(r"  \bottomrule")]
    known = {
        **{r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textquotedbl{}": '"', "{*}": "*", "--": "–"},
        **{r"$\pm$": "±", "$-$": "−", "$<$": "<", "$>$": ">", "$|$": "|"},
        **{f"\\{sign}": sign for sign in "{}$&#_%"},
    }
    reading = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))))
    names = []
    for line in body:
        assert line.endswith(r" \\")
        cells = re.split(r" (?<!\\)& ", line[2:-3])
        assert len(cells) == len(body and re.split(r" (?<!\\)& ", body[0][2:-3]))
        names.append(reading.sub(lambda match: known[match[0]], cells[1]))
        assert not re.search(r"(?<!\\)[#%_&~^]", reading.sub("", cells[1]))
    assert sorted(names) == sorted(HOSTILE)


def test_what_cannot_be_copied_is_selected(show, run: Run) -> None:
    tab = show(page_of(run))
    tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tab.click('#leaderboard [data-form="csv"]')
    field = tab.locator("#board-text")
    assert field.is_visible() and field.input_value().startswith("rank,candidate,")
    assert tab.evaluate("document.activeElement.selectionEnd - document.activeElement.selectionStart") == len(field.input_value())


# The address.


def test_any_name_comes_back_from_the_address(show, hostile: Run) -> None:
    tab = show(page_of(hostile))
    for name in HOSTILE:
        choose(tab, name, "b")
        tab.fill("#filter", name.split()[0])
        settled(tab)
        a = tab.evaluate("data.cast[compared.a].name")
        tab.reload()
        assert tab.evaluate("[data.cast[compared.a].name, data.cast[compared.b].name]") == [a, name]
        assert tab.input_value("#filter") == name.split()[0] and name in shown(tab)
        tab.fill("#filter", "")


def test_links_within_the_page_keep_what_was_chosen(show, run: Run) -> None:
    tab = show(page_of(run), "leaderboard&b=9&sort=fid")
    tab.locator('.top nav a[href="#merges"]').click()
    settled(tab)
    assert tab.evaluate("state.get('b')") == "9" and tab.url.endswith("#merges&b=9&sort=fid")
    tab.evaluate("location.hash = '#leaderboard&b=11'")
    tab.wait_for_timeout(100)
    assert tab.evaluate("[state.get('b'), state.get('sort') ?? null]") == ["11", None]
    assert pressed(tab, "b") == ["11"] and shown(tab)[0] == read_scores(run)["candidate"][0]
    tab.go_back()
    tab.wait_for_timeout(100)
    assert tab.evaluate("state.get('b')") == "9"


def test_a_link_leads_to_its_section(show, run: Run) -> None:
    tab = show(page_of(run), "merges&b=9", reduced_motion="reduce")
    tab.wait_for_timeout(100)
    assert abs(tab.evaluate("document.getElementById('merges').getBoundingClientRect().top")) < 200
    nowhere = show(page_of(run), "nowhere&nonsense=%E0%A4%A&a=nobody&sort=-nothing&seeds=x&filter=")
    assert nowhere.evaluate("data.cast[compared.a].name") == read_scores(run)["candidate"][0]


def test_a_long_drag_writes_the_address_once(show, run: Run) -> None:
    """Browsers refuse a page that rewrites its address too often, with an error on the console."""
    tab = show(page_of(run))
    tab.evaluate(
        """async () => {
            window.written = 0;
            const real = history.replaceState.bind(history);
            history.replaceState = (...all) => { window.written += 1; real(...all); };
            for (let index = 0; index < 500; index += 1) {
                state.set({ zoom: 1 + index / 500 });
                if (index % 50 === 0) await new Promise(done => setTimeout(done, 10));
            }
        }"""
    )
    settled(tab)
    assert tab.evaluate("window.written") == 1 and "zoom=1.998" in tab.url
