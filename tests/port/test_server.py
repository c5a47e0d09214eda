"""The port on real sockets: who is answered, and what nobody can do to it."""

import asyncio
import io
import os
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shipper.config.listen import ListenAddress, Loopback, UnixSocket
from shipper.logs import open_log
from shipper.observe.health import Health
from shipper.observe.metrics import Metrics
from shipper.observe.survey import Figures
from shipper.port import server as module
from shipper.port import sockets
from shipper.port.server import WebServer
from shipper.system.files import Directory
from tests import needs
from tests.daemon.processes import until
from tests.observe import parts
from tests.observe.clocks import Hand

PATIENCE = 20.0


class Fixed:
    """A survey that has been made, and a drain that turns."""

    beats = 1

    async def figures(self) -> Figures:
        """Return what was seen."""
        return parts.figures()


class Port:
    """A server with what it looks at, and a way to talk to it byte for byte."""

    def __init__(self, address: ListenAddress) -> None:
        self.address = address
        self.clock = Hand()
        self.tally = parts.tally(self.clock)
        self.health = Health(Fixed(), self.tally, self.clock)
        routes = {"default": parts.route("default", self.clock)}
        self.metrics = Metrics(routes, self.tally, self.clock, "sqlite")
        self.log = io.StringIO()
        self.server = self.another()

    def another(self) -> WebServer:
        """Return one more server."""
        survey: Any = Fixed()
        return WebServer(self.health, self.metrics, survey, open_log("debug", "json", self.log))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection."""
        if isinstance(self.address, UnixSocket):
            return await asyncio.open_unix_connection(str(self.address.path))
        assert self.server._server is not None
        host, port = self.server._server.sockets[0].getsockname()[:2]
        return await asyncio.open_connection(host, port)

    async def say(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes until the other side hangs up."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await self.connect()
            try:
                writer.write(request)
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.transport.abort()

    async def get(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        """Ask; return status, head and body."""
        answer = await self.say(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = answer.decode().partition("\r\n\r\n")
        return int(head.split()[1]), head, body


@pytest.fixture(params=["tcp", "tcp6", "unix"])
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Port]:
    """Give a server that listens."""
    address: ListenAddress = UnixSocket(tmp_path / "web.sock")
    if request.param != "unix":
        address = Loopback("127.0.0.1" if request.param == "tcp" else "::1", 0)
    port = Port(address)
    try:
        await port.server.open(address)
    except OSError as error:
        needs.missing(f"this machine has no such address: {error}")
    yield port
    await port.server.aclose()


only_tcp = pytest.mark.parametrize("port", ["tcp"], indirect=True)
only_unix = pytest.mark.parametrize("port", ["unix"], indirect=True)


# -- what it answers -------------------------------------------------------------------------------


async def test_it_answers_three_questions(port: Port) -> None:
    """Over either kind of socket."""
    assert (await port.get("/livez"))[::2] == (200, "live\n")
    assert (await port.get("/readyz"))[::2] == (200, "ready\n")
    status, head, body = await port.get("/metrics")
    assert status == 200
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert 'shipper_events{destination="default",status="pending"} 5.0' in body


@only_tcp
async def test_what_is_wrong_is_said_with_503(port: Port) -> None:
    """Alive and not ready, where the database is lost."""
    port.tally.lost(port.clock.now)
    port.clock.now += 7.0
    assert (await port.get("/readyz"))[::2] == (
        503, "not ready: the database has not answered for 7 s\n",
    )  # fmt: skip
    assert (await port.get("/livez"))[0] == 200
    port.clock.now += 60.0
    assert (await port.get("/livez"))[::2] == (
        503, "not live: the drain has not turned for 67 s\n",
    )  # fmt: skip


@only_tcp
async def test_nothing_but_its_questions_is_answered(port: Port) -> None:
    """What else there is, is said."""
    assert (await port.get("/"))[::2] == (
        404, "not found; the paths are /livez, /readyz, /metrics\n",
    )  # fmt: skip
    assert (await port.get("/livez/../metrics"))[0] in {200, 404}
    assert (await port.get("/metrics?x=1"))[0] == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        status, head, body = await port.get("/metrics", method)
        assert (status, body) == (405, "use GET\n")
        assert "Allow: GET, HEAD" in head


@only_tcp
async def test_a_head_has_no_body(port: Port) -> None:
    """As HTTP wants it."""
    status, head, body = await port.get("/metrics", "HEAD")
    assert (status, body) == (200, "")
    assert "Content-Length: " in head


@only_tcp
async def test_no_answer_tells_what_it_is_made_of(port: Port) -> None:
    """And none may be kept by a cache."""
    for path in ("/livez", "/metrics", "/nothing"):
        _, head, _ = await port.get(path)
        assert "aiohttp" not in head
        assert "Server: shipper" in head
        assert "Cache-Control: no-store" in head


@only_tcp
async def test_a_bug_is_an_answer_and_a_line_in_the_log(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits in vain, and the next one is answered."""

    def broken(_: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(port.metrics, "render", broken)
    assert (await port.get("/metrics"))[::2] == (
        500,
        "this is a bug of shipper; see the log\n",
    )
    assert '"event":"web.broken"' in port.log.getvalue()
    assert (await port.get("/livez"))[0] == 200


# -- what nobody can do to it ----------------------------------------------------------------------


@only_tcp
@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 5000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: 1\r\n" * 100 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
    ],
)
async def test_what_is_too_large_or_no_http_is_refused(port: Port, head: bytes) -> None:
    """With 400 and the end of the connection; the next one is answered."""
    assert (await port.say(head)).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert (await port.get("/livez"))[0] == 200


