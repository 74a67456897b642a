"""The smallest generator that trains on both phases: what tests of whole commands train in seconds."""

from collections.abc import Mapping
from typing import Any

import tomli_w

DATA = {"width": 64, "height": 48, "load_width": 72}
MODEL = {"width": 4, "hidden": 4, "upsamplings": 2, "levels": 2}
TRAIN = {"progressive_perceptual": "none", "perceptual": "none", "progressive_batch": 4, "batch": 4}


def pico(*, model: Mapping[str, Any], train: Mapping[str, Any]) -> str:
    """A configuration file with further settings, or others, of the model and the training."""
    return tomli_w.dumps({"data": DATA, "model": MODEL | dict(model), "train": TRAIN | dict(train)})
