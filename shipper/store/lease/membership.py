"""Which daemons share a PostgreSQL outbox, and which shards each has.

A daemon has a row with a token of its own. Each turn and each renewal locks that row first, so once
the row is deleted, the daemon claims nothing and records nothing. Its chores have no token:
statistics, notes of clocks and audits, and the deletion of events whose retention is over, by its
own configuration, until it notices that it was ended.

The rules of the shares are in `policy.shares`; this module decides which daemons have ended, and
does all that follows in one transaction: the token is ended, what the daemon may have sent is
marked, and its shards are free.

A daemon has ended if its process on this machine is certainly dead, or if it hasn't prolonged its
lease for as long as the lease lasts, while we could see that (`stillness`).

It must never free a shard before what was claimed in it is marked, and never end a daemon that has
written since it was judged. Every change locks the row of the lease first, so there is one at a
time. Then it locks rows of daemons in the order of their tokens, as operators' commands do.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, TextClause

from shipper.errors import OutboxHeld
from shipper.policy.shares import ALL_SHARDS, NOTHING, EndedDaemon, Shares, plan
from shipper.store.db.dialect import POSTGRES, Dialect
from shipper.store.db.transactions import asking, writing
from shipper.store.lease import membership_statements as sql
from shipper.store.lease.lease import Newcomer, Owner
from shipper.store.lease.lost import corrected, taken_over, went_back
from shipper.store.lease.recovery import recover
from shipper.store.lease.stillness import DaemonRow, StillnessTimer
from shipper.store.lease.turns import LOCK_COUNTERS, Turn, fold_one
from shipper.store.schema.damage import lease_row


class Membership:
    """One daemon among those of its outbox."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float]) -> None:
        self.shares: Shares = NOTHING
        self.newcomer: Newcomer | None = None
        """What the others see of this daemon; a change is written when the lease is prolonged."""
        self._engine = engine
        self._stops = False
        self._watch = StillnessTimer(monotonic)

    # -- the steps of the protocol ----------------------------------------------------------------

    def join(self, tx: Connection, newcomer: Newcomer) -> tuple[Turn, int]:
        """Join; return the first turn, and how many events dead daemons may have sent.

        One that won't share raises OutboxHeld while there is another daemon that may live. Raises
        SchemaError if a tool has deleted the row of the lease.
        """
        tx.execute(sql.BY_INDEX)
        lease_row(tx.execute(sql.LOCK).all())
        self.newcomer = newcomer
        ended = self._end_over(tx, self._look(tx), sql.LOCK_DAEMONS)
        living = _daemons(tx)
        if newcomer.alone and living:
            self._refuse(living)
        rest = _end_orphans(tx)
        token = int(tx.execute(sql.NEXT_TOKEN).scalar_one())
        tx.execute(sql.GIVE_TOKEN, {"token": token})
        values = {"token": token, "owner": newcomer.owner.write()}
        tx.execute(sql.JOIN, values | _shown(newcomer))
        if not newcomer.alone:
            tx.execute(sql.BACK, _shown(newcomer))
        tx.execute(sql.FORGET_ORDER)
        turn = Turn(*tx.execute(sql.BEGIN, {"token": token}).one())
        if not living:
            tx.execute(sql.FREE_SHARDS)
        self.shares = self._share(tx, token, ended)
        tx.execute(sql.CHANGED)
        return turn, rest + sum(one.recovered for one in ended)

    def attend(self, turn: Turn, give: frozenset[int], *, stops: bool) -> Shares | None:
        """Do a step: give back these shards, end dead daemons, take free shards.

        One that stops says so, and takes none. The others then share as if it had left.
        Nothing may be claimed in the shards that are given. Returns None, and has changed nothing,
        if another process has locked the row of the lease. Raises LeaseLost and OutboxChanged as
        `hold` does.
        """
        with asking(self._engine) as channel:
            sent = sql.STANDING.send(channel)
            channel.wait()
            there, owners = _standing(sent.rows())
        self._watch.look(there)
        over = [row for row in there if row.token != turn.token and self._left(row) <= 0]
        living = {row.token for row in there}.difference(row.token for row in over)
        is_alone = living == {turn.token}
        lacks = (ALL_SHARDS if is_alone else self.shares.held).difference(owners)
        may_write = any(row.token == turn.token and row.turn is not None for row in there)
        stopping = {row.token for row in there if row.stops}
        self._stops, tells = stops, stops and turn.token not in stopping
        now = plan(living, owners, turn.token, stopping)
        if over or give or lacks or not may_write or tells or now.takes:
            return self._change(turn, give, over)
        self.shares = _shares(owners, turn.token, len(living), now.gives, [])
        return self.shares

    def _change(self, turn: Turn, give: frozenset[int], over: Sequence[DaemonRow]) -> Shares | None:
        with writing(self._engine) as tx:
            # Not waited for: a daemon can stand still in its change, and turns would wait with us.
            if not tx.execute(sql.LOCK_IF_FREE).all():
                lease_row(tx.execute(sql.EPOCH).all())
                return None
            tx.execute(sql.BY_INDEX)
            self.hold(tx, turn)
            ended = self._end_over(tx, over, sql.LOCK_IDLE_DAEMONS)
            if tx.execute(sql.HAS_STRAYS).scalar_one():
                _end_orphans(tx)
            self._restore(tx, turn.token)
            if give:
                tx.execute(sql.GIVE, {"token": turn.token, "shards": sorted(give)})
            if self._stops and self.newcomer is not None:
                owner = replace(self.newcomer.owner, stops=True)
                tx.execute(sql.STOPS, {"token": turn.token, "owner": owner.write()})
            shares = self._share(tx, turn.token, ended)
            if give or self._stops or shares.held != self.shares.held:
                tx.execute(sql.CHANGED)
        self.shares = shares
        return shares

    def _end_over(
        self, tx: Connection, judged: Sequence[DaemonRow], lock: TextClause
    ) -> list[EndedDaemon]:
        """End those of these daemons whose lease is over, now that nothing of theirs is written.

        One that has prolonged its lease since it was judged is spared: it counts on that. So is
        one that another daemon has ended.
        """
        over = [row.token for row in judged if self._left(row) <= 0]
        locked = set(tx.execute(lock, {"tokens": over}).scalars()) if over else set()
        return [
            EndedDaemon(row.name, str(row), _end_remembered(tx, row.token))
            for row in (self._look(tx) if locked else ())
            if row.token in locked and self._left(row) <= 0
        ]

    def _restore(self, tx: Connection, token: int) -> None:
        """Add the rows of shards that a tool has deleted: its own, and if it is alone, all.

        Those of other daemons are never added: they may still send what is in them.
        """
        shards = {"token": token, "shards": sorted(self.shares.held)}
        tx.execute(sql.OWN_SHARDS, shards)
        if len(_daemons(tx)) == 1:
            tx.execute(sql.FREE_SHARDS)

    def leave(self, tx: Connection, token: int) -> None:
        """Leave: mark what is still claimed, and free all shards; nothing if it was ended."""
        lease_row(tx.execute(sql.LOCK).all())
        if tx.execute(sql.HOLD, {"token": token}).first() is not None:
            end(tx, POSTGRES, token)

    # -- the fence --------------------------------------------------------------------------------

    def hold(self, tx: Connection, turn: Turn) -> Turn:
        """Lock this daemon's row; return its last turn.

        Raises LeaseLost if another process has ended this daemon, and OutboxChanged if the database
        lacks what it has written.
        """
        if tx.execute(sql.HOLD, {"token": turn.token}).first() is None:
            lease = lease_row(tx.execute(sql.EPOCH).all())
            if lease.token < turn.token:
                raise went_back()
            raise corrected() if lease.corrected >= turn.token else taken_over()
        found = tx.execute(sql.LAST, {"token": turn.token}).all()
        if not found or found[0].turn < turn.number:
            lease = lease_row(tx.execute(sql.EPOCH).all())
            raise corrected() if lease.corrected >= turn.token else went_back()
        return Turn(*found[0])

    def renew(self, tx: Connection, token: int) -> None:
        """Prolong the lease; the caller has locked this daemon's row."""
        assert self.newcomer is not None, "it has joined"
        tx.execute(sql.RENEW, {"token": token} | _shown(self.newcomer))

    # -- inside -----------------------------------------------------------------------------------

    def _look(self, tx: Connection) -> list[DaemonRow]:
        rows = _daemons(tx)
        self._watch.look(rows)
        return rows

    def _left(self, row: DaemonRow) -> float:
        owner = Owner.read(row.owner)
        is_ours = self.newcomer is not None and owner == self.newcomer.owner
        is_free = row.owner is None or is_ours
        if is_free or (owner is not None and owner.is_dead()):
            return 0.0
        return self._watch.left(row)

    def _refuse(self, living: Sequence[DaemonRow]) -> None:
        last = max(living, key=self._left)
        raise OutboxHeld(
            f"{last} holds this outbox",
            "stop it, or wait until its lease has ended; if it hangs: shipper db unlock",
            left=self._left(last),
            watched=last.ttl,
            seems_over=all(row.seems_over for row in living),
        )

    def _share(self, tx: Connection, token: int, ended: Sequence[EndedDaemon]) -> Shares:
        """Take the free shards that this daemon should have; return what it has then."""
        there, owners = _standing(sql.STANDING.rows(tx))
        living = {row.token for row in there}
        stopping = {row.token for row in there if row.stops}
        takes = plan(living, owners, token, stopping).takes
        if takes:
            taken = tx.execute(sql.TAKE, {"token": token, "shards": list(takes)})
            owners |= dict.fromkeys(taken.scalars(), token)
            tx.execute(sql.INHERIT, {"token": token})
        gives = plan(living, owners, token, stopping).gives
        return _shares(owners, token, len(living), gives, ended)


