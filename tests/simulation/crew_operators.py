"""The people who hold, release, retry, discard and reroute while several daemons work.

They act on the database alone, as the commands do. Their words are judged by the same books as
those of one daemon's operators.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from shipper.errors import ShipperError
from shipper.store.db.selection import Selection
from shipper.store.operate.reroute import reroute
from tests.simulation.crew_database import Server
from tests.simulation.operators import Operators

_ASKED_EVERY = 0.3
_ASKED_MOST = 20


class CrewOperators(Operators):
    """Commands on the database of several daemons."""

    def __init__(
        self,
        server: Server,
        time: Any,
        awake: Callable[[], float],
        dice: random.Random,
        note: Callable[[str], None],
    ) -> None:
        self.retried: dict[int, float] = {}
        self.released: dict[str, list[float]] = {}
        self.held: dict[tuple[str, str | None], float] = {}
        self._engine = server.operator
        self._time = time
        self._awake = awake
        self._dice = dice
        self._reader = server.reader
        self._note = note

    async def reroute(self, names: list[str]) -> None:
        """Send a few events to the other destination; they go there out of their order."""
        found = self._reader.execute("SELECT id FROM shipper_outbox WHERE status = 'pending'")
        ids = [row for (row,) in found]
        if not ids:
            return
        chosen = tuple(self._dice.sample(ids, min(3, len(ids))))
        for row in chosen:
            self.retried.setdefault(row, self._time.monotonic())
        to = self._dice.choice(names)
        try:
            steps = reroute(self._engine, Selection(ids=chosen), to, self._time.wall())
            for asked, step in enumerate(steps):
                self._note(f"operator: reroute {chosen} to {to}: {step}")
                if asked == _ASKED_MOST:
                    return
                await asyncio.sleep(_ASKED_EVERY)
        except ShipperError as error:
            self._note(f"operator: reroute failed: {error}")
