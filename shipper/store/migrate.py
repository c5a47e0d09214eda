"""How the outbox is brought to the version that this code works with.

A migration runs in one transaction, so there is no half of one. It must never touch a table that
is not ours. On PostgreSQL it never runs by itself: a person, or `init`, asks for it. On SQLite the
daemon brings an older outbox up to date as it starts.
"""

from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from shipper.errors import SchemaError
from shipper.store import header, objects, repair, revisions, sequence
from shipper.store.ddl import location, statements
from shipper.store.failures import file_of, translating, translating_sqlite
from shipper.store.transactions import reading, writing

__all__ = ["downgrade", "location", "mend", "prepare", "statements", "upgrade"]

if TYPE_CHECKING:
    from alembic.config import Config

# Two upgrades at once would both find nothing and both create; SQLite's write lock does the same.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('shipper db upgrade', 0))")
_AS_LONG_AS_IT_TAKES = text("SET LOCAL statement_timeout = 0")


def upgrade(engine: Engine) -> list[str]:
    """Bring the database to `head`, in one transaction; returns notices for a person to read.

    Raises SchemaError for a database that is newer than this code or has a table of that name
    that isn't ours, and what `translating` makes of everything else.
    """
    from alembic import command  # noqa: PLC0415 - heavy, and only an upgrade needs it

    with translating(engine):
        notices = _prepare_sqlite(engine) if engine.dialect.name == "sqlite" else []
        with writing(engine) as connection:
            _prepare(connection)
            command.upgrade(_config(connection), "head")
        if engine.dialect.name == "sqlite":
            notices += [*objects.restore(engine), *sequence.fix(engine)]
    return notices


def mend(engine: Engine) -> list[str]:
    """Make the outbox what the migrations made, whatever was done to it; returns what was wrong.

    It looks first, and holds nobody up for that. Raises what `translating` makes of a failure.
    """
    with reading(engine) as connection:
        _prepare_mending(connection)
        if not repair.needed(connection):
            return []
    with writing(engine) as connection:
        _prepare_mending(connection)
        return repair.repair(connection)


def prepare(engine: Engine) -> list[str]:
    """Make the outbox ready for a daemon: on SQLite an older one is brought up to date.

    Returns notices for a person to read, of what was changed and of what is wrong all the same.
    Raises SchemaError when there is none, when it is newer than this code, and on PostgreSQL when
    it is older: there a person decides when the tables are changed.
    """
    left_alone = {None, revisions.head()}
    if engine.dialect.name == "sqlite" and revisions.current(engine) not in left_alone:
        upgrade(engine)
    revisions.check(engine)
    if engine.dialect.name != "sqlite":
        return []
    return [*objects.restore(engine), *sequence.raise_count(engine)]


def downgrade(engine: Engine, *, discard_undelivered: bool = False) -> None:
    """Drop everything of ours. Raises UsageError while an event is pending or dead, unless told."""
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
    if connection.dialect.name == "postgresql":
        connection.execute(_AS_LONG_AS_IT_TAKES)
        connection.execute(_ONE_AT_A_TIME)
    revision = revisions.read(connection)
    if revision is None:
        revisions.refuse_foreign(connection)
        _refuse_encoding(connection)
    else:
        revisions.refuse_unknown(revision)


def _prepare_mending(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(_AS_LONG_AS_IT_TAKES)


def _refuse_encoding(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        header.refuse_encoding(str(connection.exec_driver_sql("PRAGMA encoding").scalar()))
        return
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise SchemaError(
            f"the database is encoded in {encoding}; an outbox needs UTF8",
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and pg_dump it into that",
        )


def _prepare_sqlite(engine: Engine) -> list[str]:
    # Neither setting can be changed inside of a transaction, so not on a connection that begins.
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
