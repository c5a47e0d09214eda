"""`shipper enqueue`: write events from a file into the outbox, if all of them are valid.

The whole file is read and checked once before the first event is written, so that no transaction
waits for a pipe. It must never hold a whole file in memory, and never keep an application waiting:
a large file is written in batches. If that is interrupted, the operator repeats the command. It
must never guess whether the same events on another day are new ones. With --rows the file comes
from `shipper events export`.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Annotated, Any

from cyclopts import Parameter

from shipper.cli.input.choice import unknown_destination
from shipper.cli.input.documents import (
    Document,
    Input,
    name_of,
    no_event,
    streamed,
    unreadable,
    whole,
)
from shipper.cli.input.rows import is_exported, read
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.contract.validation import UNSENDABLE, Mode, violations
from shipper.errors import InvalidEvent, ShipperError, UsageError
from shipper.store.db.opening import Database
from shipper.store.operate.enqueue import (
    AT_ONCE,
    AT_ONCE_BYTES,
    SURELY_THE_SAME,
    Enqueued,
    Import,
    NewEvent,
    begin,
    end,
)
from shipper.store.operate.enqueue import enqueue as write
from shipper.store.operate.enqueue import enqueue_many as write_many
from shipper.store.operate.move import MovedIn, move_in
from shipper.wording.quantities import lasting
from shipper.wording.safe_text import printable

_NAME_CHARS = 255
_POSITION = re.compile(r" \(line 1, column (\d+), byte \d+\)$")
_DEFAULT = "default"
# How many violations are listed at most.
_LISTED = 10_000


def enqueue(  # noqa: PLR0913 - one for each option
    file: Input = Path("-"),
    /,
    *,
    destination: str = _DEFAULT,
    key: str | None = None,
    event_id: str | None = None,
    rows: Annotated[bool, Parameter(show_default=False)] = False,
    resume: Annotated[bool, Parameter(show_default=False)] = False,
    anew: Annotated[bool, Parameter(show_default=False)] = False,
    context: Context,
) -> None:
    """Write events into the outbox: one JSON document or JSON lines, all of them or none.

    Prints the event ids, one per line. An event whose id is in the outbox already
    is not written again. Hundreds of events and more are written in small batches,
    so that the application doesn't have to wait. If that is interrupted, repeat the
    command to write the rest; more than 12 hours later, add --resume or --anew.

    With --rows the file comes from `shipper events export`, and the answer is how
    many events were new.

    Parameters
    ----------
    file
        The file with the events; - is stdin.
    destination
        The destination of the events.
    key
        The ordering key of the events. Default: the id of the user in each event.
    event_id
        The event id; only for a single event. Default: a new UUID.
    rows
        Read a file of `shipper events export`: ids, keys, destinations and order are kept.
    resume
        Continue an interrupted import of the same events.
    anew
        Write all events again, even if an interrupted import has written some of them.
    """
    if rows:
        if (destination, key, event_id) != (_DEFAULT, None, None) or resume or anew:
            raise UsageError(
                "--rows takes ids, keys and destinations from the file", "leave other options out"
            )
        _take_in(file, context)
        return
    settings = context.settings()
    _check_names(destination, key, event_id, list(settings.destinations))
    with whole(file) as lines:
        mode = settings.destinations[destination].checks(settings.validation.mode)
        read_first = _read_through(file, lines, mode)
        if event_id is not None and read_first.events > 1:
            raise UsageError(
                f"--event-id is for one event, but {name_of(file)} has {read_first.events}"
            )
        read_first.refuse_invalid(file)
        events = (NewEvent(d.payload.decode(), destination, key, event_id) for d in streamed(lines))
        digest = sha256(repr((read_first.digest, destination, key)).encode()).hexdigest()
        with context.engine() as engine:
            of = None
            if read_first.is_large:
                of = _begun(engine, digest, context, resume=resume, anew=anew)
            elif resume:
                raise UsageError("so few events are never written in parts", "leave --resume out")
            _write(engine, events, read_first, of, context)


def _begun(engine: Database, digest: str, context: Context, *, resume: bool, anew: bool) -> Import:
    if resume and anew:
        raise UsageError("--resume and --anew can't be combined", "leave one of them out")
    of = begin(engine, digest, SystemClock().wall(), anew=anew)
    if resume and not of.is_resumed:
        end(engine, of)
        raise UsageError("no import of these events was interrupted", "leave --resume out")
    if of.is_resumed:
        if not resume and of.age > SURELY_THE_SAME:
            raise UsageError(
                f"an import of the same events was interrupted; it began {lasting(of.age)} ago",
                "--resume continues it; --anew writes all of them again",
            )
        context.note("an import of the same events was interrupted; this command continues it")
    return of


def _write(
    engine: Database,
    events: Iterator[NewEvent],
    read_first: "_Read",
    of: Import | None,
    context: Context,
) -> None:
    printer = _IdPrinter(context, read_first.events, of)
    with printer.interruptible():
        for batch in [write(engine, events)] if of is None else write_many(engine, events, of):
            printer.batch(batch)
        if of is not None:
            end(engine, of)
    printer.end()


class _IdPrinter:
    """Prints the ids of written events. If the reader of the ids goes away, the writing goes on."""

    def __init__(self, context: Context, events: int, of: Import | None) -> None:
        self._context = context
        self._events = events
        self._of = of
        self._written = self._known = 0
        self._gone: BrokenPipeError | None = None

    def batch(self, batch: Sequence[Enqueued]) -> None:
        """Print the ids of a batch."""
        self._written += len(batch)
        self._known += sum(not event.is_new for event in batch)
        if self._gone is None:
            try:
                for event in batch:
                    self._print(event)
                sys.stdout.flush()  # if this process is killed, the ids of written events are out
            except BrokenPipeError as error:
                self._gone = error

    def _print(self, event: Enqueued) -> None:
        if self._context.json:
            self._context.emit({"event_id": event.event_id, "new": event.is_new})
        else:
            self._context.say(event.event_id)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Print how many events are written if the writing is interrupted."""
        try:
            yield
        except (ShipperError, KeyboardInterrupt):
            if self._written:
                note = f"{self._written:,} of {self._events:,} events are written"
                if self._of is not None and self._of.can_resume:
                    note += "; repeat the command to write the rest: no event is written twice"
                self._context.note(note)
            raise

    def end(self) -> None:
        """Print how many events were known; raises BrokenPipeError if nothing reads the ids."""
        if self._known:
            self._context.note(
                f"{self._known:,} of {self._written:,} in the outbox already; not written again"
            )
        if self._gone is not None:
            raise self._gone


