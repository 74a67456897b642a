"""Where candidates are drawn: the run's checkpoints, and what some candidates need of the training set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from apfgan.data import load_label_map
from apfgan.errors import UsageError
from apfgan.folders import natural_order
from apfgan.runs import Run
from apfgan.single_class import Replacement, plan_replacements
from apfgan.threads import in_threads
from selection.shelf import Shelf
from selection.survey import Survey, survey_data


@dataclass(frozen=True)
class Studio:
    """All that drawing takes besides a candidate's name."""

    run: Run
    label_maps: Sequence[Path]
    """All label maps that images are drawn for, in any order: which drawing gives way to which photo follows from the whole set."""
    training_set: Path | None = None
    """Data set in the real layout, for candidates that need it (`~recal500`, `~photos`)."""
    device: str = "cpu"

    @cached_property
    def shelf(self) -> Shelf:
        """Checkpoints that were opened before."""
        return Shelf(self.run)

    @cached_property
    def survey(self) -> Survey:
        """What the training set is made of; `UsageError` where none is known. The run must be locked by the caller."""
        if self.training_set is None:
            raise UsageError(
                f"a candidate with ~recal or ~photos needs the training set. Name it once: apfgan score --run {self.run.path} --data DATA"
            )
        return survey_data(self.run, self.training_set)

    @cached_property
    def replacements(self) -> Mapping[str, Replacement]:
        """What `~photos` does, by the stem of each label map that one class dominates.

        Planned for all label maps in natural order of their stems, whichever are drawn and in whatever order. Locking: as for the survey.
        """
        data = self.run.config.data
        ordered = sorted(self.label_maps, key=lambda path: natural_order(path.stem))
        label_maps = in_threads(lambda path: (path.stem, load_label_map(path, data)), ordered)
        return plan_replacements(label_maps, self.survey.single_class, data.label_classes)
