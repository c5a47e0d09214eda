"""What an operator does: retry, discard, hold, release."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import CursorResult, Engine, text
from sqlalchemy.event import listens_for

from shipper.store.db.batches import FIRST
from shipper.store.db.dialect import dialect_of
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.db.transactions import writing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import NAMED, NAMED_KEPT, LinkRow, Look
from shipper.store.operate.bookkeeping import NAMED_MOST, notify, touch
from shipper.store.operate.dead_letters import discard, retry
from shipper.store.operate.discard import discard_pending
from shipper.store.operate.hold import (
    hold_destination,
    hold_key,
    release_destination,
    release_key,
)
from shipper.store.operate.reroute import reroute
from shipper.store.operate.send_now import send_now
from shipper.store.report.dead_letters import dead_groups
from shipper.store.report.events import get
from shipper.store.report.status import DestinationReport, destination_report
from shipper.store.report.verify import verify
from tests.store.daemons import NOW, VIEW, Daemon, column, generation, tamper, write

ALL = Selection()


def _counts(engine: Engine) -> DestinationReport:
    [report] = destination_report(engine, ["default"], NOW)
    return replace(report, since=None, oldest_pending_seconds=None)


def _statuses(engine: Engine, *ids: int) -> list[object]:
    return [column(engine, "status", row) for row in ids]


def test_no_command_touches_when_a_pause_was_written(engine: Engine) -> None:
    """By that time its length is known; a clock that was set back since would make it a day."""
    [row] = write(engine, "a")
    daemon = Daemon(engine)
    daemon.bury(row)
    daemon.links(LinkRow("default", "throttled", "HTTP 429", NOW, NOW + 20.0))
    earlier = NOW - 86400.0
    hold_destination(engine, "default", earlier)
    retry(engine, ALL, earlier)
    [link] = Looks(engine).links()
    assert (link.next_try_at, link.written_at) == (NOW + 20.0, NOW)


@pytest.mark.parametrize(("state", "left"), [("throttled", None), ("paused", NOW + 20.0)])
def test_a_release_ends_a_pause_also_while_no_daemon_runs(
    engine: Engine, state: str, left: float | None
) -> None:
    """The next one would keep it, for a day; what is probed at once anyway needs no word."""
    daemon = Daemon(engine)
    daemon.links(LinkRow("default", state, "HTTP 429", NOW, NOW + 20.0))
    daemon.queue.release()
    release_destination(engine, "default", NOW)
    [link] = Looks(engine).links()
    assert (link.state, link.next_try_at) == (state, left)


# -- retry --------------------------------------------------------------------------------------


def test_a_retried_dead_letter_starts_from_nothing(engine: Engine) -> None:
    """It is pending, its budget is whole, it is due, and its next try is known to be asked for."""
    [row] = write(engine, "a")
    Daemon(engine).bury(row)
    before = generation(engine)
    assert retry(engine, Selection(ids=(row,)), NOW) == 1
    names = ("status", "attempts", "next_attempt_at", "manual", "delivery_number")
    assert [column(engine, name, row) for name in names] == ["pending", 0, None, 1, None]
    assert column(engine, "last_error", row) == "http-400: HTTP 400"
    assert (_counts(engine).dead, _counts(engine).pending) == (0, 1)
    assert generation(engine) > before


def test_nothing_but_a_dead_letter_is_ever_touched(engine: Engine) -> None:
    """Whatever is named, an event that isn't dead stays as it is, and nothing is counted."""
    pending, delivered, discarded, dead = write(engine, "a", "b", "c", "d")
    daemon = Daemon(engine)
    daemon.deliver(delivered)
    daemon.bury(discarded, dead)
    discard(engine, Selection(ids=(discarded,)), NOW)
    everything = (pending, delivered, discarded, dead, 999)
    assert retry(engine, Selection(ids=everything), NOW) == 1
    assert discard(engine, Selection(ids=everything), NOW) == 0
    assert _statuses(engine, pending, delivered, discarded) == ["pending", "delivered", "discarded"]
    assert verify(engine) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"key": "a"}, [1, 3, 4]),
        ({"cause": "http-422"}, [2]),
        ({"cause": "http-4"}, []),
        ({"destination": "elsewhere"}, [4]),
        ({"key": "a", "destination": "default"}, [1, 3]),
        ({"ids": (2, 3, 5)}, [2, 3]),
        ({"until": 0.0}, []),
        ({"since": 0.0, "key": "b"}, [2]),
    ],
)
@pytest.mark.parametrize("move", [retry, discard])
def test_exactly_what_fits_is_moved(
    engine: Engine,
    move: Callable[[Engine, Selection, float], int],
    filters: dict[str, Any],
    expected: list[int],
) -> None:
    """Every filter has to fit; what the groups count is what is moved."""
    write(engine, "a", "b", "a")
    write(engine, "a", destination="elsewhere")
    write(engine, "a")
    daemon = Daemon(engine, "default", "elsewhere")
    daemon.bury(1, 3, 4)
    daemon.bury(2, error="http-422: HTTP 422")
    selection = Selection(**filters)
    assert sum(group.count for group in dead_groups(engine, selection)) == len(expected)
    assert move(engine, selection, NOW) == len(expected)
    moved = [row for row in range(1, 5) if column(engine, "status", row) != "dead"]
    assert moved == expected
    assert verify(engine) == []


