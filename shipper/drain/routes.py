"""All routes of a dispatcher, and how one route replaces another while the others go on.

It decides when a route begins: not before everything in flight at its predecessor has ended and is
recorded. It must never let two routes of one name send at the same time, because two events of one
key could be in flight. A change of one destination doesn't affect the others.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple

from shipper.clock import Clock
from shipper.drain.link_row import StoredLinks
from shipper.drain.lookahead import Wanted
from shipper.drain.route import Legacy, Route
from shipper.drain.terms import Question
from shipper.store.drain.messages import LinkRow

LEGACIES = 16
"""Of so many removed routes the daemon remembers what they leave to a route of the same name."""


class Asked(NamedTuple):
    """A question and its route."""

    route: Route
    question: Question


class Routes:
    """The routes, by name. Belongs to the event loop."""

    def __init__(self, clock: Clock) -> None:
        self.named: dict[str, Route] = {}
        """The routes of the configuration, also those that haven't begun."""
        self._leaving: dict[str, Route] = {}
        self._legacies: dict[str, Legacy] = {}  # of the last routes that left without a successor
        self._closing: set[asyncio.Task[None]] = set()
        self._at_work: list[Route] = []
        self._turns = 0
        self._clock = clock

    def at_work(self) -> Sequence[Route]:
        """Return the routes that can have something in flight: at most one for each name."""
        return self._at_work

    def _changed(self) -> None:
        begun = (route for name, route in self.named.items() if name not in self._leaving)
        self._at_work = [*self._leaving.values(), *begun]

    def all(self) -> list[Route]:
        """Return the routes at work, and those that wait until an old route has left."""
        return [*self._leaving.values(), *self.named.values()]

    def in_turn(self) -> list[Route]:
        """Return the same routes, each time with another one first, so that all get claims."""
        routes = self._at_work
        self._turns += 1
        first = self._turns % max(1, len(routes))
        return [*routes[first:], *routes[:first]]

    def add(self, route: Route) -> None:
        """Add a route; it takes over from a route of the same name once the old one has left."""
        before = self.named.get(route.name)
        if before is not None:
            route.link.held, route.open = before.link.held, before.open
            self._let_leave(before)
        elif (legacy := self._legacies.pop(route.name, None)) is not None:
            # Its pause is known by a clock that can't be set; what is stored is a wall time.
            route.follow(legacy, self._clock.monotonic())
        self.named[route.name] = route
        self._changed()

    def remove(self, name: str) -> None:
        """Let a route leave, without a successor."""
        self._let_leave(self.named.pop(name))
        self._changed()

    def _let_leave(self, route: Route) -> None:
        if route.name in self._leaving:
            self._close(route)  # it has never begun
        else:
            self._leaving[route.name] = route
            route.recall(inf)

    def left(self) -> Iterator[Route]:
        """Drop the routes that have nothing more to record, and yield them."""
        for name, route in list(self._leaving.items()):
            if route.has_left():
                del self._leaving[name]
                self._changed()
                self._close(route)
                if name in self.named:  # not earlier: the last answers may have asked for a pause
                    self.named[name].follow(route.legacy(), self._clock.monotonic())
                else:
                    self._legacies[name] = route.legacy()
                    if len(self._legacies) > LEGACIES:
                        self.release(next(iter(self._legacies)))
                yield route

    def note_fresh(self, asked: Sequence[Asked]) -> None:
        """Let the routes that had no room for new rows look at them later."""
        seen = {
            one.route.name
            for one in asked
            if one.question.lane is None and not one.question.is_sweep
        }
        for name, route in self.named.items():
            if name not in seen:
                route.ahead.look_again()

    def release(self, name: str) -> None:
        """Forget the pause of a route that was removed: an operator has ended it."""
        self._legacies.pop(name, None)

    def are_idle(self) -> bool:
        """Return whether no event is left to send."""
        return not self._leaving and all(route.is_idle() for route in self.named.values())

    def under_way(self) -> int:
        """Return how many tries are under way."""
        return sum(len(route.flights.under_way) for route in self.at_work())

    def longest(self) -> float:
        """Return how long a try can take at most, in seconds."""
        return max((route.timeout for route in self.at_work()), default=0.0)

    def _close(self, route: Route) -> None:
        # The drain goes on while the connections are closed.
        closing = asyncio.create_task(route.courier.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all connections to the receivers."""
        for route in self.all():
            await route.courier.aclose()
        await asyncio.gather(*self._closing, return_exceptions=True)


def take_wanted(routes: Sequence[Route], most: int, now: float) -> list[tuple[Route, list[Wanted]]]:
    """Take from each route the rows that it wants to claim, `most` of them together."""
    taken: list[tuple[Route, list[Wanted]]] = []
    for route in routes:
        if now >= route.recalled_until:
            rows = route.ahead.take_wanted(most)
            most -= len(rows)
            taken.append((route, rows))
    return taken


def changed_links(
    routes: Iterable[Route], stored: StoredLinks, now: float, wall: float
) -> list[LinkRow]:
    """Return the rows of the links that are worth a write."""
    ahead = wall - now
    return [
        route.link_row(now) for route in routes if stored.has_changed(route.name, route.link, ahead)
    ]
