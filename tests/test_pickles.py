"""The numpy-only reader of pickles against what a pickle can do, and the writer against `pickle` itself."""

import hashlib
import os
import pickle
import struct
import subprocess
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apfgan import pickles
from apfgan.errors import WeightsError
from apfgan.pickles import format_arrays_pickle, parse_arrays_pickle, read_arrays_pickle

PROTOCOLS = (2, 3, 4, 5)
ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "double": np.linspace(0, 1, 70),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(3, 2)),
    "strided": np.arange(10.0)[::2],
    "scalar": np.array(2.5, dtype=np.float16),
    "big endian": np.arange(4, dtype=">i2"),
    "bytes": np.arange(3, dtype=np.uint8),
    "größe\n": np.arange(300, dtype=np.int64),
}
RECONSTRUCT: Callable = np.arange(3).__reduce__()[0]
FROM_BUFFER: Callable = np.arange(3).__reduce_ex__(5)[0]
MIB = 2**20


class Call:
    """Pickles as the call of a function, with a state for what it returns."""

    def __init__(self, function: Callable, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple:
        return self.reduced


def array_of(shape: Any, content: Any, kind: Any = None) -> Call:
    """Pickles as an array of numpy's, which need not make sense."""
    return Call(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, shape, np.dtype("f4") if kind is None else kind, False, content))


def text(value: bytes) -> bytes:
    """The instruction that puts text on the stack."""
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value


