"""Signals: a command stops at once, or, where work would be lost, as soon as its work can."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 8
"""Seconds that a stopped training gets to finish its batch and save itself; then it goes on from its last saved state."""


class Stopped(BaseException):
    """A signal came. Every write is atomic, so it may interrupt anything."""

    def __init__(self, code: int) -> None:
        self.code = code


def stop(number: int, frame: FrameType | None) -> None:
    """Handler of a signal: stops whatever is under way."""
    signal.signal(number, signal.SIG_DFL)  # a second signal does not wait for anything
    raise Stopped(128 + number)


def stop_behind(error: BaseException | None) -> Stopped | None:
    """The signal that an error comes from. A library that is interrupted while it is imported may make another error of it."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def patient() -> Iterator[Callable[[], bool]]:
    """Within this context a signal waits until the work has asked, by calling what is given, whether to stop; but not for long."""
    signals: list[int] = []

    def out_of_patience(number: int, frame: FrameType | None) -> None:
        raise Stopped(128 + signals[0])

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        signal.signal(number, stop)
        signal.signal(signal.SIGALRM, out_of_patience)
        signal.alarm(PATIENCE)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(signals)
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
    if signals:
        raise Stopped(128 + signals[0])
