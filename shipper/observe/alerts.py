"""Tells somebody that something is wrong, and by a heartbeat that nothing is.

Two URLs, each with a task of its own, so that neither waits for the other and the drain for none.
What has been told is kept in memory only: a daemon that begins anew tells again what is still
wrong. Neither URL is ever shown, and nothing of an event leaves by them.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf
from typing import Final, Literal, NamedTuple

import orjson

from shipper import __version__
from shipper.clock import Clock, iso
from shipper.config import AlertSettings, Secret
from shipper.config.windows import Windows
from shipper.destination.webhook import Hook
from shipper.drain import Route
from shipper.drain.tally import Tally
from shipper.logs import Log
from shipper.observe.alarms import Alarms, Known, Notice, conditions, links_of
from shipper.observe.guard import Guard
from shipper.observe.health import Health
from shipper.observe.survey import Figures, Survey
from shipper.policy.backoff import Backoff
from shipper.policy.outcome import Kind, Outcome, classify

# Not at once: a daemon that can't stay up would tell the same every time.
LOOK_EVERY: Final = 5.0
# Seconds between two looks that no machine takes, however busy it is.
_ASLEEP: Final = 30.0
TIMEOUT: Final = 10.0
# With these waits, somebody who can't be told is given up after some two hours.
TRIES: Final = 24
_BACKOFF: Final = Backoff(1.0, 600.0)


class Hooks(NamedTuple):
    """What leads to the two URLs, None for one that isn't configured."""

    webhook: Hook | None
    heartbeat: Hook | None


def hooks(settings: AlertSettings) -> Hooks:
    """Return what leads to the webhook and to the heartbeat's URL; raises ConfigError."""
    webhook = _hook(settings, settings.webhook_url, "POST")
    return Hooks(webhook, _hook(settings, settings.heartbeat_url, "GET"))


async def close(made: Hooks) -> None:
    """Close what leads there."""
    for hook in made:
        if hook is not None:
            await hook.aclose()


def _hook(
    settings: AlertSettings, url: Secret | None, method: Literal["GET", "POST"]
) -> Hook | None:
    if url is None:
        return None
    return Hook(
        url.reveal(),
        method,
        timeout=TIMEOUT,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
    )


class Watch:
    """Looks every `LOOK_EVERY` seconds at how things are, and takes down what is to be told."""

    def __init__(
        self,
        settings: AlertSettings,
        routes: Mapping[str, Route],
        tally: Tally,
        *,
        health: Health,
        survey: Survey,
        clock: Clock,
        windows: Windows | None = None,
    ) -> None:
        self._windows = windows
        self._settings = settings
        self._routes = routes
        self._tally = tally
        self._health = health
        self._survey = survey
        self._clock = clock
        self._figures: Figures | None = None
        self._well = False
        self._left_at, self._awake_since = clock.monotonic(), -inf

    @property
    def is_well(self) -> bool:
        """Return whether nothing was wrong at the last look, and the drain still turns."""
        return self._well and self._health.why_not_alive() is None

    async def look(self, alarms: Alarms) -> list[Notice]:
        """Look, and return what is to be told."""
        # Nobody was asked anything while the machine slept, or this process was stopped.
        if (now := self._clock.monotonic()) - self._left_at > _ASLEEP:
            self._awake_since = now
        # A database that is lost doesn't end the alarms that only it knows of, nor is all well.
        seen = await self._survey.figures()
        self._figures = seen or self._figures
        now = self._clock.monotonic()
        unanswered = min(self._tally.unanswered_for(now), now - self._awake_since)
        known = Known(links_of(self._routes), self._figures, unanswered, self._open_for())
        if known.open_for is None:
            found = conditions(known, self._settings)
        else:  # where windows are rare, many a minute is looked at
            found = await asyncio.to_thread(conditions, known, self._settings)
        is_seen = seen is not None and self._health.why_not_ready() is None
        self._well = is_seen and not found
        self._left_at = self._clock.monotonic()
        return alarms.update(found, now, self._clock.wall())

    def _open_for(self) -> Callable[[float, float], float] | None:
        windows, wall = self._windows, self._clock.wall()
        if windows is None:
            return None
        return lambda age, enough: windows.open_within(wall - age, wall, enough)


