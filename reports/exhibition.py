"""The report's pictures: for each label map of a panel, what it asks for, the photo, and what the candidates drew, small enough to travel along.

Values first: `read_exhibition` decides who and what is shown and gives every picture its address; the page only places it.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from apfgan.data import spread
from apfgan.prints import Print
from apfgan.runs import Run
from reports.board import Board, Row
from reports.budget import AIM, IMAGES, NO_WISH, WARN, Form, Plan, Wish, bytes_in_page, plan_pictures
from reports.formats import listed
from reports.observations import Observations
from reports.panel import Seen, Shown, by_stratum, choose_label_maps, explain
from reports.picture_files import read_drawings, read_label_maps, read_larger
from reports.picture_store import PicturesBeside, PicturesInside, PictureStore

MOST_CAST = 48
"""Candidates that can be chosen as A and B."""

_NAMED = 4
"""Names that a sentence lists at most."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture, as the page's address of it."""

    source: str
    """A `data:` address, or a path relative to the page."""
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Exhibition:
    """All pictures. `cast` and `panel` are the axes of `drawings` and `found`; none at all where only the cast is given."""

    cast: tuple[Row, ...]
    """Candidates that can be compared: trained epochs in order, then the others by rank."""
    panel: tuple[Shown, ...] = ()
    how: str = ""
    """How the panel was chosen, in a sentence."""
    label_maps: tuple[Picture | None, ...] = ()
    """Painted, for each of the panel."""
    photos: tuple[Picture | None, ...] = ()
    drawings: tuple[tuple[Picture | None, ...], ...] = ()
    """For each of the cast, for each of the panel; None where there is none."""
    found: tuple[tuple[Picture | None, ...], ...] = ()
    """The same: what the mask judge found in the drawing, painted as the label maps are."""
    left_out: tuple[str, ...] = ()
    """What is not shown, and why, in sentences."""
    form: Form = "file"
    """Never `auto`."""
    store: PictureStore = field(default_factory=PicturesInside)
    """Where the pictures are, and where others of this page belong."""

    @property
    def pictured(self) -> bool:
        """Whether any candidate has a picture."""
        return any(picture for pictures in self.drawings for picture in pictures)