@dataclass(slots=True)
class _Read:
    """What the first reading of a file found."""

    events: int = 0
    bytes: int = 0
    digest: str = ""
    found: list[dict[str, Any]] = field(default_factory=list)
    is_exported: bool = True

    @property
    def is_large(self) -> bool:
        """Whether the events are too many, or too large, for one transaction."""
        return self.events > AT_ONCE or self.bytes >= AT_ONCE_BYTES

    def refuse_invalid(self, file: Path) -> None:
        """Raise InvalidEvent with every violation, or UsageError if the file has no event."""
        if not self.events:
            raise no_event(file)
        if self.found:
            hint = None
            if self.is_exported:
                name = name_of(file)
                hint = f"these are exported events; did you mean shipper enqueue --rows {name}?"
            raise InvalidEvent("\n".join(_shown(file, self.found)), self.found, hint)


def _read_through(file: Path, lines: IO[bytes], mode: Mode) -> _Read:
    """Read and check every document."""
    read_first, digest = _Read(), sha256()
    for document in _readable(file, lines):
        read_first.events += 1
        read_first.bytes += len(document.payload)
        digest.update(b"%d\n%b" % (len(document.payload), document.payload))
        if len(read_first.found) < _LISTED:
            read_first.found += (
                {"line": document.line, **found} for found in _violations(document.payload, mode)
            )
        read_first.is_exported = read_first.is_exported and is_exported(document.payload)
    read_first.digest = digest.hexdigest()
    return read_first


def _readable(file: Path, lines: IO[bytes]) -> Iterator[Document]:
    try:
        yield from streamed(lines)
    except OSError as error:
        raise unreadable(file, error) from None


def _take_in(file: Path, context: Context) -> None:
    with whole(file) as lines:
        for _ in read(lines, name_of(file)):
            pass
        lines.seek(0)
        with context.engine() as engine:
            taken = move_in(engine, read(lines, name_of(file)))
    if context.json:
        context.emit({"new": taken.new, "known": taken.known})
    else:
        context.say(f"{taken.new:,} new, {taken.known:,} in the outbox already")
    _warn_of_unknown(taken, context)


def _warn_of_unknown(taken: MovedIn, context: Context) -> None:
    for name in sorted({*taken.destinations} - {*context.settings().destinations}):
        context.note(f"some events wait: the configuration has no [destinations.{printable(name)}]")


def _violations(payload: bytes, mode: Mode) -> list[dict[str, Any]]:
    if mode != "off":
        return violations(payload, mode)
    return [v for v in violations(payload, "envelope") if v["keyword"] in UNSENDABLE]


def _shown(file: Path, found: Sequence[dict[str, Any]]) -> Iterator[str]:
    for violation in found:
        where = f"{name_of(file)}:{violation['line']}: event{violation['instancePath']}"
        # Without the position in the document: it would contradict the line of the file.
        yield f"{where} {_POSITION.sub('', violation['message'])}"
    yield "nothing was written"


def _check_names(
    destination: str, key: str | None, event_id: str | None, destinations: list[str]
) -> None:
    if destination not in destinations:
        raise unknown_destination(destination, destinations)
    for name, value in (("--key", key), ("--event-id", event_id)):
        if value is not None and not 0 < len(value) <= _NAME_CHARS:
            raise UsageError(f"{name} must have 1 to {_NAME_CHARS} characters")
        if value is not None and not _is_writable(value):
            raise UsageError(f"{name} must be valid UTF-8")
    if event_id is not None and any(c < " " or "\x7f" <= c <= "\x9f" for c in event_id):
        raise UsageError("--event-id must not contain control characters")


def _is_writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