class Teller:
    """Tells a webhook one notice after the other, each until it is taken or given up.

    What it has not got rid of when it ends stays among the untold, for the one after a reload.
    """

    def __init__(self, hook: Hook, untold: deque[Notice], clock: Clock, log: Log) -> None:
        self._hook = hook
        self._untold = untold
        self._clock = clock
        self._log = log
        self._news = asyncio.Event()
        self._news.set()

    def add(self, notice: Notice) -> None:
        """Have something to tell."""
        self._untold.append(notice)
        self._news.set()

    async def tell(self) -> None:
        """Wait for something to tell, and tell all there is."""
        await self._news.wait()
        self._news.clear()
        while self._untold:
            notice = self._untold[0]
            await self._tell(notice)
            # Where too many wait, it may have gone by itself.
            if self._untold[0] is notice:
                self._untold.popleft()

    async def _tell(self, notice: Notice) -> None:
        body = document(notice, self._clock.wall())
        for number in range(1, TRIES + 1):
            outcome = await _ring(self._hook, self._clock, body)
            if outcome.kind is Kind.ACCEPTED:
                return
            if number == 1:
                self._log("alert.failed", alarm=notice.condition.alarm, reason=_why(outcome))
            await asyncio.sleep(_BACKOFF.delay(number, self._clock.random()))
        self._log("alert.lost", alarm=notice.condition.alarm, reason=_why(outcome), tries=TRIES)


class Pulse:
    """Asks the heartbeat's URL as long as all is well; its failures are told once a run."""

    def __init__(self, hook: Hook, is_well: Callable[[], bool], clock: Clock, log: Log) -> None:
        self._hook = hook
        self._is_well = is_well
        self._clock = clock
        self._log = log
        self._failing = False

    async def beat(self) -> None:
        """Ask once, if all is well."""
        if not self._is_well():
            return
        outcome = await _ring(self._hook, self._clock)
        failed = outcome.kind is not Kind.ACCEPTED
        if failed and not self._failing:
            self._log("alert.heartbeat_failed", reason=_why(outcome))
        self._failing = failed


def document(notice: Notice, now: float) -> bytes:
    """Return a notice as the webhook gets it; chat services show the `text`."""
    condition, host = notice.condition, os.uname().nodename
    over = "over: " if notice.change == "ended" else ""
    return orjson.dumps(
        {
            "text": f"shipper on {host}: {over}{condition.text}",
            "alarm": condition.alarm,
            "change": notice.change,
            "destination": condition.destination,
            "since": iso(notice.since),
            "at": iso(now),
            "host": host,
            "version": __version__,
        }
    )


@asynccontextmanager
async def alerting(
    made: Hooks, every: float, watch: Watch, alarms: Alarms, clock: Clock, log: Log
) -> AsyncIterator[None]:
    """Look, tell and beat (`every` so many seconds) for the length of a `with`."""
    webhook, heartbeat = made
    teller = None if webhook is None else Teller(webhook, alarms.untold, clock, log)

    async def look() -> None:
        for notice in await watch.look(alarms):
            log("alert.alarm", **_fields(notice))
            if teller is not None:
                teller.add(notice)

    running = [_every(LOOK_EVERY, look, log, first=LOOK_EVERY)]
    if teller is not None:
        running.append(_every(0.0, teller.tell, log))
    if heartbeat is not None:
        pulse = Pulse(heartbeat, lambda: watch.is_well, clock, log)
        # Behind the first look, which alone can say that all is well.
        beats = _every(every, pulse.beat, log, first=2 * LOOK_EVERY)
        running.append(beats)
    tasks = [asyncio.create_task(work) for work in running]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await close(made)


async def _every(
    seconds: float, chore: Callable[[], Awaitable[None]], log: Log, *, first: float = 0.0
) -> None:
    guard = Guard("alerts", log)
    await asyncio.sleep(first)
    while True:
        with guard():
            await chore()
        await asyncio.sleep(seconds)


async def _ring(hook: Hook, clock: Clock, body: bytes = b"") -> Outcome:
    return classify(await hook.send(body), clock.wall())


def _why(outcome: Outcome) -> str:
    return f"{outcome.cause}: {outcome.detail}"


def _fields(notice: Notice) -> dict[str, str | None]:
    condition = notice.condition
    return {
        "alarm": condition.alarm,
        "change": notice.change,
        "destination": condition.destination,
        "reason": condition.text,
    }
