"""The lease of an SQLite file, which has only one daemon.

The kernel's lock on a file beside it decides which process ships (see `file_lock`), so the lease
has no time. Its token still fences every write: a process that was replaced changes nothing. This
module decides nothing else; it must never refuse the process that holds the lock.
"""

from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, text

from shipper.policy.shares import WHOLE, Shares
from shipper.store.db.dialect import SQLITE
from shipper.store.lease.lease import Newcomer
from shipper.store.lease.lost import taken_over, went_back
from shipper.store.lease.recovery import recover
from shipper.store.lease.turns import Turn
from shipper.store.schema.damage import lease_row


class Sole:
    """The lease of the only daemon; see `Membership` for what the same calls do on a server."""

    shares: Final = WHOLE
    newcomer: Newcomer | None = None

    def join(self, tx: Connection, newcomer: Newcomer) -> tuple[Turn, int]:
        """Take the lease; return the last turn, and how many events a dead process may have sent.

        Raises SchemaError if a tool has deleted the row of the lease.
        """
        self.newcomer, turn = newcomer, self._last(tx)
        turn = turn._replace(token=turn.token + 1)
        tx.execute(_TAKE, _taken(turn.token, newcomer))
        return turn, recover(tx, SQLITE, turn.token)

    def hold(self, tx: Connection, turn: Turn) -> Turn:
        """Return the last turn; raises LeaseLost or OutboxChanged if it isn't this token's."""
        last = self._last(tx)
        if (last.token, last.number) < (turn.token, turn.number):
            raise went_back()
        if last.token != turn.token:
            raise taken_over()
        return last

    def renew(self, tx: Connection, token: int) -> None:
        """Do nothing: the lock lasts as long as the process."""

    def leave(self, tx: Connection, token: int) -> None:
        """End the lease, and mark what is still claimed; nothing if another process has it."""
        if tx.execute(_DROP, {"token": token}).rowcount:
            recover(tx, SQLITE, token)

    def attend(self, turn: Turn, give: frozenset[int], *, stops: bool) -> Shares | None:  # noqa: ARG002
        """Return the whole outbox: there is no other daemon."""
        return WHOLE

    def _last(self, tx: Connection) -> Turn:
        return Turn(*lease_row(tx.execute(_LAST).all()))


def _taken(token: int, newcomer: Newcomer) -> dict[str, object]:
    owner = replace(newcomer.owner, name=newcomer.name)
    return {"token": token, "owner": owner.write(), "ttl": newcomer.ttl}


# -- statements -----------------------------------------------------------------------------------

_LAST = text(
    "SELECT turn, token, claim, delivery, settled FROM shipper_lease WHERE name = 'outbox'"
)
_TAKE = text(
    "UPDATE shipper_lease SET token = :token, owner = :owner, ttl = :ttl,"
    " acquired_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), expires_at = NULL"
    " WHERE name = 'outbox'"
)
_DROP = text(
    "UPDATE shipper_lease SET owner = NULL, expires_at = NULL, token = token + 1"
    " WHERE name = 'outbox' AND token = :token"
)
