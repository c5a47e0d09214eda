"""A line between a test and PostgreSQL that is cut at a message of the test's choice.

It counts the messages of the protocol that end something: on the way there each Execute and Sync,
on the way back each completion of a statement and each ReadyForQuery. The message of the chosen
number doesn't arrive, and both sides see the connection end.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Literal

from sqlalchemy import make_url

from tests.store.poolers import read_message, read_startup

Way = Literal["there", "back"]
_COUNTED = {"there": b"ES", "back": b"CZ"}


class Line:
    """The line: `cut` says where it is cut; every later connection works, until the next cut."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._way: Way = "there"
        self._left = -1
        self.passed = 0
        """How many messages went through since the last `cut`."""

    def cut(self, way: Way, at: int) -> None:
        """Cut the line at the message of this number, counted from here; 0 only counts."""
        self._way, self._left, self.passed = way, at, 0

    def accept(self, listening: socket.socket) -> None:
        """Serve connections until the test is over."""
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(EOFError, OSError):
            server.connect(self._server)
            head = read_startup(client)
            while int.from_bytes(head[:4]) in _ENCRYPTED:
                client.sendall(b"N")
                head = read_startup(client)
            server.sendall((len(head) + 4).to_bytes(4) + head)
            back = Thread(target=self._pump, args=(server, client, "back"), daemon=True)
            back.start()
            self._pump(client, server, "there")
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = read_message(source)
                if way == self._way and message[:1] in _COUNTED[way]:
                    self.passed += 1
                    self._left -= 1
                    if self._left == 0:
                        break
                sink.sendall(message)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


_ENCRYPTED = {80877103, 80877104}  # SSLRequest, GSSENCRequest


@contextmanager
def line_to(url: str) -> Iterator[tuple[Line, str]]:
    """Give a line to a server, and the URL of the server behind it."""
    where = make_url(url)
    sockets = Path(str(where.query["host"])).glob(".s.PGSQL.*")
    line = Line(str(next(one for one in sockets if one.suffix != ".lock")))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=line.accept, args=(listening,), daemon=True).start()
        port = listening.getsockname()[1]
        yield line, where.set(host="127.0.0.1", port=port, query={}).render_as_string(False)
        listening.shutdown(socket.SHUT_RDWR)
