"""The daemon's eyes: what is pending, in which order, and whether anything has changed.

Reads only, each on its own: no snapshot is kept open, so the WAL can shrink and autovacuum works.

Ids are shown as far as the order of commits is known: see `watermark`.

Whoever empties, drops, restores or copies the tables makes what is remembered here wrong. It is
noticed with the next pulse, because table and sequence are others, or the highest id that there was
is lower. That triggers, indexes or the table's file are others is noticed within a few seconds, and
then looked into.

A server that was left may be another one when it answers again: a standby that was promoted and
lacks what was written last, a restored copy, another cluster. Numbers of transactions mean nothing
there, nor does what was seen and not claimed. So with every new connection, and where the server
itself is another (behind a pooler), the watermark begins anew with what that server's own row says,
and another cluster ends the session.

It must never show a row above the watermark, and a lane always from its beginning.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine, text

from shipper.errors import OutboxChanged
from shipper.store.db.dialect import ALL_IDS, Dialect, dialect_of
from shipper.store.db.snapshot import written
from shipper.store.db.statement import Statement
from shipper.store.db.transactions import glancing
from shipper.store.drain.floors import Floors
from shipper.store.drain.messages import (
    NAMED_SPAN,
    NOT_SEEN,
    Holds,
    LinkRow,
    Look,
    Pulse,
    Row,
    Settled,
)
from shipper.store.drain.watermark import Watermark
from shipper.store.schema.damage import damage, lease_row, made_of

_INDEXES = ("pending", "maybe", "key")
# Pulses from one look at the tables themselves to the next: a few seconds where nothing happens.
_LOOKED_AT_EVERY = 16
_NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


class Looks:
    """Questions to the outbox, asked by the daemon's database thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = dialect_of(engine)
        self._sql = _Statements(self._dialect)
        # On SQLite there is one writer at a time: ids are commit order, and nothing is held back.
        self._watermark = Watermark(0 if self._dialect.may_hold_back else ALL_IDS)
        # The number counts only for the connection that has read it: each begins anew.
        self._version: tuple[object, int] | None = None
        self._scanned = -1
        self._floors = Floors()
        self._generation = -1
        self._made: dict[str, int] = {}
        self._met: tuple[object, int] | None = None
        self._cluster = 0
        self._top = 0
        self._shape: str | None = None
        self._pulses = 0

    @property
    def settled(self) -> Settled:
        """How far the order of commits is known (Postgres; nothing on SQLite: nobody asks)."""
        return NOT_SEEN if self._met is None else Settled(self._watermark.safe, self._met[0])

    def pulse(self) -> Pulse:
        """Return whether events or commands may have come since the last pulse. Cheap."""
        with glancing(self._engine) as tx:
            if self._dialect.may_hold_back:
                return self._pulse_postgres(tx)
            version = (tx.connection.driver_connection, self._sql.version.row(tx)[0])
            if version == self._version:
                return Pulse(fresh=False, generation=-1)
            self._version = version
            generation, top = lease_row(self._sql.pulse.rows(tx))
            self._recognise(top)
            return Pulse(fresh=True, generation=generation, damage=self._damage(tx))

    def _pulse_postgres(self, tx: Connection) -> Pulse:
        if not self._made:
            self._made = made_of(self._sql.made.row(tx))
        row = lease_row(self._sql.pulse.rows(tx, self._made))
        generation, last, settled, highest, oldest, upcoming, started = row
        moved = self._meet(tx, started)
        if generation != self._generation:
            self._generation = generation
            self._floors.forget()  # an operator may have made something pending again
        self._recognise(-1 if last < 0 else max(last, highest))
        self._watermark.resume(min(settled, self._top))
        self._watermark.observe(highest, oldest, upcoming)
        fresh = self._watermark.safe != self._scanned
        self._scanned = self._watermark.safe
        held_back = self._watermark.is_held_back
        return Pulse(fresh, generation, held_back, self._damage(tx), moved)

    def _meet(self, tx: Connection, started: int) -> bool:
        """Return whether this may be another server than before; if so, forget what it said.

        Raises OutboxChanged where it is one of another cluster.
        """
        before, self._met = self._met, (tx.connection.driver_connection, started)
        if self._met == before:
            return False
        [readable] = self._sql.tells_cluster.row(tx)
        cluster = self._sql.cluster.row(tx)[0] if readable else 0
        if self._cluster not in {0, cluster}:
            raise OutboxChanged(
                "another PostgreSQL cluster answers by the address of the database",
                "stop shipper before a database is moved, or restored from a dump",
            )
        self._cluster = cluster
        self._watermark, self._scanned = Watermark(), -1
        self._floors.forget()
        return before is not None

    def _recognise(self, top: int) -> None:
        """Raise OutboxChanged where this isn't the outbox that we know, or gives its ids anew."""
        if top < self._top:
            raise OutboxChanged(
                "somebody has emptied, restored or replaced shipper_outbox while it was open",
                "run: shipper db upgrade, which says what is wrong with it now",
            )
        self._top = top

    def _damage(self, tx: Connection) -> tuple[str, ...] | None:
        self._pulses += 1
        if self._pulses % _LOOKED_AT_EVERY != 1:
            return None
        shape = str(self._sql.shape.row(tx)[0])
        if shape == self._shape:
            return None
        self._shape = shape
        return tuple(damage(tx))

    def look(self, question: Look) -> list[Row]:
        """Return pending rows, in the order in which they have to go."""
        values = {
            "destination": question.destination,
            "after": question.after,
            "safe": self._watermark.safe,
            "limit": question.limit,
        }
        if question.after == 0 and question.kind != "lane":
            self._floors.forget()  # a scan of everything, because anything may have changed
        statement = self._sql.looks[question.kind]
        if question.kind == "lane" and isinstance(question.lane, int):
            statement = self._sql.single
            values["id"] = question.lane
        elif question.kind == "lane":
            values["key"] = self._dialect.bind_key(str(question.lane))
            if self._dialect.keeps_dead_rows:
                return self._look_at_lane(values)
        with glancing(self._engine) as tx:
            return [self._row(*row) for row in statement.rows(tx, values)]

    def _look_at_lane(self, values: dict[str, Any]) -> list[Row]:
        """Return the beginning of a lane: what may have been received, then the rest."""
        lane = (values["destination"], values["key"])
        values["floor"] = self._floors.of(lane)
        with glancing(self._engine) as tx:
            found = sorted(self._sql.looks["lane"].rows(tx, values), key=_place_of)
        rows = [self._row(*row[:-1]) for row in found[: values["limit"]]]
        # Only what may have been received: of the rest the first isn't known.
        if len(rows) < values["limit"] or not found[len(rows) - 1][-1]:
            first = min((row.id for row in rows), default=values["safe"] + 1)
            self._floors.learn(lane, min(first - 1, values["safe"]))
        return rows

    def _row(
        self, row: int, key: str | bytes | None, next_attempt_at: str | float | None, held: int
    ) -> Row:
        lane = row if key is None else self._dialect.text(key)
        return Row(row, lane, self._dialect.wall(next_attempt_at), bool(held))

    def links(self) -> list[LinkRow]:
        """Return how the destinations were when that was last written."""
        with glancing(self._engine) as tx:
            return [
                LinkRow(
                    row.name,
                    row.state,
                    row.reason,
                    self._dialect.wall(row.since) or 0.0,
                    self._dialect.wall(row.next_try_at),
                    self._dialect.wall(row.updated_at),
                    row.failures,
                    row.last_error,
                    self._dialect.wall(row.failing_since),
                )
                for row in tx.execute(self._sql.links)
            ]

    def holds(self, loaded: Mapping[str, Sequence[str]] = _NOTHING) -> Holds:
        """Return what is held, by operators and by dead heads; of keys only those that are loaded.

        So it takes no longer than what is loaded, however many are held.
        """
        keys: dict[str, frozenset[str]] = {}
        with glancing(self._engine) as tx:
            for name, asked in loaded.items():
                found = self._held(tx, name, asked)
                if found:
                    keys[name] = found
            held = frozenset(tx.execute(self._sql.held_destinations).scalars())
            counts = tx.execute(self._sql.asked).all()
        return Holds(
            held,
            keys,
            releases={row.name: row.releases for row in counts if row.releases},
            recalls={row.name: row.recalls for row in counts if row.recalls},
        )

    def touched(self, since: int) -> list[tuple[str, str | int]] | None:
        """Return the lanes that commands of operators have touched, with their destinations.

        `since` is the generation up to which they are known; None where not all is kept that came
        after it.
        """
        text_of = self._dialect.text
        with glancing(self._engine) as tx:
            rows = self._sql.touched.rows(tx, {"since": since})
            # Asked after them: by then nothing was forgotten that this one didn't know of.
            [generation] = self._sql.generation.row(tx)
        if generation - since > NAMED_SPAN:
            return None
        return [(text_of(name), row if key is None else text_of(key)) for name, row, key in rows]

    def _held(self, tx: Connection, destination: str, keys: Sequence[str]) -> frozenset[str]:
        return frozenset(
            key
            for key in keys
            if self._sql.held_key.rows(
                tx, {"destination": destination, "key": self._dialect.bind_key(key)}
            )
        )


