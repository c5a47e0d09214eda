"""What the daemon writes: it takes the outbox, claims events, records outcomes.

It decides whether this process is still allowed to write: every transaction first writes a turn or
prolongs the lease, under its token, so a process that was ended changes nothing. It also decides
what one turn does: all of the daemon's writes that wait, in one transaction.

It must never have a transaction open while the network is waited for, and the cost of a statement
must never grow with the backlog, the number of keys or the history. The loop's thread and the
database's thread can both use it, but never at the same time (`shipper.daemon.step_runner`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine

from shipper.clock import SystemClock
from shipper.errors import OutboxChanged
from shipper.policy.event import Event
from shipper.policy.shares import Shares
from shipper.store.db.dialect import dialect_of
from shipper.store.db.statement import Channel
from shipper.store.db.transactions import Follow, exchanging, writing
from shipper.store.drain import record as recording
from shipper.store.drain import sqlite_planner
from shipper.store.drain.fetch import Fetch
from shipper.store.drain.messages import LinkRow, Work
from shipper.store.drain.numbers import delivery_numbers
from shipper.store.drain.queue_statements import QueueStatements
from shipper.store.lease.claims import ClaimBook, dump_ids, load_ids
from shipper.store.lease.lease import Newcomer, Owner
from shipper.store.lease.lost import taken_over
from shipper.store.lease.membership import Membership
from shipper.store.lease.sole import Sole
from shipper.store.lease.turns import Turn, TurnBook, Written
from shipper.store.schema.damage import made_of
from shipper.system.steps import Mark, Steps, whole

_EMPTIED = "shipper_outbox was emptied, restored or replaced while events of it were in flight"
_CHECK = "run: shipper db upgrade, which says what is wrong with it now"

_clock = SystemClock()


class _NotWritten(Exception):
    """A turn can't be written: it was before, or the outbox is no longer as it was."""


def ask_nothing(_: Channel) -> None:
    """Send nothing behind a COMMIT."""


