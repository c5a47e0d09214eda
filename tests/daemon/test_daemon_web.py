"""The local port of the real daemon, asked as an operator's tools ask."""

import asyncio
import signal
import socket
from pathlib import Path

from shipper.sandbox import InjectedFault
from tests.daemon.harness import Shop, only_sqlite, several
from tests.daemon.processes import eventually, until
from tests.ports import free_port


async def ask(place: int | Path, path: str) -> tuple[int, str]:
    """Ask; return status and body."""
    if isinstance(place, Path):
        reader, writer = await asyncio.open_unix_connection(str(place))
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", place)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(30):
        answer = (await reader.read()).decode()
    writer.transport.abort()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


def number(text: str, series: str) -> float:
    """Return the value of a series."""
    [line] = [line for line in text.splitlines() if line.startswith(f"{series} ")]
    return float(line.rpartition(" ")[2])


async def test_it_tells_how_the_shipping_goes(shop: Shop) -> None:
    """Alive, ready, and what was delivered, on both databases, by a port."""
    port = free_port()
    shop.configure(more=f'[web]\nlisten = "127.0.0.1:{port}"')
    shop.add(*several(users=5, each=4))
    daemon = await shop.started()
    assert daemon.said("web.listening", address=f"127.0.0.1:{port}")
    await shop.settled()
    assert await ask(port, "/livez") == (200, "live\n")
    assert await ask(port, "/readyz") == (200, "ready\n")
    status, text = await ask(port, "/metrics")
    assert status == 200
    assert number(text, 'shipper_deliveries_total{destination="default"}') == 20
    assert number(text, 'shipper_tries_total{destination="default",outcome="accepted"}') == 20
    assert number(text, 'shipper_latency_seconds_count{destination="default"}') == 20
    assert 0 < number(text, 'shipper_latency_seconds_sum{destination="default"}') < 20 * 30
    assert number(text, 'shipper_events{destination="default",status="pending"}') == 0
    assert number(text, 'shipper_events{destination="default",status="delivered"}') == 20
    assert number(text, "shipper_lease_remaining_seconds") > 0
    await daemon.stop()


@only_sqlite
async def test_an_api_that_is_down_is_no_reason_to_be_not_ready(shop: Shop) -> None:
    """We are the buffer: what is written is taken, and the link tells its own story."""
    web = shop.directory / "web.sock"
    shop.configure(more=f'[web]\nlisten = "unix:{web}"')
    shop.sandbox.answer_for = lambda _: InjectedFault("status", status=500)
    shop.add(*several(users=8, each=1))
    daemon = await shop.started()
    await shop.link_is("offline")
    assert await ask(web, "/livez") == (200, "live\n")
    assert await ask(web, "/readyz") == (200, "ready\n")
    _, text = await ask(web, "/metrics")
    assert number(text, 'shipper_link_state{destination="default",state="offline"}') == 1
    assert number(text, 'shipper_tries_total{destination="default",outcome="http-500"}') >= 5
    await daemon.stop()
    assert not web.exists()


@only_sqlite
async def test_a_lost_database_is_not_ready_until_it_is_back(shop: Shop) -> None:
    """Alive it is all the while: to start it anew would help nobody."""
    web = shop.directory / "web.sock"
    shop.configure(more=f'[web]\nlisten = "unix:{web}"')
    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=0.7)
    daemon = await shop.started()
    shop.add("u1-1")
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 1, 30)
    locker = shop.application("lock", str(shop.directory / "shop.db"), stdin=None)
    await until(lambda: "locked" in locker.stdout)
    await ready_is(web, 503)
    assert (await ask(web, "/livez"))[0] == 200
    assert (await ask(web, "/metrics"))[0] == 200
    healthcheck = await shop.command("healthcheck", "ready")
    assert await healthcheck.ended() == 1
    assert "not ready: the database has not answered" in healthcheck.stderr
    locker.close_stdin()
    await ready_is(web, 200)
    await daemon.stop()


async def ready_is(web: Path, wanted: int) -> None:
    """Wait until `/readyz` answers so."""

    async def is_wanted() -> bool:
        return (await ask(web, "/readyz"))[0] == wanted

    assert await eventually(is_wanted)


