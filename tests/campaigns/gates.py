"""The network between one daemon and PostgreSQL, which can be cut and mended.

A cut is silent, or it resets every connection. A silent one brings what was sent meanwhile after it is
mended, as a network does whose packets are sent again; or the connections are reset then. It must
never change or drop a byte of a connection that goes on.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

from sqlalchemy import URL, make_url

from tests.campaigns.proxy import reset


class Gate:
    """Forwards from a port of its own to the server of a URL."""

    def __init__(self, url: str) -> None:
        self._to = make_url(url)
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Return the URL that leads through here."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return self._to.set(host="127.0.0.1", port=port, query={}).render_as_string(False)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, *, silent: bool) -> None:
        """Let nothing through any more; unless it is `silent`, both sides are told."""
        self._open.clear()
        self._refuses = not silent
        if not silent:
            self._reset()

    def mend(self, *, late: bool) -> None:
        """Let everything through; what was sent meanwhile arrives `late`, or is lost with a reset."""
        if not late:
            self._reset()
        self._refuses = False
        self._open.set()

    def _reset(self) -> None:
        for writer in list(self._writers):
            reset(writer)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            reset(writer)
            return
        sides = {writer}
        self._writers.add(writer)
        try:
            there, back = await _connect(self._to)
            sides.add(back)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(there, writer))
        except* OSError:
            pass
        finally:
            self._writers -= sides
            for side in sides:
                side.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self._writers.add(sink)
        while data := await source.read(1 << 16):
            await self._open.wait()
            sink.write(data)
            await sink.drain()
        await self._open.wait()
        raise ConnectionResetError


async def _connect(to: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = str(to.query.get("host", to.host)), to.port or 5432
    with suppress(KeyError):
        port = int(str(to.query["port"]))
    if host.startswith("/"):
        return await asyncio.open_unix_connection(str(Path(host) / f".s.PGSQL.{port}"))
    return await asyncio.open_connection(host, port)
