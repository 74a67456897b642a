"""What looks wrong among a candidate's images: nearly of one grey, nearly the same for different label maps, or suspiciously like a training photo.

All of it follows from what measuring kept: each image's features, its print, and the photos' features.

- Nearly of one grey: the standard deviation of an image's grey values is below a tenth of that of a typical photo.
- Near-duplicates: two images are nearer in the judge's features than a quarter of the distance of two typical photos, `(2 tr S)^½` with the
  photos' covariance S; they look alike; and their label maps differ in a quarter of the pixels or more.
- Copies: by authenticity (Alaa et al. 2022, section 3): an image is no new one where it is nearer to a training photo than that photo is to its
  nearest other photo. Here it is the third nearest, lest two exposures of one scene in the training set hide a copy of either. Many new images
  fall below that bound by chance, so it only says where to look: the nearest are compared with their photo as pictures (`selection.likeness`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from apfgan.candidates import Candidate
from apfgan.data import load_label_map, spread
from apfgan.errors import DataError
from apfgan.failures import Control, Failures, FlatImage, SuspectedCopy, Twins, keep_picture, read_failures, write_failures
from apfgan.files import hash_value, read_arrays, write_json
from apfgan.image_sets import read_images
from apfgan.prints import print_size, read_prints, small_picture
from apfgan.records import Measurement
from metrics.manifold import NEIGHBOURS
from metrics.products import nearest, products, squares
from metrics.reference import Reference
from selection.finishing import Finish
from selection.likeness import ALIKE, likeness, likeness_to_photo, read_small_grey, small_grey
from selection.measuring import Bench

VERSION = 1
"""Goes up whenever the same images would give other findings."""

FLAT = 0.1
"""Share of a typical photo's contrast below which an image is nearly of one grey; `apfgan.health` calls a training dead there."""

TYPICAL_CONTRAST = 47.0
"""Standard deviation of the grey values of a photo, where none are known: the median of 17 real ones."""

NEAR = 0.25
"""Share of the typical distance of two photos below which two images are near-duplicates: the nearest two of 96 painted photos are at 0.25."""

SAME_LABELS = 0.75
"""Share of equal pixels from which on two label maps ask for much the same, and two images may be alike."""

COMPARED = 64
"""Images nearest to photos that are compared with them as pictures, at most: photos have to be decoded for that."""

CONTROLS = 64
"""Photos that are put to the same test."""


def find_failures(bench: Bench, measurement: Measurement) -> Failures | None:
    """What is found among the images behind a measurement of this bench: as the run keeps it, or else looked for and kept.

    None where their features are gone. The run must be locked by the caller. Measured for 1000 images and 10 000 photos with 2048 features
    on one core: 2.2 s, and 1 s for the control of the photos the first time; afterwards what is kept is read.
    """
    run, observations = bench.run, measurement.observations
    pictured = len(list((run.prints / observations).glob("[0-9]*.zip")))
    key = hash_value({"version": VERSION, "observations": observations, "photos": bench.photos.key, "pictured": pictured})
    if (known := read_failures(run, observations)) is not None and known.key == key:
        return known
    stems, features = _read_features(bench, observations)
    if not stems:
        return None
    prints = read_prints(run.prints / observations, set(stems))
    pictures = {stem: read_small_grey(each.image) for stem, each in prints.items() if each.image is not None}
    control = _control(bench)
    replaced = _replaced(bench, measurement.candidate)
    missing = [] if len(pictures) == len(stems) else [_without_pictures(len(stems) - len(pictures), len(stems))]
    flat = find_flat(pictures, typical=control.contrast if control else TYPICAL_CONTRAST)
    shown = {stem: picture for stem, picture in pictures.items() if stem not in {each.stem for each in flat}}
    reference = bench.references[0]
    suspects: list[tuple[str, int, float]] = []
    if reference.features is None or reference.radii is None or not bench.photos.images:
        missing.append("Copies of photos were not looked for: only statistics of the photos are known.")
    else:
        suspects = find_near(stems, features, reference, but=replaced)
    compared = [suspect for suspect in suspects if suspect[0] in shown][:COMPARED]
    found = Failures(
        key=key,
        candidate=measurement.candidate,
        images=len(stems),
        photos=len(bench.photos.images) if reference.features is not None else 0,
        flat=flat,
        twins=_twins(bench, stems, features, shown, reference),
        copies=_copies(bench, compared, shown),
        near=len(suspects),
        compared=len(compared),
        replaced=len(replaced),
        control=control,
        not_looked_at=tuple(missing),
    )
    write_failures(run, observations, found)
    return found


