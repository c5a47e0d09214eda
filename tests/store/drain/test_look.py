"""What the daemon sees: pages in order, the beginning of a lane, and that something has changed.

Promise 2 in the guarantees, as far as the order of what is visible goes; `test_fence` has the rest.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.event import listens_for

from shipper.store.db.engine import open_engine
from shipper.store.drain import look_statements
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Holds, LinkRow, Look, Page, PendingRow, Work
from shipper.store.operate.hold import (
    hold_destination,
    hold_key,
    release_destination,
    release_key,
)
from tests.store.daemons import NOW, write
from tests.store.shipping import (
    accepted,
    ask,
    claim,
    failed,
    record,
    refused,
    run,
    settled,
    taken,
    until,
    wipe,
)


@pytest.fixture
def shop(database_url: str) -> Iterator[Engine]:
    """Give the application's own connection to the outbox that `engine` is the daemon's of."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def _ids(rows: list[PendingRow]) -> list[int]:
    return [row.id for row in rows]


def _shard(engine: Engine, row: int) -> int:
    """Return the shard of an event; in a file there are none."""
    if engine.dialect.name == "sqlite":
        return 0
    [(shard,)] = ask(engine, "SELECT slot & 63 FROM shipper_outbox WHERE id = :id", id=row)
    return int(shard)


def _pending(looks: Looks, *, after: int = 0, limit: int = 100, of: str = "default") -> list[int]:
    return _ids(looks.look(Look("pending", of, limit, after=after)))


def _lane(looks: Looks, lane: str | int, *, limit: int = 100, of: str = "default") -> list[int]:
    return _ids(looks.look(Look("lane", of, limit, lane=lane)))


# -- the scan -------------------------------------------------------------------------------------


def test_pages_come_in_the_order_of_ids(engine: Engine, shop: Engine) -> None:
    """Each goes on where the last ended; the last one is shorter than asked for."""
    ids = write(shop, *"abcabca")
    looks = settled(Looks(engine))
    assert _pending(looks) == ids
    pages = [_pending(looks, limit=3)]
    while len(pages[-1]) == 3:
        pages.append(_pending(looks, limit=3, after=pages[-1][-1]))
    assert pages == [ids[:3], ids[3:6], ids[6:]]


def test_only_what_is_pending_there_is_shown(engine: Engine, shop: Engine) -> None:
    """Neither what has ended nor another destination's events."""
    queue = taken(shop)
    done, dead, waits = claim(queue, *write(shop, "a", "b", "c"))
    [elsewhere] = write(shop, "a", destination="other")
    record(queue, accepted(done), refused(dead), failed(waits, 60.5))
    looks = settled(Looks(engine))
    assert looks.look(Look("pending", "default", 9)) == [
        PendingRow(waits.id, "c", NOW + 60.5, shard=_shard(engine, waits.id), attempts=1)
    ]
    assert looks.look(Look("pending", "other", 9)) == [
        PendingRow(elsewhere, "a", None, shard=_shard(engine, elsewhere))
    ]
    assert _pending(looks, of="nowhere") == []


def test_an_event_without_a_key_is_a_lane_of_its_own(engine: Engine, shop: Engine) -> None:
    """Its lane has its number for a name, which no key is, and it can be looked up."""
    keyless, named = write(shop, None, "1")
    looks = settled(Looks(engine))
    assert looks.look(Look("pending", "default", 9)) == [
        PendingRow(1, 1, None, shard=_shard(engine, 1)),
        PendingRow(2, "1", None, shard=_shard(engine, 2)),
    ]
    assert _lane(looks, keyless) == [keyless]
    assert _lane(looks, "1") == [named]
    assert _lane(looks, keyless, of="other") == []
    queue = taken(shop)
    record(queue, accepted(claim(queue, keyless)[0]))
    assert _lane(looks, keyless) == []


# -- one lane -------------------------------------------------------------------------------------

NAMES = ["a", "A", "a ", " a", "ä", "a\u0308", "\x1f", "%", "'", ":key", "🚀", "x" * 255, "\x01a"]


def test_a_lane_is_its_key_to_the_last_byte(engine: Engine, shop: Engine) -> None:
    """Keys that look alike are not, and the same key elsewhere is another lane."""
    ids = dict(zip(NAMES, write(shop, *NAMES), strict=True))
    write(shop, *NAMES, destination="other")
    again = dict(zip(NAMES, write(shop, *NAMES), strict=True))
    looks = settled(Looks(engine))
    for name in NAMES:
        assert _lane(looks, name) == [ids[name], again[name]]
        assert _lane(looks, name, limit=1) == [ids[name]]
    assert _lane(looks, "b") == []


