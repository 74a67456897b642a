"""The standard judges: pytorch-fid's Inception, a SegFormer, and LAION's aesthetic head on CLIP, from weights that are on this machine."""

from collections.abc import Callable
from pathlib import Path

from apfgan.errors import WeightsError
from apfgan.labels import Classes
from metrics.aesthetic import AestheticJudge
from metrics.inception import InceptionJudge
from metrics.judges import Judges
from metrics.pretrained import find_pretrained
from metrics.segformer import SegformerJudge
from metrics.weights import AESTHETIC_HEAD, CLIP, INCEPTION, SEGFORMER, HubModel, find_file, how_to_get, locate


def standard_judges(
    classes: Classes, *, segformer: str = "", clip: str = "", aesthetic_head: Path | None = None, inception: Path | None = None, device: str = "cpu"
) -> Judges:
    """Build them; what is not named is looked for where it usually is (`metrics.weights`).

    `segformer` and `clip` are folders or hub ids. `aesthetic_head` may be another of LAION's files: its hash is in the judges' identity.
    Raises one `WeightsError` that lists everything that is missing, and how to get it.
    """
    searches: list[Callable[[], Path]] = [
        lambda: find_file(INCEPTION, inception),
        lambda: _find_network(SEGFORMER, segformer),
        lambda: _find_network(CLIP, clip),
        lambda: aesthetic_head or find_file(AESTHETIC_HEAD),
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
    inception_file, segformer_folder, clip_folder, head_file = found
    return Judges(
        name="standard",
        mask=SegformerJudge(segformer_folder, classes, device=device),
        aesthetic=AestheticJudge(clip_folder, head_file, device=device),
        features=InceptionJudge(inception_file, device=device),
    )


def _find_network(entry: HubModel, name: str) -> Path:
    found = find_pretrained(name) if name else locate(entry)
    if found is None:
        where = f"{name} is no folder with config.json and weights, nor in the hub's cache" if name else f"{entry.repository} is not here"
        raise WeightsError(f"the {entry.judge} needs a network, and {where}. {how_to_get(entry)}")
    return found
