"""`shipper enqueue`: events from a file into the outbox, all or nothing."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from shipper.cli.context import Context
from shipper.cli.documents import Document, Input, name_of, read_documents
from shipper.contract.validation import Mode, violations
from shipper.errors import InvalidEvent, UsageError
from shipper.store.enqueue import NewEvent
from shipper.store.enqueue import enqueue as write

_NAME_CHARS = 255

# No mode may let through what the table itself refuses.
_ALWAYS = frozenset({"json", "utf8", "maxBytes"})


def enqueue(
    file: Input = "-",
    /,
    *,
    destination: str = "default",
    key: str | None = None,
    event_id: str | None = None,
    context: Context,
) -> None:
    """Write events into the outbox: one JSON document or JSON lines, all of them or none.

    Prints the event ids, one a line. An event whose id is there already is not written again.

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
    """
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
        context.note(f"{known} of {len(written)} was there already, and is not written again")


def refuse_invalid(file: str, documents: Iterable[Document], mode: Mode) -> None:
    """Return only if every document may be written; raises InvalidEvent with all that is wrong."""
    found = [
        {"line": document.line, **violation}
        for document in documents
        for violation in _violations(document.payload, mode)
    ]
    if found:
        raise InvalidEvent("\n".join(_shown(file, found)), found)


def _violations(payload: bytes, mode: Mode) -> list[dict[str, Any]]:
    if mode != "off":
        return violations(payload, mode)
    return [v for v in violations(payload, "envelope") if v["keyword"] in _ALWAYS]


def _shown(file: str, found: Sequence[dict[str, Any]]) -> Iterator[str]:
    for violation in found:
        where = f"{name_of(file)}:{violation['line']}: event{violation['instancePath']}"
        yield f"{where} {violation['message']}"
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
