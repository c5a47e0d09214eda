"""What operators have asked of a running daemon: holds, releases, recalls, and where to look again.

It decides how much of that the daemon reads: of the held keys only those that it has loaded, so the
cost doesn't grow with the number of holds. Reads only. It must never report a part of the touched
lanes as if it were all of them.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Engine, text

from shipper.store.db.dialect import Dialect
from shipper.store.db.snapshot import written
from shipper.store.db.statement import Statement
from shipper.store.db.transactions import glancing
from shipper.store.drain.messages import NAMED_SPAN, Holds


class Commands:
    """The daemon's questions about operators' commands; one thread at a time asks them."""

    def __init__(self, engine: Engine, dialect: Dialect) -> None:
        self._engine = engine
        self._dialect = dialect
        self._touched = Statement(
            dialect,
            f"SELECT {written(dialect, 'destination')} AS destination, outbox_id,"
            f" {dialect.ordering_key} AS ordering_key FROM shipper_touched"
            " WHERE generation > :since ORDER BY generation, destination, outbox_id",
        )
        self._generation = Statement(
            dialect, "SELECT generation FROM shipper_lease WHERE name = 'outbox'"
        )
        self._held_key = Statement(dialect, f"SELECT 1 FROM shipper_hold WHERE {dialect.hold_of}")

    def holds(self, loaded: Mapping[str, Sequence[str]]) -> Holds:
        """Return what is held; of the keys only those that are loaded, by destination."""
        keys: dict[str, frozenset[str]] = {}
        with glancing(self._engine) as tx:
            for name, asked in loaded.items():
                found = self._held(tx, name, asked)
                if found:
                    keys[name] = found
            held = frozenset(tx.execute(_HELD_DESTINATIONS).scalars())
            counts = tx.execute(_ASKED).all()
        return Holds(
            held,
            keys,
            releases={row.name: row.releases for row in counts if row.releases},
            recalls={row.name: row.recalls for row in counts if row.recalls},
        )

    def _held(self, tx: Connection, destination: str, keys: Sequence[str]) -> frozenset[str]:
        return frozenset(
            key
            for key in keys
            if self._held_key.rows(
                tx, {"destination": destination, "key": self._dialect.bind_key(key)}
            )
        )

    def touched(self, since: int) -> list[tuple[str, str | int]] | None:
        """Return the lanes that commands have touched since a generation, with their destinations.

        None if the outbox no longer has all of them.
        """
        text_of = self._dialect.text
        with glancing(self._engine) as tx:
            rows = self._touched.rows(tx, {"since": since})
            # Read after the rows: whatever was deleted before is then known to be missing.
            [generation] = self._generation.row(tx)
        if generation - since > NAMED_SPAN:
            return None
        return [(text_of(name), row if key is None else text_of(key)) for name, row, key in rows]


_HELD_DESTINATIONS = text("SELECT name FROM shipper_destination WHERE held = 1")
_ASKED = text(
    "SELECT name, releases, recalls FROM shipper_destination WHERE releases > 0 OR recalls > 0"
)
