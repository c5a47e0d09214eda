"""Which other daemons of a PostgreSQL outbox see a destination up. Reads only.

It must never compare the times of two daemons: the clock of any machine can be wrong.
"""

from collections.abc import Collection

from sqlalchemy import Engine, text

from shipper.store.db.snapshot import snapshot

_UP = text(
    "SELECT l.name, l.token FROM shipper_link AS l JOIN shipper_daemon AS d ON d.token = l.token"
    " WHERE l.token <> :token AND l.name = ANY(CAST(:names AS text[]))"
    " AND l.state IN ('ready', 'ramping') AND d.expires_at > clock_timestamp()"
    # One that waits for shards sends nothing: how it last saw the destination is long over.
    " AND EXISTS (SELECT 1 FROM shipper_shard AS s WHERE s.token = l.token)"
)


def up_elsewhere(engine: Engine, token: int, names: Collection[str]) -> dict[str, frozenset[int]]:
    """Return the tokens of the living daemons that see each of these destinations up.

    `token` is this daemon's own, which doesn't count. Raises StoreUnavailable, AccessDenied and
    SchemaError.
    """
    up: dict[str, set[int]] = {name: set() for name in names}
    with snapshot(engine) as tx:
        for name, other in tx.execute(_UP, {"token": token, "names": sorted(names)}):
            up[name].add(other)
    return {name: frozenset(tokens) for name, tokens in up.items()}
