"""Several daemons on one outbox: each with clocks, a process and a way to the database of its own.

What runs is the product's own dispatcher, routes, queue and looks. A daemon can be killed, can
stand still while the others go on (as under SIGSTOP), can lose its way to the database, can be
stopped or told other limits. What a daemon does that stands still happens when it goes on again.
"""

import asyncio
import random
from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Any

from shipper.config.secrets import Secrets
from shipper.drain import Dispatcher, Route, Terms
from shipper.drain.courier import Courier
from shipper.drain.reporter import Reporter
from shipper.drain.tally import Tally
from shipper.drain.wait import Rhythm
from shipper.errors import LeaseLost, ShipperError, StoreUnavailable
from shipper.policy.backoff import Backoff
from shipper.policy.delivery import RetryPolicy
from shipper.store.drain.look import Looks
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from tests.evidence import Process
from tests.simulation.crew_bounds import Bounds
from tests.simulation.crew_database import CrewRunner, Server, Wire, WorkQueue, attach
from tests.simulation.crew_network import Berth, Seas
from tests.simulation.crew_scenario import Voyage
from tests.simulation.daemon import Diary
from tests.simulation.network import API_ID
from tests.simulation.scenario import Api
from tests.simulation.virtual import EPOCH, VirtualLoop

SAILOR: ContextVar["Sailor"] = ContextVar("sailor")


class CrewLoop(VirtualLoop):
    """An event loop in which one daemon can stand still while the others go on."""

    def _may_run(self, handle: asyncio.Handle) -> bool:
        sailor = handle._context.get(SAILOR)  # type: ignore[attr-defined]
        if sailor is None or not sailor.stands_still:
            return True
        sailor.postponed.append(handle)
        return False

    def go_on(self, handles: list[asyncio.Handle]) -> None:
        """Run now what was postponed."""
        self._ready.extend(handles)
        handles.clear()


class SailorClock:
    """`shipper.clock.Clock` of one machine among several: none of them agrees with another."""

    def __init__(self, loop: VirtualLoop, seed: str) -> None:
        dice = random.Random(seed)
        self._loop = loop
        self._from = dice.uniform(0.0, 3600.0)
        self._fast = 1.0 + dice.uniform(-1e-4, 1e-4)  # no quartz is worse
        self._ahead = EPOCH + dice.choice((0.0, dice.uniform(-3600.0, 3600.0)))
        self._drift = dice.choice((0.0, dice.uniform(-60.0, 60.0)))  # an hour in a minute
        self.random = dice.random

    def monotonic(self) -> float:
        """Return the seconds of this machine."""
        return self._from + self._loop.time() * self._fast

    def wall(self) -> float:
        """Return what its administrators take for the time."""
        return self._ahead + self._loop.time() * (1.0 + self._drift)


class Sailor:
    """One daemon from its start to its end."""

    def __init__(self, crew: "Crew", number: int) -> None:
        self.crew = crew
        self.evidence = Process(number, crew.loop.time())
        self.clock = SailorClock(crew.loop, f"{crew.voyage.seed} sailor {number}")
        self.wire = Wire(number, crew.dice)
        self.wire.die = self.kill
        self.wire.hurt = lambda: crew.bounds.changed("hurt")
        self.work = WorkQueue(crew.loop, self.wire, crew.voyage.slow)
        self.work.is_stopped = lambda: self.stands_still
        self.stop = asyncio.Event()
        self.tasks: list[asyncio.Task[Any]] = []
        self.postponed: list[asyncio.Handle] = []
        self.stands_still = False
        self.queue: Queue | None = None
        self.dispatcher: Dispatcher | None = None
        self._asked = 0.0

    @property
    def token(self) -> int:
        """Return the token under which it writes."""
        return 0 if self.queue is None else self.queue.token

    @property
    def is_alive(self) -> bool:
        """Return whether its process is there."""
        return self.evidence.ended is None

    def is_down(self, destination: str) -> bool:
        """Return whether it knows a destination to be down."""
        if self.dispatcher is None or destination not in self.dispatcher.routes:
            return False
        return self.dispatcher.routes[destination].link.is_down

    def end(self, how: Any) -> None:
        """Write down how it ended."""
        if self.is_alive:
            self.evidence.end, self.evidence.ended = how, self.crew.loop.time()
            self.evidence.stop_took = self.crew.loop.time() - self._asked
            self.crew.note(f"ended {self.evidence.number} {how}")
            self.crew.bounds.changed("stopped" if how == "stopped" else "gone")

    def kill(self) -> None:
        """End it at once."""
        if self.is_alive:
            self.end("killed")
            self.wire.gone = True
            for task in self.tasks:
                task.cancel()
            self.go_on()

    def ask_to_stop(self) -> None:
        """Ask it to end."""
        if self.is_alive and self.evidence.stop_asked is None:
            self.crew.note(f"stop {self.evidence.number}")
            self.evidence.stop_asked = self._asked = self.crew.loop.time()
            self.stop.set()

    def stand_still(self) -> None:
        """Do nothing more, until it goes on."""
        self.stands_still = self.is_alive

    def go_on(self) -> None:
        """Do what should have been done meanwhile."""
        if self.stands_still:
            self.crew.bounds.changed("hurt")
        self.stands_still = False
        self.crew.loop.go_on(self.postponed)


