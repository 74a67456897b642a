"""Named arrays from and to pickle files, without `pickle`: nothing that a file names is looked up, imported or called.

Python's loader runs what a file tells it to. Here a small machine knows the few instructions that a dict of numpy arrays is written in
(protocols 2 to 5), with its own meaning for each; all others are refused, and so is every name but numpy's three and a wrapper of Jittor's.
What a file makes the machine hold is bounded by the file's own size (spec: reliability, 3).

Jittor puts a SHA-1 and eight bytes of its own behind the pickle (spec: method, 3).
"""

import hashlib
import io
import math
import pickle
import pickletools
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apfgan.errors import WeightsError

MAXIMAL_BYTES = 2**31
"""Larger files are not read: the largest of the original's, a merged generator in float64, has 0.75 GB."""

MAXIMAL_INSTRUCTIONS = 200_000
"""Longer programs are not run: a generator's file of the original has 8000 instructions."""

_MAXIMAL_DIMENSIONS = 8
_MAGIC = b"HCAJSLHD"
_HASH_BYTES = 20


def read_arrays_pickle(path: Path) -> dict[str, np.ndarray]:
    """The named arrays in a pickle file; they are read-only, of any float or integer type.

    Raises `WeightsError` when there is no such file, when it is damaged, or when it holds or asks for anything else.
    """
    try:
        if not path.is_file():  # opening a FIFO would wait for ever
            raise WeightsError(f"{path}: {'this is not a regular file' if path.exists() else 'there is no such file'}. Name the checkpoint's file")
        with path.open("rb") as file:
            content = file.read(MAXIMAL_BYTES + 1)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}. Check its permissions") from error
    return parse_arrays_pickle(content, origin=str(path))


def parse_arrays_pickle(content: bytes, *, origin: str) -> dict[str, np.ndarray]:
    """The same from the file's bytes; `origin` names the file in messages."""
    if len(content) > MAXIMAL_BYTES:
        raise WeightsError(
            f"{origin} has more than {MAXIMAL_BYTES / 2**30:g} GiB, more than any checkpoint of the original. Name the checkpoint's file"
        )
    if content.startswith(b"PK\3\4"):
        raise WeightsError(
            f"{origin} is a zip archive, as PyTorch writes, not a plain pickle. The weights of APF-GAN's PyTorch program cannot be used here: it "
            "normalises spectra, and the original does not"
        )
    try:
        return _arrays(_Machine(len(content)).run(content, end=_end_of_pickle(content)), limit=len(content))
    except _ForeignError as error:
        raise WeightsError(
            f"{origin} is refused, and nothing in it was run: it {error}. A checkpoint of the original holds named arrays and nothing else: "
            "get it from where it was first published"
        ) from error
    except (ValueError, LookupError, DeprecationWarning) as error:  # pickletools warns of bad escapes in a name
        reason = "its instructions do not fit together" if isinstance(error, LookupError) else _printable(str(error))
        raise WeightsError(f"{origin} is damaged or no pickle ({reason}). Copy it again from where it came") from error


