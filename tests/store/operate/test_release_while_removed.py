"""An operator releases a destination that a reload has removed for a while, with a real drain."""

import asyncio

import pytest
from sqlalchemy import Engine

from shipper.clock import SystemClock
from shipper.config.secrets import Secrets
from shipper.daemon.database_thread import DatabaseThread
from shipper.drain import Route, Terms
from shipper.drain.courier import Courier
from shipper.policy.backoff import Backoff
from shipper.policy.delivery import RetryPolicy
from shipper.policy.outcome import Reply
from shipper.policy.state import State
from shipper.store.db.engine import open_engine
from shipper.store.drain.look import Looks
from shipper.store.operate.hold import release_destination
from tests.carriers import Carrying
from tests.store.daemons import NOW
from tests.store.shipping import dispatcher

HOUR = 3600.0


class Receiver(Carrying):
    """Gets nothing: the outbox is empty."""

    async def send(self, *_: object) -> Reply:
        """Accept an event."""
        return Reply(202)


@pytest.mark.parametrize("released", [False, True])
async def test_only_an_operator_ends_the_pause_of_a_removed_destination(
    engine: Engine,
    database_url: str,
    released: bool,  # noqa: FBT001
) -> None:
    """A reload that adds the destination again doesn't."""
    clock, thread, operators = SystemClock(), DatabaseThread(), open_engine(database_url)
    drain = dispatcher(engine, Looks(engine), thread)
    terms = Terms(RetryPolicy(Backoff(1, HOUR), Backoff(1, 60), 20), 10.0, 8, 0.0, holds_dead=False)

    def added() -> Route:
        courier = Courier(Receiver(), validation="off", secrets=Secrets, clock=clock)
        one = Route("default", terms, courier, clock=clock, wake=drain.wake)
        drain.add(one)
        return one

    now = clock.monotonic()
    added().link.resume(State.THROTTLED, "HTTP 429", since=now, until=now + HOUR)
    await drain.tick()  # the pause is stored: the destination has a row
    drain.remove("default")
    await drain.tick()
    if released:
        release_destination(operators, "default", NOW)
        await drain.tick()
    assert added().link.is_down is not released
    await drain.run(_set())
    thread.close()
    operators.dispose()


def _set() -> asyncio.Event:
    stop = asyncio.Event()
    stop.set()
    return stop
