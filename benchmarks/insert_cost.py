"""Measure what one INSERT costs the application: into the outbox, and into a plain table.

    python -m benchmarks.insert_cost EVENTS

It writes through the driver, without shipper's code, to the URL in the environment. The kinds of
INSERT alternate. It prints JSON: for each kind the median microseconds of an INSERT `within` a
transaction of many rows, and `alone`, in a transaction of its own with a durable commit.
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from statistics import median
from typing import Any

from benchmarks.processes import DATABASE
from benchmarks.workload import Workload

_PASSES = 10
# A durable commit costs as much as this many rows without one.
_ALONE = 10
_KEYS = 1_000

_PLAIN = """CREATE TABLE plain_outbox (
  id {identity},
  destination text,
  ordering_key text,
  event_id text UNIQUE,
  payload {payload} NOT NULL
)"""

_FOUR = "destination, ordering_key, event_id, payload"
WAYS = {
    "payload": "INSERT INTO shipper_outbox (payload) VALUES (?)",
    "all four": f"INSERT INTO shipper_outbox ({_FOUR}) VALUES (?, ?, ?, ?)",
    "plain": f"INSERT INTO plain_outbox ({_FOUR}) VALUES (?, ?, ?, ?)",
}

Execute = Callable[[str, Sequence[Any]], object]


def open_database(url: str) -> Execute:
    """Return a function that runs a statement with `?`; it commits outside of a transaction."""
    if url.startswith("sqlite:///"):
        sqlite = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        sqlite.execute("PRAGMA synchronous = FULL")
        sqlite.execute(_PLAIN.format(identity="INTEGER PRIMARY KEY AUTOINCREMENT", payload="text"))
        return sqlite.execute
    import psycopg  # noqa: PLC0415 - an extra, and only this branch needs it

    postgres: Any = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
    postgres.execute(
        _PLAIN.format(identity="bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", payload="json")
    )
    return lambda statement, values: postgres.execute(statement.replace("?", "%s"), values)


def rows(way: str, payloads: Iterator[str], numbers: Iterator[int], many: int) -> list[list[str]]:
    """Return the values of `many` INSERTs."""
    if way == "payload":
        return [[next(payloads)] for _ in range(many)]
    return [
        ["default", f"shopper-{number % _KEYS}", f"{way}-{number}", next(payloads)]
        for number in (next(numbers) for _ in range(many))
    ]


def spend(execute: Execute, statement: str, values: list[list[str]], *, within: bool) -> float:
    """Insert rows and return the microseconds for one; `within` one transaction or each alone."""
    began = time.perf_counter()
    if within:
        execute("BEGIN", ())
    for row in values:
        execute(statement, row)
    if within:
        execute("COMMIT", ())
    return (time.perf_counter() - began) / len(values) * 1e6


def measure(url: str, events: int) -> dict[str, dict[str, float]]:
    """Measure every kind of INSERT and return the medians."""
    execute = open_database(url)
    workload, numbers = Workload(10 * events, _KEYS), count()
    payloads = map(workload.payload, count())
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(_PASSES):
        for how, many in (("within", events), ("alone", events // _ALONE)):
            for way, statement in WAYS.items():
                values = rows(way, payloads, numbers, max(1, many // _PASSES))
                microseconds = spend(execute, statement, values, within=how == "within")
                took.setdefault((way, how), []).append(microseconds)
    return {way: {how: median(took[way, how]) for how in ("within", "alone")} for way in WAYS}


if __name__ == "__main__":
    print(json.dumps(measure(os.environ[DATABASE], int(sys.argv[1]))))
