"""How a connection to a PostgreSQL server is opened, and what is set on it.

It decides every setting that our statements depend on: a role, a database, a server or the
environment can set other values, and our sessions must still work the same. It must never show a
password, and never connect to another database than the one that it was opened for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from shipper.config.postgres import PINNED, preferred
from shipper.errors import ConfigError, SchemaError, ShipperError
from shipper.store.db.postgres.login import refused
from shipper.system.installation import with_extra

FORM: Final = "postgresql://user@host/db"
# A value in the URL replaces one of these.
_CONNECT: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "fallback_application_name": "shipper",
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms
}
# In another encoding, texts would arrive as bytes or not at all.
_ALWAYS: Final[Mapping[str, Any]] = {"client_encoding": "UTF8", "prepare_threshold": None}

# What pgbouncer answers to BEGIN if it pools statements: protocol_violation.
_NOT_POSSIBLE: Final = "08P01"
_STATEMENT_MODE: Final = (
    "the pooler in front of the server pools statements, so there are no transactions"
)
_ANOTHER_MODE: Final = (
    "set pool_mode = transaction (or session) for shipper's database and role in the pooler,"
    " or use the server's own port in [database] url"
)

# The server process of this session, the schemas on the search_path, the one of them that has the
# outbox, and all schemas of the database that have an outbox.
_WHERE = """
WITH outboxes AS MATERIALIZED (
    SELECT c.oid, CAST(n.nspname AS pg_catalog.text) AS name FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relname OPERATOR(pg_catalog.=) 'shipper_outbox'
    AND c.relkind OPERATOR(pg_catalog.=) 'r' AND c.relpersistence OPERATOR(pg_catalog.=) 'p'
)
SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_schemas(false),
    (SELECT name FROM outboxes
     WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('shipper_outbox')),
    ARRAY(SELECT name FROM outboxes)
"""


class LocalSettings(NamedTuple):
    """What is set in each transaction behind a pooler: as plain statements, and as a query.

    The plain ones take no snapshot; the query fits into a pipeline.
    """

    plain: str
    query: bytes


class Connector:
    """Makes the connections of one engine; before each it reads the URL again."""

    def __init__(self, url: URL, renewed: Callable[[], str] | None, frozen: float) -> None:
        self._url = url
        self._frozen = frozen
        self._renewed = renewed
        self._schema: str | None = None

    @property
    def place(self) -> str:
        """Return the database and its hosts as a text, without user and password."""
        return place(self._url)

    def move(self, url: str) -> None:
        """Connect to another address from now on; it must be the same database."""
        self._url = make_url(url)

    def connect(self, dialect: Any, record: Any, _args: object, _params: object) -> Any:
        """Return the driver's connection, set up; raises what `refused` makes of a failure."""
        remark = self._renew()
        url = self._url
        _, params = dialect.create_connect_args(url)
        params = {**_CONNECT, **params, **_ALWAYS}
        if len(hosts(url)) > 1:
            params.setdefault("target_session_attrs", "read-write")
        try:
            connection = dialect.connect(**params)
        except (dialect.loaded_dbapi.Error, UnicodeError) as error:
            raise refused(error, place(url) + remark, url.username, _secrets(url)) from error
        try:
            # Before SQLAlchemy asks its own questions.
            options = preferred(str(params.get("options", "")))
            record.info["local"] = self._set_up(connection, options)
        except BaseException:
            connection.close()
            raise
        return connection

    def _renew(self) -> str:
        """Read the user and the password again; return a remark if that fails.

        A running process can't change to another database: all that it knows is about this one.
        """
        if self._renewed is None:
            return ""
        try:
            fresh = make_url(self._renewed())
        except ShipperError as error:
            return f", by the URL that was read before: {error.message}"
        if _of_database(fresh) != _of_database(self._url):
            return ", by the URL that was read before: another database takes a reload"
        self._url = fresh
        return ""

    def _set_up(self, connection: Any, given: Mapping[str, str]) -> LocalSettings | None:
        """Set up a connection; return what each transaction has to set, if there is a pooler."""
        version = connection.info.server_version // 10_000
        # By statements and not by startup options, which a pooler refuses. Outside of a
        # transaction, because the role's timeout for a transaction can be shorter than two round
        # trips.
        connection.autocommit = True
        with connection.cursor() as cursor:
            idles = ("idle_in_transaction_session_timeout", f"{self._frozen * 1000:.0f}", 13)
            settings = [
                (name, given.get(name, value))
                for name, value, since in (*PINNED, idles)
                if version >= since
            ]
            cursor.execute("; ".join(f"SET {k} = {_literal(v)}" for k, v in settings))
            served_by, schemas, shown, everywhere = cursor.execute(_WHERE).fetchone()
            # A schema before pg_catalog could replace PostgreSQL's own functions and operators.
            path = [name for name in schemas if not name.startswith("pg_")]
            if not path and len(everywhere) == 1:  # no other outbox can be found or made
                path, shown = everywhere, everywhere[0]
            self._schema = self._schema or shown
            if shown != self._schema:
                # The search_path was changed since then; it can lead to another outbox.
                path = [self._schema]
            if path != schemas:
                cursor.execute(f"SET search_path = {', '.join(map(_quoted, path)) or 'pg_catalog'}")
            # Behind a pooler, the session's process number isn't one of the server. A pooler can
            # give the next transaction another process, which doesn't know the prepared statements,
            # nor what was set.
            is_pooled = connection.info.backend_pid != served_by
            if is_pooled:
                self._require_transactions(cursor)
        connection.autocommit = False
        if is_pooled:
            return _local(settings, path)
        connection.prepare_threshold = 1
        return None

    @staticmethod
    def _require_transactions(cursor: Any) -> None:
        """Raise SchemaError if a pooler gives each statement another process of the server."""
        try:
            cursor.execute("BEGIN")
            cursor.execute("COMMIT")
        except cursor.connection.OperationalError as error:
            if error.sqlstate != _NOT_POSSIBLE:
                raise
            raise SchemaError(_STATEMENT_MODE, _ANOTHER_MODE) from error


