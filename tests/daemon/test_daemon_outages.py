"""What the receiver's troubles cost: time, and nothing else."""

import pytest

from shipper.sandbox import Chaos, SandboxAnswer
from tests.daemon.harness import API_ID, Shop, only_sqlite, several
from tests.daemon.processes import until

# Nothing is tried again by itself for as long as a test may take.
HOURS: dict[str, object] = {"min_delay": 3600, "max_delay": 3600, "probe_max_delay": 3600}
EVENTS = several(users=8, each=3)


def assert_that_nothing_was_lost(shop: Shop, events: list[str]) -> None:
    """Fail unless all of them arrived in order and none was charged with anything."""
    assert shop.counts() == {"delivered": len(events)}
    assert shop.wasted() == 0
    assert set(shop.arrived()) == set(events)
    shop.assert_flawless()


@pytest.mark.parametrize(
    ("database_url", "chaos", "state", "reason"),
    [
        ("postgres", "outage:1h@0s", "offline", "refused: "),
        ("postgres", "404:1", "paused", "http-404: "),
        ("sqlite", "outage:1h@0s", "offline", "refused: "),
        ("sqlite", "503:1", "offline", "http-503: "),
        ("sqlite", "html:1", "offline", "portal: "),
        ("sqlite", "drop:1", "offline", "closed: "),
        ("sqlite", "401:1", "paused", "http-401: "),
        ("sqlite", "410:1", "paused", "http-410: "),
        ("sqlite", "redirect:1", "paused", "http-302: "),
        ("sqlite", "429:1:1s", "throttled", "HTTP 429"),
    ],
    indirect=["database_url"],
)
async def test_an_outage_costs_nothing(shop: Shop, chaos: str, state: str, reason: str) -> None:
    """Status says what and why, no budget is touched, and all is delivered in order after it."""
    shop.sandbox.chaos = Chaos.parse(chaos)
    shop.add(*EVENTS)
    daemon = await shop.started()
    row = await shop.link_is(state)
    assert row.reason.startswith(reason)
    assert row.next_try_at is not None
    shop.sandbox.chaos = Chaos()
    await shop.settled()
    await shop.link_is("ready")
    await daemon.stop()
    assert_that_nothing_was_lost(shop, EVENTS)


async def test_an_outage_is_probed_and_told_by_status(shop: Shop) -> None:
    """However many probes fail, `status` shows the outage, and history has a row for it."""
    shop.sandbox.chaos = Chaos.parse("503:1")
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.sandbox.until(lambda ledger: ledger.summary().requests >= 15)
    told = await shop.status()
    assert told["state"] == "offline"
    where = shop.sandbox.events_url.split("/")[2]
    assert told["reason"] == f"http-503: the API isn't available at the moment ({where})"
    assert told["pending"] == 1
    assert told["dead"] == 0
    assert told["oldest_pending_seconds"] > 0
    shop.sandbox.chaos = Chaos()
    await shop.settled()
    await daemon.stop()
    assert_that_nothing_was_lost(shop, ["u1-1"])
    # Five failures before the link was offline, the run of probes, and the success that ended it.
    [tries] = shop.rows("SELECT count(*) FROM shipper_attempt")
    assert 3 <= tries[0] <= 8


async def test_a_new_api_id_is_noticed_without_a_restart(shop: Shop) -> None:
    """The file is replaced, and the link probes at once."""
    file = shop.directory / "api_id"
    file.write_text("the-wrong-one\n", "utf-8")
    shop.configure(api_id_file=str(file), retry=HOURS)
    shop.add(*EVENTS)
    daemon = await shop.started()
    row = await shop.link_is("paused")
    where = shop.sandbox.events_url.split("/")[2]
    assert row.reason == f"http-401: the API ID, key or token is wrong or was revoked ({where})"
    file.write_text(API_ID + "\n", "utf-8")
    await daemon.told("credential.changed", destination="default")
    await shop.settled()
    await daemon.stop()
    assert_that_nothing_was_lost(shop, EVENTS)
    assert len(daemon.said("link.paused")) == 1


