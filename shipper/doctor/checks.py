"""The checks of the doctor, and their order.

A check comes after those that it depends on: without a configuration nothing else can be checked,
and without a usable outbox nothing in it. This module must never judge anything itself.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from shipper.clock import Clock
from shipper.config import Settings
from shipper.config.secrets import files as files_of
from shipper.config.windows import Windows
from shipper.doctor import database as db
from shipper.doctor import files, sqlite, unit
from shipper.doctor.access import User
from shipper.doctor.daemons import check_agreement, check_daemons
from shipper.doctor.network import check_destination
from shipper.doctor.result import CheckLevel, CheckResult, fault, guarded, of_error, warning, well
from shipper.errors import ConfigError, ShipperError
from shipper.store.db.engine import database_path
from shipper.store.db.opening import Database, opened
from shipper.store.report import facts


def examine(
    load: Callable[[], Settings], clock: Clock, *, network: bool = True
) -> list[CheckResult]:
    """Run every check and return the results in a fixed order.

    `load` reads the configuration; without `network` no destination is asked. A fault of this
    machine, its database or its network is a result; it is never raised.
    """
    try:
        settings = load()
    except ConfigError as error:
        return [fault("config", problem, error.hint) for problem in error.problems]
    except ShipperError as error:
        return [of_error("config", error)]
    found = [well("config", str(settings.path))]
    found += [warning("config", problem) for problem in settings.warnings]
    found += guarded("windows", lambda: _of_windows(settings, clock.wall()))
    found += _of_outbox(settings, clock)
    if network:
        found += asyncio.run(_of_network(settings, clock))
    found += guarded(
        "unit", lambda: unit.check_units([unit.installed(), unit.installed_template()])
    )
    return found


def _of_outbox(settings: Settings, clock: Clock) -> Iterator[CheckResult]:
    path = database_path(settings.database.url)
    try:
        with opened(settings.database.url) as database:
            schema = list(guarded("database", lambda: db.check_reach(database)))
            schema = schema or list(guarded("schema", lambda: db.check_schema(database)))
            usable = all(finding.level is not CheckLevel.FAULT for finding in schema)
            user = _user(database if usable else None, settings.path)
            yield from guarded("user", lambda: files.check_user(user))
            yield from guarded("config", lambda: files.check_config(_read(settings), user))
            if path is not None:
                yield from _of_files(path, user)
            yield from schema
            if usable:
                yield from _of_database(database, settings, clock.wall(), path)
    except ShipperError as error:
        asker = _user(None, settings.path)
        yield from guarded("user", lambda: files.check_user(asker))
        yield from guarded("config", lambda: files.check_config(_read(settings), asker))
        if path is not None:
            yield from guarded("directory", lambda: files.check_directory(path, asker))
        yield of_error("database", error)


def _read(settings: Settings) -> Iterator[Path]:
    """Yield the configuration file, and each file it names that the daemon opens itself."""
    alerts = settings.alerts
    read = [settings.path, settings.database.url_file]
    read += [alerts.heartbeat_url_file, alerts.webhook_url_file, alerts.ca_file]
    for destination in settings.destinations.values():
        read += [destination.ca_file, *files_of(destination)]
    passed_by_systemd = unit.credentials_of(unit.running_unit(config=settings.path))
    for path in dict.fromkeys(read):
        if path is not None and path.absolute() not in passed_by_systemd:
            yield path


def _of_windows(settings: Settings, now: float) -> Iterator[CheckResult]:
    """Check that the delivery windows contain any minutes, and say whether one is open."""
    if not settings.schedule.windows:
        return
    try:
        windows = Windows.of(settings)
    except ConfigError as error:
        yield from (fault("windows", problem, error.hint) for problem in error.problems)
        return
    text = f"{windows.describe(now)}: {', '.join(settings.schedule.windows)}"
    if windows.opens_at(now) is None:
        yield warning("windows", text, "no minute matches: correct [schedule] windows")
    else:
        yield well("windows", text)


def _of_files(path: Path, user: User) -> Iterator[CheckResult]:
    yield from guarded("directory", lambda: files.check_directory(path, user))
    yield from guarded("file", lambda: files.check_files(path, user))
    yield from guarded("file system", lambda: files.check_file_system(path))


def _of_database(
    database: Database, settings: Settings, now: float, path: Path | None
) -> Iterator[CheckResult]:
    checks: list[tuple[str, Callable[[], Iterable[CheckResult]]]] = [
        ("daemon", lambda: db.check_daemon(database, settings, now)),
        ("oldest", lambda: db.check_oldest(database, settings, now)),
        ("holds", lambda: db.check_holds(database)),
        ("promises", lambda: db.check_promises(database, settings, now)),
    ]
    if path is not None:
        checks += [
            ("library", db.check_sqlite_library),
            ("journal", lambda: db.check_journal(database)),
            ("tables", lambda: sqlite.check_tables(database)),
            ("write lock", lambda: sqlite.check_lock(database)),
            ("WAL files", lambda: sqlite.check_removed(path)),
            ("WAL", lambda: db.check_wal(database)),
            ("disk", lambda: files.check_disk(path, facts.growth(database, now))),
            ("reserve", lambda: files.check_reserve(path, settings.space.reserve)),
        ]
    else:
        checks += [
            ("server", lambda: db.check_server(database)),
            ("daemons", lambda: check_daemons(database)),
            ("settings", lambda: check_agreement(database, settings)),
            ("commits", lambda: db.check_commits(database)),
            ("transactions", lambda: db.check_transactions(database)),
            ("snapshots", lambda: db.check_snapshots(database)),
            ("growth", lambda: db.check_growth(facts.growth(database, now))),
        ]
    checks.append(("budget", lambda: db.check_footprint(database, settings, now)))
    for name, check in checks:
        yield from guarded(name, check)


def _user(database: Database | None, config: Path | None) -> User:
    """Return the user that runs the daemon; the user of this process if no daemon can be found."""
    if database is not None:
        with suppress(ShipperError, OSError, ValueError):
            pid = facts.shipper_pid(database)
            if pid is not None:
                status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
                uid, groups = _ids(status, "Uid")[1], _ids(status, "Groups")
                groups.append(_ids(status, "Gid")[1])
                return User.of(uid, f"runs it as process {pid}", groups)
    place = unit.running_unit(config=config)
    with suppress(OSError):
        if place is not None and (named := unit.user_of(place)) is not None:
            return User.of(named, f"named in {place}", unit.groups_of(place))
    return User.of(os.geteuid(), "you")


def _ids(status: str, name: str) -> list[int]:
    """Return the numbers in a line of proc(5) status."""
    [line] = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return [int(number) for number in line.split()[1:]]


async def _of_network(settings: Settings, clock: Clock) -> list[CheckResult]:
    groups = await asyncio.gather(
        *(_of_destination(name, settings, clock) for name in settings.destinations)
    )
    return [finding for group in groups for finding in group]


async def _of_destination(name: str, settings: Settings, clock: Clock) -> list[CheckResult]:
    try:
        return await check_destination(settings.destinations[name], clock, settings)
    except Exception as error:  # noqa: BLE001 - the other destinations have to be asked too
        return [of_error(f"destination {name}", error)]
