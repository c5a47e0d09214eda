"""The signs of life that a daemon leaves beside its SQLite file; `store.plight` judges them.

The kernel says that somebody has the lock, and goes on to say so of a process that is stopped or
hangs. A sign is a write that nobody waits for, at most one in `SIGN_EVERY`: it must never cost the
drain anything, nor be given while the drain stands still.
"""

import asyncio
from pathlib import Path
from typing import Final

from shipper.daemon.guard import Guard
from shipper.dispatcher.tally import Tally
from shipper.logs import Log
from shipper.store.plight import Noted, note

SIGN_EVERY: Final = 5.0
_LOOK_EVERY: Final = 1.0


async def sign(file: Path, tally: Tally, log: Log) -> None:
    """Leave them until cancelled."""
    guard = Guard("signs", log)
    left: Noted | None = None
    while True:
        with guard():
            now = Noted(tally.answered_at, tally.lost_at, tally.lost_reason)
            if left is None or now.lost != left.lost or now.seen - left.seen >= SIGN_EVERY:
                # The disk may be what is wrong, and the loop has other things to do than wait.
                await asyncio.to_thread(note, file, now)
                left = now
        await asyncio.sleep(_LOOK_EVERY)
