"""The standard judges: an Inception by one of two protocols, a SegFormer, and LAION's aesthetic head on CLIP, from weights on this machine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from apfgan.errors import WeightsError
from apfgan.labels import Classes
from metrics.aesthetic import AestheticHead, EmbeddingJudge
from metrics.clean import CleanInceptionJudge
from metrics.inception import InceptionJudge
from metrics.judges import FeatureJudge, Judges
from metrics.pretrained import required_pretrained
from metrics.segformer import Geometry, SegformerJudge
from metrics.vision_features import FD_CLIP, FD_DINOV2, VisionJudge
from metrics.weights import AESTHETIC_HEAD, CLIP, CLIP_336, DINOV2, INCEPTION, INCEPTION_TORCHSCRIPT, SEGFORMER, find_file, find_network

FidProtocol = Literal["pytorch-fid", "clean"]
"""Which tool's FID."""

Check = Literal["dinov2", "clip"]
"""A further feature network."""


def standard_judges(
    classes: Classes,
    *,
    fid: FidProtocol = "pytorch-fid",
    segformer: str = "",
    geometry: Geometry = "native",
    clip: str = "",
    aesthetic_head: Path | None = None,
    checks: Sequence[Check] = (),
    device: str = "cpu",
) -> Judges:
    """Build them; what is not named is looked for where it usually is (`metrics.weights`).

    `segformer` and `clip` are folders or hub ids. `aesthetic_head` may be another of LAION's files: its hash is in the judges' identity.
    Raises one `WeightsError` that lists everything that is missing, and how to get it.
    """
    searches: list[Callable[[], Path]] = [
        lambda: find_fid_weights(fid),
        lambda: required_pretrained(segformer) if segformer else find_network(SEGFORMER),
        lambda: required_pretrained(clip) if clip else find_network(CLIP),
        lambda: aesthetic_head or find_file(AESTHETIC_HEAD),
        *(lambda entry=_NETWORKS[check][0]: find_network(entry) for check in checks),
    ]
    found, problems = [], []
    for search in searches:
        try:
            found.append(search())
        except WeightsError as error:
            problems.append(str(error))
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise WeightsError(f"the standard judges cannot sit:\n{listed}\nWithout any weights, --judges embedded fits judges on the training pairs.")
    inception_file, segformer_folder, clip_folder, head_file, *check_folders = found
    head, embedding = AestheticHead.read(head_file), EmbeddingJudge(clip_folder, device=device)
    head.require(embedding.dimensions)
    return Judges(
        name="standard",
        mask=SegformerJudge(segformer_folder, classes, geometry=geometry, device=device),
        aesthetic=embedding,
        head=head,
        features=fid_judge(fid, inception_file, device=device),
        checks=tuple(VisionJudge(folder, _NETWORKS[check][1], device=device) for check, folder in zip(checks, check_folders, strict=True)),
    )


def find_fid_weights(protocol: FidProtocol) -> Path:
    """The verified file of the network that `protocol` uses; raises `WeightsError` that says how to get it."""
    return find_file(INCEPTION if protocol == "pytorch-fid" else INCEPTION_TORCHSCRIPT)


def fid_judge(protocol: FidProtocol, weights: Path, *, device: str = "cpu") -> FeatureJudge:
    """The judge whose distance is the FID by `protocol`, from its file of weights."""
    return InceptionJudge(weights, device=device) if protocol == "pytorch-fid" else CleanInceptionJudge(weights, device=device)


_NETWORKS = {"dinov2": (DINOV2, FD_DINOV2), "clip": (CLIP_336, FD_CLIP)}
