"""The run directory: where everything of one run lies, its ledger, and the lock that admits one writer.

A `Run` is a path with named places; it holds nothing in memory but its configuration. Readers (`rank`, `report`) never need the lock.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from apfgan import __version__
from apfgan.candidates import Candidate, epoch_order
from apfgan.checked_lines import check_line, checked_line
from apfgan.config import Config, differing_settings, load_config, save_config
from apfgan.engines import Engine, chosen_engine
from apfgan.errors import DataError, EnvironmentProblem, UsageError
from apfgan.files import append_line, hash_bytes, lock_folder, read_arrays, remove_temporaries, write_arrays
from apfgan.measured import Measured
from apfgan.records import SCHEMA, Anchors, Measurement


@dataclass(frozen=True)
class Run:
    """A run directory (spec: cli, "Run directory")."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config) -> "Run":
        """Make the directory, or open it again if it was made with the same configuration.

        Raises `UsageError` that lists the differing settings otherwise: a run's configuration is written once. Until something was made by
        it, another one may take its place.
        """
        run = cls(path)
        known = load_config(run.config_path) if run.config_path.exists() else None
        changed = differing_settings(known, config) if known is not None else []
        if changed and (run.checkpoints.exists() or run.judges.exists()):
            raise UsageError(
                f"{path} was made with other settings ({'; '.join(changed)}). Choose another --run, or leave the settings out to continue it."
            )
        if changed or known is None:
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
    def influences(self) -> "Influences":
        """Each image's influence on each number of the ledger."""
        return Influences(self.path / "influences")

    @property
    def anchors(self) -> Path:
        """Folder of what real photos score: `PROTOCOL.json`, with the protocol's id."""
        return self.path / "anchors"

    def anchors_path(self, protocol: str) -> Path:
        """Where it says what real photos score under the protocol with this id."""
        return self.anchors / f"{protocol}.json"

    def read_anchors(self, protocol: str | None) -> Anchors | None:
        """What real photos score under a protocol; None where that is not known."""
        try:
            return _ANCHORS.validate_json(self.anchors_path(protocol or "").read_bytes())
        except (OSError, ValidationError):
            return None

    @property
    def samples(self) -> Path:
        """Folder of the panel's images as they were judged: `KEY/STEM.jpg`, with the key of the observations."""
        return self.path / "samples"

    @property
    def prints(self) -> Path:
        """Folder of small pictures of all measured images (`apfgan.prints`): `KEY/0000.zip`, with the key of the observations, and so on."""
        return self.path / "prints"

    @property
    def failures(self) -> Path:
        """Folder of what looks wrong among the images of some candidates (`apfgan.failures`): `KEY.json`, with the key of the observations."""
        return self.path / "failures"

    @property
    def panel(self) -> Path:
        """Folder of the panel's label maps (`STEM.png`, painted) and photos (`STEM.jpg`), for the report."""
        return self.path / "panel"

    @property
    def report(self) -> Path:
        """Folder of the report, all of it derived from the rest."""
        return self.path / "report"

    @property
    def evaluation_path(self) -> Path:
        """What the last `score` was asked for, and the protocol that came of it."""
        return self.path / "evaluation.json"

    @property
    def current_protocol(self) -> str | None:
        """Id of the protocol that the last `score` used, whose numbers are the ones to show; None where none is remembered."""
        protocol = self._remembered("protocol")
        return protocol if isinstance(protocol, str) else None

    @property
    def asked(self) -> Mapping[str, Any]:
        """What the last `score` was asked for, by the fields of its evaluation; empty where that is not known."""
        asked = self._remembered("asked")
        return asked if isinstance(asked, dict) else {}

    @property
    def sweep(self) -> tuple[str, ...]:
        """Names of the candidates that the last sweep (`score`, `pick`) set out to measure; none where that is not remembered."""
        names = self._remembered("sweep")
        return tuple(map(str, names)) if isinstance(names, list) else ()

    @property
    def swept(self) -> bool:
        """Whether that sweep has come to its end; where nothing is remembered of it, it is taken to have."""
        return self._remembered("swept") is not False

    def _remembered(self, name: str) -> object:
        """A field of what the last `score` was asked for; None where it is not known."""
        try:
            return json.loads(self.evaluation_path.read_bytes()).get(name)
        except (OSError, ValueError, AttributeError):
            return None

    @property
    def training_log(self) -> Path:
        """CSV with one line an epoch: phase, seconds, rates, mean of each loss, what the images were like."""
        return self.path / "training.csv"

    @property
    def tensorboard(self) -> Path:
        """Folder of the training's curves for TensorBoard, derived from the training log and the previews."""
        return self.path / "tensorboard"

    @property
    def previews(self) -> Path:
        """Folder of what the generator drew after each epoch of its training: `epoch_0012.jpg`, and `film.jpg` over the epochs."""
        return self.path / "previews"

    def preview_path(self, epoch: int) -> Path:
        """Where the preview of an epoch lies."""
        return self.previews / f"epoch_{epoch:04d}.jpg"

    @property
    def pick_path(self) -> Path:
        """What was picked, and why."""
        return self.path / "pick.json"

    @property
    def costs(self) -> Path:
        """What each command has cost (`apfgan.spending`): one JSON object a line, append-only."""
        return self.path / "costs.jsonl"

    @property
    def ledger(self) -> "Ledger":
        """What was measured."""
        return Ledger(self.path / "measurements.jsonl")

    def checkpoint_path(self, name: str) -> Path:
        """Where the checkpoint of an epoch (or a merge's name) lies; raises `UsageError` for what is no candidate's name."""
        name = Candidate.parse(name).base
        stem = f"epoch_{int(name):04d}" if name.isdigit() else name
        if len(stem) > 200:  # a file name holds 255 bytes; the manifest knows the whole name
            stem = f"merge+{hash_bytes(stem.encode())[:16]}"
        return self.checkpoints / f"{stem}.safetensors"

    def checkpoint_names(self) -> list[str]:
        """Names of the checkpoints that are there whole (the manifest is written last), epochs first, in order."""
        names = []
        for manifest in self.checkpoints.glob("[!.]*.json"):
            if manifest.with_suffix(".safetensors").exists():
                with suppress(UsageError):  # a file that is not ours
                    names.append(Candidate.parse(_checkpoint_name(manifest)).base)
        return sorted(names, key=epoch_order)

    def epochs(self) -> list[int]:
        """The epochs whose checkpoints are there whole, in order."""
        return [int(name) for name in self.checkpoint_names() if name.isdigit()]

    def record_command(self, arguments: Sequence[str]) -> None:
        """Append this command to `history.jsonl`."""
        now, engine = time.strftime("%Y-%m-%dT%H:%M:%S%z"), chosen_engine()
        line = {"time": now, "arguments": list(arguments), "engine": engine, "versions": versions(), "commit": _commit()}
        append_line(self.path / "history.jsonl", json.dumps(line, ensure_ascii=False))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing, as `lock_folder` does. Whoever gets it clears away what killed writers left."""
        with lock_folder(self.path):
            written = (
                self.checkpoints,
                self.judges,
                self.features,
                self.influences.folder,
                self.anchors,
                self.samples,
                self.prints,
                self.panel,
                self.failures,
                self.previews,
                self.tensorboard,
            )
            for folder in written:
                remove_temporaries(folder)
            yield


@dataclass(frozen=True)
class Ledger:
    """Append-only list of measurements, one JSON object a line, each flushed to the disk before the next is begun.

    The last field of a line, `check`, is the CRC-32 of the line without it: a flipped bit would else be another number. Lines that another
    program wrote may lack it.
    """

    path: Path

    def append(self, measurement: Measurement) -> None:
        """Add a finished measurement and flush it to the disk."""
        line = json.dumps(asdict(measurement), ensure_ascii=False, allow_nan=False)
        append_line(self.path, checked_line(line))

    def read(self) -> list[Measurement]:
        """All measurements, oldest first. A torn last line (a killed writer) is left out; any other bad line is an error with its number."""
        return [self._parse(line, number) for number, line in self._lines()]

    def find(self, key: str, *, candidate: str | None = None) -> Measurement | None:
        """The latest measurement with this content key, and of this candidate if one is named.

        Looks at no other line, so that asking for each candidate of a sweep stays quick.
        """
        quoted = json.dumps(key, ensure_ascii=False).encode()
        found = (self._parse(line, number) for number, line in reversed(self._lines()) if quoted in line)
        return next((each for each in found if each.key == key and candidate in (None, each.candidate)), None)

    def _lines(self) -> list[tuple[int, bytes]]:
        """The finished lines with their numbers from 1, blank ones left out."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EnvironmentProblem(f"cannot read {self.path}: {error.strerror}. Check its permissions.") from error
        lines = content.split(b"\n")[:-1]  # what follows the last newline was never finished
        return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]

    def _parse(self, line: bytes, number: int) -> Measurement:
        where = f"{self.path}, line {number}"
        remedy = "Remove that line; what it held is measured again."
        if not check_line(line):
            raise DataError(f"{where}: not what was written, its checksum differs. {remedy}")
        try:
            if (schema := _HEAD.validate_json(line).schema) > SCHEMA:
                raise DataError(
                    f"{where}: written by a newer version of apfgan (schema {schema}; this one reads {SCHEMA}). Install it to go on with this run."
                )
            return _MEASUREMENT.validate_json(line, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(map(str, problem["loc"])) or "the line"
            raise DataError(f"{where}: not a measurement ({field}: {problem['msg']}). {remedy}") from error


@dataclass(frozen=True)
class Influences:
    """Each image's influence on each number of a measurement: what errors and paired differences are made of (`apfgan.measured`).

    `FOLDER/KEY.npz`, with the measurement's content key, holds the label maps' stems (N) and for each metric `influence.METRIC`, float64 (N,),
    and `images.METRIC`, the number of images that say something. Derived from the observations, and so not written beside them.
    """

    folder: Path

    def write(self, key: str, stems: Sequence[str], measured: Mapping[str, Measured]) -> None:
        """Keep them for the measurement with this key."""
        arrays = {"stem": np.array(stems)}
        for name, each in measured.items():
            arrays |= {f"influence.{name}": each.influence, f"images.{name}": np.array(each.images)}
        write_arrays(self.folder / f"{key}.npz", arrays)

    def read(self, measurement: Measurement) -> dict[str, Measured]:
        """The numbers of a measurement, `composite` among them, with their influences; those that are not known are left out.

        A file that is missing or damaged is as if it had never been: only pairing is lost, and the next `score` does not need it.
        """
        try:
            arrays = read_arrays(self.folder / f"{measurement.key}.npz")
        except (DataError, OSError):
            return {}
        values = {**measurement.metrics, "composite": measurement.composite}
        return {
            name: Measured(value.value, arrays[f"influence.{name}"], int(arrays[f"images.{name}"]))
            for name, value in values.items()
            if f"influence.{name}" in arrays
        }


@dataclass(frozen=True)
class _Head:
    """What every version's line has."""

    schema: int = SCHEMA


_HEAD = TypeAdapter(_Head)
_MEASUREMENT = TypeAdapter(Measurement)
_ANCHORS = TypeAdapter(Anchors)


def versions() -> dict[str, str]:
    """Versions that a number may depend on, by package; those not installed are left out."""
    found = {"apfgan": __version__, "python": sys.version.split()[0]}
    engine = ("jittor",) if chosen_engine() is Engine.jittor else ()
    for package in (*engine, "torch", "numpy", "pillow", "transformers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _checkpoint_name(manifest: Path) -> str:
    """The name of the checkpoint with this manifest, from the file's name where that holds it."""
    if not manifest.name.startswith("merge+"):
        return manifest.stem
    try:
        return str(json.loads(manifest.read_bytes())["name"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""  # damaged: no checkpoint


def _commit() -> str:
    """The checkout's commit, empty outside of one."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "-C", str(here), "rev-parse", "--verify", "--quiet", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return done.stdout.strip()
