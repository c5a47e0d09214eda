"""Takes the outbox as a daemon does, for a command during which no daemon must send.

It decides how long the command waits for a holder whose lease has ended: as long as that lease
lasted, because the server's clock can have been set. It must never take an outbox that a running
daemon holds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from sqlalchemy import Engine

from shipper.errors import OutboxHeld
from shipper.store.drain.queue import Queue
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.lease import Owner

# Seconds for which the command takes the outbox at a time: much more than one transaction takes.
_LEASE = 60.0
# Seconds between two looks at a lease whose holder seems to be gone.
_WATCH_EVERY = 1.0


@contextmanager
def taken(engine: Engine, path: Path | None) -> Iterator[Queue]:
    """Take the outbox for a minute; a command that needs longer renews the lease.

    `path` is the SQLite file's. Raises OutboxHeld while a daemon ships.
    """
    lock = None if path is None else FileLock(path)
    if lock is not None:
        lock.acquire()
    try:
        queue = Queue(engine, lease_ttl=_LEASE)
        # This also marks what a daemon that died may have sent, and ends its claims.
        while not _acquires(queue):
            pass
        try:
            yield queue
        finally:
            queue.release()
    finally:
        if lock is not None:
            lock.release()


def _acquires(queue: Queue) -> bool:
    """Take the outbox; return False if the holder seems to be gone but isn't certainly dead."""
    try:
        queue.acquire(Owner.here())
    except OutboxHeld as held:
        if not held.seems_over:
            raise
        Event().wait(min(_WATCH_EVERY, held.left))
        return False
    return True
