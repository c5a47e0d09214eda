"""Lanes whose shards come and go at random, beside everything else that can happen."""

from collections.abc import Callable
from typing import Any

from shipper.policy.shares import ALL_SHARDS
from tests.campaigns.places import scaled
from tests.policy.table import Row
from tests.policy.test_lanes_walks import WEIGHTS, Walk

WALKS = 1500
A, B, C = 1, 2, 3
"""The shards of the keys a, b and c."""
HOLDS_TO_THE_END = ("delivered", "dead")


class SharedWalk(Walk):
    """The same walk, with other daemons that take shards, work in them, and give them back."""

    def run(self) -> None:
        """Do some steps, give everything back, take everything again, and deliver it."""
        steps = [step for step, weight in _WEIGHTS.items() for _ in range(weight)]
        for _ in range(self._dice.randint(20, 120)):
            self._dice.choice(steps)(self)
        self._drain.hold(())
        self.give_everything()
        self._drain.coming = ALL_SHARDS
        self._drain.exchange()
        self._drain.run_dry()
        assert self._drain.table.pending() == []

    def give_everything(self) -> None:
        """Give back all shards: whatever is in flight ends, and nothing is left."""
        drain = self._drain
        drain.coming = frozenset()
        drain.exchange()
        for row in self._open_tries():
            drain.finish(row, self._dice.choice(["delivered", "again", "first"]))
        drain.turns(3)
        assert drain.away == ALL_SHARDS
        assert drain.table.claimed == set()
        assert drain.lanes.is_empty()
        assert drain.is_idle()
        assert not drain.ahead.has_more()
        assert drain.ahead.next_sweep() is None
        assert drain.ahead.questions(drain.now) == []

    def share(self) -> None:
        """Let shards go, or come back."""
        kept = {shard for shard in range(4) if self._dice.random() < 0.6}
        self._drain.coming = ALL_SHARDS if len(kept) == 4 else frozenset(kept)

    def work_elsewhere(self) -> None:
        """Let another daemon try the first event of a lane that it has."""
        drain = self._drain
        away = drain.away - (drain.coming or frozenset())
        rows = [row for row in drain.table.pending() if row.shard in away]
        if not rows:
            return
        row: Row = drain.table.pending(self._dice.choice(rows).lane)[0]
        match self._dice.choice(["delivered", "dead", "wait", "died"]):
            case "wait":
                row.due, row.received = drain.now + self._dice.choice([0.5, 30.0]), False
            case "died":
                row.received = True
            case end:
                row.pending, row.dead, row.received = False, end == "dead", False


_WEIGHTS: dict[Callable[[Any], None], int] = {
    **WEIGHTS,
    SharedWalk.share: 8,
    SharedWalk.work_elsewhere: 12,
}


def test_wherever_the_shards_go_order_and_bounds_hold() -> None:
    """`Drain` asserts also that nothing starts, or stays claimed, in a shard that went away."""
    for seed in range(scaled(WALKS)):
        SharedWalk(seed).run()
