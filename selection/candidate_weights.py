"""The weights behind a candidate's name: read, merged in memory, and known by content."""

from typing import Any

import numpy as np

from apfgan.candidates import Candidate
from apfgan.checkpoints import load_manifest, load_weights
from selection.merging import average
from selection.studio import Studio


def weights_identity(studio: Studio, candidate: Candidate) -> dict[str, Any]:
    """All that the weights depend on, as JSON: hashes and shares. Cheap: loads no weights."""
    members = zip(candidate.members, candidate.shares, strict=True)
    return {
        "weights": sorted([load_manifest(studio.run, name).sha256, round(share, 6)] for name, share in members),
        "merge": "mean, BatchNorm averaged",
    }


def candidate_weights(studio: Studio, candidate: Candidate) -> dict[str, np.ndarray]:
    """The weights of a candidate, merged in memory where it has several members."""
    loaded = [load_weights(studio.run, name) for name in candidate.members]
    return average(loaded, candidate.shares, names=candidate.members) if candidate.is_merge else loaded[0]
