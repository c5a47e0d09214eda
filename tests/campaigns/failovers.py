"""Failovers that lose commits: what the daemon remembers is of a server that is gone.

Each round has a real server and a real streaming standby. What was replicated, what is lost, which
transactions are open and what the daemon had claimed by then is drawn. After the failover two
transactions of one key overlap, the earlier id commits last. Whatever was drawn: everything that is
on the new server is sent, of a key in the order of its ids, and nothing that was never there.
"""

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from shipper.errors import OutboxChanged, StoreUnavailable
from shipper.policy.delivery import delivered
from shipper.policy.event import Event
from shipper.store.db.engine import open_engine
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Record, Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from tests import standbys
from tests.campaigns.figures import Figures

NOW = 1_800_000_000.0
_TURNS = 400
_KEYS = "abc"
_INSERT = "INSERT INTO shipper_outbox (payload, ordering_key) VALUES ('{}', %s) RETURNING id"
_ALL = Look("pending", "default", 500)
_THERE = "SELECT event_id, id, ordering_key FROM shipper_outbox"


class _Daemon:
    """What the dispatcher does with queue and looks, a turn at a time."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self.sent: list[Event] = []
        self.sessions = 0
        self._begin()

    def _begin(self) -> None:
        self._queue, self._looks = Queue(self._engine, lease_ttl=60.0), Looks(self._engine)
        self._queue.acquire(Owner.here())
        self._claimed: list[Event] = []
        self._shown: list[int] = []
        self.sessions += 1

    def turn(self, *, claims: bool = True) -> None:
        """Record what was sent, claim what was shown, look."""
        try:
            ended = [Record(event, delivered(0), NOW) for event in self._claimed]
            wanted = self._shown if claims else []
            work = Work(now=NOW, records=ended, wanted=wanted, settled=self._looks.settled)
            claimed = self._queue.turn(work)
            pulse = self._looks.pulse()
            if pulse.moved:
                self._queue.renew()
            self._claimed = claimed
            self.sent += claimed
            out = {event.id for event in claimed}
            self._shown = [row.id for row in self._looks.look(_ALL) if row.id not in out]
        except OutboxChanged:
            self._begin()
        except StoreUnavailable:
            return

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def failovers(stage: standbys.Stage, directory: Path, *, times: int, seed: int) -> Figures:
    """Let a standby take over `times` times, each time on another pair of servers."""
    figures = Figures("failovers that lose commits", seed)
    for number in range(times):
        room = directory / str(number)
        standbys.make_room(room)
        with stage.pair(room) as pair:
            _round(figures, pair, random.Random(f"{seed} {number}"), worst=number == 0)
        figures.tried["failovers"] += 1
    return figures


def _round(figures: Figures, pair: standbys.Pair, dice: random.Random, *, worst: bool) -> None:
    """Let it happen once; the worst is that no turn is lost, and ids are given again at once."""
    daemon = _Daemon(pair.url())
    try:
        _write(pair.primary, dice, dice.randint(1, 20))
        for _ in range(6 if worst else dice.choice([2, 6])):
            daemon.turn()
        pair.part()
        with _open(pair.primary) as stays:
            # Numbers of transactions that the standby will never have given.
            for _ in range(dice.randint(20, 60)):
                pair.primary.administer("SELECT pg_current_xact_id()")
            if not worst and dice.random() < 0.5:
                stays.execute("SELECT pg_current_xact_id()")
            _write(pair.primary, dice, 60 if worst else dice.choice([5, 20, 60]))
            for _ in range(dice.randint(1, 4)):
                daemon.turn(claims=not worst and dice.random() < 0.5)
            pair.fail_over()
            with suppress(psycopg.Error):
                stays.rollback()
        before = len(daemon.sent)
        _race(daemon, pair.standby, dice, 100 if worst else dice.choice([0, 5, 100]))
        _judge(figures, daemon, pair.standby, before)
        figures.tried["sessions"] += daemon.sessions
    finally:
        daemon.close()


def _race(daemon: _Daemon, server: standbys.Server, dice: random.Random, others: int) -> None:
    if others < 100:
        daemon.turn()
    with _open(server) as early:
        early.execute(_INSERT, ["race"])
        with _open(server) as late:
            late.execute(_INSERT, ["race"])
        # Enough, now and then, that the ids are beyond those that were lost.
        _write(server, dice, others)
        for _ in range(5):
            daemon.turn()
    pending = [(1,)]
    for _ in range(_TURNS):
        daemon.turn()
        pending = server.administer(
            "SELECT count(*) FROM shipper_outbox WHERE status = 'pending'", database="shop"
        )
        if pending == [(0,)]:
            return


def _judge(figures: Figures, daemon: _Daemon, server: standbys.Server, before: int) -> None:
    rows = {name: (row, key) for name, row, key in server.administer(_THERE, database="shop")}
    after = daemon.sent[before:]
    sent = {event.event_id for event in daemon.sent}
    figures.expect(rows.keys() <= sent, f"{len(rows.keys() - sent)} events were never sent")
    strange = [event.event_id for event in after if event.event_id not in rows]
    figures.expect(not strange, f"{len(strange)} were sent that were never on this server")
    last: dict[str, int] = {}
    seen: set[str] = set()
    for event in after:
        if event.event_id in rows and event.event_id not in seen:
            seen.add(event.event_id)
            row, key = rows[event.event_id]
            figures.expect(row > last.get(key, 0), f"{row} of {key} after {last.get(key)}")
            last[key] = row


def _open(server: standbys.Server) -> Any:
    return psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres dbname=shop")


def _write(server: standbys.Server, dice: random.Random, events: int) -> None:
    with _open(server) as connection:
        for _ in range(events):
            connection.execute(_INSERT, [dice.choice(_KEYS)])
            connection.commit()
