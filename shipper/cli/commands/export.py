"""`shipper events export`: write undelivered events as lines of JSON, for another outbox.

It decides only where the lines go. It must never overwrite a file. A file must never have its name
before all of it is on disk, and must never be readable for other users: it contains payloads.
"""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from shipper.cli.input.arguments import Destination, Key, Since, Until
from shipper.cli.input.choice import no_match
from shipper.cli.input.documents import name_of
from shipper.cli.input.rows import fields, written
from shipper.cli.output.context import Context
from shipper.errors import NotWritten, UsageError
from shipper.store.db.engine import database_path
from shipper.store.db.opening import Database
from shipper.store.db.selection import Selection
from shipper.store.operate.backup import file_beside, publish
from shipper.store.operate.move import MovedEvent, move_out, undelivered
from shipper.store.report.events import find
from shipper.wording.quantities import several

Undelivered = Literal["pending", "dead"]

_STDOUT = Path("-")


def export(  # noqa: PLR0913 - one for each option
    file: Annotated[Path, Parameter(name="FILE", help="The file to write; - is stdout.")],
    /,
    *,
    status: Annotated[Undelivered, Parameter(help="Only events with this status.")] = "pending",
    key: Key = None,
    destination: Destination = None,
    since: Since = None,
    until: Until = None,
    moves: Annotated[
        bool,
        Parameter(
            name="--hand-over",
            help="Move the events: once the file is on disk, this outbox never sends them.",
            show_default=False,
        ),
    ] = False,
    context: Context,
) -> None:
    """Write undelivered events to a file, for `shipper enqueue --rows` on another outbox.

    The file has one line of JSON per event, in the order of id. Without --hand-over
    the events stay here too.

    With --hand-over the events move: no daemon is allowed to run here meanwhile
    (exit status 75), and the events are discarded here when the file is complete. If the
    export is interrupted, repeat it with another FILE before a daemon starts here,
    then import both files: the other outbox ignores duplicates.
    """
    if moves and file == _STDOUT:
        raise UsageError("--hand-over can't write to a pipe, which keeps nothing", "name a FILE")
    selection = Selection(status=status, key=key, destination=destination, since=since, until=until)
    is_filtered = selection != Selection(status="pending")
    with context.engine() as engine:
        if is_filtered and not find(engine, selection, limit=1):
            raise no_match(engine, context, selection)
        if file == _STDOUT:
            exported, moved = _print(undelivered(engine, selection), context), 0
        else:
            keeper = _Keeper(file)
            moved = _carry(engine, selection, keeper, context, leave=moves)
            exported = keeper.events
    _report(context, file, exported, moved)


class _Keeper:
    """Writes events into a new file that only this user can read, and counts them."""

    def __init__(self, target: Path) -> None:
        if os.path.lexists(target):
            raise UsageError(f"{target} exists already; nothing was exported", "name another FILE")
        if not target.parent.is_dir():
            raise UsageError(f"there is no directory {target.parent}")
        self.events = 0
        self._target = target

    def __call__(self, pages: Iterator[list[MovedEvent]]) -> None:
        """Write all events to disk; raises NotWritten, for instance if the disk is full."""
        try:
            self._keep(pages)
        except OSError as error:
            message = f"can't write {self._target}: {error.strerror}; nothing was exported"
            raise NotWritten(message) from error

    def _keep(self, pages: Iterator[list[MovedEvent]]) -> None:
        with file_beside(self._target) as draft:
            with open(draft.file, "wb", closefd=False) as lines:
                for page in pages:
                    lines.writelines(map(written, page))
                    self.events += len(page)
                    if not page:
                        lines.flush()
                        os.fsync(draft.file)
            publish(draft)


def _carry(
    engine: Database, selection: Selection, keeper: _Keeper, context: Context, *, leave: bool
) -> int:
    """Export events; mark them if they `leave` this outbox, and return how many were marked."""
    if leave:
        path = database_path(context.settings().database.url)
        return move_out(engine, selection, path, keeper)
    keeper(undelivered(engine, selection))
    return 0


def _print(pages: Iterator[list[MovedEvent]], context: Context) -> int:
    events = 0
    for events, event in enumerate(chain.from_iterable(pages), 1):  # noqa: B007 - the last number is the count
        context.emit(fields(event))
    return events


def _report(context: Context, file: Path, exported: int, moved: int) -> None:
    count = several(exported, "event")
    if file == _STDOUT:
        context.note(f"{count} exported")
    elif context.json:
        context.emit({"exported": exported, "handed_over": moved})
    else:
        left = "; this outbox never sends them" if moved else ""
        context.say(f"{count} exported to {name_of(file)}{left}")
