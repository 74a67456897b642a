"""The engines side by side, each in a process of its own, since a process has one."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from apfgan.engines import VARIABLE, Engine

ROOT = Path(__file__).parents[1]


def need_jittor() -> None:
    """Skip a test where Jittor is not installed; where everything must be there (`APFGAN_JITTOR=required`), let it fail."""
    if find_spec("jittor") is None:
        if os.environ.get("APFGAN_JITTOR") == "required":
            pytest.fail("Jittor is not installed: pip install -e '.[jittor]'")
        pytest.skip("Jittor is not installed")


def start_on(engine: Engine, module: str, *arguments: object) -> subprocess.Popen[str]:
    """`python -m MODULE ARGUMENTS` on an engine; what it says comes back through one pipe."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {VARIABLE: engine}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    )
