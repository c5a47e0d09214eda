"""What `status` reads: the state of every destination, and what holds back commits.

It decides what is reported of a destination that only rows name, or that is held. It reports what
was recorded and what the rows say, nothing else. Reads only. It must never scan the history:
events that ended are counted in `shipper_destination`, pending ones by their partial index.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from shipper.policy.state import State
from shipper.store.db.dialect import POSTGRES, Dialect, dialect_of, pick
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.report.daemon_rows import joined
from shipper.store.report.first_pending import first_pending
from shipper.wording.quantities import lasting

HELD = "held by an operator"
COUNTED = 10_000
NEVER_TRIED = "never tried: nothing was delivered or refused there yet"

_LOOKS_WELL = frozenset({State.READY.value, State.RAMPING.value})


@dataclass(frozen=True, slots=True)
class DestinationReport:
    """A destination as `status` shows it. Times are seconds since 1970; None if there is none."""

    name: str
    state: str
    reason: str | None
    since: float | None
    next_try_at: float | None
    pending: int
    delivered: int
    dead: int
    discarded: int
    purged: int
    held_keys: int
    oldest_pending_seconds: float | None
    failures: int = 0
    """Tries that failed since the last accepted one."""
    last_error: str | None = None
    said_by: str | None = None
    """The daemon that sees it in this state, if others see it in another one (PostgreSQL)."""

    @property
    def is_untried(self) -> bool:
        """Return whether it only seems ready, because nothing was ever sent there."""
        tried = self.rows - self.pending or self.purged or self.failures
        return self.state == State.READY.value and self.reason is None and not tried

    @property
    def is_failing(self) -> bool:
        """Return whether its state is a good one, but its last try failed."""
        return bool(self.failures) and self.looks_well

    @property
    def looks_well(self) -> bool:
        """Return whether its state is one in which events are sent."""
        return self.state in _LOOKS_WELL

    @property
    def rows(self) -> int:
        """Return how many of its events lie in the outbox."""
        return self.pending + self.delivered + self.dead + self.discarded

    def has_events(self) -> bool:
        """Return whether the outbox has, or had, an event for it."""
        return bool(self.rows or self.purged)


@dataclass(frozen=True, slots=True)
class Blocker:
    """An open transaction that has written: later events wait for its end (PostgreSQL).

    `pid` is None for a prepared transaction. `seconds` is its age, None if the role can't see that.
    `database` may be another database of the server: the order of commits is the server's.
    """

    pid: int | None
    application: str
    seconds: float | None
    database: str | None = None

    def __str__(self) -> str:
        """Return the transaction's name, with its process and age."""
        process = f"process {self.pid}" if self.pid is not None else "no process"
        age = f", open for {lasting(self.seconds)}" if self.seconds is not None else ""
        return f"{self.application or 'unnamed'} ({process}{age})"


def unknown(name: str) -> str:
    """Return why nothing is sent to a destination that only rows name."""
    return f"the configuration has no [destinations.{name}]"


def destination_report(
    engine: Engine, configured: Collection[str], now: float, *, patient: bool = False
) -> list[DestinationReport]:
    """Return every destination that is configured or that a row names, in the order of names.

    With `patient`, counting the pending events may take longer than the usual timeout.
    """
    dialect = dialect_of(engine)
    sql = _StatusStatements(dialect)
    with snapshot(engine) as tx:
        if patient:
            dialect.as_long_as_it_takes(tx)
        recorded = {dialect.text(row.name): row for row in tx.execute(sql.recorded)}
        said_by = _said_by(tx, recorded)
        names = {*configured, *recorded, *_pending_names(tx, dialect, sql)}
        reports = [
            _report(tx, dialect, sql, name, recorded.get(name), now) for name in sorted(names)
        ]
    return [
        replace(report, said_by=said_by.get(report.name))
        if report.name in configured
        else _unconfigured(report)
        for report in reports
        if report.name in configured or report.has_events()
    ]


@dataclass(frozen=True, slots=True)
class Stray:
    """A destination that rows name but that isn't known; `key` is its name as it was written.

    `pending` counts the events that wait for it, up to `COUNTED`.
    """

    key: str
    name: str
    pending: int


def strays(engine: Engine, known: Collection[str], most: int) -> list[Stray]:
    """Return at most `most` destinations that pending rows name and that aren't `known`."""
    dialect = dialect_of(engine)
    sql = _StatusStatements(dialect)
    with snapshot(engine) as tx:
        names = _pending_names(tx, dialect, sql)
        found = list(islice((name for name in names if name not in known), most))
        return [
            Stray(
                name,
                shown(name.encode("utf-8", "surrogateescape")),
                tx.execute(sql.some_pending, {"name": dialect.bind_key(name)}).scalar_one(),
            )
            for name in found
        ]


def commit_blockers(engine: Engine) -> list[Blocker]:
    """Return the open transactions that the newest event waits for, the oldest first.

    Empty if it waits for none, and on SQLite, which has one writer at a time.
    """
    if not dialect_of(engine).may_hold_back:
        return []
    with snapshot(engine) as tx:
        newest = tx.execute(_NEWEST).scalar()
        return [] if newest is None else blockers_of(tx, newest)


def open_transactions(engine: Engine) -> list[Blocker]:
    """Return every open transaction that has written, and every prepared one, the oldest first."""
    if not dialect_of(engine).may_hold_back:
        return []
    with snapshot(engine) as tx:
        return [Blocker(*found) for found in tx.execute(pick(dialect_of(tx), postgresql=_BLOCKERS))]


