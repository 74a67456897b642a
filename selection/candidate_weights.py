"""The weights behind a candidate's name: read, averaged, rebuilt along the training or recalibrated in memory, and known by content.

A candidate that was saved under its own name (`apfgan merge`) is what it was before: it keeps its identity, and its file is read instead of made
again, also when the checkpoints are gone that it was made of.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from apfgan.candidates import Candidate, is_average
from apfgan.checkpoints import load_manifest, save_checkpoint
from apfgan.ema import parse_average
from apfgan.errors import ApfganError, UsageError, WeightsError
from apfgan.records import Manifest
from apfgan.runs import Run
from selection.merging import average
from selection.post_hoc import Profile, rebuild, widths_at_hand
from selection.recalibration import fresh_norms, statistics_identity
from selection.studio import Studio

_MEAN = "mean, spectral vectors found"
"""How several checkpoints become one (`selection.merging`): another text whenever the same shares would give other weights."""

_REBUILT = "least squares to 0.01"
"""How the shares of stored averages are found (`selection.post_hoc`), likewise."""


def require_weights(candidate: Candidate) -> None:
    """Raise `UsageError` where a candidate's name says more than which weights it has."""
    if str(candidate) != candidate.base:
        extra = str(candidate).removeprefix(candidate.base)
        raise UsageError(f"{candidate}: a seed, an encoder or photos are no part of the weights. Leave {extra} out: {candidate.base}")


def weights_identity(studio: Studio, candidate: Candidate) -> dict[str, Any]:
    """All that the weights depend on, as JSON: hashes and shares. Cheap: loads no weights.

    Raises what keeps it from being known, unless the candidate was saved itself: then it is what was written down.
    """
    try:
        return _identity(studio, candidate)
    except ApfganError:
        with suppress(WeightsError):
            if saved := load_manifest(studio.run, candidate.base).identity:
                return dict(saved)
        raise


def candidate_weights(studio: Studio, candidate: Candidate, *, allow_cross_run: bool = False) -> dict[str, np.ndarray]:
    """The weights of a candidate, whatever its seed is and whatever is done to its images.

    Raises `WeightsError` where checkpoints are missing, damaged, or of different runs, unless that is allowed.
    """
    if (saved := _saved(studio, candidate)) is not None:
        return dict(studio.shelf.open(saved))
    return _make(studio, candidate, allow_cross_run=allow_cross_run)


def save_candidate(studio: Studio, candidate: Candidate, *, allow_cross_run: bool = False) -> Manifest:
    """Save the weights of a candidate as a checkpoint under its own name, with its recipe; nothing changes where that was done before.

    Raises what `candidate_weights` does, and `UsageError` for a plain checkpoint and for a name that says more than which weights are meant.
    The run must be locked by the caller.
    """
    require_weights(candidate)
    if candidate.base in candidate.members:
        raise UsageError(f"a merge needs two checkpoints or more; of {candidate} alone, ~recal500 or ~ema0.03 can make another one")
    with suppress(WeightsError):  # damaged: made again
        if (saved := _saved(studio, candidate)) is not None:
            studio.shelf.open(saved)
            return saved
    weights = _make(studio, candidate, allow_cross_run=allow_cross_run)
    recipe = _recipe(studio, candidate)
    return save_checkpoint(
        studio.run,
        candidate.base,
        weights,
        phase=recipe.manifests[-1].phase,
        data=recipe.manifests[-1].data,
        members={each.name: share for each, share in zip(recipe.manifests, recipe.shares, strict=True)},
        member_hashes={each.name: each.sha256 for each in recipe.manifests},
        identity=weights_identity(studio, candidate),
    )


def weights_phase(studio: Studio, candidate: Candidate) -> str:
    """The phase of training that a candidate's weights come from."""
    return (_saved(studio, candidate) or _recipe(studio, candidate).manifests[-1]).phase


def rebuildable_widths(run: Run, epoch: Candidate) -> list[float]:
    """The widths, in thousandths, of averages along the training that can be rebuilt up to an epoch (`299~ema0.03`).

    Raises `WeightsError` where training kept no averages.
    """
    _, stored, step = _stored_averages(run, epoch)
    return widths_at_hand(stored, step)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """Checkpoints at hand, and the share that each has in a candidate."""

    manifests: Sequence[Manifest]
    shares: Sequence[float]


