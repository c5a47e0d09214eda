"""PostgreSQL as it is run: what a daemon remembers, and what has become of its server meanwhile.

Real servers, and the daemon's own sessions on virtual time. Each seed has applications whose
transactions overlap, and one stroke:

- `failover`: a streaming standby takes over that lacks what was committed last;
- `dump`: another cluster, whose transactions have much larger numbers or much smaller ones, has
  what was dumped a while ago, and answers by the same name;
- `restored`: the database is what it was a while ago, on the same server, which never stopped;
- `taken`: the server's clock is set forwards and back, while a second daemon waits for the outbox;
  then the first can't reach the server for a while, or an operator ends its lease;
- `snapshot`: somebody holds a snapshot all the time (a dump, a report), and one key is hot.

Whatever was drawn: what is on the server in the end is sent, of a key in the order of its ids, as it
is claimed there, and nothing that isn't there; no two daemons have the outbox, and none is told that
another has where there is none; a turn costs what it did.
"""

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import glancing
from shipper.store.lease import unlock
from shipper.store.operate import hold
from shipper.store.report.verify import verify
from shipper.store.upgrade.migrate import upgrade
from tests import standbys
from tests.campaigns.clocks import Watch
from tests.campaigns.figures import Figures
from tests.campaigns.sessions import LEASE, Crew, in_place
from tests.campaigns.shim import library
from tests.ports import free_port
from tests.simulation.virtual import VirtualLoop

STROKES = ("failover", "dump", "restored", "taken", "snapshot")
_KEYS = "abc"
_INSERT = (
    "INSERT INTO shipper_outbox (payload, ordering_key, event_id)"
    """ VALUES ('{"type":"view","view":{},"context":[]}', %s, %s)"""
)
_BURN = "SELECT pg_current_xact_id()"
_HOUR, _DAY = 3600.0, 86400.0
_STEPS = (-400 * _DAY, -_DAY, -_HOUR, -40.0, 40.0, _HOUR, _DAY, 400 * _DAY)
# Virtual seconds after which what is pending is forgotten.
_PATIENCE = 300.0
_SOON = 60
# By then, who is cut off has sent what it had claimed; and its lease isn't over.
_LOOKED_INTO = 8.0
_SET = ("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET autovacuum = off")
# Events, to measure what one costs: a key that is hot is looked at once for half of them.
_MEASURED = 128
_BEHIND = 640
# In a table so small, one look more along an index is a fifth of it.
_DEARER = 1.5


@dataclass
class Servers:
    """Two clusters that have nothing to do with each other, and pairs of servers, made one by one."""

    home: standbys.Server
    abroad: standbys.Server
    watch: Watch
    """The clock of the one at home."""
    stage: standbys.Stage
    room: Path


@contextmanager
def servers(stage: standbys.Stage, room: Path) -> Iterator[Servers]:
    """Start them; the one abroad has given transactions numbers that the other never will."""
    watch = Watch(room / "watch")
    watch.file.chmod(0o666)
    library().parent.chmod(0o755)
    home = stage.server(room / "home")
    abroad = standbys.Server(room / "abroad", free_port(), stage.run)
    standbys.make_room(abroad.data)
    stage.run("initdb", "-D", str(abroad.data), "-A", "trust", "-U", "postgres", "-N")
    stage.run("pg_resetwal", "--epoch=7", "-D", str(abroad.data))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(library()))
            patch.setenv("CAMPAIGN_SHIM", f"clock={watch.file}")
            home.start()
        abroad.start()
        # Its own transactions would hold back what is a matter of milliseconds here.
        for server in (home, abroad):
            server.administer(*_SET, "SELECT pg_reload_conf()")
        abroad.administer("CREATE DATABASE shop")
        engine = open_engine(f"postgresql://postgres@127.0.0.1:{abroad.port}/shop")
        upgrade(engine)
        engine.dispose()
        yield Servers(home, abroad, watch, stage, room)
    finally:
        home.stop()
        abroad.stop()


