"""Several real daemons on one PostgreSQL, and a destination that is down for all of them."""

import signal

import pytest

from shipper.sandbox import SandboxAnswer
from tests.daemon.crew import Crew
from tests.daemon.harness import Shop, only_postgres, several
from tests.daemon.processes import until
from tests.daemon.test_daemon_outages import HOURS

pytestmark = only_postgres

USERS = 24
_SEEN = (
    "SELECT d.name, l.state FROM shipper_link AS l JOIN shipper_daemon AS d USING (token)"
    " WHERE l.name = 'default'"
)


def _seen(shop: Shop) -> dict[str, str]:
    return {row.name: row.state for row in shop.rows(_SEEN)}


@pytest.mark.parametrize(("status", "state"), [(401, "paused"), (429, "throttled")])
async def test_the_first_to_reach_a_destination_wakes_the_others(
    shop: Shop, status: int, state: str
) -> None:
    """Their own probes would be due in an hour, and no operator says anything to them."""
    crew = Crew(shop)
    one, two = [await crew.join(who, retry=HOURS) for who in ("one", "two")]
    theirs: set[str | None] = set()  # the events of the second
    shop.sandbox.answer_for = lambda request: SandboxAnswer(
        status if request.key in theirs else 401, b"{}"
    )
    # So that the second never sees the first up in this outage before that is back.
    await crew.freeze(two, "two")
    shop.add(*several(USERS, 2))
    await until(lambda: _seen(shop)["one"] == "paused")
    theirs.update(crew.events_of("two"))
    two.signal(signal.SIGCONT)
    await until(lambda: _seen(shop) == {"one": "paused", "two": state})
    shop.sandbox.answer_for = None
    one.signal(signal.SIGHUP)  # it probes at once; the other isn't told
    await shop.settled()
    await until(lambda: set(_seen(shop).values()) == {"ready"})
    await crew.end(one, two)
    assert shop.counts() == {"delivered": 2 * USERS}
    assert [len(daemon.said("config.reloaded")) for daemon in (one, two)] == [1, 0]
