"""What real photos score: the floor and the ceiling beside every candidate."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from apfgan.config import Config, DataConfig, TrainConfig
from apfgan.data import find_pairs, hold_out
from apfgan.landscapes import make_landscapes
from apfgan.records import Anchors
from apfgan.runs import Run
from metrics.floor import measure_floor
from metrics.judges import Judges
from selection import evaluation
from selection.anchors import find_anchors, real_photos
from selection.evaluation import Evaluation, open_bench
from selection.measuring import Bench

CONFIG = Config(data=DataConfig(width=64, height=48, load_width=64), train=TrainConfig(progressive_epochs=0, epochs=0))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painted")
    make_landscapes(folder, train=24, test=6, width=64, height=48)
    return folder


@pytest.fixture
def data(painted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(painted, tmp_path / "data"))


@pytest.fixture(autouse=True)
def quick_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "fit", functools.partial(evaluation.fit, steps=60))


@pytest.fixture
def found(tmp_path: Path) -> Callable[[Evaluation], tuple[Bench, Anchors]]:
    def find(asked: Evaluation) -> tuple[Bench, Anchors]:
        bench = open_bench(Run.create(tmp_path / "run", CONFIG), asked, panel=False)
        return bench, find_anchors(bench, real_photos(asked, bench.label_maps))

    return find


def test_the_photos_of_the_label_maps_are_judged_as_images_are(found, data: Path, monkeypatch) -> None:
    bench, anchors = found(Evaluation(data=data))
    assert (anchors.origin, anchors.photos) == ("those of the label maps", 6)
    assert anchors.composite is not None and anchors.composite.error is not None
    assert anchors.metrics["mask_accuracy"].value > 0.4  # painted skies are not hard to see
    floor = measure_floor(bench.references[0], images=6)
    assert floor is not None
    assert anchors.metrics["fd-embedded"].value == pytest.approx(floor.mean, rel=0.5)
    monkeypatch.setattr(Judges, "observe", None)  # looking again would fail
    assert found(Evaluation(data=data))[1] == anchors
    assert bench.run.read_anchors(bench.protocol_id) == anchors


def test_without_them_the_floor_is_among_the_photos_and_the_ceiling_on_those_held_out(found, data: Path) -> None:
    shutil.rmtree(data / "test" / "imgs")
    bench, anchors = found(Evaluation(data=data))
    assert anchors.origin == "training photos that the mask judge was not fitted on"
    assert anchors.photos == len(hold_out(find_pairs(data), evaluation.HELD_OUT)[1])
    floor = measure_floor(bench.references[0], images=6)
    assert floor is not None
    assert anchors.metrics["fd-embedded"].value == floor.mean and anchors.metrics["fd-embedded"].error == floor.deviation
    assert anchors.composite is not None


@pytest.mark.parametrize("copied", [False, True], ids=["the same folder", "a copy"])
def test_photos_are_not_compared_with_themselves(found, data: Path, tmp_path: Path, copied: bool) -> None:
    """They would be at a distance that no other photos could reach."""
    found(Evaluation(data=data))  # fits the judge
    real = data / "train" / "imgs"
    if copied:
        real = Path(shutil.copytree(real, tmp_path / "photos"))
    for path in [*(data / "train" / "labels").iterdir()][8:]:
        path.unlink()
    bench, anchors = found(Evaluation(labels=data / "train" / "labels", real=real))
    floor = measure_floor(bench.references[0], images=8)
    assert floor is not None and anchors.metrics["fd-embedded"].value == floor.mean
    assert anchors.photos == 8


def test_where_nothing_can_be_said_nothing_is(found, data: Path, tmp_path: Path) -> None:
    found(Evaluation(data=data))
    labels, photos = tmp_path / "labels", tmp_path / "few"
    shutil.copytree(data / "test" / "labels", labels)
    photos.mkdir()
    for path in sorted((data / "train" / "imgs").iterdir())[:5]:
        shutil.copy(path, photos)
    _, anchors = found(Evaluation(labels=labels, real=photos))
    assert anchors.metrics == {} and anchors.composite is None and anchors.photos == 0
