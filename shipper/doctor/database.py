"""The database: its version, its settings, who works with it, and what waits in it."""

import shlex
from collections.abc import Iterator
from math import inf

from shipper.advice import place_of, unknown_destination
from shipper.config import Settings
from shipper.doctor.files import check_budget
from shipper.doctor.finding import Finding, fault, warning, well
from shipper.doctor.unit import start_command
from shipper.observe.troubles import COMMIT_LONG, NAMED, OPEN_LONG, WAL_LARGE, fix_of, named, stands
from shipper.policy.state import State
from shipper.store.db import commits
from shipper.store.db.engine import describe, sqlite_library
from shipper.store.db.opening import Database
from shipper.store.db.snapshot import snapshot
from shipper.store.report import facts
from shipper.store.report.budget import footprint
from shipper.store.report.holds import held
from shipper.store.report.silence import plight
from shipper.store.report.status import (
    DestinationReport,
    commit_blockers,
    current_shipper,
    destination_report,
    open_transactions,
)
from shipper.store.report.verify import known_to_be_broken
from shipper.store.schema import revisions
from shipper.store.schema.damage import damage, emptied, policies
from shipper.store.upkeep.sqlite_file import measure
from shipper.system.installation import with_packages
from shipper.wording.quantities import lasting, size
from shipper.wording.safe_text import printable

# Seconds. A report or a dump of a shop takes less.
_SNAPSHOT_LONG = 3600.0


def check_schema(database: Database) -> Iterator[Finding]:
    """See whether this code can work with the outbox."""
    revisions.check(database)
    yield well("schema", f"revision {revisions.head()} in {describe(database)}")
    with snapshot(database) as tx:
        if hidden := policies(tx):
            told, _, run = hidden[0].partition("; run: ")
            yield fault("row security", told, run)
            return
        # What an SQLite file lacks is told by `sqlite.check_tables`.
        for problem in emptied(tx) if tx.dialect.name == "sqlite" else damage(tx):
            yield warning("tables", problem, "shipper db upgrade")


def check_sqlite_library() -> Iterator[Finding]:
    """See whether our SQLite has the bug that loses a commit beside a checkpoint."""
    library = sqlite_library()
    told = f"SQLite {library.version} ({library.name})"
    if library.wal_reset_safe:
        yield well("library", f"{told}; the application's own should be 3.51.3 or newer, too")
    else:
        yield warning(
            "library",
            f"{told} has the WAL-reset bug: a commit beside a checkpoint can be lost",
            f"{with_packages('pysqlite3')}, or an SQLite of 3.51.3, 3.50.7 or 3.44.6",
        )


def check_journal(database: Database) -> Iterator[Finding]:
    """See whether readers and writers can work side by side."""
    mode = facts.journal_mode(database)
    if mode == "wal":
        yield well("journal", "WAL")
    else:
        yield fault("journal", f"the journal mode is {mode}, not WAL", "shipper db upgrade")


def check_wal(database: Database) -> Iterator[Finding]:
    """See whether somebody keeps the WAL from being cut."""
    taken = measure(database)
    told = f"{size(taken.wal)}, beside a file of {size(taken.file)} ({size(taken.free)} unused)"
    if taken.wal > WAL_LARGE:
        yield warning("WAL", told, "somebody keeps a transaction open: end it, or restart it")
    else:
        yield well("WAL", told)


def check_server(database: Database) -> Iterator[Finding]:
    """See how a PostgreSQL server is set up, and whether we talk to it directly."""
    server = facts.server(database)
    if server.standby:
        yield fault("server", f"PostgreSQL {server.version} is a standby", "name the primary")
    elif not server.durable:
        yield fault(
            "server",
            f"PostgreSQL {server.version} runs with fsync off: a crash loses what was committed",
            "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()",
        )
    else:
        yield well("server", f"PostgreSQL {server.version}; the outbox takes {size(server.bytes)}")
    if server.pooled and server.shares is False:
        told = "one in session mode stands between: each connection has a process of the server's"
        yield well("pooler", told)
    elif server.pooled:
        how = "shares its processes" if server.shares else "may share its processes"
        yield warning(
            "pooler",
            f"a pooler stands between us and the server, and {how}; our settings"
            " (synchronous_commit, timeouts) may not reach the transactions that they are for",
            "name the server's own port in database.url; and see that no application logs in with"
            " shipper's role, whose connections the pooler would share with it",
        )
    else:
        yield well("pooler", "none; the connection is the server's own")


def check_commits(database: Database) -> Iterator[Finding]:
    """See whether a COMMIT comes back: with a synchronous standby away, it doesn't."""
    waiting = commits.waiting(database)
    if waiting is not None and waiting.seconds > COMMIT_LONG:
        yield fault("commits", str(waiting), commits.FIX)
    else:
        yield well("commits", "none waits for a standby")


def check_transactions(database: Database) -> Iterator[Finding]:
    """Name who keeps younger events back by a transaction that doesn't end."""
    found = open_transactions(database)
    long = [one for one in found if one.seconds is not None and one.seconds > OPEN_LONG]
    running = [one for one in long if one.pid is not None]
    prepared = [one for one in long if one.pid is None]
    hidden = sum(one.seconds is None for one in found)
    # A busy application always has one open that is over in a moment.
    waits = commits.held_for(database) if hidden and commit_blockers(database) else 0.0
    if running:
        yield warning(
            "transactions",
            f"younger events wait for {running[0]}",
            f"end it, or: SELECT pg_terminate_backend({running[0].pid})",
        )
    elif waits > OPEN_LONG:
        yield warning(
            "transactions",
            f"younger events wait for {hidden} of other roles, for {lasting(waits)} by now",
            "GRANT pg_read_all_stats TO shipper's role, or ask who has a transaction open",
        )
    elif hidden:
        told = f"{hidden} of other roles are open, for how long can't be seen"
        yield well("transactions", f"{told} without GRANT pg_read_all_stats")
    else:
        yield well("transactions", "none that has written is open for long")
    if prepared:
        gid = prepared[0].application.removeprefix("prepared transaction ").replace("'", "''")
        gid = f"'{gid}'"
        name = prepared[0].database
        where = "the database that it is of" if name is None else f"the database {printable(name)}"
        yield warning(
            "prepared",
            f"younger events wait for {prepared[0]}",
            f"in {where}: COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}",
        )
    else:
        yield well("prepared", "no prepared transaction is open for long")


