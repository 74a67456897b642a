"""How a command talks: progress and prose on standard error, results on standard output."""

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apfgan.progress import Progress, terminal_progress


@dataclass(frozen=True)
class Screen:
    """How this command talks: where progress goes, and whether results are text or JSON."""

    progress: Progress
    as_json: bool

    @classmethod
    def open(cls, *, as_json: bool, quiet: bool, verbose: bool) -> "Screen":
        """Set up for one command."""
        logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, stream=sys.stderr, format="%(message)s")
        return cls(terminal_progress(quiet=quiet), as_json)

    def result(self, value: Mapping[str, Any], text: str) -> None:
        """What the command found: the object, or the same as text."""
        print(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str) if self.as_json else text)
