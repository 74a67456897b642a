"""`RUN/failures/KEY.json`: what looks wrong among the images of one candidate, by the key of its observations. Values only; needs no network library.

Nothing here is a verdict. Each finding is a suspicion with its numbers, for somebody to look at; what could not be looked at is said, too. The
last field, `check`, is the hash of the others. A record that is missing or damaged is as if it had never been: it is made again.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from apfgan.files import hash_bytes, hash_value, write_bytes, write_json
from apfgan.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class FlatImage:
    """An image that is nearly of one grey."""

    stem: str
    contrast: float
    """Standard deviation of its grey values, as a share of that of a typical photo."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Twins:
    """Two images that are nearly one, although their label maps differ."""

    stems: tuple[str, str]
    distance: float
    """Of their features, as a share of the typical distance of two photos."""
    likeness: float
    """Correlation of small grey pictures of both, -1 to 1."""
    agreement: float
    """Share of the pixels in which their label maps ask for the same, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuspectedCopy:
    """An image that is nearer to a photo than other photos are."""

    stem: str
    photo: str
    """The photo's name."""
    picture: str
    """Name of the file with a small picture of that photo (`picture_path`)."""
    nearness: float
    """Distance to the photo, as a share of how far that photo's third nearest other photo is: below 1 it is no neighbour as others are."""
    likeness: float
    """Correlation of small grey pictures of both, -1 to 1."""
    mirrored: bool
    """Whether it is the mirror image of the photo that it is like."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """What the same rules find among photos alone, none of which is a copy by a generator."""

    photos: int
    """Photos that were tried."""
    copies: int
    """Those that would be called a copy of another photo."""
    contrast: float
    """Median standard deviation of a photo's grey values, 0 to 127.5."""
    flat: int
    """Those that would be called nearly of one grey."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    """What was found among the images of a candidate."""

    key: str
    """Hash of all that it depends on."""
    candidate: str
    images: int
    """Images that were looked at."""
    photos: int
    """Photos that they were held against; 0 where none are known."""
    flat: tuple[FlatImage, ...]
    """The flattest first."""
    twins: tuple[Twins, ...]
    """The nearest first; each image with the one that is nearest to it."""
    copies: tuple[SuspectedCopy, ...]
    """The nearest first."""
    near: int
    """Images that are nearer to a photo than other photos are, whether or not they look like it."""
    compared: int
    """Of these, the nearest, as many as were compared with their photo as pictures."""
    replaced: int
    """Images in which a training photo stands in for a drawing, as the candidate's name says; they are no suspicion and not held against photos."""
    control: Control | None
    """None where no photos are known."""
    not_looked_at: tuple[str, ...]
    """What was not looked at, and why, in sentences."""

    @property
    def text(self) -> str:
        """What was found, as a few words; empty where nothing was."""
        counts = {"nearly of one grey": self.flat, "near-duplicate pairs": self.twins, "suspected copies of photos": self.copies}
        return ", ".join(f"{len(found)} {name}" for name, found in counts.items() if found)


def failures_path(run: Run, observations: str) -> Path:
    """Where it says what was found among the images with these observations."""
    return run.failures / f"{observations}.json"


def picture_path(run: Run, picture: str) -> Path:
    """Where the small picture of a photo lies that an image is suspected of copying."""
    return run.failures / "photos" / picture


def keep_picture(run: Run, content: bytes) -> str:
    """Keep the small picture (WebP) of a photo and return its name, which says what it holds."""
    name = f"{hash_bytes(content)[:16]}.webp"
    if not picture_path(run, name).exists():
        write_bytes(picture_path(run, name), content)
    return name


def write_failures(run: Run, observations: str, found: Failures) -> None:
    """Write what was found among the images with these observations, durably."""
    content = asdict(found)
    write_json(failures_path(run, observations), {**content, "check": hash_value(content)})


def read_failures(run: Run, observations: str) -> Failures | None:
    """What was found among the images with these observations; None where that is not known."""
    try:
        content = json.loads(failures_path(run, observations).read_bytes())
        check = content.pop("check")
        found = TypeAdapter(Failures).validate_python(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None
    return found if hash_value(content) == check else None
