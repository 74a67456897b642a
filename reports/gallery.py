"""The report's pictures: the panel's label maps, photos and generated images, made small enough to travel inside the page."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from apfgan.labels import Classes
from apfgan.runs import Run
from reports.board import UNTRAINED, Board, Row
from reports.observations import Observations

WIDTH = 256
"""Widest picture, in pixels."""
QUALITY = 75
"""WebP quality: 256x192 pixels take about 5 kB."""
BUDGET = 8 * 2**20
"""Bytes of encoded pictures after which no further row is begun; a row holds some 50 kB, so that a page stays far below 15 MB."""
FOREMOST = 4
"""Candidates shown from the top of the ranking, each set of weights once."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture as a `data:` address."""

    source: str
    width: int
    height: int
    alternative: str
    """What it shows, in words."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the grid."""

    title: str
    note: str
    """What it is: rank, or role."""
    row: Row | None
    """None for label maps and photos."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The grid: a row for each label map of the panel."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Picture | None, ...]], ...]
    """Stem and a picture for each column, None where there is none."""
    left_out: tuple[str, ...]
    """What is not shown, and why, in sentences."""


def read_gallery(run: Run, board: Board, observed: Mapping[str, Observations], *, budget: int = BUDGET) -> Gallery:
    """Encode the panel row by row until `budget` bytes are spent."""
    candidates = _candidates(board)
    panel = sorted(path.stem for path in run.panel.glob("*.png") if not path.name.startswith("."))
    # Other label maps may have been a panel before: what none of these candidates drew is not part of this comparison.
    stems = [stem for stem in panel if any(_sample(run, column, stem).exists() for column in candidates)]
    shown = [column for column in candidates if any(_sample(run, column, stem).exists() for stem in stems)]
    if not shown:
        return Gallery(columns=(), rows=(), left_out=())
    photos = any((run.panel / f"{stem}.jpg").exists() for stem in stems)
    columns = (
        Column(title="label map", note="what is asked for", row=None),
        *([Column(title="photo", note="one true answer", row=None)] if photos else []),
        *shown,
    )
    classes = board.config.data.label_classes
    rows: list[tuple[str, tuple[Picture | None, ...]]] = []
    damaged: list[str] = []
    spent = 0
    for stem in stems:
        if spent >= budget:
            break
        described = _describe(stem, classes, list(observed.values()))
        sources: list[tuple[Path, str, bool]] = [(run.panel / f"{stem}.png", f"label map {described}", True)]
        if photos:
            sources.append((run.panel / f"{stem}.jpg", f"photo of {described}", False))
        sources += [(_sample(run, column, stem), f"{column.title} draws {described}", False) for column in shown]
        pictures = tuple(_encode(path, alternative, exact=exact, damaged=damaged.append) for path, alternative, exact in sources)
        spent += sum(len(picture.source) for picture in pictures if picture)
        rows.append((stem, pictures))
    return Gallery(columns=columns, rows=tuple(rows), left_out=_left_out(board, shown, stems, rows, damaged))


def _candidates(board: Board) -> list[Column]:
    """The foremost rows, each once whatever its seeds; then the last epoch and the untrained generator, if they are not among them."""
    columns: dict[str, Column] = {}
    for row in board.rows:
        if len(columns) < FOREMOST and row.unseeded != UNTRAINED and row.unseeded not in columns:
            columns[row.unseeded] = Column(title=row.name, note="best" if row.rank == 1 else f"rank {row.rank}", row=row)
    for landmark, note in ((board.last_epoch, "last epoch"), (board.untrained, "untrained")):
        if landmark is not None and landmark.unseeded not in columns:
            columns[landmark.unseeded] = Column(title=landmark.name, note=note, row=landmark)
    return list(columns.values())


def _sample(run: Run, column: Column, stem: str) -> Path:
    assert column.row is not None
    return run.samples / column.row.measurement.observations / f"{stem}.jpg"


def _encode(path: Path, alternative: str, *, exact: bool, damaged: Callable[[str], None]) -> Picture | None:
    """A WebP of the picture; `exact` keeps every colour (label maps). A file that is no picture is reported to `damaged`."""
    if not path.exists():
        return None
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, Image.DecompressionBombError):
        damaged(path.name)
        return None
    if picture.width > WIDTH:
        size = (WIDTH, max(1, round(picture.height * WIDTH / picture.width)))
        picture = picture.resize(size, Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=exact, quality=QUALITY, method=4)
    source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(source=source, width=picture.width, height=picture.height, alternative=alternative)


def _describe(stem: str, classes: Classes, observed: Sequence[Observations]) -> str:
    """A label map in words: `487122: sky 61 %, mountain 39 %`."""
    shares = next((found for seen in observed if (found := seen.shares(stem))), [])
    parts = [f"{classes.names[index]} {share:.0%}" for index, share in shares[:3] if index < len(classes)]
    return f"{stem}: {', '.join(parts)}" if parts else stem


def _left_out(board: Board, shown: Sequence[Column], stems: Sequence[str], rows: Sequence[object], damaged: Sequence[str]) -> tuple[str, ...]:
    sentences = []
    if len(rows) < len(stems):
        sentences.append(f"{len(stems) - len(rows)} of the {len(stems)} label maps of the panel are left out to keep this file small; see samples/.")
    others = len(board.rows) - len(shown)
    if others:
        sentences.append(
            f"{others} further candidate{'s are' if others > 1 else ' is'} not pictured: the grid shows the best {FOREMOST}, the last epoch and the "
            "untrained generator, where they were measured."
        )
    if damaged:
        sentences.append(f"{len(damaged)} picture files cannot be read and are blank: {', '.join(damaged[:5])}{' ...' if len(damaged) > 5 else ''}.")
    return tuple(sentences)
