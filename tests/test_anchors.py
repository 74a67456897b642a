"""What real photos score: the floor and the ceiling beside every candidate."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from apfgan.config import Config, DataConfig, TrainConfig
from apfgan.data import find_pairs, hold_out
from apfgan.landscapes import make_landscapes
from apfgan.ranking import Entry, rank
from apfgan.records import Anchors, Estimate
from apfgan.runs import Run
from metrics.floor import measure_floor
from metrics.judges import Judges
from reports.terminal import Standings
from selection import anchors, evaluation
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
        bench = open_bench(Run.create(tmp_path / "run", CONFIG), asked, pictures=False)
        return bench, find_anchors(bench, real_photos(asked, bench.label_maps))

    return find


def test_the_photos_of_the_label_maps_are_judged_as_images_are(found, data: Path, monkeypatch) -> None:
    bench, kept = found(Evaluation(data=data))
    assert (kept.origin, kept.photos) == ("those of the label maps", 6)
    assert kept.composite is not None and kept.composite.error is not None
    assert kept.metrics["mask_accuracy"].value > 0.4  # painted skies are not hard to see
    floor = measure_floor(bench.references[0], images=6)
    assert floor is not None
    assert kept.metrics["fd-embedded"].value == pytest.approx(floor.mean, rel=0.5)
    monkeypatch.setattr(Judges, "observe", None)  # looking again would fail
    assert found(Evaluation(data=data))[1] == kept
    assert bench.run.read_anchors(bench.protocol_id) == kept


def test_without_them_the_floor_is_among_the_photos_and_the_ceiling_on_those_held_out(found, data: Path) -> None:
    shutil.rmtree(data / "test" / "imgs")
    bench, kept = found(Evaluation(data=data))
    assert kept.origin == "training photos that the mask judge was not fitted on"
    assert kept.photos == len(hold_out(find_pairs(data), evaluation.HELD_OUT)[1])
    floor = measure_floor(bench.references[0], images=6)
    assert floor is not None
    assert kept.metrics["fd-embedded"].value == floor.mean and kept.metrics["fd-embedded"].error == floor.deviation
    assert kept.composite is not None


@pytest.mark.parametrize("copied", [False, True], ids=["the same folder", "a copy"])
def test_photos_are_not_compared_with_themselves(found, data: Path, tmp_path: Path, copied: bool) -> None:
    """They would be at a distance that no other photos could reach."""
    found(Evaluation(data=data))  # fits the judge
    real = data / "train" / "imgs"
    if copied:
        real = Path(shutil.copytree(real, tmp_path / "photos"))
    for path in [*(data / "train" / "labels").iterdir()][8:]:
        path.unlink()
    bench, kept = found(Evaluation(labels=data / "train" / "labels", real=real))
    floor = measure_floor(bench.references[0], images=8)
    assert floor is not None and kept.metrics["fd-embedded"].value == floor.mean
    assert kept.photos == 8


def test_statistics_do_not_say_of_which_photos(found, data: Path, tmp_path: Path) -> None:
    bench, direct = found(Evaluation(data=data))
    bench.references[0].save(tmp_path / "photos.npz")
    bench, kept = found(Evaluation(labels=data / "test" / "labels", real=tmp_path / "photos.npz"))
    floor = measure_floor(bench.references[0], images=6)
    assert floor is not None and kept.metrics["fd-embedded"].value == floor.mean != direct.metrics["fd-embedded"].value
    assert kept.metrics["mask_accuracy"] == direct.metrics["mask_accuracy"]


def test_where_nothing_can_be_said_nothing_is(found, data: Path, tmp_path: Path) -> None:
    found(Evaluation(data=data))
    labels, photos = tmp_path / "labels", tmp_path / "few"
    shutil.copytree(data / "test" / "labels", labels)
    photos.mkdir()
    for path in sorted((data / "train" / "imgs").iterdir())[:5]:
        shutil.copy(path, photos)
    _, kept = found(Evaluation(labels=labels, real=photos))
    assert kept.metrics == {} and kept.composite is None and kept.photos == 0


def test_what_is_wrong_with_the_mask_judge_is_told_with_every_ranking(found, data: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(anchors, "find_alarms", lambda confusion, classes: seen.append(confusion) or ["it is blind"])
    _, kept = found(Evaluation(data=data))
    assert kept.alarms == ("it is blind",)
    assert seen[0].shape == (6, 29, 29) and seen[0].sum() == 6 * 64 * 48  # of the photos
    place = rank([Entry("1", {"composite": Estimate(0.5, 0.1)})])[0]
    assert "it is blind" in Standings(places=[place], by="composite", anchors=kept).as_text(top=1)
