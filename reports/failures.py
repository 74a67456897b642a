"""What looks wrong among the images of the candidates that the page shows first, each finding with its pictures and its numbers in words.

Values first: `read_failure_report` chooses, describes and places; the page only shows. What was looked for, and how, is `selection.failures`'.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from apfgan.failures import Failures, SuspectedCopy, Twins, picture_path, read_failures
from apfgan.runs import Run
from reports.board import Board, Row
from reports.exhibition import Picture
from reports.formats import Format, counted, percent
from reports.observations import Observations
from reports.picture_files import read_drawings, read_label_maps
from reports.picture_store import PictureStore

MOST = 6
"""Findings of a kind that are shown of each candidate."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a finding."""

    picture: Picture | None
    caption: str
    alt: str
    letter: str = ""
    """`a` or `b` where it is by one of the two that are compared."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to look at."""

    title: str
    frames: tuple[Frame, ...]
    text: str
    """Its numbers, in words."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What was found of one kind."""

    title: str
    how: str
    """What was looked for, in a sentence or two."""
    told: str
    """How many were found among how many images of whom."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class FailureReport:
    """Everything that the page shows of failures."""

    drops: Kind | None
    """None where there are no two candidates to compare image by image."""
    kinds: tuple[Kind, ...]
    """Empty where nobody looked."""
    unknown: tuple[str, ...]
    """What was not looked at, and why, in sentences."""
    records: tuple[Failures, ...]
    """What the run keeps of it, of each candidate that was looked at."""


class _Hanger:
    """Reads pictures for findings and gives them their addresses."""

    def __init__(self, run: Run, store: PictureStore) -> None:
        self.run = run
        self._store = store
        self._hung = 0

    def drawings(self, row: Row, stems: Sequence[str]) -> dict[str, Picture]:
        prints = read_drawings(self.run, row.measurement, stems)
        return {stem: self.hang(each.image, "image/webp") for stem, each in prints.items() if each.image}

    def label_maps(self, row: Row, stems: Sequence[str]) -> dict[str, Picture]:
        prints = read_label_maps(self.run, row.measurement, stems)
        return {stem: self.hang(each.found, "image/png") for stem, each in prints.items() if each.found}

    def hang(self, content: bytes, media_type: str) -> Picture:
        self._hung += 1
        with Image.open(io.BytesIO(content)) as image:
            return Picture(source=self._store.keep(f"x-{self._hung}", content, media_type), width=image.width, height=image.height)


def read_failure_report(run: Run, board: Board, observed: Mapping[str, Observations], store: PictureStore) -> FailureReport | None:
    """What the page shows of failures; None where nothing is measured.

    `observed`: the observations of ranked candidates, by name. `store`: where the page keeps its pictures.
    """
    if board.choice is None:
        return None
    rows = {row.name: row for row in (board.choice, board.rival, board.last_epoch) if row is not None}
    known = {name: found for name, row in rows.items() if (found := read_failures(run, row.measurement.observations)) is not None}
    hanger = _Hanger(run, store)
    kinds = (_flat(known, rows, hanger, board), _twins(known, rows, hanger, board), _copies(known, rows, hanger, board)) if known else ()
    return FailureReport(drops=_drops(board, observed, hanger), kinds=kinds, unknown=_unknown(board, rows, known), records=tuple(known.values()))


def per_image_gaps(row: Row, other: Row, observed: Mapping[str, Observations]) -> tuple[str, np.ndarray] | None:
    """What one candidate is ahead of the other in each image, float64 (N,), and whether that is of the `score` or the `mask_accuracy`.

    Of the score it is what the total would move by, were there only images like this one: the difference of both totals plus that of both
    images' influences on them (`apfgan.measured`). None where the two have no observations of the same images.
    """
    ours, theirs = observed.get(row.name), observed.get(other.name)
    if ours is None or theirs is None or ours.stems != theirs.stems:
        return None
    one, two = row.entry.measured.get("composite"), other.entry.measured.get("composite")
    if one is not None and two is not None and len(one.influence) == len(two.influence) == len(ours.stems):
        return "score", one.value - two.value + one.influence - two.influence
    return "mask_accuracy", ours.accuracy - theirs.accuracy


def _drops(board: Board, observed: Mapping[str, Observations], hanger: _Hanger) -> Kind | None:
    """The label maps on which the choice is furthest behind what it is first compared with."""
    a, b = board.choice, board.rival
    gaps = per_image_gaps(a, b, observed) if a and b else None
    if a is None or b is None or gaps is None:
        return None
    name, values = gaps
    stems = observed[a.name].stems
    worst = [int(index) for index in np.argsort(np.nan_to_num(values, nan=np.inf), kind="stable")[:MOST] if values[index] < 0]
    shown = [stems[index] for index in worst]
    label_maps, ours, theirs = hanger.label_maps(a, shown), hanger.drawings(a, shown), hanger.drawings(b, shown)
    behind = int(np.nansum(values < 0))
    of_what = "share in the score" if name == "score" else "mask accuracy"
    format_ = Format.of(board)
    return Kind(
        title=f"Where {a.name} is furthest behind {b.name}",
        how=(
            "An image's share in the score is what the total would move by, were all images like this one."
            if name == "score"
            else "The images' shares in the score are not known, so this goes by mask accuracy."
        ),
        told=f"By {of_what}, {a.name} is behind {b.name} on {behind} of {counted(len(stems), 'label map')}"
        + (f"; the {counted(len(shown), 'largest drop')} are shown." if len(shown) > 1 else "."),
        findings=tuple(
            Finding(
                title=stem,
                frames=(
                    Frame(picture=label_maps.get(stem), caption="label map", alt=f"label map {stem}"),
                    Frame(picture=ours.get(stem), caption=a.name, alt=f"{a.name} draws {stem}", letter="a"),
                    Frame(picture=theirs.get(stem), caption=b.name, alt=f"{b.name} draws {stem}", letter="b"),
                ),
                text=_drop_text(name, float(values[index]), index, observed[a.name], observed[b.name], format_),
            )
            for stem, index in zip(shown, worst, strict=True)
        ),
    )


def _drop_text(name: str, gap: float, index: int, ours: Observations, theirs: Observations, shown: Format) -> str:
    told = [f"Score {shown.signed(gap)}."] if name == "score" else []
    compared = [f"Mask accuracy {_share(ours.accuracy[index])} against {_share(theirs.accuracy[index])}"]
    if not np.isnan([ours.aesthetic[index], theirs.aesthetic[index]]).any():
        compared.append(f"aesthetic {ours.aesthetic[index]:.2f} against {theirs.aesthetic[index]:.2f}")
    return " ".join([*told, f"{', '.join(compared)}."])


def _flat(known: Mapping[str, Failures], rows: Mapping[str, Row], hanger: _Hanger, board: Board) -> Kind:
    findings = []
    for name, found in known.items():
        shown = found.flat[:MOST]
        drawn = hanger.drawings(rows[name], [each.stem for each in shown])
        findings += [
            Finding(
                title=each.stem,
                frames=(_frame(drawn.get(each.stem), name, each.stem, board),),
                text=f"Its grey values vary {percent(each.contrast, 0)} as much as those of a typical photo.",
            )
            for each in shown
        ]
    return Kind(
        title="Nearly of one grey",
        how="Images whose grey values vary less than a tenth as much as those of a typical photo.",
        told=_told({name: len(found.flat) for name, found in known.items()}, known),
        findings=tuple(findings),
    )


def _twins(known: Mapping[str, Failures], rows: Mapping[str, Row], hanger: _Hanger, board: Board) -> Kind:
    findings = []
    for name, found in known.items():
        shown = found.twins[:MOST]
        drawn = hanger.drawings(rows[name], [stem for each in shown for stem in each.stems])
        findings += [
            Finding(
                title=" and ".join(each.stems),
                frames=tuple(_frame(drawn.get(stem), name, stem, board) for stem in each.stems),
                text=_twins_text(each),
            )
            for each in shown
        ]
    return Kind(
        title="Near-duplicates",
        how="Two images that are nearly one, though their label maps differ in a quarter of the pixels or more.",
        told=_told({name: len(found.twins) for name, found in known.items()}, known, "pair"),
        findings=tuple(findings),
    )


def _copies(known: Mapping[str, Failures], rows: Mapping[str, Row], hanger: _Hanger, board: Board) -> Kind:
    findings = []
    for name, found in known.items():
        shown = found.copies[:MOST]
        drawn = hanger.drawings(rows[name], [each.stem for each in shown])
        for each in shown:
            photo = _read_picture(hanger, each)
            frames = (
                _frame(drawn.get(each.stem), name, each.stem, board),
                Frame(picture=photo, caption=f"training photo {each.photo}", alt=f"training photo {each.photo}"),
            )
            findings.append(Finding(title=each.stem, frames=frames, text=_copy_text(each)))
    return Kind(
        title="Suspected copies of training photos",
        how=(
            "An image is suspected where it lies nearer to a photo than that photo's own neighbours do, in the features that the distance is made "
            "of, and looks like it as well. " + " ".join([*_compared(known), *_control_text(known)])
        ),
        told=" ".join([_told({name: len(found.copies) for name, found in known.items() if found.photos}, known), *_replaced(known)]),
        findings=tuple(findings),
    )


def _compared(known: Mapping[str, Failures]) -> list[str]:
    """How many were nearer to a photo than its neighbours, and how many of these were compared with it as pictures."""
    near = {name: found for name, found in known.items() if found.near}
    if not near:
        return []
    listed = " and ".join(f"{found.near} of {name}" for name, found in near.items())
    compared, all_of_them = (sum(getattr(found, field) for found in near.values()) for field in ("compared", "near"))
    share = "all of these were" if compared == all_of_them else f"the nearest {compared} of these were"
    return [f"The first alone holds for {listed}, as for many new images; {share} compared with their photo as pictures."]


def _control_text(known: Mapping[str, Failures]) -> list[str]:
    """What the same test finds among photos."""
    control = next((found.control for found in known.values() if found.control), None)
    if control is None:
        return []
    return [f"Put to the same test, {control.copies or 'none'} of {counted(control.photos, 'photo')} would be called a copy of another."]


def _replaced(known: Mapping[str, Failures]) -> list[str]:
    """Photos among the images that are there by design."""
    return [
        f"In {counted(found.replaced, 'image')} of {name} a training photo stands in for a drawing, as its name says (~photos): by design, and no "
        "suspicion."
        for name, found in known.items()
        if found.replaced
    ]


def _twins_text(each: Twins) -> str:
    return (
        f"Their features lie {each.distance:.2f} of the typical distance of two photos apart, and their small pictures correlate by "
        f"{each.likeness:.2f}. Their label maps agree in {percent(each.agreement, 0)} of the pixels."
    )


def _copy_text(each: SuspectedCopy) -> str:
    mirrored = " with the photo's mirror image" if each.mirrored else ""
    return (
        f"It lies {each.nearness:.2f} times as far from the photo as that photo's third nearest neighbour, and the small pictures correlate by "
        f"{each.likeness:.2f}{mirrored}."
    )


def _unknown(board: Board, rows: Mapping[str, Row], known: Mapping[str, Failures]) -> tuple[str, ...]:
    told = [f"{name}: {sentence}" for name, found in known.items() for sentence in found.not_looked_at]
    waiting = [name for name in rows if name not in known]
    if waiting:
        told.append(
            f"Nobody has looked for flat images, near-duplicates and copies among the images of {', '.join(waiting)} yet. The next apfgan score, "
            "merge-search, seed-search or pick of this run does."
        )
    others = len({row.unseeded for row in board.rows}) - len({row.unseeded for row in rows.values()})
    if known and others > 0:
        told.append(f"The images of {counted(others, 'other candidate')} were not looked at.")
    return tuple(told)


def _told(counts: Mapping[str, int], known: Mapping[str, Failures], noun: str = "") -> str:
    """`None found among 1000 images of 299, 2 among 1000 images of avg_273_299.`"""
    parts = [f"{_number(count, noun)} among {counted(known[name].images, 'image')} of {name}" for name, count in counts.items()]
    if not parts:
        return "Not looked for."
    shown = any(count > MOST for count in counts.values())
    return f"Found: {', '.join(parts)}.{f' The first {MOST} of each are shown.' if shown else ''}"


def _number(count: int, noun: str) -> str:
    return "none" if count == 0 else counted(count, noun) if noun else str(count)


def _frame(picture: Picture | None, name: str, stem: str, board: Board) -> Frame:
    letter = "a" if board.choice and name == board.choice.name else "b" if board.rival and name == board.rival.name else ""
    return Frame(picture=picture, caption=f"{name}: {stem}", alt=f"{name} draws {stem}", letter=letter)


def _read_picture(hanger: _Hanger, each: SuspectedCopy) -> Picture | None:
    try:
        return hanger.hang(picture_path(hanger.run, each.picture).read_bytes(), "image/webp")
    except OSError:  # deleted, or no picture
        return None


def _share(value: float) -> str:
    """As the pictures above say it."""
    return "–" if np.isnan(value) else f"{value:.3f}"
