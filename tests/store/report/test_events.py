"""Finding events, and why one waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.errors import UsageError
from shipper.policy.backoff import Backoff
from shipper.policy.delivery import RetryPolicy
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.drain.messages import LinkRow
from shipper.store.lease.file_lock import FileLock
from shipper.store.operate import dead_letters, hold
from shipper.store.report.daemons import running_daemons
from shipper.store.report.events import EventReport, find, get, locate
from shipper.store.report.reasons import KeyHold, LinkFacts, WaitFacts, explain
from shipper.store.report.silence import Silence
from shipper.store.report.status import Blocker
from shipper.store.report.why import why
from tests.store.daemons import NOW, Daemon, tamper, write


def _event(engine: Engine, row: int) -> EventReport:
    detail = get(engine, str(row))
    assert detail is not None
    return detail.event


# -- find and get -------------------------------------------------------------------------------


def test_events_are_found_by_every_filter_newest_first(engine: Engine) -> None:
    """Status, key, destination, time and cause; all have to fit."""
    first, second, third, fourth = write(engine, "a", "b", "a", "c")
    [other] = write(engine, "a", destination="elsewhere")
    daemon = Daemon(engine)
    daemon.deliver(first)
    daemon.bury(second, error="http-422: HTTP 422")
    written = _event(engine, third).created_at

    def found(limit: int = 50, **filters: object) -> list[int]:
        return [event.id for event in find(engine, Selection(**filters), limit)]  # type: ignore[arg-type]

    assert found() == [other, fourth, third, second, first]
    assert found(limit=2) == [other, fourth]
    assert found(status="pending") == [other, fourth, third]
    assert found(key="a") == [other, third, first]
    assert found(key="a", destination="default") == [third, first]
    assert found(cause="http-422") == [second]
    assert found(since=written, until=written) == [
        row
        for row in (other, fourth, third, second, first)
        if _event(engine, row).created_at == written
    ]
    assert found(until=written - 3600) == []
    assert found(ids=(first, 999)) == [first]


def test_an_event_is_found_by_its_id_and_by_its_event_id(engine: Engine) -> None:
    """Digits alone are an id; event_id: forces the other reading."""
    first, second = write(engine, "a", "b")
    tamper_id = "INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', '1')"
    tamper(engine, tamper_id)
    third = second + 1
    by_event_id = _event(engine, second).event_id
    idents = [str(first), by_event_id, "event_id:1", "event_id:2", "9" * 30, "nothing"]
    assert list(locate(engine, idents).values()) == [first, second, third, None, None, None]


def test_an_event_is_shown_with_its_payload_and_its_tries(engine: Engine) -> None:
    """The payload is the text that was written, blanks and all; the tries stand in order."""
    payload = '{"type":  "view", "view": {"name": "Grüße \\u0000"}}'
    [row] = write(engine, "a", payload=payload)
    daemon = Daemon(engine)
    daemon.postpone(row, attempts=1, wait=1.0)
    daemon.bury(row)
    dead_letters.retry(engine, Selection(ids=(row,)), NOW)
    daemon.deliver(row)
    detail = get(engine, str(row))
    assert detail is not None
    assert detail.payload == payload
    assert [attempt.outcome for attempt in detail.history] == ["http-500", "http-400", "accepted"]
    assert [attempt.manual for attempt in detail.history] == [False, False, True]
    assert detail.history[0].started_at == NOW
    assert detail.event.delivered_at == NOW


def test_what_is_not_there_is_none(engine: Engine) -> None:
    """Neither a number nor a name is mistaken for another event."""
    write(engine, "a")
    assert get(engine, "2") is None
    assert get(engine, "event_id:1") is None


def test_a_row_that_is_not_utf8_can_be_looked_at(sqlite_url: str) -> None:
    """SQLite stores any bytes in a TEXT; they are shown with replacement characters."""
    engine = open_engine(sqlite_url)
    raw = engine.raw_connection()
    raw.cursor().execute(
        "INSERT INTO shipper_outbox (payload, event_id, ordering_key, destination) VALUES"
        " (CAST(X'2261ff22' AS TEXT), CAST(X'61fe' AS TEXT), CAST(X'62fd' AS TEXT),"
        " CAST(X'63fc' AS TEXT))"
    )
    raw.close()
    detail = get(engine, "1")
    assert detail is not None
    assert detail.payload == '"a\ufffd"'
    assert (detail.event.event_id, detail.event.ordering_key) == ("a\ufffd", "b\ufffd")
    by_bytes = b"a\xfe".decode("utf-8", "surrogateescape")
    assert locate(engine, [by_bytes]) == {by_bytes: 1}
    key = b"b\xfd".decode("utf-8", "surrogateescape")
    assert [event.id for event in find(engine, Selection(key=key))] == [1]
    engine.dispose()


def test_postgres_is_not_asked_for_a_text_that_it_cannot_hold(postgres_url: str) -> None:
    """It is a mistake on the command line, and said to be one."""
    engine = open_engine(postgres_url)
    for text in ("a\0", "\udcff"):
        with pytest.raises(UsageError):
            find(engine, Selection(key=text))
        with pytest.raises(UsageError):
            get(engine, text)
    engine.dispose()


# -- why: the facts ------------------------------------------------------------------------------


@pytest.fixture
def daemon(engine: Engine, tmp_path: Path) -> Iterator[Daemon]:
    """Give a daemon that holds the outbox."""
    lock = FileLock(tmp_path / "shop.db")
    lock.acquire()
    yield Daemon(engine)
    lock.release()


def _why(engine: Engine, row: int, *, now: float = NOW, max_attempts: int | None = 20) -> str:
    sentence = why(engine, _event(engine, row), max_attempts=max_attempts, now=now)
    assert sentence is not None
    return sentence


def test_without_a_shipper_everything_waits_for_one(engine: Engine) -> None:
    """Whatever else there is to say would be old."""
    [row] = write(engine, "a")
    assert _why(engine, row) == "no daemon is running; it is sent as soon as one runs"


def test_an_event_waits_behind_the_first_of_its_key(engine: Engine, daemon: Daemon) -> None:
    """The first is the smallest id, unless another may have been received already."""
    first, second, third = write(engine, "a", "a", "a")
    write(engine, "b")
    assert _why(engine, third) == f"it waits behind event {first} of its key"
    tamper(engine, f"UPDATE shipper_outbox SET maybe_received = 1 WHERE id = {second}")
    assert _why(engine, first) == f"it waits behind event {second} of its key"
    assert _why(engine, third) == f"it waits behind event {second} of its key"
    assert "its turn" in _why(engine, second)


def test_an_event_waits_for_its_next_try(engine: Engine, daemon: Daemon) -> None:
    """Until when, how many failures were charged to it, and what came of the last one."""
    [row] = write(engine, "a")
    daemon.postpone(row, attempts=3, wait=60.0)
    assert _why(engine, row) == (
        "it waits for its next try at 2027-01-15T08:01:00.000Z (charged failures 3 of 20;"
        " the last one: HTTP 500)"
    )
    assert "in flight" in _why(engine, row, now=NOW + 61)


def test_a_claimed_event_is_in_flight_or_next(engine: Engine, daemon: Daemon) -> None:
    """From outside nobody can tell which."""
    first, second = write(engine, "a", "b")
    daemon.claim(first)
    assert _why(engine, first) == "it is in flight, or sent next"
    assert _why(engine, second) == "it is sent in its turn: a daemon is running"


def test_what_a_daemon_has_in_flight_is_counted(engine: Engine, daemon: Daemon) -> None:
    """What it has claimed and is still pending; whoever reads it gets a number, always."""
    first, *others = write(engine, "a", "b", "c")
    assert [each.in_flight for each in running_daemons(engine)] == [0]
    daemon.claim(first, *others)
    assert [each.in_flight for each in running_daemons(engine)] == [3]
    daemon.deliver(first)
    assert [each.in_flight for each in running_daemons(engine)] == [2]


def test_holds_and_the_link_are_told(engine: Engine, daemon: Daemon) -> None:
    """By whom, and since when."""
    first, second = write(engine, "a", "a")
    daemon.bury(first, holds_key=True)
    letter = _event(engine, first).event_id
    assert f"held since 2027-01-15T08:00:00.000Z by dead letter {letter}" in _why(engine, second)
    hold.hold_key(engine, "default", "a", NOW)
    assert _why(engine, second) == "an operator holds its key since 2027-01-15T08:00:00.000Z"
    hold.hold_destination(engine, "default", NOW)
    assert "an operator holds destination default" in _why(engine, second)
    assert _why(engine, second, max_attempts=None) == (
        "the configuration has no [destinations.default]; the event waits until there is one"
    )


def test_only_a_pending_event_is_waiting_to_go_out(engine: Engine) -> None:
    """A dead letter waits for an operator, one that was delivered for nothing."""
    first, second = write(engine, "a", "b")
    daemon = Daemon(engine)
    daemon.deliver(first)
    daemon.bury(second)
    assert why(engine, _event(engine, first), max_attempts=20, now=NOW) is None
    assert "operator" in _why(engine, second)


@pytest.mark.parametrize("end", ["deliver", "bury"])
def test_a_status_that_was_set_back_by_hand_is_told(
    engine: Engine, daemon: Daemon, end: str
) -> None:
    """With what makes a running daemon find it, which looks only ahead."""
    [row] = write(engine, "a")
    getattr(daemon, end)(row)
    tamper(engine, f"UPDATE shipper_outbox SET status = 'pending' WHERE id = {row}")
    told = _why(engine, row)
    assert told.startswith("its status was set back to pending by hand (SQL)")
    assert "within 5 minutes" in told
    assert "shipper release --destination default" in told


@pytest.mark.parametrize("traces", ["tries = 1", "tries = 0, last_status_code = NULL"], ids=str)
def test_one_that_was_set_back_with_all_its_marks_is_told(
    engine: Engine, daemon: Daemon, traces: str
) -> None:
    """The drain looks ahead, and has a later one's end; it has nothing else to do."""
    row, later, claimed = write(engine, "a", "b", "c")
    daemon.deliver(row)
    daemon.deliver(later)
    marks = "status = 'pending', delivery_number = NULL, delivered_at = NULL"
    tamper(engine, f"UPDATE shipper_outbox SET {marks}, {traces} WHERE id = {row}")
    assert _why(engine, row).startswith("its status was set back to pending by hand (SQL)")
    daemon.claim(claimed)
    at_its_limit = "tries = 0" in traces
    assert ("in its turn" in _why(engine, row)) is at_its_limit


