"""What each result code of SQLite means to an operator: decided only here.

The code says what kind of trouble it is (sqlite.org/rescode.html). If one code stands for several
troubles (SQLITE_ERROR, SQLITE_CORRUPT, a constraint), SQLite's message decides whether shipper, the
application or the library is at fault. The message is English in every installation, and has names
and no values. If the file isn't at fault, the hint must never be a step that loses data: no restore
and no upgrade because an older library can't read the file, or because an index of the application
needs something.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from shipper.errors import (
    AccessDenied,
    DiskFull,
    ForeignTrigger,
    SchemaError,
    ShipperError,
    StoreUnavailable,
)


class Meaning(NamedTuple):
    """A kind of failure, what is wrong (`{file}` is the database's), and what to do about it."""

    kind: type[ShipperError]
    message: str
    hint: str | None = None


UPGRADE = "run: shipper db upgrade"
_RIGHTS = "its directory needs mode 2770 and a common group, the file 0660; see: shipper doctor"
_KEEP = (
    "stop what writes, keep the file with its -wal and -shm, and look at: PRAGMA integrity_check."
    " What can be read is saved by the sqlite3 shell's .recover; a backup lacks what came after it"
)
_LATER = "shipper tries again; if it stays: look at the disk and at the system's log (dmesg)"

# Extended codes are the primary one plus 256 times their place in this list, which begins at 1.
_PRIMARY = (
    "OK", "ERROR", "INTERNAL", "PERM", "ABORT", "BUSY", "LOCKED", "NOMEM", "READONLY", "INTERRUPT",
    "IOERR", "CORRUPT", "NOTFOUND", "FULL", "CANTOPEN", "PROTOCOL", "EMPTY", "SCHEMA", "TOOBIG",
    "CONSTRAINT", "MISMATCH", "MISUSE", "NOLFS", "AUTH", "FORMAT", "RANGE", "NOTADB", "NOTICE",
    "WARNING",
)  # fmt: skip
_EXTENDED = {
    "OK": "LOAD_PERMANENTLY SYMLINK",
    "ERROR": "MISSING_COLLSEQ RETRY SNAPSHOT RESERVESIZE KEY UNABLE",
    "ABORT": "- ROLLBACK",
    "BUSY": "RECOVERY SNAPSHOT TIMEOUT",
    "LOCKED": "SHAREDCACHE VTAB",
    "READONLY": "RECOVERY CANTLOCK ROLLBACK DBMOVED CANTINIT DIRECTORY",
    "IOERR": (
        "READ SHORT_READ WRITE FSYNC DIR_FSYNC TRUNCATE FSTAT UNLOCK RDLOCK DELETE BLOCKED NOMEM"
        " ACCESS CHECKRESERVEDLOCK LOCK CLOSE DIR_CLOSE SHMOPEN SHMSIZE SHMLOCK SHMMAP SEEK"
        " DELETE_NOENT MMAP GETTEMPPATH CONVPATH VNODE AUTH BEGIN_ATOMIC COMMIT_ATOMIC"
        " ROLLBACK_ATOMIC DATA CORRUPTFS IN_PAGE BADKEY CODEC"
    ),
    "CORRUPT": "VTAB SEQUENCE INDEX",
    "CANTOPEN": "NOTEMPDIR ISDIR FULLPATH CONVPATH DIRTYWAL SYMLINK",
    "CONSTRAINT": (
        "CHECK COMMITHOOK FOREIGNKEY FUNCTION NOTNULL PRIMARYKEY TRIGGER UNIQUE VTAB ROWID PINNED"
        " DATATYPE"
    ),
    "AUTH": "USER",
    "NOTICE": "RECOVER_WAL RECOVER_ROLLBACK RBU",
    "WARNING": "AUTOINDEX",
}


def _names() -> Iterator[tuple[int, str]]:
    yield from enumerate(_PRIMARY)
    yield from ((100, "ROW"), (101, "DONE"))
    for primary, extended in _EXTENDED.items():
        for place, name in enumerate(extended.split(), 1):
            if name != "-":
                yield _PRIMARY.index(primary) | place << 8, f"{primary}_{name}"


NAMES = dict(_names())
"""Every result code of SQLite, without its SQLITE_."""

_NO_WRITE = Meaning(AccessDenied, "not allowed to write {file} or its -wal and -shm", _RIGHTS)
# SQLite gives the same code for a full or broken disk; then shipper tries again.
NO_OPENING = Meaning(
    StoreUnavailable,
    "{file} or its -wal and -shm can't be opened for writing",
    f"is the disk full? Otherwise {_RIGHTS}",
)
FULL = Meaning(DiskFull, "the disk that {file} is on is full", "free some space; nothing was lost")
# The disk has room, so it is another limit.
NO_GROWTH = Meaning(
    DiskFull,
    "{file} can't grow, though its disk isn't full",
    "a quota, a limit on the size of files, PRAGMA max_page_count, or ids at the end of all numbers"
    " (see: shipper verify; fixed by: shipper db upgrade); nothing was lost",
)
_TROUBLE = Meaning(StoreUnavailable, "{file} can't be read or written", _LATER)
_LOCKS = Meaning(
    StoreUnavailable,
    "{file} can't be locked",
    "is it on a disk of this machine? SQLite needs the system's locks: see shipper doctor",
)
_MEMORY = Meaning(
    StoreUnavailable,
    "the memory that is shared for {file} (its -shm) can't be used",
    "is it on a disk of this machine, and is that full? See: shipper doctor",
)
_DAMAGED = Meaning(StoreUnavailable, "{file} is damaged", _KEEP)
_TABLES = Meaning(
    SchemaError, "the outbox's tables are not what this code expects, in {file}", UPGRADE
)
_LIBRARY = Meaning(
    SchemaError,
    "this SQLite library can't read the schema of {file}",
    "a newer SQLite has made it: take a newer Python, or: pip install pysqlite3. The file is good",
)
_ONLY_THE_APPLICATION = Meaning(
    ForeignTrigger,
    "something in {file} needs what only the application has",
    "shipper's own tables are good: keep the application's collations, functions and modules out of"
    " triggers and indexes on tables named shipper_…, or load them there, too",
)
_ITS_TRIGGER = Meaning(
    ForeignTrigger,
    "a trigger of the application on shipper's tables in {file} fails",
    "look at: SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE"
    " 'shipper%'",
)

_MEANINGS: dict[str, Meaning] = {
    "ERROR": _TABLES,  # shipper's statements are tested, so a table or a column is missing
    "ERROR_MISSING_COLLSEQ": _ONLY_THE_APPLICATION,
    "ERROR_RETRY": _TROUBLE,
    "ERROR_SNAPSHOT": _TROUBLE,
    "INTERNAL": _TROUBLE,
    "PERM": _NO_WRITE,
    "ABORT": _TROUBLE,
    "BUSY": Meaning(
        StoreUnavailable, "another process holds the write lock of {file}", "shipper tries again"
    ),
    "BUSY_RECOVERY": Meaning(
        StoreUnavailable, "another process recovers {file} after a crash", "shipper tries again"
    ),
    "LOCKED": Meaning(
        StoreUnavailable, "another connection holds the lock of {file}", "shipper tries again"
    ),
    "NOMEM": Meaning(StoreUnavailable, "there is no memory left to read {file}", None),
    "READONLY": _NO_WRITE,
    "READONLY_DBMOVED": Meaning(
        StoreUnavailable,
        "{file} was moved or replaced while it was open",
        "stop shipper before the file is replaced",
    ),
    "INTERRUPT": _TROUBLE,
    "IOERR": _TROUBLE,
    "IOERR_UNLOCK": _LOCKS,
    "IOERR_RDLOCK": _LOCKS,
    "IOERR_CHECKRESERVEDLOCK": _LOCKS,
    "IOERR_LOCK": _LOCKS,
    "IOERR_SHMOPEN": _MEMORY,
    "IOERR_SHMSIZE": _MEMORY,
    "IOERR_SHMLOCK": _MEMORY,
    "IOERR_SHMMAP": _MEMORY,
    "IOERR_DATA": _DAMAGED,
    "IOERR_CORRUPTFS": Meaning(
        StoreUnavailable, "the file system that {file} is on is damaged", "check the disk (fsck)"
    ),
    "CORRUPT": _DAMAGED,
    "CORRUPT_INDEX": Meaning(
        StoreUnavailable, "an index in {file} is damaged, its table may be good", "run: REINDEX"
    ),
    "CORRUPT_VTAB": Meaning(
        StoreUnavailable,
        "a virtual table of the application in {file} is damaged",
        "the application has to build it again; shipper has no virtual tables",
    ),
    "FULL": FULL,
    "CANTOPEN": _NO_WRITE,
    "CANTOPEN_ISDIR": Meaning(
        SchemaError, "{file} is a directory", "database.url must name the database file itself"
    ),
    "CANTOPEN_NOTEMPDIR": Meaning(
        StoreUnavailable, "SQLite finds no directory for its temporary files", "set SQLITE_TMPDIR"
    ),
    "PROTOCOL": _LOCKS,
    "SCHEMA": Meaning(
        StoreUnavailable, "the schema of {file} keeps changing", "shipper tries again"
    ),
    "NOLFS": Meaning(StoreUnavailable, "{file} is larger than this system can read", None),
    "AUTH": _NO_WRITE,
    "NOTADB": Meaning(
        SchemaError,
        "{file} is not an SQLite database, or is encrypted",
        "is the path right? An encrypted file (SQLCipher) can't hold an outbox. Nothing was"
        " written to it",
    ),
}  # fmt: skip

# Messages that show which part is at fault if the code doesn't; the group is a name.
_WORDS: tuple[tuple[str, Meaning], ...] = (
    (r"malformed database schema \((?P<name>[^)]*)\)", _LIBRARY),
    (r"no such function: (?P<name>json\w*)", _LIBRARY),
    (r"unsupported file format()", _LIBRARY),
    (r"no such (?:collation sequence|function|module|vfs): (?P<name>\S+)", _ONLY_THE_APPLICATION),
    (r"unknown (?:tokenizer|function):? (?P<name>\S+)", _ONLY_THE_APPLICATION),
    (r"user-defined function raised exception()", _ONLY_THE_APPLICATION),
    (r"unsafe use of (?P<name>\S+)", _ONLY_THE_APPLICATION),
    (r"no such (?:table|view|index): (?:\w+\.)?(?!shipper_)(?P<name>\w+)", _ITS_TRIGGER),
    (r"no such column: (?P<name>(?i:new|old)\.\w+)", _ITS_TRIGGER),
    (r"error in (?:trigger|view|index|table) (?!shipper_)(?P<name>\w+)", _ITS_TRIGGER),
    (r"(?P<name>no such (?:table|column|index): \S+)", _TABLES),
    (r"(?P<name>\w+ \S+ (?:has no column named \w+|already exists))", _TABLES),
    (r"constraint failed: (?!shipper_|index 'shipper_)(?P<name>\w+)\.", _ITS_TRIGGER),
)
_NEEDS_WORDS = frozenset({"ERROR", "CORRUPT", "CONSTRAINT"})
_NAMED = 60


def meaning(code: int, words: str) -> Meaning | None:
    """Return what a code means; SQLite's `words` decide only which part is at fault.

    None means that only a change of shipper's code helps: a violated constraint, a wrong statement.
    """
    primary = NAMES.get(code & 0xFF, "")
    if primary in _NEEDS_WORDS:
        for pattern, found in _WORDS:
            if match := re.search(pattern, words):
                return _naming(found, match.groupdict().get("name"))
        # A driver that doesn't ask for extended codes reports only that a constraint failed.
        raised = primary == "CONSTRAINT" and "constraint failed" not in words
        if raised and words and not words.startswith("shipper_"):
            return _ITS_TRIGGER
    return _MEANINGS.get(NAMES.get(code, "")) or _MEANINGS.get(primary)


def named(code: int) -> str:
    """Return a code for a message: its name and its number."""
    name = NAMES.get(code) or NAMES.get(code & 0xFF) or "unknown"
    return f"SQLITE_{name}, {code}"


def _naming(found: Meaning, name: str | None) -> Meaning:
    if not name:
        return found
    shown = "".join(c for c in name if c.isprintable() and c not in "{}")[:_NAMED]
    return found._replace(message=f"{found.message}: {shown}")
