"""Measuring, resuming and handing in, on tiny networks and judges that are a few lines of numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apfgan.backend import state_arrays
from apfgan.candidates import Candidate
from apfgan.checkpoints import save_checkpoint
from apfgan.composite import FORMULAS
from apfgan.config import Config, DataConfig, ModelConfig, TrainConfig
from apfgan.data import find_label_maps
from apfgan.errors import EnvironmentProblem, WeightsError
from apfgan.images import Encoding, decode_stored, encode_png
from apfgan.networks import build_painter
from apfgan.records import Estimate, Measurement
from apfgan.runs import Run
from metrics.frechet import frechet_distance
from metrics.judges import Judges
from metrics.reference import Reference
from selection import measuring
from selection.drawn import Drawn
from selection.examining import Examiner
from selection.measuring import Bench, examine, measurement_key, observations_key, observe
from selection.merge_candidates import combinations_of_best
from selection.sources import GeneratorSource
from selection.submission import submit
from selection.survey import Photos
from selection.units import Part, Unit

PICO = Config(
    data=DataConfig(classes=("sky", "sea", "land"), width=32, height=24, load_width=32),
    model=ModelConfig(width=4, hidden=4, upsamplings=2, levels=2),
    train=TrainConfig(progressive_epochs=1, epochs=2),
)


@dataclass(frozen=True, eq=False)
class ColourJudge:
    """Sees brightness as the mask, colours as features and their spread as beauty; counts how often it is asked."""

    asked: list[int]
    name: str = "colours"
    distance = "fd-colours"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def observe(self, images: np.ndarray, label_maps: np.ndarray) -> dict[str, np.ndarray]:
        self.asked.append(len(images))
        seen = (images.mean(axis=3) // 86).astype(int)
        confusion = np.stack(
            [np.bincount(g.ravel().astype(int) * 3 + s.ravel(), minlength=9).reshape(3, 3) for g, s in zip(label_maps, seen, strict=True)]
        )
        features = np.concatenate([images.mean(axis=(1, 2)), images.std(axis=(1, 2))], axis=1).astype(np.float32)
        return {"confusion": confusion.astype(np.uint32), "features": features, "aesthetic": images.std(axis=(1, 2, 3)) / 25.5, "found": seen}

    def observe_photos(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        raise NotImplementedError

    def fit_reference(self, features: np.ndarray) -> Reference:
        return Reference.fit(features, distance=self.distance)


def loud_weights(seed: int) -> dict[str, np.ndarray]:
    """Fresh weights, magnified: those of gain 0.02 would draw nothing but grey."""
    arrays = state_arrays(build_painter(PICO, seed=seed))
    return {name: array * 60 if name.endswith(".weight") else array for name, array in arrays.items()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    source = np.random.default_rng(0)
    for index in range(10):
        path = tmp_path / "labels" / f"map {index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_png(source.integers(0, 3, size=(24, 32), dtype=np.uint8)))
    run = Run.create(tmp_path / "run", PICO)
    for epoch in range(3):
        save_checkpoint(run, str(epoch), loud_weights(epoch), epoch=epoch)
    judge = ColourJudge([])
    reference = judge.fit_reference(source.normal(100, 20, size=(40, 6)))
    return Bench(
        run,
        find_label_maps(tmp_path / "labels"),
        Judges(name="test", mask=judge, aesthetic=judge, features=judge),
        [reference],
        Photos((), "photos"),
        FORMULAS["A"],
        {"format": "JPEG"},
        panel=frozenset(f"map {index}" for index in (0, 4, 5, 9)),
    )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "CHUNK", 4)


def measure(bench: Bench, candidate: Candidate) -> Measurement:
    return Examiner(bench).measure(candidate)


def is_known(bench: Bench, candidate: Candidate) -> bool:
    return bench.run.ledger.find(measurement_key(bench, Unit(candidate))) is not None


def asked(bench: Bench) -> list[int]:
    judge = bench.judges.mask
    assert isinstance(judge, ColourJudge)
    return judge.asked


def test_a_second_measurement_computes_nothing(bench):
    candidate = Candidate(("1",))
    assert not is_known(bench, candidate)
    first = measure(bench, candidate)
    assert asked(bench) == [4, 4, 2] and first.images == 10
    assert is_known(bench, candidate)
    assert measure(bench, candidate) == first
    assert asked(bench) == [4, 4, 2]
    assert len(bench.run.ledger.read()) == 1


def test_killed_in_the_middle_it_goes_on_to_the_same_numbers(bench, monkeypatch):
    class Killed(BaseException):
        pass

    class DiesAt(GeneratorSource):
        def draw(self, label_maps):
            for number, image in enumerate(super().draw(label_maps)):
                if number == 6:
                    raise Killed
                yield image

    candidate = Candidate(("1",))
    with pytest.raises(Killed):
        measure(replace(bench, stored={candidate: DiesAt(bench.studio, candidate)}), candidate)
    assert asked(bench) == [4] and bench.run.ledger.read() == []
    resumed = measure(bench, candidate)
    assert asked(bench) == [4, 4, 2]  # the finished chunk was not judged again
    fresh = replace(bench, run=copy_of(bench.run))
    assert measure(fresh, candidate).metrics == resumed.metrics


def copy_of(run: Run) -> Run:
    import shutil

    copy = Run(run.path.with_name("copy"))
    shutil.copytree(run.checkpoints, copy.checkpoints)
    shutil.copy(run.config_path, copy.config_path)
    return copy


def test_a_damaged_chunk_is_made_again(bench):
    candidate = Candidate(("1",))
    found = measure(bench, candidate)
    chunk = bench.run.features / found.observations / "0001.npz"
    for content in (b"", chunk.read_bytes()[:-40], b"rubbish"):
        chunk.write_bytes(content)
        (bench.run.path / "measurements.jsonl").unlink()
        asked(bench).clear()
        again = measure(bench, candidate)
        assert asked(bench) == [4] and again.metrics == found.metrics


def test_the_key_is_content(bench, tmp_path):
    key = measure(bench, Candidate(("1",))).key
    moved = tmp_path / "elsewhere" / "labels"
    moved.mkdir(parents=True)
    for path in bench.label_maps:
        (moved / path.name).write_bytes(path.read_bytes())
    assert measure(replace(bench, label_maps=find_label_maps(moved)), Candidate(("1",))).key == key
    assert measure(replace(bench, device="cpu:0"), Candidate(("1",))).key == key  # the device is recorded, and is not content

    different = {
        "weights": measure(bench, Candidate(("2",))).key,
        "seed": measure(bench, Candidate(("1",), seed=7)).key,
        "reference": measure(replace(bench, photos=Photos((), "others")), Candidate(("1",))).key,
        "formula": measure(replace(bench, formula=FORMULAS["B"]), Candidate(("1",))).key,
        "fewer label maps": measure(replace(bench, label_maps=bench.label_maps[:8]), Candidate(("1",))).key,
        "judges": measure(replace(bench, judges=replace(bench.judges, name="others")), Candidate(("1",))).key,
    }
    pixel = moved / "map 3.png"
    pixel.write_bytes(encode_png(np.zeros((24, 32), dtype=np.uint8)))
    different["one label map"] = measure(replace(bench, label_maps=find_label_maps(moved)), Candidate(("1",))).key
    assert len({key, *different.values()}) == len(different) + 1


def test_another_formula_or_reference_draws_no_new_image(bench):
    measure(bench, Candidate(("1",)))
    asked(bench).clear()
    board_b = measure(replace(bench, formula=FORMULAS["B"]), Candidate(("1",)))
    assert asked(bench) == [] and board_b.formula == "B"


def test_chunks_do_not_change_the_numbers(bench, monkeypatch):
    found = measure(bench, Candidate(("1",)))
    monkeypatch.setattr(measuring, "CHUNK", 7)
    other = measure(replace(bench, run=copy_of(bench.run)), Candidate(("1",)))
    for name, estimate in found.metrics.items():
        assert other.metrics[name].value == pytest.approx(estimate.value, rel=1e-3)


def test_seeds_change_the_image_once_the_noise_speaks(bench):
    arrays = loud_weights(0)
    assert any("noise" in name for name in arrays)
    save_checkpoint(bench.run, "5", {name: np.full_like(array, 0.5) if "noise" in name else array for name, array in arrays.items()}, epoch=5)
    silent = [next(GeneratorSource(bench.studio, Candidate(("0",), seed=seed)).draw(bench.label_maps[:1])).encoded for seed in (0, 1)]
    assert silent[0] == silent[1]
    drawn = {seed: next(GeneratorSource(bench.studio, Candidate(("5",), seed=seed)).draw(bench.label_maps[:1])).encoded for seed in (0, 1)}
    assert drawn[0] != drawn[1]
    assert drawn[0] == next(GeneratorSource(bench.studio, Candidate(("5",))).draw(bench.label_maps[:1])).encoded


def test_an_image_does_not_depend_on_its_neighbours(bench):
    source = GeneratorSource(bench.studio, Candidate(("1",)))
    together = {each.stem: each.pixels.astype(int) for each in source.draw(bench.label_maps)}
    for path in reversed(bench.label_maps[:3]):
        alone: Drawn = next(source.draw([path]))
        assert np.abs(alone.pixels - together[alone.stem]).max() <= 1


def test_all_combinations_of_the_best():
    ranked = [Candidate(("299",)), Candidate(("273", "298")), Candidate(("298",)), Candidate(("273",)), Candidate(("1",))]
    assert [str(each) for each in combinations_of_best(ranked, 3)] == ["avg_298_299", "avg_273_299", "avg_273_298", "avg_273_298_299"]
    assert len(combinations_of_best([Candidate((str(epoch),)) for epoch in range(9)], 6)) == 57


def test_a_merge_of_equals_scores_as_they_do(bench):
    save_checkpoint(bench.run, "7", loud_weights(1), epoch=7)
    single = measure(bench, Candidate(("1",)))
    merged = measure(bench, *combinations_of_best([Candidate(("1",)), Candidate(("7",))], 2))
    assert merged.candidate == "avg_1_7" and merged.metrics == single.metrics


def test_equal_content_has_a_line_for_each_name_and_is_drawn_once(bench):
    save_checkpoint(bench.run, "8", loud_weights(1), epoch=8)
    one = measure(bench, Candidate(("1",)))
    asked(bench).clear()
    for _ in range(2):
        assert measure(bench, Candidate(("8",))).candidate == "8"
        assert measure(bench, Candidate(("1",))) == one
    assert asked(bench) == [] and [each.candidate for each in bench.run.ledger.read()] == ["1", "8"]


def test_a_damaged_checkpoint_is_refused(bench):
    path = bench.run.checkpoint_path("1")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        measure(bench, Candidate(("1",)))


def test_the_submission_is_flat_whole_and_scores_as_measured(bench, tmp_path):
    import zipfile

    expected = measure(bench, Candidate(("1",)))
    done = submit(bench, Candidate(("1",)), tmp_path / "result.zip", expected=expected.composite)
    with zipfile.ZipFile(done.path) as archive:
        assert sorted(archive.namelist()) == sorted(f"map {index}.jpg" for index in range(10))
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        first = archive.read("map 0.jpg")
    assert done.composite.value == pytest.approx(expected.composite.value, abs=1e-9)
    assert first == next(GeneratorSource(bench.studio, Candidate(("1",))).draw(bench.label_maps[:1])).encoded
    assert submit(bench, Candidate(("1",)), tmp_path / "again.zip").sha256 == done.sha256


def test_the_submission_is_finished_as_the_candidate_says(bench, tmp_path):
    """In natural order whatever the bench's, by the candidate's own encoder, with photos; and the ledger's numbers are those of the same bytes."""
    import zipfile

    data = tmp_path / "data"
    for path, content in {"labels/sea.png": np.full((24, 32), 1, np.uint8), "imgs/sea.png": np.full((24, 32, 3), (9, 99, 199), np.uint8)}.items():
        (data / "train" / path).parent.mkdir(parents=True)
        (data / "train" / path).write_bytes(encode_png(content))
    bench.label_maps[7].write_bytes(encode_png(np.full((24, 32), 1, dtype=np.uint8)))
    bench = replace(bench, label_maps=bench.label_maps[::-1], training_set=data)
    candidate = Candidate.parse("1~q90-444~photos")
    done = submit(bench, candidate, tmp_path / "result.zip", expected=measure(bench, candidate).composite)
    with zipfile.ZipFile(done.path) as archive:
        assert archive.namelist() == [f"map {index}.jpg" for index in range(10)]
        found = {name: decode_stored(archive.read(name), name) for name in archive.namelist()}
    assert {encoding for _, encoding in found.values()} == {Encoding("JPEG", 90, "4:4:4")}
    assert np.abs(found["map 7.jpg"][0] - np.array([9.0, 99, 199])).max() <= 2
    assert done.composite.value != submit(bench, Candidate(("1",)), tmp_path / "plain.zip").composite.value