def test_a_retried_dead_letter_was_not_set_back_by_hand(engine: Engine, daemon: Daemon) -> None:
    """Nor was one that was sent elsewhere: an operator's word is marked."""
    row, later = write(engine, "a", "b")
    daemon.bury(row)
    daemon.deliver(later)
    dead_letters.retry(engine, Selection(ids=(row,)), NOW)
    assert "in its turn" in _why(engine, row)


def test_a_time_that_was_written_by_hand_has_no_last_error(engine: Engine, daemon: Daemon) -> None:
    """It is waited for all the same."""
    [row] = write(engine, "a")
    daemon.postpone(row, attempts=0, wait=60.0)
    tamper(engine, f"UPDATE shipper_outbox SET last_error = NULL WHERE id = {row}")
    assert _why(engine, row).endswith("(charged failures 0 of 20)")


def test_a_key_held_by_what_is_no_dead_letter_any_more_is_told(
    engine: Engine, daemon: Daemon
) -> None:
    """Nobody can retry or discard that one, so the key has to be released."""
    first, second = write(engine, "it's", "it's")
    daemon.bury(first, holds_key=True)
    tamper(engine, f"UPDATE shipper_outbox SET status = 'pending' WHERE id = {first}")
    for row in (first, second):
        told = _why(engine, row)
        assert "no dead letter any more" in told
        assert """shipper release --key 'it'"'"'s'""" in told


