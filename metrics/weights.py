"""Pretrained weights, the judges' and the perceptual loss's: which files, what they hash to, where they are looked for, and what a wrong one is.

Nothing here needs torch or a network (`metrics.weights_transfer` opens connections). What is pinned is used after its hash was compared, never by
its name alone; what is not pinned has its hash in the judge's identity.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from apfgan.errors import UsageError, WeightsError
from apfgan.files import weights_folders
from apfgan.progress import SILENT, Progress
from metrics.weights_content import Content, read_file, spoiled

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names under which a network's weights lie beside its config.json, the preferred one first."""


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
    sha256: str
    size: int
    """Bytes."""
    aliases: tuple[str, ...] = ()
    """Other names under which the same bytes are spread."""
    elsewhere: Path | None = None
    """Where another program leaves it, if nobody should read it there: `how_to_get` points to it, and `add` verifies what it copies."""

    @property
    def pins(self) -> Mapping[str, str | None]:
        """Its name and its hash."""
        return {self.file: self.sha256}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where to download it by hand."""
        return (self.url,)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubModel:
    """One network of the Hugging Face hub; it may also lie in a folder of its own."""

    name: str
    judge: str
    repository: str
    """Its id on the hub."""
    revision: str
    """The commit of the repository that is meant."""
    pins: Mapping[str, str | None]
    """Names of the files that make it up, config.json among them, and their SHA-256; None: nobody has published it."""

    @property
    def folder(self) -> str:
        """Name of the folder that holds it outside of the hub's cache."""
        return self.repository.rpartition("/")[2]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where to download its files by hand."""
        return tuple(f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{file}" for file in self.pins)


INCEPTION = WeightsFile(
    name="inception",
    judge="FID, pytorch-fid's protocol",
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
    elsewhere=Path("/tmp/inception-2015-12-05.pt"),  # clean-fid's: everyone on the machine can write there, also after a hash was compared
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
    judge="aesthetic score (LAION's first head)",
    file="sa_0_4_vit_l_14_linear.pth",
    url="https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
    sha256="2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
    size=4_071,
)
CLIP = HubModel(
    name="clip",
    judge="aesthetic score (image embedding)",
    repository="openai/clip-vit-large-patch14",
    revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
    pins={
        "config.json": "8a09b467700c58138c29d53c605b34ebc69beaadd13274a8a2af8ad2c2f4032a",
        "model.safetensors": "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    },
)
SEGFORMER = HubModel(
    name="segformer",
    judge="mask accuracy",
    repository="nvidia/segformer-b5-finetuned-ade-640-640",
    revision="739f5d4692954e4a185eac280dec1ba5a7d52f1d",
    pins={
        "config.json": None,
        "pytorch_model.bin": "a3dbf2d7a9912203078f304d88df8cfee9fd752ca2d2413f82036bdb02c5e7df",
    },
)
DINOV2 = HubModel(
    name="dinov2",
    judge="FD-DINOv2",
    repository="facebook/dinov2-large",
    revision="47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
    pins={
        "config.json": "12df51c069a2dc1305e34ba71ef58bc2407ea553b75f4722a1715c1bce3bbed0",
        "model.safetensors": "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
    },
)
CLIP_336 = HubModel(
    name="clip-336",
    judge="FD-CLIP",
    repository="openai/clip-vit-large-patch14-336",
    revision="ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
    pins={
        "config.json": "51b1c14aabcdf639c4a0370eeda1010b773bbe1df78319c7d0f5882c22ac0ac0",
        "pytorch_model.bin": "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801",
    },
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

_FOREIGN = {
    "8ad3923d7ecf019df20ecd2ab5542a3075fbba0278d239c0371345f3d7fcbde0": "LAION's first head for CLIP ViT-B/16, not ViT-L/14",
    "c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f": "LAION's first head for CLIP ViT-B/32, not ViT-L/14",
}
"""Files that are taken for one of the catalogue, by hash."""

_SIGNS = (
    (b"/code/__torch__", "a TorchScript network, as clean-fid's is", INCEPTION_TORCHSCRIPT.name),
    (b"AuxLogits.", "torchvision's Inception, the ImageNet classifier", INCEPTION_V3.name),
    (b"layers.11.weight", "one of LAION's heads with ReLUs between its layers (reluMSE)", ""),
)
"""What only such a file contains in its first or last megabyte, what it is, and the entry for which that is no mistake."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where one entry of the catalogue stands on this machine."""

    entry: WeightsFile | HubModel
    path: Path | None
    """None: it is not here. A file is found by name and size; its hash is compared when it is used."""
    note: str = ""
    """What lies in its place instead, or where it may be."""


