"""Alarms and heartbeats of the real daemon, told to somebody on a real socket."""

import json
import signal
from collections.abc import AsyncIterator

import pytest

from tests.daemon.harness import API_ID, Shop, only_sqlite, several
from tests.daemon.processes import until
from tests.observe.receiver import Receiver, receiving

TOKEN = "canary-hook-token"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Give somebody who listens."""
    async with receiving() as receiver:
        yield receiver


def watched(receiver: Receiver, **more: object) -> str:
    """Return a section [alerts] with both URLs."""
    settings = {
        "webhook_url": f"{receiver.url}/hook?token={TOKEN}",
        "heartbeat_url": f"{receiver.url}/beat/{TOKEN}",
        "heartbeat_every": "1s",
        **more,
    }
    return "[alerts]\n" + "".join(f"{n} = {json.dumps(v)}\n" for n, v in settings.items())


async def test_a_paused_link_is_told_and_ends_the_heartbeat(shop: Shop, receiver: Receiver) -> None:
    """At once, and with no secret in it."""
    shop.configure(more=watched(receiver))
    daemon = await shop.started()
    await until(receiver.beats)
    shop.configure(api_id="wrong-canary", more=watched(receiver))
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    shop.add("u1-1")
    await until(receiver.told)
    [call] = [call for call in receiver.calls if call.method == "POST"]
    assert call.path == f"/hook?token={TOKEN}"
    told = call.told
    assert (told["alarm"], told["change"], told["destination"]) == (
        "link_paused", "started", "default",
    )  # fmt: skip
    assert told["text"].startswith(f"shipper on {told['host']}: the link default is paused: http-")
    assert told.keys() == {
        "text", "alarm", "change", "destination", "since", "at", "host", "version",
    }  # fmt: skip
    headers = {name.lower() for name in call.headers}
    assert "x-api-id" not in headers
    assert "idempotency-key" not in headers
    assert call.headers["Content-Type"] == "application/json"
    beats = receiver.beats()
    await daemon.stop()
    assert receiver.told() == [("link_paused", "started")]
    assert receiver.beats() == beats
    assert daemon.said("alert.alarm", alarm="link_paused", change="started")
    everything = daemon.stderr + "".join(str(call.body) for call in receiver.calls)
    assert TOKEN not in everything
    assert "canary" not in everything.replace(TOKEN, "")
    assert API_ID not in everything


@only_sqlite
async def test_dead_letters_are_told(shop: Shop, receiver: Receiver) -> None:
    """With their number, and nothing of what was in them."""
    shop.configure(more=watched(receiver))
    shop.execute(
        "INSERT INTO shipper_outbox (payload, ordering_key) VALUES (:payload, 'key-canary')",
        payload='{"type":"canary-payload"}',
    )
    daemon = await shop.started()
    await until(lambda: receiver.told("dead_letters"))
    [told] = [call.told for call in receiver.calls if call.method == "POST"]
    assert told["text"].endswith("default: dead letters: 1")
    assert "canary" not in str(told)
    await daemon.stop()
    assert receiver.beats() == 0


@only_sqlite
async def test_somebody_who_never_answers_holds_nothing_up(shop: Shop, receiver: Receiver) -> None:
    """Events go their way, and so does a clean stop."""
    receiver.stalls = True
    shop.configure(more=watched(receiver, oldest_pending="1s"))
    shop.execute(
        "INSERT INTO shipper_outbox (payload, destination) VALUES (:payload, 'elsewhere')",
        payload='{"type":"view","view":{}}',
    )
    daemon = await shop.started()
    await until(receiver.told)
    shop.add(*several(users=5, each=5))
    await until(lambda: shop.counts().get("delivered") == 25)
    await daemon.stop()
    assert daemon.said("daemon.stopped", cut_off=0)


@only_sqlite
async def test_who_refuses_a_notice_is_told_again(shop: Shop, receiver: Receiver) -> None:
    """Until it is taken; that it isn't is in the log, once."""
    receiver.status = 302
    shop.configure(more=watched(receiver), api_id="wrong")
    shop.add("u1-1")
    daemon = await shop.started()
    failed = await daemon.told("alert.failed", alarm="link_paused")
    assert failed["reason"].startswith("http-302: the API has moved")
    await until(lambda: len(receiver.told()) >= 2)
    receiver.status = 204
    tries = len(receiver.told())
    await until(lambda: len(receiver.told()) == tries + 1)
    await daemon.stop()
    assert set(receiver.told()) == {("link_paused", "started")}
    assert all(call.path.startswith("/hook") for call in receiver.calls if call.method == "POST")
    assert len(daemon.said("alert.failed")) == 1


@only_sqlite
async def test_a_reload_forgets_nothing_that_is_to_be_told(shop: Shop, receiver: Receiver) -> None:
    """Whoever mends the webhook's URL hears of what was wrong meanwhile, and once."""
    wrong = "http://127.0.0.1:1/"
    shop.configure(more=watched(receiver, webhook_url=wrong), api_id="wrong")
    shop.add("u1-1")
    daemon = await shop.started()
    await daemon.told("alert.failed", alarm="link_paused")
    shop.configure(more=watched(receiver), api_id="wrong")
    daemon.signal(signal.SIGHUP)
    await until(receiver.told)
    await daemon.stop()
    assert receiver.told() == [("link_paused", "started")]


@only_sqlite
async def test_settings_that_cannot_work_are_refused(shop: Shop, receiver: Receiver) -> None:
    """At a reload the old ones stay in force; at the start it is a fault of the configuration."""
    daemon = await shop.started()
    unusable = shop.directory / "unusable.pem"
    unusable.write_text("no certificate")
    shop.configure(more=watched(receiver, ca_file=str(unusable)))
    daemon.signal(signal.SIGHUP)
    rejected = await daemon.told("config.rejected")
    assert "unusable.pem" in str(rejected["problems"])
    shop.add("u1-1")
    await shop.settled()
    await daemon.stop()
    again = shop.start()
    assert await again.ended() == 78
    assert "unusable.pem" in again.stderr
    assert TOKEN not in again.stderr
