"""Events that an operator sends to another destination than the one they were written for."""

from collections.abc import Iterator
from itertools import islice

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from shipper.policy.delivery import postponed
from shipper.store.db.batches import FIRST
from shipper.store.db.selection import Selection
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Record, Work
from shipper.store.operate.dead_letters import retry
from shipper.store.operate.hold import hold_key
from shipper.store.operate.recall import Step
from shipper.store.operate.reroute import Movable, movable, reroute
from shipper.store.report.events import get
from shipper.store.report.status import destination_report
from shipper.store.report.verify import verify
from tests.store.daemons import NOW, Daemon, column, generation, tamper, write

ALL = Selection()


def _all(engine: Engine, selection: Selection, to: str) -> int:
    steps = list(reroute(engine, selection, to, NOW))
    assert all(not step.claimed for step in steps)
    return sum(step.moved for step in steps)


def _places(engine: Engine, *ids: int) -> list[object]:
    return [column(engine, "destination", row) for row in ids]


def test_an_event_for_a_destination_that_does_not_exist_goes_where_it_was_meant_to(
    engine: Engine,
) -> None:
    """It is pending there, as one that nobody has tried; a daemon's look finds it there only."""
    [row] = write(engine, "a", destination="defualt")
    before = generation(engine)
    assert _all(engine, Selection(ids=(row,)), "default") == 1
    assert generation(engine) > before
    looks = Looks(engine)
    looks.pulse()
    assert [found.id for found in looks.look(Look("pending", "default", 10))] == [row]
    assert [found.id for found in looks.look(Look("lane", "default", 10, lane="a"))] == [row]
    assert looks.look(Look("pending", "defualt", 10)) == []
    assert verify(engine) == []


def test_a_dead_letter_starts_from_nothing_elsewhere(engine: Engine) -> None:
    """It is pending with a whole budget; counters move with it; what happened stays known."""
    [row] = write(engine, "a")
    Daemon(engine).bury(row)
    assert _all(engine, ALL, "erp") == 1
    names = ("status", "attempts", "tries", "manual", "delivery_number", "last_error", "reroutes")
    found = [column(engine, name, row) for name in names]
    assert found == ["pending", 0, 1, 1, None, None, 1]
    counts = {
        r.name: (r.pending, r.dead) for r in destination_report(engine, ["default", "erp"], 0)
    }
    assert counts == {"default": (0, 0), "erp": (1, 0)}
    detail = get(engine, str(row))
    assert detail is not None
    told = [(tried.outcome, tried.error, tried.manual) for tried in detail.history]
    assert told[1:] == [("rerouted", "from default to erp", True)]
    assert verify(engine) == []


def test_what_was_delivered_or_given_up_is_never_touched(engine: Engine) -> None:
    """Nor is what goes there already."""
    delivered, discarded, there, moved = write(engine, "a", "b", "c", "d")
    daemon = Daemon(engine, "default", "erp")
    daemon.deliver(delivered)
    tamper(engine, "UPDATE shipper_outbox SET status = 'discarded' WHERE id = :id", id=discarded)
    assert _all(engine, Selection(ids=(there,)), "erp") == 1
    assert _all(engine, Selection(ids=(delivered, discarded, there, moved, 999)), "erp") == 1
    assert _places(engine, delivered, discarded, there, moved) == [
        "default", "default", "erp", "erp",
    ]  # fmt: skip
    assert column(engine, "reroutes", there) == 1


def test_a_smaller_id_that_comes_later_is_no_fault_of_the_order(engine: Engine) -> None:
    """As a dead letter that an operator retries: it was asked for."""
    first, second = write(engine, "a", "a")
    daemon = Daemon(engine, "default", "erp")
    daemon.bury(first)
    assert _all(engine, Selection(ids=(second,)), "erp") == 1
    daemon.deliver(second)
    assert _all(engine, Selection(ids=(first,)), "erp") == 1
    daemon.deliver(first)
    assert verify(engine) == []