def find_flat(pictures: Mapping[str, np.ndarray], *, typical: float) -> tuple[FlatImage, ...]:
    """Those of small grey pictures that are nearly of one grey, the flattest first; `typical` is the standard deviation of a photo's grey values."""
    contrasts = {stem: float(picture.std()) / typical for stem, picture in pictures.items()}
    return tuple(FlatImage(stem=stem, contrast=contrasts[stem]) for stem in sorted(contrasts, key=contrasts.__getitem__) if contrasts[stem] < FLAT)


def find_near(stems: Sequence[str], features: np.ndarray, reference: Reference, *, but: Iterable[str] = ()) -> list[tuple[str, int, float]]:
    """Images that are nearer to a photo than its third nearest other photo is: (stem, the photo's place, the ratio of both), the nearest first.

    `features` (N, D) are those of the images with these stems; the `reference` must know the photos' features. Images named in `but` are left out.
    """
    assert reference.features is not None and reference.radii is not None
    distances, photos = nearest(features, reference.features)
    reach = reference.radii[photos]
    ratios = np.divide(distances, reach, out=np.full(len(distances), np.inf), where=reach > 0)
    left_out = set(but)
    return [
        (stems[index], int(photos[index]), float(ratios[index]))
        for index in np.argsort(ratios, kind="stable")
        if ratios[index] < 1 and stems[index] not in left_out
    ]


def find_pairs(features: np.ndarray, *, typical: float) -> list[tuple[int, int, float]]:
    """Each image with the one that is nearest to it in features (N, D), where they are near-duplicates by these, the nearest first.

    (place of one, place of the other, distance as a share of the `typical` one)
    """
    distances, others = nearest(features, features, same=True)
    pairs = {(min(pair), max(pair)): float(distance) / typical for pair, distance in zip(enumerate(others.tolist()), distances, strict=True)}
    return sorted(((*pair, share) for pair, share in pairs.items() if share < NEAR), key=lambda each: each[2])


def _read_features(bench: Bench, observations: str) -> tuple[list[str], np.ndarray]:
    """Stems and features (N, D) that were kept of a candidate's images; none where one of the files is damaged."""
    stems: list[str] = []
    rows = []
    for path in sorted((bench.run.features / observations).glob("[0-9]*.npz")):
        try:
            arrays = read_arrays(path)
        except (DataError, OSError):
            return [], np.empty((0, 0))
        stems += map(str, arrays["stem"])
        rows.append(arrays["features"])
    return stems, np.concatenate(rows) if rows else np.empty((0, 0))


def _replaced(bench: Bench, name: str) -> frozenset[str]:
    """Stems of the images in which training photos stand in for drawings, as the candidate's name says."""
    candidate = Candidate.parse(name)
    if candidate in bench.stored or not candidate.photos:
        return frozenset()
    return frozenset(Finish.of(bench.studio, candidate).stand_ins)


def _without_pictures(missing: int, images: int) -> str:
    many = "none of the images" if missing == images else f"{images - missing} of {images} images"
    return f"Small pictures are kept of {many}: contrast, near-duplicates and copies were looked for among those alone."


