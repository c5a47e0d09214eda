"""A model of daemons that share an outbox: every step that one can do, and every trouble.

It decides which states can follow a state, and which states must never be. The shares are those of
the real `policy.shares`; `test_membership_walks` runs the same steps on the real statements. Only
one lane is followed, in the shard `lane`: whatever can go wrong with a lane goes wrong with this
one. Transactions are single steps; what happens between them can happen in any order.

It must never know more than a daemon can: a daemon's lease ends for the others only after it has
ended for itself, because they begin to count later.
"""

from collections.abc import Collection, Iterator

from shipper.policy import shares
from tests.store.lease.membership_states import NONE, Process, State, Step


class Broken(AssertionError):
    """What must never be, has been."""


TROUBLES = frozenset({"crash", "stall", "lease over", "leave", "answer lost", "join lost"})


class Model:
    """The steps, with as many troubles as allowed; `bugs` are planted."""

    def __init__(self, lane: int, troubles: int, bugs: Collection[str] = ()) -> None:
        self.lane = lane
        self.troubles = troubles
        self.bugs = frozenset(bugs)

    def steps(self, state: State) -> Iterator[Step]:
        """Yield each step that can be done now."""
        for who, process in enumerate(state.processes):
            for name in _NAMES.get(process.mode, ()):
                if name in TROUBLES and state.troubles >= self.troubles:
                    continue
                after = self.step(state, name, who)
                if after is not None:
                    yield Step(name, who, after)

    def step(self, state: State, name: str, who: int) -> State | None:
        """Do a step; return None if it can't be done now. Raises Broken."""
        before = state.troubles
        after: State | None = getattr(self, f"_{name.replace(' ', '_')}")(state, who)
        if after is None:
            return None
        self._check(after)
        return after._replace(troubles=before + (name in TROUBLES))

    # -- coming and going -------------------------------------------------------------------------

    def _join(self, state: State, who: int) -> State:
        over = {row for row in state.rows if self._is_over(state, row)}
        state = self._end_all(state, {row for row in over if not _locked(state, row)})
        token = state.given + 1
        state = state._replace(given=token, rows=(*state.rows, token))
        joined = Process("in", token, lasts=True)
        return self._share(_with(state, who, joined), who)

    def _join_lost(self, state: State, who: int) -> State:
        return _with(self._join(state, who), who, Process())

    def _leave(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        if process.attempt or process.renews:
            return None
        if process.token in state.rows:
            state = self._end_all(state, {process.token})
        return _with(state, who, Process())

    def _crash(self, state: State, who: int) -> State:
        return _with(state, who, Process("dead", state.processes[who].token))

    def _stall(self, state: State, who: int) -> State:
        return _with(state, who, state.processes[who]._replace(mode="stalled"))

    def _wake(self, state: State, who: int) -> State:
        return _with(state, who, state.processes[who]._replace(mode="in"))

    def _lease_over(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        if not process.lasts:
            return None
        # Every try ends before; the server ends a transaction in which a process has stopped.
        attempt = "over" if process.attempt == "flying" else process.attempt
        return _with(state, who, process._replace(lasts=False, renews=False, attempt=attempt))

    # -- the lease --------------------------------------------------------------------------------

    def _renew(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        # To renew a lease that lasts makes no difference: none of the others judges it.
        if process.renews or process.lasts:
            return None
        if "own clock" in self.bugs:
            return _with(state, who, process._replace(lasts=True))
        if process.token not in state.rows:
            return _with(state, who, Process())
        return _with(state, who, process._replace(renews=True))

    def _renewed(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        if not process.renews:
            return None
        state = self._wrote(state, process.token)
        return _with(state, who, state.processes[who]._replace(renews=False, lasts=True))

    # -- shards -----------------------------------------------------------------------------------

    def _glance(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        if process.over is not None or process.renews:
            return None
        others = set(state.rows) - {process.token}
        over = frozenset(row for row in others if self._is_over(state, row))
        back = process.gives
        if process.attempt and "given in flight" not in self.bugs:
            back -= {self.lane}
        living = set(state.rows) - over
        if not over and not back and process.token in living:
            plan = shares.plan(living, _owners(state), process.token)
            if not plan.takes:
                held = _held(state, process.token)
                seen = process._replace(held=held, gives=plan.gives, block=_block(process, held))
                return _with(state, who, seen)
        return _with(state, who, process._replace(over=over, back=back))

    def _change(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        if process.over is None or process.renews:
            return None
        if process.token not in state.rows:
            return _with(state, who, Process())
        over = process.over & set(state.rows)
        if "judged without the lock" in self.bugs:
            for other, there in enumerate(state.processes):
                if there.token in over and there.renews:  # that waits for its COMMIT
                    state = _with(state, other, there._replace(renews=False, lasts=True))
        else:
            over = frozenset(row for row in over if not _locked(state, row))
        state = self._end_all(state, set(over))
        back = process.back
        owners = (
            0 if shard in back and owner == process.token else owner
            for shard, owner in enumerate(state.owners)
        )
        state = _with(state._replace(owners=tuple(owners)), who, process._replace(over=None))
        return self._share(state, who)

    def _answer_lost(self, state: State, who: int) -> State | None:
        """Change the shards, and don't get to know it."""
        after = self._change(state, who)
        if after is None or after.processes[who].mode == "out":
            return None
        return _with(after, who, state.processes[who]._replace(over=None, back=NONE))

    # -- the lane ---------------------------------------------------------------------------------

    def _claim(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        if process.attempt or process.renews or self.lane not in process.kept:
            return None
        if process.token not in state.rows:
            return _with(state, who, Process())
        if state.owners[self.lane] != process.token:
            raise Broken("a daemon claims an event of a shard that it doesn't have")
        state = self._wrote(state, process.token)
        state = state._replace(claims=state.claims | {process.token})
        return _with(state, who, process._replace(attempt="claimed"))

    def _send(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        if process.attempt != "claimed" or not process.lasts:
            return None
        if state.sent and not state.marked:
            raise Broken("an event that may have been received isn't marked")
        return _with(state, who, process._replace(attempt="flying"))._replace(sent=True)

    def _record(self, state: State, who: int) -> State | None:
        process = state.processes[who]
        if process.attempt not in {"flying", "over"} or process.renews:
            return None
        if process.token not in state.rows:
            return _with(state, who, Process())
        blocks = state.blocks + (not process.block)
        block = process.block or blocks
        if block < state.last:
            raise Broken("a delivery number is lower than the one before")
        state = self._wrote(state, process.token)
        claims = state.claims - {process.token}
        state = state._replace(claims=claims, sent=False, marked=False, last=block, blocks=blocks)
        return _with(state, who, process._replace(attempt="", block=block))

    # -- inside -----------------------------------------------------------------------------------

    def _check(self, state: State) -> None:
        """Raise Broken if this state must never be."""
        if sum(one.attempt == "flying" for one in state.processes) > 1:
            raise Broken("two daemons send an event of the lane at once")
        leads = (shares.Shares(one.held).leads for one in state.processes if one.lasts)
        if sum(leads) > 1:
            raise Broken("two daemons do the chores")

    def _is_over(self, state: State, token: int) -> bool:
        its = [one for one in state.processes if one.token == token]
        return not its or its[0].mode == "dead" or not its[0].lasts

    def _wrote(self, state: State, token: int) -> State:
        """Spare a daemon that has written since it was judged."""
        if "not judged again" in self.bugs:
            return state
        processes = (
            one if one.over is None else one._replace(over=one.over - {token})
            for one in state.processes
        )
        return state._replace(processes=tuple(processes))

    def _end_all(self, state: State, tokens: set[int]) -> State:
        if "token not ended" not in self.bugs:
            state = state._replace(rows=tuple(row for row in state.rows if row not in tokens))
        owners = tuple(0 if owner in tokens else owner for owner in state.owners)
        marked = state.marked or bool(state.claims & tokens and "not recovered" not in self.bugs)
        return state._replace(owners=owners, marked=marked, claims=state.claims - tokens)

    def _share(self, state: State, who: int) -> State:
        process = state.processes[who]
        takes = shares.plan(state.rows, _owners(state), process.token).takes
        if "two leaders" in self.bugs:
            takes = (shares.LEADS, *takes)
        owners = tuple(
            process.token if shard in takes else owner for shard, owner in enumerate(state.owners)
        )
        state = state._replace(owners=owners)
        gives = shares.plan(state.rows, _owners(state), process.token).gives
        held = _held(state, process.token)
        block = process.block if "numbers kept" in self.bugs else _block(process, held)
        after = process._replace(held=held, gives=gives, block=block, back=NONE)
        return _with(state, who, after)


_WORK = ("renew", "renewed", "glance", "change", "claim", "send", "record")
_NAMES = {
    "out": ("join", "join lost"),
    "in": (*_WORK, "leave", "crash", "stall", "lease over", "answer lost"),
    "stalled": ("wake", "lease over", "crash"),
    "dead": ("join",),
}


def _locked(state: State, token: int) -> bool:
    return any(one.token == token and one.renews for one in state.processes)


def _with(state: State, who: int, process: Process) -> State:
    processes = list(state.processes)
    processes[who] = process
    return state._replace(processes=tuple(processes))


def _owners(state: State) -> dict[int, int | None]:
    return {shard: owner or None for shard, owner in enumerate(state.owners)}


def _held(state: State, token: int) -> frozenset[int]:
    return frozenset(shard for shard, owner in enumerate(state.owners) if owner == token)


def _block(process: Process, held: frozenset[int]) -> int:
    """Return its block of numbers; one that gets a shard takes a new block.

    A shard that it has wanted to give back counts as new: it doesn't know whether it has.
    """
    return process.block if held <= process.held - process.back else 0
