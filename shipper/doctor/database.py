"""Checks of the database: its version, its settings, its other clients, and the pending events.

A check must only read. It takes its bounds from `observe.troubles`, so that `doctor` and `status`
agree.
"""

import shlex
from collections.abc import Iterator
from math import inf

from shipper.advice import place_of, unknown_destination
from shipper.config import Settings
from shipper.doctor.files import check_budget
from shipper.doctor.result import CheckResult, fault, warning, well
from shipper.doctor.unit import start_command
from shipper.observe.troubles import (
    BROKEN_RULES_FIX,
    COMMIT_LONG,
    DEAD_LETTERS_FIX,
    NAMED,
    OPEN_LONG,
    SILENT_DAEMON_FIX,
    WAL_LARGE,
    broken_rules,
    fix_of,
    named,
    newest_wait_for,
    state_of,
)
from shipper.policy.state import State
from shipper.store.db import commits
from shipper.store.db.dialect import dialect_of
from shipper.store.db.engine import describe
from shipper.store.db.opening import Database
from shipper.store.db.snapshot import snapshot
from shipper.store.db.sqlite.opening import sqlite_library
from shipper.store.report import facts
from shipper.store.report.audit import known_to_be_broken
from shipper.store.report.budget import footprint
from shipper.store.report.daemons import named as daemons_named
from shipper.store.report.daemons import shipping, ships
from shipper.store.report.holds import held
from shipper.store.report.silence import find_silence
from shipper.store.report.status import (
    DestinationReport,
    commit_blockers,
    destination_report,
    open_transactions,
)
from shipper.store.schema import revisions
from shipper.store.schema.damage import damage, emptied, policies
from shipper.store.upkeep.sqlite_file import measure
from shipper.system.installation import with_packages
from shipper.wording.quantities import lasting, size
from shipper.wording.safe_text import printable

# Seconds. A report or a dump of a shop's database takes less.
_SNAPSHOT_LONG = 3600.0


def check_schema(database: Database) -> Iterator[CheckResult]:
    """Check that this version can work with the outbox."""
    revisions.check(database)
    yield well("schema", f"revision {revisions.head()} in {describe(database)}")
    with snapshot(database) as tx:
        if hidden := policies(tx):
            text, _, run = hidden[0].partition("; run: ")
            yield fault("row security", text, run)
            return
        # What an SQLite file lacks is reported by `sqlite.check_tables`.
        for problem in emptied(tx) if dialect_of(tx).is_file else damage(tx):
            yield warning("tables", problem, "shipper db upgrade")


def check_sqlite_library() -> Iterator[CheckResult]:
    """Check that shipper's SQLite doesn't have the bug that loses a commit beside a checkpoint."""
    library = sqlite_library()
    text = f"SQLite {library.version} ({library.name})"
    if library.wal_reset_safe:
        yield well(
            "library",
            f"{text}; if the application's is older than 3.51.3, see: shipper help writing",
        )
    else:
        yield warning(
            "library",
            f"{text} has the WAL-reset bug: a commit during a checkpoint can be lost",
            f"{with_packages('pysqlite3')}, or use SQLite 3.51.3, 3.50.7 or 3.44.6",
        )


def check_journal(database: Database) -> Iterator[CheckResult]:
    """Check that readers and writers can work side by side (WAL)."""
    mode = facts.journal_mode(database)
    if mode == "wal":
        yield well("journal", "WAL")
    else:
        yield fault("journal", f"the journal mode is {mode}, not WAL", "shipper db upgrade")


def check_wal(database: Database) -> Iterator[CheckResult]:
    """Check that no open transaction keeps the WAL from being shortened."""
    taken = measure(database)
    text = f"{size(taken.wal)}, beside a file of {size(taken.file)} ({size(taken.free)} unused)"
    if taken.wal > WAL_LARGE:
        yield warning("WAL", text, "end the open transaction, or restart the process that has it")
    else:
        yield well("WAL", text)


