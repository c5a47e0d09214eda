"""The bare client loop for comparison: aiohttp, without a database, without storing anything.

    python -m benchmarks.bare_loop ORDER IN_FLIGHT URL EVENTS KEYS HOT

ORDER says which order it keeps:

    free      none: any event can be in flight at any time
    ordered   one event of a shopper at a time, the next after its answer
    FILE      one event at a time; each is committed to a plain SQLite table before the next

The payloads are made before the clock starts, and the connections are warm. It sends an event again
at once if the answer isn't 202. It prints JSON: events, seconds, cpu (seconds).
"""

import asyncio
import json
import sqlite3
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

import aiohttp

from benchmarks.loops import run
from benchmarks.workload import Workload, workload_of

_WARM_UP = 3
_TABLE = "CREATE TABLE plain (id INTEGER PRIMARY KEY, payload TEXT NOT NULL, status TEXT NOT NULL)"
_MARK = "UPDATE plain SET status = 'delivered' WHERE id = ?"

Mark = Callable[[int], None]


class Client:
    """Sends payloads, as the daemon sends them."""

    def __init__(self, session: aiohttp.ClientSession, url: str, payloads: list[bytes]) -> None:
        self._session = session
        self._url = url
        self._payloads = payloads
        self._headers = [
            {
                "content-type": "application/json",
                "x-api-id": "benchmark",
                "idempotency-key": str(uuid.uuid4()),
            }
            for _ in payloads
        ]

    async def send(self, number: int) -> None:
        """Send an event again and again until it is accepted."""
        body, headers = self._payloads[number], self._headers[number]
        while True:
            async with self._session.post(self._url, data=body, headers=headers) as reply:
                await reply.read()
                if reply.status == 202:
                    return


async def free(client: Client, events: int, in_flight: int) -> None:
    """Send everything, `in_flight` events at once."""
    numbers = iter(range(events))

    async def work() -> None:
        for number in numbers:
            await client.send(number)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def ordered(client: Client, workload: Workload, in_flight: int) -> None:
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
            await client.send(lane.popleft())
            left -= 1
            if lane:
                ready.put_nowait(lane)
            if not left:
                for _ in range(in_flight):
                    ready.put_nowait(None)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def committing(client: Client, events: int, mark: Mark) -> None:
    """Send one event after the other, and commit each before the next."""
    for number in range(events):
        await client.send(number)
        mark(number)


def plain_table(file: str, payloads: list[bytes]) -> Mark:
    """Make a plain table with these payloads; return a function that commits one as delivered."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_TABLE)
    connection.execute("BEGIN")
    rows = ((number, body.decode()) for number, body in enumerate(payloads))
    connection.executemany("INSERT INTO plain VALUES (?, ?, 'pending')", rows)
    connection.execute("COMMIT")
    return lambda number: connection.execute(_MARK, (number,)).close()


async def measure(order: str, in_flight: int, url: str, workload: Workload) -> dict[str, float]:
    """Send everything; return events, seconds and CPU."""
    payloads = [workload.payload(number).encode() for number in range(workload.events)]
    mark = plain_table(order, payloads) if order not in {"free", "ordered"} else None
    connector = aiohttp.TCPConnector(limit=in_flight)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        client = Client(session, url, payloads)
        warm_up = min(_WARM_UP * in_flight, workload.events)
        await free(client, warm_up, in_flight)
        began, cpu = time.perf_counter(), time.process_time()
        if mark is not None:
            await committing(client, workload.events, mark)
        elif order == "ordered":
            await ordered(client, workload, in_flight)
        else:
            await free(client, workload.events, in_flight)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return {"events": workload.events, "seconds": seconds, "cpu": used}


def main(order: str, in_flight: str, url: str, *workload: str) -> None:
    if order not in {"free", "ordered"}:
        Path(order).unlink(missing_ok=True)
    print(json.dumps(run(measure(order, int(in_flight), url, workload_of(*workload)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
