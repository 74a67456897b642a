"""The report's tables as CSV: tidy, at full precision, safe to open in a spreadsheet."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from apfgan.files import write_text
from apfgan.labels import Classes
from apfgan.ranking import protocol_of
from apfgan.records import Estimate
from reports.board import Board, judge_names, kind_of, parse_candidate
from reports.observations import Observations

_STANDING = {"rank_first": "Int64", "rank_last": "Int64", "probability_best": "float64", "pareto": "boolean", "probability_pareto": "float64"}
"""Columns, with their types, for what the noise leaves open of a ranked row."""


def scores_table(board: Board) -> pd.DataFrame:
    """One row for each line of the ledger, oldest first; `rank` and what goes with it are empty for those that a later line or another
    protocol replaced, and for parts of the label maps.
    """
    rows = {row.measurement.key: row for row in board.rows}
    metrics = list(dict.fromkeys(name for measurement in board.measurements for name in measurement.metrics))
    latest = {measurement.key: index for index, measurement in enumerate(board.measurements)}
    records = []
    for index, measurement in enumerate(board.measurements):
        candidate = parse_candidate(measurement.candidate)
        row = rows.get(measurement.key) if latest[measurement.key] == index else None
        first, last = (row.place.rank_interval if row else None) or (None, None)
        records.append(
            {
                "rank": row.rank if row else None,
                "rank_first": first,
                "rank_last": last,
                "probability_best": row.standing.probability_best if row else None,
                "pareto": row.standing.pareto if row else None,
                "probability_pareto": row.standing.probability_pareto if row else None,
                "candidate": measurement.candidate,
                "kind": kind_of(candidate),
                "members": " ".join(candidate.members) if candidate else "",
                "weights": " ".join(f"{share!r}" for share in candidate.shares) if candidate else "",
                "seed": measurement.seed,
                "images": measurement.images,
                "part": "" if measurement.part is None else "{}-{}".format(*measurement.part),
                **{column: value for name in metrics for column, value in _estimate(name, measurement.metrics.get(name)).items()},
                **_estimate("composite", measurement.composite),
                "formula": measurement.formula,
                "judges": " ".join(judge_names(measurement.protocol)),
                "protocol": protocol_of(measurement),
                "key": measurement.key,
                "seconds": measurement.seconds,
                "device": measurement.device,
                "status": measurement.status,
            }
        )
    columns = ["rank", *_STANDING, "candidate", "kind", "members", "weights", "seed", "images", "part"]
    columns += [*(column for name in metrics for column in (name, f"{name}_error")), "composite", "composite_error"]
    columns += ["formula", "judges", "protocol", "key", "seconds", "device", "status"]
    return pd.DataFrame(records, columns=columns).astype({"rank": "Int64", **_STANDING})


def merges_table(board: Board) -> pd.DataFrame:
    """One row for each combination tried, best first, with its gain over the best of its members that were measured."""
    records = [
        {
            "rank": merge.row.rank,
            "candidate": merge.row.name,
            "members": " ".join(merge.row.candidate.members) if merge.row.candidate else "",
            "weights": " ".join(f"{share!r}" for share in merge.row.candidate.shares) if merge.row.candidate else "",
            **_estimate("composite", merge.row.score),
            "best_member": merge.gain.other.name if merge.gain else None,
            "gain": merge.gain.gap.value if merge.gain else None,
            "gain_error": merge.gain.gap.error if merge.gain else None,
        }
        for merge in board.merges
    ]
    columns = ["rank", "candidate", "members", "weights", "composite", "composite_error", "best_member", "gain", "gain_error"]
    return pd.DataFrame(records, columns=columns)


def per_image_table(observed: Mapping[str, Observations]) -> pd.DataFrame:
    """One row for each candidate (by name) and label map."""
    columns = ["candidate", "stem", "mask_accuracy", "aesthetic"]
    frames = [
        pd.DataFrame({"candidate": name, "stem": list(seen.stems), "mask_accuracy": seen.accuracy, "aesthetic": seen.aesthetic})
        for name, seen in observed.items()
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def per_class_table(observed: Mapping[str, Observations], classes: Classes) -> pd.DataFrame:
    """One row for each candidate and class; `images` are those whose label map asks for the class, pixels are counted over all images."""
    columns = ["candidate", "class_id", "class", "images", "given_pixels", "found_pixels", "correct_pixels", "accuracy", "iou"]
    frames = []
    for name, seen in observed.items():
        ids = np.arange(len(seen.confusion))
        frames.append(
            pd.DataFrame(
                {
                    "candidate": name,
                    "class_id": ids,
                    "class": [classes.names[index] if index < len(classes) else str(index) for index in ids],
                    "images": seen.classes.images,
                    "given_pixels": seen.classes.pixels,
                    "found_pixels": seen.confusion.sum(axis=0),
                    "correct_pixels": np.diag(seen.confusion),
                    "accuracy": seen.classes.accuracy,
                    "iou": seen.classes.iou,
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def write_tables(folder: Path, board: Board, observed: Mapping[str, Observations]) -> list[Path]:
    """Write `scores.csv`, `merges.csv`, `per_image.csv` and `per_class.csv` into `folder`."""
    tables = {
        "scores.csv": scores_table(board),
        "merges.csv": merges_table(board),
        "per_image.csv": per_image_table(observed),
        "per_class.csv": per_class_table(observed, board.config.data.label_classes),
    }
    for name, table in tables.items():
        write_text(folder / name, to_csv(table))
    return [folder / name for name in tables]


def to_csv(table: pd.DataFrame) -> str:
    """CSV text whose numbers read back exactly, with texts defused."""
    texts = table.select_dtypes(include=["object", "string"]).columns
    return table.assign(**{column: table[column].map(defuse) for column in texts}).to_csv(index=False, lineterminator="\n")


def defuse(cell: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front; everything else stays."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _estimate(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    return {name: estimate.value if estimate else None, f"{name}_error": estimate.error if estimate else None}