class Stroke:
    """A database that is to be struck; this one isn't. `hosts` are where to ask for it."""

    name = "shop"

    def __init__(self, servers: Servers, dice: random.Random, seed: str) -> None:
        self.servers = servers
        self.dice = dice
        self.name = f"seed_{seed}".replace("-", "_")
        self.server = servers.home
        self.hosts = [servers.home]
        self.before = dice.uniform(3.0, 6.0)
        """When what will be missing begins to be, in virtual seconds."""
        self.after = dice.choice((0.5, 2.0, 6.0))
        """For how long that goes on."""

    def prepare(self) -> None:
        """Make the database."""
        self.server.administer(f"CREATE DATABASE {self.name} TEMPLATE shop")

    def part(self) -> None:
        """Keep what there is now."""

    def strike(self) -> None:
        """Have nothing but that."""

    def clean_up(self) -> None:
        """Leave nothing behind."""
        for server in self.hosts:
            for name in (self.name, f"{self.name}_then", f"{self.name}_gone"):
                server.administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @property
    def url(self) -> str:
        """Return the URL that finds it, wherever it is."""
        hosts = "&".join(server.host for server in self.hosts)
        return f"postgresql://postgres@/{self.name}?{hosts}&target_session_attrs=read-write"

    def connect(self, *, autocommit: bool = True) -> psycopg.Connection[Any]:
        """Return a connection to where it is now."""
        where = f"host=127.0.0.1 port={self.server.port} user=postgres dbname={self.name}"
        return psycopg.connect(where, autocommit=autocommit)

    def engine(self) -> Engine:
        """Return an engine on where it is now."""
        return open_engine(f"postgresql://postgres@127.0.0.1:{self.server.port}/{self.name}")

    def disconnect(self) -> None:
        """End every connection to it, and wait until there is none."""
        there = f"FROM pg_stat_activity WHERE datname = '{self.name}'"
        end = f"SELECT pg_terminate_backend(pid, 10000) {there}"
        while self.server.administer(end, f"SELECT pid {there}"):
            pass


class Failover(Stroke):
    """A standby takes over that lacks what was committed last."""

    def prepare(self) -> None:
        """Start a pair of servers."""
        self.name = "shop"
        self._room = self.servers.room / "pair"
        standbys.make_room(self._room)
        self._pair = self.servers.stage.pair(self._room)
        self.pair = self._pair.__enter__()
        self.server = self.pair.primary
        self.hosts = [self.pair.primary, self.pair.standby]

    def part(self) -> None:
        """Let the standby lag from now on."""
        self.pair.part()
        for _ in range(self.dice.choice((0, 60))):
            self.server.administer(_BURN)

    def strike(self) -> None:
        """Kill the primary."""
        self.pair.fail_over()
        self.server = self.pair.standby

    def clean_up(self) -> None:
        """Stop both."""
        self._pair.__exit__(None, None, None)
        shutil.rmtree(self._room)


class Dump(Stroke):
    """Another cluster has what was dumped, and answers by the same name."""

    def prepare(self) -> None:
        """Make the database, in one of the clusters."""
        self.hosts = [self.servers.home, self.servers.abroad]
        if self.dice.random() < 0.5:
            self.hosts.reverse()
        self.server = self.hosts[0]
        super().prepare()

    def part(self) -> None:
        """Dump it."""
        self._file = self.servers.room / f"{self.name}.sql"
        self.servers.stage.run("pg_dump", "-f", str(self._file), *self._at(self.server))

    def strike(self) -> None:
        """Restore the dump elsewhere; here nobody may write any more."""
        old, self.server = self.server, self.hosts[1]
        self.server.administer(f"CREATE DATABASE {self.name} TEMPLATE template0")
        self.servers.stage.run("psql", "-q", "-f", str(self._file), *self._at(self.server))
        old.administer(f"ALTER DATABASE {self.name} SET default_transaction_read_only = on")
        new, self.server = self.server, old
        self.disconnect()
        self.server = new

    def _at(self, server: standbys.Server) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-d", self.name]


class Restored(Stroke):
    """The database is what it was, on the same server."""

    def part(self) -> None:
        """Copy it."""
        self.disconnect()
        self.server.administer(f"CREATE DATABASE {self.name}_then TEMPLATE {self.name}")

    def strike(self) -> None:
        """Put the copy in its place."""
        self.disconnect()
        self.server.administer(
            f"ALTER DATABASE {self.name} RENAME TO {self.name}_gone",
            f"ALTER DATABASE {self.name}_then RENAME TO {self.name}",
        )


_KINDS: dict[str, type[Stroke]] = {"failover": Failover, "dump": Dump, "restored": Restored}


