"""An application that writes until its stdin ends: `writer.py URL NUMBER USERS RATE`.

Of all its transactions one in eight rolls back. What has been committed it prints, a line for each
transaction, once the database has said so; with `--log` it notes that there as well. Nothing of
shipper's is imported here. It waits while more than `--backlog` events are pending: what is tried is
not how fast a machine is.
"""

import argparse
import importlib
import os
import random
import select
import sys
import time

from tests.campaigns.disklog import encode
from tests.daemon.application import Database, payload

ACKNOWLEDGED = "A"
_REST = 0.05


def write(given: argparse.Namespace) -> None:
    """Write about `rate` events a second, for any of its own users."""
    database, chance = _database(given), random.Random(given.number)
    log = os.open(given.log, os.O_WRONLY | os.O_APPEND) if given.log else None
    rest = 0.0
    while not select.select([sys.stdin], [], [], rest)[0]:  # its end is how it is told to stop
        if _pending(database, given.backlog) > given.backlog:
            rest = _REST
            continue
        began, several = time.monotonic(), chance.randint(1, 6)
        first = 2 if chance.random() < given.hot else given.users
        chosen = sorted(chance.choices(range(first), k=several))
        names = _insert(database, [f"w{given.number}u{user}" for user in chosen])
        if chance.random() < 1 / 8:
            database("ROLLBACK")
        else:
            database("COMMIT")
            line = " ".join(names) + "\n"
            if log is not None:
                os.write(log, encode(ACKNOWLEDGED, line.encode("ascii")))
            sys.stdout.write(line)
            sys.stdout.flush()
        rest = max(0.0, several / given.rate - (time.monotonic() - began))


def _pending(database: Database, most: int) -> int:
    """Count the pending events, as far as one more than so many."""
    pending = "SELECT id FROM shipper_outbox WHERE status = 'pending'"
    found = database(f"SELECT count(*) FROM ({pending} LIMIT {most + 1}) AS pending").fetchone()
    return int(found[0])


def _database(given: argparse.Namespace) -> Database:
    database = Database(given.url)
    if database.is_sqlite:
        library = importlib.import_module(given.library)
        database.connection.close()
        path = given.url.removeprefix("sqlite:///")
        database.connection = library.connect(path, timeout=60, isolation_level=None)
        database(f"PRAGMA synchronous = {given.synchronous}")
        database(f"PRAGMA wal_autocheckpoint = {given.checkpoint}")
    return database


def _insert(database: Database, users: list[str]) -> list[str]:
    names = []
    database.begin()
    for user in users:
        # The row's lock makes a user's transactions follow one another.
        database("UPDATE shop_customer SET events = events + 1 WHERE name = ?", user)
        row = database("SELECT events FROM shop_customer WHERE name = ?", user).fetchone()
        names.append(f"{user}-{row[0]:07}")
        database(
            "INSERT INTO shipper_outbox (payload, event_id) VALUES (?, ?)",
            payload(user, row[0]),
            names[-1],
        )
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("number", type=int)
    parser.add_argument("users", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("--backlog", type=int, default=1000)
    parser.add_argument("--hot", type=float, default=0.0, help="the share of the first two users")
    parser.add_argument("--log")
    parser.add_argument("--library", default="sqlite3")
    parser.add_argument("--synchronous", default="FULL")
    parser.add_argument("--checkpoint", type=int, default=1000)
    return parser


if __name__ == "__main__":
    write(_parser().parse_args())
