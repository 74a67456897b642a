"""Verify a pick, best in a process that had no part in it: its weights, its images and its score must be what the record says."""

import numpy as np

from apfgan.candidates import Candidate
from apfgan.checkpoints import load_manifest, open_weights
from apfgan.errors import EnvironmentProblem, WeightsError
from apfgan.picks import PickRecord, Verification
from apfgan.progress import SILENT, Progress
from metrics.judges import Observations
from selection.candidate_weights import weights_identity
from selection.measuring import Bench, look, observations_key, observe, totals

IMAGES = 32
"""Images that are drawn and judged again."""

TOLERANCE = 0.01
"""Largest difference of an observation, in standard deviations of its kind. On the same machine there is none; on another one a few pixels whose
two best classes tie may fall to the other side. Another seed or other weights move observations by a tenth of a deviation and more."""

SCORE_TOLERANCE = 1e-6
"""Of the score: what the order of a sum may change in float64, and far less than anyone could see."""


def verify(bench: Bench, record: PickRecord, *, progress: Progress = SILENT) -> Verification:
    """Draw and judge the pick's first images anew, compare them with what is kept, and score what is kept again.

    Raises `WeightsError` for weights that are not the recorded ones, `EnvironmentProblem` for anything else that comes out otherwise.
    """
    candidate = Candidate.parse(record.candidate)
    _check_weights(bench, candidate, record)
    if bench.protocol_id != record.protocol_id:
        changed = [name for name, value in bench.protocol.items() if value != record.protocol.get(name)]
        raise EnvironmentProblem(
            f"{record.candidate} was picked under another protocol: {', '.join(changed) or 'the formula'} changed since. Restore it, or pick again"
        )
    source = bench.source(candidate)
    key = observations_key(bench, source)
    if key != record.observations:
        raise EnvironmentProblem(f"the images of {record.candidate} are made otherwise by this version of apfgan; pick again with it")
    kept = observe(bench, source, key, title=record.candidate, progress=progress)
    drawn = look(bench, list(source.draw(bench.label_maps[:IMAGES]))).observations
    difference = largest_difference(drawn, kept)
    if difference > TOLERANCE:
        raise EnvironmentProblem(
            f"the images of {record.candidate} come out otherwise than they were measured, by {difference:.2g} standard deviations where at most "
            f"{TOLERANCE:g} is rounding. Remove {bench.run.features / key} and pick again on this machine"
        )
    score = totals(bench, kept, checks=False)["composite"].value
    if abs(score - record.score.value) > SCORE_TOLERANCE:
        raise EnvironmentProblem(f"what is kept of {record.candidate} scores {score:.6f}, and the record says {record.score.value:.6f}. Pick again")
    return Verification(True, min(IMAGES, len(bench.label_maps)), difference, score)


def largest_difference(drawn: Observations, kept: Observations) -> float:
    """The largest difference between observations and the first rows of those kept, in standard deviations of each kind."""
    return max(_difference(np.asarray(rows, dtype=np.float64), kept[name].astype(np.float64)) for name, rows in drawn.items())


def _difference(rows: np.ndarray, kept: np.ndarray) -> float:
    largest = float(np.abs(rows - kept[: len(rows)]).max())
    return largest / spread if (spread := float(kept.std())) > 0 else largest


def _check_weights(bench: Bench, candidate: Candidate, record: PickRecord) -> None:
    """Compare hashes with the record's, and bytes with the hashes. Of what was saved under its own name, the members may be gone."""
    run, there = bench.run, bench.run.checkpoint_names()
    expected = {member.name: member.sha256 for member in record.members if member.name in there or record.saved is None}
    for name, sha256 in {**expected, **({candidate.base: record.saved} if record.saved else {})}.items():
        if load_manifest(run, name).sha256 != sha256:
            raise WeightsError(f"{run.checkpoint_path(name)} is not what {candidate} was picked with: its SHA-256 is not {sha256}. Pick again")
        open_weights(run, name)
    if weights_identity(bench.studio, candidate) != record.weights:
        raise WeightsError(f"the weights of {candidate} are put together otherwise than when it was picked. Pick again")
