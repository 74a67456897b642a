"""The record of a pick (`apfgan.picks`), made of its decision, and the checkpoint that goes with it."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict

from apfgan.candidates import Candidate
from apfgan.checkpoints import load_manifest
from apfgan.guards import Guard
from apfgan.picks import FinalistRecord, MemberRecord, PickRecord
from apfgan.runs import Run, versions
from selection.candidate_weights import save_candidate, weights_identity
from selection.confirming import Finalist
from selection.driving import Budget
from selection.measuring import Bench, observations_key
from selection.pick_plan import Plan
from selection.picking import Decision


def make_record(
    bench: Bench,
    decision: Decision,
    guards: Sequence[Guard],
    *,
    wanted: Plan,
    budget: Budget,
    saved: str | None = None,
    failed: Sequence[str] = (),
) -> PickRecord:
    """The record of a decision; `saved`: hash of the checkpoint that was written under the pick's name; `failed`: what could not be measured."""
    run, pick, finalist, plan = bench.run, decision.pick, decision.finalist, decision.plan
    return PickRecord(
        candidate=str(pick),
        seed=pick.seed,
        members=_members(run, pick),
        weights=weights_identity(bench.studio, pick),
        saved=saved,
        score=decision.whole[pick].metrics["composite"],
        expected_score=finalist.place.value,
        interval=finalist.place.interval,
        probability_best=finalist.standing.probability_best,
        clear_winner=not decision.rivals,
        within_noise=tuple(str(each.candidate) for each in decision.rivals),
        best_single=str(decision.single),
        finalists=tuple(map(finalist_record, decision.confirmation.finalists)),
        fresh_seeds=decision.confirmation.seeds,
        confirmed_on=decision.confirmation.images,
        guards=tuple(guards),
        tried=decision.tried,
        failed=tuple(failed),
        budget=asdict(budget),
        planned=plan.costs,
        spent=decision.spending,
        cut=tuple(plan.cuts(wanted)),
        protocol_id=bench.protocol_id,
        protocol=bench.protocol,
        observations=observations_key(bench, bench.source(pick)),
        device=bench.device,
        versions=versions(),
        commands=_commands(run, pick),
    )


def save_pick(bench: Bench, pick: Candidate) -> str | None:
    """Save the weights of a pick that is no checkpoint itself, and return the file's hash. The run must be locked by the caller."""
    return None if pick.base in pick.members else save_candidate(bench.studio, Candidate.parse(pick.base)).sha256


def finalist_record(finalist: Finalist) -> FinalistRecord:
    """What was confirmed of a finalist."""
    gain = finalist.gain
    return FinalistRecord(
        candidate=str(finalist.candidate),
        expected_score=finalist.place.value,
        scores=finalist.values,
        deviation=finalist.deviation,
        probability_best=finalist.standing.probability_best,
        rank_interval=finalist.place.rank_interval,
        gain=None if gain is None else gain.size,
        gain_by_chance=None if gain is None else gain.chance,
        gain_confirmed=None if gain is None else gain.confirmed,
    )


def _members(run: Run, pick: Candidate) -> tuple[MemberRecord, ...]:
    """The checkpoints that a pick is made of. Of one that was saved they may be gone: its recipe remembers them."""
    recipe = load_manifest(run, pick.base).member_hashes if pick.base in run.checkpoint_names() else {}
    return tuple(
        MemberRecord(name=name, share=share, sha256=recipe.get(name) or load_manifest(run, name).sha256)
        for name, share in zip(pick.members, pick.shares, strict=True)
    )


def _commands(run: Run, pick: Candidate) -> dict[str, str]:
    """To be copied into a shell, where this run lies."""
    here = ["--run", str(run.path)]
    commands = {} if pick.base in pick.members else {"merge": ["merge", *here, pick.base]}
    commands |= {"submit": ["submit", *here, "--pick", str(pick)], "verify": ["pick", *here, "--verify"]}
    return {name: shlex.join(["apfgan", *arguments]) for name, arguments in commands.items()}
