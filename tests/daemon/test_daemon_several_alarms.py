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