@only_tcp
async def test_a_body_is_not_read(port: Port) -> None:
    """It is answered at once, however much somebody says will come."""
    head = b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    assert (await port.say(head + b"x" * 1000)).startswith(b"HTTP/1.1 405 ")


@only_tcp
async def test_every_connection_ends_with_its_answer(port: Port) -> None:
    """A second request on it is not answered."""
    twice = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2
    assert (await port.say(twice)).count(b"HTTP/1.1 200 OK") == 1


@only_tcp
async def test_who_says_nothing_is_hung_up_on(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; until then the place is taken."""
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    other = port.another()
    await other.open(port.address)
    port.server, before = other, port.server
    try:
        assert await port.say(b"") == b""
    finally:
        await before.aclose()


@only_tcp
async def test_so_many_connections_and_no_more(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when all places are taken is hung up on; when one is free, the next is let in."""
    monkeypatch.setattr(module, "_CONNECTIONS", 3)
    crowd = [await port.connect() for _ in range(3)]
    await until(lambda: len(port.server._http.connections) == 3)
    assert await port.say(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
    for _, writer in crowd:
        writer.transport.abort()
    await until(lambda: not port.server._http.connections)
    assert (await port.get("/livez"))[0] == 200


@only_tcp
async def test_a_stop_does_not_wait_for_who_says_nothing(port: Port) -> None:
    """Whoever is connected is hung up on."""
    reader, writer = await port.connect()
    await until(lambda: port.server._http.connections)
    await port.server.aclose()
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.transport.abort()


# -- where it listens ------------------------------------------------------------------------------


@only_tcp
async def test_a_port_that_is_taken_is_somebody_elses(port: Port) -> None:
    """It is an OSError, which says what it is."""
    assert port.server._server is not None
    taken = port.server._server.sockets[0].getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        await port.another().open(Loopback("127.0.0.1", taken))


@only_unix
async def test_a_socket_is_for_owner_and_group(port: Port) -> None:
    """And goes when we do."""
    assert isinstance(port.address, UnixSocket)
    assert stat.S_IMODE(port.address.path.stat().st_mode) == 0o660
    await port.server.aclose()
    assert not port.address.path.exists()


@only_unix
async def test_a_socket_that_somebody_listens_on_is_left_alone(port: Port) -> None:
    """It would be taken away from a daemon that is well."""
    other = port.another()
    with pytest.raises(OSError, match="in use"):
        await other.open(port.address)
    await other.aclose()
    assert (await port.get("/livez"))[0] == 200


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    """A daemon that was killed had no time to take it away."""
    import socket

    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    port = Port(UnixSocket(path))
    await port.server.open(port.address)
    assert (await port.get("/livez"))[0] == 200
    await port.server.aclose()


async def test_a_file_in_the_place_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    """Whatever it is, it isn't ours."""
    path = tmp_path / "web.sock"
    path.write_text("precious")
    port = Port(UnixSocket(path))
    with pytest.raises(OSError, match="in use"):
        await port.server.open(port.address)
    await port.server.aclose()
    assert path.read_text() == "precious"


@only_tcp
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9187", "127.0.0.1.evil.example", "localhost.evil.example", "::2",
     "192.0.2.1", "[::2]:9187", "", "0.0.0.0", "127.0.0.1, evil.example", "xn--localhost"],
)  # fmt: skip
async def test_a_web_page_whose_name_leads_here_reads_nothing(port: Port, host: str) -> None:
    """DNS rebinding: its browser asks us, and names the page's own host."""
    for path in ("/metrics", "/livez", "/readyz", "/"):
        answer = await port.say(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        status = answer.split()[1]
        assert status in {b"421", b"400"}, answer
        assert b"shipper_" not in answer


@only_tcp
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9187", "[::1]", "[::1]:9187", "localhost", "LOCALHOST:1", "::1",
     "shop.localhost", "127.9.9.9",
     "localhost.", "localhost.:9187"],
)  # fmt: skip
async def test_every_name_of_this_machine_is_answered(port: Port, host: str) -> None:
    """With a port, or through a tunnel's."""
    answer = await port.say(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.split()[1] == b"200"


async def test_a_request_without_a_name_is_answered(port: Port) -> None:
    """HTTP/1.0 has none, and no browser speaks it."""
    assert b" 200 " in await port.say(b"GET /livez HTTP/1.0\r\n\r\n")


@only_unix
async def test_a_socket_may_be_asked_by_any_name(port: Port) -> None:
    """No web page comes that way."""
    assert b" 200 " in await port.say(b"GET /livez HTTP/1.1\r\nHost: web\r\n\r\n")


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0, HTTP/1.1", "x"])
async def test_no_other_protocol_is_spoken(port: Port, protocol: str) -> None:
    """What stands behind an upgrade is answered by nobody (CVE-2026-69243)."""
    head = f"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    hidden = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await port.say(f"GET /livez HTTP/1.1\r\n{head}{hidden}".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", answer)) == 1
    assert b"shipper_" not in answer


