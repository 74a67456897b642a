"""Three images to show to a jury: beautiful, true to their label maps, and unlike one another."""

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from apfgan.candidates import Candidate
from apfgan.confusion import image_accuracy
from apfgan.data import load_label_map
from apfgan.errors import DataError
from apfgan.files import write_bytes
from apfgan.folders import natural_order
from apfgan.images import decode_jpeg, encode_jpeg, shown
from apfgan.previews import captioned_column
from selection.finishing import Finish
from selection.measuring import Bench, observations_key, observe, totals

COUNT = 3
"""Images that board B asks for."""

POOL = 60
"""Only so many of the best images are combined: 34,220 threes."""

_SAME = 1e-9
"""Images are the same at so small a part of the typical distance."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A proposed image."""

    stem: str
    aesthetic: float
    """0 to 10."""
    accuracy: float
    """Share of its pixels in which the mask judge found what was asked for."""
    distance: float
    """To the nearer of the other two, in units of the typical distance between two images."""


@dataclass(frozen=True, slots=True)
class Showcase:
    """The proposal."""

    exhibits: tuple[Exhibit, ...]
    """The best image first."""
    reason: str
    """Why these, in words."""


def choose(stems: Sequence[str], aesthetic: np.ndarray, accuracy: np.ndarray, features: np.ndarray, *, pool: int = POOL) -> Showcase:
    """The proposal among N images with these stems, aesthetic scores (N,), mask accuracies (N,) and features (N, D), whatever their order.

    An image's quality is its aesthetic score plus its accuracy, each in standard deviations over all images. The three that are chosen have the
    largest sum of their mean quality and of the logarithm of the distance between the nearest two, in units of the root mean square distance of
    any two images. So no quality makes up for near-duplicates, and a stranger beside two of them does not either. Exact over the `pool` images of
    highest quality. Images without accuracy (NaN: no labelled pixel) are left out; raises `DataError` where fewer than three remain.
    """
    order = sorted((int(row) for row in np.flatnonzero(~np.isnan(accuracy))), key=lambda row: natural_order(stems[row]))
    if len(order) < COUNT:
        raise DataError(f"a showcase takes {COUNT} drawings with labelled pixels, and there are {len(order)}")
    seen = features[order].astype(np.float64)
    quality = _standardised(aesthetic[order]) + _standardised(accuracy[order])
    best = np.argsort(-quality, kind="stable")[:pool]
    # The mean square distance of two of n points is twice their variance with n - 1 below; 1 where all are the same point.
    typical = math.sqrt(2 * seen.var(axis=0, ddof=1).sum()) or 1.0
    apart = np.stack([np.linalg.norm(seen[best] - row, axis=1) for row in seen[best]]) / typical
    threes = np.array(list(combinations(range(len(best)), COUNT)))
    nearest = np.min([apart[threes[:, one], threes[:, other]] for one, other in combinations(range(COUNT), 2)], axis=0)
    chosen = threes[int(np.argmax(quality[best][threes].mean(axis=1) + np.log(np.maximum(nearest, _SAME))))]
    exhibits = []
    for place in chosen:
        row = order[best[place]]
        distance = min(apart[place, other] for other in chosen if other != place)
        exhibits.append(Exhibit(stems[row], float(aesthetic[row]), float(accuracy[row]), float(distance)))
    reason = (
        f"of the {len(best)} best drawings by aesthetic score and mask accuracy, the {COUNT} with the most of both and of difference: "
        f"the nearest two are {min(each.distance for each in exhibits):.2f} of the typical distance apart"
    )
    return Showcase(tuple(exhibits), reason)


def propose(bench: Bench, candidate: Candidate) -> Showcase:
    """The proposal among all drawings of a measured candidate, by what the judges saw in them; where a photo stands in for one, it is left out."""
    source = bench.source(candidate)
    seen = observe(bench, source, observations_key(bench, source), title=str(candidate))
    # A mean's influence is an image's own value less the mean.
    aesthetic = totals(bench, seen, checks=False)["aesthetic"]
    stems = [path.stem for path in bench.label_maps]
    stand_ins = Finish.of(bench.studio, candidate).stand_ins
    accuracy = np.where([stem in stand_ins for stem in stems], np.nan, image_accuracy(seen["confusion"]))
    return choose(stems, aesthetic.value + aesthetic.influence, accuracy, seen["features"])


def write_showcase(bench: Bench, showcase: Showcase, submission: Path, folder: Path) -> list[Path]:
    """Put the proposed images into `folder` as they are in the submission's zip (`1_STEM.jpg`, ...), the last ones' taken away.

    With them `contact_sheet.jpg`, to be looked at: for each its label map, and the image below. Gives the images' paths.
    """
    data = bench.run.config.data
    label_maps = {path.stem: path for path in bench.label_maps}
    for old in folder.glob(f"[1-{COUNT}]_*.jpg"):
        old.unlink()
    paths, columns = [], []
    with zipfile.ZipFile(submission) as archive:
        for number, each in enumerate(showcase.exhibits, start=1):
            content = archive.read(f"{each.stem}.jpg")
            paths.append(folder / f"{number}_{each.stem}.jpg")
            write_bytes(paths[-1], content)
            painted = data.label_classes.paint(load_label_map(label_maps[each.stem], data))
            caption = f"{number}: {shown(Path(each.stem))}, aesthetic {each.aesthetic:.2f}, mask {each.accuracy:.3f}"
            columns.append(captioned_column(caption, [painted, decode_jpeg(content)]))
    write_bytes(folder / "contact_sheet.jpg", encode_jpeg(np.concatenate(columns, axis=1), quality=90, subsampling="4:4:4"))
    return paths


def _standardised(values: np.ndarray) -> np.ndarray:
    """In standard deviations from their mean; all 0 where they are equal."""
    return (values - values.mean()) / (values.std() or 1.0)
