"""What `store` asks of a database: its fragments of SQL, its conversions, and what it can do.

A statement that reads the same on every database is written once, in its own room, around the
fragments of a `Dialect`. A statement that differs as a whole between databases stays in its room
too, as the choices of `pick`. No module compares the names of databases.

Each database has one folder here (`sqlite`, `postgres`) with a class that has all members of
`Dialect`, and one line in `DIALECTS`. A folder imports nothing of this package but its own modules.
To add a database, write its folder and its line, then the migrations' DDL (`migrations/ddl`), and a
choice at each `pick`: a `pick` without one raises `LookupError` and names the database.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from shipper.errors import ConfigError, ShipperError
from shipper.store.db.fence import Fence
from shipper.store.db.postgres.dialect import PostgresDialect
from shipper.store.db.postgres.pipeline import Pipelines
from shipper.store.db.safeguard import Safeguard
from shipper.store.db.sqlite.dialect import SqliteDialect

Mode: TypeAlias = Literal["write", "read", "glance", "ready"]
T = TypeVar("T")

# The greatest id that a row can have.
ALL_IDS = 2**63 - 1


class Dialect(Protocol):
    """One database: its names, what it can do, its fragments of SQL, and its conversions."""

    name: str
    """SQLAlchemy's name of it; also the end of the names of its DDL files."""
    title: str
    """Its name for a person."""
    url_form: str
    """An example of its URL."""

    # -- what it can do ---------------------------------------------------------------------------

    is_file: bool
    """Whether the outbox is a file on this machine: a lock of the kernel decides which process
    ships, there is one writer at a time, and the clock of the database is the daemon's."""
    may_hold_back: bool
    """Whether an id can become visible after a greater id. If so, `pulse` reads the watermark, and
    the daemon reports open transactions that hold events back."""
    may_stall: bool
    """Whether a COMMIT can wait for a standby for ever."""
    keeps_dead_rows: bool
    """Whether an index still leads to deleted rows while a snapshot is open. If so, a look at a
    lane has to begin at a floor; see `drain.floors`."""
    ddl_is_transactional: bool
    """Whether a migration that fails is undone as a whole. If not, it must be safe to run each step
    of a migration twice."""
    builds_indexes_beside: bool
    """Whether an index can be built while the application writes."""
    upgrades_by_itself: bool
    """Whether the daemon itself brings an older outbox up to date when it starts."""
    takes_names: bool
    """Whether the driver itself reads parameters like `:name`."""

    # -- fragments: columns -----------------------------------------------------------------------

    payload: str
    """The payload as bytes, no more of it than one byte over the limit."""
    whole_payload: str
    """The payload as bytes, all of it."""
    payload_size: str
    """How many bytes the payload has."""
    new_payload: str
    """The parameter `payload` as the value of the column."""
    event_id: str
    ordering_key: str
    """A text of the application, in the form that `text` takes."""
    raw: str
    """The type to which a text is cast, so that it is read as it was written."""
    cause: str
    """The first word of the last error: dead letters are grouped by it."""
    binary_order: str
    """Behind the name of a text: makes it sort and compare by its bytes."""

    # -- fragments: conditions and row lookups ----------------------------------------------------

    same_key: str
    """A pending event is of the lane (`destination`, `key`)."""
    its_hold: str
    """A row of holds `{hold}` is of the lane of an event `{row}`."""
    hold_of: str
    """A row of holds is of the lane (`destination`, `key`)."""
    along: str
    """Behind the table's name: take the index of the status `{0}`."""
    by_id: str
    """Behind the table's name: take the primary key."""
    ids: str
    """The ids of the parameter `ids`, see `bind_ids`, as a subquery."""
    relane: str
    """In an UPDATE: the columns that depend on the destination `to`; "" if there are none."""
    true: str
    """A condition that is always true, as a column."""

    # -- fragments: times -------------------------------------------------------------------------

    time: str
    """The parameter `{0}` as a time, see `bind_time`."""
    moment: str
    """The time in column `{0}`, in the form that `wall` takes."""
    seconds: str
    """The time in column `{0}` as a number of seconds since 1970."""
    stamp: str
    """The text `{0}`, which was read from a column of times, converted to a time again."""
    before_all: str
    """A stamp that sorts before all times."""

    # -- fragments: numbers of the outbox ---------------------------------------------------------
    # If a tool has emptied, restored or replaced the table, what the daemon knows of its ids is
    # wrong.

    made: str
    """Reads which table and which sequence exist, as the parameters of `last`."""
    last: str
    """The highest id given so far; -1 if the table or the sequence isn't that of `made`."""
    top: str
    """The highest id given so far, without parameters, for the first question."""
    given: str
    """Reads how many ids were given; NULL if none."""
    pulse: str
    """Reads what has changed since the last look; see `drain.look`."""
    started: str
    """A number that shows which server this is, and whether it takes writes; 0 for a file."""
    shape: str
    """Reads a text that changes if a trigger, an index or the table's file changes."""
    books: str
    """What the last turns have given, as the table of a FROM."""
    moves_shards: bool
    """Whether several daemons can share an outbox."""
    of_claim: str
    """The token of the daemon that made a claim, as a column of its row."""
    counters: str
    """The counters of the destinations, with what turns have counted, as the table of a FROM."""

    @property
    def fence(self) -> Fence:
        """The statements of a turn."""

    # -- fragments: the schema --------------------------------------------------------------------

    has_table: str
    """Reads whether a table `name` exists."""
    is_ours: str
    """Reads whether `shipper_outbox` has the columns that it has had in each revision."""
    parts: str
    """Reads name and state of each trigger and index: D, O, A, valid, invalid."""
    of_outbox: str
    """Behind a trigger's name in DROP TRIGGER: its table, if the database needs that."""

    # -- values in --------------------------------------------------------------------------------

    def bind_ids(self, rows: list[int]) -> list[int] | str:
        """Return a list of ids as the one parameter of `ids`."""

    def bind_time(self, wall: float | None) -> float | str | None:
        """Return a wall time (seconds since 1970) as the parameter of `time`."""

    def bind_key(self, key: str) -> str | bytes:
        """Return an ordering key as the parameter of `same_key`, byte for byte as it was read."""

    def bind_text(self, value: str) -> str | bytes:
        """Return a text that an operator asks for, as a parameter that is cast to text.

        Raises UsageError for a text that the database can't hold, so no row can have it.
        """

    def bind_payload(self, payload: bytes) -> str | bytes:
        """Return a payload as the parameter of `new_payload`."""

    # -- values out -------------------------------------------------------------------------------

    @overload
    def text(self, value: None) -> None: ...

    @overload
    def text(self, value: str | bytes) -> str: ...

    def text(self, value: str | bytes | None) -> str | None:
        """Return a text column as str; bytes that aren't UTF-8 survive as surrogate escapes."""

    def wall(self, value: str | float | None) -> float | None:
        """Return a value that was read by `moment`, in seconds since 1970."""

    # -- connections ------------------------------------------------------------------------------

    def open_engine(
        self,
        url: URL,
        *,
        patience: float,
        create: bool,
        notify: Callable[[str], None],
        renewed: Callable[[], str] | None,
        frozen: float,
    ) -> Engine:
        """Return an engine whose connections are set up; see `engine.open_engine`."""

    def safeguard(self, engine: Engine) -> Safeguard:
        """Return the checks around the connection that this engine keeps."""

    def describe(self, engine: Engine) -> str:
        """Return the database and its library as a text, without user and password."""

    def move(self, engine: Engine, url: str) -> None:
        """Connect to another address from now on; see `engine.move`."""

    def prepare(self, connection: Connection, mode: Mode) -> None:
        """Set up a connection for transactions of another kind than before."""

    def pipelines(self, engine: Engine) -> Pipelines | None:
        """Return what sends statements without waiting; None if each waits for its answer."""

    def interrupt(self, driver: Any) -> None:
        """Make the driver's running statement fail, from another thread."""

    def hang_up(self, driver: Any) -> None:
        """End the driver's connection, from another thread; a file has none to end."""

    # -- within a transaction ---------------------------------------------------------------------

    def one_view(self, tx: Connection) -> None:
        """Let all statements of a reading transaction see the same data."""

    def as_long_as_it_takes(self, tx: Connection) -> None:
        """Lift the time limit for statements until the transaction ends."""

    def lock_lease(self, tx: Connection) -> None:
        """Lock the lease until the transaction ends: no daemon joins, and no shard moves meanwhile.

        Transactions that change events or counters wait for each other here, but not for turns.
        """

    def lock_daemons(self, tx: Connection) -> None:
        """Lock the lease, and keep all daemons from writing: nothing is claimed meanwhile.

        It waits for what each daemon is writing. So only changes of what is or can be claimed need
        it.
        """

    def one_upgrade_at_a_time(self, tx: Connection) -> None:
        """Wait until no other process upgrades this outbox."""

    def refuse_encoding(self, tx: Connection) -> None:
        """Raise SchemaError unless the database stores texts in UTF-8."""

    # -- failures ---------------------------------------------------------------------------------

    def is_failure(self, error: object) -> bool:
        """Return whether an error is of this database's driver."""

    def is_counter(self, error: object) -> bool:
        """Return whether the failure is a counter of `shipper_destination` below 0."""

    def is_locked(self, error: object) -> bool:
        """Return whether another process holds a lock, and `lockers` can name it."""

    def is_met(self, error: object) -> bool:
        """Return whether another transaction was in the way, and the same can be tried again."""

    def lockers(self, tx: Connection) -> list[str]:
        """Return the other processes that have locked one of shipper's tables, as texts."""

    def translate(self, error: DBAPIError, file: Path | None) -> ShipperError | None:
        """Return what a failure means; None if only a change of shipper's code helps."""

    def named(self, error: object) -> str:
        """Return the code of a failure as a text, "" if it has none; no values of a row."""


SQLITE = SqliteDialect()
POSTGRES = PostgresDialect()
DIALECTS: Mapping[str, Dialect] = {one.name: one for one in (SQLITE, POSTGRES)}
"""The databases that an outbox can be in, by SQLAlchemy's names."""
_ALSO = {"postgres": "postgresql"}


def named(name: str) -> Dialect:
    """Return the dialect of this name; raises ConfigError if shipper can't use the database."""
    found = DIALECTS.get(_ALSO.get(name, name))
    if found is None:
        titles = " or ".join(one.title for one in DIALECTS.values())
        forms = " or ".join(one.url_form for one in DIALECTS.values())
        raise ConfigError([f"database.url: must be {titles}"], f"write {forms}")
    return found


def dialect_of(database: Engine | Connection) -> Dialect:
    """Return the dialect of an engine or a connection."""
    return named(database.dialect.name)


def pick(dialect: Dialect, **choices: T) -> T:
    """Return the choice for this dialect; raises LookupError if there is none."""
    try:
        return choices[dialect.name]
    except KeyError:
        there = " and ".join(choices)
        raise LookupError(f"written for {there}, and not for {dialect.title}") from None