def test_names_that_run_into_each_other_are_two_lanes(engine: Engine, shop: Engine) -> None:
    """Wherever one name ends and the other begins."""
    [first] = write(shop, "b\x1fc", destination="a")
    [second] = write(shop, "c", destination="a\x1fb")
    looks = settled(Looks(engine))
    assert _lane(looks, "b\x1fc", of="a") == [first]
    assert _lane(looks, "c", of="a\x1fb") == [second]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", None]),
            st.sampled_from(["pending", "pending", "pending", "dead", "discarded"]),
            st.booleans(),
        ),
        max_size=12,
    ),
    limit=st.integers(1, 5),
)
def test_a_look_shows_what_a_sorted_list_would(
    engine: Engine, events: list[tuple[str | None, str, bool]], limit: int
) -> None:
    """Of a lane first what may have been received, then by id; of a scan by id alone."""
    wipe(engine)
    shown: list[tuple[str | None, bool, int]] = []
    for (key, status, maybe), row in zip(
        events, write(engine, *(key for key, _, _ in events)), strict=True
    ):
        marks = {"status": status, "maybe": int(maybe), "id": row}
        run(
            engine,
            "UPDATE shipper_outbox SET status = :status, maybe_received = :maybe WHERE id = :id",
            **marks,
        )
        shown += [(key, maybe, row)] if status == "pending" else []
    looks = settled(Looks(engine))
    assert _pending(looks, limit=limit) == [row for _, _, row in shown][:limit]
    first = _ids(looks.look(Look("maybe_received", "default", limit)))
    assert first == [row for _, maybe, row in shown if maybe][:limit]
    for name in ("a", "b"):
        lane = sorted((not maybe, row) for key, maybe, row in shown if key == name)
        assert _lane(looks, name, limit=limit) == [row for _, row in lane][:limit]


def test_a_time_that_somebody_wrote_by_hand_is_no_obstacle(sqlite_url: str) -> None:
    """What is no time at all counts as due; any ISO 8601 is understood."""
    engine = open_engine(sqlite_url)
    for when in ("soon", "2027-01-15T08:00:00Z", "2027-01-15 09:00:00+01:00", ""):
        [row] = write(engine, "a")
        run(
            engine,
            "UPDATE shipper_outbox SET next_attempt_at = :at WHERE id = :id",
            at=when,
            id=row,
        )
    rows = settled(Looks(engine)).look(Look("pending", "default", 9))
    assert [row.next_attempt_at for row in rows] == [0.0, NOW, NOW, 0.0]
    engine.dispose()


# -- waking ---------------------------------------------------------------------------------------


def test_the_first_pulse_says_that_it_is_worth_a_look(engine: Engine) -> None:
    """Nothing is known yet; the second has nothing to add."""
    looks = Looks(engine)
    assert looks.pulse().fresh
    assert not looks.pulse().fresh


def test_a_commit_is_noticed_and_nothing_before_it(engine: Engine, shop: Engine) -> None:
    """Not what is being written, not what was rolled back, and a commit only once."""
    looks = settled(Looks(engine))
    with shop.connect() as application:
        insert = text("INSERT INTO shipper_outbox (payload) VALUES ('{}')")
        application.execute(insert)
        assert not looks.pulse().fresh
        application.rollback()
        assert not looks.pulse().fresh
        application.execute(insert)
        application.commit()
    until(lambda: looks.pulse().fresh)
    assert not looks.pulse().fresh
    assert len(_pending(looks)) == 1


def test_what_the_daemon_writes_itself_is_no_news(engine: Engine, shop: Engine) -> None:
    """Or every record would be followed by a scan."""
    queue, looks = taken(engine), Looks(engine)
    ids = write(shop, "a", "b")
    settled(looks)
    first, second = claim(queue, *ids)
    record(queue, accepted(first), failed(second))
    queue.turn(Work(now=NOW, links=[LinkRow("default", "ready", None, NOW, None)]))
    queue.renew()
    assert not looks.pulse().fresh


