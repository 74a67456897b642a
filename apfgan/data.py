"""A data set on disk: its pairs, what is wrong with it, and the batches that training draws from it.

    DATA/train/imgs/NAME.jpg      photos
    DATA/train/labels/NAME.png    their label maps, of the same size
    DATA/test/labels/NAME.png     label maps to generate photos for

N images, H×W pixels; photos of a batch are float32 (N, 3, H, W) in [-1, 1], label maps are integer (N, H, W) ids. Numpy only.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from apfgan.config import DataConfig
from apfgan.errors import DataError
from apfgan.files import hash_bytes, hash_value
from apfgan.folders import Problem, first_of_each_name, normal_name, raise_problems, regular_files, visible_entries
from apfgan.image_sets import StoredImage, hash_images, hash_named
from apfgan.images import decode_label_map, decode_photo, read_content, read_label_map, read_photo, resize_label_map, resize_photo, shown
from apfgan.labels import Classes
from apfgan.progress import SILENT, Progress
from apfgan.single_class import SingleClassPhotos, only_class
from apfgan.threads import in_threads

_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
_LABEL_SUFFIXES = (".png",)
_INTENSITIES = (np.arange(256, dtype=np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo and its label map."""

    stem: str
    """Their name, without folder and suffix."""
    photo: Path
    label_map: Path