def format_arrays_pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file that Jittor 1.3.4.7 writes for these arrays in float32: a pickle of protocol 4, its SHA-1, and the mark of both.

    It is put together here because `pickle` would write the module names of the numpy at hand, which older ones do not have.
    """
    parts = [pickle.PROTO, b"\4", pickle.EMPTY_DICT]
    for name, array in arrays.items():
        values = np.asarray(array, dtype="<f4", order="C").tobytes()
        shape = pickle.MARK + b"".join(pickle.BININT + struct.pack("<i", size) for size in array.shape) + pickle.TUPLE
        parts += [_text(name), _NEW_ARRAY, pickle.MARK, _integer(1), shape, _FLOAT32, pickle.NEWFALSE]
        parts += [pickle.BINBYTES8, struct.pack("<Q", len(values)), values, pickle.TUPLE, pickle.BUILD, pickle.SETITEM]
    parts.append(pickle.STOP)
    digest = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        digest.update(part)
    return b"".join([*parts, digest.digest(), _MAGIC])


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _integer(value: int) -> bytes:
    return pickle.BININT1 + bytes([value])


_NEW_ARRAY = (
    pickle.GLOBAL
    + b"numpy.core.multiarray\n_reconstruct\n"
    + (pickle.GLOBAL + b"numpy\nndarray\n")
    + (_integer(0) + pickle.TUPLE1 + pickle.SHORT_BINBYTES + b"\1b" + pickle.TUPLE3)
    + pickle.REDUCE
)
"""An array that has yet to be given its values."""

_FLOAT32 = (
    pickle.GLOBAL
    + b"numpy\ndtype\n"
    + (_text("f4") + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3)
    + pickle.REDUCE
    + (pickle.MARK + _integer(3) + _text("<") + 3 * pickle.NONE + 2 * (pickle.BININT + struct.pack("<i", -1)) + _integer(0) + pickle.TUPLE)
    + pickle.BUILD
)


class _ForeignError(Exception):
    """The file wants something that arrays do not need; the message goes on after "it"."""


@dataclass(frozen=True, slots=True)
class _Name:
    """Stands for what a file names: it is only ever compared."""

    text: str


@dataclass(slots=True, eq=False)
class _Type:
    """A number's type, whose byte order follows."""

    code: str
    order: str = "="


@dataclass(slots=True, eq=False)
class _Array:
    """An array, whose values may follow."""

    values: np.ndarray | None = None


_RECONSTRUCT = _Name("numpy.core.multiarray._reconstruct")
_FROM_BUFFER = _Name("numpy.core.numeric._frombuffer")
_ARRAY = _Name("numpy.ndarray")
_TYPE = _Name("numpy.dtype")
_ENCODE = _Name("_codecs.encode")
_VARIABLE = _Name("jittor.Var")
_KNOWN = {name.text: name for name in (_RECONSTRUCT, _FROM_BUFFER, _ARRAY, _TYPE, _ENCODE)}

