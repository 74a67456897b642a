"""How long work tells how far it is: the core calls `Progress`, and whoever owns the screen decides what that looks like."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int = 1) -> None:
        """So much more of the total is done."""

    def note(self, text: str) -> None:
        """Show `text` beside the bar (the losses, the best so far)."""


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, title: str, total: int, *, done: int = 0, unit: str = "images") -> AbstractContextManager[Task]:
        """Show a task of `total` units, `done` of them found finished already."""

    def say(self, text: str) -> None:
        """One line for the person who waits."""


class _SilentTask:
    def advance(self, amount: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Silent:
    """Shows nothing: for tests and for use as a library."""

    @contextmanager
    def task(self, title: str, total: int, *, done: int = 0, unit: str = "images") -> Iterator[Task]:
        """Nothing to see."""
        yield _SilentTask()

    def say(self, text: str) -> None:
        """Nothing to see."""


SILENT = Silent()


def terminal_progress(*, quiet: bool = False) -> "Progress":
    """What suits the place where standard error goes: bars on a terminal, a line now and then in a file or pipe, nothing if `quiet`."""
    if quiet:
        return SILENT
    return Bars() if sys.stderr.isatty() else Lines()


class Bars:
    """Bars with the time left, on standard error; nested tasks stand below one another."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        self._console = Console(stderr=True)
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12, table_column=Column(min_width=12)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=Column(min_width=5)),
            # The note takes what is left of the line, and is cut where that is too little.
            TextColumn("{task.fields[note]}", markup=False, style="dim", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._open = 0

    @contextmanager
    def task(self, title: str, total: int, *, done: int = 0, unit: str = "images") -> Iterator[Task]:
        """A bar that goes away when the task ends."""
        if self._open == 0:
            self._bars.start()
        self._open += 1
        number = self._bars.add_task(title, total=total, completed=done, note="")
        try:
            yield _Bar(self._bars, number)
        finally:
            self._bars.remove_task(number)
            self._open -= 1
            if self._open == 0:
                self._bars.stop()

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Bar:
    def __init__(self, bars: "RichProgress", number: "TaskID") -> None:
        self._bars, self._number = bars, number

    def advance(self, amount: int = 1) -> None:
        self._bars.advance(self._number, amount)

    def note(self, text: str) -> None:
        self._bars.update(self._number, note=text)


class Lines:
    """A line every so many seconds on standard error: for log files."""

    def __init__(self, *, every: float = 30.0) -> None:
        self._every = every

    @contextmanager
    def task(self, title: str, total: int, *, done: int = 0, unit: str = "images") -> Iterator[Task]:
        """Lines while the task lasts; none at all if it is over before the first is due."""
        yield _LineTask(title, total, done, unit, self._every)

    def say(self, text: str) -> None:
        """One line."""
        print(text, file=sys.stderr, flush=True)


class _LineTask:
    def __init__(self, title: str, total: int, done: int, unit: str, every: float) -> None:
        self._title, self._total, self._done, self._unit, self._every = title, total, done, unit, every
        self._found = done
        self._began = self._printed = time.monotonic()
        self._note = ""

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._printed >= self._every:
            self._printed = now
            left = (now - self._began) / max(1, self._done - self._found) * (self._total - self._done)
            note = f", {self._note}" if self._note else ""
            print(f"{self._title}: {self._done}/{self._total} {self._unit}, {describe_seconds(left)} left{note}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        self._note = text


def describe_seconds(seconds: float) -> str:
    """A duration as people say it: `48 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