def test_a_submission_that_scores_otherwise_is_an_error(bench, tmp_path):
    with pytest.raises(EnvironmentProblem, match="score 1 again"):
        submit(bench, Candidate(("1",)), tmp_path / "result.zip", expected=Estimate(0.99))


def test_the_panel_is_kept_as_judged(bench):
    found = measure(bench, Candidate(("1",)))
    kept = {path.stem: path.read_bytes() for path in (bench.run.samples / found.observations).iterdir()}
    assert kept.keys() == bench.panel
    drawn = {each.stem: each.encoded for each in GeneratorSource(bench.studio, Candidate(("1",))).draw(bench.label_maps)}
    assert all(drawn[stem] == content for stem, content in kept.items())


def test_a_part_is_drawn_once_and_the_whole_draws_the_rest(bench):
    examiner, candidate = Examiner(bench), Candidate(("1",))
    part = Unit(candidate, Part(0, 8))
    outcome = examiner([part])[part]
    assert asked(bench) == [4, 4] and len(outcome.entry.measured["composite"].influence) == 8
    whole = examiner([Unit(candidate)])[Unit(candidate)]
    assert asked(bench) == [4, 4, 2] and len(whole.entry.measured["composite"].influence) == 10
    first, second = bench.run.ledger.read()
    assert (first.part, first.images, second.part, second.images) == ((0, 8), 8, None, 10)
    assert first.key != second.key and first.observations == second.observations
    fresh = examine(replace(bench, run=copy_of(bench.run)), Unit(candidate))
    assert fresh.entry.metrics == whole.entry.metrics
    asked(bench).clear()
    later = Unit(candidate, Part(3, 9))  # within chunks, and behind the first
    assert Examiner(bench)([later])[later].entry.metrics["aesthetic"].value == pytest.approx(aesthetics(bench, candidate)[3:9].mean())
    assert asked(bench) == []


