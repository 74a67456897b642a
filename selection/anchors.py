"""What the judges say of real photos: the numbers beside which every score is read.

As many photos as images, none of which is among those that images are compared with, give the floor of the distance: even they are not at 0 (spec:
metrics, 3.3: 1000 of the references score 31.93). Photos that the mask judge was not fitted on give the ceiling of mask accuracy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apfgan.composite import composite_estimate, composite_measured
from apfgan.config import DataConfig, OutputConfig
from apfgan.data import find_pairs, hold_out, load_label_map, spread
from apfgan.files import write_json
from apfgan.folders import normal_name
from apfgan.image_sets import StoredImage, hash_each, hash_images, read_images
from apfgan.images import resize_photo
from apfgan.progress import SILENT, Progress
from apfgan.records import Anchors, Estimate
from metrics.floor import measure_floor
from selection.drawn import Drawn
from selection.evaluation import HELD_OUT, Evaluation, photos_beside
from selection.finishing import encoded, submitted_encoding
from selection.judge_card import held_out_pairs, read_fitted
from selection.judge_check import find_alarms
from selection.measuring import Bench, observations_key, observe


@dataclass(frozen=True)
class RealPhotos:
    """Photos that may be judged as if they were drawn for their label maps."""

    images: Mapping[Path, StoredImage]
    """The photo of each label map."""
    origin: str
    """Which they are, in words."""
    convert: bool = False
    """How they are read: see `apfgan.images.decode_photo`."""


@dataclass(frozen=True)
class PhotoSource:
    """Photos in the place of a generator's images: brought to their size, and stored as they are."""

    photos: RealPhotos
    data: DataConfig
    """Says at which size."""
    encoder: OutputConfig | None
    """The encoder that the images pass, where they pass one."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The photos' content, and what is done to them."""
        read = "convert" if self.photos.convert else "strict"
        return {"photos": hash_images(self.photos.images.values()), "read": read, "resize": "pil-bicubic", "encoding": dict(self.encoding)}

    @property
    def encoding(self) -> Mapping[str, Any]:
        """As a submission, or as the pixels are."""
        return {"format": "pixels"} if self.encoder is None else submitted_encoding(self.encoder)

    def draw(self, label_maps: Sequence[Path]) -> Iterator[Drawn]:
        """The photo of each label map."""
        photos = read_images([self.photos.images[path] for path in label_maps], convert=self.photos.convert)
        for path, photo in zip(label_maps, photos, strict=True):
            pixels = resize_photo(photo, (self.data.width, self.data.height))
            label_map = load_label_map(path, self.data)
            yield Drawn(path.stem, label_map, pixels, b"") if self.encoder is None else encoded(path.stem, label_map, pixels, self.encoder)


def real_photos(evaluation: Evaluation, label_maps: Sequence[Path]) -> RealPhotos | None:
    """Photos with label maps that the mask judge was not fitted on, as far as that is known; None where there are none."""
    beside = {normal_name(image.stem): image for image in photos_beside(label_maps)}
    drawn_after = {path: beside[normal_name(path.stem)] for path in label_maps if normal_name(path.stem) in beside}
    training = find_pairs(evaluation.data) if evaluation.data is not None and (evaluation.data / "train").is_dir() else []
    if len(drawn_after) > 1 and not {image.path for image in drawn_after.values()} & {pair.photo for pair in training}:
        return RealPhotos(drawn_after, "those of the label maps", evaluation.convert)
    fitted = read_fitted(Path(evaluation.segformer)) if evaluation.judges == "standard" else None
    origin = "training photos that the mask judge was not fitted on"
    if fitted is not None:
        training = held_out_pairs(fitted, training)
    elif evaluation.judges == "embedded":
        training = hold_out(training, HELD_OUT)[1]
    else:
        origin = "training photos, which the mask judge may know"
    return RealPhotos({pair.label_map: StoredImage(pair.photo) for pair in training}, origin) if training else None


def find_anchors(bench: Bench, real: RealPhotos | None, *, progress: Progress = SILENT) -> Anchors:
    """What real photos score on `bench`: as the run keeps it, or else measured and kept. `real` are those that there are."""
    if kept := bench.run.read_anchors(bench.protocol_id):
        return kept
    counting, images = bench.references[0], len(bench.label_maps)
    metrics: dict[str, Estimate] = {}
    composite: Estimate | None = None
    alarms: tuple[str, ...] = ()
    judged = spread(list(real.images), images) if real else []
    if real and len(judged) > 1:
        chosen = replace(real, images={path: real.images[path] for path in judged})
        observations = _observe(bench, chosen, progress=progress)
        alarms = tuple(find_alarms(observations["confusion"], bench.run.config.data.label_classes))
        measured = bench.judges.measure(observations, bench.references)
        metrics = {name: measured[name].estimate for name in ("mask_accuracy", "aesthetic", "mean_iou")}
        known = bench.photos.contents  # empty where a file of statistics stands for the photos: who knows of which
        if len(judged) == images and known and not any(content in known for _, content in hash_each(chosen.images.values())):
            metrics = {name: each.estimate for name, each in measured.items()}
            composite = composite_measured(bench.formula, measured, distance=counting.distance).estimate
    if counting.distance not in metrics and (floor := measure_floor(counting, images=images)) is not None:
        metrics[counting.distance] = Estimate(floor.mean, floor.deviation)
        if "mask_accuracy" in metrics:
            composite = composite_estimate(bench.formula, metrics, distance=counting.distance)
    origin = real.origin if real else "no label maps to judge them by"
    found = Anchors(metrics=metrics, composite=composite, photos=len(judged), origin=origin, alarms=alarms)
    write_json(bench.run.anchors_path(bench.protocol_id), asdict(found))
    return found


def _observe(bench: Bench, photos: RealPhotos, *, progress: Progress) -> dict[str, np.ndarray]:
    """What the judges of a bench see in the photos, as in images for their label maps."""
    config = bench.run.config
    stage = replace(bench, label_maps=list(photos.images))
    source = PhotoSource(photos, config.data, config.output if bench.encoding == submitted_encoding(config.output) else None)
    return observe(stage, source, observations_key(stage, source), title="real photos", progress=progress)
