import dataclasses
import json
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.numpy import save_file

from apfgan.errors import UsageError, WeightsError
from apfgan.files import hash_bytes, hash_file
from apfgan.labels import Classes
from apfgan.progress import Silent
from metrics.pretrained import required_pretrained
from metrics.standard import standard_judges
from metrics.weights import (
    AESTHETIC_HEAD,
    CATALOGUE,
    CLIP,
    INCEPTION,
    INCEPTION_TORCHSCRIPT,
    SEGFORMER,
    HubModel,
    Verdict,
    WeightsFile,
    catalogue_status,
    find_file,
    find_network,
    find_pretrained,
    locate,
    verify,
)
from metrics.weights_transfer import add, fetch

CONTENT = b"the weights of a small judge" * 1000
ENTRY = WeightsFile(
    name="small",
    judge="test judge",
    file="small.pth",
    url="http://127.0.0.1:9/small.pth",  # nothing listens there
    sha256=hash_bytes(CONTENT),
    size=len(CONTENT),
    aliases=("also-small.pth",),
)
WEIGHTS, SETTINGS = b"the weights of a small network" * 1000, b'{"hidden_size": 8}'
NETWORK = HubModel(
    name="small-network",
    judge="test network",
    repository="somebody/small-network",
    revision="0123456789abcdef0123456789abcdef01234567",
    pins={"config.json": None, "model.safetensors": hash_bytes(WEIGHTS)},
)
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:21dd590f\nsize 3714759\n"
PAGE = b"\n<!DOCTYPE html><html><title>404</title></html>"


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights anywhere, and a catalogue with one small file and one small network besides."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for variable in ("APFGAN_WEIGHTS_DIR", "APFGAN_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(CATALOGUE, "small", ENTRY)
    monkeypatch.setitem(CATALOGUE, "small-network", NETWORK)
    nowhere = dataclasses.replace(INCEPTION_TORCHSCRIPT, elsewhere=tmp_path / "shared" / INCEPTION_TORCHSCRIPT.file)
    monkeypatch.setitem(CATALOGUE, INCEPTION_TORCHSCRIPT.name, nowhere)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """torch.hub's folder."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def write_network(folder: Path, weights: bytes = WEIGHTS, settings: bytes = SETTINGS) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_bytes(settings)
    return folder


def in_hub_cache(tmp_path: Path, commit: str = NETWORK.revision) -> Path:
    return tmp_path / "hub" / "models--somebody--small-network" / "snapshots" / commit


# The catalogue


def test_the_catalogue_is_pinned() -> None:
    for entry in CATALOGUE.values():
        assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in entry.pins.values() if pin)
        assert len(entry.addresses) == len(entry.pins)
        if isinstance(entry, WeightsFile):
            assert entry.sha256 and entry.size > 0 and entry.url.startswith("http")
            assert Path(entry.file).name == entry.file
            digits = re.search(r"-([0-9a-f]{8})\.", entry.file)
            assert not digits or entry.sha256.startswith(digits[1])  # the names of torch.hub's files begin their hashes
        else:
            assert re.fullmatch("[0-9a-f]{40}", entry.revision)
            assert set(entry.pins) in ({"config.json", "model.safetensors"}, {"config.json", "pytorch_model.bin"})
            assert all(entry.revision in address for address in entry.addresses)
    pins = [pin for entry in CATALOGUE.values() for pin in entry.pins.values() if pin]
    assert len(set(pins)) == len(pins)
    assert {name for name, entry in CATALOGUE.items() if None in entry.pins.values()} == {"segformer", "small-network"}


def test_the_head_at_hand_is_the_pinned_one() -> None:
    path = Path(__file__).parents[2] / "shared" / "weights" / AESTHETIC_HEAD.file
    if not path.exists():
        pytest.skip("no copy of the head here")
    assert (hash_file(path), path.stat().st_size) == (AESTHETIC_HEAD.sha256, AESTHETIC_HEAD.size)


def test_nothing_is_here_and_the_way_to_get_it_is_told() -> None:
    assert all(status.path is None and not status.note for status in catalogue_status())
    with pytest.raises(WeightsError, match=rf"apfgan weights fetch inception\b.*{re.escape(INCEPTION.url)}.*apfgan weights add {INCEPTION.file}"):
        find_file(INCEPTION)
    with pytest.raises(WeightsError, match=rf"{SEGFORMER.repository} is not here.*apfgan weights add segformer-b5-finetuned-ade-640-640$"):
        find_network(SEGFORMER)


def test_the_list_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from metrics.weights import catalogue_status; catalogue_status(); sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


# Where weights are found


@pytest.mark.parametrize("name", ["small.pth", "also-small.pth"])
def test_found_in_torchs_cache(cache: Path, name: str) -> None:
    (cache / name).write_bytes(CONTENT)
    assert find_file(ENTRY) == cache / name


def test_the_chosen_folder_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    (cache / "small.pth").write_bytes(CONTENT)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "small.pth").write_bytes(CONTENT)
    monkeypatch.setenv("APFGAN_WEIGHTS_DIR", str(tmp_path / "mine"))
    assert find_file(ENTRY) == tmp_path / "mine" / "small.pth"
    (tmp_path / "mine" / "small.pth").write_bytes(CONTENT[::-1])
    assert find_file(ENTRY) == cache / "small.pth"  # the first one that is right


def test_found_in_the_hubs_cache(tmp_path: Path) -> None:
    for commit in ("f" * 40, NETWORK.revision):
        snapshot = in_hub_cache(tmp_path, commit)
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").write_bytes(WEIGHTS)
        if commit != NETWORK.revision:
            refs = snapshot.parent.parent / "refs"
            refs.mkdir()
            (refs / "main").write_text(commit)
        before = locate(NETWORK)
        assert before is None or before.name != commit  # weights without a configuration are of no use
        (snapshot / "config.json").write_bytes(SETTINGS)
        assert locate(NETWORK) == snapshot == find_network(NETWORK) == find_pretrained(NETWORK.repository)  # the pinned commit before any other


def test_the_hubs_cache_is_where_its_variables_say(tmp_path: Path) -> None:
    for variable, root in (("HF_HOME", tmp_path / "home" / "hub"), ("HF_HUB_CACHE", tmp_path / "cache")):
        snapshot = root / "models--openai--clip-vit-large-patch14" / "snapshots" / CLIP.revision
        write_network(snapshot)
        value = root.parent if variable == "HF_HOME" else root
        code = "from metrics.weights import CLIP, locate; print(locate(CLIP))"
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[1], env={variable: str(value), "HOME": str(tmp_path)}, capture_output=True
        )
        assert found.stdout.decode().strip() == str(snapshot), found.stderr.decode()


def test_a_hub_model_is_found_in_the_chosen_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_network(tmp_path / "mine" / "small-network")
    monkeypatch.setenv("APFGAN_WEIGHTS_DIR", str(tmp_path / "mine"))
    assert find_network(NETWORK) == folder


def test_a_named_network_is_taken_as_it_is(tmp_path: Path) -> None:
    other = write_network(tmp_path / "fine-tuned", b"other weights")
    assert required_pretrained(str(other)) == other
    with pytest.raises(WeightsError, match=r"nobody/nothing is no folder with config\.json and weights, nor in the hub's cache"):
        required_pretrained("nobody/nothing")


def test_one_flipped_bit_is_noticed(cache: Path, tmp_path: Path) -> None:
    damaged = bytearray(CONTENT)
    damaged[500] ^= 1
    (cache / "small.pth").write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"is not small\.pth: its hash is"):
        find_file(ENTRY)
    write_network(cache / "small-network", WEIGHTS[:500] + b"!" + WEIGHTS[501:])
    with pytest.raises(WeightsError, match=r"model\.safetensors is not that of somebody/small-network: its hash is .*, not "):
        find_network(NETWORK)


def test_a_named_file_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no file"):
        find_file(ENTRY, tmp_path / "nowhere.pth")
    (tmp_path / "cut.pth").write_bytes(CONTENT[:-5])
    with pytest.raises(WeightsError, match="as if a download had stopped"):
        find_file(ENTRY, tmp_path / "cut.pth")


def test_half_a_download_is_seen_without_reading_it(cache: Path) -> None:
    (cache / "small.pth").write_bytes(CONTENT[:100])
    (status,) = (each for each in catalogue_status() if each.entry is ENTRY)
    assert status.path is None and status.note == f"{cache / 'small.pth'} has 100 bytes instead of {len(CONTENT)}"
    with pytest.raises(WeightsError, match="as if a download had stopped"):
        find_file(ENTRY)


# What a wrong file is


class Doubling(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def save_script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Doubling()), path)


def save_torchvision(path: Path) -> None:
    with torch.device("meta"):
        names = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
    torch.save({name: torch.zeros(1) for name in names}, path)


def save_relu_head(path: Path) -> None:
    layers = torch.nn.Sequential(*(torch.nn.Linear(2, 2) if index in (0, 3, 6, 9, 11) else torch.nn.ReLU() for index in range(12)))
    torch.save({f"layers.{name}": tensor for name, tensor in layers.state_dict().items()}, path)


def save_cut(path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def save_cut_safetensors(path: Path) -> None:
    save_file({"weight": np.zeros(1000, np.float32)}, path, metadata={"format": "pt"})
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("save", "meaning"),
    [
        (save_script, "it is a TorchScript network"),
        (save_torchvision, "it is torchvision's Inception, the ImageNet classifier"),
        (save_relu_head, "it is one of LAION's heads with ReLUs"),
        (save_cut, "ends after 2000 bytes in the middle of its data"),
        (save_cut_safetensors, "in the middle of its data, as if a download had stopped"),
        (lambda path: path.write_bytes(LFS_POINTER), "it is a Git LFS pointer"),
        (lambda path: path.write_bytes(PAGE), "it is a web page"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(CONTENT[:-1]), f"has {len(CONTENT) - 1} bytes instead of {len(CONTENT)}, as if a download had stopped"),
        (lambda path: path.write_bytes(CONTENT[::-1]), "its hash is "),
    ],
)
def test_a_wrong_file_is_named_as_what_it_is(cache: Path, tmp_path: Path, save: Callable[[Path], object], meaning: str) -> None:
    save(cache / "small.pth")
    ((found,),) = verify(["small"]).values()
    assert found.verdict is Verdict.WRONG and found.problem.startswith(f"{cache / 'small.pth'} is not small.pth: ") and meaning in found.problem
    with pytest.raises(WeightsError, match=re.escape(meaning)):
        find_file(ENTRY)
    with pytest.raises(WeightsError, match=re.escape(meaning)):
        add(cache / "small.pth")


def test_the_two_inception_files_of_fid_are_told_apart(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    torch.save({"fc.bias": torch.zeros(1008)}, tmp_path / "state")
    save_script(tmp_path / "script")
    for entry, file in ((INCEPTION, "state"), (INCEPTION_TORCHSCRIPT, "script")):
        path = tmp_path / file
        monkeypatch.setitem(CATALOGUE, entry.name, dataclasses.replace(entry, sha256=hash_file(path), size=path.stat().st_size))
    (cache / INCEPTION.file).write_bytes((tmp_path / "script").read_bytes())
    (cache / INCEPTION_TORCHSCRIPT.file).write_bytes((tmp_path / "state").read_bytes())
    ((one,), (other,)) = verify([INCEPTION.name, INCEPTION_TORCHSCRIPT.name]).values()
    assert one.problem.endswith(f"it is {INCEPTION_TORCHSCRIPT.file} (FID, clean-fid's protocol)")
    assert other.problem.endswith(f"it is {INCEPTION.file} (FID, pytorch-fid's protocol)")
    assert add(cache / INCEPTION.file) == cache / INCEPTION_TORCHSCRIPT.file  # whatever its name
    assert add(tmp_path / "state") == cache / INCEPTION.file
    assert {each.verdict for found in verify([INCEPTION.name, INCEPTION_TORCHSCRIPT.name]).values() for each in found} == {Verdict.OK}


def test_verify_reads_every_file(cache: Path, tmp_path: Path) -> None:
    (cache / "small.pth").write_bytes(CONTENT)
    (cache / "also-small.pth").write_bytes(CONTENT[:-1])
    write_network(in_hub_cache(tmp_path))
    found = verify()
    assert list(found) == list(CATALOGUE)
    assert {name: [(each.path.name, each.verdict) for each in findings] for name, findings in found.items() if findings} == {
        "small": [("small.pth", Verdict.OK), ("also-small.pth", Verdict.WRONG)],
        "small-network": [("config.json", Verdict.NOT_PINNED), ("model.safetensors", Verdict.OK)],
    }
    assert found["small-network"][0].sha256 == hash_bytes(SETTINGS)
    with pytest.raises(UsageError, match="known: inception, "):
        verify(["vgg"])


def test_what_is_not_pinned_must_be_a_file_of_its_kind(cache: Path) -> None:
    write_network(cache / "small-network", settings=PAGE)
    assert [each.verdict for each in verify(["small-network"])["small-network"]] == [Verdict.WRONG, Verdict.OK]
    with pytest.raises(WeightsError, match=r"config\.json is not that of somebody/small-network: it is a web page"):
        find_network(NETWORK)


# Brought on a disk


def test_add_goes_by_content(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "download (1)").write_bytes(CONTENT)
    assert add(tmp_path / "download (1)") == cache / "small.pth"
    assert (cache / "small.pth").read_bytes() == CONTENT
    assert add(cache / "small.pth") == cache / "small.pth"


def test_add_copies_nothing_else(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"a cat")
    with pytest.raises(WeightsError, match=r"cat\.jpg is not any of the catalogue's"):
        add(tmp_path / "cat.jpg")
    with pytest.raises(WeightsError, match="there is no file"):
        add(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    with pytest.raises(WeightsError, match="part of somebody/small-network: add the folder"):
        add(tmp_path / "model.safetensors")
    assert not list(cache.iterdir())


def test_a_file_that_changes_while_it_is_copied_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "small.pth").write_bytes(CONTENT)
    monkeypatch.setattr("metrics.weights_transfer.blocks_of", lambda file: iter([CONTENT[::-1]]))
    with pytest.raises(WeightsError, match="changed while it was copied"):
        add(tmp_path / "small.pth")
    assert not list(cache.iterdir())


def test_clean_fids_copy_is_pointed_to_and_never_read_in_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    shared = tmp_path / "tmp" / "small.pth"
    shared.parent.mkdir()
    shared.write_bytes(CONTENT)
    entry = dataclasses.replace(ENTRY, elsewhere=shared)
    monkeypatch.setitem(CATALOGUE, "small", entry)
    assert locate(entry) is None
    (status,) = (each for each in catalogue_status() if each.entry is entry)
    assert f"apfgan weights add {shared}" in status.note
    with pytest.raises(WeightsError, match=f"apfgan weights add {shared}"):
        find_file(entry)
    assert add(shared) == find_file(entry) == cache / "small.pth"
    assert INCEPTION_TORCHSCRIPT.elsewhere == Path("/tmp/inception-2015-12-05.pt")  # where clean-fid's code puts it


@pytest.mark.parametrize("name", ["small-network", "whatever"])
def test_add_copies_a_network_by_name_or_by_its_weights(tmp_path: Path, cache: Path, name: str) -> None:
    folder = write_network(tmp_path / "disk" / name)
    assert add(folder) == cache / "small-network" == find_network(NETWORK)
    assert {path.name: path.read_bytes() for path in (cache / "small-network").iterdir()} == {"config.json": SETTINGS, "model.safetensors": WEIGHTS}
    assert add(folder) == add(cache / "small-network") == cache / "small-network"


def test_add_copies_a_network_out_of_the_hubs_cache(tmp_path: Path, cache: Path) -> None:
    snapshot = write_network(in_hub_cache(tmp_path, "e" * 40))
    assert add(snapshot) == cache / "small-network"


def test_add_refuses_other_networks(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"is no folder of a network: it needs config\.json and model\.safetensors or pytorch_model\.bin"):
        add(tmp_path)
    with pytest.raises(WeightsError, match=r"none of the networks that are known here.*clip-vit-large-patch14"):
        add(write_network(tmp_path / "disk" / "whatever", b"other weights"))
    with pytest.raises(WeightsError, match=r"model\.safetensors is not that of somebody/small-network: it is a Git LFS pointer"):
        add(write_network(tmp_path / "clone" / "small-network", LFS_POINTER))
    assert not list(cache.iterdir())
    add(write_network(tmp_path / "first" / "small-network"))
    with pytest.raises(WeightsError, match=r"holds other files of somebody/small-network\. Delete it"):
        add(write_network(tmp_path / "second" / "small-network", settings=b'{"hidden_size": 16}'))


def test_a_copy_that_was_stopped_is_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    folder = write_network(tmp_path / "disk" / "small-network")
    written: list[Path] = []
    write = sys.modules["metrics.weights_transfer"].write_durably

    def stop_at_the_second(path: Path, do: Callable[..., object]) -> None:
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt
        write(path, do)

    monkeypatch.setattr("metrics.weights_transfer.write_durably", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        add(folder)
    assert locate(NETWORK) is None
    assert add(folder) == locate(NETWORK)


# Downloaded


class Server(ThreadingHTTPServer):
    """Answers each path with what `replies` has for it, and 404 otherwise; counts the requests."""

    def __init__(self) -> None:
        self.replies: dict[str, Callable[[BaseHTTPRequestHandler], object]] = {}
        self.requests: list[str] = []
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        reply = self.server.replies.get(self.path)
        if reply:
            reply(self)
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def send(self, content: bytes, *, length: int | None = None, **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that the small file's address points to."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setitem(CATALOGUE, "small", dataclasses.replace(ENTRY, url=f"{running.address}/small.pth"))
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


def test_fetch_keeps_what_was_verified(server: Server, cache: Path) -> None:
    class Counted(Silent):
        total = 0

        def advance(self, amount: int = 1) -> None:
            self.total += amount

    server.replies["/small.pth"] = lambda request: request.send(CONTENT)
    assert fetch("small") == cache / "small.pth"
    assert (cache / "small.pth").read_bytes() == CONTENT
    assert fetch("small") == cache / "small.pth"  # here already: no connection
    assert server.requests == ["/small.pth"]
    (cache / "small.pth").write_bytes(CONTENT[:-1])
    assert fetch("small") == cache / "small.pth"  # what was wrong is replaced
    assert (cache / "small.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (None, "404"),
        (lambda request: request.send_error(503), "503"),
        (lambda request: request.send(PAGE), "it is a web page"),
        (lambda request: request.send(LFS_POINTER), "it is a Git LFS pointer"),
        (lambda request: request.send(CONTENT[:-9]), f"has {len(CONTENT) - 9} bytes instead of {len(CONTENT)}"),
        (lambda request: request.send(CONTENT[:-9], length=len(CONTENT)), "as if a download had stopped|IncompleteRead"),
        (lambda request: request.send(CONTENT + b"!"), "its hash is"),
        (lambda request: request.connection.close(), "cannot download"),
        (lambda request: (request.send(CONTENT[:-9], length=len(CONTENT)), request.server.released.wait()), "timed out"),
    ],
)
def test_fetch_keeps_nothing_else(server: Server, cache: Path, reply: Callable[[BaseHTTPRequestHandler], object] | None, meaning: str) -> None:
    (cache / "small.pth").write_bytes(b"what was there before")
    if reply:
        server.replies["/small.pth"] = reply
    with pytest.raises(WeightsError, match=meaning) as caught:
        fetch("small", timeout=0.3)
    assert f"{server.address}/small.pth" in str(caught.value) and "apfgan weights add small.pth" in str(caught.value)
    assert [path.name for path in cache.iterdir()] == ["small.pth"]
    assert (cache / "small.pth").read_bytes() == b"what was there before"


def test_a_slow_download_is_waited_for(server: Server, cache: Path) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for start in range(0, len(CONTENT), 4000):
            request.wfile.write(CONTENT[start : start + 4000])
            time.sleep(0.1)

    server.replies["/small.pth"] = drip
    assert fetch("small", timeout=0.5) == cache / "small.pth"  # longer than that in all, but never silent for so long


def test_fetch_without_a_network_says_what_to_bring() -> None:
    with pytest.raises(WeightsError, match=r"cannot download http.*apfgan weights add small\.pth"):
        fetch("small")


def test_fetch_through_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # it reads the variables once in a process
    with pytest.raises(WeightsError, match=r"cannot download .*apfgan weights add"):
        fetch("small")
    assert not server.requests


@pytest.mark.parametrize("variable", ["APFGAN_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("name", ["small", "small-network"])
def test_offline_means_offline(monkeypatch: pytest.MonkeyPatch, server: Server, cache: Path, variable: str, name: str) -> None:
    server.replies["/small.pth"] = lambda request: request.send(CONTENT)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(WeightsError, match=f"{variable} is set: nothing is downloaded"):
        fetch(name)
    assert not server.requests
    (cache / "small.pth").write_bytes(CONTENT)
    assert fetch("small") == cache / "small.pth"
    monkeypatch.setenv(variable, "0")
    (cache / "small.pth").unlink()
    assert fetch("small") == cache / "small.pth"


def test_fetch_of_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="known: inception, segformer, clip, aesthetic"):
        fetch("vgg")


def serve_network(server: Server, monkeypatch: pytest.MonkeyPatch, weights: bytes) -> None:
    """What the hub answers about the pinned commit."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}")
    for file, content in {"config.json": SETTINGS, "model.safetensors": weights}.items():

        def reply(request: BaseHTTPRequestHandler, content: bytes = content) -> None:
            request.send(content, ETag=f'"{hash_bytes(content)}"', X_Repo_Commit=NETWORK.revision)

        server.replies[f"/{NETWORK.repository}/resolve/{NETWORK.revision}/{file}"] = reply


