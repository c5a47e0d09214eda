"""The tick of the drain: collect → record → claim → look → send. The dispatcher owns all its state.

There is one exchange with the database at a time. While it writes one batch of outcomes, the next
batch collects: outcomes are committed in groups, without a timer.

It must never send an event that isn't claimed on disk, nor send while the database can't be
written, nor begin a try that may last longer than the lease. A lost lease ends the drain. A lost
database doesn't: the dispatcher does the same work again later.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf

from shipper.clock import Clock
from shipper.drain.exchange import Exchange, ExchangeResult, OutboxReader, OutboxWriter, Runner
from shipper.drain.link_row import StoredLinks
from shipper.drain.reporter import Reporter
from shipper.drain.route import Route
from shipper.drain.routes import Asked, Routes, changed_links, take_wanted
from shipper.drain.sharing import Sharing
from shipper.drain.wait import Rhythm, Wait
from shipper.errors import StoreUnavailable
from shipper.policy.shares import Shares
from shipper.store.drain.messages import Holds, Work

CLAIMS_PER_TURN = 512
STOP_GRACE = 5.0
# `shipper events reroute` asks again before this is over, for as long as it needs.
RECALLED_FOR = 1.0


class Dispatcher:
    """Drains the outbox through its routes."""

    def __init__(
        self,
        queue: OutboxWriter,
        looks: OutboxReader,
        *,
        clock: Clock,
        reporter: Reporter,
        database: Runner,
        rhythm: Rhythm,
    ) -> None:
        self._clock = clock
        self._report = reporter
        self._wait = Wait(rhythm, clock)
        self._exchange = Exchange(
            queue, looks, database, clock=clock, reporter=reporter, rhythm=rhythm
        )
        self._routes = Routes(clock)
        self.sharing = Sharing(queue.shares)
        self._stop = asyncio.Event()
        self._deadline = inf  # until when a stop waits for tries in flight
        self._idle_turns = 0  # waits during a stop, without an exchange
        self._knows_holds = False
        self._releases: Mapping[str, int] = {}
        self._recalls: Mapping[str, int] = {}
        self._stored = StoredLinks()

    # -- from outside -------------------------------------------------------------------------

    def add(self, route: Route) -> None:
        """Add a destination; if there is a route of that name, replace it and keep its state.

        The new route begins when everything in flight at the old one has ended and is recorded.
        """
        route.share(self.shares, self._clock.monotonic())
        self._routes.add(route)
        # The dispatcher has to know the holds before it claims events of the new route.
        self._exchange.owe_holds()
        self._wait.end()

    def remove(self, name: str) -> None:
        """Remove a destination; its tries in flight end and are recorded."""
        self._routes.remove(name)
        self._wait.end()

    @property
    def routes(self) -> Mapping[str, Route]:
        """Return the routes by name, also those that wait until an old route has left."""
        return self._routes.named

    @property
    def shares(self) -> Shares:
        """Return the shards of the outbox that this daemon has."""
        return self.sharing.shares

    def probe_at_once(self) -> None:
        """Probe the links that are down: something has changed, and they may work now."""
        for route in self.routes.values():
            route.link.probe_at_once(self._clock.monotonic())
        self._wait.end()

    def set_rhythm(self, rhythm: Rhythm) -> None:
        """Use another rhythm and another length of the lease from now on."""
        self._wait.set(rhythm)
        self._exchange.set_lease(rhythm.lease_ttl)

    @property
    def beats(self) -> int:
        """Return a number that grows while the drain works; the watchdog checks it."""
        return self._exchange.tries + self._idle_turns

    def wake(self) -> None:
        """End the present wait: there may be something to do."""
        self._wait.end()

    def look(self) -> None:
        """Look for new events with the next exchange, even if the database shows no change."""
        self._exchange.owe_a_look()
        self._wait.end()

    def rescan(self) -> None:
        """Sweep all destinations from the beginning."""
        for route in self.routes.values():
            route.ahead.rescan()
        self.look()

    def is_idle(self) -> bool:
        """Return whether no event is left to send."""
        return self._routes.are_idle()

    # -- the drain ----------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, *, until: Callable[[], bool] | None = None) -> int:
        """Drain until `stop` is set or `until` returns true; return how many tries were cut off."""
        waiter = asyncio.create_task(self._stop_on(stop))
        try:
            while not self._stop.is_set() and not (until is not None and until()):
                await self._wait(await self.tick())
            return await self._wind_down()
        except StoreUnavailable as error:
            # Raised only during a stop. The next daemon sees by the claims what to send again.
            return self._report.unrecorded(self._routes.at_work(), error)
        finally:
            waiter.cancel()
            await self._end_flights()

    async def _stop_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._begin_to_end()

    def _begin_to_end(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            longest = self._routes.longest() + STOP_GRACE
            self._deadline = min(self._deadline, self._clock.monotonic() + longest)
        self._wait.end()

    @property
    def may_finish(self) -> bool:
        """Return whether a stop still waits for something in flight."""
        return self._routes.under_way() > 0 and self._clock.monotonic() < self._deadline

    def cut_off(self) -> None:
        """Make a stop wait no longer for tries in flight."""
        self._deadline = -inf
        self._wait.end()

    async def tick(self) -> float:
        """Do one tick; return the seconds to wait before the next, if nothing ends the wait."""
        result = await self._converse(self._questions())
        if result.commanded:  # the holds must be known before the next start
            result = await self._converse([], asks_holds=True)
        for route in self._routes.at_work():
            if route.flights.bug is not None:
                raise route.flights.bug
        self._drop_left_routes()
        if not self._stop.is_set():
            for route in self._routes.at_work():
                route.start(self._exchange.lease_until)
        now = self._clock.monotonic()
        self._report.routes(self._routes.at_work(), now)
        self._report.shares(self.shares, now)
        return self._delay(result, now)

    def _drop_left_routes(self) -> None:
        """Drop the routes that have nothing more to record, so that their successors begin."""
        for route in self._routes.left():
            self._report.forget(route)
            self._exchange.owe_holds()  # a dead letter there may hold its key now

    def _delay(self, result: ExchangeResult, now: float) -> float:
        if self.sharing.has_done(self._routes.all()):
            return 0.0
        until = now + self._wait.longest(result.pulse, now)
        for route in self._routes.at_work():
            if route.flights.has_ended() or (not self._stop.is_set() and self._has_more(route)):
                return 0.0
            if now < route.recalled_until:
                until = min(until, route.recalled_until)
            moment = route.next_event(now)
            if moment is not None:
                until = min(until, moment)
        return max(0.0, until - now)

    def _has_more(self, route: Route) -> bool:
        return self._clock.monotonic() >= route.recalled_until and route.ahead.has_more()

    # -- the exchange with the database ---------------------------------------------------------

    def _questions(self) -> list[Asked]:
        if self._stop.is_set():
            return []
        now = self._clock.monotonic()
        asking = [route for route in self._routes.at_work() if now >= route.recalled_until]
        return [Asked(route, one) for route in asking for one in route.ahead.questions(now)]

    async def _converse(self, asked: list[Asked], *, asks_holds: bool = False) -> ExchangeResult:
        routes = self._routes.in_turn()
        now, wall = self._clock.monotonic(), self._clock.wall()
        ended = [(route, route.flights.take_ended()) for route in routes]
        wanted = [] if self._stop.is_set() else take_wanted(routes, CLAIMS_PER_TURN, now)
        homes = {row: route.name for route, rows in wanted for row, _ in rows}
        links = changed_links(self._routes.at_work(), self._stored, now, wall)
        gave = self.sharing.gives(self._routes.all())
        released = [[*route.lanes.loaded.released] for route in routes]
        work = Work(
            now=wall,
            records=[item.record for _, items in ended for item in items],
            released=[row for rows in released for row in rows],
            wanted=list(homes),
            homes=homes,
            links=links,
        )
        loaded = None
        if asks_holds:
            loaded = {name: route.lanes.loaded_keys() for name, route in self.routes.items()}
        result = await self._exchange(work, [a.question for a in asked], self._stop, loaded, gave)
        self._stored.update(links)
        claimed = {event.id: event for event in result.events}
        for route, rows in wanted:
            route.ahead.take_claims(rows, claimed)
        for (route, items), gone in zip(ended, released, strict=True):
            route.lanes.loaded.forget_released(len(gone))
            for item in items:
                route.recorded(item)
            if items:
                self._report.recorded(route.name, items)
        self._take_result(asked, result)
        return result

    def _take_result(self, asked: Sequence[Asked], result: ExchangeResult) -> None:
        now = self._clock.monotonic()
        if result.shares is not None:  # before the rows: some may be another daemon's now
            self.sharing.take(result.shares, self._routes.all(), now)
            self._report.took_over(result.shares.ended)
        self._go_back(result)
        if result.holds is not None:
            self._apply_holds(result.holds, now)
        if result.pulse.fresh:
            self._routes.note_fresh(asked)
        # Pages of single lanes come last: otherwise the scan would meet the rows that they ask for.
        for of_lane in (False, True):
            for (route, question), page in zip(asked, result.pages, strict=True):
                if page is not None and (question.lane is not None) is of_lane:
                    route.take_page(question, page, now)

    def _go_back(self, result: ExchangeResult) -> None:
        """Look again at everything that has changed or may have changed."""
        if result.pulse.moved:
            for route in self._routes.at_work():
                route.recall(route.recalled_until)  # the rows that were seen may be gone
        if result.may_be_back or result.pulse.moved:
            for route in self.routes.values():
                route.ahead.rescan()
        for name, lane in result.touched:
            if name in self.routes:
                self.routes[name].ahead.refetch(lane)

    def _apply_holds(self, holds: Holds, now: float) -> None:
        for name, route in self.routes.items():
            route.lanes.hold(holds.keys.get(name, frozenset()))
            route.link.held = name in holds.destinations
            if self._knows_holds:
                if holds.releases.get(name) != self._releases.get(name):
                    route.link.release(now)
                if holds.recalls.get(name) != self._recalls.get(name):
                    route.recall(now + RECALLED_FOR)
                    self._wait.end()  # the next exchange releases its claims at once
        for name, count in holds.releases.items():
            if count != self._releases.get(name):
                self._routes.release(name)
        self._knows_holds = True
        self._releases, self._recalls = holds.releases, holds.recalls

    # -- the end ------------------------------------------------------------------------------

    async def _wind_down(self) -> int:
        """Wait for tries in flight, record them, and return how many have not finished.

        Meanwhile the other daemons get every shard in which nothing is under way.
        """
        self._begin_to_end()
        while self.may_finish:
            self._wait.forget()
            if any(route.flights.has_ended() for route in self._routes.at_work()):
                await self._converse([])
                continue
            if self.shares.daemons > 1:
                with suppress(StoreUnavailable):  # no outcome is to be recorded: there is time
                    await self._converse([])
            if not self.sharing.has_done(self._routes.all()):
                await self._wait(min(self._deadline - self._clock.monotonic(), self._wait.idle))
                self._idle_turns = self._report.waited(self._clock.monotonic())
        await self._converse([])  # records the last outcomes
        for route in self._routes.at_work():
            route.lanes.unload_all()
        await self._converse([])  # releases the claims of events that were never sent
        self._report.flush(self._routes.at_work())
        return self._routes.under_way()

    async def _end_flights(self) -> None:
        """Cut off the tries that are still in flight, and close all connections."""
        for route in self._routes.at_work():
            route.flights.cut_off()
        await self._routes.aclose()