class Queue:
    """One database's outbox, for the process that holds its lease.

    `lease_ttl` is in seconds; `bytes_per_claim` bounds the payloads that one turn returns.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lease_ttl: float,
        bytes_per_claim: int = 8 << 20,
        monotonic: Callable[[], float] = _clock.monotonic,
    ) -> None:
        self._engine = engine
        self._dialect = dialect_of(engine)
        self._sql = QueueStatements(self._dialect)
        self._turns = TurnBook(self._dialect, monotonic)
        self._tenure: Sole | Membership = (
            Sole() if self._dialect.is_file else Membership(engine, monotonic)
        )
        self._numbers = delivery_numbers(self._dialect)
        self._ttl = lease_ttl
        self._fetch = Fetch(self._dialect, bytes_per_claim)
        self._book = ClaimBook()
        self._turn = Turn(0, 0, 0, 0, 0)
        self._made: dict[str, int] = {}
        self._met = 0  # which server the last turn was written to
        self._known = 0  # the highest id that was handed out

    # -- the lease ----------------------------------------------------------------------------

    @property
    def token(self) -> int:
        """The token of this process; 0 before it has taken the outbox."""
        return self._turn.token

    @property
    def shares(self) -> Shares:
        """The shards that this process has, as of its last step."""
        return self._tenure.shares

    @property
    def attends(self) -> bool:
        """Whether other daemons can share the outbox, so that `attend` has something to do."""
        return self._dialect.moves_shards

    def describe(self, ttl: float, name: str, settings: str) -> None:
        """Set how long the lease lasts (seconds), and what others see of this daemon.

        It holds from the next time on that the lease is prolonged.
        """
        self._ttl, before = ttl, self._tenure.newcomer
        if before is not None:
            self._tenure.newcomer = before._replace(ttl=ttl, name=name, settings=settings)

    def acquire(
        self, owner: Owner, *, alone: bool = True, name: str = "", settings: str = ""
    ) -> int:
        """Take the outbox; return how many events processes that died may have sent.

        `name` and `settings` are for the people and the daemons that see this one beside others.
        With `alone`, raises OutboxHeld while another process that may be alive ships. A process
        that isn't known to be dead counts as alive until its lease has stayed the same for as long
        as it was taken, by this process's own clock. Without `alone`, share it with those.
        """
        with writing(self._engine) as tx:
            newcomer = Newcomer(owner, self._ttl, name, settings, alone)
            turn, left = self._tenure.join(tx, newcomer)
            met = self._meet(tx)
            if self._dialect.is_file:
                sqlite_planner.forget(tx)
            made = made_of(self._sql.made.row(tx))
        self._turn, self._met, self._made, self._known = turn, met, made, 0
        self._book = ClaimBook()
        self._turns.begin()
        self._numbers.forget()
        return left

    def attend(self, gave: frozenset[int], *, stops: bool = False) -> Shares | None:
        """Give back shards in which nothing is claimed, and take those that are due; see `shares`.

        With `stops`, it says that this daemon takes none any more, and has to give all.
        Returns None, and has changed nothing, while another process changes shards. Raises
        LeaseLost if another process has ended this daemon, and OutboxChanged as `renew`.
        """
        before = self._tenure.shares.held - gave  # without an answer, they may be another's by now
        shares = self._tenure.attend(self._turn, gave, stops=stops)
        if shares is not None and shares.held - before:
            self._numbers.forget()  # their last holder may have recorded with greater numbers
        return shares

    def release(self) -> None:
        """Give the outbox back; mark what is still claimed as maybe received."""
        with writing(self._engine) as tx:
            self._tenure.leave(tx, self._turn.token)

    def renew(self) -> None:
        """Prolong the lease; raises LeaseLost if another process has taken over.

        Raises OutboxChanged if the server lacks what this process has written.
        """
        with writing(self._engine) as tx:
            self.fence(tx)
            met = self._meet(tx)
        self._note_server(met)

    def fence(self, tx: Connection) -> None:
        """Prolong the lease in the caller's transaction, so that it can't commit without it."""
        self._tenure.hold(tx, self._turn)
        self._tenure.renew(tx, self._turn.token)

    # -- a turn -------------------------------------------------------------------------------

    def turn(self, work: Work, follow: Follow = ask_nothing) -> list[Event]:
        """Do all of a turn's steps here; see `steps`."""
        return whole(self.steps(work, follow))

    def steps(self, work: Work, follow: Follow = ask_nothing) -> Steps[list[Event]]:
        """Do a turn's work in one durable transaction; return the claimed events in its order.

        A wanted id that isn't returned had no room, or is no longer pending. After
        StoreUnavailable the caller can give the same work again: it isn't done twice. If another
        server than in the last turn answers, or the server was restarted, nothing is claimed: the
        rows that were seen may not be there. On a server, `follow` sends questions together with
        the COMMIT. Raises LeaseLost if another process has taken over, and OutboxChanged if the
        server lacks what this process has written.
        """
        if not work:
            return []
        if again := [row for row in work.wanted if row in self._book]:
            work = replace(work, released=[*work.released, *again])  # its last claim counts
        ended = [record.event.id for record in work.records if recording.is_end(record)]
        places = {r.event.destination for r in work.records if recording.is_end(r)}
        before = self._turn
        if self._numbers.lacks(len(ended)):
            yield Mark.WAIT
            self._numbers.fetch(self._engine, len(ended))
        numbers = self._numbers.take(before.delivery, len(ended))
        turn = Turn(
            before.number + 1,
            before.token,
            before.claim + bool(work.wanted),
            numbers[-1] if numbers else before.delivery,
            work.settled.up_to,
        )
        folds = self._turns.is_fold_due(turn.number, places)
        try:
            with (yield from exchanging(self._engine, follow)) as channel:
                done = self._send(channel, work, ended, turn, numbers, folds=folds)
                channel.wait()
                met, turn, events = done()
                yield Mark.COMMIT
        except _NotWritten:
            yield Mark.WAIT
            met, events = self._done_before(work, turn)
        else:
            if folds:
                self._turns.folded(turn.number, places)
        self._turn = turn
        self._note_server(met)
        self._book.remove(ended)
        self._book.remove(work.released)
        if events:
            self._known = max(self._known, *(event.id for event in events))
            self._book.add(turn.claim, (event.id for event in events))
        return events

    def _send(
        self,
        channel: Channel,
        work: Work,
        ended: list[int],
        turn: Turn,
        numbers: Sequence[int],
        *,
        folds: bool,
    ) -> Callable[[], tuple[int, Turn, list[Event]]]:
        """Send all that doesn't depend on an answer; what comes back does the rest.

        That raises _NotWritten if this turn can't be written.
        """
        advance = self._advance(channel, turn, work.settled.by)
        fetch = self._fetch.send(channel, work.wanted)
        write_rest = recording.write(channel, self._dialect, work.records, numbers, turn)
        for link in sorted(work.links, key=_place):
            recording.write_link(channel, self._dialect, link, work.now, turn.token)
        self._end_claims(channel, ended, work.released)
        if folds:
            self._turns.fold(channel, turn)

        def finish() -> tuple[int, Turn, list[Event]]:
            written = advance()
            if written is None:
                raise _NotWritten
            events = fetch() if written.server == self._met else []
            events = _at_home(events, work.homes)
            write_rest()
            self._claim(channel, turn, events)
            return written.server, turn._replace(settled=written.settled), events

        return finish

    def _claim(self, channel: Channel, turn: Turn, events: list[Event]) -> None:
        if events:
            ids = dump_ids(event.id for event in events)
            values = {"token": turn.token, "number": turn.claim, "ids": ids}
            self._sql.insert_claim.send(channel, values)

    def _end_claims(self, channel: Channel, ended: list[int], released: Sequence[int]) -> None:
        over, kept = self._book.changes(ended, released)
        its = {"token": self._turn.token}
        if over:
            self._sql.end_claims.send(channel, its | {"ids": self._dialect.bind_ids(over)})
        for number, ids in kept.items():
            self._sql.rewrite_claim.send(channel, its | {"number": number, "ids": ids})

    def _advance(self, channel: Channel, turn: Turn, by: object) -> Callable[[], Written | None]:
        met = self._met if by is channel.tx.connection.driver_connection else 0
        known = {"known": self._known, "met": met, **self._made}
        return self._turns.advance(channel, turn, known)

    def _done_before(self, work: Work, turn: Turn) -> tuple[int, list[Event]]:
        """Return the server and the events of a turn that was committed, but its answer was lost.

        Raises LeaseLost or OutboxChanged if the turn wasn't committed, and can't be written.
        """
        with writing(self._engine) as tx:
            last = self._tenure.hold(tx, self._turn)
            if last.number == turn.number:
                wanted = self._claimed(tx, turn) if work.wanted else []
                return self._meet(tx), self._fetch.send(Channel(tx), wanted)()
            if last.number == self._turn.number:
                raise OutboxChanged(_EMPTIED, _CHECK)
            raise taken_over()

    def _meet(self, tx: Connection) -> int:
        """Return which server answers; 0 for SQLite, whose file is checked anyway."""
        return 0 if self._dialect.is_file else int(self._sql.started.row(tx)[0])

    def _note_server(self, met: int) -> None:
        if met != self._met:
            # Another server may not know that these blocks were taken, and give them once more.
            self._numbers.forget()
        self._met = met

    def _claimed(self, tx: Connection, turn: Turn) -> list[int]:
        """Return a turn's claimed ids on disk; it allows the daemon to send no other event."""
        ids = tx.execute(self._sql.claim, {"token": turn.token, "number": turn.claim}).scalar()
        return [] if ids is None else load_ids(ids)


def _at_home(events: list[Event], homes: Mapping[int, str]) -> list[Event]:
    """Return the events that weren't rerouted in the meantime."""
    return [one for one in events if homes.get(one.id, one.destination) == one.destination]


def _place(link: LinkRow) -> str:
    """Return by what links are sorted: daemons that write in one order don't block each other."""
    return link.destination