def test_a_key_that_its_dead_letter_held_goes_on_without_it(engine: Engine) -> None:
    """A hold by an operator's word stays, whatever moves."""
    first, _ = write(engine, "a", "a")
    daemon = Daemon(engine)
    daemon.bury(first, holds_key=True)
    hold_key(engine, "default", "b", NOW)
    assert _all(engine, Selection(ids=(first,)), "erp") == 1
    assert Looks(engine).holds({"default": ["a", "b"]}).keys == {"default": {"b"}}


def test_what_is_claimed_stays_and_the_daemon_is_asked_for_it(engine: Engine) -> None:
    """Nor does anything of its key go before it. Once it is let go, all of it goes."""
    first, second, other, elsewhere = write(engine, "a", "a", "b", None)
    daemon = Daemon(engine, "default")
    daemon.claim(first)
    steps = reroute(engine, ALL, "erp", NOW)
    assert next(steps) == Step(claimed=1)
    assert _places(engine, first, second, other, elsewhere) == ["default"] * 4
    asked = Looks(engine).holds({}).recalls
    assert asked["default"] >= 1
    assert next(steps) == Step(claimed=1)
    assert Looks(engine).holds({}).recalls["default"] > asked["default"]
    daemon.queue.turn(Work(now=NOW, released=[first]))
    assert list(steps) == [Step(moved=4)]
    assert _places(engine, first, second, other, elsewhere) == ["erp"] * 4
    assert verify(engine) == []


def test_what_is_delivered_while_it_is_waited_for_is_left_out(engine: Engine) -> None:
    """It has come to its end where it was."""
    first, second = write(engine, "a", "a")
    daemon = Daemon(engine)
    daemon.claim(first)
    steps = reroute(engine, ALL, "erp", NOW)
    next(steps)
    daemon.deliver(first)
    assert list(steps) == [Step(moved=1)]
    assert _places(engine, first, second) == ["default", "erp"]
    assert verify(engine) == []


@pytest.mark.usefixtures("_steady")
def test_a_page_leaves_what_is_claimed_meanwhile_and_what_follows_it(engine: Engine) -> None:
    """Between two transactions the daemon may take what is next."""
    ids = write(engine, *(["a"] * 2 + ["b"]))
    tamper_many(engine, FIRST, "c")
    daemon = Daemon(engine)
    steps = reroute(engine, ALL, "erp", NOW)
    assert next(steps) == Step(moved=FIRST)
    later = FIRST + 1
    [claimed] = daemon.claim(later)
    assert next(steps) == Step(claimed=1)
    assert column(engine, "destination", later) == "default"
    assert column(engine, "destination", later + 1) == "default"
    daemon.queue.turn(Work(now=NOW, released=[claimed.id]))
    assert list(steps) == [Step(moved=3)]
    assert _places(engine, *ids, later) == ["erp"] * 4


@pytest.mark.usefixtures("_steady")
def test_what_follows_an_event_stays_behind_it_though_its_claim_ends_between_two_pages(
    engine: Engine,
) -> None:
    """Its own page had to skip it, so the pages after it skip its lane."""
    tamper_many(engine, FIRST, "c")
    [first] = write(engine, "a")
    tamper_many(engine, FIRST - 1, "c")
    [second] = write(engine, "a")
    daemon = Daemon(engine)
    steps = reroute(engine, ALL, "erp", NOW)
    assert next(steps) == Step(moved=FIRST)
    daemon.claim(first)
    assert next(steps) == Step(moved=FIRST - 1)
    daemon.queue.turn(Work(now=NOW, released=[first]))
    assert list(steps) == [Step(moved=2)]
    assert _places(engine, first, second) == ["erp", "erp"]
    assert verify(engine) == []


@pytest.mark.usefixtures("_steady")
def test_half_of_it_is_no_harm(engine: Engine) -> None:
    """Whoever is killed between two transactions leaves the rest where it was; again moves it."""
    tamper_many(engine, FIRST + 2, "a")
    assert list(islice(reroute(engine, ALL, "erp", NOW), 1)) == [Step(moved=FIRST)]
    assert movable(engine, ALL, "erp").places == (("default", 2),)
    assert verify(engine) == []
    assert _all(engine, ALL, "erp") == 2
    assert verify(engine) == []


