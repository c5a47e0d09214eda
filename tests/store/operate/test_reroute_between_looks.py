"""Events that are rerouted just between the looks of two destinations, with a real drain."""

import asyncio
import json
from collections.abc import Callable

from sqlalchemy import Engine

from shipper.clock import SystemClock
from shipper.config.secrets import Secrets
from shipper.daemon.database_thread import DatabaseThread
from shipper.drain import Route, Terms
from shipper.drain.courier import Courier
from shipper.policy.backoff import Backoff
from shipper.policy.delivery import RetryPolicy
from shipper.policy.outcome import Reply
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.db.transactions import Follow
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Page
from shipper.store.drain.queue import ask_nothing
from shipper.store.operate.reroute import reroute
from shipper.store.report.verify import verify
from tests.carriers import Carrying
from tests.store.daemons import NOW, column, write
from tests.store.shipping import PATIENCE, dispatcher

NAMES = ("default", "erp")
EVENTS = ("one", "two", "three")


class Interrupted(Looks):
    """Looks of a daemon; `command` runs after the first one that finds anything."""

    command: Callable[[], object] | None = None

    def following(self, **_: object) -> Follow:
        """Ask nothing together with a COMMIT, so that each look is a statement of its own."""
        return ask_nothing

    def page(self, question: Look) -> Page:
        """Look."""
        page = super().page(question)
        if page.rows and self.command is not None:
            command, self.command = self.command, None
            command()
        return page


class Receiver(Carrying):
    """Accepts everything, and shows what it has got."""

    def __init__(self, ended: asyncio.Event, expected: int) -> None:
        """Begin with nothing; `ended` is set when there are as many as expected."""
        self.got: list[str] = []
        self._ended = ended
        self._expected = expected

    async def send(self, event_id: str, payload: bytes, api_id: str) -> Reply:  # noqa: ARG002
        """Accept an event."""
        self.got.append(json.loads(payload)["view"]["name"])
        if len(self.got) == self._expected:
            self._ended.set()
        return Reply(202)


async def test_an_event_that_two_destinations_have_seen_is_sent_to_one(
    engine: Engine, database_url: str
) -> None:
    """The look of the old destination saw it before the command, that of the new one after it."""
    clock, ended, thread = SystemClock(), asyncio.Event(), DatabaseThread()
    receivers = {name: Receiver(ended, len(EVENTS)) for name in NAMES}
    for name in EVENTS:
        write(engine, "key", payload=json.dumps({"type": "view", "view": {"name": name}}))
    operators, looks = open_engine(database_url), Interrupted(engine)
    looks.command = lambda: list(reroute(operators, Selection(), "erp", NOW))
    drain_of = dispatcher(engine, looks, thread)
    policy = RetryPolicy(Backoff(1, 3600), Backoff(1, 60), 20)
    terms = Terms(policy, 10.0, 8, 0.0, holds_dead=False)
    for name, receiver in receivers.items():
        courier = Courier(receiver, validation="off", secrets=Secrets, clock=clock)
        drain_of.add(Route(name, terms, courier, clock=clock, wake=drain_of.wake))
    stop = asyncio.Event()
    drain = asyncio.create_task(drain_of.run(stop))
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    stop.set()
    await drain
    thread.close()
    operators.dispose()
    assert {name: receiver.got for name, receiver in receivers.items()} == {
        "default": [],
        "erp": list(EVENTS),
    }
    assert [column(engine, "status", row) for row in (1, 2, 3)] == ["delivered"] * 3
    assert verify(engine) == []
