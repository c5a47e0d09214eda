"""procrastinate. Its `lock`, one for each shopper, keeps the order within a key.

python -m benchmarks.peers.procrastinate_peer fill | work URL IN_FLIGHT EVENTS KEYS HOT
"""

import os
import sys

from procrastinate import App, PsycopgConnector

from benchmarks.loops import run
from benchmarks.peers.client import Client
from benchmarks.processes import DATABASE
from benchmarks.workload import Workload, workload_of

_POLL = 0.05


def task(name: str, shopper: int) -> dict[str, str]:
    """Return the configuration of a job."""
    return {"name": name, "lock": f"shopper-{shopper}"}


async def fill(dsn: str, workload: Workload) -> None:
    """Make its tables and enqueue the events one by one, because a batch has only one lock."""
    app = App(connector=PsycopgConnector(conninfo=dsn))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for number in range(workload.events):
            shopper, _ = workload.event(number)
            deferrer = app.configure_task(**task("send", shopper))
            await deferrer.defer_async(event=number, body=workload.payload(number))


async def work(dsn: str, url: str, in_flight: int) -> None:
    """Work until the queue is empty."""
    app = App(connector=PsycopgConnector(conninfo=dsn))
    async with app.open_async(), Client(url, in_flight) as client:

        async def send(event: int, body: str) -> None:
            await client.send(str(event), body.encode())

        app.task(name="send")(send)
        await app.run_worker_async(
            concurrency=in_flight,
            wait=False,
            fetch_job_polling_interval=_POLL,
            install_signal_handlers=False,
        )


def main(what: str, url: str, in_flight: str, *workload: str) -> None:
    dsn = os.environ[DATABASE]
    if what == "fill":
        run(fill(dsn, workload_of(*workload)))
    else:
        run(work(dsn, url, int(in_flight)))


if __name__ == "__main__":
    main(*sys.argv[1:])
