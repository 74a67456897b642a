"""Pictures of what images are drawn for: prints of all label maps, each with the photo that has its name where there is one."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from apfgan.data import load_label_map
from apfgan.folders import normal_name
from apfgan.image_sets import StoredImage, hash_images
from apfgan.images import decode_photo, shown
from apfgan.prints import Print, has_prints, label_prints, make_print, pack_name, write_prints
from apfgan.progress import SILENT, Progress
from apfgan.threads import in_threads
from selection.measuring import CHUNK, Bench


def picture_label_maps(bench: Bench, photos: Iterable[StoredImage], *, progress: Progress = SILENT) -> None:
    """Keep prints of a bench's label maps and of those of the `photos` that have their names, unless the run has them already.

    Of several photos with one name the last one counts. Raises the `DataError` of the first that cannot be read.
    """
    data = bench.run.config.data
    folder = label_prints(bench.run.prints, bench.drawn)
    by_name = {normal_name(image.stem): image for image in photos}

    def photo_of(path: Path) -> StoredImage | None:
        return by_name.get(normal_name(path.stem))

    def look(path: Path) -> Print:
        photo = photo_of(path)
        return make_print(None if photo is None else _decode(photo), load_label_map(path, data), data.label_classes)

    missing = []
    for number, start in enumerate(range(0, len(bench.label_maps), CHUNK)):
        chunk = bench.label_maps[start : start + CHUNK]
        origin = hash_images(photo for photo in map(photo_of, chunk) if photo is not None)
        if not has_prints(folder / pack_name(number), [path.stem for path in chunk], origin=origin):
            missing.append((number, chunk, origin))
    if not missing:
        return
    with progress.task("picture the label maps", sum(len(chunk) for _, chunk, _ in missing), unit="label maps") as task:
        for number, chunk, origin in missing:
            prints = {}
            for path, each in zip(chunk, in_threads(look, chunk), strict=True):
                prints[path.stem] = each
                task.advance()
            write_prints(folder / pack_name(number), prints, origin=origin)


def _decode(photo: StoredImage) -> np.ndarray:
    """The pixels, uint8 (H, W, 3), of what is only looked at."""
    return decode_photo(photo.read(), shown(photo.location), convert=True)
