"""The statements of a turn on SQLite, where a turn is a number in the row of the lease.

The lock of the kernel decides which process ships (`lease.file_lock`), so the lease has no time.
"""

from typing import Final

TOP: Final = (
    "max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'shipper_outbox'), 0),"
    " coalesce((SELECT max(id) FROM shipper_outbox), 0))"
)
BOOKS: Final = "shipper_lease WHERE name = 'outbox'"
_ITS = "WHERE name = 'outbox' AND token = :token"


class SqliteFence:
    """See `Fence` in `db.fence`."""

    lease = "SELECT token, owner, NULL, ttl, 1, NULL FROM shipper_lease WHERE name = 'outbox'"
    last = f"SELECT turn, token, claim, delivery, settled FROM {BOOKS}"
    take = (
        "UPDATE shipper_lease SET token = :token, owner = :owner, ttl = :ttl,"
        " acquired_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), expires_at = NULL"
        " WHERE name = 'outbox'"
    )
    renew = f"UPDATE shipper_lease SET expires_at = NULL {_ITS}"
    drop = f"UPDATE shipper_lease SET owner = NULL, expires_at = NULL, token = token + 1 {_ITS}"
    begin: str | None = None
    advance = (
        "UPDATE shipper_lease SET turn = :number, claim = :claim, delivery = :delivery"
        f" {_ITS} AND turn = :number - 1 AND {TOP} >= :known"
    )
    advance_returns = False
    is_alive = "NULL"
    unseen = "NULL"
    fold_after = 256
    fold: tuple[str, ...] = ()
    fold_all: str | None = None
