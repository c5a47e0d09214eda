"""The applications that write events: each in transactions, which commit, roll back, stall or die.

They know nothing of the daemon, and it nothing of them, but the file that they share.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shipper.contract.validation import violations
from shipper.store.db.sqlite.opening import connect_sqlite
from tests.evidence import Written
from tests.simulation.database import diarise
from tests.simulation.network import digest
from tests.simulation.scenario import NewEvent, Scenario, Transaction

BUSY = 5


class Application:
    """One connection, one transaction after the other."""

    def __init__(
        self,
        path: Path,
        scenario: Scenario,
        committed: Callable[[Iterable[Written]], None],
        note: Callable[[str], None],
    ) -> None:
        self._path = path
        self._validation = scenario.validation
        self._committed = committed
        self._note = note
        self._connection = self._connect()

    def _connect(self) -> Any:
        connection = connect_sqlite(self._path, busy_timeout=0.0)
        diarise(connection, lambda: 0.0, 0)
        return connection

    async def run(self, transactions: Iterable[Transaction]) -> None:
        """Do all transactions."""
        for transaction in transactions:
            await asyncio.sleep(transaction.rest)
            await self.do(transaction)

    async def do(self, transaction: Transaction) -> None:
        """Do one transaction, as soon as no other program writes."""
        while not self._begin():
            await asyncio.sleep(0.05)
        before = self._highest()
        for event in transaction.events:
            self._insert(event)
        if transaction.stall:
            await asyncio.sleep(transaction.stall)
        match transaction.fate:
            case "commit":
                self._commit(before)
            case "roll back":
                self._connection.execute("ROLLBACK")
            case "die":
                self._connection.close()
                self._connection = self._connect()

    def write_at_once(self, event: NewEvent) -> bool:
        """Commit one event at this very moment; return False if another program writes."""
        if not self._begin():
            return False
        before = self._highest()
        self._insert(event)
        self._commit(before)
        return True

    def _begin(self) -> bool:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except Exception as error:
            if getattr(error, "sqlite_errorcode", None) != BUSY:
                raise
            return False
        return True

    def _highest(self) -> int:
        found = self._connection.execute(_HIGHEST).fetchone()
        return int(found[0]) if found else 0

    def _insert(self, event: NewEvent) -> None:
        values = (event.payload, event.destination, event.key, event.event_id)
        self._connection.execute(_INSERT, values)

    def _commit(self, before: int) -> None:
        written = [self._written(*row) for row in self._connection.execute(_WRITTEN, (before,))]
        self._connection.execute("COMMIT")
        self._note(f"commit {[event.id for event in written]}")
        self._committed(written)

    def _written(
        self, row: int, event_id: str, destination: str, key: str | None, payload: str
    ) -> Written:
        body = payload.encode()
        fit = not violations(body, self._validation)
        return Written(row, event_id, destination, row if key is None else key, digest(body), fit)

    def close(self) -> None:
        """Leave the file."""
        self._connection.close()


_HIGHEST = "SELECT seq FROM sqlite_sequence WHERE name = 'shipper_outbox'"
_INSERT = (
    "INSERT INTO shipper_outbox (payload, destination, ordering_key, event_id)"
    " VALUES (?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING"
)
_WRITTEN = (
    "SELECT id, event_id, destination, ordering_key, payload FROM shipper_outbox WHERE id > ?"
    " ORDER BY id"
)
