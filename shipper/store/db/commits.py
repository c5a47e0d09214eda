"""Commits on PostgreSQL: those that wait for a standby, and those that events wait for.

While a synchronous standby is away, every COMMIT of the daemon and of the application waits for it:
no timeout ends that wait, and nothing fails. This module decides by the server's list of its
processes. The server shows processes of other roles only to a role with pg_read_all_stats. Reads
only.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from shipper.store.db.dialect import dialect_of, pick
from shipper.store.db.postgres.fence import BOOKS
from shipper.store.db.snapshot import snapshot
from shipper.wording.quantities import lasting, plural, several


@dataclass(frozen=True, slots=True)
class StalledCommits:
    """The commits that wait for a standby: how many, how long (seconds) the first, and for which.

    `standbys` is the server's setting.
    """

    commits: int
    seconds: float
    standbys: str

    def __str__(self) -> str:
        """Return it for a person."""
        waits = plural(self.commits, "waits", "wait")
        return (
            f"{several(self.commits, 'commit')} {waits} for a synchronous standby"
            f" ({self.standbys}), the first for {lasting(self.seconds)}: nothing is sent meanwhile"
        )


FIX = (
    "start the standby again; without one: ALTER SYSTEM SET synchronous_standby_names = '';"
    " SELECT pg_reload_conf()"
)


def waiting(engine: Engine) -> StalledCommits | None:
    """Return the commits that wait for a standby; None if none does, and on SQLite."""
    dialect = dialect_of(engine)
    if not dialect.may_stall:
        return None
    with snapshot(engine) as tx:
        row = tx.execute(pick(dialect, postgresql=_STALLED)).one()
    return StalledCommits(row.commits, row.seconds or 0.0, row.standbys) if row.commits else None


def held_for(engine: Engine) -> float:
    """Return how long an open transaction has held an event back, in seconds; 0 if none does.

    The transaction has been open for at least this long; the server needn't show its age to our
    role. Events that wait for something else (a hold, a window, a receiver) don't count. The search
    relies on this: numbers of transactions rise with ids, unless transactions overlap.
    """
    with snapshot(engine) as tx:
        return max(0.0, float(tx.execute(pick(dialect_of(tx), postgresql=_HELD_FOR)).scalar_one()))


def oldest_snapshot(engine: Engine) -> tuple[str, float] | None:
    """Return the process with the oldest snapshot, as a text, and its age in seconds.

    Until the process ends, the server can't remove rows that were changed or deleted. None if no
    process shows a snapshot.
    """
    with snapshot(engine) as tx:
        row = tx.execute(pick(dialect_of(tx), postgresql=_SNAPSHOT)).one_or_none()
    return None if row is None else (row.who, row.age)


# -- statements -----------------------------------------------------------------------------------

_STALLED = text(
    "SELECT count(*) AS commits, CAST(max(extract(epoch FROM clock_timestamp() -"
    " coalesce(state_change, xact_start))) AS double precision) AS seconds,"
    " current_setting('synchronous_standby_names') AS standbys FROM pg_stat_activity"
    " WHERE wait_event = 'SyncRep'"
)
# Halves the range of ids above the watermark until only the first waiting event is left: thirty
# steps in an index.
_HELD_FOR = text(
    "WITH RECURSIVE half (low, high, age) AS (SELECT coalesce((SELECT settled FROM"
    f" {BOOKS}), 0), coalesce((SELECT max(id) FROM shipper_outbox), 0),"
    " CAST(0 AS double precision) UNION ALL SELECT"
    " CASE WHEN one.waits OR one.id IS NULL THEN low ELSE one.id END,"
    " CASE WHEN one.waits OR one.id IS NULL THEN (low + high) / 2 ELSE high END,"
    " CASE WHEN one.waits THEN one.age ELSE half.age END"
    " FROM half LEFT JOIN LATERAL (SELECT id, tx >= pg_snapshot_xmin(pg_current_snapshot())"
    " AND tx < pg_snapshot_xmax(pg_current_snapshot()) AS waits,"
    " CAST(extract(epoch FROM clock_timestamp() - created_at) AS double precision) AS age"
    " FROM shipper_outbox WHERE status = 'pending' AND id > (low + high) / 2"
    " ORDER BY id LIMIT 1) AS one ON true WHERE low < high)"
    " SELECT age FROM half WHERE low >= high"
)
_SNAPSHOT = text(
    "SELECT who, age FROM (SELECT CASE WHEN application_name = '' THEN 'unnamed'"
    " ELSE application_name END || ' (process ' || pid || ')' AS who, CAST(extract(epoch FROM"
    " clock_timestamp() - coalesce(xact_start, backend_start)) AS double precision) AS age"
    " FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"
    # Vacuum's own snapshot holds nothing back, and snapshots of other databases don't affect ours.
    " AND backend_type <> 'autovacuum worker' AND coalesce(datname, current_database()) ="
    " current_database()"
    " UNION ALL SELECT 'prepared transaction ' || gid, CAST(extract(epoch FROM"
    " clock_timestamp() - prepared) AS double precision) FROM pg_prepared_xacts"
    " WHERE database = current_database()) AS found ORDER BY age DESC LIMIT 1"
)