def choose_cast(board: Board, *, most: int = MOST_CAST) -> tuple[Row, ...]:
    """Candidates that can be compared: trained epochs in order, then the others by rank, each once whatever its seeds.

    What the page compares by itself is always among them. Of more than `most`, epochs evenly spread take half of the places, and the best of the
    others the rest.
    """
    first = _indispensable(board)
    always = len(first)
    for row in board.rows:
        first.setdefault(row.unseeded, row)
    others = _in_order(list(first.values())[always:])
    epochs = [row for row in others if row.kind == "epoch"]
    others = others[len(epochs) :]
    room = max(most - always, 0)
    epochs = spread(epochs, max(room // 2, room - len(others)))
    return tuple(_in_order([*list(first.values())[:always], *epochs, *others[: room - len(epochs)]]))


def read_exhibition(run: Run, board: Board, observed: Mapping[str, Observations], *, wish: Wish = NO_WISH) -> Exhibition:
    """Choose, read and place the run's pictures. What is missing or damaged is left out and told of. Writes nothing.

    `observed`: the observations of ranked candidates, by name.
    """
    cast = choose_cast(board)
    if not cast:
        return Exhibition(cast=())
    choice, rival = (row.name if row else "" for row in (board.choice, board.rival))
    fixed = sorted(path.stem for path in run.panel.glob("[!.]*.png"))
    stems = _pool(run, cast, observed, choice=choice, fixed=fixed)
    classes = board.config.data.label_classes
    seen = Seen.of(stems, choice=observed.get(choice), rival=observed.get(rival), others=observed.values(), classes=len(classes))
    telling = choose_label_maps(seen, most=wish.images or IMAGES, choice=choice, rival=rival, classes=classes, first=fixed)
    wanted = [shown.stem for shown in telling]
    prints = [read_drawings(run, row.measurement, wanted) for row in cast]
    given = read_label_maps(run, cast[0].measurement, wanted)

    needed = _indispensable(board)
    epochs = [place for place, row in enumerate(cast) if row.kind == "epoch" and row.unseeded not in needed]
    plan = plan_pictures(_sizes([*prints, given], wanted), thinnable=epochs, wish=wish)
    shown = tuple(cast[row] for row in plan.rows)
    panel = by_stratum(telling[: plan.columns])
    foremost = sorted(shown, key=lambda row: (row.name != choice, row.name != rival, row.rank))
    larger, photos = _read_larger(run, foremost, panel, plan=plan)

    store: PictureStore = PicturesInside() if plan.form == "file" else PicturesBeside()
    hung = _Hanging(store, [each.stem for each in panel])
    drawn = [prints[row] for row in plan.rows]
    return Exhibition(
        cast=shown,
        panel=panel,
        how=explain(panel, of=len(stems), choice=choice, rival=rival),
        label_maps=hung.found("l", given),
        photos=hung.images("h", given, photos),
        drawings=tuple(hung.images(f"p-{place}", each, larger.get(row.name, {})) for place, (row, each) in enumerate(zip(shown, drawn, strict=True))),
        found=tuple(hung.found(f"f-{place}", each) for place, each in enumerate(drawn)),
        left_out=tuple(
            [
                *_limits(board, len(cast), plan, wish, images=len(telling)),
                *_gaps({row.name: each for row, each in zip(shown, drawn, strict=True)}, given, hung.stems),
            ]
            if any(drawn)
            else []
        ),
        form=plan.form,
        store=store,
    )


_NONE = Print(None, None)


@dataclass(frozen=True)
class _Hanging:
    """Gives pictures of the panel's stems their addresses."""

    store: PictureStore
    stems: Sequence[str]

    def images(self, name: str, prints: Mapping[str, Print], larger: Mapping[str, bytes]) -> tuple[Picture | None, ...]:
        """What was drawn or photographed, as large as there is."""
        return self._hang(name, [larger.get(stem) or prints.get(stem, _NONE).image for stem in self.stems], "image/webp")

    def found(self, name: str, prints: Mapping[str, Print]) -> tuple[Picture | None, ...]:
        """The painted classes."""
        return self._hang(name, [prints.get(stem, _NONE).found for stem in self.stems], "image/png")

    def _hang(self, name: str, contents: Sequence[bytes | None], media_type: str) -> tuple[Picture | None, ...]:
        return tuple(self._one(f"{name}-{place}", content, media_type) if content else None for place, content in enumerate(contents))

    def _one(self, name: str, content: bytes, media_type: str) -> Picture:
        with Image.open(io.BytesIO(content)) as image:
            return Picture(source=self.store.keep(name, content, media_type), width=image.width, height=image.height)


def _indispensable(board: Board) -> dict[str, Row]:
    """By their names without a seed, the candidates that the page compares by itself, the foremost first."""
    best_epoch = min(board.epochs, key=lambda row: row.rank, default=None)
    found: dict[str, Row] = {}
    for row in (board.choice, board.rival, board.best, board.last_epoch, best_epoch, board.untrained):
        if row is not None:
            found.setdefault(row.unseeded, row)
    return found


def _in_order(rows: Iterable[Row]) -> list[Row]:
    """Epochs in order, then the others by rank."""
    return sorted(rows, key=lambda row: (row.kind != "epoch", row.epoch if row.epoch is not None else row.rank))


def _pool(run: Run, cast: Sequence[Row], observed: Mapping[str, Observations], *, choice: str, fixed: Sequence[str]) -> tuple[str, ...]:
    """Label maps of which there are pictures: all where the choice has prints, else those that were set aside for the report from the first."""
    chosen = next((row for row in cast if row.name == choice), None)
    if chosen is not None and choice in observed and any((run.prints / chosen.measurement.observations).glob("[0-9]*.zip")):
        return observed[choice].stems
    # Other label maps may have been set aside before: what none of these candidates drew is not part of this comparison.
    folders = [run.samples / row.measurement.observations for row in cast]
    return tuple(stem for stem in fixed if any((folder / f"{stem}.jpg").exists() for folder in folders))


def _sizes(prints: Sequence[Mapping[str, Print]], stems: Sequence[str]) -> np.ndarray:
    """Bytes of the pictures, int64 (prints, stems, 2)."""
    sizes = [[len(picture or b"") for stem in stems for picture in (each.get(stem, _NONE).image, each.get(stem, _NONE).found)] for each in prints]
    return np.array(sizes, dtype=np.int64).reshape(len(prints), len(stems), 2)


def _read_larger(run: Run, rows: Sequence[Row], panel: Sequence[Shown], *, plan: Plan) -> tuple[dict[str, dict[str, bytes]], dict[str, bytes]]:
    """By stem, pictures in full size, of candidates by name and of photos: of one candidate all that there are, the foremost candidates first, as far
    as there is room for them.
    """
    stems = [shown.stem for shown in panel]
    room = AIM - plan.size if plan.inside else math.inf
    found: dict[str, dict[str, bytes]] = {}
    photos = read_larger(run, run.panel, stems)
    room -= _weight(photos)
    if room < 0:
        return {}, {}
    for row in rows:
        larger = read_larger(run, run.samples / row.measurement.observations, stems)
        room -= _weight(larger)
        if room < 0:
            break
        found[row.name] = larger
    return found, photos


def _weight(pictures: Mapping[str, bytes]) -> int:
    """Bytes that they take in a page."""
    return int(bytes_in_page(np.array([len(content) for content in pictures.values()], dtype=np.int64)).sum())


def _limits(board: Board, cast: int, plan: Plan, wish: Wish, *, images: int) -> list[str]:
    """What is left out for want of room, and what that takes."""
    told = []
    candidates = len({row.unseeded for row in board.rows})
    if cast < candidates:
        told.append(
            f"Of {candidates} candidates, {cast} can be compared here: epochs evenly spread, and the best of the others. The leaderboard has all."
        )
    dropped = [
        *([f"{images - plan.columns} of {images} label maps"] if plan.columns < images else []),
        *([f"{cast - len(plan.rows)} of {cast} candidates (epochs between those that are shown)"] if len(plan.rows) < cast else []),
    ]
    if dropped:
        told.append(f"Left out to keep this page near {_megabytes(AIM)}: {' and '.join(dropped)}. With --form folder all are shown, from files.")
    if not plan.inside and wish.form == "auto":
        told.append(f"Its pictures would make this page {_megabytes(plan.size)} large, so they are files in the folder pictures: keep both together.")
    if plan.inside and plan.size > WARN:
        told.append(
            f"This page is about {_megabytes(plan.size)} large and may be slow to open; --form folder keeps the pictures in files of their own."
        )
    return told


def _gaps(drawn: Mapping[str, Mapping[str, Print]], given: Mapping[str, Print], stems: Sequence[str]) -> list[str]:
    """What should be there and is not."""
    blank = {name: gone for name, prints in drawn.items() if (gone := sum(prints.get(stem, _NONE).image is None for stem in stems))}
    told = []
    if blank:
        told.append(f"{sum(blank.values())} pictures are missing or damaged and stay blank: of {listed(list(blank), most=_NAMED)}.")
    unpainted = [stem for stem in stems if given.get(stem, _NONE).found is None]
    if unpainted:
        told.append(f"Missing or damaged is the label map of {listed(unpainted, most=_NAMED)}.")
    unseen = [name for name, prints in drawn.items() if any(each.image and not each.found for each in prints.values())]
    if unseen:
        told.append(
            f"What the mask judge found was not kept with the pictures of {listed(unseen, most=_NAMED)}, so wrong pixels cannot be marked there."
        )
    return told


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
