"""Events as a person hands them in: one JSON document, or JSON lines. No byte of one is changed.

every line a document    each is an event; line ends and empty lines are not part of any
otherwise                the whole input is one event, byte for byte
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter

from shipper.errors import AccessDenied, UsageError
from shipper.plain import printable

Input = Annotated[Path, Parameter(name="FILE")]
"""The argument FILE of a command, where `-` stands for stdin."""


@dataclass(frozen=True, slots=True)
class Document:
    """One event as it was written, and the line that it begins on."""

    line: int
    payload: bytes


def name_of(file: Path) -> str:
    """Return the name of an input for a message."""
    return "stdin" if is_stdin(file) else printable(str(file))


def is_stdin(file: Path) -> bool:
    """Return whether it isn't a file that is meant."""
    return str(file) == "-"


def read_documents(file: Path) -> list[Document]:
    """Return the documents of a file (`-` is stdin); raises UsageError where there are none."""
    documents = list(split(_read(file)))
    if not documents:
        raise UsageError(f"{name_of(file)}: there is no event in it")
    return documents


def split(content: bytes) -> Iterator[Document]:
    """Yield the documents of an input."""
    lines = [
        Document(number, line.removesuffix(b"\r"))
        for number, line in enumerate(content.split(b"\n"), 1)
        if line.strip()
    ]
    if len(lines) == 1 or (not _is_json(content) and any(map(_is_event, lines))):
        yield from lines
    elif lines:
        yield Document(1, content)


def _is_event(document: Document) -> bool:
    """Whether a line is an object by itself; one that is indented is a part of something."""
    return document.payload.startswith(b"{") and _is_json(document.payload)


def _is_json(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True


def _read(file: Path) -> bytes:
    if is_stdin(file):
        if sys.stdin.isatty():
            print("reading events; Ctrl-D ends them", file=sys.stderr)
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except PermissionError:
        raise AccessDenied(f"can't read {name_of(file)}: permission denied") from None
    except OSError as error:
        raise UsageError(f"{name_of(file)}: can't be read: {error.strerror}") from None
