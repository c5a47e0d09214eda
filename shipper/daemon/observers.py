"""The observers of a session: the local HTTP port, and the alarms.

This module decides what happens if the port can't be opened: one log event, and another attempt
later. A port or an alarm that fails must never stop the delivery.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from errno import EADDRINUSE
from typing import TYPE_CHECKING, Final

from shipper.clock import Clock
from shipper.config.listen import ListenAddress
from shipper.daemon.session import Session
from shipper.logs import Log
from shipper.observe.alarms import Alarms
from shipper.observe.alerts import AlarmWatch, Hooks, alerting
from shipper.observe.health import Health
from shipper.observe.role import Role
from shipper.observe.survey import Audit, Survey
from shipper.system.files import Untrusted

if TYPE_CHECKING:
    from shipper.port.server import WebServer

LISTEN_EVERY: Final = 30.0

_IN_USE: Final = "stop the process that uses the port, or set [web] listen to another address"
_NOT_OURS: Final = "the daemon's user can't use this address: set [web] listen to another one"


def _hint(error: OSError) -> str:
    if isinstance(error, Untrusted):
        return "use a directory where only the daemon's user can write, such as /run/shipper"
    return _IN_USE if error.errno == EADDRINUSE else _NOT_OURS


@asynccontextmanager
async def observed(
    session: Session,
    alarms: Alarms,
    audit: Audit,
    hooks: Hooks,
    clock: Clock,
    log: Log,
) -> AsyncIterator[None]:
    """Run the configured observers of a session during a `with`.

    `alarms` and `audit` pass from one session to the next. Of several daemons, only the one
    that leads sends the alarms and the heartbeat.
    """
    settings, dispatcher = session.settings, session.dispatcher
    role = Role(lambda: dispatcher.shares, session.lease_ttl)
    alerts, address = settings.alerts, settings.web.listen
    async with AsyncExitStack() as stack:
        alarmed = alerts.webhook_url is not None or alerts.heartbeat_url is not None
        if alarmed or address is not None:
            survey = Survey(settings, clock, audit if alarmed else None, role)
            stack.push_async_callback(survey.aclose)
            health = Health(session.dispatcher, session.tally, clock)
            if address is not None:
                server = _web_server(session, survey, health, clock, log)
                await stack.enter_async_context(_listening(server, address, log))
            if alarmed:
                watch = AlarmWatch(
                    settings,
                    session.dispatcher.routes,
                    session.tally,
                    health=health,
                    survey=survey,
                    clock=clock,
                )
                every = alerts.heartbeat_every
                await stack.enter_async_context(alerting(hooks, every, watch, alarms, clock, log))
        yield


def _web_server(
    session: Session,
    survey: Survey,
    health: Health,
    clock: Clock,
    log: Log,
) -> "WebServer":
    # Imported here: a daemon without a port saves the server and the metrics library.
    from shipper.observe.metrics import Metrics  # noqa: PLC0415
    from shipper.port.server import WebServer  # noqa: PLC0415

    routes, tally = session.dispatcher.routes, session.tally
    metrics = Metrics(routes, tally, clock, session.database, log.dropped, survey.role.shares)
    return WebServer(health, metrics, survey, log)


@asynccontextmanager
async def _listening(server: "WebServer", address: ListenAddress, log: Log) -> AsyncIterator[None]:
    trying = None
    if not await _opened(server, address, log, first=True):
        trying = asyncio.create_task(_insist(server, address, log))
    try:
        yield
    finally:
        if trying is not None:
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)
        await server.aclose()


async def _insist(server: "WebServer", address: ListenAddress, log: Log) -> None:
    while True:
        await asyncio.sleep(LISTEN_EVERY)
        if await _opened(server, address, log, first=False):
            return


async def _opened(server: "WebServer", address: ListenAddress, log: Log, *, first: bool) -> bool:
    try:
        await server.open(address)
    except OSError as error:
        if first:
            log(
                "web.failed",
                address=str(address),
                reason=error.strerror or str(error),
                hint=_hint(error),
                retry_seconds=LISTEN_EVERY,
            )
        return False
    log("web.listening", address=str(address))
    return True