class PairHashes(NamedTuple):
    """SHA-256 of the bytes of a pair's files, in hex."""

    photo: str
    label_map: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step sees."""

    photos: np.ndarray
    """float32 (N, 3, H, W) in [-1, 1]."""
    label_maps: np.ndarray
    """uint8 or uint16 (N, H, W)."""
    stems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """What a folder of label maps holds."""

    maps: int
    """Label maps that could be read."""
    sizes: dict[tuple[int, int], int]
    """How many maps have each (width, height)."""
    class_pixels: tuple[int, ...]
    """Pixels of each class."""
    class_maps: tuple[int, ...]
    """Maps in which each class occurs."""
    ignored_pixels: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """Everything that `check_dataset` found."""

    pairs: tuple[Pair, ...]
    """The training pairs, as `find_pairs` gives them."""
    train: LabelCounts
    test: LabelCounts | None
    """None: there is no DATA/test/labels."""
    problems: tuple[Problem, ...]
    hashes: Mapping[str, PairHashes]
    """Of the files of each pair without a problem, by its stem."""
    single_class: SingleClassPhotos
    """The photos whose label map has one class only."""

    def raise_problems(self) -> None:
        """Raise a `DataError` if there are problems: it counts them all and shows the first 20."""
        raise_problems(self.problems)


def find_pairs(data: Path) -> list[Pair]:
    """The training pairs of `data`, matched by name, in natural order (2 before 10).

    Raises `DataError` that collects every missing partner, doubtful name and unreadable entry.
    """
    pairs, problems = _scan_pairs(data)
    raise_problems(problems)
    return pairs


def find_label_maps(folder: Path) -> list[Path]:
    """The label maps in `folder`, in natural order; raises `DataError` with every entry that cannot be one, or when there are none."""
    label_maps, problems = _scan(folder, "label map", _LABEL_SUFFIXES)
    raise_problems(problems)
    return label_maps


def watched_label_maps(data: Path) -> list[Path]:
    """The label maps by which a training is watched: those of DATA/test/labels, or of the training pairs where there are not two of them.

    Images are compared with one another, and of a single one there is nothing to compare. Raises what `find_label_maps` raises.
    """
    test = data / "test" / "labels"
    found = find_label_maps(test) if test.exists() else []
    return found if len(found) > 1 else find_label_maps(data / "train" / "labels")


def check_dataset(data: Path, classes: Classes, *, visit: Callable[[np.ndarray], object] | None = None, progress: Progress = SILENT) -> DataReport:
    """Read and decode every file of `data` once, and report all that is wrong, with what there is to know about the rest.

    `visit` is shown each training photo without a problem, uint8 (H, W, 3), in natural order.
    """
    pairs, problems = _scan_pairs(data)
    test: list[Path] = []
    test_folder = data / "test" / "labels"
    if test_folder.exists():
        test, test_problems = _scan(test_folder, "label map", _LABEL_SUFFIXES)
        problems += test_problems

    train_counts, test_counts = _Counter(classes), _Counter(classes)
    hashes: dict[str, PairHashes] = {}
    single_class: dict[int, tuple[str, ...]] = {}
    with progress.task("check", len(pairs) + len(test), unit="files") as task:
        examined = in_threads(partial(_examine_pair, classes=classes, keep_photo=visit is not None), pairs)
        for pair, found in zip(pairs, examined, strict=True):
            problems += found.problems
            if found.counted is not None:
                train_counts.add(found.counted)
            if not found.problems:
                hashes[pair.stem] = found.hashes
                if found.only_class is not None:
                    single_class[found.only_class] = (*single_class.get(found.only_class, ()), pair.photo.name)
                if visit is not None and found.photo is not None:
                    visit(found.photo)
            task.advance()
        for counted, test_problems in in_threads(partial(_examine_label_map, classes=classes), test):
            problems += test_problems
            if counted is not None:
                test_counts.add(counted)
            task.advance()
    return DataReport(
        pairs=tuple(pairs),
        train=train_counts.total(),
        test=test_counts.total() if test_folder.exists() else None,
        problems=tuple(problems),
        hashes=hashes,
        single_class=single_class,
    )


def check_label_maps(paths: Sequence[Path], classes: Classes) -> None:
    """Decode every label map and raise one `DataError` for all that cannot be used."""
    examined = in_threads(partial(_examine_label_map, classes=classes), paths)
    raise_problems([problem for _, problems in examined for problem in problems])


def read_pair(pair: Pair, classes: Classes) -> tuple[np.ndarray, np.ndarray]:
    """A photo, uint8 (H, W, 3), and its label map, (H, W) ids; raises `DataError` for what cannot be read, or not of one size."""
    photo, label_map = read_photo(pair.photo), read_label_map(pair.label_map, classes)
    _check_sizes(pair, photo.shape, label_map.shape)
    return photo, label_map


class TrainingPairs:
    """The training set without what `data.exclude` names, as shuffled batches of resized, cropped and mirrored pairs."""

    def __init__(self, pairs: Sequence[Pair], config: DataConfig, *, hashes: Mapping[str, PairHashes] | None = None) -> None:
        """`hashes`, by stem, of at least these pairs' files, saves reading them for the fingerprint.

        Raises `DataError` when there are no pairs, or none is left.
        """
        if not pairs:
            raise DataError("there are no training pairs: put photos into DATA/train/imgs and their label maps into DATA/train/labels")
        by_name = {normal_name(pair.stem): pair for pair in pairs}
        excluded = {normal_name(name): name for name in config.exclude}
        self.pairs = tuple(pair for name, pair in by_name.items() if name not in excluded)
        if not self.pairs:
            raise DataError(f"data.exclude names all {len(pairs)} training pairs: there is nothing left to train on")
        self.not_found = tuple(given for name, given in excluded.items() if name not in by_name)
        """Names in `data.exclude` that no pair has."""
        self.config = config
        self._hashes = hashes

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every file's bytes and name; the same for a copy or another order, another for one changed pixel."""
        hashes = hash_pairs(self.pairs) if self._hashes is None else {pair.stem: self._hashes[pair.stem] for pair in self.pairs}
        return hash_value(set_hashes(hashes))

    def batch_count(self, batch: int) -> int:
        """Batches in an epoch: the last incomplete one is dropped, unless it is the only one."""
        return max(1, len(self) // batch)

    def batches(self, epoch: int, *, batch: int, seed: int, skip: int = 0, rows: slice = slice(None)) -> Iterator[Batch]:
        """The batches of an epoch. They follow from `seed`, `epoch` and the pairs' order alone, however many threads decode them.

        The first `skip` batches are left out, and of each of the others only `rows` are read: the share of one process among several.
        Raises the `DataError` of the first file that cannot be used, at its batch.
        """
        order = _generator(seed, epoch, 0).permutation(len(self)).tolist()
        size = min(batch, len(self))
        chosen = [order[start : start + size][rows] for start in range(skip * size, self.batch_count(batch) * size, size)]
        wanted = [index for members in chosen for index in members]
        with closing(in_threads(partial(self._sample, epoch, seed=seed), wanted)) as samples:
            for members in chosen:
                photos, label_maps, stems = zip(*islice(samples, len(members)), strict=True)
                yield Batch(np.stack(photos), np.stack(label_maps), stems)

    def _sample(self, epoch: int, index: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
        pair, config = self.pairs[index], self.config
        photo, label_map = read_pair(pair, config.label_classes)
        width, height = load_size((photo.shape[1], photo.shape[0]), config)
        draw = _generator(seed, epoch, 1 + index)
        x, y = int(draw.integers(0, width - config.width, endpoint=True)), int(draw.integers(0, height - config.height, endpoint=True))
        mirrored = bool(draw.random() > 0.5)
        photo, label_map = training_crop(photo, label_map, config, x=x, y=y if config.crop == "anywhere" else 0, flip=config.flip and mirrored)
        return _INTENSITIES[photo.transpose(2, 0, 1)], label_map, pair.stem


def load_size(photo_size: tuple[int, int], config: DataConfig) -> tuple[int, int]:
    """The (width, height) to which a training photo of `photo_size` is resized before the crop.

    The smallest that keeps its shape and covers `load_width` and the height that goes with it. The original's 1024x768 photos become 572x429,
    as they did there; it gave photos of another shape the same width and failed or stretched later.
    """
    width, height = photo_size
    cover_width, cover_height = config.load_width, config.load_width * config.height // config.width
    if width * cover_height <= height * cover_width:
        return cover_width, height * cover_width // width
    return width * cover_height // height, cover_height


def training_crop(photo: np.ndarray, label_map: np.ndarray, config: DataConfig, *, x: int, y: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
    """The part of a pair that training sees: resized to `load_size`, cut to the generator's size at (`x`, `y`), mirrored if `flip`.

    Takes and returns uint8 (H, W, 3) and integer (H, W).
    """
    size = load_size((photo.shape[1], photo.shape[0]), config)
    window = (slice(y, y + config.height), slice(x, x + config.width))
    photo, label_map = resize_photo(photo, size)[window], resize_label_map(label_map, size)[window]
    return (photo[:, ::-1], label_map[:, ::-1]) if flip else (photo, label_map)


def load_label_map(path: Path, config: DataConfig) -> np.ndarray:
    """The label map in `path` at the generator's size, (height, width) ids: what is drawn, and what the drawing is judged by."""
    return resize_label_map(read_label_map(path, config.label_classes), (config.width, config.height))


def spread(items: Sequence[_Item], most: int | None) -> list[_Item]:
    """At most so many of `items`, evenly spread, in order."""
    if most is None or most >= len(items):
        return list(items)
    return [items[position] for position in np.linspace(0, len(items) - 1, most).round().astype(int)]


def hold_out(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """The pairs to learn from and about `share` of them to be judged by, both in order.

    A hash of a pair's name decides, so that neither order nor more pairs change who is held out. At least one of two or more pairs is held
    out unless `share` is 0, and at least one is left: the first and the last by their hashes.
    """
    by_hash = sorted(pairs, key=_lot)
    most = len(pairs) - 1 if share > 0 else 0
    count = min(max(1, sum(_lot(pair) < share for pair in pairs)), most)
    held = {pair.stem for pair in by_hash[:count]}
    return [pair for pair in pairs if pair.stem not in held], [pair for pair in pairs if pair.stem in held]


def _lot(pair: Pair) -> float:
    """A number in [0, 1) that follows from the pair's name alone."""
    return int(hash_value(ascii(normal_name(pair.stem)))[:12], 16) / 16**12


def hash_label_maps(paths: Iterable[Path]) -> str:
    """Hash of a set of label maps: of each one's name and bytes, whatever their folder and order."""
    return hash_images(map(StoredImage, paths))


def hash_pairs(pairs: Sequence[Pair], *, progress: Progress = SILENT) -> dict[str, PairHashes]:
    """The hashes of the files of each pair, by its stem: everything is read, nothing is decoded."""
    with progress.task("read the data", len(pairs), unit="pairs") as task:
        hashes = {}
        found = in_threads(lambda pair: PairHashes(_hash_content(pair.photo), _hash_content(pair.label_map)), pairs)
        for pair, of_pair in zip(pairs, found, strict=True):
            hashes[pair.stem] = of_pair
            task.advance()
    return hashes


def set_hashes(hashes: Mapping[str, PairHashes]) -> PairHashes:
    """What `apfgan.image_sets.hash_images` gives for the photos, and for the label maps, of the pairs that `hashes` lists by stem."""
    photos, label_maps = ([(stem, found[side]) for stem, found in hashes.items()] for side in (0, 1))
    return PairHashes(hash_named(photos), hash_named(label_maps))


def _hash_content(path: Path) -> str:
    return hash_bytes(read_content(path))


def _generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """Draws that follow from these three numbers only: nothing needs saving for a killed training to go on alike."""
    return np.random.default_rng([seed % 2**64, epoch, purpose])


def _check_sizes(pair: Pair, photo: tuple[int, ...], label_map: tuple[int, ...]) -> None:
    """Raise `DataError` unless both array shapes have the same height and width."""
    if photo[:2] != label_map[:2]:
        raise DataError(
            f"{shown(pair.photo)}: is {photo[1]}x{photo[0]}, but its label map {shown(pair.label_map)} is {label_map[1]}x{label_map[0]}; "
            "they must cover the same pixels"
        )


def _scan_pairs(data: Path) -> tuple[list[Pair], list[Problem]]:
    photos, photo_problems = _scan(data / "train" / "imgs", "photo", _PHOTO_SUFFIXES)
    label_maps, label_problems = _scan(data / "train" / "labels", "label map", _LABEL_SUFFIXES)
    problems = photo_problems + label_problems
    photo_of = {normal_name(path.stem): path for path in photos}
    label_map_of = {normal_name(path.stem): path for path in label_maps}
    if photos and label_maps:
        for name, path in photo_of.items():
            if name not in label_map_of:
                problems.append(Problem(path, f"has no label map {shown(data / 'train' / 'labels' / f'{name}.png')}"))
        for name, path in label_map_of.items():
            if name not in photo_of:
                problems.append(Problem(path, f"has no photo {shown(data / 'train' / 'imgs' / f'{name}.jpg')}"))
    return [Pair(label_map_of[name].stem, path, label_map_of[name]) for name, path in photo_of.items() if name in label_map_of], problems


def _scan(folder: Path, kind: str, suffixes: tuple[str, ...]) -> tuple[list[Path], list[Problem]]:
    """The usable files of a folder in natural order, and what is wrong with the others. Hidden files (temporaries too) do not count."""
    try:
        entries = [entry for entry in visible_entries(folder) if entry.suffix.lower() in _PHOTO_SUFFIXES]
    except OSError as error:
        return [], [Problem(folder, f"cannot be listed: {error.strerror}; a data set needs train/imgs, train/labels and, to generate, test/labels")]
    files, problems = regular_files(entries)
    problems += [
        Problem(file, "is a JPEG: label maps must be PNG, because JPEG changes the ids along every class edge")
        for file in files
        if file.suffix.lower() not in suffixes
    ]
    files, twins = first_of_each_name([file for file in files if file.suffix.lower() in suffixes], lambda file: file)
    problems += twins
    if not files and not problems:
        problems.append(Problem(folder, f"holds no {kind} ({', '.join(suffixes)})"))
    return files, problems


@dataclass(frozen=True, slots=True)
class _Counted:
    """One label map's shape (height, width), and pixels of each id."""

    shape: tuple[int, ...]
    pixels: np.ndarray


class _Counter:
    """Adds up `_Counted`."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.pixels = np.zeros(len(classes), dtype=np.int64)
        self.maps = np.zeros(len(classes), dtype=np.int64)
        self.ignored = 0

    def add(self, counted: _Counted) -> None:
        known = counted.pixels[: len(self.classes)]
        height, width = counted.shape
        self.sizes[width, height] += 1
        self.pixels += known
        self.maps += known > 0
        self.ignored += int(counted.pixels.sum() - known.sum())

    def total(self) -> LabelCounts:
        return LabelCounts(
            maps=self.sizes.total(),
            sizes=dict(self.sizes.most_common()),
            class_pixels=tuple(self.pixels.tolist()),
            class_maps=tuple(self.maps.tolist()),
            ignored_pixels=self.ignored,
        )


@dataclass(frozen=True, slots=True)
class _Examined:
    """What a pair is like. Without problems, nothing but the photo that nobody wants is None."""

    counted: _Counted | None
    only_class: int | None
    hashes: PairHashes
    photo: np.ndarray | None
    problems: list[Problem]


def _examine_pair(pair: Pair, *, classes: Classes, keep_photo: bool) -> _Examined:
    problems: list[Problem] = []
    label_map, label_hash = _examine(pair.label_map, partial(decode_label_map, classes=classes), problems)
    photo, photo_hash = _examine(pair.photo, decode_photo, problems)
    if photo is not None and label_map is not None:
        try:
            _check_sizes(pair, photo.shape, label_map.shape)
        except DataError as error:
            problems.append(Problem.of(pair.photo, error))
    return _Examined(
        counted=None if label_map is None else _count(label_map, classes),
        only_class=None if label_map is None else only_class(label_map, classes),
        hashes=PairHashes(photo_hash, label_hash),
        photo=photo if keep_photo else None,
        problems=problems,
    )


def _examine_label_map(path: Path, *, classes: Classes) -> tuple[_Counted | None, list[Problem]]:
    problems: list[Problem] = []
    label_map, _ = _examine(path, partial(decode_label_map, classes=classes), problems)
    return None if label_map is None else _count(label_map, classes), problems


def _examine(path: Path, decode: Callable[[bytes, str], np.ndarray], problems: list[Problem]) -> tuple[np.ndarray | None, str]:
    """What a file holds and the hash of its bytes, read once; if it cannot be used, `problems` gets the reason."""
    try:
        content = read_content(path)
        return decode(content, shown(path)), hash_bytes(content)
    except DataError as error:
        problems.append(Problem.of(path, error))
        return None, ""


def _count(label_map: np.ndarray, classes: Classes) -> _Counted:
    return _Counted(label_map.shape, np.bincount(label_map.ravel(), minlength=len(classes)))