def test_a_key_keeps_its_order_among_what_is_retried(engine: Engine) -> None:
    """A retried event goes before what its key has left, in the order of ids."""
    ids = write(engine, "a", "a", "a", "a")
    Daemon(engine).bury(ids[2], ids[0])
    retry(engine, ALL, NOW)
    looks = Looks(engine)
    looks.pulse()
    rows = looks.look(Look("lane", "default", 10, lane="a"))
    assert [row.id for row in rows] == ids


def _many_dead(engine: Engine, count: int) -> None:
    payload = f"CAST('{VIEW}' AS json)" if engine.dialect.name == "postgresql" else f"'{VIEW}'"
    tamper(
        engine,
        "INSERT INTO shipper_outbox (payload, status, last_error, delivery_number)"
        f" WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
        f" SELECT {payload}, 'dead', 'http-400: HTTP 400', 0 FROM n",
    )
    Daemon(engine)
    tamper(engine, "UPDATE shipper_destination SET dead = :count", count=count)


@pytest.mark.usefixtures("_steady")
def test_however_many_one_transaction_moves_a_batch(engine: Engine) -> None:
    """The application never waits for longer than that takes."""
    _many_dead(engine, 2 * FIRST + 1)
    moved: list[int] = []

    @listens_for(engine, "after_cursor_execute")
    def _listen(_: object, cursor: CursorResult[Any], statement: str, *__: object) -> None:
        if statement.startswith("UPDATE shipper_outbox"):
            moved.append(cursor.rowcount)

    @listens_for(engine, "commit")
    def _commit(_: object) -> None:
        moved.append(0)

    assert retry(engine, ALL, NOW) == 2 * FIRST + 1
    assert [count for count in moved if count] == [FIRST, FIRST, 1]
    assert moved[1::2] == [0, 0, 0]
    assert verify(engine) == []


def test_retrying_forgets_an_old_claim(engine: Engine) -> None:
    """After a crash nobody may think that the retried event was in flight."""
    first, second = write(engine, "a", "b")
    daemon = Daemon(engine)
    daemon.claim(second)
    with engine.begin() as tx:
        tx.execute(text("UPDATE shipper_claim SET ids = :ids"), {"ids": f"[{first},{second}]"})
    daemon.bury(first)
    retry(engine, ALL, NOW)
    with engine.begin() as tx:
        claims = list(tx.execute(text("SELECT ids FROM shipper_claim")).scalars())
    assert claims == [f"[{second}]"]


def test_a_claim_of_nothing_else_ends_with_the_retry(engine: Engine) -> None:
    """A daemon that crashed can have left it."""
    [row] = write(engine, "a")
    Daemon(engine).bury(row)
    tamper(engine, "INSERT INTO shipper_claim (number, ids) VALUES (99, '[1]')")
    retry(engine, ALL, NOW)
    assert verify(engine) == []


# -- discard ------------------------------------------------------------------------------------


