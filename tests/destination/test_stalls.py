"""After the loop has stood still, what came in time counts: it is read before anything expires."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shipper.destination import patience
from tests.destination.servers import ACCEPTED, CHUNKED
from tests.destination.ways import DEADLINE, WAYS, Way, each_way, words

PAYLOAD = b'{"type":"order"}'
LARGE = CHUNKED + b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(50)) + b"0\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + ACCEPTED

each_answer = pytest.mark.parametrize(
    ("answer", "status"),
    [(ACCEPTED, "202"), (LARGE, "200"), (INTERIM, "202")],
    ids=["short", "large", "interim"],
)


class Aside:
    """A receiver in a thread of its own, which no loop of ours can hold up."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10.0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.asked, self.may_answer, self.said = (threading.Event() for _ in range(3))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as peer:
            while PAYLOAD not in peer.recv(2**16):
                pass
            self.asked.set()
            self.may_answer.wait(10.0)
            peer.sendall(self._answer)
            self.said.set()
            self._over.wait(10.0)

    @contextmanager
    def at_work(self) -> Iterator["Aside"]:
        """Run it for the length of a block."""
        self._thread.start()
        try:
            yield self
        finally:
            self.may_answer.set()
            self._over.set()
            self._thread.join()


async def _answer_of(way: Way, answer: bytes) -> str:
    """Return what becomes of an answer that comes while the loop stands still past the deadline."""
    with Aside(answer).at_work() as receiver:
        async with way.to(receiver.url, timeout=2 * DEADLINE) as destination:
            trying = asyncio.create_task(destination.send("e", PAYLOAD, "k"))
            await asyncio.to_thread(receiver.asked.wait, 10.0)
            receiver.may_answer.set()
            receiver.said.wait(10.0)
            threading.Event().wait(3 * DEADLINE)  # the loop's own thread
            return words(await trying)


@each_way
@each_answer
def test_an_answer_that_came_while_the_loop_stood_still_counts(
    way: Way, answer: bytes, status: str
) -> None:
    """libuv/libuv#3927: timers ran before the sockets were read; a repeat would follow."""

    async def body() -> None:
        assert await _answer_of(way, answer) == status

    way.run(body())


def test_a_deadline_that_does_not_let_the_loop_read_would_repeat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The planted bug: without the laps some way takes the answer for a timeout."""
    monkeypatch.setattr(patience, "LAPS", 0)
    found: list[str] = []

    def note(way: Way) -> None:
        async def body() -> None:
            found.append(await _answer_of(way, ACCEPTED))

        way.run(body())

    for way in WAYS:
        note(way)
    assert "timeout maybe" in found