def test_a_time_that_nobody_waits_for_is_none(engine: Engine, daemon: Daemon) -> None:
    """The drain doesn't wait for longer than its longest wait, whoever wrote the time."""
    [row] = write(engine, "a")
    daemon.postpone(row, attempts=1, wait=9e6)
    policy = RetryPolicy(Backoff(1.0, 3600.0), Backoff(1.0, 60.0), 20)
    event = _event(engine, row)
    told = why(engine, event, max_attempts=20, now=NOW, policy=policy)
    assert told is not None
    assert "next try" not in told
    tamper(engine, "DELETE FROM shipper_claim")
    told = why(engine, event, max_attempts=20, now=NOW, policy=policy)
    assert told == "it is sent in its turn: a daemon is running"


def test_a_status_that_nobody_knows_is_told(engine: Engine, daemon: Daemon) -> None:
    """And one that says delivered, where nothing was."""
    first, second = write(engine, "a", "b")
    if engine.dialect.name == "postgresql":
        for name in ("status_check", "delivered"):
            tamper(engine, f"ALTER TABLE shipper_outbox DROP CONSTRAINT shipper_outbox_{name}")
    tamper(engine, f"UPDATE shipper_outbox SET status = 'retry' WHERE id = {first}")
    assert "'retry', which shipper doesn't know" in _why(engine, first)
    ended = "status = 'delivered', delivered_at = created_at"
    tamper(engine, f"UPDATE shipper_outbox SET {ended} WHERE id = {second}")
    assert "by hand (SQL): shipper has not delivered it" in _why(engine, second)


