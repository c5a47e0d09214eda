"""Notices commits of other processes to an SQLite file, at next to no cost.

For the daemon's wait. `PRAGMA data_version` reads one number from shared memory (measured: 2.7
microseconds), so the daemon asks many times a second without a thread or a transaction. A new
number only says that a look is worth it; it must never be the only reason to look. inotify would
not do: it fires when the WAL is written, before readers can see the commit.
"""

from pathlib import Path
from typing import Any

from shipper.errors import ShipperError
from shipper.store.db.sqlite.opening import connect_sqlite
from shipper.store.db.sqlite.wal_files import Beside


class SqliteWatch:
    """Compares the file's version, on a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = Beside(path)
        self._connection: Any = None
        self._version: int | None = None

    def changed(self) -> bool:
        """Return whether there were commits since the last call; True also if that isn't known."""
        if not self._beside.is_intact():
            # The next look finds out what can be saved; this connection must not be open then.
            self.close()
            return True
        try:
            if self._connection is None:
                self._connection = connect_sqlite(self._path, busy_timeout=0.0)
            [version] = self._connection.execute("PRAGMA data_version").fetchone()
            self._beside.remember()
        except Exception as error:  # of either driver: the look that follows reports it
            if not isinstance(error, ShipperError) and not hasattr(error, "sqlite_errorcode"):
                raise
            self.close()
            return True
        before, self._version = self._version, version
        return bool(before != version)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._beside.protect()
            self._connection.close()
            self._beside.forget()
            self._connection = None
            self._version = None
