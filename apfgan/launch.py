"""One command in several processes of this machine, as `torchrun` starts them, and again when one of them dies.

Across machines `torchrun` itself is the command, once on each, with a run directory that all of them see:

    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    torchrun --nnodes 2 --nproc-per-node 8 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint HOST:29400 -- cli.py train --run RUN --data DATA

Without that variable, processes that are started again may look for each other at the addresses of the dead ones (PyTorch issue 135712; seen in
a quarter of the restarts); without `--`, torchrun takes `--run` for an option of its own.
"""

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from apfgan.errors import ApfganError

_EXPLAINED = {kind.exit_code for kind in ApfganError.__subclasses__()}
_STOPPED = {-signal.SIGTERM, 128 + signal.SIGTERM}


def launched() -> bool:
    """Whether this process is one of several that `torchrun`, or `launch`, started."""
    return "RANK" in os.environ


def leads() -> bool:
    """Whether this process is the first of those that were started together, or alone: the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


def launch(command: Sequence[str], *, processes: int, restarts: int) -> int:
    """Run `command` in so many processes at once, and return the exit code that it would have had alone.

    The first process speaks; what another one said is shown when it failed and the first did not. When a process dies without an
    explanation (killed, out of memory, a broken connection), all are started again, up to `restarts` times, and go on from what they
    saved. A signal that stops this process is handed on to all of them.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # it would tell in its own words what is told here
    for left in range(restarts, -1, -1):
        with TemporaryDirectory(prefix="apfgan-") as folder:
            try:
                elastic_launch(_config(Path(folder), processes), command[0])(*command[1:])
                return 0
            except SignalException as stopped:
                return 128 + stopped.sigval
            except ChildFailedError as error:
                failure = _cause(error.failures)
                if failure.local_rank > 0:
                    _repeat(Path(folder), failure.local_rank)
        if failure.exitcode in _EXPLAINED:
            break
        how = f"by {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else f"with code {failure.exitcode}"
        then = f"Starting all again, {left} more times at most." if left else "It will not be started again."
        print(f"apfgan: process {failure.local_rank} of {processes} ended {how}. {then}", file=sys.stderr, flush=True)
    return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode


def _config(folder: Path, processes: int) -> LaunchConfig:
    silent = dict.fromkeys(range(1, processes), Std.ALL)
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # it cannot tell an explained failure, which would only happen again, from an accident
        logs_specs=DefaultLogsSpecs(log_dir=str(folder), redirects=silent),
    )


def _cause(failures: Mapping[int, ProcessFailure]) -> ProcessFailure:
    """The first that went wrong: the others failed because it was gone, or were stopped then.

    It has explained itself, or was killed, or found an error of another kind.
    """

    def rank(failure: ProcessFailure) -> tuple[int, int]:
        code = failure.exitcode
        order = 0 if code in _EXPLAINED else 3 if code in _STOPPED else 1 if code < 0 else 2
        return order, failure.local_rank

    return min(failures.values(), key=rank)


def _repeat(folder: Path, rank: int) -> None:
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        for path in folder.glob(f"*/attempt_*/{rank}/{name}.log"):
            stream.write(path.read_text(errors="replace"))
            stream.flush()
