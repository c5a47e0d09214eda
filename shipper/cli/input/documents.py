"""Events as a person hands them in: one JSON document, or JSON lines. No byte of one is changed.

every line a document    each is an event; line ends and empty lines are not part of any
otherwise                the whole input is one event, byte for byte
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

# Several times as long as an event may be: what is longer, as a whole or on one line, is none.
_ONE_EVENT = 8 << 20

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


def streamed(given: IO[bytes]) -> Iterator[Document]:
    """Yield the documents of a file that can be read from its beginning, a line at a time.

    One that is too long for a single event has an event on each line.
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
    """Give a file to read twice; what comes through a pipe is kept on disk meanwhile, unnamed."""
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
            print("reading events; Ctrl-D ends them", file=sys.stderr)
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
    with _opened(file) as given:
        try:
            return given.read()
        except OSError as error:  # a directory opens, and can't be read
            raise unreadable(file, error) from None
