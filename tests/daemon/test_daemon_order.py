"""Who goes when: overlapping transactions, holds, dead heads, retries, and events that are none."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shipper.sandbox import SandboxAnswer
from tests.daemon.application import payload
from tests.daemon.harness import Shop, of_user, only_postgres, only_sqlite
from tests.daemon.processes import until

REFUSED = SandboxAnswer(422, b'{"message":"no such product"}')


# -- commit order ---------------------------------------------------------------------------------


@contextmanager
def transaction(shop: Shop) -> Iterator[Any]:
    """Give a connection whose transaction has its number already."""
    import psycopg

    with psycopg.connect(shop.url.replace("+psycopg", "")) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        yield connection


def insert(connection: Any, event: str) -> None:
    """Write an event in an open transaction."""
    values = (payload(event.partition("-")[0], 1), event)
    connection.execute("INSERT INTO shipper_outbox (payload, event_id) VALUES (%s, %s)", values)


async def daemon_looks(shop: Shop) -> None:
    """Wait until the daemon has looked at the outbox twice more."""
    statement = (
        "SELECT query_start FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'shipper' AND pid <> pg_backend_pid()"
    )
    for _ in range(3):
        await _change(shop, statement)


async def _change(shop: Shop, statement: str) -> None:
    before = shop.rows(statement)
    await until(lambda: shop.rows(statement) != before)


@only_postgres
@pytest.mark.parametrize("numbers", ["in the order of the ids", "the other way round"])
async def test_what_commits_late_is_not_overtaken(shop: Shop, numbers: str) -> None:
    """Of two overlapping transactions on a key the later id commits first: none is skipped.

    It doesn't matter which of them got its transaction number first.
    """
    daemon = await shop.started()
    with transaction(shop) as one, transaction(shop) as two:
        early, late = (one, two) if numbers == "in the order of the ids" else (two, one)
        insert(early, "u1-1")
        insert(late, "u1-2")
        insert(late, "u2-1")
        late.commit()
        await daemon_looks(shop)
        assert shop.arrived() == []
        early.commit()
        await shop.settled()
    await daemon.stop()
    assert of_user("u1", shop.arrived()) == ["u1-1", "u1-2"]
    shop.assert_flawless(repeats=0)


@only_postgres
async def test_a_transaction_that_rolls_back_holds_nothing_up(shop: Shop) -> None:
    """Its id stays a gap."""
    daemon = await shop.started()
    with transaction(shop) as one, transaction(shop) as two:
        insert(one, "u1-1")
        insert(two, "u1-2")
        two.commit()
        await daemon_looks(shop)
        one.rollback()
        await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-2"]


# -- what is no event -----------------------------------------------------------------------------

BROKEN = {
    "a list": ("[]", "event must be object"),
    "no content": ('{"type":"view"}', "event must have required property 'view'"),
    "a lone surrogate": ('{"type":"view","view":{"a":"\\ud800"}}', "byte 28"),
    "too much": (json.dumps({"type": "view", "view": {"a": "x" * 5_000_000}}), "1048576 bytes"),
}


async def test_what_is_no_event_dies_with_its_reason_and_stops_nothing(shop: Shop) -> None:
    """The reason names the place; nothing of it was sent."""
    daemon = await shop.started()
    shop.add("u1-1", "u1-3")
    await shop.put(
        *({"payload": text, "ordering_key": "u1"} for text, _ in BROKEN.values()),
        {"payload": payload("u1", 4), "event_id": "u1-4"},
    )
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u1-3", "u1-4"]
    dead = shop.rows("SELECT last_error FROM shipper_outbox WHERE status = 'dead' ORDER BY id")
    for row, (_, reason) in zip(dead, BROKEN.values(), strict=True):
        assert row.last_error.startswith("invalid: ")
        assert reason in row.last_error


@only_sqlite
async def test_invalid_utf8_dies_alone(shop: Shop) -> None:
    """SQLite keeps whatever an application calls a text."""
    daemon = await shop.started()
    broken = b'{"type":"view","view":{"a":"\xff"},"context":[]}'
    await shop.put(
        {"payload": payload("u1", 1), "event_id": "u1-1"},
        {"payload_hex": broken.hex(), "ordering_key": "u1"},
        {"payload": payload("u1", 2), "event_id": "u1-2"},
    )
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u1-2"]
    [dead] = shop.rows("SELECT last_error FROM shipper_outbox WHERE status = 'dead'")
    assert "must be UTF-8, but is not at byte 28" in dead.last_error


@only_sqlite
async def test_an_unknown_destination_waits_and_status_says_so(shop: Shop) -> None:
    """It may be a setting that is to come."""
    shop.add("u1-1", destination="elsewhere")
    shop.add("u1-2")
    daemon = await shop.started()
    await until(lambda: shop.ended() == ["u1-2"])
    told = json.loads((await shop.command("status", "--json")).stdout)["destinations"]
    assert told["elsewhere"]["state"] == "paused"
    assert "elsewhere" in told["elsewhere"]["reason"]
    assert told["elsewhere"]["pending"] == 1
    await daemon.stop()
    assert shop.counts() == {"delivered": 1, "pending": 1}


# -- holds ----------------------------------------------------------------------------------------


async def test_a_held_key_waits_until_it_is_released(shop: Shop) -> None:
    """The others don't."""
    daemon = await shop.started()
    assert await (await shop.command("hold", "--key", "u1")).ended() == 0
    shop.add("u1-1", "u2-1", "u1-2", "u3-1")
    await until(lambda: set(shop.ended()) == {"u2-1", "u3-1"})
    assert of_user("u1", shop.arrived()) == []
    assert await (await shop.command("release", "--key", "u1")).ended() == 0
    await shop.settled()
    await daemon.stop()
    assert of_user("u1", shop.arrived()) == ["u1-1", "u1-2"]
    shop.assert_flawless()


