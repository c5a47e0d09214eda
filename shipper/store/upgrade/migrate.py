"""How the outbox is brought to the revision that this code works with.

A migration runs in one transaction, so it is done as a whole or not at all. It must never touch a
table that isn't ours, and never a row of an event. Its statements take a short time that doesn't
grow with the rows of a table (a column with a constant default, a trigger, a function), and an
application waits no longer than that. Indexes are the exception: see `indexes`.

On a server it never runs by itself: an operator, or `init`, asks for it. On SQLite the daemon
upgrades an older outbox when it starts, if that takes only a moment.
"""

from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from shipper.errors import OutboxHeld, SchemaError
from shipper.store.db.dialect import dialect_of, pick
from shipper.store.db.failures import file_of
from shipper.store.db.sqlite import header
from shipper.store.db.sqlite.failures import translating_sqlite
from shipper.store.db.transactions import reading, translating, writing
from shipper.store.lease.lease import Owner
from shipper.store.schema import indexes, locks, lost_tables, revisions, sqlite_objects
from shipper.store.schema.ddl import location
from shipper.store.upgrade import repair, sqlite_sequence

if TYPE_CHECKING:
    from alembic.config import Config


def upgrade(engine: Engine) -> list[str]:
    """Bring the database to `head`, in one transaction; return notices for a person.

    Raises SchemaError if the database is newer than this code, or has a table `shipper_outbox` that
    isn't ours; StoreUnavailable if the tables are in use for too long; OutboxHeld if SQLite's ids
    have to be fixed and a daemon ships; and what `translating` makes of any other failure.
    """
    notices = _to_head(engine)
    with translating(engine):
        for restore in pick(
            dialect_of(engine),
            sqlite=(sqlite_objects.restore, sqlite_sequence.fix),
            postgresql=(lost_tables.restore,),
        ):
            notices += restore(engine)
    return notices


def _to_head(engine: Engine) -> list[str]:
    """Run the missing migrations, and nothing that needs the lock: the caller can hold it."""
    import alembic.command  # noqa: F401, PLC0415 - heavy, so before the application has to wait

    dialect = dialect_of(engine)
    assert dialect.ddl_is_transactional, "a migration that fails would leave half of its changes"
    with translating(engine):
        notices = _prepare_file(engine) if dialect.is_file else []
        notices += lost_tables.adopt(engine, _stamp)
        revision = revisions.current(engine)
        if revision != revisions.head():
            if dialect.builds_indexes_beside:
                indexes.build(engine, indexes.wanted(dialect.name, revision))
            locks.briefly(engine, _bring_up)
    return notices


def _stamp(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - as below

    command.stamp(_config(connection), "head")


def _bring_up(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - heavy, and only a migration needs it

    _prepare(connection)
    command.upgrade(_config(connection), "head")


def fix(engine: Engine) -> list[str]:
    """Make the outbox again as the migrations made it; return what was wrong, for a person.

    The search for faults locks nothing. Raises what `translating` makes of a failure.
    """
    with translating(engine):
        return repair.repair(engine) if repair.needed(engine) else []


def prepare(engine: Engine) -> list[str]:
    """Make the outbox ready for a daemon: on SQLite an older one is brought up to date.

    Returns notices for a person: what was changed, and what is still wrong. Raises SchemaError if
    there is no outbox, if it is newer than this code, if it is older on a server (there an operator
    decides when the tables change), and if SQLite would have to build an index over a large outbox.
    """
    dialect = dialect_of(engine)
    if not dialect.upgrades_by_itself:
        revisions.check(engine)
        return []
    revision = revisions.current(engine)
    if revision not in {None, revisions.head()}:
        _refuse_long(engine, revision, bool(indexes.wanted(dialect.name, revision)))
        _to_head(engine)
    revisions.check(engine)
    missing = sqlite_objects.missing(engine)
    _refuse_long(engine, revision, any(name.startswith("index ") for name in missing))
    return [*sqlite_objects.restore(engine), *sqlite_sequence.raise_count(engine)]


def _refuse_long(engine: Engine, revision: str | None, builds: bool) -> None:  # noqa: FBT001
    """Raise SchemaError if the application would wait for long without an operator's decision."""
    if not builds:
        return
    with reading(engine) as connection:
        large = indexes.is_large(connection)
    if large:
        raise SchemaError(
            f"the outbox has revision {revision} and lacks an index that this code needs; while"
            f" SQLite builds it over more than {indexes.SMALL} events, no other process can write",
            "when the application can wait for that: shipper db upgrade",
        )


def downgrade(engine: Engine, *, discard_undelivered: bool = False) -> None:
    """Drop all objects of shipper; raise UsageError while an event is pending or dead.

    With `discard_undelivered` these events are dropped too.
    """
    from alembic import command  # noqa: PLC0415 - heavy, and only a downgrade needs it

    with writing(engine) as connection:
        config = _config(connection)
        config.attributes["discard_undelivered"] = discard_undelivered
        command.downgrade(config, "base")
        connection.execute(text(f"DROP TABLE {revisions.VERSION_TABLE}"))


def _config(connection: Connection) -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - heavy, see above

    config = Config()
    # Alembic's options are a template: a percent sign in the path has to be doubled.
    config.set_main_option("script_location", str(location()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _prepare(connection: Connection) -> None:
    dialect = dialect_of(connection)
    dialect.as_long_as_it_takes(connection)
    dialect.one_upgrade_at_a_time(connection)
    revision = revisions.read(connection)
    if revision is None:
        revisions.refuse_foreign(connection)
        dialect.refuse_encoding(connection)
    else:
        revisions.refuse_unknown(revision)
        _refuse_running(connection, revision)


def _refuse_running(connection: Connection, revision: str) -> None:
    """Raise OutboxHeld while a daemon runs that couldn't go on with the new tables."""
    if not dialect_of(connection).moves_shards or revision not in _BEFORE_DAEMONS:
        return
    row = connection.execute(_LEASE_BEFORE).one_or_none()
    owner = None if row is None else Owner.read(row.owner)
    if row is not None and row.lives and not (owner is not None and owner.is_dead()):
        raise OutboxHeld(
            f"{owner or 'a daemon'} ships with an older version, which can't go on with the new"
            " tables; nothing was changed",
            "stop it (systemctl stop shipper), run: shipper db upgrade, and start the new version",
        )


# Revisions in which an outbox had one daemon, by the row of its lease. Locked, its daemon can't
# prolong the lease until the tables are new.
_BEFORE_DAEMONS = frozenset(revisions.REVISIONS[: revisions.REVISIONS.index("0013")])
_LEASE_BEFORE = text(
    "SELECT owner, owner IS NOT NULL AND coalesce(expires_at > clock_timestamp(), false) AS lives"
    " FROM shipper_lease WHERE name = 'outbox' FOR UPDATE"
)


def _prepare_file(engine: Engine) -> list[str]:
    # Neither setting can be changed in a transaction, so the driver's own connection is used.
    file = file_of(engine)
    assert file is not None
    with translating_sqlite(file), closing(engine.raw_connection()) as raw:
        cursor = raw.cursor()
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        if mode == "wal":
            return []
        is_new = cursor.execute("PRAGMA page_count").fetchone()[0] == 0
        if is_new:
            cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        header.into_wal(cursor, file, mode)
        return [] if is_new else ["the database's journal mode is WAL now, for every application"]
