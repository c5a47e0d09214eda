"""The drain around `Lanes` as the dispatcher has it, over a model of the outbox, without any I/O.

It asks and answers in the order of a tick: questions, then one exchange (records, releases and
claims, looks), then what is taken in. What is looked at next is the product's own `Lookahead`.
Every claim about `Lanes` is asserted where it would first be broken.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shipper.drain.lookahead import Lookahead
from shipper.drain.terms import Question
from shipper.policy.lanes import Candidate, Lane, Lanes, Name
from shipper.policy.lanes.phase import FETCHING
from shipper.policy.shares import ALL_SHARDS
from tests.policy.table import Row, Table

REACH = 20
"""How many rows of any shard a look at some shards reads; more than a page has."""


@dataclass
class Ended:
    """A try whose outcome isn't recorded yet. `end`: delivered, dead, again, first or wait."""

    lane: Lane
    row: Row
    end: str
    wait: float = 0.0
    charged: bool = False
    received: bool = False
    stays: bool = False
    """Whether the lane may stay loaded while it waits."""


def offer(lanes: Lanes, candidates: Iterable[Candidate], now: float) -> list[int]:
    """Offer a page of a scan; return the ids to claim."""
    return [one.id for one in candidates if lanes.takes(one, now)]


@dataclass
class Drain:
    """The dispatcher's way of driving lanes; `turn` and `turn_bytes` bound one turn's claims."""

    lanes: Lanes
    page: int = 4
    turn: int = 3
    turn_bytes: int = 1_000_000
    table: Table = field(default_factory=Table)
    now: float = 1000.0
    command: bool = False  # an operator's command that hasn't been noticed yet
    back: bool = False  # one that may have put back or released anything
    names: bool = True  # whether commands say which lanes they have touched
    touched: list[Name] = field(default_factory=list)
    held: frozenset[str] = frozenset()
    released: list[int] = field(default_factory=list)
    flying: dict[int, Lane] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    kept: frozenset[int] = ALL_SHARDS
    coming: frozenset[int] | None = None  # what it is to keep from the next exchange on
    away: frozenset[int] = frozenset()  # the shards that it has given back

    def __post_init__(self) -> None:
        """Look at the outbox as a route does."""
        self.ahead = Lookahead("default", self.lanes, self.page)

    # -- a tick -------------------------------------------------------------------------------

    def exchange(self, meanwhile: Callable[[], object] | None = None) -> None:
        """Do one exchange with the table; `meanwhile` runs between the turn and the looks."""
        asked = self.ahead.questions(self.now)
        ended, self.ended = self.ended, []
        wanted = self.ahead.wanted[: self.turn]
        del self.ahead.wanted[: self.turn]
        self._let_go()
        self.release()
        gives = ALL_SHARDS - self.kept - self.lanes.handover.open_shards()
        for item in ended:
            self._record(item)
        events = self.table.claim((row for row, _ in wanted), self.turn_bytes)
        if meanwhile is not None:
            meanwhile()
        answers = [(question, *self._look(question)) for question in asked]
        command, self.command = self.command, False
        self.ahead.take_claims(wanted, events)
        for item in ended:
            self._take_record(item)
        self._give_back(gives)
        if self.coming is not None:
            self.share(self.coming)
        self._notice()
        for of_lane in (False, True):
            for question, rows, seen, is_last in answers:
                if (question.lane is not None) is of_lane:
                    self.ahead.take_rows(question, rows, self.now, seen, is_last=is_last)
        if command:
            self.lanes.hold(key for key in self.lanes.loaded_keys() if key in self.held)
        self.check()

    def start(self, most: int) -> None:
        """Wake what is due, and begin so many tries at most."""
        self.lanes.wake_due(self.now)
        while most > 0 and (lane := self.lanes.start()) is not None:
            most -= 1
            self._begin(lane)
        self.check()

    def finish(self, row: int, end: str, **more: float) -> None:
        """Let a try end; its place stays taken until the next exchange has recorded it."""
        lane = self.flying[row]
        item = Ended(lane, self.table.rows[row], end, **more)  # type: ignore[arg-type]
        assert not any(other.row is item.row for other in self.ended)
        self.ended.append(item)

    # -- the same, in short -------------------------------------------------------------------

    def write(self, *keys: str | None) -> None:
        """Write an event of one byte for each key."""
        for key in keys:
            self.table.insert(key, 1)

    def turns(self, times: int = 7) -> None:
        """Do so many exchanges; seven are enough for an operator's command to have its effect."""
        for _ in range(times):
            self.exchange()

    def go(self) -> list[int]:
        """Start what may start; return the ids in that order."""
        before = len(self.started)
        self.start(99)
        return self.started[before:]

    def end(self, row: int, end: str = "delivered", **more: float) -> None:
        """End a try, and let that take effect."""
        self.finish(row, end, **more)
        self.turns()

    def restart(self) -> None:
        """Sweep, and look at the tail."""
        self.ahead.rescan()
        self.ahead.look_again()

    def share(self, shards: Iterable[int]) -> None:
        """Keep only these shards from now on."""
        self.kept, self.coming = frozenset(shards), None
        self.away -= self.kept
        self.ahead.keep_only(self.kept)
        self.check()

    def _give_back(self, gives: frozenset[int]) -> None:
        held = {self.table.rows[row].shard for row in self.table.claimed}
        assert not (held & gives), "given back with a claim"
        assert not ({row.shard for row in self._in_flight()} & gives), "given back in flight"
        self.away |= gives

    def _notice(self) -> None:
        if self.back:
            self.restart()
        for name in self.touched:
            self.ahead.refetch(name)
        self.back, self.touched = False, []

    def release(self) -> None:
        """Move what the lanes let go of into the work of the next turn."""
        released = self.lanes.loaded.released
        self.released += released
        self.lanes.loaded.forget_released(len(released))

    # -- the operator -------------------------------------------------------------------------

    def put_back(self, row: int) -> None:
        """Retry a dead letter."""
        found = self.table.rows[row]
        assert found.dead
        found.dead, found.pending, found.retried = False, True, True
        found.due, found.received = None, False
        self._command([found.lane])

    def hold(self, keys: Iterable[str]) -> None:
        """Replace what is held."""
        held, self.held = self.held, frozenset(keys)
        self._command(held - self.held)

    def _command(self, touched: Iterable[Name]) -> None:
        lanes = list(touched)
        self.command = True
        self.touched += lanes if self.names else ()
        self.back = self.back or (bool(lanes) and not self.names)

    # -- inside -------------------------------------------------------------------------------

    def _look(self, question: Question) -> tuple[list[Candidate], int, bool]:
        """Answer as the store does: the rows, up to where they were seen, and if there are more."""
        look, beyond = question.look, 0
        if question.lane is not None:
            assert question.lane.phase is FETCHING
            rows = self.table.pending(question.lane.name)
        else:
            rows = [row for row in self.table.pending() if row.id > look.after]
            if look.kind == "maybe_received":
                rows = [row for row in rows if row.received]
        if look.shards is not None and look.kind == "pending":
            passed, rows = rows[REACH - 1 :], rows[:REACH]
            beyond = passed[0].id if passed else len(self.table.rows)
        if look.shards is not None:
            rows = [row for row in rows if row.shard in look.shards]
        found = [self._candidate(row) for row in rows[: look.limit]]
        if beyond and len(found) < look.limit:
            return found, beyond, beyond >= len(self.table.rows)
        return found, found[-1].id if found else 0, len(found) < look.limit

    def _candidate(self, row: Row) -> Candidate:
        wait = 0.0 if row.due is None else max(0.0, row.due - self.now)
        failed, held = row.due is not None, row.key in self.held
        return Candidate(row.id, row.lane, wait, failed, held, row.shard)

    def _let_go(self) -> None:
        for row in self.released:
            assert row in self.table.claimed, "released what isn't claimed"
            assert row not in self.flying, "released what is in flight"
            self.table.claimed.remove(row)
        self.released.clear()

    def _record(self, item: Ended) -> None:
        row = item.row
        row.received = item.received
        row.due = self.now + item.wait if item.charged else None
        if item.end in {"delivered", "dead"}:
            row.pending, row.dead, row.received = False, item.end == "dead", False
            self.table.claimed.remove(row.id)

    def _take_record(self, item: Ended) -> None:
        del self.flying[item.row.id]
        if item.end in {"delivered", "dead"}:
            self.lanes.finish(item.lane)
        elif item.end == "wait":
            head, due = item.lane.head, self.now + item.wait
            stays = head._replace(failed=True) if item.stays else None
            kept = self.lanes.postpone(item.lane, due, charged=item.charged, stays=stays)
            assert kept is (item.row.id not in self.lanes.loaded.released)
            if not kept:
                self.ahead.ask_no_longer({item.lane.name})
        else:
            self.lanes.retry(item.lane, item.lane.head, first=item.end == "first")

    def _begin(self, lane: Lane) -> None:
        event = lane.head
        row = self.table.rows[event.id]
        assert row.id in self.table.claimed, "sent without a claim on disk"
        assert row.pending, "sent although its end is recorded"
        assert row.shard in self.kept, "sent although its shard isn't kept"
        assert row.id not in self.released, "sent although it was let go"
        assert row.lane not in {other.lane for other in self._in_flight()}, "two of a lane"
        assert row.lane not in self.lanes.held, "sent although held"
        assert self.command or row.key not in self.held, "sent although held"
        assert row.due is None or row.due <= self.now, "sent before its time"
        ahead = [other for other in self.table.pending(row.lane) if other.place < row.place]
        assert all(other.retried for other in ahead), "overtook one of its lane"
        self.flying[row.id] = lane
        self.started.append(row.id)

    def _in_flight(self) -> list[Row]:
        return [self.table.rows[row] for row in self.flying]

    # -- what must hold at any time -----------------------------------------------------------

    def check(self) -> None:
        """Assert that the lanes' books agree with ours."""
        self.release()
        kept = self.table.claimed.difference(self.released)
        assert len(set(self.released)) == len(self.released), "released twice"
        assert kept.isdisjoint(row for row, _ in self.ahead.wanted), "asked for what is claimed"
        open_shards = self.lanes.handover.open_shards()
        shards = {self.table.rows[row].shard for row in kept}
        assert shards <= self.kept | open_shards, "forgot what it has to give back"
        asked = {self.table.rows[row].shard for row, _ in self.ahead.wanted}
        assert asked <= self.kept, "asked for what isn't kept"
        assert self.lanes.is_empty() or self.kept or open_shards, "knows what isn't its own"
        loaded = len(kept) + len(self.ahead.wanted)
        assert loaded <= self.lanes.loaded.window + self.lanes.depth
        assert self.lanes.loaded.bytes == sum(len(self.table.rows[row].payload) for row in kept)
        if self.lanes.loaded.room() > 0:
            assert self.lanes.loaded.room() == self.lanes.loaded.window - loaded
        if self.is_idle():
            seen = [row for row in self.table.pending() if row.id <= self.ahead._tail]
            left = [row for row in seen if row.shard in self.kept]
            assert all(row.key in self.held for row in left), "idle, but something is left"
            assert self.lanes.held == set(), "remembers a hold of a lane that it doesn't know"

    def is_idle(self) -> bool:
        """Return whether the drain would say that everything is shipped."""
        return not self.flying and not self.command and self.ahead.is_idle()

    def run_dry(self) -> None:
        """Let everything be accepted from now on, until all is delivered that isn't held."""
        self.restart()
        most = 50 + 20 * len(self.table.rows)
        for _ in range(most):
            self.exchange()
            self.start(99)
            for row in self.flying:
                if not any(item.row.id == row for item in self.ended):
                    self.finish(row, "delivered")
            due = [self.lanes.next_due(), self.ahead.next_sweep()]
            times = [moment for moment in due if moment is not None]
            if times and not self.flying and not self.ahead.has_more():
                self.now = max(self.now, min(times))
            if self.is_idle() and not self.ended:
                break
        left = [row.id for row in self.table.pending() if row.key not in self.held]
        assert left == [], f"never started: {left}"
        assert self.lanes.is_empty()
        assert self.lanes.loaded.bytes == 0
        self._let_go()
        assert self.table.claimed == set()


def loaded(*keys: str | None, window: int = 100, depth: int = 8, turn: int = 100) -> Drain:
    """Return a drain that has loaded these events, or as many as fit."""
    drain = Drain(Lanes(window, depth), page=50, turn=turn)
    drain.write(*keys)
    drain.turns(4)
    return drain