@pytest.mark.parametrize("mode", [0o770, 0o2770, 0o757])
async def test_a_socket_lies_where_nobody_else_may_put_one(tmp_path: Path, mode: int) -> None:
    """Else who asks there may be answered by somebody else."""
    tmp_path.chmod(mode)
    port = Port(UnixSocket(tmp_path / "web.sock"))
    with pytest.raises(OSError, match="other users can write") as refused:
        await port.server.open(port.address)
    assert str(tmp_path) in str(refused.value.strerror)
    assert list(tmp_path.iterdir()) == []
    await port.server.aclose()


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o1777])
@pytest.mark.parametrize("umask", [0, 0o077, 0o177])
async def test_a_socket_has_its_mode_whatever_the_umask(
    tmp_path: Path, mode: int, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from its first moment: nobody is quicker than a chmod."""
    first: list[int] = []
    let_group_in = sockets._let_group_in

    def look(directory: Directory, name: str) -> None:
        first.append(stat.S_IMODE(directory.status(name).st_mode))
        let_group_in(directory, name)

    monkeypatch.setattr(sockets, "_let_group_in", look)
    tmp_path.chmod(mode)
    port = Port(UnixSocket(tmp_path / "web.sock"))
    before = os.umask(umask)
    try:
        await port.server.open(port.address)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "web.sock").stat().st_mode) == 0o660
    assert first == [0o660 & ~umask]
    await port.server.aclose()


async def test_the_socket_of_somebody_else_is_not_taken_away(tmp_path: Path) -> None:
    """At our end another one's may lie there."""
    port = Port(UnixSocket(tmp_path / "web.sock"))
    await port.server.open(port.address)
    (tmp_path / "web.sock").rename(tmp_path / "ours")
    (tmp_path / "web.sock").write_text("precious")
    await port.server.aclose()
    assert (tmp_path / "web.sock").read_text() == "precious"
