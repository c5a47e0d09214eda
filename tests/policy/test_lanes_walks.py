"""Many short random walks over `Lanes`: rarer meetings than Hypothesis finds in the same time."""

from random import Random

from shipper.policy.lanes import Lanes
from tests.campaigns.places import scaled
from tests.drain.parts import Drain

# Walks in which a new event once overtook an earlier one of its key, beside a sweep.
FOUND = (3157, 3203, 6540, 6979, 9960, 12746)
WALKS = 2000

_KEYS = ("a", "b", "c", None)


class Walk:
    """An application, a network and an operator that do what they like, by a seed."""

    def __init__(self, seed: int) -> None:
        """Begin with small bounds, so that every one of them is met."""
        self._dice = dice = Random(seed)
        lanes = Lanes(
            dice.randint(2, 12),
            dice.randint(1, 4),
            bytes_max=dice.choice([12, 1000, 1000]),
            waiting_max=dice.choice([1, 1, 2, 16]),
            places=dice.choice([1, 2, 16]),
        )
        self._drain = Drain(
            lanes,
            page=dice.randint(1, 4),
            turn=dice.randint(1, 4),
            turn_bytes=dice.choice([5, 1000, 1000]),
            names=dice.random() < 0.5,
        )
        self._drain.turns(dice.randint(0, 16))

    def run(self) -> None:
        """Do some steps, then deliver everything."""
        steps = [step for step, weight in WEIGHTS.items() for _ in range(weight)]
        for _ in range(self._dice.randint(20, 120)):
            self._dice.choice(steps)(self)
        self._drain.run_dry()
        self._drain.hold(())
        self._drain.run_dry()
        assert self._drain.table.pending() == []

    def write(self) -> None:
        """Write some events."""
        for _ in range(self._dice.randint(1, 5)):
            self._drain.table.insert(self._dice.choice(_KEYS), self._dice.choice([1, 1, 1, 4]))

    def exchange(self) -> None:
        """Ask the database."""
        self._drain.exchange()

    def exchange_while_written(self) -> None:
        """Commit a row between the turn and the looks."""
        self._drain.exchange(lambda: self._drain.table.insert(self._dice.choice(_KEYS), 1))

    def start(self) -> None:
        """Begin tries."""
        self._drain.start(self._dice.randint(1, 4))

    def answer(self) -> None:
        """End a try, for good or to be repeated at once."""
        if open_tries := self._open_tries():
            end = self._dice.choice(["delivered", "delivered", "dead", "again", "first"])
            row = self._dice.choice(open_tries)
            self._drain.finish(row, end, received=end == "first")

    def fail(self) -> None:
        """Let a try fail, so that its lane has to wait, loaded or not."""
        if open_tries := self._open_tries():
            self._drain.finish(
                self._dice.choice(open_tries),
                "wait",
                wait=self._dice.choice([0.5, 2.0, 60.0]),
                charged=self._dice.random() < 0.5,
                received=self._dice.random() < 0.3,
                stays=self._dice.random() < 0.5,
            )

    def pass_time(self) -> None:
        """Let time pass."""
        self._drain.now += self._dice.choice([0.5, 0.5, 1.0, 30.0, 100.0])

    def go_down(self) -> None:
        """Wake who waits without being charged, as when the link goes down."""
        self._drain.lanes.wake_uncharged()
        self._drain.check()

    def hold(self) -> None:
        """Hold and release keys."""
        self._drain.hold(set(self._dice.sample("abc", self._dice.randint(0, 2))))

    def hold_one(self) -> None:
        """Hold the key of a dead head: the daemon knows it before the table is asked."""
        key = self._dice.choice("abc")
        self._drain.held |= {key}
        self._drain.lanes.hold_one(key)
        self._drain.check()

    def put_back(self) -> None:
        """Retry a dead letter, perhaps below everything that is loaded of its lane."""
        if dead := [row.id for row in self._drain.table.rows.values() if row.dead]:
            self._drain.put_back(self._dice.choice(dead))

    def lose(self) -> None:
        """Discard under our feet what was about to be claimed."""
        if wanted := self._drain.ahead.wanted:
            self._drain.table.rows[self._dice.choice(wanted)[0]].pending = False

    def restart(self) -> None:
        """Begin again: the database was away, and anything may have changed."""
        self._drain.restart()

    def unload(self) -> None:
        """Let go of everything that isn't in flight."""
        self._drain.lanes.unload_all()
        self._drain.check()

    def _open_tries(self) -> list[int]:
        done = {item.row.id for item in self._drain.ended}
        return [row for row in self._drain.flying if row not in done]


WEIGHTS = {
    Walk.write: 32,
    Walk.exchange: 58,
    Walk.exchange_while_written: 10,
    Walk.start: 24,
    Walk.answer: 20,
    Walk.fail: 24,
    Walk.pass_time: 16,
    Walk.go_down: 2,
    Walk.hold: 3,
    Walk.hold_one: 2,
    Walk.put_back: 3,
    Walk.lose: 2,
    Walk.restart: 3,
    Walk.unload: 1,
}


def test_whatever_happens_order_and_bounds_hold() -> None:
    """`Drain` asserts both where they would first be broken."""
    for seed in (*FOUND, *range(scaled(WALKS))):
        Walk(seed).run()
