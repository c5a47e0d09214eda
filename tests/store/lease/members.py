"""Several daemons of one outbox on PostgreSQL, in one process, with a clock that the test moves."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import Engine

from shipper.policy.shares import SHARDS, Shares
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import glancing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import LinkRow, Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.lease.membership import Membership
from shipper.store.lease.stillness import UNWATCHED
from tests.store.daemons import NOW
from tests.store.shipping import accepted, ask, claim, record

TTL = 60.0
NUMBERS = "SELECT delivery_number FROM shipper_outbox ORDER BY id"


class FakeClock:
    """A clock of the test's."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


def elsewhere(number: int) -> Owner:
    """Return a process on another machine: only its silence tells that it has ended."""
    return replace(Owner.here(), boot=f"another {number}", pid=number)


class Member:
    """A daemon without a network, that shares the outbox."""

    def __init__(self, url: str, owner: Owner, clock: FakeClock, *, joins: bool = True) -> None:
        self.engine = open_engine(url)
        self.owner = owner
        self.queue = Queue(self.engine, lease_ttl=TTL, monotonic=clock)
        self.recovered = self.join() if joins else 0

    def join(self) -> int:
        """Join; return how many events dead daemons may have sent."""
        return self.queue.acquire(self.owner, alone=False, name=self.owner.boot)

    @property
    def membership(self) -> Membership:
        """Return it among the others."""
        found = self.queue._tenure
        assert isinstance(found, Membership)
        return found

    def looks(self) -> Looks:
        """Return what asks its questions."""
        return Looks(self.engine, lambda: self.queue.token)

    def attend(self) -> Shares:
        """Do a step, and give back whatever has to be given: nothing is claimed."""
        shares = self.queue.attend(self.queue.shares.gives)
        assert shares is not None, "no other process changes shards"
        return shares

    def look(self) -> None:
        """See who is there, and do nothing about it."""
        with glancing(self.engine) as tx:
            self.membership._look(tx)

    def send(self, *rows: int) -> None:
        """Ship these events."""
        record(self.queue, *map(accepted, claim(self.queue, *rows)))

    def link(self, state: str, reason: str | None = None) -> None:
        """Say how the destination is, as this daemon sees it."""
        link = LinkRow("default", state, reason, NOW, None)
        self.queue.turn(Work(now=NOW, links=[link]))

    def close(self) -> None:
        """End its connection."""
        self.engine.dispose()


Joined = Callable[..., Member]
"""Makes a daemon that has joined, of this owner or of one elsewhere."""


def pass_watched(clock: FakeClock, seconds: float, *watchers: Member) -> None:
    """Let time pass in which these daemons look, before each step of it."""
    while seconds > 0.0:
        for one in watchers:
            one.look()
        clock.now += min(seconds, UNWATCHED)
        seconds -= UNWATCHED


def fall_silent(clock: FakeClock, *watchers: Member, seconds: float = TTL) -> None:
    """Let time pass in which only these daemons live: the leases of all others end by default."""
    for one in watchers:
        one.attend()
    pass_watched(clock, seconds, *watchers)
    for one in watchers:
        one.queue.renew()


def settle(members: Sequence[Member]) -> list[int]:
    """Let them do steps until nothing moves any more; return how many shards each has."""
    for _ in range(2 * len(members) + 2):
        before = [one.queue.shares for one in members]
        for one in members:
            one.attend()
        if before == [one.queue.shares for one in members]:
            break
    return [len(one.queue.shares.held) for one in members]


def owners(engine: Engine) -> dict[int, int | None]:
    """Return the token of each shard's daemon."""
    found = ask(engine, "SELECT shard, token FROM shipper_shard ORDER BY shard")
    return dict(tuple(row) for row in found)


def expect_consistent(engine: Engine, members: Sequence[Member]) -> None:
    """Expect that each shard has one daemon, and that all of them know it."""
    there = owners(engine)
    assert len(there) == SHARDS
    for one in members:
        token = one.queue.token
        assert one.queue.shares.held == {s for s, owner in there.items() if owner == token}
    assert {one.queue.token for one in members} >= set(there.values())