def blockers_of(tx: Connection, row: int) -> list[Blocker]:
    """Return the open transactions that a pending event on Postgres waits for, the oldest first.

    The number of the event's own transaction isn't enough: a transaction that began before the
    event was written may have taken a smaller id.
    """
    event = tx.execute(pick(dialect_of(tx), postgresql=_FENCE), {"id": row}).one_or_none()
    if event is None:
        return []
    # Below the recorded watermark an event waits for none. That also holds for restored rows, whose
    # transaction numbers are another server's.
    found = [Blocker(*found) for found in tx.execute(pick(dialect_of(tx), postgresql=_BLOCKERS))]
    return [b for b in found if event.above or (b.seconds is not None and b.seconds >= event.age)]


def _said_by(tx: Connection, recorded: Mapping[str, Row[Any]]) -> dict[str, str]:
    """Return the daemon whose view is reported, for the destinations that daemons see otherwise."""
    tokens = {name: row.seen_by for name, row in recorded.items() if row.seen_by and not row.held}
    if not tokens:
        return {}
    daemons = {daemon.token: str(daemon) for daemon in joined(tx)}
    return {name: daemons.get(token, "another daemon") for name, token in tokens.items()}


def _pending_names(tx: Connection, dialect: Dialect, sql: "_StatusStatements") -> Iterator[str]:
    """Yield the destinations that pending rows name, each found by one step in the index."""
    name = ""
    while (
        found := tx.execute(sql.next_name, {"last": dialect.bind_key(name)}).scalar()
    ) is not None:
        name = dialect.text(found)
        yield name


def _report(
    tx: Connection,
    dialect: Dialect,
    sql: "_StatusStatements",
    name: str,
    row: Row[Any] | None,
    now: float,
) -> DestinationReport:
    values = {"name": dialect.bind_key(name)}
    oldest = dialect.wall(tx.execute(sql.oldest, values).scalar())
    report = DestinationReport(
        name=name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        state=State.READY.value,
        reason=None,
        since=None,
        next_try_at=None,
        pending=tx.execute(sql.pending, values).scalar_one(),
        delivered=0,
        dead=0,
        discarded=0,
        purged=0,
        held_keys=tx.execute(sql.held_keys, values).scalar_one(),
        oldest_pending_seconds=None if oldest is None else max(0.0, now - oldest),
    )
    return report if row is None else _with_recorded(report, dialect, row)


def _with_recorded(report: DestinationReport, dialect: Dialect, row: Row[Any]) -> DestinationReport:
    held = bool(row.held)
    return replace(
        report,
        state=State.HELD.value if held else row.state,
        reason=HELD if held else row.reason,
        since=dialect.wall(row.since),
        next_try_at=None if held else dialect.wall(row.next_try_at),
        delivered=row.delivered,
        dead=row.dead,
        discarded=row.discarded,
        purged=row.purged,
        failures=row.failures,
        last_error=row.last_error,
    )


def _unconfigured(report: DestinationReport) -> DestinationReport:
    return replace(
        report,
        state=State.PAUSED.value,
        reason=unknown(report.name),
        since=None,
        next_try_at=None,
    )


class _StatusStatements:
    """The statements of this module that differ by dialect."""

    def __init__(self, dialect: Dialect) -> None:
        since, next_try_at, created_at = map(
            dialect.moment.format, ("since", "next_try_at", "created_at")
        )
        of_name = "destination = CAST(:name AS text)"
        seen_by = pick(dialect, sqlite="NULL", postgresql="seen_by")
        pending = f"FROM shipper_outbox WHERE status = 'pending' AND {of_name}"
        self.recorded = text(
            f"SELECT {written(dialect, 'name')} AS name, state, reason, held, {since} AS since,"
            f" {next_try_at} AS next_try_at, delivered, dead, discarded, purged,"
            f" failures, last_error, {seen_by} AS seen_by FROM {dialect.counters}"
        )
        self.held_keys = text(f"SELECT count(*) FROM shipper_hold WHERE {of_name}")
        self.pending = text(f"SELECT count(*) {pending}")
        self.some_pending = text(
            f"SELECT count(*) FROM (SELECT 1 {pending} LIMIT {COUNTED}) AS waiting"
        )
        self.oldest = text(first_pending(dialect, created_at))
        self.next_name = text(
            f"SELECT {written(dialect, 'min(destination)')} FROM shipper_outbox"
            " WHERE status = 'pending' AND destination > CAST(:last AS text)"
        )


_NEWEST = text("SELECT max(id) FROM shipper_outbox")
_FENCE = text(
    "SELECT tx >= pg_snapshot_xmin(pg_current_snapshot())"
    " AND tx < pg_snapshot_xmax(pg_current_snapshot()) AS above,"
    " CAST(extract(epoch FROM clock_timestamp() - created_at) AS double precision) AS age"
    " FROM shipper_outbox WHERE id = :id AND status = 'pending'"
    f" AND id > (SELECT settled FROM {POSTGRES.books})"
)
# Every role can see these columns; only the age of other roles' transactions needs a privilege.
_BLOCKERS = text(
    "SELECT pid, application_name AS application, CAST(extract(epoch FROM"
    " clock_timestamp() - xact_start) AS double precision) AS age, datname AS database"
    " FROM pg_stat_activity"
    " WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
    # A commit that waits for a standby is reported elsewhere: ending it would only hide that.
    " AND wait_event IS DISTINCT FROM 'SyncRep'"
    " UNION ALL SELECT NULL, 'prepared transaction ' || gid, CAST(extract(epoch FROM"
    " clock_timestamp() - prepared) AS double precision), database FROM pg_prepared_xacts"
    " ORDER BY age DESC NULLS LAST"
)
