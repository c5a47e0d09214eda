"""SQLite, as `store` asks for it; `Dialect` in `db.dialect` describes each member."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, overload

import orjson
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from shipper.clock import iso, parse_iso
from shipper.contract.validation import MAX_PAYLOAD_BYTES
from shipper.errors import ShipperError
from shipper.store.db.sqlite import failures, header, opening, write_lock
from shipper.store.db.sqlite.fence import BOOKS, TOP, SqliteFence
from shipper.store.db.sqlite.safeguard import FileSafeguard

_OF_KEY = "destination = :destination AND ordering_key = CAST(:key AS TEXT)"
_COLUMNS = "('event_id', 'maybe_received', 'delivery_number')"


class SqliteDialect:
    """An SQLite file. Texts are read as bytes: Python refuses a batch with one invalid UTF-8."""

    name = "sqlite"
    title = "SQLite"
    url_form = opening.FORM

    is_file = True
    may_hold_back = False
    may_stall = False
    keeps_dead_rows = False
    ddl_is_transactional = True
    builds_indexes_beside = False
    upgrades_by_itself = True
    takes_names = True

    payload = f"substr(CAST(payload AS BLOB), 1, {MAX_PAYLOAD_BYTES + 1})"
    whole_payload = "CAST(payload AS BLOB)"
    payload_size = "length(CAST(payload AS BLOB))"
    new_payload = "CAST(:payload AS TEXT)"
    event_id = "CAST(event_id AS BLOB)"
    ordering_key = "CAST(ordering_key AS BLOB)"
    raw = "BLOB"
    cause = "substr(coalesce(last_error, ''), 1, instr(coalesce(last_error, '') || ':', ':') - 1)"
    binary_order = ""

    same_key = _OF_KEY
    its_hold = "{hold}.destination = {row}.destination AND {hold}.ordering_key = {row}.ordering_key"
    hold_of = _OF_KEY
    # The statement names the index. Otherwise SQLite, without statistics, goes through all pending
    # rows to read a lane, and with old statistics also to read events of given ids.
    along = " INDEXED BY shipper_outbox_{0}"
    by_id = " NOT INDEXED"  # only the rowid
    ids = "(SELECT value FROM json_each(:ids))"
    relane = ""
    true = "1"

    time = ":{0}"
    moment = "{0}"
    seconds = "(julianday({0}) - 2440587.5) * 86400.0"
    stamp = "{0}"
    before_all = ""

    made = "SELECT 0, 0, 0"
    last = TOP
    top = TOP
    given = "SELECT seq FROM sqlite_sequence WHERE name = 'shipper_outbox'"
    pulse = f"SELECT generation, {TOP} FROM shipper_lease WHERE name = 'outbox'"
    started = "0"
    shape = "PRAGMA schema_version"
    books = BOOKS
    moves_shards = False
    of_claim = "0"
    counters = "shipper_destination"
    fence = SqliteFence()

    has_table = "SELECT EXISTS (SELECT * FROM pragma_table_info(:name))"
    is_ours = (
        f"SELECT count(*) = 3 FROM pragma_table_info('shipper_outbox') WHERE name IN {_COLUMNS}"
    )
    parts = "SELECT name, 'valid' AS state FROM sqlite_master WHERE type IN ('trigger', 'index')"
    of_outbox = ""

    # -- values -----------------------------------------------------------------------------------

    def bind_ids(self, rows: list[int]) -> list[int] | str:
        """Return them as a JSON array."""
        return orjson.dumps(rows).decode()

    def bind_time(self, wall: float | None) -> float | str | None:
        """Return a text that sorts as times do."""
        return None if wall is None else iso(wall)

    def bind_key(self, key: str) -> str | bytes:
        """Return the bytes."""
        return key.encode("utf-8", "surrogateescape")

    def bind_text(self, value: str) -> str | bytes:
        """Return the bytes: a TEXT column holds any."""
        return value.encode("utf-8", "surrogateescape")

    def bind_payload(self, payload: bytes) -> str | bytes:
        """Return the bytes."""
        return payload

    @overload
    def text(self, value: None) -> None: ...

    @overload
    def text(self, value: str | bytes) -> str: ...

    def text(self, value: str | bytes | None) -> str | None:
        """Return str; bytes that aren't UTF-8 survive as surrogate escapes."""
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value

    def wall(self, value: str | float | None) -> float | None:
        """Return seconds since 1970; 0 for a text that isn't a time."""
        if value is None:
            return None
        try:
            return parse_iso(value) if isinstance(value, str) else float(value)
        except ValueError:
            return 0.0  # written by hand (SQL); to read it as due at once is safe

    # -- connections ------------------------------------------------------------------------------

    def open_engine(
        self,
        url: URL,
        *,
        patience: float,
        create: bool,
        notify: Callable[[str], None],
        renewed: Callable[[], str] | None,  # noqa: ARG002
        frozen: float,  # noqa: ARG002
    ) -> Engine:
        """Open the file; no password changes, and no server ends a transaction."""
        return opening.open_file(url, patience=patience, create=create, notify=notify)

    def safeguard(self, engine: Engine) -> FileSafeguard:
        """Check the file, and its -wal and -shm."""
        options = engine.get_execution_options()
        return FileSafeguard(options["file"], options["notify"])

    def describe(self, engine: Engine) -> str:  # noqa: ARG002
        """Return name and version of the library."""
        return " ".join(opening.sqlite_library()[:2])

    def move(self, engine: Engine, url: str) -> None:
        """Do nothing: another path is another outbox."""

    def prepare(
        self, connection: Connection, mode: Literal["write", "read", "glance", "ready"]
    ) -> None:
        """Set how long statements wait; before the first write, make sure of WAL and UTF-8."""
        options = connection.get_execution_options()
        driver = connection.connection.driver_connection
        if mode == "write" and options.get("file") is not None and not connection.info.get("ready"):
            ready = header.make_ready(driver, options["file"], options["notify"])
            connection.info["ready"] = ready
        write_lock.be_patient(driver, write_lock.milliseconds(mode, options["patience"]))

    def pipelines(self, engine: Engine) -> None:
        """Return None: each call of the library returns with its answer."""

    def interrupt(self, driver: Any) -> None:
        """Interrupt the statement."""
        driver.interrupt()

    def hang_up(self, driver: Any) -> None:
        """Do nothing: a file has no connection to end."""

    # -- within a transaction ---------------------------------------------------------------------

    def one_view(self, tx: Connection) -> None:
        """Do nothing: each transaction has one view."""

    def as_long_as_it_takes(self, tx: Connection) -> None:
        """Do nothing: statements have no time limit."""

    def lock_lease(self, tx: Connection) -> None:
        """Do nothing: a file has one writer at a time."""

    def lock_daemons(self, tx: Connection) -> None:
        """Do nothing: a file has one writer at a time."""

    def one_upgrade_at_a_time(self, tx: Connection) -> None:
        """Do nothing: the write lock does that."""

    def refuse_encoding(self, tx: Connection) -> None:
        """Raise SchemaError for a file in UTF-16."""
        header.refuse_encoding(str(tx.exec_driver_sql("PRAGMA encoding").scalar()))

    # -- failures ---------------------------------------------------------------------------------

    def is_failure(self, error: object) -> bool:
        """Judge by the driver's attribute."""
        return failures.is_failure(error)

    def is_counter(self, error: object) -> bool:
        """Judge by the CHECK constraint."""
        return failures.is_counter(error)

    def is_locked(self, error: object) -> bool:  # noqa: ARG002
        """Return False: `translate` itself names the process that holds the write lock."""
        return False

    def is_met(self, error: object) -> bool:  # noqa: ARG002
        """Return False: the transaction has the write lock from the start."""
        return False

    def lockers(self, tx: Connection) -> list[str]:  # noqa: ARG002
        """Return none, see `is_locked`."""
        return []

    def translate(self, error: DBAPIError, file: Path | None) -> ShipperError | None:
        """Judge by the result code."""
        return failures.translate(error.orig, file)

    def named(self, error: object) -> str:
        """Return the name of the result code."""
        return failures.named(error)