@only_sqlite
async def test_only_a_release_probes_and_only_its_own_link(shop: Shop) -> None:
    """What an operator says of something else is no reason to ask an API that has said no."""
    second = f'[destinations.other]\nurl = "{shop.sandbox.events_url}"\napi_id = "{API_ID}"'
    shop.configure(api_id="the-wrong-one", retry=HOURS, more=second)
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.link_is("paused")

    async def requests_after(*command: str, by: str) -> int:
        """Give a command, and return how many requests there were once it was noticed."""
        assert await (await shop.command(*command)).ended() == 0
        shop.add(by, destination="other")
        await shop.arrival(by)
        return shop.sandbox.ledger.summary().requests

    assert await requests_after("hold", "--key", "u9", by="u2-1") == 2
    assert await requests_after("release", "--key", "u9", "--destination", "other", by="u2-2") == 3
    assert await requests_after("release", "--destination", "other", by="u2-3") == 4
    assert await (await shop.command("release", "--destination", "default")).ended() == 0
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 5)
    await daemon.stop()


async def test_an_api_that_refuses_everything_kills_of_four_lanes_at_most(shop: Shop) -> None:
    """Then it is the API's fault and not the events'.

    A lane may lose its next event, too, while the fifth lane's answer is still on its way.
    """
    shop.sandbox.answer_for = lambda _: SandboxAnswer(422, b'{"message":"no"}')
    shop.add(*EVENTS)
    daemon = await shop.started()
    row = await shop.link_is("paused")
    assert row.reason == "everything is refused"
    seen = shop.sandbox.ledger.summary().requests
    await shop.sandbox.until(lambda ledger: ledger.summary().requests >= seen + 10)
    dead = shop.dead()
    assert len({name.partition("-")[0] for name in dead}) <= 4
    shop.sandbox.answer_for = None
    await shop.settled()
    await daemon.stop()
    assert shop.dead() == dead
    assert shop.counts()["delivered"] == len(EVENTS) - len(dead)
    assert shop.wasted() == 0
    shop.assert_flawless()


@only_sqlite
async def test_a_stopped_and_restarted_api_is_found_again(shop: Shop) -> None:
    """Connections that were kept alive end, new ones are made."""
    daemon = await shop.started()
    shop.add("u1-1")
    await shop.settled()
    port = shop.port
    await shop.sandbox.stop()
    shop.add("u1-2", "u2-1")
    await shop.link_is("offline")
    await shop.sandbox.start(port=port)
    await shop.settled()
    await daemon.stop()
    assert_that_nothing_was_lost(shop, ["u1-1", "u1-2", "u2-1"])


@only_sqlite
async def test_a_link_that_is_down_fills_no_log(shop: Shop) -> None:
    """Twenty failed probes are a change of state, and no more lines."""
    shop.sandbox.chaos = Chaos.parse("500:1")
    shop.configure(log_level="info")
    shop.add(*EVENTS)
    daemon = await shop.started()
    await shop.sandbox.until(lambda ledger: ledger.summary().requests >= 30)
    assert len(daemon.lines) <= 5, daemon.stderr
    assert len(daemon.said("link.changed", state="offline")) == 1
    shop.sandbox.chaos = Chaos()
    await shop.settled()
    await daemon.stop()
    await until(lambda: daemon.said("daemon.stopped"))


async def test_a_release_ends_a_pause_of_a_day(shop: Shop) -> None:
    """A maintenance page asked for it, and an operator knows that it is over."""
    shop.sandbox.chaos = Chaos.parse("429:1:86400s")
    shop.add(*EVENTS)
    daemon = await shop.started()
    await shop.link_is("throttled")
    shop.sandbox.chaos = Chaos()
    assert await (await shop.command("release", "--destination", "default")).ended() == 0
    await shop.settled()
    await daemon.stop()
    assert_that_nothing_was_lost(shop, EVENTS)
