"""Checkpoints that were opened before, so that a search that merges the same ones again and again verifies each of them once."""

from apfgan.checkpoints import Weights, open_weights
from apfgan.records import Manifest
from apfgan.runs import Run


class Shelf:
    """The opened checkpoints of a run.

    What lies here takes no memory of its own: arrays are read when a merge comes to them, from the system's cache if it still has them. To read
    and hash a full-size checkpoint takes 0.6 s, to read it again from the cache 0.2 s.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._opened: dict[str, Weights] = {}

    def open(self, manifest: Manifest) -> Weights:
        """The arrays of the checkpoint with this manifest; raises `WeightsError` for a file that is missing, or not what was saved."""
        if manifest.sha256 not in self._opened:
            self._opened[manifest.sha256] = open_weights(self._run, manifest.name)
        return self._opened[manifest.sha256]
