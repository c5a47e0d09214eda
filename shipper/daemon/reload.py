"""What follows from a configuration that was read anew, while the old one is in force and ships.

Everything that can be wrong with it is found out here, before anything is replaced: its files, its
schedule, its alarms; and where it names another outbox than the one that is held, whether that can
be opened and is of this version. Nothing is upgraded for a reload, and nobody is waited for.
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

# For how long another database may say nothing, in seconds: who asks for a reload is told then.
ANSWERS_WITHIN: Final = 30.0


class ReadyConfiguration(NamedTuple):
    """A configuration that can be ready: its destinations, and who is told of alarms."""

    fresh: ReadyDestinations
    hooks: Hooks

    async def aclose(self) -> None:
        """Close what nobody wants."""
        await self.fresh.aclose()
        await alerts.close(self.hooks)


class Change(NamedTuple):
    """What a session goes on with, on its outbox."""

    ready: ReadyConfiguration
    links: Mapping[str, LinkRow]


async def changed(settings: Settings, session: Session) -> Change:
    """Return what a session goes on with; raises what is wrong with it, and leaves nothing open."""
    ready = await prepared(settings, session)
    try:
        return Change(ready, await session.links(ready.fresh))
    except BaseException:
        await ready.aclose()
        raise


async def prepared(settings: Settings, session: Session) -> ReadyConfiguration:
    """Return a configuration for the outbox that is held; raises what is wrong with it."""
    Windows.of(settings)
    fresh = await ready_destinations(settings, session.clock, session.inputs)
    try:
        return ReadyConfiguration(fresh, alerts.hooks(settings.alerts))
    except BaseException:
        await fresh.aclose()
        raise


async def sound(settings: Settings, clock: Clock) -> Hooks:
    """Return who is told of alarms; raises what is wrong with a configuration for a new session."""
    Windows.of(settings)
    await (await ready_destinations(settings, clock, {})).aclose()
    return alerts.hooks(settings.alerts)


def renewed(settings: Settings) -> Settings:
    """Return a configuration with what its files hold by now."""
    return replace(settings, alerts=settings.alerts.renewed())


async def is_elsewhere(settings: Settings, session: Session) -> bool:
    """Return whether another outbox is meant than the one that is held.

    Raises what is wrong with that one: it can't be reached or opened, isn't ours, or is of another
    version.
    """
    path, known = database_path(settings.database.url), session.outbox.identity
    if (path,) == known or (path is None and settings.database == session.settings.database):
        return False
    return await identified(settings) != known


async def identified(settings: Settings, within: float = ANSWERS_WITHIN) -> object:
    """Return which outbox a configuration means; raises what is wrong with it.

    Raises StoreUnavailable, too, where nothing is answered `within` so many seconds. Nobody waits
    for the question then: a server may take a connection and say nothing for ever.
    """
    # In a thread of its own: the session's may be waiting for a database that is away.
    async with answered(within):
        return await aside(partial(_identified, settings), "reload")


@asynccontextmanager
async def answered(within: float = ANSWERS_WITHIN) -> AsyncIterator[None]:
    """Raise StoreUnavailable where what is done in the `with` takes longer, in seconds."""
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
    """Tell why what was read anew can't be used; `settings` are those that stay in force."""
    if not request.reload:
        log("file.unusable", paths=request.changed, reason=reason_of(error))
        return
    problems = error.problems if isinstance(error, ConfigError) else [reason_of(error)]
    hint = error.hint if isinstance(error, ShipperError) else "run: shipper check"
    advice = {"hint": hint} if hint else {}
    log("config.rejected", path=str(settings.path), problems=problems, **advice)


def reason_of(error: BaseException) -> str:
    """Return what is wrong, for the log; of a bug only the name, for its text may be anything."""
    if isinstance(error, ShipperError):
        return error.message
    return f"a bug of shipper's: {type(error).__name__}"