_VALUES = {
    *("BININT", "BININT1", "BININT2", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
"""Instructions that put their argument on the stack."""

_CONSTANTS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Runs a pickle's instructions on values of its own."""

    def __init__(self, bytes_at_most: int) -> None:
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.encoded = 0
        self.bytes_at_most = bytes_at_most

    def run(self, content: bytes, *, end: int) -> object:
        """What the pickle in `content[:end]` describes."""
        stream = io.BytesIO(content)  # from memory, so that a length beyond the file's end is an error and no allocation
        for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MAXIMAL_INSTRUCTIONS:
                raise _ForeignError(f"has more than {MAXIMAL_INSTRUCTIONS} instructions")
            if instruction.name == "STOP":
                if stream.tell() != end:
                    raise ValueError(f"it ends at byte {stream.tell()} of {end}")
                return self.stack.pop()
            self._step(instruction.name, argument)
        raise ValueError("it has no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case _ if name in _VALUES:
                stack.append(argument)
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._behind_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(_LENGTHS[name])]
                stack.append(tuple(reversed(items)))
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._behind_mark())
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "INST":  # names a function and calls it at once
                raise _ForeignError(f"calls {_printable(argument.replace(' ', '.'))}")
            case "GLOBAL":
                module, _, attribute = argument.partition(" ")
                stack.append(_known_name(module, attribute))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(_known_name(module, attribute))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._call(function, arguments))
            case "BUILD":
                state = stack.pop()
                _complete(stack[-1], state)
            case _:
                raise _ForeignError(f"uses the instruction {name}")

    def _behind_mark(self) -> list[object]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _set_items(self, items: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ValueError("items are put into what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise _ForeignError("has a dict with keys that are no names")
            target[key] = value

    def _call(self, function: object, arguments: object) -> object:
        """The value that the call of a known name stands for."""
        if function == _RECONSTRUCT:
            return _Array()
        if function == _TYPE:
            match arguments:
                case (str() as code, bool(), bool()) if re.fullmatch("f[248]|[iu][1248]", code):
                    return _Type(code)
            raise _ForeignError("has arrays of something else than numbers")
        if function == _VARIABLE:
            match arguments:
                case (_Array() as array,):
                    return array
        if function == _FROM_BUFFER:
            match arguments:
                case (bytes() | bytearray() as content, _Type() as kind, tuple() as shape, "C" | "F" as order):
                    return _Array(_make_array(content, kind, shape, fortran=order == "F"))
        if function == _ENCODE:
            match arguments:
                case (str() as text, "latin1"):
                    self.encoded += len(text)
                    if self.encoded > self.bytes_at_most:
                        raise _ForeignError("unfolds to more bytes than it has")
                    return text.encode("latin1")
        raise _ForeignError(f"calls {function.text if isinstance(function, _Name) else 'a value'} with something that arrays do not need")


def _end_of_pickle(content: bytes) -> int:
    """Where the pickle ends and Jittor's trailer begins, whose checksum is verified; the file's size where there is none."""
    if not content.endswith(_MAGIC):
        return len(content)
    end = len(content) - len(_MAGIC) - _HASH_BYTES
    if end < 0 or hashlib.sha1(memoryview(content)[:end], usedforsecurity=False).digest() != content[end : end + _HASH_BYTES]:
        raise ValueError("its checksum differs from the one written at its end")
    return end


def _arrays(value: object, *, limit: int) -> dict[str, np.ndarray]:
    """The finished arrays of a dict; together they may have `limit` bytes, lest many share the same ones."""
    if not isinstance(value, dict):
        raise _ForeignError("holds no dict of arrays")
    arrays: dict[str, np.ndarray] = {}
    for name, array in value.items():
        if not isinstance(array, _Array):
            raise _ForeignError(f"holds something else than an array as {_printable(name)}")
        if array.values is None:
            raise ValueError(f"{_printable(name)} has no values")
        arrays[name] = array.values
    distinct = {id(array): array for array in arrays.values()}
    if sum(array.nbytes for array in distinct.values()) > limit:
        raise _ForeignError("unfolds to more bytes than it has")
    return arrays


def _known_name(module: object, attribute: object) -> _Name:
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise ValueError("a name is not text")
    if module.startswith("jittor") and attribute.endswith("Var"):
        return _VARIABLE
    text = f"{module}.{attribute}"
    known = _KNOWN.get(text.replace("numpy._core.", "numpy.core."))  # so it is called since numpy 2
    if known is None:
        raise _ForeignError(f"calls {_printable(text)}")
    return known


def _complete(target: object, state: object) -> None:
    """Give an array its values, or a type its byte order; nothing else has anything to be told."""
    match target, state:
        case _Type(), (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_):
            target.order = order
        case _Array(), (int(), tuple() as shape, _Type() as kind, bool() as fortran, bytes() as content):
            target.values = _make_array(content, kind, shape, fortran=fortran)
        case _Type() | _Array(), _:
            raise _ForeignError("has arrays of something else than numbers")
        case _:
            raise _ForeignError("sets the state of an object")


def _make_array(content: bytes | bytearray, kind: _Type, shape: tuple[object, ...], *, fortran: bool) -> np.ndarray:
    """A view of `content`, which must have exactly the bytes that type and shape ask for."""
    sizes = [size for size in shape if type(size) is int and size > 0]
    if len(sizes) != len(shape) or len(sizes) > _MAXIMAL_DIMENSIONS:
        raise ValueError("an array's shape is none")
    dtype = np.dtype(kind.order + kind.code)
    if math.prod(sizes) * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {tuple(sizes)} and type {dtype} cannot have {len(content)} bytes")
    values = np.frombuffer(content, dtype).reshape(sizes, order="F" if fortran else "C")
    values.flags.writeable = False
    return values


def _printable(text: str) -> str:
    """`text` for a message, whatever the file has put into it."""
    shortened = text if len(text) <= 120 else f"{text[:120]}..."
    return shortened if shortened.isprintable() else ascii(shortened)
