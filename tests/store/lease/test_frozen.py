"""A daemon that stands still inside a transaction, whatever it was doing: no turn waits for it.

As after a SIGSTOP, or in a virtual machine that is suspended. Its locks stay until the server ends
its session. The statements are real; a thread that waits before its COMMIT is what stands still.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import Engine, event, make_url

from shipper.daemon.acquisition import FROZEN
from shipper.daemon.stop_budget import STORE_GRACE
from shipper.errors import LeaseLost, StoreUnavailable
from shipper.store.db.transactions import glancing
from shipper.store.drain.messages import LinkRow, Work
from shipper.store.report.minutes import Minute, add
from shipper.store.report.verify import verify
from shipper.store.upkeep.retention import Cutoffs, prune
from shipper.system.steps import Mark
from tests.store.daemons import NOW, write
from tests.store.lease.members import FakeClock, Joined, Member, elsewhere, fall_silent, settle
from tests.store.shipping import accepted, ask, claim, until

AT_ONCE = "-c lock_timeout=100ms"
"""In a URL: what has to wait for a lock gets an error instead."""
LOCKED = (
    "SELECT 1 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
    " WHERE l.relation = CAST('shipper_claim' AS regclass) AND mode = 'RowExclusiveLock'"
    " AND a.state = 'idle in transaction'"
)
LEFT = "SELECT count(*) FROM shipper_count WHERE token = :token"
LOCKS_COUNTS = LOCKED.replace("shipper_claim", "shipper_count")
LINK = LinkRow("default", "ready", None, NOW, None)


class Crew:
    """A daemon that stands still, one that goes on, and one that falls silent."""

    def __init__(self, url: str, post: Engine, clock: FakeClock, joined: Joined) -> None:
        self.post, self.clock = post, clock
        self.still, self.dead = joined(), joined()
        hurried = make_url(url).update_query_dict({"options": AT_ONCE}, append=True)
        self.other = Member(hurried.render_as_string(False), elsewhere(10), clock)
        write(post, *"abcdefghi")
        for row, one in enumerate((self.still, self.other, self.dead), 1):
            one.send(row)
        claim(self.dead.queue, 4)
        settle([self.still, self.other, self.dead])

    def turn(self, stands: Callable[[], None]) -> None:
        """Record an event, as a part of all the rest that a turn can do."""
        [row] = claim(self.still.queue, 5)
        self.clock.now += 1.0  # it is time to add up what was counted
        work = Work(now=NOW, records=[accepted(row)], links=[LINK], wanted=[6])
        for mark in self.still.queue.steps(work):
            if mark is Mark.COMMIT:
                stands()

    def renew(self) -> None:
        """Prolong its lease."""
        self.still.queue.renew()

    def join(self) -> None:
        """Join once more, as another session of the same process does."""
        self.still.join()

    def give(self) -> None:
        """Give a shard back."""
        self.still.queue.attend(frozenset({min(self.still.queue.shares.held)}))

    def take_over(self) -> None:
        """End the one that is dead; the other one has seen for how long it is silent."""
        fall_silent(self.clock, self.still, self.other)
        self.still.queue.attend(frozenset())

    def leave(self) -> None:
        """Leave."""
        self.still.queue.release()

    def count(self) -> None:
        """Write its statistics."""
        add(self.still.engine, [Minute(NOW, "default", 1, 0, 0, 0.1, 0.1)], NOW)

    def retain(self) -> None:
        """Delete what has ended."""
        over = Cutoffs(delivered=NOW + 1e9, dead=None)
        next(prune(self.still.engine, over, self.clock), None)

    @contextmanager
    def frozen(self, kind: str) -> Iterator[None]:
        """Let it stand still where its work commits, for the length of a `with`."""
        stands, goes_on = threading.Event(), threading.Event()

        def stand(_: object = None) -> None:
            if kind != "take_over" or ask(self.other.engine, LOCKED):
                stands.set()
                goes_on.wait()

        def run() -> None:
            with suppress(StoreUnavailable, LeaseLost):
                self.turn(stand) if kind == "turn" else getattr(self, kind)()

        thread = threading.Thread(target=run)
        event.listen(self.still.engine, "commit", stand)
        thread.start()
        try:
            assert stands.wait(30.0)
            yield
        finally:
            goes_on.set()
            thread.join()
            event.remove(self.still.engine, "commit", stand)


@pytest.fixture
def crew(postgres_url: str, post: Engine, clock: FakeClock, joined: Joined) -> Iterator[Crew]:
    """Give the daemons."""
    one = Crew(postgres_url, post, clock, joined)
    yield one
    one.other.close()


KINDS = ("turn", "renew", "join", "give", "take_over", "leave", "count", "retain")


@pytest.mark.parametrize("kind", KINDS)
def test_turns_wait_for_no_daemon_that_stands_still(crew: Crew, kind: str) -> None:
    """It claims, records, prolongs its lease and looks after its shards, and none of it waits.

    What it counts meanwhile is added up later.
    """
    other = crew.other.queue
    with crew.frozen(kind):
        for row in (7, 8):
            crew.clock.now += 2.0
            crew.other.send(row)
            crew.other.link("ready")
            other.renew()
            other.attend(frozenset({min(other.shares.held)}))
    crew.clock.now += 2.0
    crew.other.send(9)
    assert ask(crew.post, LEFT, token=other.token) == [(0,)]
    assert not [one for one in verify(crew.post) if one.fault]


def test_what_was_counted_is_added_up_when_the_server_has_ended_one_that_stands_still(
    crew: Crew,
) -> None:
    """What it had locked is as before then, and older than what is added up usually."""
    with glancing(crew.still.engine) as tx:
        tx.exec_driver_sql("SET idle_in_transaction_session_timeout = '200ms'")
    other = crew.other.queue
    crew.other.send(7)
    before = ask(crew.post, LEFT, token=other.token)
    with crew.frozen("retain"):
        for _ in range(3):
            crew.clock.now += 2.0
            crew.other.link("ready")
        assert ask(crew.post, LEFT, token=other.token) == before == [(1,)]
        until(lambda: not ask(crew.post, LOCKS_COUNTS))
    crew.clock.now += 2.0
    crew.other.send(8)
    assert ask(crew.post, LEFT, token=other.token) == [(0,)]
    assert not [one for one in verify(crew.post) if one.fault]


def test_what_was_counted_is_never_left_behind(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many turns that it would no longer be found, a turn waits."""
    other = crew.other.queue
    crew.other.send(7)
    monkeypatch.setattr(other._turns, "_after", 0)
    monkeypatch.setattr(other._turns, "_fold_after", 1)
    monkeypatch.setattr(other._turns, "_skip_within", other._turn.number + 3)
    assert ask(crew.post, LEFT, token=other.token) == [(1,)]
    with crew.frozen("retain"):
        for _ in range(2):
            crew.other.link("ready")
        with pytest.raises(StoreUnavailable, match="55P03"):
            crew.other.link("ready")
    crew.other.send(8)
    assert ask(crew.post, LEFT, token=other.token) == [(0,)]
    assert not [one for one in verify(crew.post) if one.fault]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_waits_until_the_server_ends_the_session_of_one_that_stands_still(
    crew: Crew, kind: str
) -> None:
    """The stop would wait longer."""
    with glancing(crew.still.engine) as tx:
        tx.exec_driver_sql("SET idle_in_transaction_session_timeout = '200ms'")
    with glancing(crew.other.engine) as tx:
        tx.exec_driver_sql("SET lock_timeout = '5s'")  # as usual
    with crew.frozen(kind):
        crew.other.send(7)
        crew.other.queue.release()
    there = ask(crew.post, "SELECT token FROM shipper_daemon")
    assert (crew.other.queue.token,) not in there
    assert FROZEN + 1.0 < STORE_GRACE
