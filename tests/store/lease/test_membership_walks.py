"""The model of the protocol does what the statements do: the same steps at random, on both.

It decides whether what `test_membership_model` has explored is true of the real tables. After each
step both have to agree on who has which shard, who has ended, and what is claimed and marked.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.errors import LeaseLost
from shipper.policy.event import Event
from shipper.policy.shares import SHARDS, Shares
from shipper.store.db.engine import open_engine
from shipper.store.drain.messages import Work
from shipper.store.lease.membership import Membership
from shipper.store.lease.stillness import DaemonRow, StillnessTimer
from tests.store.daemons import NOW, write
from tests.store.lease.members import FakeClock, Member, elsewhere
from tests.store.lease.membership_model import Broken, Model
from tests.store.lease.membership_states import NONE, Process, State
from tests.store.shipping import accepted, ask, run

LANE = 40
STEPS = 60


class _Late(Exception):
    """A change is due; it is made in a later step."""


class _Silences(StillnessTimer):
    """Knows from the test whose lease has ended, unless the daemon has written since."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.over: dict[int, object] = {}

    def left(self, row: DaemonRow) -> float:
        """Return 0 for a daemon that has ended and has not written since."""
        return 0.0 if self.over.get(row.token) == row.life else 1.0


class _Real:
    """One process of the model, with a real queue."""

    def __init__(self, url: str, number: int, silences: _Silences) -> None:
        self.member = Member(url, elsewhere(number), FakeClock(), joins=False)
        membership = self.member.queue._tenure
        assert isinstance(membership, Membership)
        self.membership = membership
        self.membership._watch = silences
        self.silences = silences
        self.event: Event | None = None
        self.due: tuple[Any, ...] | None = None

    def forget(self) -> None:
        """Forget what an ended daemon had begun."""
        self.event = self.due = None

    def join(self) -> None:
        """Join, as a daemon that has begun."""
        self.forget()
        self.member.join()

    def leave(self) -> None:
        """Leave."""
        self.member.queue.release()
        self.forget()

    def renew(self) -> None:
        """Prolong the lease."""
        self.member.queue.renew()

    def glance(self, back: frozenset[int]) -> None:
        """Look, and keep the change that follows, if one does."""
        change = self.membership._change

        def keep(*given: Any) -> Shares:
            self.due = given
            raise _Late

        self.membership._change = keep  # type: ignore[assignment,method-assign]
        with suppress(_Late):
            self.member.queue.attend(back)
        self.membership._change = change  # type: ignore[method-assign]

    def change(self) -> None:
        """Make that change, with the numbers that a queue forgets about it."""
        assert self.due is not None
        given, self.due = self.due, None
        before = self.membership.shares.held - given[1]
        shares = self.membership._change(*given)
        assert shares is not None, "no other process changes shards"
        if shares.held - before:
            self.member.queue._numbers.forget()

    def claim(self, row: int) -> None:
        """Claim the first event of the lane."""
        [self.event] = self.member.queue.turn(Work(now=NOW, wanted=[row]))

    def record(self) -> None:
        """Record that it was delivered."""
        assert self.event is not None
        self.member.queue.turn(Work(now=NOW, records=[accepted(self.event)]))
        self.event = None


