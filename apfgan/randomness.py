"""Where random numbers come from: a stream of its own for every purpose, derived from a seed and nothing else."""

import hashlib

import numpy as np


def random_source(*key: int | str) -> np.random.Generator:
    """The stream that belongs to `key`, such as `(seed, epoch, step, "noise")`; the same key gives the same numbers anywhere.

    No state survives between streams, so resuming in the middle of a training needs none.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
