"""The checks before each transaction on an SQLite file that stays open.

A process that has a file open doesn't notice when another file is moved into its place, or when the
-wal and -shm beside it are removed. `Kept` in `db.kept` calls these checks.
"""

import os
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from shipper.clock import SystemClock
from shipper.errors import LeaseLost
from shipper.store.db.sqlite.place import second_name
from shipper.store.db.sqlite.unchanged import CheckedDirectory
from shipper.store.db.sqlite.wal_files import Beside
from shipper.system.files import followed


class FileSafeguard:
    """The checks of an SQLite file, and of its -wal and -shm, for one engine.

    It calls `notify` with a sentence about each thing that the operator should know.
    """

    def __init__(self, file: Path, notify: Callable[[str], None]) -> None:
        self._file = file
        self._notify = notify
        self._opened: tuple[int, int] | None = None
        self._beside = Beside(file)
        self._has_told_of_names = False
        self._directory = CheckedDirectory(followed(file).parent, SystemClock().monotonic)

    def look(self) -> bool:
        """Return whether the open file is still at its place.

        Raises LeaseLost if another file is in its place: all that the daemon knows is about the old
        file.
        """
        file = self._file
        try:
            found = file.stat()
        except OSError:
            return False  # opening the next connection reports what is wrong
        if (has_names := found.st_nlink > 1) is not self._has_told_of_names:
            self._has_told_of_names = has_names
            if has_names:
                self._notify(second_name(file, found.st_nlink))
        identity = (found.st_dev, found.st_ino)
        self._opened = self._opened or identity
        if identity != self._opened:
            aside = self._beside.set_aside()
            raise LeaseLost(
                f"another file lies in the place of {file.name}, which was open"
                + (f"; the -wal of the old file is kept as {aside}" if aside else ""),
                "restart the application, which has the old file open: what it commits there is"
                " lost. Before a file is replaced, stop all processes that have it open, shipper"
                " too",
            )
        return True

    def is_alive(self, connection: Connection) -> bool:  # noqa: ARG002
        """Return True: no other machine stands between this process and the file."""
        return True

    def is_intact(self) -> bool:
        """Return whether the -wal and -shm are still those that the connection has open."""
        return self._beside.is_intact()

    def is_unchanged(self, is_more: Callable[[], bool]) -> bool:
        """Return whether the file, its -wal and its -shm are those that the connection has open.

        `is_more` returns whether something else in the directory has to be repaired.
        """
        if self._directory.is_unchanged():
            return True
        if not self._are_ours() or is_more():
            return False
        self._directory.checked()
        return True

    def _are_ours(self) -> bool:
        try:
            found = os.stat(self._file)  # noqa: PTH116 - often before a transaction
        except OSError:
            return False
        is_same = (found.st_dev, found.st_ino) == self._opened
        has_names = found.st_nlink > 1
        return is_same and has_names is self._has_told_of_names and self._beside.is_intact()

    def save(self, connection: Connection) -> None:
        """Save what is in a -wal that another process has removed; see `Beside.save`."""
        self._beside.save(connection.connection.driver_connection, self._notify)

    def remember(self) -> None:
        """Note which -wal and -shm the connection that was just used has open."""
        self._beside.remember()

    def before_closing(self) -> None:
        """Make sure that closing a connection writes nothing from a removed -wal."""
        self._beside.protect()

    def after_closing(self) -> None:
        """Forget which files were open: the last connection of this engine is closed."""
        self._beside.forget()
