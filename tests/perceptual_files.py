"""Files of weights for the perceptual networks, in torchvision's names: drawn from a seed, so that features neither vanish nor explode."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from apfgan.backend import state_arrays
from apfgan.networks.perceptual import Inception, Vgg19, _vgg19_names
from apfgan.randomness import random_source


def write_perceptual_files(folder: Path) -> dict[str, str]:
    """Writes both into `folder`; the settings of the training that name them."""
    theirs = {ours: name for name, ours in _vgg19_names().items()}
    for file, network, names in (("vgg19", Vgg19(), theirs), ("inception", Inception(), {})):
        arrays = {names.get(name, name): _drawn(name, array.shape) for name, array in state_arrays(network).items()}
        save_file(arrays, folder / f"{file}.safetensors")
    return {f"{file}_weights": str(folder / f"{file}.safetensors") for file in ("vgg19", "inception")}


def _drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    draws = random_source("perceptual", name).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        return draws * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return 1 + 0.2 * np.abs(draws) if name.endswith(("running_var", "bn.weight")) else 0.1 * draws
