"""Which shards of the outbox each daemon has, and which it takes or gives back. Pure.

A shard is a set of lanes. Each shard belongs to at most one daemon, and the daemons' shares differ
by at most one shard. The rules need no leader: every daemon computes the same shares from the same
rows, and only takes shards that are free, or gives back its own.

It must never let a daemon take a shard that another one has.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

SHARDS: Final = 64
"""So many shards has an outbox. A shard is four of the 256 slots of `shipper_outbox.slot`."""
LEADS: Final = 0
"""The daemon that has this shard does the chores that only one daemon may do."""
ALL_SHARDS: Final = frozenset(range(SHARDS))


class Shares(NamedTuple):
    """The shards that this daemon has, and what it has to know of the others."""

    held: frozenset[int]
    daemons: int = 1
    """How many daemons share the outbox, with this one."""
    gives: frozenset[int] = frozenset()
    """Which of its shards it has to give back, once nothing of them is claimed."""
    ended: tuple["EndedDaemon", ...] = ()
    """The daemons that it has ended now, because they were dead or silent."""

    @property
    def leads(self) -> bool:
        """Return whether this daemon does the chores that only one may do."""
        return LEADS in self.held

    @property
    def kept(self) -> frozenset[int]:
        """Return the shards in which new tries can begin."""
        return self.held - self.gives


class EndedDaemon(NamedTuple):
    """A daemon that was ended: its name and process for a person, and what it may have sent."""

    name: str
    process: str
    recovered: int
    """How many events it may have sent; they are sent again before all others of their keys."""


WHOLE: Final = Shares(ALL_SHARDS)
"""The share of a daemon that is alone."""
NOTHING: Final = Shares(frozenset())
"""The share of a daemon that has joined, and waits for shards."""


class NextShards(NamedTuple):
    """What a daemon does next about its shards."""

    takes: tuple[int, ...]
    gives: frozenset[int]


def target(daemons: Sequence[int], token: int) -> int:
    """Return how many shards the daemon with this token should have.

    Older daemons have smaller tokens. Beyond the number of shards, younger daemons get none: they
    are ready to take over.
    """
    order = sorted(daemons)
    each, more = divmod(SHARDS, len(order))
    return each + (order.index(token) < more)


def plan(
    daemons: Collection[int],
    owners: Mapping[int, int | None],
    token: int,
    stopping: Collection[int] = (),
) -> NextShards:
    """Return which free shards the daemon takes, and which of its shards it gives back.

    `daemons` are the tokens of all daemons, `owners` the token of each shard's daemon. A daemon
    keeps the chores' shard as long as it has any. One of those that are `stopping` takes nothing
    and gives everything, and the others share the outbox as if it had left.
    """
    stay = [one for one in daemons if one not in stopping]
    fair = target(stay, token) if token in stay else 0
    held = sorted(shard for shard, owner in owners.items() if owner == token)
    free = sorted(shard for shard, owner in owners.items() if owner not in daemons)
    return NextShards(tuple(free[: max(0, fair - len(held))]), frozenset(held[fair:]))


def least_for(limit: int, in_flight: int) -> int:
    """Return how few shards allow so much in flight; see `part_of`."""
    return 0 if in_flight <= 1 else -(-in_flight * SHARDS // limit)


def part_of(limit: int, shards: int) -> int:
    """Return this daemon's part of a limit on what is in flight, at least one."""
    return max(1, limit * shards // SHARDS)
