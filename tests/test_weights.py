import dataclasses
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from apfgan.errors import UsageError, WeightsError
from apfgan.files import hash_bytes
from apfgan.labels import Classes
from metrics.standard import standard_judges
from metrics.weights import CATALOGUE, CLIP, INCEPTION, SEGFORMER, WeightsFile, add, catalogue_status, fetch, find_file, locate

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


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path) -> None:
    """No weights anywhere, and a catalogue with one small file besides."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("APFGAN_WEIGHTS_DIR", raising=False)
    monkeypatch.setitem(CATALOGUE, "small", ENTRY)


@pytest.fixture
def cache(tmp_path) -> Path:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_the_catalogue_is_pinned() -> None:
    for entry in CATALOGUE.values():
        if isinstance(entry, WeightsFile):
            assert entry.sha256 is None or len(entry.sha256) == 64
            assert (entry.sha256 is None) == (entry.size is None)
            assert entry.url.startswith("http")


def test_nothing_is_here_and_the_way_to_get_it_is_told() -> None:
    found = {status.name: status for status in catalogue_status()}
    assert all(status.path is None for status in found.values())
    assert "apfgan weights fetch inception" in found["inception"].how
    assert f"apfgan weights add {INCEPTION.file}" in found["inception"].how
    assert SEGFORMER.repository in found["segformer"].how


@pytest.mark.parametrize("name", ["small.pth", "also-small.pth"])
def test_found_in_torchs_cache(cache: Path, name: str) -> None:
    (cache / name).write_bytes(CONTENT)
    assert find_file(ENTRY) == cache / name


def test_the_chosen_folder_comes_first(monkeypatch, tmp_path, cache: Path) -> None:
    (cache / "small.pth").write_bytes(CONTENT)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "small.pth").write_bytes(CONTENT)
    monkeypatch.setenv("APFGAN_WEIGHTS_DIR", str(tmp_path / "mine"))
    assert find_file(ENTRY) == tmp_path / "mine" / "small.pth"


def test_found_in_the_hubs_cache(tmp_path) -> None:
    snapshot = tmp_path / "hub" / "models--openai--clip-vit-large-patch14" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").write_bytes(b"")
    assert locate(CLIP) is None  # weights without a configuration are of no use
    (snapshot / "config.json").write_text("{}")
    assert locate(CLIP) == snapshot


def test_a_hub_model_is_found_in_the_chosen_folder(monkeypatch, tmp_path) -> None:
    folder = tmp_path / "mine" / "clip-vit-large-patch14"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    monkeypatch.setenv("APFGAN_WEIGHTS_DIR", str(tmp_path / "mine"))
    assert locate(CLIP) == folder


def test_one_flipped_bit_is_noticed(cache: Path) -> None:
    damaged = bytearray(CONTENT)
    damaged[500] ^= 1
    (cache / "small.pth").write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"is not small\.pth: its hash is"):
        find_file(ENTRY)


def test_a_named_file_is_checked_too(tmp_path) -> None:
    with pytest.raises(WeightsError, match="there is no file"):
        find_file(ENTRY, tmp_path / "nowhere.pth")
    (tmp_path / "cut.pth").write_bytes(CONTENT[:-5])
    with pytest.raises(WeightsError, match="as if a download had stopped"):
        find_file(ENTRY, tmp_path / "cut.pth")


def test_add_goes_by_content(tmp_path, cache: Path) -> None:
    (tmp_path / "download (1)").write_bytes(CONTENT)
    assert add(tmp_path / "download (1)") == cache / "small.pth"
    assert (cache / "small.pth").read_bytes() == CONTENT


def test_add_names_a_wrong_file(monkeypatch, tmp_path, cache: Path) -> None:
    (tmp_path / "small.pth").write_bytes(CONTENT[:100])
    with pytest.raises(WeightsError, match=r"is not small\.pth: it has 100 bytes"):
        add(tmp_path / "small.pth")
    (tmp_path / "cat.jpg").write_bytes(b"a cat")
    with pytest.raises(WeightsError, match=r"cat\.jpg is not pt_inception.* nor "):
        add(tmp_path / "cat.jpg")
    with pytest.raises(WeightsError, match="there is no file"):
        add(tmp_path / "nowhere")
    assert not list(cache.iterdir())


def test_fetch_without_a_network_says_what_to_bring() -> None:
    with pytest.raises(WeightsError, match=r"cannot download http.*apfgan weights add small\.pth"):
        fetch("small")


def test_fetch_of_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="known: inception, segformer, clip, aesthetic"):
        fetch("vgg")


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_fetch_keeps_only_what_was_verified(monkeypatch, server, tmp_path) -> None:
    folder, address = server
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    monkeypatch.setitem(CATALOGUE, "small", dataclasses.replace(ENTRY, url=f"{address}/small.pth"))
    with pytest.raises(WeightsError, match="cannot download"):  # 404
        fetch("small")
    (folder / "small.pth").write_bytes(b"an error page")
    with pytest.raises(WeightsError, match="has 13 bytes"):
        fetch("small")
    assert not list(cache.iterdir())
    (folder / "small.pth").write_bytes(CONTENT)
    assert fetch("small") == cache / "small.pth"
    (folder / "small.pth").unlink()
    assert fetch("small") == cache / "small.pth"  # here already: no connection


def test_the_standard_judges_list_all_that_is_missing() -> None:
    with pytest.raises(WeightsError) as caught:
        standard_judges(Classes())
    message = str(caught.value)
    for each in ("pt_inception", "sac+logos+ava1", "clip-vit-large-patch14", "segformer-b5", "--judges embedded"):
        assert each in message
    with pytest.raises(WeightsError, match="my/segformer is no folder"):
        standard_judges(Classes(), segformer="my/segformer")
