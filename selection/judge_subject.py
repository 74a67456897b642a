"""Which judge is checked, and on which photos: those that it was not fitted to, as far as anything tells."""

from dataclasses import dataclass
from pathlib import Path

from apfgan.data import Pair, find_pairs, hold_out
from apfgan.errors import DataError, WeightsError
from apfgan.labels import Classes
from apfgan.runs import Run
from metrics.embedded import EmbeddedJudge
from metrics.judges import Judge
from metrics.pretrained import required_pretrained
from metrics.segformer import Geometry, SegformerJudge
from selection.evaluation import HELD_OUT
from selection.judge_card import held_out_pairs, read_fitted


@dataclass(frozen=True, eq=False)
class Subject:
    """A judge and the photos to check it on."""

    judge: Judge
    classes: Classes
    pairs: tuple[Pair, ...]
    size: tuple[int, int] | int | None
    """As `selection.judge_check.judge_photos` takes it."""
    about: str
    """Which pairs these are, in words."""


def segformer_subject(
    name: str, data: Path, *, classes: Classes | None = None, geometry: Geometry = "native", everything: bool = False, device: str = "cpu"
) -> Subject:
    """The SegFormer in a folder or of a hub id, with the pairs of `data` that were held out of its fit; with all of them if `everything`.

    Nothing is known of one that was not fitted by `apfgan judge fit`: all pairs are taken. `classes` default to those it was fitted with, or
    the landscape's. Raises `WeightsError` where there is none, `DataError` where none of the held-out pairs is in `data`.
    """
    folder = required_pretrained(name)
    fitted = read_fitted(folder)
    meaning = classes or (Classes() if fitted is None else fitted.request.classes)
    pairs = find_pairs(data)
    size = None
    about = f"all {len(pairs)} pairs of {data}"
    if fitted is None:
        about += "; nothing tells to which it was fitted"
    else:
        size = fitted.request.recipe.crop
        held = held_out_pairs(fitted, pairs)
        chosen = pairs if everything else held
        about = _about(len(chosen), len(pairs), data, everything=everything)
        if not chosen:
            raise DataError(f"none of the {len(fitted.held_out)} pairs held out of the fit of {folder} is in {data}; --all looks at all pairs")
        pairs = chosen
    return Subject(SegformerJudge(folder, meaning, geometry=geometry, device=device, batch=1), meaning, tuple(pairs), size, about)


def embedded_subject(run: Run, data: Path, *, everything: bool = False, device: str = "cpu") -> Subject:
    """The embedded judge of `run`, with the pairs of `data` that were held out of its fit; with all of them if `everything`.

    Raises `WeightsError` where the run has none, `DataError` where nothing was held out.
    """
    kept = run.judges / "embedded.safetensors"
    if not kept.exists():
        raise WeightsError(f"{run.path} has no embedded judge yet. It is fitted by: apfgan score --run {run.path} --data {data} --judges embedded")
    pairs = find_pairs(data)
    chosen = pairs if everything else hold_out(pairs, HELD_OUT)[1]
    if not chosen:
        raise DataError(f"{data} has a single pair, to which the embedded judge was fitted; --all looks at it anyway")
    config = run.config.data
    about = _about(len(chosen), len(pairs), data, everything=everything)
    return Subject(EmbeddedJudge.load(kept, device=device), config.label_classes, tuple(chosen), (config.width, config.height), about)


def _about(chosen: int, total: int, data: Path, *, everything: bool) -> str:
    if everything:
        return f"all {total} pairs of {data}, those that it was fitted to among them: no ceiling"
    return f"the {chosen} of {total} pairs of {data} that were held out when it was fitted"
