"""The daemon's turns: the fence that every write of the daemon passes, and the numbers it gives.

A turn is written by who has the lease's token, follows the one before, and is written once: who
was taken over, or has written it already, finds its place taken. On SQLite the turn is a number in
the row of the lease. On PostgreSQL it is a row of its own: one that is changed would leave a dead
version with every turn, and where somebody holds a snapshot the next turn would have to walk past
all of them. Nothing here may look at more than the last turn.

First comes the row of the lease, locked, as with all who write (see `operate`): so nobody moves an
event that a turn is about.
"""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection, text

from shipper.errors import SchemaError
from shipper.store.db.dialect import ADDED_AFTER, NOT_ADDED, SQLITE, Dialect
from shipper.store.db.statement import Statement
from shipper.store.schema.damage import lease_row

# Seconds: each time leaves a dead version of a row of `shipper_destination`.
_FOLDED_EVERY = 1.0


class Turn(NamedTuple):
    """A turn, and how far the numbers had come with it.

    `settled` is up to which id the order of commits is known (PostgreSQL).
    """

    number: int
    token: int
    claim: int
    delivery: int
    settled: int


class Written(NamedTuple):
    """On which server a turn was written (0 on SQLite), and what is settled there."""

    server: int
    settled: int


class Held(NamedTuple):
    """The lease as it is: whose it is, and what moves while that one lives.

    `seems_over` is what the server's clock says, which somebody may have set; `since` is when it
    was taken, where somebody has it (PostgreSQL).
    """

    token: int
    owner: str | None
    expires: str | None
    ttl: float | None
    seems_over: bool
    since: str | None


class Watch:
    """For how long a lease has stayed as it is, on our own clock.

    Whoever lives moves it within its time. Nothing else tells: the server's clock may have been
    set forwards or back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: object = None
        self._since = 0.0

    def left(self, seen: object, ttl: float) -> float:
        """Return for how many seconds more it has to stay like that to be over."""
        if seen != self._seen:
            self._seen, self._since = seen, self._monotonic()
        return max(0.0, self._since + ttl - self._monotonic())


class Turns:
    """The turns of one database."""

    def __init__(self, dialect: Dialect, monotonic: Callable[[], float]) -> None:
        self._sql = _Sqlite(dialect) if dialect is SQLITE else _Postgres(dialect)
        self._monotonic = monotonic
        self._folded = 0
        self._folded_at = -_FOLDED_EVERY
        self._named: set[str] = set()

    def lock(self, tx: Connection) -> tuple[Held, Turn]:
        """Return the lease and the last turn; nobody else moves them before this transaction ends.

        Raises SchemaError where somebody has deleted them.
        """
        held = Held(*lease_row(self._sql.lease.rows(tx)))
        found = self._sql.last.rows(tx)
        if not found:
            raise SchemaError(
                "somebody has emptied the table shipper_turn", "run: shipper db upgrade"
            )
        return held, Turn(*found[0])

    def take(self, tx: Connection, turn: Turn, owner: str, ttl: float) -> Turn:
        """Make the lease that of the turn's token; return the turn from which that holds."""
        values = {"token": turn.token, "owner": owner, "ttl": ttl}
        self._sql.take_lease.changes(tx, values)
        self._folded, self._named = 0, set()
        if self._sql.begin is None:
            return turn
        [row] = self._sql.begin.rows(tx, turn._asdict())
        return Turn(*row)

    def advance(self, tx: Connection, turn: Turn, known: dict[str, int]) -> Written | None:
        """Write a turn; return None where its place is taken.

        `known` says which table it is, the highest id that we have of it, and which server (`met`)
        what the turn says is settled was seen on: another one keeps what it has.
        """
        return self._sql.advance(tx, turn._asdict() | known)

    def renew(self, tx: Connection, token: int, ttl: float) -> bool:
        """Prolong the lease; return False where it is no longer this token's."""
        return bool(self._sql.renew_lease.changes(tx, {"token": token, "ttl": ttl}))

    def drop(self, tx: Connection, token: int) -> bool:
        """End the lease; return False where it is no longer this token's."""
        return bool(self._sql.drop_lease.changes(tx, {"token": token}))

    def is_fold_due(self, turn: int, names: set[str]) -> bool:
        """Return whether it is time to add up what turns have counted: about once a second.

        `names` are of the destinations that this one counts for: each has its row at once.
        """
        if turn >= self._folded + ADDED_AFTER or not names <= self._named:
            return True
        return bool(names) and self._monotonic() >= self._folded_at + _FOLDED_EVERY

    def fold(self, tx: Connection, turn: int) -> None:
        """Add up what turns have counted, and delete those that are over."""
        for statement in self._sql.fold:
            statement.changes(tx, {"turn": turn, "after": self._folded})

    def folded(self, turn: int, names: set[str]) -> None:
        """Take in that what `fold` did in this turn is on disk."""
        self._named |= names
        self._folded, self._folded_at = turn, self._monotonic()


