"""Commits that are waited for or wait for a synchronous standby (PostgreSQL); who is in their way.

Where such a standby is away, every COMMIT waits for it, the daemon's and the application's: no
timeout ends that, and nothing fails. It decides from what the server shows of its processes; of
other roles' it shows that only with pg_read_all_stats. Reads only.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from shipper.store.db.dialect import POSTGRES, TABLES
from shipper.store.db.snapshot import snapshot
from shipper.wording.quantities import lasting, plural, several


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many commits wait for a standby, since when the first, and for which one.

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


def waiting(engine: Engine) -> Waiting | None:
    """Return the commits that wait for a standby, None where none does, and on SQLite."""
    if engine.dialect.name != "postgresql":
        return None
    with snapshot(engine) as tx:
        row = tx.execute(_WAITING).one()
    return Waiting(row.commits, row.seconds or 0.0, row.standbys) if row.commits else None


def held_for(engine: Engine) -> float:
    """Return how long the first event waits that an open transaction keeps back, in seconds, or 0.

    That is for how long this is open at least, also where its own age isn't shown to our role.
    Events that wait for something else (a hold, a window, a receiver) are no sign of it. Numbers of
    transactions rise with ids, but for those that overlap.
    """
    with snapshot(engine) as tx:
        return max(0.0, float(tx.execute(_HELD_FOR).scalar_one()))


def lockers(engine: Engine) -> list[str]:
    """Return who else has one of our tables locked, the oldest transaction first, for a person."""
    with snapshot(engine) as tx:
        found = tx.execute(_LOCKERS, {"tables": list(TABLES)}).all()
    return [
        f"process {row.pid} ({row.application or 'unnamed'}, {row.state or 'state not shown'}"
        + ("" if row.age is None else f", open for {lasting(row.age)}")
        + ")"
        for row in found
    ]


def oldest_snapshot(engine: Engine) -> tuple[str, float] | None:
    """Return who has kept a snapshot for longest, for a person, and for how many seconds.

    Meanwhile no row that was changed or deleted can be removed. None where nobody shows one.
    """
    with snapshot(engine) as tx:
        row = tx.execute(_SNAPSHOT).one_or_none()
    return None if row is None else (row.who, row.age)


# -- statements -----------------------------------------------------------------------------------

_WAITING = text(
    "SELECT count(*) AS commits, CAST(max(extract(epoch FROM clock_timestamp() -"
    " coalesce(state_change, xact_start))) AS double precision) AS seconds,"
    " current_setting('synchronous_standby_names') AS standbys FROM pg_stat_activity"
    " WHERE wait_event = 'SyncRep'"
)
# Halves what isn't settled until the first event is left that waits: thirty steps in an index.
_HELD_FOR = text(
    "WITH RECURSIVE half (low, high, age) AS (SELECT coalesce((SELECT settled FROM"
    f" {POSTGRES.books}), 0), coalesce((SELECT max(id) FROM shipper_outbox), 0),"
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
    # Vacuum's own is waited for by no other, and those of another database are none of ours.
    " AND backend_type <> 'autovacuum worker' AND coalesce(datname, current_database()) ="
    " current_database()"
    " UNION ALL SELECT 'prepared transaction ' || gid, CAST(extract(epoch FROM"
    " clock_timestamp() - prepared) AS double precision) FROM pg_prepared_xacts"
    " WHERE database = current_database()) AS found ORDER BY age DESC LIMIT 1"
)
_LOCKERS = text(
    "SELECT pid, application_name AS application, state, CAST(extract(epoch FROM"
    " clock_timestamp() - xact_start) AS double precision) AS age"
    " FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid IN (SELECT l.pid FROM pg_locks"
    " AS l JOIN pg_class AS c ON c.oid = l.relation WHERE l.granted AND c.relname = ANY(:tables)"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND l.mode <> 'AccessShareLock') ORDER BY xact_start NULLS LAST LIMIT 3"
)
