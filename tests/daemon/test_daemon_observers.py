"""A port that somebody else has is asked for again, and had as soon as it is free."""

import asyncio
import io
import socket
from contextlib import closing
from typing import Any

import pytest

from shipper.config.listen import Loopback
from shipper.daemon import observers
from shipper.logs import open_log
from shipper.port.server import WebServer
from tests.daemon.processes import until


async def test_a_port_is_had_as_soon_as_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once that it can't be had, and once that it can."""
    monkeypatch.setattr(observers, "LISTEN_EVERY", 0.01)
    written = io.StringIO()
    log = open_log("info", "json", written)
    nothing: Any = None
    server = WebServer(nothing, nothing, nothing, log)
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Loopback("127.0.0.1", taken.getsockname()[1])
        async with observers._listening(server, address, log):
            assert written.getvalue().count("web.failed") == 1
            assert "web.listening" not in written.getvalue()
            taken.close()
            await until(lambda: "web.listening" in written.getvalue())
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.transport.abort()
    assert written.getvalue().count("web.failed") == 1


async def test_a_stop_does_not_wait_for_a_port() -> None:
    """Who still asks for it gives up at once."""
    log = open_log("info", "json", io.StringIO())
    nothing: Any = None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Loopback("127.0.0.1", taken.getsockname()[1])
        server = WebServer(nothing, nothing, nothing, log)
        async with asyncio.timeout(20), observers._listening(server, address, log):
            pass
