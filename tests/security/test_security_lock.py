"""What lies under the lock's name is never followed, changed or trusted, whoever put it there."""

import os
import stat
from pathlib import Path

import pytest

from shipper.errors import AccessDenied, ShipperError
from shipper.store.db.engine import open_engine
from shipper.store.lease.file_lock import FileLock
from tests.cli.command_line import Home
from tests.security.conftest import APP, GROUP, MEMBER, Shared
from tests.store.daemons import write

PLANTED = {
    "a link": "os.symlink(treasure, lock)",
    "a dangling link": "os.symlink(treasure.parent / 'made', lock)",
    "a link to a directory": "os.symlink(treasure.parent, lock)",
    "a link to the database": "os.symlink(shop / 'shop.db', lock)",
    "a hard link": "(shop / 'other').touch(); os.link(shop / 'other', lock)",
    "a hard link to the database": "os.link(shop / 'shop.db', lock)",
    "a pipe": "os.mkfifo(lock, 0o666)",
    "a socket": "socket.socket(socket.AF_UNIX).bind(str(lock))",
    "a directory": "lock.mkdir()",
    "a file of another user's": "lock.touch(0o644)",
    "a file that others can't open": "lock.touch(0o600)",
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_a_member_of_the_group_plants_is_refused(outbox: Shared, planted: str) -> None:
    """Root, who runs `shipper drain` there, would give mode and owner of anything away."""
    outbox.plants(f"lock = shop / 'shop.db.shipper.lock'\n{PLANTED[planted]}")
    lock = FileLock(outbox.database)
    before = lock.path.lstat()
    assert not lock.is_held()
    with pytest.raises(AccessDenied) as refused:
        lock.acquire()
    assert refused.value.exit_status == 77
    assert str(lock.path) in refused.value.message
    assert lock.path.lstat() == before
    assert outbox.is_untouched()
    assert stat.S_IMODE(outbox.database.stat().st_mode) == 0o660


@pytest.mark.parametrize(
    "command",
    ["run", "drain", "events export --hand-over x.jsonl"],
)
def test_no_command_of_roots_follows_the_lock(outbox: Shared, tmp_path: Path, command: str) -> None:
    """Each of these takes the outbox."""
    engine = open_engine(outbox.url)
    write(engine, "a")
    engine.dispose()
    outbox.plants("os.symlink(treasure, shop / 'shop.db.shipper.lock')")
    ran = Home(tmp_path, outbox.url).run(*command.split())
    assert ran.status == 77, ran.err
    assert "shop.db.shipper.lock is a link" in ran.err
    assert "find out who put it there" in ran.err
    assert outbox.is_untouched()


def test_a_link_is_refused_where_the_kernel_lets_everybody_make_hard_links(outbox: Shared) -> None:
    """With fs.protected_hardlinks = 0 a member can make one of any file."""
    os.link(outbox.treasure, outbox.treasure.with_name("other"))
    lock = FileLock(outbox.database)
    outbox.treasure.with_name("other").rename(lock.path)
    with pytest.raises(AccessDenied, match="has 2 names"):
        lock.acquire()
    lock.path.unlink()
    assert outbox.is_untouched()


def test_a_file_that_was_there_is_not_changed(outbox: Shared) -> None:
    """A member can move a backup of root's under this name; only what we have made is shared."""
    lock = FileLock(outbox.database)
    lock.path.write_bytes(b"all payloads")
    lock.path.chmod(0o600)
    lock.acquire()
    lock.release()
    status = lock.path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o600, 0, GROUP)
    assert lock.path.read_bytes() == b"all payloads"


def test_the_lock_of_a_daemon_that_ran_as_another_user_serves(outbox: Shared) -> None:
    """Its service's user made it: it is shared as the database is, and belongs to neither."""
    lock = FileLock(outbox.database)
    lock.path.touch()
    os.chown(lock.path, MEMBER, GROUP)
    lock.path.chmod(0o660)
    lock.acquire()
    lock.release()
    assert lock.path.stat().st_uid == MEMBER


def test_what_root_makes_is_shared_as_the_database_is(outbox: Shared) -> None:
    """Else what root does once would keep the service's own user out."""
    lock = FileLock(outbox.database)
    before = os.umask(0o077)
    try:
        lock.acquire()
    finally:
        os.umask(before)
    lock.release()
    status = lock.path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o660, APP, GROUP)


SWAPS = """
lock, beside = shop / "shop.db.shipper.lock", shop / "beside"
print("begun", flush=True)
for _ in range(2000):
    for lead in (treasure, treasure.parent / "made"):
        try:
            os.symlink(lead, beside)
            os.rename(beside, lock)
            os.unlink(lock)
            open(lock, "w").close()
            os.unlink(lock)
        except OSError:
            pass
"""


def test_who_changes_it_between_two_steps_gains_nothing(outbox: Shared) -> None:
    """What is checked is what was opened."""
    with outbox.member(SWAPS) as member:
        assert member.said() == "begun"
        while member.is_running:
            lock = FileLock(outbox.database)
            try:
                lock.acquire()
            except ShipperError:
                continue
            lock.release()
    assert outbox.is_untouched()


def test_a_running_daemon_keeps_its_outbox_whatever_is_put_there(outbox: Shared) -> None:
    """The lock on the database file itself is held."""
    lock, other = FileLock(outbox.database), Path(f"{outbox.database}.shipper.lock")
    lock.acquire()
    outbox.plants("(shop / 'shop.db.shipper.lock').unlink()")
    outbox.plants("os.symlink(treasure, shop / 'shop.db.shipper.lock')")
    lock.insist()
    assert lock.is_held()
    assert lock.is_lost()
    other.unlink()
    lock.insist()
    assert not lock.is_lost()
    lock.release()
    assert outbox.is_untouched()
