"""The daemon's turns: the fence that every write of the daemon passes, and the numbers it gives.

Only the process that has a token writes turns with it. The turns of a token have consecutive
numbers, and each number is written once: if the token was ended, or this daemon has written the
turn already, it isn't written. The database decides how a turn is stored (`sqlite.fence`,
`postgres.fence`).

Each turn locks a row first, which all commands lock too that change events (see
`Dialect.lock_daemons`): so none of them changes an event while a turn writes about it. On
PostgreSQL a turn's other statements are sent with the fence and don't wait for its answer: if the
turn can't be written, they are undone with it, and have locked their rows until then.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.statement import Channel, Sent, Statement

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


class TurnBook:
    """The turns of one database."""

    def __init__(self, dialect: Dialect, monotonic: Callable[[], float]) -> None:
        self._sql = _TurnStatements(dialect)
        self._advance_returns = dialect.fence.advance_returns
        self._fold_after = dialect.fence.fold_after
        self._skip_within = dialect.fence.skip_within
        self._monotonic = monotonic
        self._folded = self._after = 0
        self._adding: Sent | None = None
        self._folded_at = -_FOLDED_EVERY
        self._named: set[str] = set()

    def begin(self) -> None:
        """Forget what was added up for an earlier token."""
        self._folded, self._after, self._named = 0, 0, set()

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

    def is_fold_due(self, turn: int, names: set[str]) -> bool:
        """Return whether it is time to add up what turns have counted: about once a second.

        `names` are the destinations that this turn counts for: each needs its row at once.
        """
        if turn >= self._folded + self._fold_after or not names <= self._named:
            return True
        return bool(names) and self._monotonic() >= self._folded_at + _FOLDED_EVERY

    def fold(self, channel: Channel, turn: Turn) -> None:
        """Add up what turns have counted, and delete the turns before this one.

        What another transaction has locked is left for the next time, but not for ever.
        """
        sql = self._sql
        if sql.fold_free is None or sql.fold_one is None or sql.drop_turns is None:
            return
        values = {"token": turn.token, "turn": turn.number, "after": self._after}
        skips = turn.number < self._after + self._skip_within
        self._adding = (sql.fold_free if skips else sql.fold_one).send(channel, values)
        sql.drop_turns.send(channel, values)

    def folded(self, turn: int, names: set[str]) -> None:
        """Note that the transaction in which `fold` ran has committed."""
        self._named |= names
        self._folded, self._folded_at = turn, self._monotonic()
        if self._adding is None or not any(skipped for (skipped,) in self._adding.rows()):
            self._after = turn


def fold_one(tx: Connection, token: int) -> None:
    """Add up what the turns of one daemon have counted; its row has to be locked."""
    statement = dialect_of(tx).fence.fold_one
    if statement is not None:
        tx.execute(text(statement), {"token": token})


def fold_all(tx: Connection) -> None:
    """Add up what turns have counted, before a command changes counters; lock the lease first.

    It locks all counters. A turn that counts meanwhile locks what it has counted first, then the
    counters in the order of their names: so does this, and they can't wait for each other for ever.
    """
    fence = dialect_of(tx).fence
    if fence.take_counts is not None:
        counts = tx.execute(text(fence.take_counts)).all()
        tx.execute(LOCK_COUNTERS)
        for name, delivered, dead in counts:
            tx.execute(_ADD, {"name": name, "delivered": delivered, "dead": dead})


# -- statements -----------------------------------------------------------------------------------

# In the order in which turns add up what they have counted: otherwise both could wait for ever.
LOCK_COUNTERS: Final = text("SELECT 1 FROM shipper_destination ORDER BY name FOR UPDATE")
_ADD: Final = text(
    "INSERT INTO shipper_destination (name, delivered, dead)"
    " VALUES (CAST(:name AS text), :delivered, :dead) ON CONFLICT (name) DO UPDATE SET"
    " delivered = shipper_destination.delivered + excluded.delivered,"
    " dead = shipper_destination.dead + excluded.dead"
)


class _TurnStatements:
    """The statements of the database's fence, made once; see `Fence`."""

    def __init__(self, dialect: Dialect) -> None:
        fence = dialect.fence
        self.advance = Statement(dialect, fence.advance)
        self.fold_free, self.fold_one, self.drop_turns = (
            None if sql is None else Statement(dialect, sql)
            for sql in (fence.fold_free, fence.fold_one, fence.drop_turns)
        )