class Crew:
    """All daemons of a run."""

    def __init__(
        self,
        loop: CrewLoop,
        voyage: Voyage,
        server: Server,
        seas: Seas,
        note: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.voyage = voyage
        self.server = server
        self.seas = seas
        self.note = note
        self.dice = random.Random(f"crew of {voyage.seed}")
        self.sailors: list[Sailor] = []
        self.limits = {api.name: (api.max_in_flight, api.max_rate) for api in voyage.apis}
        self.highest = dict(self.limits)
        self.lives: list[asyncio.Task[None]] = []
        self.leaders: list[str] = []
        self.bounds = Bounds(loop, voyage, server.reader, self._settled)
        loop.on_task = _adopt

    def alive(self) -> list[Sailor]:
        """Return the daemons that are there, also those that stand still."""
        return [sailor for sailor in self.sailors if sailor.is_alive]

    def _settled(self) -> list[int] | None:
        """Return the tokens of the daemons, None while one of them can't do its part."""
        alive = [one for one in self.alive() if one.queue is not None]
        if any(one.stands_still or one.wire.is_cut or one.stop.is_set() for one in alive):
            return None
        return [one.token for one in alive]

    def start(self) -> Sailor:
        """Start another daemon."""
        sailor = Sailor(self, len(self.sailors) + 1)
        self.sailors.append(sailor)
        self.note(f"start {sailor.evidence.number}")
        sailor.wire.others = self._let_others_go_first
        token = SAILOR.set(sailor)
        task = asyncio.create_task(self._live(sailor))
        SAILOR.reset(token)
        self.lives.append(task)
        return sailor

    def _let_others_go_first(self) -> None:
        if self.dice.random() < 0.15:
            others = [one for one in self.alive() if not one.work.is_at_work]
            if others:
                self.dice.choice(others).work.do_early()

    async def _live(self, sailor: Sailor) -> None:
        try:
            await self._sail(sailor)
            sailor.end("stopped")
        except LeaseLost:
            sailor.end("lost")
        except ShipperError as error:
            self.note(f"fail {sailor.evidence.number}: {error}")
            sailor.end("failed")
        except Exception as error:  # noqa: BLE001 - a bug of the product has to be reported
            sailor.evidence.bug = f"{type(error).__name__}: {error}"
            sailor.end("failed")

    async def _sail(self, sailor: Sailor) -> None:
        voyage, clock, number = self.voyage, sailor.clock, sailor.evidence.number
        engine = self.server.engine(number)
        attach(engine, sailor.wire)
        queue = Queue(engine, lease_ttl=voyage.lease, monotonic=clock.monotonic)
        owner = Owner(f"host{number}", f"boot{number}", "", number, "")
        while True:
            taken_at = clock.monotonic()
            try:
                await sailor.work.run(
                    lambda: queue.acquire(owner, alone=False, name=f"daemon{number}")
                )
                break
            except StoreUnavailable:
                if sailor.stop.is_set():
                    return
                await asyncio.sleep(0.5)
        sailor.queue = queue
        self.bounds.changed("joined")
        looks = Looks(engine, lambda: queue.token)
        links = {row.destination: row for row in await self._insist(sailor, looks.links)}
        sailor.dispatcher = dispatcher = Dispatcher(
            queue,
            looks,
            clock=clock,
            reporter=Reporter(Diary(self.note), Tally(clock.monotonic())),
            database=CrewRunner(sailor.work),
            rhythm=Rhythm(voyage.poll, voyage.poll, voyage.lease, taken_at),
        )
        for api in voyage.apis:
            route = self._route(sailor, api)
            if api.name in links:
                route.resume(links[api.name])
            dispatcher.add(route)
        sailor.evidence.links = {
            route.name: (route.link.state.value, route.link.reason)
            for route in dispatcher.routes.values()
        }
        sailor.evidence.cut_off = await dispatcher.run(sailor.stop)
        sailor.dispatcher = None
        try:
            await sailor.work.run(queue.release)
        except StoreUnavailable:
            self.note(f"{number} could not give its shards back")

    async def _insist(self, sailor: Sailor, work: Callable[[], Any]) -> Any:
        while True:
            try:
                return await sailor.work.run(work)
            except StoreUnavailable:
                if sailor.wire.gone or sailor.stop.is_set():
                    raise
                await asyncio.sleep(0.5)

    def _route(self, sailor: Sailor, api: Api) -> Route:
        places, rate = self.limits[api.name]
        probes = Backoff(api.probe_max_delay, api.probe_max_delay)
        policy = RetryPolicy(Backoff(api.min_delay, api.max_delay), probes, api.max_attempts)
        courier = Courier(
            Berth(self.seas, sailor, api),
            validation="off",
            secrets=lambda: Secrets(api_id=API_ID),
            clock=sailor.clock,
        )
        assert sailor.dispatcher is not None
        return Route(
            api.name,
            Terms(policy, api.timeout, places, rate, api.after_dead_letter == "hold"),
            courier,
            clock=sailor.clock,
            wake=sailor.dispatcher.wake,
        )

    def reload(self, sailor: Sailor) -> None:
        """Have a daemon use the limits as they are now."""
        if sailor.dispatcher is None or not sailor.is_alive or sailor.stop.is_set():
            return
        token = SAILOR.set(sailor)
        for api in self.voyage.apis:
            sailor.dispatcher.add(self._route(sailor, api))
        SAILOR.reset(token)
        self.note(f"reload {sailor.evidence.number} {self.limits}")

    def look_around(self, there: Collection[int]) -> None:
        """Note if two of these daemons, who are those of the outbox, think they have one shard."""
        seen = [
            (one, one.dispatcher.shares)
            for one in self.alive()
            if one.dispatcher is not None and one.token in there
        ]
        leads = [one.evidence.number for one, shares in seen if shares.leads]
        if len(leads) > 1:
            self.leaders.append(f"daemons {leads} lead at once")
        kept = [shard for _, shares in seen for shard in shares.kept]
        if len(kept) != len(set(kept)):
            self.leaders.append("two daemons keep the same shard")


def _adopt(task: asyncio.Task[Any]) -> None:
    sailor = SAILOR.get(None)
    if sailor is not None:
        sailor.tasks.append(task)
