"""How long work tells how far it is: the core calls `Progress`, and whoever owns the screen decides what that looks like."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int = 1) -> None:
        """So much more of the total is done."""

    def note(self, text: str) -> None:
        """Show `text` beside the bar (the losses, the best so far)."""


class Progress(Protocol):
    """Where tasks are shown."""

    @contextmanager
    def task(self, title: str, total: int, *, done: int = 0, unit: str = "images") -> Iterator[Task]:
        """Show a task of `total` units, `done` of them found finished already."""
        ...

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
