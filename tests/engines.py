"""The engines side by side, each in a process of its own, since a process has one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apfgan.engines import VARIABLE, Engine
from apfgan.jittor_setup import inspect_jittor

ROOT = Path(__file__).parents[1]


def need_jittor() -> None:
    """Skip a test where Jittor cannot be used; where it must be there (`APFGAN_JITTOR=required`), let it fail."""
    if problems := " ".join(inspect_jittor().problems):
        if os.environ.get("APFGAN_JITTOR") == "required":
            pytest.fail(problems)
        pytest.skip(problems)


def start_on(engine: Engine, module: str, *arguments: object) -> subprocess.Popen[str]:
    """`python -m MODULE ARGUMENTS` on an engine; what it says comes back through one pipe."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {VARIABLE: engine}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    )
