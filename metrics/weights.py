"""Pretrained weights, the judges' and the perceptual loss's: which files, what they hash to, where they are looked for, and how they get there.

Nothing here needs torch or a network; only `fetch` opens a connection. A file is used after its hash was compared, never by its name alone.
"""

import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from apfgan.errors import UsageError, WeightsError
from apfgan.files import WEIGHTS_VARIABLE, hash_file, torch_cache, weights_folders, write_durably
from apfgan.progress import SILENT, Progress

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsFile:
    """One file of weights."""

    name: str
    """What `apfgan weights` calls it."""
    judge: str
    """What it is for."""
    file: str
    """Its usual file name."""
    url: str
    sha256: str | None
    """None: nobody has published it. Judges then record the hash of the file at hand, and `weights` says that it is not pinned."""
    size: int | None
    """Bytes."""
    aliases: tuple[str, ...] = ()
    """Other names under which the same bytes are spread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubModel:
    """One network of the Hugging Face hub; it may also lie in a folder of its own."""

    name: str
    judge: str
    repository: str
    """Its id on the hub."""
    revision: str
    """The commit of the repository that is meant."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Published hashes of its files by name; the others are not pinned, and judges record what they found."""


INCEPTION = WeightsFile(
    name="inception",
    judge="FID",
    file="pt_inception-2015-12-05-6726825d.pth",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    size=95_628_359,
    aliases=("weights-inception-2015-12-05-6726825d.pth",),
)
INCEPTION_TORCHSCRIPT = WeightsFile(
    name="inception-clean",
    judge="FID, clean-fid's protocol",
    file="inception-2015-12-05.pt",
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    size=95_607_719,
)
AESTHETIC_HEAD = WeightsFile(
    name="aesthetic",
    judge="aesthetic score (head)",
    file="sac+logos+ava1-l14-linearMSE.pth",
    url="https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/sac%2Blogos%2Bava1-l14-linearMSE.pth",
    sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    size=3_714_759,
)
AESTHETIC_HEAD_V1 = WeightsFile(
    name="aesthetic-v1",
    judge="aesthetic score (first head)",
    file="sa_0_4_vit_l_14_linear.pth",
    url="https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
    sha256=None,
    size=None,
)
CLIP = HubModel(
    name="clip",
    judge="aesthetic score (image embedding)",
    repository="openai/clip-vit-large-patch14",
    revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
)
SEGFORMER = HubModel(
    name="segformer",
    judge="mask accuracy",
    repository="nvidia/segformer-b5-finetuned-ade-640-640",
    revision="739f5d4692954e4a185eac280dec1ba5a7d52f1d",
)
DINOV2 = HubModel(
    name="dinov2",
    judge="FD-DINOv2",
    repository="facebook/dinov2-large",
    revision="47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
    sha256={"model.safetensors": "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23"},
)
CLIP_336 = HubModel(
    name="clip-336",
    judge="FD-CLIP",
    repository="openai/clip-vit-large-patch14-336",
    revision="ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
)

# torchvision publishes the first eight digits of these two hashes, in the names; the others and the sizes are what users of the files report.
VGG19 = WeightsFile(
    name="vgg19",
    judge="perceptual loss of the first phase",
    file="vgg19-dcbb9e9d.pth",
    url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    size=574_673_361,
)
INCEPTION_V3 = WeightsFile(
    name="inception_v3",
    judge="perceptual loss of the second phase",
    file="inception_v3_google-0cc3c7bd.pth",
    url="https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
    sha256="0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",
    size=108_949_747,
)

CATALOGUE: dict[str, WeightsFile | HubModel] = {
    entry.name: entry
    for entry in (INCEPTION, SEGFORMER, CLIP, AESTHETIC_HEAD, INCEPTION_TORCHSCRIPT, AESTHETIC_HEAD_V1, DINOV2, CLIP_336, VGG19, INCEPTION_V3)
}
"""What the judges are made of, and the networks of the perceptual loss."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where one entry of the catalogue stands on this machine."""

    name: str
    judge: str
    path: Path | None
    """None: it is not here. A file is found by name and size; its hash is compared when it is used."""
    how: str
    """The command that brings it, where there is a network and where there is none."""


def catalogue_status() -> list[Status]:
    """Where each entry of the catalogue is; reads no file."""
    return [Status(entry.name, entry.judge, locate(entry), how_to_get(entry)) for entry in CATALOGUE.values()]


def locate(entry: WeightsFile | HubModel) -> Path | None:
    """The file, or the folder of the hub model, where it is usually kept; None when it is not there."""
    if isinstance(entry, HubModel):
        from metrics.pretrained import find_pretrained  # imports transformers

        local = [str(folder / entry.repository.rpartition("/")[2]) for folder in weights_folders()]
        return next((found for name in (*local, entry.repository) if (found := find_pretrained(name))), None)
    for folder in weights_folders():
        for name in (entry.file, *entry.aliases):
            if (path := folder / name).is_file() and entry.size in (None, path.stat().st_size):
                return path
    return None