def test_a_discarded_dead_letter_is_over(engine: Engine) -> None:
    """It is counted as discarded, and its reason stays."""
    [row] = write(engine, "a")
    Daemon(engine).bury(row)
    before = generation(engine)
    assert discard(engine, ALL, NOW) == 1
    detail = get(engine, str(row))
    assert detail is not None
    assert (detail.event.status, detail.event.last_error) == ("discarded", "http-400: HTTP 400")
    assert (_counts(engine).dead, _counts(engine).discarded) == (0, 1)
    assert generation(engine) > before


# -- groups -------------------------------------------------------------------------------------


def test_dead_letters_are_grouped_by_what_they_died_of(engine: Engine) -> None:
    """The most first, with when the oldest and the newest were written and the first three ids."""
    ids = write(engine, "a", "b", "c", "d", "e")
    daemon = Daemon(engine)
    daemon.bury(ids[4], error="closed")
    daemon.bury(*ids[:4])
    first, second = dead_groups(engine, ALL)
    assert (first.destination, first.cause, first.count) == ("default", "http-400", 4)
    assert first.ids == tuple(ids[:3])
    oldest, newest = get(engine, str(ids[0])), get(engine, str(ids[3]))
    assert oldest is not None
    assert newest is not None
    assert (first.first_written, first.last_written) == (
        oldest.event.created_at,
        newest.event.created_at,
    )
    assert (second.cause, second.count, second.ids) == ("closed", 1, (ids[4],))


# -- holds --------------------------------------------------------------------------------------


def _held(engine: Engine) -> dict[str, frozenset[str]]:
    return Looks(engine).holds({"default": ["a", "b"]}).keys


@pytest.mark.parametrize("move", [retry, discard])
def test_a_hold_by_a_dead_letter_ends_with_it(
    engine: Engine, move: Callable[[Engine, Selection, float], int]
) -> None:
    """Acting on the event is what its key was waiting for."""
    first, second = write(engine, "a", "b")
    Daemon(engine).bury(first, second, holds_key=True)
    assert _held(engine) == {"default": {"a", "b"}}
    move(engine, Selection(ids=(first,)), NOW)
    assert _held(engine) == {"default": {"b"}}


def test_an_operators_hold_outlives_the_dead_letters(engine: Engine) -> None:
    """What an operator holds only an operator releases."""
    [row] = write(engine, "a")
    Daemon(engine).bury(row, holds_key=True)
    assert hold_key(engine, "default", "a", NOW)
    retry(engine, ALL, NOW)
    assert _held(engine) == {"default": {"a"}}
    assert release_key(engine, "a") == ["default"]
    assert _held(engine) == {}


def test_a_key_is_held_once_and_released_where_it_was_held(engine: Engine) -> None:
    """Doing it again changes nothing, and says so."""
    before = generation(engine)
    assert hold_key(engine, "default", "a", NOW)
    assert not hold_key(engine, "default", "a", NOW + 1)
    assert hold_key(engine, "elsewhere", "a", NOW)
    assert hold_key(engine, "default", "b", NOW)
    assert generation(engine) > before
    assert release_key(engine, "a", "elsewhere") == ["elsewhere"]
    assert release_key(engine, "a") == ["default"]
    assert release_key(engine, "a") == []
    assert _held(engine) == {"default": {"b"}}


def test_a_destination_is_held_and_released(engine: Engine) -> None:
    """Also one that the daemon has never seen; releasing one that isn't held still tells it."""
    assert hold_destination(engine, "default", NOW)
    assert not hold_destination(engine, "default", NOW)
    assert Looks(engine).holds({}).destinations == {"default"}
    assert release_destination(engine, "default", NOW)
    assert Looks(engine).holds({}).destinations == frozenset()
    before = generation(engine)
    assert not release_destination(engine, "default", NOW)
    assert not release_destination(engine, "unheard_of", NOW)
    assert generation(engine) > before
    assert [report.name for report in destination_report(engine, [], NOW)] == []


# -- with a daemon at work ----------------------------------------------------------------------


