"""pgqueuer. It keeps no order within a key: any event can be in flight at any time.

python -m benchmarks.peers.pgqueuer_peer fill | work URL IN_FLIGHT EVENTS KEYS HOT
"""

import os
import sys

import asyncpg
from pgqueuer.core.qm import QueueManager
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from benchmarks.loops import run
from benchmarks.peers.client import Client
from benchmarks.processes import DATABASE
from benchmarks.workload import Workload, workload_of

_BATCH = 500


async def fill(dsn: str, workload: Workload) -> None:
    """Make its tables and enqueue everything."""
    connection = await asyncpg.connect(dsn)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    for first in range(0, workload.events, _BATCH):
        numbers = range(first, min(first + _BATCH, workload.events))
        bodies = [workload.payload(number).encode() for number in numbers]
        await queries.enqueue(["send"] * len(bodies), bodies, [0] * len(bodies))
    await connection.close()


async def work(dsn: str, url: str, in_flight: int) -> None:
    """Work until the queue is empty. Twice the batch has to fit into the limit of picked jobs."""
    connection = await asyncpg.connect(dsn)
    manager = QueueManager(Queries(AsyncpgDriver(connection)))
    async with Client(url, 2 * in_flight) as client:

        async def send(job: Job) -> None:
            await client.send(str(job.id), job.payload)

        manager.entrypoint("send")(send)
        await manager.run(
            batch_size=in_flight,
            max_concurrent_tasks=2 * in_flight,
            mode=QueueExecutionMode.drain,
        )
    await connection.close()


def main(what: str, url: str, in_flight: str, *workload: str) -> None:
    dsn = os.environ[DATABASE]
    if what == "fill":
        run(fill(dsn, workload_of(*workload)))
    else:
        run(work(dsn, url, int(in_flight)))


if __name__ == "__main__":
    main(*sys.argv[1:])
