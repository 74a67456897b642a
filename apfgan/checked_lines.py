"""JSON objects as lines of a file, each with a checksum as its last field: a flipped bit would else be another number."""

import re
import zlib

_CHECKED = re.compile(rb'(\{.*), "check": "([0-9a-f]{8})"\}', re.DOTALL)


def checked_line(line: str) -> str:
    """A JSON object, on one line, with the field `check`: the CRC-32 of the line without it, in hex."""
    assert line.endswith("}") and "\n" not in line
    return f'{line[:-1]}, "check": "{zlib.crc32(line[:-1].encode()):08x}"}}'


def check_line(line: bytes) -> bool:
    """Whether a line is as it was written. One that another program wrote without a check is taken as it is."""
    found = _CHECKED.fullmatch(line)
    return found is None or zlib.crc32(found[1]) == int(found[2], 16)
