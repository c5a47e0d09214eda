"""Of several real daemons one raises the alarms, for all of them."""

import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.daemon.crew import Crew
from tests.daemon.harness import Shop, only_postgres, several
from tests.daemon.processes import until
from tests.daemon.test_daemon_web import ask, number
from tests.observe.receiver import Receiver, receiving
from tests.ports import free_port

pytestmark = only_postgres

USERS = 24


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Give a webhook."""
    async with receiving() as receiver:
        yield receiver


def alerts(receiver: Receiver) -> str:
    """Return a section [alerts] with that webhook."""
    return f"[alerts]\nwebhook_url = {json.dumps(receiver.url)}\n"


async def told(shop: Shop) -> dict[str, Any]:
    """Return what `shipper status --json` says."""
    found: dict[str, Any] = json.loads((await shop.command("status", "--json")).stdout)
    return found


async def test_a_link_that_only_the_other_daemon_sees_paused_is_an_alarm(
    shop: Shop, receiver: Receiver
) -> None:
    """The one that leads raises it once, and says which daemon sees that."""
    crew = Crew(shop)
    one = await crew.join("one", more=alerts(receiver))
    two = await crew.join("two", more=alerts(receiver), api_id="wrong")
    shop.add(*several(USERS, 1))
    await until(receiver.told)
    [alarm] = [call.told for call in receiver.calls]
    assert (alarm["alarm"], alarm["change"]) == ("link_paused", "started")
    assert "the link default is paused: http-401" in alarm["text"]
    assert f"as two (process {two.pid} on " in alarm["text"]
    await crew.end(one, two)
    assert one.said("alert.alarm")
    assert not two.said("alert.alarm")


async def test_alerts_that_only_one_of_them_has_are_named_on_both(
    shop: Shop, receiver: Receiver
) -> None:
    """Without them on the one that leads, no alarm is sent: an operator has to know."""
    crew = Crew(shop)
    one = await crew.join("one")
    two = await crew.join("two", more=alerts(receiver))
    for daemon in (one, two):
        differs = await daemon.told("daemon.differs")
        assert differs["settings"] == ["alerts.webhook_url"]
        assert "one daemon sends the alarms and heartbeats of all" in differs["hint"]
    await crew.end(one, two)


async def test_what_begins_while_no_daemon_leads_is_sent_by_the_next_one(
    shop: Shop, receiver: Receiver
) -> None:
    """Once; the one that led stood still when it began."""
    crew = Crew(shop)
    one = await crew.join("one", more=alerts(receiver))
    two = await crew.join("two", more=alerts(receiver))
    await crew.freeze(one, "one")
    shop.add("u1-1", destination="stray")
    crew.end_lease("one")
    await two.told("daemon.took_over", name="one")
    await until(receiver.told)
    assert receiver.told() == [("unconfigured", "started")]
    one.signal(signal.SIGCONT)
    assert await one.ended() == 75
    await two.stop()
    assert receiver.told() == [("unconfigured", "started")]


async def test_a_daemon_that_was_killed_is_in_sight_until_it_is_back(shop: Shop) -> None:
    """In every view; one that was stopped cleanly never is."""
    crew, port = Crew(shop), free_port()
    one = await crew.join("one", more=f'[web]\nlisten = "127.0.0.1:{port}"')
    two = await crew.join("two")
    two.signal(signal.SIGKILL)
    await two.ended()
    await one.told("daemon.took_over", name="two")
    shop.config = shop.directory / "one.toml"
    status = await told(shop)
    daemons = {each["name"]: (each["missing"], each["shards"]) for each in status["daemons"]}
    assert daemons == {"one": (False, 64), "two": (True, 0)}
    [problem] = [each for each in status["problems"] if "two (process" in each["message"]]
    assert "ended without a clean stop, and isn't back" in problem["message"]
    for command in (("status",), ("doctor",), ("status", "--nagios")):
        ran = await shop.command(*command)
        assert "ended without a clean stop" in ran.stdout + ran.stderr
    _, text = await ask(port, "/metrics")
    assert (number(text, "shipper_daemons"), number(text, "shipper_daemons_missing")) == (1, 1)
    two = await crew.join("two")
    assert [each["missing"] for each in (await told(shop))["daemons"]] == [False, False]
    await two.stop()
    assert [each["name"] for each in (await told(shop))["daemons"]] == ["one"]
    await crew.end(one)
