"""A directory that a group shares, and a member of that group who means no good.

The tests run as root, which is what such a member wants to become. The member is another process
with another user's rights.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shipper.store.db.engine import open_engine
from shipper.store.upgrade.migrate import upgrade
from tests import needs
from tests.store.processes import Process, process

# Numbers that nobody has; only the kernel asks for them.
APP, MEMBER, GROUP = 54_321, 54_322, 54_323

_AS_MEMBER = f"""
import os, socket, sys
from pathlib import Path

os.setgroups([{GROUP}])
os.setresgid({GROUP}, {GROUP}, {GROUP})
os.setresuid({MEMBER}, {MEMBER}, {MEMBER})
os.umask(0o022)
shop, treasure = map(Path, sys.argv[1:3])
"""


@dataclass(frozen=True)
class Shared:
    """The outbox's directory, as the manual says that it has to be, and what is root's alone."""

    shop: Path
    treasure: Path

    @property
    def database(self) -> Path:
        """Return the outbox."""
        return self.shop / "shop.db"

    @property
    def url(self) -> str:
        """Return the same as a URL."""
        return f"sqlite:///{self.database}"

    @contextmanager
    def member(self, program: str, *arguments: str) -> Iterator[Process]:
        """Run a program of the member's, which knows `shop` and `treasure`."""
        lines = f"{_AS_MEMBER}{program}"
        with process(lines, str(self.shop), str(self.treasure), *arguments) as member:
            yield member

    def plants(self, program: str) -> None:
        """Let the member do something, and wait until it is done."""
        with self.member(f"{program}\nprint('done', flush=True)\n") as member:
            assert member.said() == "done"

    def is_untouched(self) -> bool:
        """Return whether what is root's is as it was, and nothing was put beside it."""
        status = self.treasure.lstat()
        return (
            self.treasure.read_bytes() == b"root:secret\n"
            and (status.st_mode, status.st_uid, status.st_gid) == (0o100600, 0, 0)
            and [path.name for path in self.treasure.parent.iterdir()] == ["treasure"]
        )


@pytest.fixture
def shared() -> Iterator[Shared]:
    """Give the place, without an outbox."""
    needs.root()
    base = Path(tempfile.mkdtemp(prefix="shipper-shared-"))
    try:
        base.chmod(0o755)
        shop, private = base / "shop", base / "private"
        shop.mkdir()
        os.chown(shop, APP, GROUP)
        shop.chmod(0o2770)
        private.mkdir(mode=0o755)
        treasure = private / "treasure"
        treasure.write_bytes(b"root:secret\n")
        treasure.chmod(0o600)
        yield Shared(shop, treasure)
    finally:
        shutil.rmtree(base, onerror=_unless_gone)


def _unless_gone(_: object, __: str, error: Any) -> None:
    """Fail, but not because a connection that is closed just now has removed its `-shm` file."""
    if not issubclass(error[0], FileNotFoundError):
        raise error[1]


@pytest.fixture
def outbox(shared: Shared) -> Shared:
    """Give the place with an outbox of the application's."""
    engine = open_engine(shared.url, create=True)
    upgrade(engine)
    engine.dispose()
    for path in shared.shop.iterdir():
        os.chown(path, APP, GROUP)
    return shared
