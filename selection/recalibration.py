"""BatchNorm's statistics of given weights, taken anew on training label maps.

The statistics of a mean of checkpoints are not the mean of their statistics: a merge varies less than its members do, so averaged ones
overestimate its variance (the variance collapse of Jordan et al. 2023; spec: selection, 2c). Taking them anew moves single checkpoints as well,
for better or worse, so a gain counts as the merge's only beside a single checkpoint that was treated alike.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from apfgan.backend import fresh_statistics, state_arrays
from apfgan.checkpoints import Weights
from apfgan.data import Pair, TrainingPairs, load_label_map, spread
from apfgan.errors import DataError
from apfgan.files import hash_value, read_arrays, write_arrays
from apfgan.image_sets import hash_named
from apfgan.sampling import NOISE_SCHEME, load_painter, sample
from selection.studio import Studio

_BATCH = 4
"""Images that are normalised together. Fixed, for their statistics depend on it."""

_SEED = 0
"""Of the noise: the statistics belong to the weights, whichever seed they are drawn with afterwards."""


def statistics_identity(studio: Studio, count: int) -> Mapping[str, Any]:
    """All that the statistics depend on besides the weights, as JSON. Surveys the training set."""
    pairs = _chosen_pairs(studio, count)
    return {
        "label_maps": hash_named((pair.stem, studio.survey.hashes[pair.stem].label_map) for pair in pairs),
        "count": len(pairs),
        "batch": _BATCH,
        "noise": [NOISE_SCHEME, _SEED],
    }


def fresh_norms(studio: Studio, weights: Weights, count: int, *, identity: Mapping[str, Any], origin: str) -> dict[str, np.ndarray]:
    """The running means and variances of these weights, by name: those of the images for `count` training label maps (all, if there are fewer),
    the mean over their batches.

    `identity` is all that they depend on: the run keeps them by it, so that a race does not draw hundreds of images again for each of its
    rungs. Raises `WeightsError` where the weights do not fit the run, under the name `origin`. The run must be locked by the caller.
    """
    path = studio.run.features / f"norms_{hash_value(dict(identity))[:32]}.npz"
    with suppress(FileNotFoundError, DataError):  # missing, or damaged: made again
        return read_arrays(path)
    config = studio.run.config
    painter = load_painter(weights, config, origin=origin, device=studio.device)
    label_maps = ((pair.stem, load_label_map(pair.label_map, config.data)) for pair in _chosen_pairs(studio, count))
    with fresh_statistics(painter):
        for _ in sample(painter, label_maps, classes=len(config.data.classes), seed=_SEED, device=studio.device, batch=_BATCH):
            pass
    norms = {name: array for name, array in state_arrays(painter).items() if name.endswith((".running_mean", ".running_var"))}
    write_arrays(path, norms)
    return norms


def _chosen_pairs(studio: Studio, count: int) -> Sequence[Pair]:
    """Training pairs, evenly spread over those that the run was trained with."""
    survey = studio.survey
    return spread(TrainingPairs(survey.pairs, studio.run.config.data, hashes=survey.hashes).pairs, count)