def _lane(dialect: Dialect, columns: str, table: str) -> str:
    """Return what finds the beginning of a lane; on PostgreSQL from a floor on, see `floors`."""
    mine = f"WHERE status = 'pending' AND id <= :safe AND {dialect.same_key}"
    if not dialect.keeps_dead_rows:
        return f"{columns} FROM {table} {mine} ORDER BY maybe_received DESC, id LIMIT :limit"
    columns += f", maybe_received FROM {table} {mine}"
    return (
        f"({columns} AND maybe_received >= 1 ORDER BY maybe_received DESC, id LIMIT :limit)"
        f" UNION ALL ({columns} AND maybe_received = 0 AND id > :floor ORDER BY id LIMIT :limit)"
    )


def _place_of(row: Sequence[Any]) -> tuple[int, int]:
    """Return the place of a row in its lane: it ends with whether it may have been received."""
    return (-row[-1], row[0])


class _Statements:
    """The statements of this module, made once for a dialect."""

    def __init__(self, dialect: Dialect) -> None:
        moment = dialect.moment.format("next_attempt_at")
        # With a LIMIT it is looked up for each row; of an EXISTS the planner of PostgreSQL may make
        # one pass through all holds.
        held = (
            "(SELECT 1 FROM shipper_hold AS h WHERE"
            f" {dialect.its_hold.format(hold='h', row='shipper_outbox')} LIMIT 1)"
        )
        columns = (
            f"SELECT id, {dialect.ordering_key} AS ordering_key, {moment} AS next_attempt_at,"
            f" {held} AS held"
        )
        pending = "WHERE status = 'pending' AND destination = :destination AND id <= :safe"
        page = "AND id > :after ORDER BY id LIMIT :limit"
        table = {name: f"shipper_outbox{dialect.along.format(name)}" for name in _INDEXES}
        self.looks = {
            "pending": Statement(dialect, f"{columns} FROM {table['pending']} {pending} {page}"),
            "maybe_received": Statement(
                dialect, f"{columns} FROM {table['maybe']} {pending} AND maybe_received = 1 {page}"
            ),
            "lane": Statement(dialect, _lane(dialect, columns, table["key"])),
        }
        self.single = Statement(dialect, f"{columns} FROM shipper_outbox {pending} AND id = :id")
        since, next_try, updated, failing = map(
            dialect.moment.format, ("since", "next_try_at", "updated_at", "failing_since")
        )
        self.links = text(
            f"SELECT name, state, reason, {since} AS since, {next_try} AS next_try_at,"
            f" {updated} AS updated_at, failures, last_error, {failing} AS failing_since"
            " FROM shipper_destination"
        )
        self.version = Statement(dialect, "PRAGMA data_version")
        self.made = Statement(dialect, dialect.made)
        self.shape = Statement(dialect, dialect.shape)
        self.pulse = Statement(dialect, dialect.pulse)
        self.tells_cluster = Statement(
            dialect, "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
        )
        self.cluster = Statement(dialect, "SELECT system_identifier FROM pg_control_system()")
        self.touched = Statement(
            dialect,
            f"SELECT {written(dialect, 'destination')} AS destination, outbox_id,"
            f" {dialect.ordering_key} AS ordering_key FROM shipper_touched"
            " WHERE generation > :since ORDER BY generation, destination, outbox_id",
        )
        self.generation = Statement(
            dialect, "SELECT generation FROM shipper_lease WHERE name = 'outbox'"
        )
        self.held_key = Statement(dialect, f"SELECT 1 FROM shipper_hold WHERE {dialect.hold_of}")
        self.held_destinations = text("SELECT name FROM shipper_destination WHERE held = 1")
        self.asked = text(
            "SELECT name, releases, recalls FROM shipper_destination"
            " WHERE releases > 0 OR recalls > 0"
        )
