"""What the judges say of real photos: the numbers beside which every score is read.

As many photos as images, not among those that images are compared with, give the floor of the distance: even they are not at 0 (spec: metrics,
3.3: 1000 of the references score 31.93). Photos that the mask judge was not fitted on give the ceiling of mask accuracy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from apfgan.config import DataConfig, OutputConfig
from apfgan.data import Pair, find_pairs, hold_out, load_label_map, spread
from apfgan.files import write_json
from apfgan.image_sets import StoredImage, hash_images
from apfgan.images import read_photo, resize_photo
from apfgan.progress import SILENT, Progress
from apfgan.records import Anchors, Estimate
from metrics.composite import composite_estimate, composite_measured
from metrics.floor import measure_floor
from selection.evaluation import HELD_OUT, Evaluation, photos_beside
from selection.judge_card import held_out_pairs, read_fitted
from selection.measuring import Bench, keys, observe
from selection.sources import Drawn, encoded, submitted_encoding


@dataclass(frozen=True)
class RealPhotos:
    """Photos that may be judged as if they were drawn for their label maps."""

    pairs: Sequence[Pair]
    fresh: bool
    """None of them is among the photos that images are compared with."""
    origin: str
    """Which they are, in words."""


@dataclass(frozen=True)
class PhotoSource:
    """Photos in the place of a generator's images: brought to their size, and stored as they are."""

    photos: Mapping[str, Path]
    """By the stem of the label map."""
    data: DataConfig
    """Says at which size."""
    encoder: OutputConfig | None
    """The encoder that the images pass, where they pass one."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The photos' content, and what is done to them."""
        return {"photos": hash_images(map(StoredImage, self.photos.values())), "resize": "pil-bicubic", "encoding": dict(self.encoding)}

    @property
    def encoding(self) -> Mapping[str, Any]:
        """As a submission, or as the pixels are."""
        return {"format": "pixels"} if self.encoder is None else submitted_encoding(self.encoder)

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        """The photo of each label map."""
        for path in label_maps:
            pixels = resize_photo(read_photo(self.photos[path.stem]), (self.data.width, self.data.height))
            label_map = load_label_map(path, self.data)
            yield Drawn(path.stem, label_map, pixels, b"") if self.encoder is None else encoded(path.stem, label_map, pixels, self.encoder)


def real_photos(evaluation: Evaluation, label_maps: Sequence[Path]) -> RealPhotos | None:
    """Photos with label maps that the mask judge was not fitted on, as far as that is known; None where there are none."""
    beside = {image.stem: image.path for image in photos_beside(label_maps)}
    pairs = [Pair(path.stem, beside[path.stem], path) for path in label_maps if path.stem in beside]
    training = find_pairs(evaluation.data) if evaluation.data is not None and (evaluation.data / "train").is_dir() else []
    if len(pairs) > 1 and not {pair.photo for pair in pairs} & {pair.photo for pair in training}:
        return RealPhotos(pairs, fresh=True, origin="those of the label maps")
    if not training:
        return None
    fitted = read_fitted(Path(evaluation.segformer)) if evaluation.judges == "standard" else None
    if evaluation.judges == "standard" and fitted is None:
        return RealPhotos(training, fresh=False, origin="training photos, which the mask judge may know")
    held = hold_out(training, HELD_OUT)[1] if fitted is None else held_out_pairs(fitted, training)
    return RealPhotos(held, fresh=False, origin="training photos that the mask judge was not fitted on")


def find_anchors(bench: Bench, real: RealPhotos | None, *, progress: Progress = SILENT) -> Anchors:
    """What real photos score on `bench`: as the run keeps it, or else measured and kept. `real` are those that there are."""
    if kept := bench.run.read_anchors(bench.protocol_id):
        return kept
    counting, images = bench.references[0], len(bench.label_maps)
    metrics: dict[str, Estimate] = {}
    composite = None
    pairs = spread(real.pairs, images) if real else []
    if real and len(pairs) > 1:
        stage = replace(bench, label_maps=[pair.label_map for pair in pairs])
        config = bench.run.config
        encoder = config.output if bench.encoding == submitted_encoding(config.output) else None
        source = PhotoSource({pair.label_map.stem: pair.photo for pair in pairs}, config.data, encoder)
        key, _ = keys(stage, source)
        measured = bench.judges.measure(observe(stage, source, key, title="real photos", progress=progress), bench.references)
        metrics = {name: measured[name].estimate for name in ("mask_accuracy", "aesthetic", "mean_iou")}
        if real.fresh and len(pairs) == images:
            metrics = {name: each.estimate for name, each in measured.items()}
            composite = composite_measured(bench.formula, measured, distance=counting.distance).estimate
    if counting.distance not in metrics and (floor := measure_floor(counting, images=images)) is not None:
        metrics[counting.distance] = Estimate(floor.mean, floor.deviation)
        if "mask_accuracy" in metrics:
            composite = composite_estimate(bench.formula, metrics, distance=counting.distance)
    found = Anchors(metrics=metrics, composite=composite, photos=len(pairs), origin=real.origin if real else "no label maps to judge them by")
    write_json(bench.run.anchors_path(bench.protocol_id), asdict(found))
    return found
