"""How the outbox is brought to the version that this code works with.

A migration runs in one transaction, so there is no half of one. It must never touch a table that
is not ours. On PostgreSQL it never runs by itself: a person, or `init`, asks for it. On SQLite the
daemon brings an older outbox up to date as it starts.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from shipper.errors import SchemaError
from shipper.store import revisions
from shipper.store.failures import translating, translating_sqlite
from shipper.store.transactions import writing

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
    return notices


def prepare(engine: Engine) -> None:
    """Make the outbox ready for a daemon: on SQLite an older one is brought up to date.

    Raises SchemaError when there is none, when it is newer than this code, and on PostgreSQL when
    it is older: there a person decides when the tables are changed.
    """
    left_alone = {None, revisions.head()}
    if engine.dialect.name == "sqlite" and revisions.current(engine) not in left_alone:
        upgrade(engine)
    revisions.check(engine)


def downgrade(engine: Engine, *, discard_undelivered: bool = False) -> None:
    """Drop everything of ours. Raises UsageError while an event is pending or dead, unless told."""
    from alembic import command  # noqa: PLC0415 - heavy, and only a downgrade needs it

    with writing(engine) as connection:
        config = _config(connection)
        config.attributes["discard_undelivered"] = discard_undelivered
        command.downgrade(config, "base")
        connection.execute(text(f"DROP TABLE {revisions.VERSION_TABLE}"))


def location() -> Path:
    """Return the directory of the migrations: in an installed wheel, or beside the sources."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def statements(revision: str, dialect: str) -> list[str]:
    """Return the DDL of a revision for a dialect; in its file an empty line ends a statement."""
    file = location() / "ddl" / f"{revision}_{dialect}.sql"
    blocks = file.read_text("utf-8").strip().split("\n\n")
    return [block for block in blocks if block.endswith(";")]


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


def _refuse_encoding(connection: Connection) -> None:
    # In any other encoding what is read would not be the bytes that were written.
    sqlite = connection.dialect.name == "sqlite"
    statement = "PRAGMA encoding" if sqlite else "SHOW server_encoding"
    encoding = connection.exec_driver_sql(statement).scalar()
    if encoding not in {"UTF-8", "UTF8"}:
        raise SchemaError(f"the database is encoded in {encoding}; an outbox needs UTF-8")


@translating_sqlite()
def _prepare_sqlite(engine: Engine) -> list[str]:
    # Neither setting can be changed inside of a transaction, so not on a connection that begins.
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return []
        is_new = cursor.execute("PRAGMA page_count").fetchone()[0] == 0
        if is_new:
            cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise SchemaError(f"the database's journal mode is {mode} and can't be made WAL")
        return [] if is_new else ["the database's journal mode is WAL now, for every application"]
    finally:
        raw.close()
