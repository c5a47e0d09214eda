"""Leave the daemon's signs of life beside its SQLite file; `store.report.silence` judges them.

The lock on the file shows that the process exists, but not that it works: it may be stopped or
hang. So the daemon also writes a sign, at most once in `SIGN_EVERY` seconds. The drain must never
wait for this write, and the daemon must never leave a sign while the drain stands still.
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
    """The signs that one daemon leaves beside its file."""

    def __init__(self, file: Path, tally: Tally) -> None:
        self._file = file
        self._tally = tally
        self._left: Noted | None = None

    async def look(self) -> None:
        """Leave a sign if it would say something new."""
        left, tally = self._left, self._tally
        now = Noted(tally.answered_at, tally.lost_at, tally.lost_reason)
        if left is None or now.lost != left.lost or now.seen - left.seen >= SIGN_EVERY:
            # The disk may be the fault: neither the loop nor a stop waits for the write.
            await aside(partial(note, self._file, now), "sign")
            self._left = now


async def leave_signs(signs: SignsOfLife, log: Log) -> None:
    """Leave signs until cancelled."""
    await repeat("signs", signs.look, _LOOK_EVERY, log)