@pytest.mark.usefixtures("_steady")
def test_what_is_written_meanwhile_is_not_meant(engine: Engine) -> None:
    """An application that writes as fast as events are moved must not keep it from its end."""
    tamper_many(engine, FIRST + 1, "a")
    steps = reroute(engine, ALL, "erp", NOW)
    assert next(steps) == Step(moved=FIRST)
    [later] = write(engine, "a")
    assert list(steps) == [Step(moved=1)]
    assert column(engine, "destination", later) == "default"


def test_an_event_that_was_sent_elsewhere_is_not_claimed_for_its_old_destination(
    engine: Engine,
) -> None:
    """The daemon's look-ahead may know it from before."""
    stays, goes = write(engine, "a", "b")
    daemon = Daemon(engine)
    assert _all(engine, Selection(ids=(goes,)), "erp") == 1
    homes = {stays: "default", goes: "default"}
    events = daemon.queue.turn(Work(now=NOW, wanted=[stays, goes], homes=homes))
    assert [event.id for event in events] == [stays]
    [claims] = _rows(engine, "SELECT ids FROM shipper_claim")
    assert claims == f"[{stays}]"


def test_what_the_old_destination_may_have_received_need_not_go_first_at_the_new_one(
    engine: Engine,
) -> None:
    """There nobody has seen it; that it may be sent twice is told before."""
    first, second = write(engine, "a", "a")
    daemon = Daemon(engine)
    [event] = daemon.claim(second)
    verdict = postponed(0, 1.0, maybe_received=True)
    daemon.queue.turn(Work(now=NOW, records=[Record(event, verdict, NOW, error="timeout")]))
    daemon.queue.turn(Work(now=NOW, released=[second]))
    assert movable(engine, ALL, "erp") == Movable((("default", 2),), 0, 1, (first, second))
    assert _all(engine, ALL, "erp") == 2
    looks = Looks(engine)
    looks.pulse()
    assert [found.id for found in looks.look(Look("lane", "erp", 10, lane="a"))] == [first, second]


def test_a_destination_is_still_not_changed_by_hand(engine: Engine) -> None:
    """Neither by itself nor of what was delivered."""
    pending, sent = write(engine, "a", "b")
    Daemon(engine).deliver(sent)
    for row, also in ((pending, ""), (sent, ", reroutes = reroutes + 1")):
        statement = f"UPDATE shipper_outbox SET destination = 'erp'{also} WHERE id = {row}"
        with pytest.raises(DBAPIError, match="never changed"), engine.begin() as tx:
            tx.execute(text(statement))


def test_a_retried_event_that_was_rerouted_is_counted_on(engine: Engine) -> None:
    """`tries` are all tries, `attempts` those charged since an operator's word."""
    [row] = write(engine, "a")
    daemon = Daemon(engine, "default", "erp")
    daemon.bury(row)
    retry(engine, ALL, NOW)
    daemon.postpone(row, attempts=1, wait=5.0)
    daemon.queue.turn(Work(now=NOW, released=[row]))
    assert _all(engine, ALL, "erp") == 1
    daemon.deliver(row)
    assert [column(engine, name, row) for name in ("attempts", "tries")] == [0, 3]


def test_the_history_stays_bounded(engine: Engine) -> None:
    """Also of an event that is sent to and fro."""
    [row] = write(engine, "a")
    for turn in range(60):
        assert _all(engine, ALL, ("erp", "default")[turn % 2]) == 1
    detail = get(engine, str(row))
    assert detail is not None
    assert len(detail.history) == 50
    assert verify(engine) == []


def tamper_many(engine: Engine, count: int, key: str) -> None:
    """Write many events of a key at once."""
    cast = "CAST('{}' AS json)" if engine.dialect.name == "postgresql" else "'{}'"
    values = ", ".join(f"({cast}, '{key}')" for _ in range(count))
    with engine.begin() as tx:
        tx.execute(text(f"INSERT INTO shipper_outbox (payload, ordering_key) VALUES {values}"))


def _rows(engine: Engine, statement: str) -> Iterator[object]:
    with engine.begin() as tx:
        return iter(tx.execute(text(statement)).scalars().all())
