"""The claims on disk: which events a daemon that runs, or one that died, may have sent.

For commands and reports, which can't see the daemon's memory. Reads only; see `claims` for what the
rows mean.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from shipper.store.db.dialect import dialect_of
from shipper.store.lease.claims import load_ids


class ClaimRow(NamedTuple):
    """A claim: the token of its daemon (0 on SQLite), its number among those, and its ids."""

    token: int
    number: int
    ids: str


def claims(tx: Connection) -> Sequence[ClaimRow]:
    """Return all claims, those of each daemon in the order of their numbers."""
    order = f"SELECT {dialect_of(tx).of_claim}, number, ids FROM shipper_claim ORDER BY 1, 2"
    return [ClaimRow(*row) for row in tx.execute(text(order))]


def claims_of(tx: Connection, token: int) -> Sequence[ClaimRow]:
    """Return the claims of one daemon; on SQLite there is only one, whatever the token."""
    is_its = f"{dialect_of(tx).of_claim} IN (0, :token)"
    found = tx.execute(
        text(f"SELECT :token, number, ids FROM shipper_claim WHERE {is_its} ORDER BY number"),
        {"token": token},
    )
    return [ClaimRow(*row) for row in found]


def claimed_ids(tx: Connection) -> list[int]:
    """Return the ids that claims name, each once, in order; some of these events may have ended."""
    return sorted({row for claim in claims(tx) for row in load_ids(claim.ids)})
