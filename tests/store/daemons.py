"""A daemon without a network: the tests say what came of a try, and the real queue writes it."""

import json
from collections.abc import Sequence

from sqlalchemy import Engine, text

from shipper.policy.delivery import Verdict, dead_letter, delivered, postponed
from shipper.policy.event import Event
from shipper.store.drain.messages import HistoryRow, LinkRow, Record, Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner

NOW = 1_800_000_000.0
"""A wall time, in seconds since 1970."""

VIEW = json.dumps({"type": "view", "view": {}})


def write(
    engine: Engine, *keys: str | None, destination: str = "default", payload: str = VIEW
) -> list[int]:
    """Write an event for each key, each in a transaction of its own, and return their ids."""
    ids = []
    for key in keys:
        with engine.begin() as tx:
            tx.execute(
                text(
                    "INSERT INTO shipper_outbox (payload, destination, ordering_key)"
                    f" VALUES ({_payload(engine)}, :destination, :key)"
                ),
                {"payload": payload, "destination": destination, "key": key},
            )
            ids.append(tx.execute(text("SELECT max(id) FROM shipper_outbox")).scalar_one())
    return ids


def _payload(engine: Engine) -> str:
    return "CAST(:payload AS json)" if engine.dialect.name == "postgresql" else ":payload"


def column(engine: Engine, name: str, row: int) -> object:
    """Return one column of an event, as the driver gives it."""
    with engine.begin() as tx:
        statement = text(f"SELECT {name} FROM shipper_outbox WHERE id = :id")
        return tx.execute(statement, {"id": row}).scalar_one()


def generation(engine: Engine) -> int:
    """Return the number by which the daemon notices an operator's command."""
    with engine.begin() as tx:
        found: int = tx.execute(
            text("SELECT generation FROM shipper_lease WHERE name = 'outbox'")
        ).scalar_one()
    return found


def tamper(engine: Engine, statement: str, **values: object) -> None:
    """Run a statement that nothing of ours would, past every constraint."""
    with engine.begin() as tx:
        if engine.dialect.name == "sqlite":
            tx.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        tx.execute(text(statement), values)
        if engine.dialect.name == "sqlite":
            tx.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


class Daemon:
    """Takes the outbox and writes what the test says has come of its events."""

    def __init__(self, engine: Engine, *destinations: str) -> None:
        self.queue = Queue(engine, lease_ttl=60.0)
        self.queue.acquire(Owner.here())
        self.links(*(LinkRow(name, "ready", None, NOW, None) for name in destinations))
        if not destinations:
            self.links(LinkRow("default", "ready", None, NOW, None))

    def links(self, *links: LinkRow) -> None:
        """Record the state of destinations."""
        self.queue.turn(Work(now=NOW, links=links))

    def claim(self, *ids: int) -> list[Event]:
        """Claim events."""
        return self.queue.turn(Work(now=NOW, wanted=ids))

    def deliver(self, *ids: int) -> None:
        """Ship events, in this order."""
        for row in ids:
            self._end([row], delivered(0), error=None)

    def bury(self, *ids: int, error: str = "http-400: HTTP 400", holds_key: bool = False) -> None:
        """Let events die."""
        self._end(ids, dead_letter(1), error=error, holds_key=holds_key)

    def postpone(self, row: int, *, attempts: int, wait: float) -> None:
        """Let an event fail, and wait."""
        verdict = postponed(attempts, wait, charged=True, maybe_received=False)
        self._end([row], verdict, error="http-500: HTTP 500", next_attempt_at=NOW + wait)

    def _end(
        self,
        ids: Sequence[int],
        verdict: Verdict,
        *,
        error: str | None,
        next_attempt_at: float | None = None,
        holds_key: bool = False,
    ) -> None:
        records = [
            Record(
                event,
                verdict,
                NOW,
                next_attempt_at=next_attempt_at,
                error=error,
                history=_attempt(event, error) if error or event.manual else None,
                holds_key=holds_key,
            )
            for event in self.claim(*ids)
        ]
        self.queue.turn(Work(now=NOW, records=records))


def _attempt(event: Event, error: str | None) -> HistoryRow:
    cause = (error or "accepted").partition(":")[0]
    return HistoryRow(
        NOW, 12, cause, 400 if error else 200, error, "no" if error else None, event.manual
    )
