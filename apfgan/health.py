"""Whether a training is still worth going on: judged from its losses, its weights and its log alone.

Two things end one. A number that is no longer finite: nothing after it can mend that. And a collapse: the images were alive and have been
dead for several epochs since, which costs the night without a crash. At the start all images are flat; that is no collapse.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from apfgan.candidates import describe_epochs
from apfgan.errors import WeightsError
from apfgan.runs import Run
from apfgan.training_log import EpochRecord

PATIENCE = 3
"""Epochs without life, one after the other, that are a collapse."""

# Measured on 96 painted pairs with the preset `tiny`. In 18 healthy epochs contrast was 0.60 to 1.06, variety 0.50 to 0.81 and plain at most
# 0.09 (photos: 0.05 on average, none of 17 real ones above 0.39), and the discriminators' losses added up to 1.47 to 1.98. With the rates of
# both players or of the generator 30 to 100 times as high, from the start or from epoch 12 on, plain was 0.80 to 1. With those of the
# discriminators alone the images lived on by feature matching, and the losses added up to 5.1 to 12.7.
_LEAST_CONTRAST = 0.1
_LEAST_VARIETY = 0.1
_MOST_PLAIN = 0.6
_LEAST_DISCRIMINATION = 0.05
_MOST_DISCRIMINATION = 4.0


@dataclass(frozen=True, slots=True)
class Collapse:
    """A training whose images are dead."""

    since: int
    """The first epoch of those without life."""
    alive: int
    """The last epoch before them."""
    symptom: str
    """What is wrong in the latest one."""


def find_collapse(records: Sequence[EpochRecord], *, patience: int = PATIENCE) -> Collapse | None:
    """The collapse in which a training stands after these epochs, if it does: an epoch had life, and the latest `patience` have none."""
    latest = symptom(records[-1]) if records else None
    alive = max((index for index, record in enumerate(records) if symptom(record) is None), default=None)
    if latest is None or alive is None or len(records) - 1 - alive < patience:
        return None
    return Collapse(records[alive + 1].epoch, records[alive].epoch, latest)


def symptom(record: EpochRecord) -> str | None:
    """What shows that an epoch has no life; None for one that has."""
    return next(_symptoms(record), None)


def _symptoms(record: EpochRecord) -> Iterator[str]:
    if (vitals := record.vitals) is not None:
        if vitals.contrast < _LEAST_CONTRAST:
            yield f"the images are flat ({vitals.contrast:.2g} of the photos' contrast)"
        if vitals.variety < _LEAST_VARIETY:
            yield f"the images are all alike ({vitals.variety:.2g} of the photos' variety)"
        if vitals.plain > _MOST_PLAIN:
            yield f"the images consist of a few plain colours ({vitals.plain:.0%} of neighbouring pixels are exactly alike)"
    if {"discriminator_fake", "discriminator_real"} <= record.losses.keys():
        loss = record.losses["discriminator_fake"] + record.losses["discriminator_real"]
        if loss < _LEAST_DISCRIMINATION:
            yield f"the discriminators tell every image from every photo: their losses add up to {loss:.2g}"
        if loss > _MOST_DISCRIMINATION:
            yield f"the discriminators' losses add up to {loss:.2g}, where knowing nothing costs 2"


def broken_losses(losses: Mapping[str, float]) -> list[str]:
    """What to say of the losses that are not finite."""
    return [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]


def broken_arrays(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """What to say of the weights, statistics and optimiser's memory that hold something not finite.

    A loss tells of the weights before its step: of those that an epoch ends with, nobody has seen one.
    """
    return [f"{name} is not finite" for name, array in arrays.items() if not np.isfinite(array).all()]


def divergence(run: Run, broken: Sequence[str], *, epoch: int, batch: int | None = None) -> WeightsError:
    """The error of a training whose numbers are not finite in `epoch`; `batch` counts from 1, None: at the end."""
    where = f"epoch {epoch}" + ("" if batch is None else f", batch {batch}")
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    return WeightsError(
        f"training diverged in {where}: {', '.join(broken[:3])}{more}. {_last_good(run, epoch - 1)} "
        f"The same settings would end here again: {_cure(run, epoch)}."
    )


def death(run: Run, collapse: Collapse) -> WeightsError:
    """The error of a training that collapsed."""
    return WeightsError(
        f"training has collapsed: {collapse.symptom}, and there was no life in epoch {collapse.since} or any after it. "
        f"{_last_good(run, collapse.alive)} Look at {run.previews / 'film.jpg'}, then {_cure(run, collapse.since)}."
    )


def _last_good(run: Run, epoch: int) -> str:
    last = max((saved for saved in run.epochs() if saved <= epoch), default=0)
    return f"The last good checkpoint is epoch {last} (saved in {run.checkpoints}: {describe_epochs(run.checkpoint_names())})."


def _cure(run: Run, epoch: int) -> str:
    boundary = run.config.train.progressive_epochs
    fork = f", with the finished first phase if you like: --fork {run.path}@{boundary}" if 0 < boundary < epoch else ""
    return f"begin another --run with lower train.generator_rate and train.discriminator_rate{fork}"
