"""What the report of a large run weighs, and how long it takes to write and to open in a browser.

    python -m benchmarks.report_size

The run is made up as scoring leaves one: painted landscapes, what candidates of growing quality make of them, what a mask judge finds there, and
features as large as Inception's. A few scenes stand for many label maps; everything else is as large as it would be.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from apfgan.composite import FORMULAS, composite_measured
from apfgan.config import Config
from apfgan.confusion import count_confusion, mask_accuracy
from apfgan.files import hash_value, write_arrays, write_bytes, write_json, write_text
from apfgan.images import encode_jpeg, encode_png
from apfgan.labels import Classes
from apfgan.landscapes import paint_landscape
from apfgan.measured import Measured
from apfgan.prints import Print, label_prints, make_print, pack_name, write_prints
from apfgan.records import Measurement
from apfgan.runs import Run, versions
from reports.budget import Wish
from reports.page import write_report

CANDIDATES, IMAGES = 40, 1000
SCENES, QUALITIES = 40, 6
"""Landscapes that stand for all label maps, and ways of drawing them that stand for all candidates."""

CHUNK = 32
"""Label maps in one file of observations or prints."""

FEATURES = 2048
"""Numbers that Inception gives for an image."""

SET_ASIDE = 8
"""Label maps whose images are kept in full size."""

_CLASSES = Classes()
_TIMES = "performance.getEntriesByType('navigation')[0]"


@dataclass(frozen=True)
class Scene:
    """A label map with its photo, and how candidates of each quality draw it."""

    photo: np.ndarray
    label_map: np.ndarray
    drawings: tuple[np.ndarray, ...]
    found: tuple[np.ndarray, ...]


def make_scene(index: int) -> Scene:
    """Scene `index`, 512x384: the worse a drawing, the more it is blurred and the more a mask judge finds displaced."""
    photo, label_map = paint_landscape(index, width=512, height=384, seed=0)
    rng = np.random.default_rng(index)
    drawings, found = [], []
    for quality in range(QUALITIES):
        worse = QUALITIES - 1 - quality
        grain = Image.fromarray(rng.integers(0, 256, (192, 256), dtype=np.uint8)).resize((512, 384), Image.Resampling.BICUBIC)
        blurred = np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(0.7 + 0.5 * worse)), dtype=float)
        drawings.append(np.clip(blurred + 0.075 * (np.asarray(grain, dtype=float)[..., None] - 128), 0, 255).astype(np.uint8))
        waves = [(4 + 6 * worse) * np.sin(np.arange(size) / 23 + rng.uniform(0, 6)) for size in label_map.shape]
        y, x = np.indices(label_map.shape)
        y = np.clip(y + waves[1][None, :], 0, label_map.shape[0] - 1).astype(int)
        x = np.clip(x + waves[0][:, None], 0, label_map.shape[1] - 1).astype(int)
        found.append(label_map[y, x])
    return Scene(photo, label_map, tuple(drawings), tuple(found))


def make_run(path: Path, *, candidates: int = CANDIDATES, images: int = IMAGES, scenes: int = SCENES, features: int = FEATURES) -> Run:
    """A run in which so many candidates, three quarters of them epochs, drew so many label maps."""
    run = Run.create(path, Config())
    painted = [make_scene(index) for index in range(scenes)]
    stems = [f"test_{index:05}" for index in range(images)]
    protocol = {
        "label_maps": {"key": "ef" * 32, "count": images, "resize": "pil-nearest"},
        "size": [512, 384],
        "classes": {"count": len(_CLASSES), "ignore": None},
        "formula": {"name": "A", "aesthetic": 0.5, "closeness": 0.5},
        "judges": {"mask_accuracy": {"name": "segformer"}, "distance": {"name": "inception"}, "aesthetic": {"name": "laion-v2"}},
    }
    _write_packs(label_prints(run.prints, protocol), stems, [make_print(each.photo, each.label_map, _CLASSES) for each in painted])
    for stem, scene in zip(stems[:SET_ASIDE], painted, strict=False):
        write_bytes(run.panel / f"{stem}.png", encode_png(_CLASSES.paint(scene.label_map)))
        write_bytes(run.panel / f"{stem}.jpg", encode_jpeg(scene.photo, quality=90, subsampling="4:4:4"))
    confusions = np.stack([count_confusion(np.stack([each.label_map] * QUALITIES), np.stack(each.found), _CLASSES) for each in painted])
    epochs = candidates * 3 // 4
    names = [*map(str, range(1, epochs + 1)), *(f"avg_{epochs - 1 - number}_{epochs}" for number in range(candidates - epochs))]
    first_of: dict[int, str] = {}
    installed = versions()
    for number, name in enumerate(names):
        quality = min(number * QUALITIES // epochs, QUALITIES - 1)
        key = hash_value(name)
        rng = np.random.default_rng(number)
        if name.isdigit():
            write_bytes(run.checkpoint_path(name), b"weights")
            write_json(run.checkpoint_path(name).with_suffix(".json"), {"name": name, "sha256": key})
        confusion = _vary(confusions[np.arange(images) % scenes, quality], rng)
        for chunk in range(0, images, CHUNK):
            rows = slice(chunk, chunk + CHUNK)
            arrays = {
                "stem": np.array(stems[rows]),
                "confusion": confusion[rows],
                "features": rng.standard_normal((len(stems[rows]), features), dtype=np.float32),
            }
            write_arrays(run.features / key / f"{chunk // CHUNK:04d}.npz", arrays)
        measured = _measure(confusion, quality + number / candidates, rng)
        run.influences.write(key, stems, measured)
        estimates = {metric: each.estimate for metric, each in measured.items()}
        run.ledger.append(
            Measurement(
                key=key,
                candidate=name,
                seed=0,
                images=images,
                composite=estimates.pop("composite"),
                metrics=estimates,
                formula="A",
                protocol=protocol,
                observations=key,
                seconds=600.0,
                device="cuda",
                versions=installed,
            )
        )
        if quality in first_of:  # the same pictures, without their room on the disk
            shutil.copytree(run.prints / first_of[quality], run.prints / key, copy_function=os.link)
            shutil.copytree(run.samples / first_of[quality], run.samples / key, copy_function=os.link)
            continue
        first_of[quality] = key
        _write_packs(run.prints / key, stems, [make_print(each.drawings[quality], each.found[quality], _CLASSES) for each in painted])
        for stem, scene in zip(stems[:SET_ASIDE], painted, strict=False):
            write_bytes(run.samples / key / f"{stem}.jpg", encode_jpeg(scene.drawings[quality], quality=95, subsampling="4:4:4"))
    return run


def _write_packs(folder: Path, stems: Sequence[str], prints: Sequence[Print]) -> None:
    """The prints of all label maps, which take the scenes in turn."""
    for chunk in range(0, len(stems), CHUNK):
        places = range(chunk, min(chunk + CHUNK, len(stems)))
        write_prints(folder / pack_name(chunk // CHUNK), {stems[place]: prints[place % len(prints)] for place in places})


def _vary(confusion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint32 (N, C, C): some right pixels of each image taken for the class that the image has most of, more in some images than in others."""
    varied = confusion.astype(np.int64)
    right = np.diagonal(varied, axis1=1, axis2=2)
    lost = (right * rng.beta(1, 12, (len(varied), 1))).astype(np.int64)
    images, classes = np.arange(len(varied)), np.arange(varied.shape[1])
    varied[:, classes, classes] -= lost
    varied[images, :, varied.sum(axis=2).argmax(axis=1)] += lost
    return varied.astype(np.uint32)