def test_a_daemon_is_told_which_lanes_a_command_has_touched(engine: Engine) -> None:
    """So it looks at nothing else, however much waits: what was held or changed, and no more."""
    keyed, single, other = write(engine, "k1", None, "k2")
    daemon = Daemon(engine)
    daemon.bury(keyed, single)
    commands: list[tuple[Callable[[], object], list[tuple[str, str | int]]]] = [
        (lambda: hold_key(engine, "default", "k1", NOW), []),
        (lambda: release_key(engine, "k1"), [("default", "k1")]),
        (lambda: release_key(engine, "k1"), []),
        (lambda: hold_destination(engine, "default", NOW), []),
        (lambda: retry(engine, Selection(ids=(keyed,)), NOW), [("default", "k1")]),
        (lambda: discard(engine, ALL, NOW), [("default", single)]),
        (lambda: send_now(engine, Selection(ids=(other,))), [("default", "k2")]),
        (lambda: list(discard_pending(engine, Selection(ids=(other,)))), [("default", "k2")]),
        (
            lambda: list(reroute(engine, Selection(ids=(keyed,)), "erp", NOW)),
            [("default", "k1"), ("erp", "k1")],
        ),
    ]
    for command, lanes in commands:
        before = generation(engine)
        command()
        moved = generation(engine) - before
        assert moved > 0
        assert moved % NAMED == 0
        assert Looks(engine).touched(before) == lanes
    before = generation(engine)
    release_destination(engine, "default", NOW)
    assert (generation(engine) - before) % NAMED  # it may be any: rows were changed by hand


def test_a_command_that_changes_many_says_so(engine: Engine) -> None:
    """Not which: that would be as much to write, and to read, as the events themselves."""
    rows = write(engine, *["k1"] * (NAMED_MOST + 1))
    before = generation(engine)
    with writing(engine) as tx:
        notify(tx)
        touch(tx, dialect_of(engine), rows)
    assert (generation(engine) - before) % NAMED != 0
    assert Looks(engine).touched(before) == []


def test_what_commands_have_touched_is_kept_of_the_last_of_them(engine: Engine) -> None:
    """However many a script gives, and whether or not a daemon runs."""
    [row] = write(engine, "k1")
    before = generation(engine)
    for _ in range(NAMED_KEPT + 10):
        with writing(engine) as tx:
            notify(tx)
            touch(tx, dialect_of(engine), [row])
    kept = Looks(engine).touched(generation(engine) - NAMED_KEPT * NAMED)
    assert kept == [("default", "k1")] * NAMED_KEPT
    assert Looks(engine).touched(before) is None


def test_an_operator_and_a_daemon_never_stand_in_each_others_way(database_url: str) -> None:
    """Both write all the time; nothing deadlocks, and every counter equals a recount."""
    theirs, ours = open_engine(database_url), open_engine(database_url)
    ids = write(theirs, *(f"k{number % 7}" for number in range(200)))
    daemon = Daemon(theirs)

    def ship() -> None:
        for at in range(0, len(ids), 10):
            daemon.bury(*ids[at : at + 5])
            daemon.deliver(*ids[at + 5 : at + 10])

    with ThreadPoolExecutor(1) as pool:
        shipping = pool.submit(ship)
        while not shipping.done():
            retry(ours, Selection(key="k3"), NOW)
            discard(ours, Selection(key="k4"), NOW)
            hold_key(ours, "default", "k5", NOW)
            release_key(ours, "k5")
        shipping.result()
    assert [finding for finding in verify(ours) if finding.fault] == []
    theirs.dispose()
    ours.dispose()


@pytest.mark.parametrize("moment", ["SELECT max(id)", "SELECT id FROM"])
def test_two_operators_never_count_the_same_dead_letter(database_url: str, moment: str) -> None:
    """Whoever is second finds nothing left to move, whenever the first was quicker."""
    first, second = open_engine(database_url), open_engine(database_url)
    [row] = write(first, "a")
    Daemon(first).bury(row)

    @listens_for(second, "after_cursor_execute")
    def _overtake(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith(moment):
            discard(first, ALL, NOW)

    assert retry(second, ALL, NOW) == 0
    assert _statuses(first, row) == ["discarded"]
    assert verify(first) == []
    first.dispose()
    second.dispose()
