"""Run the parts of the demo together: open the shop, ship for a while, drain, count."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from shipper.clock import Clock
from shipper.config import (
    DatabaseSettings,
    DestinationSettings,
    RetrySettings,
    Secret,
    Settings,
)
from shipper.daemon import Session, Stop, open_session
from shipper.demo.screen import Scene
from shipper.demo.shop import UNKNOWN_SKU, Shop
from shipper.demo.summary import DemoSummary, summarize
from shipper.logs import Log
from shipper.sandbox import Chaos, RequestInfo, Sandbox, SandboxAnswer, Summary
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import create_sqlite_file
from shipper.store.report.status import destination_report
from shipper.store.upgrade.migrate import upgrade

CHAOS = "503:0.10,drop:0.03,lost:0.02,slow:300ms:0.05,429:0.005:1s,outage:3s@4s"
API_ID = "demo"
_DRAIN_WITHIN = 30.0
_FRAME = 0.1


@dataclass(slots=True)
class Stage:
    """The surroundings of a demo: clock, log and screen.

    `since_start` returns the seconds since the process began, `show` gets a scene ten times per
    second, `stop` closes the shop early.
    """

    clock: Clock
    log: Log
    since_start: Callable[[], float]
    show: Callable[[Scene], None]
    stop: asyncio.Event


async def play(directory: Path, seconds: float, stage: Stage) -> DemoSummary:
    """Let the shop write for `seconds` to a database in `directory`, ship all events, count."""
    database = directory / "shop.db"
    url = f"sqlite:///{database}"
    create_sqlite_file(database)
    engine = open_engine(url)
    upgrade(engine)
    sandbox = Sandbox(API_ID, clock=stage.clock, log=directory / "api.jsonl")
    sandbox.answer_for = _refuse_unknown
    shop = Shop(url, stage.clock)
    async with sandbox.serve():
        sandbox.chaos = Chaos.parse(CHAOS)
        never = Stop()
        settings = _settings(url, sandbox.events_url)
        async with open_session(settings, clock=stage.clock, log=stage.log, stop=never) as session:
            first = await _Performance(shop, session, sandbox, stage).run(seconds)
    [outbox] = destination_report(engine, ["default"], stage.clock.wall())
    engine.dispose()
    return summarize(shop.written, outbox, sandbox.ledger.summary(), first)


class _Performance:
    """Runs the demo from the opening of the shop until all events are shipped."""

    def __init__(self, shop: Shop, session: Session, sandbox: Sandbox, stage: Stage) -> None:
        self._shop = shop
        self._session = session
        self._sandbox = sandbox
        self._stage = stage
        self._first: float | None = None
        self._finished = asyncio.Event()

    async def run(self, seconds: float) -> float | None:
        """Run; return the seconds from the start of the process to the first delivery."""
        self._shop.open()
        drain = asyncio.create_task(self._session.dispatcher.run(self._finished))
        try:
            await self._watch(seconds, self._stage.stop.is_set, is_open=True)
        finally:
            await asyncio.to_thread(self._shop.close)
        self._session.dispatcher.rescan()
        await self._watch(_DRAIN_WITHIN, self._session.dispatcher.is_idle, is_open=False)
        self._finished.set()
        await drain
        self._show(self._sandbox.ledger.summary(), is_open=False)
        return self._first

    async def _watch(self, seconds: float, done: Callable[[], bool], *, is_open: bool) -> None:
        clock = self._stage.clock
        until = clock.monotonic() + seconds
        while clock.monotonic() < until and not done():
            summary = self._sandbox.ledger.summary()
            if self._first is None and summary.accepted:
                self._first = round(self._stage.since_start(), 3)
            self._show(summary, is_open=is_open)
            await asyncio.sleep(_FRAME)

    def _show(self, summary: Summary, *, is_open: bool) -> None:
        route = self._session.dispatcher.routes["default"]
        scene = Scene(
            self._shop.written,
            summary,
            route.in_flight,
            route.link.shown.value,
            route.link.reason or "",
            is_open,
            self._finished.is_set(),
        )
        self._stage.show(scene)


def _refuse_unknown(request: RequestInfo) -> SandboxAnswer | None:
    known = UNKNOWN_SKU.encode() not in request.payload
    return None if known else SandboxAnswer(422, b'{"error": "no such product"}')


def _settings(database_url: str, events_url: str) -> Settings:
    retry = RetrySettings(min_delay=0.2, max_delay=2.0, probe_max_delay=1.0)
    destination = DestinationSettings(
        "default", events_url, api_id=Secret(API_ID), timeout=5.0, retry=retry
    )
    return Settings(DatabaseSettings(database_url), MappingProxyType({"default": destination}))