def test_a_network_is_fetched_at_its_commit(monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path) -> None:
    serve_network(server, monkeypatch, WEIGHTS)
    assert fetch("small-network") == in_hub_cache(tmp_path) == find_pretrained(NETWORK.repository)
    count = len(server.requests)
    assert count and fetch("small-network") == in_hub_cache(tmp_path)
    assert len(server.requests) == count


def test_a_network_that_is_another_is_not_used(monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path) -> None:
    serve_network(server, monkeypatch, WEIGHTS[::-1])
    with pytest.raises(WeightsError, match=r"model\.safetensors is not that of somebody/small-network: its hash is"):
        fetch("small-network")
    with pytest.raises(WeightsError, match="its hash is"):
        find_network(NETWORK)


def test_a_damaged_network_is_fetched_again(monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path) -> None:
    serve_network(server, monkeypatch, WEIGHTS)
    weights = fetch("small-network") / "model.safetensors"
    weights.resolve().write_bytes(WEIGHTS[::-1])
    assert fetch("small-network") == find_network(NETWORK) == weights.parent
    assert weights.read_bytes() == WEIGHTS


def test_a_network_that_is_not_on_the_hub(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    serve_network(server, monkeypatch, WEIGHTS)
    server.replies.clear()
    with pytest.raises(WeightsError, match=r"cannot download https://huggingface.co/somebody/small-network/.*apfgan weights add small-network"):
        fetch("small-network")


# The commands


def test_the_list_fits_a_terminal(apfgan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    long = tmp_path / ("a-long-name-of-a-folder/" * 6)
    monkeypatch.setenv("APFGAN_WEIGHTS_DIR", str(long))
    write_network(long / "small-network")
    (cache / "small.pth").write_bytes(CONTENT[:100])
    code, text, _ = apfgan("weights", "list")
    assert code == 0
    lines = [line for line in text.splitlines() if not line.startswith("https://")]
    assert max(map(len, lines)) <= 80
    assert "  missing: apfgan weights fetch inception" in lines and INCEPTION.url in text
    assert any(line.endswith("small-network  (not pinned)") for line in lines)
    assert "100 bytes instead of" in " ".join(text.split())
    found = json.loads(apfgan("weights", "list", "--json")[1])
    assert found["small-network"]["path"] == str(long / "small-network")
    assert found["inception"]["path"] is None and found["inception"]["addresses"] == [INCEPTION.url]
    assert found["segformer"]["files"] == dict(SEGFORMER.pins)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("APFGAN_WEIGHTS_DIR")
    (cache / "small.pth").write_bytes(CONTENT)
    assert "  ~/torch/hub/checkpoints/small.pth\n" in apfgan("weights", "list")[1]


def test_the_exit_code_of_verify(apfgan, cache: Path) -> None:
    assert apfgan("weights", "verify")[0] == 0  # nothing is here, nothing is wrong
    code, text, _ = apfgan("weights", "verify", "small")
    assert code == 4 and "missing: small" in text  # but this one should have been
    (cache / "small.pth").write_bytes(CONTENT)
    assert apfgan("weights", "verify", "small")[0] == 0
    (cache / "small.pth").write_bytes(LFS_POINTER)
    for names in ((), ("small",)):
        code, text, _ = apfgan("weights", "verify", *names)
        assert code == 4 and "it is a Git LFS pointer" in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80
    code, text, _ = apfgan("weights", "verify", "small", "--json")
    assert code == 4
    assert [(each["verdict"], each["sha256"]) for each in json.loads(text)["small"]] == [("wrong", hash_bytes(LFS_POINTER))]
    code, _, error = apfgan("weights", "verify", "vgg")
    assert code == 2 and "known: inception" in error


def test_verify_prints_the_hash_that_nothing_was_compared_with(apfgan, cache: Path) -> None:
    write_network(cache / "small-network")
    code, text, _ = apfgan("weights", "verify", "small-network")
    assert code == 0 and f"sha256 {hash_bytes(SETTINGS)}" in text


def test_fetch_and_add_by_command(apfgan, server: Server, cache: Path, tmp_path: Path) -> None:
    server.replies["/small.pth"] = lambda request: request.send(CONTENT)
    code, text, _ = apfgan("weights", "fetch", "small", "--json")
    assert code == 0 and json.loads(text) == {"small": str(cache / "small.pth")}
    code, text, _ = apfgan("weights", "add", write_network(tmp_path / "disk" / "small-network"))
    assert code == 0 and str(cache / "small-network") in text
    server.replies.clear()
    (cache / "small.pth").unlink()
    code, _, error = apfgan("weights", "fetch", "small")
    assert code == 4 and "404" in error
    requests = len(server.requests)
    assert apfgan("weights", "fetch")[0] == 2
    assert apfgan("weights", "fetch", "small", "smal")[0] == 2 and len(server.requests) == requests


def test_the_standard_judges_list_all_that_is_missing() -> None:
    with pytest.raises(WeightsError) as caught:
        standard_judges(Classes())
    message = str(caught.value)
    for each in ("pt_inception", "sac+logos+ava1", "clip-vit-large-patch14", "segformer-b5", "--judges embedded"):
        assert each in message
    with pytest.raises(WeightsError, match="my/segformer is no folder"):
        standard_judges(Classes(), segformer="my/segformer")
