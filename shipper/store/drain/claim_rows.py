"""The claims on disk: which events a daemon that runs, or one that died, may have sent.

For commands and reports, which can't see the daemon's memory. Reads only; see `claims` for what the
rows mean.
"""

from sqlalchemy import Connection, text

from shipper.store.drain.claims import load_ids

CLAIMS = text("SELECT number, ids FROM shipper_claim ORDER BY number")


def claimed_ids(tx: Connection) -> list[int]:
    """Return the ids that claims name, each once, in order; some of these events may have ended."""
    return sorted({row for _, ids in tx.execute(CLAIMS) for row in load_ids(ids)})
