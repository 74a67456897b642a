"""Tables in, a report out: how rows are read, and what the page without a run holds."""

import json
import re
import shlex
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd
import pytest

from apfgan.composite import FORMULAS, composite
from apfgan.errors import DataError, UsageError
from reports.page import write_table_report
from selection.tables import measure_tables
from tests.browser import open_page, violations
from tests.conftest import Call
from tests.report_runs import NOW

PUBLISHED = Path(__file__).parents[1] / "docs" / "published"
TABLES = [PUBLISHED / f"apfgan_{name}.csv" for name in ("epochs", "merges", "seeds")]
SHARED = Path(__file__).parents[2] / "shared" / "published"
ASSUMED = {"mask_accuracy": 0.9, "aesthetic": 5.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    measured, out = measure_tables(TABLES, assume=ASSUMED), tmp_path_factory.mktemp("tables") / "page"
    write_table_report(measured.measurements, out, name="published", seeded=measured.seeded, notes=measured.notes, sources=TABLES, now=NOW)
    return out


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_published_tables_are_those_at_hand() -> None:
    if not SHARED.exists():
        pytest.skip("the published tables are not here")
    for table in TABLES:
        assert table.read_bytes() == (SHARED / table.name).read_bytes()


def test_rows_become_candidates_and_seeds_those_of_the_best() -> None:
    measured = measure_tables(TABLES, assume=ASSUMED)
    names = [each.candidate for each in measured.measurements]
    assert len(names) == len(set(names)) == 39 + 4 + 20
    assert {"309", "avg_273_299", "avg_273_298_299", "avg_273_299@9"} <= set(names)
    assert measured.seeded == {f"avg_273_299@{seed}" for seed in range(1, 21)}
    deviation = stdev(pd.read_csv(TABLES[2])["fid"])
    for each in measured.measurements:
        fid = each.metrics["fid"]
        assert fid.error == pytest.approx(deviation)
        assert each.composite.value == pytest.approx(composite(FORMULAS["A"], mask_accuracy=0.9, aesthetic=5.0, distance=fid.value))
        assert each.composite.error == pytest.approx(deviation * 0.9 * 0.5 / 100)
    assert [note for note in measured.notes if "mask accuracy 0.9, aesthetic 5" in note and "apfgan_seeds.csv" in note]
    assert [note for note in measured.notes if "seeds of avg_273_299, the best of the other tables" in note]
    assert [note for note in measured.notes if "not that of other label maps" in note]


def test_page_shows_what_the_tables_say(folder: Path) -> None:
    html = (folder / "index.html").read_text()
    summary = json.loads((folder / "report.json").read_text())
    assert summary["choice"] == "avg_273_299@9" and summary["bridge"][-1]["name"] == "seed 9"
    assert [f"{step['gain']['value']:.4f}" for step in summary["bridge"][1:]] == ["0.0145", "0.0054", "-0.0002", "0.0009"]
    rows = pd.read_csv(folder / "scores.csv").sort_values("rank")
    assert rows["fid"].tolist() == sorted(rows["fid"]) and len(rows) == 63
    exact = [float(value) for value in re.findall(r'<td class="n score" data-value="([^"]*)">', html)]
    assert exact == rows["composite"].tolist()
    mean = fmean(pd.read_csv(TABLES[2])["fid"])
    assert f"{0.9 * (0.25 + 0.5 * (100 - mean) / 100):.5f}" in html
    assert "1 FID = 0.0045 of the total = 0.73 points of mask accuracy = 0.10 aesthetic" in html
    assert "a table does not say who judged" in html.lower() and "standard judges" not in html
    assert "apfgan submit" not in html and 'id="classes"' not in html and 'id="merges"' in html and 'id="seeds"' in html
    assert "the best of 20" in html


def test_page_of_tables_is_in_order_in_a_browser(folder: Path, browser) -> None:
    for width, scheme in ((390, "dark"), (1400, "light")):
        view = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
        tab, requests, complaints = open_page(browser, folder / "index.html", state="decision&aesthetic=0.7", **view)
        assert violations(tab) == []
        assert requests == [(folder / "index.html").as_uri()] and complaints == []
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        tab.context.close()


def test_the_readmes_command_writes_the_same_page(folder: Path, tmp_path: Path, apfgan: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[1]
    command = (root / "README.md").read_text().partition("<!-- tables command -->\n```bash\n")[2].partition("```")[0]
    program, *arguments = shlex.split(command.replace("\\\n", " "))
    assert program == ".venv/bin/apfgan" and arguments[-2:] == ["--out", "published"]
    monkeypatch.chdir(root)
    code, out, error = apfgan(*arguments[:-1], tmp_path / "page")
    assert code == 0, error
    assert str(tmp_path / "page" / "index.html") in out
    assert (tmp_path / "page" / "scores.csv").read_bytes() == (folder / "scores.csv").read_bytes()
    assert "apfgan_epochs, apfgan_merges, apfgan_seeds" in (tmp_path / "page" / "index.html").read_text()


def test_a_complete_table_needs_no_assumption(tmp_path: Path, apfgan: Call) -> None:
    table = write(
        tmp_path / "scores.csv",
        "team,board,mask_accuracy,aesthetic,fid,total\nours,B,0.8479,5.0436,43.8223,0.4520\nours,B,0.9028,4.9005,44.6153,0.4712\n<b>,B,0.5,5,50,0.9\n",
    )
    code, out, error = apfgan("report", "--csv", table, "--out", tmp_path / "page", "--json")
    assert code == 0, error
    assert Path(json.loads(out)["report"]).exists()
    summary = json.loads((tmp_path / "page" / "report.json").read_text())
    assert [entry["candidate"] for entry in summary["ranking"]] == ["ours B (2)", "ours B", "<b> B"]
    assert [round(entry["composite"], 4) for entry in summary["ranking"]] == [0.4712, 0.4520, 0.25]
    assert "<b> B: the table says 0.9, formula A gives 0.2500." in summary["notes"]
    html = (tmp_path / "page" / "index.html").read_text()
    assert "<b> B" not in html and "its noise unknown" in html
    with pytest.raises(UsageError, match="every table has its own"):
        measure_tables([table], assume={"aesthetic": 5.0})


def test_each_row_keeps_its_own_style_similarity(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "candidate,mask_accuracy,aesthetic,fid,style_similarity\n5,0.9,5,40,0.5\n6,0.9,5,40,0.7\n")
    scores = [each.composite.value for each in measure_tables([table]).measurements]
    assert scores == pytest.approx([0.9 * (0.2 * 0.5 + 0.5 * 0.6 + 0.3 * 0.75), 0.9 * (0.2 * 0.5 + 0.5 * 0.6 + 0.3 * 0.85)])
    bare = write(tmp_path / "b.csv", "candidate,mask_accuracy,aesthetic,fid\n5,0.9,5,40\n")
    (measurement,) = measure_tables([bare], formula=FORMULAS["jittor3"], assume={"style_similarity": 0.5}).measurements
    assert measurement.composite.value == pytest.approx(scores[0])
    with pytest.raises(UsageError, match="style_similarity"):
        measure_tables([bare], formula=FORMULAS["jittor3"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("epoch,seed,fid\n299,0,28\n299,7,28.5\n", ["299", "299@7"]),
        ("members,weights,fid\n273+299,0.4+0.6,27\n299 273,,28\n", ["0.4*273+0.6*299", "avg_273_299"]),
        ("candidate,note,fid\navg_273_299@5,x,27\nepoch_0299,y,28\ntheir best,z,29\n", ["avg_273_299@5", "299", "their best"]),
        ("model,run,fid\nours,first,27\nours,second,28\n", ["ours first", "ours second"]),
        ("fid\n27\n28\n", ["row 2", "row 3"]),
    ],
)
def test_names_of_rows(tmp_path: Path, text: str, names: list[str]) -> None:
    table = write(tmp_path / "a.csv", text)
    assert [each.candidate for each in measure_tables([table], assume=ASSUMED).measurements] == names


def test_errors_of_a_table_stand_and_seeds_can_be_of_another(tmp_path: Path) -> None:
    epochs = write(tmp_path / "epochs.csv", "epoch,fid,fid_error\n5,30,0.5\n6,31,0.4\n")
    seeds = write(tmp_path / "seeds.csv", "seed,fid\n0,31\n1,32\n")
    measured = measure_tables([epochs, seeds], assume=ASSUMED, seeds_of="6")
    assert {each.candidate: (each.metrics["fid"].value, each.metrics["fid"].error) for each in measured.measurements} == {
        "5": (30, 0.5),
        "6": (31, 0.4),  # its seed is told by the other table
        "6@1": (32, None),
    } and measured.seeded == {"6", "6@1"}
    assert "the best of the other tables" not in " ".join(measured.notes)
    assert measured.measurements[0].composite.error == pytest.approx(0.5 * 0.0045)


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        (["epoch,fid\n5,30\n"], {}, UsageError, "a.csv has no mask_accuracy.*--assume mask_accuracy=VALUE"),
        (["seed,fid\n1,30\n2,31\n"], {"assume": ASSUMED}, UsageError, "--seeds-of NAME"),
        (["epoch,fid\n5,30\n"], {"assume": ASSUMED, "seeds_of": "5"}, UsageError, "every table names its candidates"),
        (["epoch,fid\n5,30\n"], {"assume": ASSUMED | {"sharpness": 1}}, UsageError, "not a part of the total"),
        (["epoch,fid\n5,30\n"], {"assume": ASSUMED | {"mask_accuracy": 90}}, UsageError, "lies in 0 to 1"),
        (["epoch,fid\n5,30\n", "epoch,fid\n5,31\n"], {"assume": ASSUMED}, DataError, r"a.csv, line 2, and in .*b.csv, line 2"),
        (["epoch,fid\n5.5,30\n6,x\n"], {"assume": ASSUMED}, DataError, "line 3: fid is 'x'"),
        (["epoch,seed,fid\n5,a,30\n"], {"assume": ASSUMED}, DataError, "line 2: the seed is 'a'"),
        (["members,weights,fid\n5+6,0.9+0.9,30\n"], {"assume": ASSUMED}, DataError, "line 2: the weights"),
        (["epoch,mask_accuracy,aesthetic,fid\n5,90,5,30\n"], {}, DataError, "line 2: mask_accuracy is 90, and lies in 0 to 1"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_place(tmp_path: Path, texts: list[str], options: dict, error: type, message: str) -> None:
    tables = [write(tmp_path / f"{name}.csv", text) for name, text in zip("ab", texts, strict=False)]
    with pytest.raises(error, match=message):
        measure_tables(tables, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--run RUN, or --csv FILE"),
        (["--run", "r", "--csv", "t"], "--run RUN, or --csv FILE"),
        (["--run", "r", "--seeds-of", "5"], "belong to --csv"),
        (["--csv", "t", "--images", "5"], "belong to --run"),
        (["--csv", "t", "--assume", "aesthetic"], "--assume mask_accuracy=0.90"),
        (["--csv", "t", "--board", "C"], "no board 'C'"),
    ],
)
def test_options_that_do_not_go_together(apfgan: Call, options: list[str], message: str) -> None:
    code, _, error = apfgan("report", *options)
    assert code == 2 and message in re.sub(r"\s+", " ", error)
