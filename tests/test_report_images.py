"""The images of the report in a real browser: what is seen against the source pictures, pixel by pixel, and what can be done by hand."""

import dataclasses
import io
import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from apfgan.config import PRESETS
from apfgan.labels import Classes
from reports.budget import NO_WISH, Wish
from reports.exhibition import Exhibition, Picture, read_exhibition
from reports.page import write_report
from reports.panel import Shown
from tests.browser import open_page, violations
from tests.report_runs import NOW, STEMS, build_run, landscape, photograph

EPOCHS = ("5", "6", "7", "8")
NAMES = (*EPOCHS, "avg_7_8")
WIDE, HIGH = 256, 192
MARK = (255, 0, 153)
"""Colour of a wrong pixel."""
UNLABELLED = (slice(0, 8), slice(0, 64))
"""A corner of the first label map in which no class is asked for."""
BAND = slice(96, 128)
"""Rows in which what every epoch draws for the first label map is the same."""


def encode(pixels: np.ndarray) -> bytes:
    """Lossless, so that every pixel can be held against what a browser shows."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def label_map(index: int) -> np.ndarray:
    """Painted (HIGH, WIDE, 3)."""
    painted = Classes().paint(landscape(index))
    if index == 0:
        painted[UNLABELLED] = 0
    return painted


def drawing(place: int, index: int) -> np.ndarray:
    """What a candidate draws (HIGH, WIDE, 3)."""
    pixels = np.asarray(photograph(landscape(index), seed=10 * place + index, blur=3 - 0.5 * place)).copy()
    if index == 0:
        pixels[BAND] = 90
    return pixels


def found(place: int, index: int) -> np.ndarray:
    """What the mask judge finds in it: the map moved, and something that is not there."""
    classes = np.roll(landscape(index), (place + 1, -place), axis=(0, 1))
    classes[120:130, 40 : 60 + 10 * place] = 14
    return Classes().paint(classes)


def write(path: Path, names: Sequence[str] = NAMES, *, wish: Wish = NO_WISH, **changes) -> Path:
    """The page of a small run with every kind of picture, but for `changes` of the exhibition."""

    def exhibit(*arguments, **options) -> Exhibition:
        read = read_exhibition(*arguments, **options)
        indices = [STEMS.index(shown.stem) for shown in read.panel]
        places = range(len(read.cast))
        numbers = itertools.count()

        def hang(pixels: np.ndarray) -> Picture:
            address = read.store.keep(f"t-{next(numbers)}", encode(pixels), "image/webp")
            return Picture(source=address, width=WIDE, height=HIGH)

        pictures = {
            "label_maps": tuple(hang(label_map(index)) for index in indices),
            "photos": tuple(None if index == 4 else hang(np.asarray(photograph(landscape(index), seed=index, blur=0))) for index in indices),
            "drawings": tuple(tuple(hang(drawing(place, index)) for index in indices) for place in places),
            "found": tuple(tuple(hang(found(place, index)) for index in indices) for place in places),
        }
        return dataclasses.replace(read, **(pictures | changes))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.page.read_exhibition", exhibit)
        return write_report(build_run(path / "demo", names), wish=wish, now=NOW)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def show(page: Path, browser) -> Iterator[Callable]:
    """Open the page in a state; at the end there must have been neither a request nor a complaint."""
    opened = []
    folders: set[Path] = set()

    def open_it(state: str = "", *, path: Path = page, folder: bool = False, **options):
        options = {"viewport": {"width": 1400, "height": 900}, "reduced_motion": "reduce"} | options
        tab, requests, complaints = open_page(browser, path, state=state, **options)
        opened.append((tab, path, requests, complaints))
        folders.update([path] if folder else [])
        return tab

    yield open_it
    for tab, path, requests, complaints in opened:
        others = {url.partition("#")[0] for url in requests} - {path.as_uri()}
        assert all(url.startswith(f"{path.parent.as_uri()}/pictures/") for url in others) and (not others or path in folders)
        assert complaints == []
        tab.context.close()


def seen(tab, frame: str = ".over .frame") -> np.ndarray:
    """What a frame of the stage shows, uint8 (HIGH, WIDE, 3), with a pixel of the screen for each of the picture."""
    element = tab.locator(f"#stage {frame}").first
    element.evaluate(
        """(element, [width, height]) => Object.assign(element.style, {
            position: "fixed", left: 0, top: 0, width: `${width}px`, height: `${height}px`, zIndex: 99, borderRadius: 0, outline: "none"})""",
        [WIDE, HIGH],
    )
    tab.evaluate("Promise.all([...document.querySelectorAll('#stage img')].map(image => image.decode()))")
    shot = tab.screenshot(clip={"x": 0, "y": 0, "width": WIDE, "height": HIGH})
    element.evaluate("element => element.removeAttribute('style')")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def until(tab, condition: str, *values) -> None:
    """Wait for a condition, an expression of JavaScript (Playwright's own way to wait would need `eval`, which the page's policy forbids)."""
    for _ in range(100):
        if tab.evaluate(condition, *values):
            return
        tab.wait_for_timeout(30)
    raise AssertionError(f"never came true: {condition}")


def drag(tab, frame: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Press in a frame, move, let go; points are shares of its width and height."""
    box = tab.locator(f"#stage {frame}").first.bounding_box()
    points = [(box["x"] + across * box["width"], box["y"] + down * box["height"]) for across, down in (start, end)]
    tab.mouse.move(*points[0])
    tab.mouse.down()
    tab.mouse.move(*points[1], steps=4)
    tab.mouse.up()


