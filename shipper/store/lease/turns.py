"""The daemon's turns: the fence that every write of the daemon passes, and the numbers it gives.

Only the process that has the lease's token writes a turn. Turns have consecutive numbers, and each
number is written once: if another daemon has taken the lease, or this daemon has written the turn
already, the number is taken. The database decides how a turn is stored (`sqlite.fence`,
`postgres.fence`).

Each transaction locks the row of the lease first, as all writers do (see `operate`): so no command
changes an event while a turn writes about it. On PostgreSQL a turn's other statements are sent with
the fence and don't wait for its answer: if the turn can't be written, they are undone with it, and
have locked their rows until then.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, text

from shipper.errors import SchemaError
from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.statement import Channel, Sent, Statement
from shipper.store.schema.damage import lease_row

# In seconds; each time leaves a dead version of a row of `shipper_destination`.
_FOLDED_EVERY = 1.0


class Turn(NamedTuple):
    """A turn, and the last numbers given up to it.

    `settled` is the watermark: each id up to it is visible or can no longer appear (PostgreSQL).
    """

    number: int
    token: int
    claim: int
    delivery: int
    settled: int


class Written(NamedTuple):
    """The server on which a turn was written (0 on SQLite), and the watermark there."""

    server: int
    settled: int


class LeaseState(NamedTuple):
    """The lease as it is: its owner, and the values that change while the owner lives.

    `seems_over` says whether it has ended by the server's clock, which an administrator can have
    set; `since` is when the owner took it, None if there is no owner (PostgreSQL).
    """

    token: int
    owner: str | None
    expires: str | None
    ttl: float | None
    seems_over: bool
    since: str | None


class StillnessTimer:
    """Measures by our own clock for how long a lease hasn't changed.

    A running daemon changes its lease within the lease's time. The server's clock can't show that:
    an administrator can have set it forwards or back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._seen: object = None
        self._since = 0.0

    def left(self, seen: object, ttl: float) -> float:
        """Return after how many more seconds without a change the lease has ended."""
        if seen != self._seen:
            self._seen, self._since = seen, self._monotonic()
        return max(0.0, self._since + ttl - self._monotonic())


class TurnBook:
    """The turns of one database."""

    def __init__(self, dialect: Dialect, monotonic: Callable[[], float]) -> None:
        self._sql = _TurnStatements(dialect)
        self._advance_returns = dialect.fence.advance_returns
        self._fold_after = dialect.fence.fold_after
        self._monotonic = monotonic
        self._folded = 0
        self._folded_at = -_FOLDED_EVERY
        self._named: set[str] = set()

    def lock(self, tx: Connection) -> tuple[LeaseState, Turn]:
        """Return the lease and the last turn; they stay the same until this transaction ends.

        Raises SchemaError if a tool has deleted them.
        """
        held = LeaseState(*lease_row(self._sql.lease.rows(tx)))
        found = self._sql.last.rows(tx)
        if not found:
            raise SchemaError("the table shipper_turn was emptied", "run: shipper db upgrade")
        return held, Turn(*found[0])

    def take(self, tx: Connection, turn: Turn, owner: str, ttl: float) -> Turn:
        """Give the lease to the turn's token; return the first turn of that token."""
        values = {"token": turn.token, "owner": owner, "ttl": ttl}
        self._sql.take.changes(tx, values)
        self._folded, self._named = 0, set()
        if self._sql.begin is None:
            return turn
        [row] = self._sql.begin.rows(tx, turn._asdict())
        return Turn(*row)

    def advance(
        self, channel: Channel, turn: Turn, known: dict[str, int]
    ) -> Callable[[], Written | None]:
        """Write a turn; what comes back returns None if the turn's number was taken.

        `known` names the table, the highest id that we know of it, and the server (`met`) on which
        the turn's watermark was seen; another server keeps its own watermark.
        """
        sent = self._sql.advance.send(channel, turn._asdict() | known)
        return partial(self._written, sent)

    def _written(self, sent: Sent) -> Written | None:
        if self._advance_returns:
            found = sent.rows()
            return Written(*found[0]) if found else None
        return Written(0, 0) if sent.changes() else None

    def renew(self, tx: Connection, token: int, ttl: float) -> None:
        """Prolong the lease; the caller has locked it, and found this token there."""
        self._sql.renew.changes(tx, {"token": token, "ttl": ttl})

    def drop(self, tx: Connection, token: int) -> bool:
        """End the lease; return False if it no longer belongs to this token."""
        return bool(self._sql.drop.changes(tx, {"token": token}))

    def is_fold_due(self, turn: int, names: set[str]) -> bool:
        """Return whether it is time to add up what turns have counted: about once a second.

        `names` are the destinations that this turn counts for: each needs its row at once.
        """
        if turn >= self._folded + self._fold_after or not names <= self._named:
            return True
        return bool(names) and self._monotonic() >= self._folded_at + _FOLDED_EVERY

    def fold(self, channel: Channel, turn: int) -> None:
        """Add up what turns have counted, and delete the turns before this one."""
        for statement in self._sql.fold:
            statement.send(channel, {"turn": turn, "after": self._folded})

    def folded(self, turn: int, names: set[str]) -> None:
        """Note that the transaction in which `fold` ran has committed."""
        self._named |= names
        self._folded, self._folded_at = turn, self._monotonic()


def fold_all(tx: Connection) -> None:
    """Add up what turns have counted, before a command changes a counter; lock the lease first."""
    fold_all = dialect_of(tx).fence.fold_all
    if fold_all is not None:
        tx.execute(text(fold_all))


# -- statements -----------------------------------------------------------------------------------


class _TurnStatements:
    """The statements of the database's fence, made once; see `Fence`."""

    def __init__(self, dialect: Dialect) -> None:
        fence = dialect.fence
        self.lease = Statement(dialect, fence.lease)
        self.last = Statement(dialect, fence.last)
        self.take = Statement(dialect, fence.take)
        self.renew = Statement(dialect, fence.renew)
        self.drop = Statement(dialect, fence.drop)
        self.begin = None if fence.begin is None else Statement(dialect, fence.begin)
        self.advance = Statement(dialect, fence.advance)
        self.fold = tuple(Statement(dialect, one) for one in fence.fold)