def aesthetics(bench: Bench, candidate: Candidate) -> np.ndarray:
    source = bench.source(candidate)
    return observe(bench, source, observations_key(bench, source), title="")["aesthetic"]


def test_slopes_are_those_of_the_definition(bench):
    part = Unit(Candidate(("2",)), Part(0, 8))
    outcome = examine(bench, part)
    source = bench.source(part.candidate)
    seen = observe(bench, source, observations_key(bench, source), title="")["features"][:8]
    gaussian = bench.references[0].gaussian
    halves = [frechet_distance(seen[start::2], gaussian) for start in (0, 1)]
    assert outcome.slopes["fd-colours"] == pytest.approx(8 * (sum(halves) / 2 - frechet_distance(seen, gaussian)))
    assert outcome.slopes["fd-colours"] > 0
    for linear in ("aesthetic",):
        assert outcome.slopes[linear] == pytest.approx(0, abs=1e-9)
    assert not {"kid", "mean_iou"} & outcome.entry.metrics.keys()  # checks decide nothing, and cost much


def test_what_cannot_be_measured_stops_nobody_else(bench):
    path = bench.run.checkpoint_path("1")
    path.write_bytes(path.read_bytes()[:-1])
    examiner = Examiner(bench)
    found = examiner([Unit(Candidate((name,))) for name in ("0", "1", "2")])
    assert [str(each.candidate) for each in found] == ["0", "2"]
    assert [each.candidate for each in bench.run.ledger.read()] == ["0", "2"]
    with pytest.raises(WeightsError, match=r"SHA-256 differs(.|\n)*Not measured: 1"):
        examiner.raise_failures()


def test_lost_influences_are_made_again_from_what_was_observed(bench):
    unit = Unit(Candidate(("1",)))
    first = Examiner(bench)([unit])[unit]
    asked(bench).clear()
    (lost,) = bench.run.influences.folder.glob("*.npz")
    lost.unlink()
    again = Examiner(bench)([unit])[unit]
    np.testing.assert_array_equal(again.entry.measured["composite"].influence, first.entry.measured["composite"].influence)
    assert asked(bench) == [] and lost.exists() and len(bench.run.ledger.read()) == 1
