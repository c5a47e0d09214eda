"""`shipper events export`: undelivered events as lines of JSON, to be taken in by another outbox.

It decides nothing but where the lines go. A file must never be overwritten, never appear under its
name before all of it is on disk, and never be readable for anybody else: payloads are in it.
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
from shipper.store.operate.move import Carried, hand_over, undelivered
from shipper.store.report.events import find
from shipper.wording.quantities import several

Undelivered = Literal["pending", "dead"]

_STDOUT = Path("-")


def export(  # noqa: PLR0913 - one for each option
    file: Annotated[Path, Parameter(name="FILE", help="Where the lines go; - is stdout.")],
    /,
    *,
    status: Annotated[Undelivered, Parameter(help="Only those of this status.")] = "pending",
    key: Key = None,
    destination: Destination = None,
    since: Since = None,
    until: Until = None,
    hand_over: Annotated[
        bool,
        Parameter(
            help="Give them out of hand: once the file is on disk, they are never sent from here.",
            show_default=False,
        ),
    ] = False,
    context: Context,
) -> None:
    """Write undelivered events to a file, for `shipper enqueue --rows` on another outbox.

    One line of JSON an event, in the order of id. With --hand-over nothing is
    sent twice: no daemon may run here meanwhile (exit status 75), and the events
    are marked as handed over when the file is complete. Whatever is cut off, do
    it again with another FILE before a daemon starts here; the other outbox
    takes no event twice, so give it both.
    """
    if hand_over and file == _STDOUT:
        raise UsageError("what is handed over needs a file: a pipe keeps nothing", "name a FILE")
    selection = Selection(status=status, key=key, destination=destination, since=since, until=until)
    is_filtered = selection != Selection(status="pending")
    with context.engine() as engine:
        if is_filtered and not find(engine, selection, limit=1):
            raise no_match(engine, context, selection)
        if file == _STDOUT:
            exported, handed_over = _print(undelivered(engine, selection), context), 0
        else:
            keeper = _Keeper(file)
            handed_over = _carry(engine, selection, keeper, context, leave=hand_over)
            exported = keeper.events
    _tell(context, file, exported, handed_over)


class _Keeper:
    """Puts events into a new file that nobody else can read, and counts them."""

    def __init__(self, target: Path) -> None:
        if os.path.lexists(target):
            raise UsageError(f"{target} is there already; nothing was exported", "name another")
        if not target.parent.is_dir():
            raise UsageError(f"there is no directory {target.parent}")
        self.events = 0
        self._target = target

    def __call__(self, pages: Iterator[list[Carried]]) -> None:
        """Return when all of them are on disk; raises NotWritten where it has no room, say."""
        try:
            self._keep(pages)
        except OSError as error:
            told = f"{self._target}: can't be written: {error.strerror}; nothing was exported"
            raise NotWritten(told) from error

    def _keep(self, pages: Iterator[list[Carried]]) -> None:
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
    """Export events, and with `leave` mark them; return how many were marked."""
    if leave:
        path = database_path(context.settings().database.url)
        return hand_over(engine, selection, path, keeper)
    keeper(undelivered(engine, selection))
    return 0


def _print(pages: Iterator[list[Carried]], context: Context) -> int:
    events = 0
    for events, event in enumerate(chain.from_iterable(pages), 1):  # noqa: B007 - the last counts
        context.emit(fields(event))
    return events


def _tell(context: Context, file: Path, exported: int, handed_over: int) -> None:
    count = several(exported, "event")
    if file == _STDOUT:
        context.note(f"{count} exported")
    elif context.json:
        context.emit({"exported": exported, "handed_over": handed_over})
    else:
        left = "; none of them is sent from here any more" if handed_over else ""
        context.say(f"{count} exported to {name_of(file)}{left}")
