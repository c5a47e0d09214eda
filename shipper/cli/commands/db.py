"""`shipper db …`: migrations, privileges, leases. Alembic is imported only for a migration."""

from typing import Annotated

from cyclopts import Parameter

from shipper.cli.output.context import Context
from shipper.errors import OutboxHeld
from shipper.store.db.dialect import dialect_of
from shipper.store.db.engine import database_path
from shipper.store.lease import unlock as stuck_leases
from shipper.store.report.daemon_rows import JoinedDaemon
from shipper.store.report.daemons import gone_daemons
from shipper.store.schema import grants as rights
from shipper.store.schema import revisions
from shipper.store.schema.damage import refuse_hidden
from shipper.store.upgrade import migrate
from shipper.wording.quantities import lasting, plural

_CREATE = (
    "Allow a new outbox: make a missing SQLite file and its directory; on PostgreSQL, make one"
    " although a schema outside of the search_path has one already."
)


def upgrade(*, create: Annotated[bool, Parameter(help=_CREATE)] = False, context: Context) -> None:
    """Create the outbox in your application's database, or upgrade it to this version.

    The database must exist: a mistyped path must not become an empty outbox.
    """
    with context.engine(create=create, outbox=False) as engine:
        if not create:
            revisions.refuse_unasked(engine)
        before = revisions.current(engine)
        notices = migrate.upgrade(engine)
        notices += [f"fixed: {fixed}" for fixed in migrate.fix(engine)]
    for notice in notices:
        context.note(notice)
    if context.json:
        context.emit({"before": before, "revision": revisions.head(), "notices": notices})
    elif before == revisions.head():
        context.say(f"the outbox is up to date ({before})")
    else:
        context.say(f"the outbox now has revision {revisions.head()}")


def current(*, context: Context) -> int:
    """Print the revision of the outbox, and the revision that this version of shipper needs."""
    with context.engine(newer=True, outbox=False) as engine:
        revision = revisions.current(engine)
    if context.json:
        context.emit({"revision": revision, "head": revisions.head()})
    else:
        context.say(f"{revision or 'no outbox'} (this version needs {revisions.head()})")
    return 0 if revision else 1


def check(*, context: Context) -> None:
    """Check that this version of shipper can use the outbox; exit status 77 or 78 if it can't."""
    with context.engine(outbox=False) as engine:
        revisions.check(engine)
        refuse_hidden(engine)
    if context.json:
        context.emit({"ok": True, "revision": revisions.head()})
    else:
        context.say(f"ok: the outbox has revision {revisions.head()}")


def unlock(*, yes: bool = False, context: Context) -> None:
    """End the lease of a daemon that has certainly ended without releasing it.

    For PostgreSQL: without this, other daemons wait until the lease runs out, and then
    take over. If some daemons haven't prolonged their leases in time, only these are ended,
    each after a question. If the holder is alive, nothing is changed and the exit status is
    75: two daemons at once would send events twice, and out of order. A daemon that is
    missing, because others have ended it, is forgotten.

    Parameters
    ----------
    yes
        Don't ask for confirmation; needed without a terminal.
    """
    with context.engine() as engine:
        gone, path = gone_daemons(engine), database_path(context.settings().database.url)
        try:
            # An operator who means one that is gone must not end one that ships.
            found = stuck_leases.find(engine, path, only_silent=bool(gone))
        except OutboxHeld:
            if not gone:
                raise
            found = []
        for stuck in found:
            context.confirm(_unlocks(stuck), yes=yes)
            stuck_leases.end(engine, stuck)
        for lost in gone:
            context.confirm(_forgets(lost), yes=yes)
            stuck_leases.forget(engine, lost.token)
    ended = [*(stuck.holder for stuck in found), *map(str, gone)]
    holders = ", ".join(ended)
    if context.json:
        context.emit({"unlocked": bool(ended), "holder": holders or None})
    elif not ended:
        context.say("no daemon holds this outbox")
    else:
        context.say(f"{holders} no longer {plural(len(ended), 'holds', 'hold')} this outbox")


def _forgets(lost: JoinedDaemon) -> str:
    ago = lasting(max(0.0, lost.unseen))
    return f"{lost} has ended, and was last seen {ago} ago. Forget it? It counts as missing."


def _unlocks(stuck: stuck_leases.Stuck) -> str:
    seen = stuck.last_seen_seconds
    ago = "" if seen is None else f", and last wrote {lasting(seen)} ago"
    return f"{stuck.holder} holds this outbox{ago}. End its lease? Only if it has certainly ended."


def grants(*, role: str, context: Context) -> None:
    """Print the GRANT statements that an application's role needs to write events.

    Parameters
    ----------
    role
        The application's role in PostgreSQL.
    """
    with context.engine() as engine:
        if dialect_of(engine).is_file:
            if context.json:
                context.emit({"statements": [], "note": " ".join(rights.SQLITE.split())})
            else:
                context.say(rights.SQLITE)
            return
        statements = rights.statements(role, rights.schema_of(engine))
    if context.json:
        context.emit({"statements": statements})
    else:
        context.say("\n".join(f"{statement};" for statement in statements))
