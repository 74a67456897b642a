"""What `judge.json` says of a SegFormer that `apfgan judge fit` made: from what, on what, who was held out, and what it is worth on those."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from apfgan.data import Pair
from apfgan.errors import UsageError, WeightsError
from apfgan.files import hash_file
from apfgan.folders import normal_name
from apfgan.labels import Classes
from apfgan.records import Estimate
from metrics.segformer_recipe import Recipe

CARD = "judge.json"
"""Its name, beside the network."""

VERSION = 1
"""Goes up whenever the same request would give other weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """All that decides what a fit gives: of two requests that are equal, one may go on with what the other began."""

    begins_with: Mapping[str, str]
    """`size` of a network with random weights, or the hashes of the one that is fine-tuned."""
    recipe: Recipe
    classes: Classes
    hold_out: float
    """Share of the pairs that is kept back."""
    seed: int
    data: str
    """Fingerprint of all pairs."""
    version: int = VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedJudge:
    """What `judge.json` says of a judge."""

    request: Request
    pairs: int
    """How many it was fitted on."""
    held_out: Mapping[str, str]
    """The pairs that were kept back: SHA-256 of the photo, by name (`name_of`)."""
    accuracy: Estimate | None
    """On those, brought to the short side of a crop; None where no labelled pixel was held out."""
    mean_iou: Estimate | None
    versions: Mapping[str, str]


def read_fitted(folder: Path) -> FittedJudge | None:
    """What `folder` says of the judge in it; None where it was not fitted by this program. Raises `WeightsError` for what cannot be read."""
    path = folder / CARD
    try:
        return _FITTED.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise WeightsError(
            f"{path} is damaged, or of another version of this program. Restore it from a copy, or fit into another folder."
        ) from error


def held_out_pairs(fitted: FittedJudge, pairs: Sequence[Pair]) -> list[Pair]:
    """Those of `pairs` that were held out of the fit: of the same name, and with the same photo."""
    return [pair for pair in pairs if (known := fitted.held_out.get(name_of(pair))) and hash_file(pair.photo) == known]


def name_of(pair: Pair) -> str:
    """The pair's name as the card has it: composed, and with escapes for bytes that are no text."""
    return normal_name(pair.stem).encode(errors="backslashreplace").decode()


def require_same(began: Request, asked: Request, out: Path) -> None:
    """Raise `UsageError` with the settings in which two requests differ."""
    before, now = _flat(plain(began)), _flat(plain(asked))
    changed = [
        name if len(both := f"{name}: {before.get(name)!r} -> {now.get(name)!r}") > 80 else both
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise UsageError(f"{out} holds a judge that was fitted with other settings ({'; '.join(changed)}). Put them back, or choose another --out.")


def plain(value: Request | FittedJudge) -> dict[str, Any]:
    """As JSON holds it."""
    adapter: TypeAdapter[Any] = _FITTED if isinstance(value, FittedJudge) else _REQUEST
    values: dict[str, Any] = adapter.dump_python(value, mode="json")
    return values


def parse_request(value: Any) -> Request:
    """A request from `plain`; raises `ValueError` for what is none."""
    return _REQUEST.validate_python(value)


_FITTED = TypeAdapter(FittedJudge)
_REQUEST = TypeAdapter(Request)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, its keys joined by points."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
