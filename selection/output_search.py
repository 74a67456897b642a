"""Search how the drawings of one candidate are best stored: JPEG quality and subsampling, and photos in the place of single-class drawings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from apfgan.candidates import Candidate, Jpeg
from apfgan.config import OutputConfig
from apfgan.errors import UsageError
from apfgan.images import Subsampling
from apfgan.noise import CONFIDENCE, holm, probability_positive
from apfgan.ranking import Entry, better, gap
from apfgan.records import Estimate
from selection.measuring import Bench, observations_key
from selection.sources import GeneratorSource, KeptDrawings
from selection.units import Outcome, Search, Unit


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to store the drawings, beside the baseline."""

    candidate: Candidate
    entry: Entry
    difference: Estimate
    """Its deciding number less the baseline's, image by image."""
    told_apart: bool
    """Whether that is more than the noise of the images leaves open, given that so many ways were tried (Holm)."""


@dataclass(frozen=True, slots=True)
class OutputVerdict:
    """What an output search found."""

    baseline: Candidate
    """The drawings as the run stores them."""
    by: str
    """The metric that decides."""
    variants: tuple[Variant, ...]
    """All that were measured, the baseline among them, best first."""

    @property
    def choice(self) -> Candidate:
        """The best of the ways that are better than the baseline beyond the noise; the baseline where there is none."""
        candidates = [each.candidate for each in self.variants]
        ahead = self.variants[: candidates.index(self.baseline)]
        return next((each.candidate for each in ahead if each.told_apart), self.baseline)


def jpeg_settings(qualities: str, subsamplings: str) -> list[Jpeg]:
    """Every quality with every subsampling, from text: `75,90` and `420,444`. Raises `UsageError` for what is none."""
    try:
        numbers = [int(each) for each in qualities.split(",")]
    except ValueError as error:
        raise UsageError(f"JPEG qualities {qualities!r}: write whole numbers with commas between them, as in 75,90") from error
    return [Jpeg(number, cast(Subsampling, ":".join(each.strip()))) for number in numbers for each in subsamplings.split(",")]


def output_variants(candidate: Candidate, settings: Sequence[Jpeg], output: OutputConfig) -> list[Candidate]:
    """A candidate's drawings as the run stores them, and in each of the other settings; whatever its own name says of that is left out."""
    baseline = replace(candidate, jpeg=None, photos=False)
    own = Jpeg(output.jpeg_quality, output.jpeg_subsampling)
    return [baseline, *(replace(baseline, jpeg=each) for each in dict.fromkeys(settings) if each != own)]


def output_search(variants: Sequence[Candidate], *, photos: bool, by: str = "composite") -> Search:
    """Measure all `variants`; then, with `photos`, the best of them by metric `by` with photos in the place of single-class drawings."""
    found = yield [Unit(each) for each in variants]
    if photos and found:
        best = max(found.values(), key=lambda each: better(by) * each.entry.metrics[by].value)
        yield [Unit(replace(best.unit.candidate, photos=True))]


def judge_outputs(outcomes: Mapping[Unit, Outcome], baseline: Candidate, *, by: str = "composite") -> OutputVerdict:
    """What outcomes on the same images, the baseline's among them, say of each way to store the drawings."""
    reference = outcomes[Unit(baseline)].entry
    entries = {unit.candidate: outcome.entry for unit, outcome in outcomes.items()}
    gaps = {candidate: gap(entry, reference, by=by) for candidate, entry in entries.items()}
    others = [candidate for candidate in entries if candidate != baseline]
    chances = holm(np.array([_chance(gaps[candidate]) for candidate in others]))
    apart = {candidate for candidate, chance in zip(others, chances, strict=True) if chance < 1 - CONFIDENCE}
    # What changes nothing stands behind the baseline, so that nobody takes it for a gain.
    ordered = sorted(entries, key=lambda each: (-better(by) * entries[each].metrics[by].value, each != baseline))
    return OutputVerdict(baseline, by, tuple(Variant(each, entries[each], gaps[each], each in apart) for each in ordered))


def share_drawings(bench: Bench, variants: Sequence[Candidate]) -> Bench:
    """The same bench, on which the variants of one candidate are drawn once for all of them, by the process that measures them."""
    kept = KeptDrawings(bench.studio)
    shared = [*variants, *(replace(each, photos=True) for each in variants)]
    return replace(bench, stored={**bench.stored, **{each: GeneratorSource(bench.studio, each, kept) for each in shared}})


def mean_bytes(bench: Bench, candidate: Candidate) -> float | None:
    """Size of a measured candidate's images, on average over the few that are kept for the report (`Bench.panel`); None where those are lost."""
    folder = bench.run.samples / observations_key(bench, bench.source(candidate))
    sizes = [path.stat().st_size for path in folder.glob("*.jpg")]
    return sum(sizes) / len(sizes) if sizes else None


def _chance(difference: Estimate) -> float:
    """Probability of a difference at least as large, either way, where there is none."""
    positive = probability_positive(difference)
    if positive is None:
        return float(difference.value == 0)
    return 2 * min(positive, 1 - positive)
