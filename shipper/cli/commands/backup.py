"""`shipper backup`: a copy of the database, while the application and the daemon use it."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.errors import UsageError
from shipper.store.db.engine import database_path
from shipper.store.operate.backup import back_up, pg_dump
from shipper.wording.safe_text import printable


def backup(
    file: Annotated[Path, Parameter(name="FILE", help="The copy; this file must not exist yet.")],
    /,
    *,
    context: Context,
) -> None:
    """Copy the whole SQLite database to a new file, including the application's tables.

    The application and the daemon can run meanwhile. Every page of the copy is
    checked.

    Events that are pending in the copy are sent again after a restore. To avoid
    that, hold the destination before the daemon starts, then discard the events
    that have arrived: `shipper events discard ALL --until TIME`.

    For PostgreSQL it copies nothing: it prints the command of pg_dump, and the exit
    status is 2.
    """
    url = context.settings().database.url
    source = database_path(url)
    if source is None:
        raise UsageError("pg_dump copies PostgreSQL; nothing was done", pg_dump(url, file))
    copy = back_up(source, file)
    if context.json:
        context.emit(
            {
                "file": str(file.absolute()),
                "bytes": copy.size,
                "pending": copy.pending,
                "maybe_received": copy.maybe_received,
                **({"unchecked": copy.unchecked} if copy.unchecked else {}),
            }
        )
        return
    context.tell(
        f"{printable(str(file))} is a copy of the whole database, with the application's tables:"
        f" {copy.size:,} bytes, {'not all of it' if copy.unchecked else 'every page'} checked"
    )
    for table, why in copy.unchecked.items():
        context.note(
            f"table {printable(table)} was copied, but only your application can check it:"
            f" {printable(why)}"
        )
    for name, count in copy.pending.items():
        context.say(f"a restore would send again: {count:,} pending for {printable(name)}")
