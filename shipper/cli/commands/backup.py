"""`shipper backup`: a copy of the database, while everybody goes on working with it."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.errors import UsageError
from shipper.store.db.engine import database_path
from shipper.store.operate.backup import back_up, pg_dump
from shipper.wording.safe_text import printable


def backup(
    file: Annotated[Path, Parameter(name="FILE", help="The copy; must not be there yet.")],
    /,
    *,
    context: Context,
) -> None:
    """Copy the whole SQLite database to a new file, your own tables too.

    Application and daemon may run meanwhile. Every page of the copy is checked.

    What is pending in it ships again once it is restored. To avoid that, hold the
    destination first, then discard what has arrived:
    `shipper events discard ALL --until TIME`.

    PostgreSQL has a tool of its own: its command is shown, with exit status 2.
    """
    url = context.settings().database.url
    source = database_path(url)
    if source is None:
        raise UsageError("PostgreSQL makes its own copies; nothing was done", pg_dump(url, file))
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
        f"{printable(str(file))} is a copy of the whole database, the application's tables too:"
        f" {copy.size:,} bytes, {'not all of it' if copy.unchecked else 'every page'} checked"
    )
    for table, why in copy.unchecked.items():
        context.note(
            f"copied, but only your application can check table {printable(table)}:"
            f" {printable(why)}"
        )
    for name, count in copy.pending.items():
        context.say(f"{count:,} pending for {printable(name)} would ship from it again")
