"""What the daemon reads: pending rows in their order, and whether anything has changed.

It decides which rows the drain gets to see: those up to the watermark (see `watermark`). Each read
stands alone: no snapshot stays open, so the WAL can shrink and autovacuum works.

It also decides whether this is still the outbox that the daemon knows. If the tables were emptied,
dropped, restored or copied, then what the daemon remembers of their ids is wrong. Each pulse sees
that: another table or sequence, or a lower highest id. Every few seconds a pulse also checks for
other triggers, indexes, or another file of the table, and then looks for damage.

After a reconnect another server may answer: a promoted standby that lacks the last writes, a
restored copy, another cluster. Its transaction numbers have nothing to do with those seen before.
So with a new connection, and with another server behind a pooler, the watermark begins again at
that server's own value. Another cluster ends the session.

It must never return a row above the watermark. It must always return a lane from its beginning.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from shipper.errors import OutboxChanged
from shipper.store.db.dialect import ALL_IDS, dialect_of
from shipper.store.db.statement import Channel, Sent
from shipper.store.db.transactions import Follow, asking, glancing, is_ready, viewing
from shipper.store.drain.commands import Commands
from shipper.store.drain.floors import Floors
from shipper.store.drain.look_statements import SEEN, LookStatements
from shipper.store.drain.messages import (
    NOT_SEEN,
    Holds,
    LinkRow,
    Look,
    Page,
    PendingRow,
    Pulse,
    SettledIds,
)
from shipper.store.drain.watermark import Watermark
from shipper.store.schema.damage import damage, lease_row, made_of

# The tables are checked with every 16th pulse: within seconds, also while nothing happens.
_LOOKED_AT_EVERY = 16


class _Asked(NamedTuple):
    """A look that was asked: with which values, and the statement."""

    values: dict[str, Any]
    sent: Sent


class Looks:
    """The daemon's questions to the outbox; one thread at a time asks them."""

    def __init__(self, engine: Engine, token: Callable[[], int] = lambda: -1) -> None:
        self._engine = engine
        self._token = token
        self._dialect = dialect_of(engine)
        self._sql = LookStatements(self._dialect)
        self._sql_of_shards = LookStatements(self._dialect, of_shards=True)
        # SQLite has one writer at a time: ids are in the order of commits, nothing is held back.
        self._watermark = Watermark(0 if self._dialect.may_hold_back else ALL_IDS)
        # The number is comparable only on the connection that read it.
        self._version: tuple[object, int] | None = None
        self._scanned = -1
        self._floors = Floors()
        self._shards: tuple[int, ...] | None = None  # of the last question
        self._commands = Commands(engine, self._dialect)
        self._generation = -1
        self._made: dict[str, int] = {}
        self._met: tuple[object, int] | None = None
        self._cluster = 0
        self._top = 0
        self._shape: str | None = None
        self._pulses = 0
        self._asked_pulse: Sent | None = None
        self._asked: dict[Look, _Asked] = {}

    @property
    def settled(self) -> SettledIds:
        """Up to which id the order of commits is settled (PostgreSQL; SQLite doesn't need it)."""
        return NOT_SEEN if self._met is None else SettledIds(self._watermark.safe, self._met[0])

    @property
    def may_wait(self) -> bool:
        """Whether the next question has to connect first, or to look what has changed."""
        return not is_ready(self._engine)

    def following(self, *, pulse: bool, questions: Sequence[Look]) -> Follow:
        """Return what asks for the next pulse and looks behind a COMMIT, in its round trip.

        `pulse` and `look` then take those answers, if there are any: once, and none from before.
        """
        self._asked_pulse = None
        self._asked.clear()

        def send(channel: Channel) -> None:
            if pulse and self._made:
                self._asked_pulse = self._ask_pulse(channel)
            self._asked |= {question: self._ask(channel, question) for question in questions}

        return send

    def pulse(self) -> Pulse:
        """Return what may have changed since the last pulse. Cheap."""
        if self._dialect.may_hold_back:
            return self._pulse_postgres()
        with viewing(self._engine) as tx:
            version = (tx.connection.driver_connection, self._sql.version.row(tx)[0])
            if version == self._version:
                return Pulse(fresh=False, generation=-1)
            self._version = version
            generation, top = lease_row(self._sql.pulse.rows(tx))
            self._recognise(top)
        return Pulse(fresh=True, generation=generation, damage=self._damage())

    def _pulse_postgres(self) -> Pulse:
        sent, self._asked_pulse = self._asked_pulse, None
        if sent is None or not sent.is_answered:
            if not self._made:
                with glancing(self._engine) as tx:
                    self._made = made_of(self._sql.made.row(tx))
            with asking(self._engine) as channel:
                sent = self._ask_pulse(channel)
                channel.wait()
        generation, epoch, last, settled, highest, oldest, upcoming, started = lease_row(
            sent.rows()
        )
        moved = self._meet(sent.driver, started)
        if generation != self._generation:
            self._generation = generation
            self._floors.forget()  # an operator may have made an event pending again
        self._recognise(-1 if last < 0 else max(last, highest))
        self._watermark.resume(min(settled, self._top))
        self._watermark.observe(highest, oldest, upcoming)
        fresh = self._watermark.safe != self._scanned
        self._scanned = self._watermark.safe
        held_back = self._watermark.is_held_back
        return Pulse(fresh, generation, held_back, self._damage(), moved, epoch)

    def _ask_pulse(self, channel: Channel) -> Sent:
        return self._sql.pulse.send(channel, {"token": self._token(), **self._made})

    def _meet(self, driver: object, started: int) -> bool:
        """Return whether this may be another server than before; if so, start a new watermark.

        Raises OutboxChanged if it belongs to another cluster.
        """
        before, self._met = self._met, (driver, started)
        if self._met == before:
            return False
        with glancing(self._engine) as tx:
            [readable] = self._sql.may_read_cluster.row(tx)
            cluster = self._sql.cluster.row(tx)[0] if readable else 0
        if self._cluster not in {0, cluster}:
            raise OutboxChanged(
                "another PostgreSQL cluster answers at the address of the database",
                "stop shipper before you move a database, or restore it from a dump",
            )
        self._cluster = cluster
        self._watermark, self._scanned = Watermark(), -1
        self._floors.forget()
        return before is not None

    def _recognise(self, top: int) -> None:
        """Raise OutboxChanged if this is another outbox, or if it will give the same ids again."""
        if top < self._top:
            raise OutboxChanged(
                "shipper_outbox was emptied, restored or replaced while shipper was running",
                "run: shipper db upgrade, which says what is wrong with it now",
            )
        self._top = top

    def _damage(self) -> tuple[str, ...] | None:
        """Return what is wrong with the tables: with every 16th pulse, if their shape is new."""
        self._pulses += 1
        if self._pulses % _LOOKED_AT_EVERY != 1:
            return None
        with glancing(self._engine) as tx:
            return self._damage_in(tx)

    def _damage_in(self, tx: Connection) -> tuple[str, ...] | None:
        shape = str(self._sql.shape.row(tx)[0])
        if shape == self._shape:
            return None
        self._shape = shape
        return tuple(damage(tx))

    def look(self, question: Look) -> list[PendingRow]:
        """Return pending rows, in the order in which their events have to be sent."""
        return self.page(question).rows

    def page(self, question: Look) -> Page:
        """Return the same, and how far they were seen."""
        asked = self._asked.pop(question, None)
        if asked is None or not asked.sent.is_answered:
            with asking(self._engine) as channel:
                asked = self._ask(channel, question)
                channel.wait()
                found = asked.sent.rows()
        else:
            found = asked.sent.rows()
        if question.kind == "lane" and "floor" in asked.values:
            return Page(self._beginning_of_lane(asked.values, found), 0, is_last=False)
        return self._page(asked.values, found)

    def _page(self, values: dict[str, Any], found: Sequence[tuple[Any, ...]]) -> Page:
        """Return the rows of a scan; of some shards, one more row says how far it has seen."""
        marks = [row for row in found if row[-1] == SEEN] if "shards" in values else []
        rows = [row for row in found if row[-1] != SEEN] if marks else found
        if marks and len(rows) < values["limit"]:
            seen = int(marks[0][0])
            return Page([self._row(*row) for row in rows], seen, seen >= values["safe"])
        seen = int(rows[-1][0]) if rows else 0
        return Page([self._row(*row) for row in rows], seen, len(rows) < values["limit"])

    def _ask(self, channel: Channel, question: Look) -> _Asked:
        values = {
            "destination": question.destination,
            "after": question.after,
            "safe": self._watermark.safe,
            "limit": question.limit,
        }
        is_scan = question.after == 0 and question.kind != "lane"
        if is_scan or question.shards != self._shards:
            self._floors.forget()  # any row may have changed, or another daemon had it meanwhile
            self._shards = question.shards
        sql = self._sql
        if question.shards is not None:
            sql, values["shards"] = self._sql_of_shards, list(question.shards)
        statement = sql.looks[question.kind]
        if question.kind == "lane" and isinstance(question.lane, int):
            statement = sql.single
            values["id"] = question.lane
        elif question.kind == "lane":
            values["key"] = self._dialect.bind_key(str(question.lane))
            if self._dialect.keeps_dead_rows:
                values["floor"] = self._floors.of((question.destination, str(question.lane)))
        return _Asked(values, statement.send(channel, values))

    def _beginning_of_lane(
        self, values: dict[str, Any], found: Sequence[tuple[Any, ...]]
    ) -> list[PendingRow]:
        """Return the beginning of a lane: first what may have been received, then the others."""
        found = sorted(found, key=_place_of)
        rows = [self._row(*row[:-1]) for row in found[: values["limit"]]]
        # If all of these may have been received, the first of the others isn't known. A lane of
        # which nothing was found may be another daemon's: then nothing is known of it.
        is_ours = bool(rows) or "shards" not in values
        is_known = len(rows) < values["limit"] or not found[len(rows) - 1][-1]
        if is_ours and is_known:
            first = min((row.id for row in rows), default=values["safe"] + 1)
            floor = min(first - 1, values["safe"])
            self._floors.learn((values["destination"], values["key"]), floor)
        return rows

    def _row(
        self,
        row: int,
        key: str | bytes | None,
        next_attempt_at: str | float | None,
        held: int,
        attempts: int,
        shard: int = 0,
    ) -> PendingRow:
        lane = row if key is None else self._dialect.text(key)
        due = self._dialect.wall(next_attempt_at)
        return PendingRow(row, lane, due, bool(held), shard, attempts)

    def links(self) -> list[LinkRow]:
        """Return the last recorded state of each destination."""
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

    def holds(self, loaded: Mapping[str, Sequence[str]]) -> Holds:
        """Return what is held; see `Commands.holds`."""
        return self._commands.holds(loaded)

    def touched(self, since: int) -> list[tuple[str, str | int]] | None:
        """Return the lanes that operators' commands have touched; see `Commands.touched`."""
        return self._commands.touched(since)


def _place_of(row: Sequence[Any]) -> tuple[int, int]:
    """Return a row's place in its lane; its last column says whether it may have been received."""
    return (-row[-1], row[0])