def find_file(entry: WeightsFile, path: Path | None = None) -> Path:
    """`path`, or where the file usually is, after its hash was compared. Raises `WeightsError` that says how to get it."""
    found = path or locate(entry)
    if found is None:
        raise WeightsError(f"the {entry.judge} needs {entry.file}, which is not here. {how_to_get(entry)}")
    if not found.is_file():
        raise WeightsError(f"there is no file {found} for the {entry.judge}. {how_to_get(entry)}")
    if entry.sha256 and (actual := hash_file(found)) != entry.sha256:
        raise WeightsError(f"{found} is not {entry.file}: {_describe(found, actual, entry)}. {how_to_get(entry)}")
    return found


def how_to_get(entry: WeightsFile | HubModel) -> str:
    """What a person can do, with and without a network."""
    if isinstance(entry, HubModel):
        short = entry.repository.rpartition("/")[2]
        return (
            f"With a network: apfgan weights fetch {entry.name}. Without: copy config.json and model.safetensors of "
            f"https://huggingface.co/{entry.repository} into {short}/ below a folder, and set {WEIGHTS_VARIABLE} to that folder"
        )
    return f"With a network: apfgan weights fetch {entry.name}. Without: bring {entry.url} on a disk, then: apfgan weights add {entry.file}"


def add(path: Path) -> Path:
    """Copy a downloaded file to where the judges (and pytorch-fid) look for it, if its content is one of the catalogue's.

    Returns its new place. Raises `WeightsError` that names what the file is instead.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    actual = hash_file(path)
    files = [entry for entry in CATALOGUE.values() if isinstance(entry, WeightsFile)]
    entry = next((entry for entry in files if entry.sha256 == actual), None)
    if entry is None:
        alike = next((each for each in files if path.name in (each.file, *each.aliases)), None)
        wanted = alike.file if alike else " nor ".join(each.file for each in files)
        raise WeightsError(f"{path} is not {wanted}: {_describe(path, actual, alike)}. Nothing was copied; get the file again")
    target = torch_cache() / entry.file
    with path.open("rb") as source:
        _write_verified(target, entry, iter(lambda: source.read(_BLOCK), b""))
    return target


def fetch(name: str, *, progress: Progress = SILENT) -> Path:
    """Download one entry of the catalogue by name, unless it is here already; returns its place.

    A file appears under its name only after its hash was compared. Raises `UsageError` for a name that is not in the catalogue,
    `WeightsError` when there is no network or the content is another.
    """
    if name not in CATALOGUE:
        raise UsageError(f"no weights are called {name!r}; known: {', '.join(CATALOGUE)}")
    entry = CATALOGUE[name]
    if isinstance(entry, HubModel):
        return locate(entry) or _fetch_hub(entry)
    found = locate(entry)
    if found and entry.sha256 in (None, hash_file(found)):
        return found
    target = torch_cache() / entry.file
    try:
        with urllib.request.urlopen(entry.url, timeout=60) as response, progress.task(f"fetch {entry.file}", entry.size or 0, unit="bytes") as task:
            _write_verified(target, entry, iter(lambda: response.read(_BLOCK), b""), advance=task.advance)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise WeightsError(f"cannot download {entry.url} ({error}). Bring the file on a disk, then: apfgan weights add {entry.file}") from error
    return target


def _fetch_hub(entry: HubModel) -> Path:
    from huggingface_hub import snapshot_download

    from metrics.pretrained import WEIGHT_FILES, find_pretrained

    for weights in WEIGHT_FILES:
        try:
            found = find_pretrained(snapshot_download(entry.repository, allow_patterns=["config.json", weights]))
        except Exception as error:  # the hub's client raises its own errors, OSError, and those of whichever HTTP library it uses
            raise WeightsError(f"cannot download {entry.repository} from the hub ({error}). {how_to_get(entry)}") from error
        if found:
            return found
    raise WeightsError(f"{entry.repository} on the hub has none of {', '.join(WEIGHT_FILES)}. {how_to_get(entry)}")


def _write_verified(target: Path, entry: WeightsFile, blocks: Iterator[bytes], *, advance: Callable[[int], None] | None = None) -> None:
    """Write `blocks` to `target` durably; the file keeps its temporary name unless its hash is the entry's."""

    def write(file: BinaryIO) -> None:
        digest, size = hashlib.sha256(), 0
        for block in blocks:
            file.write(block)
            digest.update(block)
            size += len(block)
            if advance:
                advance(len(block))
        if entry.sha256 and digest.hexdigest() != entry.sha256:
            raise WeightsError(
                f"what came as {entry.file} has {size} bytes and hash {digest.hexdigest()[:12]}..., not {entry.size} and {entry.sha256[:12]}..."
            )

    target.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(target.parent).free) < (entry.size or 0):
        raise WeightsError(
            f"{target.parent} has {free >> 20} MiB free, {entry.file} needs {(entry.size or 0) >> 20}: free some space, or set TORCH_HOME"
        )
    write_durably(target, write)


def _describe(path: Path, actual: str, wanted: WeightsFile | None) -> str:
    other = next((each for each in CATALOGUE.values() if isinstance(each, WeightsFile) and each.sha256 == actual), None)
    if other:
        return f"it is {other.file} ({other.judge})"
    size = path.stat().st_size
    if wanted and wanted.size and size < wanted.size:
        return f"it has {size} bytes instead of {wanted.size}, as if a download had stopped"
    return f"its hash is {actual[:12]}..." + (f", not {wanted.sha256[:12]}..." if wanted and wanted.sha256 else "")
