"""What a shop is told when it isn't well: from the first failure on, once, and by everybody."""

import json
import signal
from typing import Any

from shipper.sandbox import Chaos, InjectedFault
from shipper.store.report.silence import note, noted
from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.processes import until

# One failure, and the next try is for somebody to ask for.
HOURS: dict[str, object] = {"min_delay": 3600, "max_delay": 3600, "probe_max_delay": 3600}


async def test_the_first_failure_is_told_and_survives_a_restart(shop: Shop) -> None:
    """The log has one line, status the number and the error; a success resets both at once."""
    shop.sandbox.chaos = Chaos.parse("503:1")
    shop.configure(retry=HOURS)
    shop.add("u1-1")
    daemon = await shop.started()
    failing = await daemon.told("link.failing")
    assert (failing["level"], failing["failures"], failing["state"]) == ("warning", 1, "ready")
    assert failing["reason"].startswith("http-503: ")
    assert f"127.0.0.1:{shop.port}" in failing["reason"]
    assert failing["next_try_seconds"] > 60
    await until(lambda: shop.link().failures == 1)
    told = await shop.status()
    assert (told["state"], told["failures"]) == ("ready", 1)
    assert f"127.0.0.1:{shop.port}" in told["last_error"]
    assert told["next_try_at"] is not None
    await daemon.stop()
    assert len(daemon.said("link.failing")) == 1

    again = await shop.started()
    assert (await shop.status())["failures"] == 1
    shop.sandbox.chaos = Chaos()
    shop.add("u2-1")
    await until(lambda: shop.link().failures == 0)
    assert (await shop.status())["last_error"] is None
    works = await again.told("link.works")
    assert (works["level"], works["failures"]) == ("info", 1)
    await again.stop()


async def test_an_api_that_never_answers_is_told_with_its_first_deadline(shop: Shop) -> None:
    """Until then nobody can know."""
    shop.sandbox.chaos = Chaos.parse("hang:1")
    shop.configure(retry=HOURS, timeout=0.5)
    shop.add("u1-1")
    daemon = await shop.started()
    assert (await daemon.told("link.failing"))["reason"].startswith("timeout: ")
    daemon.kill()


async def test_good_news_is_no_warning(shop: Shop) -> None:
    """A link that works again is worth a line, and wakes nobody up."""
    shop.sandbox.chaos = Chaos.parse("401:1")
    shop.add("u1-1")
    daemon = await shop.started()
    paused = await daemon.told("link.paused")
    assert "put the right api_id into [destinations.default]" in paused["hint"]
    shop.sandbox.chaos = Chaos()
    await shop.settled()
    await shop.link_is("ready")
    await daemon.told("link.works")
    await daemon.stop()
    levels = {line["state"]: line["level"] for line in daemon.said("link.changed")}
    assert levels["ready"] == "info"
    assert not daemon.said("link.failing")


async def test_a_destination_that_nobody_knows_is_told_once(shop: Shop) -> None:
    """Also over a reload, with how many wait and both ways out."""
    shop.add("u1-1", "u1-2", destination="defualt")
    daemon = await shop.started()
    told = await daemon.told("destination.unknown")
    assert (told["destination"], told["pending"], told["level"]) == ("defualt", 2, "warning")
    assert "add [destinations.defualt] to " in told["hint"]
    assert "shipper events reroute ALL --destination defualt --to default" in told["hint"]
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    shop.add("u1-3", destination="another")
    await daemon.told("destination.unknown", destination="another")
    await daemon.stop()
    assert len(daemon.said("destination.unknown")) == 2


@only_sqlite
async def test_names_without_end_do_not_fill_the_log(shop: Shop) -> None:
    """An application writes them."""
    for number in range(40):
        shop.add(f"u{number}-1", destination=f"stray{number}")
    daemon = await shop.started()
    shop.add("u99-1")
    await shop.arrival("u99-1")
    await until(lambda: len(daemon.said("destination.unknown")) >= 20)
    await daemon.stop()
    assert len(daemon.said("destination.unknown")) == 20


