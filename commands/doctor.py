"""`apfgan doctor`: what this machine can do."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from textwrap import fill
from typing import TYPE_CHECKING

from commands.options import JsonOption, QuietOption, VerboseOption
from commands.screen import Screen
from commands.weights import weights_text

if TYPE_CHECKING:
    from apfgan.jittor_setup import JittorSetup


def doctor(as_json: JsonOption = False, quiet: QuietOption = False, verbose: VerboseOption = False) -> None:
    """What this machine can do: versions, devices, memory, disk, engines, pretrained weights."""
    import os
    import shutil
    from dataclasses import asdict

    import torch

    from apfgan.engines import VARIABLE, chosen_engine
    from apfgan.jittor_setup import inspect_jittor
    from apfgan.runs import versions
    from metrics.weights import catalogue_status

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    engine, jittor = chosen_engine(), inspect_jittor()
    weights = catalogue_status()
    result = {
        "versions": versions(),
        "cuda": cuda,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "free_disk_gib": round(disk, 1),
        "engine": engine,
        "jittor": asdict(jittor),
        "weights": {each.entry.name: str(each.path) if each.path else None for each in weights},
    }
    lines = [f"{name:14}{version}" for name, version in versions().items()]
    lines += [
        f"{'devices':14}{', '.join(['cpu', *cuda])} ({os.cpu_count()} cores)",
        f"{'memory':14}{memory:.1f} GiB",
        f"{'free disk':14}{disk:.1f} GiB here",
        f"{'engine':14}{engine} ({VARIABLE} {'says so' if os.environ.get(VARIABLE) else 'is not set'})",
    ]
    lines += ["", jittor_text(jittor), "", weights_text(weights)]
    screen.result(result, "\n".join(lines))


def jittor_text(setup: "JittorSetup") -> str:
    """What Jittor finds here and what is set for it, in lines of the terminal; at last what keeps it from working."""
    from apfgan.jittor_setup import OneDnn
    from reports.terminal import COLUMNS

    values = {"jittor": setup.version or "not installed"}
    if setup.version:
        values |= {
            "  compiler": setup.compiler or "missing",
            "  headers": setup.headers or "missing",
            "  numpy": setup.numpy,
            "  oneDNN": {
                OneDnn.in_place: "in place",
                OneDnn.wheels: "in its wheels, copied at the first use",
                OneDnn.download: "Jittor downloads it at the first use",
                OneDnn.declined: "declined by use_mkl: slow convolutions on the CPU",
                OneDnn.missing: "missing",
            }[setup.onednn],
            "  CUDA": f"{setup.nvcc or 'no nvcc'}, {'a GPU' if setup.gpu else 'no GPU'}: computes on the {'GPU' if setup.cuda else 'CPU'}",
            "  you set": _assignments(setup.respected) or "nothing",
            "  set for it": _assignments(setup.settings) or "nothing",
            "  first use": "compiles Jittor's core: about two minutes, once",
        }
    lines = [(f"{name:14}{value}", 14) for name, value in values.items()] + [(f"  {problem}", 2) for problem in setup.problems]
    return "\n".join(fill(text, COLUMNS, subsequent_indent=indent * " ", break_long_words=False, break_on_hyphens=False) for text, indent in lines)


def _assignments(variables: Mapping[str, str]) -> str:
    """Environment variables as a shell takes them."""
    return " ".join(f"{name}={quote(value)}" for name, value in variables.items())
