"""Rows of daemons, as each daemon of a PostgreSQL outbox writes its own when it joins."""

from dataclasses import replace
from typing import Final

from sqlalchemy import Engine, text

from shipper.store.lease.lease import Owner

HERE: Final = Owner.here()
ELSEWHERE: Final = replace(HERE, host="till-2", boot="another", pid=77)
DEAD: Final = replace(HERE, pid=2**22 + 1)


def joined(
    engine: Engine, token: int, name: str, owner: Owner | None, settings: str | None
) -> None:
    """Write the row of a daemon, as it does when it joins."""
    row = text(
        "INSERT INTO shipper_daemon (token, name, owner, ttl, expires_at, settings)"
        " VALUES (:token, :name, :owner, 35, clock_timestamp() + interval '35 s', :settings)"
    )
    written = None if owner is None else owner.write()
    with engine.begin() as tx:
        values = {"token": token, "name": name, "owner": written, "settings": settings}
        tx.execute(row, values)
