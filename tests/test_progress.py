import io

import pytest
from rich.console import Console

from apfgan import progress
from apfgan.progress import SILENT, Bars, Lines, describe_seconds, terminal_progress


def test_lines_say_how_far_and_how_long(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Lines(every=30).task("score 273", 1000, done=100) as task:
        for _ in range(4):
            now[0] += 10
            task.note("best so far: 299")
            task.advance(50)
    lines = capsys.readouterr().err.splitlines()
    # 150 of the 900 that were left took 30 s: the other 750 take 150 s.
    assert lines == ["score 273: 250/1000 images, 2 min left, best so far: 299"]


@pytest.mark.parametrize("seconds, text", [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min"), (754, "13 min"), (3599, "1 h 00 min"), (11100, "3 h 05 min")])
def test_durations_read_as_people_say_them(seconds, text):
    assert describe_seconds(seconds) == text


def test_bars_fit_a_narrow_terminal():
    narrow = Console(file=io.StringIO(), width=80, color_system=None)
    bars = Bars()
    with bars.task("epoch 12/310 progressive", 9871) as outer, bars.task("score avg_273_299", 1000) as inner:
        outer.note("adversarial 0.123  feature_matching 12.3  discriminator_fake 0.99")
        outer.advance(3000)
        inner.advance(10)
        narrow.print(bars._bars.get_renderable())
    lines = narrow.file.getvalue().splitlines()
    assert len(lines) == 2 and all(len(line) <= 80 for line in lines)
    assert "epoch 12/310 progressive" in lines[0] and "3000/9871" in lines[0] and "advers" in lines[0]
    assert "10/1000" in lines[1]


def test_nothing_is_shown_when_asked_for(capsys):
    assert terminal_progress(quiet=True) is SILENT
    with SILENT.task("x", 3) as task:
        task.advance()
        task.note("y")
    SILENT.say("z")
    assert capsys.readouterr() == ("", "")