class _Walk:
    """The same steps in the model and on the server."""

    def __init__(self, post: Engine, url: str, daemons: int, key: str) -> None:
        self.post = post
        self.model = Model(LANE, 1_000)
        self.state = State((Process(),) * daemons, (0,) * SHARDS)
        self.silences = _Silences()
        self.real = [_Real(url, number + 1, self.silences) for number in range(daemons)]
        self.tokens = {0: 0}
        self.key = key
        self.head = 0

    def step(self, name: str, who: int) -> bool:
        """Do a step; return whether it could be done."""
        before = self.state.processes[who]
        after = self.model.step(self.state, name, who)
        if after is None:
            return False
        ended = after.processes[who].mode == "out" and name not in {"leave", "join lost"}
        try:
            self._do(name, who, before)
        except LeaseLost:
            assert ended, (name, who)
            self.real[who].forget()
        else:
            assert not ended, (name, who)
        self.state = after
        self._expect_same()
        return True

    def _do(self, name: str, who: int, before: Process) -> None:
        real = self.real[who]
        if name == "join":
            self._all_over()
            real.join()
            self.tokens[self.state.given + 1] = real.member.queue.token
        elif name == "renewed" or (name == "renew" and before.token not in self.state.rows):
            real.renew()  # both halves of a renewal
        elif name == "glance":
            self._all_over()
            back = before.gives - ({LANE} if before.attempt else NONE)
            real.glance(back)
        elif name == "claim":
            real.claim(self._first())
        elif name in {"change", "record", "leave"}:
            getattr(real, name)()
        elif name == "crash":
            real.forget()

    def _all_over(self) -> None:
        """Tell the daemons whose leases have ended, by what is in their rows now."""
        self.silences.over.clear()
        model = self.state
        over = {self.tokens[row] for row in model.rows if self.model._is_over(model, row)}
        with self.post.connect() as tx:
            from shipper.store.lease.membership import _daemons

            self.silences.over |= {r.token: r.life for r in _daemons(tx) if r.token in over}

    def _first(self) -> int:
        found = ask(self.post, "SELECT min(id) FROM shipper_outbox WHERE status = 'pending'")
        return int(found[0][0] or write(self.post, self.key)[0])

    def _expect_same(self) -> None:
        name = self.tokens
        rows = ask(self.post, "SELECT token FROM shipper_daemon ORDER BY token")
        assert [row for [row] in rows] == [name[row] for row in self.state.rows]
        owners = ask(self.post, "SELECT coalesce(token, 0) FROM shipper_shard ORDER BY shard")
        assert [owner for [owner] in owners] == [name[owner] for owner in self.state.owners]
        claims = ask(self.post, "SELECT token FROM shipper_claim ORDER BY token")
        assert [token for [token] in claims] == sorted(name[one] for one in self.state.claims)
        marked = ask(
            self.post,
            "SELECT count(*) FROM shipper_outbox WHERE maybe_received = 1 AND status = 'pending'",
        )
        assert marked == [(int(self.state.marked),)]
        for real, process in zip(self.real, self.state.processes, strict=True):
            if process.mode == "in":
                assert real.member.queue.shares.held == process.held
                assert real.member.queue.shares.gives == process.gives
                assert (real.due is None) == (process.over is None)

    def close(self) -> None:
        """Compare what was recorded in the end, and end all connections."""
        query = "SELECT delivery_number FROM shipper_outbox WHERE status = 'delivered' ORDER BY id"
        numbers = [number for [number] in ask(self.post, query)]
        assert numbers == sorted(set(numbers))
        for one in self.real:
            one.member.close()


RARE = ("leave", "crash", "stall", "lease over")
NAMES = {
    "out": ("join",),
    "dead": ("join",),
    "in": (*["renew", "claim", "send", "record"], *["glance", "change"] * 2, *RARE),
    "stalled": ("wake", "lease over", "crash"),
}


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


def _key_of_lane(post: Engine) -> str:
    write(post, *map(str, range(300)))
    query = "SELECT min(ordering_key) FROM shipper_outbox WHERE slot & 63 = :lane"
    [(key,)] = ask(post, query, lane=LANE)
    run(post, "DELETE FROM shipper_outbox")
    return str(key)


@pytest.mark.parametrize("daemons", [2, 3])
def test_the_model_does_what_the_statements_do(
    post: Engine, postgres_url: str, daemons: int
) -> None:
    """Seeded, so that a difference can be seen again."""
    key = _key_of_lane(post)
    done: set[str] = set()
    for seed in range(10):
        run(post, "DELETE FROM shipper_outbox")
        for name in ("daemon", "claim", "count", "turn"):
            run(post, f"DELETE FROM shipper_{name}")
        run(post, "UPDATE shipper_shard SET token = NULL")
        walk = _Walk(post, postgres_url, daemons, key)
        done |= _walked(walk, random.Random(seed), STEPS)
        walk.close()
    assert {"join", "change", "claim", "record", "leave", "crash", "lease over"} <= done


def _walked(walk: _Walk, chance: random.Random, steps: int) -> set[str]:
    done: set[str] = set()
    while steps:
        who = chance.randrange(len(walk.real))
        names: Sequence[str] = NAMES[walk.state.processes[who].mode]
        name = chance.choice(names)
        is_left_out = name in RARE and chance.random() < 0.7
        if not is_left_out and walk.step(name, who):
            if name == "renew" and walk.state.processes[who].renews:
                walk.step("renewed", who)
            done.add(name)
            steps -= 1
    return done


def test_a_difference_would_be_seen(
    post: Engine, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the statements forgot to mark what a dead daemon had claimed."""
    monkeypatch.setattr("shipper.store.lease.membership.recover", lambda *_: 0)
    walk = _Walk(post, postgres_url, 2, _key_of_lane(post))
    for name in ("join", "claim", "crash"):
        assert walk.step(name, 0)
    with pytest.raises((AssertionError, Broken)):
        walk.step("join", 1)
    for one in walk.real:
        one.member.close()
