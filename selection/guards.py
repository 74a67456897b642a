"""Guards: each of the ways in which a pick may look better than it is, with yes, no or unknown, and a sentence. Yes means beware."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm

from apfgan.measured import Measured
from apfgan.noise import CONFIDENCE, QUANTILE, difference, holm, told_apart
from apfgan.ranking import better, clipping_note, is_distance, parts_of
from apfgan.records import DISTANCE_CLIP, Anchors, Estimate
from selection.picking import Decision

Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Guard:
    """One question, answered."""

    name: str
    answer: Answer
    """`yes`: beware."""
    sentence: str


def guard(decision: Decision, *, judges: str, anchors: Anchors | None) -> tuple[Guard, ...]:
    """All guards of a decision. `judges`: the name of those that scored; `anchors`: what real photos score, where that is known."""
    metrics = decision.whole[decision.pick].metrics
    return (
        _embedded_judges(judges),
        _goodhart(decision),
        _unconfirmed(decision),
        _luck(decision),
        _same_label_maps(decision),
        _mask_above_photos(metrics, anchors),
        _judge_alarms(anchors),
        _beyond_clip(metrics),
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


def _embedded_judges(judges: str) -> Guard:
    if judges == "embedded":
        return Guard("embedded_judges", "yes", "the judges were fitted on this run's training pairs: these numbers compare within this run only")
    return Guard("embedded_judges", "no", f"the {judges} judges scored")


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
    size = f"the gain over {decision.single} is {_text(gain.size)} with fresh seeds"
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


def _mask_above_photos(metrics: Mapping[str, Estimate], anchors: Anchors | None) -> Guard:
    name, drawn = "mask_above_photos", metrics.get("mask_accuracy")
    real = None if anchors is None else anchors.metrics.get("mask_accuracy")
    if drawn is None or real is None:
        return Guard(name, "unknown", "no photos with label maps are known whose mask accuracy would be the ceiling")
    compared = f"mask accuracy {_text(drawn)}, and {_text(real)} in real photos"
    above = drawn.value > real.value and told_apart(difference(drawn, real))
    return Guard(name, "yes" if above else "no", f"{compared}: the judge sees more than there is, look at the images" if above else compared)


def _judge_alarms(anchors: Anchors | None) -> Guard:
    name = "judge_alarms"
    if anchors is None or "mask_accuracy" not in anchors.metrics:
        return Guard(name, "unknown", "the mask judge was not tried on real photos")
    if anchors.alarms:
        return Guard(name, "yes", f"of the mask judge on real photos: {'; '.join(anchors.alarms)}")
    return Guard(name, "no", f"nothing speaks against the mask judge on {anchors.photos} real photos")


def _beyond_clip(metrics: Mapping[str, Estimate]) -> Guard:
    name = next(filter(is_distance, parts_of(metrics)))
    seen = f"{name} {_text(metrics[name])}, clipped at {DISTANCE_CLIP:g}"
    if clipping_note([metrics]):
        return Guard("beyond_clip", "yes", f"{seen}: there, the total no longer sees the distance, and its error is too small")
    return Guard("beyond_clip", "no", seen)


def _photos(decision: Decision) -> Guard:
    if decision.pick.photos:
        return Guard("photos", "yes", "training photos stand in for drawings of a single class: what is handed in is not all drawn")
    return Guard("photos", "no", "every image is drawn")


def _text(value: Estimate) -> str:
    return f"{value.value:.4f}" + ("" if value.error is None else f" ±{value.error:.4f}")
