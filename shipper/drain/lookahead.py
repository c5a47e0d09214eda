"""How far the daemon has looked at a destination's rows, and what it looks at next. Pure.

There are two positions. The *tail* sees every row once, in the order of ids, and never goes back:
new rows come there. The *sweep* goes from the beginning to the tail whenever a row before the tail
may have become pending again: at the start, after an operator's command on very many events, and
when waiting lanes were overlooked because there are too many. After a smaller command the daemon
knows which lanes changed, and fetches them at once by their key. A long sweep delays neither the
tail nor the loaded events.

If several daemons share the outbox, each looks only at the shards that it keeps. The rows of a
shard that it gets lie anywhere before the tail, so a sweep begins at once, from the beginning. The
tail passes by the rows of others once, too: a look says how far it has seen.

An event that the receiver may have got goes before all others. So a sweep begins with these events,
and the tail waits until the first sweep has seen them.

It must claim only the beginning of a lane. The first row of an unknown lane is its beginning only
if all rows before it have been seen. While a sweep runs, this isn't certain for a row of the tail,
nor does that row certainly follow what the sweep has seen of its lane so far; and a row of the
sweep may come after one that became pending behind the sweep. In all these cases the lane is
fetched by its key.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

from shipper.drain.terms import Question
from shipper.policy.event import Event
from shipper.policy.lanes import Candidate, Lane, Lanes
from shipper.policy.shares import ALL_SHARDS
from shipper.store.drain.messages import Look

Wanted = tuple[int, str | int]
"""A row to claim: its id, and the name of its lane."""

LANES_PER_LOOK = 32
LONGER_BY = 4
"""After a page with nothing to claim, the next page is this many times as long."""
SWEEP_EVERY = 8
"""While there is something else to look at, every eighth exchange goes on with the sweep."""
SWEEP_SPACING = 3.0
"""Between two sweeps there is at least three times the duration of the last one."""
OVERLOOKED_FOR = 10.0
"""Before a sweep only for overlooked lanes there is ten times that duration, and a second more."""
SWEEP_COUNTS = 3.0
"""A longer sweep counts as this many seconds, because an operator may wait for the next sweep.
It may have taken longer because there was no room, the database was away, or the machine slept."""


class Lookahead:
    """Decides which rows the daemon looks at and claims for the `lanes` of one destination.

    A look has `page` rows.
    """

    def __init__(self, name: str, lanes: Lanes, page: int) -> None:
        self.lanes = lanes
        self.wanted: list[Wanted] = []
        """The rows to claim next, in order."""
        self.at_end = False
        """Whether the tail has seen all rows that there were."""
        self._name = name
        self._page = page
        self._tail = 0
        self._kind: Literal["maybe_received", "pending"] = "maybe_received"
        self._after = 0  # the last id that the sweep has seen
        self._sweeping = True
        self._first = True
        self._once_more = False  # a row may have become pending behind the sweep
        self._began: float | None = None
        self._ended = self._took = 0.0
        self._turn = 0
        self._sweeps = 1
        self._limits = {True: page, False: page}  # is_sweep → rows of its next page
        self._kept = ALL_SHARDS
        self._shards: tuple[int, ...] | None = None  # what the looks ask for; None for all
        self._tail_asked = self._ask_tail()

    # -- what to do next ----------------------------------------------------------------------

    def is_idle(self) -> bool:
        """Return whether no event is left to send, known or unknown."""
        if not self._kept:
            return self.lanes.is_empty()
        sweeps = self._sweeping or self._once_more
        return self.at_end and not sweeps and self.lanes.is_empty()

    def has_more(self) -> bool:
        """Return whether there is something to look at or to claim at once."""
        if self.wanted or self.lanes.has_to_fetch():
            return True
        return (self._sweeping or not self.at_end) and self.may_look()

    def next_sweep(self) -> float | None:
        """Return when the next sweep is due, in monotonic seconds; None during a sweep."""
        if self._sweeping or not self._kept:
            return None
        if self._once_more:
            return self._ended + SWEEP_SPACING * self._took
        due = self.lanes.overlooked.due
        return None if due is None else max(due, self._ended + 1.0 + OVERLOOKED_FOR * self._took)

    def rescan(self) -> None:
        """Sweep again when the time has come: any row may have become pending again.

        A sweep passes by what is loaded. What waits is fetched: an operator may have made it due.
        """
        self._once_more = True
        for lane in tuple(self.lanes.loaded.kept_lanes):
            self.lanes.refetch(lane)

    def refetch(self, lane: str | int) -> None:
        """Fetch a lane that an operator has changed; sweep if many lanes are to be fetched."""
        if not self._kept:
            return  # the lane is another daemon's
        if self._has_line():
            self.lanes.refetch(lane)
        else:
            self.rescan()

    def look_again(self) -> None:
        """Look at the tail: there may be new rows."""
        self.at_end = False

    def may_look(self) -> bool:
        """Return whether to look at more rows; not while many seen rows still wait for a claim."""
        if len(self.wanted) >= self._page or not self._has_line() or not self._kept:
            return False
        loaded = self.lanes.loaded
        return loaded.room() >= min(self._page, loaded.window)

    def _has_line(self) -> bool:
        return len(self.lanes.to_fetch) < self._page

    # -- questions and answers ----------------------------------------------------------------

    def questions(self, now: float) -> list[Question]:
        """Return the looks that the next exchange does."""
        due = self.next_sweep()
        if due is not None and now >= due:
            self._begin()
        room = self.lanes.loaded.room()
        if room <= 0:
            return []
        self._turn += 1
        looks = self._looks(now) if self.may_look() else []
        free = max(0, room - self._page * len(looks))
        most = 1 + free // self.lanes.depth
        # A lane that can go on comes before rows that are further ahead.
        fetched = self.lanes.to_fetch.take(min(LANES_PER_LOOK, most))
        return [*map(self._question, fetched), *looks]

    def _looks(self, now: float) -> list[Question]:
        found = []
        if not self._first:
            found.append(self._ask_tail_again())
        alone = self._first or (self.at_end and not self.lanes.has_to_fetch())
        if self._sweeping and (alone or self._turn % SWEEP_EVERY == 0):
            self._began = now if self._began is None else self._began
            limit = self._limits[True] if alone else self._page
            look = Look(self._kind, self._name, limit, after=self._after, shards=self._shards)
            found.append(Question(look, is_sweep=True))
        return found

    def _ask_tail(self) -> Question:
        limit, tail = self._limits[False], self._tail
        look = Look("pending", self._name, limit, after=tail, shards=self._shards)
        return Question(look, only_if_fresh=self.at_end)

    def _ask_tail_again(self) -> Question:
        """Return the look at the tail; while nothing changes it is the same object each time."""
        asked = self._tail_asked
        is_same = asked.look.after == self._tail and asked.look.limit == self._limits[False]
        if not is_same or asked.only_if_fresh is not self.at_end:
            asked = self._tail_asked = self._ask_tail()
        return asked

    def _question(self, lane: Lane) -> Question:
        depth, shards = self.lanes.depth, self._shards
        return Question(Look("lane", self._name, depth, lane=lane.name, shards=shards), lane)

    def take_rows(
        self,
        question: Question,
        found: Sequence[Candidate],
        now: float,
        seen: int,
        *,
        is_last: bool,
    ) -> None:
        """Take in the rows that answer a question; `seen` and `is_last` are those of its `Page`."""
        limit, wanted = question.look.limit, len(self.wanted)
        if question.lane is not None:
            rows = self.lanes.take_page(question.lane, found, limit, now)
            self.wanted += [(row, question.lane.name) for row in rows]
            return
        if question.is_sweep:
            if question.look.shards != self._shards:
                return  # asked before another sweep took its place
            self._take_sweep(found, now, seen, is_last=is_last)
        else:
            sure = not (self._sweeping or self._once_more)
            takes = partial(self.lanes.takes, now=now, sure=sure, tail=True)
            self._tail, whole = self._offer(found, self._tail, seen, takes)
            self.at_end = whole and is_last
        longer = LONGER_BY if len(self.wanted) == wanted else 1
        self._limits[question.is_sweep] = self._page * longer

    def _take_sweep(
        self, found: Sequence[Candidate], now: float, seen: int, *, is_last: bool
    ) -> None:
        sweep = self._sweeps if self._kind == "pending" else 0
        sure = not self._once_more
        takes = partial(self.lanes.takes, now=now, sure=sure, sweep=sweep)
        self._after, whole = self._offer(found, self._after, seen, takes)
        at_end = whole and is_last
        if self._kind == "pending" and at_end:
            # No row comes after what was seen, so the tail goes on from here. It may have been
            # further: if an application empties the outbox, its ids can begin again.
            self._tail = self._after
        if self._kind == "pending" and (at_end or self._after >= self._tail):
            self._end(now)
        elif self._kind == "maybe_received" and at_end:
            self._kind, self._after = "pending", 0
            if self._first:
                self._end(now)  # the tail sees all other rows: it begins now

    def _offer(
        self, found: Sequence[Candidate], at: int, seen: int, takes: Callable[[Candidate], bool]
    ) -> tuple[int, bool]:
        """Offer rows to the lanes; return how far that went, and whether all were offered."""
        # A longer page is for rows that are skipped: it claims no more than another page.
        room, taken = min(self.lanes.loaded.room(), self._page), 0
        for candidate in found:
            if taken >= room or not self._has_line():
                return at, False
            if takes(candidate):
                self.wanted.append((candidate.id, candidate.lane))
                taken += 1
            at = candidate.id
        return max(at, seen), True

    def _begin(self) -> None:
        self._kind, self._after, self._sweeping, self._began = "maybe_received", 0, True, None
        self._once_more = False
        self._sweeps += 1
        self.lanes.sweep_anew(self._sweeps)

    def _end(self, now: float) -> None:
        self._ended = now
        self._took = min(SWEEP_COUNTS, now - (now if self._began is None else self._began))
        self._sweeping = self._first = False
        self.lanes.sweep = 0

    # -- shards -------------------------------------------------------------------------------

    def keep_only(self, shards: frozenset[int]) -> None:
        """Look only at these shards from now on, and let go of the lanes of all others.

        If some of them are new, a sweep begins at once.
        """
        if shards == self._kept:
            return
        gained, self._kept = shards - self._kept, shards
        self._shards = None if shards == ALL_SHARDS else tuple(sorted(shards))
        self.ask_no_longer({lane.name for lane in self.lanes.keep_only(shards)})
        if gained:
            self._begin()
        elif not shards:
            self.lanes.begin_sweep(0)
        self._tail_asked = self._ask_tail()

    # -- claims -------------------------------------------------------------------------------

    def take_wanted(self, most: int) -> list[Wanted]:
        """Remove and return the rows to claim next, at most `most`."""
        taken = self.wanted[:most]
        del self.wanted[:most]
        return taken

    def take_claims(self, asked: Iterable[Wanted], claimed: Mapping[int, Event]) -> None:
        """Take in which of the rows that were asked for are claimed.

        An event that was rerouted between the looks of two destinations is wanted by both; it
        belongs to the one that its row names.

        The rows of a lane after a row that couldn't be claimed are no longer asked for. If they
        were claimed and the daemon died, they would be sent before that row.
        """
        short: set[str | int] = set()
        for row, lane in asked:
            if (event := claimed.get(row)) is not None and event.destination == self._name:
                self.lanes.load(event)
            else:
                self.lanes.missed(lane, row)
                short.add(lane)
        if short:
            self.ask_no_longer(short)

    def ask_no_longer(self, lanes: Collection[str | int]) -> None:
        """Stop asking for rows of these lanes."""
        for row, lane in self.wanted:
            if lane in lanes:
                self.lanes.missed(lane, row)
        self.wanted = [(row, lane) for row, lane in self.wanted if lane not in lanes]

    def let_go(self) -> None:
        """Unload everything that isn't in flight, and stop asking for rows."""
        self.ask_no_longer({lane for _, lane in self.wanted})
        self.lanes.unload_all()
