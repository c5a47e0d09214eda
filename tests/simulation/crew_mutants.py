"""The sharing of an outbox with one bug planted in it: what the crews have to catch.

Each plants its bug in the product for the length of a run. `test_crew.py` has the seed that catches
each; `python -m tests.simulation.crew_runs --mutants` looks for them anew.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import text

from shipper.drain import lookahead, route
from shipper.drain.lookahead import Lookahead
from shipper.drain.sharing import Sharing
from shipper.policy.shares import Shares
from shipper.store.drain.numbers import BlocksOfNumbers
from shipper.store.lease import membership
from shipper.store.lease import membership_statements as sql
from shipper.store.lease.membership import DaemonRow, Membership
from tests.simulation.crew import SAILOR

Plant = Callable[[], Any]
MUTANTS: dict[str, Plant] = {}


def mutant(function: Plant) -> Plant:
    """Add to the mutants one that returns a context manager."""
    MUTANTS[function.__name__] = function
    return function


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Run with a bug in the product."""
    with MUTANTS[name]():
        yield


@contextmanager
def _all(*patches: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield


@mutant
def a_token_is_ended_after_its_shards_have_moved() -> Any:
    """The shards of a silent daemon are freed at once, its row is deleted only with its claims.

    So it goes on with its turns after another has its shards.
    """
    end = sql.END[1:]

    def end_later(tx: Any, _dialect: Any, token: int) -> int:
        for statement in end[:1]:
            tx.execute(statement, {"token": token})
        return 0

    original = Membership.leave

    def leave(self: Membership, tx: Any, token: int) -> None:
        with patch.object(membership, "end", membership_end):
            original(self, tx, token)

    membership_end = membership.end
    return _all(
        patch.object(membership, "end", end_later),
        patch.object(Membership, "leave", leave),
        # It is no longer counted, so that the others take its shards.
        patch.object(membership, "_daemons", _without_the_silent(membership._daemons)),
    )


def _without_the_silent(original: Any) -> Any:
    def daemons(tx: Any) -> list[DaemonRow]:
        found: list[DaemonRow] = original(tx)
        sailor = SAILOR.get(None)
        if sailor is None or sailor.queue is None:
            return found
        watch = sailor.queue._tenure._watch  # type: ignore[union-attr]
        silent = {token for token, (life, at) in watch._seen.items()}
        mine = sailor.token
        return [
            row
            for row in found
            if row.token == mine or row.token not in silent or watch.left(row) > 0
        ]

    return daemons


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
    return patch("shipper.policy.link.PROBING_AT_ONCE", 1_000)


@mutant
def one_that_lives_is_ended() -> Any:
    """A daemon whose row has changed since it was judged is ended all the same."""
    original = Membership._change

    def change(self: Membership, turn: Any, give: frozenset[int], over: Any) -> Shares:
        judged = {row.token for row in over}
        daemons = membership._daemons

        def as_judged(tx: Any) -> list[DaemonRow]:
            before = {row.token: row for row in over}
            return [before.get(row.token, row) for row in daemons(tx)]

        if not judged:
            return original(self, turn, give, over)
        with patch.object(membership, "_daemons", as_judged):
            return original(self, turn, give, over)

    return patch.object(Membership, "_change", change)
