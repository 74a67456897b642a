"""`apfgan doctor`: what this machine can do."""

from pathlib import Path

from commands.options import JsonOption, QuietOption, VerboseOption
from commands.screen import Screen
from commands.weights import weights_text


def doctor(as_json: JsonOption = False, quiet: QuietOption = False, verbose: VerboseOption = False) -> None:
    """What this machine can do: versions, devices, memory, disk, pretrained weights."""
    import os
    import shutil

    import torch

    from apfgan.runs import versions
    from metrics.weights import catalogue_status

    screen = Screen.open(as_json=as_json, quiet=quiet, verbose=verbose)
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    weights = catalogue_status()
    result = {
        "versions": versions(),
        "cuda": cuda,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "free_disk_gib": round(disk, 1),
        "weights": {each.entry.name: str(each.path) if each.path else None for each in weights},
    }
    lines = [f"{name:14}{version}" for name, version in versions().items()]
    lines += [
        f"{'devices':14}{', '.join(['cpu', *cuda])} ({os.cpu_count()} cores)",
        f"{'memory':14}{memory:.1f} GiB",
        f"{'free disk':14}{disk:.1f} GiB here",
    ]
    lines += ["", weights_text(weights)]
    screen.result(result, "\n".join(lines))