A, B = 4, 3
"""Places in the cast of what the tests' addresses name: the merge and the last epoch."""
PAIR = "images&a=avg_7_8&b=8"
FIRST = f"{PAIR}&image={STEMS[0]}"


def test_divider_shows_a_on_its_left_and_b_on_its_right(show) -> None:
    tab = show(FIRST)
    a, b = drawing(A, 0), drawing(B, 0)
    for cut in (50, 25, 90):
        tab.locator("#divider").evaluate("(range, cut) => { range.value = cut; range.dispatchEvent(new Event('input')); }", cut)
        shown = without_handle(seen(tab), WIDE * cut // 100)
        edge = WIDE * cut // 100
        assert np.nanmax(np.abs(shown[:, : edge - 3] - a[:, : edge - 3])) == 0
        assert np.nanmax(np.abs(shown[:, edge + 3 :] - b[:, edge + 3 :])) == 0
    drag(tab, ".over .frame", (0.5, 0.5), (0.75, 0.3))
    assert float(tab.input_value("#divider")) == pytest.approx(75, abs=1)
    tab.locator("#divider").press("ArrowLeft")
    assert float(tab.input_value("#divider")) == pytest.approx(74.5, abs=1)


def without_handle(shown: np.ndarray, edge: int) -> np.ndarray:
    """The same without the divider's handle and the letters in the corners."""
    shown = shown.astype(float)
    shown[72:120, max(edge - 24, 0) : edge + 24] = np.nan
    shown[150:] = np.nan
    return shown


def test_flicker_shows_one_of_both_at_a_time(show) -> None:
    tab = show(f"{FIRST}&view=flicker")
    pictures = [drawing(A, 0), drawing(B, 0)]
    rows = slice(0, 150)
    shown = []
    for press in (None, "Space", "Space", "button"):
        if press == "button":
            tab.locator("#flicker-flip").click()
        elif press:
            tab.keyboard.press(press)
        now = seen(tab)[rows]
        (same,) = [index for index, picture in enumerate(pictures) if np.array_equal(now, picture[rows])]
        shown.append(same)
    assert shown == [0, 1, 0, 1]
    tab = show(f"{FIRST}&view=flicker", reduced_motion="no-preference")
    tab.locator("#flicker-auto").click()
    for front in "bab":
        until(tab, f"document.querySelector('.over').dataset.front === '{front}'")


def test_nothing_moves_by_itself_where_the_system_asks_for_that(show) -> None:
    tab = show(f"{FIRST}&view=flicker")
    assert tab.locator("#flicker-auto").is_disabled() and tab.locator("#epochs-play").is_disabled()
    assert tab.locator("#flicker-flip").is_enabled()


def test_difference_is_black_where_both_are_equal_and_hot_where_they_differ(show) -> None:
    tab = show(f"{FIRST}&view=difference")
    shown = seen(tab)
    apart = np.abs(drawing(A, 0).astype(int) - drawing(B, 0)).sum(axis=2)
    # Read off matplotlib's own scale, of which the page has nine points of two decimals.
    expected = 255 * matplotlib.colormaps["inferno"](np.minimum(apart / 255, 1.0))[..., :3]
    assert (apart[BAND] == 0).all() and (shown[BAND].max() == 0)
    assert np.abs(shown - expected).max() < 16
    assert shown[apart > 40].sum(axis=1).min() > 80
    tab.select_option("#stage-b", "avg_7_8")
    tab.wait_for_timeout(100)
    assert seen(tab).max() == 0


@pytest.mark.parametrize("judged", [False, True])
def test_wrong_pixels_are_those_where_the_judge_found_another_class(show, judged: bool) -> None:
    tab = show(f"{FIRST}&view=side&wrong=1{'&found=1' if judged else ''}")
    for which, place in enumerate((A, B)):
        shown = seen(tab, f"figure.shot:nth-of-type({4 + which}) .frame")
        wrong = (found(place, 0) != label_map(0)).any(axis=2)
        wrong[UNLABELLED] = False
        assert 0.05 < wrong.mean() < 0.5
        assert np.array_equal((shown == MARK).all(axis=2), wrong)
        assert np.array_equal(shown[~wrong], (found if judged else drawing)(place, 0)[~wrong])
    tab.locator("#stage-wrong").press("Enter")
    assert not (seen(tab, "figure.shot .frame") == MARK).all(axis=2).any()


def test_a_class_alone_leaves_its_pixels_and_darkens_all_others(show) -> None:
    tab = show(f"{FIRST}&view=side")
    names = Classes().names
    for name in ("sky", "mountain", "boat"):
        tab.select_option("#stage-class", name) if name != "boat" else tab.evaluate("state.set({ class: 'boat' })")
        asked = (label_map(0) == Classes().colours[names.index(name)]).all(axis=2)
        for frame, picture in (("figure.given .frame", label_map(0)), ("figure.shot .frame", drawing(A, 0))):
            shown = seen(tab, frame)
            dark = 0.14 * picture + 0.86 * 255 * np.array([0.06, 0.07, 0.09])
            if name == "boat":  # in no label map: an unknown class hides nothing
                asked = np.full(asked.shape, True)
            assert np.array_equal(shown[asked], picture[asked])
            assert np.abs(shown[~asked] - dark[~asked]).max(initial=0) <= 2
    tab.evaluate("state.set({ class: null })")
    assert np.array_equal(seen(tab, "figure.given .frame"), label_map(0))


def test_the_legend_shows_a_class_alone_and_all_again(show) -> None:
    tab = show(PAIR)
    sky = tab.locator("#legend button", has_text="sky")
    sky.click()
    assert sky.get_attribute("aria-pressed") == "true" and tab.input_value("#stage-class") == "sky" and "class=sky" in address(tab)
    sky.press("Enter")
    assert sky.get_attribute("aria-pressed") == "false" and tab.input_value("#stage-class") == "" and "class" not in address(tab)


def address(tab) -> str:
    """What stands behind the `#`, once it is written."""
    tab.wait_for_timeout(400)
    return tab.evaluate("location.hash")


def test_zoom_and_pan_move_all_pictures_alike(show) -> None:
    tab = show(f"{FIRST}&view=side")
    places = "[...document.querySelectorAll('#stage .picture')].map(picture => getComputedStyle(picture).getPropertyValue('--zoom')"
    places += " + ' ' + picture.parentElement.clientWidth + ' ' + getComputedStyle(picture).transform)"

    def transforms() -> set[str]:
        return {place.split(" ", 2)[2] for place in tab.evaluate(places) if place.split(" ")[1] != "0"}

    tab.locator("#zoom-range").evaluate("range => { range.value = 1; range.dispatchEvent(new Event('input')); }")
    assert tab.evaluate("state.get('zoom')") == "2.00,0.5000,0.5000" and len(transforms()) == 1
    middle = label_map(0)[HIGH // 4 : 3 * HIGH // 4, WIDE // 4 : 3 * WIDE // 4]
    assert np.array_equal(seen(tab, "figure.given .frame"), middle.repeat(2, axis=0).repeat(2, axis=1))
    drag(tab, "figure.photo .frame", (0.5, 0.5), (0.9, 0.5))  # the picture to the right: what is seen moves to the left
    assert tab.evaluate("state.get('zoom')").startswith("2.00,0.3") and len(transforms()) == 1
    drag(tab, "figure.photo .frame", (0.1, 0.5), (0.9, 0.5))
    assert tab.evaluate("state.get('zoom')").startswith("2.00,0.2500,0.5")  # its edge
    tab.keyboard.press("Shift+ArrowDown")
    assert tab.evaluate("state.get('zoom')") == "2.00,0.2500,0.5500"
    before = tab.evaluate("scrollY")
    box = tab.locator("#stage figure.given .frame").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    tab.keyboard.down("Control")
    tab.mouse.wheel(0, -200)
    tab.keyboard.up("Control")
    until(tab, "state.get('zoom').startsWith('4.00')")
    # What was under the pointer stays there: a quarter into what was seen.
    assert [float(part) for part in tab.evaluate("state.get('zoom')").split(",")] == pytest.approx([4, 0.1875, 0.4875], abs=1e-3)
    assert tab.evaluate("scrollY") == before and len(transforms()) == 1
    tab.keyboard.press("0")
    assert tab.evaluate("state.get('zoom')") is None


def test_epoch_slider_changes_the_stage_and_the_whole_wall(show) -> None:
    tab = show(PAIR, reduced_motion="no-preference")
    sources = "[...document.querySelectorAll('#wall .card')].map(card => card.querySelectorAll('img')[2].src)"
    for step, epoch in enumerate(EPOCHS):
        tab.locator("#epochs-range").evaluate("(range, step) => { range.value = step; range.dispatchEvent(new Event('input')); }", step)
        expected = tab.evaluate(f"data.panel.map((_, image) => byId(`drawing-{step}-${{image}}`).content.firstElementChild.src)")
        until(tab, f"expected => JSON.stringify({sources}) === JSON.stringify(expected)", expected)
        assert tab.inner_text("#epochs-text") == epoch and tab.input_value("#stage-b") == epoch
        assert tab.locator("#stage .over .pane.b .base img[src]").get_attribute("src") == expected[0]
        assert tab.locator("#epochs-range").get_attribute("aria-valuetext") == f"epoch {epoch}"
    tab.locator("#epochs-play").click()
    until(tab, "state.get('b') === '5'")  # from the last on to the first
    tab.locator("#epochs-play").click()
    stopped = tab.input_value("#stage-b")
    tab.wait_for_timeout(700)
    assert tab.input_value("#stage-b") == stopped
    tab.select_option("#stage-b", "avg_7_8")
    assert tab.inner_text("#epochs-text") == "none" and "no single epoch" in tab.locator("#epochs-range").get_attribute("aria-valuetext")


def test_wall_and_grid_lead_to_the_stage(show) -> None:
    tab = show(PAIR)
    tab.locator("#wall .card", has_text=STEMS[3]).click()
    assert tab.input_value("#stage-image") == STEMS[3]
    assert tab.locator("#wall .card[aria-current] strong").inner_text() == STEMS[3]
    tab.locator("#grid summary").click()
    until(tab, "document.querySelectorAll('#grid td button').length === 30")
    cell = tab.locator("#grid tbody tr", has_text=STEMS[2]).locator("td").nth(1)
    cell.locator("button").click()
    assert (tab.input_value("#stage-image"), tab.input_value("#stage-b")) == (STEMS[2], "6")
    assert tab.locator("#grid thead th.b").inner_text() == "6"
    tab.locator("#grid td button[tabindex='0']").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowUp", "Enter"):
        tab.keyboard.press(key)
    assert tab.input_value("#stage-b") == "6" and tab.evaluate("pictures.image") == 0
    assert tab.locator("#grid td button[tabindex='0']").count() == 1


def test_keys_do_what_the_buttons_do(show) -> None:
    tab = show(FIRST)
    status = "#stage-status"
    assert tab.inner_text(status) == f"{STEMS[0]}, A avg_7_8, B 8"
    ranked = [each["name"] for each in sorted(tab.evaluate("data.cast"), key=lambda each: each["rank"])]
    order = [each["stem"] for each in tab.evaluate("data.panel")]
    start = order.index(STEMS[0])
    for key, expected in [
        ("ArrowRight", f"{order[(start + 1) % 6]}, A avg_7_8, B 8"),
        ("ArrowLeft", f"{STEMS[0]}, A avg_7_8, B 8"),
        ("x", f"{STEMS[0]}, A 8, B avg_7_8"),
        ("2", f"{STEMS[0]}, A 8, B {ranked[1]}"),
        ("Shift+Digit3", f"{STEMS[0]}, A {ranked[2]}, B {ranked[1]}"),
        ("Digit9", f"{STEMS[0]}, A {ranked[2]}, B {ranked[1]}"),
        ("Control+x", f"{STEMS[0]}, A {ranked[2]}, B {ranked[1]}"),
    ]:
        tab.keyboard.press(key)
        assert tab.inner_text(status) == expected, key
    for key, view in (("s", "side"), ("h", "difference"), ("Space", "flicker"), ("d", "divider")):
        tab.keyboard.press(key)
        assert tab.locator("#stage").get_attribute("data-view") == view
        assert tab.locator(f"#images button[data-view={view}]").get_attribute("aria-pressed") == "true"
    for key, button in (("w", "#stage-wrong"), ("j", "#stage-found")):
        tab.keyboard.press(key)
        assert tab.locator(button).get_attribute("aria-pressed") == "true"
    tab.keyboard.press("+")
    assert tab.inner_text("#zoom-reset") == "125 %"
    tab.locator("#stage-image").focus()  # keys typed into a list are the list's
    tab.keyboard.press("x")
    assert tab.inner_text(status).startswith(STEMS[0]) and f"A {ranked[2]}" in tab.inner_text(status)
    tab.evaluate("document.activeElement.blur(); scrollTo(0, 0)")  # where the stage is out of sight, keys are the page's
    tab.wait_for_timeout(700)
    tab.keyboard.press("x")
    assert f"A {ranked[2]}" in tab.inner_text(status)


def test_every_control_is_reached_by_the_tab_key_and_shows_that(show) -> None:
    tab = show(PAIR, reduced_motion="no-preference")
    tab.locator("#stage-a").focus()
    reached = []
    while tab.evaluate("document.activeElement.closest('#images') !== null"):
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.dataset.view || document.activeElement.textContent"))
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached[-1]
        tab.keyboard.press("Tab")
    wanted = ["stage-a", "stage-swap", "stage-b", "epochs-play", "epochs-range", "stage-previous", "stage-image", "stage-next", "divider", "side"]
    wanted += ["flicker", "difference", "stage-wrong", "stage-found", "stage-class", "zoom-out", "zoom-range", "zoom-in", "zoom-reset"]
    assert [name for name in wanted if name not in reached] == []
    assert sum("487" in name for name in reached) == len(STEMS)


def test_address_restores_what_is_seen(show) -> None:
    tab = show(PAIR)
    tab.select_option("#stage-image", STEMS[2])
    tab.select_option("#stage-a", "5")
    tab.locator("#images button[data-view=side]").click()
    tab.locator("#stage-wrong").click()
    tab.locator("#stage-found").click()
    tab.select_option("#stage-class", "sky")
    tab.locator("#zoom-in").click()
    written = address(tab)
    again = show(written.removeprefix("#"))
    assert address(again) == written
    for frame in ("figure.shot .frame", "figure.given .frame"):
        assert np.array_equal(seen(again, frame), seen(tab, frame))
    controls = "[...document.querySelectorAll('#images :is(select, input)')].map(each => [each.id, each.value])"
    assert again.evaluate(controls) == tab.evaluate(controls)


def test_an_address_of_nonsense_shows_the_page_as_it_opens(show) -> None:
    tab = show("images&a=<img src=x onerror=alert(1)>&b=nobody&image=none&view=sideways&class=<b>&zoom=-3,x,9")
    assert tab.inner_text("#stage-status").startswith(tab.evaluate("data.panel[0].stem"))
    assert tab.locator("#stage").get_attribute("data-view") == "divider" and tab.locator("#stage-class").input_value() == ""
    assert tab.inner_text("#zoom-reset") == "100 %"


def test_gap_is_told_with_its_noise(show) -> None:
    tab = show(PAIR)
    scores = {each["name"]: each for each in tab.evaluate("data.cast")}
    for a, b in itertools.permutations(NAMES, 2):
        tab.evaluate("pair => state.set(pair)", {"a": a, "b": b})
        words = tab.inner_text("#stage-gap")
        ahead = "A" if scores[a]["score"] > scores[b]["score"] else "B"
        size = abs(scores[a]["score"] - scores[b]["score"])
        match = re.fullmatch(
            r"([AB]) is ahead by ([\d.]+) ± ([\d.]+) in score \(95 % interval\), (\w+) the noise of the two; better with probability ([<>\d.]+)\.",
            words,
        )
        assert match, words
        assert match[4] == ("beyond" if float(match[2]) > float(match[3]) else "within")
        assert match[1] == ahead and float(match[2]) == pytest.approx(size, abs=10.0 ** -len(match[2].partition(".")[2]))
        deviation = float(match[3]) / 1.96
        chance = float(norm.cdf(size / deviation))
        assert match[5] == ">0.99" if chance > 0.995 else float(match[5].strip("<>")) == pytest.approx(chance, abs=0.02)
    tab.evaluate("state.set({ a: '5', b: '5' })")
    assert "same candidate" in tab.inner_text("#stage-gap")


def test_without_a_script_the_first_label_maps_stand_there(page: Path, browser) -> None:
    tab, requests, complaints = open_page(browser, page, java_script_enabled=False)
    assert (requests, complaints) == ([page.as_uri()], [])
    pictures = tab.locator("#wall img")
    assert pictures.count() == 4 * len(STEMS) - 1  # one has no photo
    assert all(shape["width"] > 60 for shape in (picture.bounding_box() for picture in pictures.all()))
    assert tab.locator("#images :is(button, select, input):visible").count() == 0
    assert "Without JavaScript" in tab.inner_text("#images noscript")
    tab.context.close()


def test_pictures_without_what_the_judge_saw_say_so(show, tmp_path: Path) -> None:
    nothing = ((None,) * len(STEMS),) * len(NAMES)
    tab = show(PAIR + "&wrong=1", path=write(tmp_path, found=nothing))
    for button in ("#stage-wrong", "#stage-found"):
        assert tab.locator(button).is_disabled() and "not stored" in tab.locator(button).get_attribute("title")
    assert tab.locator(".wrong img").count() == 0


def test_one_candidate_without_photos_stands_alone(show, tmp_path: Path) -> None:
    tab = show("images", path=write(tmp_path, ["8"], photos=(None,) * len(STEMS)))
    assert tab.locator("#stage figure:visible").count() == 2
    assert tab.locator("#stage-b, #divider, #grid, #epochs, #stage-gap").count() == 0
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("x")
    tab.keyboard.press("Space")
    assert tab.inner_text("#stage-status") == f"{tab.evaluate('data.panel[1].stem')}, 8"
    assert tab.locator("#wall .card").first.locator("img").count() == 2


def test_a_run_without_pictures_says_what_makes_them(tmp_path: Path) -> None:
    html = write_report(build_run(tmp_path / "run", ["5", "6"], pictures=False), now=NOW).read_text()
    section = html.partition('id="images"')[2].partition("</section>")[0]
    assert "No pictures" in section and "apfgan score" in section and "<select" not in section


def test_many_classes_are_folded(page: Path, tmp_path: Path) -> None:
    assert '<details class="legend" open>' in page.read_text()
    names = tuple(f"class {index}" for index in range(60))
    config = dataclasses.replace(PRESETS["tiny"], data=dataclasses.replace(PRESETS["tiny"].data, classes=names))
    run = build_run(tmp_path / "many", ["5", "6"], config=config)
    shutil.rmtree(run.features)  # where nobody knows which classes occur, all are told
    assert '<details class="legend">' in write_report(run, now=NOW).read_text()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (700, "light"), (1400, "dark")])
