"""What the numbers stand on: label maps, photos, classes, and what real photos score under the same judges. Facts in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apfgan.noise import QUANTILE
from apfgan.ranking import is_distance
from apfgan.records import Anchors, Estimate
from apfgan.runs import Run
from reports.board import Board, metric_title
from reports.formats import Format


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something about the data."""

    term: str
    text: str
    key: str = ""
    """Hash of the content that it speaks of, where there is one."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the numbers stand on."""

    facts: tuple[Fact, ...]
    anchors: tuple[str, ...]
    """What real photos score, in sentences."""


def read_data_facts(run: Run, board: Board) -> DataFacts:
    """The facts about a run's data."""
    return DataFacts(facts=(*_sources(run), *protocol_facts(board), *_single_class(run, board)), anchors=tuple(anchor_sentences(board)))


def table_facts(board: Board) -> DataFacts:
    """The facts about numbers that were measured elsewhere, as far as their protocol names them."""
    return DataFacts(facts=protocol_facts(board), anchors=tuple(anchor_sentences(board)))


def protocol_facts(board: Board) -> tuple[Fact, ...]:
    """Facts that the protocol behind the ranking names; what it does not name is left out."""
    facts = []
    maps, photos, size, encoding = (board.protocol.get(name) for name in ("label_maps", "reference", "size", "encoding"))
    if isinstance(maps, Mapping):
        resized = f", brought to the images' size by the nearest pixel ({maps['resize']})" if maps.get("resize") else ""
        facts.append(Fact(term="label maps", text=f"{maps.get('count', '?')}{resized}", key=_key(maps)))
    if isinstance(photos, Mapping):
        count = photos.get("photos")
        text = f"{count} photos" if count else "statistics from a file, which does not say of how many"
        facts.append(Fact(term="compared with", text=text, key=_key(photos)))
    if isinstance(size, list | tuple) and len(size) == 2:
        facts.append(Fact(term="images", text=f"{size[0]} × {size[1]} pixels{_stored(encoding)}"))
    if board.rows and not board.of_tables:
        classes = board.config.data.label_classes
        ignored = "every pixel has one" if classes.ignore is None else f"the pixel value {classes.ignore} has none and counts nowhere"
        facts.append(Fact(term="classes", text=f"{len(classes)}; {ignored}"))
    return tuple(facts)


def anchor_sentences(board: Board) -> list[str]:
    """What real photos score, and how near the choice comes; empty where that is not known."""
    anchors, choice = board.anchors, board.choice
    if anchors is None or choice is None:
        return []
    shown = Format.of(board)
    metrics = choice.measurement.metrics
    told = []
    if anchors.photos:
        told.append(f"{anchors.photos} real photos ({anchors.origin}) were judged as if they had been drawn.")
    real, drawn = anchors.metrics.get("mask_accuracy"), metrics.get("mask_accuracy")
    if real is not None and drawn is not None:
        share = f", {100 * drawn.value / real.value:.0f} % of it" if real.value > 0 else ""
        told.append(
            f"In them the mask judge finds what was asked for in {_with_margin(real, 'mask_accuracy', shown)} of the pixels: the ceiling. "
            f"{choice.name} reaches {shown.number(drawn.value, 'mask_accuracy')}{share}."
        )
    told += _distance_sentence(anchors, metrics, choice.name, shown)
    taste, ours = anchors.metrics.get("aesthetic"), metrics.get("aesthetic")
    if taste is not None and ours is not None:
        told.append(
            f"Their aesthetic score is {_with_margin(taste, 'aesthetic', shown)}; that of {choice.name} is {shown.number(ours.value, 'aesthetic')}."
        )
    if anchors.composite is not None:
        told.append(f"Their total would be {_with_margin(anchors.composite, 'score', shown)}, against {shown.number(choice.score.value)}.")
    return told


def _distance_sentence(anchors: Anchors, metrics: Mapping[str, Estimate], name: str, shown: Format) -> list[str]:
    distance = next((metric for metric in anchors.metrics if is_distance(metric) and metric in metrics), None)
    if distance is None:
        return []
    return [
        f"As many real photos as there are images still have a {metric_title(distance)} of "
        f"{_with_margin(anchors.metrics[distance], distance, shown)} from the others: the floor. {name} has "
        f"{shown.number(metrics[distance].value, distance)}."
    ]


def _with_margin(estimate: Estimate, name: str, shown: Format) -> str:
    decimals = shown.decimals.get(name, 4)
    return f"{estimate.value:.{decimals}f}" + ("" if estimate.error is None else f" ± {QUANTILE * estimate.error:.{decimals}f}")


def _sources(run: Run) -> list[Fact]:
    """Where the last `score` looked."""
    named = {"data set": run.asked.get("data"), "label maps from": run.asked.get("labels"), "photos from": run.asked.get("real")}
    limit = run.asked.get("limit")
    # Reports are sent to others: the last folders say which data that is, the rest where somebody works.
    facts = [Fact(term=term, text=Path(*Path(path).parts[-2:]).as_posix()) for term, path in named.items() if isinstance(path, str)]
    return facts + ([Fact(term="limited to", text=f"{limit} label maps: a quick look")] if isinstance(limit, int) else [])


def _single_class(run: Run, board: Board) -> list[Fact]:
    """Training photos of nothing but one class, where the run has looked at one training set only."""
    found = [_read_survey(path.read_bytes()) for path in run.features.glob("survey_*.json")]
    if len(found) != 1 or found[0] is None:
        return []
    pairs, counts = found[0]
    names = board.config.data.label_classes.names
    listed = ", ".join(f"{names[index]} {count}" for index, count in counts.items() if index < len(names))
    facts = [Fact(term="training set", text=f"{pairs} pairs")]
    return [*facts, Fact(term="photos of one class", text=f"{sum(counts.values())} of them ({listed})" if listed else "none of them")]


def _read_survey(content: bytes) -> tuple[int, dict[int, int]] | None:
    """Pairs of a training set, and its single-class photos by class."""
    try:
        kept: dict[str, Any] = json.loads(content)
        return int(kept["pairs"]), {int(index): len(names) for index, names in kept["single_class"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _stored(encoding: object) -> str:
    """`, stored as JPEG of quality 75 (4:2:0)`."""
    if not isinstance(encoding, Mapping) or "format" not in encoding:
        return ""
    if encoding["format"] != "JPEG":
        return f", judged as {encoding['format']}"
    return f", judged as the JPEGs that are handed in: quality {encoding.get('quality')}, colours {encoding.get('subsampling')}"


def _key(part: Mapping[str, Any]) -> str:
    key = part.get("key")
    return key if isinstance(key, str) else ""
