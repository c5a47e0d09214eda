"""The signs of life that a daemon leaves beside its SQLite file; `store.plight` judges them.

The kernel says that somebody has the lock, and goes on to say so of a process that is stopped or
hangs. A sign is a write that nobody waits for, at most one in `SIGN_EVERY`: it must never cost the
drain anything, nor be given while the drain stands still.
"""

from functools import partial
from pathlib import Path
from typing import Final

from shipper.drain.tally import Tally
from shipper.logs import Log
from shipper.observe.guard import repeat
from shipper.store.report.silence import Noted, note
from shipper.system.background import aside

SIGN_EVERY: Final = 5.0
_LOOK_EVERY: Final = 1.0


class SignsOfLife:
    """What one daemon leaves beside its file."""

    def __init__(self, file: Path, tally: Tally) -> None:
        self._file = file
        self._tally = tally
        self._left: Noted | None = None

    async def look(self) -> None:
        """Leave another one, if there is something else to tell."""
        left, tally = self._left, self._tally
        now = Noted(tally.answered_at, tally.lost_at, tally.lost_reason)
        if left is None or now.lost != left.lost or now.seen - left.seen >= SIGN_EVERY:
            # The disk may be what is wrong: neither the loop nor a stop waits for it.
            await aside(partial(note, self._file, now), "sign")
            self._left = now


async def leave_signs(signs: SignsOfLife, log: Log) -> None:
    """Leave them until cancelled."""
    await repeat("signs", signs.look, _LOOK_EVERY, log)
