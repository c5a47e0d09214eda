"""Send alerts to a webhook when something is wrong, and a heartbeat while all is well.

Each of the two URLs has a task of its own: neither waits for the other, and the drain must never
wait for either. Sent notices are remembered only in memory: a restarted daemon alerts again about
each fault that remains. This module must never show the URLs, and never send them anything of an
event.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf
from typing import Final, Literal, NamedTuple

import orjson

from shipper import __version__
from shipper.clock import Clock, iso
from shipper.config import AlertSettings, Secret, Settings
from shipper.config.windows import Windows
from shipper.destination.own_certificate import ends_of_all
from shipper.destination.webhook import Hook
from shipper.drain import Route
from shipper.drain.tally import Tally
from shipper.logs import Log
from shipper.observe.alarms import Alarms, Known, Notice, conditions, links_of
from shipper.observe.guard import repeat
from shipper.observe.health import Health
from shipper.observe.situation import late_after
from shipper.observe.survey import Figures, Survey
from shipper.policy.backoff import Backoff
from shipper.policy.outcome import Kind, Outcome, classify

# Seconds between looks, and before the first: a daemon that crashes at once must not alert.
LOOK_EVERY: Final = 5.0
# Seconds. Two looks are further apart only if the machine was asleep, however busy it is.
_ASLEEP: Final = 30.0
TIMEOUT: Final = 10.0
# With these waits, a notice that the webhook doesn't accept is dropped after about two hours.
TRIES: Final = 24
_BACKOFF: Final = Backoff(1.0, 600.0)


class Hooks(NamedTuple):
    """The clients of the two URLs, None for a URL that isn't configured."""

    webhook: Hook | None
    heartbeat: Hook | None


def hooks(settings: AlertSettings) -> Hooks:
    """Return the clients of the webhook and the heartbeat URL; raises ConfigError."""
    webhook = _hook(settings, settings.webhook_url, "POST")
    return Hooks(webhook, _hook(settings, settings.heartbeat_url, "GET"))


async def close(made: Hooks) -> None:
    """Close the clients."""
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


class AlarmWatch:
    """Judges the alarms every `LOOK_EVERY` seconds.

    Each of several daemons does; only the one that leads returns notices.
    """

    def __init__(
        self,
        settings: Settings,
        routes: Mapping[str, Route],
        tally: Tally,
        *,
        health: Health,
        survey: Survey,
        clock: Clock,
    ) -> None:
        self._role = survey.role
        self._windows = Windows.of(settings) if settings.schedule.windows else None
        self._settings = settings.alerts
        self._late_after = late_after(settings)
        self._certificates = ends_of_all(settings.destinations.values())
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
        """Return whether the last look found nothing wrong, and the drain still turns."""
        return self._well and self._role.leads() and self._health.why_not_alive() is None

    async def look(self, alarms: Alarms) -> list[Notice]:
        """Look, and return the notices that are due."""
        # While the machine slept or this process was stopped, no query was unanswered.
        if (now := self._clock.monotonic()) - self._left_at > _ASLEEP:
            self._awake_since = now
        # A lost database ends none of the alarms that only the database can show.
        seen = await self._survey.figures()
        self._figures = seen or self._figures
        now = self._clock.monotonic()
        unanswered = min(self._tally.unanswered_for(now), now - self._awake_since)
        links = links_of(self._routes)
        wall = self._clock.wall()
        certificates = {name: ends - wall for name, ends in self._certificates.items()}
        known = Known(
            links, self._figures, unanswered, self._open_for(), self._late_after, certificates
        )
        if known.open_for is None:
            found = conditions(known, self._settings)
        else:  # with rare windows, many minutes have to be examined
            found = await asyncio.to_thread(conditions, known, self._settings)
        is_seen = seen is not None and self._health.why_not_ready() is None
        self._well = is_seen and not found
        self._left_at = self._clock.monotonic()
        notices = alarms.update(found, now, self._clock.wall())
        return alarms.due(notices, now, self._role)

    def _open_for(self) -> Callable[[float, float], float] | None:
        windows, wall = self._windows, self._clock.wall()
        if windows is None:
            return None
        return lambda age, enough: windows.open_within(wall - age, wall, enough)


class AlertSender:
    """Sends one notice after another to the webhook, each until it is accepted or dropped.

    The notices that are left at the end stay in `unsent`, for the sender after a reload.
    """

    def __init__(self, hook: Hook, unsent: deque[Notice], clock: Clock, log: Log) -> None:
        self._hook = hook
        self._unsent = unsent
        self._clock = clock
        self._log = log
        self._news = asyncio.Event()
        self._news.set()

    def add(self, notice: Notice) -> None:
        """Queue a notice."""
        self._unsent.append(notice)
        self._news.set()

    async def send(self) -> None:
        """Wait for notices, and send all of them."""
        await self._news.wait()
        self._news.clear()
        while self._unsent:
            notice = self._unsent[0]
            await self._send(notice)
            # If too many notices wait, the queue may have dropped this one already.
            if self._unsent[0] is notice:
                self._unsent.popleft()

    async def _send(self, notice: Notice) -> None:
        body = document(notice, self._clock.wall())
        for number in range(1, TRIES + 1):
            outcome = await _request(self._hook, self._clock, body)
            if outcome.kind is Kind.ACCEPTED:
                return
            if number == 1:
                self._log("alert.failed", alarm=notice.condition.alarm, reason=_why(outcome))
            await asyncio.sleep(_BACKOFF.delay(number, self._clock.random()))
        self._log("alert.lost", alarm=notice.condition.alarm, reason=_why(outcome), tries=TRIES)


class HeartbeatSender:
    """Requests the heartbeat URL while all is well; logs each run of failures once."""

    def __init__(self, hook: Hook, is_well: Callable[[], bool], clock: Clock, log: Log) -> None:
        self._hook = hook
        self._is_well = is_well
        self._clock = clock
        self._log = log
        self._failing = False

    async def beat(self) -> None:
        """Send one request, if all is well."""
        if not self._is_well():
            return
        outcome = await _request(self._hook, self._clock)
        failed = outcome.kind is not Kind.ACCEPTED
        if failed and not self._failing:
            self._log("alert.heartbeat_failed", reason=_why(outcome))
        self._failing = failed


def document(notice: Notice, now: float) -> bytes:
    """Return a notice as JSON for the webhook; chat services show its `text`."""
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
    made: Hooks, every: float, watch: AlarmWatch, alarms: Alarms, clock: Clock, log: Log
) -> AsyncIterator[None]:
    """Judge the alarms and send alerts and heartbeats (each `every` seconds) during a `with`."""
    webhook, heartbeat = made
    sender = None if webhook is None else AlertSender(webhook, alarms.unsent, clock, log)

    async def look() -> None:
        for notice in await watch.look(alarms):
            log("alert.alarm", **_fields(notice))
            if sender is not None:
                sender.add(notice)

    running = [repeat("alerts", look, LOOK_EVERY, log, first=LOOK_EVERY)]
    if sender is not None:
        running.append(repeat("alerts", sender.send, 0.0, log))
    if heartbeat is not None:
        heartbeats = HeartbeatSender(heartbeat, lambda: watch.is_well, clock, log)
        # After the first look, because only a look can find that all is well.
        beats = repeat("alerts", heartbeats.beat, every, log, first=2 * LOOK_EVERY)
        running.append(beats)
    tasks = [asyncio.create_task(work) for work in running]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await close(made)


async def _request(hook: Hook, clock: Clock, body: bytes = b"") -> Outcome:
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
