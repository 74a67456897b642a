"""The run directory: where everything of one run lies, its ledger, and the lock that admits one writer.

A `Run` is a path with named places; it holds nothing in memory. Readers (`rank`, `report`) never need the lock.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import filelock
from pydantic import TypeAdapter, ValidationError

from apfgan import __version__
from apfgan.config import Config, differing_settings, load_config, save_config
from apfgan.errors import DataError, EnvironmentProblem, UsageError
from apfgan.files import append_line
from apfgan.records import Measurement, epoch_order


@dataclass(frozen=True)
class Run:
    """A run directory (spec: cli, "Run directory")."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config) -> "Run":
        """Make the directory, or open it again if it was made with the same configuration.

        Raises `UsageError` that lists the differing settings otherwise: a run's configuration is written once.
        """
        run = cls(path)
        if run.config_path.exists():
            if changed := differing_settings(run.config, config):
                raise UsageError(
                    f"{path} was made with other settings ({'; '.join(changed)}). Choose another --run, or leave the settings out to continue it."
                )
        else:
            save_config(run.config_path, config)
        return run

    @classmethod
    def open(cls, path: Path) -> "Run":
        """An existing run; raises `UsageError` when there is none."""
        run = cls(path)
        if not run.config_path.exists():
            raise UsageError(f"{path} is not a run (it has no run.toml). Make one with: apfgan train --data DATA --run {path}")
        return run

    @property
    def config_path(self) -> Path:
        """The resolved configuration, written once."""
        return self.path / "run.toml"

    @cached_property
    def config(self) -> Config:
        """The resolved configuration."""
        return load_config(self.config_path)

    @property
    def checkpoints(self) -> Path:
        """Folder of `epoch_0299.safetensors` and merged ones, each with its `.json` manifest."""
        return self.path / "checkpoints"

    @property
    def judges(self) -> Path:
        """Folder of the judges fitted for this run."""
        return self.path / "judges"

    @property
    def features(self) -> Path:
        """Folder of per-image observations: `KEY/0000.npz`, `KEY/0001.npz`, ... hold consecutive label maps, one row an image."""
        return self.path / "features"

    @property
    def samples(self) -> Path:
        """Folder of the panel's images as they were judged: `KEY/STEM.jpg`, with the key of the observations."""
        return self.path / "samples"

    @property
    def panel(self) -> Path:
        """Folder of the panel's label maps (`STEM.png`, painted) and photos (`STEM.jpg`), for the report."""
        return self.path / "panel"

    @property
    def report(self) -> Path:
        """Folder of the report, all of it derived from the rest."""
        return self.path / "report"

    @property
    def training_log(self) -> Path:
        """CSV with one line an epoch: epoch, phase, seconds, mean of each loss."""
        return self.path / "training.csv"

    @property
    def ledger(self) -> "Ledger":
        """What was measured."""
        return Ledger(self.path / "measurements.jsonl")

    def checkpoint_path(self, name: str) -> Path:
        """Where the checkpoint of an epoch (or a merge's name) lies."""
        return self.checkpoints / (f"epoch_{int(name):04d}.safetensors" if name.isdigit() else f"{name}.safetensors")

    def checkpoint_names(self) -> list[str]:
        """Names of the checkpoints that are there whole (the manifest is written last), epochs first, in order."""
        names = (path.stem for path in self.checkpoints.glob("*.json") if not path.name.startswith("."))
        return sorted((str(int(name.removeprefix("epoch_"))) if name.startswith("epoch_") else name for name in names), key=epoch_order)

    def record_command(self, arguments: Sequence[str]) -> None:
        """Append this command to `history.jsonl`."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "arguments": list(arguments), "versions": versions(), "commit": _commit()}
        append_line(self.path / "history.jsonl", json.dumps(line, ensure_ascii=False))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing. The system drops the lock with the process, however it ends, so none goes stale."""
        owner = self.path / "lock.owner"
        lock = filelock.FileLock(self.path / "lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with lock:
                owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
                yield
        except filelock.Timeout as error:
            holder = owner.read_text() if owner.exists() else "another process"
            raise EnvironmentProblem(f"{self.path} is being written by {holder}. Wait for it or stop it; what it measured so far is kept.") from error
        except PermissionError as error:
            raise EnvironmentProblem(f"cannot write in {self.path}: {error.strerror}. Check the folder's permissions.") from error


@dataclass(frozen=True)
class Ledger:
    """Append-only list of measurements, one JSON object a line, each flushed to the disk before the next is begun."""

    path: Path

    def append(self, measurement: Measurement) -> None:
        """Add a finished measurement and flush it to the disk."""
        append_line(self.path, json.dumps(asdict(measurement), ensure_ascii=False, allow_nan=False))

    def read(self) -> list[Measurement]:
        """All measurements, oldest first. A torn last line (a killed writer) is left out; any other bad line is an error with its number."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        complete, torn = lines[:-1], lines[-1]
        del torn  # what follows the last newline was never finished
        adapter = TypeAdapter(Measurement)
        found = []
        for number, line in enumerate(complete, start=1):
            try:
                found.append(adapter.validate_json(line))
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise DataError(
                    f"{self.path}, line {number}: not a measurement ({reason}). Remove that line; what it held is measured again."
                ) from error
        return found

    def find(self, key: str) -> Measurement | None:
        """The latest measurement with this content key."""
        return next((each for each in reversed(self.read()) if each.key == key), None)


def versions() -> dict[str, str]:
    """Versions that a number may depend on, by package; those not installed are left out."""
    found = {"apfgan": __version__, "python": sys.version.split()[0]}
    for package in ("torch", "numpy", "pillow", "transformers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The checkout's commit, empty outside of one."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return ""
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
