"""When shipper refuses to open an SQLite file, because of the -wal and -shm beside it.

A connection that is opened while another process has a removed WAL open begins a second WAL. One
that is opened beside the WAL of another file damages the file. See `wal_files`.
"""

from pathlib import Path
from threading import Event
from typing import Any

from shipper.errors import StoreUnavailable
from shipper.store.db.sqlite import holders
from shipper.store.db.sqlite.wal_files import SUFFIXES, removed
from shipper.system.files import followed

# Seconds. A process that opens the database normally locks the file and the -shm within
# microseconds. A daemon that lost its -wal saves the content within about half a second.
_LOOK_AGAIN_AFTER = 0.05
_LOOK_AGAIN_FOR = 1.0
# SQLite removes the files when the last connection of all processes is closed. That takes less time
# than these looks.
_CLOSING_LOOKS = 3


def refuse_removed(file: Path) -> None:
    """Raise StoreUnavailable while this process has a removed -wal or -shm of the file open.

    A connection that is opened now would begin a new one beside it.
    """
    real = followed(file)
    for _ in range(_CLOSING_LOOKS):
        if not any(removed(f"{real}{suffix}") for suffix in SUFFIXES):
            return
        Event().wait(_LOOK_AGAIN_AFTER)  # another thread can be closing the last connection now
    raise StoreUnavailable(f"the -wal or -shm of {file.name} was removed while it was open")


def refuse_mixed(file: Path) -> None:
    """Raise StoreUnavailable while the WAL at its place belongs to the file that was there before.

    A process that opens both writes pages of the old file into the new one, which damages it for
    good (sqlite.org/howtocorrupt.html, 1.4). That happens when another file is moved into the place
    of a file that processes have open: nothing in the new file shows that the WAL isn't its own.
    """
    who = holders.strangers(file)
    if who:
        raise StoreUnavailable(
            f"another file was moved into the place of {file.name} while that was open: the -wal"
            f" there belongs to the old file, which {holders.listed(who)} has open; opening it with"
            " the new file would damage that",
            "stop the process that has the old file open (the application), and move that -wal away"
            " before a process opens the new file. Never replace a database that is in use",
        )


def refuse_elsewhere(file: Path, patience: float) -> set[int]:
    """Raise StoreUnavailable while other processes have a removed -wal or -shm open.

    Returns the processes that may have one open. A connection that is opened now would begin a
    second WAL, and what is committed to one of the two would be lost. It waits for at most
    `patience` seconds, and opens nothing meanwhile: while we have the file open, another process
    can't save a removed WAL by closing the file.
    """
    surely, maybe = holders.elsewhere(file)
    for _ in range(round(min(patience, _LOOK_AGAIN_FOR) / _LOOK_AGAIN_AFTER)):
        if not (surely or maybe):
            break
        Event().wait(_LOOK_AGAIN_AFTER)
        before, (surely, maybe) = surely | maybe, holders.elsewhere(file)
        surely, maybe = surely & before, maybe & before
    if surely:
        raise _abandoned(file, surely)
    return maybe


def refuse_without(driver: Any, file: Path, suspects: set[int]) -> None:
    """Raise StoreUnavailable if the suspects have another -wal or -shm open than the driver.

    `refuse_elsewhere` returns suspects if it isn't sure: the file may have no WAL.
    """
    if suspects and driver.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        who = suspects & holders.without_ours(file)
        if who:
            raise _abandoned(file, who)


def _abandoned(file: Path, pids: set[int]) -> StoreUnavailable:
    return StoreUnavailable(
        f"the -wal or -shm of {file.name} was removed while it was open, and"
        f" {holders.listed(holders.described(sorted(pids)))} still has it open: a new one beside it"
        " would lose what is committed to one of the two",
        "restart that process (the application), and let it end by itself: what it committed is"
        " saved when it closes the file",
    )
