"""The distances of a sweep by the procedure of the original program, which starts a process for each candidate (spec: method, 11).

    python -m benchmarks.original_fid PHOTOS --weights INCEPTION --save STATISTICS
    python -m benchmarks.original_fid IMAGES --weights INCEPTION --statistics STATISTICS

Every JPEG file is blurred and shrunk to 256x256 by scikit-image, enlarged to 299x299 and shown to Inception, ten at a time; the distance takes the
square root of a matrix. Written anew for `benchmarks.sweep`; prints JSON. Where the original drops the last incomplete batch, and counts the zeros
around a map when it pools averages, this does as pytorch-fid: neither changes the cost, and the numbers can be compared with ours.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import linalg
from skimage.transform import resize
from torch import nn
from torch.nn import functional

from apfgan.config import OutputConfig
from apfgan.images import encode_jpeg
from benchmarks.gaussians import form_statistics
from benchmarks.timing import DECODE, NETWORK, RESIZE, Stopwatch
from metrics.inception import Inception
from metrics.inference import freeze, load_state, read_state

BATCH = 10
"""Images that go through the network together."""


def load(weights: Path) -> Callable[[torch.Tensor], np.ndarray]:
    """Inception from a file in pytorch-fid's layout: images (N, 3, 299, 299) in -1..1 to features (N, 2048)."""
    network = Inception()
    load_state(network, read_state(weights), weights)
    return partial(_look, freeze(network, "cpu"))


def write_jpegs(images: Sequence[np.ndarray], folder: Path) -> None:
    """Leave images uint8 (H, W, 3) in a new folder, as the generator's process does."""
    output = OutputConfig()
    folder.mkdir()
    for index, image in enumerate(images):
        content = encode_jpeg(image, quality=output.jpeg_quality, subsampling=output.jpeg_subsampling)
        (folder / f"{index:05d}.jpg").write_bytes(content)


def observe(paths: Sequence[Path], look: Callable[[torch.Tensor], np.ndarray], watch: Stopwatch) -> np.ndarray:
    """Features (N, D) of image files."""
    rows = []
    for start in range(0, len(paths), BATCH):
        with watch.stage(DECODE):
            images = [np.asarray(Image.open(path)).astype(np.float32) for path in paths[start : start + BATCH]]
        with watch.stage(RESIZE):
            small = torch.from_numpy(np.stack([shrink(image) for image in images])).permute(0, 3, 1, 2) / 255
            batch = 2 * functional.interpolate(small, size=(299, 299), mode="bilinear", align_corners=False) - 1
        with watch.stage(NETWORK):
            rows.append(look(batch))
    return np.concatenate(rows)


def shrink(image: np.ndarray) -> np.ndarray:
    """An image float32 (H, W, 3) at 256x256."""
    small: np.ndarray = resize(image, (256, 256), order=1, anti_aliasing=True, preserve_range=True)
    return small


def distance(mean: np.ndarray, covariance: np.ndarray, photo_mean: np.ndarray, photo_covariance: np.ndarray) -> float:
    """The Fréchet distance by the root of the covariances' product, which is nudged where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular matrices: fewer images than features
        root = linalg.sqrtm(covariance @ photo_covariance)
        if not np.isfinite(root).all():
            nudge = 1e-6 * np.eye(len(mean))
            root = linalg.sqrtm((covariance + nudge) @ (photo_covariance + nudge))
    shift = mean - photo_mean
    return float(shift @ shift + np.trace(covariance) + np.trace(photo_covariance) - 2 * np.trace(root).real)


def main(arguments: Sequence[str] | None = None) -> None:
    """Keep the statistics of a folder, or print its distance from kept ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--features", type=int, default=2048, help="Use the first so many features alone.")
    parser.add_argument("--save", type=Path, help="Write the folder's statistics here.")
    parser.add_argument("--statistics", type=Path, help="Take the distance from these.")
    options = parser.parse_args(arguments)
    features = observe(sorted(options.folder.glob("*.jpg")), load(options.weights), Stopwatch())
    mean, covariance = form_statistics(features[:, : options.features])
    if options.save:
        np.savez(options.save, mu=mean, sigma=covariance)
    if options.statistics:
        with np.load(options.statistics) as photos:
            print(json.dumps({"images": len(features), "distances": [distance(mean, covariance, photos["mu"], photos["sigma"])]}))


@torch.inference_mode()
def _look(network: nn.Module, images: torch.Tensor) -> np.ndarray:
    features: np.ndarray = network(images).numpy()
    return features


if __name__ == "__main__":
    main()
