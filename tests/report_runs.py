"""Runs as scoring leaves them, made up but lifelike, for the tests of the report."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from apfgan.candidates import Candidate
from apfgan.config import PRESETS, Config
from apfgan.files import append_line, hash_value, write_arrays, write_bytes, write_json, write_text
from apfgan.labels import Classes
from apfgan.measured import Measured
from apfgan.picks import PickRecord, write_pick
from apfgan.prints import Print, label_prints, make_print, write_prints
from apfgan.ranking import protocol_of
from apfgan.records import Estimate, Measurement
from apfgan.runs import Run

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
HEIGHT, WIDTH, IMAGES = 48, 64, 24
STEMS = tuple(f"{487100 + index}" for index in range(6))
PROTOCOL = {
    "judges": {
        "mask_accuracy": {"name": "segformer-b4", "sha256": "ab" * 32, "input": "512x384"},
        "distance": {"name": "inception-2015-12-05", "sha256": "67" * 32},
        "aesthetic": {"name": "laion-v2", "sha256": "cd" * 32},
    },
    "jpeg": {"quality": 75, "subsampling": "4:2:0"},
    "label_resize": "pil-nearest",
    "label_maps": {"key": "ef" * 32, "count": IMAGES},
    "size": [4 * WIDTH, 4 * HEIGHT],
    "classes": {"count": len(Classes()), "ignore": None},
    "formula": {"name": "A", "aesthetic": 0.5, "closeness": 0.5},
}
TRAINED = [str(epoch) for epoch in range(5, 17)]
MERGES = ["avg_13_16", "avg_13_15", "avg_13_15_16", "0.25*13+0.75*16", "avg_11_13", "avg_15_16"]
SEEDS = [f"avg_13_16@{seed}" for seed in (7, 19, 101, 433, 1024, 2433, 5005, 9001, 31337)]
EVERYTHING = ["0", *TRAINED, *MERGES, *SEEDS]


def quality(name: str) -> float:
    """How good a made-up candidate is, between 0 and 1: training helps, merging helps a little, seeds scatter."""
    candidate = Candidate.parse(name)
    wobble = np.random.default_rng(int(hash_value(name)[:8], 16)).normal()
    level = float(np.mean([1 - math.exp(-int(member) / 5) for member in candidate.members]))
    return level + 0.02 * candidate.is_merge + (0.004 if candidate.seed else 0.009) * wobble


def measure(name: str, *, protocol: dict = PROTOCOL, formula: str = "A", **changes) -> Measurement:
    level = quality(name)
    accuracy, distance, aesthetic = 0.5 + 0.42 * level, 130 - 102 * level, 4.2 + 0.8 * level
    values = {
        "mask_accuracy": Estimate(accuracy, 0.0031),
        "aesthetic": Estimate(aesthetic, 0.0213),
        "fid": Estimate(distance, 0.31),
        "composite": Estimate(accuracy * (aesthetic / 20 + (100 - min(distance, 100)) / 200), 0.0028),
    }
    composite = changes.pop("composite", values.pop("composite"))
    key = hash_value([name, protocol, formula])
    fields = {
        "key": key, "candidate": name, "seed": Candidate.parse(name).seed, "images": IMAGES, "metrics": values, "composite": composite,
        "formula": formula, "protocol": protocol, "observations": key[:16], "seconds": 31.25 + level, "device": "cpu",
        "versions": {"apfgan": "0.1.0", "torch": "2.6.0"},
    }  # fmt: skip
    return Measurement(**(fields | changes))


def all_stems(first: Sequence[str] = STEMS) -> list[str]:
    """Names of all `IMAGES` label maps."""
    return [*first, *(f"{488000 + index}" for index in range(IMAGES - len(first)))]


def landscape(index: int) -> np.ndarray:
    """A label map (H, W) with sky, mountains, trees, grass or water."""
    rng = np.random.default_rng(index)
    x = np.linspace(0, 1, WIDTH * 4)
    y = np.linspace(0, 1, HEIGHT * 4)[:, None]
    ridge = 0.45 + 0.12 * np.sin(x * rng.uniform(4, 9) + rng.uniform(0, 6)) + 0.04 * np.sin(x * 31 + index)
    shore = 0.68 + 0.05 * np.sin(x * rng.uniform(2, 5) + index)
    ids = np.where(y < ridge, 1, np.where(y < shore, 0 if index % 2 else 5, 12 if index % 3 else 2))
    if index % 2:
        ids = np.where((y > shore - 0.06) & (y < shore), 5, ids)
    return ids.astype(np.uint8)


def photograph(label_map: np.ndarray, *, seed: int, blur: float) -> Image.Image:
    """A picture of a label map: the smaller `blur`, the more like a photo."""
    rng = np.random.default_rng(seed)
    tint = {0: (112, 104, 110), 1: (150, 190, 228), 2: (62, 108, 140), 5: (44, 78, 52), 12: (118, 142, 70)}
    colour = np.zeros((*label_map.shape, 3))
    for label, value in tint.items():
        colour[label_map == label] = value
    colour += np.linspace(35, -25, label_map.shape[0])[:, None, None]
    coarse = Image.fromarray(rng.integers(0, 255, (24, 32), dtype=np.uint8)).resize(label_map.shape[::-1], Image.Resampling.BICUBIC)
    colour += (np.asarray(coarse, dtype=float)[..., None] - 128) * 0.25 + rng.normal(0, 7, (*label_map.shape, 1))
    return Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))


def drawing(index: int, name: str) -> np.ndarray:
    """What a candidate draws for a label map, uint8 (H, W, 3): the worse it is, the more blurred."""
    return np.asarray(photograph(landscape(index), seed=index + Candidate.parse(name).seed, blur=0.6 + 9 * max(0.0, 1 - quality(name))))


def save_picture(path: Path, image: Image.Image) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if path.suffix == ".png" else "JPEG")
    write_bytes(path, buffer.getvalue())


def judged(label_map: np.ndarray, name: str) -> np.ndarray:
    """What a mask judge finds in what a candidate drew for a label map: the same moved, the further the worse the candidate."""
    return np.roll(label_map, 1 + round(30 * max(0.0, 1 - quality(name))), axis=1)


def save_prints(folder: Path, prints: Mapping[str, Print]) -> None:
    """Prints of all label maps in two packs, as scoring leaves them."""
    for part, rows in enumerate((slice(0, 10), slice(10, None))):
        write_prints(folder / f"{part:04d}.zip", dict(list(prints.items())[rows]))


def save_observations(run: Run, measurement: Measurement, *, classes: int, stems: Sequence[str] = STEMS) -> None:
    """Confusions in two files, as scoring leaves them; most pixels right, as many as the mask accuracy says."""
    rng = np.random.default_rng(int(hash_value(measurement.candidate)[:8], 16))
    names = all_stems(stems)
    confusion = np.zeros((IMAGES, classes, classes), dtype=np.uint32)
    for index in range(IMAGES):
        given = np.bincount(landscape(index).ravel(), minlength=classes)[:classes]
        right = rng.binomial(given, min(measurement.metrics["mask_accuracy"].value, 1.0))
        confusion[index][np.diag_indices(classes)] = right
        confusion[index][:, 0] += (given - right).astype(np.uint32)
    for part, rows in enumerate((slice(0, 10), slice(10, None))):
        arrays = {
            "stem": np.array(names[rows]),
            "confusion": confusion[rows],
            "features": rng.normal(size=(IMAGES, 4))[rows],
        }
        write_arrays(run.features / measurement.observations / f"{part:04d}.npz", arrays)
    spread = rng.normal(0, 0.4, IMAGES)
    aesthetic = Measured(measurement.metrics["aesthetic"].value, spread - spread.mean(), IMAGES)
    run.influences.write(measurement.key, names, {"aesthetic": aesthetic})


def build_run(
    path: Path,
    names: Sequence[str] = EVERYTHING,
    *,
    photos: bool = True,
    pictures: bool = True,
    prints: bool = False,
    config: Config = PRESETS["tiny"],
) -> Run:
    """A run directory as scoring leaves it, with made-up but lifelike numbers and pictures; `prints`: of all label maps, too."""
    run = Run.create(path, config)
    for epoch in ["0", *TRAINED]:
        write_bytes(run.checkpoint_path(epoch), b"weights")
        write_json(run.checkpoint_path(epoch).with_suffix(".json"), {"name": epoch, "sha256": hash_value(epoch)})
    for name in names:
        measurement = measure(name)
        run.ledger.append(measurement)
        save_observations(run, measurement, classes=len(config.data.classes))
        if pictures:
            for index, stem in enumerate(STEMS):
                save_picture(run.samples / measurement.observations / f"{stem}.jpg", Image.fromarray(drawing(index, name)))
        if prints:
            drawn = {stem: drawing(index, name) for index, stem in enumerate(all_stems())}
            found = {stem: judged(landscape(index), name) for index, stem in enumerate(all_stems())}
            save_prints(run.prints / measurement.observations, {stem: make_print(drawn[stem], found[stem], Classes()) for stem in drawn})
    if prints:
        taken = [photograph(landscape(index), seed=index, blur=0) for index in range(IMAGES)]
        given = {stem: make_print(np.asarray(taken[index]), landscape(index), Classes()) for index, stem in enumerate(all_stems())}
        save_prints(label_prints(run.prints, PROTOCOL), given)
    if pictures:
        for index, stem in enumerate(STEMS):
            save_picture(run.panel / f"{stem}.png", Image.fromarray(Classes().paint(landscape(index))))
            if photos and index != 4:
                save_picture(run.panel / f"{stem}.jpg", photograph(landscape(index), seed=index, blur=0))
    rng = np.random.default_rng(0)
    lines = ["epoch,phase,level,seconds,images,generator,discriminator,feature_matching,perceptual"]
    for epoch in range(1, 17):
        phase = "progressive" if epoch <= 6 else "fine"
        losses = (1.9 - 0.03 * epoch, 0.8 + 0.01 * epoch, 6 / epoch**0.4, 9 / epoch**0.3) * rng.normal(1, 0.03, 4)
        lines.append(f"{epoch},{phase},{min(2, epoch // 3)},41.5,1000," + ",".join(f"{loss:.5f}" for loss in losses))
    write_text(run.training_log, "\n".join(lines) + "\n")
    for time, arguments in (("09:00:00", ["train", "--data", "my data", "--run", "runs/demo"]), ("11:30:00", ["score", "--run", "runs/demo"])):
        entry = {"time": f"2026-03-01T{time}+0000", "arguments": arguments, "versions": {"apfgan": "0.1.0"}, "commit": "0123456789abcdef"}
        append_line(run.path / "history.jsonl", json.dumps(entry))
    return run


def pick(run: Run, name: str, **changes: Any) -> PickRecord:
    """Let a candidate be picked under the run's protocol; what is not among the `changes` says as little as may be."""
    last = run.ledger.read()[-1]
    record = PickRecord(
        candidate=name, seed=0, members=(), weights={}, saved=None, score=last.composite, expected_score=last.composite, interval=None,
        probability_best=None, clear_winner=False, within_noise=(), best_single=name, finalists=(), fresh_seeds=(), confirmed_on=last.images,
        guards=(), tried=4, failed=(), budget={}, planned={}, spent={}, cut=(), protocol_id=protocol_of(last), protocol=dict(last.protocol),
        observations=last.observations, device="cpu", versions={}, commands={},
    )  # fmt: skip
    record = replace(record, **changes)
    write_pick(run, record)
    return record