def refusal(content: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        parse_arrays_pickle(content, origin="G.pkl")
    message = str(caught.value)
    assert message.startswith("G.pkl ") and len(message) < 500 and message.isprintable()
    return message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_every_kind_and_protocol_are_read(protocol):
    found = parse_arrays_pickle(pickle.dumps(ARRAYS, protocol=protocol), origin="x")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert np.array_equal(found[name], array)
        assert not found[name].flags.writeable


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_array_may_have_two_names(protocol):
    array = np.arange(5000.0)
    found = parse_arrays_pickle(pickle.dumps({"one": array, "other": array}, protocol=protocol), origin="x")
    assert np.array_equal(found["one"], array) and np.array_equal(found["other"], array)


def test_what_is_written_is_what_jittor_reads():
    arrays = {"a.weight_orig": np.linspace(-1, 1, 24).reshape(2, 3, 2, 2), "b": np.float32([1, 2]), "c": np.asfortranarray(np.ones((3, 2), "f4"))}
    content = format_arrays_pickle(arrays)
    assert content[-8:] == b"HCAJSLHD" and hashlib.sha1(content[:-28]).digest() == content[-28:-8]
    assert content[:2] == b"\x80\x04" and b"numpy.core.multiarray" in content and b"_core" not in content  # numpy 1.21 has no numpy._core
    for loaded in (pickle.loads(content[:-28]), parse_arrays_pickle(content, origin="x")):
        assert list(loaded) == list(arrays)
        for name, array in arrays.items():
            assert loaded[name].dtype == np.float32 and np.array_equal(loaded[name], array.astype(np.float32))


def attacks(command: str, python: str) -> dict[str, tuple[bytes, str]]:
    """Pickles that run a shell's command or Python's, and what they are refused for."""
    system = Call(os.system, command)
    called = {
        "os.system": (system, "posix.system"),
        "eval": (Call(eval, python), "builtins.eval"),
        "exec": (Call(exec, python), "builtins.exec"),
        "subprocess": (Call(subprocess.check_call, command.split()), "subprocess.check_call"),
        "behind an array": ({"a": np.ones(3), "z": system}, "posix.system"),
        "as an argument": (Call(np.dtype, system), "posix.system"),
        "as a state": (array_of((1,), system), "posix.system"),
        "as a key": ({system: 1}, "posix.system"),
    }
    live = {
        f"{name}, protocol {protocol}": (pickle.dumps(value, protocol), f"calls {what}")
        for name, (value, what) in called.items()
        for protocol in (3, 4)
    }
    shell = text(command.encode())
    imported = b"cimportlib\nimport_module\n" + text(b"os") + b"\x85R"
    return live | {
        "getattr": (b"\x80\3cbuiltins\ngetattr\n" + imported + text(b"system") + b"\x86R" + shell + b"\x85R.", "calls builtins.getattr"),
        "GLOBAL of protocol 0": (b"cos\nsystem\n" + shell + b"\x85R.", "calls os.system"),
        "INST": (b"(" + shell + b"ios\nsystem\n.", "calls os.system"),
        "OBJ": (b"(cos\nsystem\n" + shell + b"o.", "calls os.system"),
    }


COMMAND, PYTHON = "touch executed", "open('executed', 'w').close()"


@pytest.mark.parametrize("name", attacks(COMMAND, PYTHON))
def test_nothing_is_executed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, what = attacks(COMMAND, PYTHON)[name]
    executed = Path("executed")
    with suppress(Exception):
        pickle.loads(content)  # the attack is a real one: Python's own loader falls for it, whatever it complains about afterwards
    assert executed.exists()
    executed.unlink()
    for with_trailer in (content, content + hashlib.sha1(content).digest() + b"HCAJSLHD"):
        message = refusal(with_trailer)
        assert f"it {what}" in message and "nothing in it was run" in message
        assert not executed.exists()


FOREIGN = {
    "object array": (pickle.dumps({"a": np.array([object()])}), "something else than numbers"),
    "structured array": (pickle.dumps({"a": np.zeros(2, dtype=[("x", "f4")])}), "something else than numbers"),
    "complex array": (pickle.dumps({"a": np.zeros(2, dtype=complex)}), "something else than numbers"),
    "text array": (pickle.dumps({"a": np.array(["a"])}), "something else than numbers"),
    "dates": (pickle.dumps({"a": np.zeros(2, dtype="M8[s]")}), "something else than numbers"),
    "type with fields": (
        pickle.dumps({"a": array_of((1,), b"1234", Call(np.dtype, "f4", False, True, state=(3, "<", None, ("x",), {}, -1, -1, 0)))}),
        "something else",
    ),
    "numpy scalar": (pickle.dumps({"a": np.float32(1)}), "calls numpy._core.multiarray.scalar"),
    "numpy's own loader": (pickle.dumps(Call(np.load, "x.npy")), "calls numpy.load"),
    "ndarray made at once": (b"\x80\2cnumpy\nndarray\n(J\xff\xff\xff\x7ft\x81.", "instruction NEWOBJ"),
    "ndarray called": (b"\x80\2cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "calls numpy.ndarray"),
    "another codec": (b"\x80\2c_codecs\nencode\n" + text(b"ab") + text(b"rot13") + b"\x86R.", "calls _codecs.encode"),
    "jittor's program": (b"\x80\2cjittor.utils\nrun\n)R.", "calls jittor.utils.run"),
    "a Var of something": (b"\x80\2cjittor\nVar\n" + text(b"x") + b"\x85R.", "calls jittor.Var"),
    "text is called": (b"\x80\2" + text(b"os.system") + text(b"x") + b"\x85R.", "calls a value"),
    "an array is called": (b"\x80\2cnumpy.core.multiarray\n_reconstruct\n)R)R.", "calls a value"),
    "state of a dict": (b"\x80\2}}b.", "sets the state"),
    "persistent id": (b"\x80\2" + text(b"x") + b"Q.", "instruction BINPERSID"),
    "extension registry": (b"\x80\2\x82\1.", "instruction EXT1"),
    "next buffer": (b"\x80\5\x97.", "instruction NEXT_BUFFER"),
    "list": (pickle.dumps([np.ones(1)]), "instruction EMPTY_LIST"),
    "array alone": (pickle.dumps(np.ones(1)), "no dict of arrays"),
    "text in the dict": (pickle.dumps({"a": "b"}), "something else than an array as a"),
    "nested dict": (pickle.dumps({"a": {"b": np.ones(1)}}), "something else than an array"),
    "keys that are no text": (pickle.dumps({1: np.ones(1)}), "keys that are no names"),
    "names that break a line": (b"\x80\2" + text(b"a\nb\x1b[2J") + text(b"x" * 5000) + b"\x93.", "calls 'a\\nb\\x1b[2J.xxx"),
    "zip archive": (b"PK\3\4rest", "zip archive"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_dict_of_arrays_is_refused_by_its_name(name):
    content, what = FOREIGN[name]
    assert what in refusal(content)


@pytest.mark.parametrize(
    ("shape", "content", "what"),
    [
        ((2, 3), b"1234" * 5, "shape (2, 3) and type float32 cannot have 20 bytes"),
        ((2**31 - 1,) * 4, b"1234", "cannot have 4 bytes"),
        ((-1, -1), b"1234", "shape is none"),
        ((0, 2**31 - 1), b"", "shape is none"),
        ((True,), b"1234", "shape is none"),
        (((1,),), b"1234", "shape is none"),
        ((1,) * 9, b"1234", "shape is none"),
    ],
)
def test_a_shape_that_does_not_fit_its_bytes_is_refused(shape, content, what):
    assert what in refusal(pickle.dumps({"a": array_of(shape, content)}))
    assert what in refusal(pickle.dumps({"a": Call(FROM_BUFFER, content, np.dtype("f4"), shape, "C")}))


def sharing(count: int) -> bytes:
    """One piece of a MiB that many arrays are made of."""
    piece = bytes(MIB)
    return pickle.dumps({str(index): array_of((MIB // 4,), piece) for index in range(count)})


def sharing_a_buffer(count: int) -> bytes:
    piece = bytearray(MIB)
    return pickle.dumps({str(index): Call(FROM_BUFFER, piece, np.dtype("f4"), (MIB // 4,), "C") for index in range(count)})


def laughs() -> bytes:
    """A tuple of tuples of tuples with 2^64 leaves."""
    return b"\x80\4)\x94" + b"".join(b"h" + bytes([depth]) + b"h" + bytes([depth]) + b"\x86\x94" for depth in range(64)) + b"."


BOMBS = {
    "a terabyte of bytes": b"\x80\4\x8e" + struct.pack("<Q", 2**40) + b"abc.",
    "a terabyte of text": b"\x80\4\x8d" + struct.pack("<Q", 2**40) + b"abc.",
    "a terabyte of buffer": b"\x80\5\x96" + struct.pack("<Q", 2**40) + b"abc.",
    "a terabyte's frame": b"\x80\4\x95" + struct.pack("<Q", 2**40) + b"}}b.",
    "more than there are bytes": b"\x80\4\x8e" + struct.pack("<Q", 2**64 - 1) + b"abc.",
    "four gigabytes of bytes": b"\x80\3B" + struct.pack("<I", 2**32 - 1) + b"abc.",
    "the last place of the memo": b"\x80\2}r" + struct.pack("<I", 2**32 - 1) + b"}b.",
    "a place of the memo that is empty": b"\x80\2j" + struct.pack("<I", 2**32 - 1) + b".",
    "a long number": b"\x80\2\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
    "billion laughs": laughs(),
    "bytes that arrays share": sharing(1000),
    "a buffer that arrays share": sharing_a_buffer(1000),
    "text encoded again and again": b"\x80\2c_codecs\nencode\nq\0" + text(b"x" * MIB) + text(b"latin1") + b"\x86q\1" + b"Rh\0h\1" * 1000 + b"R.",
    "very many instructions": b"\x80\4" + b")" * MIB + b".",
    "a deep nest": b"\x80\4" + b"(" * 20_000 + b"t" * 20_000 + b".",
    "a deep nest as a key": b"\x80\4}" + b")" + b"\x85" * 20_000 + b"Ns.",
    "a deep nest as a shape": b"\x80\4cnumpy.core.multiarray\n_reconstruct\n)R(K\1)" + b"\x85" * 20_000 + b"NNNtb.",
    "a deep nest as a function": b"\x80\4)" + b"\x85" * 20_000 + b")R.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded_by_the_size_of_the_file(name):
    content = BOMBS[name]
    tracemalloc.start()
    try:
        refusal(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A tuple takes some fifty bytes, and there may be so many instructions.
    assert peak < 4 * len(content) + 200 * min(len(content), pickles.MAXIMAL_INSTRUCTIONS) + MIB


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_that_ends_too_soon_is_damaged(protocol):
    content = pickle.dumps({"a": np.arange(3.0), "b": np.ones((2, 2), "f4")}, protocol)
    for end in range(len(content)):
        assert "is damaged" in refusal(content[:end])
    assert f"ends at byte {len(content)} of {len(content) + 1}" in refusal(content + b"x")


def test_with_a_trailer_every_damage_is_noticed():
    content = format_arrays_pickle({"a.weight": np.arange(6.0).reshape(2, 3), "b": np.ones(2)})
    for end in set(range(len(content))) - {len(content) - 28}:  # there it is whole, and without a trailer
        assert "damaged" in refusal(content[:end])
    for place in range(len(content)):
        for bit in (1, 16, 128):
            flipped = bytearray(content)
            flipped[place] ^= bit
            assert "damaged" in refusal(bytes(flipped))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_a_trailer_damage_gives_arrays_or_a_refusal(protocol):
    content = pickle.dumps({"a": np.arange(3.0), "b": np.ones((2, 2), "f4")}, protocol)
    refused = 0
    for place in range(len(content)):
        for bit in (1, 4, 32, 128, 255):
            flipped = bytearray(content)
            flipped[place] ^= bit
            try:
                found = parse_arrays_pickle(bytes(flipped), origin="x")
                assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiu" for array in found.values())
            except WeightsError:
                refused += 1
    assert refused > len(content)


def test_random_bytes_are_refused():
    source = np.random.default_rng(0)
    for _ in range(2000):
        content = b"\x80" + source.integers(0, 256, source.integers(0, 40), dtype=np.uint8).tobytes()
        with suppress(WeightsError):
            assert parse_arrays_pickle(content, origin="x") == {}


def test_files(tmp_path, monkeypatch):
    path = tmp_path / "1_net_G.pkl"
    path.write_bytes(format_arrays_pickle({"a": np.ones(2)}))
    assert read_arrays_pickle(path)["a"].tolist() == [1, 1]
    os.mkfifo(tmp_path / "fifo")
    for wrong, what in ((tmp_path / "none", "no such file"), (tmp_path, "not a regular file"), (tmp_path / "fifo", "not a regular file")):
        with pytest.raises(WeightsError, match=what):
            read_arrays_pickle(wrong)
    with pytest.raises(WeightsError, match="not a regular file"):
        read_arrays_pickle(Path("/dev/zero"))
    monkeypatch.setattr(pickles, "MAXIMAL_BYTES", 100)
    with pytest.raises(WeightsError, match="more than any checkpoint"):
        read_arrays_pickle(path)