def _measure(confusion: np.ndarray, level: float, rng: np.random.Generator) -> dict[str, Measured]:
    """Numbers of a candidate whose quality is `level`, 0 to `QUALITIES`."""
    accuracy = mask_accuracy(confusion)
    aesthetic = Measured.mean(rng.normal(4.4 + 0.08 * level, 0.4, len(confusion)))
    pull = rng.normal(0, 12, len(confusion))
    distance = Measured(60 - 4 * level, pull - pull.mean(), len(confusion))
    metrics = {"mask_accuracy": accuracy, "aesthetic": aesthetic, "fid": distance}
    return {**metrics, "composite": composite_measured(FORMULAS["A"], metrics, distance="fid")}


def seconds_to_open(page: Path, *, rounds: int) -> dict[str, float]:
    """Seconds from asking Chromium for a page on the disk until it can be read (`interactive`) and is all there (`loaded`), the median of rounds."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(rounds):
            tab = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
            tab.goto(page.as_uri(), wait_until="load")
            tab.wait_for_function(f"{_TIMES}.loadEventEnd > 0")
            found.append([tab.evaluate(f"{_TIMES}.{event}") for event in ("domContentLoadedEventEnd", "loadEventEnd")])
            tab.context.close()
        browser.close()
    interactive, loaded = np.median(found, axis=0) / 1000
    return {"interactive": float(interactive), "loaded": float(loaded)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the run, write its report in each form, and open each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--features", type=int, default=FEATURES)
    parser.add_argument("--rounds", type=int, default=3, help="open each page so often")
    parser.add_argument("--json", type=Path, help="write what was found here, too")
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        scenes = min(SCENES, wanted.images)
        run = make_run(Path(folder) / "run", candidates=wanted.candidates, images=wanted.images, scenes=scenes, features=wanted.features)
        found = {}
        for form in ("auto", "folder", "zip"):
            began = time.perf_counter()
            page = write_report(run, folder=Path(folder) / form, wish=Wish(form=form))
            written = time.perf_counter() - began
            files = [path for path in page.parent.rglob("*") if path.is_file()]
            found[form] = {
                "seconds": written,
                "page": page.stat().st_size,
                "files": len(files),
                "bytes": sum(path.stat().st_size for path in files),
                **seconds_to_open(page, rounds=wanted.rounds),
            }
    print(f"{wanted.candidates} candidates of {wanted.images} images on {versions()['python']}")
    for form, each in found.items():
        size = f"page {each['page'] / 1e6:.2f} MB, all {each['files']} files {each['bytes'] / 1e6:.1f} MB"
        opened = f"readable after {each['interactive']:.2f} s, loaded after {each['loaded']:.2f} s"
        print(f"{form:>6}: written in {each['seconds']:.1f} s; {size}; {opened}")
    if wanted.json:
        write_text(wanted.json, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