def _identity(studio: Studio, candidate: Candidate) -> dict[str, Any]:
    """What the identity is by the checkpoints that a candidate is made of."""
    if candidate.recalibrated:
        return weights_identity(studio, _averaged(candidate)) | {"norms": statistics_identity(studio, candidate.recalibrated)}
    if candidate.width is not None:
        manifests, stored, step = _stored_averages(studio.run, candidate)
        # Not the shares, which follow from this: their last digits depend on the machine.
        known = sorted([each.sha256, profile.width, profile.step] for each, profile in zip(manifests, stored, strict=True))
        return {"averages": known, "wanted": [candidate.width, step], "method": _REBUILT}
    shares = zip(candidate.members, candidate.shares, strict=True)
    identity = {"weights": sorted([load_manifest(studio.run, name).sha256, round(share, 6)] for name, share in shares)}
    return identity | ({"method": _MEAN} if candidate.is_merge else {})


def _saved(studio: Studio, candidate: Candidate) -> Manifest | None:
    """The manifest of the checkpoint that was saved under a candidate's own name, if it is still what the name means."""
    try:
        saved = load_manifest(studio.run, candidate.base)
    except WeightsError:
        return None
    return saved if saved.identity and saved.identity == weights_identity(studio, candidate) else None


def _make(studio: Studio, candidate: Candidate, *, allow_cross_run: bool) -> dict[str, np.ndarray]:
    """The weights of a candidate, from what it is made of."""
    if candidate.recalibrated:
        weights = candidate_weights(studio, _averaged(candidate), allow_cross_run=allow_cross_run)
        identity, origin = weights_identity(studio, candidate), f"candidate {candidate} of {studio.run.path}"
        return weights | fresh_norms(studio, weights, candidate.recalibrated, identity=identity, origin=origin)
    recipe = _recipe(studio, candidate)
    if not allow_cross_run:
        _require_one_run(recipe.manifests)
    opened = [studio.shelf.open(each) for each in recipe.manifests]
    return average(opened, recipe.shares, names=[each.name for each in recipe.manifests])


def _recipe(studio: Studio, candidate: Candidate) -> _Recipe:
    """What a candidate is made of, before its statistics are taken anew; that may have been saved itself."""
    averaged = _averaged(candidate)
    if averaged != candidate and (saved := _saved(studio, averaged)) is not None:
        return _Recipe([saved], [1.0])
    if candidate.width is None:
        return _Recipe([load_manifest(studio.run, name) for name in candidate.members], candidate.shares)
    manifests, stored, step = _stored_averages(studio.run, candidate)
    shares = rebuild(stored, Profile(candidate.width, step))
    used = [(each, float(share)) for each, share in zip(manifests, shares, strict=True) if share]
    return _Recipe([each for each, _ in used], [share for _, share in used])


def _averaged(candidate: Candidate) -> Candidate:
    """The candidate whose statistics are taken anew for this one."""
    return replace(candidate, recalibrated=0)


def _stored_averages(run: Run, candidate: Candidate) -> tuple[list[Manifest], list[Profile], int]:
    """The averages that training kept up to a candidate's epoch, in order, how each weighs the training, and the epoch's last step.

    Raises `WeightsError` where there are none, or where the epoch does not tell its step.
    """
    epoch = load_manifest(run, candidate.members[0])
    named = sorted((*parse_average(name), name) for name in run.checkpoint_names() if is_average(name))
    kept = [(width, load_manifest(run, name)) for at, width, name in named if at <= int(epoch.name)]
    profiles = [Profile(width, each.step) for width, each in kept if each.step]
    if epoch.step is None or not profiles:
        raise WeightsError(
            f"averages of other widths are rebuilt from those that training keeps, and {run.path} has none up to epoch {epoch.name}. Train with "
            f"--set train.ema=[0.05,0.1], as the preset full does; or average the last few checkpoints: apfgan merge {epoch.name} --window 5"
        )
    return [each for _, each in kept if each.step], profiles, epoch.step


def _require_one_run(manifests: Sequence[Manifest]) -> None:
    """Raise `WeightsError` that says in what checkpoints differ that are not of one run."""
    first = manifests[0]
    for other in manifests[1:]:
        different = ["the training data"] if other.data != first.data else []
        for section in first.config.keys() | other.config.keys():
            ones, others = first.config.get(section, {}), other.config.get(section, {})
            different += [f"{section}.{key}" for key in sorted(ones.keys() | others.keys()) if ones.get(key) != others.get(key)]
        if different:
            raise WeightsError(
                f"{other.name} and {first.name} are not of one run: they differ in {', '.join(different)}. The mean of separate trainings draws "
                f"nothing of worth; to save it all the same: apfgan merge {first.name} {other.name} --allow-cross-run"
            )