@only_sqlite
async def test_a_held_destination_waits_until_it_is_released(shop: Shop) -> None:
    """Over a restart too."""
    assert await (await shop.command("hold", "--destination", "default")).ended() == 0
    shop.add("u1-1")
    first = await shop.started()
    assert (await shop.status())["state"] == "held"
    await first.stop()
    assert shop.arrived() == []
    second = await shop.started()
    assert await (await shop.command("release", "--destination", "default")).ended() == 0
    await shop.settled()
    await second.stop()
    assert shop.arrived() == ["u1-1"]


async def test_a_dead_head_holds_its_key_where_that_is_set(shop: Shop) -> None:
    """Until an operator lets the key go on."""
    shop.configure(after_dead_letter="hold")
    shop.sandbox.answer_for = lambda request: REFUSED if request.key == "u1-1" else None
    shop.add("u1-1", "u1-2", "u2-1")
    daemon = await shop.started()
    await until(lambda: shop.ended() == ["u1-1", "u2-1"] or shop.ended() == ["u2-1", "u1-1"])
    shop.add("u1-3", "u2-2")
    await until(lambda: "u2-2" in shop.ended())
    assert shop.counts()["pending"] == 2
    [hold] = shop.rows("SELECT ordering_key, cause FROM shipper_hold")
    assert tuple(hold) == ("u1", "dead_letter")
    assert await (await shop.command("release", "--key", "u1")).ended() == 0
    await shop.settled()
    await daemon.stop()
    assert shop.dead() == ["u1-1"]
    assert of_user("u1", shop.arrived()) == ["u1-2", "u1-3"]


# -- retries --------------------------------------------------------------------------------------


async def test_retried_dead_letters_keep_the_order_of_their_key(shop: Shop) -> None:
    """And the history says that a person asked for the try."""
    shop.sandbox.answer_for = lambda request: REFUSED if request.key in {"u1-1", "u1-2"} else None
    shop.add("u1-1", "u1-2", "u1-3")
    daemon = await shop.started()
    await shop.settled()
    assert shop.dead() == ["u1-1", "u1-2"]
    shop.sandbox.answer_for = None
    retried = await shop.command("dead", "retry", "ALL", "--yes")
    assert await retried.ended() == 0, retried.stderr
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-3", "u1-1", "u1-2"]
    assert shop.counts() == {"delivered": 3}
    history = shop.rows("SELECT outcome, manual FROM shipper_attempt ORDER BY outbox_id, id")
    assert [tuple(row) for row in history] == [("http-422", 0), ("accepted", 1)] * 2
    link = shop.link()
    assert (link.delivered, link.dead) == (3, 0)
