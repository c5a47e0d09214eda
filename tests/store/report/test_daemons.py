"""Who ships a PostgreSQL outbox that several daemons share, and whose word counts."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shipper.store.db.dialect import POSTGRES
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.lease import unlock
from shipper.store.lease.membership import end
from shipper.store.report.daemons import (
    current_daemon,
    named,
    running_daemons,
    shippers,
    shipping,
    ships,
)
from shipper.store.report.events import get
from shipper.store.report.silence import find_silence
from shipper.store.report.status import DestinationReport, destination_report
from shipper.store.report.verify import verify
from shipper.store.report.why import why
from tests.store.daemons import NOW, tamper, write
from tests.store.joined import DEAD, ELSEWHERE, HERE, joined
from tests.store.shipping import ask

LATE = "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '{0}' WHERE token = {1}"


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox with two daemons: `shop` here has shard 0, `till-2` has the others."""
    engine = open_engine(postgres_url)
    joined(engine, 1, "shop", HERE, None)
    joined(engine, 2, "till-2", ELSEWHERE, None)
    tamper(engine, "UPDATE shipper_shard SET token = CASE WHEN shard = 0 THEN 1 ELSE 2 END")
    yield engine
    engine.dispose()


def link(engine: Engine, token: int, state: str, failures: int = 0) -> None:
    """Write how a daemon sees the default destination."""
    tamper(
        engine,
        "INSERT INTO shipper_link (token, name, state, reason, since, updated_at, failures)"
        " VALUES (:token, 'default', :state, :reason, now(), now(), :failures)",
        token=token,
        state=state,
        reason=None if state == "ready" else f"as {token}",
        failures=failures,
    )


def default(engine: Engine) -> DestinationReport:
    """Return what is reported of the default destination."""
    [report] = destination_report(engine, ["default"], NOW)
    return report


def test_each_daemon_is_listed_with_its_share(post: Engine) -> None:
    """Its shards, and the pending events that it has claimed."""
    ids = write(post, "a", "b", "c")
    for token, row in ((1, ids[0]), (2, ids[1])):
        statement = "INSERT INTO shipper_claim (token, number, ids) VALUES (:token, 1, :ids)"
        tamper(post, statement, token=token, ids=str([row]))
    found = running_daemons(post)
    assert [(one.name, one.shards, one.in_flight) for one in found] == [
        ("shop", 1, 1), ("till-2", 63, 1),
    ]  # fmt: skip
    assert current_daemon(post) == "2 daemons on shop, till-2"
    assert ships(shipping(post)) == "2 daemons on shop, till-2 ship"


def test_a_dead_daemon_is_not_listed_and_a_silent_one_is_missing(post: Engine) -> None:
    """The processes of other machines can't be seen: only their leases can."""
    joined(post, 3, "gone", DEAD, None)
    tamper(post, LATE.format("90 s", 2))
    found = running_daemons(post)
    assert [(one.name, one.is_missing) for one in found] == [("shop", False), ("till-2", True)]
    assert "hasn't prolonged its lease for 2 minutes; the others take over" in found[1].absence
    assert str(named(shippers(found))).startswith("shop (process ")
    assert find_silence(post) is None
    tamper(post, LATE.format("80 s", 1))
    silence = find_silence(post)
    assert silence is not None
    assert "none of 2 daemons has prolonged its lease" in silence.reason
    assert current_daemon(post) is None


def test_two_daemons_of_one_name_are_two(post: Engine) -> None:
    """A name is for people; the process tells them apart."""
    joined(post, 3, "till-2", HERE, None)
    assert len({str(one) for one in running_daemons(post)}) == 3


def test_the_worst_view_of_a_destination_is_reported_with_its_daemon(post: Engine) -> None:
    """Not that of a daemon that is missing, nor what an ended one has left."""
    tamper(post, "INSERT INTO shipper_destination (name, state, delivered) VALUES"
           " ('default', 'paused', 7)")  # fmt: skip
    assert default(post).state == "paused"
    link(post, 1, "ready")
    assert (default(post).state, default(post).reason, default(post).delivered) == (
        "ready",
        None,
        7,
    )
    link(post, 2, "offline", failures=3)
    seen = default(post)
    assert (seen.state, seen.reason, seen.failures) == ("offline", "as 2", 3)
    assert seen.said_by == "process 77 on till-2"
    tamper(post, LATE.format("1 s", 2))
    assert (default(post).state, default(post).said_by) == ("ready", None)
    tamper(post, "UPDATE shipper_destination SET held = 1")
    assert (default(post).state, default(post).said_by) == ("held", None)


def test_the_view_of_a_daemon_that_was_ended_counts_no_more(post: Engine) -> None:
    """While others live; of the last one it is what is known."""
    tamper(post, "INSERT INTO shipper_destination (name) VALUES ('default')")
    link(post, 1, "ready")
    link(post, 2, "paused")
    assert default(post).said_by == "process 77 on till-2"
    with writing(post) as tx:
        end(tx, POSTGRES, 2)
    assert (default(post).state, default(post).said_by) == ("ready", None)
    tamper(post, "UPDATE shipper_link SET state = 'paused'")
    with writing(post) as tx:
        end(tx, POSTGRES, 1)
    assert (default(post).state, default(post).said_by) == ("paused", None)


def test_an_event_of_a_missing_daemon_says_who_takes_over(post: Engine) -> None:
    """Although others ship."""
    [row] = write(post, "a")
    tamper(post, LATE.format("90 s", 2))
    tamper(post, "UPDATE shipper_shard SET token = 2")
    told = get(post, str(row))
    assert told is not None
    reason = why(post, told.event, max_attempts=20, now=NOW)
    assert "its daemon, process 77 on till-2, hasn't prolonged its lease" in str(reason)
    tamper(post, "UPDATE shipper_shard SET token = NULL")
    assert "one takes it within moments" in str(why(post, told.event, max_attempts=20, now=NOW))


def test_what_belongs_to_no_daemon_is_a_fault(post: Engine) -> None:
    """A shard, a claim, and an event that two daemons have claimed."""
    [row] = write(post, "a")
    assert [finding for finding in verify(post) if finding.fault] == []
    for token in (1, 9):
        statement = "INSERT INTO shipper_claim (token, number, ids) VALUES (:token, 4, :ids)"
        tamper(post, statement, token=token, ids=str([row]))
    tamper(post, "UPDATE shipper_shard SET token = 9 WHERE shard = 5")
    assert sorted(finding.message for finding in verify(post) if finding.fault) == [
        "claim 4 is of the token 9, which no daemon has",
        f"event {row}: claimed by several daemons",
        "shard 5 belongs to the token 9, which no daemon has",
    ]


def test_of_several_daemons_only_a_silent_one_is_unlocked(post: Engine) -> None:
    """Its shards are free at once; one that runs here never is."""
    joined(post, 3, "healthy", ELSEWHERE, None)
    tamper(post, LATE.format("5 min", 2))
    [stuck] = unlock.find(post, None)
    assert stuck.token == 2
    unlock.end(post, stuck)
    assert ask(post, "SELECT count(*) FROM shipper_shard WHERE token = 2") == [(0,)]
    assert [one.name for one in running_daemons(post)] == ["shop", "healthy"]