def check_snapshots(database: Database) -> Iterator[Finding]:
    """Name who keeps the server from removing what was deleted: it grows, and may become slow."""
    found = commits.oldest_snapshot(database)
    if found is not None and found[1] > _SNAPSHOT_LONG:
        yield warning(
            "snapshots",
            f"{printable(found[0])} has kept a snapshot for {lasting(found[1])}: dead rows stay",
            "end that report, dump or transaction; of a standby: hot_standby_feedback",
        )
    else:
        yield well("snapshots", "none is kept for long")


def check_reach(database: Database) -> Iterator[Finding]:
    """See whether the database answers at all, before anything is said of what is in it."""
    facts.reach(database)
    yield from ()


def check_daemon(database: Database, settings: Settings, now: float) -> Iterator[Finding]:
    """See whether somebody ships, and how the destinations are doing."""
    shipper = current_shipper(database)
    reports = destination_report(database, settings.destinations, now)
    pending = sum(report.pending for report in reports)
    in_commit = commits.waiting(database) is not None  # which is told by itself
    if shipper is not None and not in_commit and (found := plight(database)):
        fix = "journalctl -u shipper says what it has tried; where it stands still: restart it"
        yield fault("daemon", f"{shipper} {found.told}", fix)
    elif shipper is not None:
        yield well("daemon", f"{shipper} ships")
    elif pending:
        told = f"none is running, and events wait: {pending:,}"
        yield fault("daemon", told, start_command(settings.path))
    else:
        yield warning("daemon", "none is running", start_command(settings.path))
    for report in reports:
        yield _link(report, settings, running=shipper is not None)
        if report.dead:
            yield warning(
                "dead letters", f"{report.dead:,} of {report.name}", "shipper dead list tells why"
            )


def _link(report: DestinationReport, settings: Settings, *, running: bool) -> Finding:
    name = f"link {report.name}"
    told = f"{stands(report)}; {report.pending:,} pending"
    destination = settings.destinations.get(report.name)
    if destination is None:
        config = str(settings.path or "the configuration")
        missing = unknown_destination(report.name, settings.destinations, config)
        return fault(name, told, missing) if report.pending else well(name, told)
    if not running:
        told += " (as last recorded)"
    if report.state == State.HELD.value:
        return warning(name, told, f"shipper release --destination {report.name}")
    fix = fix_of(report, place_of(destination, settings))
    if report.state == State.PAUSED.value:
        return fault(name, told, fix) if running else warning(name, told, fix)
    if report.state == State.OFFLINE.value or report.is_failing:
        return warning(name, told, fix)
    return well(name, told)


def check_holds(database: Database) -> Iterator[Finding]:
    """Name the keys that are held: nothing of them goes out until somebody acts."""
    found, total = held(database, NAMED)
    if not total:
        return
    who = [
        f"{each.ordering_key or 'all'} of {each.destination}"
        + (f" by dead letter {each.event_id}" if each.event_id else "")
        for each in found
    ]
    release = "shipper hold --list has the command for each"
    if total == 1 and (key := found[0].ordering_key) is not None:
        release = f"shipper release --key {shlex.quote(key)} --destination {found[0].destination}"
    yield warning("holds", f"held{named(who, total)}", release)


def check_promises(database: Database, settings: Settings, now: float) -> Iterator[Finding]:
    """See whether what must hold of the outbox does; of a large one, whether it did last time."""
    rows = sum(report.rows for report in destination_report(database, settings.destinations, now))
    if broken := known_to_be_broken(database, rows):
        yield fault("promises", f"broken: {', '.join(broken)}", "shipper verify names the events")


def check_footprint(database: Database, settings: Settings, now: float) -> Iterator[Finding]:
    """See what the outbox takes of its budget."""
    rows = sum(report.rows for report in destination_report(database, settings.destinations, now))
    return check_budget(footprint(database, rows, now, settings.space.budget))


def check_oldest(database: Database, settings: Settings, now: float) -> Iterator[Finding]:
    """Name the event that waits longest."""
    reports = destination_report(database, settings.destinations, now)
    names = [report.name for report in reports if report.pending]
    oldest = facts.oldest_pending(database, names, now)
    if oldest is None:
        yield well("oldest", "nothing is pending")
        return
    key = "without a key" if oldest.ordering_key is None else f"of key {oldest.ordering_key}"
    told = f"event {oldest.id} {key} for {oldest.destination} waits {lasting(oldest.seconds)}"
    if oldest.seconds > (settings.alerts.oldest_pending or inf):
        yield warning("oldest", told, f"shipper events show {oldest.id} tells why")
    else:
        yield well("oldest", told)


def check_growth(growth: facts.Growth) -> Iterator[Finding]:
    """Say how much a day without the API takes, where the disk is somebody else's."""
    day = size(growth.bytes_a_day)
    told = f"written today: {growth.events}; a day like that offline takes {day} on the server"
    yield well("growth", told)
