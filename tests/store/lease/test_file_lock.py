"""The lock beside an SQLite file: one daemon, for as long as its process lives.

Promise 2 in the guarantees. The locks are of real processes.
"""

import errno
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from shipper.errors import OutboxHeld, StoreUnavailable
from shipper.store.lease.file_lock import FileLock
from tests.store.processes import process

LOCKER = """
import sys
from pathlib import Path
from shipper.store.lease.file_lock import FileLock

FileLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
sys.stdin.read()
"""

REFUSED = """
import sys
from pathlib import Path
from shipper.errors import OutboxHeld
from shipper.store.lease.file_lock import FileLock

try:
    FileLock(Path(sys.argv[1])).acquire()
except OutboxHeld as error:
    print(error.exit_status, flush=True)
else:
    print("locked", flush=True)
"""

WRITER = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0).execute("INSERT INTO t VALUES (1)")
except sqlite3.OperationalError as error:
    print(error, flush=True)
else:
    print("written", flush=True)
"""


def test_one_process_has_the_lock_until_it_dies(tmp_path: Path) -> None:
    """However it dies; the file stays, because two could lock two files."""
    lock = FileLock(tmp_path / "shop.db")
    assert not lock.is_held()
    with process(LOCKER, str(tmp_path / "shop.db")) as locker:
        assert locker.said() == "locked"
        assert lock.is_held()
        with pytest.raises(OutboxHeld, match=r"shop\.db\.shipper\.lock") as held:
            lock.acquire()
        assert held.value.exit_status == 75
        locker.dies()
        lock.acquire()
    assert lock.is_held()
    lock.release()
    lock.release()
    assert not lock.is_held()
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db.shipper.lock"]


@pytest.mark.parametrize("mode", [0o660, 0o600])
def test_it_is_shared_as_the_database_is(tmp_path: Path, mode: int) -> None:
    """What root does once, with whatever umask, must not keep the service's user out."""
    database = tmp_path / "shop.db"
    database.touch()
    database.chmod(mode)
    if os.geteuid() == 0:
        os.chown(database, 65534, 65533)
    before = os.umask(0o077)
    try:
        lock = FileLock(database)
        lock.acquire()
        lock.release()
    finally:
        os.umask(before)
    one, other = database.stat(), lock.path.stat()
    assert (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """Whatever a daemon starts and leaves behind, its successor isn't kept out."""
    lock = FileLock(tmp_path / "shop.db")
    lock.acquire()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    try:
        successor = FileLock(tmp_path / "shop.db")
        successor.acquire()
        successor.release()
    finally:
        child.communicate()


def test_a_lock_whose_file_was_removed_is_taken_again(tmp_path: Path) -> None:
    """Else another daemon would find none, and begin beside us (rsync --delete, git clean)."""
    lock = FileLock(tmp_path / "shop.db")
    lock.acquire()
    lock.insist()
    lock.path.unlink()
    assert lock.is_lost()
    lock.insist()
    assert not lock.is_lost()
    with process(LOCKER, str(tmp_path / "shop.db")) as second:
        assert second.said() == ""
    lock.release()
    lock.insist()
    assert not lock.is_held()


def test_nobody_else_gets_the_outbox_when_the_lock_file_is_removed(tmp_path: Path) -> None:
    """Nor replaced, nor hidden by another one: the database file itself is locked, too."""
    database = tmp_path / "shop.db"
    database.touch()
    lock = FileLock(database)
    lock.acquire()
    try:
        for meanwhile in (None, b"", b"another"):
            lock.path.unlink()
            if meanwhile is not None:
                lock.path.write_bytes(meanwhile)
            with process(REFUSED, str(database)) as second:
                assert second.said() == "75"
            assert lock.is_held()
            lock.insist()
            assert not lock.is_lost()
    finally:
        lock.release()
    assert not lock.is_held()
    with process(LOCKER, str(database)) as second:
        assert second.said() == "locked"
        with pytest.raises(OutboxHeld):
            lock.acquire()


def test_two_of_one_process_have_it_one_after_the_other(tmp_path: Path) -> None:
    """A lock of a descriptor would keep nobody out who shares that."""
    database = tmp_path / "shop.db"
    database.touch()
    first, second = FileLock(database), FileLock(database)
    first.acquire()
    first.path.unlink()
    with pytest.raises(OutboxHeld):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_what_the_lock_is_held_by_takes_no_lock_of_sqlites_away(tmp_path: Path) -> None:
    """To close a descriptor of the file would: fcntl(2), and sqlite.org/howtocorrupt.html, 2.2."""
    database = tmp_path / "shop.db"
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("CREATE TABLE t (x)")
    writer.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        lock = FileLock(database)
        lock.acquire()
        lock.insist()
        assert lock.is_held()
        lock.release()
        assert not lock.is_held()
    with process(WRITER, str(database)) as other:
        assert other.said() == "database is locked"
    writer.execute("COMMIT")
    writer.close()


def test_databases_without_end_take_no_descriptors_without_end(tmp_path: Path) -> None:
    """One is kept for each file, for so many."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(100):
        database = tmp_path / f"{number}.db"
        database.touch()
        lock = FileLock(database)
        lock.acquire()
        lock.release()
        if number % 2:
            database.unlink()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 65


CLOSED = """
import os, sys
from pathlib import Path
from shipper.errors import AccessDenied
from shipper.store.lease.file_lock import FileLock

os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
try:
    FileLock(Path("shop.db")).acquire()
except AccessDenied as error:
    print(error.exit_status, error.message, "|", error.hint, flush=True)
"""


def test_a_lock_file_that_is_closed_to_us_is_named(tmp_path: Path) -> None:
    """The directory may be as writable as can be: `mode 440` is what is wrong, with the fix."""
    tmp_path.chmod(0o777)
    file = tmp_path / "shop.db.shipper.lock"
    file.touch()
    file.chmod(0o440)
    with process(CLOSED, str(tmp_path)) as nobody:
        said = nobody.said()
    name = "shop.db.shipper.lock"
    assert said == (
        f"77 not allowed to open {name}, which has the mode 440 |"
        f" chmod --reference=shop.db {name}; chgrp --reference=shop.db {name}"
    )


NOBODY = """
import os, sys
from pathlib import Path
from shipper.errors import AccessDenied
from shipper.store.lease.file_lock import FileLock

if os.geteuid() == 0:
    os.setuid(65534)
try:
    FileLock(Path(sys.argv[1])).acquire()
except AccessDenied as error:
    print(error.exit_status, error.message, flush=True)
"""


def test_a_directory_that_is_closed_to_us_is_said_to_be(tmp_path: Path) -> None:
    """It is a matter of rights, which somebody can mend."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with process(NOBODY, str(closed / "shop.db")) as nobody:
        assert nobody.said() == "77 not allowed to create shop.db.shipper.lock beside the database"


def test_a_disk_that_is_full_or_broken_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no matter of rights, after which nobody would start the daemon anew."""

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StoreUnavailable, match="No space left"):
        FileLock(tmp_path / "shop.db").acquire()