def check_server(database: Database) -> Iterator[CheckResult]:
    """Check a PostgreSQL server's settings, and whether shipper is connected to it directly."""
    server = facts.server(database)
    if server.standby:
        fix = "set [database] url to the primary server"
        yield fault("server", f"PostgreSQL {server.version} is a standby", fix)
    elif not server.durable:
        yield fault(
            "server",
            f"PostgreSQL {server.version} runs with fsync off: a crash loses what was committed",
            "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()",
        )
    else:
        yield well("server", f"PostgreSQL {server.version}; the outbox takes {size(server.bytes)}")
    if server.late_standbys:
        yield well("standbys", _late(server.late_standbys))
    if server.pooled and server.shares is False:
        text = "one in session mode: each connection has a server process of its own"
        yield well("pooler", text)
    elif server.pooled:
        how = "shares its processes" if server.shares else "may share its processes"
        yield warning(
            "pooler",
            f"a pooler is between shipper and the server, and {how} (transaction mode): shipping"
            " works, and each transaction sets what it needs (synchronous_commit, timeouts); what"
            " shipper sets for a connection can reach other programs that log in with its role",
            "use the server's own port in [database] url, or let no application log in with"
            " shipper's role",
        )
    else:
        yield well("pooler", "none; shipper is connected to the server itself")


def _late(count: int) -> str:
    those = "1 standby is" if count == 1 else f"{count} standbys are"
    return (
        f"{those} asynchronous; a failover loses what that standby hasn't got: events that are"
        " committed here, and which events are delivered, so shipper sends those again"
    )


def check_commits(database: Database) -> Iterator[CheckResult]:
    """Check that a COMMIT ends: while a synchronous standby is away, it waits."""
    waiting = commits.waiting(database)
    if waiting is not None and waiting.seconds > COMMIT_LONG:
        yield fault("commits", str(waiting), commits.FIX)
    else:
        yield well("commits", "no commit waits for a standby")


def check_transactions(database: Database) -> Iterator[CheckResult]:
    """Name the open transactions that keep newer events back."""
    found = open_transactions(database)
    long = [one for one in found if one.seconds is not None and one.seconds > OPEN_LONG]
    running = [one for one in long if one.pid is not None]
    prepared = [one for one in long if one.pid is None]
    hidden = sum(one.seconds is None for one in found)
    # A busy application always has a transaction open, for a moment.
    waits = commits.held_for(database) if hidden and commit_blockers(database) else 0.0
    if running:
        yield warning(
            "transactions",
            newest_wait_for(running[0]),
            f"end it, or: SELECT pg_terminate_backend({running[0].pid})",
        )
    elif waits > OPEN_LONG:
        yield warning(
            "transactions",
            f"the newest events have waited {lasting(waits)} for {hidden} transactions of other"
            " roles",
            "GRANT pg_read_all_stats TO shipper's role, to see which transactions",
        )
    elif hidden:
        text = f"{hidden} of other roles are open; GRANT pg_read_all_stats shows for how long"
        yield well("transactions", text)
    else:
        yield well("transactions", "no transaction has been open for long after a write")
    if prepared:
        gid = prepared[0].application.removeprefix("prepared transaction ").replace("'", "''")
        gid = f"'{gid}'"
        name = prepared[0].database
        where = "its database" if name is None else f"the database {printable(name)}"
        yield warning(
            "prepared",
            newest_wait_for(prepared[0]),
            f"in {where}: COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}",
        )
    else:
        yield well("prepared", "no prepared transaction has been open for long")


def check_snapshots(database: Database) -> Iterator[CheckResult]:
    """Name the snapshot that keeps the server from removing deleted rows: its tables grow."""
    found = commits.oldest_snapshot(database)
    if found is not None and found[1] > _SNAPSHOT_LONG:
        yield warning(
            "snapshots",
            f"{printable(found[0])} has kept a snapshot for {lasting(found[1])}: deleted rows stay",
            "end that report, dump or transaction; for a standby, see hot_standby_feedback",
        )
    else:
        yield well("snapshots", "no snapshot has been kept for long")


def check_reach(database: Database) -> Iterator[CheckResult]:
    """Check that the database answers, before its content is checked."""
    facts.reach(database)
    yield from ()


