"""`shipper enqueue`: events from a file into the outbox, if all of them are valid.

With --rows the file is what `shipper events export` wrote. It is complete, and every line of it
was read once, before the outbox is touched: no transaction waits for a pipe. It must never hold all
of a file in memory, nor keep an application waiting: a large one is written in batches, and whoever
was cut off does the same again; it must never guess whether the same is meant anew on another day.
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
from shipper.cli.input.documents import Document, Input, name_of, streamed, unreadable, whole
from shipper.cli.input.rows import is_exported, read
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.contract.validation import Mode, violations
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
from shipper.store.operate.move import TakenIn, take_in
from shipper.wording.quantities import lasting
from shipper.wording.safe_text import printable

_NAME_CHARS = 255
_POSITION = re.compile(r" \(line 1, column (\d+), byte \d+\)$")
_DEFAULT = "default"
# More faults than these are not listed.
_TOLD = 10_000

# No mode may let through what the table itself refuses.
_ALWAYS = frozenset({"json", "utf8", "maxBytes"})


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

    Prints the event ids, one a line. An event whose id is there already is not
    written again. Hundreds and more go in small batches, so that nobody waits for
    them; if that is cut off, the same command goes on with the rest. After half a day
    it asks for --resume or --anew: the same events may be meant anew by then.
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
    resume
        Go on with an import of the same events that was cut off.
    anew
        Write all of them, also what an import of the same events has written that was cut off.
    """
    if rows:
        if (destination, key, event_id) != (_DEFAULT, None, None) or resume or anew:
            raise UsageError("with --rows the file says ids, keys and destinations")
        _take_in(file, context)
        return
    settings = context.settings()
    _check_names(destination, key, event_id, list(settings.destinations))
    with whole(file) as lines:
        read_first = _read_through(file, lines, settings.validation.mode)
        if event_id is not None and read_first.events > 1:
            raise UsageError(
                f"--event-id is for one event, and {name_of(file)} has {read_first.events}"
            )
        read_first.refuse_invalid(file)
        events = (NewEvent(d.payload.decode(), destination, key, event_id) for d in streamed(lines))
        digest = sha256(repr((read_first.digest, destination, key)).encode()).hexdigest()
        with context.engine() as engine:
            of = None
            if read_first.is_large:
                of = _begun(engine, digest, context, resume=resume, anew=anew)
            elif resume:
                raise UsageError("so few events are written at once", "leave --resume out")
            _write(engine, events, read_first, of, context)


def _begun(engine: Database, digest: str, context: Context, *, resume: bool, anew: bool) -> Import:
    if resume and anew:
        raise UsageError("--resume and --anew are two things", "take one of them")
    of = begin(engine, digest, SystemClock().wall(), anew=anew)
    if resume and not of.is_resumed:
        end(engine, of)
        raise UsageError("no import of these events was cut off", "leave --resume out")
    if of.is_resumed:
        if not resume and of.age > SURELY_THE_SAME:
            raise UsageError(
                f"an import of the same events was cut off; it began {lasting(of.age)} ago",
                "--resume goes on with it, --anew writes all of them once more",
            )
        context.note("an import of the same events was cut off; this goes on with it")
    return of


def _write(
    engine: Database,
    events: Iterator[NewEvent],
    read_first: "_Read",
    of: Import | None,
    context: Context,
) -> None:
    told = _IdPrinter(context, read_first.events, of)
    with told.of_a_cut():
        for batch in [write(engine, events)] if of is None else write_many(engine, events, of):
            told.batch(batch)
        if of is not None:
            end(engine, of)
    told.end()


class _IdPrinter:
    """Prints the ids of what is written; a reader that has gone away doesn't end the writing."""

    def __init__(self, context: Context, events: int, of: Import | None) -> None:
        self._context = context
        self._events = events
        self._of = of
        self._written = self._known = 0
        self._gone: BrokenPipeError | None = None

    def batch(self, batch: Sequence[Enqueued]) -> None:
        """Print a batch."""
        self._written += len(batch)
        self._known += sum(not event.is_new for event in batch)
        if self._gone is None:
            try:
                for event in batch:
                    self._print(event)
                sys.stdout.flush()  # whoever is killed has told what is written
            except BrokenPipeError as error:
                self._gone = error

    def _print(self, event: Enqueued) -> None:
        if self._context.json:
            self._context.emit({"event_id": event.event_id, "new": event.is_new})
        else:
            self._context.say(event.event_id)

    @contextmanager
    def of_a_cut(self) -> Iterator[None]:
        """Say how far it came where it is cut off in the middle."""
        try:
            yield
        except (ShipperError, KeyboardInterrupt):
            if self._written:
                note = f"{self._written:,} of {self._events:,} events are written"
                if self._of is not None and self._of.can_resume:
                    note += "; do the same again: none is written twice"
                self._context.note(note)
            raise

    def end(self) -> None:
        """Say what was there before; raises BrokenPipeError where nobody reads the ids."""
        if self._known:
            self._context.note(
                f"{self._known:,} of {self._written:,} was there already, and is not written again"
            )
        if self._gone is not None:
            raise self._gone


@dataclass(slots=True)
class _Read:
    """What the first reading of a file has found."""

    events: int = 0
    bytes: int = 0
    digest: str = ""
    found: list[dict[str, Any]] = field(default_factory=list)
    is_exported: bool = True

    @property
    def is_large(self) -> bool:
        """Whether one transaction is too short for all of them."""
        return self.events > AT_ONCE or self.bytes >= AT_ONCE_BYTES

    def refuse_invalid(self, file: Path) -> None:
        """Return only if every document may be written; raises InvalidEvent with what is wrong."""
        if not self.events:
            raise UsageError(f"{name_of(file)}: there is no event in it")
        if self.found:
            hint = None
            if self.is_exported:
                name = name_of(file)
                hint = f"these are exported events; did you mean shipper enqueue --rows {name}?"
            raise InvalidEvent("\n".join(_shown(file, self.found)), self.found, hint)


def _read_through(file: Path, lines: IO[bytes], mode: Mode) -> _Read:
    """Read and check every document before the first is written."""
    read_first, digest = _Read(), sha256()
    for document in _readable(file, lines):
        read_first.events += 1
        read_first.bytes += len(document.payload)
        digest.update(b"%d\n%b" % (len(document.payload), document.payload))
        if len(read_first.found) < _TOLD:
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
            taken = take_in(engine, read(lines, name_of(file)))
    if context.json:
        context.emit({"new": taken.new, "known": taken.known})
    else:
        context.say(f"{taken.new:,} new, {taken.known:,} were there already")
    _warn_of_strangers(taken, context)


def _warn_of_strangers(taken: TakenIn, context: Context) -> None:
    for name in sorted({*taken.destinations} - {*context.settings().destinations}):
        context.note(f"they wait: the configuration has no [destinations.{printable(name)}]")


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
        raise unknown_destination(destination, destinations)
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
