"""The parts of an outbox that a session holds from its beginning to its end.

This module decides how often the drain looks. A reload must never replace any of these parts; it
can only change the address behind them.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path

from shipper.config import Settings
from shipper.config.settings import DatabaseSettings
from shipper.daemon.chores import Upkeep
from shipper.daemon.database_thread import DatabaseThread
from shipper.drain import Rhythm
from shipper.store.db.failures import file_of
from shipper.store.db.identity import Identity
from shipper.store.drain.changes import SqliteWatch
from shipper.store.drain.look import Looks
from shipper.store.drain.queue import Queue
from shipper.system.files import followed

# Seconds between two looks of an idle drain. A longer wait delays new events, a shorter one costs
# more while nothing happens.
_POLL_FILE = 0.02
_POLL_SERVER = 0.2
# Seconds. With any settings, the drain turns at least this often: the watchdog needs it.
_IDLE_MAX = 15.0


class Address:
    """The address of an outbox. A reload can change it while the outbox stays the same."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings

    def read_url(self) -> str:
        """Return the URL, read again if it is in a file; see `DatabaseSettings`."""
        return self.settings.read_url()


@dataclass(frozen=True, slots=True)
class SessionOutbox:
    """The parts that a session holds from its beginning to its end."""

    address: Address
    identity: Identity
    thread: DatabaseThread
    queue: Queue
    looks: Looks
    upkeep: Upkeep
    watch: SqliteWatch | None
    taken_at: float
    """A time at or before the request for the lease (monotonic)."""

    @property
    def file(self) -> Path | None:
        """Return the SQLite file, None for any other outbox."""
        file = file_of(self.upkeep.database)
        return None if file is None else followed(file)

    def rhythm(self, settings: Settings, lease_ttl: float) -> Rhythm:
        """Return how often the drain looks with these settings."""
        poll = _POLL_FILE if self.watch else _POLL_SERVER
        return Rhythm(
            poll=min(poll, settings.schedule.poll_interval),
            idle=min(_IDLE_MAX, settings.schedule.poll_interval),
            lease_ttl=inf if self.watch else lease_ttl,
            lease_taken_at=self.taken_at,
            changed=self.watch.changed if self.watch else None,
        )