def test_a_row_that_its_key_does_not_find_is_told(postgres_url: str) -> None:
    """On PostgreSQL the lane is stored beside the key, and an UPDATE by hand leaves it behind."""
    engine = open_engine(postgres_url)
    [row] = write(engine, "a")
    Daemon(engine)
    tamper(engine, "ALTER TABLE shipper_outbox DISABLE TRIGGER USER")
    tamper(engine, f"UPDATE shipper_outbox SET ordering_key = 'b' WHERE id = {row}")
    assert "its row was changed by hand (SQL)" in _why(engine, row)
    engine.dispose()


def test_a_link_that_is_down_comes_with_what_to_do(engine: Engine, daemon: Daemon) -> None:
    """As everywhere else."""
    [row] = write(engine, "a")
    daemon.links(LinkRow("default", "paused", "http-401: HTTP 401", NOW, NOW + 5))
    event = _event(engine, row)
    told = why(engine, event, max_attempts=20, now=NOW, advise=lambda reason: f"see {reason}")
    assert "(HTTP 401); an operator has to act: see http-401: HTTP 401; the next probe" in str(told)


# -- why: the sentence ----------------------------------------------------------------------------

PENDING = EventReport(7, "e", "default", "a", "pending", 2, 3, NOW, NOW + 60, None, 500, "http-500")
OFFLINE = LinkFacts("offline", "dns: no address", NOW - 60, NOW + 30, held=False)


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        (WaitFacts(None, running=True, link=OFFLINE), "no [destinations.default]"),
        (WaitFacts(20, running=False, link=OFFLINE), "no daemon is running"),
        (WaitFacts(20, running=False, hold=KeyHold("operator", None, NOW)), "holds its key"),
        (WaitFacts(20, running=True, link=OFFLINE, window_open=False), "no delivery window"),
        (
            WaitFacts(20, running=True, silence=Silence(40.0, "no room"), claimed=True),
            "the daemon hasn't written to the outbox for 40 s: no room",
        ),
        (
            WaitFacts(20, running=True, link=OFFLINE, ahead=3),
            (
                "destination default is offline since 2027-01-15T07:59:00.000Z (no address);"
                " the next probe is at 2027-01-15T08:00:30.000Z"
            ),
        ),
        (
            WaitFacts(
                20, running=True, link=LinkFacts("paused", "http-401", None, None, held=False)
            ),
            "destination default is paused (http-401); an operator has to act",
        ),
        (WaitFacts(20, running=True, ahead=3, claimed=True), "behind event 3"),
        (WaitFacts(20, running=True, claimed=True), "next try"),
    ],
)
def test_the_widest_obstacle_is_told(facts: WaitFacts, part: str) -> None:
    """What only a person can remove first, then what stops everything, then what stops this one."""
    assert part in str(explain(PENDING, facts, NOW))


def test_a_blocker_is_told_as_far_as_it_may_be_known() -> None:
    """A prepared transaction has no process, and others' age is not shown to everybody."""
    assert str(Blocker(12, "import", 61.4)) == "import (process 12, open for 61 s)"
    assert (
        str(Blocker(None, "prepared transaction x", None)) == "prepared transaction x (no process)"
    )
    assert str(Blocker(12, "", None)) == "unnamed (process 12)"