def test_an_operators_command_moves_the_generation(engine: Engine, shop: Engine) -> None:
    """And what it did is there when it has moved."""
    looks = Looks(engine)
    before = looks.pulse().generation
    hold_key(shop, "default", "a", NOW)
    after = looks.pulse().generation
    assert after > before
    loaded = {"default": ["a", "b"]}
    assert looks.holds(loaded) == Holds(frozenset(), {"default": frozenset({"a"})})


def test_holds_are_shown_as_they_are(engine: Engine, shop: Engine) -> None:
    """Of the keys that are asked for, whoever holds them, and all whole destinations."""
    looks, loaded = Looks(engine), {"default": ["a", "ä", "b"], "other": ["a"]}
    assert looks.holds(loaded) == Holds()
    hold_key(shop, "default", "a", NOW)
    hold_key(shop, "default", "ä", NOW)
    hold_key(shop, "other", "a", NOW)
    hold_destination(shop, "third", NOW)
    assert looks.holds({}) == Holds(frozenset({"third"}))
    assert looks.holds(loaded) == Holds(
        frozenset({"third"}), {"default": frozenset({"a", "ä"}), "other": frozenset({"a"})}
    )
    release_key(shop, "a")
    release_destination(shop, "third", NOW)
    assert not release_destination(shop, "third", NOW)
    assert looks.holds(loaded) == Holds(frozenset(), {"default": frozenset({"ä"})}, {"third": 2})


def test_each_row_says_whether_its_key_is_held(engine: Engine, shop: Engine) -> None:
    """However many keys are held, nobody has to know them all: who meets a row is told."""
    write(shop, "a", "ä", None, "b")
    looks = settled(Looks(engine))
    assert [row.held for row in looks.look(Look("pending", "default", 9))] == [False] * 4
    hold_key(shop, "default", "ä", NOW)
    hold_key(shop, "other", "a", NOW)
    found = looks.look(Look("pending", "default", 9))
    assert [row.held for row in found] == [False, True, False, False]
    assert [row.held for row in looks.look(Look("lane", "default", 9, lane="ä"))] == [True]
    assert [row.held for row in looks.look(Look("lane", "default", 9, lane="b"))] == [False]
    run(shop, "UPDATE shipper_outbox SET maybe_received = 1")
    found = looks.look(Look("maybe_received", "default", 9))
    assert [row.held for row in found] == [False, True, False, False]


def test_what_a_command_costs_does_not_grow_with_the_holds(engine: Engine, shop: Engine) -> None:
    """Of 3,000 held keys those that are loaded are asked for, and no other row is read."""
    run(
        shop,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
        " INSERT INTO shipper_hold (destination, ordering_key, cause)"
        " SELECT 'default', 'k' || i, 'operator' FROM n",
    )
    looks, read = Looks(engine), 0

    @listens_for(engine, "after_cursor_execute")
    def _count(_: object, cursor: Any, *__: object) -> None:
        nonlocal read
        read += max(0, cursor.rowcount)

    found = looks.holds({"default": ["k1", "k2999", "free"]})
    assert found.keys == {"default": {"k1", "k2999"}}
    assert read < 20


# -- leaving no trace -----------------------------------------------------------------------------


def test_no_transaction_stays_open_behind_a_look(sqlite_url: str) -> None:
    """So SQLite's log can be emptied at any time."""
    daemon, shop = open_engine(sqlite_url), open_engine(sqlite_url)
    write(shop, "a")
    _look_at_everything(settled(Looks(daemon)))
    with shop.connect().execution_options(isolation_level="AUTOCOMMIT") as application:
        emptied = application.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    assert tuple(emptied) == (0, 0, 0)
    daemon.dispose()
    shop.dispose()


def test_a_look_holds_no_snapshot_on_postgres(postgres_url: str) -> None:
    """So vacuum can clear away what the daemon has updated."""
    daemon, shop = open_engine(postgres_url), open_engine(postgres_url)
    write(shop, "a")
    with daemon.connect() as connection:
        [pid] = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
    _look_at_everything(settled(Looks(daemon)))
    activity = "SELECT state, backend_xid, backend_xmin FROM pg_stat_activity WHERE pid = :pid"
    assert ask(shop, activity, pid=pid) == [("idle", None, None)]
    daemon.dispose()
    shop.dispose()


def _look_at_everything(looks: Looks) -> None:
    looks.pulse()
    looks.holds({})
    assert _pending(looks) == _lane(looks, "a") == [1]
    assert looks.look(Look("maybe_received", "default", 9)) == []