def _twins(bench: Bench, stems: Sequence[str], features: np.ndarray, pictures: Mapping[str, np.ndarray], reference: Reference) -> tuple[Twins, ...]:
    """Near-duplicates among images with small grey pictures."""
    if len(stems) < 2 or reference.gaussian.trace == 0:
        return ()
    paths = {path.stem: path for path in bench.label_maps}
    found = []
    for one, other, distance in find_pairs(features, typical=float(np.sqrt(2 * reference.gaussian.trace))):
        pair = (stems[one], stems[other])
        if not all(stem in pictures and stem in paths for stem in pair):
            continue
        alike = likeness(*(pictures[stem] for stem in pair))
        if alike < ALIKE:
            continue
        given, asked = (load_label_map(paths[stem], bench.run.config.data) for stem in pair)
        agreement = float((given == asked).mean())
        if agreement < SAME_LABELS:
            found.append(Twins(stems=pair, distance=distance, likeness=alike, agreement=agreement))
    return tuple(found)


def _copies(bench: Bench, suspects: Sequence[tuple[str, int, float]], pictures: Mapping[str, np.ndarray]) -> tuple[SuspectedCopy, ...]:
    """Those of the suspects that look like their photo, of which a small picture is kept."""
    found = []
    for (stem, place, nearness), photo in zip(suspects, _photos(bench, [place for _, place, _ in suspects]), strict=True):
        alike = likeness_to_photo(pictures[stem], small_grey(Image.fromarray(photo)))
        if alike.value < ALIKE:
            continue
        found.append(
            SuspectedCopy(
                stem=stem,
                photo=bench.photos.images[place].location.name,
                picture=keep_picture(bench.run, small_picture(photo, print_size(photo.shape[1], photo.shape[0]))),
                nearness=nearness,
                likeness=alike.value,
                mirrored=alike.mirrored,
            )
        )
    return tuple(found)


def _control(bench: Bench) -> Control | None:
    """The same rules on photos, each held against the others: as the run keeps it for these photos and this judge, or else found and kept."""
    reference, count = bench.references[0], len(bench.photos.images)
    if reference.features is None or len(reference.features) != count or count <= NEIGHBOURS + 1:
        return None
    key = hash_value({"version": VERSION, "photos": bench.photos.key, "judge": dict(bench.judges.features.identity)})
    path = bench.run.failures / f"control_{key[:32]}.json"
    with suppress(OSError, ValidationError):
        return TypeAdapter(Control).validate_json(path.read_bytes())
    places = spread(range(count), CONTROLS)
    pictures = [small_grey(Image.fromarray(photo)) for photo in _photos(bench, places)]
    contrasts = [float(picture.std()) for picture in pictures]
    typical = float(np.median(contrasts))
    near = list(_near_photos(reference.features, places))
    neighbours = _photos(bench, [neighbour for _, neighbour in near])
    copies = sum(
        likeness_to_photo(pictures[index], small_grey(Image.fromarray(photo))).value >= ALIKE
        for (index, _), photo in zip(near, neighbours, strict=True)
    )
    found = Control(photos=len(places), copies=copies, contrast=typical, flat=sum(contrast < FLAT * typical for contrast in contrasts))
    write_json(path, asdict(found))
    return found


def _near_photos(features: np.ndarray, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Of the photos at these places, the index of each that is near to another photo as a copy would be, and the place of that one.

    As if the photo were drawn, and not among the others.
    """
    distances = _distances_to_all(features, places)
    distances[np.arange(len(places)), places] = np.inf
    neighbours = distances.argmin(axis=1)
    reach = _distances_to_all(features, neighbours.tolist())
    reach[np.arange(len(places)), neighbours] = np.inf
    reach[np.arange(len(places)), places] = np.inf
    third = np.partition(reach, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]
    for index, neighbour in enumerate(neighbours.tolist()):
        if distances[index, neighbour] < third[index]:
            yield index, neighbour


def _distances_to_all(features: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Distances float64 (m, M) of the photos at m places from all M photos, by their features (M, D)."""
    rows = features[list(places)]
    squared = np.concatenate([product for _, product in products(rows, features)], axis=1)
    return np.sqrt((squares(rows)[:, np.newaxis] + squares(features) - 2 * squared).clip(min=0))


def _photos(bench: Bench, places: Sequence[int]) -> Iterator[np.ndarray]:
    """The photos uint8 (H, W, 3) at these places, in order."""
    return read_images([bench.photos.images[place] for place in places], convert=bench.photos.convert)
