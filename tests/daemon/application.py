"""An application in a process of its own: its database's plain module, plain SQL.

    application.py write URL WRITER EVENTS USERS   many transactions; a user's events are numbered
    application.py lock FILE                       take SQLite's write lock until stdin ends
    application.py put URL LINES-ON-STDIN          one transaction; each line is a JSON object of
                                                   columns, `payload_hex` for raw bytes as text

Nothing of shipper's is imported here.
"""

import json
import random
import sqlite3
import sys
from typing import Any


def payload(user: str, number: int) -> str:
    """Return a valid event of a user."""
    context = [{"type": "user", "user": {"id": user}}]
    return json.dumps({"type": "view", "view": {"number": number}, "context": context})


class Database:
    """A connection whose statements are written with `?`, and whose writes begin at once."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite:///")
        self.connection: Any
        if self.is_sqlite:
            path = url.removeprefix("sqlite:///")
            self.connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        else:
            import psycopg

            self.connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)

    def __call__(self, statement: str, *values: object) -> Any:
        """Run a statement and return its cursor."""
        marked = statement if self.is_sqlite else statement.replace("?", "%s")
        return self.connection.execute(marked, values)

    def begin(self) -> None:
        """Begin a transaction that will write."""
        self("BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN")


def write(url: str, writer: str, events: str, users: str) -> None:
    """Write so many events in transactions of one to six, any user in any process."""
    database, chance, left = Database(url), random.Random(int(writer)), int(events)
    while left:
        # Sorted, so that no two transactions wait for each other.
        several = min(left, chance.randint(1, 6))
        chosen = sorted(chance.choices(range(int(users)), k=several))
        database.begin()
        for user in chosen:
            name = f"u{user}"
            # The row's lock makes a user's transactions follow one another.
            database("UPDATE shop_customer SET events = events + 1 WHERE name = ?", name)
            row = database("SELECT events FROM shop_customer WHERE name = ?", name).fetchone()
            database(
                "INSERT INTO shipper_outbox (payload, event_id) VALUES (?, ?)",
                payload(name, row[0]),
                f"{name}-{row[0]:06}",
            )
        database("COMMIT")
        left -= several


def lock(file: str) -> None:
    """Hold the write lock of an SQLite file from the line that says so to the end of stdin."""
    connection = sqlite3.connect(file, timeout=60, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    sys.stdout.write("locked\n")
    sys.stdout.flush()
    sys.stdin.read()
    connection.execute("ROLLBACK")


def put(url: str) -> None:
    """Insert rows in one transaction."""
    database = Database(url)
    database.begin()
    for line in sys.stdin:
        row = json.loads(line)
        marks = ["?"] * len(row)
        if "payload_hex" in row:
            marks[list(row).index("payload_hex")] = "CAST(? AS TEXT)"
            row["payload_hex"] = bytes.fromhex(row["payload_hex"])
        names = ", ".join(row).replace("payload_hex", "payload")
        database(f"INSERT INTO shipper_outbox ({names}) VALUES ({', '.join(marks)})", *row.values())
    database("COMMIT")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", url, writer, events, users]:
            write(url, writer, events, users)
        case ["lock", file]:
            lock(file)
        case ["put", url]:
            put(url)
