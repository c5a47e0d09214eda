"""The log of what happened to a disk, as `shim.c` writes it and campaigns add to it."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = struct.Struct("=c7xQQQ")


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log; see `shim.c`. A campaign adds kinds of its own."""

    kind: str
    inode: int
    offset: int
    data: bytes


def encode(kind: str, data: bytes, number: int = 0) -> bytes:
    """Return a record of a campaign's own, to be written at once."""
    return _HEAD.pack(kind.encode("ascii"), 0, number, len(data)) + data


def records(log: Path) -> Iterator[Record]:
    """Yield what a log holds, in order."""
    content, at = log.read_bytes(), 0
    while at + _HEAD.size <= len(content):
        kind, inode, offset, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield Record(kind.decode("ascii"), inode, offset, content[at : at + length])
        at += length