def open_server(
    url: URL, *, patience: float, renewed: Callable[[], str] | None, frozen: float
) -> Engine:
    """Return an engine for a server; `renewed` returns the URL again, before each connection.

    `patience` is in seconds: how long a third thread waits for a connection. The server ends a
    transaction of ours if nothing happens in it for `frozen` seconds.

    Raises ConfigError for an invalid URL, and if the driver isn't installed.
    """
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="READ COMMITTED",
            # The parameters of a failed statement can be payloads, and errors end up in logs.
            hide_parameters=True,
            # One connection is kept for ever (see `kept`); the other is for work that needs its
            # own.
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=1,
            pool_timeout=patience,
        )
        engine.dialect.create_connect_args(url)
    except ImportError:
        raise ConfigError(
            ["database.url: PostgreSQL needs psycopg, which is not installed"],
            with_extra("postgres"),
        ) from None
    except ArgumentError as error:
        raise ConfigError([f"database.url: {error}"]) from None
    connector = Connector(url, renewed, frozen)
    event.listen(engine, "do_connect", connector.connect)
    event.listen(engine, "begin", _begun)
    engine.update_execution_options(connector=connector)
    return engine


def _begun(connection: Connection) -> None:
    """Set in a transaction what a pooler may not have passed on; a single statement has none."""
    local: LocalSettings | None = connection.info["local"]
    driver: Any = connection.connection.driver_connection
    if local is not None and not driver.autocommit:
        connection.exec_driver_sql(local.plain)


def _local(settings: Sequence[tuple[str, str]], path: Sequence[str]) -> LocalSettings:
    schemas = ", ".join(map(_quoted, path)) or "pg_catalog"
    plain = [f"SET LOCAL {name} = {_literal(value)}" for name, value in settings]
    calls = [
        f"pg_catalog.set_config('{name}', {_literal(value)}, true)"
        for name, value in (*settings, ("search_path", schemas))
    ]
    return LocalSettings(
        "; ".join([*plain, f"SET LOCAL search_path = {schemas}"]),
        f"SELECT {', '.join(calls)}".encode(),
    )


def hosts(url: URL) -> list[str]:
    """Return the hosts of a URL, each with its port if it has one; none for a local socket."""
    named = url.query.get("host", url.host or "")
    names = named.split(",") if isinstance(named, str) else list(named)
    given = url.query.get("port", str(url.port or ""))
    ports = given.split(",") if isinstance(given, str) else list(given)
    if len(ports) != len(names):
        ports = ports[:1] * len(names)
    return [_with_port(name, port) for name, port in zip(names, ports, strict=True) if name]


def place(url: URL) -> str:
    """Return the database and its hosts as a text, without user and password."""
    return f"{','.join(hosts(url)) or 'local'}/{url.database or ''}"


def _with_port(name: str, port: str) -> str:
    if not port:
        return name
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _of_database(url: URL) -> tuple[object, ...]:
    """Return the parts of a URL that name the database: not the user and the credentials."""
    rest = {
        name: value
        for name, value in url.query.items()
        if not name.startswith("ssl") and name not in {"user", "password", "passfile"}
    }
    return (url.host, url.port, url.database, rest)


def _secrets(url: URL) -> list[str]:
    """Return the parts of a URL that no message is allowed to show."""
    query = [value for name, value in url.query.items() if "password" in name]
    texts = [text for value in query for text in ([value] if isinstance(value, str) else value)]
    return [str(url.password), *texts] if url.password else texts


def _literal(value: str) -> str:
    quoted = value.replace("'", "''").replace("\\", "\\\\")
    return f"E'{quoted}'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
