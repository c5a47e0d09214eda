"""Keys that are well, due or named by an operator, beside many that wait: with the real store."""

import asyncio
import json
from collections.abc import Callable
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from shipper.clock import SystemClock
from shipper.config.secrets import Secrets
from shipper.daemon.database_thread import DatabaseThread
from shipper.drain import Route, Terms
from shipper.drain.courier import Courier
from shipper.drain.lookahead import Lookahead
from shipper.policy.backoff import Backoff
from shipper.policy.delivery import RetryPolicy
from shipper.policy.lanes import Lanes
from shipper.policy.outcome import Reply
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Page
from shipper.store.operate.dead_letters import retry
from shipper.store.operate.discard import discard_pending
from shipper.store.operate.hold import hold_key, release_key
from shipper.store.operate.reroute import reroute
from shipper.store.operate.send_now import send_now
from tests.carriers import Carrying
from tests.store.daemons import NOW, Daemon, write
from tests.store.shipping import PATIENCE, dispatcher, run

CROWD = 200
PAGE = 50
WRITTEN = (("mine", "first"), ("mine", "second"), ("well", "well"))


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        """Begin."""
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the moment of the test."""
        return self.now

    def wall(self) -> float:
        """Return the wall time of the test."""
        return NOW + self.now

    def random(self) -> float:
        """Return no chance at all."""
        return 0.0


class Receiver(Carrying):
    """Accepts everything, and tells of each event that it has."""

    def __init__(self) -> None:
        """Begin with none."""
        self.seen: set[bytes] = set()
        self.news = asyncio.Event()

    async def send(self, event_id: str, payload: bytes, api_id: str) -> Reply:  # noqa: ARG002
        """Accept an event."""
        self.seen.add(payload)
        self.news.set()
        return Reply(202)

    async def has(self, payload: str) -> None:
        """Wait until an event is there."""
        async with asyncio.timeout(PATIENCE):
            while payload.encode() not in self.seen:
                self.news.clear()
                await self.news.wait()


def _of(name: str) -> str:
    return json.dumps({"type": "view", "view": {"name": name}})


class Counting(Looks):
    """Eyes that remember whether they have looked at everything from the beginning."""

    sweeps = 0

    def page(self, question: Look) -> Page:
        """Look."""
        self.sweeps += question.kind == "pending" and question.after == 0
        return super().page(question)


def beside(engine: Engine, clock: Clock | SystemClock, receiver: Receiver) -> Route:
    """Return a route; `engine` has a crowd that waits for half an hour, in order of their ids."""
    terms = Terms(RetryPolicy(Backoff(1, 3600), Backoff(1, 60), 20), 10.0, 8, 0.0, holds_dead=False)
    courier = Courier(receiver, validation="off", secrets=Secrets, clock=clock)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :most)"
    crowd = f"{numbers} SELECT '{{}}', 'w' || i FROM n"
    run(engine, f"INSERT INTO shipper_outbox (payload, ordering_key) {crowd}", most=CROWD)
    wait(engine, clock.wall() + 1800.0, f"id <= {CROWD}")
    return Route("default", terms, courier, clock=clock, wake=lambda: None)


def wait(engine: Engine, until: float, which: str) -> None:
    """Let events wait, as a failure leaves them; `until` is in seconds since 1970."""
    moment = "to_timestamp(CAST(:until AS float))"
    if engine.dialect.name == "sqlite":
        moment = "strftime('%Y-%m-%dT%H:%M:%fZ', :until, 'unixepoch')"
    failed = f"next_attempt_at = {moment}, last_error = 'http-500', attempts = 12"
    run(engine, f"UPDATE shipper_outbox SET {failed} WHERE {which}", until=until)


def test_what_is_due_is_found_however_many_wait_for_longer(engine: Engine) -> None:
    """Automattic/kue#312; with the next sweep after its time, also where the crowd is remembered.

    Those that wait the longest make room for it, and are found again when their time comes.
    """
    clock, looks = Clock(), Looks(engine)
    looks.pulse()
    looks.pulse()
    route = beside(engine, clock, Receiver())
    route.lanes = Lanes(400, 4, places=8, waiting_max=10)
    route.ahead = Lookahead("default", route.lanes, PAGE)
    [soon] = write(engine, "soon")
    wait(engine, clock.wall() + 60.0, f"id = {soon}")

    def turn() -> None:
        looks.pulse()
        for question in route.ahead.questions(clock.now):
            route.take_page(question, looks.page(question.look), clock.now)
        route.lanes.wake_due(clock.now)

    for _ in range(CROWD // PAGE + 10):
        turn()
    assert route.ahead.wanted == []
    clock.now += 61.0
    for _ in range(3):
        turn()
    assert route.ahead.wanted == [(soon, "soon")]
    route.ahead.let_go()
    clock.now += 1800.0
    for _ in range(2 * CROWD // PAGE + 10):
        turn()
    assert len(route.ahead.wanted) >= 2


class Case(NamedTuple):
    """What an operator says of a key with two events, what went before, and which one then goes."""

    before: Callable[[Engine, int], object]
    command: Callable[[Engine, int], object]
    goes: str = "first"


def _wait(engine: Engine, row: int) -> None:
    wait(engine, SystemClock().wall() + 1800.0, f"id = {row}")


CASES = {
    "release": Case(
        lambda engine, _: hold_key(engine, "default", "mine", NOW),
        lambda engine, _: release_key(engine, "mine"),
    ),
    "send now": Case(_wait, lambda engine, row: send_now(engine, Selection(ids=(row,)))),
    "retry": Case(
        lambda engine, row: Daemon(engine).bury(row),
        lambda engine, row: retry(engine, Selection(ids=(row,)), NOW),
    ),
    "give up": Case(
        _wait, lambda engine, row: list(discard_pending(engine, Selection(ids=(row,)))), "second"
    ),
    "reroute": Case(
        _wait,
        lambda engine, row: list(reroute(engine, Selection(ids=(row,)), "erp", NOW)),
        "second",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_an_operator_names_goes_at_once_and_nothing_else_is_looked_at(
    engine: Engine, database_url: str, case: Case
) -> None:
    """However many wait beside it: a sweep over all of them took the healthy keys' time."""
    clock, receiver, looks, thread = SystemClock(), Receiver(), Counting(engine), DatabaseThread()
    route = beside(engine, clock, receiver)
    first, _, _ = (write(engine, key, payload=_of(name))[0] for key, name in WRITTEN)
    case.before(engine, first)
    drain_of = dispatcher(engine, looks, thread)
    drain_of.add(route)
    stop = asyncio.Event()
    drain = asyncio.create_task(drain_of.run(stop))
    await receiver.has(_of("well"))
    before, operators = looks.sweeps, open_engine(database_url)
    await asyncio.to_thread(case.command, operators, first)
    await receiver.has(_of(case.goes))
    stop.set()
    await drain
    thread.close()
    operators.dispose()
    assert looks.sweeps == before
