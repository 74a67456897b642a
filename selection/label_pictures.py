"""Pictures of what images are drawn for: prints of all label maps, each with the photo that has its name, and the panel's in full size."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from apfgan.data import load_label_map
from apfgan.files import write_bytes
from apfgan.folders import normal_name
from apfgan.image_sets import StoredImage, hash_images
from apfgan.images import decode_photo, encode_jpeg, encode_png, resize_photo, shown
from apfgan.prints import Print, has_prints, label_prints, make_print, pack_name, write_prints
from apfgan.progress import SILENT, Progress
from apfgan.threads import in_threads
from selection.measuring import CHUNK, Bench

_Given = tuple[Path, StoredImage | None]
"""A label map, and the photo that has its name."""


def picture_label_maps(bench: Bench, photos: Iterable[StoredImage], *, progress: Progress = SILENT) -> None:
    """Keep pictures of a bench's label maps, and of those of the `photos` that have their names. Prints that the run has already stay.

    Of several photos with one name the last one counts. Raises the `DataError` of the first that cannot be read.
    """
    by_name = {normal_name(image.stem): image for image in photos}
    given = [(path, by_name.get(normal_name(path.stem))) for path in bench.label_maps]
    _keep_prints(bench, given, progress=progress)
    _keep_panel(bench, [(path, photo) for path, photo in given if path.stem in bench.panel])


def _keep_prints(bench: Bench, given: Sequence[_Given], *, progress: Progress) -> None:
    data, folder = bench.run.config.data, label_prints(bench.run.prints, bench.drawn)

    def look(each: _Given) -> Print:
        path, photo = each
        return make_print(None if photo is None else _decode(photo), load_label_map(path, data), data.label_classes)

    missing = []
    for number, start in enumerate(range(0, len(given), CHUNK)):
        chunk = given[start : start + CHUNK]
        origin = hash_images(photo for _, photo in chunk if photo is not None)
        if not has_prints(folder / pack_name(number), [path.stem for path, _ in chunk], origin=origin):
            missing.append((folder / pack_name(number), chunk, origin))
    if not missing:
        return
    with progress.task("picture the label maps", sum(len(chunk) for _, chunk, _ in missing), unit="label maps") as task:
        for pack, chunk, origin in missing:
            prints = {}
            for (path, _), each in zip(chunk, in_threads(look, chunk), strict=True):
                prints[path.stem] = each
                task.advance()
            write_prints(pack, prints, origin=origin)


def _keep_panel(bench: Bench, given: Sequence[_Given]) -> None:
    data, folder = bench.run.config.data, bench.run.panel
    for path, photo in given:
        write_bytes(folder / f"{path.stem}.png", encode_png(data.label_classes.paint(load_label_map(path, data))))
        if photo is not None:
            pixels = resize_photo(_decode(photo), (data.width, data.height))
            write_bytes(folder / f"{path.stem}.jpg", encode_jpeg(pixels, quality=90, subsampling="4:4:4"))


def _decode(photo: StoredImage) -> np.ndarray:
    """The pixels, uint8 (H, W, 3), of what is only looked at."""
    return decode_photo(photo.read(), shown(photo.location), convert=True)
