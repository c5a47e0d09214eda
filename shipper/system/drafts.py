"""New files in shared directories, hidden from other users until they are complete: see `files`.

This module decides how a file gets its name. It must never take a name that exists, unless the
caller asks for that, and never let another user read or change an unpublished file.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Self

from shipper.system.files import Directory, Untrusted


class Draft:
    """A file that no other user sees until it is published; it is made in a private directory.

    The directory is beside the target; its name can't be guessed, and only its owner can enter.
    Another user who can write beside it can rename it, but can never put anything into it, because
    every step goes by descriptor.
    """

    def __init__(self, target: Path) -> None:
        """Prepare the draft; raises OSError."""
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
        """Raise Untrusted unless the path leads to this file, and a library has the file open.

        Another user may have exchanged a directory on the way while the library opened the path.
        """
        ours = os.fstat(self.file)
        try:
            is_there = os.path.samestat(self.path.lstat(), ours)
        except OSError:
            is_there = False
        if not is_there or not _is_open_elsewhere(ours, self.file):
            raise Untrusted("was replaced by another user while it was written", self._directory)

    def publish(self, *, replaces: bool = False) -> None:
        """Give the file its name once it is on disk; raises FileExistsError if it is taken."""
        assert self._inside is not None, "the draft is entered first"
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
        except OSError:  # a file system without hard links, as on memory sticks
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=there, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            os.rename(self.name, name, src_dir_fd=here, dst_dir_fd=there)


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put a new file with this content in place of any file of that name; raises OSError.

    No reader ever sees a part of it. A link of that name is replaced; its target isn't touched.
    """
    with Draft(path) as draft:
        with open(draft.file, "wb", closefd=False) as file:
            file.write(content)
        os.fchmod(draft.file, mode)
        draft.publish(replaces=True)


def _is_open_elsewhere(ours: os.stat_result, descriptor: int) -> bool:
    """Return whether this process has the file open twice; True if the kernel doesn't say."""
    try:
        others = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return True
    for other in others:
        with suppress(OSError):  # the descriptor of the listing itself is closed again
            if other != descriptor and os.path.samestat(os.fstat(other), ours):
                return True
    return False
