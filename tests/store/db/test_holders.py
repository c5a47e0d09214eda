"""Who has a file open or locked: never somebody who has to do with another file."""

import subprocess
import sys
from pathlib import Path

from tests import needs

# Locks files in all places where SQLite or shipper has a lock, until its input ends.
LOCKER = """
import fcntl, os, struct, sys
for name in sys.argv[1:]:
    file = os.open(name, os.O_RDWR)
    for first, length in ((120, 9), (0x40000000, 512)):
        fcntl.lockf(file, fcntl.LOCK_EX, length, first)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1 << 62, 1, 0)
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
print("locked", flush=True)
sys.stdin.read()
"""

# Two file systems are numbered alike: of an outbox in the one, and of files in the other that
# somebody has locked.
VOLUMES = """
import os, pathlib, subprocess, sys
from sqlalchemy import text
from shipper.store.db.sqlite import holders
from shipper.store.db.engine import open_engine
from shipper.store.lease.file_lock import FileLock
from shipper.store.upgrade.migrate import upgrade
from shipper.store.db.transactions import writing

ours, theirs = map(pathlib.Path, sys.argv[1:3])
outbox = ours / "shop.db"

def add():
    engine = open_engine(f"sqlite:///{outbox}", busy_timeout=0.2)
    with writing(engine) as tx:
        tx.execute(text("INSERT INTO shipper_outbox (payload) VALUES ('{}')"))
    return engine

made = open_engine(f"sqlite:///{outbox}", create=True)
upgrade(made)
first = add()
wanted = {os.stat(f"{outbox}{suffix}").st_ino for suffix in ("", "-shm")}
alike = []
for number in range(1000):
    (theirs / f"{number}").touch()
    if (theirs / f"{number}").stat().st_ino in wanted:
        alike.append(str(theirs / f"{number}"))
assert len(alike) == 2
with subprocess.Popen(
    [sys.executable, "-c", sys.argv[3], *alike], stdin=subprocess.PIPE, stdout=subprocess.PIPE
) as locker:
    locker.stdout.readline()
    add().dispose()
    print(holders.writers(outbox), holders.strangers(outbox), FileLock(outbox).is_held())
    lock = FileLock(outbox)
    lock.acquire()
    lock.path.unlink()
    print(lock.is_held())
    locker.stdin.close()
"""


def test_a_file_of_another_file_system_with_the_same_number_is_another_file(tmp_path: Path) -> None:
    """Fresh volumes number their files alike: nobody is told to stop a program for that."""
    needs.root()
    unshare = needs.program("unshare", "util-linux")
    private = [unshare, "--mount", "--propagation", "private"]
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
        needs.missing("no mount namespace can be had here")
    volumes = [tmp_path / name for name in ("ours", "theirs")]
    for volume in volumes:
        volume.mkdir()
    mounts = "; ".join(f"mount -t tmpfs none {volume}" for volume in volumes)
    told = subprocess.run(
        [*private, "sh", "-ec", f'{mounts}; exec "$0" "$@"',
         sys.executable, "-c", VOLUMES, *map(str, volumes), LOCKER],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.stdout.splitlines() == ["[] [] False", "True"], told.stderr
