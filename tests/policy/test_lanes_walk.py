"""Lanes against a model of the outbox: whatever happens in between, order and bounds hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from shipper.policy.lanes import Lanes
from tests.drain.parts import Drain

_KEYS = st.sampled_from(["a", "b", "c", None])


class Walk(RuleBasedStateMachine):
    """An application, a network and an operator that do what they like."""

    @initialize(
        window=st.integers(1, 12),
        depth=st.integers(1, 4),
        bytes_max=st.sampled_from([12, 1_000]),
        bounds=st.tuples(st.integers(1, 3), st.sampled_from([1, 16])),
        page=st.integers(1, 5),
        turn=st.tuples(st.integers(1, 4), st.sampled_from([5, 1_000]), st.booleans()),
    )
    def open(
        self,
        window: int,
        depth: int,
        bytes_max: int,
        bounds: tuple[int, int],
        page: int,
        turn: tuple[int, int, bool],
    ) -> None:
        """Begin with small bounds, so that every one of them is met."""
        waiting, places = bounds
        lanes = Lanes(window, depth, bytes_max=bytes_max, waiting_max=waiting, places=places)
        claims, most, names = turn
        self.drain = Drain(lanes, page=page, turn=claims, turn_bytes=most, names=names)

    @rule(keys=st.lists(_KEYS, min_size=1, max_size=6), size=st.integers(1, 4))
    def write(self, keys: list[str | None], size: int) -> None:
        """Write events."""
        for key in keys:
            self.drain.table.insert(key, size)

    @rule(times=st.integers(1, 3))
    def exchange(self, times: int) -> None:
        """Ask the database."""
        for _ in range(times):
            self.drain.exchange()

    @rule(key=_KEYS)
    def exchange_while_written(self, key: str | None) -> None:
        """Commit a row between the turn and the looks."""
        self.drain.exchange(lambda: self.drain.table.insert(key, 1))

    @rule(most=st.integers(1, 5))
    def start(self, most: int) -> None:
        """Begin tries."""
        self.drain.start(most)

    def _open_tries(self) -> list[int]:
        done = {item.row.id for item in self.drain.ended}
        return [row for row in self.drain.flying if row not in done]

    @precondition(lambda self: self._open_tries())
    @rule(data=st.data(), end=st.sampled_from(["delivered", "dead", "dead", "again", "first"]))
    def answer(self, data: st.DataObject, end: str) -> None:
        """End a try, for good or to be repeated at once."""
        row = data.draw(st.sampled_from(self._open_tries()))
        self.drain.finish(row, end, received=end == "first")

    @precondition(lambda self: self._open_tries())
    @rule(
        data=st.data(),
        wait=st.sampled_from([0.5, 2.0, 60.0]),
        charged=st.booleans(),
        received=st.booleans(),
        stays=st.booleans(),
    )
    def fail(
        self, data: st.DataObject, wait: float, *, charged: bool, received: bool, stays: bool
    ) -> None:
        """Let a try fail, so that its lane has to wait, loaded or not."""
        row = data.draw(st.sampled_from(self._open_tries()))
        more = {"wait": wait, "charged": charged, "received": received, "stays": stays}
        self.drain.finish(row, "wait", **more)

    @rule(seconds=st.sampled_from([0.5, 1.0, 30.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.drain.now += seconds

    @rule()
    def link_goes_down(self) -> None:
        """Wake who waits without being charged: when the link goes down, any may be the probe."""
        self.drain.lanes.wake_uncharged()
        self.drain.check()

    @rule(keys=st.sets(st.sampled_from("abc"), max_size=2))
    def hold(self, keys: set[str]) -> None:
        """Hold and release keys."""
        self.drain.hold(keys)

    @rule(key=st.sampled_from("abc"))
    def die_and_hold(self, key: str) -> None:
        """Hold the key of a dead head: the daemon knows it before the table is asked."""
        self.drain.held |= {key}
        self.drain.lanes.hold_one(key)
        self.drain.check()

    @precondition(lambda self: any(row.dead for row in self.drain.table.rows.values()))
    @rule(data=st.data())
    def retry_a_dead_letter(self, data: st.DataObject) -> None:
        """Put one back, perhaps below everything that is loaded of its lane."""
        dead = [row.id for row in self.drain.table.rows.values() if row.dead]
        self.drain.put_back(data.draw(st.sampled_from(dead)))

    @precondition(lambda self: self.drain.ahead.wanted)
    @rule(data=st.data())
    def lose_a_row(self, data: st.DataObject) -> None:
        """Discard under our feet what was about to be claimed."""
        row = data.draw(st.sampled_from([row for row, _ in self.drain.ahead.wanted]))
        self.drain.table.rows[row].pending = False

    @rule()
    def scan_anew(self) -> None:
        """Begin again: the database was away, and anything may have changed."""
        self.drain.restart()

    @rule()
    def unload(self) -> None:
        """Let go of everything that isn't in flight."""
        self.drain.lanes.unload_all()
        self.drain.check()
        kept = self.drain.table.claimed.difference(self.drain.released)
        lanes = {lane.name for lane in self.drain.flying.values()}
        assert {self.drain.table.rows[row].lane for row in kept} <= lanes

    def teardown(self) -> None:
        """Deliver everything in the end, whatever has happened."""
        if hasattr(self, "drain"):
            self.drain.run_dry()
            self.drain.hold(())
            self.drain.run_dry()
            assert self.drain.table.pending() == []


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=250, stateful_step_count=60, deadline=None)
