"""The program itself, for commands that start it again in a process of its own."""

import sys
from collections.abc import Sequence
from pathlib import Path


def command_line(arguments: Sequence[str]) -> list[str]:
    """What to run for `apfgan ARGUMENTS`, with this Python and this very code: `cli.py` lies beside this package, installed or not."""
    return [sys.executable, str(Path(__file__).resolve().parents[1] / "cli.py"), *arguments]
