"""An application that commits events at a steady rate, each in a transaction of its own.

    python -m benchmarks.writer WRITER WRITERS RATE SECONDS KEYS LOG_FILE

RATE is commits per second; a writer that is late hurries. Each line of the log is an event:
shopper, place in the shopper's sequence, and the time when COMMIT returned (CLOCK_MONOTONIC, ns).
It writes as an application does: through the driver, without shipper's code; the URL is in the
environment. Two writers share no shopper.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import DATABASE
from benchmarks.workload import payload

_BUSY_TIMEOUT = 60.0


def committer(url: str) -> Callable[[str], None]:
    """Return a function that writes one event and commits it."""
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        sqlite = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None)
        sqlite.execute("PRAGMA synchronous = FULL")
        insert = "INSERT INTO shipper_outbox (payload) VALUES (?)"
        return lambda text: sqlite.execute(insert, (text,)).close()
    import psycopg  # noqa: PLC0415 - an extra, and only this branch needs it

    postgres = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
    return lambda text: postgres.execute(
        "INSERT INTO shipper_outbox (payload) VALUES (%s)", (text,)
    ).close()


def write(commit: Callable[[str], None], writer: int, writers: int, rate: float, seconds: float,
          keys: int) -> list[str]:  # fmt: skip
    """Commit events for some seconds; return the lines of the log."""
    shoppers, lines = keys // writers, []
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        if (early := began + number / rate - time.monotonic()) > 0:
            time.sleep(early)
        shopper, sequence = writer + writers * (number % shoppers), number // shoppers
        commit(payload(shopper, sequence))
        lines.append(f"{shopper} {sequence} {time.monotonic_ns()}\n")
    return lines


def main(writer: str, writers: str, rate: str, seconds: str, keys: str, log: str) -> None:
    lines = write(
        committer(os.environ[DATABASE]),
        int(writer),
        int(writers),
        float(rate),
        float(seconds),
        int(keys),
    )
    Path(log).write_text("".join(lines), encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
