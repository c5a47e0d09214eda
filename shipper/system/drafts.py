"""New files that nobody sees before they are whole, made where others may write: see `files`.

It decides how a file gets its name. It must never give it one that is taken, unless that was asked
for, and never let anybody else read or change what isn't published yet.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Self

from shipper.system.files import Directory, Untrusted


class Draft:
    """A file that nobody else sees until it is published: in a directory of its own, beside.

    That has a name nobody can know before, and lets nobody else in. Whoever may write beside it can
    move it away, but never put anything into it; all is done by descriptor, so that is all.
    """

    def __init__(self, target: Path) -> None:
        """Make it; raises OSError."""
        self.target = target
        self._beside = Directory(target.parent)
        self._inside: Directory | None = None
        self._directory = f".shipper.{token_hex(8)}.partial"
        self.name = token_hex(16)
        self.file = -1

    def __enter__(self) -> Self:
        try:
            self._inside = self._beside.make_directory(self._directory, 0o700)
            self.file = self._inside.make(self.name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.file >= 0:
            os.close(self.file)
        if self._inside is not None:
            with suppress(OSError), self._inside:
                for name in os.listdir(self._inside.descriptor):  # noqa: PTH208 - no path has it
                    self._inside.remove(name)
            with suppress(OSError):
                os.rmdir(self._directory, dir_fd=self._beside.descriptor)
        with self._beside:
            pass

    @property
    def path(self) -> Path:
        """Return its path, for a library that takes no descriptor; see `refuse_another`."""
        return self.target.parent / self._directory / self.name

    def refuse_another(self) -> None:
        """Raise Untrusted unless the path leads to the file, and whoever opened it has that open.

        A name on the way may have been changed for as long as it was opened.
        """
        ours = os.fstat(self.file)
        try:
            is_there = os.path.samestat(self.path.lstat(), ours)
        except OSError:
            is_there = False
        if not is_there or not _is_open_elsewhere(ours, self.file):
            raise Untrusted("was replaced by somebody else while it was written", self._directory)

    def publish(self, *, replaces: bool = False) -> None:
        """Give the file its name, once it is on disk; raises FileExistsError if that is taken."""
        assert self._inside is not None, "it is entered first"
        here, there = self._inside.descriptor, self._beside.descriptor
        os.fsync(self.file)
        if replaces:
            os.rename(self.name, self.target.name, src_dir_fd=here, dst_dir_fd=there)
        else:
            self._link(here, there)
        self._beside.sync()

    def _link(self, here: int, there: int) -> None:
        name = self.target.name
        try:
            os.link(self.name, name, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # a file system without links, as sticks have
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=there, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            os.rename(self.name, name, src_dir_fd=here, dst_dir_fd=there)


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put a file with this content in the place of whatever has the name; raises OSError.

    Nobody ever finds a part of it, and a link that was there goes, not what it leads to.
    """
    with Draft(path) as draft:
        with open(draft.file, "wb", closefd=False) as file:
            file.write(content)
        os.fchmod(draft.file, mode)
        draft.publish(replaces=True)


def _is_open_elsewhere(ours: os.stat_result, descriptor: int) -> bool:
    """Return whether this process has a file open once more; True where the kernel doesn't tell."""
    try:
        others = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return True
    for other in others:
        with suppress(OSError):  # the one that listed them is closed again
            if other != descriptor and os.path.samestat(os.fstat(other), ours):
                return True
    return False
