"""The score of a generator while it is trained, on a few label maps: which epoch is the best so far.

A probe is no measurement. It stands on far fewer images, and a Fréchet distance grows when there are fewer: it compares epochs of one run with
one another and with nothing else, so nothing of it goes into the ledger. The judges are the run's embedded ones, whatever `score` will use:
they are always there, and the same from the first epoch to the last.
"""

from dataclasses import dataclass
from pathlib import Path

from apfgan.data import load_label_map, watched_label_maps
from apfgan.networks import Painter
from apfgan.progress import SILENT, Progress
from apfgan.records import Estimate
from apfgan.runs import Run
from apfgan.sampling import drawing, sample
from selection.evaluation import Evaluation, open_bench
from selection.finishing import as_submitted
from selection.measuring import Bench, look, totals

IMAGES = 16
"""Label maps of a probe."""


@dataclass(frozen=True)
class Probe:
    """Scores a painter in training, which learns on as if it had not been looked at."""

    bench: Bench

    def __call__(self, painter: Painter) -> Estimate:
        """The composite of its images for the bench's label maps under seed 0, drawn and encoded as for `score`."""
        config = self.bench.run.config
        maps = ((path.stem, load_label_map(path, config.data)) for path in self.bench.label_maps)
        with drawing(painter):
            drawn = list(sample(painter, maps, classes=len(config.data.classes), seed=0, device=self.bench.device))
        images = [as_submitted(stem, label_map, image, config.output) for stem, label_map, image in drawn]
        return totals(self.bench, look(self.bench, images).observations)["composite"].estimate


def open_probe(run: Run, data: Path, *, images: int = IMAGES, device: str = "cpu", progress: Progress = SILENT) -> Probe:
    """A probe on some of the label maps by which a training is watched, evenly spread.

    Fits the run's embedded judges and their reference unless they are there; `score` finds both again. Raises what `open_bench` raises.
    """
    evaluation = Evaluation(data=data, labels=watched_label_maps(data)[0].parent, limit=images)
    return Probe(open_bench(run, evaluation, pictures=False, device=device, progress=progress))
