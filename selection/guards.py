"""The guards of a pick: each of the ways in which it may look better than it is."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm

from apfgan.guards import Guard, beyond_clip, embedded_judges, judge_alarms, mask_above_photos, with_margin
from apfgan.measured import Measured
from apfgan.noise import CONFIDENCE, QUANTILE, holm
from apfgan.ranking import better, parts_of
from apfgan.records import Anchors
from selection.picking import Decision


def guard(decision: Decision, *, judges: str, anchors: Anchors | None) -> tuple[Guard, ...]:
    """All guards of a decision. `judges`: the name of those that scored; `anchors`: what real photos score, where that is known."""
    metrics = decision.whole[decision.pick].metrics
    return (
        embedded_judges(judges),
        _goodhart(decision),
        _unconfirmed(decision),
        _luck(decision),
        _same_label_maps(decision),
        mask_above_photos(metrics, anchors),
        judge_alarms(anchors),
        beyond_clip(metrics),
        _photos(decision),
    )


def checks_of(pick: Mapping[str, Measured], rival: Mapping[str, Measured]) -> list[str]:
    """What both were measured by besides the composite and what it is made of."""
    return [name for name in pick if name in rival and name not in (*parts_of(pick), "composite")]


def worsened(pick: Mapping[str, Measured], rival: Mapping[str, Measured], checks: Sequence[str]) -> list[str]:
    """The checks in which a pick is worse than its rival beyond noise, both measured on the same images.

    Corrected for their number by Holm; one-sided, for only worse counts.
    """
    gaps = {name: pick[name].minus(rival[name]) for name in checks}
    drops = [(-better(name) * gap.value, gap.error or 0.0) for name, gap in gaps.items()]
    chances = np.array([norm.sf(drop / error) if error else float(drop <= 0) for drop, error in drops])
    return [name for name, chance in zip(checks, holm(chances), strict=True) if chance < 1 - CONFIDENCE]


def _goodhart(decision: Decision) -> Guard:
    name = "goodhart"
    if decision.pick == decision.single:
        return Guard(name, "no", "the pick is the best single checkpoint itself: no gain over it could be bought from the judges")
    pick, single = (decision.whole[each].measured for each in (decision.pick, decision.single))
    checks = checks_of(pick, single)
    if not checks:
        return Guard(name, "unknown", "nothing was measured besides what the total is made of: add --check, and photos to compare with")
    if worse := worsened(pick, single, checks):
        return Guard(name, "yes", f"against {decision.single}, {', '.join(worse)} became worse beyond noise: the gain may be the judges' alone")
    return Guard(name, "no", f"against {decision.single}, none of the checks became worse beyond noise: {', '.join(checks)}")


def _unconfirmed(decision: Decision) -> Guard:
    name = "unconfirmed_gain"
    if decision.pick == decision.single:
        return Guard(name, "no", "no gain over the best single checkpoint is claimed")
    gain = decision.finalist.gain
    if gain is None:
        return Guard(name, "unknown", f"{decision.single}, the best single checkpoint, could not be measured with fresh seeds")
    size = f"the gain over {decision.single} is {with_margin(gain.size)} with fresh seeds"
    if gain.confirmed:
        return Guard(name, "no", f"{size}: beyond 3 standard errors, no chance among so many tries, and above {gain.least:.4f}")
    return Guard(name, "yes", f"{size}: a gain is claimed from 3 standard errors and {gain.least:.4f} on, and where chance has less than 5 %")


def _luck(decision: Decision) -> Guard:
    name, finalist = "luck", decision.finalist
    told = f"the pick was found among {decision.tried} candidates"
    if decision.optimism is not None:
        told += f", whose best owes {decision.optimism:.4f} to that on average"
    if decision.plan.hold_out or finalist.deviation is None:
        return Guard(name, "unknown", f"{told}; the same label maps with several fresh seeds would show how much of it is the seed's")
    lost, mean = decision.searched - finalist.place.value.value, finalist.place.value.value
    spread = finalist.deviation * (1 + 1 / len(finalist.values)) ** 0.5
    told += f"; it scored {decision.searched:.4f} then, and {mean:.4f} with fresh seeds"
    return Guard(name, "yes" if lost > QUANTILE * spread and lost > 0 else "no", told)


def _same_label_maps(decision: Decision) -> Guard:
    name = "same_label_maps"
    if decision.plan.hold_out:
        told = f"it was found on one half of the label maps and confirmed on the other {decision.confirmation.images}"
        return Guard(name, "no", f"{told}, where a Fréchet distance is larger for being of fewer images: the gain counts, not the score")
    return Guard(
        name, "yes", "the label maps that confirmed it are those that it was found on: fresh seeds cannot show what it owes to them (--hold-out does)"
    )


def _photos(decision: Decision) -> Guard:
    if decision.pick.photos:
        return Guard("photos", "yes", "training photos stand in for drawings of a single class: what is handed in is not all drawn")
    return Guard("photos", "no", "every image is drawn")
