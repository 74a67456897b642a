"""What the generator draws after each epoch for a few fixed label maps: pictures for people, and how much the images differ.

N images, H×W pixels; photos and images are uint8 (N, H, W, 3) RGB. Nothing here changes a training: the painter draws with its running
statistics, without gradients, and learns on as if it had not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from apfgan.config import Config, DataConfig
from apfgan.data import find_pairs, load_label_map, spread, watched_label_maps
from apfgan.files import write_bytes
from apfgan.image_sets import find_images
from apfgan.images import encode_jpeg, read_photo, resize_photo
from apfgan.networks import Painter
from apfgan.runs import Run
from apfgan.sampling import drawing, sample, to_pixels
from apfgan.schedule import Stage
from apfgan.training_log import Vitals

SUBJECTS = 6
"""Label maps in a preview."""

FILM_EPOCHS = 12
"""Epochs in the film at most, evenly spread, with the first and the last among them."""

_REFERENCE_PHOTOS = 64
_FILM_WIDTH = 2400
_GAP = 4
_SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A label map that every preview draws."""

    stem: str
    label_map: np.ndarray
    """Integer (H, W), at the generator's size."""
    photo: np.ndarray | None = None
    """uint8 (H, W, 3); None where the truth is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """What the previews of a training draw, and what its images are measured by."""

    subjects: tuple[Subject, ...]
    photos: tuple[float, float]
    """What `measure_spread` finds in training photos."""


def load_panel(data: Path, config: DataConfig) -> Panel:
    """A few of the label maps by which a training is watched: evenly spread, the same at every start.

    Raises `DataError` for a file that cannot be used.
    """
    pairs = find_pairs(data)
    photos = np.stack([_photo(pair.photo, config) for pair in spread(pairs, _REFERENCE_PHOTOS)])
    return Panel(tuple(_subjects(data, config)), measure_spread(photos))


def measure_spread(images: np.ndarray) -> tuple[float, float]:
    """Standard deviation of images uint8 (N, H, W, 3) over the pixels of an image, and of a pixel over the images (0 for one image)."""
    exact = images.astype(np.float64)
    within, between = exact.var(axis=(1, 2)).mean(), exact.var(axis=0, ddof=min(1, len(images) - 1)).mean()
    return float(np.sqrt(within)), float(np.sqrt(between))


def measure_vitals(images: np.ndarray, panel: Panel) -> Vitals:
    """How alive images uint8 (N, H, W, 3) are beside the panel's photos. Where photos themselves do not vary, nothing else need."""
    contrast, variety = (ours / theirs if theirs else 1.0 for ours, theirs in zip(measure_spread(images), panel.photos, strict=True))
    if len(images) == 1:
        variety = 1.0  # it has nothing to be like
    same = (images[:, :, 1:] == images[:, :, :-1]).all(axis=3)
    return Vitals(contrast, variety, float(same.mean()))


def draw_panel(painter: Painter, panel: Panel, config: Config, *, stage: Stage | None, device: str) -> np.ndarray:
    """The images uint8 (N, h, w, 3) that a painter in training has for the panel's label maps, of the size that `stage` trains."""
    with drawing(painter):
        maps = ((subject.stem, subject.label_map) for subject in panel.subjects)
        drawn = sample(painter, maps, classes=len(config.data.classes), seed=_SEED, stage=stage, device=device)
        return np.stack([to_pixels(image, rounding=config.output.rounding) for _, _, image in drawn])


def save_preview(run: Run, panel: Panel, images: np.ndarray, *, epoch: int) -> None:
    """Write the preview of an epoch, and the film up to it.

    A row for each label map; columns: the label map, the photo where one is known, and the image, enlarged if it is a smaller one.
    """
    size = (run.config.data.width, run.config.data.height)
    columns = [("label map", [run.config.data.label_classes.paint(subject.label_map) for subject in panel.subjects])]
    if any(subject.photo is not None for subject in panel.subjects):
        blank = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        columns.append(("photo", [blank if subject.photo is None else subject.photo for subject in panel.subjects]))
    # Pixel by pixel, so that one sees what size is trained.
    enlarged = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.NEAREST)) for image in images]
    columns.append((f"epoch {epoch}", enlarged))
    _save(run.preview_path(epoch), np.concatenate([captioned_column(caption, cells) for caption, cells in columns], axis=1))
    save_film(run, until=epoch)


def save_film(run: Run, *, until: int) -> None:
    """Write `film.jpg`: how the images came about, a column for each of a few epochs up to `until`, made of their previews."""
    paths = {int(match[1]): path for path in run.previews.iterdir() if (match := re.fullmatch(r"epoch_(\d+)\.jpg", path.name))}
    previews = [read_photo(paths[epoch]) for epoch in spread(sorted(epoch for epoch in paths if epoch <= until), FILM_EPOCHS)]
    strip = run.config.data.width + _GAP
    known = previews[-1][:, :-strip]  # label maps and photos
    film = np.concatenate([known, *(preview[:, -strip:] for preview in previews if len(preview) == len(known))], axis=1)
    if film.shape[1] > _FILM_WIDTH:
        film = resize_photo(film, (_FILM_WIDTH, round(len(film) * _FILM_WIDTH / film.shape[1])))
    _save(run.previews / "film.jpg", film)


def captioned_column(caption: str, cells: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 picture of cells (H, W, 3) below one another under a caption, smaller where it is long, with a gap below and beside each."""
    height, width, _ = cells[0].shape
    size = max(10, height // 10)
    head = Image.new("RGB", (width, size * 3 // 2))
    font = ImageFont.load_default(size=size)
    if (length := font.getlength(caption)) > 0.95 * width:
        font = ImageFont.load_default(size=size * 0.95 * width / length)
    ImageDraw.Draw(head).text((width / 2, head.height / 2), caption, font=font, anchor="mm", fill="white")
    parts = [np.pad(part, ((0, _GAP), (0, _GAP), (0, 0))) for part in (np.asarray(head), *cells)]
    return np.concatenate(parts)


def _subjects(data: Path, config: DataConfig) -> list[Subject]:
    label_maps = watched_label_maps(data)
    truth = label_maps[0].parent.parent / "imgs"
    photos = {image.stem: image.path for image in find_images(truth)} if truth.exists() else {}
    return [
        Subject(path.stem, load_label_map(path, config), _photo(photos[path.stem], config) if path.stem in photos else None)
        for path in spread(label_maps, SUBJECTS)
    ]


def _photo(path: Path, config: DataConfig) -> np.ndarray:
    return resize_photo(read_photo(path), (config.width, config.height))


def _save(path: Path, picture: np.ndarray) -> None:
    write_bytes(path, encode_jpeg(picture, quality=90, subsampling="4:4:4"))
