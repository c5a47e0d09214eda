"""Check a newly read configuration while the old one stays in force and the session ships on.

This module finds every fault before anything is replaced: in the files, the schedule and the
alarms. If the configuration names another outbox, it checks that this outbox can be opened and has
this version. A reload must never upgrade an outbox, and never wait for one.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from shipper.clock import Clock
from shipper.config import Settings
from shipper.config.windows import Windows
from shipper.daemon.destinations import ReadyDestinations, ready_destinations
from shipper.daemon.requests import ReloadRequest
from shipper.daemon.session import Session
from shipper.errors import ConfigError, ShipperError, StoreUnavailable
from shipper.logs import Log
from shipper.observe import alerts
from shipper.observe.alerts import Hooks
from shipper.store.db.engine import database_path
from shipper.store.db.identity import identity
from shipper.store.db.opening import opened
from shipper.store.drain.messages import LinkRow
from shipper.store.schema import revisions
from shipper.system.background import aside

# Seconds that another database has to answer; after that the reload is refused.
ANSWERS_WITHIN: Final = 30.0


class ReadyConfiguration(NamedTuple):
    """A checked configuration that can be applied: its destinations, and its alert clients."""

    fresh: ReadyDestinations
    hooks: Hooks

    async def aclose(self) -> None:
        """Close everything when the configuration isn't used."""
        await self.fresh.aclose()
        await alerts.close(self.hooks)


class Change(NamedTuple):
    """The new parts with which a session goes on, on the same outbox."""

    ready: ReadyConfiguration
    links: Mapping[str, LinkRow]


async def changed(settings: Settings, session: Session) -> Change:
    """Return the new parts for a session; if one can't be used, close them all and raise why."""
    ready = await prepared(settings, session)
    try:
        return Change(ready, await session.links(ready.fresh))
    except BaseException:
        await ready.aclose()
        raise


async def prepared(settings: Settings, session: Session) -> ReadyConfiguration:
    """Return a checked configuration for the present outbox; raises an error if it has a fault."""
    Windows.of(settings)
    fresh = await ready_destinations(settings, session.clock, session.inputs)
    try:
        return ReadyConfiguration(fresh, alerts.hooks(settings.alerts))
    except BaseException:
        await fresh.aclose()
        raise


async def checked_hooks(settings: Settings, clock: Clock) -> Hooks:
    """Check a configuration for a new session and return its alert clients; raises its faults."""
    Windows.of(settings)
    await (await ready_destinations(settings, clock, {})).aclose()
    return alerts.hooks(settings.alerts)


def renewed(settings: Settings) -> Settings:
    """Return a configuration with the present content of its alert files."""
    return replace(settings, alerts=settings.alerts.renewed())


async def is_elsewhere(settings: Settings, session: Session) -> bool:
    """Return whether the settings name another outbox than the session's.

    Raises an error if the other outbox can't be reached or opened, isn't a shipper outbox, or has
    another version.
    """
    path, known = database_path(settings.database.url), session.outbox.identity
    if (path,) == known or (path is None and settings.database == session.settings.database):
        return False
    return await identified(settings) != known


async def identified(settings: Settings, within: float = ANSWERS_WITHIN) -> object:
    """Return the identity of the configured outbox; raises an error if it can't be used.

    Raises StoreUnavailable if the database doesn't answer within `within` seconds. The query is
    then abandoned: a server may accept a connection and never answer.
    """
    # In a new thread: the database's thread may be waiting for a lost database.
    async with answered(within):
        return await aside(partial(_identified, settings), "reload")


@asynccontextmanager
async def answered(within: float = ANSWERS_WITHIN) -> AsyncIterator[None]:
    """Raise StoreUnavailable if the work in the `with` takes longer than `within` seconds."""
    try:
        async with asyncio.timeout(within) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise StoreUnavailable(
            f"the new database does not answer within {within:g} s",
            "the old configuration stays in force; check [database] url and its server",
        ) from None


def _identified(settings: Settings) -> object:
    where = settings.database
    with opened(where.url, renewed=where.read_url) as engine:
        revisions.check(engine)
        return identity(engine)


def refuse(request: ReloadRequest, settings: Settings, error: Exception, log: Log) -> None:
    """Log why the new content can't be used; `settings` are those that stay in force."""
    if not request.reload:
        log("file.unusable", paths=request.changed, reason=reason_of(error))
        return
    problems = error.problems if isinstance(error, ConfigError) else [reason_of(error)]
    hint = error.hint if isinstance(error, ShipperError) else "run: shipper check"
    advice = {"hint": hint} if hint else {}
    log("config.rejected", path=str(settings.path), problems=problems, **advice)


def reason_of(error: BaseException) -> str:
    """Return the reason for the log; for a bug only its type, because its text may hold secrets."""
    if isinstance(error, ShipperError):
        return error.message
    return f"a bug of shipper's: {type(error).__name__}"
