"""PostgreSQL, as `store` asks for it; `Dialect` in `db.dialect` describes each member."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, overload

from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shipper.contract.validation import MAX_PAYLOAD_BYTES
from shipper.errors import SchemaError, ShipperError, UsageError
from shipper.store.db.postgres import failures, opening
from shipper.store.db.postgres.catalog import OURS
from shipper.store.db.postgres.counters import COUNTERS
from shipper.store.db.postgres.fence import (
    BOOKS,
    GIVEN_OF_SAME,
    HIGHEST,
    LAST,
    NAMED,
    SETTLED,
    STARTED,
    TOP,
    PostgresFence,
)
from shipper.store.db.postgres.pipeline import PIPELINES, Pipelines
from shipper.store.db.postgres.safeguard import ServerSafeguard

_CANCEL_WITHIN: Final = 1.0
# Of the daemon with this token; else of all that there were.
_SETTLED = (
    "coalesce((SELECT settled FROM shipper_turn WHERE token = :token ORDER BY turn DESC LIMIT 1),"
    f" {SETTLED})"
)
_LANE = 'hashtextextended((CAST(:to AS text) || chr(31) || ordering_key) COLLATE "C", 0)'
_COLUMNS = "('event_id', 'maybe_received', 'delivery_number')"
_LOCK_LEASE = text("SELECT 1 FROM shipper_lease WHERE name = 'outbox' FOR UPDATE")
_LOCK_DAEMONS = text("SELECT 1 FROM shipper_daemon ORDER BY token FOR UPDATE")
# Two upgrades at once would both find no table, and both create it.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('shipper db upgrade', 0))"


class PostgresDialect:
    """A PostgreSQL server, reached by psycopg."""

    name = "postgresql"
    title = "PostgreSQL"
    url_form = opening.FORM

    is_file = False
    may_hold_back = True
    may_stall = True
    keeps_dead_rows = True
    ddl_is_transactional = True
    builds_indexes_beside = True
    upgrades_by_itself = False
    takes_names = False

    payload = f"substr(convert_to(payload::text, 'UTF8'), 1, {MAX_PAYLOAD_BYTES + 1})"
    whole_payload = "convert_to(payload::text, 'UTF8')"
    payload_size = "octet_length(payload::text)"
    new_payload = "CAST(:payload AS json)"
    event_id = "event_id"
    ordering_key = "ordering_key"
    raw = "text"
    cause = "split_part(coalesce(last_error, ''), ':', 1)"
    binary_order = ' COLLATE "C"'

    # The destination is compared in a form that fits only the index of the lanes. Otherwise, before
    # the first ANALYZE, the planner takes the other index and goes through all pending rows.
    same_key = (
        "lane = hashtextextended(:destination || chr(31) || :key, 0) AND ordering_key = :key"
        " AND destination IS NOT DISTINCT FROM :destination"
    )
    # In the form of the index `shipper_hold_key`.
    its_hold = (
        "{hold}.destination = {row}.destination"
        " AND md5({hold}.ordering_key) = md5({row}.ordering_key)"
    )
    hold_of = "destination = :destination AND md5(ordering_key) = md5(CAST(:key AS text))"
    along = ""
    by_id = ""
    ids = "(SELECT unnest(CAST(:ids AS bigint[])))"
    relane = f", lane = {_LANE}, slot = coalesce({_LANE} & 255, slot)"
    true = "true"

    time = "to_timestamp(CAST(:{0} AS double precision))"
    moment = "CAST(extract(epoch FROM {0}) AS double precision)"
    seconds = moment
    stamp = "CAST({0} AS timestamptz)"
    before_all = "-infinity"

    made = (
        "SELECT CAST(CAST('shipper_outbox' AS regclass) AS oid), coalesce(CAST(seq AS oid), 0),"
        f" coalesce(pg_relation_filenode(seq), 0) FROM (SELECT {NAMED} AS seq OFFSET 0) AS named"
    )
    last = LAST
    top = TOP
    # It doesn't depend on the snapshot, so it can only be higher than the ids that the snapshot
    # sees.
    given = f"SELECT pg_sequence_last_value({NAMED})"
    # One statement, so all values are of one snapshot. Only the last value is read after the
    # snapshot, so it can't be too low. pg_snapshot_xmax alone would be too low: it is one above the
    # last transaction that has *ended*, and a younger transaction can be running. age() counts from
    # it to the next number that no transaction has.
    pulse = (
        f"SELECT generation, epoch, {GIVEN_OF_SAME}, coalesce({_SETTLED}, 0),"
        f" coalesce(({HIGHEST}), 0),"
        " CAST(CAST(pg_snapshot_xmin(s) AS text) AS bigint),"
        " CAST(CAST(pg_snapshot_xmax(s) AS text) AS bigint) + age(CAST(pg_snapshot_xmax(s) AS xid))"
        f", {STARTED}"
        " FROM pg_current_snapshot() AS s LEFT JOIN shipper_lease ON name = 'outbox'"
    )
    started = STARTED
    shape = (
        "SELECT concat(pg_relation_filenode('shipper_outbox'),"
        " (SELECT string_agg(concat(tgname, tgenabled), ' ' ORDER BY tgname) FROM pg_trigger"
        " WHERE tgrelid = CAST('shipper_outbox' AS regclass) AND NOT tgisinternal),"
        " (SELECT count(*) FROM pg_index"
        " WHERE indrelid = CAST('shipper_outbox' AS regclass) AND indisvalid),"
        " (SELECT string_agg(CAST(oid AS text), ' ' ORDER BY oid) FROM pg_class"
        f" WHERE {OURS} AND row_security_active(oid)))"
    )
    books = BOOKS
    moves_shards = True
    of_claim = "token"
    counters = COUNTERS
    fence = PostgresFence()

    has_table = "SELECT to_regclass(:name) IS NOT NULL"
    is_ours = (
        "SELECT count(*) = 3 FROM pg_attribute WHERE attrelid = to_regclass('shipper_outbox')"
        f" AND attname IN {_COLUMNS}"
    )
    parts = (
        "SELECT tgname AS name, CAST(tgenabled AS text) AS state FROM pg_trigger"
        " WHERE tgrelid = CAST('shipper_outbox' AS regclass) AND NOT tgisinternal"
        " UNION ALL SELECT i.relname, CASE WHEN indisvalid THEN 'valid' ELSE 'invalid' END"
        " FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid"
        " JOIN pg_class AS t ON t.oid = indrelid WHERE t.relnamespace ="
        " (SELECT relnamespace FROM pg_class WHERE oid = CAST('shipper_outbox' AS regclass))"
    )
    of_outbox = " ON shipper_outbox"

    # -- values -----------------------------------------------------------------------------------

    def bind_ids(self, rows: list[int]) -> list[int] | str:
        """Return the list: the driver makes an array of it."""
        return rows

    def bind_time(self, wall: float | None) -> float | str | None:
        """Return the number."""
        return wall

    def bind_key(self, key: str) -> str | bytes:
        """Return the text: the server stores UTF-8 only."""
        return key

    def bind_text(self, value: str) -> str | bytes:
        """Return the text; raises UsageError if it has a NUL or isn't UTF-8."""
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise UsageError("PostgreSQL can't hold such a text: it has a NUL or isn't UTF-8")
        return value

    def bind_payload(self, payload: bytes) -> str | bytes:
        """Return the text."""
        return payload.decode()

    @overload
    def text(self, value: None) -> None: ...

    @overload
    def text(self, value: str | bytes) -> str: ...

    def text(self, value: str | bytes | None) -> str | None:
        """Return the text as the driver has read it."""
        return value.decode() if isinstance(value, bytes) else value

    def wall(self, value: str | float | None) -> float | None:
        """Return the number."""
        return None if value is None else float(value)

    # -- connections ------------------------------------------------------------------------------

    def open_engine(
        self,
        url: URL,
        *,
        patience: float,
        create: bool,  # noqa: ARG002
        notify: Callable[[str], None],  # noqa: ARG002
        renewed: Callable[[], str] | None,
        frozen: float,
    ) -> Engine:
        """Open the server's database; shipper never creates one."""
        return opening.open_server(url, patience=patience, renewed=renewed, frozen=frozen)

    def safeguard(self, engine: Engine) -> ServerSafeguard:  # noqa: ARG002
        """Check whether the connection is alive."""
        return ServerSafeguard()

    def describe(self, engine: Engine) -> str:
        """Return the name of the database and its hosts."""
        connector: opening.Connector = engine.get_execution_options()["connector"]
        return f"postgresql {connector.place}"

    def move(self, engine: Engine, url: str) -> None:
        """Connect to the other address from now on."""
        connector: opening.Connector = engine.get_execution_options()["connector"]
        connector.move(url)

    def prepare(
        self, connection: Connection, mode: Literal["write", "read", "glance", "ready"]
    ) -> None:
        """Let single statements run without a transaction: that saves two round trips."""
        driver: Any = connection.connection.driver_connection
        driver.autocommit = mode == "glance"

    def interrupt(self, driver: Any) -> None:
        """Ask the server to cancel the statement."""
        driver.cancel_safe(timeout=_CANCEL_WITHIN)

    def pipelines(self, engine: Engine) -> Pipelines | None:
        """Return libpq's pipeline mode, which it has from version 14 on."""
        dbapi: Any = engine.dialect.loaded_dbapi
        return PIPELINES if dbapi.Pipeline.is_supported() else None

    def hang_up(self, driver: Any) -> None:
        """Close the connection below the driver."""
        with socket.socket(fileno=os.dup(driver.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    # -- within a transaction ---------------------------------------------------------------------

    def one_view(self, tx: Connection) -> None:
        """Take one snapshot for the whole transaction."""
        tx.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def as_long_as_it_takes(self, tx: Connection) -> None:
        """Set `statement_timeout` for this transaction only."""
        tx.exec_driver_sql("SET LOCAL statement_timeout = 0")

    def lock_lease(self, tx: Connection) -> None:
        """Lock the row."""
        tx.execute(_LOCK_LEASE)

    def lock_daemons(self, tx: Connection) -> None:
        """Lock the row, then those of all daemons: each turn locks the row of its own first."""
        tx.execute(_LOCK_LEASE)
        tx.execute(_LOCK_DAEMONS)

    def one_upgrade_at_a_time(self, tx: Connection) -> None:
        """Take an advisory lock."""
        tx.exec_driver_sql(_ONE_AT_A_TIME)

    def refuse_encoding(self, tx: Connection) -> None:
        """Raise SchemaError for a database in another encoding than UTF8."""
        encoding = tx.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise SchemaError(
                f"the database is encoded in {encoding}; an outbox needs UTF8",
                "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and pg_dump it into that",
            )

    # -- failures ---------------------------------------------------------------------------------

    def is_failure(self, error: object) -> bool:
        """Judge by the driver's attribute."""
        return failures.is_failure(error)

    def is_counter(self, error: object) -> bool:
        """Judge by the CHECK constraint."""
        return failures.is_counter(error)

    def is_locked(self, error: object) -> bool:
        """Return whether a statement didn't get a lock in time."""
        return failures.is_locked(error)

    def is_met(self, error: object) -> bool:
        """Return whether a statement didn't get a lock in time, or there was a deadlock."""
        return failures.is_met(error)

    def lockers(self, tx: Connection) -> list[str]:
        """Ask the server's list of locks."""
        return failures.lockers(tx)

    def translate(self, error: DBAPIError, file: Path | None) -> ShipperError | None:  # noqa: ARG002
        """Judge by the SQLSTATE."""
        return failures.translate(error)

    def named(self, error: object) -> str:
        """Return the SQLSTATE and the names of constraint and table."""
        return failures.named(error)
