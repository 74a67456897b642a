"""Prints of measured images: what they show, how they are kept, and that nothing but pictures hangs on them."""

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from apfgan.candidates import Candidate
from apfgan.composite import FORMULAS
from apfgan.config import Config, DataConfig, ModelConfig
from apfgan.confusion import count_confusion
from apfgan.data import find_label_maps, hash_label_maps, load_label_map
from apfgan.files import hash_value, read_arrays
from apfgan.image_sets import find_images
from apfgan.images import encode_png, read_photo
from apfgan.labels import Classes
from apfgan.prints import Print, has_prints, label_prints, make_print, print_size, read_prints, write_prints
from apfgan.randomness import random_source
from apfgan.runs import Run
from metrics.judges import Judges
from metrics.reference import Reference
from selection import label_pictures, measuring
from selection.drawn import Drawn
from selection.label_pictures import picture_label_maps
from selection.measuring import Bench, examine, observations_key
from selection.survey import Photos
from selection.units import Part, Unit

HOSTILE = (
    "..",
    "a/../b",
    '"><img src=x onerror=alert(1)>',
    "</script>",
    "no text \udcff",
    "pack.json",
    "00.png",
    "é",
    "e\u0301",
    "new\nline",
    "=1+1",
    "",
)


def scene(*, seed: int = 0, width: int = 512, height: int = 384) -> np.ndarray:
    """Soft colours with an edge, uint8 (height, width, 3)."""
    noise = random_source("scene", seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(4))
    pixels = np.array(image)
    pixels[: height // 3] = (120, 160, 220)
    return pixels


def some_classes(count: int, *, seed: int = 0, width: int = 512, height: int = 384) -> np.ndarray:
    """Random classes, so that each sampled pixel tells where it comes from: integers (height, width)."""
    return random_source("classes", seed).integers(0, count, (height, width))


def opened(picture: bytes | None) -> np.ndarray:
    """The pixels that whoever opens the picture sees, uint8 (H, W, 3)."""
    assert picture is not None
    with Image.open(io.BytesIO(picture)) as image:
        return np.array(image.convert("RGB"))


def test_the_image_is_what_was_drawn_within_a_webps_error() -> None:
    pixels = scene()
    image = opened(make_print(pixels, some_classes(29), Classes()).image)
    assert image.shape == (192, 256, 3)
    means = pixels.reshape(192, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.sqrt(np.mean((image - means) ** 2)) < 6
    assert np.sqrt(np.mean((image - means[:, ::-1]) ** 2)) > 20  # what another picture would give


@pytest.mark.parametrize(
    ("classes", "mode"),
    [
        (Classes(), "P"),
        (Classes(names=("a", "b"), ignore=2), "P"),
        (Classes.numbered(182, ignore=255), "P"),
        (Classes.numbered(255, ignore=65535), "P"),
        (Classes.numbered(256), "RGB"),
        (Classes.numbered(300, ignore=65535), "RGB"),
    ],
    ids=["landscapes", "two", "COCO-Stuff", "255", "256", "300"],
)
def test_what_was_found_is_exact_at_the_sampled_pixels(classes: Classes, mode: str) -> None:
    found = some_classes(len(classes))
    if classes.ignore is not None:
        found[100:200] = classes.ignore
    painting = make_print(scene(), found, classes).found
    assert painting is not None
    with Image.open(io.BytesIO(painting)) as file:
        assert (file.format, file.mode) == ("PNG", mode)
        if mode == "P":  # a place outside the palette is black to some programs, and an error to others
            assert np.array(file).max() < len(file.getpalette() or []) / 3 == len(classes) + 1
    colours = {class_id: tuple(colour) for class_id, colour in enumerate(classes.colours.tolist())} | {classes.ignore: (0, 0, 0)}
    # Twice as wide as the print: of each 2x2 pixels the centre lies on the lower right one.
    expected = [[colours[class_id] for class_id in row] for row in found[1::2, 1::2].tolist()]
    assert (opened(painting) == np.array(expected)).all()


@pytest.mark.parametrize(("width", "height", "size"), [(128, 96, (128, 96)), (256, 999, (256, 999)), (512, 384, (256, 192)), (1000, 1, (256, 1))])
def test_both_pictures_have_one_size(width: int, height: int, size: tuple[int, int]) -> None:
    assert print_size(width, height) == size
    each = make_print(scene(width=64, height=48), some_classes(3, width=width, height=height), Classes.numbered(3))
    assert opened(each.image).shape == opened(each.found).shape == (size[1], size[0], 3)


def test_either_picture_may_be_missing(tmp_path: Path) -> None:
    classes = Classes.numbered(3)
    prints = {"both": (scene(), some_classes(3)), "image": (scene(), None), "found": (None, some_classes(3))}
    made = {stem: make_print(*pictures, classes) for stem, pictures in prints.items()}
    assert (made["image"].found, made["found"].image) == (None, None)
    write_prints(tmp_path / "0000.zip", made)
    assert read_prints(tmp_path, list(made)) == made


def dummy(*stems: str) -> dict[str, Print]:
    return {stem: Print(f"image {number}".encode(), f"found {number}".encode()) for number, stem in enumerate(stems)}


def test_names_are_only_ever_text(tmp_path: Path) -> None:
    prints = dummy(*HOSTILE)
    write_prints(tmp_path / "key" / "0000.zip", prints)
    assert read_prints(tmp_path / "key", HOSTILE) == prints
    assert has_prints(tmp_path / "key" / "0000.zip", HOSTILE)
    with zipfile.ZipFile(tmp_path / "key" / "0000.zip") as pack:
        numbers = range(len(HOSTILE))
        assert sorted(pack.namelist()) == sorted(["pack.json", *(f"{n:02d}.webp" for n in numbers), *(f"{n:02d}.png" for n in numbers)])
        assert {info.compress_type for info in pack.infolist()} == {zipfile.ZIP_STORED}
    assert [path.name for path in tmp_path.rglob("*")] == ["key", "0000.zip"]


def test_the_same_prints_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, clock in (("one", 0.0), ("other", 2e9)):
        monkeypatch.setattr("time.time", lambda clock=clock: clock)
        write_prints(tmp_path / name, {"a": make_print(scene(), some_classes(29), Classes())}, origin="of this")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_reads_what_is_asked_for_and_no_further(tmp_path: Path) -> None:
    for number in range(4):
        write_prints(tmp_path / f"{number:04d}.zip", dummy(f"{number}a", f"{number}b"))
    (tmp_path / ".0.tmp").write_bytes(b"left by a killed writer")
    assert read_prints(tmp_path, {"0b", "2a", "nobody"}) == {"0b": Print(b"image 1", b"found 1"), "2a": Print(b"image 0", b"found 0")}
    assert read_prints(tmp_path, []) == read_prints(tmp_path / "nowhere", ["0a"]) == {}
    (tmp_path / "0003.zip").chmod(0)
    (tmp_path / "0002.zip").unlink()
    (tmp_path / "0002.zip").mkdir()  # would not even open
    assert read_prints(tmp_path, {"1b"}).keys() == {"1b"}


def test_a_damaged_pack_is_as_if_it_had_never_been(tmp_path: Path) -> None:
    good, bad = tmp_path / "0000.zip", tmp_path / "0001.zip"
    write_prints(good, dummy("a"))
    write_prints(bad, dummy("b", "c"), origin="this")
    assert has_prints(bad, ["b", "c"], origin="this")
    assert not has_prints(bad, ["b", "c"]) and not has_prints(bad, ["c", "b"], origin="this") and not has_prints(bad, ["b"], origin="this")
    whole = bad.read_bytes()
    flipped = [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in range(0, len(whole), 7)]
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"\0", b"rubbish" * 99, *flipped):
        bad.write_bytes(damaged)
        assert read_prints(tmp_path, ["a", "b", "c"]).keys() == {"a"}
        assert not has_prints(bad, ["b", "c"], origin="this")


@dataclass(frozen=True, eq=False)
class BrightnessJudge:
    """Sees brightness as the mask, colours as features and their spread as beauty; remembers how many images it was asked about."""

    asked: list[int]
    distance = "fd-colours"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": "brightness"}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        self.asked.append(len(images))
        found = brightness_classes(images)
        return {
            "confusion": count_confusion(label_maps, found, CLASSES),
            "found": found,
            "features": np.concatenate([images.mean(axis=(1, 2)), images.std(axis=(1, 2))], axis=1).astype(np.float32),
            "aesthetic": images.std(axis=(1, 2, 3)) / 25.5,
        }

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        raise NotImplementedError

    def fit_reference(self, features: np.ndarray) -> Reference:
        return Reference.fit(features, distance=self.distance)


@dataclass(frozen=True)
class Paintings:
    """Soft random pictures instead of a generator's."""

    data: DataConfig
    encoding: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"paintings": 1}

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        for path in label_maps:
            yield Drawn(path.stem, load_label_map(path, self.data), painting(path), b"as it was judged")