def test_nothing_hangs_over_the_edge(show, width: int, scheme: str) -> None:
    tab = show(PAIR, viewport={"width": width, "height": 844}, color_scheme=scheme)
    tab.locator("#grid summary").click()
    for view in ("side", "difference", "flicker", "divider"):
        tab.evaluate("view => state.set({ view })", view)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        boxes = [box for figure in tab.locator("#stage figure:visible").all() if (box := figure.bounding_box())]
        assert len(boxes) == (4 if view == "side" else 3)
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
        if view == "side":
            assert len({round(box["y"]) for box in boxes}) == (1 if width > 768 else 2)


def test_a_large_grid_makes_only_what_is_near(show) -> None:
    tab = show(PAIR)
    tab.evaluate(
        """([wide, high]) => {
            const [cast, panel] = [data.cast.length, data.panel.length];
            while (data.cast.length < wide) data.cast.push(data.cast[data.cast.length % cast]);
            while (data.panel.length < high) data.panel.push(data.panel[data.panel.length % panel]);
            for (let place = 0; place < wide; place++) for (let image = 0; image < high; image++) {
                if (byId(`drawing-${place}-${image}`)) continue;
                const copy = byId(`drawing-${place % cast}-${image % panel}`).cloneNode(true);
                copy.id = `drawing-${place}-${image}`;
                byId("pictures").append(copy);
            }
        }""",
        [48, 24],
    )
    shown = "document.querySelectorAll('#grid td img').length"
    assert tab.evaluate("document.querySelectorAll('#grid td').length") == 0  # not before it is opened
    tab.locator("#grid summary").click()
    until(tab, f"{shown} > 20")
    assert tab.evaluate("document.querySelectorAll('#grid td').length") == 24 * 48
    assert tab.evaluate(shown) < 24 * 48 / 2
    last = tab.locator("#grid tbody tr").last.locator("td").last
    last.scroll_into_view_if_needed()
    until(tab, "document.querySelector('#grid tbody tr:last-child td:last-child img') !== null")
    edge = tab.locator("#grid .scroll").bounding_box()
    assert tab.locator("#grid tbody tr").last.locator("th").bounding_box()["x"] == pytest.approx(edge["x"], abs=1)


