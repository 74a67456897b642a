"""The report's pictures: for each label map of a panel, what it asks for, the photo, and what the candidates drew, small enough to travel along.

Values first: `read_exhibition` decides who and what is shown, and encodes it; the page only places it.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from apfgan.labels import Classes
from apfgan.runs import Run
from reports.board import Board, Row
from reports.observations import Observations

WIDTH = 256
"""Widest picture, in pixels."""
QUALITY = 75
"""WebP quality: 256x192 pixels take about 5 kB."""
MOST_CAST = 48
"""Candidates that can be chosen as A and B."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture, as the page's address of it."""

    source: str
    """A `data:` address, or a path relative to the page."""
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One label map of the panel, and why it is there."""

    stem: str
    stratum: str
    """`random`, `worst`, `best`, `change`, `rare` or `single`."""
    why: str
    """In words: `mask accuracy 0.41, the third lowest`."""
    content: str
    """What it asks for: `sky 61 %, mountain 39 %`."""


@dataclass(frozen=True, kw_only=True)
class Exhibition:
    """All pictures. `cast` and `panel` are the axes of `drawings` and `found`."""

    cast: tuple[Row, ...]
    """Candidates that can be compared: trained epochs in order, then the others by rank."""
    panel: tuple[Shown, ...]
    label_maps: tuple[Picture | None, ...]
    """Painted, for each of the panel."""
    photos: tuple[Picture | None, ...]
    drawings: tuple[tuple[Picture | None, ...], ...]
    """For each of the cast, for each of the panel; None where there is none."""
    found: tuple[tuple[Picture | None, ...], ...]
    """The same: what the mask judge found in the drawing, painted as the label maps are."""
    left_out: tuple[str, ...]
    """What is not shown, and why, in sentences."""

    @property
    def pictured(self) -> bool:
        """Whether any candidate has a picture."""
        return any(picture for pictures in self.drawings for picture in pictures)


def choose_cast(board: Board, *, most: int = MOST_CAST) -> tuple[Row, ...]:
    """Candidates that can be compared: trained epochs in order, then the others by rank, each once whatever its seeds.

    The choice and the last epoch are always among them; over `most`, the lowest ranked are left out.
    """
    always = [row for row in (board.choice, board.rival, board.last_epoch, board.untrained) if row is not None]
    first: dict[str, Row] = {row.unseeded: row for row in reversed(always)}
    for row in board.rows:
        first.setdefault(row.unseeded, row)
    by_rank = sorted(first.values(), key=lambda row: (row not in always, row.rank))[:most]
    return tuple(sorted(by_rank, key=lambda row: (row.kind != "epoch", row.epoch if row.epoch is not None else row.rank)))


def read_exhibition(run: Run, board: Board, observed: Mapping[str, Observations]) -> Exhibition:
    """Read and encode the run's pictures."""
    cast = choose_cast(board)
    stems = sorted(path.stem for path in run.panel.glob("*.png") if not path.name.startswith("."))
    # Other label maps may have been a panel before: what none of these candidates drew is not part of this comparison.
    stems = [stem for stem in stems if any(_sample(run, row, stem).exists() for row in cast)]
    classes = board.config.data.label_classes
    damaged: list[str] = []
    seen = list(observed.values())

    def encode(path: Path, *, exact: bool = False) -> Picture | None:
        return _encode(path, exact=exact, damaged=damaged.append)

    return Exhibition(
        cast=cast,
        panel=tuple(Shown(stem=stem, stratum="random", why="", content=_describe(stem, classes, seen)) for stem in stems),
        label_maps=tuple(encode(run.panel / f"{stem}.png", exact=True) for stem in stems),
        photos=tuple(encode(run.panel / f"{stem}.jpg") for stem in stems),
        drawings=tuple(tuple(encode(_sample(run, row, stem)) for stem in stems) for row in cast),
        found=tuple(tuple(None for _ in stems) for _ in cast),
        left_out=(f"{len(damaged)} picture files cannot be read and are blank: {', '.join(damaged[:5])}{' ...' if len(damaged) > 5 else ''}.",)
        if damaged
        else (),
    )


def _sample(run: Run, row: Row, stem: str) -> Path:
    return run.samples / row.measurement.observations / f"{stem}.jpg"


def _encode(path: Path, *, exact: bool, damaged: Callable[[str], None]) -> Picture | None:
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
    return Picture(source=source, width=picture.width, height=picture.height)


def _describe(stem: str, classes: Classes, observed: Sequence[Observations]) -> str:
    """A label map in words: `sky 61 %, mountain 39 %`; empty where that is not known."""
    shares = next((found for seen in observed if (found := seen.shares(stem))), [])
    return ", ".join(f"{classes.names[index]} {share:.0%}" for index, share in shares[:3] if index < len(classes))