def painting(path: Path) -> np.ndarray:
    return scene(seed=int(path.stem[-1]), width=272, height=48)


def brightness_classes(images: np.ndarray) -> np.ndarray:
    return (images.mean(axis=3) // 86).astype(int)


CLASSES = Classes(names=("sky", "sea", "land"), ignore=3)
CANDIDATE = Candidate(("painter",))
STEMS = [f"{name} {index}" for index, name in enumerate(['"><b>', "<!--", "é", "map", "map", "map", "map", "no text \udcff", "map", "=map"])]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Ten label maps of odd names, a little wider than a print, of which every seventh row has no label; measured four at a time."""
    for module in (measuring, label_pictures):
        monkeypatch.setattr(module, "CHUNK", 4)
    data = DataConfig(classes=CLASSES.names, ignore=CLASSES.ignore, width=272, height=48, load_width=272)
    (tmp_path / "test/labels").mkdir(parents=True)
    for index, stem in enumerate(STEMS):
        given = some_classes(3, seed=index, width=272, height=48).astype(np.uint8)
        given[::7] = 3
        (tmp_path / "test/labels" / f"{stem}.png").write_bytes(encode_png(given))
    judge = BrightnessJudge([])
    return Bench(
        Run.create(tmp_path / "run", Config(data=data, model=ModelConfig(upsamplings=2, levels=2))),
        find_label_maps(tmp_path / "test/labels"),
        Judges(name="test", mask=judge, aesthetic=judge, features=judge),
        [judge.fit_reference(random_source("reference").normal(100, 20, size=(40, 6)))],
        Photos((), "photos"),
        FORMULAS["A"],
        {},
        stored={CANDIDATE: Paintings(data)},
    )


def prints_of(bench: Bench) -> dict[str, Print]:
    """All prints of the candidate's images."""
    return read_prints(bench.run.prints / observations_key(bench, bench.source(CANDIDATE)), [path.stem for path in bench.label_maps])


def label_prints_of(bench: Bench) -> dict[str, Print]:
    return read_prints(label_prints(bench.run.prints, bench.protocol), [path.stem for path in bench.label_maps])


def asked(bench: Bench) -> list[int]:
    judge = bench.judges.mask
    assert isinstance(judge, BrightnessJudge)
    return judge.asked


def centres(array: np.ndarray) -> np.ndarray:
    """The pixels of an array (48, 272, ...) on which the centres of a print's 45 by 256 lie."""
    rows, columns = (((np.arange(count) + 0.5) * side / count).astype(int) for side, count in ((48, 45), (272, 256)))
    return array[rows[:, None], columns]


def test_every_measured_image_has_a_print_of_what_the_judge_saw(bench: Bench) -> None:
    examine(bench, Unit(CANDIDATE))
    assert asked(bench) == [4, 4, 2], "no second look"
    prints = prints_of(bench)
    for path in bench.label_maps:
        pixels = painting(path)
        seen = opened(prints[path.stem].found)
        assert seen.shape == (45, 256, 3)
        assert (seen == CLASSES.colours[centres(brightness_classes(pixels[None])[0])]).all()
        assert np.abs(opened(prints[path.stem].image) - centres(pixels).astype(float)).mean() < 6


def test_wrong_pixels_can_be_counted_from_prints(bench: Bench) -> None:
    examine(bench, Unit(CANDIDATE))
    picture_label_maps(bench, [])
    prints, labels = prints_of(bench), label_prints_of(bench)
    for path in bench.label_maps:
        given, found = opened(labels[path.stem].found), opened(prints[path.stem].found)
        labelled = given.any(axis=2)  # black: asks for nothing
        wrong = labelled & (given != found).any(axis=2)
        label_map = load_label_map(path, bench.run.config.data)
        (confusion,) = count_confusion(centres(label_map)[None], centres(brightness_classes(painting(path)[None])[0])[None], CLASSES)
        assert labelled.sum() == confusion.sum() < labelled.size
        assert wrong.sum() == confusion.sum() - np.trace(confusion) > 1000


def test_prints_change_neither_observations_nor_keys(bench: Bench) -> None:
    source = bench.source(CANDIDATE)
    key = hash_value(
        {
            "source": {"paintings": 1},
            "judges": {"mask": {"name": "brightness"}, "aesthetic": {"name": "brightness"}, "features": {"name": "brightness"}, "checks": []},
            "label_maps": {"key": hash_label_maps(bench.label_maps), "count": 10, "resize": "pil-nearest"},
            "size": [272, 48],
            "classes": {"count": 3, "ignore": 3},
        }
    )
    assert observations_key(bench, source) == observations_key(replace(bench, panel=frozenset(["map 3"])), source) == key
    outcome = examine(bench, Unit(CANDIDATE))
    for number, rows in enumerate((4, 4, 2)):
        arrays = read_arrays(bench.run.features / key / f"{number:04d}.npz")
        assert {name: len(array) for name, array in arrays.items()} == dict.fromkeys(("stem", "confusion", "features", "aesthetic"), rows)
    shutil.rmtree(bench.run.prints)
    again = examine(bench, Unit(CANDIDATE))
    assert again.entry.metrics == outcome.entry.metrics and asked(bench) == [4, 4, 2], "without prints nothing is measured again"
    assert prints_of(bench) == {}


def test_a_part_pictures_its_chunks_only(bench: Bench) -> None:
    examine(bench, Unit(CANDIDATE, Part(5, 8)))
    assert list(prints_of(bench)) == [path.stem for path in bench.label_maps[4:8]]
    examine(bench, Unit(CANDIDATE))
    assert list(prints_of(bench)) == [path.stem for path in bench.label_maps]


def test_where_there_are_observations_there_are_prints(bench: Bench, tmp_path: Path, killed_at_flushes: Callable[..., int]) -> None:
    """Killed behind each flush to the disk in turn, so before, within and behind every write; then it goes on to the same prints."""
    key = observations_key(bench, bench.source(CANDIDATE))
    examine(bench, Unit(CANDIDATE))
    expected = contents(bench.run.prints / key)
    for flushes in range(99):
        run = Run.create(tmp_path / f"killed {flushes}", bench.run.config)

        def work(run: Run = run) -> None:
            try:
                examine(replace(bench, run=run), Unit(CANDIDATE))
            finally:
                for path in (run.features / key).glob("[0-9]*.npz"):
                    stems = read_arrays(path)["stem"].tolist()
                    assert read_prints(run.prints / key, stems).keys() == set(stems)

        killed = killed_at_flushes(work, [flushes, 999])
        with run.lock():  # clears away what the killed one left
            assert contents(run.prints / key) == expected
        if not killed:
            break
    assert not killed and flushes > 12


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_label_maps_are_pictured_once(bench: Bench, tmp_path: Path) -> None:
    """With the photos that have their names, composed or not; another photo changes its pack alone, and so does damage."""
    (tmp_path / "test/imgs").mkdir()
    photos = {"e\u0301 2": scene(seed=1, width=544, height=96), "map 3": scene(seed=2), "nobody's": scene(seed=3)}
    for name, photo in photos.items():
        (tmp_path / "test/imgs" / f"{name}.png").write_bytes(encode_png(photo))

    def pictured() -> dict[str, tuple[int, bytes]]:
        picture_label_maps(bench, find_images(tmp_path / "test/imgs"))
        (folder,) = bench.run.prints.iterdir()
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}

    first = pictured()
    assert sorted(first) == ["0000.zip", "0001.zip", "0002.zip"]
    prints = label_prints_of(bench)
    assert {stem for stem, each in prints.items() if each.image} == {"é 2", "map 3"}
    for path in bench.label_maps:
        assert (opened(prints[path.stem].found) == centres(CLASSES.paint(load_label_map(path, bench.run.config.data)))).all()
    expected = photos["e\u0301 2"].reshape(48, 2, 272, 2, 3).mean(axis=(1, 3))
    assert np.abs(opened(prints["é 2"].image) - centres(expected)).mean() < 6
    assert pictured() == first

    (place,) = (number // 4 for number, path in enumerate(bench.label_maps) if path.stem == "map 3")
    changed = f"{place:04d}.zip"
    (tmp_path / "test/imgs/map 3.png").write_bytes(encode_png(photos["nobody's"]))
    second = pictured()
    assert {name for name in first if second[name] != first[name]} == {changed}
    (folder,) = bench.run.prints.iterdir()
    (folder / changed).write_bytes(second[changed][1][:-9])
    third = pictured()
    assert third[changed][1] == second[changed][1] and {name for name in second if third[name] != second[name]} == {changed}


def test_the_panels_label_maps_and_photos_are_kept_in_full_size(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    (tmp_path / "imgs/map 3.png").write_bytes(encode_png(np.full((9, 9, 3), 77, dtype=np.uint8)))
    picture_label_maps(replace(bench, panel=frozenset(["map 3", "map 4"])), find_images(tmp_path / "imgs"))
    assert {path.name for path in bench.run.panel.iterdir()} == {"map 3.png", "map 4.png", "map 3.jpg"}
    assert read_photo(bench.run.panel / "map 4.png").shape == read_photo(bench.run.panel / "map 3.jpg").shape == (48, 272, 3)


def test_other_label_maps_have_prints_of_their_own(bench: Bench) -> None:
    picture_label_maps(bench, [])
    picture_label_maps(replace(bench, label_maps=bench.label_maps[:5]), [])
    assert len(list(bench.run.prints.iterdir())) == 2 and len(label_prints_of(bench)) == 10