def end(tx: Connection, dialect: Dialect, token: int) -> int:
    """End a daemon: its token, its claims, its shards; return how many events it may have sent.

    The caller has locked the row of the lease.
    """
    tx.execute(sql.BY_INDEX)
    # The row first: this waits for a turn that is being written, and from then on there is none.
    tx.execute(sql.HOLD, {"token": token})
    marked = recover(tx, dialect, token)
    tx.execute(LOCK_COUNTERS)
    fold_one(tx, token)
    for statement in sql.END:
        tx.execute(statement, {"token": token})
    return marked


def _end_remembered(tx: Connection, token: int) -> int:
    """End a daemon that hasn't left by itself: people see it until one of its name is back."""
    tx.execute(sql.REMEMBER, {"token": token})
    tx.execute(sql.FORGET_OLDEST)
    return end(tx, POSTGRES, token)


def _end_orphans(tx: Connection) -> int:
    """End the daemons whose rows a tool has deleted; return how many events they may have sent."""
    return sum(end(tx, POSTGRES, token) for token in tx.execute(sql.ORPHANS).scalars().all())


def begin_again(tx: Connection) -> None:
    """Have all daemons begin again, because numbers that they know were corrected.

    None of them can claim or record anything more. But they may live, and have tries in flight. So
    each keeps its shards until it begins again and has ended its tries, or until its lease is over.
    """
    tx.execute(sql.BY_INDEX)
    last = lease_row(tx.execute(sql.LOCK).all())
    for row in _daemons(tx):
        tx.execute(sql.HOLD, {"token": row.token})
        for statement in sql.NO_MORE_TURNS:
            tx.execute(statement, {"token": row.token})
    tx.execute(sql.KEEP_CLAIMED)
    tx.execute(sql.CORRECTED, {"token": last.token})
    tx.execute(sql.CHANGED)


def _shown(newcomer: Newcomer) -> dict[str, object]:
    name = newcomer.name or newcomer.owner.host
    # A command that has the outbox alone is no daemon that anybody would miss.
    settings = None if newcomer.alone else newcomer.settings
    return {"ttl": newcomer.ttl, "name": name, "settings": settings}


def _shares(
    owners: dict[int, int | None],
    token: int,
    daemons: int,
    gives: frozenset[int],
    ended: Sequence[EndedDaemon],
) -> Shares:
    held = frozenset(shard for shard, owner in owners.items() if owner == token)
    return Shares(held, daemons, gives, tuple(ended))


def _daemons(tx: Connection) -> list[DaemonRow]:
    return [DaemonRow(*row) for row in tx.execute(sql.DAEMONS)]


def _standing(
    found: Sequence[tuple[Any, ...]],
) -> tuple[list[DaemonRow], dict[int, int | None]]:
    """Return the daemons, and which of them each shard belongs to."""
    shards, tokens = found[0][:2]
    there = [DaemonRow(*row[2:]) for row in found if row[2] is not None]
    return there, dict(zip(shards or (), tokens or (), strict=True))
