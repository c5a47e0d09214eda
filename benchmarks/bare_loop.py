"""The bare client loop for comparison: no queue, nothing stored, only sending.

    python -m benchmarks.bare_loop CLIENT ORDER IN_FLIGHT URL EVENTS KEYS HOT

CLIENT is `aiohttp`, or `own`: shipper's HTTP client, so that nobody has to ask whether the
comparison is with a slow one. ORDER says which order the loop keeps:

    free        none: any event can be in flight at any time
    ordered     one event of a shopper at a time, the next after its answer
    committing  one event at a time; each is committed to a plain table of the database that
                $BENCHMARK_DATABASE names, before the next

The payloads are made before the clock starts, and the connections are warm. It sends an event again
at once if the answer isn't 202. It prints JSON: events, seconds, cpu (seconds).
"""

import asyncio
import json
import os
import sqlite3
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import aiohttp
from sqlalchemy import make_url

from benchmarks.loops import run
from benchmarks.processes import DATABASE
from benchmarks.workload import Workload, workload_of
from shipper.config.secrets import Secrets
from shipper.destination import Destination
from shipper.destination.form import EightSelectForm
from shipper.destination.request import awaited
from shipper.policy.event import Event
from shipper.policy.outcome import Reply

_WARM_UP = 3
_TABLE = "CREATE TABLE plain (id INTEGER PRIMARY KEY, payload TEXT NOT NULL, status TEXT NOT NULL)"
_API_ID = "benchmark"
_TIMEOUT = 60.0

Send: TypeAlias = Callable[[int], Awaitable[None]]
"""Sends the event of a number again and again until it is accepted."""
Mark: TypeAlias = Callable[[int], None]


@asynccontextmanager
async def with_aiohttp(url: str, in_flight: int, payloads: list[bytes]) -> AsyncIterator[Send]:
    """Yield a function that sends with aiohttp."""
    headers = [
        {
            "content-type": "application/json",
            "x-api-id": _API_ID,
            "idempotency-key": str(uuid.uuid4()),
        }
        for _ in payloads
    ]
    connector = aiohttp.TCPConnector(limit=in_flight)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:

        async def send(number: int) -> None:
            while True:
                body = payloads[number]
                async with session.post(url, data=body, headers=headers[number]) as reply:
                    await reply.read()
                    if reply.status == 202:
                        return

        yield send


@asynccontextmanager
async def with_our_own(url: str, in_flight: int, payloads: list[bytes]) -> AsyncIterator[Send]:
    """Yield a function that sends with shipper's HTTP client."""
    keys = [str(uuid.uuid4()) for _ in payloads]
    destination = Destination(EightSelectForm(url), timeout=_TIMEOUT, max_in_flight=in_flight)

    secrets = Secrets(api_id=_API_ID)

    async def send(number: int) -> None:
        while True:
            event = Event(number, keys[number], "default", None, payloads[number])
            answer = await awaited(partial(destination.begin, event, secrets))
            if isinstance(answer, Reply) and answer.status == 202:
                return

    try:
        yield send
    finally:
        await destination.aclose()


CLIENTS = {"aiohttp": with_aiohttp, "own": with_our_own}


async def free(send: Send, events: int, in_flight: int) -> None:
    """Send everything, `in_flight` events at once."""
    numbers = iter(range(events))

    async def work() -> None:
        for number in numbers:
            await send(number)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def ordered(send: Send, workload: Workload, in_flight: int) -> None:
    """Send everything, `in_flight` events at once, but one per shopper, in order."""
    lanes: dict[int, deque[int]] = {}
    for number in range(workload.events):
        lanes.setdefault(workload.event(number)[0], deque()).append(number)
    ready: asyncio.Queue[deque[int] | None] = asyncio.Queue()
    for lane in lanes.values():
        ready.put_nowait(lane)
    left = workload.events

    async def work() -> None:
        nonlocal left
        while (lane := await ready.get()) is not None:
            await send(lane.popleft())
            left -= 1
            if lane:
                ready.put_nowait(lane)
            if not left:
                for _ in range(in_flight):
                    ready.put_nowait(None)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def committing(send: Send, events: int, mark: Mark) -> None:
    """Send one event after the other, and commit each before the next."""
    for number in range(events):
        await send(number)
        mark(number)


def plain_table(database: str, payloads: list[bytes]) -> Mark:
    """Make a plain table with these payloads; return a function that commits one as delivered."""
    url = make_url(database)
    rows = [(number, body.decode()) for number, body in enumerate(payloads)]
    if url.get_backend_name() == "sqlite":
        return _in_sqlite(str(url.database), rows)
    return _in_postgres(
        url.set(drivername="postgresql").render_as_string(hide_password=False), rows
    )


def _in_sqlite(file: str, rows: list[tuple[int, str]]) -> Mark:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_TABLE)
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO plain VALUES (?, ?, 'pending')", rows)
    connection.execute("COMMIT")
    statement = "UPDATE plain SET status = 'delivered' WHERE id = ?"
    return lambda number: connection.execute(statement, (number,)).close()


def _in_postgres(dsn: str, rows: list[tuple[int, str]]) -> Mark:
    import psycopg  # noqa: PLC0415 - an extra of the package

    connection = psycopg.connect(dsn, autocommit=True)
    cursor = connection.cursor()
    cursor.execute(_TABLE)
    with cursor.copy("COPY plain FROM STDIN") as copy:
        for number, body in rows:
            copy.write_row((number, body, "pending"))
    statement = "UPDATE plain SET status = 'delivered' WHERE id = %s"

    def mark(number: int) -> None:
        cursor.execute(statement, (number,), prepare=True)

    return mark


async def measure(
    client: str, order: str, in_flight: int, url: str, workload: Workload
) -> dict[str, float]:
    """Send everything; return events, seconds and CPU."""
    payloads = [workload.payload(number).encode() for number in range(workload.events)]
    mark = plain_table(os.environ[DATABASE], payloads) if order == "committing" else None
    async with CLIENTS[client](url, in_flight, payloads) as send:
        warm_up = min(_WARM_UP * in_flight, workload.events)
        await free(send, warm_up, in_flight)
        began, cpu = time.perf_counter(), time.process_time()
        if mark is not None:
            await committing(send, workload.events, mark)
        elif order == "ordered":
            await ordered(send, workload, in_flight)
        else:
            await free(send, workload.events, in_flight)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return {"events": workload.events, "seconds": seconds, "cpu": used}


def main(client: str, order: str, in_flight: str, url: str, *workload: str) -> None:
    result = run(measure(client, order, int(in_flight), url, workload_of(*workload)))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