def check_daemon(database: Database, settings: Settings, now: float) -> Iterator[CheckResult]:
    """Check that a daemon ships, and the states of the destinations."""
    daemons = shipping(database)
    daemon = daemons_named(daemons)
    reports = destination_report(database, settings.destinations, now)
    pending = sum(report.pending for report in reports)
    in_commit = commits.waiting(database) is not None  # `check_commits` reports that
    if daemon is not None and not in_commit and (found := find_silence(database)):
        yield fault("daemon", f"{daemon} {found.predicate}", SILENT_DAEMON_FIX)
    elif daemon is not None:
        yield well("daemon", ships(daemons))
    elif pending:
        text = f"none is running, and {pending:,} pending events wait for it"
        yield fault("daemon", text, start_command(settings.path))
    else:
        yield warning("daemon", "none is running", start_command(settings.path))
    for report in reports:
        yield _link(report, settings, running=daemon is not None)
        if report.dead:
            yield warning("dead letters", f"{report.dead:,} of {report.name}", DEAD_LETTERS_FIX)


def _link(report: DestinationReport, settings: Settings, *, running: bool) -> CheckResult:
    name = f"link {report.name}"
    text = f"{state_of(report)}; {report.pending:,} pending"
    destination = settings.destinations.get(report.name)
    if destination is None:
        config = str(settings.path or "the configuration")
        missing = unknown_destination(report.name, settings.destinations, config)
        return fault(name, text, missing) if report.pending else well(name, text)
    if not running:
        text += " (as last recorded)"
    if report.state == State.HELD.value:
        return warning(name, text, f"shipper release --destination {report.name}")
    fix = fix_of(report, place_of(destination, settings))
    if report.state == State.PAUSED.value:
        return fault(name, text, fix) if running else warning(name, text, fix)
    if report.state == State.OFFLINE.value or report.is_failing:
        return warning(name, text, fix)
    return well(name, text)


def check_holds(database: Database) -> Iterator[CheckResult]:
    """Name the held keys: their events wait until an operator acts."""
    found, total = held(database, NAMED)
    if not total:
        return
    names = [
        f"{each.ordering_key or 'all'} of {each.destination}"
        + (f" by dead letter {each.event_id}" if each.event_id else "")
        for each in found
    ]
    release = "shipper hold --list has the command for each"
    if total == 1 and (key := found[0].ordering_key) is not None:
        release = f"shipper release --key {shlex.quote(key)} --destination {found[0].destination}"
    yield warning("holds", f"held{named(names, total)}", release)


def check_promises(database: Database, settings: Settings, now: float) -> Iterator[CheckResult]:
    """Check the rules of the outbox; for a large outbox, use the result of the last audit."""
    rows = sum(report.rows for report in destination_report(database, settings.destinations, now))
    if broken := known_to_be_broken(database, rows):
        yield fault("promises", broken_rules(broken), BROKEN_RULES_FIX)


def check_footprint(database: Database, settings: Settings, now: float) -> Iterator[CheckResult]:
    """Check what the outbox uses of its budget."""
    rows = sum(report.rows for report in destination_report(database, settings.destinations, now))
    return check_budget(footprint(database, rows, now, settings.space.budget))


def check_oldest(database: Database, settings: Settings, now: float) -> Iterator[CheckResult]:
    """Name the event that has waited longest."""
    reports = destination_report(database, settings.destinations, now)
    names = [report.name for report in reports if report.pending]
    oldest = facts.oldest_pending(database, names, now)
    if oldest is None:
        yield well("oldest", "nothing is pending")
        return
    key = "without a key" if oldest.ordering_key is None else f"of key {oldest.ordering_key}"
    text = f"event {oldest.id} {key} for {oldest.destination} has waited {lasting(oldest.seconds)}"
    if oldest.seconds > (settings.alerts.oldest_pending or inf):
        yield warning("oldest", text, f"shipper events show {oldest.id} says why")
    else:
        yield well("oldest", text)


def check_growth(growth: facts.Growth) -> Iterator[CheckResult]:
    """Say how much the outbox grows in a day without the API."""
    day = size(growth.bytes_a_day)
    text = f"written in the last 24 h: {growth.events}; a day like that without the API takes {day}"
    yield well("growth", text)