def test_pictures_in_files_beside_the_page_are_seen_the_same(show, tmp_path: Path) -> None:
    beside = write(tmp_path, wish=Wish(form="folder"))
    for state in (FIRST, f"{FIRST}&view=difference", f"{FIRST}&view=side&wrong=1&class=sky"):
        frame = "figure.shot .frame" if "side" in state else ".over .frame"
        inside = seen(show(state), frame)
        assert np.array_equal(seen(show(state, path=beside, folder=True), frame), inside)


HOSTILE = ('x"><img src=x onerror=alert(1)>', "</script><script>alert(2)</script>", "{{ 7 * 7 }}", "a&amp;b", "1", "#stage")


def test_hostile_names_are_text(show, tmp_path: Path) -> None:
    panel = tuple(Shown(stem=stem, stratum="random", why=f"<b>{stem}</b>", content=f"<i>{stem}</i>") for stem in HOSTILE)
    path = write(tmp_path, panel=panel)
    tab = show(PAIR, path=path)
    tab.locator("#grid summary").click()
    for stem in HOSTILE:
        tab.select_option("#stage-image", stem)
        assert tab.inner_text("#stage-status").startswith(stem) and f"<b>{stem}</b>" in tab.inner_text("#stage-why")
        assert tab.inner_text("#stage-content") == f"<i>{stem}</i>"
        assert tab.locator("#wall .card[aria-current] .stem strong").inner_text() == stem
    assert tab.locator("#images :is(i, b:not(.letter)), #images script, #images [onerror]").count() == 0
    assert show(address(tab).removeprefix("#"), path=path).input_value("#stage-image") == HOSTILE[-1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rules_of_accessibility_hold(page: Path, browser, scheme: str) -> None:
    tab, _, _ = open_page(browser, page, state=f"{FIRST}&wrong=1&class=sky&zoom=2", bypass_csp=True, color_scheme=scheme)
    tab.locator("#grid summary").click()
    tab.locator(".keys summary").click()
    for view in ("divider", "side", "flicker", "difference"):
        tab.evaluate("view => state.set({ view })", view)
        assert violations(tab) == []
    tab.context.close()


def test_printed_are_the_first_rows_of_the_wall(show) -> None:
    tab = show(PAIR)
    tab.emulate_media(media="print")
    assert tab.locator("#wall .card:visible").count() == len(STEMS)
    assert tab.inner_text("#wall-names").startswith("A is avg_7_8, B is 8.")
    assert tab.locator("#stage:visible, #images .bench:visible, #images .tools:visible, #grid:visible").count() == 0
    assert tab.evaluate("[...document.querySelectorAll('#wall img')].length") == 3 * len(STEMS)
