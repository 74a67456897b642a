"""Where candidates are drawn: the run's checkpoints, and what some candidates need of the training set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from apfgan.errors import UsageError
from apfgan.runs import Run
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
    def survey(self) -> Survey:
        """What the training set is made of; `UsageError` where none is known. The run must be locked by the caller."""
        if self.training_set is None:
            raise UsageError("a candidate with ~recal or ~photos needs the training set: name it with --data DATA")
        return survey_data(self.run, self.training_set)