def test_a_command_is_seen_by_a_new_connection_too(engine: Engine, shop: Engine) -> None:
    """The connection of before may have been closed; what it had seen counts for it alone."""
    looks = Looks(engine)
    write(shop, "a")
    looks.pulse()
    assert not looks.pulse().fresh
    engine.get_execution_options()["kept"].drop()
    hold_destination(shop, "default", NOW)
    assert looks.pulse().generation != -1


def test_a_lane_of_another_daemon_is_seen_whole_once_it_is_ours(
    postgres_url: str,
) -> None:
    """Nothing was found while it wasn't ours: that says nothing about what is pending there."""
    engine = open_engine(postgres_url)
    first, second = write(engine, "k", "k")
    looks = settled(Looks(engine))
    [shard] = {row.shard for row in looks.look(Look("pending", "default", 9))}
    others = tuple(each for each in range(64) if each != shard)
    assert looks.look(Look("lane", "default", 9, lane="k", shards=others)) == []
    [third] = write(engine, "k")
    looks = settled(looks)
    ours = Look("lane", "default", 9, lane="k", shards=(*others[:20], shard))
    assert [row.id for row in looks.look(ours)] == [first, second, third]
    assert [row.id for row in looks.look(Look("lane", "default", 9, lane="k"))] == [
        *(first, second, third)
    ]
    engine.dispose()


def test_what_another_daemon_has_of_a_shard_meanwhile_is_looked_at_again(postgres_url: str) -> None:
    """What was known of its lanes is forgotten when the shards of a look change."""
    engine = open_engine(postgres_url)
    [first] = write(engine, "k")
    looks = settled(Looks(engine))
    [row] = looks.look(Look("lane", "default", 9, lane="k"))
    others = tuple(each for each in range(64) if each != row.shard)
    run(engine, "UPDATE shipper_outbox SET status = 'dead', last_error = 'x'")
    assert looks.look(Look("lane", "default", 9, lane="k")) == []
    assert looks.look(Look("pending", "default", 9, after=first, shards=others)) == []
    run(engine, "UPDATE shipper_outbox SET status = 'pending', last_error = NULL")
    assert [row.id for row in looks.look(Look("lane", "default", 9, lane="k"))] == [first]
    engine.dispose()


def test_a_look_at_some_shards_says_how_far_it_has_seen(postgres_url: str) -> None:
    """Behind the rows of others, but never behind one that can still become visible."""
    engine = open_engine(postgres_url)
    looks = settled(Looks(engine))
    [first] = write(engine, "k")
    others = tuple(each for each in range(64) if each != _shard(engine, first))
    ours = Look("pending", "default", 9, shards=(_shard(engine, first),))
    theirs = replace(ours, shards=others)
    looks = settled(looks)
    assert looks.page(theirs) == Page([], first, is_last=True)
    assert looks.page(ours) == Page(looks.look(ours), first, is_last=True)
    other = open_engine(postgres_url)
    with other.connect() as shop:
        insert = "INSERT INTO shipper_outbox (payload, ordering_key) VALUES ('{}', 'k')"
        shop.exec_driver_sql(insert)
        [late] = write(engine, "k")
        for _ in range(3):
            assert looks.pulse().held_back
            assert looks.page(replace(theirs, after=first)) == Page([], first, is_last=True)
        shop.commit()
    looks = settled(looks)
    page = looks.page(replace(ours, after=first))
    assert [row.id for row in page.rows] == [late - 1, late]
    assert looks.page(replace(theirs, after=first)) == Page([], late, is_last=True)
    assert looks.page(replace(ours, limit=2)) == Page(looks.look(ours)[:2], late - 1, is_last=False)
    engine.dispose()
    other.dispose()


def test_a_look_passes_by_so_many_rows_of_others_and_no_more(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are, the daemon is soon back at its own work."""
    monkeypatch.setattr(look_statements, "REACH", 3)
    engine = open_engine(postgres_url)
    first = write(engine, "k", "k", "k", "k", "k", "k", "m")[0]
    looks = settled(Looks(engine))
    mine = _shard(engine, first + 6)
    assert mine != _shard(engine, first)
    question, seen = Look("pending", "default", 2, shards=(mine,)), []
    for _ in range(3):
        page = looks.page(question)
        seen.append((_ids(page.rows), page.seen, page.is_last))
        question = replace(question, after=page.seen)
    assert seen == [
        ([], first + 2, False),
        ([], first + 5, False),
        ([first + 6], first + 6, True),
    ]
    engine.dispose()
