"""The events of a file or of stdin: one JSON document, or JSON lines. No byte of one is changed.

every line is a document    each line is an event; line ends and empty lines belong to no event
otherwise                   the whole input is one event, byte for byte
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Annotated

import orjson
from cyclopts import Parameter

from shipper.errors import AccessDenied, UsageError
from shipper.wording.safe_text import printable

# In bytes, several times the size limit of an event: a longer text can't be one event.
_ONE_EVENT = 8 << 20

Input = Annotated[Path, Parameter(name="FILE")]
"""The argument FILE of a command; `-` is stdin."""


@dataclass(frozen=True, slots=True)
class Document:
    """One event as it was written, and the line that it begins on."""

    line: int
    payload: bytes


def name_of(file: Path) -> str:
    """Return the name of an input for a message."""
    return "stdin" if is_stdin(file) else printable(str(file))


def is_stdin(file: Path) -> bool:
    """Return whether the input is stdin."""
    return str(file) == "-"


def read_documents(file: Path) -> list[Document]:
    """Return the documents of a file (`-` is stdin); raises UsageError if it has none."""
    documents = list(split(_read(file)))
    if not documents:
        raise no_event(file)
    return documents


def no_event(file: Path) -> UsageError:
    """Return the error for an input without an event."""
    return UsageError(f"{name_of(file)} contains no event")


def streamed(given: IO[bytes]) -> Iterator[Document]:
    """Yield the documents of a seekable file, one line at a time.

    A file that is too long for a single event has one event per line.
    """
    given.seek(0)
    content = given.read(_ONE_EVENT + 1)
    if len(content) <= _ONE_EVENT:
        yield from split(content)
        return
    given.seek(0)
    for number, line in enumerate(iter(lambda: given.readline(_ONE_EVENT), b""), 1):
        if line.strip():
            yield Document(number, line.removesuffix(b"\n").removesuffix(b"\r"))


@contextmanager
def whole(file: Path) -> Iterator[IO[bytes]]:
    """Open an input that can be read twice: a pipe is copied to an unnamed file on disk first."""
    with _opened(file) as given:
        if not is_stdin(file) and given.seekable():
            yield given
            return
        with TemporaryFile() as kept:
            copyfileobj(given, kept)
            kept.seek(0)
            yield kept


def _opened(file: Path) -> AbstractContextManager[IO[bytes]]:
    if is_stdin(file):
        if sys.stdin.isatty():
            print("reading events from the terminal; Ctrl-D ends them", file=sys.stderr)
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as error:
        raise unreadable(file, error) from None


def unreadable(file: Path, error: OSError) -> AccessDenied | UsageError:
    """Return what to raise for an input that can't be opened or read."""
    if isinstance(error, PermissionError):
        return AccessDenied(f"can't read {name_of(file)}: permission denied")
    return UsageError(f"can't read {name_of(file)}: {error.strerror}")


def split(content: bytes) -> Iterator[Document]:
    """Yield the documents of an input, with their first lines."""
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
    """Return whether a line is an object; an indented line is part of a larger document."""
    return document.payload.startswith(b"{") and _is_json(document.payload)


def _is_json(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True


def _read(file: Path) -> bytes:
    with _opened(file) as given:
        try:
            return given.read()
        except OSError as error:  # stdin can be a directory, which opens but can't be read
            raise unreadable(file, error) from None
