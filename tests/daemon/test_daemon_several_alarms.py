"""Of several real daemons one raises the alarms, for all of them."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.daemon.crew import Crew
from tests.daemon.harness import Shop, only_postgres, several
from tests.daemon.processes import until
from tests.observe.receiver import Receiver, receiving

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


async def test_a_link_that_only_the_other_daemon_sees_paused_is_an_alarm(
    shop: Shop, receiver: Receiver
) -> None:
    """The one that leads raises it once, and says which daemon sees that."""
    crew = Crew(shop)
    one = await crew.join("one", more=alerts(receiver))
    two = await crew.join("two", more=alerts(receiver), api_id="wrong")
    shop.add(*several(USERS, 1))
    await until(receiver.told)
    [told] = [call.told for call in receiver.calls]
    assert (told["alarm"], told["change"]) == ("link_paused", "started")
    assert "the link default is paused: http-401" in told["text"]
    assert f"as two (process {two.pid} on " in told["text"]
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
        told = await daemon.told("daemon.differs")
        assert told["settings"] == ["alerts.webhook_url"]
        assert "one daemon sends the alarms and heartbeats of all" in told["hint"]
    await crew.end(one, two)
