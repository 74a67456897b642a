"""Guards: ways in which a candidate may look better than it is, each with yes, no or unknown, and a sentence. Yes means beware.

Here are those that follow from its numbers alone; those of a pick follow from how it was found (`selection.guards`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from apfgan.noise import difference, told_apart
from apfgan.ranking import clipping_note, is_distance, parts_of
from apfgan.records import DISTANCE_CLIP, Anchors, Estimate

Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Guard:
    """One question, answered."""

    name: str
    answer: Answer
    """`yes`: beware."""
    sentence: str


def guards_of_numbers(metrics: Mapping[str, Estimate], *, judges: str, anchors: Anchors | None) -> tuple[Guard, ...]:
    """All guards here. `anchors`: what real photos score, where that is known."""
    return (embedded_judges(judges), mask_above_photos(metrics, anchors), judge_alarms(anchors), beyond_clip(metrics))


def embedded_judges(judges: str) -> Guard:
    """Whether numbers compare with those of other runs. `judges`: the name of those that scored."""
    if judges == "embedded":
        return Guard("embedded_judges", "yes", "the judges were fitted on this run's training pairs: these numbers compare within this run only")
    return Guard("embedded_judges", "no", f"the {judges} judges scored")


def mask_above_photos(metrics: Mapping[str, Estimate], anchors: Anchors | None) -> Guard:
    """Whether the mask judge finds more in drawings than in photos."""
    name, drawn = "mask_above_photos", metrics.get("mask_accuracy")
    real = None if anchors is None else anchors.metrics.get("mask_accuracy")
    if drawn is None or real is None:
        return Guard(name, "unknown", "no photos with label maps are known whose mask accuracy would be the ceiling")
    compared = f"mask accuracy {with_margin(drawn)}, and {with_margin(real)} in real photos"
    above = drawn.value > real.value and told_apart(difference(drawn, real))
    return Guard(name, "yes" if above else "no", f"{compared}: the judge sees more than there is, look at the images" if above else compared)


def judge_alarms(anchors: Anchors | None) -> Guard:
    """Whether something is wrong with the mask judge itself."""
    name = "judge_alarms"
    if anchors is None or "mask_accuracy" not in anchors.metrics:
        return Guard(name, "unknown", "the mask judge was not tried on real photos")
    if anchors.alarms:
        return Guard(name, "yes", f"of the mask judge on real photos: {'; '.join(anchors.alarms)}")
    return Guard(name, "no", f"nothing speaks against the mask judge on {anchors.photos} real photos")


def beyond_clip(metrics: Mapping[str, Estimate]) -> Guard:
    """Whether the distance is so large that the total no longer sees it."""
    name = next(filter(is_distance, parts_of(metrics)), None)
    if name is None:
        return Guard("beyond_clip", "unknown", "no distance was measured")
    seen = f"{name} {with_margin(metrics[name])}, clipped at {DISTANCE_CLIP:g}"
    if clipping_note([metrics]):
        return Guard("beyond_clip", "yes", f"{seen}: there, the total no longer sees the distance, and its error is too small")
    return Guard("beyond_clip", "no", seen)


def with_margin(value: Estimate) -> str:
    """`0.5480 ±0.0055`: a number and its standard error, in a sentence."""
    return f"{value.value:.4f}" + ("" if value.error is None else f" ±{value.error:.4f}")
