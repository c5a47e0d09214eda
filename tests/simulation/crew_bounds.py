"""Within which time each change of a crew is over: the bounds that the daemons promise.

Virtual time decides, so no machine is too slow for them. Each change has its bound; when nothing
has happened for longer than all bounds, each shard must belong to a daemon that is there, and
their shares must be fair. While a daemon stands still, is cut off or stops, nothing is asked.
"""

from collections.abc import Callable, Collection
from contextvars import Context
from typing import Any

from shipper.policy.shares import SHARDS
from tests.simulation.crew_scenario import Voyage

_USUAL_POLL = 0.25
_ATTENTION = 1.0
"""So often the daemons look whether one of them is silent."""
_RETRY = 5.0
"""After so long a daemon asks a database again that it couldn't reach."""
_STEPS = 16
"""So many steps have two exchanges, each of which may be slow before and after."""


class Bounds:
    """What has happened to the crew, and what that has to have led to by when."""

    def __init__(
        self,
        loop: Any,
        voyage: Voyage,
        reader: Any,
        there: Callable[[], Collection[int] | None],
    ) -> None:
        """Ask `there` for the tokens of the daemons; None means that it's too early to ask."""
        slow = voyage.poll - _USUAL_POLL + _STEPS * voyage.slow
        silence = voyage.lease + 2 * (_ATTENTION + voyage.poll) + _STEPS * voyage.slow
        self._within = {
            "joined": 5.0 + slow,
            "stopped": 1.0 + slow,
            "gone": silence,
            "hurt": silence + _RETRY,
        }
        self._loop, self._reader, self._there = loop, reader, there
        self._space = Context()  # no daemon's end or standstill touches what runs here
        self._due, self._why = 0.0, ""
        self.broken: list[str] = []
        self.asked: list[str] = []
        """After which changes the shares were looked at."""

    def changed(self, why: str) -> None:
        """Look at the shares when the time is over that such a change may take."""
        due = self._loop.time() + self._within[why]
        if due >= self._due:
            self._due, self._why = due, why
            self._loop.call_at(due, self._look, due, context=self._space)

    def _look(self, due: float) -> None:
        there = self._there()
        if due < self._due or not there:
            return
        self.asked.append(self._why)
        held = dict(self._reader.execute(_HELD).fetchall())
        shares = sorted(held.values())
        if held.keys() != set(there) or sum(shares) != SHARDS or shares[-1] - shares[0] > 1:
            self.broken.append(
                f"{self._within[self._why]:.2f} s after one has {self._why}, daemons have {held} of"
                f" the shards, and {sorted(there)} are there"
            )


_HELD = (
    "SELECT d.token, count(s.shard) FROM shipper_daemon AS d LEFT JOIN shipper_shard AS s"
    " USING (token) GROUP BY d.token"
)
