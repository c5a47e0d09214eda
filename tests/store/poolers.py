"""A pooler between a test and PostgreSQL, as small as one can be, in the two modes of pgbouncer.

It names itself as the process that serves a client, lets the server's processes out one after the
other, the last that came back first, and lets a client wait where none is left.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import LifoQueue
from threading import Thread
from typing import Literal

import psycopg
from sqlalchemy import make_url

Mode = Literal["session", "transaction"]

# What libpq and psycopg want to know of a server at once.
_TOLD = ("server_version", "client_encoding", "standard_conforming_strings", "integer_datetimes")
_ENCRYPTED = {80877103, 80877104}  # SSLRequest, GSSENCRequest
_LOGGED_IN = b"R" + struct.pack("!ii", 8, 0)
_KEY = b"K" + struct.pack("!iii", 12, 1, 1)
_IDLE = b"Z" + struct.pack("!i", 5) + b"I"


@contextmanager
def pooling(url: str, mode: Mode, size: int) -> Iterator[str]:
    """Give the URL of a pooler that has so many of the server's processes."""
    where = make_url(url)
    processes: LifoQueue[socket.socket] = LifoQueue()
    with ExitStack() as stack:
        for _ in range(size):
            connection = stack.enter_context(
                psycopg.connect(where.set(drivername="postgresql").render_as_string(False))
            )
            line = stack.enter_context(socket.socket(fileno=os.dup(connection.fileno())))
            line.setblocking(True)
            processes.put(line)
        told = {name: connection.info.parameter_status(name) or "" for name in _TOLD}
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        pooler = _Pooler(mode, processes, told)
        Thread(target=pooler.accept, args=(listening,), daemon=True).start()
        port = listening.getsockname()[1]
        yield where.set(host="127.0.0.1", port=port, query={}).render_as_string(False)
        listening.shutdown(socket.SHUT_RDWR)


@dataclass
class _Pooler:
    mode: Mode
    processes: "LifoQueue[socket.socket]"
    told: dict[str, str]

    def accept(self, listening: socket.socket) -> None:
        with suppress(OSError):  # it is over
            while True:
                client, _ = listening.accept()
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        process: socket.socket | None = None
        with client, suppress(EOFError, OSError):
            while struct.unpack("!i", read_startup(client)[:4])[0] in _ENCRYPTED:
                client.sendall(b"N")
            told = b"".join(map(_parameter, self.told.items()))
            client.sendall(_LOGGED_IN + told + _KEY + _IDLE)
            while (message := read_message(client))[:1] != b"X":
                process = process or self.processes.get()
                process.sendall(message)
                if message[:1] in b"QS":  # a query, or the end of what was sent in parts
                    while (answer := read_message(process))[:1] != b"Z":
                        client.sendall(answer)
                    client.sendall(answer)
                    if self.mode == "transaction" and answer[-1:] == b"I":
                        self.processes.put(process)
                        process = None
        if process is not None:
            self.processes.put(process)


def _parameter(told: tuple[str, str]) -> bytes:
    text = b"".join(each.encode() + b"\0" for each in told)
    return b"S" + struct.pack("!i", 4 + len(text)) + text


def read_startup(line: socket.socket) -> bytes:
    """Return what a client says first, without its length."""
    return _exactly(line, struct.unpack("!i", _exactly(line, 4))[0] - 4)


def read_message(line: socket.socket) -> bytes:
    """Return the next whole message; raises EOFError at the end."""
    head = _exactly(line, 5)
    return head + _exactly(line, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        if not (part := line.recv(size - len(found))):
            raise EOFError
        found += part
    return found