class Verdict(StrEnum):
    """What `verify` found."""

    OK = "ok"
    NOT_PINNED = "not pinned"
    """Its hash is not published: there was nothing to compare it with."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One file after it was read."""

    path: Path
    sha256: str
    verdict: Verdict
    problem: str = ""
    """What a wrong file is instead."""


def catalogue_entry(name: str) -> WeightsFile | HubModel:
    """The entry of this name; raises `UsageError` that lists the names."""
    if name not in CATALOGUE:
        raise UsageError(f"no weights are called {name!r}; known: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def catalogue_status() -> list[Status]:
    """Where each entry of the catalogue is; reads no file."""
    return [_status(entry) for entry in CATALOGUE.values()]


def _status(entry: WeightsFile | HubModel) -> Status:
    path, note = locate(entry), ""
    if path is None and isinstance(entry, WeightsFile):
        if other := next(_copies(entry), None):
            note = f"{other} has {other.stat().st_size} bytes instead of {entry.size}"
        elif entry.elsewhere and entry.elsewhere.is_file():
            note = by_hand(entry)
    return Status(entry, path, note)


def locate(entry: WeightsFile | HubModel) -> Path | None:
    """The file, or the folder of the hub model, where it is usually kept; None when it is not there."""
    if isinstance(entry, WeightsFile):
        return next((path for path in _copies(entry) if path.stat().st_size == entry.size), None)
    folders = (folder / entry.folder for folder in weights_folders())
    return next((folder for folder in folders if weights_of(folder)), None) or _in_hub_cache(entry.repository, entry.revision, "main")


def find_file(entry: WeightsFile, path: Path | None = None) -> Path:
    """`path`, or the first of the usual places whose file has the entry's hash. Raises `WeightsError` that says what is there, and what to do."""
    if path and not path.is_file():
        raise WeightsError(f"there is no file {path} for the {entry.judge}. {how_to_get(entry)}")
    problems = []
    for copy in [path] if path else _copies(entry):
        found = check_file(entry, copy)
        if found.verdict is Verdict.OK:
            return copy
        problems.append(found.problem)
    if problems:
        raise WeightsError(f"{problems[0]}. {how_to_get(entry)}")
    raise WeightsError(f"the {entry.judge} needs {entry.file}, which is not here. {how_to_get(entry)}")


def find_network(entry: HubModel) -> Path:
    """The folder of the entry's network, after its pinned hashes were compared. Raises `WeightsError` that says what is there, and what to do."""
    found = locate(entry)
    if found is None:
        raise WeightsError(f"the {entry.judge} needs a network, and {entry.repository} is not here. {how_to_get(entry)}")
    if problem := next((each.problem for each in check_network(entry, found) if each.problem), None):
        raise WeightsError(f"{problem}. If another network is meant, name its folder. {how_to_get(entry)}")
    return found


def find_pretrained(name: str) -> Path | None:
    """The folder of `name`, a folder with `config.json` and weights or a hub id whose files are in the hub's cache; None when it is not here."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder if weights_of(folder) else None
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        return None
    pinned = (entry.revision for entry in CATALOGUE.values() if isinstance(entry, HubModel) and entry.repository == name)
    return _in_hub_cache(name, *pinned, "main")


def weights_of(folder: Path) -> Path | None:
    """The file of weights in `folder`; None where there is none, or no config.json."""
    if not (folder / "config.json").is_file():
        return None
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def how_to_get(entry: WeightsFile | HubModel) -> str:
    """What a person can do, with and without a network."""
    return f"With a network: apfgan weights fetch {entry.name}. Without: {by_hand(entry)}"


def by_hand(entry: WeightsFile | HubModel) -> str:
    """What a person can do without a network."""
    if isinstance(entry, HubModel):
        return f"bring {' and '.join(entry.addresses)} in a folder called {entry.folder}, then: apfgan weights add {entry.folder}"
    if entry.elsewhere and entry.elsewhere.is_file():
        return f"another program left {entry.elsewhere}; verify and copy it: apfgan weights add {entry.elsewhere}"
    return f"bring {entry.url} on a disk, then: apfgan weights add {entry.file}"


def verify(names: Sequence[str] = (), *, progress: Progress = SILENT) -> dict[str, list[Finding]]:
    """Read what is here of the entries called `names` (none: of all) and compare it with what is pinned; nothing is found of what is missing.

    Raises `UsageError` for a name that is not in the catalogue.
    """
    entries = [catalogue_entry(name) for name in names] or list(CATALOGUE.values())
    findings = {}
    with progress.task("verify", len(entries), unit="entries") as task:
        for entry in entries:
            if isinstance(entry, WeightsFile):
                findings[entry.name] = [check_file(entry, path) for path in _copies(entry)]
            else:
                findings[entry.name] = check_network(entry, folder) if (folder := locate(entry)) else []
            task.advance()
    return findings


def check_file(entry: WeightsFile, path: Path) -> Finding:
    """The file at `path`, compared with the entry."""
    content = read_file(path)
    if content.sha256 == entry.sha256:
        return Finding(path, content.sha256, Verdict.OK)
    return Finding(path, content.sha256, Verdict.WRONG, f"{path} is not {entry.file}: {describe(content, entry)}")


def check_network(entry: HubModel, folder: Path) -> list[Finding]:
    """The configuration and the weights in `folder`, compared with what is pinned of them."""
    findings = []
    for path in filter(None, (folder / "config.json", weights_of(folder))):
        content, pin = read_file(path), entry.pins.get(path.name)
        if problem := spoiled(content) or (describe(content, pin=pin) if pin and pin != content.sha256 else ""):
            findings.append(Finding(path, content.sha256, Verdict.WRONG, f"{path} is not that of {entry.repository}: {problem}"))
        else:
            findings.append(Finding(path, content.sha256, Verdict.OK if pin else Verdict.NOT_PINNED))
    return findings


def describe(content: Content, wanted: WeightsFile | None = None, *, pin: str | None = None) -> str:
    """What a file is that has neither the hash of `wanted` nor the hash `pin`."""
    files = [entry for entry in CATALOGUE.values() if isinstance(entry, WeightsFile)]
    if known := next((f"{each.file} ({each.judge})" for each in files if each.sha256 == content.sha256), _FOREIGN.get(content.sha256)):
        return f"it is {known}"
    if damage := spoiled(content):
        return damage
    for sign, meaning, of in _SIGNS:
        if (sign in content.start or sign in content.end) and not (wanted and wanted.name == of):
            return f"it is {meaning}"
    if wanted and content.size < wanted.size:
        return f"it has {content.size} bytes instead of {wanted.size}, as if a download had stopped"
    pin = wanted.sha256 if wanted else pin
    return f"its hash is {content.sha256[:12]}..." + (f", not {pin[:12]}..." if pin else "")


def _copies(entry: WeightsFile) -> Iterator[Path]:
    """Files that bear one of the entry's names where it is usually kept."""
    paths = (folder / name for folder in weights_folders() for name in (entry.file, *entry.aliases))
    return (path for path in paths if path.is_file())


def _in_hub_cache(repository: str, *revisions: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for revision in revisions:
        for file in WEIGHT_FILES:
            found = try_to_load_from_cache(repository, file, revision=revision)
            if isinstance(found, str) and weights_of(folder := Path(found).parent):
                return folder
    return None
