"""Room that is kept for a full disk: a file beside an SQLite outbox, freed piece by piece.

It decides how large a piece is, and which pieces are kept for what. The last pieces are for turns
that record what was sent, never for a turn that only claims more. `full_disk` decides when a piece
is freed.

It must never fill the disk itself, and never touch a file that isn't its own. The operator can
delete the file at any time. On a file system that shares or compresses blocks the file keeps less
room than its size says.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipper.system.files import PRIVATE, Directory, Untrusted

SUFFIX = ".shipper.reserve"
# A piece has room for more than one turn's records. To be written into the file, the WAL needs its
# own size once more, usually 4 MB; several pieces together have that.
PIECES = 8
FOR_MARKS = 2
# The file is made only if so many times its size stays free.
_SPARE = 4


def reserve_of(database: Path) -> Path:
    """Return the file that holds the reserve of an SQLite file."""
    return database.with_name(database.name + SUFFIX)


def held(database: Path) -> int:
    """Return how many bytes are kept in reserve beside an SQLite file."""
    try:
        status = reserve_of(database).lstat()
    except OSError:
        return 0
    return min(status.st_size, status.st_blocks * 512) if stat.S_ISREG(status.st_mode) else 0


class Reserve:
    """The reserve of one SQLite file: `size` bytes, or none with 0. Only the daemon changes it."""

    def __init__(self, database: Path, size: int) -> None:
        self._database = database
        self._path = reserve_of(database)
        self.size = size

    @property
    def held(self) -> int:
        """Return how many bytes are kept now."""
        return held(self._database)

    def restore(self) -> bool:
        """Fill the reserve again, if enough stays free; return whether it is full now."""
        try:
            if self.size == 0:
                with Directory(self._path.parent) as directory:
                    directory.remove(self._path.name)
                return True
            missing = self.size - self.held
            if missing > max(0, shutil.disk_usage(self._path.parent).free - _SPARE * self.size):
                return False
            with self._own(replaces=True) as file:
                if os.fstat(file).st_size != self.size or missing > 0:
                    os.posix_fallocate(file, 0, self.size)
                    os.ftruncate(file, self.size)
        except OSError:
            return False
        return True

    @contextmanager
    def _own(self, *, replaces: bool = False) -> Iterator[int]:
        """Open the file; raises OSError if it doesn't belong to this user alone.

        Applications can write to the directory, and one of them may have made a link of this name
        to any file. With `replaces` such a name is removed and the file is made, also if the daemon
        ran as another user before. The file that a link leads to is never touched.
        """
        name, owners = self._path.name, {os.geteuid()}
        with Directory(self._path.parent) as directory:
            try:
                file = directory.open_or_make(name, os.O_RDWR, owners, PRIVATE)
            except Untrusted:
                if not replaces:
                    raise
                directory.remove(name)
                file = directory.make(name)
        try:
            yield file
        finally:
            os.close(file)

    def give(self, *, marks: bool) -> int:
        """Free a piece and return its bytes; 0 if no piece is left, or none for this purpose.

        `marks` says that the piece is for recording what was sent.
        """
        before = self.held
        piece = -(-self.size // PIECES)
        least = 0 if marks else FOR_MARKS * piece
        after = max(least, before - piece)
        if after >= before:
            return 0
        try:
            with self._own() as file:
                os.ftruncate(file, after)
                # Some file systems reuse freed room only after they have committed.
                os.fsync(file)
        except OSError:
            return 0
        return before - after
