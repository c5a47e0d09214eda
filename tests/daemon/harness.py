"""A shop to test the real daemon in: an outbox, a sandbox in the test's loop, processes, waiting.

Everything is waited for by a condition with a deadline; nothing here sleeps for a length of time
that a test depends on. No process outlives its test.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, text

from shipper.sandbox import Sandbox
from shipper.store.db.dialect import dialect_of
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import glancing, writing
from tests.daemon.application import payload
from tests.daemon.processes import PATIENCE, Daemon, Process, until

API_ID = "canary-api-id-7f3a"
# 1 is the acceptance at its full size.
SCALE = float(os.environ.get("SHIPPER_TEST_SCALE", "0.2"))

_APPLICATION = Path(__file__).with_name("application.py")
_QUICK = {
    "timeout": 2.0,
    "retry": {"min_delay": 0.02, "max_delay": 0.1, "probe_max_delay": 0.1},
}

_PENDING = "SELECT id FROM shipper_outbox WHERE status = 'pending' LIMIT 1"


only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


class Shop:
    """One outbox, one sandbox, and the processes around them."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        # What the tests write is numbered, which no type of the vendor's has a place for.
        self.sandbox = Sandbox(API_ID, validation="envelope")
        self.config = directory / "shipper.toml"
        self._engine = open_engine(url)
        self._processes: list[Process] = []

    @property
    def is_sqlite(self) -> bool:
        """Return which of the two databases it is."""
        return self.url.startswith("sqlite")

    @property
    def port(self) -> int:
        """Return where the sandbox listens."""
        return int(self.sandbox.url.rpartition(":")[2])

    async def open(self) -> None:
        """Start the sandbox and write a configuration for it."""
        await self.sandbox.start()
        self.configure()

    def move_to(self, url: str) -> None:
        """Go on with another database."""
        self._engine.dispose()
        self.url = url
        self._engine = open_engine(url)
        self.configure()

    def forget_connections(self) -> None:
        """Connect anew: the server may be another one by now."""
        self._engine.dispose()

    async def close(self) -> None:
        """End everything."""
        for process in self._processes:
            process.kill()
        await self.sandbox.stop()
        self._engine.dispose()

    # -- configuration and processes ------------------------------------------------------------

    def configure(
        self,
        *,
        retry: dict[str, object] | None = None,
        log_level: str = "debug",
        more: str = "",
        file: Path | None = None,
        database: str | None = None,
        **destination: object,
    ) -> None:
        """Write the configuration: quick retries, and what a test wants to be different.

        `file` is for a daemon that has one of its own, `database` is how that one gets there.
        """
        file = file or self.config
        of_retry = {**_QUICK["retry"], **(retry or {})}  # type: ignore[dict-item]
        settings = {"url": self.sandbox.events_url, "timeout": _QUICK["timeout"], **destination}
        if "api_id_file" not in settings:
            settings.setdefault("api_id", API_ID)
        lines = [
            *("[database]", f"url = {json.dumps(database or self.url)}", "[destinations.default]"),
            *(f"{name} = {json.dumps(value)}" for name, value in settings.items()),
            "[destinations.default.retry]",
            *(f"{name} = {json.dumps(value)}" for name, value in of_retry.items()),
            # A test that wants one says so: a disk full of outboxes needs no more on it.
            *(() if "[space]" in more else ("[space]", 'reserve = "0B"')),
            *("[log]", f'level = "{log_level}"', 'format = "json"', more, ""),
        ]
        file.write_text("\n".join(lines), "utf-8")
        file.chmod(0o600)

    def _name(self, purpose: str) -> str:
        return f"{len(self._processes):02}-{purpose}"

    def start(
        self,
        *,
        config: Path | None = None,
        stderr: int | None = None,
        under: Sequence[str] = (),
        **environ: str,
    ) -> Daemon:
        """Start a daemon; see `Process` for the circumstances."""
        name = self._name("daemon")
        arguments = ("-m", "shipper", "run", "-c", str(config or self.config))
        daemon = Daemon(
            self.directory, name, *arguments, stdin="", stderr=stderr, under=under, **environ
        )
        self._processes.append(daemon)
        return daemon

    async def started(self) -> Daemon:
        """Start the daemon and wait until it ships."""
        daemon = self.start()
        await daemon.told("daemon.started")
        return daemon

    def application(self, *arguments: str, stdin: str | None = "") -> Process:
        """Start a process of the application's; with None its stdin stays open."""
        process = Process(
            self.directory, self._name(arguments[0]), str(_APPLICATION), *arguments, stdin=stdin
        )
        self._processes.append(process)
        return process

    async def put(self, *rows: Mapping[str, object]) -> None:
        """Insert rows from another process, in one transaction."""
        lines = "".join(json.dumps(dict(row)) + "\n" for row in rows)
        process = self.application("put", self.url, stdin=lines)
        assert await process.ended() == 0, process.stderr

    def begin(self, *arguments: str) -> Process:
        """Begin another command of shipper."""
        process = Process(
            self.directory,
            self._name(arguments[0]),
            *("-m", "shipper", *arguments, "-c", str(self.config)),
            stdin="",
        )
        self._processes.append(process)
        return process

    async def command(self, *arguments: str) -> Process:
        """Run another command of shipper to its end."""
        process = self.begin(*arguments)
        await process.ended()
        return process

    async def assert_verified(self) -> None:
        """Fail unless `shipper verify` finds that every invariant of the store holds."""
        process = await self.command("verify")
        assert await process.ended() == 0, process.stdout + process.stderr

    async def status(self) -> dict[str, Any]:
        """Return what `shipper status --json` says of the destination."""
        process = await self.command("status", "--json")
        told: dict[str, Any] = json.loads(process.stdout)["destinations"]["default"]
        return told

    # -- the outbox -------------------------------------------------------------------------------

    def add(self, *names: str, **columns: object) -> None:
        """Insert events in one transaction; `u1-7` is number 7 of the user `u1`."""
        for name in names:
            user, _, number = name.rpartition("-")
            row = {"payload": payload(user, int(number)), "event_id": name, **columns}
            marks = ", ".join(f":{column}" for column in row)
            self.execute(f"INSERT INTO shipper_outbox ({', '.join(row)}) VALUES ({marks})", **row)

    def execute(self, statement: str, **values: object) -> None:
        """Run a statement in a transaction of its own."""
        with writing(self._engine) as tx:
            tx.execute(text(statement), values)

    def rows(self, statement: str, **values: object) -> Sequence[Row[Any]]:
        """Return what a query finds."""
        with glancing(self._engine) as tx:
            return tx.execute(text(statement), values).all()

    def counts(self) -> dict[str, int]:
        """Return how many events there are of each status."""
        found = self.rows("SELECT status, count(*) AS events FROM shipper_outbox GROUP BY status")
        return {row.status: row.events for row in found}

    @property
    def _destination(self) -> str:
        counters = dialect_of(self._engine).counters
        return f"SELECT {{}} FROM {counters} WHERE name = 'default'"

    def link(self) -> Row[Any]:
        """Return the stored state of the destination."""
        [row] = self.rows(self._destination.format("*"))
        return row

    def dead(self) -> list[str]:
        """Return the ids of the dead letters, in their order."""
        found = self.rows("SELECT event_id FROM shipper_outbox WHERE status = 'dead' ORDER BY id")
        return [name(row) for row in found]

    def ended(self) -> list[str]:
        """Return the ids of the events that were delivered or died, in the order of that."""
        statement = "SELECT event_id FROM shipper_outbox WHERE delivery_number IS NOT NULL"
        return [name(row) for row in self.rows(f"{statement} ORDER BY delivery_number")]

    def wasted(self) -> int:
        """Return how many failures were charged to events that are still to be delivered, or were.

        After an outage it has to be none.
        """
        statement = "SELECT coalesce(sum(attempts), 0) FROM shipper_outbox WHERE status <> 'dead'"
        return int(self.rows(statement)[0][0])

    async def settled(self, seconds: float = PATIENCE) -> None:
        """Wait until no event is pending any more."""
        await until(lambda: not self.rows(_PENDING), seconds)

    async def link_is(self, state: str, seconds: float = PATIENCE) -> Row[Any]:
        """Wait until the destination is stored as being in this state."""
        await until(lambda: self._stored_state() == state, seconds)
        return self.link()

    def _stored_state(self) -> str | None:
        found = self.rows(self._destination.format("state"))
        return found[0][0] if found else None

    # -- what the API saw -------------------------------------------------------------------------

    def arrived(self) -> list[str]:
        """Return the keys in the order in which the sandbox took them."""
        return [str(visit.key) for visit in self.sandbox.ledger.visits]

    async def arrival(self, event: str) -> None:
        """Wait until the sandbox has taken an event."""
        await self.sandbox.until(lambda _: event in self.arrived(), PATIENCE)

    def assert_flawless(self, *, repeats: int = 0) -> None:
        """Fail if the API saw a promise broken, or more repeats than there may be."""
        summary = self.sandbox.ledger.summary()
        assert summary.flawless, summary
        assert summary.repeats <= repeats, summary


def several(users: int, each: int, first: int = 1) -> list[str]:
    """Return the names of so many events of so many users, the users taking turns."""
    return [f"u{u}-{n}" for n in range(first, first + each) for u in range(1, users + 1)]


def of_user(user: str, names: Iterable[str]) -> list[str]:
    """Return those of a user, in their order."""
    return [name for name in names if name.startswith(f"{user}-")]


def name(row: Row[Any]) -> str:
    """Return the first column of a row as text, whatever the driver made of it."""
    return row[0].decode() if isinstance(row[0], bytes) else str(row[0])
