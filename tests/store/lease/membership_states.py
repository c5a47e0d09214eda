"""The states of the model of daemons that share an outbox; `membership_model` has the steps.

It decides which states are the same. It must never hold more of the real tables than one lane and
the owners of the shards need.
"""

from typing import NamedTuple

NONE: frozenset[int] = frozenset()


class Process(NamedTuple):
    """A daemon's process; `token` is 0 while it hasn't joined."""

    mode: str = "out"  # or: in, stalled, dead
    token: int = 0
    held: frozenset[int] = NONE
    gives: frozenset[int] = NONE
    lasts: bool = False
    """Whether its lease lasts, by its own clock: a try can begin."""
    renews: bool = False
    """Whether a renewal has locked its row, and isn't committed yet."""
    attempt: str = ""  # or: claimed, flying, over
    block: int = 0
    """Its block of delivery numbers; 0 if it has to take one first."""
    over: frozenset[int] | None = None
    """Whom it has judged to have ended, if a change follows, and has not written since."""
    back: frozenset[int] = NONE
    """What that change gives back."""

    @property
    def kept(self) -> frozenset[int]:
        """Return the shards in which it begins tries."""
        return self.held - self.gives


class State(NamedTuple):
    """All processes, and what is in the database."""

    processes: tuple[Process, ...]
    owners: tuple[int, ...]
    """The token of each shard's daemon; 0 if it is free."""
    rows: tuple[int, ...] = ()
    """The tokens of the daemons that have a row."""
    given: int = 0
    """The last token."""
    claims: frozenset[int] = NONE
    """Whose claims name the first event of the lane."""
    sent: bool = False
    """Whether this event may have been received."""
    marked: bool = False
    last: int = 0
    """The block of the last delivery number in the lane."""
    blocks: int = 0
    troubles: int = 0


class Step(NamedTuple):
    """A step: what is done, by which process, and what comes of it."""

    name: str
    who: int
    state: State


def canonical(state: State) -> State:
    """Return the same state with the smallest numbers, and the processes in order.

    Only the order of tokens matters, and two processes that haven't joined are the same.
    """
    named = {0, *state.rows, *state.owners, *state.claims}
    used = {0, state.last}
    for one in state.processes:
        named |= {one.token, *(one.over or ())}
        used.add(one.block)
    token = {old: new for new, old in enumerate(sorted(named))}
    block = {old: new for new, old in enumerate(sorted(used))}
    return State(
        tuple(
            one._replace(
                token=token[one.token],
                block=block[one.block],
                over=None if one.over is None else frozenset(token[row] for row in one.over),
            )
            for one in sorted(state.processes, key=lambda one: (one.token, one.mode))
        ),
        tuple(token[owner] for owner in state.owners),
        tuple(token[row] for row in state.rows),
        len(token) - 1,
        frozenset(token[row] for row in state.claims),
        state.sent,
        state.marked,
        block[state.last],
        len(block) - 1,
        state.troubles,
    )
