"""What other machines' clocks do to retention on a server: nothing goes before its time.

The stamps are of the daemon that shipped the event, the cutoffs of the one that deletes.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.operate.dead_letters import discard
from shipper.store.report.verify import verify
from shipper.store.upkeep.retention import Cutoffs, EndedGroup, due, prune
from shipper.store.upkeep.times import server_time
from tests.store.daemons import NOW, Daemon, tamper, write

DAY = 86400.0
WEEK = 7 * DAY
# The clock of the machine that ships shows NOW.
_WRITTEN = "UPDATE shipper_outbox SET created_at = to_timestamp(:wall)"
_STAMPED = "UPDATE shipper_outbox SET delivered_at = to_timestamp(:wall) WHERE status = 'delivered'"


@pytest.fixture
def server(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL with an event that was delivered, one dead, one discarded."""
    engine = open_engine(postgres_url)
    ids = write(engine, "a", "b", "c")
    daemon = Daemon(engine)
    daemon.deliver(ids[0])
    daemon.bury(*ids[1:])
    discard(engine, Selection(ids=(ids[2],)), NOW)
    yield engine
    engine.dispose()


def _pruned(engine: Engine, cutoffs: Cutoffs) -> Counter[EndedGroup]:
    would = due(engine, cutoffs)
    gone = sum(prune(engine, cutoffs, lambda: 0.0), Counter[EndedGroup]())
    assert gone == would
    assert verify(engine) == []
    return gone


@pytest.mark.parametrize(
    "behind", [8 * DAY, 30 * DAY, -2 * DAY, -30 * DAY], ids=lambda s: f"behind by {s / DAY} days"
)
def test_a_senders_clock_deletes_nothing_before_its_time(server: Engine, behind: float) -> None:
    """Written and ended a minute ago; the machine that shipped it shows a time days before that.

    Or days after: then it stays for longer. When all is over, all of it goes.
    """
    right = NOW + behind
    tamper(server, _WRITTEN, wall=right - 60.0)
    for age in (0.0, DAY, WEEK - 120.0):
        cutoff = right + age - WEEK
        assert _pruned(server, Cutoffs(cutoff, cutoff, cutoff + DAY, cutoff + DAY)) == {}
    over = max(right, NOW) + 1.0
    assert _pruned(server, Cutoffs(over, over)).total() == 3


def test_what_stays_keeps_nothing_else_from_going(server: Engine) -> None:
    """Of more than a batch with one stamp, those go that were written long enough ago."""
    Daemon(server).deliver(*write(server, *"abcdefghij" * 13))
    tamper(server, _STAMPED, wall=NOW - 30 * DAY)
    tamper(server, _WRITTEN, wall=NOW)
    tamper(server, f"{_WRITTEN} WHERE id > 70 AND id % 2 = 0", wall=NOW - 30 * DAY)
    gone = _pruned(server, Cutoffs(NOW - WEEK, NOW - WEEK))
    assert gone == {EndedGroup("default", "delivered"): 31}


def test_the_servers_time_is_its_clocks(server: Engine, sqlite_url: str) -> None:
    """A file has none: it can't say that a time is too late."""
    moment = server_time(server)
    tamper(server, "UPDATE shipper_outbox SET created_at = clock_timestamp()")
    assert moment - 1.0 < server_time(server)
    lite = open_engine(sqlite_url)
    assert server_time(lite) == float("inf")
    lite.dispose()