def fold_all(tx: Connection) -> None:
    """Add up what turns have counted, for whoever changes a counter; the lease must be locked."""
    if tx.dialect.name == "postgresql":
        tx.execute(text(_ADD_UP.format(f" WHERE {NOT_ADDED}")))


# -- statements -----------------------------------------------------------------------------------

_NOW = "clock_timestamp()"
_ADD_UP = (
    "WITH gone AS (DELETE FROM shipper_count{0} RETURNING name, delivered, dead)"
    " INSERT INTO shipper_destination (name, delivered, dead)"
    " SELECT name, sum(delivered), sum(dead) FROM gone GROUP BY name ORDER BY name"
    " ON CONFLICT (name) DO UPDATE SET"
    " delivered = shipper_destination.delivered + excluded.delivered,"
    " dead = shipper_destination.dead + excluded.dead"
)


class _Both:
    """What differs by little; `expires` is when the lease ends, `lock` how its row is locked."""

    begin: Statement | None = None
    fold: tuple[Statement, ...] = ()

    def __init__(self, dialect: Dialect, *, now: str, expires: str, lease: str) -> None:
        theirs = " WHERE name = 'outbox' AND token = :token"
        self.lease = Statement(dialect, lease)
        self.last = Statement(
            dialect, f"SELECT turn, token, claim, delivery, settled FROM {dialect.books}"
        )
        self.take_lease = Statement(
            dialect,
            "UPDATE shipper_lease SET token = :token, owner = :owner, ttl = :ttl,"
            f" acquired_at = {now}, expires_at = {expires} WHERE name = 'outbox'",
        )
        self.renew_lease = Statement(
            dialect, f"UPDATE shipper_lease SET expires_at = {expires}{theirs}"
        )
        self.drop_lease = Statement(
            dialect,
            f"UPDATE shipper_lease SET owner = NULL, expires_at = NULL, token = token + 1{theirs}",
        )


class _Sqlite(_Both):
    def __init__(self, dialect: Dialect) -> None:
        super().__init__(
            dialect,
            now="strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
            expires="NULL",
            lease="SELECT token, owner, NULL, ttl, 1, NULL FROM shipper_lease"
            " WHERE name = 'outbox'",
        )
        self._advance = Statement(
            dialect,
            "UPDATE shipper_lease SET turn = :number, claim = :claim, delivery = :delivery"
            " WHERE name = 'outbox' AND token = :token AND turn = :number - 1"
            f" AND {dialect.last} >= :known",
        )

    def advance(self, tx: Connection, values: dict[str, int]) -> Written | None:
        return Written(0, 0) if self._advance.changes(tx, values) else None


class _Postgres(_Both):
    def __init__(self, dialect: Dialect) -> None:
        super().__init__(
            dialect,
            now=_NOW,
            expires=f"{_NOW} + make_interval(secs => :ttl)",
            lease="SELECT token, owner, CAST(expires_at AS text), ttl,"
            f" coalesce(expires_at <= {_NOW}, true),"
            " CASE WHEN owner IS NOT NULL THEN CAST(acquired_at AS text) END"
            " FROM shipper_lease WHERE name = 'outbox'"
            " FOR UPDATE",
        )
        insert = "INSERT INTO shipper_turn (turn, token, claim, delivery, settled)"
        # Somebody may have set back where ids begin: then nothing is known of their order.
        self.begin = Statement(
            dialect,
            f"{insert} SELECT :number + 1, :token, :claim, :delivery,"
            f" least(:settled, {dialect.top})"
            " RETURNING turn, token, claim, delivery, settled",
        )
        self._advance = Statement(
            dialect,
            "WITH held AS (SELECT 1 FROM shipper_lease WHERE name = 'outbox' AND token = :token"
            f" FOR UPDATE) {insert} SELECT :number, :token, :claim, :delivery,"
            f" CASE WHEN {dialect.started} = :met THEN greatest(:settled, before.settled)"
            " ELSE before.settled END"
            " FROM held, shipper_turn AS before WHERE before.turn = :number - 1"
            " AND before.token = :token"
            # It reads the outbox, so that nobody can empty it before this transaction has ended:
            # an id that is recorded is of the event that was sent.
            f" AND {dialect.last} >= :known ON CONFLICT (turn) DO NOTHING"
            f" RETURNING {dialect.started}, settled",
        )
        self.fold = (
            Statement(dialect, _ADD_UP.format(" WHERE turn > :after AND turn <= :turn")),
            Statement(dialect, "DELETE FROM shipper_turn WHERE turn >= :after AND turn < :turn"),
        )

    def advance(self, tx: Connection, values: dict[str, int]) -> Written | None:
        found = self._advance.rows(tx, values)
        return Written(*found[0]) if found else None
