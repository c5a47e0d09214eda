"""`shipper enqueue`: events from a file into the outbox, all or nothing.

With --rows the file is what `shipper events export` wrote. It is complete, and every line of it
was read once, before the outbox is touched: no transaction waits for a pipe.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Annotated, Any

from cyclopts import Parameter

from shipper.cli.context import Context, printable
from shipper.cli.documents import Document, Input, is_stdin, name_of, read_documents
from shipper.cli.rows import is_exported, read
from shipper.contract.validation import Mode, violations
from shipper.errors import AccessDenied, InvalidEvent, UsageError
from shipper.store.enqueue import NewEvent
from shipper.store.enqueue import enqueue as write
from shipper.store.handing_over import TakenIn, take_in

_NAME_CHARS = 255
_POSITION = re.compile(r" \(line 1, column (\d+), byte \d+\)$")
_DEFAULT = "default"

# No mode may let through what the table itself refuses.
_ALWAYS = frozenset({"json", "utf8", "maxBytes"})


def enqueue(
    file: Input = Path("-"),
    /,
    *,
    destination: str = _DEFAULT,
    key: str | None = None,
    event_id: str | None = None,
    rows: Annotated[bool, Parameter(show_default=False)] = False,
    context: Context,
) -> None:
    """Write events into the outbox: one JSON document or JSON lines, all of them or none.

    Prints the event ids, one a line. An event whose id is there already is not written again.
    With --rows it takes in what `shipper events export` wrote, and prints how many they were.

    Parameters
    ----------
    file
        Where the events are; - is stdin.
    destination
        The destination that they go to.
    key
        Their ordering key; left out, it is the id of the event's user.
    event_id
        The id of the event, if there is just one.
    rows
        The file is of `shipper events export`: ids, keys, destinations and order stay.
    """
    if rows:
        if (destination, key, event_id) != (_DEFAULT, None, None):
            raise UsageError("with --rows the file says ids, keys and destinations")
        _take_in(file, context)
        return
    settings = context.settings()
    _check_names(destination, key, event_id, list(settings.destinations))
    documents = read_documents(file)
    if event_id is not None and len(documents) > 1:
        raise UsageError(f"--event-id is for one event, and {name_of(file)} has {len(documents)}")
    refuse_invalid(file, documents, settings.validation.mode)
    events = (NewEvent(d.payload.decode(), destination, key, event_id) for d in documents)
    with context.engine() as engine:
        written = write(engine, events)
    for event in written:
        if context.json:
            context.emit({"event_id": event.event_id, "new": event.is_new})
        else:
            context.say(event.event_id)
    known = sum(not event.is_new for event in written)
    if known:
        context.note(f"{known:,} of {len(written):,} was there already, and is not written again")


def _take_in(file: Path, context: Context) -> None:
    with _whole(file) as lines:
        for _ in read(lines, name_of(file)):
            pass
        lines.seek(0)
        with context.engine() as engine:
            taken = take_in(engine, read(lines, name_of(file)))
    if context.json:
        context.emit({"new": taken.new, "known": taken.known})
    else:
        context.say(f"{taken.new:,} new, {taken.known:,} were there already")
    _warn_of_strangers(taken, context)


def _warn_of_strangers(taken: TakenIn, context: Context) -> None:
    for name in sorted({*taken.destinations} - {*context.settings().destinations}):
        context.note(f"they wait: the configuration has no [destinations.{printable(name)}]")


@contextmanager
def _whole(file: Path) -> Iterator[IO[bytes]]:
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
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except PermissionError:
        raise AccessDenied(f"can't read {name_of(file)}: permission denied") from None
    except OSError as error:
        raise UsageError(f"{file}: can't be read: {error.strerror}") from None


def refuse_invalid(file: Path, documents: Sequence[Document], mode: Mode) -> None:
    """Return only if every document may be written; raises InvalidEvent with all that is wrong."""
    found = [
        {"line": document.line, **violation}
        for document in documents
        for violation in _violations(document.payload, mode)
    ]
    if found:
        raise InvalidEvent("\n".join(_shown(file, found)), found, _hint(file, documents))


def _hint(file: Path, documents: Sequence[Document]) -> str | None:
    """Return what was meant where every line is one that `shipper events export` writes."""
    if documents and all(is_exported(document.payload) for document in documents):
        return f"these are exported events; did you mean shipper enqueue --rows {name_of(file)}?"
    return None


def _violations(payload: bytes, mode: Mode) -> list[dict[str, Any]]:
    if mode != "off":
        return violations(payload, mode)
    return [v for v in violations(payload, "envelope") if v["keyword"] in _ALWAYS]


def _shown(file: Path, found: Sequence[dict[str, Any]]) -> Iterator[str]:
    for violation in found:
        where = f"{name_of(file)}:{violation['line']}: event{violation['instancePath']}"
        # The position in the document is the line's; said twice, they would differ.
        yield f"{where} {_POSITION.sub('', violation['message'])}"
    yield "nothing was written"


def _check_names(
    destination: str, key: str | None, event_id: str | None, destinations: list[str]
) -> None:
    if destination not in destinations:
        near = get_close_matches(destination, destinations, n=1) or destinations
        raise UsageError(
            f"no destination {destination!r} is configured", f"there is: {', '.join(near)}"
        )
    for name, value in (("--key", key), ("--event-id", event_id)):
        if value is not None and not 0 < len(value) <= _NAME_CHARS:
            raise UsageError(f"{name} must have 1 to {_NAME_CHARS} characters")
        if value is not None and not _is_writable(value):
            raise UsageError(f"{name} must be UTF-8")
    if event_id is not None and any(c < " " or "\x7f" <= c <= "\x9f" for c in event_id):
        raise UsageError("--event-id must hold no control character")


def _is_writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