@only_sqlite
async def test_a_port_that_is_taken_keeps_nothing_from_being_shipped(shop: Shop) -> None:
    """An error in the log says which, and what to do; then everything goes its way."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        shop.configure(more=f'[web]\nlisten = "127.0.0.1:{port}"')
        daemon = await shop.started()
        failed = await daemon.told("web.failed")
        assert failed["address"] == f"127.0.0.1:{port}"
        assert "in use" in failed["reason"]
        assert "[web] listen" in failed["hint"]
        shop.add("u1-1")
        await shop.settled()
        await daemon.stop()


@only_sqlite
async def test_a_socket_that_may_not_be_is_nobody_elses_doing(shop: Shop) -> None:
    """It isn't in use: the place is wrong, and the hint says so."""
    shop.configure(more=f'[web]\nlisten = "unix:{shop.directory}/nowhere/web.sock"')
    daemon = await shop.started()
    failed = await daemon.told("web.failed")
    assert "can't use this address" in failed["hint"]
    await daemon.stop()


@only_sqlite
async def test_a_reload_moves_the_port(shop: Shop) -> None:
    """And takes the old one away."""
    first, second = shop.directory / "first.sock", shop.directory / "second.sock"
    shop.configure(more=f'[web]\nlisten = "unix:{first}"')
    daemon = await shop.started()
    assert (await ask(first, "/livez"))[0] == 200
    shop.configure(more=f'[web]\nlisten = "unix:{second}"')
    daemon.signal(signal.SIGHUP)
    await daemon.told("web.listening", address=f"unix:{second}")
    assert (await ask(second, "/livez"))[0] == 200
    assert not first.exists()
    shop.configure()
    daemon.signal(signal.SIGHUP)
    await until(lambda: len(daemon.said("config.reloaded")) == 2)
    assert not second.exists()
    await daemon.stop()


@only_sqlite
async def test_a_healthcheck_is_an_exit_status(shop: Shop) -> None:
    """0 where all is well, 1 where nobody answers, 2 where there is nobody to ask."""
    web = shop.directory / "web.sock"
    unconfigured = await shop.command("healthcheck", "live")
    assert await unconfigured.ended() == 2
    assert 'set listen = "127.0.0.1:9187" under [web]' in unconfigured.stderr
    shop.configure(more=f'[web]\nlisten = "unix:{web}"')
    daemon = await shop.started()
    for what in ("live", "ready"):
        well = await shop.command("healthcheck", what)
        assert (await well.ended(), well.stdout) == (0, f"{what}\n")
    await daemon.stop()
    gone = await shop.command("healthcheck", "live", "--json")
    assert await gone.ended() == 1
    assert gone.stdout == (
        '{"ok":false,"check":"live","answer":"no answer: no such file or directory"}\n'
    )


async def test_whoever_has_the_port_instead_of_the_daemon_does_not_pass_for_it(shop: Shop) -> None:
    """Also one that answers every question with 200."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        writer.close()

    web = shop.directory / "web.sock"
    shop.configure(more=f'[web]\nlisten = "unix:{web}"')
    async with await asyncio.start_unix_server(answer, web):
        checked = await shop.command("healthcheck", "ready")
    assert await checked.ended() == 1
    assert "another program than shipper answers there" in checked.stderr


@only_sqlite
async def test_a_stopped_process_is_not_alive(shop: Shop) -> None:
    """It takes a connection, because the kernel does, and never answers."""
    web = shop.directory / "web.sock"
    shop.configure(more=f'[web]\nlisten = "unix:{web}"')
    daemon = await shop.started()
    daemon.signal(signal.SIGSTOP)
    try:
        checked = await shop.command("healthcheck", "live")
        assert await checked.ended() == 1
        assert "no answer: timed out" in checked.stderr
    finally:
        daemon.signal(signal.SIGCONT)
    await daemon.stop()


@only_sqlite
async def test_the_figures_are_not_in_the_way_of_saving_a_removed_wal(shop: Shop) -> None:
    """Whoever asks for the metrics has the daemon open the file a second time."""
    web = shop.directory / "web.sock"
    shop.configure(more=f'[web]\nlisten = "unix:{web}"')
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.settled()
    shop.move_to(shop.url)
    _, text = await ask(web, "/metrics")
    assert number(text, 'shipper_events{destination="default",status="delivered"}') == 1
    for suffix in ("-wal", "-shm"):
        (shop.directory / f"shop.db{suffix}").unlink()
    await daemon.told("store.notice")
    await daemon.stop()
    await shop.assert_verified()