@dataclass
class _Seed:
    """One run."""

    kind: str
    seed: str
    stroke: Stroke
    dice: random.Random
    loop: VirtualLoop
    crew: Crew
    numbers: Iterator[int]

    # -- applications ----------------------------------------------------------------------------

    def write(self, key: str, connection: psycopg.Connection[Any]) -> None:
        """Write an event."""
        number = next(self.numbers)
        event_id = f"{key}-{number}"
        connection.execute(_INSERT.encode(), [key, event_id])
        self.crew.note(f"{event_id} is written")

    async def _sell(self, until: float, rest: float = 1.0) -> None:
        """Write events, now and then in a transaction that stays open for a while."""
        while (now := self.loop.time()) < until:
            if self.dice.random() < 0.3:
                self._keep(min(self.dice.choice((0.3, 2.0, 8.0)), until - now))
            with self.stroke.connect() as one:
                for _ in range(self.dice.randint(1, 4)):
                    self.write(self.dice.choice(_KEYS), one)
            await asyncio.sleep(self.dice.uniform(0.0, rest))

    def _keep(self, seconds: float) -> None:
        connection = self.stroke.connect(autocommit=False)
        self.write(self.dice.choice(_KEYS), connection)
        self.loop.call_later(seconds, self._end, connection, self.dice.random() < 0.8)

    def _end(self, connection: psycopg.Connection[Any], commits: bool) -> None:  # noqa: FBT001
        with suppress(psycopg.Error):
            connection.commit() if commits else connection.rollback()
        connection.close()

    # -- what happens ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Let it happen, then wait until everything is delivered, then stop."""
        await self.crew.begin()
        await {"taken": self._taken, "snapshot": self._snapshot}.get(self.kind, self._struck)()
        await self._dry()
        await self.crew.end()
        self._judge()

    async def _struck(self) -> None:
        stroke, manner = self.stroke, self.dice.choice(("at work", "seen", "held back"))
        await self._sell(stroke.before)
        if manner != "at work":
            await self._be_idle()
        open_ = self._stay_open() if manner == "held back" else None
        if manner == "seen":
            self._write("slow", "slow")
        await asyncio.sleep(0.5)
        self.crew.note(f"{manner}: from now on what is written will be lost")
        self.crew.close()
        stroke.part()
        if manner == "seen":
            self._write(*_KEYS * self.dice.choice((1, 10)))
            await asyncio.sleep(1.0)
        elif manner == "at work":
            await self._sell(self.loop.time() + stroke.after)
        self.crew.close()
        stroke.strike()
        self.crew.note("the server is another one")
        self.crew.moved()
        self.crew.hurry.set()
        if open_ is not None:
            open_.close()
        await self._race()
        self._release()
        await self._sell(self.loop.time() + 3.0)

    async def _be_idle(self) -> None:
        """Have all keys held: what is written then is seen, and nothing is done about it."""
        engine = self.stroke.engine()
        for key in _KEYS:
            hold.hold_key(engine, "default", key, self.loop.time())
        engine.dispose()
        await asyncio.sleep(3.0)

    def _release(self) -> None:
        engine = self.stroke.engine()
        for key in _KEYS:
            hold.release_key(engine, key, "default")
        engine.dispose()

    def _stay_open(self) -> psycopg.Connection[Any]:
        """Return a transaction that holds back what is committed after it."""
        connection = self.stroke.connect(autocommit=False)
        self.write("open", connection)
        self._write("later")
        return connection

    def _write(self, *keys: str) -> None:
        with self.stroke.connect() as one:
            for key in keys:
                self.write(key, one)

    async def _race(self) -> None:
        """Write two that overlap; enough comes after, now and then, to pass the ids that are lost."""
        with self.stroke.connect(autocommit=False) as early:
            self.write("race", early)
            self._write("race", *_KEYS * self.dice.choice((0, 2, 25)))
            await asyncio.sleep(self.dice.choice((1.0, 5.0)))
        for _ in range(_SOON):
            await asyncio.sleep(1.0)
            if not self._pending("race-%"):
                return
        self.crew.fault(f"what was written after it still waits: {self._pending('race-%')}")

    def _pending(self, names: str = "%") -> list[str]:
        with self.stroke.connect() as one:
            return [name for [name] in one.execute(_PENDING, [names])]

    async def _taken(self) -> None:
        stepping = asyncio.create_task(self._set_clocks())
        selling = asyncio.create_task(self._sell(180.0, 8.0))
        first = self.crew.lives[0]
        await asyncio.sleep(self.dice.uniform(1.0, 10.0))
        await self.crew.begin()
        await asyncio.sleep(50.0)
        second = await self.crew.begin()
        await asyncio.sleep(self.dice.uniform(1.0, 5.0))
        first.cut_off()
        self.crew.note("1 can't reach the server")
        if self.dice.random() < 0.5:
            await asyncio.sleep(_LOOKED_INTO)
            await self._unlock()
        else:
            await asyncio.sleep(self.dice.choice((5.0, 15.0, LEASE * 2)))
        first.reach()
        self.crew.note("1 can reach it")
        await asyncio.sleep(LEASE * 2)
        if first.end == "lost" and second.end == "held":
            await self.crew.begin()
        await selling
        stepping.cancel()
        self.stroke.servers.watch.set(0.0)

    async def _set_clocks(self) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(0.0, 8.0))
            step = self.dice.choice(_STEPS)
            self.stroke.servers.watch.set(step)
            self.crew.note(f"the server's clock is {step:+.0f} s off")

    async def _unlock(self) -> None:
        engine = self.stroke.engine()
        stuck = unlock.find(engine, None)[0]
        unlock.end(engine, stuck)
        engine.dispose()
        self.crew.note(f"an operator ends the lease of {stuck.holder}")
        self.crew.lives[0].robbed = True
        # Who waits for a lease asks for it twice a second.
        await asyncio.sleep(3.0)
        if not any(life.at_work and not life.robbed for life in self.crew.lives):
            self.crew.fault("an operator has ended a lease, and nobody has taken the outbox")

    async def _snapshot(self) -> None:
        # Once a second of it, counts are added up, and leave a version of a destination's row.
        # Who looks at each event touches blocks, too.
        self.crew.latency, self.crew.judges = 0.01, False
        with self.stroke.connect() as one:
            for _ in range(_BEHIND):
                one.execute(_INSERT.encode(), ["hot", f"hot-{next(self.numbers)}"])
            one.execute("ANALYZE")
        with self.stroke.connect(autocommit=False) as dump:
            dump.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            dump.execute("SELECT count(*) FROM shipper_outbox")
            costs = []
            for events in (_MEASURED // 4, _BEHIND - _MEASURED - _MEASURED // 4):
                await self._sent(events)
                before, sent = self._touched(), self.crew.sends
                await self._sent(events + _MEASURED)
                costs.append((self._touched() - before) / (self.crew.sends - sent))
        self.crew.note(f"an event touches {costs[0]:.0f}, in the end {costs[1]:.0f}")
        if costs[1] > _DEARER * costs[0]:
            self.crew.fault(
                f"with {_BEHIND} behind it an event touches {costs[1]:.0f} blocks and entries, and"
                f" not {costs[0]:.0f}"
            )

    async def _sent(self, events: int) -> None:
        while self.crew.sends < events:
            await asyncio.sleep(0.1)

    def _touched(self) -> int:
        """Return how many blocks, and entries of indexes, were touched so far, once what the daemon did is counted."""
        opened = self.crew.lives[0].session
        assert opened is not None
        for statement in ("SELECT pg_stat_force_next_flush()", _BLOCKS):
            with glancing(opened.outbox.upkeep.database) as tx:
                found = tx.exec_driver_sql(statement).scalar()
        return int(str(found))

    # -- the end ---------------------------------------------------------------------------------

    async def _dry(self) -> None:
        deadline = self.loop.time() + _PATIENCE
        while (left := self._pending()) and self.loop.time() < deadline:
            await asyncio.sleep(1.0)
        if left:
            self.crew.fault(f"{len(left)} events were never sent: {left[:5]}")

    def _judge(self) -> None:
        with self.stroke.connect() as one:
            for [name] in one.execute(_DELIVERED):
                if name not in self.crew.received:
                    self.crew.fault(f"{name} counts as delivered, and nobody has received it")
        engine = self.stroke.engine()
        for found in verify(engine):
            if found.fault:
                self.crew.fault(f"verify: {found.message}")
        engine.dispose()


_PENDING = (
    "SELECT event_id FROM shipper_outbox WHERE status = 'pending' AND event_id LIKE %s ORDER BY id"
)
_DELIVERED = "SELECT event_id FROM shipper_outbox WHERE status = 'delivered'"
_BLOCKS = (
    "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)"
    " + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname LIKE 'shipper%%')"
    " FROM pg_statio_user_tables WHERE relname LIKE 'shipper%%'"
)


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    kind: str
    violations: list[str]
    trace: list[str]
    sessions: int


def run(there: Servers, seed: int, *, kind: str | None = None) -> Outcome:
    """Run a seed; its number decides of which kind it is, unless that is told."""
    kind = kind or STROKES[seed % len(STROKES)]
    dice, loop = random.Random(f"cluster {seed}"), VirtualLoop()
    stroke = _KINDS.get(kind, Stroke)(there, dice, str(seed))
    stroke.prepare()
    try:
        crew = Crew(str(seed), loop, stroke.url, stroke.connect)
        one = _Seed(kind, str(seed), stroke, dice, loop, crew, iter(range(10**9)))
        try:
            with in_place():
                loop.run_until_complete(one.run())
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed is to be told
            crew.fault(f"{type(error).__name__}: {error}")
        finally:
            crew.close()
        sessions = sum(life.sessions for life in crew.lives)
        return Outcome(kind, crew.violations, crew.trace, sessions)
    finally:
        stroke.clean_up()
        loop.close()


def clusters(
    stage: standbys.Stage,
    room: Path,
    *,
    seeds: range,
    told: Callable[[Outcome], None] = lambda _: None,
) -> Figures:
    """Run so many seeds, of all kinds one after the other."""
    figures = Figures("PostgreSQL as it is run", seeds.start)
    with servers(stage, room) as there:
        for seed in seeds:
            found = run(there, seed)
            told(found)
            figures.tried[found.kind] += 1
            figures.tried["sessions"] += found.sessions
            figures.fault(*(f"seed {seed}, {found.kind}: {one}" for one in found.violations))
    return figures
