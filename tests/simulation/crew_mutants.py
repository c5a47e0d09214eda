"""The sharing of an outbox with one bug planted in it: what the crews have to catch.

Each plants its bug in the product for the length of a run. `test_crew.py` has the seed that catches
each; `python -m tests.simulation.crew_runs --mutants` looks for them anew.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from typing import Any
from unittest.mock import patch

from sqlalchemy import text

from shipper.drain import exchange, lookahead, route
from shipper.drain.exchange import Exchange
from shipper.drain.lookahead import Lookahead
from shipper.drain.sharing import Sharing
from shipper.policy.link import Link
from shipper.policy.shares import Shares
from shipper.store.db.dialect import POSTGRES
from shipper.store.db.statement import Statement
from shipper.store.drain.numbers import BlocksOfNumbers
from shipper.store.drain.queue import Queue
from shipper.store.lease import membership, stillness
from shipper.store.lease import membership_statements as sql
from shipper.store.lease.membership import Membership
from shipper.store.lease.stillness import DaemonRow, StillnessTimer
from tests.planting import Plants
from tests.simulation.crew import SAILOR

mutant = MUTANTS = Plants()
planted = MUTANTS.planted


@contextmanager
def _all(*patches: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield


@mutant
def a_token_is_not_ended_before_its_shards_move() -> Any:
    """A silent daemon no longer counts and its shards are free, but its row and turns stay.

    So if it goes on, its turns are written, and it sends what another daemon has taken over.
    """
    real, leaves = sql.END, Membership.leave
    hide = text("UPDATE shipper_daemon SET name = 'ended' WHERE token = :token")
    seen = str(sql.DAEMONS).replace("AS d ORDER", "AS d WHERE name <> 'ended' ORDER")
    standing = sql.STANDING._sql.replace(str(sql.DAEMONS), seen)

    def leave(self: Membership, tx: Any, token: int) -> None:
        with patch.object(sql, "END", real):
            leaves(self, tx, token)

    return _all(
        patch.object(sql, "END", (hide, *real[1:-2], real[-1])),
        patch.object(sql, "DAEMONS", text(seen)),
        patch.object(sql, "STANDING", Statement(POSTGRES, standing)),
        patch.object(Membership, "leave", leave),
    )


@mutant
def a_shard_is_given_back_with_a_try_in_flight() -> Any:
    """A daemon gives what is too much at once."""

    def done(self: Sharing, _routes: Any) -> frozenset[int]:
        return self.shares.gives

    return patch.object(Sharing, "_done", done)


@mutant
def claims_of_the_dead_are_not_recovered() -> Any:
    """They are deleted, and nothing is marked."""

    def recover(tx: Any, _dialect: Any, token: int) -> int:
        tx.execute(text("DELETE FROM shipper_claim WHERE token = :token"), {"token": token})
        return 0

    return patch.object(membership, "recover", recover)


@mutant
def a_lease_is_judged_by_ones_own_wall_clock() -> Any:
    """The holder writes the end of its lease by its clock, and the others read it by theirs."""
    original = Membership.renew

    def renew(self: Membership, tx: Any, token: int) -> None:
        original(self, tx, token)
        assert self.newcomer is not None
        until = SAILOR.get().clock.wall() + self.newcomer.ttl
        statement = (
            "UPDATE shipper_daemon SET expires_at = to_timestamp(:until) WHERE token = :token"
        )
        tx.execute(text(statement), {"until": until, "token": token})

    def left(self: Membership, row: DaemonRow) -> float:
        ends = _seconds(row.expires)
        if ends < 1.7e9 or abs(ends - SAILOR.get().clock.wall()) > 30 * 86400:
            return self._watch.left(row)  # of the server's clock: not renewed yet
        return max(0.0, ends - SAILOR.get().clock.wall())

    return _all(patch.object(Membership, "renew", renew), patch.object(Membership, "_left", left))


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


@mutant
def limits_are_not_shared_out() -> Any:
    """Each daemon has as many in flight as the destination allows all of them."""
    return patch.object(route, "part_of", lambda limit, _shards: limit)


@mutant
def rates_are_not_shared_out() -> Any:
    """Each daemon sends as fast as the destination allows all of them."""
    return patch.object(route, "SHARDS", 1)


@mutant
def two_daemons_lead() -> Any:
    """Whoever has any shard does the chores."""
    return patch.object(Shares, "leads", property(lambda self: bool(self.held)))


@mutant
def numbers_of_an_old_block_go_on() -> Any:
    """A daemon that gets a shard goes on with the numbers that it has."""
    return patch.object(BlocksOfNumbers, "forget", lambda _self: None)


@mutant
def rows_of_a_gained_shard_come_from_the_tail() -> Any:
    """No sweep begins for a shard that comes."""
    original = Lookahead.keep_only

    def keep_only(self: Lookahead, shards: frozenset[int]) -> None:
        with patch.object(lookahead.Lookahead, "_begin", lambda _self: None):
            original(self, shards)

    return patch.object(Lookahead, "keep_only", keep_only)


@mutant
def a_dead_daemon_keeps_its_shards() -> Any:
    """Nobody takes what belongs to a daemon that was ended."""
    rest = (sql.END[0], *sql.END[2:])
    take = text(str(sql.TAKE).replace(" OR token NOT IN (SELECT token FROM shipper_daemon)", ""))
    return _all(patch.object(sql, "END", rest), patch.object(sql, "TAKE", take))


@mutant
def probes_are_not_spread() -> Any:
    """Each daemon probes a receiver that is down as often as if it were alone."""

    def wait(self: Link, chance: float, asked: float | None) -> float:
        return asked or self.probe_backoff.delay(self._probes, chance)

    return patch.object(Link, "_probe_wait", wait)


@mutant
def a_newcomer_waits_for_its_share() -> Any:
    """The others look rarely who is there, and notice no change between."""

    def _is_attention_due(self: Exchange, talk: Any, _pulse: Any, now: float) -> bool:
        return bool(talk.gave) or now >= self._attend_at

    return _all(
        patch.object(exchange, "_ATTEND_EVERY", 8.0),
        patch.object(Exchange, "_is_attention_due", _is_attention_due),
    )


@mutant
def a_daemon_that_stops_gives_nothing_back() -> Any:
    """Its shards are free when its lease is over, as if it had died."""
    return patch.object(Queue, "release", lambda _self: None)


@mutant
def a_dead_daemon_has_its_shards_for_three_leases() -> Any:
    """The others wait much longer than it has promised."""

    def left(self: StillnessTimer, row: DaemonRow) -> float:
        return original(self, row._replace(ttl=3 * row.ttl))

    original = StillnessTimer.left
    return patch.object(StillnessTimer, "left", left)


@mutant
def silence_counts_while_the_database_is_away() -> Any:
    """The first that is back takes the others for dead: none of them could write."""
    return patch.object(stillness, "UNWATCHED", inf)
