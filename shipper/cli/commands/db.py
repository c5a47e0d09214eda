"""`shipper db …`: migrations and privileges. Alembic is imported where a migration runs."""

from shipper.cli.input.arguments import Yes
from shipper.cli.output.context import Context
from shipper.store.db.engine import database_path
from shipper.store.lease import unlock as stuck_leases
from shipper.store.schema import grants as rights
from shipper.store.schema import revisions
from shipper.store.schema.damage import refuse_hidden
from shipper.store.upgrade import migrate


def upgrade(*, create: bool = False, context: Context) -> None:
    """Create the outbox in your application's database, or bring it to the version needed.

    The database has to exist: a path with a typing error must not become an empty outbox.

    Parameters
    ----------
    create
        For a NEW outbox: make the SQLite file, and its directory, where they are missing; on
        PostgreSQL one beside another that the search_path doesn't lead to.
    """
    with context.engine(create=create, outbox=False) as engine:
        if not create:
            revisions.refuse_unasked(engine)
        before = revisions.current(engine)
        notices = migrate.upgrade(engine)
        notices += [f"fixed: {told}" for told in migrate.mend(engine)]
    for notice in notices:
        context.note(notice)
    if context.json:
        context.emit({"before": before, "revision": revisions.head(), "notices": notices})
    elif before == revisions.head():
        context.say(f"the outbox is up to date ({before})")
    else:
        context.say(f"the outbox has revision {revisions.head()} now")


def current(*, context: Context) -> int:
    """Print the revision of the outbox, and the one that this code needs."""
    with context.engine(newer=True, outbox=False) as engine:
        revision = revisions.current(engine)
    if context.json:
        context.emit({"revision": revision, "head": revisions.head()})
    else:
        context.say(f"{revision or 'no outbox'} (this code needs {revisions.head()})")
    return 0 if revision else 1


def check(*, context: Context) -> None:
    """Check that this code can work with the outbox; exit status 77 or 78 where it can't."""
    with context.engine(outbox=False) as engine:
        revisions.check(engine)
        refuse_hidden(engine)
    if context.json:
        context.emit({"ok": True, "revision": revisions.head()})
    else:
        context.say(f"ok: the outbox has revision {revisions.head()}")


def unlock(*, yes: Yes = False, context: Context) -> None:
    """End the lease of a daemon that is gone for certain, and could not give it back.

    For PostgreSQL, where the next daemon else waits for as long as the lease lasts. Exit status 75
    where the holder lives: two daemons at once would send events twice, and out of order.

    Parameters
    ----------
    yes
        Don't ask; needed where there is no terminal.
    """
    with context.engine() as engine:
        stuck = stuck_leases.find(engine, database_path(context.settings().database.url))
        if stuck is not None:
            context.confirm(_unlocks(stuck), yes=yes)
            stuck_leases.end(engine, stuck)
    if context.json:
        context.emit({"unlocked": stuck is not None, "holder": stuck and stuck.holder})
    elif stuck is None:
        context.say("nobody holds this outbox")
    else:
        context.say(f"{stuck.holder} holds this outbox no more")


def _unlocks(stuck: stuck_leases.Stuck) -> str:
    seen = stuck.last_seen_seconds
    ago = "" if seen is None else f" and wrote {max(0.0, seen):.0f} s ago"
    return f"{stuck.holder} holds this outbox{ago}. Has it certainly ended? End its lease?"


def grants(*, role: str, context: Context) -> None:
    """Print the GRANTs that an application's role needs to write events.

    Parameters
    ----------
    role
        The application's role in PostgreSQL.
    """
    with context.engine() as engine:
        if engine.dialect.name != "postgresql":
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