@only_sqlite
async def test_a_refused_configuration_does_not_look_like_a_start(shop: Shop) -> None:
    """The old one goes on as it was."""
    shop.configure(more='[web]\nlisten = "unix:web.sock"')
    daemon = await shop.started()
    await daemon.told("web.listening")
    shop.config.write_text("no", "utf-8")
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.rejected")
    shop.add("u1-1")
    await shop.arrival("u1-1")
    await daemon.stop()
    assert len(daemon.said("daemon.started")) == len(daemon.said("web.listening")) == 1


async def test_what_was_set_back_by_hand_goes_out_after_a_release(shop: Shop) -> None:
    """As `events show` says."""
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.arrival("u1-1")
    await shop.settled()
    shop.execute("UPDATE shipper_outbox SET status = 'pending', delivered_at = NULL")
    shown = await shop.command("events", "show", "1")
    assert await shown.ended() == 0
    assert "by hand (SQL)" in shown.stdout
    command = await shop.command("release", "--destination", "default")
    assert await command.ended() == 0
    await until(lambda: len(shop.arrived()) == 2)
    await daemon.stop()


@only_sqlite
async def test_status_says_that_the_daemon_cannot_write(shop: Shop) -> None:
    """It holds its lock and lives, and ships nothing; once it can again, all is well."""
    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=1.0)
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.arrival("u1-1")
    locker = shop.application("lock", str(shop.directory / "shop.db"), stdin=None)
    await until(lambda: "locked" in locker.stdout)
    await daemon.told("store.lost")
    lock = shop.directory / "shop.db.shipper.lock"
    await until(lambda: b'"lost":null' not in lock.read_bytes())
    status = await shop.command("status", "--json")
    told = json.loads(status.stdout)
    assert told["daemons"][0]["unable_to_write_seconds"] > 0
    [problem] = [p for p in told["problems"] if "hasn't written" in p["message"]]
    assert problem["level"] == "critical"
    assert "holds the write lock" in problem["message"]
    nagios = await shop.command("status", "--nagios")
    assert await nagios.ended() == 2
    locker.close_stdin()
    await daemon.told("store.back")
    await until(lambda: b'"lost":null' in lock.read_bytes())
    status = await shop.command("status", "--json")
    assert json.loads(status.stdout)["daemons"][0]["unable_to_write_seconds"] is None
    await daemon.stop()


@only_sqlite
async def test_a_daemon_that_is_stopped_does_not_look_well(shop: Shop) -> None:
    """Nor one that hangs in the kernel: it has its lock, and ships nothing."""
    file = shop.directory / "shop.db"
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.arrival("u1-1")
    await until(lambda: noted(file) is not None)

    async def told() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await shop.command("status", "--json")).stdout)
        return found

    assert (await told())["problems"] == []
    daemon.signal(signal.SIGSTOP)
    sign = noted(file)
    assert sign is not None
    note(file, sign._replace(seen=sign.seen - 28.0))  # it stands still for so long
    stopped = await told()
    assert stopped["daemons"][0]["last_seen_seconds"] >= 28
    assert stopped["daemons"][0]["unable_to_write_seconds"] >= 28
    [problem] = stopped["problems"]
    assert problem["level"] == "critical"
    assert "no sign of life" in problem["message"]
    nagios = await shop.command("status", "--nagios")
    assert await nagios.ended() == 2
    doctor = await shop.command("doctor", "--no-network")
    assert await doctor.ended() == 1
    assert "no sign of life" in doctor.stdout
    daemon.signal(signal.SIGCONT)
    await until(lambda: (found := noted(file)) is not None and found.seen > sign.seen)
    assert (await told())["problems"] == []
    await daemon.stop()


@only_sqlite
async def test_a_drain_does_not_watch_a_daemon_that_stands_still_for_ever(shop: Shop) -> None:
    """75, with the reason: nothing is going to happen unless somebody acts."""
    file = shop.directory / "shop.db"
    daemon = await shop.started()
    await until(lambda: noted(file) is not None)
    daemon.signal(signal.SIGSTOP)
    sign = noted(file)
    assert sign is not None
    note(file, sign._replace(seen=sign.seen - 30.0))
    shop.add("u1-1")
    drain = await shop.command("drain")
    assert await drain.ended() == 75
    assert "1 still pending: the daemon hasn't written to the outbox for" in drain.stdout
    daemon.signal(signal.SIGCONT)
    await shop.settled()
    await daemon.stop()
